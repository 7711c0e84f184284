//! Keeps what the checks found in the journal, for all processes of a service in one of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::fs::{self, ProcessLock};
use crate::health::Answered;
use crate::health::history::{Change, CheckHistory, Coalesced, Fact, add_up};
use crate::journal::{Durability, Journal, Query, Record, RecordOutcome};

/// A change of a check's state.
const CHANGE: &str = "health.change";
/// Somebody looks.
const SEEN: &str = "health.seen";
/// How often it is said that somebody looks.
const SEEN_PERIOD: Duration = Duration::from_secs(600);
/// How often a process that does not record tries to become the one that does.
const TRY: Duration = Duration::from_secs(10);
/// How many records are looked at: years of a service that is well.
const FAR_ENOUGH: usize = 20_000;

/// Keeps what the checks found.
#[derive(Debug)]
pub(super) struct CheckRecorder {
    journal: Journal,
    clock: Arc<dyn Clock>,
    lock: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<ProcessLock>,
    /// When the lock was last tried for, and when it was last said that somebody looks.
    tried: Option<Duration>,
    seen: Option<Duration>,
    checks: BTreeMap<String, (Coalesced, String)>,
}

impl CheckRecorder {
    pub(super) fn new(journal: Journal, state: &std::path::Path, clock: Arc<dyn Clock>) -> Self {
        Self { journal, clock, lock: state.join("locks").join("health-history.lock"), state: Mutex::default() }
    }

    /// Takes an answer. What is to be written is written on a thread that may wait; a journal that cannot be written to is no
    /// reason not to be well.
    pub(super) fn take(self: &Arc<Self>, answered: &Answered<'_>) {
        let records = self.records(answered);
        if !records.is_empty() {
            let journal = self.journal.clone();
            tokio::task::spawn_blocking(move || write(&journal, &records));
        }
    }

    fn records(&self, answered: &Answered<'_>) -> Vec<Record> {
        let (at, time) = (self.clock.monotonic(), self.clock.now());
        let mut state = self.lock();
        if !self.leads(&mut state, at) {
            state.checks.clear();
            return Vec::new();
        }
        let change = match state.checks.get_mut(answered.check) {
            Some((coalesced, message)) => {
                *message = answered.message.to_owned();
                coalesced.take(answered.state, answered.message, at, time)
            }
            None => {
                let (coalesced, change) = Coalesced::begin(answered.state, answered.message, at, time);
                state.checks.insert(answered.check.to_owned(), (coalesced, answered.message.to_owned()));
                Some(change)
            }
        };
        let mut records: Vec<Record> = change.iter().map(|change| changed(answered.check, change)).collect();
        if state.seen.is_none_or(|seen| at.saturating_sub(seen) >= SEEN_PERIOD) {
            state.seen = Some(at);
            records.push(seen(time));
        }
        records
    }

    /// Whether this process is the one that records.
    fn leads(&self, state: &mut State, at: Duration) -> bool {
        if state.held.as_ref().is_some_and(ProcessLock::is_held) {
            return true;
        }
        if state.tried.is_some_and(|tried| at.saturating_sub(tried) < TRY) {
            return false;
        }
        state.tried = Some(at);
        let folder = self.lock.parent().map_or(Ok(()), |folder| fs::create_dir_all(folder, fs::PRIVATE_DIR));
        state.held = folder.and_then(|()| ProcessLock::try_acquire(&self.lock)).unwrap_or_default();
        state.held.is_some()
    }

