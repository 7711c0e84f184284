//! Reading what a stranger may have written.

use std::io::{self, Read};

use crate::error::{Error, ErrorKind};

/// A reader that fails, and does not merely end, past so many bytes: a little can expand to anything, by compression or
/// by naming the same piece again and again.
#[derive(Debug)]
pub(super) struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R> Limited<R> {
    /// Lets `most` bytes of `inner` through.
    pub(super) fn new(inner: R, most: u64) -> Self {
        Self { inner, left: most }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out).map_err(|error| match error.downcast::<Error>() {
            Ok(ours) => io::Error::other(ours),
            // What reads from memory fails only because of what it reads.
            Err(error) => io::Error::other(Error::new(ErrorKind::Corrupt, format!("it does not decompress: {error}"))),
        })?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(
                Error::new(ErrorKind::Refused, "a record of the repository expands beyond reason")
                    .with_hint("only an attack does this: do not trust the repository"),
            )
        })?;
        Ok(read)
    }
}
