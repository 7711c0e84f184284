//! Runs checks and adds up their verdicts.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::cancel::{Cancel, Progress, Scope};
use crate::config::HealthSettings;
use crate::error::{Error, ErrorKind, Result};

use super::entry::{self, Entry};
use super::report::{CheckReport, HealthReport};
use super::{CheckOutcome, CheckStatus};

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
    /// When the deadline is, on the monotonic clock.
    until: Duration,
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

    /// For each check the number of its parent, once all are added.
    ///
    /// # Errors
    /// For a parent that there is not, and for checks that depend on each other in a circle.
    pub fn parents(&self) -> Result<Vec<Option<usize>>> {
        entry::parents(&self.entries().collect::<Vec<_>>())
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
        let slots = self.select(group)?.into_iter().filter(|(_, slot)| slot.entry.critical).collect();
        self.run_slots(scope, slots).await
    }

    async fn run_slots(&self, scope: &Scope, slots: Vec<(usize, &Slot)>) -> Result<HealthReport> {
        let checks = slots.iter().map(|(_, slot)| tokio::spawn(slot.report(scope, &self.running)));
        // Aborts the tasks when this future is dropped; the checks see it as a cancel.
        let tasks: Vec<AbortOnDrop> = checks.map(AbortOnDrop).collect();
        let mut reports = Vec::with_capacity(tasks.len());
        for (mut task, (_, slot)) in tasks.into_iter().zip(&slots) {
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
        self.explain(&slots, &mut reports);
        Ok(HealthReport::of(reports))
    }

    /// Names with each failure the first cause among those that were asked.
    fn explain(&self, slots: &[(usize, &Slot)], reports: &mut [CheckReport]) {
        // Refused when the runner was made; without parents nothing is explained.
        let Ok(parents) = self.parents() else { return };
        let mut fails = vec![false; self.slots.len()];
        for ((number, _), report) in slots.iter().zip(&*reports) {
            fails[*number] = report.status == CheckStatus::Fail;
        }
        let causes = entry::causes(&parents, &fails, &fails);
        for ((number, _), report) in slots.iter().zip(reports) {
            report.because_of = causes[*number].map(|cause| self.slots[cause].entry.name.clone());
        }
    }

    /// Asks the check of this number, and waits for its answer or its deadline, and before that for a place among those
    /// that run. Must be called within a Tokio runtime.
    pub(super) fn ask(&self, number: usize, scope: &Scope) -> impl Future<Output = CheckReport> + Send + use<> {
        self.slots[number].report(scope, &self.running)
    }

    /// Whether a check belongs to `group`, or an error that names those that there are.
    pub(super) fn know(&self, group: &str) -> Result<()> {
        // Three groups are asked for by probes, whatever checks there are.
        let is_of_probes = [entry::LIVE, entry::READY, entry::STARTUP].contains(&group);
        if group == "all" || is_of_probes || self.entries().any(|entry| entry.is_in(group)) {
            return Ok(());
        }
        let mut known: Vec<&str> = self.entries().flat_map(|entry| &entry.groups).map(String::as_str).collect();
        known.extend(["all", entry::LIVE, entry::READY, entry::STARTUP]);
        known.sort_unstable();
        known.dedup();
        Err(Error::new(ErrorKind::NotFound, format!("no check belongs to the group {group:?}"))
            .with_hint(format!("name one of: {}", known.join(", "))))
    }

    fn select(&self, group: Option<&str>) -> Result<Vec<(usize, &Slot)>> {
        let group = group.unwrap_or("all");
        self.know(group)?;
        Ok(self.slots.iter().enumerate().filter(|(_, slot)| slot.entry.is_in(group)).collect())
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
                let left = flight.until.saturating_sub(clock.monotonic());
                let _waiting = flight.wait();
                let mut finished = flight.finished.clone();
                let answer = tokio::select! {
                    biased;
                    answer = finished.wait_for(Option::is_some) => Some(answer.map(|finished| finished.clone())),
                    () = clock.sleep(left) => None,
                };
                let taken = || clock.monotonic().saturating_sub(flight.started).as_secs_f64();
                return match answer {
                    Some(Ok(_)) if left_behind => continue,
                    Some(Ok(Some(finished))) => entry.report(finished.outcome, finished.duration_seconds),
                    // The task that was to tell is gone: the runtime is shutting down.
                    Some(_) => {
                        entry.report(CheckOutcome::new(CheckStatus::Fail, "the check ended without an answer"), taken())
                    }
                    None => {
                        flight.cancel.cancel();
                        entry.report(stuck(&entry, left.is_zero()), taken())
                    }
                };
            }
        }
    }
}

/// What is said of a check that is past its deadline.
fn stuck(entry: &Entry, again: bool) -> CheckOutcome {
    let seconds = entry.pace.deadline.as_secs_f64();
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
        let started = clock.monotonic();
        let flight = Arc::new(Self {
            started,
            until: started.saturating_add(entry.pace.deadline),
            cancel: Cancel::new(),
            finished,
            waiting: Mutex::new(0),
        });
        *held = Some(Arc::clone(&flight));
        drop(held);

        let scope = Scope { clock: Arc::clone(clock), cancel: flight.cancel.clone(), progress: Progress::default() };
        let check = Arc::clone(&entry.check);
        let asked = tokio::spawn(async move { check.check(&scope).await });
        let (place, clock) = (Arc::clone(place), Arc::clone(clock));
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
