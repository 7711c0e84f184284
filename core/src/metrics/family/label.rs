//! The labels of a series as one text, `method="GET",path="/"`, which is what the page shows and what tells series apart.

use std::borrow::Cow;
use std::cmp::Ordering;

/// Longer label values are cut, so that a caller who labels by request body cannot fill the memory.
const MAX_VALUE: usize = 1_024;

/// Appends one label; a comma comes first where `out` holds labels already, that is, is longer than `start`.
pub(in crate::metrics) fn push(out: &mut String, start: usize, name: &str, value: &str) {
    if out.len() > start {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    escape(out, value, true);
    out.push('"');
}

/// The text of labels.
pub(in crate::metrics) fn text<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    labels.into_iter().for_each(|(name, value)| push(&mut out, 0, name, value));
    out
}

/// The values in a text that [`text`] made of these names, as they are escaped there.
pub(in crate::metrics) fn escaped_values<'a>(
    mut text: &'a str,
    names: &'a [String],
) -> impl Iterator<Item = Escaped<'a>> {
    names.iter().enumerate().map(move |(at, name)| {
        text = text.get(name.len() + 2 + usize::from(at > 0)..).unwrap_or_default();
        let (mut end, mut is_plain) = (0, true);
        let bytes = text.as_bytes();
        while let Some(byte) = bytes.get(end).filter(|byte| **byte != b'"') {
            let escapes = *byte == b'\\';
            is_plain &= !escapes;
            end += 1 + usize::from(escapes);
        }
        let value = Escaped { text: text.get(..end).unwrap_or(text), is_plain };
        text = text.get(end + 1..).unwrap_or_default();
        value
    })
}

/// A value as [`text`] writes it.
#[derive(Debug, Clone, Copy)]
pub(in crate::metrics) struct Escaped<'a> {
    text: &'a str,
    /// Whether nothing in it is escaped.
    is_plain: bool,
}

impl<'a> Escaped<'a> {
    /// The value. A NUL has become U+FFFD.
    pub(in crate::metrics) fn value(self) -> Cow<'a, str> {
        if self.is_plain {
            return Cow::Borrowed(self.text);
        }
        let mut value = String::with_capacity(self.text.len());
        let mut chars = self.text.chars();
        while let Some(c) = chars.next() {
            value.push(match c {
                '\\' => match chars.next() {
                    Some('n') | None => '\n',
                    Some(c) => c,
                },
                c => c,
            });
        }
        Cow::Owned(value)
    }
}

/// The values in a text that [`text`] made of these names. A NUL has become U+FFFD.
pub(in crate::metrics) fn values<'a>(text: &'a str, names: &'a [String]) -> impl Iterator<Item = String> + 'a {
    escaped_values(text, names).map(|value| value.value().into_owned())
}

/// Compares two texts of the same names by their values, in order.
pub(in crate::metrics) fn order(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    // Back to before the backslashes: whether the next byte is escaped depends on all of them.
    while at > 0 && a[at - 1] == b'\\' {
        at -= 1;
    }
    units(&a[at..]).cmp(units(&b[at..]))
}

/// The bytes of the values, each one more, and 0 where a value ends.
fn units(text: &[u8]) -> impl Iterator<Item = u16> {
    let mut bytes = text.iter();
    std::iter::from_fn(move || match *bytes.next()? {
        b'"' => Some(0),
        b'\\' => match bytes.next()? {
            b'n' => Some(u16::from(b'\n') + 1),
            byte => Some(u16::from(*byte) + 1),
        },
        byte => Some(u16::from(byte) + 1),
    })
}

/// As much of a value as is kept.
#[inline]
pub(super) fn cut(value: &str) -> &str {
    let mut end = value.len().min(MAX_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

/// Escapes a backslash and a line feed, and a quote where that is part of the syntax. A NUL, which the parser
/// of Prometheus takes for the end of the page, becomes U+FFFD.
pub(in crate::metrics) fn escape(out: &mut String, text: &str, quotes: bool) {
    let special = |byte: u8| matches!(byte, b'\\' | b'\n' | b'\0') || (quotes && byte == b'"');
    let mut rest = text;
    // What is special is ASCII, so that cutting there is safe.
    while let Some(at) = rest.bytes().position(special) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\0' => out.push(char::REPLACEMENT_CHARACTER),
            _ => out.push_str("\\\""),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: [&str; 14] =
        ["", "a", "ab", "a b", "a\"", "a\"b", "a\\", "a\\\\", "a\\n", "a\n", "a,b=\"c\"", "é", "\u{1F600}", "a\\\"b"];

    #[test]
    fn values_come_out_as_they_went_in() {
        let names = ["x".to_owned(), "long_name".to_owned()];
        for a in HARD {
            for b in HARD {
                let text = text([("x", a), ("long_name", b)]);
                assert_eq!(values(&text, &names).collect::<Vec<_>>(), [a, b], "{text}");
            }
        }
        assert_eq!(text([("x", "\0")]), "x=\"\u{fffd}\"");
    }

    #[test]
    fn texts_are_in_the_order_of_their_values() {
        let all: Vec<[&str; 2]> = HARD.iter().flat_map(|a| HARD.map(|b| [*a, b])).collect();
        let text = |[a, b]: [&str; 2]| text([("x", a), ("y", b)]);
        for a in &all {
            for b in &all {
                assert_eq!(order(&text(*a), &text(*b)), a.cmp(b), "{a:?} {b:?}");
            }
        }
    }
}
