//! `backup_age`: is the last backup young enough, verified, and provably restorable.
//!
//! Three ages, each with its bound in `ops.toml`; past it the check warns, past twice it fails:
//!
//! | age of | bound |
//! | --- | --- |
//! | the newest backup that a drill has restored | `health.drill_age_seconds` |
//! | the last full verification, at once or by samples, or drill | `health.verify_age_seconds` |
//! | the last complete backup | `health.backup_age_seconds` |
//!
//! The worst one decides, and its age is the number; when all is well the number is the first: what the service can go
//! back to for certain. What never happened is as old as the first backup that the journal knows.
//! Made by itself; `health.without = ["backup_age"]` leaves it out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::config::HealthSettings;
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};

use super::{Finding, worst};

/// A backup may be this far in the future before the clock is suspected.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// What is known about the backups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupTimes {
    /// When the first complete backup was made that anybody remembers.
    pub first_complete: Option<Timestamp>,
    /// When the last complete backup was made. A partial one does not count.
    pub last_complete: Option<Timestamp>,
    /// When a backup was last read back in full, or restored by a drill, and found whole.
    pub last_verified: Option<Timestamp>,
    /// When the newest backup was made that a drill has restored.
    pub last_restorable: Option<Timestamp>,
    /// When one was last looked into as well. The bytes of an encrypted one are verified without an identity, and
    /// nobody has seen then what is in them.
    pub last_proven: Option<Timestamp>,
}

/// Where the check learns about the backups. Called on a thread of its own: it may read the journal.
pub type BackupTimesSource = Arc<dyn Fn() -> Result<BackupTimes> + Send + Sync>;

/// Compares the ages of the backups with their bounds.
pub struct BackupAgeCheck {
    source: BackupTimesSource,
    backup: Duration,
    verify: Duration,
    drill: Duration,
    reading: Blocking,
}

impl BackupAgeCheck {
    /// A check that warns past the bounds of the settings, and fails past twice them.
    ///
    /// # Errors
    /// When a bound is not above 0 and at most ten years.
    pub fn new(source: BackupTimesSource, settings: &HealthSettings) -> Result<Self> {
        const MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
        let bound = |name: &str, seconds: f64, example: &str| {
            let bound = Duration::try_from_secs_f64(seconds).ok().filter(|bound| !bound.is_zero() && *bound <= MAX);
            bound.ok_or_else(|| {
                Error::invalid(format!("health.{name} is {seconds}"))
                    .with_hint(format!("set it to the age that is too old, such as {example}"))
            })
        };
        Ok(Self {
            source,
            backup: bound("backup_age_seconds", settings.backup_age_seconds, "93600 for 26 hours")?,
            verify: bound("verify_age_seconds", settings.verify_age_seconds, "691200 for 8 days")?,
            drill: bound("drill_age_seconds", settings.drill_age_seconds, "3024000 for 35 days")?,
            reading: Blocking::default(),
        })
    }

    fn judge(&self, now: Timestamp, times: BackupTimes) -> CheckOutcome {
        let known = [times.last_complete, times.last_verified, times.last_restorable];
        let Some(latest) = known.into_iter().max().flatten() else {
            return CheckOutcome::new(CheckStatus::Warn, "no backup yet: run `uplifted-ops backup create`");
        };
        if latest.duration_since(now).as_secs_f64() > CLOCK_SLACK.as_secs_f64() {
            let message = format!(
                "the last backup is dated {}, which is in the future: set the clock, ages cannot be trusted until \
                 then",
                latest
            );
            return CheckOutcome::new(CheckStatus::Warn, message);
        }
        let age = |time: Timestamp| now.duration_since(time).as_secs_f64().max(0.0);
        let first = age(times.first_complete.or(times.last_complete).unwrap_or(latest));
        let findings = vec![
            finding(
                times.last_restorable.map(age).ok_or(first),
                self.drill,
                "the newest backup that a drill has restored",
                "no drill has restored a backup yet",
                "run `uplifted-ops backup drill`",
            ),
            finding(
                times.last_verified.map(age).ok_or(first),
                self.verify,
                "the last verified backup",
                "no backup was ever verified in full",
                "run `uplifted-ops backup verify latest`",
            ),
            // One that was only ever verified here was made elsewhere: how often, nobody here knows.
            finding(
                times.last_complete.map(age).ok_or(0.0),
                self.backup,
                "the last backup",
                "no backup was made here",
                "find out why no backup was made since, then run `uplifted-ops backup create`",
            ),
        ];
        let outcome = worst(findings).unwrap_or_else(|| CheckOutcome::new(CheckStatus::Warn, "no backup yet"));
        CheckOutcome { message: format!("{}{}", outcome.message, level(now, &times)), ..outcome }
    }
}

