//! The settings as types: what `ops.toml`, `.env`, the environment and code add up to.
//!
//! Plain data: serialisable, comparable, no live objects. The doc comment of a field is its description in
//! the schema and in the file that `init` writes. What may hold a secret prints redacted; serialising
//! keeps it, since that is how the settings reach a worker.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::value::{ByteSize, is_tag};

mod components;
mod continuous;
mod health;
mod http;
mod metrics;

pub use components::{ComponentSettings, Listed, ListedComponent, SinkSettings};
pub use continuous::ContinuousSettings;
pub use health::{CheckSettings, HealthSettings};
pub use http::HttpSettings;
pub use metrics::{COLLECTORS, MetricsMistake, MetricsSettings, excluded};

/// All settings. Every field has a default; `ops.toml` names only what differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The service itself.
    pub service: ServiceSettings,
    /// The state folder.
    pub state: StateSettings,
    /// Databases under our care.
    #[serde(rename = "store")]
    pub stores: Vec<ComponentSettings>,
    /// Places where backups go.
    #[serde(rename = "target")]
    pub targets: Vec<ComponentSettings>,
    /// Health checks beside the built-in ones.
    #[serde(rename = "check")]
    pub checks: Vec<CheckSettings>,
    /// Places where numbers go, beside the page that Prometheus reads.
    #[serde(rename = "sink")]
    pub sinks: Vec<SinkSettings>,
    /// What runs by itself, beside what `[backup]` schedules.
    #[serde(rename = "job")]
    pub jobs: Vec<JobSettings>,
    /// How jobs are run.
    pub schedule: ScheduleSettings,
    /// What a backup holds and how it is made.
    pub backup: BackupSettings,
    /// Databases that are followed, so that the service goes back to any second.
    pub continuous: ContinuousSettings,
    /// How restores guard themselves.
    pub restore: RestoreSettings,
    /// How checks are run.
    pub health: HealthSettings,
    /// Where numbers are served, what is collected, and how much of the past is kept.
    pub metrics: MetricsSettings,
    /// Who may ask over HTTP, and what the listener allows.
    pub http: HttpSettings,
    /// How worker processes are started.
    pub worker: WorkerSettings,
}

/// The service itself.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSettings {
    /// The service's name, used in file and metric names. The folder's name when empty.
    pub name: String,
    /// The root folder. Relative paths start here. The folder of `ops.toml` when unset.
    pub root: Option<PathBuf>,
    /// The version of the service, for status and manifests.
    pub version: Option<String>,
    /// The time zone of the service's days and schedules, such as `Europe/Berlin` or `UTC`. The machine's when unset.
    pub timezone: Option<String>,
    /// The program and arguments that stop the service, never a shell line. Lets a restore stop it.
    pub stop: Vec<String>,
    /// The program and arguments that start it again.
    pub start: Vec<String>,
    /// The log file that `log_errors` reads. `UPLIFTED__LOGGING__FILE` when unset.
    pub log: Option<PathBuf>,
    /// What the names of our variables begin with, as in `UPLIFTED__BACKUP__LEVEL`. `UPLIFTED` when unset,
    /// whatever the service is called. Set in `ops.toml` or in code: the environment is read by it.
    pub env_prefix: Option<String>,
}

/// The state folder: journal, caches, locks, undo areas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateSettings {
    /// Where it is. Losing it loses history and speed, never a backup.
    pub path: PathBuf,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self { path: PathBuf::from(".uplifted-ops") }
    }
}

fn yes() -> bool {
    true
}

