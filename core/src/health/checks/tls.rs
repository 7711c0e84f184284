//! `tls`: how long is the certificate valid that a server shows, for whom, and who signed it.
//!
//! ```toml
//! [[check]]
//! name = "api-tls"
//! kind = "tls"
//! address = "api.example.org:443"
//! host = "api.example.org"         # whom the certificate must be for; the host of the address unless set
//! ca_file = "config/ca.pem"        # trusted beside the authorities of the system
//! warn_days = 21                   # the defaults
//! fail_days = 7
//! timeout_seconds = 5
//! ```
//!
//! It shakes hands and hangs up: no byte of an application is sent. So it can say how old a certificate is that a client
//! would refuse. For servers that begin in the clear (STARTTLS) use a check of kind `certificate` on the file.
//!
//! Source: RFC 8446, RFC 5280, RFC 9525.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::ClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificate::server_name;
use super::x509::{Days, Trust, judge};
use super::{one_week, seconds, three_weeks};
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::tls::{self, Identity};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "tls",
    summary: "A server shows a certificate that is valid for long enough, for its name, signed by who is trusted",
    placement: Placement::Anywhere,
    build: |context, settings| {
        let mut settings: TlsSettings = context.settings(settings)?;
        settings.ca_file = settings.ca_file.map(|path| context.resolve(&path));
        Ok(Arc::new(TlsCheck::new(settings)?))
    },
    detect: None,
};

/// Settings of [`TlsCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// Host and port: `api.example.org:443`, `[::1]:6380`.
    pub address: String,
    /// The name or address that the certificate must be for. That of `address` unless set.
    #[serde(default)]
    pub host: Option<String>,
    /// A file of certificates that are trusted beside the authorities of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Warn when a certificate ends within this many days.
    #[serde(default = "three_weeks")]
    pub warn_days: f64,
    /// Fail when a certificate ends within this many days.
    #[serde(default = "one_week")]
    pub fail_days: f64,
    /// How long connecting may take, and how long the server may be silent then, in seconds. Twice that is the end.
    #[serde(default = "five")]
    pub timeout_seconds: f64,
}

fn five() -> f64 {
    5.0
}

impl TlsSettings {
    /// Settings for an address, all else by default.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            host: None,
            ca_file: None,
            warn_days: three_weeks(),
            fail_days: one_week(),
            timeout_seconds: five(),
        }
    }
}

/// Shakes hands with a server.
#[derive(Debug)]
pub struct TlsCheck {
    settings: TlsSettings,
    host: ServerName<'static>,
    days: Days,
    timeout: Duration,
    asking: Blocking,
}

impl TlsCheck {
    /// A check as the settings describe it. Connects to nothing yet.
    ///
    /// # Errors
    /// When the address has no port, the host is none, or a number is out of range.
    pub fn new(settings: TlsSettings) -> Result<Self> {
        let parts = settings.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let Some((host, _)) = parts.filter(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0)) else {
            return Err(Error::invalid(format!("{:?} is not a host and port", settings.address))
                .with_hint("write address = \"api.example.org:443\""));
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = server_name(settings.host.as_deref().unwrap_or(bare))?;
        let days = Days::new(settings.warn_days, settings.fail_days)?;
        let timeout = seconds("timeout_seconds", settings.timeout_seconds)?;
        Ok(Self { settings, host, days, timeout, asking: Blocking::default() })
    }
}

/// The certificates that the server shows, its own one first, or why there are none.
pub(super) fn shown(
    address: &str,
    host: &ServerName<'static>,
    timeout: Duration,
) -> Result<Vec<CertificateDer<'static>>, String> {
    // Whatever it shows is let through, to be judged afterwards, when no more is sent.
    let config = tls::client_that_asks_for(Identity::Anybody, false, None, None)
        .map_err(|error| format!("cannot be asked: {error}"))?;
    let no_answer = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => "does not answer: connection refused".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => too_late(timeout),
        io::ErrorKind::UnexpectedEof => "hangs up during the handshake".to_owned(),
        _ => format!("does not speak TLS with us: {error}"),
    };
    let addresses = address.to_socket_addrs().map_err(|error| format!("cannot be resolved: {error}"))?;
    let mut socket = Err("has no address".to_owned());
    for address in addresses {
        socket = TcpStream::connect_timeout(&address, timeout).map_err(no_answer);
        if socket.is_ok() {
            break;
        }
    }
    let mut socket = socket?;
    socket.set_read_timeout(Some(timeout)).map_err(no_answer)?;
    socket.set_write_timeout(Some(timeout)).map_err(no_answer)?;
    let connection = ClientConnection::new(Arc::new(config), host.clone());
    let mut connection = connection.map_err(|error| format!("cannot be asked: {error}"))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).map_err(no_answer)?;
    }
    let chain = connection.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
}

fn too_late(timeout: Duration) -> String {
    format!("did not shake hands within {} s", timeout.as_secs_f64())
}

