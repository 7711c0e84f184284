//! `log_errors`: how many errors did the service log lately.
//!
//! ```toml
//! [[check]]
//! name = "log"
//! kind = "log_errors"
//! path = "logs/uplifted.log"       # relative to the service's root, whatever the working folder is
//! window_minutes = 60              # the defaults
//! warn_count = 10                  # warn when there are more errors than this in the window
//! warn_critical_count = 0          # warn when there are more critical ones than this
//! # fail_count = 1000              # fail when there are more than this; never unless set
//! timezone = "local"               # of lines that do not tell theirs: "UTC", "Asia/Shanghai"
//! ```
//!
//! A line counts by its level *field* and by its *own* time, so that neither the word "error" nor errors of last
//! week alarm. Where the lines of a log carry times, one without (a traceback, a user's text with a line feed in
//! it) belongs to the line before. Where none does, lines count from when this check first saw them.
//!
//! At most the last 4 MiB are read, and after the first time only what was added since; a log that was rotated or
//! truncated meanwhile is followed. Nothing of a message is shown: it may hold what users wrote.

mod line;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use tail::{Tail, Tally};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "log_errors",
    summary: "The service logged few errors lately",
    // It opens a file of the service.
    placement: Placement::Worker,
    build: |context, settings| {
        let settings: LogErrorsSettings = context.settings(settings)?;
        let path = context.resolve(&settings.path);
        Ok(Arc::new(LogErrorsCheck::new(path, settings)?))
    },
    detect: None,
};

/// Settings of [`LogErrorsCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogErrorsSettings {
    /// The log file. Relative paths start at the service's root.
    pub path: PathBuf,
    /// How far back errors count, in minutes, 1 to 1440.
    #[serde(default = "an_hour")]
    pub window_minutes: u32,
    /// Warn when there are more errors than this in the window, critical ones included.
    #[serde(default = "ten")]
    pub warn_count: u64,
    /// Warn when there are more critical errors than this in the window.
    #[serde(default)]
    pub warn_critical_count: u64,
    /// Fail when there are more errors than this in the window.
    #[serde(default)]
    pub fail_count: Option<u64>,
    /// The zone of times that do not tell theirs: `local`, `UTC`, or a name such as `Asia/Shanghai`.
    #[serde(default = "local")]
    pub timezone: String,
}

fn an_hour() -> u32 {
    60
}

fn ten() -> u64 {
    10
}

fn local() -> String {
    "local".to_owned()
}

impl LogErrorsSettings {
    /// Settings for a log, all else by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            window_minutes: an_hour(),
            warn_count: ten(),
            warn_critical_count: 0,
            fail_count: None,
            timezone: local(),
        }
    }
}

/// Counts what the service logged at the levels ERROR and CRITICAL.
#[derive(Debug)]
pub struct LogErrorsCheck {
    path: PathBuf,
    settings: LogErrorsSettings,
    zone: TimeZone,
    tail: Arc<Mutex<Tail>>,
    reading: Blocking,
}

impl LogErrorsCheck {
    /// A check of the log at `path`, which is absolute.
    ///
    /// # Errors
    /// When the path is relative, the window is out of range, or the zone is not known.
    pub fn new(path: PathBuf, settings: LogErrorsSettings) -> Result<Self> {
        if !path.is_absolute() {
            // Relative to what? To cron's working folder, the guide's script answered, found no log, and passed.
            return Err(Error::invalid(format!("the log {path:?} is not an absolute path"))
                .with_hint("resolve it against the service's root"));
        }
        if !(1..=1440).contains(&settings.window_minutes) {
            return Err(Error::invalid(format!("window_minutes is {}", settings.window_minutes))
                .with_hint("set it to a number from 1 to 1440"));
        }
        let zone = match settings.timezone.as_str() {
            "local" => TimeZone::system(),
            name if name.eq_ignore_ascii_case("utc") => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|error| {
                Error::invalid(format!("timezone {name:?} is not known: {error}"))
                    .with_hint("write \"local\", \"UTC\", or a name such as \"Asia/Shanghai\"")
            })?,
        };
        Ok(Self { path, settings, zone, tail: Arc::default(), reading: Blocking::default() })
    }

    fn judge(&self, tally: &Tally) -> CheckOutcome {
        let settings = &self.settings;
        let all = tally.errors + tally.criticals;
        let status = if settings.fail_count.is_some_and(|fail| all > fail) {
            CheckStatus::Fail
        } else if all > settings.warn_count || tally.criticals > settings.warn_critical_count {
            CheckStatus::Warn
        } else {
            CheckStatus::Pass
        };
        let at_least = if tally.cut { "at least " } else { "" };
        let mut message = format!(
            "{} has {at_least}{all} errors, {} of them critical, in the last {} minutes",
            self.path.display(),
            tally.criticals,
            settings.window_minutes
        );
        if let Some(newest) = tally.newest {
            message.push_str(&format!(", the newest at {newest}"));
        }
        if tally.undated > 0 {
            message.push_str(&format!("; {} more carry no time and were there at the first look", tally.undated));
        }
        if let Some(hours) = tally.zone_differs_hours {
            let text = format!("{message}; its times differ from the clock by {hours} h: set `timezone` of the check");
            return CheckOutcome::new(status.max(CheckStatus::Warn), text).observing(all as f64, "errors");
        }
        CheckOutcome::new(status, message).observing(all as f64, "errors")
    }
}

#[async_trait]
impl HealthCheck for LogErrorsCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (path, zone, tail) = (self.path.clone(), self.zone.clone(), Arc::clone(&self.tail));
        let (now, window) = (scope.clock.now(), i64::from(self.settings.window_minutes) * 60);
        let read = self.reading.run(scope, move || look(&tail, &path, &zone, now, window)).await;
        match read {
            Ok(tally) => Ok(self.judge(&tally)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message = format!("there is no log at {}: correct `path` of the check", self.path.display());
                Ok(CheckOutcome::new(CheckStatus::Warn, message))
            }
            Err(error) => Err(error),
        }
    }
}

fn look(tail: &Mutex<Tail>, path: &Path, zone: &TimeZone, now: Timestamp, window: i64) -> Result<Tally> {
    tail.lock().unwrap_or_else(PoisonError::into_inner).look(path, zone, now, window)
}

#[cfg(test)]
mod tests;
