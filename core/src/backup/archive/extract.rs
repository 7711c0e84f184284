//! Making an archive's files in a folder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{Frame, Unpacker};
use super::guard::{Limits, is_below};
use super::layout::{restored_len, stored_len};
use super::place::{OpenFiles, Placer, write_stored};
use super::plan::{Plan, Selection};
use super::pool::Pool;
use super::problem::{Problem, ProblemKind};
use super::read::{Archive, Contents, Piece};
use crate::backup::manifest::{Node, RelPath};
use crate::cancel::{Cancel, ProgressEvent, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Dir;

/// The mode of a folder that the archive has files of, but no entry for.
const UNLISTED_DIR: u32 = 0o755;

/// How to extract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Threads that decompress and write, at least 1.
    pub threads: usize,
    /// Whether to restore owners, which takes root. Without them set-id bits and the attributes `security.*`
    /// and `trusted.*` stay away too.
    pub owners: bool,
    /// What the archive may at most hold.
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
    /// Entries of every kind; folders above a selected path count, folders that the archive does not list do
    /// not.
    pub entries: u64,
    /// Bytes of the files' content.
    pub bytes: u64,
    /// Files that could not be restored ([`ExtractOptions::salvage`] only), and attributes that the filesystem
    /// or the permissions did not take.
    pub lost: Vec<Problem>,
}

impl Archive {
    /// Makes the selected entries in `into`, an empty folder.
    ///
    /// The whole index is checked first, whatever is selected: one unsafe entry refuses all, with nothing
    /// written. Every frame is proven by its BLAKE3 before its bytes are used. Files are private until they are
    /// complete; folders get their modes and times last. Folders without an entry get mode 0755. Nothing is
    /// synced: the caller does that once, for all.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for unsafe names and passed limits, [`ErrorKind::NotFound`] for a selected path
    /// that is not there, [`ErrorKind::Corrupt`] at the first damage unless [`ExtractOptions::salvage`] is set.
    /// After an error `into` holds complete files only, but not all: remove it.
    pub fn extract(
        &self,
        scope: &Scope,
        selection: &Selection,
        into: &Dir,
        options: &ExtractOptions,
    ) -> Result<Extracted> {
        let order = self.refuse_unsafe(&options.limits)?;
        let plan = Arc::new(Plan::new(&self.contents, order, selection)?);
        let mut run = Extraction {
            contents: &self.contents,
            placer: Placer::new(into, options.owners)?,
            files: Arc::new(OpenFiles::default()),
            lost: Vec::new(),
            lost_files: HashSet::new(),
            plan,
        };
        let unlisted = run.make_folders(scope)?;
        run.make_empty_files(&scope.cancel)?;
        if let Err(error) = run.make_files(scope, into, options) {
            run.files.remove_all(&mut run.placer);
            return Err(error);
        }
        run.make_links(&scope.cancel)?;
        run.finish_folders(&unlisted)?;
        Ok(run.report())
    }
}

/// An extraction under way.
struct Extraction<'a> {
    contents: &'a Arc<Contents>,
    plan: Arc<Plan>,
    placer: Placer,
    files: Arc<OpenFiles>,
    lost: Vec<Problem>,
    /// The file entries that are not restored.
    lost_files: HashSet<u32>,
}

