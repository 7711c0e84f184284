//! Checking an archive: what its tail says in a moment, or every byte.

use std::ops::Range;
use std::sync::Arc;

use super::frame::Frame;
use super::locate;
use super::read::{Archive, Contents, Piece};
use crate::backup::frames::Unpacker;
use crate::backup::manifest::Node;
use crate::backup::nodes::{ContentHasher, Problem, ProblemKind, parts_of, restored_len, stored_len};
use crate::backup::pool::Pool;
use crate::cancel::{Cancel, ProgressEvent, Scope};
use crate::error::{Error, ErrorKind, Result};

impl Archive {
    /// Checks everything but the content: the length, both index copies, the summary, that frames and entries
    /// follow each other without a gap, and the rules for what may be extracted. Reads the tail only.
    ///
    /// Damage is in the result; an error means that the archive could not be read.
    pub fn verify_quick(&self, scope: &Scope) -> Result<Vec<Problem>> {
        self.check_tail(scope).map(|(problems, _)| problems)
    }

    /// The problems, and whether the index can be followed.
    fn check_tail(&self, scope: &Scope) -> Result<(Vec<Problem>, bool)> {
        scope.cancel.check()?;
        let mut problems = self.problems.clone();
        if let Some(footer) = &self.footer {
            for problem in locate::check(self.contents.blocks.as_ref(), footer)? {
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
        scope.cancel.check()?;
        let violations = self.suspect().examine(None).0;
        let sound = violations.is_empty();
        problems.extend(violations);
        Ok((problems, sound))
    }

    /// Checks every byte: what [`Archive::verify_quick`] does, every frame's BLAKE3 and decompression, every
    /// tar header against what its entry encodes to, and every file's BLAKE3. `threads` decompress.
    ///
    /// Damage is in the result; an error means that the archive could not be read, or a cancel.
    pub fn verify_full(&self, scope: &Scope, threads: usize) -> Result<Vec<Problem>> {
        let (mut problems, sound) = self.check_tail(scope)?;
        // Offsets that contradict each other lead nowhere. Damage never causes this: the index proves itself.
        if !sound {
            return Ok(problems);
        }
        let threads = threads.max(1);
        let mut workers = Vec::new();
        for _ in 0..threads {
            let contents = Arc::clone(&self.contents);
            let (mut unpacker, mut scratch, cancel) = (Unpacker::new()?, Vec::new(), scope.cancel.clone());
            workers.push(move |(number, plain)| {
                check_frame(&contents, number, plain, &mut unpacker, &mut scratch, &cancel)
            });
        }
        let mut pool: Pool<(usize, Vec<u8>), Result<Checked>> = Pool::new(workers)?;
        let mut files = SpanningFiles { contents: &self.contents, current: None, last_lost: None };
        let frames = &self.contents.frames;
        let mut spare = Vec::new();
        let mut next = 0;
        for frame in frames {
            while next < frames.len() && pool.in_flight() < threads as u64 + 2 {
                pool.submit((next, spare.pop().unwrap_or_default()))?;
                next += 1;
            }
            let checked = pool.next()??;
            scope.cancel.check()?;
            files.follow(frame, &checked, &mut problems, &scope.cancel)?;
            problems.extend(checked.problems);
            spare.push(checked.plain);
            scope.progress.report(ProgressEvent {
                stage: "verifying".to_owned(),
                done_bytes: frame.plain_end(),
                total_bytes: frames.last().map(Frame::plain_end),
                done_files: 0,
                total_files: None,
                uninterruptible: false,
            });
        }
        Ok(problems)
    }
}

impl Archive {
    /// Checks the stored bytes that begin within `stored` against their BLAKE3: whole frames, and behind the last of
    /// them all that [`Archive::verify_quick`] reads. Ranges that together cover the archive check every byte of it.
    ///
    /// Damage is in the result; an error means that the archive could not be read, or a cancel.
    pub fn verify_part(&self, scope: &Scope, stored: Range<u64>) -> Result<Vec<Problem>> {
        let contents = &self.contents;
        let (mut unpacker, mut plain, mut problems) = (Unpacker::new()?, Vec::new(), Vec::new());
        for frame in contents.frames.iter().filter(|frame| stored.contains(&frame.offset)) {
            scope.cancel.check()?;
            match contents.load(frame, &mut unpacker, &mut plain) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let lost = contents.lost_with(frame, &error);
                    if lost.is_empty() {
                        problems.push(Problem::of_snapshot(ProblemKind::DamagedFrame, error.message()));
                    }
                    problems.extend(lost.into_iter().map(|(_, problem)| problem));
                }
                Err(error) => return Err(error),
            }
        }
        if stored.end >= contents.blocks.len() {
            problems.extend(self.verify_quick(scope)?);
        }
        Ok(problems)
    }
}

