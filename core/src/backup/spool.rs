//! Bytes that are made before anybody takes them: in memory while they are few, in a file without a name when they are many.

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use super::blocks::{Blocks, FileBlocks};
use crate::error::{Error, Result};
use crate::fs::AtomicFile;

/// How many bytes stay in memory. A test has all but the fewest in a file.
const IN_MEMORY: usize = if cfg!(test) { 256 } else { 1 << 20 };

/// Takes bytes, and gives them back when all are there.
#[derive(Debug)]
pub(crate) struct Spool {
    /// Beside which a file would be made.
    beside: PathBuf,
    memory: Vec<u8>,
    file: Option<AtomicFile>,
}

/// All the bytes that a [`Spool`] took.
#[derive(Debug)]
pub(crate) enum Spooled {
    /// Few.
    Memory(Vec<u8>),
    /// Many.
    File {
        blocks: FileBlocks,
        /// Removes the file when it is dropped; where nobody lives to do so, the next sweep does.
        _hidden: AtomicFile,
    },
}

impl Spool {
    /// An empty one. A file would have a hidden name that is made of this one, in the same folder.
    pub(crate) fn beside(path: PathBuf) -> Self {
        Self { beside: path, memory: Vec::new(), file: None }
    }

    /// What was taken.
    pub(crate) fn finish(mut self) -> Result<Spooled> {
        let Some(mut file) = self.file.take() else { return Ok(Spooled::Memory(self.memory)) };
        file.out()?.write_all(&self.memory)?;
        Ok(Spooled::File { blocks: FileBlocks::of(file.out()?)?, _hidden: file })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        if self.memory.len() + bytes.len() > IN_MEMORY {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(AtomicFile::create(&self.beside, crate::fs::PRIVATE_FILE)?),
            };
            file.out()?.write_all(&self.memory)?;
            file.out()?.write_all(bytes)?;
            self.memory.clear();
        } else {
            self.memory.extend_from_slice(bytes);
        }
        Ok(())
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.take(bytes).map(|()| bytes.len()).map_err(std::io::Error::other)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl From<Vec<u8>> for Spooled {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes)
    }
}

impl Blocks for Spooled {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { blocks, .. } => blocks.len(),
        }
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        match self {
            Self::Memory(bytes) => {
                let all = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
                let part = all.and_then(|(start, end)| bytes.get(start..end.min(bytes.len())));
                part.map(<[u8]>::to_vec).ok_or_else(|| Error::internal("bytes beyond the end were asked for"))
            }
            Self::File { blocks, .. } => blocks.read(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::blocks::read_exact;

    fn names(folder: &std::path::Path) -> Vec<std::ffi::OsString> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn few_and_many_bytes_come_back_as_they_were_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for total in [0, 1, IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, 3 * IN_MEMORY, 10 * IN_MEMORY + 7] {
            let all: Vec<u8> = (0..total).map(|at| (at * 7 % 251) as u8).collect();
            let mut spool = Spool::beside(folder.path().join("index"));
            for part in all.chunks(100) {
                spool.write_all(part).unwrap();
            }
            let spooled = spool.finish().unwrap();
            assert_eq!(names(folder.path()).len(), usize::from(total > IN_MEMORY), "{total}");
            assert_eq!(read_exact(&spooled, 0..total as u64).unwrap(), all, "{total}");
            if total > 20 {
                assert_eq!(spooled.read(10..20).unwrap(), all[10..20], "{total}");
            }
            drop(spooled);
            assert_eq!(names(folder.path()), [] as [std::ffi::OsString; 0], "{total}");
        }
    }

    #[test]
    fn what_is_wrong_with_its_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::beside(folder.path().join("absent/index"));
        let error = spool.write_all(&[1; IN_MEMORY + 1]).unwrap_err().downcast::<Error>().unwrap();
        assert!(error.to_string().contains("absent"), "{error}");
    }
}
