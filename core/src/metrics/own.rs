//! Our own numbers: what checks found, what operations did, how the backups stand.
//!
//! Checks and operations are counted by the process that runs them ([`Own`]). Backups are made by several
//! processes, so their numbers are worked out from the journal when a page is written ([`BackupHistory`]), and
//! every process of the service shows the same ones.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

use crate::clock::Timestamp;
use crate::error::Result;

use super::family::{CounterFamily, GaugeFamily, HistogramFamily};
use super::mode::GaugeMode;
use super::names::Definition;
use super::registry::{Registry, global};
use super::snapshot::{Family, MetricKind};

/// The verdicts that `uplifted_ops_check_status` has a series for.
const STATUSES: [&str; 4] = ["pass", "warn", "fail", "unknown"];

/// From one hundredth of a second to an hour: checks and backups alike.
const DURATION_BOUNDS: &[f64] = &[0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// What this process counts about itself.
#[derive(Debug, Clone)]
pub struct Own {
    check_status: GaugeFamily,
    check_duration: GaugeFamily,
    operations: CounterFamily,
    operation_duration: HistogramFamily,
    exports: CounterFamily,
    last_export: GaugeFamily,
}

impl Own {
    /// Registers the families in `registry`.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Self> {
        let define = Definition::new;
        // The gauges are those of processes that live: with the dead, what is no longer in the settings would stay for ever, and
        // so would the alert on it.
        Ok(Self {
            check_status: registry.gauges(
                define("uplifted_ops_check_status", "1 for the verdict of the check's last run, 0 for the others")
                    .labels(&["check", "status"])
                    .mode(GaugeMode::LiveMostRecent),
            )?,
            check_duration: registry.gauges(
                define("uplifted_ops_check_duration_seconds", "How long the check's last run took")
                    .unit("seconds")
                    .labels(&["check"])
                    .mode(GaugeMode::LiveMostRecent),
            )?,
            operations: registry.counters(
                define("uplifted_ops_operations_total", "Operations that ended, by name and outcome")
                    .labels(&["operation", "outcome"]),
            )?,
            operation_duration: registry.histograms(
                define("uplifted_ops_operation_duration_seconds", "How long operations took, by name")
                    .unit("seconds")
                    .labels(&["operation"])
                    .bounds(DURATION_BOUNDS),
            )?,
            exports: registry.counters(
                define("uplifted_ops_exports_total", "Exports of metrics to a sink that ended, by outcome")
                    .labels(&["sink", "outcome"]),
            )?,
            last_export: registry.gauges(
                define(
                    "uplifted_ops_last_export_timestamp_seconds",
                    "When the sink last took the metrics, in seconds since the epoch",
                )
                .unit("seconds")
                .labels(&["sink"])
                .mode(GaugeMode::LiveMax),
            )?,
        })
    }

    /// Records the last run of a check; `status` is `pass`, `warn`, `fail` or `unknown`.
    pub fn check(&self, check: &str, status: &str, duration_seconds: f64) -> Result<()> {
        for known in STATUSES {
            self.check_status.with(&[check, known])?.set(if known == status { 1.0 } else { 0.0 });
        }
        self.check_duration.with(&[check])?.set(duration_seconds);
        Ok(())
    }

    /// Takes away the series of a check that is not configured any more.
    pub fn forget_check(&self, check: &str) -> Result<()> {
        for known in STATUSES {
            self.check_status.remove(&[check, known])?;
        }
        self.check_duration.remove(&[check])?;
        Ok(())
    }

    /// Records the end of an operation; `outcome` is `done`, `unhealthy`, or the kind of its error.
    pub fn operation(&self, operation: &str, outcome: &str, duration_seconds: f64) -> Result<()> {
        self.operations.with(&[operation, outcome])?.inc();
        self.operation_duration.with(&[operation])?.observe(duration_seconds);
        Ok(())
    }

    /// Records the end of an export; `outcome` is `done`, or the kind of its error. `at` is when it went well.
    pub fn export(&self, sink: &str, outcome: &str, at: Option<Timestamp>) -> Result<()> {
        self.exports.with(&[sink, outcome])?.inc();
        if let Some(at) = at {
            self.last_export.with(&[sink])?.set(at.as_millisecond() as f64 / 1000.0);
        }
        Ok(())
    }
}

