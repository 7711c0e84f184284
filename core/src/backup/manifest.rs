//! What a snapshot says about itself: the manifest, and one entry for each file.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::backup::seal::Fingerprint;
use crate::clock::Timestamp;
use crate::store::{IntegrityReport, TableCount};

use super::pause::PauseReport;
use crate::value::{hex, unhex};

/// The version of the archive format that this code writes. A reader refuses a greater one by name.
pub const FORMAT: u32 = 1;

/// What a snapshot says about itself, without its entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The version of the format, see [`FORMAT`].
    pub format: u32,
    /// The snapshot's identifier: 12 hexadecimal digits.
    pub snapshot_id: String,
    /// The service's name.
    pub service: String,
    /// The service's version, when it is known.
    pub service_version: Option<String>,
    /// The name of the machine it was made on.
    pub host: String,
    /// The version of `uplifted-ops` that made it.
    pub made_by: String,
    /// What the caller called it.
    pub label: Option<String>,
    /// When the backup began.
    pub time: Timestamp,
    /// Whether everything was read completely.
    pub outcome: Outcome,
    /// What was asked for, relative to the root.
    pub includes: Vec<Included>,
    /// The globs of what was left out.
    pub excludes: Vec<String>,
    /// The databases in it.
    pub stores: Vec<StoreRecord>,
    /// Which moments the snapshot is of. Unknown in one that was made without saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<ConsistencyGroup>,
    /// What was not read, or not completely, or cannot be stored.
    pub skipped: Vec<Skipped>,
    /// Regular files, hard links included.
    pub files: u64,
    /// Entries of every kind.
    pub entries: u64,
    /// Bytes of the files' content.
    pub size_bytes: u64,
    /// The fingerprint of the key that it is encrypted to. Nothing when it is stored in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_to: Option<Fingerprint>,
}

/// Whether everything was read completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything.
    Complete,
    /// Not everything: see `skipped`.
    Partial,
}

/// A path that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Included {
    /// The path, relative to the root. `.` is all of it.
    pub path: RelPath,
    /// Whether there was anything at the path.
    pub present: bool,
}

/// Something that is not in the snapshot, or not completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// The path, relative to the root.
    pub path: RelPath,
    /// Why.
    pub reason: SkipReason,
    /// The detail, for a person.
    pub message: String,
}

/// Why something is not in the snapshot, or not completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// It was gone when its turn came.
    Vanished,
    /// It was not readable.
    Unreadable,
    /// It became longer while it was read; the snapshot has its beginning.
    Grew,
    /// It became shorter while it was read; the snapshot has what was there.
    Shrank,
    /// Its content or kind changed while it was read.
    Changed,
    /// A database whose copy failed its own integrity check; the copy is in the snapshot.
    Corrupt,
    /// A database that could not be copied consistently.
    Database,
    /// A socket: listed, since nothing of it can be stored. Does not make the snapshot partial.
    Socket,
    /// A device: listed, never stored. Does not make the snapshot partial.
    Device,
}

impl SkipReason {
    /// Whether the snapshot lacks something that it should have.
    pub fn makes_partial(self) -> bool {
        !matches!(self, Self::Socket | Self::Device)
    }
}

/// Which moments a snapshot is of: its files, and against them its databases, each of which says when it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsistencyGroup {
    /// When the files began to be looked at.
    pub files_from: Timestamp,
    /// When the last of them was read.
    pub files_until: Timestamp,
    /// Whether the service was to be paused.
    pub asked: bool,
    /// How the pause went. Nothing when there was none.
    pub pause: Option<PauseReport>,
    /// Whether all databases and files are of one moment, proven by a pause that held.
    pub consistent: bool,
    /// Why not, when it was asked.
    pub message: Option<String>,
}

/// A database in a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreRecord {
    /// The store's name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The entry that holds it, relative to the root.
    pub path: RelPath,
    /// Everything committed before this moment is in it.
    pub taken_at: Timestamp,
    /// What the check of the copy found.
    pub check: IntegrityReport,
    /// Facts by the driver's names; under `rows` how many rows each table has, where the store counts them.
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// The fact that holds the rows of each table.
const ROWS: &str = "rows";

/// `details` with the rows of each table.
pub fn with_rows(mut details: Details, rows: Vec<TableCount>) -> Details {
    if !rows.is_empty() {
        let rows: Details = rows.into_iter().map(|count| (count.table, count.rows.into())).collect();
        details.insert(ROWS.to_owned(), rows.into());
    }
    details
}

type Details = serde_json::Map<String, serde_json::Value>;

impl StoreRecord {
    /// How many rows `table` had when the copy was made. Unknown where they were not counted.
    pub fn rows_of(&self, table: &str) -> Option<u64> {
        self.details.get(ROWS)?.get(table)?.as_u64()
    }

