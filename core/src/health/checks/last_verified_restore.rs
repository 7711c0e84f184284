//! `last_verified_restore`: how old is the newest backup that a drill has restored and tested, which is what the service can go
//! back to for certain.
//!
//! ```toml
//! [[check]]
//! name = "restore"
//! kind = "last_verified_restore"
//! warn_days = 35                   # the defaults
//! fail_days = 70
//! ```
//!
//! The check `backup_age`, which comes by itself, judges this age beside two others and by `health.drill_age_seconds`. This one
//! judges it alone, so that it has a state, a history and a series of its own.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{age, bounds_in_order, level};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};

const DAY: f64 = 86_400.0;
/// A backup may be this far in the future, in days, before the clock is suspected.
const SLACK: f64 = 300.0 / DAY;

/// Settings of [`RestoreCheck`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreSettings {
    /// Warn when it is older than so many days.
    pub warn_days: f64,
    /// Fail when it is older than so many days.
    pub fail_days: f64,
}

impl Default for RestoreSettings {
    fn default() -> Self {
        Self { warn_days: 35.0, fail_days: 70.0 }
    }
}

/// Where the check learns when the newest backup was made that a drill has restored; `None` for none. Called on a thread of
/// its own: it may read the journal.
pub type RestoreSource = Arc<dyn Fn() -> Result<Option<Timestamp>> + Send + Sync>;

/// Judges the age of the last proven restore.
pub struct RestoreCheck {
    source: RestoreSource,
    settings: RestoreSettings,
    reading: Blocking,
}

impl RestoreCheck {
    /// A check of what `source` tells.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn new(source: RestoreSource, settings: RestoreSettings) -> Result<Self> {
        for (name, days) in [("warn_days", settings.warn_days), ("fail_days", settings.fail_days)] {
            age(name, days * DAY).map_err(|_| {
                Error::invalid(format!("{name} is {days}")).with_hint(format!("set {name} to days above 0"))
            })?;
        }
        bounds_in_order([("warn_days", Some(settings.warn_days)), ("fail_days", Some(settings.fail_days))])?;
        Ok(Self { source, settings, reading: Blocking::default() })
    }

    fn judge(&self, restored: Option<Timestamp>, now: Timestamp) -> CheckOutcome {
        const REPAIR: &str = "run `uplifted-ops backup drill`";
        let Some(made) = restored else {
            let message = format!("no drill has restored a backup yet: {REPAIR}");
            return CheckOutcome::new(CheckStatus::Warn, message);
        };
        let days = now.duration_since(made).as_secs_f64() / DAY;
        if days < -SLACK {
            let message =
                format!("the newest backup that a drill has restored is dated {made}, in the future: set the clock");
            return CheckOutcome::new(CheckStatus::Warn, message);
        }
        let days = days.max(0.0);
        let status = level(days, self.settings.warn_days, self.settings.fail_days);
        let repair = if status == CheckStatus::Pass { String::new() } else { format!(": {REPAIR}") };
        let message = format!("the newest backup that a drill has restored is {days:.1} days old{repair}");
        CheckOutcome::new(status, message).observing(days, "days")
    }
}

impl fmt::Debug for RestoreCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreCheck").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[async_trait]
impl HealthCheck for RestoreCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let source = Arc::clone(&self.source);
        let restored = self.reading.run(scope, move || source()).await?;
        Ok(self.judge(restored, scope.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_decides() {
        use CheckStatus::{Fail, Pass, Warn};
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        let check = RestoreCheck::new(Arc::new(|| Ok(None)), RestoreSettings::default()).unwrap();
        for (days, status, word) in [
            (None, Warn, "no drill"),
            (Some(3.0), Pass, "3.0 days old"),
            (Some(35.1), Warn, "backup drill"),
            (Some(70.1), Fail, "backup drill"),
            (Some(-1.0), Warn, "in the future"),
        ] {
            let made = days.map(|days: f64| now - jiff::SignedDuration::from_secs_f64(days * DAY));
            let outcome = check.judge(made, now);
            assert_eq!(outcome.status, status, "{days:?} {outcome:?}");
            assert!(outcome.message.contains(word), "{days:?} {outcome:?}");
        }
        for (warn_days, fail_days) in [(0.0, 1.0), (2.0, 1.0), (1.0, f64::INFINITY)] {
            assert!(RestoreCheck::new(Arc::new(|| Ok(None)), RestoreSettings { warn_days, fail_days }).is_err());
        }
    }
}
