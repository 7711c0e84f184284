//! The file of this process: made, locked for as long as the process lives, and longer as cells are needed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, OutFile, PRIVATE_FILE};

use super::format::{VERSION, WORD_CHECK, WORD_VERSION, checksum};
use super::map::{Chunk, Region};

/// How the names of files of cells end.
pub(in crate::metrics) const SUFFIX: &str = ".cells";
/// How the names of files end that are being made.
pub(in crate::metrics) const NEW: &str = ".new";

/// The file of this process.
pub(in crate::metrics) struct CellFile {
    out: OutFile,
    /// Holds the lock. Opened apart from what is mapped, so that the lock ends when this is closed, mapped or not.
    _lock: File,
    pub(in crate::metrics) id: u128,
    pub(in crate::metrics) path: PathBuf,
    len: u64,
}

impl CellFile {
    /// Makes a file in the folder, which is there. It has a name that others look at once [`CellFile::show`] is called.
    pub(in crate::metrics) fn create(folder: &Path) -> Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| Error::internal(format!("no random numbers: {error}")))?;
        let id = u128::from_ne_bytes(id);
        let path = folder.join(format!("{id:032x}{NEW}"));
        let out = OutFile::create_new(&path, PRIVATE_FILE)?;
        let lock = File::options().read(true).write(true).open(&path);
        let lock = lock.map_err(|e| Error::io(format!("open {path:?}"), e))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| Error::io(format!("lock {path:?}"), e).with_hint("set metrics.folder to a local disk"))?;
        // Whoever cuts it off ends this process, see `Region::of_file`: from here on, nobody opens it to write by mistake.
        fchmod(&lock, Mode::RUSR).map_err(|e| Error::io(format!("protect {path:?}"), e))?;
        Ok(Self { out, _lock: lock, id, path, len: 0 })
    }

    /// Gives it the name that others look at: it is locked, and begins as it should.
    pub(in crate::metrics) fn show(&mut self) -> Result<()> {
        let path = self.path.with_extension(&SUFFIX[1..]);
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// Removes what was made and not shown.
    pub(in crate::metrics) fn discard(self) {
        // What stays is swept by the next one that folds.
        let _ = fs::remove_file(&self.path);
    }

    /// Makes room for so many bytes more, on the disk too: a page without any could not be written through memory. Gives
    /// where they begin.
    pub(super) fn extend(&mut self, bytes: usize) -> Result<u64> {
        let offset = self.len;
        self.out.allocate(offset, bytes as u64)?;
        self.len += bytes as u64;
        Ok(offset)
    }

    pub(super) fn map(&self, offset: u64, chunks: usize) -> Result<Region> {
        Region::of_file(self.out.file(), offset, chunks).map_err(|e| self.unmapped(e))
    }

    pub(super) fn back(&self, region: Region, offset: u64) -> Result<()> {
        region.back_by(self.out.file(), offset).map_err(|e| self.unmapped(e))
    }

    fn unmapped(&self, error: std::io::Error) -> Error {
        Error::io(format!("map {:?} into memory", self.path), error)
    }

    /// Writes what the file is into its first page.
    pub(super) fn head(&self, first: &Chunk) {
        let words = head_words(self.id, boot(), std::process::id());
        for (word, value) in first.cells()[WORD_VERSION..].iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        first.cells()[WORD_CHECK].store(checksum(words), Ordering::Relaxed);
    }
}

/// The words from [`WORD_VERSION`] on.
fn head_words(id: u128, boot: u64, pid: u32) -> [u64; 5] {
    [VERSION, id as u64, (id >> 64) as u64, boot, u64::from(pid)]
}

/// The boot of the machine, as a number; 0 where it has none.
pub(in crate::metrics) fn boot() -> u64 {
    static BOOT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).unwrap_or(0)
    })
}

/// Says that a folder cannot be shared in.
pub(in crate::metrics) fn taken(folder: &Path, other: &Path) -> Error {
    Error::new(ErrorKind::Refused, format!("the metrics of this process are shared in {other:?}, not in {folder:?}"))
        .with_hint("give all services of one process the same metrics.folder, or set metrics.shared = false")
}
