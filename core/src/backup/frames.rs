//! Independent zstd frames (RFC 8878), which both layouts are made of.

use zstd::zstd_safe;

use super::blocks::{Blocks, read_exact};
use crate::error::{Error, ErrorKind, Result};

/// Makes frames, all with the same settings.
pub(crate) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    /// A packer of `level`. Every frame carries its content's size and checksum.
    pub(crate) fn new(level: i32) -> Result<Self> {
        let make = || {
            let mut packer = zstd::bulk::Compressor::new(level)?;
            packer.set_parameter(zstd_safe::CParameter::ChecksumFlag(true))?;
            packer.set_parameter(zstd_safe::CParameter::ContentSizeFlag(true))?;
            Ok(packer)
        };
        make().map(Self).map_err(|e: std::io::Error| zstd_failed("prepare compression", &e))
    }

    /// Replaces the content of `out` by `plain` as one frame.
    pub(crate) fn pack(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.reserve(zstd_safe::compress_bound(plain.len()));
        self.0.compress_to_buffer(plain, out).map_err(|e| zstd_failed("compress", &e))?;
        Ok(())
    }
}

/// Opens frames.
pub(crate) struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    /// A fresh unpacker.
    pub(crate) fn new() -> Result<Self> {
        zstd::bulk::Decompressor::new().map(Self).map_err(|e| zstd_failed("prepare decompression", &e))
    }

    /// Replaces the content of `out` by that of the frame `packed`, which must have exactly `plain_len` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for everything else.
    pub(crate) fn unpack(&mut self, packed: &[u8], plain_len: usize, out: &mut Vec<u8>) -> Result<()> {
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

/// The frame at byte `offset` and the length of its content, which is 1 to `most` bytes; the inner error says why there
/// is none.
pub(crate) fn next_frame(blocks: &dyn Blocks, offset: u64, most: usize) -> Result<Result<(Vec<u8>, usize), String>> {
    let longest = zstd_safe::compress_bound(most) as u64 + 64;
    let mut bytes = read_exact(blocks, offset..blocks.len().min(offset + longest))?;
    let plain_len = match zstd_safe::get_frame_content_size(&bytes) {
        Ok(Some(len)) if (1..=most as u64).contains(&len) => len as usize,
        _ => return Ok(Err(format!("there is no frame at byte {offset}"))),
    };
    match zstd_safe::find_frame_compressed_size(&bytes) {
        Ok(len) if len <= bytes.len() => {
            bytes.truncate(len);
            Ok(Ok((bytes, plain_len)))
        }
        _ => Ok(Err(format!("the frame at byte {offset} is damaged, or cut off"))),
    }
}

fn zstd_failed(doing: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("could not {doing}: {error}"))
}
