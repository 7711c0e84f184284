//! The files of the last run, in the order of the walk: what each looked like, and what it consists of.
//!
//! The table is read and written as a stream beside the walk, so that it takes no memory. It is a row of blocks, each
//! authenticated by itself: where one is not whole, the rest is unknown, and what came before counts.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::{Take, put_counted};
use crate::backup::manifest::{Digest, RelPath, Xattr};
use crate::backup::repository::id::{BlobId, IdKey};
use crate::backup::walk::{Found, Look};
use crate::error::Result;
use crate::fs::{self, AtomicFile};

const MAGIC: &[u8] = b"uopsft01";
/// How large a block is before it is written, in bytes.
const BLOCK: usize = 64 << 10;
/// No block is longer: one file of 4 TiB has a list of 64 MiB.
const MAX_BLOCK: usize = 128 << 20;
const MAC: usize = 16;
/// What is known about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRecord {
    pub(crate) path: RelPath,
    pub(crate) look: Look,
    pub(crate) digest: Digest,
    /// The parts that hold data, when it is sparse.
    pub(crate) data: Option<Vec<(u64, u64)>>,
    pub(crate) blobs: Vec<BlobId>,
    pub(crate) xattrs: Vec<Xattr>,
}

/// The order of the walk: by the names of the folders on the way, each in byte order.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    // A slash ends a name, and what ends first comes first.
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => rank(*a).cmp(&rank(*b)),
        None => a.len().cmp(&b.len()),
    }
}

/// Reads the table beside a walk.
#[derive(Debug)]
pub(crate) struct FileTable {
    blocks: Option<Blocks>,
    block: Vec<u8>,
    at: usize,
    current: Option<FileRecord>,
}

impl FileTable {
    /// Opens the table; an empty one when there is none that is whole. `made_for` says what it is of: a table of
    /// something else counts as none.
    pub(crate) fn open(file: &Path, key: &IdKey, made_for: &str) -> Self {
        let mut blocks =
            File::open(file).ok().map(|file| Blocks { input: BufReader::new(file), key: key.clone(), number: 0 });
        let head = blocks.as_mut().and_then(Blocks::next);
        if head.as_deref().and_then(|head| head.strip_prefix(MAGIC)) != Some(made_for.as_bytes()) {
            blocks = None;
        }
        Self { blocks, block: Vec::new(), at: 0, current: None }
    }

    /// The record of a file that looks as it did. Files are asked for in the order of the walk.
    pub(crate) fn find(&mut self, found: &Found) -> Option<&FileRecord> {
        let path = found.path.as_bytes();
        loop {
            if self.current.is_none() {
                self.current = self.read();
            }
            match compare(self.current.as_ref()?.path.as_bytes(), path) {
                Ordering::Less => self.current = None,
                Ordering::Equal => break,
                Ordering::Greater => return None,
            }
        }
        self.current.as_ref().filter(|record| record.look == Look::of(found))
    }

    fn read(&mut self) -> Option<FileRecord> {
        if self.at == self.block.len() {
            self.at = 0;
            self.block.clear();
            self.block = self.blocks.as_mut()?.next().or_else(|| {
                self.blocks = None;
                None
            })?;
        }
        let mut take = Take(&self.block[self.at..]);
        let record = decode(&mut take);
        self.at = self.block.len() - take.0.len();
        if record.is_none() {
            self.blocks = None;
            self.at = self.block.len();
        }
        record
    }
}

#[derive(Debug)]
struct Blocks {
    input: BufReader<File>,
    key: IdKey,
    number: u64,
}

impl Blocks {
    /// The next block that is whole.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        self.input.read_exact(&mut len).ok()?;
        let len = u32::from_le_bytes(len) as usize;
        if len > MAX_BLOCK {
            return None;
        }
        let mut block = Vec::new();
        self.input.by_ref().take((len + MAC) as u64).read_to_end(&mut block).ok()?;
        let mac = block.split_off(block.len().checked_sub(MAC)?);
        let genuine = block.len() == len && mac_of(&self.key, self.number, &block)[..] == mac[..];
        self.number += 1;
        genuine.then_some(block)
    }
}