/// What a verification that saw no content adds: nothing when the last one looked into the backup.
fn level(now: Timestamp, times: &BackupTimes) -> String {
    let sealed = times.last_verified.filter(|verified| times.last_proven.is_none_or(|proven| proven < *verified));
    match (sealed, times.last_proven) {
        (None, _) => String::new(),
        (Some(_), None) => " (sealed: its bytes alone were verified, and none was ever looked into)".to_owned(),
        (Some(_), Some(proven)) => {
            let ago = in_words(now.duration_since(proven).as_secs_f64().max(0.0));
            format!(" (sealed: its bytes alone were verified; one was last looked into {ago} ago)")
        }
    }
}

/// Judges one age: `Err` is that of the first backup, where the thing itself never happened.
fn finding(age: std::result::Result<f64, f64>, bound: Duration, what: &str, never: &str, repair: &str) -> Finding {
    let (Ok(observed) | Err(observed)) = age;
    let status = match observed / bound.as_secs_f64() {
        past if past > 2.0 => CheckStatus::Fail,
        past if past > 1.0 => CheckStatus::Warn,
        _ => CheckStatus::Pass,
    };
    let old = in_words(observed);
    let message = match age {
        Ok(_) => format!("{what} is {old} old"),
        Err(_) if status == CheckStatus::Pass => never.to_owned(),
        Err(_) => format!("{never}, and the first backup is {old} old"),
    };
    let message = if status == CheckStatus::Pass { message } else { format!("{message}: {repair}") };
    Finding { status, message, observed, unit: "seconds" }
}

/// An age as a person says it.
fn in_words(seconds: f64) -> String {
    let hours = seconds / 3600.0;
    match hours {
        ..1.0 => format!("{:.0} min", (seconds / 60.0).floor()),
        ..72.0 => format!("{hours:.1} h"),
        _ => format!("{:.1} days", hours / 24.0),
    }
}

