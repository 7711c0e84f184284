//! Frames: the independent pieces of the compressed stream.

use serde::{Deserialize, Serialize};
use zstd::zstd_safe;

use crate::backup::manifest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// The largest frame that is written or read, uncompressed, in bytes. It bounds what one thread holds.
pub(super) const MAX_FRAME: usize = 8 << 20;
/// The smallest frame that is written, uncompressed: smaller ones only cost.
pub(super) const MIN_FRAME: usize = 1 << 10;

/// One row of the frame table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frame {
    /// Where the frame begins in the file.
    pub(super) offset: u64,
    /// Its compressed length.
    pub(super) length: u64,
    /// Where its content begins in the tar stream.
    pub(super) plain_offset: u64,
    /// The length of its content.
    pub(super) plain_length: u64,
    /// The BLAKE3 of the compressed bytes.
    pub(super) blake3: Digest,
}

impl Frame {
    /// Where the frame ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// Where its content ends in the tar stream.
    pub(super) fn plain_end(&self) -> u64 {
        self.plain_offset + self.plain_length
    }
}

/// Makes frames, all with the same settings.
pub(super) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    /// A packer of `level`. Every frame carries its content's size and checksum.
    pub(super) fn new(level: i32) -> Result<Self> {
        let make = || {
            let mut packer = zstd::bulk::Compressor::new(level)?;
            packer.set_parameter(zstd_safe::CParameter::ChecksumFlag(true))?;
            packer.set_parameter(zstd_safe::CParameter::ContentSizeFlag(true))?;
            Ok(packer)
        };
        make().map(Self).map_err(|e: std::io::Error| zstd_failed("prepare compression", &e))
    }

    /// Replaces the content of `out` by `plain` as one frame.
    pub(super) fn pack(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.reserve(zstd_safe::compress_bound(plain.len()));
        self.0.compress_to_buffer(plain, out).map_err(|e| zstd_failed("compress", &e))?;
        Ok(())
    }
}

/// Opens frames.
pub(super) struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    /// A fresh unpacker.
    pub(super) fn new() -> Result<Self> {
        zstd::bulk::Decompressor::new().map(Self).map_err(|e| zstd_failed("prepare decompression", &e))
    }

    /// Replaces the content of `out` by that of the frame `packed`, which must have exactly `plain_len` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for everything else.
    pub(super) fn unpack(&mut self, packed: &[u8], plain_len: usize, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.reserve_exact(plain_len);
        let len = self
            .0
            .decompress_to_buffer(packed, out)
            .map_err(|e| Error::new(ErrorKind::Corrupt, format!("a frame does not decompress: {e}")))?;
        if len == plain_len {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Corrupt, format!("a frame holds {len} bytes, not {plain_len}")))
        }
    }
}

fn zstd_failed(doing: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("could not {doing}: {error}"))
}
