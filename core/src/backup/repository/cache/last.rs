//! The header that this host put last into a repository, so that a target which was put back to an older state is noticed.

use std::path::Path;

use super::Take;
use crate::backup::manifest::Digest;
use crate::backup::repository::id::{IdKey, SnapshotId};
use crate::backup::repository::names;
use crate::backup::repository::open::Repository;
use crate::clock::Timestamp;
use crate::error::Result;

const MAGIC: &[u8; 8] = b"uopslh01";

/// A header that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastHeader {
    pub(crate) snapshot: SnapshotId,
    /// That of the header.
    pub(crate) mac: Digest,
    /// When its backup began: part of its key in the target.
    pub(crate) time: Timestamp,
}

impl LastHeader {
    /// What the file says; nothing when it is not there or not whole.
    pub(crate) fn load(file: &Path, key: &IdKey) -> Option<Self> {
        let body = super::read_small(file, MAGIC, key)?;
        let mut take = Take(&body);
        let (snapshot, mac) = (SnapshotId(take.array()?), Digest(take.array()?));
        Some(Self { snapshot, mac, time: std::str::from_utf8(take.counted()?).ok()?.parse().ok()? })
    }

    /// Writes the file.
    pub(crate) fn save(&self, file: &Path, key: &IdKey) -> Result<()> {
        let mut body = [&self.snapshot.0[..], &self.mac.0].concat();
        super::put_counted(&mut body, self.time.to_string().as_bytes());
        super::write_small(file, MAGIC, &body, key)
    }

    /// Whether its header is gone from the repository although nobody recorded that it was removed. Nothing is said of one
    /// that is older than records of removals are kept.
    pub(crate) fn is_missing(&self, repository: &Repository) -> Result<bool> {
        let now = repository.objects.scope().clock.now();
        if now.duration_since(self.time) >= crate::backup::repository::collecting::REMOVALS_KEPT
            || repository.objects.exists(&names::snapshot(self.time, self.snapshot))?
        {
            return Ok(false);
        }
        let (collected, _) = repository.collected()?;
        Ok(!collected.iter().any(|record| record.snapshots.contains(&(self.snapshot, self.mac))))
    }

    /// What is said when it is.
    pub(crate) fn message(&self) -> String {
        format!(
            "snapshot {} of {}, which this host made last, is gone, and nobody recorded that it was removed: somebody \
             deleted headers, or put an older state of the target back",
            self.snapshot, self.time
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_of_another_repository_counts_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("last"), IdKey::new([7; 32]));
        let last = LastHeader {
            snapshot: SnapshotId([1; 6]),
            mac: Digest([2; 32]),
            time: "2026-03-01T02:00:05.25Z".parse().unwrap(),
        };
        assert_eq!(LastHeader::load(&file, &key), None);
        last.save(&file, &key).unwrap();
        assert_eq!(LastHeader::load(&file, &key), Some(last));
        assert_eq!(LastHeader::load(&file, &IdKey::new([8; 32])), None);
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&file, &changed).unwrap();
            assert_eq!(LastHeader::load(&file, &key), None, "byte {at}");
            std::fs::write(&file, &whole[..at]).unwrap();
            assert_eq!(LastHeader::load(&file, &key), None, "cut at {at}");
        }
    }
}
