//! What a file of cells looks like, for the process that has it and for those that read it.
//!
//! A file is regions one after another, and a region is pages of 4 KiB, which hold 512 words of 8 bytes in the order of the
//! machine: the file never leaves it. The first page of a region describes the others.
//!
//! | word of a first page | holds |
//! | --- | --- |
//! | 0 | [`MAGIC`] in the first region, [`MORE`] in the others, written last |
//! | 1 | pages of this region, this one included |
//! | 2 | version of the format |
//! | 3, 4 | the file's own number, drawn at random |
//! | 5 | the boot of the machine that it was written in |
//! | 6 | the process, for people |
//! | 7 | checksum of the words 2 to 6 |
//! | 8 | published end of the log: generation in the upper 16 bits, bytes below |
//! | 64 … 511 | what each further page is: kind in the upper half, number in the lower; 0 for one that is not used |
//!
//! Words 2 to 8 are those of the first region. Pages of cells hold the cells of the chunk that their number names; where
//! several pages name one, the cell is the sum. The log says which series has which cells.
//!
//! A record of the log is a word with its length in bytes, its kind and its generation, a word with the checksum of that
//! word, of its place and of what follows, and its bytes, filled up to words. Pages of the log are numbered by
//! generation (upper 12 bits) and order; a new generation is written in full before word 8 names it, and takes the
//! place of the one before.

use super::map::CELLS;

/// Bytes of a page.
pub(in crate::metrics) const PAGE: usize = CELLS * 8;

/// What a file begins with.
pub(in crate::metrics) const MAGIC: u64 = u64::from_le_bytes(*b"UPL-CELL");
/// What further regions begin with.
pub(in crate::metrics) const MORE: u64 = u64::from_le_bytes(*b"UPL-MORE");
/// The version of the format. A file of another one is left to those who know it.
pub(in crate::metrics) const VERSION: u64 = 2;

pub(in crate::metrics) const WORD_PAGES: usize = 1;
pub(in crate::metrics) const WORD_VERSION: usize = 2;
pub(in crate::metrics) const WORD_CHECK: usize = 7;
pub(in crate::metrics) const WORD_LOG: usize = 8;
/// Where the descriptions of pages begin; that of page 1 is the first.
pub(in crate::metrics) const WORD_ENTRIES: usize = 64;

/// The fewest pages of a region, and what all sizes are a multiple of: 64 KiB, a page of any machine.
pub(super) const STEP: usize = 16;
/// The most pages of a region: the multiple of [`STEP`] that can be described.
pub(in crate::metrics) const MOST: usize = (CELLS - WORD_ENTRIES) / STEP * STEP;

/// The most bytes that a record may have.
pub(in crate::metrics) const MAX_RECORD: usize = 1 << 20;
/// The number of bits in which the pages of a generation of the log are counted.
const LOG_ORDER_BITS: u32 = 20;
/// Generations go round.
pub(super) const GENERATIONS: u64 = 1 << 12;

/// What a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::metrics) enum Use {
    /// Cells of whole numbers.
    Whole = 1,
    /// Cells of floats that are added up.
    Float = 2,
    /// Cells of floats that are set.
    Gauge = 3,
    /// The log.
    Log = 4,
}

/// The description of a page.
pub(super) fn entry(of: Use, number: u32) -> u64 {
    (of as u64) << 32 | u64::from(number)
}

/// What an [`entry`] says. `None` for a page that is not used, or whose description is none.
pub(in crate::metrics) fn parse_entry(entry: u64) -> Option<(Use, u32)> {
    let of = match entry >> 32 {
        1 => Use::Whole,
        2 => Use::Float,
        3 => Use::Gauge,
        4 => Use::Log,
        _ => return None,
    };
    Some((of, entry as u32))
}

/// The number of a page of the log.
pub(in crate::metrics) fn log_page(generation: u64, order: usize) -> u32 {
    ((generation % GENERATIONS) as u32) << LOG_ORDER_BITS | order as u32
}

/// The end of the log as word 8 has it.
pub(super) fn log_end(generation: u64, bytes: u64) -> u64 {
    (generation % GENERATIONS) << 48 | bytes
}

/// Generation and bytes of what [`log_end`] made.
pub(in crate::metrics) fn parse_log_end(word: u64) -> (u64, u64) {
    (word >> 48, word & ((1 << 48) - 1))
}

/// The first word of a record.
pub(super) fn record_head(len: usize, kind: u8, generation: u64) -> u64 {
    len as u64 | u64::from(kind) << 32 | (generation % GENERATIONS) << 48
}

/// Length, kind and generation of what [`record_head`] made.
pub(in crate::metrics) fn parse_record_head(word: u64) -> (usize, u8, u64) {
    (word as u32 as usize, (word >> 32) as u8, word >> 48)
}

/// A checksum that finds what chance does to words; no protection against a forger.
pub(in crate::metrics) fn checksum(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0x9e37_79b9_7f4a_7c15, |sum, word| {
        let product = u128::from(sum ^ word) * 0xd6e8_feb8_6659_fd93_u128 + 0x2545_f491_4f6c_dd1d;
        product as u64 ^ (product >> 64) as u64
    })
}

/// The words of some bytes; the last one is filled up with zeros.
pub(in crate::metrics) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + Clone {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    })
}
