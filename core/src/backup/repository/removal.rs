//! Removing a snapshot: first the record that says so, then the header. Its packs are left to collection.

use std::sync::Arc;

use super::collect::CollectRecord;
use super::collecting::{DEFAULT_GRACE, put_record};
use super::id::{PackId, SnapshotId};
use super::names;
use super::open::{Repository, StoredHeader};
use crate::backup::list::blocking;
use crate::backup::manifest::Digest;
use crate::backup::target::BackupTarget;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// Removes the snapshot whose header is at `key`.
///
/// # Errors
/// What the target says. When the record is there and the header still is too, doing it again goes on.
pub(crate) async fn remove(
    scope: &Scope,
    target: &Arc<dyn BackupTarget>,
    repository: Repository,
    key: &str,
) -> Result<()> {
    let snapshot = names::snapshot_of(key)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{key:?} is no header of a snapshot")))?;
    let (now, wanted) = (scope.clock.now(), key.to_owned());
    let (record, id_key) = blocking(move || {
        let headers = repository.headers()?;
        let record = CollectRecord {
            repository: repository.id,
            time: now,
            grace: DEFAULT_GRACE,
            snapshots: mac_of(&headers, &wanted, snapshot).into_iter().map(|mac| (snapshot, mac)).collect(),
            packs: only_needed_by(&headers, &wanted),
        };
        Ok((record, repository.key))
    })
    .await?;
    // The record is all that tells this removal from a loss.
    put_record(scope, &**target, &record, &id_key).await?;
    target.delete(scope, key).await
}

/// The mac of the header at `key`; of a damaged one what the next header says of it.
fn mac_of(headers: &[StoredHeader], key: &str, snapshot: SnapshotId) -> Option<Digest> {
    let whole = || headers.iter().filter_map(|stored| Some((&stored.key, stored.header.as_ref().ok()?)));
    let own = whole().find(|(stored, _)| *stored == key).map(|(_, (_, mac))| *mac);
    own.or_else(|| {
        whole().filter_map(|(_, (header, _))| header.previous).find(|(id, _)| *id == snapshot).map(|(_, mac)| mac)
    })
}

/// The packs that no other snapshot needs. None while another header cannot be read: nobody knows what it needs.
fn only_needed_by(headers: &[StoredHeader], key: &str) -> Vec<PackId> {
    let (mut own, mut others) = (Vec::new(), std::collections::BTreeSet::new());
    for stored in headers {
        match (&stored.header, stored.key == key) {
            (Ok((header, _)), true) => own.extend(header.packs.iter().map(|pack| pack.id)),
            (Ok((header, _)), false) => others.extend(header.packs.iter().map(|pack| pack.id)),
            (Err(_), true) => {}
            (Err(_), false) => return Vec::new(),
        }
    }
    own.retain(|pack| !others.contains(pack));
    own
}
