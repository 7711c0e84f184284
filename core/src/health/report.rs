//! What the checks found when they were asked at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::{CheckOutcome, CheckStatus};
use crate::config::redact;

/// Longer messages are cut: a report is read by people and kept in the journal.
pub(super) const MAX_MESSAGE: usize = 1_000;

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
    /// What was found, and the repair when the status is not `pass`. Secrets are `***`.
    pub message: String,
    /// The number behind the verdict, when there is one.
    pub observed: Option<f64>,
    /// Its unit: `bytes`, `seconds`, `ratio`, ….
    pub unit: Option<String>,
    /// How long the check took.
    pub duration_seconds: f64,
    /// Whether its failure makes the whole answer `fail`.
    pub critical: bool,
    /// The first of its groups, besides `all`.
    pub group: Option<String>,
    /// All of its groups, besides `all`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The check whose failure explains this one's: the first cause among those that it depends on.
    #[serde(default)]
    pub because_of: Option<String>,
}

impl Entry {
    pub(super) fn report(&self, outcome: CheckOutcome, duration_seconds: f64) -> CheckReport {
        CheckReport {
            name: self.name.clone(),
            status: outcome.status,
            message: cut(redact::text(&outcome.message)),
            // JSON has no NaN and no infinity.
            observed: outcome.observed.filter(|value| value.is_finite()),
            unit: outcome.unit,
            duration_seconds,
            critical: self.critical,
            group: self.groups.first().cloned(),
            groups: self.groups.clone(),
            because_of: None,
        }
    }
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
