//! What a host keeps of a repository, so that the next run reads and sends only what changed.
//!
//! Everything here may be deleted, cut off, or come from elsewhere at any time. Each file is authenticated with the
//! repository's key, and whatever is not as it must be counts as not there: it is made again from the index objects of
//! the repository, or by reading the files. So a cache that is lost costs reading, and never an upload.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `known` | which pack has which blob |
//! | `files` | the files of the last run, with what they looked like and what they consist of |
//! | `databases` | the same for databases |
//! | `pages-<path id>` | the page ids of a database, and where its units lie |
//! | `damaged-<target>` | the packs that a verify or a sample found damaged: a loss of it costs that the next one has to find them |
//! | `last-<target>` | the header that this host put last: a loss of it costs that nobody notices its removal |

pub(crate) mod damaged;
pub(crate) mod databases;
pub(crate) mod files;
pub(crate) mod known;
pub(crate) mod last;
pub(crate) mod pages;

use std::path::{Path, PathBuf};

use super::id::{BlobId, IdKey, RepositoryId};
use crate::error::Result;
use crate::fs;
use crate::value::hex;

/// Where the caches of one repository are.
#[derive(Debug, Clone)]
pub(crate) struct CacheFolder(PathBuf);

/// Whose caches they are. What a copy of an old snapshot remembers would have the next backup read everything again, and
/// the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheOf {
    /// Those of backups of the service.
    Backups,
    /// Those of copies out of other repositories.
    Copies,
}

impl CacheFolder {
    /// The folder below the state folder of a service, whether it is there or not.
    pub(crate) fn at(state: &Path, of: CacheOf, repository: RepositoryId) -> Self {
        let folder = match of {
            CacheOf::Backups => "cache/repository",
            CacheOf::Copies => "cache/copies",
        };
        Self(state.join(folder).join(repository.to_string()))
    }

    /// The same; made if need be.
    pub(crate) fn open(state: &Path, of: CacheOf, repository: RepositoryId) -> Result<Self> {
        let Self(folder) = Self::at(state, of, repository);
        fs::create_dir_all(&folder, fs::PRIVATE_DIR)?;
        // What a run that died left half-written.
        fs::sweep_partials(&folder)?;
        Ok(Self(folder))
    }

    pub(crate) fn known(&self) -> PathBuf {
        self.0.join("known")
    }

    /// Beside which the index of a pack is gathered, until the target has it.
    pub(crate) fn index(&self) -> PathBuf {
        self.0.join("index")
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    pub(crate) fn databases(&self) -> PathBuf {
        self.0.join("databases")
    }

    pub(crate) fn last(&self, target: &str) -> PathBuf {
        self.of_target("last", target)
    }

    pub(crate) fn damaged(&self, target: &str) -> PathBuf {
        self.of_target("damaged", target)
    }

    /// One repository may be in several targets.
    fn of_target(&self, what: &str, target: &str) -> PathBuf {
        self.0.join(format!("{what}-{}", hex(&blake3::hash(target.as_bytes()).as_bytes()[..8])))
    }

    pub(crate) fn pages(&self, path: BlobId) -> PathBuf {
        self.0.join(format!("pages-{path}"))
    }
}

/// Little-endian numbers and ids out of bytes that are authentic, and may still be cut off.
#[derive(Debug)]
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Bytes with their length before them.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.bytes(len as usize)
    }
}

/// The length of the mac at the end of a small file.
const MAC: usize = 32;

/// What a small file says behind `magic`; nothing when it is not there or not whole.
fn read_small(file: &Path, magic: &[u8; 8], key: &IdKey) -> Option<Vec<u8>> {
    let bytes = std::fs::read(file).ok()?;
    let (body, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC)?)?;
    if blake3::Hash::from(key.mac_of(body).0) != blake3::Hash::from_bytes(mac.try_into().ok()?) {
        return None;
    }
    body.strip_prefix(magic).map(<[u8]>::to_vec)
}

/// Writes a small file.
fn write_small(file: &Path, magic: &[u8; 8], body: &[u8], key: &IdKey) -> Result<()> {
    let mut bytes = [&magic[..], body].concat();
    let mac = key.mac_of(&bytes);
    bytes.extend_from_slice(&mac.0);
    fs::write_atomic(file, fs::PRIVATE_FILE, &bytes)
}

fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}
