//! After a death: finishing or undoing what another process left.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::apply::{all_units, check_free};
use super::record::{Phase, Turn, Work, folders_in, pending_folder};
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

/// What to do with a restore that waits for the service to be down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// Carry it out.
    Apply,
    /// Give it up.
    Drop,
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
    let turn = Turn::try_take(&site.state)?;
    let mut recovered = clear_up(scope, &site, Pending::Apply)?;
    if turn.is_none() {
        // Those in place belong to whoever has the turn; `clear_up` did not touch their locked folders, and
        // what it would have ended is ended by them.
        recovered.retain(|entry| entry.outcome != Outcome::Pending);
    }
    Ok(recovered)
}

/// [`recover`], for a caller that has the turn and resolved paths.
pub(super) fn clear_up(scope: &Scope, site: &Site<'_>, pending: Pending) -> Result<Vec<Recovered>> {
    let mut recovered = Vec::new();
    for folder in folders_in(&pending_folder(&site.state))? {
        match Work::adopt(&folder) {
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
    let (id, snapshot, phase) = (work.record.name.id.clone(), work.record.snapshot_id.clone(), work.record.phase);
    let what = if work.record.name.undoes.is_some() { "the undo of a restore" } else { "the restore" };
    let what = format!("{what} of snapshot {snapshot} ({id})");
    let (outcome, message, error) = match carry_on(scope, site, pending, work) {
        Ok(outcome) => {
            let message = match outcome {
                Outcome::Finished => format!("{what} was interrupted and is finished now"),
                Outcome::Applied => format!("{what} had waited for the service to be down and is done now"),
                Outcome::TakenBack => format!("{what} was interrupted and is taken back"),
                _ => format!("{what} was given up before it replaced anything"),
            };
            (outcome, message, None)
        }
        Err(error) if phase == Phase::Staged => {
            (Outcome::Pending, format!("{what} still waits: {error}"), Some(error.to_body()))
        }
        Err(error) => (Outcome::Unfinished, format!("{what} could not be ended: {error}"), Some(error.to_body())),
    };
    Recovered { restore_id: id, snapshot_id: snapshot, outcome, message, error }
}

fn carry_on(scope: &Scope, site: &Site<'_>, pending: Pending, mut work: Work) -> Result<Outcome> {
    let (root, state) = (&site.root, &site.state);
    match work.record.phase {
        Phase::Staged if pending == Pending::Apply => {
            check_free(&work, site, &all_units(&work))?;
            match swap::run(scope, &mut work, root) {
                Ok(()) => {
                    work.commit(root, state)?;
                    Ok(Outcome::Applied)
                }
                Err(failure) => {
                    if failure.taken_back {
                        // It waits on, whole: the next start tries again.
                        work.enter(Phase::Staged)?;
                    }
                    Err(failure.error)
                }
            }
        }
        Phase::Staging | Phase::Staged | Phase::Undone => {
            work.abandon(root, state)?;
            Ok(Outcome::Removed)
        }
        Phase::Swapping => {
            check_waiting(&work, site, Goal::Forward)?;
            swap::carry_out(scope, &work, root, Goal::Forward)?;
            work.commit(root, state)?;
            Ok(Outcome::Finished)
        }
        Phase::Swapped | Phase::Committed => {
            work.commit(root, state)?;
            Ok(Outcome::Finished)
        }
        Phase::Undoing => {
            check_waiting(&work, site, Goal::Back)?;
            swap::carry_out(scope, &work, root, Goal::Back)?;
            work.abandon(root, state)?;
            Ok(Outcome::TakenBack)
        }
    }
}

fn check_waiting(work: &Work, site: &Site<'_>, goal: Goal) -> Result<()> {
    let waiting = swap::waiting_units(work, &site.root, goal)?;
    check_free(work, site, &waiting).map_err(|error: Error| {
        error.while_doing("a restore was interrupted half-way and the service has been started on it")
    })
}
