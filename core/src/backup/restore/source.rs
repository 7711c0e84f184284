//! What a restore reads from: a snapshot, whatever its layout.

use std::path::PathBuf;

use crate::backup::manifest::{Entry, Manifest};
use crate::cancel::Scope;
use crate::error::Result;
use crate::fs;

/// A snapshot that can be put into a folder.
pub trait Source: Send + Sync {
    /// What the snapshot says about itself.
    fn manifest(&self) -> &Manifest;

    /// Its entries, sorted by nothing in particular.
    fn entries(&self) -> &[Entry];

    /// Puts what is selected beneath `into`, by the same relative paths, with modes and times.
    fn extract(
        &self,
        scope: &Scope,
        selection: &Selection,
        into: &fs::Dir,
        options: &ExtractOptions,
    ) -> Result<Extracted>;
}

/// Which part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of it.
    All,
    /// These paths, relative to the root, and what is below them.
    Paths(Vec<PathBuf>),
}

/// How to extract.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// Threads that decompress. 0 is one for each core.
    pub threads: usize,
    /// Whether to set owners and groups.
    pub owners: bool,
    /// Bounds against hostile archives.
    pub limits: Limits,
    /// Whether to skip what is damaged and name it, instead of failing.
    pub salvage: bool,
}

/// Bounds against hostile archives.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most entries.
    pub max_entries: u64,
    /// The most bytes of content.
    pub max_bytes: Option<u64>,
    /// The most bytes of content for each byte of the archive.
    pub max_ratio: f64,
}

/// What was extracted.
#[derive(Debug, Clone, Default)]
pub struct Extracted {
    /// Regular files.
    pub files: u64,
    /// Entries of every kind.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// What was damaged and left out.
    pub lost: Vec<Problem>,
}

/// Something that could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Problem {
    /// The path, relative to the root.
    pub path: Option<crate::backup::manifest::RelPath>,
    /// A word for programs.
    pub kind: ProblemKind,
    /// The detail, for a person.
    pub message: String,
}

/// A word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub enum ProblemKind {
    /// A database.
    DamagedDatabase,
}