fn mac_of(key: &IdKey, number: u64, block: &[u8]) -> [u8; MAC] {
    let mut mac = [0; MAC];
    let whole = key.mac().update(&number.to_le_bytes()).update(block).finalize();
    mac.copy_from_slice(&whole.as_bytes()[..MAC]);
    mac
}

/// Writes the table of a run, to be shown when the run has succeeded.
#[derive(Debug)]
pub(crate) struct FileTableWriter {
    out: AtomicFile,
    key: IdKey,
    block: Vec<u8>,
    number: u64,
}

impl FileTableWriter {
    pub(crate) fn create(file: &Path, key: &IdKey, made_for: &str) -> Result<Self> {
        let out = AtomicFile::create(file, fs::PRIVATE_FILE)?;
        let mut writer = Self { out, key: key.clone(), block: [MAGIC, made_for.as_bytes()].concat(), number: 0 };
        writer.flush()?;
        Ok(writer)
    }

    /// Adds a file. Only those whose look is settled belong here.
    pub(crate) fn push(&mut self, record: &FileRecord) -> Result<()> {
        encode(record, &mut self.block);
        if self.block.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.block.is_empty() || self.block.len() > MAX_BLOCK {
            self.block.clear();
            return Ok(());
        }
        let mac = mac_of(&self.key, self.number, &self.block);
        self.number += 1;
        let out = self.out.out()?;
        out.write_all(&(self.block.len() as u32).to_le_bytes())?;
        out.write_all(&self.block)?;
        out.write_all(&mac)?;
        self.block.clear();
        Ok(())
    }

    /// Puts the table in the place of the one before.
    pub(crate) fn publish(mut self) -> Result<()> {
        self.flush()?;
        self.out.publish()
    }
}

fn encode(record: &FileRecord, out: &mut Vec<u8>) {
    let FileRecord { path, look, digest, data, blobs, xattrs } = record;
    put_counted(out, path.as_bytes());
    out.extend_from_slice(&look.size.to_le_bytes());
    for (seconds, nanos) in [look.mtime, look.ctime] {
        out.extend_from_slice(&seconds.to_le_bytes());
        out.extend_from_slice(&nanos.to_le_bytes());
    }
    out.extend_from_slice(&look.identity.0.to_le_bytes());
    out.extend_from_slice(&look.identity.1.to_le_bytes());
    out.extend_from_slice(&digest.0);
    let parts = data.as_ref().map_or(u32::MAX, |parts| parts.len() as u32);
    out.extend_from_slice(&parts.to_le_bytes());
    for (offset, len) in data.iter().flatten() {
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
    }
    out.extend_from_slice(&(blobs.len() as u32).to_le_bytes());
    blobs.iter().for_each(|blob| out.extend_from_slice(&blob.0));
    out.extend_from_slice(&(xattrs.len() as u16).to_le_bytes());
    for Xattr { name, value } in xattrs {
        put_counted(out, name.as_bytes());
        put_counted(out, value.as_bytes());
    }
}

fn decode(take: &mut Take<'_>) -> Option<FileRecord> {
    let path = RelPath::from(take.counted()?);
    let look = Look {
        size: take.u64()?,
        mtime: (take.i64()?, take.u32()?),
        ctime: (take.i64()?, take.u32()?),
        identity: (take.u64()?, take.u64()?),
    };
    let digest = Digest(take.array()?);
    let data = match take.u32()? {
        u32::MAX => None,
        parts => Some((0..parts).map(|_| Some((take.u64()?, take.u64()?))).collect::<Option<_>>()?),
    };
    let blobs = (0..take.u32()?).map(|_| take.array().map(BlobId)).collect::<Option<_>>()?;
    let xattr = |take: &mut Take<'_>| {
        let name = RelPath::from(take.counted()?);
        Some(Xattr { name, value: std::str::from_utf8(take.counted()?).ok()?.to_owned() })
    };
    let xattrs = (0..take.u16()?).map(|_| xattr(take)).collect::<Option<_>>()?;
    Some(FileRecord { path, look, digest, data, blobs, xattrs })
}

