//! `port_owner`: does the right program listen on a port.
//!
//! ```toml
//! [[check]]
//! name = "api-port"
//! kind = "port_owner"
//! port = 7541
//! program = "python3"              # its name as `ps` has it; any program unless set
//! pidfile = "run/uplifted.pid"     # or own = true: the process that runs the check; any process unless set
//! ```
//!
//! A port that answers says nothing about who does: after a failed restart it may be the old process, or a stranger.
//!
//! Source: proc_net_tcp(5), proc_pid_fd(5). Of another user's process only root sees the number.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::process::is_ancestor;
use crate::process::port::{Listening, listening_below};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "port_owner",
    summary: "The right program listens on a port",
    // `own` is the service's process.
    placement: Placement::Host,
    build: |context, settings| {
        let mut settings: PortOwnerSettings = context.settings(settings)?;
        settings.pidfile = settings.pidfile.map(|path| context.resolve(&path));
        Ok(Arc::new(PortOwnerCheck::new(settings)?))
    },
    detect: None,
};

/// Settings of [`PortOwnerCheck`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortOwnerSettings {
    /// The TCP port.
    pub port: u16,
    /// The program that is to listen, by its name (`comm`, at most 15 bytes).
    #[serde(default)]
    pub program: Option<String>,
    /// The file with the number of the process that is to listen: it, or one that it started.
    #[serde(default)]
    pub pidfile: Option<PathBuf>,
    /// Whether it is the process that runs the check, or one that it started.
    #[serde(default)]
    pub own: bool,
}

impl PortOwnerSettings {
    /// Settings for a port on which anybody may listen.
    pub fn new(port: u16) -> Self {
        Self { port, program: None, pidfile: None, own: false }
    }
}

/// Looks who listens.
#[derive(Debug)]
pub struct PortOwnerCheck {
    settings: PortOwnerSettings,
    root: PathBuf,
    reading: Blocking,
}

impl PortOwnerCheck {
    /// A check as the settings describe it.
    ///
    /// # Errors
    /// For port 0, and when both `own` and a pidfile are named.
    pub fn new(settings: PortOwnerSettings) -> Result<Self> {
        if settings.port == 0 {
            return Err(Error::invalid("port is 0, on which nobody listens").with_hint("name the port of the service"));
        }
        if settings.own && settings.pidfile.is_some() {
            return Err(Error::invalid("a check names both own and a pidfile").with_hint("leave one out"));
        }
        Ok(Self { settings, root: PathBuf::from("/"), reading: Blocking::default() })
    }

    /// The same, of the machine whose `proc` is in this folder.
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }
}

/// What is wrong with who listens there; `None` where nothing is.
fn objection(settings: &PortOwnerSettings, listening: &Listening, wanted: Option<u32>) -> Option<String> {
    let port = settings.port;
    let pid = listening.pid?;
    if let (Some(program), Some(there)) = (&settings.program, &listening.program)
        && program != there
    {
        return Some(format!("{listening} listens on port {port}, and not {program}: stop it, or correct the setting"));
    }
    let wanted = wanted.filter(|wanted| pid != *wanted && !is_ancestor(*wanted, pid))?;
    Some(format!("{listening} listens on port {port}, and neither process {wanted} nor one that it started"))
}

#[async_trait]
impl HealthCheck for PortOwnerCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (settings, root) = (self.settings.clone(), self.root.clone());
        let look = move || {
            let wanted = match &settings.pidfile {
                None => settings.own.then(std::process::id),
                Some(path) => {
                    let text =
                        std::fs::read_to_string(path).map_err(|error| Error::io(format!("read {path:?}"), error))?;
                    Some(text.trim().parse().map_err(|_| Error::invalid(format!("{path:?} holds no process number")))?)
                }
            };
            let all = listening_below(&root, settings.port);
            Ok(match all.as_slice() {
                [] => CheckOutcome::new(CheckStatus::Fail, format!("nobody listens on port {}", settings.port)),
                [first, ..] => {
                    let wrong = all.iter().find_map(|listening| objection(&settings, listening, wanted));
                    let named = settings.program.is_some() || wanted.is_some();
                    match wrong {
                        Some(wrong) => CheckOutcome::new(CheckStatus::Fail, wrong),
                        None if named && all.iter().any(|listening| listening.pid.is_none()) => {
                            let message = format!(
                                "{first} listens on port {}: whether it is the right one is not known",
                                settings.port
                            );
                            CheckOutcome::new(CheckStatus::Warn, message)
                        }
                        None => {
                            CheckOutcome::new(CheckStatus::Pass, format!("{first} listens on port {}", settings.port))
                        }
                    }
                }
            })
        };
        self.reading.run(scope, look).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckStatus::{Fail, Pass, Warn};

    async fn told(settings: PortOwnerSettings) -> CheckOutcome {
        PortOwnerCheck::new(settings).unwrap().check(&Scope::default()).await.unwrap()
    }

    #[tokio::test]
    async fn who_listens_is_held_against_who_should() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = PortOwnerSettings::new(listener.local_addr().unwrap().port());
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let of = |program: &str| PortOwnerSettings { program: Some(program.to_owned()), ..base.clone() };
        let folder = tempfile::tempdir().unwrap();
        let pidfile = folder.path().join("x.pid");
        std::fs::write(&pidfile, "1\n").unwrap();
        for (settings, status, word) in [
            (base.clone(), Pass, "listens on port"),
            (PortOwnerSettings { own: true, ..base.clone() }, Pass, "listens on port"),
            (of(comm.trim()), Pass, "listens on port"),
            (of("nginx"), Fail, "and not nginx"),
            (PortOwnerSettings::new(1), Fail, "nobody listens on port 1"),
        ] {
            let outcome = told(settings.clone()).await;
            assert!(outcome.status == status && outcome.message.contains(word), "{settings:?} {outcome:?}");
        }
        let child = std::process::Command::new("sleep").arg("60").spawn();
        let mut child = child.unwrap();
        std::fs::write(&pidfile, child.id().to_string()).unwrap();
        let outcome = told(PortOwnerSettings { pidfile: Some(pidfile.clone()), ..base.clone() }).await;
        assert!(outcome.status == Fail && outcome.message.contains("and neither process"), "{outcome:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::write(&pidfile, "x").unwrap();
        let check = PortOwnerCheck::new(PortOwnerSettings { pidfile: Some(pidfile), ..base }).unwrap();
        assert!(check.check(&Scope::default()).await.is_err());
    }

    #[tokio::test]
    async fn an_owner_that_cannot_be_seen_is_only_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let net = folder.path().join("proc/net");
        std::fs::create_dir_all(&net).unwrap();
        let line = "0: 0100007F:24F8 00000000:0000 0A 00000000:00000000 00:00000000 00000000 101 0 4711 1\n";
        std::fs::write(net.join("tcp"), format!("head\n{line}")).unwrap();
        for (program, status) in [(None, Pass), (Some("x".to_owned()), Warn)] {
            let settings = PortOwnerSettings { program, ..PortOwnerSettings::new(9464) };
            let check = PortOwnerCheck::new(settings).unwrap().below(folder.path());
            assert_eq!(check.check(&Scope::default()).await.unwrap().status, status);
        }
        assert!(PortOwnerCheck::new(PortOwnerSettings::new(0)).is_err());
        let both = PortOwnerSettings { own: true, pidfile: Some("x".into()), ..PortOwnerSettings::new(1) };
        assert!(PortOwnerCheck::new(both).is_err());
    }
}
