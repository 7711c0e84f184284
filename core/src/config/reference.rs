//! `env:NAME`: a setting whose value stays in the environment.

use std::path::Path;

use super::{dotenv, small_file};
use crate::error::{Error, ErrorKind, Result};
use crate::value::Secret;

const PREFIX: &str = "env:";

/// The variable's name, when `text` is a reference such as `env:DATABASE_URL`.
pub fn name_in(text: &str) -> Option<&str> {
    let name = text.strip_prefix(PREFIX)?;
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(name)
}

/// The text that a component's setting stands for: itself, or for `env:NAME` the value of that variable.
///
/// The variable is looked for in the process's environment, then in the `.env` of `root`, at the moment of
/// the call: a kind resolves what it needs when it needs it, and keeps no copy.
///
/// # Errors
/// [`ErrorKind::NotFound`] when neither has it, with both places in the hint; what [`Error::io`] says when
/// `.env` is there and cannot be read.
pub fn resolve(text: &str, root: &Path) -> Result<Secret> {
    resolve_with(text, root, |name| std::env::var(name).ok())
}

/// [`resolve`] with the environment passed in.
pub fn resolve_with(text: &str, root: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Secret> {
    let Some(name) = name_in(text) else { return Ok(Secret::new(text)) };
    if let Some(value) = environment(name) {
        return Ok(Secret::new(value));
    }
    let path = root.join(".env");
    if let Some(bytes) = small_file::read(&path)? {
        let parsed = dotenv::parse(&String::from_utf8_lossy(&bytes), environment);
        if let Some(entry) = parsed.entries.into_iter().rev().find(|entry| entry.key == name && entry.value.is_some()) {
            return Ok(Secret::new(entry.value.unwrap_or_default()));
        }
    }
    Err(Error::new(ErrorKind::NotFound, format!("the variable {name} is not set, and a setting refers to it"))
        .with_hint(format!("set {name} in the service's environment or in {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_before_dotenv() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(".env"), "A=from file\nA=last\nB=\nC\n").unwrap();
        let look = |text: &str, set: Option<&str>| {
            resolve_with(text, root.path(), |name| set.filter(|_| name == "A").map(str::to_owned))
                .map(|secret| secret.reveal().to_owned())
        };
        assert_eq!(look("env:A", Some("x")).unwrap(), "x");
        assert_eq!(look("env:A", None).unwrap(), "last");
        assert_eq!(look("env:B", None).unwrap(), "");
        assert_eq!(look("plain", None).unwrap(), "plain");
        assert_eq!(look("env:not a name", None).unwrap(), "env:not a name");
        for missing in ["env:C", "env:D"] {
            assert_eq!(look(missing, None).unwrap_err().kind(), ErrorKind::NotFound);
        }
    }
}
