//! Making an archive's files in a folder.

use std::sync::Arc;

use super::frame::Frame;
use super::read::{Archive, Contents, Piece};
use crate::backup::frames::Unpacker;
use crate::backup::nodes::{
    ExtractOptions, Extracted, Filler, Lost, OpenFiles, Problem, ProblemKind, Selection, Wanted, make,
};
use crate::backup::pool::Pool;
use crate::cancel::{Cancel, ProgressEvent, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Dir;

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
        let roll = &self.contents.entries;
        let wanted = Arc::new(Wanted::new(roll.as_ref(), order, selection)?);
        let files = Arc::new(OpenFiles::default());
        make(scope, roll.as_ref(), &wanted, into, options, &files, || {
            fill(scope, &self.contents, &wanted, &files, into, options)
        })
    }
}

/// The frames that hold content of what is wanted.
fn frames_of(contents: &Contents, wanted: &Wanted) -> Vec<usize> {
    if wanted.is_all() {
        return (0..contents.frames.len()).collect();
    }
    let mut frames = Vec::new();
    for number in wanted.contents(contents.entries.as_ref()) {
        let place = contents.place(number);
        if place.data < place.data_end {
            frames.extend(contents.frames_of(place.header..place.data_end));
        }
    }
    frames.dedup();
    frames
}

/// Reads the frames and makes the files, on several threads.
fn fill(
    scope: &Scope,
    contents: &Arc<Contents>,
    wanted: &Arc<Wanted>,
    files: &Arc<OpenFiles>,
    into: &Dir,
    options: &ExtractOptions,
) -> Result<Lost> {
    let frames = frames_of(contents, wanted);
    let threads = options.threads.max(1);
    let mut workers = Vec::new();
    for _ in 0..threads {
        let mut worker = Worker {
            contents: Arc::clone(contents),
            wanted: Arc::clone(wanted),
            filler: Filler::new(&contents.entries, wanted, files, into, options.owners)?,
            cancel: scope.cancel.clone(),
            salvage: options.salvage,
            unpacker: Unpacker::new()?,
            scratch: Vec::new(),
        };
        let mut plain = Vec::new();
        workers.push(move |number: usize| worker.run(number, &mut plain));
    }
    let mut pool = Pool::new(workers)?;
    let total = frames.iter().map(|number| contents.frames[*number].plain_length).sum();
    let (mut next, mut done_bytes, mut lost) = (frames.iter(), 0, Lost::default());
    for number in &frames {
        // The threads hold no more than one frame each, so this many only keep them busy.
        while pool.in_flight() < 2 * threads as u64 {
            let Some(next) = next.next() else { break };
            pool.submit(*next)?;
        }
        lost.append(pool.next()??);
        done_bytes += contents.frames[*number].plain_length;
        scope.progress.report(ProgressEvent {
            stage: "restoring files".to_owned(),
            done_bytes,
            total_bytes: Some(total),
            done_files: 0,
            total_files: None,
            uninterruptible: false,
        });
    }
    Ok(lost)
}

/// A thread that takes frames.
struct Worker {
    contents: Arc<Contents>,
    wanted: Arc<Wanted>,
    filler: Filler<Vec<crate::backup::manifest::Entry>>,
    cancel: Cancel,
    salvage: bool,
    unpacker: Unpacker,
    scratch: Vec<u8>,
}

impl Worker {
    /// Puts everything that frame `number` holds into its files.
    fn run(&mut self, number: usize, plain: &mut Vec<u8>) -> Result<Lost> {
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
        let mut lost = Lost::default();
        let mut scratch = std::mem::take(&mut self.scratch);
        let walked = contents.walk(frame, plain, &mut scratch, |piece| match piece {
            Piece::Data { number, at, bytes } => self.filler.place(number, at, bytes, &mut lost),
            Piece::Mismatch { number } => {
                let path = &contents.entries[number as usize].path;
                let message = "the tar header is not what the index says";
                Err(Problem::of_entry(path, ProblemKind::HeaderMismatch, message).into_error())
            }
            Piece::BadEnd => {
                Err(Problem::of_snapshot(ProblemKind::HeaderMismatch, "the tar stream does not end in zeros")
                    .into_error())
            }
        });
        self.scratch = scratch;
        walked.map(|()| lost)
    }

    /// Gives up the files that lie in a damaged frame.
    fn give_up(&mut self, frame: &Frame, error: &Error) -> Result<Lost> {
        let mut lost = Lost::default();
        let contents = Arc::clone(&self.contents);
        for (number, problem) in contents.lost_with(frame, error) {
            self.filler.give_up(number, problem, &mut lost)?;
        }
        Ok(lost)
    }

    /// The error for a damaged frame: it names a file that is lost by it.
    fn damage(&self, frame: &Frame, error: Error) -> Error {
        let lost = self.contents.lost_with(frame, &error);
        match lost.into_iter().find(|(number, _)| self.wanted.made_as(*number).is_some()) {
            Some((_, problem)) if error.kind() == ErrorKind::Corrupt => problem.into_error(),
            Some((_, problem)) => match problem.path {
                Some(path) => error.while_doing(format!("{path:?}")),
                None => error,
            },
            None => error,
        }
    }
}
