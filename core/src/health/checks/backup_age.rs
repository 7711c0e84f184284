//! `backup_age`: is the last backup young enough, and verified.
//!
//! Made by itself; its bound is `health.backup_age_seconds` in `ops.toml`, and `health.without =
//! ["backup_age"]` leaves it out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::config::HealthSettings;
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};

/// A backup may be this far in the future before the clock is suspected.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// What is known about the backups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupTimes {
    /// When the last complete backup was made. A partial one does not count.
    pub last_complete: Option<Timestamp>,
    /// When a backup was last read back and found whole. A backup that was never read back is not yet one.
    pub last_verified: Option<Timestamp>,
    /// When one was last looked into as well. The bytes of an encrypted one are verified without an identity, and
    /// nobody has seen then what is in them.
    pub last_proven: Option<Timestamp>,
}

/// Where the check learns about the backups. Called on a thread of its own: it may read the journal.
pub type BackupTimesSource = Arc<dyn Fn() -> Result<BackupTimes> + Send + Sync>;

/// Compares the age of the last verified backup with its bounds.
pub struct BackupAgeCheck {
    source: BackupTimesSource,
    warn: Duration,
    fail: Duration,
    reading: Blocking,
}

impl BackupAgeCheck {
    /// A check that warns past `health.backup_age_seconds`, and fails past twice that.
    ///
    /// # Errors
    /// When the age is not above 0 and at most ten years.
    pub fn new(source: BackupTimesSource, settings: &HealthSettings) -> Result<Self> {
        const MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
        let seconds = settings.backup_age_seconds;
        let warn = Duration::try_from_secs_f64(seconds).ok().filter(|warn| !warn.is_zero() && *warn <= MAX);
        let warn = warn.ok_or_else(|| {
            Error::invalid(format!("health.backup_age_seconds is {seconds}"))
                .with_hint("set it to the age at which a backup is too old, such as 93600 for 26 hours")
        })?;
        Ok(Self { source, warn, fail: warn * 2, reading: Blocking::default() })
    }

    fn judge(&self, now: Timestamp, times: BackupTimes) -> CheckOutcome {
        let Some(latest) = times.last_complete.max(times.last_verified) else {
            return CheckOutcome::new(CheckStatus::Warn, "no backup yet: run `uplifted-ops backup create`");
        };
        let trusted = times.last_verified.unwrap_or(latest);
        if latest.duration_since(now).as_secs_f64() > CLOCK_SLACK.as_secs_f64() {
            let message = format!(
                "the last backup is dated {}, which is in the future: set the clock, ages cannot be trusted until \
                 then",
                latest
            );
            return CheckOutcome::new(CheckStatus::Warn, message);
        }
        let age = now.duration_since(trusted).as_secs_f64().max(0.0);
        let hours = age / 3600.0;
        let (status, message) = match times.last_verified {
            None => {
                let status = if age > self.fail.as_secs_f64() { CheckStatus::Fail } else { CheckStatus::Warn };
                let text = format!("the last backup is {hours:.1} h old and none was ever verified");
                (status, format!("{text}: run `uplifted-ops backup verify`"))
            }
            Some(_) if age > self.warn.as_secs_f64() => {
                let status = if age > self.fail.as_secs_f64() { CheckStatus::Fail } else { CheckStatus::Warn };
                let text = format!("the last verified backup is {hours:.1} h old");
                let repair = if now.duration_since(latest).as_secs_f64() <= self.warn.as_secs_f64() {
                    "newer ones are not verified: run `uplifted-ops backup verify`"
                } else {
                    "find out why no backup was made since, then run `uplifted-ops backup create`"
                };
                (status, format!("{text}: {repair}"))
            }
            Some(_) => (CheckStatus::Pass, format!("the last verified backup is {hours:.1} h old")),
        };
        let sealed = times.last_verified.filter(|verified| times.last_proven.is_none_or(|proven| proven < *verified));
        let level = match (sealed, times.last_proven) {
            (None, _) => String::new(),
            (Some(_), None) => " (sealed: its bytes alone, and none was ever looked into)".to_owned(),
            (Some(_), Some(proven)) => {
                let hours = now.duration_since(proven).as_secs_f64().max(0.0) / 3600.0;
                format!(" (sealed: its bytes alone; one was last looked into {hours:.1} h ago)")
            }
        };
        CheckOutcome::new(status, format!("{message}{level}")).observing(age, "seconds")
    }
}

