//! Pieces of content on their way into files.

use std::path::Path;
use std::sync::Arc;

use super::layout::stored_len;
use super::place::{OpenFiles, Placer, write_stored};
use super::problem::Problem;
use super::roll::Roll;
use super::wanted::Wanted;
use crate::error::Result;
use crate::fs::Dir;

/// What could not be made.
#[derive(Debug, Default)]
pub(in crate::backup) struct Lost {
    /// Why, by name; attributes that were not taken as well.
    pub(in crate::backup) problems: Vec<Problem>,
    /// The file entries that are not made.
    pub(in crate::backup) files: Vec<u32>,
}

impl Lost {
    /// Takes what another one has.
    pub(in crate::backup) fn append(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.files.extend(other.files);
    }
}

/// One thread's way into the files of a snapshot: it takes pieces in any order.
pub(in crate::backup) struct Filler<R: ?Sized> {
    roll: Arc<R>,
    wanted: Arc<Wanted>,
    files: Arc<OpenFiles>,
    placer: Placer,
}

impl<R: Roll> Filler<R> {
    /// A way into `into`; all threads share `files`.
    pub(in crate::backup) fn new(
        roll: &Arc<R>,
        wanted: &Arc<Wanted>,
        files: &Arc<OpenFiles>,
        into: &Dir,
        owners: bool,
    ) -> Result<Self> {
        Ok(Self {
            roll: Arc::clone(roll),
            wanted: Arc::clone(wanted),
            files: Arc::clone(files),
            placer: Placer::new(into, owners)?,
        })
    }

    /// Writes the stored bytes `at..` of entry `number`, when it is wanted; the last piece completes the file.
    /// Every stored byte must come once.
    pub(in crate::backup) fn place(&mut self, number: u32, at: u64, bytes: &[u8], lost: &mut Lost) -> Result<()> {
        let roll = Arc::clone(&self.roll);
        let Some(made) = self.wanted.made_as(number).filter(|_| !bytes.is_empty()) else { return Ok(()) };
        let entry = roll.entry(number);
        let as_entry = (made != number).then(|| roll.entry(made));
        let path = as_entry.as_ref().unwrap_or(&entry).path.as_path();
        if bytes.len() as u64 == stored_len(&entry.node) {
            let out = self.placer.create(path, &entry)?;
            let placed =
                write_stored(&out, &entry, at, bytes).and_then(|()| self.placer.finish_file(&out, path, &entry));
            if placed.is_err() {
                self.remove(path);
            }
            lost.problems.extend(placed?);
            return Ok(());
        }
        let Some((file, out)) = self.files.get(number, &entry, path, &mut self.placer)? else { return Ok(()) };
        file.write(&out, &entry, at, bytes)?;
        if self.files.written(number, &file, bytes.len() as u64) {
            let finished = self.placer.finish_file(&out, path, &entry);
            if finished.is_err() {
                self.remove(path);
            }
            lost.problems.extend(finished?);
        }
        Ok(())
    }

    /// Gives up entry `number`, of which a piece cannot be had: it is not made, and named once.
    pub(in crate::backup) fn give_up(&mut self, number: u32, problem: Problem, lost: &mut Lost) -> Result<()> {
        let Some(made) = self.wanted.made_as(number) else { return Ok(()) };
        let path = self.roll.entry(made).path.clone();
        if self.files.give_up(number, path.as_path(), &mut self.placer)? {
            lost.problems.push(Problem { path: Some(path), ..problem });
            lost.files.push(number);
        }
        Ok(())
    }

    /// Removes a file that did not become complete. The error that led here is the one to report.
    fn remove(&mut self, path: &Path) {
        if let Ok((parent, name)) = self.placer.parent_of(path) {
            let _ = parent.remove_file(name);
        }
    }
}
