//! Packs: blobs as members of a tar stream in independent frames.
//!
//! Writing is pure: a [`FrameBuilder`] takes blobs and gives a frame's content; whoever compresses and uploads counts
//! where the frames lie. Reading takes a frame apart again, and [`scan`] reads a pack whose index is lost.

use std::ops::Range;

use super::id::{BlobId, IdKey};
use crate::backup::archive::tar;
use crate::backup::blocks::Blocks;
use crate::backup::frames::{Unpacker, next_frame};
use crate::backup::manifest::{Entry, Node, RelPath};
use crate::backup::nodes::{BLOCK, END_LEN, padded};
use crate::error::{Error, ErrorKind, Result};

/// The longest blob, in bytes.
pub(crate) const MAX_BLOB: usize = 4 << 20;
/// How much content a frame has at most, in bytes, unless one member alone is larger: two blobs of a mebibyte with their
/// headers. More compresses no better at the usual level, whose window is a mebibyte, and costs more to read a small file.
pub(crate) const FRAME: usize = (2 << 20) + (4 << 10);
/// The longest content of a frame: a member of the longest blob.
pub(crate) const MAX_FRAME: usize = MAX_BLOB + BLOCK as usize;
/// A pack ends with the frame in which it reaches this length, compressed and before encryption, in bytes.
pub(crate) const PACK: u64 = 64 << 20;
/// Or this many blobs, so that the index of a pack of tiny files is small, to write and to read.
pub(crate) const PACK_BLOBS: usize = 100_000;
/// The content of the last frame of a pack: what ends a tar stream.
pub(crate) const END_FRAME: [u8; END_LEN as usize] = [0; END_LEN as usize];

/// Where the names of the members begin.
const FOLDER: &[u8] = b"blobs/";

/// A blob in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedBlob {
    /// What it is.
    pub(crate) id: BlobId,
    /// Where its bytes begin in the frame's content.
    pub(crate) offset: u32,
    /// How many there are.
    pub(crate) len: u32,
}

impl PackedBlob {
    /// Where its bytes lie in the frame's content.
    pub(crate) fn range(&self) -> Range<usize> {
        self.offset as usize..self.offset as usize + self.len as usize
    }
}

/// The content of a frame, ready to be compressed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PlainFrame {
    pub(crate) plain: Vec<u8>,
    pub(crate) blobs: Vec<PackedBlob>,
}

/// Gathers blobs into the content of a frame.
#[derive(Debug, Default)]
pub(crate) struct FrameBuilder {
    frame: PlainFrame,
}

impl FrameBuilder {
    /// A builder that fills `plain`, which is emptied.
    pub(crate) fn reusing(mut plain: Vec<u8>) -> Self {
        plain.clear();
        Self { frame: PlainFrame { plain, blobs: Vec::new() } }
    }

    /// How much content there is.
    pub(crate) fn plain_len(&self) -> usize {
        self.frame.plain.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.frame.plain.is_empty()
    }

    /// Whether a blob of `len` bytes may still come into this frame.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.is_empty() || self.plain_len() + BLOCK as usize + padded(len as u64) as usize <= FRAME
    }

    /// Appends a blob, at most [`MAX_BLOB`] long. Its id is not checked.
    pub(crate) fn push(&mut self, id: BlobId, content: &[u8]) -> Result<()> {
        if content.len() > MAX_BLOB {
            return Err(Error::internal(format!("a blob of {} bytes was to be packed", content.len())));
        }
        let plain = &mut self.frame.plain;
        header(id, content.len() as u64, plain)?;
        self.frame.blobs.push(PackedBlob { id, offset: plain.len() as u32, len: content.len() as u32 });
        plain.extend_from_slice(content);
        plain.resize(plain.len().next_multiple_of(BLOCK as usize), 0);
        Ok(())
    }

    /// Takes the frame; the builder is empty again.
    pub(crate) fn take(&mut self) -> PlainFrame {
        std::mem::take(&mut self.frame)
    }
}

/// Appends the header of the member that holds a blob.
fn header(id: BlobId, len: u64, out: &mut Vec<u8>) -> Result<()> {
    let path = RelPath::new(format!("blobs/{id}"));
    let node = Node::File { size: len, blake3: None, data: None, valid_size: None };
    let entry =
        Entry { path, node, mode: 0o644, uid: 0, gid: 0, mtime: 0, mtime_nanos: 0, xattrs: Vec::new(), offset: 0 };
    tar::encode(&entry, out)
}

