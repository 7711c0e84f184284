//! Percent-encoding and query strings.

/// The text that `encoded` stands for; `None` for a broken escape and for bytes that are not UTF-8. In a form
/// (a query) `+` is a space.
pub(super) fn decode(encoded: &str, form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            b'+' if form => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The names and values of a query, in order; `None` when a part of it cannot be decoded. A name without `=` has
/// an empty value.
pub(super) fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((decode(name, true)?, decode(value, true)?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once_or_not_at_all() {
        for (encoded, path, form) in [
            ("/a%20b", Some("/a b"), Some("/a b")),
            ("/a+b", Some("/a+b"), Some("/a b")),
            ("%2573", Some("%73"), Some("%73")),
            ("%c3%A9", Some("é"), Some("é")),
            ("%00", Some("\0"), Some("\0")),
            ("", Some(""), Some("")),
            ("%", None, None),
            ("%4", None, None),
            ("%zz", None, None),
            ("%+1", None, None),
            ("%ff", None, None),
            ("%c0%af", None, None),
        ] {
            assert_eq!(decode(encoded, false).as_deref(), path, "{encoded}");
            assert_eq!(decode(encoded, true).as_deref(), form, "{encoded}");
        }
    }

    #[test]
    fn queries_come_apart_in_order() {
        let text = |query: &str| {
            pairs(query).map(|pairs| pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>())
        };
        assert_eq!(text("a=1&b=2&a=3"), Some(vec!["a:1".into(), "b:2".into(), "a:3".into()]));
        assert_eq!(text("&&a&=x&b=c=d"), Some(vec!["a:".into(), ":x".into(), "b:c=d".into()]));
        assert_eq!(text("a=1%26b%3D2"), Some(vec!["a:1&b=2".into()]));
        assert_eq!(text(""), Some(Vec::new()));
        assert_eq!(text("a=%f"), None);
    }
}
