//! Texts in YAML.

/// A text in double quotes: JSON's, which YAML 1.2 takes as they are.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text of several lines as a block, each line behind so many blanks.
pub(super) fn block(text: &str, indent: usize) -> String {
    let blanks = " ".repeat(indent);
    text.lines().map(|line| format!("{blanks}{line}\n")).collect()
}
