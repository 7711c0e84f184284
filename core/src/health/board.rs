//! The last answers of all checks, and what they add up to at a moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entry::{self, LIVE, READY, STARTUP};
use super::report::CheckReport;
use super::runner::Runner;
use super::state::{HealthState, Hysteresis, Phase};
use crate::clock::{Clock, Timestamp};
use crate::error::Result;

/// What is known of the service, from answers that were there already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthView {
    /// The verdict over these checks: `unknown` when a critical one never answered or its answer has expired.
    pub status: HealthState,
    /// Where the service is in its life.
    pub phase: Phase,
    /// Whether the checks are asked in the background in this process. What never is, stays unknown.
    pub background: bool,
    /// The age of the oldest of these answers, in seconds. Absent without any answer.
    pub age_seconds: Option<f64>,
    /// What is down by itself, and not because of another check.
    pub down: Vec<String>,
    /// The checks, in the order of the settings.
    pub checks: Vec<CheckView>,
}

/// What is known of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckView {
    /// The check's name.
    pub name: String,
    /// What is known.
    pub status: HealthState,
    /// What was found, and the repair when the status is not `pass`. Secrets are `***`.
    pub message: String,
    /// The number behind the verdict, when there is one.
    pub observed: Option<f64>,
    /// Its unit: `bytes`, `seconds`, `ratio`, ….
    pub unit: Option<String>,
    /// How long the check took.
    pub duration_seconds: Option<f64>,
    /// How old the answer is.
    pub age_seconds: Option<f64>,
    /// When the answer came.
    pub time: Option<Timestamp>,
    /// Since when the answers have made this status, without one that made another.
    pub since: Option<Timestamp>,
    /// Whether its failure makes the whole answer `fail`.
    pub critical: bool,
    /// The first of its groups, besides `all`.
    pub group: Option<String>,
    /// All of its groups, besides `all`.
    pub groups: Vec<String>,
    /// The check that it depends on.
    pub parent: Option<String>,
    /// The check whose failure explains this one's: the first cause among those that it depends on.
    pub because_of: Option<String>,
}

/// Whether work is to be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// `pass` and `warn` say yes.
    pub status: HealthState,
    /// Where the service is in its life.
    pub phase: Phase,
}

/// The last answers, with what decides over which question.
#[derive(Debug)]
pub(super) struct Board {
    parents: Vec<Option<usize>>,
    live: Vec<usize>,
    ready: Vec<usize>,
    startup: Vec<usize>,
    now: Mutex<State>,
    /// How often something that is told has changed.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    tracks: Vec<Track>,
    phase: Phase,
    /// Readiness as it was last worked out, and until when nothing but a new answer changes it.
    ready: Option<(HealthState, Duration)>,
}

#[derive(Debug, Clone, Default)]
struct Track {
    last: Option<Last>,
    hysteresis: Hysteresis,
}

#[derive(Debug, Clone)]
struct Last {
    report: CheckReport,
    state: HealthState,
    /// When it came, on the monotonic clock and on the wall's.
    at: Duration,
    time: Timestamp,
    since: Timestamp,
    /// Until when it counts, on the monotonic clock.
    until: Duration,
}

impl Track {
    /// The answer, unless it has expired.
    fn valid(&self, now: Duration) -> Option<&Last> {
        self.last.as_ref().filter(|last| now <= last.until)
    }

    fn state(&self, now: Duration) -> HealthState {
        self.valid(now).map_or(HealthState::Unknown, |last| last.state)
    }
}

impl Board {
    pub(super) fn of(runner: &Runner) -> Result<Self> {
        let parents = runner.parents()?;
        let numbers = |wanted: &dyn Fn(&entry::Entry) -> bool| -> Vec<usize> {
            runner.entries().enumerate().filter(|(_, entry)| wanted(entry)).map(|(number, _)| number).collect()
        };
        let grouped = runner.entries().any(|entry| entry.is_in(READY));
        let ready = numbers(&|entry| entry.critical && (!grouped || entry.is_in(READY)));
        let startup = numbers(&|entry| entry.is_in(STARTUP));
        let startup = if startup.is_empty() { ready.clone() } else { startup };
        let tracks = vec![Track::default(); parents.len()];
        let now = Mutex::new(State { tracks, ..State::default() });
        Ok(Self {
            parents,
            live: numbers(&|entry| entry.is_in(LIVE)),
            ready,
            startup,
            now,
            generation: AtomicU64::new(0),
        })
    }

