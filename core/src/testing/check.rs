//! The suite of [`HealthCheck`].
//!
//! ```
//! # use std::sync::Arc;
//! use uplifted_ops::health::HealthCheck;
//! use uplifted_ops::health::checks::tcp::{TcpCheck, TcpSettings};
//! use uplifted_ops::testing::{assert_all, check};
//!
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> uplifted_ops::Result<()> {
//! let fresh = || -> Arc<dyn HealthCheck> { Arc::new(TcpCheck::new(TcpSettings::new("127.0.0.1:1")).expect("settings")) };
//! assert_all(&check::run(check::Scene::new(fresh)).await);
//! # Ok(()) }
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::CaseOutcome;
use super::case::{case, run_all};
use crate::cancel::{Cancel, Scope};
use crate::error::{ErrorKind, Result};
use crate::health::{CheckOutcome, HealthCheck};

/// A check that does not give up within this did not give up. A guard, not a measurement.
const PATIENCE: Duration = Duration::from_secs(10);

/// A way to make the check under test, and what surrounds it.
pub struct Scene {
    fresh: Box<dyn Fn() -> Arc<dyn HealthCheck> + Send + Sync>,
    stuck: Option<Box<dyn Fn() -> Arc<dyn HealthCheck> + Send + Sync>>,
    watched: Vec<PathBuf>,
}

impl Scene {
    /// `fresh` makes a check that answers, with whatever verdict.
    pub fn new(fresh: impl Fn() -> Arc<dyn HealthCheck> + Send + Sync + 'static) -> Self {
        Self { fresh: Box::new(fresh), stuck: None, watched: Vec::new() }
    }

    /// `stuck` makes a check whose question gets no answer, such as that of a server that accepts and is silent.
    /// Without it, giving up is tried only before the question is asked.
    #[must_use]
    pub fn stuck(mut self, stuck: impl Fn() -> Arc<dyn HealthCheck> + Send + Sync + 'static) -> Self {
        self.stuck = Some(Box::new(stuck));
        self
    }

    /// Files and folders that the check looks at, and must leave as they are.
    #[must_use]
    pub fn watching(mut self, path: impl Into<PathBuf>) -> Self {
        self.watched.push(path.into());
        self
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("watched", &self.watched).finish_non_exhaustive()
    }
}

/// One clause of the contract.
pub type Case = super::Case<Arc<Scene>>;

/// Runs every case. Must be called within a Tokio runtime.
pub async fn run(scene: Scene) -> Vec<CaseOutcome> {
    let scene = Arc::new(scene);
    run_all(cases(), async || Ok(Arc::clone(&scene))).await
}

/// The cases, in the order of the contract's clauses.
pub fn cases() -> Vec<Case> {
    vec![
        case!(it_changes_nothing, "it changes nothing"),
        case!(it_may_be_called_again, "it may be called again at once"),
        case!(it_may_be_called_by_several, "it may be called again at once, also by several callers"),
        case!(it_gives_up_before_it_begins, "it gives up when scope.cancel is raised"),
        case!(it_gives_up_while_it_waits, "it gives up when scope.cancel is raised, also while it waits"),
        case!(it_survives_a_dropped_call, "it may be called again at once, also when a call was dropped"),
        case!(
            its_answer_reads_well,
            "the message is a sentence without a full stop, the number is finite and has a unit"
        ),
    ]
}

async fn it_changes_nothing(scene: Arc<Scene>) -> Result<(), String> {
    let before = scene.watched.iter().map(|path| footprint(path)).collect::<io::Result<Vec<_>>>();
    let before = before.map_err(|error| format!("a watched path cannot be read: {error}"))?;
    // An error is a fair answer; changing something is not.
    let _ = ask(&*(scene.fresh)(), &Scope::default()).await?;
    for (path, before) in scene.watched.iter().zip(before) {
        let after = footprint(path).map_err(|error| format!("{path:?} cannot be read any more: {error}"))?;
        if before != after {
            return Err(format!("{path:?} has changed"));
        }
    }
    Ok(())
}

async fn it_may_be_called_again(scene: Arc<Scene>) -> Result<(), String> {
    let check = (scene.fresh)();
    let first = verdict(ask(&*check, &Scope::default()).await?);
    for again in 2..=3 {
        let verdict = verdict(ask(&*check, &Scope::default()).await?);
        if verdict != first {
            return Err(format!("call 1 said {first} and call {again} said {verdict}, though nothing had changed"));
        }
    }
    Ok(())
}

async fn it_may_be_called_by_several(scene: Arc<Scene>) -> Result<(), String> {
    let check = (scene.fresh)();
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let check = Arc::clone(&check);
            tokio::spawn(async move { ask(&*check, &Scope::default()).await })
        })
        .collect();
    for call in calls {
        match call.await.map_err(|error| format!("one of several calls panicked: {error}"))?? {
            // The question may allow one asker at a time, and then says so.
            Err(error) if error.kind() == ErrorKind::Busy => {}
            other => drop(verdict(other)),
        }
    }
    // And afterwards it still works.
    let after = ask(&*check, &Scope::default()).await?;
    match after {
        Err(error) if error.kind() == ErrorKind::Busy => Err(format!("it stays busy after all callers left: {error}")),
        _ => Ok(()),
    }
}

