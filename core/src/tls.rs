//! Whom we trust when we speak TLS: what targets and checks have in common.
//!
//! The authorities of the system are trusted (those in the file that `SSL_CERT_FILE` names, where it is set), and those in
//! `ca_file`. A server at home often has no authority but a certificate that signs itself, as `openssl req -x509` makes it:
//! named in `ca_file`, that very certificate is trusted, too. WebPKI alone refuses it, since it may sign others and so is
//! no certificate of a server (RFC 5280, section 4.2.1.9).

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, ErrorKind, Result};

/// A file of certificates is smaller than this.
#[cfg(feature = "tls")]
const MAX_FILE: u64 = 1 << 20;

/// The TLS of a client that trusts the authorities of the system, if wanted, and always those in `ca_file` (PEM).
///
/// # Errors
/// What is wrong with the file; [`ErrorKind::Unsupported`] where nobody at all would be trusted.
#[cfg(any(feature = "s3", feature = "tls"))]
pub(crate) fn client(system: bool, ca_file: Option<&Path>) -> Result<ClientConfig> {
    client_that_asks_for(Identity::Named, system, ca_file, None)
}

/// What a server has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "only PostgreSQL has an sslmode"))]
pub(crate) enum Identity {
    /// Nothing: what is said is hidden from who listens, not from who stands between.
    Anybody,
    /// A certificate that an authority signed, whatever its name.
    Signed,
    /// A certificate of its name that an authority signed.
    Named,
}

/// A certificate of a client, with those that signed it, and its key.
pub(crate) type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// [`client`] for a server that has to show `identity`, and that may ask who we are.
///
/// # Errors
/// What is wrong with the file or with `own`; [`ErrorKind::Unsupported`] where nobody at all would be trusted.
pub(crate) fn client_that_asks_for(
    identity: Identity,
    system: bool,
    ca_file: Option<&Path>,
    own: Option<Own>,
) -> Result<ClientConfig> {
    let (roots, named) = trusted(system, ca_file)?;
    if system && roots.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "this machine knows no certificate authorities")
            .with_hint("install them (Debian: apt-get install ca-certificates), or set ca_file"));
    }
    let unusable = |error: &dyn std::fmt::Display| Error::internal(format!("no TLS can be set up: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let config = if identity == Identity::Named && named.is_empty() {
        config.with_root_certificates(roots)
    } else {
        let authorities = match identity {
            Identity::Anybody => None,
            Identity::Signed | Identity::Named => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| unusable(&error))?,
            ),
        };
        let verifier = Arc::new(Trust { authorities, provider, named, any_name: identity == Identity::Signed });
        config.dangerous().with_custom_certificate_verifier(verifier)
    };
    match own {
        None => Ok(config.with_no_client_auth()),
        Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(|error| {
            Error::invalid(format!("our own certificate cannot be used: {error}"))
                .with_hint("name a certificate and the key that belongs to it")
        }),
    }
}

/// Those who are trusted, and among them the certificates of `ca_file` themselves.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn trusted(system: bool, ca_file: Option<&Path>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let mut roots = RootCertStore::empty();
    if system {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let Some(path) = ca_file else { return Ok((roots, Vec::new())) };
    let bytes = std::fs::read(path).map_err(|error| {
        Error::io(format!("read ca_file {path:?}"), error)
            .with_hint("correct ca_file in the settings; a relative path begins at the service's root")
    })?;
    let named = certificates(&bytes).map_err(|error| unreadable(path, &error))?;
    if named.is_empty() {
        return Err(unreadable(path, &"it has no BEGIN CERTIFICATE"));
    }
    for certificate in &named {
        roots.add(certificate.clone()).map_err(|error| unreadable(path, &error))?;
    }
    Ok((roots, named))
}

/// The certificates in a file (PEM, RFC 7468), in their order.
///
/// # Errors
/// For what is no file of certificates.
#[cfg(feature = "tls")]
pub(crate) fn read_pem(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let cannot = |error: std::io::Error| Error::io(format!("read {path:?}"), error);
    let meta = path.metadata().map_err(cannot)?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(Error::invalid(format!("{path:?} is not a file of certificates"))
            .with_hint("name one in the form of PEM, which begins with -----BEGIN CERTIFICATE-----"));
    }
    certificates(&std::fs::read(path).map_err(cannot)?).map_err(|error| {
        Error::invalid(format!("a certificate in {path:?} cannot be read: {error}")).with_hint("replace the file")
    })
}

fn certificates(pem: &[u8]) -> std::result::Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("ca_file {path:?} holds no certificate: {why}")).with_hint(
        "name a file with the authority's certificate in PEM form (openssl x509 -inform der -in FILE makes one of DER)",
    )
}

/// The authorities, and the certificates of `ca_file` themselves.
#[derive(Debug)]
struct Trust {
    /// Nothing where anybody will do.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// That the server holds the key of the certificate it shows is verified always.
    provider: Arc<CryptoProvider>,
    named: Vec<CertificateDer<'static>>,
    any_name: bool,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        let verdict = match authorities.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // Its dates are looked at before; who signed it, and what for, is answered by its being in the file.
            Err(error) if signs_others(&error) && self.named.iter().any(|named| named == certificate) => {
                ParsedCertificate::try_from(certificate)
                    .and_then(|certificate| rustls::client::verify_server_name(&certificate, name))
                    .map(|()| ServerCertVerified::assertion())
            }
            verdict => verdict,
        };
        match verdict {
            // The name is the last thing that is looked at: all else is well.
            Err(error) if self.any_name && is_of_the_name(&error) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_of_the_name(error: &rustls::Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(error, rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

/// Whether a server showed a certificate that may sign others. WebPKI's error has no type that can be named here.
pub(crate) fn signs_others(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other))
        if other.to_string().contains("CaUsedAsEndEntity"))
}
