//! `file`: is a file there, young enough, of the right size and mode, and does it grow.
//!
//! ```toml
//! [[check]]
//! name = "export"
//! kind = "file"
//! path = "data/export.csv"
//! warn_age_seconds = 90000         # since it was last written; each bound is off unless set
//! fail_age_seconds = 180000
//! min_bytes = 1                    # fail when smaller
//! warn_bytes = "1GiB"              # when larger
//! fail_bytes = "4GiB"
//! mode = "0640"                    # warn when others may do more than this
//! growing_within_seconds = 600     # warn when it has not grown for so long
//! ```
//!
//! `exists = false` turns it round: the file must not be there, such as the flag of a maintenance mode that somebody
//! forgot. A file is looked at and never opened, so that it may be a live database. Its age is by the machine's clock,
//! and a time in the future is a warning. Growth is seen between runs: until one has seen it, its last writing counts.
//!
//! Source: stat(2), inode(7).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finding, age, bounds_in_order, level, worst};
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::value::ByteSize;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "file",
    summary: "A file is there, young enough, of the right size and mode, and grows",
    placement: Placement::Anywhere,
    build: |context, settings| {
        let mut settings: FileSettings = context.settings(settings)?;
        settings.path = context.resolve(&settings.path);
        Ok(Arc::new(FileCheck::new(settings)?))
    },
    detect: None,
};

/// Settings of [`FileCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// The file.
    pub path: PathBuf,
    /// Whether it must be there. When false it must not.
    #[serde(default = "yes")]
    pub exists: bool,
    /// Warn when it was last written longer ago than this, in seconds.
    #[serde(default)]
    pub warn_age_seconds: Option<f64>,
    /// Fail when it was last written longer ago than this, in seconds.
    #[serde(default)]
    pub fail_age_seconds: Option<f64>,
    /// Fail when it is smaller.
    #[serde(default)]
    pub min_bytes: Option<ByteSize>,
    /// Warn when it is larger.
    #[serde(default)]
    pub warn_bytes: Option<ByteSize>,
    /// Fail when it is larger.
    #[serde(default)]
    pub fail_bytes: Option<ByteSize>,
    /// Warn when its permissions are more than these, in octal: `"0640"`.
    #[serde(default)]
    pub mode: Option<String>,
    /// Warn when it has not grown for this long, in seconds.
    #[serde(default)]
    pub growing_within_seconds: Option<f64>,
}

fn yes() -> bool {
    true
}

impl FileSettings {
    /// Settings that ask for a file to be there, and no more.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            exists: true,
            warn_age_seconds: None,
            fail_age_seconds: None,
            min_bytes: None,
            warn_bytes: None,
            fail_bytes: None,
            mode: None,
            growing_within_seconds: None,
        }
    }

    fn asks_more(&self) -> bool {
        Self { path: PathBuf::new(), exists: true, ..self.clone() } != Self::new("")
    }
}

/// Looks at a file.
#[derive(Debug)]
pub struct FileCheck {
    settings: FileSettings,
    mode: Option<u32>,
    grown: Mutex<Option<Growth>>,
    looking: Blocking,
}

/// The size at the last run, and when the file was last seen to grow.
#[derive(Debug, Clone, Copy)]
struct Growth {
    size: u64,
    at: Duration,
}

