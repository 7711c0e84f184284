//! `fds`: are file descriptors left, for a process and for the machine.
//!
//! ```toml
//! [[check]]
//! name = "fds"
//! kind = "fds"
//! pidfile = "run/uplifted.pid"     # or pid = 1234; the process that runs the check when neither is set
//! warn_ratio = 0.80                # of the process' own soft limit, and of the machine's; the defaults
//! fail_ratio = 0.95
//! ```
//!
//! Without a descriptor a process accepts no connection and opens no file: it lives, and does nothing.
//!
//! Source: proc_pid_fd(5), proc_pid_limits(5), `file-nr` of proc_sys_fs(5).

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kernel::Kernel;
use super::subject::Subject;
use super::{Finding, level, ratio, worst};
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::Result;
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "fds",
    summary: "A process and the machine have file descriptors left",
    // Without a pid it means the process that it runs in, which is to be the service's.
    placement: Placement::Host,
    build: |context, settings| {
        let mut settings: FdsSettings = context.settings(settings)?;
        settings.pidfile = settings.pidfile.map(|path| context.resolve(&path));
        Ok(Arc::new(FdsCheck::new(settings)?))
    },
    detect: None,
};

/// Settings of [`FdsCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FdsSettings {
    /// The process' number.
    pub pid: Option<u32>,
    /// The file that holds the process' number.
    pub pidfile: Option<PathBuf>,
    /// Warn when more than this share is open.
    pub warn_ratio: f64,
    /// Fail when more than this share is open.
    pub fail_ratio: f64,
}

impl Default for FdsSettings {
    fn default() -> Self {
        Self { pid: None, pidfile: None, warn_ratio: 0.80, fail_ratio: 0.95 }
    }
}

/// Counts the open descriptors.
#[derive(Debug)]
pub struct FdsCheck {
    settings: FdsSettings,
    subject: Subject,
    kernel: Kernel,
    reading: Blocking,
}

impl FdsCheck {
    /// A check as the settings describe it.
    ///
    /// # Errors
    /// When both a pid and a pidfile are named, or a share is not from 0 to 1.
    pub fn new(settings: FdsSettings) -> Result<Self> {
        let subject = Subject::new(settings.pid, settings.pidfile.clone())?;
        ratio("warn_ratio", settings.warn_ratio)?;
        ratio("fail_ratio", settings.fail_ratio)?;
        Ok(Self { settings, subject, kernel: Kernel::default(), reading: Blocking::default() })
    }

    /// The same, of the machine whose `proc` is in this folder.
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.kernel = Kernel::below(root);
        self
    }

    fn finding(&self, who: &str, open: u64, most: u64, repair: &str) -> Finding {
        let share = if most == 0 { 1.0 } else { open as f64 / most as f64 };
        let status = level(share, self.settings.warn_ratio, self.settings.fail_ratio);
        let repair = if status == CheckStatus::Pass { String::new() } else { format!(": {repair}") };
        let message = format!("{who} has {open} of {most} file descriptors open ({:.1} %){repair}", share * 100.0);
        Finding { status, message, observed: share, unit: "ratio" }
    }
}

/// What was found of a process: how many it has open, and how many it may.
type Count = std::result::Result<(Option<u64>, Option<u64>), String>;

