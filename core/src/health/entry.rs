//! A check under its name, and the pace at which it is asked.

use std::sync::Arc;
use std::time::Duration;

use super::HealthCheck;
use crate::config::{CheckSettings, HealthSettings};
use crate::error::{Error, Result};

/// The longest deadline that a check may have.
const MAX_DEADLINE: Duration = Duration::from_secs(3600);
/// The shortest and the longest period: what is asked more often is no check, and what is asked less often is known
/// to nobody.
const PERIODS: [f64; 2] = [0.1, 86_400.0];
/// The longest time for which an answer may count.
const MAX_AGE: Duration = Duration::from_secs(7 * 86_400);
/// More answers in a row than this are never awaited.
const MAX_THRESHOLD: u32 = 1_000;

/// The group that decides whether the process is restarted.
pub(super) const LIVE: &str = "live";
/// The group that decides whether work is sent here.
pub(super) const READY: &str = "ready";
/// The group that decides when the service has begun.
pub(super) const STARTUP: &str = "startup";

/// Kinds that ask somebody else, who is not well again when this process is restarted.
const DEPENDENCIES: [&str; 12] = [
    "http",
    "tcp",
    "dns",
    "tls",
    "certificate",
    "store",
    "sqlite",
    "postgres",
    "redis",
    "systemd",
    "backup_age",
    "jobs",
];

/// A check under its name. See [the model](super#the-model).
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name that reports use.
    pub name: String,
    /// The groups it belongs to, besides `all`.
    pub groups: Vec<String>,
    /// Whether its failure makes the whole answer `fail`; otherwise it makes it `warn`.
    pub critical: bool,
    /// The check that this one depends on.
    pub parent: Option<String>,
    /// How it is asked.
    pub pace: Pace,
    /// The check.
    pub check: Arc<dyn HealthCheck>,
}

/// How a check is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// How long it may take.
    pub deadline: Duration,
    /// How often it is asked in the background.
    pub period: Duration,
    /// By up to which share of the period each run is put off, 0 to 1.
    pub jitter: f64,
    /// How many good answers in a row end a failure.
    pub rise: u32,
    /// How many bad answers in a row make a failure.
    pub fall: u32,
    /// How old an answer may be before it counts for nothing. Never without an end.
    pub max_age: Duration,
}

impl Pace {
    /// The pace of the defaults, with that deadline.
    pub fn within(deadline: Duration) -> Self {
        let period = Duration::from_secs(30);
        let max_age = Self::default_age(period, deadline);
        Self { deadline, period, jitter: 0.1, rise: 1, fall: 1, max_age }
    }

    /// Two answers may be missing, and the third may take as long as it is given.
    fn default_age(period: Duration, deadline: Duration) -> Duration {
        period.saturating_mul(3).saturating_add(deadline)
    }

    /// The longest time from one answer to the next when nothing is in the way.
    fn longest_gap(&self) -> Duration {
        self.period.saturating_add(self.period.mul_f64(self.jitter)).saturating_add(self.deadline)
    }

    fn of(settings: &CheckSettings, health: &HealthSettings) -> Result<Self> {
        let name = &settings.name;
        let wrong = |what: &str, value: String, hint: &str| {
            Err(Error::invalid(format!("{what} of check {name:?} is {value}")).with_hint(hint))
        };
        let of = |own: Option<f64>, general: f64| {
            let seconds = own.unwrap_or(general);
            (Duration::try_from_secs_f64(seconds).unwrap_or_default(), seconds)
        };
        let (deadline, seconds) = of(settings.deadline_seconds, health.deadline_seconds);
        if deadline.is_zero() || deadline > MAX_DEADLINE {
            let hint = "set deadline_seconds to more than 0 and at most 3600";
            return wrong("the deadline", format!("{seconds} seconds"), hint);
        }
        let (period, seconds) = of(settings.period_seconds, health.period_seconds);
        if !(PERIODS[0]..=PERIODS[1]).contains(&seconds) {
            let hint = "set period_seconds to 0.1 to 86400";
            return wrong("the period", format!("{seconds} seconds"), hint);
        }
        if !(0.0..=1.0).contains(&health.jitter) {
            return Err(Error::invalid(format!("health.jitter is {}", health.jitter))
                .with_hint("set it to a share of the period from 0 to 1, such as 0.1"));
        }
        let (rise, fall) = (settings.rise.unwrap_or(health.rise), settings.fall.unwrap_or(health.fall));
        for (key, count) in [("rise", rise), ("fall", fall)] {
            if !(1..=MAX_THRESHOLD).contains(&count) {
                return wrong(key, count.to_string(), &format!("set {key} to 1 to {MAX_THRESHOLD}, such as 3"));
            }
        }
        let mut pace =
            Self { deadline, period, jitter: health.jitter, rise, fall, max_age: Self::default_age(period, deadline) };
        if let Some(seconds) = settings.max_age_seconds {
            pace.max_age = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            let least = pace.longest_gap();
            if pace.max_age < least || pace.max_age > MAX_AGE {
                let hint = format!(
                    "set max_age_seconds to {} at least (the period with its jitter, and the deadline) and at most {}, or \
                     leave it out",
                    least.as_secs_f64(),
                    MAX_AGE.as_secs(),
                );
                return wrong("the max_age", format!("{seconds} seconds"), &hint);
            }
        }
        Ok(pace)
    }
}

