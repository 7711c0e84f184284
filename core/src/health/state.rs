//! What is known of a check, of the service, and how one answer becomes a state.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CheckStatus;
use super::entry::Pace;

/// What is known of a check, or of several. The order is that of severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// All is well.
    Pass,
    /// Somebody should look, the service works.
    Warn,
    /// It never answered, or its answer is too old to count.
    #[default]
    Unknown,
    /// The service does not do what it should.
    Fail,
}

impl HealthState {
    /// What this state of one check makes of the verdict over several.
    pub(super) fn weigh(self, critical: bool) -> Self {
        if critical || !self.is_down() { self } else { Self::Warn }
    }

    /// Whether nobody may count on it: `fail` and `unknown`.
    pub fn is_down(self) -> bool {
        matches!(self, Self::Fail | Self::Unknown)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }
}

impl From<CheckStatus> for HealthState {
    fn from(status: CheckStatus) -> Self {
        match status {
            CheckStatus::Pass => Self::Pass,
            CheckStatus::Warn => Self::Warn,
            CheckStatus::Fail => Self::Fail,
        }
    }
}

/// Where a service is in its life. Only ever goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// What it needs to begin has not passed yet.
    #[default]
    Starting,
    /// It has begun.
    Ready,
    /// It is about to stop, and takes no more work.
    Draining,
    /// It has stopped.
    Stopped,
}

/// How answers become a state, so that a check which flaps does not take the service with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hysteresis {
    state: HealthState,
    /// How many answers in a row have spoken against the state.
    against: u32,
}

impl Hysteresis {
    /// Takes an answer in; gives the state, and what is still missing for another.
    pub(super) fn take(&mut self, answer: CheckStatus, pace: &Pace) -> (HealthState, Option<String>) {
        let bad = answer == CheckStatus::Fail;
        let settled = match self.state {
            HealthState::Unknown => true,
            HealthState::Fail => bad,
            HealthState::Pass | HealthState::Warn => !bad,
        };
        let needed = if bad { pace.fall } else { pace.rise };
        self.against = if settled { 0 } else { self.against.saturating_add(1) };
        if settled || self.against >= needed {
            *self = Self { state: answer.into(), against: 0 };
            return (self.state, None);
        }
        let count = format!("{} of {needed}", self.against);
        match bad {
            true => (HealthState::Warn, Some(format!("failed {count} times in a row before it counts"))),
            false => (HealthState::Fail, Some(format!("well again {count} times in a row before it counts"))),
        }
    }

    /// Forgets: what comes next decides alone.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_failure_takes_fall_answers_and_its_end_rise() {
        use CheckStatus::{Fail, Pass, Warn};
        let pace = Pace { rise: 2, fall: 3, ..Pace::within(Duration::from_secs(1)) };
        let mut hysteresis = Hysteresis::default();
        for (at, (answer, state)) in [
            (Pass, HealthState::Pass),
            (Fail, HealthState::Warn),
            (Fail, HealthState::Warn),
            (Warn, HealthState::Warn),
            (Fail, HealthState::Warn),
            (Fail, HealthState::Warn),
            (Fail, HealthState::Fail),
            (Pass, HealthState::Fail),
            (Fail, HealthState::Fail),
            (Warn, HealthState::Fail),
            (Pass, HealthState::Pass),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(hysteresis.take(answer, &pace).0, state, "answer {at}");
        }
    }

    #[test]
    fn the_first_answer_decides_alone() {
        let pace = Pace { rise: 5, fall: 5, ..Pace::within(Duration::from_secs(1)) };
        for answer in [CheckStatus::Pass, CheckStatus::Warn, CheckStatus::Fail] {
            let mut hysteresis = Hysteresis::default();
            assert_eq!(hysteresis.take(answer, &pace), (answer.into(), None));
            let against = if answer == CheckStatus::Fail { CheckStatus::Pass } else { CheckStatus::Fail };
            assert!(hysteresis.take(against, &pace).1.is_some());
            hysteresis.forget();
            assert_eq!(hysteresis.take(against, &pace), (against.into(), None));
        }
    }

    #[test]
    fn what_is_not_critical_only_warns() {
        use HealthState::{Fail, Pass, Unknown, Warn};
        for (state, weight) in [(Pass, Pass), (Warn, Warn), (Unknown, Warn), (Fail, Warn)] {
            assert_eq!(state.weigh(false), weight);
            assert_eq!(state.weigh(true), state);
        }
    }
}