/// Our own instruments in the [`global`] registry. The first call registers them.
///
/// # Errors
/// When the host registered one of the names itself.
pub fn own() -> Result<&'static Own> {
    static OWN: OnceLock<Own> = OnceLock::new();
    static FIRST: Mutex<()> = Mutex::new(());
    // Held so that two first callers do not register twice.
    let _first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    match OWN.get() {
        Some(own) => Ok(own),
        None => Own::register(global()).map(|own| OWN.get_or_init(|| own)),
    }
}

/// What the journal says about one operation, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    /// When it began, as the journal has it: a backup holds what was there then.
    pub time: Timestamp,
    /// Its name: `backup.create`, ….
    pub operation: &'a str,
    /// What it was asked.
    pub request: Option<&'a Value>,
    /// What it answered; `None` or null when it failed.
    pub response: Option<&'a Value>,
    /// How long it took.
    pub duration_seconds: f64,
}

/// A drill that went well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrillFact {
    /// When it began.
    pub time: Timestamp,
    /// When the snapshot was made that it restored.
    pub snapshot_time: Timestamp,
    /// How long recovery took, in seconds.
    pub recovery_seconds: f64,
}

/// How the backups stand, worked out from the journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BackupHistory {
    /// When the last complete backup was made. A partial one does not count.
    pub last_complete: Option<Timestamp>,
    /// When the first complete backup was made that the journal knows.
    pub first_complete: Option<Timestamp>,
    /// When a backup was last read in full by `backup.verify`, restored by `backup.drill`, or read to the last byte by
    /// runs of `backup.sample`, and found whole.
    pub last_verified: Option<Timestamp>,
    /// The same, where it was also looked into. One that is encrypted is not, where no identity was given.
    pub last_proven: Option<Timestamp>,
    /// When the newest snapshot was made that a drill restored and found well.
    pub last_restorable: Option<Timestamp>,
    /// The last drill that went well, by target and level of proof.
    pub drills: BTreeMap<(String, String), DrillFact>,
    /// The targets of the settings, which have a series whether they were drilled or not.
    pub targets: Vec<String>,
    /// Bytes of the service in the last backup that was made.
    pub last_size_bytes: Option<f64>,
    /// Bytes that the last backup takes at its target.
    pub last_stored_bytes: Option<f64>,
    /// How long the last backup that was made took.
    pub last_duration_seconds: Option<f64>,
    /// Complete backups in the journal.
    pub complete: u64,
    /// Partial ones.
    pub partial: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// For each target with a repository, what the last `backup.collect` saw there.
    pub repositories: BTreeMap<String, RepositoryBytes>,
}

/// How large the repository in a target is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RepositoryBytes {
    /// When that was seen.
    pub time: Timestamp,
    /// Bytes of everything in it.
    pub all: f64,
    /// Bytes of what no snapshot needs.
    pub dead: f64,
}