impl FileCheck {
    /// A check as the settings describe it, of an absolute path.
    ///
    /// # Errors
    /// When a bound is out of range, or more is asked of a file that must not be there.
    pub fn new(settings: FileSettings) -> Result<Self> {
        if !settings.exists && settings.asks_more() {
            return Err(Error::invalid("a file that must not be there has no age, size or mode")
                .with_hint("leave out either `exists = false` or the bounds"));
        }
        let ages = [("warn_age_seconds", settings.warn_age_seconds), ("fail_age_seconds", settings.fail_age_seconds)];
        for (name, bound) in ages.into_iter().chain([("growing_within_seconds", settings.growing_within_seconds)]) {
            bound.map(|bound| age(name, bound)).transpose()?;
        }
        bounds_in_order(ages)?;
        let bytes = |bound: Option<ByteSize>| bound.map(|bound| bound.0 as f64);
        let [min, warn, fail] = [settings.min_bytes, settings.warn_bytes, settings.fail_bytes].map(bytes);
        bounds_in_order([("warn_bytes", warn), ("fail_bytes", fail)])?;
        bounds_in_order([("min_bytes", min), ("warn_bytes", warn)])?;
        bounds_in_order([("min_bytes", min), ("fail_bytes", fail)])?;
        let octal = |text: &String| {
            let digits = text.strip_prefix("0o").unwrap_or(text);
            let digits = digits.bytes().all(|digit| digit.is_ascii_digit()).then_some(digits);
            let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok()).filter(|mode| *mode <= 0o7777);
            mode.ok_or_else(|| Error::invalid(format!("mode {text:?} is not one")).with_hint("write mode = \"0640\""))
        };
        let mode = settings.mode.as_ref().map(octal).transpose()?;
        Ok(Self { settings, mode, grown: Mutex::new(None), looking: Blocking::default() })
    }

    /// How long the file has not grown, by the monotonic clock.
    fn not_grown_for(&self, size: u64, written_ago: f64, now: Duration) -> f64 {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        let since_written = Duration::try_from_secs_f64(written_ago.max(0.0)).unwrap_or(Duration::MAX);
        let last = match *grown {
            // What became smaller was begun anew, as a log is that was rotated.
            Some(last) if last.size == size => last,
            Some(_) => Growth { size, at: now },
            // The first run has nothing to compare with.
            None => Growth { size, at: now.saturating_sub(since_written) },
        };
        *grown = Some(last);
        now.saturating_sub(last.at).as_secs_f64()
    }

    fn judge(&self, seen: &Seen, now: f64, monotonic: Duration) -> CheckOutcome {
        let (settings, path) = (&self.settings, &self.settings.path);
        if seen.is_folder {
            return CheckOutcome::new(
                CheckStatus::Fail,
                format!("{path:?} is a folder: use a check of kind \"folder\""),
            );
        }
        let mut findings = Vec::new();
        let written_ago = now - seen.written;
        if settings.warn_age_seconds.is_some() || settings.fail_age_seconds.is_some() {
            findings.push(old(written_ago, &format!("{path:?}"), settings.warn_age_seconds, settings.fail_age_seconds));
        }
        let off = |bound: Option<ByteSize>| bound.map_or(f64::INFINITY, |bound| bound.0 as f64);
        let mut status = level(seen.size as f64, off(settings.warn_bytes), off(settings.fail_bytes));
        let mut message = format!("{path:?} has {}", ByteSize(seen.size));
        if let Some(min) = settings.min_bytes.filter(|min| seen.size < min.0) {
            status = CheckStatus::Fail;
            message.push_str(&format!(", less than {min}"));
        } else if status != CheckStatus::Pass {
            let bound = if status == CheckStatus::Fail { settings.fail_bytes } else { settings.warn_bytes };
            message.push_str(&format!(", more than {}", bound.unwrap_or_default()));
        }
        findings.push(Finding { status, message, observed: seen.size as f64, unit: "bytes" });
        if let Some(more) = self.mode.map(|mode| seen.mode & 0o7777 & !mode).filter(|more| *more != 0) {
            let mode = settings.mode.as_deref().unwrap_or_default();
            let message = format!("{path:?} has the mode {:04o}: run chmod {mode} on it", seen.mode & 0o7777);
            findings.push(Finding { status: CheckStatus::Warn, message, observed: f64::from(more), unit: "mode bits" });
        }
        if let Some(bound) = settings.growing_within_seconds {
            let still = self.not_grown_for(seen.size, written_ago, monotonic);
            if still > bound {
                let message = format!("{path:?} has not grown for {still:.0} s: find out who should write it");
                findings.push(Finding { status: CheckStatus::Warn, message, observed: still, unit: "seconds" });
            }
        }
        worst(findings).unwrap_or_else(|| CheckOutcome::new(CheckStatus::Fail, format!("nothing is known of {path:?}")))
    }
}

/// Judges how long ago something was written. A time in the future, beyond what clocks differ, is a warning: an age
/// below zero must not pass as young.
pub(super) fn old(ago: f64, what: &str, warn: Option<f64>, fail: Option<f64>) -> Finding {
    const SLACK: f64 = 300.0;
    let (mut status, message) = if ago < -SLACK {
        (CheckStatus::Warn, format!("{what} was last written in the future: set the clock"))
    } else {
        let status = level(ago, warn.unwrap_or(f64::INFINITY), fail.unwrap_or(f64::INFINITY));
        let repair = if status == CheckStatus::Pass { "" } else { ": find out who should write it" };
        (status, format!("{what} was last written {:.0} s ago{repair}", ago.max(0.0)))
    };
    if !ago.is_finite() {
        status = CheckStatus::Warn;
    }
    Finding { status, message, observed: ago.max(0.0), unit: "seconds" }
}

/// What is known of a file without opening it.
#[derive(Debug)]
struct Seen {
    is_folder: bool,
    size: u64,
    mode: u32,
    /// In seconds since the epoch.
    written: f64,
}

