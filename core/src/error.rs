//! One error for the whole product.
//!
//! A caller decides by [`ErrorKind`]; a person reads `message` and then `hint`, which is the repair in
//! one line. The same value crosses the worker's pipe, the command line's JSON, Python and Node as an
//! [`ErrorBody`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller must do. Few on purpose: match on these, show the rest to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request or a setting is wrong: change it.
    InvalidInput,
    /// What was named does not exist: name something that does.
    NotFound,
    /// Doing it now would be unsafe: meet the condition in the hint first.
    Refused,
    /// Somebody else holds what is needed: try again later.
    Busy,
    /// The operating system or a server said no: grant the permission.
    Denied,
    /// The disk or the target is full: free space.
    NoSpace,
    /// Something outside did not answer, or a device failed: bring it back, then try again.
    Unavailable,
    /// The deadline passed: try again, or allow more time.
    Timeout,
    /// Data is damaged: do not trust it, use another copy.
    Corrupt,
    /// This build, or this component, cannot do that.
    Unsupported,
    /// The caller cancelled. Nothing was left half-done.
    Cancelled,
    /// A defect of ours: report it.
    Internal,
}

impl ErrorKind {
    /// The kind's name on the wire: `invalid_input`, `no_space`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Denied => "denied",
            Self::NoSpace => "no_space",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call can succeed later without anybody changing it.
    pub fn usually_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable | Self::Timeout)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, for a program (`kind`, `retryable`) and for a person (`message`, `hint`).
///
/// ```
/// use uplifted_ops::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NoSpace, "the target has 1.0 MB free, the backup needs 2.0 GB")
///     .with_context("target", "local")
///     .with_hint("free space on /backup, or name another [[target]]");
/// assert_eq!(error.kind(), ErrorKind::NoSpace);
/// assert!(!error.retryable());
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    operation: Option<String>,
    context: Vec<(String, String)>,
    hint: Option<String>,
    retryable: bool,
    source: Option<Cause>,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// Makes an error. `message` is a sentence without a full stop that names the thing concerned.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            context: Vec::new(),
            hint: None,
            retryable: kind.usually_retryable(),
            source: None,
        }))
    }

    /// Shorthand for [`ErrorKind::InvalidInput`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Shorthand for [`ErrorKind::Internal`], with the hint to report it.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
            .with_hint("this is a defect of uplifted-ops: please report it with this message")
    }

    /// An error of the operating system, its kind taken from the error number.
    ///
    /// `doing` completes the sentence "could not …", and names the file: `read "config/app.yaml"`.
    pub fn io(doing: impl fmt::Display, source: impl Into<std::io::Error>) -> Self {
        let source = source.into();
        let (kind, hint) = classify_io(&source);
        let mut error = Self::new(kind, format!("could not {doing}: {}", plain_io(&source)));
        if let Some(hint) = hint {
            error = error.with_hint(hint);
        }
        error.with_source(source)
    }

    /// Adds a name and a value that help to find the place.
    #[must_use]
    pub fn with_context(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.0.context.push((name.into(), value.to_string()));
        self
    }

    /// Sets the repair: one line, an imperative.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the operation, unless an inner one is named already.
    #[must_use]
    pub fn in_operation(mut self, operation: &str) -> Self {
        self.0.operation.get_or_insert_with(|| operation.to_owned());
        self
    }

    /// Overrides what [`ErrorKind::usually_retryable`] says.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// Sets the underlying cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Cause>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts `prefix: ` before the message, for a caller that knows more about what was attempted.
    #[must_use]
    pub fn while_doing(mut self, prefix: impl fmt::Display) -> Self {
        self.0.message = format!("{prefix}: {}", self.0.message);
        self
    }

    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without the hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The operation that failed, such as `backup.create`.
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }

    /// The repair, one line.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether the same call can succeed later without anybody changing it.
    pub fn retryable(&self) -> bool {
        self.0.retryable
    }

    /// Names and values that help to find the place, in the order they were added.
    pub fn context(&self) -> &[(String, String)] {
        &self.0.context
    }

    /// The form that crosses process and language boundaries.
    pub fn to_body(&self) -> ErrorBody {
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        ErrorBody {
            kind: self.kind(),
            message: self.0.message.clone(),
            hint: self.0.hint.clone(),
            retryable: self.0.retryable,
            operation: self.0.operation.clone(),
            context: self.0.context.iter().cloned().collect(),
            causes,
        }
    }
}

