//! What went wrong with a request, and what that means for whoever asked.
//!
//! Of what a server says only the code and the message are repeated, without anything that is known to be a secret:
//! Amazon's answer to an expired token has the token in it.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// How a request failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server answered with an error.
    Answer(Answer),
    /// There was no answer, or not all of it; what the network said.
    Broken(String),
    /// The server was silent for too long.
    Silent(Duration),
    /// TLS that cannot come about, however often it is tried.
    Tls {
        /// What is wrong.
        why: String,
        /// The repair.
        hint: &'static str,
    },
    /// An answer that is none of S3's.
    Garbled(String),
    /// An error that has its words already.
    Ours(Error),
}

/// An error that the server answered with.
#[derive(Debug, Default, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `NoSuchKey`, `SlowDown`, …; empty for an answer without a body.
    pub(super) code: String,
    pub(super) message: String,
    /// The region that the server says the bucket is in.
    pub(super) region: Option<String>,
    /// Whether it came from where credentials come from, and not from the bucket.
    pub(super) of_credentials: bool,
}

impl Answer {
    /// Reads the body of an error: `<Error><Code>…</Code><Message>…</Message>…</Error>` (Amazon S3 API Reference,
    /// "Error responses").
    pub(super) fn read(status: u16, body: &str, region: Option<&str>) -> Self {
        let element = |name: &str| {
            let (_, rest) = body.split_once(&format!("<{name}>"))?;
            let (text, _) = rest.split_once(&format!("</{name}>"))?;
            Some(unescape(text.trim()))
        };
        Self {
            status,
            code: element("Code").filter(|code| code.bytes().all(|b| b.is_ascii_alphanumeric())).unwrap_or_default(),
            message: element("Message").unwrap_or_default(),
            region: region.map(str::to_owned).or_else(|| element("Region")),
            of_credentials: false,
        }
    }

    /// `503 SlowDown`, or the number alone.
    fn name(&self) -> String {
        if self.code.is_empty() { self.status.to_string() } else { format!("{} {}", self.status, self.code) }
    }
}

fn unescape(text: &str) -> String {
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    plain.iter().fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// Where it happened, for the words of an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) bucket: &'a str,
    pub(super) location: &'a str,
    /// What completes "could not …".
    pub(super) doing: &'a str,
}

impl Fault {
    /// The status of the answer, when there was one.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(answer) => Some(answer.status),
            _ => None,
        }
    }

    /// The code of the answer, when there was one.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Answer(answer) => &answer.code,
            _ => "",
        }
    }

    /// Whether a key is missing, as opposed to its bucket. An answer to HEAD has no body and cannot tell.
    pub(super) fn is_missing(&self) -> bool {
        self.status() == Some(404) && self.code() != "NoSuchBucket"
    }

    /// Whether the server refused to replace an object. 304 and 409 are what some say for 412; Amazon's own 409 means
    /// that two wrote at the same moment, and that one should try again.
    pub(super) fn is_there_already(&self) -> bool {
        match self.status() {
            Some(412 | 304) => true,
            Some(409) => !matches!(self.code(), "ConditionalRequestConflict" | "OperationAborted"),
            _ => false,
        }
    }

    /// Whether other credentials, or a new look for them, could help.
    pub(super) fn is_of_credentials(&self) -> bool {
        matches!(self.status(), Some(401 | 403)) || is_expired(self.code()) || matches!(self, Self::Ours(_))
    }

    /// The words for it. `scrub` takes secrets out of what the server said.
    pub(super) fn into_error(self, at: Place<'_>, scrub: impl Fn(&str) -> String) -> Error {
        let said = |kind, why: &str| Error::new(kind, format!("could not {} in {}: {why}", at.doing, at.location));
        match self {
            Self::Ours(error) => error,
            Self::Silent(limit) => said(
                ErrorKind::Timeout,
                &format!("the server did not go on within {:.0} s", limit.as_secs_f64().max(1.0)),
            )
            .with_hint("look at the network and the server, or allow more: timeout_seconds"),
            Self::Broken(why) => {
                // As hyper says it of an answer that begins with a TLS alert, among others.
                let hint = match at.location.starts_with("http://") && why.contains("invalid HTTP") {
                    true => "if the server speaks TLS there, write https:// in `endpoint`",
                    false => "look at the network, and at `endpoint`; nothing half written is visible",
                };
                said(ErrorKind::Unavailable, &scrub(&why)).with_hint(hint)
            }
            Self::Tls { why, hint } => said(ErrorKind::Unavailable, &scrub(&why)).with_retryable(false).with_hint(hint),
            Self::Garbled(why) => {
                said(ErrorKind::Unavailable, &format!("the answer is not one of S3's: {}", scrub(&why)))
                    .with_hint("look whether `endpoint` is an S3 server, and what stands between it and this machine")
            }
            Self::Answer(answer) => explain(&answer, at, &scrub, said),
        }
    }
}

