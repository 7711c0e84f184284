//! How to restore without this software: a text for people and a program for `sh`, kept in every repository.

use super::names;

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
