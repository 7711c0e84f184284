//! `leak`: does the memory of a process grow without end.
//!
//! ```toml
//! [[check]]
//! name = "leak"
//! kind = "leak"
//! pidfile = "run/uplifted.pid"     # or pid = 1234; the process that runs the check when neither is set
//! warn_hours = 72                  # until its limit is reached, at the present pace; the defaults
//! fail_hours = 6
//! after_hours = 1                  # how long it is to be watched before anything is said
//! confidence = 0.99                # how sure the growth has to be
//! drop_ratio = 0.1                 # a fall by more than this share (a restart, a large cache given back) begins anew
//! ```
//!
//! The pace is the median of the slopes between all pairs of samples since the last drop (Theil–Sen), which single peaks do not
//! move; how sure it is that there is one at all is the test of Mann and Kendall on the same samples. The limit is that of the control
//! group, or else the machine's memory. Memory that was taken once and kept is no leak: a level line has no slope.
//!
//! The samples are in the check's own memory: one each time that it is asked, at most 240, spread further apart as time goes on.
//!
//! Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau" (1968); H. B. Mann, "Nonparametric tests
//! against trend" (1945).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kernel::Kernel;
use super::subject::Subject;
use super::trend::{Samples, Trend};
use super::{age, bounds_in_order, ratio};
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::value::ByteSize;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "leak",
    summary: "The memory of a process does not grow without end",
    // Without a pid it means the process that it runs in, which is to be the service's; and it remembers.
    placement: Placement::Host,
    build: |context, settings| {
        let mut settings: LeakSettings = context.settings(settings)?;
        settings.pidfile = settings.pidfile.map(|path| context.resolve(&path));
        Ok(Arc::new(LeakCheck::new(settings)?))
    },
    detect: None,
};

const HOUR: f64 = 3600.0;

/// Settings of [`LeakCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeakSettings {
    /// The process' number.
    pub pid: Option<u32>,
    /// The file that holds the process' number.
    pub pidfile: Option<PathBuf>,
    /// Warn when the limit is reached within so many hours.
    pub warn_hours: f64,
    /// Fail when the limit is reached within so many hours.
    pub fail_hours: f64,
    /// How many hours it is watched before anything is said.
    pub after_hours: f64,
    /// How sure the growth has to be, 0 to 1.
    pub confidence: f64,
    /// A fall by more than this share begins anew.
    pub drop_ratio: f64,
}

impl Default for LeakSettings {
    fn default() -> Self {
        Self {
            pid: None,
            pidfile: None,
            warn_hours: 72.0,
            fail_hours: 6.0,
            after_hours: 1.0,
            confidence: 0.99,
            drop_ratio: 0.1,
        }
    }
}

/// Watches the resident memory of a process.
#[derive(Debug)]
pub struct LeakCheck {
    settings: LeakSettings,
    subject: Subject,
    kernel: Kernel,
    reading: Blocking,
    samples: Mutex<Samples>,
}

impl LeakCheck {
    /// A check as the settings describe it.
    ///
    /// # Errors
    /// When both a pid and a pidfile are named, or a number is out of range.
    pub fn new(settings: LeakSettings) -> Result<Self> {
        let subject = Subject::new(settings.pid, settings.pidfile.clone())?;
        for (name, hours) in [
            ("warn_hours", settings.warn_hours),
            ("fail_hours", settings.fail_hours),
            ("after_hours", settings.after_hours),
        ] {
            age(name, hours * HOUR).map_err(|_| {
                Error::invalid(format!("{name} is {hours}")).with_hint(format!("set {name} to hours above 0"))
            })?;
        }
        bounds_in_order([("fail_hours", Some(settings.fail_hours)), ("warn_hours", Some(settings.warn_hours))])?;
        ratio("confidence", settings.confidence)?;
        ratio("drop_ratio", settings.drop_ratio)?;
        Ok(Self {
            settings,
            subject,
            kernel: Kernel::default(),
            reading: Blocking::default(),
            samples: Mutex::default(),
        })
    }

    /// The same, of the machine whose `proc` is in this folder.
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.kernel = Kernel::below(root);
        self
    }

    fn judge(&self, samples: &Samples, bytes: f64, limit: Option<u64>) -> CheckOutcome {
        let (settings, who, now) = (&self.settings, &self.subject, ByteSize(bytes as u64));
        let hours = samples.span() / HOUR;
        let found = samples.trend().filter(|_| hours >= settings.after_hours);
        let Some(Trend { slope, confidence }) = found else {
            let message = format!("{who} has {now}, watched for {hours:.1} of {} h", settings.after_hours);
            return CheckOutcome::new(CheckStatus::Pass, message).observing(0.0, "bytes_per_hour");
        };
        let pace = slope * HOUR;
        let sure = format!("{:.1} % sure", confidence * 100.0);
        if slope <= 0.0 || confidence < settings.confidence {
            let message = format!("{who} has {now} and does not grow, as {hours:.1} h show ({sure} of a trend)");
            return CheckOutcome::new(CheckStatus::Pass, message).observing(pace, "bytes_per_hour");
        }
        let grows =
            format!("{who} has {now} and grows by {} an hour, as {hours:.1} h show ({sure})", ByteSize(pace as u64));
        let Some(limit) = limit else {
            return CheckOutcome::new(CheckStatus::Pass, format!("{grows}; its limit is not known"))
                .observing(pace, "bytes_per_hour");
        };
        let left = (limit as f64 - bytes).max(0.0) / pace;
        let status = match left {
            left if left < settings.fail_hours => CheckStatus::Fail,
            left if left < settings.warn_hours => CheckStatus::Warn,
            _ => CheckStatus::Pass,
        };
        let repair = if status == CheckStatus::Pass { "" } else { ": find what grows, or restart it before" };
        let message = format!("{grows}; {} are reached in {left:.0} h{repair}", ByteSize(limit));
        CheckOutcome::new(status, message).observing(pace, "bytes_per_hour")
    }
}

