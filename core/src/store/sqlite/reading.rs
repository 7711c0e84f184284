//! Reading a database that others work with, without taking the page cache from them.
//!
//! What is in the cache is copied from there. What is not comes directly from the device (`O_DIRECT`, open(2)) and is
//! not left in the cache: a backup reads every page once, and the service's own pages would have to go for them.
//!
//! A direct read sees what was written through the cache before it (Linux: `kiocb_write_and_wait`), and a write that
//! comes meanwhile may be missing or torn, as with any read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::Advice;

use super::header::read_fully_at;
use crate::error::{Error, Result};

/// What direct reads are aligned to: no device in use has larger blocks.
const ALIGNMENT: usize = 4096;

/// A file for reading from, in two ways.
pub(super) struct Reading {
    cached: File,
    /// Missing where the filesystem does not read directly, or is not known to do so in step with its cache.
    direct: Option<File>,
}

impl Reading {
    /// Opens a file of which much may not be in the cache.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let Self { cached, .. } = Self::open_cached(path)?;
        let direct = open_directly(&cached, path);
        if direct.is_none() {
            let _ = rustix::fs::fadvise(&cached, 0, None, Advice::Sequential);
        }
        Ok(Self { cached, direct })
    }

    /// Opens a file that has just been written.
    pub(super) fn open_cached(path: &Path) -> Result<Self> {
        let cached = File::open(path).map_err(|e| Error::io(format!("open {path:?}"), e))?;
        Ok(Self { cached, direct: None })
    }

    /// The file, for what is read in passing.
    pub(super) fn file(&self) -> &File {
        &self.cached
    }

    /// Fills the first `len` bytes of `block` with what is at `offset`, a multiple of the length of blocks; fewer at
    /// the end of the file. Says how many.
    pub(super) fn read(&self, block: &mut Block, len: usize, offset: u64) -> io::Result<usize> {
        if let Some(direct) = &self.direct {
            let cached = is_cached(&self.cached, offset, len);
            if cached != Some(false) && self.read_cached(&mut block.bytes()[..len], offset) {
                return Ok(len);
            }
            // It ends at the end of the file, or with a whole block.
            let whole = len.next_multiple_of(ALIGNMENT);
            if direct.read_at(&mut block.bytes()[..whole], offset).is_ok_and(|read| read >= len) {
                return Ok(len);
            }
            // Whatever is the matter, the other way says it.
        }
        read_fully_at(&self.cached, &mut block.bytes()[..len], offset)
    }

    /// Fills `bytes` when all of it is in the page cache (`RWF_NOWAIT`, preadv2(2)). When it is not, newer kernels have the
    /// device bring it there nevertheless.
    fn read_cached(&self, bytes: &mut [u8], offset: u64) -> bool {
        #[cfg(target_os = "linux")]
        {
            let wanted = bytes.len();
            let parts = &mut [io::IoSliceMut::new(bytes)];
            rustix::io::preadv2(&self.cached, parts, offset, rustix::io::ReadWriteFlags::NOWAIT) == Ok(wanted)
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (bytes, offset);
            false
        }
    }
}

/// Whether all of a part of a file is in the page cache (cachestat(2), Linux 6.5). `None` where that cannot be known.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "cachestat has no wrapper in rustix, nor in libc")]
fn is_cached(file: &File, offset: u64, len: usize) -> Option<bool> {
    /// The number of the call; it is the same on all machines that Rust knows.
    const CACHESTAT: libc::c_long = 451;
    // As linux/mman.h has them: a range, and counts of pages, the first of which is of those in the cache.
    let range = [offset, len as u64];
    let mut counts = [0_u64; 5];
    let fd = std::os::fd::AsRawFd::as_raw_fd(file);
    // SAFETY: the descriptor is open, and the kernel reads 16 bytes and writes 40, which is what the arrays have.
    let answer = unsafe { libc::syscall(CACHESTAT, fd, range.as_ptr(), counts.as_mut_ptr(), 0) };
    let pages = (len as u64).div_ceil(rustix::param::page_size() as u64);
    (answer == 0).then_some(counts[0] >= pages)
}

#[cfg(not(target_os = "linux"))]
fn is_cached(_file: &File, _offset: u64, _len: usize) -> Option<bool> {
    None
}

/// Filesystems that keep direct reads and their page cache in step (statfs(2)).
#[cfg(target_os = "linux")]
const IN_STEP: [i64; 3] = [
    0xef53,      // ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
];

#[cfg(target_os = "linux")]
#[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
fn open_directly(file: &File, path: &Path) -> Option<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let kind = rustix::fs::fstatfs(file).ok()?.f_type as i64;
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    let direct = IN_STEP.contains(&kind).then(|| File::options().read(true).custom_flags(flags).open(path));
    // A file that took the place of this one is not it.
    let identity = |file: &File| file.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    direct?.ok().filter(|direct| identity(direct) == identity(file))
}

#[cfg(not(target_os = "linux"))]
fn open_directly(_file: &File, _path: &Path) -> Option<File> {
    None
}

/// Bytes that a device can write to directly.
pub(super) struct Block {
    room: Vec<u8>,
    start: usize,
}

impl Block {
    /// A block of `len` bytes, a multiple of 4,096.
    pub(super) fn new(len: usize) -> Self {
        let room = vec![0; len + ALIGNMENT];
        let start = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { room, start }
    }

    /// All of it.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        let end = self.room.len() - ALIGNMENT + self.start;
        &mut self.room[self.start..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the folder of the build, which is on a disk more often than a folder for temporary files is.
    fn file(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn read_all(reading: &Reading, len: u64) -> Vec<u8> {
        let (mut all, mut block) = (Vec::new(), Block::new(8192));
        let mut at = 0;
        while at < len {
            let want = (len - at).min(8192) as usize;
            let read = reading.read(&mut block, want, at).unwrap();
            all.extend_from_slice(&block.bytes()[..read]);
            at += want as u64;
        }
        all
    }

    #[test]
    fn what_was_written_is_read_whether_the_device_has_it_or_not() {
        let content = crate::testing::random::noise(8192 * 5 + 512, 1);
        let (_folder, path) = file(&content);
        let reading = Reading::open(&path).unwrap();
        assert!(read_all(&reading, content.len() as u64) == content);
        // Out of the cache, as far as the kernel follows the advice.
        let written = File::open(&path).unwrap();
        written.sync_all().unwrap();
        rustix::fs::fadvise(&written, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(read_all(&reading, content.len() as u64) == content);
        // Into the cache only.
        let again = crate::testing::random::noise(content.len(), 2);
        let writer = File::options().write(true).open(&path).unwrap();
        for (at, part) in again.chunks(512).enumerate() {
            writer.write_all_at(part, at as u64 * 512).unwrap();
        }
        assert!(read_all(&reading, content.len() as u64) == again);
    }

    #[test]
    fn a_file_that_became_shorter_ends_earlier() {
        let (_folder, path) = file(&[7; 9000]);
        let reading = Reading::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
        let mut block = Block::new(8192);
        assert_eq!(reading.read(&mut block, 8192, 0).unwrap(), 100);
        assert_eq!(reading.read(&mut block, 808, 8192).unwrap(), 0);
    }
}
