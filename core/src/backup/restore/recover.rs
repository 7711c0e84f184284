//! After a death: finishing or undoing what another process left.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::apply::{all_units, check_free};
use super::record::{Phase, Turn, Work, folders_in, pending_folder, sweep};
use super::swap::{self, Goal};
use crate::cancel::Scope;
use crate::error::{Error, ErrorBody, Result};

/// What became of a restore that a process left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recovered {
    /// The restore's identifier: its `undo_id` when it was finished in place.
    pub restore_id: String,
    /// The snapshot.
    pub snapshot_id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The same in words.
    pub message: String,
    /// Why it is not done, for [`Outcome::Pending`] and [`Outcome::Unfinished`].
    pub error: Option<ErrorBody>,
}

/// What became of a restore that a process left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was carried out to its end: the folder is wholly the new one.
    Finished,
    /// It had waited for this start, and happened now.
    Applied,
    /// It was undone: the folder is wholly the old one.
    TakenBack,
    /// It had not begun to replace anything, and what was staged is removed.
    Removed,
    /// It still waits, since a database is open: restart the service, with `Ops` built before it opens one.
    Pending,
    /// It could not be ended, and the folder may be half old and half new. The service must not start.
    Unfinished,
}

/// What to do with restores in place that are left, above all with one that waits for the service to be down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// Carry it out.
    Apply,
    /// Give it up, but end the others.
    Drop,
    /// Nothing: another process has the turn.
    Leave,
}

/// Ends what dead processes left of their restores, and carries out those that waited for the service to be
/// down. To be called whenever `Ops` is built and before every command; costs one look at a folder when there
/// is nothing. The work of a living process is left alone. Calling it again changes nothing.
///
/// # Errors
/// Only when the state folder cannot be read; what befalls a single restore is in its [`Recovered`].
pub fn recover(scope: &Scope, site: &Site<'_>) -> Result<Vec<Recovered>> {
    if !pending_folder(&site.state).is_dir() {
        return Ok(Vec::new());
    }
    let site = site.resolved()?;
    match Turn::try_take(&site.state)? {
        Some(_turn) => clear_up(scope, &site, Pending::Apply),
        None => clear_up(scope, &site, Pending::Leave),
    }
}

/// [`recover`], for a caller with resolved paths. All but [`Pending::Leave`] need the turn.
pub(super) fn clear_up(scope: &Scope, site: &Site<'_>, pending: Pending) -> Result<Vec<Recovered>> {
    sweep(&site.state)?;
    let mut recovered = Vec::new();
    for folder in folders_in(&pending_folder(&site.state))? {
        match Work::adopt(&folder) {
            Ok(Some(work)) if work.is_in_place() && pending == Pending::Leave => {}
            Ok(Some(work)) => recovered.push(end(scope, site, pending, work)),
            Ok(None) => {}
            Err(error) => recovered.push(Recovered {
                restore_id: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                snapshot_id: String::new(),
                outcome: Outcome::Unfinished,
                message: format!("a restore could not be looked at: {error}"),
                error: Some(error.to_body()),
            }),
        }
    }
    Ok(recovered)
}

fn end(scope: &Scope, site: &Site<'_>, pending: Pending, work: Work) -> Recovered {
    let (id, snapshot) = (work.record.name.id.clone(), work.record.snapshot_id.clone());
    let what = if work.record.name.undoes.is_some() { "the undo of a restore" } else { "the restore" };
    let what = format!("{what} of snapshot {snapshot} ({id})");
    let waits = work.record.phase == Phase::Staged && pending == Pending::Apply;
    let (outcome, error) = match if waits { apply_now(scope, site, work) } else { carry_on(scope, site, work) } {
        Ok(outcome) => (outcome, None),
        Err((outcome, error)) => (outcome, Some(error)),
    };
    let message = match (outcome, &error) {
        (Outcome::Finished, _) => format!("{what} was interrupted and is finished now"),
        (Outcome::Applied, _) => format!("{what} had waited for the service to be down and is done now"),
        (Outcome::TakenBack, _) => format!("{what} was interrupted and is taken back"),
        (Outcome::Removed, _) => format!("{what} was given up before it replaced anything"),
        (Outcome::Pending, Some(error)) => format!("{what} still waits: {error}"),
        (_, Some(error)) => format!("{what} could not be ended: {error}"),
        (_, None) => format!("{what} could not be ended"),
    };
    Recovered { restore_id: id, snapshot_id: snapshot, outcome, message, error: error.map(|error| error.to_body()) }
}

/// Carries out a restore that waited for the service to be down.
fn apply_now(scope: &Scope, site: &Site<'_>, mut work: Work) -> std::result::Result<Outcome, (Outcome, Error)> {
    check_free(&work, site, &all_units(&work), false).map_err(|held| {
        let held = held.with_hint("restart the service, and build Ops before it opens its databases");
        (Outcome::Pending, held)
    })?;
    if let Err(failure) = swap::run(scope, &mut work, &site.root) {
        // Taken back it waits on, whole, and the next start tries again.
        let waits = failure.taken_back && work.enter(Phase::Staged).is_ok();
        return Err((if waits { Outcome::Pending } else { Outcome::Unfinished }, failure.error));
    }
    work.commit(&site.root, &site.state).map(|()| Outcome::Applied).map_err(|error| (Outcome::Unfinished, error))
}

/// Ends what a dead process left.
fn carry_on(scope: &Scope, site: &Site<'_>, work: Work) -> std::result::Result<Outcome, (Outcome, Error)> {
    let (root, state) = (&site.root, &site.state);
    let trade = |work: &Work, goal| {
        check_waiting(work, site, goal)?;
        swap::carry_out(scope, work, root, goal)
    };
    let ended = match work.record.phase {
        Phase::Staging | Phase::Staged | Phase::Undone => work.abandon(root, state).map(|()| Outcome::Removed),
        Phase::Swapping => {
            trade(&work, Goal::Forward).and_then(|()| work.commit(root, state)).map(|()| Outcome::Finished)
        }
        Phase::Swapped | Phase::Committed => work.commit(root, state).map(|()| Outcome::Finished),
        Phase::Undoing => {
            trade(&work, Goal::Back).and_then(|()| work.abandon(root, state)).map(|()| Outcome::TakenBack)
        }
    };
    ended.map_err(|error| (Outcome::Unfinished, error))
}

fn check_waiting(work: &Work, site: &Site<'_>, goal: Goal) -> Result<()> {
    let waiting = swap::waiting_units(work, &site.root, goal)?;
    check_free(work, site, &waiting, false)
        .map_err(|error| error.while_doing("a restore was interrupted half-way and the service has been started on it"))
}