#[async_trait]
impl HealthCheck for LeakCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (kernel, subject) = (self.kernel.clone(), self.subject.clone());
        let read = move || {
            let found = subject.find(&kernel)?;
            let groups = kernel.path("/sys/fs/cgroup");
            let machine = kernel.find("/proc/meminfo").and_then(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
                line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
            });
            Ok(found.map(|(files, sample)| {
                let group = files.memory_limit(Path::new(&groups));
                (sample, [group, machine].into_iter().flatten().min())
            }))
        };
        let (sample, limit) = match self.reading.run(scope, read).await? {
            Ok(found) => found,
            Err(message) => return Ok(CheckOutcome::new(CheckStatus::Fail, message)),
        };
        let now: Duration = scope.clock.monotonic();
        let bytes = sample.resident_bytes as f64;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let least = |last| last * (1.0 - self.settings.drop_ratio);
        samples.take(now.as_secs_f64(), bytes, sample.start_ticks, least);
        Ok(self.judge(&samples, bytes, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::super::trend::MOST;
    use super::*;
    use CheckStatus::{Fail, Pass, Warn};

    const MIB: f64 = 1024.0 * 1024.0;

    /// What is said after a day, one sample each half a minute.
    fn after(bytes: impl Fn(f64) -> f64, hours: f64) -> (CheckOutcome, usize) {
        let check = LeakCheck::new(LeakSettings::default()).unwrap();
        let mut samples = Samples::default();
        let turns = (hours * 120.0) as u32;
        for turn in 0..=turns {
            let at = f64::from(turn) / 120.0;
            samples.take(at * HOUR, bytes(at), 7, |last| last * 0.9);
        }
        (check.judge(&samples, bytes(hours), Some(2 << 30)), samples.kept().len())
    }

    #[test]
    fn a_steady_growth_is_told_with_its_pace() {
        // 100 MiB and 10 MiB an hour more: 2 GiB are reached after 194 h.
        let leak = |hour: f64| (100.0 + 10.0 * hour) * MIB;
        for (hours, status) in [(0.5, Pass), (24.0, Pass), (130.0, Warn), (190.0, Fail)] {
            let (outcome, kept) = after(leak, hours);
            assert_eq!(outcome.status, status, "after {hours} h: {outcome:?}");
            assert!(kept <= MOST, "{kept}");
            if hours >= 1.0 {
                let pace = outcome.observed.unwrap() / MIB;
                assert!((pace - 10.0).abs() < 0.01, "{outcome:?}");
            }
        }
    }

    #[test]
    fn noise_levels_and_single_peaks_are_no_leak() {
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<f64> = (0..3000).map(|_| random.f64()).collect();
        let at = |hour: f64| noise[(hour * 120.0) as usize % noise.len()];
        let (noisy, _) = after(|hour| (1000.0 + 20.0 * at(hour)) * MIB, 24.0);
        assert_eq!(noisy.status, Pass, "{noisy:?}");
        assert!(noisy.message.contains("does not grow"), "{noisy:?}");
        let (level, _) = after(|_| 1900.0 * MIB, 24.0);
        assert!(level.status == Pass && level.message.contains("0.0 % sure"), "{level:?}");
        // Filled in the first two hours, and kept.
        let (filled, _) = after(|hour| (1000.0 + 400.0 * hour.min(2.0) + at(hour)) * MIB, 48.0);
        assert!(filled.observed.unwrap() < MIB, "{filled:?}");
        assert_eq!(filled.status, Pass, "{filled:?}");
    }

    #[tokio::test]
    async fn this_process_is_watched_and_settings_are_held() {
        let check = LeakCheck::new(LeakSettings::default()).unwrap();
        let outcome = check.check(&Scope::default()).await.unwrap();
        assert!(outcome.status == Pass && outcome.message.contains("watched for 0.0 of 1 h"), "{outcome:?}");
        let gone = LeakSettings { pid: Some(u32::MAX), ..LeakSettings::default() };
        assert_eq!(LeakCheck::new(gone).unwrap().check(&Scope::default()).await.unwrap().status, Fail);
        for wrong in [
            LeakSettings { warn_hours: 1.0, fail_hours: 2.0, ..LeakSettings::default() },
            LeakSettings { after_hours: 0.0, ..LeakSettings::default() },
            LeakSettings { confidence: 1.1, ..LeakSettings::default() },
        ] {
            assert!(LeakCheck::new(wrong).is_err());
        }
    }
}
