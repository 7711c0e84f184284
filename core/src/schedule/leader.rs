//! Of several processes of a service, one runs the jobs.

use serde::{Deserialize, Serialize};

use super::state::Folder;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::fs::{self, ProcessLock};
use crate::process::ProcessIdentity;

const LOCK: &str = "leader";
const RECORD: &str = "leader.json";

/// Who the leader is. For people: the lock alone decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    /// Its process.
    pub owner: ProcessIdentity,
    /// Since when it leads.
    pub since: Timestamp,
}

/// The lead. It ends when this is dropped, and when the process ends, however it ends; a forked child never has it.
#[derive(Debug)]
pub struct Leadership {
    lock: ProcessLock,
    folder: Folder,
}

impl Leadership {
    /// Takes the lead, or returns `None` while another process of this machine, or another service handle of this
    /// process, has it.
    ///
    /// # Errors
    /// What [`crate::fs`] says about the state folder.
    pub fn try_take(folder: &Folder, now: Timestamp) -> Result<Option<Self>> {
        let Some(lock) = folder.lock(LOCK)? else { return Ok(None) };
        folder.write(RECORD, &LeaderRecord { owner: ProcessIdentity::current(), since: now })?;
        Ok(Some(Self { lock, folder: folder.clone() }))
    }

    /// Whether it still is ours. It is not when somebody removed the state folder, where the next one finds no lock.
    pub fn is_held(&self) -> bool {
        self.lock.is_held()
    }

    /// Who has, or last had, the lead.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn record(folder: &Folder) -> Result<Option<LeaderRecord>> {
        folder.read(RECORD)
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if self.lock.is_held() {
            // While the lock is ours, so that it is not the record of the next one. What fails here leaves the record
            // of a process that does not lead: it names a dead process soon.
            let _ = fs::remove_file(&self.folder.path().join(RECORD));
        }
    }
}
