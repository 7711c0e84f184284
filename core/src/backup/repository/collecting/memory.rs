//! Which snapshots this machine has seen in a repository, so that a target which was put back to an older state is
//! noticed. Losing the file costs this and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::REMOVALS_KEPT;
use crate::backup::manifest::Digest;
use crate::backup::repository::id::{RepositoryId, SnapshotId, unhex_lower};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fs;
use crate::value::hex;

/// What was seen in one target.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// When, by the target's clock.
    seen_at: Timestamp,
    /// The snapshots with the macs of their headers.
    snapshots: BTreeMap<String, String>,
}

impl Memory {
    /// What was seen of the repository in the target `target`; nothing when that is not known.
    pub(super) fn load(state: &Path, repository: RepositoryId, target: &str) -> Self {
        let read = std::fs::read(file(state, repository, target)).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Remembers what is there now.
    pub(super) fn save(
        state: &Path,
        repository: RepositoryId,
        target: &str,
        seen_at: Timestamp,
        snapshots: &BTreeMap<SnapshotId, Digest>,
    ) -> Result<()> {
        let snapshots = snapshots.iter().map(|(id, mac)| (id.to_string(), hex(&mac.0))).collect();
        let json = serde_json::to_vec(&Self { seen_at, snapshots })
            .map_err(|error| Error::internal(format!("what was seen of a repository is not JSON: {error}")))?;
        let file = file(state, repository, target);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder, fs::PRIVATE_DIR)?;
        }
        fs::write_atomic(&file, fs::PRIVATE_FILE, &json)
    }

    /// The snapshots that must be there at `now`, or be named in a record. Nothing when so much time has passed that
    /// the record of a removal may be gone as well.
    pub(super) fn snapshots_at(&self, now: Timestamp) -> Vec<(SnapshotId, Digest)> {
        if now.duration_since(self.seen_at) >= REMOVALS_KEPT {
            return Vec::new();
        }
        let parse = |(id, mac): (&String, &String)| {
            Some((SnapshotId::parse(id.as_bytes())?, Digest(unhex_lower(mac.as_bytes())?)))
        };
        self.snapshots.iter().filter_map(parse).collect()
    }
}

/// One repository may be in several targets, copied there by other means.
fn file(state: &Path, repository: RepositoryId, target: &str) -> PathBuf {
    let name = hex(&blake3::hash(target.as_bytes()).as_bytes()[..8]);
    state.join("cache/repository").join(repository.to_string()).join(format!("seen-{name}"))
}
