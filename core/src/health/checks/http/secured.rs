//! The certificate of an address that is asked over TLS, which a client that trusts it never looks at: how long it lasts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::super::certificate::server_name;
use super::super::tls::shown;
use super::super::x509::{Days, Trust, judge};
use super::HttpSettings;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::health::{CheckOutcome, CheckStatus};

/// Whose certificate is judged.
#[derive(Debug)]
pub(super) struct Secured {
    /// Host and port.
    address: String,
    host: ServerName<'static>,
    days: Days,
}

impl Secured {
    /// `None` for an address in the clear.
    pub(super) fn new(uri: &Uri, settings: &HttpSettings) -> Result<Option<Self>> {
        let days = Days::new(settings.warn_days, settings.fail_days)?;
        let Some(host) = uri.host().filter(|_| uri.scheme_str() == Some("https")) else { return Ok(None) };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(443));
        Ok(Some(Self { address, host: server_name(bare)?, days }))
    }

    /// Shakes hands, and judges what is shown. Nothing is sent.
    pub(super) fn judge(&self, ca_file: Option<&Path>, timeout: Duration, now: Timestamp) -> CheckOutcome {
        let trust = match Trust::load(ca_file) {
            Ok(trust) => trust,
            Err(error) => return CheckOutcome::new(CheckStatus::Fail, error.to_string()),
        };
        match shown(&self.address, &self.host, timeout) {
            Err(why) => CheckOutcome::new(CheckStatus::Fail, format!("{} {why}", self.address)),
            Ok(chain) => {
                let what = format!("the certificate of {}", self.address);
                judge(&chain, Some((&self.host, &trust)), self.days, now, &what)
            }
        }
    }
}

/// Whom the request itself trusts: the authorities of the system, and those of `ca_file`.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn trusting(ca_file: Option<&Path>) -> Result<TlsConfig> {
    let mut roots: Vec<Certificate<'static>> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    if let Some(path) = ca_file {
        let named = crate::tls::read_pem(path)?;
        if named.is_empty() {
            return Err(Error::invalid(format!("ca_file {path:?} holds no certificate"))
                .with_hint("name a file with the authority's certificate in PEM form"));
        }
        roots.extend(named.iter().map(|certificate| Certificate::from_der(certificate).to_owned()));
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(roots))).build())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use rustls::{ServerConnection, StreamOwned};

    use super::super::super::certificate::tests::{at, issued, served};
    use super::super::HttpCheck;
    use super::*;
    use crate::health::HealthCheck;

    /// A server of this certificate on a loopback port, which answers each request in the same way.
    fn server(pem: &str, key: &rcgen::KeyPair) -> String {
        let config = served(pem, key);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, socket.unwrap());
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                let location = if head.starts_with(b"GET /moved ") { "302 Found\r\nLocation: /" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {location}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
                let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
            }
        });
        format!("https://localhost:{port}")
    }

    #[tokio::test]
    async fn an_address_over_tls_is_asked_and_its_certificate_judged() {
        use CheckStatus::{Fail, Pass, Warn};
        let folder = tempfile::tempdir().unwrap();
        let (ca, pem, key) = issued((2031, 1, 1));
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca).unwrap();
        let url = server(&pem, &key);
        for (path, trusted, now, contains, status, word) in [
            ("/", true, "2030-06-01T00:00:00Z", "ok", Pass, "answers 200"),
            ("/moved", true, "2030-06-01T00:00:00Z", "ok", Pass, "answers 200"),
            ("/", true, "2030-12-20T00:00:00Z", "ok", Warn, "expires on 2031-01-01"),
            ("/", true, "2030-12-30T00:00:00Z", "ok", Fail, "expires on 2031-01-01"),
            ("/", true, "2030-12-20T00:00:00Z", "no", Fail, "is not in the body"),
            ("/", false, "2030-06-01T00:00:00Z", "ok", Fail, "nobody who is trusted has signed"),
        ] {
            let settings = HttpSettings {
                ca_file: trusted.then(|| ca_file.clone()),
                contains: Some(contains.to_owned()),
                redirects: 1,
                ..HttpSettings::new(format!("{url}{path}"))
            };
            let outcome = HttpCheck::new(settings).unwrap().check(&at(now)).await.unwrap();
            assert_eq!(outcome.status, status, "{path} {now} {outcome:?}");
            assert!(outcome.message.contains(word), "{path} {now} {outcome:?}");
        }
        let wrong = HttpSettings { warn_days: 1.0, fail_days: 2.0, ..HttpSettings::new(&url) };
        assert!(HttpCheck::new(wrong).is_err());
    }
}
