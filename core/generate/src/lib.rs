//! Writes the Python and TypeScript sides of the operations, and a reference of them, from the table in
//! `uplifted_ops::ops`.
//!
//! The JSON schemas of requests and responses become a small [`ir`], and three emitters write it down. So an
//! operation is written once, in Rust: `make generate` makes it appear everywhere, with types and
//! documentation. The generated files are checked in; a test fails when they are stale.

pub mod ir;
pub mod markdown;
pub mod python;
pub mod read;
pub mod typescript;
pub mod words;

use std::path::{Path, PathBuf};

use serde_json::Value;
use uplifted_ops::error::{Error, Result};
use uplifted_ops::ops::operations;
use uplifted_ops::{ProgressEvent, fs};

use crate::ir::Api;
use crate::read::Source;

/// One generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where it is, relative to the root of the repository.
    pub path: &'static str,
    /// Its whole text.
    pub text: String,
}

/// The operations of the table.
///
/// # Errors
/// When a schema says something that the languages have no words for: see [`read::read`].
pub fn api() -> Result<Api> {
    let sources: Vec<Source> = operations()
        .map(|entry| Source {
            name: entry.name.to_owned(),
            summary: entry.summary.to_owned(),
            effect: entry.effect,
            request: (entry.request_schema)().into(),
            response: (entry.response_schema)().into(),
        })
        .collect();
    let progress: Value = schemars::schema_for!(ProgressEvent).into();
    read::read(&sources, &[("Progress", progress)])
}

/// Every generated file.
///
/// # Errors
/// As [`api`].
pub fn outputs() -> Result<Vec<Output>> {
    let api = api()?;
    Ok(vec![
        Output { path: "bindings-python/python/uplifted_ops/types.py", text: python::types(&api) },
        Output { path: "bindings-python/python/uplifted_ops/_operations.py", text: python::operations(&api) },
        Output { path: "bindings-node/lib/generated.ts", text: typescript::module(&api) },
        Output { path: "core/OPERATIONS.md", text: markdown::reference(&api) },
    ])
}

/// The files below `root` that are missing or hold something else.
pub fn stale(root: &Path, outputs: &[Output]) -> Vec<PathBuf> {
    let is_stale = |output: &&Output| std::fs::read(root.join(output.path)).ok() != Some(output.text.clone().into());
    outputs.iter().filter(is_stale).map(|output| output.path.into()).collect()
}

/// Writes the files that are stale, and names them.
///
/// # Errors
/// What the filesystem says.
pub fn write(root: &Path, outputs: &[Output]) -> Result<Vec<PathBuf>> {
    let stale = stale(root, outputs);
    for output in outputs.iter().filter(|output| stale.contains(&output.path.into())) {
        let path = root.join(output.path);
        let folder = path.parent().ok_or_else(|| Error::internal(format!("{path:?} has no folder")))?;
        fs::create_dir_all(folder, 0o755)?;
        fs::write_atomic(&path, 0o644, output.text.as_bytes())?;
    }
    Ok(stale)
}
