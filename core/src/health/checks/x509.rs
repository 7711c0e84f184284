//! What the checks of certificates judge: the days left, the name, and who signed.
//!
//! Source: RFC 5280, sections 4.1.2.5 (validity) and 6 (path validation), RFC 9525 (names); the path and the name are
//! verified by WebPKI, as a client verifies them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};

use super::{Finding, worst};
use crate::clock::{TimeZone, Timestamp};
use crate::error::{Error, Result};
use crate::health::{CheckOutcome, CheckStatus};
use crate::tls;

/// How many days before the end to speak up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Days {
    pub(super) warn: f64,
    pub(super) fail: f64,
}

impl Days {
    pub(super) fn new(warn: f64, fail: f64) -> Result<Self> {
        for (name, days) in [("warn_days", warn), ("fail_days", fail)] {
            if !(0.0..=3660.0).contains(&days) {
                return Err(Error::invalid(format!("{name} is {days}")).with_hint(format!("set {name} to 0 to 3660")));
            }
        }
        super::bounds_in_order([("fail_days", Some(fail)), ("warn_days", Some(warn))])?;
        Ok(Self { warn, fail })
    }
}

/// Whom we trust: the authorities of the system, and the certificates of a file.
#[derive(Debug)]
pub(super) struct Trust {
    roots: RootCertStore,
    named: Vec<CertificateDer<'static>>,
}

impl Trust {
    pub(super) fn load(ca_file: Option<&Path>) -> Result<Self> {
        let (roots, named) = tls::trusted(true, ca_file)?;
        Ok(Self { roots, named })
    }

    /// What is wrong with a chain for a name, if anything is.
    fn objection(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>, now: Timestamp) -> Option<String> {
        let (leaf, others) = chain.split_first()?;
        let shown = name.to_str();
        let verified = if self.named.iter().any(|named| named == leaf) {
            // Trusted by itself, as a certificate that signs itself is; WebPKI would refuse one that may sign others.
            ParsedCertificate::try_from(leaf).and_then(|leaf| rustls::client::verify_server_name(&leaf, name))
        } else {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots.clone()), provider).build();
            let Ok(verifier) = verifier else {
                return Some("this machine trusts no authority: install ca-certificates, or set ca_file".to_owned());
            };
            let seconds = u64::try_from(now.as_second()).unwrap_or(0);
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            verifier.verify_server_cert(leaf, others, name, &[], now).map(drop)
        };
        let error = match verified {
            Ok(()) => return None,
            Err(rustls::Error::InvalidCertificate(error)) => error,
            Err(error) => return Some(format!("the certificate of {shown} cannot be verified: {error}")),
        };
        match error {
            // The days say so.
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => None,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some(format!("the certificate is not for {shown}: get one that names it"))
            }
            // Another authority of the same name signs otherwise.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Some(format!(
                "nobody who is trusted has signed the certificate of {shown}: add the intermediate ones to the chain, \
                 or name the authority in ca_file"
            )),
            error => Some(format!("the certificate of {shown} cannot be verified: {error}")),
        }
    }
}

