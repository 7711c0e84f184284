//! Holds: who wants a snapshot kept, and why.
//!
//! An archive is immutable, and the state folder may be lost with the machine. So a hold is a small object in the
//! target beside the snapshot, `holds/<snapshot>.<random>`, with `{by, at, reason}` as JSON: every machine that uses
//! the target sees it, and nothing but its removal ends it. Whoever can write to the target can hold, which at worst
//! keeps too much. An object there that cannot be read is a hold as well.
//!
//! A hold needs no lease, since a snapshot must be held at once also while a backup runs for an hour. Instead
//! both sides write before they look (Dekker's way): a deletion first puts `holds/<snapshot>.deleting`, then looks for
//! holds; a hold is put first, and then `deleting` is looked for. So at least one of the two sees the other: the
//! deletion steps back, or the hold waits and learns what became of the snapshot.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::blocks::list_all;
use super::super::target::{BackupTarget, Object};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::value::random_hex;

/// Where holds are.
const PREFIX: &str = "holds/";
/// The last part of the key that says that a snapshot is being deleted.
const DELETING: &str = "deleting";
/// A hold is no longer than this.
const MAX_BYTES: u64 = 64 << 10;
/// What a deletion that died has left is older than this, by the target's clock.
const DEAD: SignedDuration = SignedDuration::from_mins(10);
/// How often, and how long apart, a hold looks whether a deletion has ended.
const LOOKS: (u32, Duration) = (20, Duration::from_millis(250));

/// Who wants a snapshot kept, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// Who.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// The holds of a target, by snapshot.
pub type Holds = BTreeMap<String, Vec<Hold>>;

/// The holds in `target`.
pub async fn holds(scope: &Scope, target: &dyn BackupTarget) -> Result<Holds> {
    let mut holds = Holds::new();
    for object in list_all(scope, target, PREFIX).await? {
        let Some((id, name)) = parts(&object.key) else { continue };
        if name == DELETING {
            continue;
        }
        let hold = match target.get(scope, &object.key, 0..MAX_BYTES).await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|_| Hold {
                by: "somebody".to_owned(),
                at: object.modified_at,
                reason: format!("{:?} cannot be read", object.key),
            }),
            // Released since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        holds.entry(id.to_owned()).or_default().push(hold);
    }
    holds.values_mut().for_each(|of_one| of_one.sort_by(|a, b| (a.at, &a.by).cmp(&(b.at, &b.by))));
    Ok(holds)
}

/// Holds the snapshot `id`, whose object in `target` is `key`.
///
/// # Errors
/// [`ErrorKind::NotFound`] when it was deleted at this very moment; [`ErrorKind::Busy`] when a deletion of it is under way
/// and does not end: the hold stays then.
pub async fn hold(scope: &Scope, target: &dyn BackupTarget, id: &str, key: &str, hold: &Hold) -> Result<()> {
    hold_looking(scope, target, id, key, hold, LOOKS).await
}

/// [`hold`], which looks so often, and so long apart, whether a deletion has ended.
pub(super) async fn hold_looking(
    scope: &Scope,
    target: &dyn BackupTarget,
    id: &str,
    key: &str,
    hold: &Hold,
    (looks, pause): (u32, Duration),
) -> Result<()> {
    let json = serde_json::to_vec(hold).map_err(|error| Error::internal(format!("a hold is not JSON: {error}")))?;
    if json.len() as u64 > MAX_BYTES {
        return Err(Error::invalid("the reason of the hold is too long").with_hint("say it in a few sentences"));
    }
    let own = format!("{}{}", prefix_of(id), random_hex(12)?);
    target.put(scope, &own, &json, true).await?;
    for look in 0.. {
        let around = list_all(scope, target, &prefix_of(id)).await?;
        let since = around.iter().find(|object| object.key == own).map(|object| object.modified_at);
        let deleting = around.iter().find(|object| object.key == deleting_key(id));
        let under_way = deleting.filter(|mark| since.is_none_or(|at| at.duration_since(mark.modified_at) < DEAD));
        if under_way.is_none() {
            break;
        }
        if look == looks {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("snapshot {id} is being deleted, or a deletion of it died"),
            )
            .with_hint("the hold is there; hold it again in a few minutes to see whether it came in time"));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = scope.cancel.cancelled() => scope.cancel.check()?,
        }
    }
    if target.stat(scope, key).await?.is_some() {
        return Ok(());
    }
    target.delete(scope, &own).await?;
    Err(Error::new(ErrorKind::NotFound, format!("snapshot {id} was deleted at this moment"))
        .with_hint("hold another one: `uplifted-ops backup list`"))
}

/// Takes away every hold of the snapshot `id` that is there now, and says how many there were.
pub async fn release(scope: &Scope, target: &dyn BackupTarget, id: &str) -> Result<u64> {
    let mut released = 0;
    for object in list_all(scope, target, &prefix_of(id)).await? {
        if object.key != deleting_key(id) {
            target.delete(scope, &object.key).await?;
            released += 1;
        }
    }
    Ok(released)
}

/// Awaits `delete`, which deletes the snapshot `id` with its object `key`, unless somebody holds it. Call it under the
/// target's lease; what `delete` does first is the last moment to look whether the lease is still there.
///
/// # Errors
/// [`ErrorKind::Refused`] when it is held, with nothing deleted; what `delete` says; [`ErrorKind::Unavailable`] when
/// the target says that it deleted the object and still has it.
pub async fn delete_unless_held(
    scope: &Scope,
    target: &dyn BackupTarget,
    id: &str,
    key: &str,
    delete: impl Future<Output = Result<()>>,
) -> Result<()> {
    let mark = deleting_key(id);
    target.put(scope, &mark, b"", false).await?;
    let deleted = delete_marked(scope, target, id, key, delete).await;
    // A mark that stays is cleared away by the next retention that deletes something. It must not hide what happened.
    let _ = target.delete(&scope.uncancelled(), &mark).await;
    deleted
}

async fn delete_marked(
    scope: &Scope,
    target: &dyn BackupTarget,
    id: &str,
    key: &str,
    delete: impl Future<Output = Result<()>>,
) -> Result<()> {
    let around = list_all(scope, target, &prefix_of(id)).await?;
    if around.iter().any(|object| object.key != deleting_key(id)) {
        return Err(held(id));
    }
    delete.await?;
    if target.stat(scope, key).await?.is_some() {
        return Err(Error::new(ErrorKind::Unavailable, format!("the target still has {key:?} after deleting it"))
            .with_hint("look whether the target keeps what is deleted: versions, object lock, a read-only mount"));
    }
    Ok(())
}

/// Why a held snapshot is not deleted.
pub fn held(id: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("snapshot {id} is held"))
        .with_hint(format!("`uplifted-ops backup release {id}` ends the hold, once nobody needs it"))
}

/// Clears away what deletions that died have left. Call it under the target's lease: nothing is being deleted then.
pub async fn sweep(scope: &Scope, target: &dyn BackupTarget) -> Result<()> {
    for Object { key, .. } in list_all(scope, target, PREFIX).await? {
        if parts(&key).is_some_and(|(_, name)| name == DELETING) {
            target.delete(scope, &key).await?;
        }
    }
    Ok(())
}

/// The snapshot and the last part of a key.
fn parts(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(PREFIX)?.split_once('.')
}

fn prefix_of(id: &str) -> String {
    format!("{PREFIX}{id}.")
}

fn deleting_key(id: &str) -> String {
    format!("{}{DELETING}", prefix_of(id))
}