impl BackupHistory {
    /// Goes through the journal, in any order.
    pub fn of<'a>(facts: impl IntoIterator<Item = Fact<'a>>) -> Self {
        let mut history = Self::default();
        let mut newest = None;
        for fact in facts {
            match (fact.operation, fact.response.filter(|response| !response.is_null())) {
                ("backup.create", None) => history.failed += 1,
                ("backup.create", Some(response)) => {
                    if response["outcome"] == "complete" {
                        history.complete += 1;
                        history.last_complete = history.last_complete.max(Some(fact.time));
                        history.first_complete = Some(history.first_complete.map_or(fact.time, |t| t.min(fact.time)));
                    } else {
                        history.partial += 1;
                    }
                    if newest <= Some(fact.time) {
                        newest = Some(fact.time);
                        history.last_size_bytes = response["size_bytes"].as_f64();
                        history.last_stored_bytes = response["stored_bytes"].as_f64();
                        history.last_duration_seconds = Some(fact.duration_seconds);
                    }
                }
                ("backup.collect", Some(response)) => history.note_repositories(fact.time, response),
                // A quick verify looks at sizes and the index: it proves no byte. The answer says what was done,
                // also where the request left the depth to the default.
                ("backup.verify", Some(response))
                    if response["ok"] == true
                        && [fact.request, fact.response].into_iter().flatten().any(|side| side["depth"] == "full") =>
                {
                    history.last_verified = history.last_verified.max(Some(fact.time));
                    if fact.response.is_some_and(|response| response["level"] != "sealed") {
                        history.last_proven = history.last_proven.max(Some(fact.time));
                    }
                }
                ("backup.sample", Some(response)) if response["ok"] == true => history.sampled(fact.time, response),
                ("backup.drill", Some(response)) if response["ok"] == true => {
                    history.last_verified = history.last_verified.max(Some(fact.time));
                    history.drilled(&fact, response);
                }
                _ => {}
            }
        }
        history
    }

    fn note_repositories(&mut self, time: Timestamp, response: &Value) {
        for target in response["targets"].as_array().into_iter().flatten() {
            let bytes = |name: &str| target[name].as_f64();
            if let (Some(name), Some(all), Some(dead)) =
                (target["target"].as_str(), bytes("repository_bytes"), bytes("dead_bytes"))
                && self.repositories.get(name).is_none_or(|known| known.time <= time)
            {
                self.repositories.insert(name.to_owned(), RepositoryBytes { time, all, dead });
            }
        }
    }

    /// Samples that have gone round all of a backup say of it what reading it from end to end does.
    fn sampled(&mut self, time: Timestamp, response: &Value) {
        let targets = response["targets"].as_array().into_iter().flatten();
        for target in targets.filter(|target| target["whole"].as_array().is_some_and(|whole| !whole.is_empty())) {
            self.last_verified = self.last_verified.max(Some(time));
            if target["sealed"] == false {
                self.last_proven = self.last_proven.max(Some(time));
            }
        }
    }

    fn drilled(&mut self, fact: &Fact<'_>, response: &Value) {
        let text = |name: &str, or: &str| response[name].as_str().unwrap_or(or).to_owned();
        let snapshot_time = response["snapshot_time"].as_str().and_then(|time| time.parse().ok());
        let snapshot_time = snapshot_time.unwrap_or(fact.time);
        self.last_restorable = self.last_restorable.max(Some(snapshot_time));
        // Whoever restores a backup has looked into it.
        self.last_proven = self.last_proven.max(Some(fact.time));
        let recovery_seconds = response["recovery_seconds"].as_f64().unwrap_or(fact.duration_seconds);
        let drill = DrillFact { time: fact.time, snapshot_time, recovery_seconds };
        let last = self.drills.entry((text("target", ""), text("level", "proven"))).or_insert(drill);
        if last.time <= drill.time {
            *last = drill;
        }
    }

    /// The same as metrics. A time that never was is 0, so that an alert on its age fires.
    pub fn families(&self) -> Vec<Family> {
        let seconds = |time: Option<Timestamp>| time.map_or(0.0, |time| time.as_millisecond() as f64 / 1000.0);
        let gauge = |name: &str, unit: &str, help: &str, value: f64| {
            Family::new(format!("{name}_{unit}"), MetricKind::Gauge, help).unit(unit).number(&[], value)
        };
        let mut families = vec![
            gauge(
                "uplifted_ops_backup_last_success_timestamp",
                "seconds",
                "When the last complete backup was made, in seconds since the epoch; 0 when there is none",
                seconds(self.last_complete),
            ),
            gauge(
                "uplifted_ops_backup_last_verified_timestamp",
                "seconds",
                "When a backup was last verified in full, at once or by samples, in seconds since the epoch; 0 when none was",
                seconds(self.last_verified),
            ),
            gauge(
                "uplifted_ops_backup_last_proven_timestamp",
                "seconds",
                "When a backup was last verified in full and looked into, in seconds since the epoch; 0 when none was. An \
                 encrypted one is looked into only with an identity",
                seconds(self.last_proven),
            ),
            Family::new("uplifted_ops_backups", MetricKind::Counter, "Backups in the journal, by outcome")
                .number(&[("outcome", "complete")], self.complete as f64)
                .number(&[("outcome", "failed")], self.failed as f64)
                .number(&[("outcome", "partial")], self.partial as f64),
        ];
        families.extend(self.drill_families());
        let last = [
            (
                "uplifted_ops_backup_last_duration",
                "seconds",
                "How long the last backup took",
                self.last_duration_seconds,
            ),
            ("uplifted_ops_backup_last_size", "bytes", "Bytes of the service in the last backup", self.last_size_bytes),
            ("uplifted_ops_backup_last_stored", "bytes", "Bytes that the last backup takes", self.last_stored_bytes),
        ];
        let known = last.into_iter().filter_map(|(name, unit, help, value)| Some(gauge(name, unit, help, value?)));
        families.extend(known);
        if !self.repositories.is_empty() {
            type Bytes = fn(&RepositoryBytes) -> f64;
            let sizes: [(&str, &str, Bytes); 2] = [
                ("uplifted_ops_backup_repository_bytes", "Bytes of the repository in a target", |bytes| bytes.all),
                (
                    "uplifted_ops_backup_repository_dead_bytes",
                    "Bytes in a repository that no snapshot needs and that are not deleted yet",
                    |bytes| bytes.dead,
                ),
            ];
            families.extend(sizes.map(|(name, help, bytes)| {
                let family = Family::new(name, MetricKind::Gauge, help).unit("bytes");
                self.repositories.iter().fold(family, |family, (target, repository)| {
                    family.number(&[("target", target)], bytes(repository))
                })
            }));
        }
        families
    }
}