/// What a thread found out about a frame.
struct Checked {
    plain: Vec<u8>,
    damage: Option<Error>,
    problems: Vec<Problem>,
    /// Data of files that other frames hold parts of too: entry, offset in its stored bytes, place in `plain`.
    spans: Vec<(u32, u64, Range<usize>)>,
}

/// Checks all that a frame tells by itself: headers, and files that lie in it whole.
fn check_frame(
    contents: &Contents,
    number: usize,
    mut plain: Vec<u8>,
    unpacker: &mut Unpacker,
    scratch: &mut Vec<u8>,
    cancel: &Cancel,
) -> Result<Checked> {
    let frame = &contents.frames[number];
    let (mut problems, mut spans) = (Vec::new(), Vec::new());
    match contents.load(frame, unpacker, &mut plain) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            return Ok(Checked { plain, damage: Some(error), problems, spans });
        }
        Err(error) => return Err(error),
    }
    contents.walk(frame, &plain, scratch, |piece| {
        match piece {
            Piece::Data { number, at, bytes } => {
                let node = &contents.entries[number as usize].node;
                if bytes.len() as u64 == stored_len(node) {
                    let mut hasher = ContentHasher::default();
                    hasher.update(parts_of(node), restored_len(node), bytes, cancel)?;
                    problems.extend(compare(contents, number, hasher, cancel)?);
                } else {
                    let start = bytes.as_ptr().addr() - plain.as_ptr().addr();
                    spans.push((number, at, start..start + bytes.len()));
                }
            }
            Piece::Mismatch { number } => {
                let path = &contents.entries[number as usize].path;
                let message = "the tar header is not what the index says";
                problems.push(Problem::of_entry(path, ProblemKind::HeaderMismatch, message));
            }
            Piece::BadEnd => {
                let message = "the tar stream does not end in zeros";
                problems.push(Problem::of_snapshot(ProblemKind::HeaderMismatch, message));
            }
        }
        Ok(())
    })?;
    Ok(Checked { plain, damage: None, problems, spans })
}

/// Holds a file's hash against its checksum.
fn compare(contents: &Contents, number: u32, hasher: ContentHasher, cancel: &Cancel) -> Result<Option<Problem>> {
    let entry = &contents.entries[number as usize];
    let Node::File { blake3, .. } = &entry.node else { return Ok(None) };
    // An index rebuilt from the stream knows no checksums.
    let Some(blake3) = blake3 else { return Ok(None) };
    if hasher.finish(restored_len(&entry.node), cancel)? == *blake3 {
        return Ok(None);
    }
    let message = "the content is not what its checksum says";
    Ok(Some(Problem::of_entry(&entry.path, ProblemKind::ContentMismatch, message)))
}

/// Hashes the files that reach over several frames, in order, while the threads decompress ahead.
struct SpanningFiles<'a> {
    contents: &'a Contents,
    current: Option<(u32, ContentHasher)>,
    /// The file last reported as damaged: its next frames say nothing new.
    last_lost: Option<u32>,
}

impl SpanningFiles<'_> {
    fn follow(&mut self, frame: &Frame, checked: &Checked, problems: &mut Vec<Problem>, cancel: &Cancel) -> Result<()> {
        if let Some(error) = &checked.damage {
            self.current = None;
            let lost = self.contents.lost_with(frame, error);
            if lost.is_empty() {
                problems.push(Problem::of_snapshot(ProblemKind::DamagedFrame, error.message()));
            }
            for (number, problem) in lost {
                if self.last_lost.replace(number) != Some(number) {
                    problems.push(problem);
                }
            }
        }
        for (number, at, range) in &checked.spans {
            let node = &self.contents.entries[*number as usize].node;
            if *at == 0 {
                self.current = Some((*number, ContentHasher::default()));
            }
            // Without its beginning, the file is reported already.
            let Some((current, mut hasher)) = self.current.take().filter(|(current, _)| current == number) else {
                continue;
            };
            let bytes = &checked.plain[range.clone()];
            hasher.update(parts_of(node), restored_len(node), bytes, cancel)?;
            if at + bytes.len() as u64 == stored_len(node) {
                problems.extend(compare(self.contents, current, hasher, cancel)?);
            } else {
                self.current = Some((current, hasher));
            }
        }
        Ok(())
    }
}
