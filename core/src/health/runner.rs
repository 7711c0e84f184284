//! Runs checks and adds up their verdicts.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::cancel::{Cancel, Progress, Scope};
use crate::config::{CheckSettings, HealthSettings};
use crate::error::{Error, ErrorKind, Result};

use super::{CheckOutcome, CheckStatus, HealthCheck};

/// The longest deadline that a check may have.
const MAX_DEADLINE: Duration = Duration::from_secs(3600);

/// Longer messages are cut: a report is read by people and kept in the journal.
const MAX_MESSAGE: usize = 1_000;

/// A check under its name.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name that reports use.
    pub name: String,
    /// The group it belongs to, besides `all`.
    pub group: Option<String>,
    /// Whether its failure makes the whole answer `fail`; otherwise it makes it `warn`.
    pub critical: bool,
    /// How long it may take.
    pub deadline: Duration,
    /// The check.
    pub check: Arc<dyn HealthCheck>,
}

impl Entry {
    /// An entry as its settings describe it, with the deadline of `health` where it has none of its own.
    ///
    /// # Errors
    /// When the deadline is not above 0 and at most an hour.
    pub fn new(settings: &CheckSettings, health: &HealthSettings, check: Arc<dyn HealthCheck>) -> Result<Self> {
        let seconds = settings.deadline_seconds.unwrap_or(health.deadline_seconds);
        let deadline = Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero() && *d <= MAX_DEADLINE);
        let deadline = deadline.ok_or_else(|| {
            Error::invalid(format!("the deadline of check {:?} is {seconds} seconds", settings.name))
                .with_hint("set deadline_seconds to more than 0 and at most 3600")
        })?;
        Ok(Self {
            name: settings.name.clone(),
            group: settings.group.clone(),
            critical: settings.critical,
            deadline,
            check,
        })
    }
}

/// What the checks found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthReport {
    /// The verdict over all: `fail` when a critical check failed, `warn` when another one failed or one warned.
    /// Without any check it is `warn`: nothing was asked, so nothing is known.
    pub status: CheckStatus,
    /// The checks, in the order of the settings.
    pub checks: Vec<CheckReport>,
}

impl HealthReport {
    /// Adds the verdicts up.
    pub fn of(checks: Vec<CheckReport>) -> Self {
        let weight = |check: &CheckReport| match check.status {
            CheckStatus::Fail if !check.critical => CheckStatus::Warn,
            status => status,
        };
        let status = checks.iter().map(weight).max().unwrap_or(CheckStatus::Warn);
        Self { status, checks }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    /// The check's name.
    pub name: String,
    /// Its verdict.
    pub status: CheckStatus,
    /// What was found, and the repair when the status is not `pass`.
    pub message: String,
    /// The number behind the verdict, when there is one.
    pub observed: Option<f64>,
    /// Its unit: `bytes`, `seconds`, `ratio`, ….
    pub unit: Option<String>,
    /// How long the check took.
    pub duration_seconds: f64,
    /// Whether its failure makes the whole answer `fail`.
    pub critical: bool,
    /// The group it belongs to, besides `all`.
    pub group: Option<String>,
}

/// Runs checks: some at once, each with its deadline, none twice at the same time.
///
/// A check that does not answer is a failure, and goes on being one while it is stuck; it is not started again
/// until it has ended. A second caller who comes while a check runs gets the same answer.
pub struct Runner {
    slots: Vec<Slot>,
    running: Arc<Semaphore>,
}

struct Slot {
    entry: Entry,
    flight: Arc<Mutex<Option<Arc<Flight>>>>,
}

/// One call of a check, which several callers may wait for.
struct Flight {
    started: Duration,
    until: Instant,
    cancel: Cancel,
    finished: watch::Receiver<Option<Finished>>,
    waiting: Mutex<usize>,
}

#[derive(Clone)]
struct Finished {
    outcome: CheckOutcome,
    duration_seconds: f64,
}

impl Runner {
    /// A runner without checks.
    ///
    /// # Errors
    /// When `health.concurrency` is 0.
    pub fn new(settings: &HealthSettings) -> Result<Self> {
        if settings.concurrency == 0 {
            return Err(Error::invalid("health.concurrency is 0: no check could ever run")
                .with_hint("set health.concurrency to at least 1"));
        }
        let permits = settings.concurrency.min(Semaphore::MAX_PERMITS);
        Ok(Self { slots: Vec::new(), running: Arc::new(Semaphore::new(permits)) })
    }