    /// Writes what is held back, and that somebody has looked until now. Waits for the disk.
    pub(super) fn end(&self) {
        let (at, time) = (self.clock.monotonic(), self.clock.now());
        let mut state = self.lock();
        if state.held.as_ref().is_none_or(|lock| !lock.is_held()) {
            return;
        }
        let checks = std::mem::take(&mut state.checks);
        let mut records: Vec<Record> = Vec::new();
        for (name, (mut coalesced, message)) in checks {
            records.extend(coalesced.flush(&message, at, time).iter().map(|change| changed(&name, change)));
        }
        records.push(seen(time));
        write(&self.journal, &records);
        state.held = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(journal: &Journal, records: &[Record]) {
    for record in records {
        let _ = journal.append_with(record, Durability::Written);
    }
}

fn record(time: Timestamp, operation: &str, outcome: RecordOutcome, request: Value, response: Value) -> Record {
    Record {
        time,
        operation: operation.to_owned(),
        outcome,
        duration_seconds: 0.0,
        pid: std::process::id(),
        request,
        response,
        error: None,
    }
}

fn changed(check: &str, change: &Change) -> Record {
    let outcome = if change.to.is_down() { RecordOutcome::Unhealthy } else { RecordOutcome::Done };
    let response = serde_json::to_value(change).unwrap_or_default();
    record(change.time, CHANGE, outcome, json!({ "check": check }), response)
}

fn seen(time: Timestamp) -> Record {
    record(time, SEEN, RecordOutcome::Done, Value::Null, Value::Null)
}

/// What the journal remembers of the checks, between two times.
///
/// # Errors
/// When the journal cannot be read.
pub(crate) fn remembered(
    journal: &Journal,
    window: (Timestamp, Timestamp),
    observed: bool,
    most: usize,
) -> Result<Vec<CheckHistory>> {
    let page = journal.read(&Query {
        operations: vec![CHANGE.to_owned(), SEEN.to_owned()],
        limit: FAR_ENOUGH,
        newest_first: true,
        ..Query::default()
    })?;
    let facts = page.records.into_iter().rev().filter_map(|record| match record.operation.as_str() {
        SEEN => Some(Fact::Seen(record.time)),
        _ => {
            let change = serde_json::from_value(record.response).ok()?;
            Some(Fact::Changed(record.request.get("check")?.as_str()?.to_owned(), change))
        }
    });
    Ok(add_up(facts, window, observed, most))
}

/// The name of a check in the journal, or an error with those that there are.
pub(crate) fn unknown_check(name: &str, known: &[CheckHistory]) -> Error {
    let names: Vec<&str> = known.iter().map(|check| check.name.as_str()).collect();
    let error = Error::new(crate::error::ErrorKind::NotFound, format!("nothing is remembered of a check {name:?}"));
    match names.is_empty() {
        true => {
            error.with_hint("a service remembers from its first handler of HTTP on, or with health.background = true")
        }
        false => error.with_hint(format!("name one of: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::health::HealthState;

    #[test]
    fn one_process_records_and_the_next_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2030-01-01T00:00:00Z".parse().unwrap()));
        let journal = Journal::open(folder.path()).unwrap();
        let recorder = || CheckRecorder::new(journal.clone(), folder.path(), clock.clone());
        let tell = |recorder: &CheckRecorder, state, seconds| {
            let answered = Answered { check: "api", state, message: "m" };
            write(&journal, &recorder.records(&answered));
            clock.advance(Duration::from_secs(seconds));
        };
        let (first, second) = (recorder(), recorder());
        tell(&first, HealthState::Pass, 100);
        tell(&second, HealthState::Fail, 0);
        tell(&first, HealthState::Fail, 100);
        tell(&first, HealthState::Pass, 30);
        first.end();
        let window = || ("2030-01-01T00:00:00Z".parse().unwrap(), clock.now());
        let history = &remembered(&journal, window(), false, 10).unwrap()[0];
        assert_eq!((history.observed_seconds, history.down_seconds, history.failures), (230.0, 100.0, 1));
        clock.advance(Duration::from_secs(1000));
        tell(&second, HealthState::Pass, 170);
        let history = remembered(&journal, window(), true, 10).unwrap();
        assert_eq!((history[0].observed_seconds, history[0].uptime_ratio), (400.0, Some(0.75)));
        assert!(unknown_check("x", &history).hint().unwrap().contains("api"));
    }
}
