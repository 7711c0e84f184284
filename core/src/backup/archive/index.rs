//! The index: every entry, every frame and the manifest, as JSON lines in one zstd frame.

use std::io::{BufRead, BufReader, Read, Write as _};

use serde::{Deserialize, Serialize};

use super::frame::Frame;
use crate::backup::manifest::{Entry, FORMAT, Manifest};
use crate::error::{Error, ErrorKind, Result};

/// The index is text that compresses well; more would cost the feeding thread time.
const LEVEL: i32 = 3;
/// An index may always have this much text, in bytes …
const TEXT_FLOOR: u64 = 32 << 20;
/// … and this many times its compressed length: honest ones stay below 50, a bomb reaches 10,000.
const TEXT_RATIO: u64 = 256;

/// A line, as it is written.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineRef<'a> {
    Entry(&'a Entry),
    Frame(&'a Frame),
    Manifest(&'a Manifest),
}

/// A line, as it is read. Unknown lines are an error: whoever adds one raises the format's version.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Entry(Entry),
    Frame(Frame),
    Manifest(Box<Manifest>),
}

/// What an index says.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) manifest: Manifest,
    pub(super) entries: Vec<Entry>,
    pub(super) frames: Vec<Frame>,
}

/// Collects the index of an archive being written, compressed as it grows.
pub(super) struct IndexBuilder {
    packer: zstd::stream::write::Encoder<'static, Vec<u8>>,
    line: Vec<u8>,
    text_len: u64,
}

/// A finished index.
pub(super) struct PackedIndex {
    /// One zstd frame.
    pub(super) bytes: Vec<u8>,
    /// The length of its text.
    pub(super) text_len: u64,
}

impl IndexBuilder {
    pub(super) fn new() -> Result<Self> {
        let make = || {
            let mut packer = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
            packer.include_checksum(true)?;
            Ok(packer)
        };
        let packer = make().map_err(|e| failed(&e))?;
        Ok(Self { packer, line: Vec::new(), text_len: 0 })
    }

    /// Adds the next entry of the tar stream.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.push(&LineRef::Entry(entry))
    }

    /// Adds the frame table and the manifest, and closes the index.
    pub(super) fn finish(mut self, frames: &[Frame], manifest: &Manifest) -> Result<PackedIndex> {
        for frame in frames {
            self.push(&LineRef::Frame(frame))?;
        }
        self.push(&LineRef::Manifest(manifest))?;
        let bytes = self.packer.finish().map_err(|e| failed(&e))?;
        Ok(PackedIndex { bytes, text_len: self.text_len })
    }

    fn push(&mut self, line: &LineRef<'_>) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)
            .map_err(|e| Error::internal(format!("the index cannot be written: {e}")))?;
        self.line.push(b'\n');
        self.text_len += self.line.len() as u64;
        self.packer.write_all(&self.line).map_err(|e| failed(&e))
    }
}

impl Index {
    /// Reads a packed index whose text has `text_len` bytes, line by line: the text is never held whole.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is not an index, [`ErrorKind::Unsupported`] when it is one of a later
    /// version, [`ErrorKind::Refused`] when it expands beyond reason.
    pub(super) fn parse(packed: &[u8], text_len: u64) -> Result<Self> {
        if text_len > TEXT_FLOOR.max(TEXT_RATIO.saturating_mul(packed.len() as u64)) {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("the index of {} bytes claims to expand to {text_len}", packed.len()),
            )
            .with_hint("only an attack compresses like this: do not trust the archive"));
        }
        let text = zstd::stream::read::Decoder::with_buffer(packed).map_err(|e| failed(&e))?.single_frame();
        // One byte more than announced, so that a longer text is noticed.
        let mut text = BufReader::with_capacity(128 << 10, text.take(text_len.saturating_add(1)));
        let (mut manifest, mut entries, mut frames) = (None, Vec::new(), Vec::new());
        let (mut line, mut seen) = (Vec::new(), 0);
        loop {
            line.clear();
            let read = text.read_until(b'\n', &mut line).map_err(|e| damaged(&e))?;
            seen += read as u64;
            if read == 0 {
                break;
            }
            match serde_json::from_slice(&line).map_err(|e| damaged(&e))? {
                Line::Entry(entry) => entries.push(entry),
                Line::Frame(frame) => frames.push(frame),
                Line::Manifest(found) if manifest.is_none() => manifest = Some(*found),
                Line::Manifest(_) => return Err(damaged(&"two manifests")),
            }
        }
        if seen != text_len {
            return Err(damaged(&format!("{text_len} bytes of text announced, {seen} found")));
        }
        let manifest: Manifest = manifest.ok_or_else(|| damaged(&"no manifest"))?;
        check_version(manifest.format)?;
        Ok(Self { manifest, entries, frames })
    }
}

/// Refuses a version of the format that this code does not know.
pub(super) fn check_version(version: u32) -> Result<()> {
    if version <= FORMAT {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the archive has format version {version}; this program reads versions up to {FORMAT}"),
    )
    .with_hint("upgrade uplifted-ops, or extract with `tar --zstd -xf`"))
}

fn failed(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("could not compress the index: {error}"))
}

fn damaged(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the index is damaged: {error}"))
}
