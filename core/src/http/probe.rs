//! The results of checks, kept for a moment: probes come in floods, checks do not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;

use crate::api::health::{Check, CheckRequest};
use crate::error::{Error, ErrorBody, Result};
use crate::health::HealthReport;
use crate::ops::Ops;

use super::PROBE_AGE;

/// The group of checks that readiness asks, where a check is in it.
const READY: &str = "ready";

/// What was asked: a group, and whether the critical checks alone.
type Question = (Option<String>, bool);

/// Checks behind a cache, one place for each question that there is.
#[derive(Debug)]
pub(super) struct Probes {
    ready: Option<&'static str>,
    kept: BTreeMap<Question, Mutex<Option<Kept>>>,
    /// The process that made it.
    pid: u32,
}

/// What came of it, and when.
#[derive(Debug)]
struct Kept {
    at: Duration,
    result: Result<HealthReport, ErrorBody>,
}

/// A report and how old it is.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) report: HealthReport,
    pub(super) age: Duration,
}

impl Probes {
    /// Places for the groups that `ops` has.
    pub(super) fn of(ops: &Ops) -> Self {
        let groups = || ops.context().health.entries().flat_map(|entry| entry.groups.clone());
        let ready = groups().any(|group| group == READY).then_some(READY);
        let questions = groups().map(Some).chain([None]).flat_map(|group| [(group.clone(), false), (group, true)]);
        let kept = questions.map(|question| (question, Mutex::default())).collect();
        Self { ready, kept, pid: std::process::id() }
    }

    /// Whether the service can do its work: its critical checks.
    pub(super) async fn ready(&self, ops: &Ops) -> Result<Seen> {
        self.ask(ops, self.ready, true).await
    }

    /// The checks of `group`, or of all.
    pub(super) async fn ask(&self, ops: &Ops, group: Option<&str>, critical: bool) -> Result<Seen> {
        let group = group.filter(|group| *group != "all");
        let question = (group.map(str::to_owned), critical);
        // A group that no check is in has nothing to keep, and a forked child must not wait for a lock that a
        // thread of its parent held: the operation says what is wrong.
        let Some(place) = self.kept.get(&question).filter(|_| std::process::id() == self.pid) else {
            return run(ops, question).await.map(Seen::now);
        };
        let clock = ops.scope().clock;
        // Held while the checks run, so whoever comes meanwhile waits for this result. Who holds it and goes away
        // leaves it to the next.
        let mut kept = place.lock().await;
        let age = |kept: &Kept| clock.monotonic().saturating_sub(kept.at);
        let fresh = kept.take().filter(|kept| age(kept) < PROBE_AGE);
        let fresh = match fresh {
            Some(fresh) => fresh,
            None => {
                let result = run(ops, question).await;
                Kept { at: clock.monotonic(), result: result.map_err(|error| error.to_body()) }
            }
        };
        let fresh = kept.insert(fresh);
        let age = age(fresh);
        fresh.result.clone().map(|report| Seen { report, age }).map_err(Error::from)
    }
}

/// Runs the checks for all who wait, so under nobody's own cancel.
async fn run(ops: &Ops, (group, critical): Question) -> Result<HealthReport> {
    ops.run::<Check>(ops.scope(), CheckRequest { group, critical }).await
}

impl Seen {
    fn now(report: HealthReport) -> Self {
        Self { report, age: Duration::ZERO }
    }

    /// The report with its age.
    pub(super) fn to_json(&self) -> Value {
        let mut shown = serde_json::to_value(&self.report).unwrap_or_default();
        shown["age_seconds"] = self.age.as_secs_f64().into();
        shown
    }
}