impl fmt::Debug for BackupAgeCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupAgeCheck")
            .field("backup", &self.backup)
            .field("verify", &self.verify)
            .field("drill", &self.drill)
            .finish_non_exhaustive()
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

    /// Ages in hours: the first backup, the last one, the last verification, the newest that a drill restored.
    async fn outcome(hours: [Option<f64>; 4]) -> CheckOutcome {
        let now: Timestamp = NOW.parse().unwrap();
        let [first_complete, last_complete, last_verified, last_restorable] =
            hours.map(|hours| hours.map(|hours| now - jiff::SignedDuration::from_secs_f64(hours * 3600.0)));
        let times =
            BackupTimes { first_complete, last_complete, last_verified, last_restorable, last_proven: last_verified };
        let check = BackupAgeCheck::new(Arc::new(move || Ok(times)), &HealthSettings::default()).unwrap();
        let scope = Scope { clock: Arc::new(ManualClock::new(now)), ..Scope::default() };
        check.check(&scope).await.unwrap()
    }

    #[tokio::test]
    async fn each_age_has_its_bound_and_the_worst_decides() {
        use CheckStatus::{Fail, Pass, Warn};
        const DAY: f64 = 24.0;
        for (first, last, verified, drilled, status, observed, word) in [
            (None, None, None, None, Warn, None, "no backup yet"),
            // All is well: the number is what can be restored for certain.
            (Some(90.0), Some(1.0), Some(2.0), Some(5.0), Pass, Some(5.0), "restored is 5.0 h old"),
            (Some(30.0), Some(26.0), Some(26.0), Some(26.0), Pass, Some(26.0), "26.0 h old"),
            (Some(30.0), Some(26.1), Some(26.1), Some(1.0), Warn, Some(26.1), "find out why"),
            (Some(60.0), Some(52.1), Some(52.1), Some(1.0), Fail, Some(52.1), "find out why"),
            // Young backups do not help while nobody reads one back, or restores one.
            (Some(99.0 * DAY), Some(1.0), Some(9.0 * DAY), Some(9.0 * DAY), Warn, Some(9.0 * DAY), "backup verify"),
            (Some(99.0 * DAY), Some(1.0), Some(17.0 * DAY), Some(9.0 * DAY), Fail, Some(17.0 * DAY), "backup verify"),
            (Some(99.0 * DAY), Some(1.0), Some(1.0), Some(36.0 * DAY), Warn, Some(36.0 * DAY), "backup drill"),
            (Some(99.0 * DAY), Some(1.0), Some(1.0), Some(71.0 * DAY), Fail, Some(71.0 * DAY), "backup drill"),
            // What never happened has the patience that the first backup's age leaves.
            (Some(1.0), Some(1.0), None, None, Pass, Some(1.0), "no drill has restored a backup yet"),
            (Some(9.0 * DAY), Some(1.0), None, None, Warn, Some(9.0 * DAY), "ever verified in full, and the first"),
            (Some(36.0 * DAY), Some(1.0), Some(1.0), None, Warn, Some(36.0 * DAY), "no drill has restored"),
            (Some(71.0 * DAY), Some(1.0), Some(1.0), None, Fail, Some(71.0 * DAY), "no drill has restored"),
            // A backup from elsewhere, verified here.
            (None, None, Some(2.0), None, Pass, Some(2.0), "no backup was made here"),
            // The clock was set back since: an age below zero must not pass as young.
            (Some(-2.0), Some(-2.0), Some(-2.0), None, Warn, None, "in the future"),
            (Some(-2.0), Some(-2.0), Some(1.0), None, Warn, None, "in the future"),
            (Some(-0.05), Some(-0.05), Some(-0.05), Some(-0.05), Pass, Some(0.0), "0 min old"),
        ] {
            let outcome = outcome([first, last, verified, drilled]).await;
            let hours = outcome.observed.map(|seconds| (seconds / 360.0).round() / 10.0);
            let case = format!("{first:?} {last:?} {verified:?} {drilled:?}: {outcome:?}");
            assert_eq!((outcome.status, hours), (status, observed), "{case}");
            assert!(outcome.message.contains(word), "{case}");
        }
    }

    #[test]
    fn the_age_names_its_level() {
        let now: Timestamp = NOW.parse().unwrap();
        let ago = |hours: f64| Some(now - jiff::SignedDuration::from_secs_f64(hours * 3600.0));
        let check = BackupAgeCheck::new(Arc::new(|| Ok(BackupTimes::default())), &HealthSettings::default()).unwrap();
        for (verified, proven, end) in [
            (ago(2.0), None, "(sealed: its bytes alone were verified, and none was ever looked into)"),
            (ago(2.0), ago(50.0), "(sealed: its bytes alone were verified; one was last looked into 50.0 h ago)"),
        ] {
            let times = BackupTimes {
                last_complete: ago(2.0),
                last_verified: verified,
                last_proven: proven,
                ..BackupTimes::default()
            };
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
            let default = HealthSettings::default();
            for settings in [
                HealthSettings { backup_age_seconds: seconds, ..default.clone() },
                HealthSettings { verify_age_seconds: seconds, ..default.clone() },
                HealthSettings { drill_age_seconds: seconds, ..default },
            ] {
                assert!(BackupAgeCheck::new(Arc::new(|| Ok(BackupTimes::default())), &settings).is_err());
            }
        }
    }
}
