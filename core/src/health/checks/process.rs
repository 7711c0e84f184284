//! `process`: does a process live, and within its limits.
//!
//! ```toml
//! [[check]]
//! name = "service"
//! kind = "process"
//! pidfile = "run/uplifted.pid"     # or pid = 1234; the process that runs the check when neither is set
//! cpu_warn_ratio = 0.9             # of all cores; the defaults
//! memory_warn_ratio = 0.8          # of the control group's limit, or else of the machine's memory
//! memory_fail_ratio = 0.95
//! fds_warn_ratio = 0.8             # of the process' own limit
//! fds_fail_ratio = 0.95
//! ```
//!
//! CPU is measured since the check last ran; on the first run, and after a long pause, over a tenth of a second.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kernel::Kernel;
use super::subject::Subject;
use super::{Finding, level, ratio, worst};
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::Result;
use crate::health::{CheckOutcome, CheckStatus, HealthCheck};
use crate::metrics::procfs::ProcessSample;
use crate::value::ByteSize;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "process",
    summary: "A process lives, and within its limits of CPU, memory, descriptors and threads",
    // Without a pid it means the process that it runs in, which is to be the service's.
    placement: Placement::Host,
    build: |context, settings| {
        let mut settings: ProcessSettings = context.settings(settings)?;
        settings.pidfile = settings.pidfile.map(|path| context.resolve(&path));
        Ok(Arc::new(ProcessCheck::new(settings)?))
    },
    detect: None,
};

/// A share of CPU is taken over at least this…
const SHORTEST: Duration = Duration::from_millis(100);
/// …and over at most this: an average over hours says nothing about now.
const LONGEST: Duration = Duration::from_secs(300);
/// Where the control groups (v2) are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Settings of [`ProcessCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessSettings {
    /// The process' number.
    pub pid: Option<u32>,
    /// The file that holds the process' number.
    pub pidfile: Option<PathBuf>,
    /// Warn when it uses more than this share of all cores.
    pub cpu_warn_ratio: f64,
    /// Warn when its resident memory is more than this share of its limit.
    pub memory_warn_ratio: f64,
    /// Fail when its resident memory is more than this share of its limit.
    pub memory_fail_ratio: f64,
    /// Warn when it has more than this share of its descriptors open.
    pub fds_warn_ratio: f64,
    /// Fail when it has more than this share of its descriptors open.
    pub fds_fail_ratio: f64,
    /// Warn when it has more threads than this.
    pub threads_warn: Option<u64>,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            pid: None,
            pidfile: None,
            cpu_warn_ratio: 0.9,
            memory_warn_ratio: 0.8,
            memory_fail_ratio: 0.95,
            fds_warn_ratio: 0.8,
            fds_fail_ratio: 0.95,
            threads_warn: None,
        }
    }
}

/// Looks at a process through `/proc`.
#[derive(Debug)]
pub struct ProcessCheck {
    settings: ProcessSettings,
    subject: Subject,
    kernel: Kernel,
    cores: f64,
    last: Mutex<Option<Remembered>>,
}

/// CPU time at the last run, of a process that its start identifies beside its number.
#[derive(Debug, Clone, Copy)]
struct Remembered {
    start_ticks: u64,
    cpu_seconds: f64,
    at: Duration,
}