/// Judges a chain, leaf first: the days left of every certificate, and for a `name` who signed it.
pub(super) fn judge(
    chain: &[CertificateDer<'_>],
    verify: Option<(&ServerName<'_>, &Trust)>,
    days: Days,
    now: Timestamp,
    what: &str,
) -> CheckOutcome {
    let mut findings = Vec::new();
    for (at, certificate) in chain.iter().enumerate() {
        let which = if at == 0 { what.to_owned() } else { format!("certificate {} of {what}", at + 1) };
        let Some((from, until)) = validity(certificate) else {
            let message = format!("{which} is no certificate that can be read");
            findings.push(Finding { status: CheckStatus::Fail, message, observed: 0.0, unit: "days" });
            continue;
        };
        let left = until.duration_since(now).as_secs_f64() / 86_400.0;
        let (status, message) = if from > now {
            (CheckStatus::Fail, format!("{which} is valid from {from} only: look at the clock"))
        } else if left < 0.0 {
            (CheckStatus::Fail, format!("{which} expired on {until}: renew it"))
        } else if left < days.warn {
            let status = if left < days.fail { CheckStatus::Fail } else { CheckStatus::Warn };
            (status, format!("{which} expires on {until}, in {left:.1} days: renew it"))
        } else {
            (CheckStatus::Pass, format!("{which} is valid for {left:.0} days"))
        };
        findings.push(Finding { status, message, observed: left, unit: "days" });
    }
    // Those with the fewest days first: of several with the same verdict its number is told.
    findings.sort_by(|a, b| a.observed.total_cmp(&b.observed));
    if findings.iter().all(|finding| finding.status == CheckStatus::Pass) {
        findings.truncate(1);
    }
    let objection = verify.and_then(|(name, trust)| trust.objection(chain, name, now));
    if let Some(message) = objection {
        let observed = findings.first().map_or(0.0, |first| first.observed);
        findings.push(Finding { status: CheckStatus::Fail, message, observed, unit: "days" });
    }
    worst(findings).unwrap_or_else(|| CheckOutcome::new(CheckStatus::Fail, format!("{what} holds no certificate")))
}

/// From when until when a certificate is valid; `None` for what is none.
fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (whole, _) = item(certificate, SEQUENCE)?;
    let (mut rest, _) = item(whole, SEQUENCE)?;
    if let Some((_, after)) = item(rest, VERSION) {
        rest = after;
    }
    // The serial number, the algorithm of the signature, the issuer.
    for tag in [0x02, SEQUENCE, SEQUENCE] {
        rest = item(rest, tag)?.1;
    }
    let (validity, _) = item(rest, SEQUENCE)?;
    let (from, rest) = time(validity)?;
    Some((from, time(rest)?.0))
}

/// The contents of the value that `bytes` begins with, when it has this tag, and what comes after it (X.690, DER).
fn item(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (short, rest) = rest.split_first().filter(|_| *first == tag)?;
    let (length, rest) = match *short {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A time that `bytes` begins with: `YYMMDDHHMMSSZ` of 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, century) = match (item(bytes, 0x17), item(bytes, 0x18)) {
        (Some((text, rest)), _) => (text, rest, true),
        (None, Some((text, rest))) => (text, rest, false),
        (None, None) => return None,
    };
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) || digits.len() != if century { 12 } else { 14 } {
        return None;
    }
    let (year, digits) = digits.split_at(digits.len() - 10);
    let year: i16 = year.parse().ok()?;
    let year = if !century {
        year
    } else if year < 50 {
        2000 + year
    } else {
        1900 + year
    };
    let at = |at: usize| digits[at..at + 2].parse::<i8>().ok();
    let civil = jiff::civil::DateTime::new(year, at(0)?, at(2)?, at(4)?, at(6)?, at(8)?, 0).ok()?;
    Some((civil.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag, 0x82, (contents.len() >> 8) as u8, contents.len() as u8];
        bytes.extend(contents);
        bytes
    }

    fn certificate(from: (u8, &str), until: (u8, &str)) -> Vec<u8> {
        let times = [der(from.0, from.1.as_bytes()), der(until.0, until.1.as_bytes())].concat();
        let parts = [der(0xa0, &[2, 1, 2]), der(2, &[1]), der(0x30, &[]), der(0x30, &[]), der(0x30, &times)];
        der(0x30, &der(0x30, &parts.concat()))
    }

    #[test]
    fn times_are_read_in_both_forms() {
        for (tag, text, wanted) in [
            (0x17, "250101000000Z", Some("2025-01-01T00:00:00Z")),
            (0x17, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (0x17, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (0x18, "20500101000000Z", Some("2050-01-01T00:00:00Z")),
            (0x18, "99991231235959Z", None),
            (0x17, "251301000000Z", None),
            (0x17, "250101000000", None),
            (0x17, "2501010000+1Z", None),
            (0x17, "20250101000000Z", None),
            (0x18, "250101000000Z", None),
        ] {
            let found =
                validity(&certificate((0x17, "200101000000Z"), (tag, text))).map(|(_, until)| until.to_string());
            // jiff's last moment lies within the last day of 9999; whoever writes that date means "never".
            assert!(found.as_deref() == wanted || text.starts_with("9999"), "{text}: {found:?}");
        }
    }

    #[test]
    fn cut_bytes_are_no_certificate() {
        let whole = certificate((0x17, "200101000000Z"), (0x17, "300101000000Z"));
        assert!(validity(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(validity(&whole[..end]), None, "{end}");
        }
        assert_eq!(item(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1], 0x30), None);
        assert_eq!(item(&[0x30, 0x80, 0, 0], 0x30), None);
    }
}
