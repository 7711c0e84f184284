//! The first 100 bytes of a database, read without the engine (<https://www.sqlite.org/fileformat2.html#the_database_header>).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// How every database begins.
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";
/// The header's length, in bytes.
const LEN: usize = 100;

/// What the header says. In WAL mode the log may hold a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of a page: a power of two from 512 to 65536.
    pub(super) page_size: u32,
    /// Whether a reader must look for a write-ahead log.
    pub(super) wal: bool,
    pub(super) page_count: u32,
    pub(super) freelist_count: u32,
    pub(super) schema_version: u32,
    pub(super) user_version: u32,
    pub(super) application_id: u32,
    pub(super) encoding: &'static str,
    pub(super) auto_vacuum: &'static str,
}

impl Header {
    /// Reads the header of an open file; `None` for an empty file, which is a valid empty database.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for what is not a database, is encrypted, or has a newer format;
    /// [`ErrorKind::Corrupt`] for a header that is cut off or makes no sense.
    pub(super) fn read(file: &File, path: &Path) -> Result<Option<Self>> {
        let mut bytes = [0; LEN];
        let read = read_fully_at(file, &mut bytes, 0).map_err(|e| Error::io(format!("read database {path:?}"), e))?;
        Self::parse(&bytes[..read]).map_err(|error| error.while_doing(format!("database {path:?}")))
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let shown = bytes.len().min(MAGIC.len());
        if bytes[..shown] != MAGIC[..shown] {
            return Err(foreign(&bytes[..shown]));
        }
        let Ok(bytes) = <&[u8; LEN]>::try_from(bytes) else {
            return Err(damaged(format!("the file ends within its header, after {} bytes", bytes.len())));
        };
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        // 1 stands for 65536, which does not fit into two bytes.
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size => u32::from(size),
        };
        if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
            return Err(damaged(format!("its header names a page size of {page_size} bytes")));
        }
        if bytes[19] > 2 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("its read format is {}, newer than this build knows (2)", bytes[19]),
            )
            .with_hint("update uplifted-ops"));
        }
        Ok(Some(Self {
            page_size,
            wal: bytes[19] == 2,
            page_count: word(28),
            freelist_count: word(36),
            schema_version: word(40),
            user_version: word(60),
            application_id: word(68),
            encoding: match word(56) {
                2 => "UTF-16le",
                3 => "UTF-16be",
                _ => "UTF-8",
            },
            auto_vacuum: match (word(52), word(64)) {
                (0, _) => "none",
                (_, 0) => "full",
                _ => "incremental",
            },
        }))
    }

    /// The facts for a report, by SQLite's own names.
    pub(super) fn details(&self) -> Map<String, Value> {
        Map::from_iter(
            [
                ("page_size", Value::from(self.page_size)),
                ("page_count", self.page_count.into()),
                ("freelist_count", self.freelist_count.into()),
                ("journal_mode", if self.wal { "wal" } else { "delete" }.into()),
                ("encoding", self.encoding.into()),
                ("auto_vacuum", self.auto_vacuum.into()),
                ("schema_version", self.schema_version.into()),
                ("user_version", self.user_version.cast_signed().into()),
                ("application_id", self.application_id.cast_signed().into()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        )
    }
}

/// The header of a write-ahead log: magic number, format, page size, checkpoint sequence number, two salts and
/// two checksums. It changes when, and only when, the log starts over.
pub(super) type WalHeader = [u8; 32];

/// Reads the header of a write-ahead log; `None` when the log is empty.
pub(super) fn read_wal(wal: &File, path: &Path) -> Result<Option<WalHeader>> {
    let mut bytes = [0; 32];
    match read_fully_at(wal, &mut bytes, 0) {
        Ok(32) => Ok(Some(bytes)),
        Ok(_) => Ok(None),
        Err(error) => Err(Error::io(format!("read {path:?}"), error)),
    }
}

/// How much of a write-ahead log of `len` bytes is in use. A log that started over keeps its old size, which may be
/// gigabytes, and its old frames; they carry other salts than its header
/// (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
///
/// Frames are written in order, so the used ones come first and a binary search finds their end. Where a loss
/// of power left a gap among them it may find a later end, never one before the first foreign frame, at
/// which recovery stops.
pub(super) fn used_len(wal: &File, header: &WalHeader, len: u64, path: &Path) -> Result<u64> {
    let page_size = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
        // Recovery decides what to make of it.
        return Ok(len);
    }
    let end_of = |frames: u64| 32 + frames * (24 + u64::from(page_size));
    let is_used = |frame: u64| {
        let mut salts = [0; 8];
        let read =
            read_fully_at(wal, &mut salts, end_of(frame) + 8).map_err(|e| Error::io(format!("read {path:?}"), e))?;
        Ok::<_, Error>(read == 8 && salts == header[16..24])
    };
    let (mut used, mut unused) = (0, len.saturating_sub(32) / (24 + u64::from(page_size)) + 1);
    while used < unused {
        let middle = used + (unused - used) / 2;
        if is_used(middle)? {
            used = middle + 1;
        } else {
            unused = middle;
        }
    }
    Ok(end_of(used).min(len))
}

