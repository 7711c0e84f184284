//! The databases of the last run: what their files looked like, and what they consist of.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::backup::manifest::{Digest, RelPath, StoreRecord};
use crate::backup::repository::id::{BlobId, IdKey, unhex_lower};
use crate::backup::walk::Look;
use crate::error::{Error, Result};
use crate::fs;
use crate::value::hex;

/// What is known about a database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DatabaseRecord {
    /// Its live file.
    pub(crate) path: RelPath,
    /// What its file and those beside it looked like before it was copied; `None` for one that was not there.
    pub(crate) looks: Vec<Option<Look>>,
    /// Bytes of the copy.
    pub(crate) size: u64,
    /// Where its content is.
    pub(crate) content: DatabaseContent,
    /// Every blob that it needs, those of the maps below its own as well.
    #[serde(with = "ids")]
    pub(crate) needs: Vec<BlobId>,
    /// As the manifest has it.
    pub(crate) record: StoreRecord,
}

/// Where the content of a database is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DatabaseContent {
    /// In these blobs.
    Blobs {
        #[serde(with = "ids")]
        blobs: Vec<BlobId>,
        digest: Digest,
    },
    /// Where this page map says.
    Pages {
        #[serde(with = "id")]
        map: BlobId,
        digest: Digest,
    },
}

/// Reads the records; none when the file is not there or not whole.
pub(crate) fn load(file: &Path, key: &IdKey) -> Vec<DatabaseRecord> {
    let decode = || {
        let bytes = std::fs::read(file).ok()?;
        let (mac, body) = bytes.split_at_checked(64)?;
        let mac = blake3::Hash::from_bytes(unhex_lower(mac)?);
        (mac == blake3::Hash::from_bytes(key.mac_of(body).0)).then_some(())?;
        serde_json::from_slice(body).ok()
    };
    decode().unwrap_or_default()
}

/// Replaces the records.
pub(crate) fn save(file: &Path, key: &IdKey, records: &[DatabaseRecord]) -> Result<()> {
    let body = serde_json::to_vec(records)
        .map_err(|error| Error::internal(format!("what is known about databases is not JSON: {error}")))?;
    let mac = hex(&key.mac_of(&body).0);
    fs::write_atomic(file, fs::PRIVATE_FILE, &[mac.as_bytes(), &body].concat())
}

mod id {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::BlobId;

    pub(super) fn serialize<S: Serializer>(id: &BlobId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BlobId, D::Error> {
        let text = String::deserialize(deserializer)?;
        BlobId::parse(text.as_bytes()).ok_or_else(|| serde::de::Error::custom("not an id"))
    }
}

/// Ids one after the other, without separators: a database of 10 GB has ten thousand.
mod ids {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{BlobId, hex};

    pub(super) fn serialize<S: Serializer>(ids: &[BlobId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&ids.iter().map(|id| hex(&id.0)).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<BlobId>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ids: Option<_> = text.as_bytes().chunks(32).map(BlobId::parse).collect();
        ids.ok_or_else(|| serde::de::Error::custom("not ids"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::IntegrityReport;

    #[test]
    fn records_come_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("databases"), IdKey::new([1; 32]));
        assert_eq!(load(&file, &key), []);
        let record = |content| DatabaseRecord {
            path: RelPath::new("data/app.db"),
            looks: vec![None],
            size: 5,
            content,
            needs: vec![BlobId([1; 16]), BlobId([2; 16])],
            record: StoreRecord {
                name: "main".into(),
                kind: "sqlite".into(),
                path: RelPath::new("data/app.db"),
                taken_at: Timestamp::UNIX_EPOCH,
                check: IntegrityReport { ok: true, problems: Vec::new() },
                details: serde_json::Map::new(),
            },
        };
        let records = [
            record(DatabaseContent::Blobs { blobs: vec![BlobId([3; 16])], digest: Digest([4; 32]) }),
            record(DatabaseContent::Pages { map: BlobId([3; 16]), digest: Digest([4; 32]) }),
        ];
        save(&file, &key, &records).unwrap();
        assert_eq!(load(&file, &key), records);
        assert_eq!(load(&file, &IdKey::new([2; 32])), []);
        let bytes = std::fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&file, &changed).unwrap();
            assert_eq!(load(&file, &key), [], "byte {at}");
        }
    }
}
