//! `tcp`: does a port accept connections.
//!
//! ```toml
//! [[check]]
//! name = "redis"
//! kind = "tcp"
//! address = "127.0.0.1:6379"
//! timeout_seconds = 3              # the default
//! warn_seconds = 0.5               # warn when connecting takes longer; off unless set
//! ```

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::seconds;
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "tcp",
    summary: "A port accepts connections",
    placement: Placement::Anywhere,
    build: |context, settings| Ok(Arc::new(TcpCheck::new(context.settings(settings)?)?)),
    detect: None,
};

/// Settings of [`TcpCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpSettings {
    /// Host and port: `127.0.0.1:6379`, `[::1]:6379`, `db.internal:5432`.
    pub address: String,
    /// How long connecting may take, name resolution included, in seconds.
    #[serde(default = "three")]
    pub timeout_seconds: f64,
    /// Warn when connecting takes longer than this, in seconds.
    #[serde(default)]
    pub warn_seconds: Option<f64>,
}

fn three() -> f64 {
    3.0
}

impl TcpSettings {
    /// Settings for an address, all else by default.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), timeout_seconds: three(), warn_seconds: None }
    }
}

/// Connects, and hangs up.
#[derive(Debug)]
pub struct TcpCheck {
    address: String,
    timeout: Duration,
    warn: Option<Duration>,
    resolver: Blocking,
}

impl TcpCheck {
    /// A check as the settings describe it. Resolves nothing yet.
    ///
    /// # Errors
    /// When the address has no port, or a duration is out of range.
    pub fn new(settings: TcpSettings) -> Result<Self> {
        let port = settings.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0)) {
            return Err(Error::invalid(format!("{:?} is not a host and port", settings.address))
                .with_hint("write address = \"127.0.0.1:6379\""));
        }
        Ok(Self {
            address: settings.address,
            timeout: seconds("timeout_seconds", settings.timeout_seconds)?,
            warn: settings.warn_seconds.map(|warn| seconds("warn_seconds", warn)).transpose()?,
            resolver: Blocking::default(),
        })
    }

    async fn connect(&self, scope: &Scope) -> Result<Result<(), String>> {
        let addresses = match self.resolve(scope).await? {
            Ok(addresses) => addresses,
            Err(message) => return Ok(Err(message)),
        };
        let mut last = format!("{} has no address", self.address);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) if is_own_echo(&stream) => {
                    last = format!("nobody listens on {}", self.address);
                }
                Ok(_) => return Ok(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    last = format!("nobody listens on {}: connection refused", self.address);
                }
                Err(error) => last = format!("cannot connect to {}: {error}", self.address),
            }
        }
        Ok(Err(last))
    }

    async fn resolve(&self, scope: &Scope) -> Result<Result<Vec<SocketAddr>, String>> {
        if let Ok(address) = self.address.parse() {
            return Ok(Ok(vec![address]));
        }
        let address = self.address.clone();
        let look_up = move || Ok(address.to_socket_addrs().map(Iterator::collect).map_err(|error| error.to_string()));
        let resolved = self.resolver.run(scope, look_up).await?;
        Ok(resolved.map_err(|error| format!("the host of {} cannot be resolved: {error}", self.address)))
    }
}

/// Whether a connection leads to itself. When nobody listens on a port of the ephemeral range, the kernel may choose
/// the same port for our end, and connects the two (simultaneous open, RFC 9293): about once in 28,000 tries.
fn is_own_echo(stream: &TcpStream) -> bool {
    stream.local_addr().is_ok_and(|own| stream.peer_addr().is_ok_and(|peer| own == peer))
}

#[async_trait]
impl HealthCheck for TcpCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        scope.cancel.check()?;
        let start = scope.clock.monotonic();
        let connected = tokio::select! {
            biased;
            () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
            connected = tokio::time::timeout(self.timeout, self.connect(scope)) => Ok(connected),
        }?;
        let taken = scope.clock.monotonic().saturating_sub(start);
        let (status, message) = match connected {
            Err(_) => {
                let seconds = self.timeout.as_secs_f64();
                (CheckStatus::Fail, format!("{} did not accept a connection within {seconds} s", self.address))
            }
            Ok(connected) => match connected? {
                Err(message) => (CheckStatus::Fail, message),
                Ok(()) if self.warn.is_some_and(|warn| taken > warn) => {
                    (CheckStatus::Warn, format!("{} took {:.3} s to accept", self.address, taken.as_secs_f64()))
                }
                Ok(()) => (CheckStatus::Pass, format!("{} accepts connections", self.address)),
            },
        };
        Ok(CheckOutcome::new(status, message).observing(taken.as_secs_f64(), "seconds"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn check(address: &str) -> TcpCheck {
        TcpCheck::new(TcpSettings { address: address.to_owned(), timeout_seconds: 5.0, warn_seconds: None }).unwrap()
    }

    #[tokio::test]
    async fn a_listener_passes_and_a_closed_port_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for address in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
            let outcome = check(&address).check(&Scope::default()).await.unwrap();
            assert_eq!(outcome.status, CheckStatus::Pass, "{outcome:?}");
            assert_eq!(outcome.unit.as_deref(), Some("seconds"));
        }
        drop(listener);
        // Held, so that no other test listens there.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = closed.local_addr().unwrap().port();
        let outcome = check(&format!("127.0.0.1:{port}")).check(&Scope::default()).await.unwrap();
        assert_eq!(outcome.status, CheckStatus::Fail);
        assert!(outcome.message.contains("nobody listens"), "{}", outcome.message);
    }

    #[tokio::test]
    async fn a_connection_to_itself_is_told_from_one_to_a_service() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        assert!(is_own_echo(&socket.connect(own).await.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_own_echo(&TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()));
    }

    #[tokio::test]
    async fn a_host_without_an_address_fails_by_name() {
        let outcome = check("no-such-host.invalid:80").check(&Scope::default()).await.unwrap();
        assert_eq!(outcome.status, CheckStatus::Fail);
        assert!(outcome.message.contains("no-such-host.invalid"), "{}", outcome.message);
    }

    #[test]
    fn addresses_without_a_port_are_refused() {
        for address in ["", "localhost", "localhost:", ":80", "localhost:0", "localhost:70000", "localhost:http"] {
            let settings = TcpSettings { address: address.to_owned(), timeout_seconds: 1.0, warn_seconds: None };
            assert!(TcpCheck::new(settings).is_err(), "{address}");
        }
        let zero = TcpSettings { address: "a:1".to_owned(), timeout_seconds: 0.0, warn_seconds: None };
        assert!(TcpCheck::new(zero).is_err());
    }
}