/// Something that runs by itself: an operation, and when.
///
/// The jobs `backup`, `retain`, `collect`, `verify` and `drill` come from `[backup]`; one of the same name here replaces
/// them.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    /// The name that requests, reports and metrics use.
    pub name: String,
    /// The operation that it runs, such as `store.verify`.
    pub operation: String,
    /// The operation's request. Empty when unset.
    #[serde(default)]
    pub request: Map<String, Value>,
    /// When it runs, as a cron expression: `0 2 * * *`, `@daily`. By hand alone when this and `after` are unset.
    #[serde(default)]
    pub schedule: Option<String>,
    /// The job after whose success it runs, instead of at a time.
    #[serde(default)]
    pub after: Option<String>,
    /// The time zone of the schedule, such as `Europe/Berlin`. `schedule.timezone` when unset.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Whether it runs by itself. By hand it runs in any case.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How long it may take before it is cancelled, in seconds. `schedule.deadline_seconds` when unset.
    #[serde(default)]
    pub deadline_seconds: Option<f64>,
    /// Each run begins up to this much later, in seconds, so that many machines do not all begin at once. The delay
    /// differs from machine to machine and from run to run. `schedule.jitter_seconds` when unset.
    #[serde(default)]
    pub jitter_seconds: Option<f64>,
    /// The address that is told of each run: it is asked with GET after a success, and its `/fail` with POST after
    /// anything else. Whoever watches it notices also when nothing runs at all. May be `"env:NAME"`.
    #[serde(default)]
    pub ping_url: Option<String>,
}

/// How jobs are run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSettings {
    /// Whether this service runs jobs by itself.
    pub enabled: bool,
    /// The time zone of the schedules, such as `Europe/Berlin` or `UTC`. `service.timezone` when unset.
    pub timezone: Option<String>,
    /// How long after a start a job that was missed waits, in seconds, so that the service is up first.
    pub catch_up_delay_seconds: f64,
    /// How long a job may take before it is cancelled, in seconds, unless it says otherwise.
    pub deadline_seconds: f64,
    /// Each run begins up to this much later, in seconds, unless its job says otherwise.
    pub jitter_seconds: f64,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            timezone: None,
            catch_up_delay_seconds: 60.0,
            deadline_seconds: 24.0 * 3600.0,
            jitter_seconds: 0.0,
        }
    }
}

/// What a backup holds and how it is made.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupSettings {
    /// Files and folders to back up, relative to the root. `.` is all of it.
    pub include: Vec<PathBuf>,
    /// Globs of what to leave out, relative to the root: `**/__pycache__`, `data/cache`. The state folder and
    /// targets inside the root are always left out.
    pub exclude: Vec<String>,
    /// The zstd level, 1 to 19. When missing 3 in an archive, and 1 in a repository, which works beside the service
    /// each day and stores content once: half the work, for an eighth more bytes.
    pub level: Option<i32>,
    /// Threads that compress. 0 is one for each core, at most 8.
    pub threads: usize,
    /// Where the consistent copies of databases are made. A folder in the state folder when unset. It must
    /// not be in memory (tmpfs) unless `scratch_in_memory` is set.
    pub scratch: Option<PathBuf>,
    /// Allows `scratch` to be in memory.
    pub scratch_in_memory: bool,
    /// How long a rollback-journal database may be kept from writing while it is copied, in seconds.
    pub rollback_copy_seconds: f64,
    /// A backup stops before a database's write-ahead log leaves less than this free on its disk.
    pub keep_free_bytes: ByteSize,
    /// How a backup is stored: `archive`, one standard file for each, or `repository`, where backups share content. When
    /// unset, jobs store into a repository, and a backup by hand is an archive. When set it counts for both.
    pub layout: Option<String>,
    /// When backups are made, as a cron expression: the job `backup`. The jobs `retain`, where a retention is set, and
    /// `collect` follow each that went well.
    pub schedule: Option<String>,
    /// When what is stored is read again, as a cron expression: the job `verify` samples all backups, so that every byte
    /// is read within `verify_days`.
    pub verify_schedule: Option<String>,
    /// When a restore is rehearsed, as a cron expression: the job `drill`.
    pub drill_schedule: Option<String>,
    /// The address that is told of each scheduled backup, see `ping_url` of a job.
    pub ping_url: Option<String>,
    /// Which snapshots are kept: the job `retain` deletes the others after each scheduled backup. All are kept without it.
    pub retention: Option<RetentionSettings>,
    /// How long a repository keeps what no snapshot needs after it was condemned, in hours. Twice as long as the longest
    /// backup stands still, and at least 2.
    pub collect_grace_hours: f64,
    /// Says that storing `.env` and other secrets unencrypted is wanted: whoever reads a target reads them.
    pub clear_secrets: Option<bool>,
    /// `backup.sample` reads every stored byte again within so many days.
    pub verify_days: f64,
    /// How a drill puts a restored copy to the test.
    pub drill: DrillSettings,
    /// How the service's writes are paused for the moment in which the databases are copied.
    pub pause: PauseSettings,
    /// Who can open encrypted backups.
    pub encryption: EncryptionSettings,
}