impl BackupHistory {
    /// What drills have proven. A target that none has proven is 0, so that an alert on its age fires.
    fn drill_families(&self) -> Vec<Family> {
        let seconds = |time: Timestamp| time.as_millisecond() as f64 / 1000.0;
        let never = self.targets.iter().filter(|name| !self.drills.keys().any(|(target, _)| target == *name));
        let never: Vec<&str> = never.map(String::as_str).collect();
        let family = |name: &str, help: &str, zeros: &[&str], value: &dyn Fn(&DrillFact) -> f64| {
            let name = format!("uplifted_ops_backup_{name}_seconds");
            let mut family = Family::new(name, MetricKind::Gauge, help).unit("seconds");
            for ((target, level), drill) in &self.drills {
                family = family.number(&[("level", level), ("target", target)], value(drill));
            }
            zeros.iter().fold(family, |family, target| family.number(&[("level", "proven"), ("target", target)], 0.0))
        };
        let families = [
            family(
                "last_verified_restore_timestamp",
                "When a drill last restored a backup and found it well, in seconds since the epoch; 0 when none did",
                &never,
                &|drill| seconds(drill.time),
            ),
            family(
                "last_restorable_snapshot_timestamp",
                "When the backup was made that the last drill restored and found well; 0 when none did",
                &never,
                &|drill| seconds(drill.snapshot_time),
            ),
            family(
                "last_verified_restore_duration",
                "How long recovery took in the last drill that went well",
                &[],
                &|drill| drill.recovery_seconds,
            ),
        ];
        families.into_iter().filter(|family| !family.series.is_empty()).collect()
    }
}

/// [`BackupHistory::of`] as metrics, for [`MetricsSnapshot::merge`](super::MetricsSnapshot::merge).
pub fn from_journal<'a>(facts: impl IntoIterator<Item = Fact<'a>>) -> Vec<Family> {
    BackupHistory::of(facts).families()
}

#[cfg(test)]
mod tests {
    use super::super::family::Adoptable;
    use super::*;

    fn ends_with_its_process(family: &impl Adoptable) -> bool {
        family.any().definition().mode.is_live()
    }

    #[test]
    fn no_gauge_of_ours_outlives_the_processes_that_set_it() {
        let own = Own::register(&Registry::new()).unwrap();
        for family in [&own.check_status, &own.check_duration, &own.last_export] {
            assert!(ends_with_its_process(family), "{}", family.name());
        }
    }
}
