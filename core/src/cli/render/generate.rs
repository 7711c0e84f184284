//! `generate`: the files, or what became of them.

use serde_json::Value;

use super::words::clean;
use super::{Tone, View, list, text};

/// The text of the files where they are printed, with a line before each where there are several; otherwise what was written.
pub(in crate::cli) fn files(value: &Value, view: &View) -> String {
    let files = list(value, "files");
    let mut out = String::new();
    for file in files {
        let (name, outcome) = (clean(text(file, "name")), text(file, "outcome"));
        if outcome == "printed" {
            if files.len() > 1 {
                out.push_str(&format!("# ---- {name}\n"));
            }
            out.push_str(text(file, "content"));
            continue;
        }
        let word = view.paint(Tone::Good, &clean(outcome));
        out.push_str(&format!("{word}: {}\n", clean(text(file, "path"))));
        // Where it is printed, the text has them itself.
        for warning in list(value, "warnings").iter().filter_map(Value::as_str) {
            let word = view.paint(Tone::Warning, "look at");
            out.push_str(&format!("  {word}: {}\n", clean(warning)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn what_is_printed_can_be_piped_into_a_file() {
        let one = json!({ "files": [{ "name": "a.yml", "outcome": "printed", "content": "x: 1\n" }], "warnings": ["careful"] });
        assert_eq!(files(&one, &plain()), "x: 1\n");
        let two = json!({ "files": [
            { "name": "a.yml", "outcome": "printed", "content": "x: 1\n" },
            { "name": "b.yml", "outcome": "printed", "content": "y: 2\n" },
        ], "warnings": [] });
        assert_eq!(files(&two, &plain()), "# ---- a.yml\nx: 1\n# ---- b.yml\ny: 2\n");
        let written =
            json!({ "files": [{ "name": "a.yml", "outcome": "unchanged", "path": "/etc/a.yml" }], "warnings": ["x"] });
        assert_eq!(files(&written, &plain()), "unchanged: /etc/a.yml\n  look at: x\n");
    }
}
