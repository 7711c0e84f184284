//! `systemd`: is a unit active, and does it stay so.
//!
//! ```toml
//! [[check]]
//! name = "uplifted-unit"
//! kind = "systemd"
//! unit = "uplifted.service"
//! user = false                     # the manager of this user instead of the system's; the default
//! max_restarts = 3                 # warn when it was restarted by itself more often between two looks; off unless set
//! ```
//!
//! Asks `systemctl show`. Where there is no systemd (a container), or nobody may ask it, nothing is known: a warning.
//!
//! Source: systemctl(1), org.freedesktop.systemd1(5).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{CheckOutcome, CheckStatus, HealthCheck};
use crate::process::Program;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "systemd",
    summary: "A unit of systemd is active, and stays so",
    // What it saw last is in its own memory.
    placement: Placement::Host,
    build: |context, settings| Ok(Arc::new(SystemdCheck::new(context.settings(settings)?)?)),
    detect: None,
};

/// How long systemctl may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is asked of a unit.
const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,NRestarts,ExecMainStatus,NeedDaemonReload";

/// Settings of [`SystemdCheck`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemdSettings {
    /// The unit: `uplifted.service`, `backup.timer`.
    pub unit: String,
    /// Whether it is a unit of this user's manager.
    #[serde(default)]
    pub user: bool,
    /// Warn when it was restarted by itself more often between two looks.
    #[serde(default)]
    pub max_restarts: Option<u64>,
}

/// Asks systemd.
#[derive(Debug)]
pub struct SystemdCheck {
    settings: SystemdSettings,
    program: OsString,
    /// `NRestarts` at the last look.
    restarts: Mutex<Option<u64>>,
}

impl SystemdCheck {
    /// A check as the settings describe it.
    ///
    /// # Errors
    /// For a unit that can be none.
    pub fn new(settings: SystemdSettings) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if settings.unit.is_empty() || settings.unit.starts_with('-') || !settings.unit.chars().all(fits) {
            return Err(Error::invalid(format!("{:?} is no unit", settings.unit))
                .with_hint("write unit = \"uplifted.service\""));
        }
        Ok(Self { settings, program: "systemctl".into(), restarts: Mutex::default() })
    }

    /// The same, by another program than `systemctl`.
    #[must_use]
    pub fn asking(mut self, program: impl Into<OsString>) -> Self {
        self.program = program.into();
        self
    }

    fn judge(&self, facts: &BTreeMap<String, String>) -> CheckOutcome {
        let unit = &self.settings.unit;
        let fact = |name: &str| facts.get(name).map_or("", String::as_str);
        let restarts = fact("NRestarts").parse::<u64>().ok();
        let before = std::mem::replace(&mut *self.restarts.lock().unwrap_or_else(PoisonError::into_inner), restarts);
        // It counts from 0 again when the unit is started by hand.
        let restarted = before.zip(restarts).map_or(0, |(before, now)| now.saturating_sub(before));
        let (state, sub) = (fact("ActiveState"), fact("SubState"));
        let (status, message) = match (fact("LoadState"), state) {
            ("not-found", _) => {
                (CheckStatus::Fail, format!("there is no unit {unit}: correct its name, or install it"))
            }
            ("masked", _) => (CheckStatus::Fail, format!("{unit} is masked: systemctl unmask {unit}")),
            ("error" | "bad-setting", _) => {
                (CheckStatus::Fail, format!("{unit} cannot be loaded: systemd-analyze verify {unit}"))
            }
            (_, "active" | "reloading" | "refreshing")
                if self.settings.max_restarts.is_some_and(|most| restarted > most) =>
            {
                (
                    CheckStatus::Warn,
                    format!("{unit} was restarted {restarted} times since the last look: journalctl -u {unit}"),
                )
            }
            (_, "active") if fact("NeedDaemonReload") == "yes" => {
                (CheckStatus::Warn, format!("{unit} is active, and its file has changed: systemctl daemon-reload"))
            }
            (_, "active" | "reloading" | "refreshing") => (CheckStatus::Pass, format!("{unit} is {state} ({sub})")),
            (_, "activating") => (CheckStatus::Warn, format!("{unit} is starting ({sub})")),
            (_, "") => (CheckStatus::Warn, format!("systemd does not say how {unit} is")),
            (_, "failed") => {
                let (result, code) = (fact("Result"), fact("ExecMainStatus"));
                (CheckStatus::Fail, format!("{unit} has failed ({result}, status {code}): journalctl -u {unit}"))
            }
            _ => (CheckStatus::Fail, format!("{unit} is {state} ({sub}): systemctl start {unit}")),
        };
        CheckOutcome::new(status, message).observing(restarted as f64, "restarts")
    }
}

