//! Columns that line up.

use unicode_width::UnicodeWidthStr;

use super::{Tone, View};

/// One cell: its text, and how it is meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Cell {
    /// A verdict, in its own tone.
    pub(super) fn verdict(word: &str) -> Self {
        Self { text: super::clean(word), tone: Tone::of(word) }
    }

    /// Text in a tone.
    pub(super) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

/// A table without rules: a head, rows, two blanks between columns. A column that is empty in every row is
/// left out.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    head: [&'static str; N],
    right: &'static [usize],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with a head; the columns in `right` are aligned to the right.
    pub(super) fn new(head: [&'static str; N], right: &'static [usize]) -> Self {
        Self { head, right, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    /// The table as lines, each with its line feed.
    pub(super) fn show(&self, view: &View) -> String {
        let used: Vec<usize> = (0..N).filter(|&at| self.rows.iter().any(|row| !row[at].text.is_empty())).collect();
        let width =
            |at: usize| self.rows.iter().map(|row| row[at].text.width()).max().unwrap_or(0).max(self.head[at].width());
        let widths: Vec<usize> = used.iter().map(|&at| width(at)).collect();
        let line = |cells: &dyn Fn(usize) -> (String, Tone)| {
            let mut line = String::new();
            for (nth, &at) in used.iter().enumerate() {
                let (text, tone) = cells(at);
                let pad = " ".repeat(widths[nth] - text.width());
                let painted = view.paint(tone, &text);
                let last = nth + 1 == used.len();
                match (self.right.contains(&at), last) {
                    (true, _) => line.push_str(&format!("{pad}{painted}")),
                    (false, true) => line.push_str(&painted),
                    (false, false) => line.push_str(&format!("{painted}{pad}")),
                }
                if !last {
                    line.push_str("  ");
                }
            }
            format!("{}\n", line.trim_end())
        };
        let mut text = String::new();
        if self.head.iter().any(|head| !head.is_empty()) {
            text.push_str(&line(&|at| (self.head[at].to_owned(), Tone::Dim)));
        }
        for row in &self.rows {
            text.push_str(&line(&|at| (row[at].text.clone(), row[at].tone)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plain;
    use super::*;

    #[test]
    fn columns_line_up_also_with_wide_characters_and_colours() {
        let mut table = Table::new(["NAME", "SIZE", "NOTE"], &[1]);
        table.row(["短い".into(), "1 B".into(), "".into()]);
        table.row([Cell::verdict("fail"), "1,000 B".into(), "".into()]);
        assert_eq!(table.show(&plain()), "NAME     SIZE\n短い      1 B\nfail  1,000 B\n");
        let coloured = table.show(&View { colour: true, ..plain() });
        assert!(coloured.contains("\u{1b}[31mfail\u{1b}[0m  1,000 B"), "{coloured:?}");
    }
}
