//! What went wrong with a request, and what that means for whoever asked.

use std::ffi::OsStr;
use std::time::Duration;

use russh_sftp::client::error::Error as Protocol;
use russh_sftp::protocol::StatusCode;

use crate::error::{Error, ErrorKind};

/// How a request failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server answered with an error, and with some words.
    Answer(StatusCode, String),
    /// The connection is gone. It says why, as far as known; whether the request was carried out is not.
    Lost(Error),
    /// An error that has its words already.
    Ours(Error),
}

impl Fault {
    /// There is nothing under this name.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Answer(StatusCode::NoSuchFile, _))
    }

    /// Read to its end.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::Answer(StatusCode::Eof, _))
    }

    /// The error to return for what was to be done, `store "a/b"` for one.
    pub(super) fn error(self, location: &str, doing: &str) -> Error {
        match self {
            Self::Ours(error) => error,
            Self::Lost(error) => error.while_doing(doing),
            Self::Answer(code, said) => {
                let (kind, hint) = match code {
                    StatusCode::PermissionDenied => {
                        (ErrorKind::Denied, "let the user of the login write in the folder, or name another folder")
                    }
                    StatusCode::NoSuchFile => (ErrorKind::NotFound, "`uplifted-ops backup list` prints what there is"),
                    StatusCode::OpUnsupported => {
                        (ErrorKind::Unsupported, "use OpenSSH's SFTP server, or mount the folder")
                    }
                    // OpenSSH has no other word for a full disk, a quota and a read-only filesystem.
                    _ => (
                        ErrorKind::Unavailable,
                        "look at the server's disk: space, quota, and that it may be written to",
                    ),
                };
                // Servers repeat the code in other words, or say nothing.
                let said = if said.is_empty() { code.to_string() } else { said };
                Error::new(kind, format!("could not {doing}: {location} says {said:?}")).with_hint(hint)
            }
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<Protocol> for Fault {
    fn from(error: Protocol) -> Self {
        match error {
            Protocol::Status(status) => match status.status_code {
                StatusCode::NoConnection | StatusCode::ConnectionLost => Self::Lost(lost(&status.error_message)),
                code => Self::Answer(code, status.error_message),
            },
            other => Self::Lost(lost(&other.to_string())),
        }
    }
}

/// The connection ended, or what came was no SFTP.
fn lost(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the connection to the SFTP server broke: {why}"))
        .with_hint("look at the server and the way to it; the backup may be started again")
}

/// Nothing came for so long.
pub(super) fn silent(timeout: Duration) -> Fault {
    Fault::Lost(
        Error::new(ErrorKind::Timeout, format!("the SFTP server was silent for {} s", timeout.as_secs_f64()))
            .with_hint("look at the server and the way to it, or raise timeout_seconds"),
    )
}

/// What it means that `ssh` ended before a session began, by its last words.
pub(super) fn unborn(program: &OsStr, location: &str, said: &str) -> Error {
    const MEANINGS: [(&str, ErrorKind, &str); 9] = [
        (
            "Host key verification failed",
            ErrorKind::Refused,
            "compare the server's key with what its owner says, then let ssh learn it: ssh-keyscan HOST >> known_hosts",
        ),
        (
            "IDENTIFICATION HAS CHANGED",
            ErrorKind::Refused,
            "ask the server's owner whether its key was changed on purpose before known_hosts learns the new one",
        ),
        (
            "Permission denied",
            ErrorKind::Denied,
            "put the public half of identity_file into the server's authorized_keys; `ssh -v` shows which keys are offered",
        ),
        (
            "Too many authentication failures",
            ErrorKind::Denied,
            "name the key in identity_file, so that no other is offered",
        ),
        ("bad permissions", ErrorKind::Denied, "chmod 600 the identity file"),
        (
            "subsystem request failed",
            ErrorKind::Unsupported,
            "let the server's sshd_config have a line `Subsystem sftp internal-sftp`",
        ),
        ("Could not resolve", ErrorKind::Unavailable, "correct the host in url, or the machine's DNS"),
        ("Bad configuration option", ErrorKind::InvalidInput, "correct ssh_options, see ssh_config(5)"),
        ("Connection refused", ErrorKind::Unavailable, "start the server's sshd, or correct the port in url"),
    ];
    let (kind, hint) = MEANINGS.iter().find(|(words, ..)| said.contains(words)).map_or(
        (ErrorKind::Unavailable, "run the same by hand to see what it needs: sftp -v HOST"),
        |(_, kind, hint)| (*kind, *hint),
    );
    let said = if said.is_empty() { "nothing" } else { said };
    Error::new(kind, format!("{program:?} opens no SFTP session with {location}, and says: {said}")).with_hint(hint)
}
