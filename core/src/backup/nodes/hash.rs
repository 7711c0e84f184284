//! The checksum of a file's content, from what the tar stream stores of it.

use super::layout::Cursor;
use crate::backup::manifest::Digest;
use crate::cancel::Cancel;
use crate::error::Result;

/// What holes are hashed from.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// BLAKE3 over a file's whole content, fed with its stored bytes in order; holes count as zeros.
#[derive(Default)]
pub(in crate::backup) struct ContentHasher {
    hasher: blake3::Hasher,
    cursor: Cursor,
    /// How much of the file is hashed.
    at: u64,
}

impl ContentHasher {
    /// Takes the next stored bytes. What lies at or beyond `len` in the file is left out.
    pub(in crate::backup) fn update(
        &mut self,
        parts: Option<&[(u64, u64)]>,
        len: u64,
        mut bytes: &[u8],
        cancel: &Cancel,
    ) -> Result<()> {
        while !bytes.is_empty() {
            let Some((offset, step)) = self.cursor.advance(parts, bytes.len() as u64) else { break };
            self.zeros_to(offset.min(len), cancel)?;
            let (now, later) = bytes.split_at(step as usize);
            let real = step.min(len.saturating_sub(offset)) as usize;
            self.hasher.update(&now[..real]);
            self.at += real as u64;
            bytes = later;
        }
        Ok(())
    }

    /// The hash of the file, which is `len` bytes long.
    pub(in crate::backup) fn finish(mut self, len: u64, cancel: &Cancel) -> Result<Digest> {
        self.zeros_to(len, cancel)?;
        Ok(Digest(*self.hasher.finalize().as_bytes()))
    }

    /// How far the bytes that were taken reach in the file.
    pub(in crate::backup) fn reached(&self) -> u64 {
        self.at
    }

    fn zeros_to(&mut self, end: u64, cancel: &Cancel) -> Result<()> {
        while self.at < end {
            cancel.check()?;
            // A hole can be terabytes: a cancel waits for 16 MiB at most.
            for _ in 0..256 {
                let step = (end - self.at).min(ZEROS.len() as u64);
                self.hasher.update(&ZEROS[..step as usize]);
                self.at += step;
            }
        }
        Ok(())
    }
}
