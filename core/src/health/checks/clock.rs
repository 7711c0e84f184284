//! `clock`: is the clock of the machine kept right, and was it set under our feet.
//!
//! ```toml
//! [[check]]
//! name = "clock"
//! kind = "clock"
//! warn_offset_seconds = 0.5        # by how much it is off, as whoever keeps it (chrony, systemd-timesyncd) says; the defaults
//! fail_offset_seconds = 5.0
//! jump_seconds = 2.0               # warn when it was set by more than this since the last look
//! synchronised = true              # warn when nobody keeps it; false where that is none of this machine's business
//! ```
//!
//! A wrong clock makes schedules run at the wrong hour, certificates expire early, and orders of events wrong. A machine that
//! slept looks like a clock that was set forward.
//!
//! Source: adjtimex(2), whose state the kernel keeps for the NTP client.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finding, age, bounds_in_order, level, worst};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{Kind, Placement};
use crate::error::Result;
use crate::health::{CheckOutcome, CheckStatus, HealthCheck};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "clock",
    summary: "The machine's clock is kept right, and was not set",
    // What it saw last is in its own memory.
    placement: Placement::Host,
    build: |context, settings| Ok(Arc::new(ClockCheck::new(context.settings(settings)?)?)),
    detect: None,
};

/// Settings of [`ClockCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClockSettings {
    /// Warn when the clock is off by more than this, in seconds.
    pub warn_offset_seconds: f64,
    /// Fail when it is off by more than this, in seconds.
    pub fail_offset_seconds: f64,
    /// Warn when it was set by more than this since the last look, in seconds.
    pub jump_seconds: f64,
    /// Whether to warn when nobody keeps it right.
    pub synchronised: bool,
}

impl Default for ClockSettings {
    fn default() -> Self {
        Self { warn_offset_seconds: 0.5, fail_offset_seconds: 5.0, jump_seconds: 2.0, synchronised: true }
    }
}

/// What the kernel says of its clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// Whether somebody keeps it right.
    pub synchronised: bool,
    /// By how much it is off, in seconds, as whoever keeps it says.
    pub offset_seconds: f64,
}

type Source = Arc<dyn Fn() -> Option<Kept> + Send + Sync>;

/// Looks at the clock.
pub struct ClockCheck {
    settings: ClockSettings,
    source: Source,
    /// Both clocks at the last look.
    last: Mutex<Option<(Timestamp, Duration)>>,
}

impl fmt::Debug for ClockCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockCheck").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ClockCheck {
    /// A check as the settings describe it.
    ///
    /// # Errors
    /// When a bound is out of range, or the two are in the wrong order.
    pub fn new(settings: ClockSettings) -> Result<Self> {
        let bounds = [
            ("warn_offset_seconds", settings.warn_offset_seconds),
            ("fail_offset_seconds", settings.fail_offset_seconds),
        ];
        for (name, seconds) in bounds.into_iter().chain([("jump_seconds", settings.jump_seconds)]) {
            age(name, seconds)?;
        }
        bounds_in_order(bounds.map(|(name, seconds)| (name, Some(seconds))))?;
        Ok(Self { settings, source: Arc::new(kernel), last: Mutex::default() })
    }

    /// The same, of a clock of which `source` tells; `None` is a system that does not say.
    #[must_use]
    pub fn told_by(mut self, source: impl Fn() -> Option<Kept> + Send + Sync + 'static) -> Self {
        self.source = Arc::new(source);
        self
    }

    /// By how many seconds the clock was set since the last look.
    fn jump(&self, now: Timestamp, monotonic: Duration) -> Option<f64> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace((now, monotonic));
        let (then, at) = last?;
        Some(now.duration_since(then).as_secs_f64() - monotonic.saturating_sub(at).as_secs_f64())
    }
}

