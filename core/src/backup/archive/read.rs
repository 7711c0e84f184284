//! Opening an archive, and finding the way in it.

use std::ops::Range;
use std::sync::Arc;

use super::frame::Frame;
use super::guard::Suspect;
use super::locate;
use super::tail::{Footer, Summary};
use super::tar;
use crate::backup::blocks::{Blocks, read_exact};
use crate::backup::frames::Unpacker;
use crate::backup::manifest::{Digest, Entry, Manifest};
use crate::backup::nodes::{END_LEN, Limits, Order, Problem, ProblemKind, padded, stored_len};
use crate::error::{Error, ErrorKind, Result};

/// An open archive: its index is in memory, its content is read when asked for.
pub struct Archive {
    pub(super) contents: Arc<Contents>,
    pub(super) manifest: Manifest,
    pub(super) footer: Option<Footer>,
    pub(super) problems: Vec<Problem>,
}

/// What threads share.
pub(super) struct Contents {
    pub(super) blocks: Arc<dyn Blocks>,
    pub(super) entries: Arc<Vec<Entry>>,
    pub(super) frames: Vec<Frame>,
    /// Where the frames end in the file, as written.
    pub(super) frames_end: u64,
    /// How many bytes are missing from the middle of the file.
    pub(super) missing: u64,
    /// Whether the index was read, and not rebuilt from the stream.
    pub(super) indexed: bool,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("snapshot_id", &self.manifest.snapshot_id)
            .field("entries", &self.contents.entries.len())
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Opens an archive by its index: two reads when nothing is damaged, one when the archive is small.
    ///
    /// A damaged footer, or a damaged copy of the index, is worked around and kept in [`Archive::problems`].
    /// Nothing else is checked yet: see [`Archive::verify_quick`].
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when there is no undamaged index ([`Archive::open_without_index`] can still find
    /// files), [`ErrorKind::Unsupported`] for a later version of the format.
    pub fn open(blocks: Arc<dyn Blocks>) -> Result<Self> {
        let found = locate::locate(blocks.as_ref())?;
        let contents = Contents {
            blocks,
            entries: Arc::new(found.index.entries),
            frames: found.index.frames,
            frames_end: found.frames_end,
            missing: found.missing,
            indexed: true,
        };
        Ok(Self {
            contents: Arc::new(contents),
            manifest: found.index.manifest,
            footer: found.footer,
            problems: found.problems,
        })
    }

    /// What a list of snapshots shows. One small read when nothing is damaged.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn summary(blocks: &dyn Blocks) -> Result<Summary> {
        locate::summary(blocks)
    }

    /// What the snapshot says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Everything in the archive, in the order of the tar stream.
    pub fn entries(&self) -> &[Entry] {
        &self.contents.entries
    }

    /// The same, as both layouts have them.
    pub(in crate::backup) fn roll(&self) -> &Vec<Entry> {
        &self.contents.entries
    }

    /// What opening had to work around.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether the index was read. Without it the files' checksums are unknown, and so is what is missing at
    /// the end.
    pub fn has_index(&self) -> bool {
        self.contents.indexed
    }

    /// Everything that the guard looks at.
    pub(super) fn suspect(&self) -> Suspect<'_> {
        Suspect {
            entries: &self.contents.entries,
            frames: &self.contents.frames,
            manifest: self.contents.indexed.then_some(&self.manifest),
            frames_end: self.contents.frames_end,
            stored: self.contents.blocks.len().saturating_add(self.contents.missing),
        }
    }

    /// The names in order, or the error for the first violation of a rule.
    pub(super) fn refuse_unsafe(&self, limits: &Limits) -> Result<Order> {
        self.suspect().refuse(Some(limits))
    }
}

/// An entry's place in the tar stream. Right only once the guard has passed the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) header: u64,
    pub(super) data: u64,
    /// Where the data ends, without padding.
    pub(super) data_end: u64,
    pub(super) end: u64,
}

/// What [`Contents::walk`] meets in a frame.
pub(super) enum Piece<'a> {
    /// Bytes `at..` of what the stream stores of the entry; empty, once, for a file that stores nothing.
    Data { number: u32, at: u64, bytes: &'a [u8] },
    /// The entry's header, or the zeros around its content, are not what the index says.
    Mismatch { number: u32 },
    /// The same behind the last entry.
    BadEnd,
}

impl Contents {
    /// The end of the last entry in the stream.
    pub(super) fn content_end(&self) -> u64 {
        let end = self.frames.last().map_or(0, Frame::plain_end);
        if self.indexed {
            return end.saturating_sub(END_LEN);
        }
        let Some(last) = self.entries.last() else { return 0 };
        let mut header = Vec::new();
        // An entry that was parsed encodes to what it was parsed from.
        let _ = tar::encode(last, &mut header);
        last.offset + header.len() as u64 + padded(stored_len(&last.node))
    }