#[async_trait]
impl HealthCheck for SystemdCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let mut argv = vec![self.program.clone()];
        argv.extend(self.settings.user.then(|| "--user".into()));
        argv.extend(["show".into(), "--no-pager".into(), format!("--property={PROPERTIES}").into(), "--".into()]);
        argv.push(self.settings.unit.clone().into());
        let unknown = |why: String| {
            CheckOutcome::new(CheckStatus::Warn, format!("nothing is known of {}: {why}", self.settings.unit))
        };
        match Program::new(argv).deadline(PATIENCE).run(scope).await {
            Ok(output) => match output.success() {
                Ok(output) => {
                    let text = String::from_utf8_lossy(&output.stdout);
                    let pairs = text.lines().filter_map(|line| line.split_once('='));
                    Ok(self.judge(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
                }
                Err(error) => Ok(unknown(error.message().to_owned())),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(unknown("this machine has no systemctl".to_owned()))
            }
            Err(error) if error.kind() == ErrorKind::Timeout => Ok(unknown(error.message().to_owned())),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use CheckStatus::{Fail, Pass, Warn};

    fn check(max_restarts: Option<u64>) -> SystemdCheck {
        let settings = SystemdSettings { unit: "x.service".to_owned(), user: false, max_restarts };
        SystemdCheck::new(settings).unwrap()
    }

    #[test]
    fn each_state_has_its_verdict_and_its_repair() {
        for (facts, status, word) in [
            ("LoadState=loaded ActiveState=active SubState=running", Pass, "x.service is active (running)"),
            ("LoadState=loaded ActiveState=active NeedDaemonReload=yes", Warn, "daemon-reload"),
            ("LoadState=loaded ActiveState=activating SubState=auto-restart", Warn, "is starting"),
            (
                "LoadState=loaded ActiveState=failed Result=exit-code ExecMainStatus=3",
                Fail,
                "(exit-code, status 3): journalctl",
            ),
            ("LoadState=loaded ActiveState=inactive SubState=dead", Fail, "systemctl start"),
            ("LoadState=not-found ActiveState=inactive", Fail, "there is no unit"),
            ("LoadState=masked ActiveState=inactive", Fail, "unmask"),
            ("", Warn, "does not say"),
        ] {
            let pairs = facts.split_whitespace().filter_map(|pair| pair.split_once('='));
            let facts = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let outcome = check(None).judge(&facts);
            assert!(outcome.status == status && outcome.message.contains(word), "{facts:?} {outcome:?}");
        }
        let check = check(Some(1));
        let told = |restarts: u64| {
            let facts = [("ActiveState", "active".to_owned()), ("NRestarts", restarts.to_string())];
            check.judge(&facts.map(|(name, value)| (name.to_owned(), value)).into()).status
        };
        assert_eq!([told(7), told(8), told(10), told(10), told(0)], [Pass, Pass, Warn, Pass, Pass]);
    }

    #[tokio::test]
    async fn it_asks_systemctl_and_without_one_nothing_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("systemctl");
        std::fs::write(&program, "#!/bin/sh\necho ActiveState=active; echo \"SubState=$2 $5\"\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let outcome = check(None).asking(&program).check(&Scope::default()).await.unwrap();
        assert_eq!((outcome.status, outcome.message.as_str()), (Pass, "x.service is active (--no-pager x.service)"));
        std::fs::write(&program, "#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n").unwrap();
        let outcome = check(None).asking(&program).check(&Scope::default()).await.unwrap();
        assert!(outcome.status == Warn && outcome.message.contains("nothing is known"), "{outcome:?}");
        let outcome = check(None).asking("/nowhere/systemctl").check(&Scope::default()).await.unwrap();
        assert!(outcome.status == Warn && outcome.message.contains("no systemctl"), "{outcome:?}");
        for unit in ["", "-x", "a b", "x;y"] {
            assert!(
                SystemdCheck::new(SystemdSettings { unit: unit.to_owned(), user: false, max_restarts: None }).is_err()
            );
        }
    }
}