#[async_trait]
impl HealthCheck for TlsCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (settings, host, days, timeout) = (self.settings.clone(), self.host.clone(), self.days, self.timeout);
        let now = scope.clock.now();
        let call = move || {
            let trust = Trust::load(settings.ca_file.as_deref())?;
            let address = &settings.address;
            Ok(match shown(address, &host, timeout) {
                Err(why) => CheckOutcome::new(CheckStatus::Fail, format!("{address} {why}")),
                Ok(chain) => judge(&chain, Some((&host, &trust)), days, now, &format!("the certificate of {address}")),
            })
        };
        // Each step has its own bound; a resolver that is silent, and a server that trickles, have this.
        match tokio::time::timeout(self.timeout * 2, self.asking.run(scope, call)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let message = format!("{} {}", self.settings.address, too_late(self.timeout));
                Ok(CheckOutcome::new(CheckStatus::Fail, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::super::certificate::tests::{at, issued, serving, signs_itself};
    use super::*;
    use CheckStatus::{Fail, Pass, Warn};

    /// A server of this certificate on a loopback port, which shakes hands one after the other.
    fn server(pem: &str, key: &rcgen::KeyPair) -> String {
        let port =
            serving(
                pem,
                key,
                |mut connection, mut socket| {
                    while connection.is_handshaking() && connection.complete_io(&mut socket).is_ok() {}
                },
            );
        format!("localhost:{port}")
    }

    #[tokio::test]
    async fn a_live_server_is_judged_by_days_name_and_signer() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, pem, key) = issued((2031, 1, 1));
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca).unwrap();
        let address = server(&pem, &key);
        for (host, trusted, now, status, word) in [
            (None, true, "2030-06-01T00:00:00Z", Pass, "valid for 214 days"),
            (None, true, "2030-12-20T00:00:00Z", Warn, "renew it"),
            (None, true, "2030-12-30T00:00:00Z", Fail, "renew it"),
            // A client would refuse it; the check says since when.
            (None, true, "2031-01-02T00:00:00Z", Fail, "expired on 2031-01-01"),
            (Some("example.org"), true, "2030-06-01T00:00:00Z", Fail, "is not for example.org"),
            (None, false, "2030-06-01T00:00:00Z", Fail, "trust"),
        ] {
            let settings = TlsSettings {
                host: host.map(str::to_owned),
                ca_file: trusted.then(|| ca_file.clone()),
                ..TlsSettings::new(&address)
            };
            let outcome = TlsCheck::new(settings).unwrap().check(&at(now)).await.unwrap();
            assert_eq!(outcome.status, status, "{host:?} {now} {outcome:?}");
            assert!(outcome.message.contains(word), "{host:?} {now} {outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_certificate_that_signs_itself_is_trusted_where_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (named, other) = (folder.path().join("named.pem"), folder.path().join("other.pem"));
        for may_sign in [true, false] {
            let (pem, key) = signs_itself("localhost", may_sign);
            std::fs::write(&named, &pem).unwrap();
            std::fs::write(&other, signs_itself("localhost", may_sign).0).unwrap();
            let address = server(&pem, &key);
            for (ca_file, host, now, status, word) in [
                (Some(&named), None, "2030-06-01T00:00:00Z", Pass, "valid for 214 days"),
                (Some(&named), None, "2031-01-02T00:00:00Z", Fail, "expired on 2031-01-01"),
                (Some(&named), Some("example.org"), "2030-06-01T00:00:00Z", Fail, "is not for example.org"),
                (Some(&other), None, "2030-06-01T00:00:00Z", Fail, "certificate of localhost"),
                (None, None, "2030-06-01T00:00:00Z", Fail, "certificate of localhost"),
            ] {
                let settings = TlsSettings {
                    host: host.map(str::to_owned),
                    ca_file: ca_file.cloned(),
                    ..TlsSettings::new(&address)
                };
                let outcome = TlsCheck::new(settings).unwrap().check(&at(now)).await.unwrap();
                assert_eq!(outcome.status, status, "{may_sign} {ca_file:?} {now} {outcome:?}");
                assert!(outcome.message.contains(word), "{may_sign} {ca_file:?} {now} {outcome:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_server_without_tls_fails_by_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(b"220 mail.example.org ESMTP\r\n").unwrap();
            let _ = io::copy(&mut socket, &mut io::sink());
        });
        let outcome = TlsCheck::new(TlsSettings::new(&address)).unwrap().check(&Scope::default()).await.unwrap();
        assert_eq!(outcome.status, Fail);
        assert!(outcome.message.contains("does not speak TLS"), "{outcome:?}");
        for wrong in ["", "localhost", ":443", "localhost:0", "a b:1"] {
            assert!(TlsCheck::new(TlsSettings::new(wrong)).is_err(), "{wrong}");
        }
        assert!(TlsCheck::new(TlsSettings::new("[::1]:443")).is_ok());
    }
}