/// Whether a code means that credentials were good and are no more.
fn is_expired(code: &str) -> bool {
    matches!(code, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired")
}

fn explain(
    answer: &Answer,
    at: Place<'_>,
    scrub: &impl Fn(&str) -> String,
    said: impl Fn(ErrorKind, &str) -> Error,
) -> Error {
    let name = answer.name();
    let message: String = scrub(&answer.message).chars().take(300).collect();
    let quoted = if message.is_empty() { name.clone() } else { format!("{name}: {message}") };
    let lower = message.to_ascii_lowercase();
    let locked = ["object lock", "object-lock", "worm", "retention", "legal hold"].iter().any(|it| lower.contains(it));
    let error = match (answer.status, answer.code.as_str()) {
        _ if answer.of_credentials => said(ErrorKind::Denied, &format!("no credentials were given ({quoted})"))
            .with_hint("look at the role of this machine or container, or name keys: access_key_id, profile"),
        (_, code) if is_expired(code) => said(ErrorKind::Denied, &format!("the credentials have expired ({name})"))
            .with_hint("renew them where they come from (profile, environment, .env); they are read again each time"),
        (_, "InvalidAccessKeyId" | "InvalidToken" | "InvalidClientTokenId" | "UnrecognizedClientException") => {
            said(ErrorKind::Denied, &format!("the server does not know these credentials ({name})"))
                .with_hint("correct access_key_id, or the profile or variable that it comes from")
        }
        (_, "SignatureDoesNotMatch") => said(ErrorKind::Denied, &format!("the signature is wrong ({name})"))
            .with_hint("correct secret_access_key, or the profile or variable that it comes from"),
        (_, "RequestTimeTooSkewed") => said(ErrorKind::Denied, &format!("the clocks differ too much ({quoted})"))
            .with_hint("set this machine's clock: S3 allows 15 minutes"),
        (_, "NoSuchBucket") => said(ErrorKind::InvalidInput, &format!("there is no bucket {:?} ({name})", at.bucket))
            .with_hint("create the bucket, or correct `url` and `endpoint`"),
        (
            _,
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException",
        )
        | (301 | 307, _) => {
            let error = said(ErrorKind::InvalidInput, &format!("the bucket is in another region ({quoted})"));
            match &answer.region {
                Some(region) => error.with_hint(format!("set region = {:?}", scrub(region))),
                None => error.with_hint("set `region` to the bucket's"),
            }
        }
        (_, "ObjectLocked" | "InvalidObjectState") => locked_error(&quoted, &said),
        (400 | 403 | 405 | 409, _) if locked => locked_error(&quoted, &said),
        (
            _,
            "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" | "EntityTooLarge" | "ServiceQuotaExceeded",
        )
        | (507, _) => said(ErrorKind::NoSpace, &quoted).with_hint("free space in the bucket, or raise its quota"),
        (_, "SlowDown" | "TooManyRequests" | "RequestLimitExceeded" | "ServerBusy") | (429, _) => {
            said(ErrorKind::Busy, &format!("the server asks to slow down ({name})"))
                .with_hint("try again later, or send less at once: limit_upload, fewer runs at the same time")
        }
        (_, "RequestTimeout") | (408, _) => said(ErrorKind::Timeout, &quoted).with_hint("look at the network"),
        (_, "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody") => {
            said(ErrorKind::Unavailable, &format!("what arrived is not what was sent ({name})"))
                .with_hint("look at what stands between this machine and the server; nothing of it is visible")
        }
        (_, "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall" | "NoSuchUpload") => {
            said(ErrorKind::Unavailable, &format!("the server does not have the parts that it was sent ({quoted})"))
                .with_retryable(false)
                .with_hint("start again; where all parts must have one length (R2), set part_size for the whole object")
        }
        (409, _) => said(ErrorKind::Busy, &quoted).with_hint("try again: others write the same object"),
        (401 | 403, _) => said(ErrorKind::Denied, &quoted).with_hint(
            "allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject and \
             s3:AbortMultipartUpload below the prefix",
        ),
        (404, _) => said(ErrorKind::NotFound, &quoted).with_hint("`uplifted-ops backup list` prints what there is"),
        (412 | 304, _) => said(ErrorKind::Refused, &quoted).with_hint("another object has that key already"),
        (501 | 405, _) => {
            said(ErrorKind::Unsupported, &quoted).with_hint("this server lacks a part of S3 that is needed")
        }
        (500.., _) => said(ErrorKind::Unavailable, &quoted).with_hint("look at the server, then try again"),
        _ => said(ErrorKind::Unavailable, &quoted).with_retryable(false).with_hint("look at the server's log"),
    };
    error.with_context("status", answer.status)
}

fn locked_error(quoted: &str, said: &impl Fn(ErrorKind, &str) -> Error) -> Error {
    said(ErrorKind::Refused, &format!("the bucket keeps it under object lock ({quoted})"))
        .with_hint("wait until its retention ends or its legal hold is lifted; until then nobody can delete it")
}