impl Extraction<'_> {
    /// Makes all folders, private for now. Returns those that the archive does not list.
    fn make_folders(&mut self, scope: &Scope) -> Result<Vec<PathBuf>> {
        let mut unlisted = Vec::new();
        let mut before: &[u8] = b"";
        for &number in &self.plan.wanted {
            scope.cancel.check()?;
            let entry = &self.contents.entries[number as usize];
            let name = entry.path.as_bytes();
            // In the order of names all that is below a folder follows it directly, so a folder exists if the
            // name before this one is the folder, or is below it.
            for (slash, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                let folder = &name[..slash];
                if before != folder && !is_below(before, folder) {
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
            before = name;
        }
        Ok(unlisted)
    }

    /// Makes the files that store nothing: no frame is needed for them.
    fn make_empty_files(&mut self, cancel: &Cancel) -> Result<()> {
        for number in self.plan.files(self.contents) {
            let entry = &self.contents.entries[number as usize];
            let Some(made) = self.plan.made_as(number).filter(|_| stored_len(&entry.node) == 0) else { continue };
            cancel.check()?;
            let path = self.contents.entries[made as usize].path.as_path();
            let out = self.placer.create(path, entry)?;
            self.lost.extend(self.placer.finish_file(&out, path, entry)?);
        }
        Ok(())
    }

    /// Reads the frames and makes the other files, on several threads.
    fn make_files(&mut self, scope: &Scope, into: &Dir, options: &ExtractOptions) -> Result<()> {
        let threads = options.threads.max(1);
        let mut workers = Vec::new();
        for _ in 0..threads {
            let mut worker = Worker {
                contents: Arc::clone(self.contents),
                plan: Arc::clone(&self.plan),
                files: Arc::clone(&self.files),
                placer: Placer::new(into, options.owners)?,
                cancel: scope.cancel.clone(),
                salvage: options.salvage,
                unpacker: Unpacker::new()?,
                scratch: Vec::new(),
            };
            let mut plain = Vec::new();
            workers.push(move |number: usize| worker.run(number, &mut plain));
        }
        let mut pool = Pool::new(workers)?;
        let plan = Arc::clone(&self.plan);
        let total = plan.frames.iter().map(|number| self.contents.frames[*number].plain_length).sum();
        let (mut next, mut done_bytes) = (plan.frames.iter(), 0);
        for number in &plan.frames {
            // The threads hold no more than one frame each, so this many only keep them busy.
            while pool.in_flight() < 2 * threads as u64 {
                let Some(next) = next.next() else { break };
                pool.submit(*next)?;
            }
            let FrameDone { lost, lost_files } = pool.next()??;
            self.lost.extend(lost);
            self.lost_files.extend(lost_files);
            done_bytes += self.contents.frames[*number].plain_length;
            scope.progress.report(ProgressEvent {
                stage: "restoring files".to_owned(),
                done_bytes,
                total_bytes: Some(total),
                done_files: 0,
                total_files: None,
                uninterruptible: false,
            });
        }
        Ok(())
    }

    /// Makes what needs no frame, once all files are there.
    fn make_links(&mut self, cancel: &Cancel) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        // In the order of the stream, so that a name that cannot be made is always the same one.
        let mut wanted = plan.wanted.clone();
        wanted.sort_unstable();
        for number in wanted {
            cancel.check()?;
            let entry = &self.contents.entries[number as usize];
            match &entry.node {
                Node::Symlink { target } => {
                    self.lost.extend(self.placer.symlink(entry, target.as_path().as_os_str())?);
                }
                Node::Fifo => self.lost.extend(self.placer.fifo(entry)?),
                Node::HardLink { target } => self.hard_link(number, target)?,
                Node::File { .. } | Node::Dir => {}
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, number: u32, target: &RelPath) -> Result<()> {
        let entry = &self.contents.entries[number as usize];
        let file = self.plan.file_called(self.contents, target)?;
        if self.lost_files.contains(&file) {
            let message = format!("it is a hard link to {target:?}, which is damaged");
            self.lost.push(Problem::of_entry(&entry.path, ProblemKind::DamagedFrame, message));
            return Ok(());
        }
        match self.plan.made_as(file) {
            Some(made) if made != number => {
                let existing = self.contents.entries[made as usize].path.as_path();
                self.placer.hard_link(existing, entry.path.as_path())
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
        let plan = Arc::clone(&self.plan);
        for &number in plan.wanted.iter().rev() {
            let entry = &self.contents.entries[number as usize];
            if entry.node == Node::Dir {
                self.lost.extend(self.placer.finish_dir(entry)?);
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
        for &number in &self.plan.wanted {
            let entry = &self.contents.entries[number as usize];
            if lost.contains(&entry.path) {
                continue;
            }
            made.entries += 1;
            made.files += u64::from(matches!(entry.node, Node::File { .. } | Node::HardLink { .. }));
            made.bytes += restored_len(&entry.node);
            // A link that was made as the file brings its content.
            if let Node::HardLink { target } = &entry.node
                && let Ok(file) = self.plan.file_called(self.contents, target)
                && self.plan.made_as(file) == Some(number)
            {
                made.bytes += restored_len(&self.contents.entries[file as usize].node);
            }
        }
        made
    }
}

/// What came of a frame.
#[derive(Default)]
struct FrameDone {
    lost: Vec<Problem>,
    lost_files: Vec<u32>,
}

/// A thread that takes frames.
struct Worker {
    contents: Arc<Contents>,
    plan: Arc<Plan>,
    files: Arc<OpenFiles>,
    placer: Placer,
    cancel: Cancel,
    salvage: bool,
    unpacker: Unpacker,
    scratch: Vec<u8>,
}

impl Worker {
    /// Puts everything that frame `number` holds into its files.
    fn run(&mut self, number: usize, plain: &mut Vec<u8>) -> Result<FrameDone> {
        self.cancel.check()?;
        let contents = Arc::clone(&self.contents);
        let frame = &contents.frames[number];
        match contents.load(frame, &mut self.unpacker, plain) {
            Ok(()) => {}
            // A disk that cannot read a block is damage too, to somebody who asks for what is left.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable) => {
                return if self.salvage { self.give_up(frame, &error) } else { Err(self.damage(frame, error)) };
            }
            Err(error) => return Err(error),
        }
        let mut done = FrameDone::default();
        let mut scratch = std::mem::take(&mut self.scratch);
        let walked = contents.walk(frame, plain, &mut scratch, |piece| match piece {
            Piece::Data { number, at, bytes } => self.place(number, at, bytes, &mut done),
            Piece::Mismatch { number } => {
                let path = &contents.entries[number as usize].path;
                let message = "the tar header is not what the index says";
                Err(Problem::of_entry(path, ProblemKind::HeaderMismatch, message).into_error())
            }
            Piece::BadEnd => {
                Err(Problem::of_archive(ProblemKind::HeaderMismatch, "the tar stream does not end in zeros")
                    .into_error())
            }
        });
        self.scratch = scratch;
        walked.map(|()| done)
    }

    /// Writes a piece of a file; the last piece completes it.
    fn place(&mut self, number: u32, at: u64, bytes: &[u8], done: &mut FrameDone) -> Result<()> {
        let contents = Arc::clone(&self.contents);
        let entry = &contents.entries[number as usize];
        let Some(made) = self.plan.made_as(number).filter(|_| !bytes.is_empty()) else { return Ok(()) };
        let path = contents.entries[made as usize].path.as_path();
        if bytes.len() as u64 == stored_len(&entry.node) {
            let out = self.placer.create(path, entry)?;
            let placed = write_stored(&out, entry, at, bytes).and_then(|()| self.placer.finish_file(&out, path, entry));
            if placed.is_err() {
                self.remove(path);
            }
            done.lost.extend(placed?);
            return Ok(());
        }
        let Some((file, out)) = self.files.get(number, entry, path, &mut self.placer)? else { return Ok(()) };
        file.write(&out, entry, at, bytes)?;
        if self.files.written(number, &file, bytes.len() as u64) {
            let finished = self.placer.finish_file(&out, path, entry);
            if finished.is_err() {
                self.remove(path);
            }
            done.lost.extend(finished?);
        }
        Ok(())
    }

    /// Removes a file that did not become complete. The error that led here is the one to report.
    fn remove(&mut self, path: &Path) {
        if let Ok((parent, name)) = self.placer.parent_of(path) {
            let _ = parent.remove_file(name);
        }
    }

    /// Gives up the files that lie in a damaged frame.
    fn give_up(&mut self, frame: &Frame, error: &Error) -> Result<FrameDone> {
        let mut done = FrameDone::default();
        let contents = Arc::clone(&self.contents);
        for (number, problem) in contents.lost_with(frame, error) {
            let Some(made) = self.plan.made_as(number) else { continue };
            let path = &contents.entries[made as usize].path;
            if self.files.give_up(number, path.as_path(), &mut self.placer)? {
                done.lost.push(Problem { path: Some(path.clone()), ..problem });
                done.lost_files.push(number);
            }
        }
        Ok(done)
    }

    /// The error for a damaged frame: it names a file that is lost by it.
    fn damage(&self, frame: &Frame, error: Error) -> Error {
        let lost = self.contents.lost_with(frame, &error);
        match lost.into_iter().find(|(number, _)| self.plan.made_as(*number).is_some()) {
            Some((_, problem)) if error.kind() == ErrorKind::Corrupt => problem.into_error(),
            Some((_, problem)) => match problem.path {
                Some(path) => error.while_doing(format!("{path:?}")),
                None => error,
            },
            None => error,
        }
    }
}
