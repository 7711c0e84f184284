//! Where an archive's bytes come from.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::backup::target::MAX_BLOCK;
use crate::error::{Error, ErrorKind, Result};

/// An archive's bytes, read by range.
///
/// Threads read at the same time. The length does not change while the archive is in use.
pub trait Blocks: Send + Sync {
    /// The number of bytes.
    fn len(&self) -> u64;

    /// The bytes of `range`, fewer only where the archive ends. At most [`MAX_BLOCK`] are asked for.
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>>;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads exactly `range`, in blocks of at most [`MAX_BLOCK`].
///
/// # Errors
/// [`ErrorKind::Corrupt`] when the archive ends before `range` does.
pub(in crate::backup) fn read_exact(blocks: &dyn Blocks, range: Range<u64>) -> Result<Vec<u8>> {
    if range.start > range.end || range.end > blocks.len() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the archive has {} bytes, and bytes {} to {} are needed", blocks.len(), range.start, range.end),
        ));
    }
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let at = range.start + bytes.len() as u64;
        let end = range.end.min(at + MAX_BLOCK as u64);
        if at == end {
            return Ok(bytes);
        }
        let block = blocks.read(at..end)?;
        if block.len() as u64 != end - at {
            return Err(Error::new(ErrorKind::Corrupt, format!("the archive ends early, at byte {at}")));
        }
        // The usual case needs no copy.
        if bytes.is_empty() {
            bytes = block;
        } else {
            bytes.extend_from_slice(&block);
        }
    }
}

/// A local file.
#[derive(Debug)]
pub struct FileBlocks {
    file: File,
    len: u64,
    path: PathBuf,
}

impl FileBlocks {
    /// Opens the regular file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(format!("open {path:?}"), e))?;
        let meta = file.metadata().map_err(|e| Error::io(format!("look at {path:?}"), e))?;
        if !meta.is_file() {
            return Err(Error::invalid(format!("{path:?} is not a regular file")));
        }
        Ok(Self { file, len: meta.len(), path: path.to_owned() })
    }
}

impl Blocks for FileBlocks {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let wanted = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| Error::invalid("a block larger than the memory"))?;
        let mut bytes = vec![0; wanted];
        let mut done = 0;
        while done < wanted {
            match self.file.read_at(&mut bytes[done..], range.start + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(format!("read {:?}", self.path), e)),
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }
}
