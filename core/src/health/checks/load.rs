//! `load`: how many tasks of the machine run or wait, for each core.
//!
//! ```toml
//! [[check]]
//! name = "load"
//! kind = "load"
//! minutes = 5                      # the average over 1, 5 or 15 minutes; the default
//! warn_per_core = 2.0              # the default
//! fail_per_core = 8.0              # off unless set: a busy service works
//! ```
//!
//! Linux counts tasks that wait for a disk as well, so that a dead network mount raises the load of an idle machine.
//! It is the whole machine's, also in a container, and is divided by the machine's cores.
//!
//! Source: proc_loadavg(5).

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kernel::Kernel;
use super::level;
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "load",
    summary: "Few tasks of the machine wait for each core",
    placement: Placement::Anywhere,
    build: |context, settings| Ok(Arc::new(LoadCheck::new(context.settings(settings)?)?)),
    detect: None,
};

/// Settings of [`LoadCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoadSettings {
    /// Over how many minutes the average is taken: 1, 5 or 15.
    pub minutes: u32,
    /// Warn when more tasks than this run or wait for each core.
    pub warn_per_core: f64,
    /// Fail when more tasks than this run or wait for each core. Off unless set.
    pub fail_per_core: Option<f64>,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self { minutes: 5, warn_per_core: 2.0, fail_per_core: None }
    }
}

/// Looks at the load of the machine.
#[derive(Debug)]
pub struct LoadCheck {
    settings: LoadSettings,
    column: usize,
    kernel: Kernel,
    reading: Blocking,
}

impl LoadCheck {
    /// A check as the settings describe it.
    ///
    /// # Errors
    /// When there is no average over that many minutes, or a bound is not above 0.
    pub fn new(settings: LoadSettings) -> Result<Self> {
        let column = [1, 5, 15].iter().position(|minutes| *minutes == settings.minutes).ok_or_else(|| {
            Error::invalid(format!("the kernel keeps no average over {} minutes", settings.minutes))
                .with_hint("set minutes to 1, 5 or 15")
        })?;
        for (name, bound) in
            [("warn_per_core", Some(settings.warn_per_core)), ("fail_per_core", settings.fail_per_core)]
        {
            if let Some(bound) = bound.filter(|bound| !(bound.is_finite() && *bound > 0.0)) {
                return Err(
                    Error::invalid(format!("{name} is {bound}")).with_hint(format!("set {name} to more than 0"))
                );
            }
        }
        Ok(Self { settings, column, kernel: Kernel::default(), reading: Blocking::default() })
    }

    /// The same, of the machine whose `proc` is in this folder.
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.kernel = Kernel::below(root);
        self
    }
}

#[async_trait]
impl HealthCheck for LoadCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (kernel, column) = (self.kernel.clone(), self.column);
        let read = move || {
            let text = kernel.read("/proc/loadavg")?;
            let load = text.split(' ').nth(column).and_then(|word| word.parse::<f64>().ok());
            let load = load.filter(|load| load.is_finite()).ok_or_else(|| {
                Error::new(ErrorKind::Unsupported, format!("/proc/loadavg is not understood: {:?}", text.trim()))
            })?;
            Ok((load, kernel.cores()?))
        };
        let (load, cores) = self.reading.run(scope, read).await?;
        let settings = &self.settings;
        let each = load / cores as f64;
        let status = level(each, settings.warn_per_core, settings.fail_per_core.unwrap_or(f64::INFINITY));
        let repair = if status == CheckStatus::Pass { "" } else { ": look for what is busy, or waits for a disk" };
        let message =
            format!("{each:.2} tasks for each of {cores} cores, on average over {} min{repair}", settings.minutes);
        Ok(CheckOutcome::new(status, message).observing(each, "tasks per core"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::fake::{machine, put};
    use super::*;

    #[tokio::test]
    async fn the_load_is_divided_by_the_cores() {
        use CheckStatus::{Fail, Pass, Warn};
        let (_folder, root) = machine(&[("/proc/stat", "cpu  1 1 1 1\ncpu0 1\ncpu1 1\ncpu10 1\ncpu11 1\nctxt 1\n")]);
        let settings = LoadSettings { fail_per_core: Some(4.0), ..LoadSettings::default() };
        for (text, minutes, status) in [
            ("99.0 8.00 99.0 1/2 3\n", 5, Pass),
            ("0.00 8.01 0.00 1/2 3\n", 5, Warn),
            ("0.00 16.01 0.00 1/2 3\n", 5, Fail),
            ("16.01 0.00 0.00 1/2 3\n", 1, Fail),
            ("0.00 0.00 8.01 1/2 3\n", 15, Warn),
        ] {
            put(&root, &[("/proc/loadavg", text)]);
            let check = LoadCheck::new(LoadSettings { minutes, ..settings.clone() }).unwrap().below(&root);
            let outcome = check.check(&Scope::default()).await.unwrap();
            assert_eq!(outcome.status, status, "{text} {outcome:?}");
        }
        let check = LoadCheck::new(LoadSettings::default()).unwrap().below(&root);
        for wrong in ["", "1.0", "a b c", "1 NaN 1"] {
            put(&root, &[("/proc/loadavg", wrong)]);
            assert_eq!(check.check(&Scope::default()).await.unwrap_err().kind(), ErrorKind::Unsupported, "{wrong}");
        }
    }

    #[tokio::test]
    async fn this_machine_can_be_read_and_wrong_settings_are_refused() {
        let outcome = LoadCheck::new(LoadSettings::default()).unwrap().check(&Scope::default()).await.unwrap();
        assert!(outcome.observed.is_some_and(|load| load >= 0.0), "{outcome:?}");
        assert!(LoadCheck::new(LoadSettings { minutes: 10, ..LoadSettings::default() }).is_err());
        assert!(LoadCheck::new(LoadSettings { warn_per_core: 0.0, ..LoadSettings::default() }).is_err());
        assert!(LoadCheck::new(LoadSettings { fail_per_core: Some(f64::NAN), ..LoadSettings::default() }).is_err());
    }
}