#[async_trait]
impl HealthCheck for FileCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let path = self.settings.path.clone();
        let look = move || match path.metadata() {
            Ok(meta) => Ok(Some(Seen {
                is_folder: meta.is_dir(),
                size: meta.len(),
                mode: meta.mode(),
                written: meta.mtime() as f64 + meta.mtime_nsec() as f64 / 1e9,
            })),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::io(format!("look at {path:?}"), error)),
        };
        let path = &self.settings.path;
        Ok(match (self.looking.run(scope, look).await?, self.settings.exists) {
            (None, false) => CheckOutcome::new(CheckStatus::Pass, format!("there is no {path:?}, as it should be")),
            (Some(_), false) => CheckOutcome::new(CheckStatus::Fail, format!("{path:?} is there, and should not be")),
            (None, true) => CheckOutcome::new(CheckStatus::Fail, format!("there is no {path:?}")),
            (Some(seen), true) => {
                self.judge(&seen, scope.clock.now().as_duration().as_secs_f64(), scope.clock.monotonic())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use CheckStatus::{Fail, Pass, Warn};

    fn seen(size: u64, age: f64) -> Seen {
        Seen { is_folder: false, size, mode: 0o100_640, written: 1e9 - age }
    }

    fn verdict(settings: &FileSettings, seen: &Seen) -> CheckStatus {
        FileCheck::new(settings.clone()).unwrap().judge(seen, 1e9, Duration::from_secs(5000)).status
    }

    #[test]
    fn age_and_size_have_their_bounds() {
        let settings = FileSettings {
            warn_age_seconds: Some(10.0),
            fail_age_seconds: Some(20.0),
            min_bytes: Some(ByteSize(1)),
            warn_bytes: Some(ByteSize(100)),
            fail_bytes: Some(ByteSize(200)),
            ..FileSettings::new("/x")
        };
        for (size, age, status) in [
            (1, 10.0, Pass),
            (100, 0.0, Pass),
            (1, 11.0, Warn),
            (1, 21.0, Fail),
            (0, 1.0, Fail),
            (101, 1.0, Warn),
            (201, 1.0, Fail),
            // The clock may be off a little, and by more it is not believed.
            (1, -299.0, Pass),
            (1, -301.0, Warn),
        ] {
            assert_eq!(verdict(&settings, &seen(size, age)), status, "{size} bytes, {age} s");
        }
        assert_eq!(verdict(&settings, &Seen { is_folder: true, ..seen(1, 1.0) }), Fail);
    }

    #[test]
    fn permissions_may_be_fewer_and_not_more() {
        for (mode, status) in [("0640", Pass), ("640", Pass), ("0o777", Pass), ("600", Warn), ("0440", Warn)] {
            let settings = FileSettings { mode: Some(mode.to_owned()), ..FileSettings::new("/x") };
            assert_eq!(verdict(&settings, &seen(1, 1.0)), status, "{mode}");
        }
        for mode in ["", "8", "rw", "+7", "77777", "-1"] {
            assert!(FileCheck::new(FileSettings { mode: Some(mode.to_owned()), ..FileSettings::new("/x") }).is_err());
        }
    }

    #[test]
    fn growth_is_seen_between_runs() {
        let settings = FileSettings { growing_within_seconds: Some(60.0), ..FileSettings::new("/x") };
        let check = FileCheck::new(settings.clone()).unwrap();
        for (at, size, age, status) in [
            (1000, 10, 5.0, Pass),
            (1050, 10, 55.0, Pass),
            // Written to, and no larger: what holds the file open writes nothing new.
            (1056, 10, 0.0, Warn),
            (1060, 11, 0.0, Pass),
            (1120, 11, 60.0, Pass),
            (1121, 11, 61.0, Warn),
            // Rotated.
            (1130, 1, 0.0, Pass),
        ] {
            let outcome = check.judge(&seen(size, age), 1e9, Duration::from_secs(at));
            assert_eq!(outcome.status, status, "at {at}: {outcome:?}");
        }
        assert_eq!(verdict(&settings, &seen(1, 61.0)), Warn);
    }

    #[tokio::test]
    async fn a_file_is_there_or_not_as_it_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let (there, missing) = (folder.path().join("there"), folder.path().join("missing"));
        std::fs::write(&there, "text").unwrap();
        std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o600)).unwrap();
        let below = there.join("file");
        for (path, exists, status) in [
            (&there, true, Pass),
            (&missing, true, Fail),
            (&below, true, Fail),
            (&there, false, Fail),
            (&missing, false, Pass),
        ] {
            let check = FileCheck::new(FileSettings { exists, ..FileSettings::new(path) }).unwrap();
            assert_eq!(check.check(&Scope::default()).await.unwrap().status, status, "{path:?} {exists}");
        }
        let young = FileSettings { warn_age_seconds: Some(3000.0), ..FileSettings::new(&there) };
        let outcome = FileCheck::new(young).unwrap().check(&Scope::default()).await.unwrap();
        assert_eq!(outcome.status, Pass, "{outcome:?}");
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let plain = || FileSettings::new("/x");
        for wrong in [
            FileSettings { warn_age_seconds: Some(0.0), ..plain() },
            FileSettings { fail_age_seconds: Some(f64::NAN), ..plain() },
            FileSettings { warn_age_seconds: Some(9.0), fail_age_seconds: Some(8.0), ..plain() },
            FileSettings { min_bytes: Some(ByteSize(9)), fail_bytes: Some(ByteSize(8)), ..plain() },
            FileSettings { exists: false, min_bytes: Some(ByteSize(9)), ..plain() },
        ] {
            assert!(FileCheck::new(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