/// How a drill puts a restored copy to the test, beside the integrity of its databases and their rows.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrillSettings {
    /// The program and arguments that bring a restored copy up to date, never a shell line. Runs first, in the restored
    /// folder, which is also its last argument.
    pub migrate: Vec<String>,
    /// Queries by the name of their store. Each must return a row whose first column is neither null nor zero.
    pub queries: BTreeMap<String, Vec<String>>,
    /// The program and arguments that look the restored copy over, in the same way. Must end with status 0.
    pub command: Vec<String>,
    /// How long each program and each query may take, in seconds.
    pub deadline_seconds: f64,
}

impl Default for DrillSettings {
    fn default() -> Self {
        Self { migrate: Vec::new(), queries: BTreeMap::new(), command: Vec::new(), deadline_seconds: 600.0 }
    }
}

/// How the service's writes are paused for the moment in which the databases are copied.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PauseSettings {
    /// The program and arguments that pause writing, never a shell line. Runs in the service's process, in the root
    /// folder; `UPLIFTED_OPS_PAUSE_SECONDS` tells it the deadline.
    pub before: Vec<String>,
    /// The program and arguments that let writing go on. Runs whatever happened, also when `before` failed.
    pub after: Vec<String>,
    /// Writing goes on at the latest after so many seconds, finished or not. The same bound holds for each program.
    pub deadline_seconds: f64,
}

impl Default for PauseSettings {
    fn default() -> Self {
        Self { before: Vec::new(), after: Vec::new(), deadline_seconds: 10.0 }
    }
}

/// The least that `backup.collect_grace_hours` may be.
pub const MIN_COLLECT_GRACE_HOURS: u64 = 2;

/// Who can open encrypted backups. `uplifted-ops backup keys init` makes the key; from then on every backup is
/// encrypted, and this host cannot open one.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub struct EncryptionSettings {
    /// The public halves of the operators' age keys, `age1…`. Each opens every backup alone.
    pub recipients: Vec<String>,
    /// A file with more of them, one a line.
    pub recipients_file: Option<PathBuf>,
    /// A passphrase instead of recipients. Write `"env:NAME"`, and set the variable only where a backup is opened.
    pub passphrase: Option<String>,
    /// The file with the secret half of a recipient's key. Whoever takes this host can then open every backup ever made:
    /// set it only where drills and full verifications have to run by themselves.
    pub identity_file: Option<PathBuf>,
}

impl EncryptionSettings {
    /// Whether the settings say that backups are to be encrypted.
    pub fn is_wanted(&self) -> bool {
        !self.recipients.is_empty() || self.recipients_file.is_some() || self.passphrase.is_some()
    }
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            include: vec![PathBuf::from(".")],
            exclude: Vec::new(),
            level: None,
            threads: 0,
            scratch: None,
            scratch_in_memory: false,
            rollback_copy_seconds: 2.0,
            keep_free_bytes: ByteSize(256 << 20),
            layout: None,
            schedule: None,
            verify_schedule: None,
            drill_schedule: None,
            ping_url: None,
            retention: None,
            collect_grace_hours: 24.0,
            clear_secrets: None,
            verify_days: 30.0,
            drill: DrillSettings::default(),
            pause: PauseSettings::default(),
            encryption: EncryptionSettings::default(),
        }
    }
}

/// Which snapshots are kept: each rule keeps some, and what none keeps is deleted, unless that would be unsafe.
/// Days, weeks, months and years are those of `service.timezone`; a rule that is 0 or empty keeps nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// The newest so many.
    pub keep_last: u32,
    /// The newest of each hour, for the last so many hours that have one.
    pub hourly: u32,
    /// The newest of each day, for the last so many days that have one.
    pub daily: u32,
    /// The newest of each week, Monday to Sunday, for the last so many weeks that have one.
    pub weekly: u32,
    /// The newest of each month, for the last so many months that have one.
    pub monthly: u32,
    /// The newest of each year, for the last so many years that have one.
    pub yearly: u32,
    /// All that are at most so many days older than the newest complete one.
    pub within_days: u32,
    /// All that have one of these tags.
    pub tags: Vec<String>,
    /// The newest so many of each label.
    pub per_label: u32,
    /// The newest so many of each tag.
    pub per_tag: u32,
    /// How many verified snapshots each target keeps, whatever the rules say. While it has fewer, nothing is
    /// deleted there. At least 1.
    pub min_verified: u32,
    /// Whether the rules count the snapshots of each machine apart: `true` where several machines back up data of
    /// their own under one service name, `false` where one goes on for another. Until it is set, nothing is deleted
    /// where snapshots of several machines alternate.
    pub per_host: Option<bool>,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            keep_last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            within_days: 0,
            tags: Vec::new(),
            per_label: 0,
            per_tag: 0,
            min_verified: 2,
            per_host: None,
        }
    }
}