#[async_trait]
impl HealthCheck for ClockCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        scope.cancel.check()?;
        let finding = |status, message, observed| Finding { status, message, observed, unit: "seconds" };
        let mut findings = Vec::new();
        let settings = &self.settings;
        if let Some(jump) =
            self.jump(scope.clock.now(), scope.clock.monotonic()).filter(|jump| jump.abs() > settings.jump_seconds)
        {
            let (by, way) = (jump.abs(), if jump > 0.0 { "forward" } else { "back" });
            let message = format!("the clock was set {way} by {by:.1} s since the last look: find out who did");
            findings.push(finding(CheckStatus::Warn, message, jump));
        }
        match (self.source)() {
            None => findings.push(finding(
                CheckStatus::Pass,
                "this system does not say who keeps its clock".to_owned(),
                0.0,
            )),
            Some(kept) if !kept.synchronised => {
                let status = if settings.synchronised { CheckStatus::Warn } else { CheckStatus::Pass };
                let message =
                    "nobody keeps the clock right: start chrony or systemd-timesyncd, here or on the machine below";
                findings.push(finding(status, message.to_owned(), 0.0));
            }
            Some(kept) => {
                let offset = kept.offset_seconds;
                let status = level(offset.abs(), settings.warn_offset_seconds, settings.fail_offset_seconds);
                let repair = if status == CheckStatus::Pass { "" } else { ": look at the sources of the NTP client" };
                findings.push(finding(
                    status,
                    format!("the clock is off by {:.1} ms{repair}", offset * 1000.0),
                    offset,
                ));
            }
        }
        Ok(worst(findings).unwrap_or_else(|| CheckOutcome::new(CheckStatus::Warn, "nothing is known of the clock")))
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "adjtimex has no wrapper in rustix")]
fn kernel() -> Option<Kept> {
    // SAFETY: every field of the structure is a number, for which zeros are a value.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: with `modes` 0 it only fills in the structure that it is given.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    if answer < 0 {
        return None;
    }
    let unit = if state.status & libc::STA_NANO != 0 { 1e-9 } else { 1e-6 };
    Some(Kept {
        synchronised: answer != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0,
        offset_seconds: state.offset as f64 * unit,
    })
}

#[cfg(not(target_os = "linux"))]
fn kernel() -> Option<Kept> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use CheckStatus::{Fail, Pass, Warn};

    #[tokio::test]
    async fn it_is_judged_by_who_keeps_it() {
        let kept = |synchronised, offset_seconds| Some(Kept { synchronised, offset_seconds });
        for (kept, wanted, status, word) in [
            (kept(true, 0.001), true, Pass, "off by 1.0 ms"),
            (kept(true, -0.6), true, Warn, "sources of the NTP client"),
            (kept(true, 6.0), true, Fail, "off by 6000.0 ms"),
            (kept(false, 9.0), true, Warn, "nobody keeps"),
            (kept(false, 9.0), false, Pass, "nobody keeps"),
            (None, true, Pass, "does not say"),
        ] {
            let settings = ClockSettings { synchronised: wanted, ..ClockSettings::default() };
            let check = ClockCheck::new(settings).unwrap().told_by(move || kept);
            let outcome = check.check(&Scope::default()).await.unwrap();
            assert!(outcome.status == status && outcome.message.contains(word), "{kept:?} {outcome:?}");
        }
        let real = ClockCheck::new(ClockSettings::default()).unwrap().check(&Scope::default()).await.unwrap();
        assert_eq!(real.unit.as_deref(), Some("seconds"));
    }

    #[tokio::test]
    async fn a_clock_that_is_set_is_seen_once() {
        let clock = Arc::new(ManualClock::new("2030-01-01T00:00:00Z".parse().unwrap()));
        let scope = Scope { clock: clock.clone(), ..Scope::default() };
        let check = ClockCheck::new(ClockSettings::default()).unwrap().told_by(|| None);
        let told = async || {
            let outcome = check.check(&scope).await.unwrap();
            (outcome.status, outcome.observed.unwrap())
        };
        assert_eq!(told().await, (Pass, 0.0));
        clock.advance(Duration::from_secs(3600));
        assert_eq!(told().await, (Pass, 0.0));
        clock.jump_to("2030-01-01T02:00:00Z".parse().unwrap());
        assert_eq!(told().await, (Warn, 3600.0));
        assert_eq!(told().await, (Pass, 0.0));
        clock.jump_to("2030-01-01T01:59:50Z".parse().unwrap());
        assert_eq!(told().await, (Warn, -10.0));
        assert!(ClockCheck::new(ClockSettings { warn_offset_seconds: 9.0, ..ClockSettings::default() }).is_err());
        assert!(ClockCheck::new(ClockSettings { jump_seconds: 0.0, ..ClockSettings::default() }).is_err());
    }
}
