//! The state of a check as a picture of two words, for a page or a README (SVG 1.1, no fonts and no scripts from elsewhere).

use crate::health::HealthState;

use super::message::Response;

/// How wide a character is, about, in the font that is asked for (Verdana, 11 pixels).
const CHARACTER: usize = 7;
/// Left and right of a word.
const MARGIN: usize = 6;

/// The badge of `label`.
pub(super) fn badge(label: &str, state: HealthState) -> Response {
    let colour = match state {
        HealthState::Pass => "#2e7d32",
        HealthState::Warn => "#b26a00",
        HealthState::Fail => "#c62828",
        HealthState::Unknown => "#616161",
    };
    let label: String = label.chars().take(60).collect();
    let width = |text: &str| text.chars().count() * CHARACTER + 2 * MARGIN;
    let (left, right) = (width(&label), width(state.as_str()));
    let (whole, middle, end) = (left + right, left / 2, left + right / 2);
    let (label, state) = (escape(&label), state.as_str());
    let body = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole}\" height=\"20\" role=\"img\" aria-label=\"{label}: {state}\">\
         <title>{label}: {state}</title>\
         <rect width=\"{left}\" height=\"20\" fill=\"#424242\"/>\
         <rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{colour}\"/>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">\
         <text x=\"{middle}\" y=\"14\">{label}</text><text x=\"{end}\" y=\"14\">{state}</text></g></svg>\n"
    );
    // What is in it is text: a browser that is shown it as a page runs nothing.
    Response::new(200, "image/svg+xml", body).with("content-security-policy", "default-src 'none'")
}

/// The characters that XML has a use for.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_and_nothing_else() {
        let response = badge("a<script>&\"\n", HealthState::Fail);
        let body = String::from_utf8(response.body.clone()).unwrap();
        assert_eq!(response.header("content-type"), Some("image/svg+xml"));
        assert!(body.contains("a&lt;script&gt;&amp;&quot;\u{fffd}: fail") && !body.contains("<script"), "{body}");
        assert!(badge(&"x".repeat(1000), HealthState::Pass).body.len() < 2000);
    }
}
