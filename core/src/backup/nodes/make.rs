//! Making a snapshot's entries in a folder: everything but the content, in the one order that works.

use std::collections::HashSet;
use std::path::PathBuf;

use super::fill::Lost;
use super::guard::{Limits, is_below};
use super::layout::{restored_len, stored_len};
use super::place::{OpenFiles, Placer};
use super::problem::{Problem, ProblemKind};
use super::roll::Roll;
use super::wanted::Wanted;
use crate::backup::manifest::{Entry, Node, RelPath};
use crate::cancel::{Cancel, Scope};
use crate::error::{Error, Result};
use crate::fs::Dir;

/// The mode of a folder that the snapshot has files of, but no entry for.
const UNLISTED_DIR: u32 = 0o755;

/// How to extract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Threads that decompress and write, at least 1.
    pub threads: usize,
    /// Whether to restore owners, which takes root. Without them set-id bits and the attributes `security.*`
    /// and `trusted.*` stay away too.
    pub owners: bool,
    /// What the snapshot may at most hold.
    pub limits: Limits,
    /// Whether to restore what is undamaged and list the rest, instead of failing at the first damage.
    pub salvage: bool,
}

impl Default for ExtractOptions {
    /// Two threads, no owners, the default limits, no salvage.
    fn default() -> Self {
        Self { threads: 2, owners: false, limits: Limits::default(), salvage: false }
    }
}

/// What an extraction made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Regular files, hard links included.
    pub files: u64,
    /// Entries of every kind; folders above a selected path count, folders that the snapshot does not list do
    /// not.
    pub entries: u64,
    /// Bytes of the files' content.
    pub bytes: u64,
    /// Files that could not be restored ([`ExtractOptions::salvage`] only), and attributes that the filesystem
    /// or the permissions did not take.
    pub lost: Vec<Problem>,
}

/// Makes the wanted entries in the empty folder `into`. `fill` makes every file that stores something, with the pieces
/// that it puts into `files` by a [`Filler`](super::Filler).
///
/// The guard has passed the entries before. Files are private until they are complete; folders get their modes and
/// times last. Folders without an entry get mode 0755. Nothing is synced: the caller does that once, for all.
///
/// # Errors
/// What `fill` says, and the filesystem. After an error `into` holds complete files only, but not all.
pub(in crate::backup) fn make(
    scope: &Scope,
    roll: &dyn Roll,
    wanted: &Wanted,
    into: &Dir,
    options: &ExtractOptions,
    files: &OpenFiles,
    fill: impl FnOnce() -> Result<Lost>,
) -> Result<Extracted> {
    let placer = Placer::new(into, options.owners)?;
    let mut making = Making { roll, wanted, placer, lost: Vec::new(), lost_files: HashSet::new() };
    let unlisted = making.folders(scope)?;
    making.empty_files(&scope.cancel)?;
    match fill() {
        Ok(lost) => {
            making.lost.extend(lost.problems);
            making.lost_files.extend(lost.files);
        }
        Err(error) => {
            files.remove_all(&mut making.placer);
            return Err(error);
        }
    }
    if let Some(number) = files.unfinished().first() {
        files.remove_all(&mut making.placer);
        let path = RelPath::from(&*roll.path(*number));
        return Err(Error::internal(format!("{path:?} lacks a part that nobody brought")));
    }
    making.links(&scope.cancel)?;
    making.finish_folders(&unlisted)?;
    Ok(making.report())
}

/// An extraction under way.
struct Making<'a> {
    roll: &'a dyn Roll,
    wanted: &'a Wanted,
    placer: Placer,
    lost: Vec<Problem>,
    /// The file entries that are not made.
    lost_files: HashSet<u32>,
}