    /// Adds a check, which reports show after those added before.
    ///
    /// # Errors
    /// When the name is empty or taken: a report of two checks of one name cannot be read.
    pub fn add(&mut self, entry: Entry) -> Result<()> {
        if entry.name.is_empty() {
            return Err(Error::invalid("a check has no name").with_hint("give each [[check]] a name"));
        }
        if self.slots.iter().any(|slot| slot.entry.name == entry.name) {
            return Err(Error::invalid(format!("there are two checks called {:?}", entry.name))
                .with_hint("give each [[check]] a name of its own"));
        }
        self.slots.push(Slot { entry, flight: Arc::default() });
        Ok(())
    }

    /// The checks, in the order of reports.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().map(|slot| &slot.entry)
    }

    /// Runs the checks of `group`, or all of them (`None` or `all`). Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a group that no check belongs to, [`Cancelled`](ErrorKind::Cancelled)
    /// when the caller cancels. What goes wrong in a check is part of the report.
    pub async fn run(&self, scope: &Scope, group: Option<&str>) -> Result<HealthReport> {
        self.run_slots(scope, self.select(group)?).await
    }

    /// As [`Runner::run`], without the checks whose failure is only a warning.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub async fn run_critical(&self, scope: &Scope, group: Option<&str>) -> Result<HealthReport> {
        let slots = self.select(group)?.into_iter().filter(|slot| slot.entry.critical).collect();
        self.run_slots(scope, slots).await
    }

    async fn run_slots(&self, scope: &Scope, slots: Vec<&Slot>) -> Result<HealthReport> {
        let checks = slots.iter().map(|slot| tokio::spawn(slot.report(scope, &self.running)));
        // Aborts the tasks when this future is dropped; the checks see it as a cancel.
        let tasks: Vec<AbortOnDrop> = checks.map(AbortOnDrop).collect();
        let mut reports = Vec::with_capacity(tasks.len());
        for (mut task, slot) in tasks.into_iter().zip(slots) {
            let joined = tokio::select! {
                biased;
                () = scope.cancel.cancelled() => {
                    scope.cancel.check()?;
                    continue;
                }
                joined = &mut task.0 => joined,
            };
            reports.push(joined.unwrap_or_else(|error| {
                let outcome = CheckOutcome::new(CheckStatus::Fail, format!("the runner failed: {error}"));
                slot.entry.report(outcome, 0.0)
            }));
        }
        Ok(HealthReport::of(reports))
    }

    fn select(&self, group: Option<&str>) -> Result<Vec<&Slot>> {
        let Some(group) = group.filter(|group| *group != "all") else {
            return Ok(self.slots.iter().collect());
        };
        let chosen: Vec<&Slot> = self.slots.iter().filter(|slot| slot.entry.group.as_deref() == Some(group)).collect();
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        let mut known: Vec<&str> = self.entries().filter_map(|entry| entry.group.as_deref()).collect();
        known.push("all");
        known.sort_unstable();
        known.dedup();
        Err(Error::new(ErrorKind::NotFound, format!("no check belongs to the group {group:?}"))
            .with_hint(format!("name one of: {}", known.join(", "))))
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<CheckReport>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Entry {
    fn report(&self, outcome: CheckOutcome, duration_seconds: f64) -> CheckReport {
        CheckReport {
            name: self.name.clone(),
            status: outcome.status,
            message: cut(outcome.message),
            // JSON has no NaN and no infinity.
            observed: outcome.observed.filter(|value| value.is_finite()),
            unit: outcome.unit,
            duration_seconds,
            critical: self.critical,
            group: self.group.clone(),
        }
    }
}

impl Slot {
    /// The future that asks the check, or joins a call that is under way.
    fn report(&self, scope: &Scope, running: &Arc<Semaphore>) -> impl Future<Output = CheckReport> + Send + use<> {
        let (entry, place, running) = (self.entry.clone(), Arc::clone(&self.flight), Arc::clone(running));
        let clock = Arc::clone(&scope.clock);
        async move {
            // Held until the answer or the deadline: a stuck check gives its place to others.
            let _permit = running.acquire_owned().await;
            loop {
                let flight = Flight::join_or_start(&entry, &place, &clock);
                // Left behind by callers who cancelled, or stuck: its answer is not ours. Once it has ended, ask anew.
                let left_behind = flight.cancel.is_cancelled();
                let past = Instant::now() >= flight.until;
                let _waiting = flight.wait();
                let mut finished = flight.finished.clone();
                let answer = tokio::time::timeout_at(flight.until, finished.wait_for(Option::is_some)).await;
                let taken = || clock.monotonic().saturating_sub(flight.started).as_secs_f64();
                return match answer {
                    Ok(Ok(_)) if left_behind => continue,
                    Ok(Ok(finished)) => match &*finished {
                        Some(finished) => entry.report(finished.outcome.clone(), finished.duration_seconds),
                        None => entry.report(stuck(&entry, past), taken()),
                    },
                    // The task that was to tell is gone: the runtime is shutting down.
                    Ok(Err(_)) => {
                        entry.report(CheckOutcome::new(CheckStatus::Fail, "the check ended without an answer"), taken())
                    }
                    Err(_) => {
                        flight.cancel.cancel();
                        entry.report(stuck(&entry, past), taken())
                    }
                };
            }
        }
    }
}

/// What is said of a check that is past its deadline.
fn stuck(entry: &Entry, again: bool) -> CheckOutcome {
    let seconds = entry.deadline.as_secs_f64();
    let message = if again {
        format!("still running past its deadline of {seconds} s, so it was not started again")
    } else {
        format!("did not answer within {seconds} s")
    };
    CheckOutcome::new(CheckStatus::Fail, message)
}

impl Flight {
    /// The call that is under way, or a new one.
    fn join_or_start(
        entry: &Entry,
        place: &Arc<Mutex<Option<Arc<Self>>>>,
        clock: &Arc<dyn crate::clock::Clock>,
    ) -> Arc<Self> {
        let mut held = lock(place);
        if let Some(flight) = &*held {
            return Arc::clone(flight);
        }
        let (tell, finished) = watch::channel(None);
        let flight = Arc::new(Self {
            started: clock.monotonic(),
            until: Instant::now() + entry.deadline,
            cancel: Cancel::new(),
            finished,
            waiting: Mutex::new(0),
        });
        *held = Some(Arc::clone(&flight));
        drop(held);

        let scope = Scope { clock: Arc::clone(clock), cancel: flight.cancel.clone(), progress: Progress::default() };
        let check = Arc::clone(&entry.check);
        let asked = tokio::spawn(async move { check.check(&scope).await });
        let (place, clock, started) = (Arc::clone(place), Arc::clone(clock), flight.started);
        tokio::spawn(async move {
            let outcome = match asked.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => failed(&error),
                Err(error) => {
                    CheckOutcome::new(CheckStatus::Fail, format!("the check panicked: {}", panic_text(error)))
                }
            };
            let duration_seconds = clock.monotonic().saturating_sub(started).as_secs_f64();
            // Freed before the answer is told, so that whoever hears it can ask again.
            *lock(&place) = None;
            let _ = tell.send(Some(Finished { outcome, duration_seconds }));
        });
        flight
    }

    /// Counts a caller in. When the last one is gone, nobody wants the answer, and the check is told to give up.
    fn wait(self: &Arc<Self>) -> Waiting {
        *lock(&self.waiting) += 1;
        Waiting(Arc::clone(self))
    }
}

struct Waiting(Arc<Flight>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = lock(&self.0.waiting);
        *waiting -= 1;
        if *waiting == 0 {
            self.0.cancel.cancel();
        }
    }
}

/// An `Err` means that the question could not be asked, which is a failure.
fn failed(error: &Error) -> CheckOutcome {
    let message = match error.hint() {
        Some(hint) => format!("{}: {hint}", error.message()),
        None => error.message().to_owned(),
    };
    CheckOutcome::new(CheckStatus::Fail, message)
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "it was aborted".to_owned() };
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let mut end = MAX_MESSAGE;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push('…');
    }
    message
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
