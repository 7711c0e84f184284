//! Writing files that a person may have changed since.

use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use crate::backup::manifest::RelPath;
use crate::config::read_small_file;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;

use super::{GenerateOutcome, GeneratedFile};

/// What stands before the hash in a file.
const MARK: &str = "content b3:";
/// The hash of a file is that of the file with zeros in the place of the hash.
const HASH_LEN: usize = 32;

/// A file that is to be.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    name: &'static str,
    content: String,
}

impl Draft {
    /// Where the text has [`mark`], the hash of it is put in.
    pub(super) fn new(name: &'static str, content: String) -> Self {
        let hash = hash(&content);
        Self { name, content: content.replace(&mark(), &format!("{MARK}{hash}")) }
    }

    pub(super) fn printed(self) -> GeneratedFile {
        let Self { name, content } = self;
        GeneratedFile {
            name: name.to_owned(),
            outcome: GenerateOutcome::Printed,
            path: None,
            kept: None,
            content: Some(content),
        }
    }
}

/// What stands in a text where its hash belongs.
pub(super) fn mark() -> String {
    format!("{MARK}{}", "0".repeat(HASH_LEN))
}

fn hash(text: &str) -> String {
    crate::value::hex(&blake3::hash(text.as_bytes()).as_bytes()[..HASH_LEN / 2])
}

/// Whether we wrote the text, and nobody has changed it since.
fn is_ours(text: &str) -> bool {
    let Some(at) = text.find(MARK).map(|at| at + MARK.len()) else { return false };
    let Some(written) = text.get(at..at + HASH_LEN) else { return false };
    hash(&format!("{}{}{}", &text[..at], "0".repeat(HASH_LEN), &text[at + HASH_LEN..])) == written
}

/// What will become of each: all is looked at before anything is written.
pub(super) fn write(folder: &Path, drafts: Vec<Draft>, force: bool) -> Result<Vec<GeneratedFile>> {
    if !folder.is_dir() {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no folder {folder:?}"))
            .with_hint("make it, or name the one that Prometheus or Grafana reads"));
    }
    let mut plan = Vec::new();
    for draft in drafts {
        let path = folder.join(draft.name);
        let there = read_small_file(&path)?;
        let outcome = match there.as_deref().map(String::from_utf8_lossy) {
            None => GenerateOutcome::Created,
            Some(text) if text == draft.content => GenerateOutcome::Unchanged,
            Some(_) => GenerateOutcome::Replaced,
        };
        let foreign = there.is_some_and(|bytes| !is_ours(&String::from_utf8_lossy(&bytes)));
        let foreign = foreign && outcome == GenerateOutcome::Replaced;
        if foreign && !force {
            return Err(Error::new(ErrorKind::Refused, format!("{path:?} was changed, or made, by somebody else"))
                .with_hint("compare it with what is printed without write; force replaces it, and keeps it as …old"));
        }
        let kept = if foreign { Some(free_name(&path)?) } else { None };
        plan.push((path, draft, outcome, kept));
    }
    let done = plan.into_iter().map(|(path, draft, outcome, kept)| {
        if let Some(kept) = &kept {
            fs::rename(&path, kept)?;
        }
        if outcome != GenerateOutcome::Unchanged {
            // Prometheus and Grafana run as users of their own; nothing in it is a secret.
            fs::write_atomic(&path, 0o644, draft.content.as_bytes())?;
        }
        let name = draft.name.to_owned();
        let kept = kept.map(RelPath::new);
        Ok(GeneratedFile { name, outcome, path: Some(RelPath::new(&path)), kept, content: None })
    });
    done.collect()
}

/// `<name>.old`, or the first of `.old.2`, `.old.3`, … that is free.
fn free_name(path: &Path) -> Result<PathBuf> {
    for number in 1..1000 {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 1 { ".old".to_owned() } else { format!(".old.{number}") });
        let name = PathBuf::from(name);
        match name.symlink_metadata() {
            Err(error) if error.kind() == Io::NotFound => return Ok(name),
            _ => {}
        }
    }
    Err(Error::new(ErrorKind::Refused, format!("{path:?} has too many old versions beside it"))
        .with_hint("remove some of them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_changed_is_known() {
        let draft = Draft::new("a.yml", format!("# {}\nx: 1\n", mark()));
        assert!(is_ours(&draft.content), "{}", draft.content);
        assert!(!is_ours(&draft.content.replace("x: 1", "x: 2")));
        assert!(!is_ours("x: 1\n") && !is_ours("") && !is_ours("content b3:12"));
        assert!(!is_ours(&format!("# {}\nx: 1\n", mark())));
    }
}
