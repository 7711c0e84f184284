//! Where the bytes of a file lie: in the file, and in the tar stream.
//!
//! A sparse file stores only its data parts, one after the other. Everything that moves content (the writer,
//! the hashes, verify, extraction) finds its way with the few functions here.

use super::guard::MAX_PARTS;
use crate::backup::manifest::Node;

/// The tar block, 512 bytes.
pub(in crate::backup) const BLOCK: u64 = 512;

/// The two zero blocks that end a tar stream.
pub(in crate::backup) const END_LEN: u64 = 2 * BLOCK;

/// `len` rounded up to whole blocks. Lengths that [`super::guard`] lets through cannot overflow.
pub(in crate::backup) fn padded(len: u64) -> u64 {
    len.next_multiple_of(BLOCK)
}

/// Bytes of the node's content in the tar stream: holes are not stored.
pub(in crate::backup) fn stored_len(node: &Node) -> u64 {
    match node {
        Node::File { size, data: None, .. } => *size,
        Node::File { data: Some(parts), .. } => parts.iter().map(|(_, len)| len).sum(),
        _ => 0,
    }
}

/// The length of the file that a restore makes.
pub(in crate::backup) fn restored_len(node: &Node) -> u64 {
    match node {
        Node::File { size, valid_size, .. } => valid_size.unwrap_or(*size),
        _ => 0,
    }
}

/// The data parts of a file's node; `None` for one stored whole.
pub(in crate::backup) fn parts_of(node: &Node) -> Option<&[(u64, u64)]> {
    match node {
        Node::File { data, .. } => data.as_deref(),
        _ => None,
    }
}

/// Makes data parts of a file of `size` bytes such as an archive takes: ascending, in whole blocks of 512 bytes
/// but at the end of the file, none touching the next, at most [`MAX_PARTS`]. The smallest holes become data.
///
/// `parts` is what `SEEK_DATA` and `SEEK_HOLE` tell, `(offset, length)` in ascending order.
pub fn fit_parts(parts: &[(u64, u64)], size: u64) -> Vec<(u64, u64)> {
    let mut fitted: Vec<(u64, u64)> = Vec::new();
    for (offset, len) in parts.iter().copied().filter(|(offset, len)| *len > 0 && *offset < size) {
        let start = offset - offset % BLOCK;
        let end = offset.saturating_add(len).min(size).checked_next_multiple_of(BLOCK).unwrap_or(size).min(size);
        join(&mut fitted, start, end, 0);
    }
    if fitted.len() <= MAX_PARTS {
        return fitted;
    }
    let mut holes: Vec<u64> = fitted.windows(2).map(|pair| pair[1].0 - (pair[0].0 + pair[0].1)).collect();
    let excess = fitted.len() - MAX_PARTS;
    let (_, largest, _) = holes.select_nth_unstable(excess - 1);
    let largest = *largest;
    // Of holes as large as the largest that goes, only as many go as must.
    let mut of_largest = excess - holes[..excess].iter().filter(|hole| **hole < largest).count();
    let mut joined = Vec::with_capacity(MAX_PARTS);
    for (start, len) in fitted {
        let hole = joined.last().map_or(u64::MAX, |(at, len): &(u64, u64)| start - (at + len));
        let goes = hole < largest || (hole == largest && of_largest > 0);
        of_largest -= usize::from(hole == largest && goes);
        join(&mut joined, start, start + len, if goes { hole } else { 0 });
    }
    joined
}

/// Appends the part `start..end`, joined to the last one over a hole of at most `hole` bytes.
fn join(parts: &mut Vec<(u64, u64)>, start: u64, end: u64, hole: u64) {
    match parts.last_mut() {
        Some((at, len)) if start <= *at + *len + hole => *len = (*len).max(end - *at),
        _ => parts.push((start, end - start)),
    }
}

/// Walks from stored bytes to their offsets in the file.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::backup) struct Cursor {
    /// The data part that the next stored byte belongs to.
    part: usize,
    /// Its distance from the part's beginning; from the file's beginning when there are no parts.
    within: u64,
}

impl Cursor {
    /// Stands before the stored byte number `at`.
    pub(in crate::backup) fn seek(parts: Option<&[(u64, u64)]>, mut at: u64) -> Self {
        let Some(parts) = parts else { return Self { part: 0, within: at } };
        for (part, (_, len)) in parts.iter().enumerate() {
            if at < *len {
                return Self { part, within: at };
            }
            at -= len;
        }
        Self { part: parts.len(), within: 0 }
    }

    /// The offset in the file of the next stored byte, and how many of `len` bytes follow it without a hole.
    /// `None` when the parts are used up.
    pub(in crate::backup) fn advance(&mut self, parts: Option<&[(u64, u64)]>, len: u64) -> Option<(u64, u64)> {
        let Some(parts) = parts else {
            let at = self.within;
            self.within += len;
            return Some((at, len));
        };
        let (offset, part_len) = *parts.get(self.part)?;
        let step = len.min(part_len - self.within);
        let at = offset + self.within;
        self.within += step;
        if self.within == part_len {
            *self = Self { part: self.part + 1, within: 0 };
        }
        Some((at, step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_finds_every_stored_byte() {
        let parts = [(10, 3), (20, 1), (21, 4)];
        let expected = [10, 11, 12, 20, 21, 22, 23, 24];
        for start in 0..=expected.len() {
            let mut cursor = Cursor::seek(Some(&parts), start as u64);
            let mut seen = Vec::new();
            while let Some((at, len)) = cursor.advance(Some(&parts), 2) {
                seen.extend(at..at + len);
            }
            assert_eq!(seen, expected[start..], "from {start}");
        }
    }
}
