//! Whom a target trusts when it speaks TLS, and in what words it says that it does not.
//!
//! The authorities of the system are trusted (those in the file that `SSL_CERT_FILE` names, where it is set), and those in
//! `ca_file`. A server at home often has no authority but a certificate that signs itself, as `openssl req -x509` makes it:
//! named in `ca_file`, that very certificate is trusted, too. WebPKI alone refuses it, since it may sign others and so is
//! no certificate of a server (RFC 5280, section 4.2.1.9).

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore,
    SignatureScheme,
};

use super::fault::Fault;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// The TLS of a client. With `https` it trusts the authorities of the system; always those in `ca_file` (PEM).
///
/// # Errors
/// What is wrong with the file; [`ErrorKind::Unsupported`] where nobody at all would be trusted.
pub(super) fn config(https: bool, ca_file: Option<&Path>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if https {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let named = ca_file.map(|path| add(path, &mut roots)).transpose()?.unwrap_or_default();
    if https && roots.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "this machine knows no certificate authorities")
            .with_hint("install them (Debian: apt-get install ca-certificates), or set ca_file"));
    }
    let unusable = |error: &dyn std::fmt::Display| Error::internal(format!("no TLS can be set up: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    if named.is_empty() {
        return Ok(config.with_root_certificates(roots).with_no_client_auth());
    }
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(&error))?;
    let verifier = Arc::new(Trust { authorities, named });
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Adds the certificates of a file to those that are trusted, and returns them.
fn add(path: &Path, roots: &mut RootCertStore) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = std::fs::read(path).map_err(|error| {
        Error::io(format!("read ca_file {path:?}"), error)
            .with_hint("correct ca_file in the target's settings; a relative path begins at the service's root")
    })?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<std::result::Result<Vec<_>, _>>();
    let found = found.map_err(|error| unreadable(path, &error))?;
    if found.is_empty() {
        return Err(unreadable(path, &"it has no BEGIN CERTIFICATE"));
    }
    for certificate in &found {
        roots.add(certificate.clone()).map_err(|error| unreadable(path, &error))?;
    }
    Ok(found)
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("ca_file {path:?} holds no certificate: {why}")).with_hint(
        "name a file with the authority's certificate in PEM form (openssl x509 -inform der -in FILE makes one of DER)",
    )
}

/// The authorities, and the certificates of `ca_file` themselves.
#[derive(Debug)]
struct Trust {
    authorities: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
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
        match self.authorities.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // Its dates are looked at before; who signed it, and what for, is answered by its being in the file.
            Err(error) if signs_others(&error) && self.named.iter().any(|named| named == certificate) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether a server showed a certificate that may sign others. WebPKI's error has no type that can be named here.
fn signs_others(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other))
        if other.to_string().contains("CaUsedAsEndEntity"))
}

/// The fault that TLS found, in words that name the repair; `None` for what may be over when it is tried again.
pub(super) fn fault(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    const TRUST: &str = "trust the authority that signed it, or the certificate itself where nobody else did: \
         ca_file = \"/path/to/ca.pem\" in the target's settings";
    let error = below(error)?;
    let (why, hint) = match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                ("the server's certificate is signed by nobody that this machine trusts".to_owned(), TRUST)
            }
            CertificateError::NotValidForNameContext { expected, presented } => (
                format!("the server's certificate is not for {}, but for {}", expected.to_str(), names(presented)),
                "write the server's name as its certificate has it in `endpoint`, or give it a certificate for this one",
            ),
            CertificateError::ExpiredContext { not_after, .. } => (
                format!("the server's certificate has expired{}", since(*not_after)),
                "renew it on the server; look at this machine's clock, too",
            ),
            CertificateError::NotValidYetContext { not_before, .. } => (
                format!("the server's certificate is not valid yet{}", since(*not_before)),
                "set this machine's clock, or the server's, which made the certificate",
            ),
            _ if signs_others(error) => {
                ("the server's certificate signs itself, and this machine does not trust it".to_owned(), TRUST)
            }
            why => (format!("the server's certificate cannot be trusted: {why}"), TRUST),
        },
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => (
            "the server does not speak TLS there".to_owned(),
            "name the port that does in `endpoint`; where nobody is on the way, write http:// and allow_http = true",
        ),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure)
        | rustls::Error::PeerIncompatible(_) => (
            format!("the server's TLS is too old or too narrow: {error}"),
            "let the server speak TLS 1.2 or 1.3 with a common cipher suite",
        ),
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => (
            "the server does not know the name that it is called by".to_owned(),
            "write the server's name as its certificate has it in `endpoint`",
        ),
        _ => return None,
    };
    Some(Fault::Tls { why, hint })
}

/// What a server says in plain HTTP on a port for TLS: Go's standard library (MinIO, Caddy) and nginx.
pub(super) fn wants_tls(status: u16, body: &str) -> bool {
    let said = ["HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port"];
    status == 400 && said.iter().any(|said| body.contains(said))
}

/// An endpoint in plain HTTP whose server wants TLS.
pub(super) fn plain_to_tls() -> Fault {
    Fault::Tls { why: "the server speaks TLS there, not plain HTTP".to_owned(), hint: "write https:// in `endpoint`" }
}

/// What TLS says, below what wraps it. An `io::Error` does not name what is in it as its source.
fn below<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next: Option<&'a (dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        let inside = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => cause.source(),
        };
    }
    None
}

/// The names of a certificate, which come as `DnsName("…")`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        inner.trim_matches('"').to_owned()
    };
    match presented.is_empty() {
        true => "no name at all".to_owned(),
        false => presented.iter().map(plain).collect::<Vec<_>>().join(", "),
    }
}

fn since(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(String::new, |time| format!(" ({time})"))
}
