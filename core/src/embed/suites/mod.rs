//! The public suites, run against plugins: how an author certifies one in a line.
//!
//! A suite is given a *scene*: an object (or what the binding makes of a function) whose methods make the plugins under
//! test. It is a [`Plugin`] like any other, so a binding wraps it the same way and needs nothing else:
//!
//! ```no_run
//! # use std::{sync::Arc, time::Duration};
//! # use uplifted_ops::{Result, embed::{Contract, Plugin, suites}};
//! # async fn certify(scene: Arc<dyn Plugin>) -> Result<()> {
//! let outcomes = suites::run(Contract::Target, scene, Duration::from_secs(10)).await?;
//! let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some());
//! # Ok(()) }
//! ```
//!
//! | suite | the scene has | and may have |
//! | --- | --- | --- |
//! | [`Contract::Target`] | `fresh()` → an empty target | |
//! | [`Contract::Check`] | `fresh()` → a check that answers, with whatever verdict | `stuck()` → one whose question gets no answer; `watched()` → paths that it must leave alone |
//! | [`Contract::Sink`] | `fresh()` → an object with `sink()` → the sink, and `received(name, labels)` → what the place behind it holds: the last value of a counter or gauge, the count of a histogram, nothing when it never came | in that object `exports()` → how many arrived; `set_failing(failing)`, after which the place behind the sink fails or works again |
//! | [`Contract::Store`] | `open(folder)` → the store over the database in that folder, which may be missing; `commit(folder, rows)` commits that many further rows, making the database if need be, and leaves no connection open; `rows(folder)` → how many the database in that folder has | `rows_in(folder)` for a copy, else `rows` is asked; `damage(folder)` spoils a copy, else bytes of its largest file are flipped; `hold_open(folder)` opens the database in another process → an object with `release()` |
//!
//! "Rows" are whatever the scene counts. Folders are made, compared and removed by the suite. For the clause about
//! foreign databases it puts text, noise and a folder where `capability.file` says that the database is.
//!
//! [`CaseOutcome`] is `{name, clause, failure}` as JSON; `failure` is null when the clause holds.

mod check;
mod scene;
mod sink;
mod store;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::backup::BackupTarget;
use crate::cancel::{Cancel, CancelOnDrop};
use crate::error::{Error, ErrorKind, Result};
use crate::testing::{self, CaseOutcome};

use super::contract::Contract;
use super::plugin::Plugin;
use scene::Scene;

/// Runs the suite of a contract with plugins that `scene` makes. Each call of them has `deadline`, ten times that for
/// work on a whole database. The future may be awaited on any executor; dropped, it ends the suite.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a scene that lacks a method, and whatever goes wrong in the scene itself. That a
/// plugin fails a clause is an outcome, not an error.
pub async fn run(contract: Contract, scene: Arc<dyn Plugin>, deadline: Duration) -> Result<Vec<CaseOutcome>> {
    let cancel = Cancel::new();
    let _end_when_dropped = CancelOnDrop::new(&cancel);
    let (sender, receiver) = oneshot::channel();
    start(contract, scene, deadline, cancel, |outcomes| {
        let _ = sender.send(outcomes);
    })?;
    receiver.await.unwrap_or_else(|_| Err(ended()))
}

/// [`run`] without `async`. Blocks the thread, whatever it is.
///
/// # Errors
/// As [`run`].
pub fn run_blocking(contract: Contract, scene: Arc<dyn Plugin>, deadline: Duration) -> Result<Vec<CaseOutcome>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    start(contract, scene, deadline, Cancel::new(), move |outcomes| {
        let _ = sender.send(outcomes);
    })?;
    receiver.recv().unwrap_or_else(|_| Err(ended()))
}

fn ended() -> Error {
    Error::internal("the suite ended without outcomes")
}

/// Runs a suite on threads of its own: a plugin may need the thread that asked for it.
fn start(
    contract: Contract,
    scene: Arc<dyn Plugin>,
    deadline: Duration,
    cancel: Cancel,
    done: impl FnOnce(Result<Vec<CaseOutcome>>) + Send + 'static,
) -> Result<()> {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return done(Err(Error::io("start the threads of the suite", error))),
        };
        let outcomes = runtime.block_on(async {
            tokio::select! {
                outcomes = suite(contract, scene, deadline) => outcomes,
                () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
            }
        });
        runtime.shutdown_background();
        done(outcomes);
    };
    let thread = std::thread::Builder::new().name("uplifted-ops-suite".into()).spawn(work);
    thread.map(drop).map_err(|error| Error::io("start the thread of the suite", error))
}

async fn suite(contract: Contract, scene: Arc<dyn Plugin>, deadline: Duration) -> Result<Vec<CaseOutcome>> {
    let wanted: &[&str] = match contract {
        Contract::Target | Contract::Check | Contract::Sink => &["fresh"],
        Contract::Store => &["open", "commit", "rows"],
        Contract::Upload | Contract::Pause | Contract::Scene => {
            return Err(Error::invalid(format!("there is no suite of its own for a {contract}"))
                .with_hint("run that of a store, a target, a check or a sink"));
        }
    };
    let scene = Scene::new(contract, scene, wanted, deadline)?;
    let outcomes = match contract {
        Contract::Target => testing::target::run_with(async || fresh_target(&scene).await).await,
        Contract::Check => check::run(&scene).await?,
        Contract::Sink => testing::sink::run_with(async || sink::fresh(&scene).await).await,
        _ => testing::store::run(async || store::fresh(&scene).await).await,
    };
    // A scene that fails is no verdict about the plugin.
    scene.faults().map_or(Ok(outcomes), Err)
}

async fn fresh_target(scene: &Scene) -> Result<Arc<dyn BackupTarget>> {
    let plugin = scene.object("fresh").await?;
    scene.blame(super::target("target", plugin, scene.deadline()))
}