impl Entry {
    /// An entry as its settings describe it, with what `health` says where it says nothing itself.
    ///
    /// # Errors
    /// For a deadline, a period, thresholds or an age that cannot work, and for a check of somebody else in the group `live`.
    pub fn new(settings: &CheckSettings, health: &HealthSettings, check: Arc<dyn HealthCheck>) -> Result<Self> {
        let pace = Pace::of(settings, health)?;
        let mut groups: Vec<String> = Vec::new();
        for group in settings.group.iter().chain(&settings.groups) {
            if group.is_empty() || group == "all" {
                return Err(Error::invalid(format!("check {:?} is in the group {group:?}", settings.name))
                    .with_hint("every check is in the group all; leave the group out, or give it a name of its own"));
            }
            if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        let (name, kind) = (&settings.name, &settings.kind);
        let depends = DEPENDENCIES.contains(&kind.as_str()) || settings.parent.is_some();
        if depends && groups.iter().any(|group| group == LIVE) {
            let why = if settings.parent.is_some() { "has a parent".to_owned() } else { format!("is of kind {kind}") };
            return Err(Error::invalid(format!("check {name:?} is in the group live and {why}")).with_hint(
                "put it into the group ready: what fails in live restarts the service, which makes nothing else well",
            ));
        }
        Ok(Self {
            name: name.clone(),
            groups,
            critical: settings.critical,
            parent: settings.parent.clone(),
            pace,
            check,
        })
    }

    pub(super) fn is_in(&self, group: &str) -> bool {
        group == "all" || self.groups.iter().any(|own| own == group)
    }
}

/// For each of `entries` the number of its parent.
///
/// # Errors
/// For a parent that there is not, and for checks that depend on each other in a circle.
pub(super) fn parents(entries: &[&Entry]) -> Result<Vec<Option<usize>>> {
    let number = |entry: &&Entry| match &entry.parent {
        None => Ok(None),
        Some(parent) => entries.iter().position(|other| other.name == *parent).map(Some).ok_or_else(|| {
            let names: Vec<&str> = entries.iter().map(|other| other.name.as_str()).collect();
            Error::invalid(format!("the parent of check {:?} is {parent:?}, and there is no such check", entry.name))
                .with_hint(format!("name one of: {}", names.join(", ")))
        }),
    };
    let parents = entries.iter().map(number).collect::<Result<Vec<_>>>()?;
    for (start, entry) in entries.iter().enumerate() {
        let mut at = parents[start];
        let mut chain = vec![entry.name.as_str()];
        while let Some(above) = at {
            chain.push(&entries[above].name);
            if above == start {
                return Err(Error::invalid(format!("checks depend on each other in a circle: {}", chain.join(" -> ")))
                    .with_hint("take the parent away from one of them"));
            }
            if chain.len() > entries.len() {
                // A circle further up, which its own members tell.
                break;
            }
            at = parents[above];
        }
    }
    Ok(parents)
}

/// For each check that is down while its parent fails the number of the first cause: of those that fail above it
/// without a gap, the highest.
pub(super) fn causes(parents: &[Option<usize>], down: &[bool], fails: &[bool]) -> Vec<Option<usize>> {
    let cause = |number: usize| {
        let (mut cause, mut at) = (None, parents[number].filter(|_| down[number]));
        while let Some(above) = at.filter(|above| fails[*above]) {
            cause = Some(above);
            at = parents[above];
        }
        cause
    };
    (0..parents.len()).map(cause).collect()
}
