//! Restoring from an archive that lies in a file, without making it a snapshot of a target first.
//!
//! One of ours is read as it is. What `tar` made goes the way of an import, into a target in scratch that lives as long as
//! the restore: so its databases are recognised, a write-ahead log that was copied beside one is played into it, and each is
//! checked, before a plan says what would be restored.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{ImportJob, ZSTD, import, read_start};
use crate::backup::archive::Archive;
use crate::backup::blocks::FileBlocks;
use crate::backup::create::NamedTarget;
use crate::backup::list::{blocking, find};
use crate::backup::manifest::{Included, Manifest, RelPath, SkipReason, Skipped};
use crate::backup::nodes::{ExtractOptions, Extracted, Roll, Selection};
use crate::backup::restore::{Notes, Source};
use crate::backup::scratch::Scratch;
use crate::backup::target::BackupTarget;
use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::fs::Dir;

/// How files end that are archives, and no identifier of a snapshot does.
const SUFFIXES: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];

/// Whether what names a snapshot names a file: it has a slash in it, or ends as an archive does.
pub fn is_file(wanted: &str) -> bool {
    wanted.contains('/') || SUFFIXES.iter().any(|suffix| wanted.ends_with(suffix))
}

/// Opens the archive in a file as the source of a restore. What it needs in scratch is removed when the source is dropped.
///
/// Of `job.create` the kinds of databases are used, and the settings; its targets are not. `place` makes a target in a
/// folder.
///
/// # Errors
/// Those of [`import`].
pub async fn open_file(
    scope: &Scope,
    job: ImportJob,
    place: impl FnOnce(&Path) -> Result<Arc<dyn BackupTarget>>,
) -> Result<Arc<dyn Source>> {
    let file = job.path.clone();
    let ours = blocking(move || {
        let is_zstd = read_start(&file)?.starts_with(&ZSTD);
        Ok(if is_zstd { Archive::open(Arc::new(FileBlocks::open(&file)?)).ok() } else { None })
    });
    if let Some(archive) = ours.await? {
        return Ok(Arc::new(archive));
    }
    let (base, in_memory) = (job.scratch.clone(), job.scratch_in_memory);
    let (scratch, folder) = blocking(move || {
        let scratch = Scratch::create(&base, in_memory)?;
        let folder = scratch.folder("target")?;
        Ok((scratch, folder))
    })
    .await?;
    let targets: Vec<NamedTarget> = vec![("scratch".to_owned(), place(&folder)?)];
    let (name, max_entries) = (RelPath::new(&job.path), job.limits.max_entries);
    let mut job = job;
    let settings = &mut job.create.settings;
    settings.layout = None;
    settings.level = Some(1);
    // It stays on this machine, in a folder that nobody else can read.
    settings.clear_secrets = Some(true);
    (job.create.keys, job.create.pause, job.create.targets) = (None, None, targets.clone());
    let imported = import(scope, job).await?;
    let copies = find(scope, &targets, &None, None, &imported.created.snapshot_id).await?;
    let copy = copies.first().ok_or_else(|| Error::internal("what was unpacked is gone"))?;
    let source = copy.source(scope, max_entries, false).await?;
    let manifest = Manifest {
        snapshot_id: name.to_string(),
        includes: tops(source.entries()),
        // What is missing or damaged is in the notes, by its name.
        ..source.manifest().clone()
    };
    let notes = notes(&name, &imported.created.skipped, imported.ignored.len());
    Ok(Arc::new(FromFile { source, manifest, notes, _scratch: scratch }))
}

/// The names at the top: such an archive says nothing about what else the service has.
fn tops(entries: &dyn Roll) -> Vec<Included> {
    let first = |path: &Path| path.components().next().map(|part| RelPath::new(part.as_os_str()));
    let names: BTreeSet<RelPath> = entries.iter().filter_map(|entry| first(entry.path.as_path())).collect();
    names.into_iter().map(|path| Included { path, present: true }).collect()
}

fn notes(name: &RelPath, skipped: &[Skipped], ignored: usize) -> Notes {
    let mut notes = Notes::default();
    notes.warnings.push(format!(
        "{name} is a copy of files that `tar` made. Where the service ran meanwhile it may be torn: its databases pass their \
         checks unless something is said here, but what was written at that time may be missing, and files may not go together"
    ));
    if ignored > 0 {
        notes.warnings.push(format!("{ignored} members are of kinds that no backup holds, and left out"));
    }
    for Skipped { path, reason, message } in skipped {
        match reason {
            SkipReason::Corrupt | SkipReason::Database => notes.faults.push(format!(
                "the database {path} is damaged, as one is that was copied while it was written to ({message}): restore an \
                 older copy, or what is whole of this one (salvage), and repair the database with `sqlite3 {path} .recover`"
            )),
            _ => notes.warnings.push(format!("{path}: {message}")),
        }
    }
    notes
}

/// A source that lives in scratch.
struct FromFile {
    source: Arc<dyn Source>,
    manifest: Manifest,
    notes: Notes,
    /// Goes last.
    _scratch: Scratch,
}

impl Source for FromFile {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn entries(&self) -> &dyn Roll {
        self.source.entries()
    }

    fn extract(&self, scope: &Scope, selection: &Selection, into: &Dir, options: &ExtractOptions) -> Result<Extracted> {
        self.source.extract(scope, selection, into, options)
    }

    fn notes(&self) -> Notes {
        self.notes.clone()
    }
}
