//! Names and prose: the case of identifiers, and the text of doc comments.

/// `backup.undo_list` as `BackupUndoList`.
pub fn pascal(name: &str) -> String {
    let parts = name.split(['.', '_', '-']).filter(|part| !part.is_empty());
    parts.map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

/// `undo_list` as `undoList`.
pub fn camel(name: &str) -> String {
    let pascal = pascal(name);
    match pascal.get(..1) {
        Some(first) => first.to_lowercase() + &pascal[1..],
        None => pascal,
    }
}

/// A doc comment as text for any language: `` [`Name`](path) `` becomes `` `Name` ``.
pub fn without_links(docs: &str) -> String {
    let mut text = String::new();
    let mut rest = docs;
    while let Some(start) = rest.find("[`") {
        let Some(end) = rest[start..].find("`]").map(|at| start + at) else { break };
        text.push_str(&rest[..start]);
        text.push_str(&rest[start + 1..=end]);
        rest = &rest[end + 2..];
        if rest.starts_with('(')
            && let Some(close) = rest.find(')')
        {
            rest = &rest[close + 1..];
        }
    }
    text.push_str(rest);
    text.trim().to_owned()
}

/// `docs` in lines of at most `width` characters. Paragraphs and the items of lists are filled; tables, code and
/// what is indented are left alone.
pub fn wrapped(docs: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut in_code = false;
    // The indent of the paragraph that is being filled.
    let mut filling: Option<&str> = None;
    for line in docs.lines() {
        let fence = line.trim_start().starts_with("```");
        let fixed = in_code || fence || line.starts_with(|c: char| "|#> \t@".contains(c));
        in_code ^= fence;
        if line.trim().is_empty() || fixed {
            lines.push(line.trim_end().to_owned());
            filling = None;
            continue;
        }
        let item = line.starts_with("- ") || line.starts_with("* ");
        if item || filling.is_none() {
            filling = Some(if item { "  " } else { "" });
            lines.push(String::new());
        }
        for word in line.split_whitespace() {
            let Some(last) = lines.last_mut() else { continue };
            if last.is_empty() {
                last.push_str(word);
            } else if last.chars().count() + 1 + word.chars().count() <= width {
                last.push(' ');
                last.push_str(word);
            } else {
                lines.push(format!("{}{word}", filling.unwrap_or_default()));
            }
        }
    }
    lines
}

/// `text` with a full stop at its end, where it has no mark there.
pub fn sentence(text: &str) -> String {
    match text.ends_with(['.', '!', '?', ':']) || text.is_empty() {
        true => text.to_owned(),
        false => format!("{text}."),
    }
}

/// Text that is written line by line, indented.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    indent: usize,
}

impl Page {
    /// Writes a line, or several.
    pub fn line(&mut self, text: impl AsRef<str>) {
        for line in text.as_ref().split('\n') {
            if !line.is_empty() {
                self.text.push_str(&" ".repeat(self.indent));
                self.text.push_str(line);
            }
            self.text.push('\n');
        }
    }

    /// Writes so many empty lines.
    pub fn gap(&mut self, lines: usize) {
        self.text.push_str(&"\n".repeat(lines));
    }

    /// Lets `write` write, indented by `by` more.
    pub fn indented(&mut self, by: usize, write: impl FnOnce(&mut Self)) {
        self.indent += by;
        write(self);
        self.indent -= by;
    }

    /// The column at which a line begins.
    pub fn column(&self) -> usize {
        self.indent
    }

    /// All that was written, with one line end at its end.
    pub fn finish(self) -> String {
        format!("{}\n", self.text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_the_case_of_their_language() {
        assert_eq!(pascal("restore.undo_list"), "RestoreUndoList");
        assert_eq!(camel("undo_list"), "undoList");
        assert_eq!(camel("status"), "status");
        assert_eq!(camel(""), "");
    }

    #[test]
    fn links_lose_their_brackets_and_arrays_keep_theirs() {
        assert_eq!(without_links("An [`Error`](crate::Error) of [`Kind`], [1] [`"), "An `Error` of `Kind`, [1] [`");
    }

    #[test]
    fn paragraphs_and_items_are_filled() {
        assert_eq!(wrapped("one two\nthree\n\n- a b c d\n- b", 7), ["one two", "three", "", "- a b c", "  d", "- b"]);
        assert_eq!(wrapped("```\na  b\n```\nc", 80), ["```", "a  b", "```", "c"]);
    }
}
