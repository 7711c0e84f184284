//! Collect records: what was removed, and which packs nobody needs.

use std::time::Duration;

use super::id::{IdKey, PackId, RepositoryId, SnapshotId};
use super::lines::{Kind, RecordReader, RecordWriter};
use crate::backup::manifest::Digest;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::value::hex;

const KIND: Kind = Kind::new("collect");

/// What a collect record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CollectRecord {
    pub(crate) repository: RepositoryId,
    /// When it was made, by its maker's clock.
    pub(crate) time: Timestamp,
    /// How old the record must be, by the target's clock, before a pack that it names may be deleted. Each record says
    /// it for itself, so that machines whose settings differ are safe beside each other.
    pub(crate) grace: Duration,
    /// Snapshots that were removed, each with the mac of its header.
    pub(crate) snapshots: Vec<(SnapshotId, Digest)>,
    /// Packs that no run may use any more, since no header needed them.
    pub(crate) packs: Vec<PackId>,
}

impl CollectRecord {
    /// The record's bytes.
    pub(crate) fn write(&self, key: &IdKey) -> Vec<u8> {
        let mut record = RecordWriter::new(KIND);
        record.line("repository").number(self.repository);
        record.line("time").number(self.time);
        record.line("grace").number(self.grace.as_secs());
        for (snapshot, mac) in &self.snapshots {
            record.line("snapshot").number(snapshot).text(&hex(&mac.0));
        }
        for pack in &self.packs {
            record.line("pack").number(pack);
        }
        record.finish_with_mac(key).0
    }

    /// Reads a record of `repository`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is damaged, not genuine or of another repository, [`ErrorKind::Unsupported`] when
    /// it is too new.
    pub(crate) fn read(bytes: &[u8], repository: RepositoryId, key: &IdKey) -> Result<Self> {
        let mut reader = RecordReader::with_mac(bytes, KIND, key)?;
        let (mut id, mut time, mut grace) = (None, None, None);
        let (mut snapshots, mut packs) = (Vec::new(), Vec::new());
        while let Some(mut fields) = reader.next()? {
            let in_order = match fields.word() {
                "repository" => id.replace(RepositoryId(fields.hex()?)).is_none(),
                "time" => time.replace(fields.time()?).is_none(),
                "grace" => grace.replace(Duration::from_secs(fields.number::<u32>()?.into())).is_none(),
                "snapshot" => {
                    snapshots.push((SnapshotId(fields.hex()?), Digest(fields.hex()?)));
                    packs.is_empty()
                }
                "pack" => {
                    packs.push(PackId(fields.hex()?));
                    true
                }
                _ => return Err(fields.unknown()),
            };
            if !in_order {
                return Err(fields.wrong("a line is there twice, or out of order"));
            }
            fields.end()?;
        }
        match (id, time, grace) {
            (Some(id), Some(time), Some(grace)) if id == repository => {
                Ok(Self { repository: id, time, grace, snapshots, packs })
            }
            (Some(_), Some(_), Some(_)) => Err(corrupt("it belongs to another repository")),
            _ => Err(corrupt("it does not say its repository, its time and its grace time")),
        }
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a collect record is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_round_trips_and_is_bound_to_its_repository() {
        let key = IdKey::new([4; 32]);
        let record = CollectRecord {
            repository: RepositoryId([1; 16]),
            time: "2026-03-01T02:00:05Z".parse().unwrap(),
            grace: Duration::from_secs(86_400),
            snapshots: vec![(SnapshotId([2; 6]), Digest([3; 32]))],
            packs: vec![PackId([5; 16]), PackId([4; 16])],
        };
        let bytes = record.write(&key);
        assert_eq!(CollectRecord::read(&bytes, record.repository, &key).unwrap(), record);
        assert!(CollectRecord::read(&bytes, RepositoryId([9; 16]), &key).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(CollectRecord::read(&changed, record.repository, &key).is_err(), "byte {at}");
        }
    }
}
