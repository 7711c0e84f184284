//! What can be wrong with a snapshot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::manifest::RelPath;
use crate::error::{Error, ErrorKind};

/// Something wrong with a snapshot, or with one file of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The entry concerned, when it is one.
    pub path: Option<RelPath>,
    /// What is wrong.
    pub kind: ProblemKind,
    /// The detail, for a person.
    pub message: String,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// The archive is shorter than it was.
    Truncated,
    /// Compressed data is damaged; the named file lies in it.
    DamagedFrame,
    /// A copy of the index is damaged.
    DamagedIndex,
    /// The summary or the footer at the end is damaged.
    DamagedTrailer,
    /// The tar stream says something else about the entry than the index.
    HeaderMismatch,
    /// The file's content is not what its checksum says.
    ContentMismatch,
    /// A name, or what a hard link names, that could lead outside the folder, or twice to the same place.
    UnsafeName,
    /// A mode, size, time, attribute or map that no file has.
    BadEntry,
    /// Offsets, lengths or counts that contradict each other.
    Inconsistent,
    /// More entries or bytes than allowed, or a compression that only an attack has.
    LimitExceeded,
    /// A pack of the repository is missing, damaged, or not the one that it was.
    DamagedPack,
    /// A part of the list of what is in the snapshot is lost.
    DamagedTree,
    /// The snapshot before this one is gone, or another one than it was.
    BrokenChain,
    /// The file is a database that does not pass its own check, or that is missing.
    DamagedDatabase,
    /// The file is restored, but the filesystem or the permissions did not take an attribute of it.
    AttributeNotRestored,
}

impl Problem {
    /// A problem of the snapshot as a whole.
    pub(in crate::backup) fn of_snapshot(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { path: None, kind, message: message.into() }
    }

    /// A problem of one entry.
    pub(in crate::backup) fn of_entry(path: &RelPath, kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { path: Some(path.clone()), kind, message: message.into() }
    }

    /// The error of an operation that cannot go on.
    pub(in crate::backup) fn into_error(self) -> Error {
        let kind = match self.kind {
            ProblemKind::UnsafeName | ProblemKind::LimitExceeded => ErrorKind::Refused,
            _ => ErrorKind::Corrupt,
        };
        let message = match &self.path {
            Some(path) => format!("{path:?}: {}", self.message),
            None => self.message,
        };
        Error::new(kind, message).with_hint(match self.kind {
            ProblemKind::UnsafeName => "this snapshot was not made by uplifted-ops as it is: do not trust it",
            ProblemKind::LimitExceeded => "if you trust the snapshot, raise the limit",
            _ => "use another snapshot, or salvage what is undamaged in this one",
        })
    }
}
