//! Where a file is cut into blobs: small ones not at all, larger ones where their content says (FastCDC, Xia et al.,
//! "The Design of Fast Content-Defined Chunking", IEEE TPDS 2020), so that an insertion moves few boundaries.

use std::borrow::Cow;

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};

use super::id::IdKey;
use crate::error::Result;

/// Files up to this size are one blob.
pub(crate) const WHOLE: u64 = 1 << 20;
const MIN: usize = 256 << 10;
const AVERAGE: usize = 1 << 20;
const MAX: usize = 4 << 20;
/// How much is held at most: so what is left of one chunk moves at most once for each byte that comes.
const HELD: usize = 2 * MAX;

/// Cuts what is pushed. The boundaries depend on the repository's key, so that they say nothing about the content.
pub(crate) struct Chunker {
    gear: Cow<'static, [u64]>,
    gear_ls: Cow<'static, [u64]>,
    masks: (u64, u64),
    held: Vec<u8>,
    /// What of `held` is cut off already.
    start: usize,
}

impl std::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunker").field("held", &(self.held.len() - self.start)).finish_non_exhaustive()
    }
}

impl Chunker {
    pub(crate) fn new(key: &IdKey) -> Self {
        let (gear, gear_ls) = get_gear_with_seed(key.chunk_seed());
        Self { gear, gear_ls, masks: select_masks(AVERAGE, Normalization::Level1), held: Vec::new(), start: 0 }
    }

    /// Takes the next bytes of the file, and gives chunks to `each` as they come about.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while !bytes.is_empty() {
            if self.held.len() == HELD {
                self.held.copy_within(self.start.., 0);
                self.held.truncate(HELD - self.start);
                self.start = 0;
            }
            let step = bytes.len().min(HELD - self.held.len());
            self.held.extend_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
            // A cut is final only when the longest chunk could have been seen.
            while self.held.len() - self.start >= MAX {
                self.cut(&mut each)?;
            }
        }
        Ok(())
    }

    /// Ends the file: gives out the rest, and is ready for the next one.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while self.start < self.held.len() {
            self.cut(&mut each)?;
        }
        self.clear();
        Ok(())
    }

    /// Forgets what is held.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
        self.start = 0;
    }

    fn cut(&mut self, each: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let rest = &self.held[self.start..];
        let (small, large) = self.masks;
        let (_, len) =
            cut_gear(rest, MIN, AVERAGE, MAX, small, large, small << 1, large << 1, &self.gear, &self.gear_ls);
        let chunk = &rest[..len.clamp(1, rest.len())];
        self.start += chunk.len();
        each(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    fn cut(key: &IdKey, bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut chunker = Chunker::new(key);
        let mut chunks = Vec::new();
        for part in bytes.chunks(step) {
            chunker
                .push(part, |chunk| {
                    chunks.push(chunk.to_vec());
                    Ok(())
                })
                .unwrap();
        }
        chunker
            .finish(|chunk| {
                chunks.push(chunk.to_vec());
                Ok(())
            })
            .unwrap();
        chunks
    }

    #[test]
    fn boundaries_follow_the_content_and_the_key_but_not_the_reads() {
        let mut random = random::seeded("boundaries");
        let key = IdKey::new([1; 32]);
        let mut bytes = random::bytes(&mut random, 24 << 20);
        let chunks = cut(&key, &bytes, 1 << 20);
        assert!(chunks.concat() == bytes);
        assert!(chunks.len() > 8 && chunks.iter().all(|chunk| chunk.len() <= MAX), "{}", chunks.len());
        assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk.len() >= MIN));
        assert!(cut(&key, &bytes, 777_777) == chunks && cut(&key, &bytes, bytes.len()) == chunks);
        assert!(cut(&IdKey::new([2; 32]), &bytes, 1 << 20) != chunks);
        bytes.splice(5_000_000..5_000_000, [1, 2, 3]);
        let again = cut(&key, &bytes, 1 << 20);
        let new = again.iter().filter(|chunk| !chunks.contains(chunk)).count();
        assert!(new <= 3, "{new} of {} chunks are new", again.len());
    }

    #[test]
    fn dull_content_is_cut_too() {
        let key = IdKey::new([1; 32]);
        for len in [0, 1, MIN, MAX, MAX + 1, 3 * MAX + 7] {
            let bytes = vec![0; len];
            assert!(cut(&key, &bytes, 1 << 20).concat() == bytes, "{len}");
        }
        let mut chunker = Chunker::new(&key);
        chunker.push(&[1; 100], |_| unreachable!()).unwrap();
        chunker.clear();
        chunker.finish(|_| unreachable!()).unwrap();
    }
}
