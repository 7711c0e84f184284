//! The BLAKE3 of content that comes in pieces of any length and in any order, by several threads.
//!
//! BLAKE3 is a tree over chunks of 1,024 bytes (section 2.1 of its specification), so stretches of content are hashed where
//! they lie and joined when their neighbours come. What waits for a neighbour takes some 32 bytes for each doubling of its
//! length and less than two chunks of bytes.

use std::collections::BTreeMap;

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, max_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::backup::manifest::Digest;

/// Bytes of a chunk of BLAKE3.
const CHUNK: u64 = 1024;

/// A stretch of content, hashed as far as that is possible without its neighbours.
#[derive(Debug)]
pub(in crate::backup) struct Stretch {
    start: u64,
    end: u64,
    /// What lies before the first beginning of a chunk; all of it where no chunk begins in it.
    head: Vec<u8>,
    /// The whole chunks behind that, as the largest subtrees that they make, in order.
    trees: Vec<Subtree>,
    /// What follows: a part of a chunk, or the content's last chunk, which is hashed at the very end.
    tail: Vec<u8>,
}

/// A subtree of `1 << level` chunks, which begins at a multiple of as many.
#[derive(Debug, Clone, Copy)]
struct Subtree {
    first_chunk: u64,
    level: u32,
    value: ChainingValue,
}

/// Where the last chunk of content of `len` bytes begins.
fn last_chunk(len: u64) -> u64 {
    len.saturating_sub(1) / CHUNK * CHUNK
}

