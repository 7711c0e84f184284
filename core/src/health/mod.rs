//! The contract of a health check, and what becomes of its answers.
//!
//! A check answers one question and says what it observed. The runner ([`Runner`]) owns the deadline, the
//! concurrency and the verdict; a check that panics, hangs or is missing never passes.
//!
//! # The model
//!
//! A check ([`RunnerEntry`]) has a name; groups; whether it is critical; a parent, which is the check that it depends on;
//! and a [`Pace`]:
//!
//! | of a pace | says | unless set |
//! | --- | --- | --- |
//! | `deadline` | how long an answer may take: later is a failure | 10 s |
//! | `period`, `jitter` | how often it is asked in the background, and by up to which share of the period later | 30 s, 0.1 |
//! | `rise`, `fall` | how many answers in a row end a failure, and make one | 1, 1 |
//! | `max_age` | how old an answer may be before it counts for nothing | three periods and the deadline |
//!
//! There are two ways to ask. [`Runner::run`] asks at once, waits for the answers and knows no yesterday: `health.check`.
//! The [`Watch`] asks in the background, each check at its own pace, and keeps the last answer of each: whoever wants to
//! know reads that and its age, and never waits. Both share the runner, so a check that runs is never started twice.
//!
//! - A [`HealthState`] is what is known of a check: `pass`, `warn`, `fail`, or `unknown` when it never answered or its
//!   answer has expired. Ages are of the monotonic clock: to set the wall clock changes none.
//! - A failure that is not yet one (fewer than `fall` answers) is a warning that says so; one that is over but for
//!   `rise` stays a failure that says so. The first answer, and the first after an expired one, decides alone.
//! - The verdict over several is that of the worst. What is not critical makes it `warn` at the worst. Over no check at all it is
//!   `warn`: nothing was asked, so nothing is known.
//! - What is down while its parent fails is down [because of](CheckReport::because_of) it: the first cause is named with
//!   each, and it alone is listed as down. It goes on being asked. A parent outside the group that is looked at explains
//!   what is in it, and takes nothing from the verdict over it.
//! - Groups: `live` decides whether the process is to be restarted, so no check of something else may be in it, and nothing but a
//!   failure counts; `ready` whether work is to be sent here: its critical checks, or all critical ones where it is
//!   empty, and `unknown` is as good as `fail`; `startup` when the service has begun: once its checks have
//!   passed, or those of `ready` where it is empty. All others are names for [`Watch::view`].
//! - The life of a service is a [`Phase`]: starting, ready, draining, stopped, in that order and never back. Only in
//!   `ready` may readiness pass.

mod blocking;
mod board;
pub mod checks;
mod entry;
pub(crate) mod history;
pub(crate) mod own;
mod pulse;
mod report;
mod runner;
mod state;
mod watch;

use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::Result;

pub use blocking::Blocking;
pub use board::{CheckView, HealthView, Readiness};
pub use entry::{Entry as RunnerEntry, Pace};
pub use history::{Change, CheckHistory};
#[cfg(feature = "http")]
pub(crate) use pulse::LastBeat;
pub use pulse::{Pulse, Pulses, Wedged};
pub use report::{CheckReport, HealthReport};
pub use runner::Runner;
pub use state::{HealthState, Phase};
pub(crate) use watch::Answered;
pub use watch::Watch;

/// One question about the service.
///
/// Clauses, each with a case in the public suite (`testing::check`): it changes nothing; it may be called
/// again at once; it gives up when `scope.cancel` is raised; an `Err` means that the question could not be
/// asked, and counts as a failure.
#[async_trait]
pub trait HealthCheck: Send + Sync + Debug {
    /// Asks.
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome>;
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckOutcome {
    /// The verdict.
    pub status: CheckStatus,
    /// The number behind it, when there is one.
    pub observed: Option<f64>,
    /// Its unit: `bytes`, `seconds`, `ratio`, ….
    pub unit: Option<String>,
    /// What was found, as a sentence without a full stop; the repair when the status is not `pass`.
    pub message: String,
}

impl CheckOutcome {
    /// An outcome without a number.
    pub fn new(status: CheckStatus, message: impl Into<String>) -> Self {
        Self { status, observed: None, unit: None, message: message.into() }
    }

    /// Adds the number behind it.
    #[must_use]
    pub fn observing(mut self, value: f64, unit: impl Into<String>) -> Self {
        self.observed = Some(value);
        self.unit = Some(unit.into());
        self
    }
}

/// A verdict. The order is that of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// All is well.
    Pass,
    /// Somebody should look, the service works.
    Warn,
    /// The service does not do what it should.
    Fail,
}
