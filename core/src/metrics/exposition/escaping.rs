//! Names that old scrapers cannot read, as names that they can.
//!
//! Source: "UTF-8 metric and label name escaping schemes" in the Prometheus documentation.

use std::borrow::Cow;
use std::fmt::Write;

use crate::metrics::names::{is_plain, is_plain_at, is_plain_label};

/// How names are written that are not of letters, digits, `_` and `:` alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Escaping {
    /// As they are, in quotes where the format wants some.
    AllowUtf8,
    /// With `_` for each other character.
    #[default]
    Underscores,
    /// With `_dot_` for a dot, and `__` for `_` and each other character. Plain names change too.
    Dots,
    /// With their code points: `U__a_2e_b`. The name can be got back.
    Values,
}

impl Escaping {
    /// The word in a header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The scheme of this word.
    pub(super) fn of(word: &str) -> Option<Self> {
        [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values].into_iter().find(|it| it.as_str() == word)
    }

    /// Whether every plain name stays as it is.
    pub(super) fn keeps_plain(self) -> bool {
        self != Self::Dots
    }

    /// The name of a label by this scheme: a colon is read in the names of metrics alone.
    pub(in crate::metrics) fn label(self, name: &str) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || (self.keeps_plain() && is_plain_label(name)) {
            return Cow::Borrowed(name);
        }
        Cow::Owned(self.escaped(name, |c, at| c != ':' && is_plain_at(c, at)))
    }

    /// The name of a metric by this scheme.
    pub(in crate::metrics) fn name(self, name: &str) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || (self.keeps_plain() && is_plain(name)) {
            return Cow::Borrowed(name);
        }
        Cow::Owned(self.escaped(name, is_plain_at))
    }

    fn escaped(self, name: &str, is_plain_at: impl Fn(char, usize) -> bool) -> String {
        let mut out = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            out.push_str("U__");
        }
        for (at, c) in name.chars().enumerate() {
            match (self, c) {
                (Self::Dots, '.') => out.push_str("_dot_"),
                (Self::Dots | Self::Values, '_') => out.push_str("__"),
                (_, c) if is_plain_at(c, at) => out.push(c),
                (Self::Dots, _) => out.push_str("__"),
                (Self::Values, c) => {
                    // A String takes everything.
                    let _ = write!(out, "_{:x}_", u32::from(c));
                }
                _ => out.push('_'),
            }
        }
        out
    }
}