/// The blobs in the content of a frame; none in the last frame of a pack. Their ids are what the members are called.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it is not exactly what a [`FrameBuilder`] makes.
pub(crate) fn blobs_in(plain: &[u8]) -> Result<Vec<PackedBlob>> {
    if *plain == END_FRAME {
        return Ok(Vec::new());
    }
    let bad = || Error::new(ErrorKind::Corrupt, "a frame holds something else than blobs");
    let block = BLOCK as usize;
    let (mut blobs, mut at, mut expected) = (Vec::new(), 0, Vec::new());
    while at < plain.len() {
        let head = plain.get(at..at + block).ok_or_else(bad)?;
        let id = head.strip_prefix(FOLDER).and_then(|name| BlobId::parse(name.get(..32)?)).ok_or_else(bad)?;
        let size = std::str::from_utf8(&head[124..135]).ok().and_then(|digits| u64::from_str_radix(digits, 8).ok());
        let len = size.and_then(|size| usize::try_from(size).ok()).filter(|len| *len <= MAX_BLOB).ok_or_else(bad)?;
        expected.clear();
        header(id, len as u64, &mut expected)?;
        let (start, end) = (at + block, at + block + padded(len as u64) as usize);
        let rest = plain.get(start + len..end).ok_or_else(bad)?;
        if head != expected || rest.iter().any(|byte| *byte != 0) {
            return Err(bad());
        }
        blobs.push(PackedBlob { id, offset: start as u32, len: len as u32 });
        at = end;
    }
    Ok(blobs)
}

/// A frame that a [`scan`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScannedFrame {
    /// Where it begins in the pack.
    pub(crate) offset: u64,
    /// Its compressed length.
    pub(crate) packed: u32,
    /// The length of its content.
    pub(crate) plain: u32,
    /// The blobs in it whose content is what their id says.
    pub(crate) blobs: Vec<PackedBlob>,
}

/// What a [`scan`] found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) frames: Vec<ScannedFrame>,
    /// Where and why the pack is not what it must be. Empty for a whole one.
    pub(crate) problems: Vec<String>,
}

/// Reads a pack from its beginning, without its index, and proves every blob. What is damaged is left out and named; a
/// frame that cannot be told from the next one ends the scan.
///
/// # Errors
/// Those of reading.
pub(crate) fn scan(blocks: &dyn Blocks, key: &IdKey, mut between: impl FnMut() -> Result<()>) -> Result<Scan> {
    let mut scan = Scan::default();
    let (mut unpacker, mut plain, mut at) = (Unpacker::new()?, Vec::new(), 0);
    loop {
        between()?;
        if at == blocks.len() {
            scan.problems.push(format!("it ends at byte {at}, without its last frame"));
            return Ok(scan);
        }
        let (packed, plain_len) = match next_frame(blocks, at, MAX_FRAME) {
            Ok(Ok(frame)) => frame,
            Ok(Err(why)) => {
                scan.problems.push(why);
                return Ok(scan);
            }
            // An encrypted pack that was cut: what came before is whole.
            Err(error) if error.kind() == ErrorKind::Corrupt && !scan.frames.is_empty() => {
                scan.problems.push(error.message().to_owned());
                return Ok(scan);
            }
            Err(error) => return Err(error),
        };
        let found = unpacker.unpack(&packed, plain_len, &mut plain).and_then(|()| blobs_in(&plain));
        let mut frame =
            ScannedFrame { offset: at, packed: packed.len() as u32, plain: plain_len as u32, blobs: Vec::new() };
        let is_last = match found {
            Ok(blobs) => {
                let is_last = blobs.is_empty();
                for blob in blobs {
                    if key.blob_id(&plain[blob.range()]) == blob.id {
                        frame.blobs.push(blob);
                    } else {
                        scan.problems.push(format!("the blob {} in the frame at byte {at} is damaged", blob.id));
                    }
                }
                is_last
            }
            Err(error) => {
                scan.problems.push(format!("the frame at byte {at}: {}", error.message()));
                false
            }
        };
        at += packed.len() as u64;
        scan.frames.push(frame);
        if is_last {
            if at < blocks.len() {
                scan.problems.push(format!("{} bytes follow its end", blocks.len() - at));
            }
            return Ok(scan);
        }
    }
}