/// Why a retention policy cannot be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyMistake {
    /// The setting concerned.
    pub key: &'static str,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// The repair.
    pub hint: &'static str,
}

impl RetentionSettings {
    /// Whether a rule keeps anything by its place in time. Tags and labels alone are no policy: by them every
    /// ordinary snapshot would be deleted.
    fn keeps_by_time(&self) -> bool {
        let Self { keep_last, hourly, daily, weekly, monthly, yearly, within_days, .. } = *self;
        [keep_last, hourly, daily, weekly, monthly, yearly, within_days].iter().any(|count| *count > 0)
    }

    /// What is wrong with it. Whoever acts on a policy asks this first.
    pub fn mistake(&self) -> Option<PolicyMistake> {
        if !self.keeps_by_time() {
            return Some(PolicyMistake {
                key: "backup.retention",
                message: "the policy keeps nothing: by it every snapshot would be deleted".to_owned(),
                hint: "name what is kept, such as { keep_last = 3, daily = 7, weekly = 4, monthly = 12 }",
            });
        }
        if self.min_verified == 0 {
            return Some(PolicyMistake {
                key: "backup.retention.min_verified",
                message: "with 0 the last backup that is known to be good could be deleted".to_owned(),
                hint: "use 2, or 1 at the least",
            });
        }
        let wrong = self.tags.iter().find(|tag| !is_tag(tag))?;
        Some(PolicyMistake {
            key: "backup.retention.tags",
            message: format!("no snapshot can have the tag {wrong:?}"),
            hint: "use letters, digits and . _ - : @ + = / only, at most 64 bytes",
        })
    }
}

/// How restores guard themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreSettings {
    /// An archive with more entries than this is refused.
    pub max_entries: u64,
    /// An archive that would take more bytes than this is refused. The free space is checked as well.
    pub max_bytes: Option<ByteSize>,
    /// An archive whose content is more than this many times its own size is refused.
    pub max_ratio: f64,
    /// How long the service may take to become healthy after a restore, in seconds, before it is undone.
    pub health_gate_seconds: f64,
}

impl Default for RestoreSettings {
    fn default() -> Self {
        Self { max_entries: 10_000_000, max_bytes: None, max_ratio: 10_000.0, health_gate_seconds: 60.0 }
    }
}

/// How worker processes are started.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerSettings {
    /// The program and arguments of the worker. Found by itself when empty.
    pub command: Vec<String>,
    /// How long a worker may take to stop by itself after a cancel, in seconds, before it is killed.
    pub cancel_grace_seconds: f64,
    /// How long an idle worker is kept warm, in seconds.
    pub idle_seconds: f64,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self { command: Vec::new(), cancel_grace_seconds: 5.0, idle_seconds: 60.0 }
    }
}

/// Prints the fields as they may be shown: secrets, and what stands before the `@` of a URL, as `***`.
macro_rules! redacted_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let shown = serde_json::to_value(self).map_err(|_| fmt::Error)?;
                let mut out = f.debug_struct(stringify!($name));
                if let Value::Object(fields) = super::redact::value("", &shown) {
                    for (name, value) in &fields {
                        out.field(name, &format_args!("{value}"));
                    }
                }
                out.finish()
            }
        }
    )*};
}

redacted_debug!(
    EncryptionSettings,
    ServiceSettings,
    ComponentSettings,
    CheckSettings,
    SinkSettings,
    JobSettings,
    BackupSettings,
    DrillSettings,
    PauseSettings,
    HttpSettings,
    WorkerSettings
);
