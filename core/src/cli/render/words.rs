//! Numbers, times and names as people write them.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::value::ByteSize;

/// `1,234,567`.
pub(in crate::cli) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `1,234 files`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `1.2 GiB`.
pub(super) fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// `0.35 ms`, `0.42 s`, `12.3 s`, `2 min 5 s`, `3 h 12 min`, `2 d 4 h`: two figures that matter.
pub(in crate::cli) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return format!("{seconds} s");
    }
    if seconds > 0.0 && seconds < 0.01 {
        return format!("{:.2} ms", seconds * 1000.0);
    }
    if seconds < 10.0 {
        return format!("{seconds:.2} s");
    }
    if seconds < 99.95 {
        return format!("{seconds:.1} s");
    }
    // Beyond this a float still counts whole seconds exactly, up to 285 million years.
    let whole = seconds.round() as u64;
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match whole {
        0..3600 => two(whole / 60, "min", whole % 60, "s"),
        3600..86_400 => two(whole / 3600, "h", whole % 3600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    }
}

/// `2026-11-22 18:16:21 UTC`; what is no time is shown as it is.
pub(super) fn time(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => clean(text),
    }
}

/// `5 min ago`, `in 3 h`; empty for what is no time.
pub(super) fn age(text: &str, now: Timestamp) -> String {
    let Ok(at) = text.parse::<Timestamp>() else { return String::new() };
    let seconds = now.as_second() - at.as_second();
    let (value, unit) = match seconds.unsigned_abs() {
        0..60 => return if seconds >= 0 { "just now".to_owned() } else { "in a moment".to_owned() },
        s @ 60..3600 => (s / 60, "min"),
        s @ 3600..172_800 => (s / 3600, "h"),
        s => (s / 86_400, "d"),
    };
    if seconds > 0 { format!("{value} {unit} ago") } else { format!("in {value} {unit}") }
}

/// Text that came from a file name, a log or a server, safe to print: control characters, which could move
/// the cursor or colour the rest, and the marks that reorder text are shown as escapes.
pub(in crate::cli) fn clean(text: &str) -> String {
    let odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(odd) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if odd(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// A path on the wire: text, or the bytes of a name that is not UTF-8, as `\xff`.
pub(super) fn path(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => clean(text),
        Some(Value::Object(object)) => {
            let hex = object.get("bytes").and_then(Value::as_str).unwrap_or_default();
            let bytes = crate::value::unhex(hex).unwrap_or_default();
            let mut shown = String::new();
            for chunk in bytes.utf8_chunks() {
                shown.push_str(&clean(chunk.valid()));
                for byte in chunk.invalid() {
                    shown.push_str(&format!("\\x{byte:02x}"));
                }
            }
            shown
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "file", "files"), "1 file");
        assert_eq!(counted(20_000, "file", "files"), "20,000 files");
    }

    #[test]
    fn durations_keep_two_figures_that_matter() {
        for (seconds, text) in [
            (0.0, "0.00 s"),
            (0.000_35, "0.35 ms"),
            (0.42, "0.42 s"),
            (9.994, "9.99 s"),
            (12.34, "12.3 s"),
            (99.9, "99.9 s"),
            (120.0, "2 min"),
            (125.4, "2 min 5 s"),
            (11_520.0, "3 h 12 min"),
            (187_200.0, "2 d 4 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(duration(f64::NAN), "NaN s");
    }

    #[test]
    fn times_and_ages() {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        assert_eq!(time("2026-11-22T18:16:21.123Z"), "2026-11-22 18:16:21 UTC");
        assert_eq!(time("soon"), "soon");
        for (at, text) in [
            ("2026-11-22T11:59:30Z", "just now"),
            ("2026-11-22T11:00:01Z", "59 min ago"),
            ("2026-11-21T00:00:00Z", "36 h ago"),
            ("2026-11-01T00:00:00Z", "21 d ago"),
            ("2026-11-22T15:00:00Z", "in 3 h"),
            ("x", ""),
        ] {
            assert_eq!(age(at, now), text);
        }
    }

    #[test]
    fn a_hostile_name_cannot_write_on_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}d"), "a\\u{1b}[31mb\\nc\\u{202e}d");
        assert_eq!(clean("日本語"), "日本語");
        assert_eq!(path(Some(&json!({ "bytes": "61ff0a" }))), "a\\xff\\n");
    }
}
