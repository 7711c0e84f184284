//! What the journal remembers of checks: the changes of their states, and what these add up to.
//!
//! A change is one record, `health.change`. A check that flaps is coalesced: within a minute of its last record the changes are only
//! counted, with the time that each state lasted, and then written as one; while it goes on flapping, that minute doubles up to
//! an hour. So a check writes at most some thirty records a day, and no second of its states is lost. `health.seen` every
//! ten minutes says that somebody looked: what is not seen counts neither for a check nor against it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HealthState;
use crate::clock::Timestamp;

/// Changes within this time of the last record are counted and not written.
const QUIET: Duration = Duration::from_secs(60);
/// The longest such time.
const MOST_QUIET: Duration = Duration::from_secs(3600);

/// A change of a check's state, or several that were counted together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// When it was written: with several, after the last of them.
    pub time: Timestamp,
    /// The state before.
    pub from: HealthState,
    /// The state since.
    pub to: HealthState,
    /// What the check said.
    pub message: String,
    /// How many changes these were: 1, or more of a check that flaps.
    pub changes: u64,
    /// How many of them were failures.
    pub failures: u64,
    /// When the first of them was.
    pub first: Timestamp,
    /// How many seconds each state lasted between `first` and `time`.
    pub spent: BTreeMap<String, f64>,
    /// Whether it is the first that an observer saw: what was before is not known.
    pub begins: bool,
}

/// What becomes of the answers of one check on their way to the journal.
#[derive(Debug)]
pub(crate) struct Coalesced {
    written: HealthState,
    now: HealthState,
    /// On the monotonic clock: the last record, and the last change.
    at: Duration,
    changed: Duration,
    quiet: Duration,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    first: Timestamp,
    changes: u64,
    failures: u64,
    spent: BTreeMap<String, f64>,
}

impl Coalesced {
    /// The first answer of a check, and its record.
    pub(crate) fn begin(state: HealthState, message: &str, at: Duration, time: Timestamp) -> (Self, Change) {
        let new = Self { written: state, now: state, at, changed: at, quiet: QUIET, held: None };
        let change = Change { begins: true, ..change(HealthState::Unknown, state, message, time) };
        (new, change)
    }

    /// Takes an answer; gives what is to be written now.
    pub(crate) fn take(&mut self, state: HealthState, message: &str, at: Duration, time: Timestamp) -> Option<Change> {
        let due = at.saturating_sub(self.at) >= self.quiet;
        if state != self.now {
            if due && self.held.is_none() {
                // Quiet for long: it does not flap any more.
                if at.saturating_sub(self.at) >= self.quiet * 4 {
                    self.quiet = QUIET;
                }
                let change = change(self.now, state, message, time);
                (self.written, self.now, self.at, self.changed) = (state, state, at, at);
                return Some(change);
            }
            self.count(state, at, time);
        }
        if due { self.flush(message, at, time) } else { None }
    }

    fn count(&mut self, state: HealthState, at: Duration, time: Timestamp) {
        let new = || Held { first: time, changes: 0, failures: 0, spent: BTreeMap::new() };
        let lasted = at.saturating_sub(self.changed).as_secs_f64();
        match &mut self.held {
            Some(held) => *held.spent.entry(self.now.as_str().to_owned()).or_default() += lasted,
            None => self.held = Some(new()),
        }
        if let Some(held) = &mut self.held {
            held.changes += 1;
            held.failures += u64::from(state == HealthState::Fail);
        }
        (self.now, self.changed) = (state, at);
    }

    /// What is held, if anything is.
    pub(crate) fn flush(&mut self, message: &str, at: Duration, time: Timestamp) -> Option<Change> {
        let mut held = self.held.take()?;
        *held.spent.entry(self.now.as_str().to_owned()).or_default() += at.saturating_sub(self.changed).as_secs_f64();
        let change = Change {
            changes: held.changes,
            failures: held.failures,
            first: held.first,
            spent: held.spent,
            ..change(self.written, self.now, message, time)
        };
        (self.written, self.at, self.changed) = (self.now, at, at);
        self.quiet = (self.quiet * 2).min(MOST_QUIET);
        Some(change)
    }
}

fn change(from: HealthState, to: HealthState, message: &str, time: Timestamp) -> Change {
    Change {
        time,
        from,
        to,
        message: message.to_owned(),
        changes: 1,
        failures: u64::from(to == HealthState::Fail),
        first: time,
        spent: BTreeMap::new(),
        begins: false,
    }
}