impl ProcessCheck {
    /// A check as the settings describe it.
    ///
    /// # Errors
    /// When both a pid and a pidfile are named, or a share is not from 0 to 1.
    pub fn new(settings: ProcessSettings) -> Result<Self> {
        let subject = Subject::new(settings.pid, settings.pidfile.clone())?;
        ratio("cpu_warn_ratio", settings.cpu_warn_ratio)?;
        ratio("memory_warn_ratio", settings.memory_warn_ratio)?;
        ratio("memory_fail_ratio", settings.memory_fail_ratio)?;
        ratio("fds_warn_ratio", settings.fds_warn_ratio)?;
        ratio("fds_fail_ratio", settings.fds_fail_ratio)?;
        // Heeds affinity and the control group's quota.
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get) as f64;
        Ok(Self { settings, subject, kernel: Kernel::default(), cores, last: Mutex::new(None) })
    }

    /// The share of all cores since the last run, when that was neither just now nor long ago.
    fn cpu_since_last(&self, sample: &ProcessSample, now: Duration) -> Option<f64> {
        let new = Remembered { start_ticks: sample.start_ticks, cpu_seconds: sample.cpu_seconds, at: now };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let old = last.filter(|old| old.start_ticks == new.start_ticks);
        let past = old.map_or(Duration::ZERO, |old| now.saturating_sub(old.at));
        if (SHORTEST..=LONGEST).contains(&past) {
            *last = Some(new);
            let used = sample.cpu_seconds - old?.cpu_seconds;
            return Some((used / past.as_secs_f64() / self.cores).max(0.0));
        }
        if past > LONGEST || old.is_none() {
            *last = Some(new);
        }
        None
    }

    fn judge(&self, sample: &ProcessSample, cpu: Option<f64>, memory_limit: Option<u64>) -> CheckOutcome {
        let settings = &self.settings;
        let subject = &self.subject;
        let mut findings = Vec::new();
        let resident = ByteSize(sample.resident_bytes);
        findings.push(match memory_limit.filter(|limit| *limit > 0) {
            Some(limit) => {
                let share = sample.resident_bytes as f64 / limit as f64;
                Finding {
                    status: level(share, settings.memory_warn_ratio, settings.memory_fail_ratio),
                    message: format!("{subject} has {resident} of {} of memory", ByteSize(limit)),
                    observed: sample.resident_bytes as f64,
                    unit: "bytes",
                }
            }
            None => Finding {
                status: CheckStatus::Pass,
                message: format!("{subject} has {resident} of memory"),
                observed: sample.resident_bytes as f64,
                unit: "bytes",
            },
        });
        if let Some(cpu) = cpu {
            findings.push(Finding {
                status: level(cpu, settings.cpu_warn_ratio, f64::INFINITY),
                message: format!("{:.0} % CPU of {} cores", cpu * 100.0, self.cores),
                observed: cpu,
                unit: "ratio",
            });
        }
        if let (Some(open), Some(max)) = (sample.open_fds, sample.max_fds.filter(|max| *max > 0)) {
            let share = open as f64 / max as f64;
            findings.push(Finding {
                status: level(share, settings.fds_warn_ratio, settings.fds_fail_ratio),
                message: format!("{open} of {max} file descriptors"),
                observed: open as f64,
                unit: "fds",
            });
        }
        let threads = sample.threads;
        let many = settings.threads_warn.is_some_and(|warn| threads > warn);
        findings.push(Finding {
            status: if many { CheckStatus::Warn } else { CheckStatus::Pass },
            message: format!("{threads} threads"),
            observed: threads as f64,
            unit: "threads",
        });
        worst(findings)
            .unwrap_or_else(|| CheckOutcome::new(CheckStatus::Fail, format!("nothing is known of {subject}")))
    }
}

