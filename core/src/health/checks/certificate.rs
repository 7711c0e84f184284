//! `certificate`: how long are the certificates in a file valid, and for whom.
//!
//! ```toml
//! [[check]]
//! name = "tls-file"
//! kind = "certificate"
//! path = "config/fullchain.pem"    # the server's own one first, then the intermediate ones
//! host = "api.example.org"         # then name and chain are verified too; off unless set
//! ca_file = "config/ca.pem"        # trusted beside the authorities of the system
//! warn_days = 21                   # the defaults
//! fail_days = 7
//! ```
//!
//! Each certificate in the file is judged, since a chain ends with the first that does.
//!
//! Source: RFC 7468 (PEM), RFC 5280.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::x509::{Days, Trust, judge};
use super::{one_week, three_weeks};
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::error::{Error, Result};
use crate::health::{Blocking, CheckOutcome, HealthCheck};
use crate::tls::read_pem;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "certificate",
    summary: "The certificates in a file are valid for long enough, for the right name, signed by who is trusted",
    // It opens a file that a setting names, which may be a small database by mistake.
    placement: Placement::Worker,
    build: |context, settings| {
        let mut settings: CertificateSettings = context.settings(settings)?;
        settings.path = context.resolve(&settings.path);
        settings.ca_file = settings.ca_file.map(|path| context.resolve(&path));
        Ok(Arc::new(CertificateCheck::new(settings)?))
    },
    detect: None,
};

/// Settings of [`CertificateCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateSettings {
    /// The file, in the form of PEM.
    pub path: PathBuf,
    /// The name or address that the first certificate must be for. Then who signed it is verified too.
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
}

impl CertificateSettings {
    /// Settings that ask for the days left alone.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), host: None, ca_file: None, warn_days: three_weeks(), fail_days: one_week() }
    }
}

/// Reads a file of certificates.
#[derive(Debug)]
pub struct CertificateCheck {
    settings: CertificateSettings,
    host: Option<ServerName<'static>>,
    days: Days,
    reading: Blocking,
}

impl CertificateCheck {
    /// A check as the settings describe it. Reads nothing yet.
    ///
    /// # Errors
    /// When the host is none, or a number of days is out of range.
    pub fn new(settings: CertificateSettings) -> Result<Self> {
        let host = settings.host.as_deref().map(server_name).transpose()?;
        let days = Days::new(settings.warn_days, settings.fail_days)?;
        Ok(Self { settings, host, days, reading: Blocking::default() })
    }
}

/// A host as certificates name it.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        Error::invalid(format!("{host:?} is neither the name of a host nor an address"))
            .with_hint("write host = \"api.example.org\"")
    })
}