    /// Where an entry lies.
    pub(super) fn place(&self, number: u32) -> Place {
        let entry = &self.entries[number as usize];
        let end = self.entries.get(number as usize + 1).map_or_else(|| self.content_end(), |next| next.offset);
        let stored = stored_len(&entry.node);
        let data = end - padded(stored);
        Place { header: entry.offset, data, data_end: data + stored, end }
    }

    /// The frames that hold `range` of the stream.
    pub(super) fn frames_of(&self, range: Range<u64>) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let start = self.frames.partition_point(|frame| frame.plain_end() <= range.start);
        let end = self.frames.partition_point(|frame| frame.plain_offset < range.end);
        start..end.max(start)
    }

    /// The entries of which some byte lies in a frame.
    pub(super) fn entries_in(&self, frame: &Frame) -> Range<u32> {
        let after = self.entries.partition_point(|entry| entry.offset < frame.plain_end());
        let first = self.entries.partition_point(|entry| entry.offset <= frame.plain_offset).saturating_sub(1);
        first as u32..after as u32
    }

    /// Reads a frame, proves it by its BLAKE3 and decompresses it into `plain`. Where bytes are missing from
    /// the middle of the file, the frame is also looked for that much earlier.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the frame is damaged; others when it could not be read.
    pub(super) fn load(&self, frame: &Frame, unpacker: &mut Unpacker, plain: &mut Vec<u8>) -> Result<()> {
        let damaged =
            || Error::new(ErrorKind::Corrupt, format!("bytes {} to {} are damaged", frame.offset, frame.end()));
        let fetch = |missing: u64| -> Result<Vec<u8>> {
            let start = frame.offset.checked_sub(missing).ok_or_else(damaged)?;
            let packed = read_exact(self.blocks.as_ref(), start..start + frame.length)?;
            if Digest::of(&packed) == frame.blake3 { Ok(packed) } else { Err(damaged()) }
        };
        let packed = match fetch(0) {
            Err(error) if self.missing > 0 && error.kind() == ErrorKind::Corrupt => fetch(self.missing)?,
            other => other?,
        };
        unpacker.unpack(&packed, frame.plain_length as usize, plain)
    }

    /// Goes through the content of a frame: hands out the data, and compares everything else with what the
    /// entries encode to.
    pub(super) fn walk<'a>(
        &self,
        frame: &Frame,
        plain: &'a [u8],
        scratch: &mut Vec<u8>,
        mut visit: impl FnMut(Piece<'a>) -> Result<()>,
    ) -> Result<()> {
        // The part of the frame that lies in `range` of the stream.
        let part = |range: Range<u64>| {
            let start = range.start.clamp(frame.plain_offset, frame.plain_end());
            let end = range.end.clamp(start, frame.plain_end());
            (start, &plain[(start - frame.plain_offset) as usize..(end - frame.plain_offset) as usize])
        };
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        for number in self.entries_in(frame) {
            let entry = &self.entries[number as usize];
            let place = self.place(number);
            let (start, header) = part(place.header..place.data);
            let mut same = true;
            if !header.is_empty() {
                scratch.clear();
                tar::encode(entry, scratch)?;
                let skip = (start - place.header) as usize;
                same = scratch.get(skip..skip + header.len()) == Some(header);
            }
            same &= is_zero(part(place.data_end..place.end).1);
            if !same {
                visit(Piece::Mismatch { number })?;
            }
            let (start, bytes) = part(place.data..place.data_end);
            // The frame with the header's last byte answers for a file that stores nothing.
            let stores_nothing = place.data == place.data_end && start == place.data && !header.is_empty();
            if !bytes.is_empty() || stores_nothing {
                visit(Piece::Data { number, at: start - place.data, bytes })?;
            }
        }
        if self.indexed && !is_zero(part(self.content_end()..u64::MAX).1) {
            visit(Piece::BadEnd)?;
        }
        Ok(())
    }

    /// The files of which stored bytes lie in a frame, as problems: what is lost when the frame is.
    pub(super) fn lost_with(&self, frame: &Frame, why: &Error) -> Vec<(u32, Problem)> {
        self.entries_in(frame)
            .filter(|number| {
                let place = self.place(*number);
                place.data < place.data_end && place.data < frame.plain_end() && place.data_end > frame.plain_offset
            })
            .map(|number| {
                let path = &self.entries[number as usize].path;
                (number, Problem::of_entry(path, ProblemKind::DamagedFrame, why.message()))
            })
            .collect()
    }
}
