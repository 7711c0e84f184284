//! The write-ahead log, read without the engine (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
//!
//! Each frame's checksum goes on from that of the frame before it, and the first one's from the header: whoever holds a
//! [`Place`] in the log can tell whether the log that he finds later is still the same one, and goes on from there.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::gate::Identity;
use super::super::header::read_fully_at;
use crate::error::{Error, Result};

/// Bytes of the log's header.
const HEADER: u64 = 32;
/// Bytes of a frame's header, which a page follows.
const FRAME: usize = 24;
/// About how much is read at once, in bytes.
const BLOCK: usize = 256 << 10;

/// A place in a log: behind a frame, or behind the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// What the log's header had for this pass; zeros for a log that had no header yet.
    pub(super) salts: [u32; 2],
    /// The frame's number, from 1; 0 for the header.
    pub(super) frame: u32,
    /// The checksum up to here.
    pub(super) sum: [u32; 2],
}

/// The log's header: it changes when, and only when, the log starts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogHeader {
    /// Whether the checksums read words with the most significant byte first.
    big: bool,
    pub(super) page_size: u32,
    pub(super) salts: [u32; 2],
    sum: [u32; 2],
}

impl LogHeader {
    /// `None` for a header that is torn, or no header.
    pub(super) fn parse(bytes: &[u8; HEADER as usize]) -> Option<Self> {
        let word = |at: usize| word(bytes, at);
        let page_size = word(8);
        let known = matches!(word(0), 0x377f_0682 | 0x377f_0683) && word(4) == 3_007_000;
        if !known || !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
            return None;
        }
        let big = word(0) & 1 == 1;
        let sum = checksum(big, &bytes[..24], [0, 0]);
        (sum == [word(24), word(28)]).then_some(Self { big, page_size, salts: [word(16), word(20)], sum })
    }

    /// The place behind it.
    pub(super) fn place(&self) -> Place {
        Place { salts: self.salts, frame: 0, sum: self.sum }
    }

    /// Where a frame ends in the file.
    pub(super) fn end_of(&self, frame: u32) -> u64 {
        HEADER + u64::from(frame) * (FRAME as u64 + u64::from(self.page_size))
    }
}

/// What is at the beginning of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// No log: every commit is in the main file.
    Empty,
    /// It is being written, or damaged.
    Torn,
    Is(LogHeader),
}

/// The log, open.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(format!("open {path:?}"), e))?;
        Ok(Self { file, path: path.to_owned() })
    }

    pub(super) fn identity(&self) -> Result<Identity> {
        let meta = self.file.metadata().map_err(|e| Error::io(format!("look at {:?}", self.path), e))?;
        Ok((meta.dev(), meta.ino()))
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| Error::io(format!("look at {:?}", self.path), e))?.len())
    }

    pub(super) fn head(&self) -> Result<Head> {
        let mut bytes = [0; HEADER as usize];
        match self.read(&mut bytes, 0)? {
            0 => Ok(Head::Empty),
            32 => Ok(LogHeader::parse(&bytes).map_or(Head::Torn, Head::Is)),
            _ => Ok(Head::Torn),
        }
    }

    /// Whether the frame before `place` is still in the file as it was.
    pub(super) fn holds(&self, header: &LogHeader, place: &Place) -> Result<bool> {
        if place.frame == 0 {
            return Ok(header.place() == *place);
        }
        let mut bytes = [0; FRAME];
        let read = self.read(&mut bytes, header.end_of(place.frame - 1))?;
        Ok(read == FRAME && salts_and_sum(&bytes) == (place.salts, place.sum))
    }

    /// Fills `page` with the page of a frame; false where the file ends before.
    pub(super) fn page(&self, header: &LogHeader, frame: u32, page: &mut [u8]) -> Result<bool> {
        let read = self.read(page, header.end_of(frame - 1) + FRAME as u64)?;
        Ok(read == page.len())
    }

    /// Walks on from `place`, which may be of the pass before that of `header`.
    pub(super) fn walk(&self, header: &LogHeader, place: Place) -> Walk<'_> {
        Walk { log: self, header: *header, place, block: Vec::new(), used: 0 }
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        read_fully_at(&self.file, bytes, offset).map_err(|e| Error::io(format!("read {:?}", self.path), e))
    }
}

/// A frame.
pub(super) struct Frame<'a> {
    /// The page's number.
    pub(super) page: u32,
    /// The pages that the database has after the commit that this frame ends; 0 for every other frame.
    pub(super) commit: u32,
    /// The page.
    pub(super) bytes: &'a [u8],
}

/// A walk along frames whose checksums go on from each other.
pub(super) struct Walk<'a> {
    log: &'a Log,
    header: LogHeader,
    place: Place,
    block: Vec<u8>,
    used: usize,
}

impl Walk<'_> {
    /// Behind the last frame that was returned.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The next frame; `None` where the chain ends. Reads at most up to the end of frame `limit`.
    pub(super) fn next(&mut self, limit: u32) -> Result<Option<Frame<'_>>> {
        if self.place.frame >= limit {
            return Ok(None);
        }
        let whole = FRAME + self.header.page_size as usize;
        if self.block.len() - self.used < whole {
            let frames = (BLOCK / whole).max(1).min((limit - self.place.frame) as usize);
            self.block.resize(frames * whole, 0);
            let read = self.log.read(&mut self.block, self.header.end_of(self.place.frame))?;
            self.block.truncate(read / whole * whole);
            self.used = 0;
        }
        let Some(frame) = self.block.get(self.used..self.used + whole) else { return Ok(None) };
        let (head, bytes) = frame.split_at(FRAME);
        let sum = checksum(self.header.big, &head[..8], self.place.sum);
        let sum = checksum(self.header.big, bytes, sum);
        let page = word(head, 0);
        if salts_and_sum(head) != (self.place.salts, sum) || page == 0 {
            return Ok(None);
        }
        self.place = Place { frame: self.place.frame + 1, sum, ..self.place };
        self.used += whole;
        Ok(Some(Frame { page, commit: word(head, 4), bytes }))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn salts_and_sum(frame: &[u8]) -> ([u32; 2], [u32; 2]) {
    ([word(frame, 8), word(frame, 12)], [word(frame, 16), word(frame, 20)])
}

/// The log's own checksum over `bytes`, a multiple of 8, from `sum` on.
fn checksum(big: bool, bytes: &[u8], [mut first, mut second]: [u32; 2]) -> [u32; 2] {
    let read = if big { u32::from_be_bytes } else { u32::from_le_bytes };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(read([pair[0], pair[1], pair[2], pair[3]])).wrapping_add(second);
        second = second.wrapping_add(read([pair[4], pair[5], pair[6], pair[7]])).wrapping_add(first);
    }
    [first, second]
}
