//! `.env` files, read as python-dotenv 1.2 reads them.
//!
//! A service and we read the same file, so they must see the same values. The grammar, from its behaviour
//! (`tests/conformance/config/dotenv.json` holds the cases): `[export] KEY [= VALUE] [# comment]`; a key may
//! stand in single quotes; a value is single-quoted (escapes `\\` and `\'`), double-quoted (`\\ \' \" \a \b
//! \f \n \r \t \v`), both over several lines if need be, or bare up to the end of the line or a `#` after
//! white space. `${NAME}` and `${NAME:-default}` are replaced in all three. `\r\n` and `\r` are read as
//! `\n`, as Python opens files. The one difference is on purpose: a malformed line is named by its own number,
//! not by that of the blank lines before it.

use std::borrow::Cow;
use std::collections::HashMap;

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// `None` for a key without `=`.
    pub(super) value: Option<String>,
    /// The line of the key, from 1.
    pub(super) line: usize,
}

/// A whole file.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// In the order of the file; a later one of the same key wins.
    pub(super) entries: Vec<Entry>,
    /// Lines where a statement begins that is none.
    pub(super) malformed_lines: Vec<usize>,
}

/// Reads `text`. `environment` answers `${NAME}` where no earlier line of the file does.
pub(super) fn parse(text: &str, environment: impl Fn(&str) -> Option<String>) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    };
    let mut reader = Reader { text: &text, at: 0, counted: (1, 0) };
    let mut parsed = Parsed::default();
    let mut known: HashMap<String, Option<String>> = HashMap::new();
    loop {
        reader.skip_while(is_space);
        if reader.rest().is_empty() {
            return parsed;
        }
        let line = reader.line();
        match reader.statement() {
            Some((None, _)) => {}
            Some((Some(key), value)) => {
                let value = value.map(|value| {
                    interpolate(&value, |name| match known.get(name) {
                        Some(earlier) => Some(earlier.clone().unwrap_or_default()),
                        None => environment(name),
                    })
                });
                known.insert(key.clone(), value.clone());
                parsed.entries.push(Entry { key, value, line });
            }
            None => {
                parsed.malformed_lines.push(line);
                reader.skip_while(|c| c != '\n');
            }
        }
    }
}

/// White space as Python's `\s` has it: Unicode's, and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_blank(c: char) -> bool {
    is_space(c) && c != '\n'
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Line and position up to which line ends were counted.
    counted: (usize, usize),
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// The number of the current line.
    fn line(&mut self) -> usize {
        let (line, from) = self.counted;
        let line = line + self.text[from..self.at].matches('\n').count();
        self.counted = (line, self.at);
        line
    }

    /// One statement, or a comment (no key), to the end of its line. `None` when it is malformed; then the
    /// position is where it went wrong.
    fn statement(&mut self) -> Option<(Option<String>, Option<String>)> {
        self.skip_export();
        let key = match self.peek()? {
            '#' => None,
            '\'' => Some(self.quoted_key()?),
            _ => {
                let key = self.skip_while(|c| !matches!(c, '=' | '#') && !is_space(c));
                (!key.is_empty()).then_some(())?;
                Some(key.to_owned())
            }
        };
        self.skip_while(is_blank);
        let mut value = None;
        if self.peek() == Some('=') {
            self.at += 1;
            let spaced = !self.skip_while(is_blank).is_empty();
            // `KEY= # comment` is empty; `KEY=#x` is `#x`.
            value = if spaced && self.peek() == Some('#') { Some(String::new()) } else { Some(self.value()?) };
        }
        self.skip_while(is_blank);
        if self.peek() == Some('#') {
            self.skip_while(|c| c != '\n');
        }
        match self.peek() {
            None | Some('\n') => {}
            Some(_) => return None,
        }
        Some((key, value))
    }

    fn skip_export(&mut self) {
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.at += "export".len();
            self.skip_while(is_blank);
        }
    }

    fn quoted_key(&mut self) -> Option<String> {
        let inner = &self.rest()[1..];
        let end = inner.find('\'').filter(|end| *end > 0)?;
        self.at += end + 2;
        Some(inner[..end].to_owned())
    }

    fn value(&mut self) -> Option<String> {
        match self.peek() {
            Some('\'') => self.quoted_value('\'', |c| matches!(c, '\\' | '\'').then_some(c)),
            Some('"') => self.quoted_value('"', |c| {
                Some(match c {
                    '\\' | '\'' | '"' => c,
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\u{b}',
                    _ => return None,
                })
            }),
            _ => Some(bare(self.skip_while(|c| c != '\n'))),
        }
    }

    /// A quoted value; an escape that `decode` does not know stays as it is written.
    fn quoted_value(&mut self, quote: char, decode: impl Fn(char) -> Option<char>) -> Option<String> {
        let inner = &self.rest()[1..];
        let mut value = String::new();
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.at += 1 + at + 1;
                return Some(value);
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            let (_, escaped) = chars.next()?;
            match decode(escaped) {
                Some(decoded) => value.push(decoded),
                None => value.extend(['\\', escaped]),
            }
        }
        None
    }
}

/// A bare value: without the comment after white space, and without the white space at its end.
fn bare(text: &str) -> String {
    let mut end = text.len();
    let mut after_space = false;
    for (at, c) in text.char_indices() {
        if c == '#' && after_space {
            end = at;
            break;
        }
        after_space = is_space(c);
    }
    text[..end].trim_end_matches(is_space).to_owned()
}

/// Replaces `${NAME}` and `${NAME:-default}`. What does not have that form stays.
fn interpolate(value: &str, look_up: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("${") {
        let inside = &rest[at + 2..];
        let Some((name, default, after)) = variable(inside) else {
            result.push_str(&rest[..at + 2]);
            rest = inside;
            continue;
        };
        result.push_str(&rest[..at]);
        result.push_str(&look_up(name).unwrap_or_else(|| default.unwrap_or_default().to_owned()));
        rest = after;
    }
    result.push_str(rest);
    result
}

/// Name, default and what follows of `NAME}…` or `NAME:-default}…`.
fn variable(inside: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = inside.find(['}', ':'])?;
    let name = &inside[..end];
    if let Some(after) = inside[end..].strip_prefix('}') {
        return Some((name, None, after));
    }
    let (default, after) = inside[end..].strip_prefix(":-")?.split_once('}')?;
    Some((name, Some(default), after))
}
