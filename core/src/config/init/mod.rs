//! `init`: looks at a service's folder and writes the `ops.toml` that a person would have written.
//!
//! Plan first ([`plan_init`]), then write ([`write_init`]). The plan opens files to see whether they are
//! databases, so it runs in a worker.

mod discover;
mod layout;
mod template;

#[cfg(test)]
mod tests;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::{self, FILE_NAME};
use super::{BuildFacts, load, small_file};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::AtomicFile;

/// What a file that was replaced is called.
const KEPT_NAME: &str = "ops.toml.old";

/// What `init` goes by, beside the folder itself.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct InitFacts {
    /// The environment: the guide's variables in it are facts about the service.
    pub environment: Vec<(String, String)>,
    /// What this build has: nothing else is written.
    pub build: BuildFacts,
    /// Where backups go when it exists and can be written: `/backup`.
    pub backup_parent: PathBuf,
    /// Whether this host has a key that backups are encrypted to.
    pub has_key: bool,
    /// Whether an `ops.toml` that exists is replaced.
    pub force: bool,
}

impl Default for InitFacts {
    fn default() -> Self {
        Self {
            environment: Vec::new(),
            build: BuildFacts::default(),
            backup_parent: PathBuf::from("/backup"),
            has_key: false,
            force: false,
        }
    }
}

impl std::fmt::Debug for InitFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitFacts")
            .field("environment", &format_args!("{} variables", self.environment.len()))
            .field("build", &self.build)
            .field("backup_parent", &self.backup_parent)
            .field("has_key", &self.has_key)
            .field("force", &self.force)
            .finish()
    }
}

/// What `init` will write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InitPlan {
    /// The file: `ops.toml` in the root.
    pub path: PathBuf,
    /// Its whole text.
    pub text: String,
    /// What the text is based on.
    pub found: InitFound,
    /// Where the file that is replaced is kept: `ops.toml.old`, or the first of `ops.toml.old-2`, `-3`, … that is
    /// free. Nothing when no file is replaced.
    pub kept: Option<PathBuf>,
}

/// What was found in the folder and in the service's own settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InitFound {
    /// SQLite databases, relative to the root where they are inside it.
    pub databases: Vec<String>,
    /// Top-level entries that a backup takes.
    pub included: Vec<String>,
    /// Top-level entries that it leaves out, each with the reason.
    pub left_out: Vec<LeftOut>,
    /// Variables of the service that were understood. Their values are not repeated here.
    pub variables: Vec<String>,
    /// What could not be looked at, or is worth knowing.
    pub notes: Vec<String>,
}

/// Something that a backup leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Its name in the root.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Looks at the folder `root` and plans its `ops.toml`. Changes nothing.
///
/// # Errors
/// [`ErrorKind::Refused`] when there is an `ops.toml` already, unless `facts.force`;
/// [`ErrorKind::NotFound`] when `root` does not exist; [`ErrorKind::InvalidInput`] when a variable of ours in
/// the environment does not hold what its setting takes.
pub fn plan_init(root: &Path, facts: &InitFacts) -> Result<InitPlan> {
    let root = root.canonicalize().map_err(|error| Error::io(format!("find the root {root:?}"), error))?;
    let path = root.join(FILE_NAME);
    let is_there = path.symlink_metadata().is_ok();
    if is_there && !facts.force {
        return Err(exists(&path));
    }
    let kept = is_there.then(|| free_name(&root));
    let (host, warnings) = load::host_facts(&root, &facts.environment)?;
    let mut found =
        InitFound { notes: warnings.into_iter().map(|warning| warning.message).collect(), ..InitFound::default() };
    let layout = layout::survey(&root, &mut found)?;
    let databases = discover::databases(&root, &layout, &host, &mut found);
    let text = template::render(
        &template::Scene { root: &root, facts, host: &host, layout: &layout, databases: &databases },
        &mut found,
    );
    // A file that we could not read ourselves must never be written.
    file::parse(&text, FILE_NAME)
        .map_err(|error| Error::internal(format!("the planned ops.toml is not valid: {}", error.message())))?;
    Ok(InitPlan { path, text, found, kept })
}

/// Writes the planned file, whole or not at all, after a copy of the one that it replaces.
///
/// # Errors
/// [`ErrorKind::Refused`] when a file has appeared there, or where the former one is to be kept, since the plan;
/// what [`crate::fs`] says about the disk. The former file is in its place then.
pub fn write_init(plan: &InitPlan) -> Result<()> {
    // Readable, because it holds no secret; writable by its owner alone, because it names programs.
    let mut file = AtomicFile::create(&plan.path, 0o644)?;
    file.out()?.write_all(plan.text.as_bytes())?;
    if let Some(kept) = &plan.kept {
        keep(&plan.path, kept)?;
        return file.publish();
    }
    if file.publish_new()? { Ok(()) } else { Err(exists(&plan.path)) }
}

/// Copies the former file, which may hold anything, to a name of its own.
fn keep(path: &Path, kept: &Path) -> Result<()> {
    let Some(bytes) = small_file::read(path)? else { return Ok(()) };
    let mode = path.metadata().map_err(|error| Error::io(format!("look at {path:?}"), error))?.mode() & 0o777;
    let mut copy = AtomicFile::create(kept, mode)?;
    copy.out()?.write_all(&bytes)?;
    if copy.publish_new()? { Ok(()) } else { Err(exists(kept)) }
}

/// The first name for a former file that is not taken.
fn free_name(root: &Path) -> PathBuf {
    let later = (2..).map(|n| root.join(format!("{KEPT_NAME}-{n}")));
    let mut names = std::iter::once(root.join(KEPT_NAME)).chain(later);
    names.find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| root.join(KEPT_NAME))
}

fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Refused, format!("{path:?} exists already"))
        .with_hint("edit it, or let init replace it with --force")
}