/// An [`Error`] on the wire: the value of `error` in `{"error": {…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What the caller must do.
    pub kind: ErrorKind,
    /// What happened, for a person.
    pub message: String,
    /// The repair, one line.
    pub hint: Option<String>,
    /// Whether the same call can succeed later without anybody changing it.
    pub retryable: bool,
    /// The operation that failed.
    pub operation: Option<String>,
    /// Names and values that help to find the place.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub context: std::collections::BTreeMap<String, String>,
    /// The messages of the underlying causes, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
}

impl From<ErrorBody> for Error {
    fn from(body: ErrorBody) -> Self {
        let source = body
            .causes
            .into_iter()
            .rev()
            .fold(None::<Cause>, |source, message| Some(Box::new(RemoteCause { message, source })));
        Self(Box::new(Inner {
            kind: body.kind,
            message: body.message,
            operation: body.operation,
            context: body.context.into_iter().collect(),
            hint: body.hint,
            retryable: body.retryable,
            source,
        }))
    }
}

/// One link of a cause chain that came from another process.
#[derive(Debug)]
struct RemoteCause {
    message: String,
    source: Option<Cause>,
}

impl fmt::Display for RemoteCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RemoteCause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

fn classify_io(error: &std::io::Error) -> (ErrorKind, Option<&'static str>) {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => (ErrorKind::NotFound, None),
        Io::PermissionDenied => {
            (ErrorKind::Denied, Some("run as the user that owns the service, or give this user access to the file"))
        }
        Io::ReadOnlyFilesystem => {
            (ErrorKind::Denied, Some("the filesystem is mounted read-only: remount it, or name another folder"))
        }
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
            (ErrorKind::NoSpace, Some("free space on that filesystem, then try again"))
        }
        Io::TimedOut => (ErrorKind::Timeout, None),
        Io::Interrupted | Io::WouldBlock | Io::ResourceBusy => (ErrorKind::Busy, None),
        Io::ConnectionRefused
        | Io::ConnectionReset
        | Io::ConnectionAborted
        | Io::NotConnected
        | Io::BrokenPipe
        | Io::HostUnreachable
        | Io::NetworkUnreachable => (ErrorKind::Unavailable, None),
        Io::InvalidData | Io::UnexpectedEof => (ErrorKind::Corrupt, None),
        Io::AlreadyExists | Io::DirectoryNotEmpty | Io::IsADirectory | Io::NotADirectory => (ErrorKind::Refused, None),
        Io::InvalidInput => (ErrorKind::InvalidInput, None),
        Io::Unsupported => (ErrorKind::Unsupported, None),
        // EMFILE and ENFILE have no `std::io::ErrorKind` of their own.
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            (ErrorKind::Unavailable, Some("too many open files: raise the limit (`ulimit -n`)"))
        }
        _ => (ErrorKind::Unavailable, Some("the device or filesystem reported a failure: look at the kernel's log")),
    }
}

/// The text of an I/O error without Rust's `(os error N)`.
fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_round_trips_with_its_chain_of_causes() {
        let error = Error::io("write \"a\"", std::io::Error::from_raw_os_error(libc::ENOSPC))
            .with_context("target", "local")
            .in_operation("backup.create")
            .in_operation("outer");
        let body = error.to_body();
        assert_eq!(body.kind, ErrorKind::NoSpace);
        assert_eq!(body.message, "could not write \"a\": No space left on device");
        assert_eq!(body.operation.as_deref(), Some("backup.create"));
        assert_eq!(body.causes.len(), 1);
        let back = Error::from(body.clone());
        assert_eq!(back.to_body(), body);
    }

    #[test]
    fn retryable_follows_the_kind_until_said_otherwise() {
        assert!(Error::new(ErrorKind::Busy, "x").retryable());
        assert!(!Error::new(ErrorKind::Busy, "x").with_retryable(false).retryable());
        assert!(!Error::new(ErrorKind::Corrupt, "x").retryable());
    }
}
