//! What time it is at a target. Ages of objects are differences of its own times: no two machines agree on the hour.

use jiff::SignedDuration;

use super::blocks::list_all;
use super::target::BackupTarget;
use crate::cancel::{Cancel, Scope};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::value::random_hex;

/// Where the target's clock is read.
const PREFIX: &str = "locks/clock.";
/// What a dead reader of the clock left is older than this.
const LITTER: SignedDuration = SignedDuration::from_secs(600);

/// What a target's clock says, by the time of an object that is put for it and deleted again.
pub(super) async fn target_now(scope: &Scope, target: &dyn BackupTarget) -> Result<Timestamp> {
    let key = format!("{PREFIX}{}", random_hex(12)?);
    target.put(scope, &key, b"", false).await?;
    let probe = target.stat(scope, &key).await;
    // Also after a cancel: what was put goes.
    target.delete(&Scope { cancel: Cancel::new(), ..scope.clone() }, &key).await?;
    let probe = probe?.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the target lost a new object"))?;
    Ok(probe.modified_at)
}

/// Clears away what dead readers of the clock have left. `now` is the target's time.
pub(super) async fn sweep_probes(scope: &Scope, target: &dyn BackupTarget, now: Timestamp) -> Result<()> {
    for probe in list_all(scope, target, PREFIX).await? {
        if now.duration_since(probe.modified_at) > LITTER {
            target.delete(scope, &probe.key).await?;
        }
    }
    Ok(())
}