impl Making<'_> {
    /// Makes all folders, private for now. Returns those that the snapshot does not list.
    fn folders(&mut self, scope: &Scope) -> Result<Vec<PathBuf>> {
        let mut unlisted = Vec::new();
        let mut before: Vec<u8> = Vec::new();
        for &number in self.wanted.by_name() {
            scope.cancel.check()?;
            let entry = self.roll.entry(number);
            let name = entry.path.as_bytes();
            // In the order of names all that is below a folder follows it directly, so a folder exists if the
            // name before this one is the folder, or is below it.
            for (slash, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                let folder = &name[..slash];
                if before != folder && !is_below(&before, folder) {
                    let folder = RelPath::from(folder).as_path().to_owned();
                    let (parent, name) = self.placer.parent_of(&folder)?;
                    parent.make_dir(name)?;
                    unlisted.push(folder);
                }
            }
            if entry.node == Node::Dir {
                let (parent, name) = self.placer.parent_of(entry.path.as_path())?;
                parent.make_dir(name)?;
            }
            before.clear();
            before.extend_from_slice(name);
        }
        Ok(unlisted)
    }

    /// Makes the files that store nothing: no content is needed for them.
    fn empty_files(&mut self, cancel: &Cancel) -> Result<()> {
        for number in self.wanted.contents(self.roll) {
            let entry = self.roll.entry(number);
            if !matches!(entry.node, Node::File { .. }) || stored_len(&entry.node) > 0 {
                continue;
            }
            let Some(made) = self.wanted.made_as(number) else { continue };
            cancel.check()?;
            let made = self.roll.entry(made);
            let path = made.path.as_path();
            let out = self.placer.create(path, &entry)?;
            self.lost.extend(self.placer.finish_file(&out, path, &entry)?);
        }
        Ok(())
    }

    /// Makes what has no content, once all files are there.
    fn links(&mut self, cancel: &Cancel) -> Result<()> {
        // In the order of the snapshot, so that a name that cannot be made is always the same one.
        for number in self.wanted.by_number() {
            cancel.check()?;
            let entry: &Entry = &self.roll.entry(number);
            match &entry.node {
                Node::Symlink { target } => {
                    self.lost.extend(self.placer.symlink(entry, target.as_path().as_os_str())?);
                }
                Node::Fifo => self.lost.extend(self.placer.fifo(entry)?),
                Node::HardLink { target } => self.hard_link(number, entry, target)?,
                Node::File { .. } | Node::Dir => {}
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, number: u32, entry: &Entry, target: &RelPath) -> Result<()> {
        let file = self.wanted.file_called(self.roll, target)?;
        if self.lost_files.contains(&file) {
            // The one that was to be made as the file is named already.
            if self.wanted.made_as(file) != Some(number) {
                let message = format!("it is a hard link to {target:?}, which is damaged");
                self.lost.push(Problem::of_entry(&entry.path, ProblemKind::DamagedFrame, message));
            }
            return Ok(());
        }
        match self.wanted.made_as(file) {
            Some(made) if made != number => {
                let existing = self.roll.entry(made);
                self.placer.hard_link(existing.path.as_path(), entry.path.as_path())
            }
            // The link was made as the file itself.
            _ => Ok(()),
        }
    }

    /// Gives the folders their modes and times, deepest first: whatever is made in a folder changes its time.
    fn finish_folders(&mut self, unlisted: &[PathBuf]) -> Result<()> {
        for path in unlisted {
            let (parent, name) = self.placer.parent_of(path)?;
            parent.set_mode(name, UNLISTED_DIR)?;
        }
        for &number in self.wanted.by_name().iter().rev() {
            let entry = self.roll.entry(number);
            if entry.node == Node::Dir {
                self.lost.extend(self.placer.finish_dir(&entry)?);
            }
        }
        Ok(())
    }

    fn report(self) -> Extracted {
        let mut made = Extracted { files: 0, entries: 0, bytes: 0, lost: self.lost };
        let lost: HashSet<&RelPath> = made
            .lost
            .iter()
            .filter(|problem| problem.kind != ProblemKind::AttributeNotRestored)
            .filter_map(|problem| problem.path.as_ref())
            .collect();
        for &number in self.wanted.by_name() {
            let entry = self.roll.entry(number);
            if lost.contains(&entry.path) {
                continue;
            }
            made.entries += 1;
            made.files += u64::from(matches!(entry.node, Node::File { .. } | Node::HardLink { .. }));
            made.bytes += restored_len(&entry.node);
            // A link that was made as the file brings its content.
            if let Node::HardLink { target } = &entry.node
                && !self.wanted.is_all()
                && let Ok(file) = self.wanted.file_called(self.roll, target)
                && self.wanted.made_as(file) == Some(number)
            {
                made.bytes += restored_len(&self.roll.entry(file).node);
            }
        }
        made
    }
}