impl fmt::Debug for BackupAgeCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupAgeCheck").field("warn", &self.warn).field("fail", &self.fail).finish_non_exhaustive()
    }
}

#[async_trait]
impl HealthCheck for BackupAgeCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let source = Arc::clone(&self.source);
        let times = self.reading.run(scope, move || source()).await?;
        Ok(self.judge(scope.clock.now(), times))
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::ManualClock;

    use super::*;

    const NOW: &str = "2025-10-28T10:30:00Z";

    async fn outcome(complete_hours_ago: Option<f64>, verified_hours_ago: Option<f64>) -> CheckOutcome {
        let now: Timestamp = NOW.parse().unwrap();
        let ago = |hours: f64| now - jiff::SignedDuration::from_secs_f64(hours * 3600.0);
        let times = BackupTimes {
            last_complete: complete_hours_ago.map(ago),
            last_verified: verified_hours_ago.map(ago),
            last_proven: verified_hours_ago.map(ago),
        };
        let check = BackupAgeCheck::new(Arc::new(move || Ok(times)), &HealthSettings::default()).unwrap();
        let scope = Scope { clock: Arc::new(ManualClock::new(now)), ..Scope::default() };
        check.check(&scope).await.unwrap()
    }

    #[tokio::test]
    async fn ages_are_judged_by_the_last_verified_backup() {
        use CheckStatus::{Fail, Pass, Warn};
        for (complete, verified, status, word) in [
            (None, None, Warn, "no backup yet"),
            (Some(1.0), Some(1.0), Pass, "1.0 h old"),
            (Some(26.0), Some(26.0), Pass, "26.0 h old"),
            (Some(26.1), Some(26.1), Warn, "find out why"),
            (Some(52.1), Some(52.1), Fail, "find out why"),
            // Young backups do not help while nobody has read one back.
            (Some(1.0), Some(30.0), Warn, "not verified"),
            (Some(1.0), Some(60.0), Fail, "not verified"),
            (Some(1.0), None, Warn, "none was ever verified"),
            (Some(60.0), None, Fail, "none was ever verified"),
            // A backup from elsewhere, verified here.
            (None, Some(2.0), Pass, "2.0 h old"),
            // The clock was set back since: an age below zero must not pass as young.
            (Some(-2.0), Some(-2.0), Warn, "in the future"),
            (Some(-2.0), Some(1.0), Warn, "in the future"),
            (Some(-0.05), Some(-0.05), Pass, "0.0 h old"),
        ] {
            let outcome = outcome(complete, verified).await;
            assert_eq!(outcome.status, status, "{complete:?} {verified:?}: {outcome:?}");
            assert!(outcome.message.contains(word), "{complete:?} {verified:?}: {outcome:?}");
        }
    }

    #[test]
    fn the_age_names_its_level() {
        let now: Timestamp = NOW.parse().unwrap();
        let ago = |hours: f64| Some(now - jiff::SignedDuration::from_secs_f64(hours * 3600.0));
        let check = BackupAgeCheck::new(Arc::new(|| Ok(BackupTimes::default())), &HealthSettings::default()).unwrap();
        for (verified, proven, end) in [
            (ago(2.0), ago(2.0), "2.0 h old"),
            (ago(2.0), None, "2.0 h old (sealed: its bytes alone, and none was ever looked into)"),
            (ago(2.0), ago(50.0), "2.0 h old (sealed: its bytes alone; one was last looked into 50.0 h ago)"),
            (None, None, "run `uplifted-ops backup verify`"),
        ] {
            let times = BackupTimes { last_complete: ago(2.0), last_verified: verified, last_proven: proven };
            let outcome = check.judge(now, times);
            assert!(outcome.message.ends_with(end), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_journal_that_cannot_be_read_is_an_error() {
        let source: BackupTimesSource = Arc::new(|| Err(Error::internal("torn")));
        let check = BackupAgeCheck::new(source, &HealthSettings::default()).unwrap();
        assert_eq!(check.check(&Scope::default()).await.unwrap_err().message(), "torn");
    }

    #[test]
    fn ages_that_are_none_are_refused() {
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let settings = HealthSettings { backup_age_seconds: seconds, ..HealthSettings::default() };
            assert!(BackupAgeCheck::new(Arc::new(|| Ok(BackupTimes::default())), &settings).is_err());
        }
    }
}