/// What is remembered of a check, over a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckHistory {
    /// The check's name.
    pub name: String,
    /// Its last state.
    pub status: HealthState,
    /// Since when it has had that state, as far as is known.
    pub since: Timestamp,
    /// The share of the time in which it was seen that it did not fail, 0 to 1. Absent when it was not seen.
    pub uptime_ratio: Option<f64>,
    /// For how long it was seen, in seconds.
    pub observed_seconds: f64,
    /// For how long it failed or was unknown, in seconds.
    pub down_seconds: f64,
    /// For how long it warned, in seconds.
    pub warn_seconds: f64,
    /// How often its state changed.
    pub changes: u64,
    /// How often it began to fail.
    pub failures: u64,
    /// The last changes, the newest first.
    pub last_changes: Vec<Change>,
}

/// What the journal says, in its order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fact {
    Changed(String, Change),
    /// Somebody looks at all checks.
    Seen(Timestamp),
}

/// Adds up what was between `from` and `until`, up to `most` changes of each check told. `observed` says whether somebody looks at
/// this moment: then the last states last until `until`, and otherwise until they were last seen.
pub(crate) fn add_up(
    facts: impl IntoIterator<Item = Fact>,
    (from, until): (Timestamp, Timestamp),
    observed: bool,
    most: usize,
) -> Vec<CheckHistory> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    let mut seen = None;
    for fact in facts {
        match fact {
            Fact::Seen(time) => seen = seen.max(Some(time)),
            Fact::Changed(name, change) if change.time <= until => {
                let line = lines.entry(name).or_insert_with(|| Line::new(&change));
                line.take(change, seen, from, most);
            }
            Fact::Changed(..) => {}
        }
    }
    let end = if observed { Some(until) } else { seen };
    lines.into_iter().map(|(name, line)| line.end(name, end, (from, until))).collect()
}

/// One check on its way through time.
struct Line {
    state: HealthState,
    since: Timestamp,
    /// Up to when all is added up.
    at: Timestamp,
    spent: BTreeMap<String, f64>,
    changes: u64,
    failures: u64,
    last: Vec<Change>,
}

impl Line {
    fn new(first: &Change) -> Self {
        Self {
            state: first.from,
            since: first.first,
            at: first.first,
            spent: BTreeMap::new(),
            changes: 0,
            failures: 0,
            last: Vec::new(),
        }
    }

    /// Adds the present state up to `time`.
    fn lasts_until(&mut self, time: Timestamp, from: Timestamp) {
        let seconds = time.duration_since(self.at.max(from)).as_secs_f64();
        if seconds > 0.0 {
            *self.spent.entry(self.state.as_str().to_owned()).or_default() += seconds;
        }
        self.at = self.at.max(time);
    }

    fn take(&mut self, change: Change, seen: Option<Timestamp>, from: Timestamp, most: usize) {
        if change.begins {
            // Nobody looked between the last time that somebody did and now.
            if let Some(seen) = seen.filter(|seen| *seen <= change.time) {
                self.lasts_until(seen, from);
            }
            if self.state != change.to {
                self.since = change.time;
            }
        } else {
            self.lasts_until(change.first, from);
            // A record of several is counted by the part of it that lies in the window.
            let length = change.time.duration_since(change.first).as_secs_f64();
            let inside = change.time.duration_since(change.first.max(from)).as_secs_f64().max(0.0);
            let share = if length > 0.0 { inside / length } else { 0.0 };
            for (state, seconds) in &change.spent {
                *self.spent.entry(state.clone()).or_default() += seconds * share;
            }
            self.since = change.time;
            if change.time >= from {
                self.changes += change.changes;
                self.failures += change.failures;
            }
        }
        (self.state, self.at) = (change.to, change.time);
        if change.time >= from && (!change.begins || change.to.is_down()) {
            self.last.insert(0, change);
            self.last.truncate(most);
        }
    }

