//! What is answered when there is nothing good to answer: one shape, and the status of the kind.

use serde_json::json;

use crate::error::{Error, ErrorKind};
use crate::health::own;

use super::message::Response;

/// An error with its status.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    error: Error,
    header: Option<(&'static str, String)>,
}

impl Refusal {
    fn new(status: u16, kind: ErrorKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, error: Error::new(kind, message).with_hint(hint), header: None }
    }

    pub(super) fn unauthorised(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let challenge = Some(("www-authenticate", "Bearer realm=\"uplifted-ops\"".to_owned()));
        Self { header: challenge, ..Self::new(401, ErrorKind::Denied, message, hint) }
    }

    pub(super) fn forbidden(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(403, ErrorKind::Denied, message, hint)
    }

    pub(super) fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(404, ErrorKind::NotFound, message, hint)
    }

    pub(super) fn method(allow: &str, hint: impl Into<String>) -> Self {
        let message = format!("only {allow} is answered here");
        Self { header: Some(("allow", allow.to_owned())), ..Self::new(405, ErrorKind::Unsupported, message, hint) }
    }

    pub(super) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(400, ErrorKind::InvalidInput, message, hint)
    }

    pub(super) fn body_too_long() -> Self {
        let limit = format!("the body is longer than {} bytes", super::MAX_BODY);
        Self::new(413, ErrorKind::InvalidInput, limit, "send the fields of the operation and nothing else")
    }

    pub(super) fn query_too_long() -> Self {
        let limit = format!("the query is longer than {} bytes", super::MAX_QUERY);
        Self::new(414, ErrorKind::InvalidInput, limit, "send the fields as the body of a POST")
    }

    pub(super) fn not_json() -> Self {
        Self::new(
            415,
            ErrorKind::InvalidInput,
            "the body is not said to be JSON",
            "send Content-Type: application/json",
        )
    }

    /// The checks are asked for by one of them, which names itself by `mark` (RFC 5842, 7.2).
    pub(super) fn looped(mark: &str) -> Self {
        let refusal = Self::new(
            508,
            ErrorKind::Refused,
            "this runs the checks of the service, and one of them asks for it",
            "point that check at /status or /livez, or at an address of the service's own",
        );
        Self { header: Some((own::HEADER, mark.to_owned())), ..refusal }
    }

    /// Names the operation in the error.
    pub(super) fn in_operation(self, name: &str) -> Self {
        Self { error: self.error.in_operation(name), ..self }
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::json(self.status, &json!({ "error": self.error.to_body() }));
        response.headers.extend(self.header);
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::InvalidInput => 400,
            ErrorKind::NotFound => 404,
            // Somebody else is at it, or a condition is not met: the request is fine, the time is not.
            ErrorKind::Refused | ErrorKind::Busy => 409,
            ErrorKind::NoSpace => 507,
            // The `Ops` was closed: the caller's own cancel never sees an answer.
            ErrorKind::Unavailable | ErrorKind::Cancelled => 503,
            ErrorKind::Timeout => 504,
            ErrorKind::Unsupported => 501,
            // `Denied` is what the system said to us, not what we say to the caller: no 403.
            ErrorKind::Denied | ErrorKind::Corrupt | ErrorKind::Internal => 500,
        };
        let header = error.retryable().then(|| ("retry-after", "1".to_owned()));
        Self { status, error, header }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        for (kind, status, retry) in [
            (ErrorKind::InvalidInput, 400, None),
            (ErrorKind::NotFound, 404, None),
            (ErrorKind::Refused, 409, None),
            (ErrorKind::Busy, 409, Some("1")),
            (ErrorKind::Denied, 500, None),
            (ErrorKind::NoSpace, 507, None),
            (ErrorKind::Unavailable, 503, Some("1")),
            (ErrorKind::Timeout, 504, Some("1")),
            (ErrorKind::Corrupt, 500, None),
            (ErrorKind::Unsupported, 501, None),
            (ErrorKind::Cancelled, 503, None),
            (ErrorKind::Internal, 500, None),
        ] {
            let response = Refusal::from(Error::new(kind, "x")).into_response();
            assert_eq!((response.status, response.header("retry-after")), (status, retry), "{kind}");
            let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(body["error"]["kind"], kind.as_str());
            assert_ne!(response.reason(), "Unknown", "{status}");
        }
    }
}
