//! `schedule serve`: the jobs of a service that has no uplifted-ops in it.

use std::time::Duration;

use super::terminal::Terminal;
use crate::api::continuous::standings;
use crate::cancel::Cancel;
use crate::clock::{Clock, SystemClock};
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
    let names: Vec<String> = ops.context().stores.iter().map(|store| store.name.clone()).collect();
    let standings = standings(ops.context(), &names, SystemClock.now())?;
    let followed: Vec<&str> = standings.iter().filter(|store| store.wanted).map(|store| store.name.as_str()).collect();
    if !runs && followed.is_empty() {
        return Err(Error::new(ErrorKind::Refused, "no job of this service runs by itself")
            .with_hint("set backup.schedule, or add a [[job]] to ops.toml; `uplifted-ops schedule` lists them"));
    }
    if runs {
        terminal.say("jobs run when their times come; `uplifted-ops schedule` shows how they do");
    }
    if !followed.is_empty() {
        let followed = followed.join(", ");
        terminal.say(&format!(
            "{followed}: to be followed; `uplifted-ops continuous status` shows whether and how that goes"
        ));
    }
    cancel.cancelled().await;
    ops.close(PATIENCE).await
}