    /// The tables whose rows were counted.
    pub fn counted_tables(&self) -> impl Iterator<Item = &str> {
        let rows = self.details.get(ROWS).and_then(serde_json::Value::as_object);
        rows.into_iter().flatten().map(|(table, _)| table.as_str())
    }
}

/// One name in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name, relative to the root.
    pub path: RelPath,
    /// What it is.
    #[serde(flatten)]
    pub node: Node,
    /// Permission bits, with set-id and sticky bits: 0 to 0o7777.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_nanos: u32,
    /// Extended attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
    /// Where its tar header begins in the uncompressed stream.
    pub offset: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "node", rename_all = "snake_case")]
pub enum Node {
    /// A regular file.
    File {
        /// Its length in bytes, holes included.
        size: u64,
        /// The BLAKE3 of its content, holes included as zeros. Unknown, and empty in JSON, in an index that was
        /// rebuilt from the stream.
        #[serde(with = "digest_or_empty")]
        blake3: Option<Digest>,
        /// The parts that hold data, `[offset, length]`, when it is sparse.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<Vec<(u64, u64)>>,
        /// How many bytes a restore makes, when the source became shorter than `size` while it was read. The
        /// rest of `size` is zeros that only complete the tar member; `blake3` does not cover them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid_size: Option<u64>,
    },
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink {
        /// What it points to, any bytes.
        target: RelPath,
    },
    /// A second name of a file that came before.
    HardLink {
        /// The first name.
        target: RelPath,
    },
    /// A named pipe.
    Fifo,
}

/// A BLAKE3 hash; 64 lower-case hexadecimal digits in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_ours = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let bytes = unhex(&text).filter(|_| is_ours).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("not 64 lower-case hexadecimal digits"))
    }
}

mod digest_or_empty {
    use super::*;

    pub(super) fn serialize<S: Serializer>(digest: &Option<Digest>, serializer: S) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => digest.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Digest>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        Digest::deserialize(serde::de::value::StringDeserializer::new(text)).map(Some)
    }
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xattr {
    /// The name, with its namespace: `user.comment`.
    pub name: RelPath,
    /// The value, in hexadecimal.
    pub value: String,
}

/// A file name: any bytes. UTF-8 ones are plain text in JSON; others are `{"bytes": "<hexadecimal>"}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(PathBuf);

impl RelPath {
    /// Takes a path as it is, unchecked.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_os_str().as_bytes()
    }
}

impl From<&[u8]> for RelPath {
    fn from(bytes: &[u8]) -> Self {
        Self(PathBuf::from(OsStr::from_bytes(bytes)))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Bytes { bytes: String },
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => Wire::Bytes { bytes: hex(self.as_bytes()) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || serde::de::Error::custom("a name is text, or {\"bytes\": \"<hexadecimal>\"}");
        match Wire::deserialize(deserializer).map_err(|_| wrong())? {
            Wire::Text(text) => Ok(Self(PathBuf::from(text))),
            Wire::Bytes { bytes } => {
                let bytes = unhex(&bytes).ok_or_else(wrong)?;
                Ok(Self::from(bytes.as_slice()))
            }
        }
    }
}

impl JsonSchema for RelPath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RelPath".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A file name. One that is not UTF-8 is an object with its bytes in hexadecimal.",
            "format": "path",
            "anyOf": [
                { "type": "string" },
                { "type": "object", "properties": { "bytes": { "type": "string" } }, "required": ["bytes"] }
            ]
        })
    }
}

#[cfg(test)]
impl Manifest {
    /// The manifest of a snapshot with nothing in it.
    pub(crate) fn of_nothing(snapshot_id: &str) -> Self {
        Self {
            format: FORMAT,
            snapshot_id: snapshot_id.to_owned(),
            service: "uplifted".to_owned(),
            service_version: None,
            host: "here".to_owned(),
            made_by: "0.1.0".to_owned(),
            label: None,
            time: Timestamp::UNIX_EPOCH,
            outcome: Outcome::Complete,
            includes: Vec::new(),
            excludes: Vec::new(),
            stores: Vec::new(),
            group: None,
            skipped: Vec::new(),
            files: 0,
            entries: 0,
            size_bytes: 0,
            encrypted_to: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_round_trips() {
        for name in [&b"plain"[..], b"caf\xc3\xa9", b"\xff\xfe", b"with \"quotes\"\n"] {
            let path = RelPath::from(name);
            let json = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<RelPath>(&json).unwrap(), path, "{json}");
        }
        for wrong in ["1", "{}", "[]", "{\"bytes\": \"0g\"}", "{\"bytes\": \"f\"}"] {
            let error = serde_json::from_str::<RelPath>(wrong).unwrap_err().to_string();
            assert!(error.starts_with("a name is text, or {\"bytes\": "), "{wrong}: {error}");
        }
    }
}
