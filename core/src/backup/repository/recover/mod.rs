//! How to restore without this software: a text for people and a program for `sh`, kept in every repository.
//!
//! Nothing in a repository is ever replaced, so a repository that an older version made keeps its `recover.sh`, and gets the newer
//! one beside it, as `recover-<version>.sh` with a `RECOVER-<version>.md`. A newer script restores whatever an older one does.

use super::names;
use crate::backup::blocks::Objects;
use crate::backup::target::MAX_BLOCK;
use crate::error::{ErrorKind, Result};

/// Which one [`SCRIPT`] is. To be raised whenever it changes: a test holds the digest of each.
pub(crate) const VERSION: u32 = 2;

/// The program `recover.sh`: POSIX `sh`, with `tar`, `zstd`, `awk`, `dd`, and `age` for an encrypted repository.
pub(crate) const SCRIPT: &str = include_str!("recover.sh");

/// The objects that restore a repository whose record is `record`: put them when it is created.
pub(crate) fn files(record: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    [(names::RECOVER_TEXT, text(record).into_bytes()), (names::RECOVER_SCRIPT, SCRIPT.as_bytes().to_vec())]
}

/// The text `RECOVER.md`. It carries a copy of the repository's record.
pub(crate) fn text(record: &[u8]) -> String {
    let record = String::from_utf8_lossy(record);
    include_str!("RECOVER.md").replace(PLACE, record.trim_end())
}

/// Puts the ways to restore without this software beside the record: where they are missing, and, in a repository that an older
/// version made, the newer ones beside its own. It blocks.
///
/// # Errors
/// Those of the target.
pub(crate) fn put(objects: &Objects) -> Result<()> {
    let has_text = objects.exists(names::RECOVER_TEXT)?;
    let script = objects.len_of(names::RECOVER_SCRIPT)?;
    // No two versions have the same length, so nothing has to be read.
    let is_ours = script == Some(SCRIPT.len() as u64);
    if has_text && is_ours {
        return Ok(());
    }
    let record = match objects.read(names::REPOSITORY, MAX_BLOCK as u64) {
        // Its only copy is in the text, so that is there.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let missing = files(&record).into_iter().filter(|(key, _)| match *key {
        names::RECOVER_TEXT => !has_text,
        _ => script.is_none(),
    });
    for (key, bytes) in missing {
        objects.put_new(key, &bytes)?;
    }
    if script.is_none() || is_ours || !is_older(objects)? {
        return Ok(());
    }
    let (text, script) = (names::recover_text(VERSION), names::recover_script(VERSION));
    let said = self::text(&record).replace("sh recover.sh", &format!("sh {script}"));
    objects.put_new(&text, said.as_bytes())?;
    objects.put_new(&script, SCRIPT.as_bytes()).map(drop)
}

/// Whether all scripts of a repository are older than ours.
fn is_older(objects: &Objects) -> Result<bool> {
    let beside = objects.list(names::RECOVER_PREFIX)?;
    if beside.iter().filter_map(|object| names::recover_version(&object.key)).any(|version| version >= VERSION) {
        return Ok(false);
    }
    match objects.read(names::RECOVER_SCRIPT, MAX_BLOCK as u64) {
        Ok(script) => Ok(version_of(&script) < VERSION),
        // Longer than any script: it is none of ours.
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
        Err(error) => Err(error),
    }
}

/// What a script says of itself; the first one said nothing.
fn version_of(script: &[u8]) -> u32 {
    let said = String::from_utf8_lossy(&script[..script.len().min(1024)]).into_owned();
    let number = said.lines().find_map(|line| line.strip_prefix("# Version ")?.split('.').next()?.parse().ok());
    number.unwrap_or(1)
}

/// What stands for the record in the text.
const PLACE: &str = "REPOSITORY RECORD";

/// The copy of the repository's record in a text that [`text`] made.
pub(crate) fn record_in(text: &[u8]) -> Option<&[u8]> {
    let find = |hay: &[u8], needle: &[u8]| hay.windows(needle.len()).position(|window| window == needle);
    let start = find(text, b"\nuplifted-ops repository ")? + 1;
    let len = find(&text[start..], b"\n```")? + 1;
    Some(&text[start..start + len])
}

#[cfg(test)]
pub(in crate::backup) mod tests;
