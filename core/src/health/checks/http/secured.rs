//! The certificate of an address that is asked over TLS, which a client that trusts it never looks at: how long it lasts.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::ServerName;
use ureq::http::Uri;

use super::super::certificate::server_name;
use super::super::tls::shown;
use super::super::x509::{Days, Trust, judge};
use super::{HttpSettings, connector};
use crate::clock::Timestamp;
use crate::error::Result;
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

    /// Whom the request itself goes to, and whom it trusts.
    ///
    /// # Errors
    /// What is wrong with `ca_file`.
    pub(super) fn agent(&self, settings: ureq::config::Config, ca_file: Option<&Path>) -> Result<ureq::Agent> {
        connector::agent(settings, self.host.clone(), ca_file)
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustls::StreamOwned;

    use super::super::super::certificate::tests::{at, issued, serving, signs_itself};
    use super::super::HttpCheck;
    use super::*;
    use crate::health::HealthCheck;

    /// A server of this certificate on a loopback port, which answers each request in the same way.
    fn server(pem: &str, key: &rcgen::KeyPair) -> String {
        let port = serving(pem, key, |connection, socket| {
            let mut stream = StreamOwned::new(connection, socket);
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let location = if head.starts_with(b"GET /moved ") { "302 Found\r\nLocation: /" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {location}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
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

    /// As `openssl req -x509` makes them: it may sign others and so is no certificate of a server, but the file names it.
    #[tokio::test]
    async fn a_certificate_that_signs_itself_is_trusted_where_it_is_named() {
        use CheckStatus::{Fail, Pass};
        let folder = tempfile::tempdir().unwrap();
        let (named, other) = (folder.path().join("named.pem"), folder.path().join("other.pem"));
        for may_sign in [true, false] {
            let (pem, key) = signs_itself("localhost", may_sign);
            std::fs::write(&named, &pem).unwrap();
            // Of the same name, with another key.
            std::fs::write(&other, signs_itself("localhost", may_sign).0).unwrap();
            let url = server(&pem, &key);
            for (path, ca_file, now, status, word) in [
                ("/", Some(&named), "2030-06-01T00:00:00Z", Pass, "answers 200"),
                ("/moved", Some(&named), "2030-06-01T00:00:00Z", Pass, "answers 200"),
                ("/", Some(&named), "2032-06-01T00:00:00Z", Fail, "expired"),
                ("/", Some(&other), "2030-06-01T00:00:00Z", Fail, "is not asked"),
                ("/", None, "2030-06-01T00:00:00Z", Fail, "is not asked"),
            ] {
                let settings = HttpSettings {
                    ca_file: ca_file.cloned(),
                    contains: Some("ok".to_owned()),
                    redirects: 1,
                    ..HttpSettings::new(format!("{url}{path}"))
                };
                let outcome = HttpCheck::new(settings).unwrap().check(&at(now)).await.unwrap();
                assert_eq!(outcome.status, status, "{may_sign} {path} {ca_file:?} {now} {outcome:?}");
                assert!(outcome.message.contains(word), "{may_sign} {path} {ca_file:?} {now} {outcome:?}");
            }
            // What is judged first is one connection, and what is asked another: that one looks for itself.
            let asked = |ca_file: &Path| {
                let uri: Uri = url.parse().unwrap();
                let secured = Secured::new(&uri, &HttpSettings::new(&url)).unwrap().unwrap();
                let agent = secured.agent(ureq::Agent::config_builder().build(), Some(ca_file)).unwrap();
                agent.get(uri).call().map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
            };
            assert_eq!(asked(&named), Ok(200), "{may_sign}");
            assert!(asked(&other).is_err_and(|error| error.contains("certificate")), "{may_sign}");
        }
        let (pem, key) = signs_itself("example.org", true);
        std::fs::write(&named, &pem).unwrap();
        let settings = HttpSettings { ca_file: Some(named), ..HttpSettings::new(server(&pem, &key)) };
        let outcome = HttpCheck::new(settings).unwrap().check(&at("2030-06-01T00:00:00Z")).await.unwrap();
        assert!(outcome.status == Fail && outcome.message.contains("is not for localhost"), "{outcome:?}");
    }
}