    /// Keeps an answer; gives the state of its check.
    pub(super) fn record(
        &self,
        number: usize,
        entry: &entry::Entry,
        mut report: CheckReport,
        clock: &dyn Clock,
    ) -> HealthState {
        let (at, time) = (clock.monotonic(), clock.now());
        let mut held = self.lock();
        let track = &mut held.tracks[number];
        let before = track.state(at);
        if before == HealthState::Unknown {
            track.hysteresis.forget();
        }
        let (state, missing) = track.hysteresis.take(report.status, &entry.pace);
        if let Some(missing) = missing {
            report.message = format!("{} ({missing})", report.message);
        }
        let since = track.last.as_ref().filter(|_| before == state).map_or(time, |last| last.since);
        let until = at.saturating_add(entry.pace.max_age);
        track.last = Some(Last { report, state, at, time, since, until });
        held.ready = None;
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.begin(&mut held, at);
        state
    }

    /// Whether the service has begun: once, and for good.
    fn begin(&self, state: &mut State, now: Duration) {
        let begun = || self.startup.iter().all(|number| !state.tracks[*number].state(now).is_down());
        if state.phase == Phase::Starting && begun() {
            state.phase = Phase::Ready;
        }
    }

    /// Goes on to that phase of life, never back.
    pub(super) fn enter(&self, phase: Phase) {
        let mut held = self.lock();
        held.phase = held.phase.max(phase);
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Whether the process is well by itself: only a failure says no.
    pub(super) fn live(&self, now: Duration) -> HealthState {
        let held = self.lock();
        let failed = self.live.iter().any(|number| held.tracks[*number].state(now) == HealthState::Fail);
        if failed { HealthState::Fail } else { HealthState::Pass }
    }

    pub(super) fn ready(&self, now: Duration) -> Readiness {
        let mut held = self.lock();
        self.begin(&mut held, now);
        let status = match held.ready {
            Some((status, until)) if now <= until => status,
            _ => {
                let tracks = || self.ready.iter().map(|number| &held.tracks[*number]);
                // Without any critical check nothing is known, and nothing speaks against it.
                let status = tracks().map(|track| track.state(now)).max().unwrap_or(HealthState::Warn);
                let until = tracks().filter_map(|track| track.valid(now)).map(|last| last.until).min();
                held.ready = Some((status, until.unwrap_or(Duration::MAX)));
                status
            }
        };
        let status = match held.phase {
            Phase::Draining | Phase::Stopped => HealthState::Fail,
            Phase::Starting => status.max(HealthState::Unknown),
            Phase::Ready => status,
        };
        Readiness { status, phase: held.phase }
    }

    /// What is known of the checks that `wanted` says yes to.
    pub(super) fn view(&self, runner: &Runner, wanted: impl Fn(&entry::Entry) -> bool, now: Duration) -> HealthView {
        let (tracks, phase) = {
            let mut held = self.lock();
            self.begin(&mut held, now);
            (held.tracks.clone(), held.phase)
        };
        let entries: Vec<&entry::Entry> = runner.entries().collect();
        let states: Vec<HealthState> = tracks.iter().map(|track| track.state(now)).collect();
        let down: Vec<bool> = states.iter().map(|state| state.is_down()).collect();
        let fails: Vec<bool> = states.iter().map(|state| *state == HealthState::Fail).collect();
        let causes = entry::causes(&self.parents, &down, &fails);
        let chosen = || (0..entries.len()).filter(|number| wanted(entries[*number]));
        let weights = chosen().map(|number| states[number].weigh(entries[number].critical));
        let by_itself = |number: &usize| down[*number] && causes[*number].is_none();
        let age = |last: &Last| now.saturating_sub(last.at).as_secs_f64();
        let checks = chosen().map(|number| {
            let (entry, track) = (entries[number], &tracks[number]);
            let (last, valid) = (track.last.as_ref(), track.valid(now).is_some());
            let message = match last {
                None => "never answered yet".to_owned(),
                Some(last) if valid => last.report.message.clone(),
                Some(last) => format!("the last answer is {:.0} s old and counts no more", age(last)),
            };
            let because_of = causes[number].map(|cause| entries[cause].name.clone());
            CheckView {
                name: entry.name.clone(),
                status: states[number],
                message,
                observed: last.filter(|_| valid).and_then(|last| last.report.observed),
                unit: last.filter(|_| valid).and_then(|last| last.report.unit.clone()),
                duration_seconds: last.map(|last| last.report.duration_seconds),
                age_seconds: last.map(age),
                time: last.map(|last| last.time),
                since: last.filter(|_| valid).map(|last| last.since),
                critical: entry.critical,
                group: entry.groups.first().cloned(),
                groups: entry.groups.clone(),
                parent: entry.parent.clone(),
                because_of,
            }
        });
        HealthView {
            status: weights.max().unwrap_or(HealthState::Warn),
            phase,
            background: false,
            age_seconds: chosen().filter_map(|number| tracks[number].last.as_ref()).map(age).reduce(f64::max),
            down: chosen().filter(by_itself).map(|number| entries[number].name.clone()).collect(),
            checks: checks.collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