async fn it_gives_up_before_it_begins(scene: Arc<Scene>) -> Result<(), String> {
    let scope = Scope { cancel: Cancel::new(), ..Scope::default() };
    scope.cancel.cancel();
    match ask(&*(scene.fresh)(), &scope).await? {
        Err(error) if error.kind() == ErrorKind::Cancelled => Ok(()),
        other => Err(format!("cancelled before it began, it answered {}", verdict(other))),
    }
}

async fn it_gives_up_while_it_waits(scene: Arc<Scene>) -> Result<(), String> {
    let Some(stuck) = &scene.stuck else { return Ok(()) };
    let check = stuck();
    let scope = Scope { cancel: Cancel::new(), ..Scope::default() };
    let call = tokio::spawn({
        let (check, scope) = (Arc::clone(&check), scope.clone());
        async move { check.check(&scope).await }
    });
    // Lets the call come to where it waits; whichever point it has reached, it must give up.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    scope.cancel.cancel();
    match tokio::time::timeout(PATIENCE, call).await {
        Err(_) => Err("cancelled while it waited, it did not return".to_owned()),
        Ok(Err(error)) => Err(format!("cancelled while it waited, it panicked: {error}")),
        Ok(Ok(Err(error))) if error.kind() == ErrorKind::Cancelled => Ok(()),
        Ok(Ok(other)) => Err(format!("cancelled while it waited, it answered {}", verdict(other))),
    }
}

async fn it_survives_a_dropped_call(scene: Arc<Scene>) -> Result<(), String> {
    let check = (scene.fresh)();
    let scope = Scope::default();
    let call = check.check(&scope);
    // Polled once and dropped, as by a caller whose own task was aborted.
    let _ = tokio::time::timeout(Duration::ZERO, call).await;
    for _ in 0..1000 {
        match ask(&*check, &Scope::default()).await? {
            // What was started may still be ending.
            Err(error) if error.kind() == ErrorKind::Busy => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => return Ok(()),
        }
    }
    Err("after a call was dropped, it stays busy".to_owned())
}

async fn its_answer_reads_well(scene: Arc<Scene>) -> Result<(), String> {
    let outcome = match ask(&*(scene.fresh)(), &Scope::default()).await? {
        Ok(outcome) => outcome,
        Err(error) if error.message().trim().is_empty() => return Err("its error has no message".to_owned()),
        Err(_) => return Ok(()),
    };
    let message = &outcome.message;
    if message.trim().is_empty() {
        return Err("its message is empty".to_owned());
    }
    if message.ends_with('.') || message.contains(['\n', '\r']) {
        return Err(format!("its message is not one sentence without a full stop: {message:?}"));
    }
    match (outcome.observed, &outcome.unit) {
        (Some(value), Some(unit)) if value.is_finite() && !unit.is_empty() => Ok(()),
        (None, None) => Ok(()),
        (observed, unit) => Err(format!("it observed {observed:?} in the unit {unit:?}")),
    }
}

/// Asks, and fails when there is no answer in a time that no check needs.
async fn ask(check: &dyn HealthCheck, scope: &Scope) -> Result<Result<CheckOutcome>, String> {
    let asked = tokio::time::timeout(PATIENCE, check.check(scope)).await;
    asked.map_err(|_| format!("it did not answer within {} s", PATIENCE.as_secs()))
}

/// An answer as a word.
fn verdict(answer: Result<CheckOutcome>) -> String {
    match answer {
        Ok(outcome) => format!("{:?}", outcome.status).to_lowercase(),
        Err(error) => format!("an error of kind {}", error.kind()),
    }
}

/// A file or folder as it was: its name, length, time, and the bytes of a small one.
#[derive(PartialEq)]
struct Footprint {
    path: PathBuf,
    len: u64,
    modified: SystemTime,
    bytes: Option<Vec<u8>>,
}

/// All that is at `path` and below; whether it was only read does not show.
fn footprint(path: &Path) -> io::Result<Vec<Footprint>> {
    let meta = path.symlink_metadata()?;
    let bytes = if meta.is_file() && meta.len() <= 1 << 20 { Some(std::fs::read(path)?) } else { None };
    let mut all = vec![Footprint { path: path.to_owned(), len: meta.len(), modified: meta.modified()?, bytes }];
    if meta.is_dir() {
        let mut names = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            all.extend(footprint(&name)?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
