//! Frames: the independent pieces of the compressed stream.

use serde::{Deserialize, Serialize};

use crate::backup::manifest::Digest;

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