#[async_trait]
impl HealthCheck for ProcessCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        scope.cancel.check()?;
        let (mut files, mut sample) = match self.subject.find(&self.kernel)? {
            Ok(found) => found,
            Err(message) => return Ok(CheckOutcome::new(CheckStatus::Fail, message)),
        };
        let mut cpu = self.cpu_since_last(&sample, scope.clock.monotonic());
        if cpu.is_none() {
            tokio::select! {
                () = tokio::time::sleep(SHORTEST) => {}
                () = scope.cancel.cancelled() => scope.cancel.check()?,
            }
            (files, sample) = match self.subject.find(&self.kernel)? {
                Ok(found) => found,
                Err(message) => return Ok(CheckOutcome::new(CheckStatus::Fail, message)),
            };
            cpu = self.cpu_since_last(&sample, scope.clock.monotonic());
        }
        Ok(self.judge(&sample, cpu, files.memory_limit(Path::new(CGROUPS))))
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::ManualClock;
    use crate::error::ErrorKind;

    use super::*;

    fn sample() -> ProcessSample {
        ProcessSample {
            cpu_seconds: 10.0,
            resident_bytes: 100 << 20,
            virtual_bytes: 1 << 30,
            open_fds: Some(10),
            max_fds: Some(1024),
            threads: 4,
            start_ticks: 7,
            state: 'S',
        }
    }

    fn check(settings: ProcessSettings) -> ProcessCheck {
        ProcessCheck { cores: 2.0, ..ProcessCheck::new(settings).unwrap() }
    }

    #[test]
    fn each_limit_is_judged_and_the_worst_decides() {
        // The guide's script printed CPU and memory and never judged them.
        use CheckStatus::{Fail, Pass, Warn};
        let check = check(ProcessSettings { threads_warn: Some(100), ..ProcessSettings::default() });
        let verdict = |sample: &ProcessSample, cpu| check.judge(sample, cpu, Some(1000 << 20)).status;
        assert_eq!(verdict(&sample(), Some(0.5)), Pass);
        assert_eq!(verdict(&sample(), Some(0.95)), Warn);
        assert_eq!(verdict(&ProcessSample { resident_bytes: 801 << 20, ..sample() }, None), Warn);
        assert_eq!(verdict(&ProcessSample { resident_bytes: 951 << 20, ..sample() }, Some(0.95)), Fail);
        assert_eq!(verdict(&ProcessSample { open_fds: Some(900), ..sample() }, None), Warn);
        assert_eq!(verdict(&ProcessSample { open_fds: Some(1000), ..sample() }, None), Fail);
        assert_eq!(verdict(&ProcessSample { open_fds: None, max_fds: None, ..sample() }, None), Pass);
        assert_eq!(verdict(&ProcessSample { threads: 101, ..sample() }, None), Warn);
        let outcome = check.judge(&ProcessSample { open_fds: Some(1000), ..sample() }, Some(0.1), None);
        assert_eq!((outcome.observed, outcome.unit.as_deref()), (Some(1000.0), Some("fds")));
        assert_eq!(outcome.message, "1000 of 1024 file descriptors");
    }

    #[test]
    fn cpu_is_a_rate_over_the_time_since_the_last_run() {
        // The guide's alert compared the counter itself, and fired for ever.
        let check = check(ProcessSettings::default());
        let at = |seconds, cpu_seconds| {
            check.cpu_since_last(&ProcessSample { cpu_seconds, ..sample() }, Duration::from_secs_f64(seconds))
        };
        assert_eq!(at(100.0, 50.0), None);
        assert_eq!(at(100.05, 50.0), None);
        assert_eq!(at(110.0, 60.0), Some(0.5));
        assert_eq!(at(110.0, 60.0), None);
        assert_eq!(at(1000.0, 61.0), None);
        assert_eq!(at(1001.0, 61.0), Some(0.0));
        // Another process under the same number.
        let other = ProcessSample { start_ticks: 8, cpu_seconds: 0.0, ..sample() };
        assert_eq!(check.cpu_since_last(&other, Duration::from_secs(1002)), None);
    }

    #[tokio::test]
    async fn this_process_passes() {
        let check = ProcessCheck::new(ProcessSettings { cpu_warn_ratio: 1.0, ..ProcessSettings::default() }).unwrap();
        let outcome = check.check(&Scope::default()).await.unwrap();
        assert!(outcome.message.contains("this process has") || outcome.status != CheckStatus::Pass, "{outcome:?}");
        // A clock that stands still must not divide by zero.
        let still = Scope { clock: Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH)), ..Scope::default() };
        assert!(check.check(&still).await.is_ok());
    }

    #[tokio::test]
    async fn a_pidfile_is_believed_only_when_it_can_be_true() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let check = check(ProcessSettings { pidfile: Some(path.clone()), ..ProcessSettings::default() });
        let told = async || check.check(&Scope::default()).await;
        assert!(told().await.unwrap().message.contains("there is no"));
        for (text, word) in [
            ("", "no process number"),
            ("x\n", "no process number"),
            ("-1", "no process number"),
            ("0", "no process number"),
        ] {
            std::fs::write(&path, text).unwrap();
            let outcome = told().await.unwrap();
            assert_eq!(outcome.status, CheckStatus::Fail);
            assert!(outcome.message.contains(word), "{text:?}: {}", outcome.message);
        }
        std::fs::write(&path, format!("{}\n", u32::MAX)).unwrap();
        assert!(told().await.unwrap().message.ends_with("does not run"));
        std::fs::write(&path, [b' '; 65]).unwrap();
        assert_eq!(told().await.unwrap_err().kind(), ErrorKind::InvalidInput);
        std::fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        assert_ne!(told().await.unwrap().status, CheckStatus::Fail);
        // Written long before this process started: the number has been used again.
        let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        let outcome = told().await.unwrap();
        assert_eq!(outcome.status, CheckStatus::Fail);
        assert!(outcome.message.contains("another process has its number"), "{}", outcome.message);
    }

    #[test]
    fn settings_that_contradict_are_refused() {
        let both = ProcessSettings { pid: Some(1), pidfile: Some("x".into()), ..ProcessSettings::default() };
        assert!(ProcessCheck::new(both).is_err());
        assert!(ProcessCheck::new(ProcessSettings { fds_warn_ratio: 80.0, ..ProcessSettings::default() }).is_err());
    }
}