#[async_trait]
impl HealthCheck for FdsCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (kernel, subject) = (self.kernel.clone(), self.subject.clone());
        let read = move || -> Result<(Count, Option<String>)> {
            let count = subject.find(&kernel)?.map(|(_, sample)| (sample.open_fds, sample.max_fds));
            Ok((count, kernel.find("/proc/sys/fs/file-nr")))
        };
        let (count, machine) = self.reading.run(scope, read).await?;
        let (open, most) = match count {
            Ok(count) => count,
            Err(message) => return Ok(CheckOutcome::new(CheckStatus::Fail, message)),
        };
        let who = self.subject.to_string();
        let mut findings = Vec::new();
        match (open, most) {
            (Some(open), Some(most)) => {
                findings.push(self.finding(&who, open, most, "find the leak, or raise the limit (LimitNOFILE)"));
            }
            (Some(open), None) => {
                let message = format!("{who} has {open} file descriptors open, without a limit");
                findings.push(Finding { status: CheckStatus::Pass, message, observed: 0.0, unit: "ratio" });
            }
            (None, _) => {
                let message = format!("{who} belongs to another user, who alone sees its file descriptors");
                return Ok(CheckOutcome::new(CheckStatus::Warn, message));
            }
        }
        // `allocated unused most`; a machine without a limit writes the largest number there is.
        let machine = machine.unwrap_or_default();
        let fields: Vec<u64> = machine.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
        if let [allocated, unused, most] = fields[..] {
            let of_machine =
                self.finding("the machine", allocated.saturating_sub(unused), most, "raise fs.file-max (sysctl)");
            if of_machine.status != CheckStatus::Pass {
                findings.push(of_machine);
            }
        }
        Ok(worst(findings).unwrap_or_else(|| CheckOutcome::new(CheckStatus::Warn, "nothing is known of descriptors")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::fake::{machine, put};
    use super::*;

    /// A process 7 of this many open descriptors.
    fn process(open: usize, limit: &str) -> (tempfile::TempDir, PathBuf) {
        let (folder, root) = machine(&[
            ("/proc/stat", "btime 1\n"),
            ("/proc/7/stat", "7 (x) S 1 7 7 0 -1 0 1 2 3 4 150 50 7 8 20 0 6 0 1234 5 6 7\n"),
            ("/proc/7/status", "VmRSS: 1 kB\n"),
            ("/proc/7/limits", &format!("Max open files            {limit}            4096            files\n")),
            ("/proc/sys/fs/file-nr", "100\t0\t9223372036854775807\n"),
        ]);
        std::fs::create_dir(root.join("proc/7/fd")).unwrap();
        (0..open).for_each(|fd| put(&root, &[(&format!("/proc/7/fd/{fd}"), "")]));
        (folder, root)
    }

    async fn told(settings: FdsSettings, root: &std::path::Path) -> CheckOutcome {
        FdsCheck::new(settings).unwrap().below(root).check(&Scope::default()).await.unwrap()
    }

    #[tokio::test]
    async fn open_ones_are_held_against_the_limit() {
        use CheckStatus::{Fail, Pass, Warn};
        let settings = FdsSettings { pid: Some(7), ..FdsSettings::default() };
        for (open, limit, status) in
            [(8, "10", Pass), (9, "10", Warn), (10, "10", Fail), (10, "unlimited", Pass), (0, "0", Fail)]
        {
            let (_folder, root) = process(open, limit);
            let outcome = told(settings.clone(), &root).await;
            assert_eq!(outcome.status, status, "{open} of {limit}: {outcome:?}");
        }
        let (_folder, root) = process(1, "10");
        put(&root, &[("/proc/sys/fs/file-nr", "99\t2\t100\n")]);
        let outcome = told(settings.clone(), &root).await;
        assert_eq!((outcome.status, outcome.observed), (Fail, Some(0.97)));
        assert!(outcome.message.starts_with("the machine has 97 of 100"), "{}", outcome.message);
        std::fs::remove_dir_all(root.join("proc/7/fd")).unwrap();
        assert!(told(settings, &root).await.message.contains("another user"));
    }

    #[tokio::test]
    async fn a_process_that_is_gone_fails_and_this_one_can_be_read() {
        let (_folder, root) = process(1, "10");
        let outcome = told(FdsSettings { pid: Some(8), ..FdsSettings::default() }, &root).await;
        assert_eq!((outcome.status, outcome.message.as_str()), (CheckStatus::Fail, "process 8 does not run"));
        let own = told(FdsSettings::default(), std::path::Path::new("/")).await;
        assert!(own.observed.is_some() && own.message.contains("this process has"), "{own:?}");
        let both = FdsSettings { pid: Some(1), pidfile: Some("x".into()), ..FdsSettings::default() };
        assert!(FdsCheck::new(both).is_err());
    }
}
