//! The settings of health checks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::yes;

/// A health check.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckSettings {
    /// The name that reports use.
    pub name: String,
    /// The kind, such as `http` or `disk`.
    pub kind: String,
    /// The group it belongs to, besides `all`: `live`, `ready`, `startup`, or a name of your own.
    #[serde(default)]
    pub group: Option<String>,
    /// More groups that it belongs to.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether its failure makes the whole answer `fail`; otherwise it makes it `warn`.
    #[serde(default = "yes")]
    pub critical: bool,
    /// How long it may take, in seconds. `health.deadline_seconds` when unset.
    #[serde(default)]
    pub deadline_seconds: Option<f64>,
    /// How often it is asked in the background, in seconds. `health.period_seconds` when unset.
    #[serde(default)]
    pub period_seconds: Option<f64>,
    /// How old a result may be before it counts for nothing, in seconds. Three periods and the deadline when unset.
    #[serde(default)]
    pub max_age_seconds: Option<f64>,
    /// How many good answers in a row end a failure. `health.rise` when unset.
    #[serde(default)]
    pub rise: Option<u32>,
    /// How many bad answers in a row make a failure; before that it is a warning. `health.fall` when unset.
    #[serde(default)]
    pub fall: Option<u32>,
    /// The check that this one depends on: while that one fails, this one's failure is its fault.
    #[serde(default)]
    pub parent: Option<String>,
    /// The kind's own settings.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl CheckSettings {
    /// A check with nothing but a name, which is its kind as well.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: name.to_owned(),
            group: None,
            groups: Vec::new(),
            critical: true,
            deadline_seconds: None,
            period_seconds: None,
            max_age_seconds: None,
            rise: None,
            fall: None,
            parent: None,
            settings: Map::new(),
        }
    }
}

/// How checks are run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// How many checks run at once.
    pub concurrency: usize,
    /// How long a check may take unless it says otherwise, in seconds.
    pub deadline_seconds: f64,
    /// How often a check is asked in the background unless it says otherwise, in seconds.
    pub period_seconds: f64,
    /// By up to which share of its period each run is put off, 0 to 1, so that many instances do not ask at once.
    pub jitter: f64,
    /// How many good answers in a row end a failure, unless a check says otherwise.
    pub rise: u32,
    /// How many bad answers in a row make a failure, unless a check says otherwise; before that it is a warning.
    pub fall: u32,
    /// Whether an embedded service asks its checks in the background from its start on. Otherwise that begins
    /// with the first handler of HTTP that it makes.
    pub background: bool,
    /// How long a service goes on serving after SIGTERM while `/readyz` says no, in seconds: what a load balancer takes to see
    /// it, period times failures of its probe.
    pub drain_seconds: f64,
    /// For how long what beats in the host (its event loop, its interpreter, its runtime) may be silent before the process
    /// counts as wedged, in seconds.
    pub heartbeat_seconds: f64,
    /// The built-in checks (`disk`, `process`, `store`, `backup_age`, `backup_secrets`, `continuous`, `jobs`,
    /// `listener`, `log_errors`) to leave out.
    pub without: Vec<String>,
    /// `backup_age` warns past this age of the last complete backup, in seconds; past twice it fails.
    pub backup_age_seconds: f64,
    /// `backup_age` warns past this age of the last backup that was verified in full, in seconds; past twice it fails.
    /// A drill verifies too.
    pub verify_age_seconds: f64,
    /// `backup_age` warns past this age of the newest backup that a drill has restored, in seconds; past twice it fails.
    pub drill_age_seconds: f64,
}

impl Default for HealthSettings {
    fn default() -> Self {
        const DAY: f64 = 24.0 * 3600.0;
        Self {
            concurrency: 4,
            deadline_seconds: 10.0,
            period_seconds: 30.0,
            jitter: 0.1,
            rise: 1,
            fall: 1,
            background: false,
            drain_seconds: 5.0,
            heartbeat_seconds: 10.0,
            without: Vec::new(),
            backup_age_seconds: 26.0 * 3600.0,
            verify_age_seconds: 8.0 * DAY,
            drill_age_seconds: 35.0 * DAY,
        }
    }
}