/// Where the table is, and what it is of: enough to open it as often as it is needed.
#[derive(Debug, Clone)]
pub(crate) struct FileTablePlace {
    pub(crate) file: PathBuf,
    pub(crate) key: IdKey,
    pub(crate) made_for: String,
}

impl FileTablePlace {
    /// Opens it from its beginning.
    pub(crate) fn open(&self) -> FileTable {
        FileTable::open(&self.file, &self.key, &self.made_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::walk::FoundKind;
    use crate::testing::random;

    fn found(path: &str, size: u64) -> Found {
        Found {
            path: RelPath::new(path),
            kind: FoundKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 5,
            mtime_nanos: 6,
            ctime: 7,
            ctime_nanos: 8,
            size,
            disk_bytes: size,
            identity: (1, size),
            links: 1,
        }
    }

    fn record(found: &Found) -> FileRecord {
        FileRecord {
            path: found.path.clone(),
            look: Look::of(found),
            digest: Digest([3; 32]),
            data: found.size.is_multiple_of(3).then(|| vec![(0, 512), (1024, 5)]),
            blobs: (0..found.size % 5).map(|at| BlobId([at as u8; 16])).collect(),
            xattrs: vec![Xattr { name: RelPath::new("user.a"), value: "00ff".into() }],
        }
    }

    fn write(file: &Path, key: &IdKey, all: &[Found]) {
        let mut writer = FileTableWriter::create(file, key, "this build").unwrap();
        all.iter().for_each(|found| writer.push(&record(found)).unwrap());
        writer.publish().unwrap();
    }

    #[test]
    fn what_looks_the_same_is_known_in_the_order_of_the_walk() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("files"), IdKey::new([1; 32]));
        let names = ["a", "a/b", "a/b/c", "a-b", "a.b", "ab", "b/z", "b-"];
        assert!(names.is_sorted_by(|a, b| compare(a.as_bytes(), b.as_bytes()) == Ordering::Less));
        let mut all: Vec<Found> = names.iter().zip(0..).map(|(name, size)| found(name, size)).collect();
        all.extend((0..3000).map(|at| found(&format!("c/{at:05}"), at)));
        write(&file, &key, &all);
        let mut table = FileTable::open(&file, &key, "this build");
        for (number, found) in all.iter().enumerate() {
            let mut asked = found.clone();
            match number % 4 {
                1 => asked.ctime_nanos += 1,
                2 => asked.identity.1 += 1,
                3 => continue,
                _ => {}
            }
            assert_eq!(table.find(&asked).cloned(), (number % 4 == 0).then(|| record(found)), "{number}");
            assert_eq!(table.find(&self::found(&format!("{}!", found.path), 1)), None);
        }
        for (other_key, made_for) in [(IdKey::new([2; 32]), "this build"), (key.clone(), "that build")] {
            assert!(FileTable::open(&file, &other_key, made_for).find(&all[0]).is_none());
        }
        assert!(FileTable::open(&folder.path().join("none"), &key, "this build").find(&all[0]).is_none());
    }

    #[test]
    fn damage_costs_what_comes_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("files"), IdKey::new([1; 32]));
        let all: Vec<Found> = (0..3000).map(|at| found(&format!("c/{at:05}"), at)).collect();
        write(&file, &key, &all);
        let bytes = std::fs::read(&file).unwrap();
        let mut random = random::seeded("files");
        for round in 0..60 {
            let mut changed = bytes.clone();
            let at = random.usize(..bytes.len());
            match round % 3 {
                0 => changed.truncate(at),
                1 => changed[at] ^= 1 << random.u64(..8),
                _ => changed[at..].fill(0),
            }
            std::fs::write(&file, &changed).unwrap();
            let mut table = FileTable::open(&file, &key, "this build");
            let known = all.iter().take_while(|found| table.find(found).is_some()).count();
            assert!(known < all.len() || changed == bytes, "");
            assert!(all[known..].iter().all(|found| table.find(found).is_none()) || known == all.len());
        }
    }
}