fn hash_at(offset: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

impl Stretch {
    /// The bytes from `start` on of content that has `len` bytes in all, which they do not go beyond.
    pub(in crate::backup) fn new(start: u64, bytes: &[u8], len: u64) -> Self {
        let end = start + bytes.len() as u64;
        let first = start.next_multiple_of(CHUNK).min(end);
        let behind = first.max(end.min(last_chunk(len)) / CHUNK * CHUNK);
        let (head, rest) = bytes.split_at((first - start) as usize);
        let (mut chunks, tail) = rest.split_at((behind - first) as usize);
        let mut stretch = Self { start, end, head: head.to_vec(), trees: Vec::new(), tail: tail.to_vec() };
        let mut at = first;
        while !chunks.is_empty() {
            let longest = 1 << (chunks.len() as u64).ilog2();
            let (now, later) = chunks.split_at(max_subtree_len(at).unwrap_or(u64::MAX).min(longest) as usize);
            stretch.push(Subtree {
                first_chunk: at / CHUNK,
                level: (now.len() as u64 / CHUNK).ilog2(),
                value: hash_at(at, now),
            });
            at += now.len() as u64;
            chunks = later;
        }
        stretch
    }

    /// Appends a subtree, and joins what makes a larger one.
    fn push(&mut self, mut tree: Subtree) {
        while let Some(before) = self.trees.last()
            && before.level == tree.level
            && before.first_chunk.is_multiple_of(2 << tree.level)
        {
            let value = merge_subtrees_non_root(&before.value, &tree.value, Mode::Hash);
            tree = Subtree { first_chunk: before.first_chunk, level: tree.level + 1, value };
            self.trees.pop();
        }
        self.trees.push(tree);
    }

    /// Appends the stretch that begins where this one ends.
    fn join(&mut self, next: Self, len: u64) {
        debug_assert_eq!(self.end, next.start);
        self.end = next.end;
        if self.trees.is_empty() && self.tail.is_empty() && !self.start.is_multiple_of(CHUNK) {
            self.head.extend_from_slice(&next.head);
            (self.trees, self.tail) = (next.trees, next.tail);
            return;
        }
        self.tail.extend_from_slice(&next.head);
        // The place where the tail begins, which is the beginning of a chunk.
        let at = next.start + next.head.len() as u64 - self.tail.len() as u64;
        if self.tail.len() as u64 == CHUNK && at < last_chunk(len) {
            let value = hash_at(at, &std::mem::take(&mut self.tail));
            self.push(Subtree { first_chunk: at / CHUNK, level: 0, value });
        }
        for tree in next.trees {
            self.push(tree);
        }
        self.tail.extend_from_slice(&next.tail);
    }

    /// The hash, once it is all of the content.
    fn finish(mut self) -> Digest {
        let last_at = self.end - self.tail.len() as u64;
        let Some(mut left) = self.trees.pop() else { return Digest(*blake3::hash(&self.tail).as_bytes()) };
        let mut right = hash_at(last_at, &self.tail);
        while let Some(before) = self.trees.pop() {
            right = merge_subtrees_non_root(&left.value, &right, Mode::Hash);
            left = before;
        }
        Digest(*merge_subtrees_root(&left.value, &right, Mode::Hash).as_bytes())
    }
}

/// The stretches of one content that came so far.
#[derive(Debug)]
pub(in crate::backup) struct Scattered {
    len: u64,
    stretches: BTreeMap<u64, Stretch>,
}

impl Scattered {
    /// Nothing of content that has `len` bytes.
    pub(in crate::backup) fn new(len: u64) -> Self {
        Self { len, stretches: BTreeMap::new() }
    }

    /// Takes a stretch that overlaps none before it.
    pub(in crate::backup) fn add(&mut self, mut stretch: Stretch) {
        let before = self.stretches.range(..stretch.start).next_back();
        let before = before.filter(|(_, before)| before.end == stretch.start).map(|(start, _)| *start);
        if let Some(mut before) = before.and_then(|start| self.stretches.remove(&start)) {
            before.join(stretch, self.len);
            stretch = before;
        }
        if let Some(next) = self.stretches.remove(&stretch.end) {
            stretch.join(next, self.len);
        }
        self.stretches.insert(stretch.start, stretch);
    }

    /// How many stretches wait for their neighbours.
    pub(in crate::backup) fn waiting(&self) -> usize {
        self.stretches.len()
    }

    /// The BLAKE3 of the content; `None` when not all of it came.
    pub(in crate::backup) fn finish(mut self) -> Option<Digest> {
        if self.len == 0 {
            return Some(Digest::of(b""));
        }
        let whole = self.stretches.remove(&0)?;
        (whole.end == self.len).then(|| whole.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    #[test]
    fn pieces_in_any_order_give_the_hash_of_the_whole() {
        let mut random = random::seeded("scattered");
        for round in 0..400 {
            let len = match round {
                0..40 => {
                    [0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 4096, 4097, 7168, 8192, 8193, 16384][round % 15]
                }
                _ => random.usize(..40_000),
            };
            let content = random::bytes(&mut random, len);
            let mut cuts: Vec<usize> = (0..random.u64(..12)).map(|_| random.usize(..len + 1)).collect();
            if round % 3 == 0 {
                cuts.iter_mut().for_each(|cut| *cut = *cut / 1024 * 1024);
            }
            cuts.extend([0, len]);
            cuts.sort_unstable();
            let mut pieces: Vec<&[usize]> = cuts.windows(2).filter(|pair| pair[0] < pair[1]).collect();
            let mut scattered = Scattered::new(len as u64);
            while !pieces.is_empty() {
                assert!(
                    len == 0
                        || pieces.is_empty()
                        || scattered.stretches.get(&0).is_none_or(|first| first.end < len as u64)
                );
                let piece = pieces.swap_remove(random.usize(..pieces.len()));
                scattered.add(Stretch::new(piece[0] as u64, &content[piece[0]..piece[1]], len as u64));
            }
            assert!(scattered.waiting() <= 1);
            assert_eq!(scattered.finish(), Some(Digest::of(&content)), "{len} bytes, cut at {cuts:?}");
        }
    }

    #[test]
    fn what_lacks_a_piece_has_no_hash() {
        let content = vec![7; 5000];
        let mut scattered = Scattered::new(5000);
        scattered.add(Stretch::new(0, &content[..2000], 5000));
        scattered.add(Stretch::new(3000, &content[3000..], 5000));
        assert_eq!(scattered.waiting(), 2);
        assert_eq!(scattered.finish(), None);
        assert_eq!(Scattered::new(1).finish(), None);
    }

    #[test]
    fn little_is_kept_of_what_is_long() {
        let len = 64 << 20;
        let bytes = vec![1; 1 << 20];
        let mut scattered = Scattered::new(len);
        for number in 0..63 {
            scattered.add(Stretch::new(number << 20, &bytes, len));
        }
        let held = &scattered.stretches[&0];
        assert!(held.trees.len() <= 16 && held.head.is_empty() && held.tail.is_empty());
    }
}