/// Fills `buffer` from `offset`; returns fewer bytes only where the file ends.
pub(super) fn read_fully_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn foreign(head: &[u8]) -> Error {
    let text = head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let (message, hint) = if text {
        ("it is not a SQLite database", "point `path` at the database file, or use the store kind that fits")
    } else {
        (
            "it is encrypted, or not a SQLite database",
            "point `path` at the database file; for an encrypted one, have the host make its own copy and include that",
        )
    };
    Error::new(ErrorKind::Unsupported, message).with_hint(hint)
}

fn damaged(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message).with_hint("restore the database from a backup")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..20].copy_from_slice(&[0x10, 0, 2, 2]);
        bytes
    }

    fn kind_of(bytes: &[u8]) -> ErrorKind {
        Header::parse(bytes).unwrap_err().kind()
    }

    #[test]
    fn page_sizes_are_those_of_the_format() {
        for (field, size) in [([2, 0], 512), ([0x10, 0], 4096), ([0x80, 0], 32768), ([0, 1], 65536)] {
            let mut bytes = valid();
            bytes[16..18].copy_from_slice(&field);
            assert_eq!(Header::parse(&bytes).unwrap().unwrap().page_size, size);
        }
        for field in [[0, 0], [0, 2], [1, 0], [0x10, 1], [0xff, 0xff]] {
            let mut bytes = valid();
            bytes[16..18].copy_from_slice(&field);
            assert_eq!(kind_of(&bytes), ErrorKind::Corrupt, "{field:?}");
        }
    }

    #[test]
    fn the_used_part_of_a_log_ends_at_the_first_old_frame() {
        use std::io::Write;
        let mut header = [0_u8; 32];
        header[10..12].copy_from_slice(&[2, 0]);
        header[16..24].copy_from_slice(b"newsalts");
        let frame = |salts: &[u8; 8]| [&[0; 8], &salts[..], &[7; 8 + 512]].concat();
        for (used, old) in [(0, 0), (0, 9), (1, 0), (5, 1), (6, 100), (64, 63)] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&header).unwrap();
            (0..used).for_each(|_| file.write_all(&frame(b"newsalts")).unwrap());
            (0..old).for_each(|_| file.write_all(&frame(b"oldsalts")).unwrap());
            let len = file.metadata().unwrap().len();
            assert_eq!(used_len(&file, &header, len, Path::new("")).unwrap(), 32 + used * 536, "{used} {old}");
            // The last frame is cut off.
            let cut = used_len(&file, &header, len - 30, Path::new("")).unwrap();
            assert_eq!(cut, (32 + used * 536).min(len - 30), "{used} {old}");
        }
    }

    #[test]
    fn each_refusal_has_its_kind() {
        assert_eq!(Header::parse(b"").unwrap(), None);
        assert_eq!(kind_of(&valid()[..99]), ErrorKind::Corrupt);
        assert_eq!(kind_of(&valid()[..3]), ErrorKind::Corrupt);
        assert_eq!(kind_of(b"hello world, this is text"), ErrorKind::Unsupported);
        assert_eq!(kind_of(&[0x9f; 4096][..LEN]), ErrorKind::Unsupported);
        let mut newer = valid();
        newer[19] = 3;
        assert_eq!(kind_of(&newer), ErrorKind::Unsupported);
    }
}
