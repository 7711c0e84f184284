//! In what words a target says that TLS failed. Whom it trusts is in [`tls`](crate::tls).

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::fault::Fault;
use crate::clock::Timestamp;
use crate::tls::signs_others;

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