    fn end(mut self, name: String, end: Option<Timestamp>, (from, until): (Timestamp, Timestamp)) -> CheckHistory {
        if let Some(end) = end {
            self.lasts_until(end.min(until), from);
        }
        let of = |state: HealthState| self.spent.get(state.as_str()).copied().unwrap_or(0.0);
        let observed_seconds: f64 = self.spent.values().sum();
        let down_seconds = of(HealthState::Fail) + of(HealthState::Unknown);
        CheckHistory {
            name,
            status: self.state,
            since: self.since,
            uptime_ratio: (observed_seconds > 0.0).then(|| 1.0 - down_seconds / observed_seconds),
            observed_seconds,
            down_seconds,
            warn_seconds: of(HealthState::Warn),
            changes: self.changes,
            failures: self.failures,
            last_changes: self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use HealthState::{Fail, Pass};

    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// A check of these answers, one a second: what is written.
    fn written(states: impl IntoIterator<Item = HealthState>) -> Vec<Change> {
        let mut coalesced: Option<Coalesced> = None;
        let mut out = Vec::new();
        for (second, state) in states.into_iter().enumerate() {
            let (at, time) = (Duration::from_secs(second as u64), time(second as i64));
            match &mut coalesced {
                None => {
                    let (new, change) = Coalesced::begin(state, "m", at, time);
                    coalesced = Some(new);
                    out.push(change);
                }
                Some(coalesced) => out.extend(coalesced.take(state, "m", at, time)),
            }
        }
        out
    }

    fn facts(changes: &[Change]) -> Vec<Fact> {
        changes.iter().map(|change| Fact::Changed("c".to_owned(), change.clone())).collect()
    }

    #[test]
    fn each_change_of_a_calm_check_is_a_record() {
        let states = [(Pass, 100), (Fail, 100), (Pass, 200)];
        let changes = written(states.into_iter().flat_map(|(state, times)| std::iter::repeat_n(state, times)));
        let told: Vec<_> = changes.iter().map(|c| (c.from, c.to, c.changes, c.time)).collect();
        assert_eq!(
            told,
            [(HealthState::Unknown, Pass, 1, time(0)), (Pass, Fail, 1, time(100)), (Fail, Pass, 1, time(200))]
        );
        let history = &add_up(facts(&changes), (time(0), time(400)), true, 10)[0];
        assert_eq!((history.uptime_ratio, history.down_seconds), (Some(0.75), 100.0));
        assert_eq!((history.changes, history.failures, history.since), (2, 1, time(200)));
        assert_eq!(history.last_changes.iter().map(|change| change.to).collect::<Vec<_>>(), [Pass, Fail]);
        // A window that begins in the middle of the failure.
        let history = &add_up(facts(&changes), (time(150), time(250)), true, 10)[0];
        assert_eq!((history.observed_seconds, history.down_seconds, history.failures), (100.0, 50.0, 0));
    }

    #[test]
    fn a_check_that_flaps_for_a_day_writes_little_and_loses_nothing() {
        let day = 86_400;
        let changes = written((0..day).map(|second| if second % 4 == 3 { Fail } else { Pass }));
        assert!(changes.len() < 40, "{}", changes.len());
        let total: u64 = changes.iter().filter(|change| !change.begins).map(|change| change.changes).sum();
        let last = changes.last().unwrap().time;
        let seconds = last.duration_since(time(0)).as_secs_f64();
        assert!((total as f64 - seconds / 2.0).abs() < 3.0, "{total} changes in {seconds} s");
        let history = &add_up(facts(&changes), (time(0), last), true, 3)[0];
        assert!((history.uptime_ratio.unwrap() - 0.75).abs() < 0.001, "{history:?}");
        assert!((history.observed_seconds - seconds).abs() < 1.0 && history.last_changes.len() == 3, "{history:?}");
        // Calm again, the next change is told at once.
        let mut states: Vec<HealthState> = (0..600).map(|second| if second % 2 == 0 { Fail } else { Pass }).collect();
        states.extend(std::iter::repeat_n(Pass, 20_000));
        states.extend([Fail; 2]);
        assert_eq!(
            written(states).last().map(|change| (change.to, change.changes, change.time)),
            Some((Fail, 1, time(20_600)))
        );
    }

    #[test]
    fn what_nobody_saw_counts_for_nothing() {
        let begins = |second: i64, to| Change { begins: true, ..change(HealthState::Unknown, to, "m", time(second)) };
        let changed = |it| Fact::Changed("c".to_owned(), it);
        let facts =
            vec![changed(begins(0, Fail)), Fact::Seen(time(100)), changed(begins(1000, Pass)), Fact::Seen(time(1300))];
        let window = (time(0), time(5000));
        let history = &add_up(facts.clone(), window, false, 10)[0];
        assert_eq!((history.observed_seconds, history.down_seconds), (400.0, 100.0));
        assert_eq!(history.uptime_ratio, Some(0.75));
        assert_eq!(add_up(facts, window, true, 10)[0].observed_seconds, 4100.0);
        assert_eq!(add_up([Fact::Seen(time(1))], window, true, 10), []);
        let never = add_up([changed(begins(0, Pass))], window, false, 10);
        assert_eq!((never[0].uptime_ratio, never[0].status), (None, Pass));
    }
}
