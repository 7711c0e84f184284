//! `schedule serve`: the jobs of a service that has no uplifted-ops in it.

use std::time::Duration;

use super::terminal::Terminal;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Ops;

/// How long what runs may take to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets the jobs of `ops` run until `cancel` is raised.
///
/// # Errors
/// [`ErrorKind::Refused`] when nothing runs by itself; [`ErrorKind::Timeout`] when what runs does not stop.
pub(super) async fn stay(ops: &Ops, cancel: &Cancel, terminal: &mut Terminal) -> Result<()> {
    let room = &ops.context().jobs;
    let settings = ops.context().settings();
    let runs = room.jobs().run_by_themselves() && settings.schedule.enabled;
    let follows = !settings.continuous.stores.is_empty();
    if !runs && !follows {
        return Err(Error::new(ErrorKind::Refused, "no job of this service runs by itself")
            .with_hint("set backup.schedule, or add a [[job]] to ops.toml; `uplifted-ops schedule` lists them"));
    }
    if runs {
        terminal.say("jobs run when their times come; `uplifted-ops schedule` shows how they do");
    }
    if follows {
        terminal.say("stores are followed; `uplifted-ops continuous status` shows how that stands");
    }
    cancel.cancelled().await;
    ops.close(PATIENCE).await
}