#[async_trait]
impl HealthCheck for CertificateCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (settings, host, days) = (self.settings.clone(), self.host.clone(), self.days);
        let now = scope.clock.now();
        let call = move || {
            let chain = read_pem(&settings.path)?;
            let trust = host.as_ref().map(|_| Trust::load(settings.ca_file.as_deref())).transpose()?;
            let verify = host.as_ref().zip(trust.as_ref());
            Ok(judge(&chain, verify, days, now, &format!("the certificate in {:?}", settings.path)))
        };
        self.reading.run(scope, call).await
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{TcpListener, TcpStream};

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConnection;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::health::CheckStatus::{Fail, Pass, Warn};

    const NOW: &str = "2030-06-01T00:00:00Z";

    pub(in super::super) fn at(time: &str) -> Scope {
        let now: Timestamp = time.parse().unwrap();
        Scope { clock: Arc::new(ManualClock::new(now)), ..Scope::default() }
    }

    /// How a server with this certificate speaks TLS.
    fn served(pem: &str, key: &KeyPair) -> Arc<rustls::ServerConfig> {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

        let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(versions.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    /// A server of this certificate on a loopback port, which does the same with one connection after the other; its port.
    pub(in super::super) fn serving(
        pem: &str,
        key: &KeyPair,
        serve: impl Fn(ServerConnection, TcpStream) + Send + 'static,
    ) -> u16 {
        let config = served(pem, key);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                serve(ServerConnection::new(Arc::clone(&config)).unwrap(), socket.unwrap());
            }
        });
        port
    }

    /// An authority, and a certificate that it signed for `localhost`, valid until the given day.
    pub(in super::super) fn issued(until: (i32, u8, u8)) -> (String, String, KeyPair) {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = authority.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(authority, key);
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        leaf.not_before = rcgen::date_time_ymd(2025, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let own = KeyPair::generate().unwrap();
        let pem = leaf.signed_by(&own, &issuer).unwrap().pem();
        (ca, pem, own)
    }

    /// A certificate that signed itself, valid until 2031; whether it says that it may sign others.
    pub(in super::super) fn signs_itself(name: &str, may_sign: bool) -> (String, KeyPair) {
        let mut own = CertificateParams::new(vec![name.to_owned()]).unwrap();
        own.is_ca = if may_sign { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        own.not_before = rcgen::date_time_ymd(2025, 1, 1);
        own.not_after = rcgen::date_time_ymd(2031, 1, 1);
        let key = KeyPair::generate().unwrap();
        (own.self_signed(&key).unwrap().pem(), key)
    }

    async fn told(settings: &CertificateSettings, now: &str) -> CheckOutcome {
        CertificateCheck::new(settings.clone()).unwrap().check(&at(now)).await.unwrap()
    }

    #[tokio::test]
    async fn days_are_counted_to_the_first_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.pem");
        let settings = CertificateSettings::new(&path);
        for (until, status) in [
            ((2030, 7, 1), Pass),
            ((2030, 6, 21), Warn),
            ((2030, 6, 9), Warn),
            ((2030, 6, 7), Fail),
            ((2030, 5, 31), Fail),
        ] {
            let (ca, pem, _) = issued(until);
            // The authority's own one ends later.
            for text in [pem.clone(), format!("{ca}{pem}")] {
                std::fs::write(&path, text).unwrap();
                let outcome = told(&settings, NOW).await;
                assert_eq!((outcome.status, outcome.unit.as_deref()), (status, Some("days")), "{until:?} {outcome:?}");
            }
        }
        let early = told(&settings, "2024-12-31T00:00:00Z").await;
        assert!(early.status == Fail && early.message.contains("valid from"), "{early:?}");
        std::fs::write(&path, "no certificate").unwrap();
        assert_eq!(told(&settings, NOW).await.status, Fail);
        let missing = CertificateCheck::new(CertificateSettings::new(folder.path().join("missing"))).unwrap();
        assert!(missing.check(&at(NOW)).await.is_err());
    }

    #[tokio::test]
    async fn name_and_signer_are_verified() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (ca, pem, _) = issued((2031, 1, 1));
        let (other, ..) = issued((2031, 1, 1));
        let (ca, other, path) = (file("ca.pem", &ca), file("other.pem", &other), file("chain.pem", &pem));
        for (host, ca_file, status, word) in [
            ("localhost", Some(&ca), Pass, "valid for"),
            ("127.0.0.1", Some(&ca), Pass, "valid for"),
            ("example.org", Some(&ca), Fail, "is not for example.org"),
            ("localhost", Some(&other), Fail, "nobody who is trusted"),
            // Trusted by name.
            ("localhost", Some(&path), Pass, "valid for"),
            ("example.org", Some(&path), Fail, "is not for example.org"),
        ] {
            let settings = CertificateSettings {
                host: Some(host.to_owned()),
                ca_file: ca_file.cloned(),
                ..CertificateSettings::new(&path)
            };
            let outcome = told(&settings, NOW).await;
            assert_eq!(outcome.status, status, "{host} {outcome:?}");
            assert!(outcome.message.contains(word), "{host} {outcome:?}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let plain = || CertificateSettings::new("/x");
        for wrong in [
            CertificateSettings { warn_days: 1.0, fail_days: 2.0, ..plain() },
            CertificateSettings { fail_days: -1.0, ..plain() },
            CertificateSettings { warn_days: f64::NAN, ..plain() },
            CertificateSettings { host: Some("a b".to_owned()), ..plain() },
        ] {
            assert!(CertificateCheck::new(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
