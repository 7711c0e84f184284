//! What went wrong with a server, with the repair. No error has a password in it: none of ours names one, and PostgreSQL's own
//! words about a failed login name the user, the database and the address alone.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::{DbError, SqlState};

use super::place::{Host, Place, SslMode};
use crate::error::{Error, ErrorKind};

/// Whether another server of the list may do where this one did not.
pub(super) fn is_worth_another(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Busy | ErrorKind::NotFound)
        && error
            .context()
            .iter()
            .all(|(name, code)| name != "sqlstate" || ["53300", "57P01", "57P03"].contains(&&**code))
}

/// What the operating system says while the way to a server is opened.
pub(super) fn of_the_way(host: &Host, error: io::Error) -> Error {
    let at = match host {
        Host::Tcp { .. } => format!("PostgreSQL at {host}"),
        Host::Socket { .. } => format!("PostgreSQL behind the socket {host}"),
    };
    let hint = match (error.kind(), host) {
        (io::ErrorKind::ConnectionRefused, Host::Tcp { .. }) => {
            "start the server, or correct host and port: it listens where `SHOW listen_addresses` and `SHOW port` say"
        }
        (io::ErrorKind::ConnectionRefused, Host::Socket { .. }) => {
            "start the server: the socket was left by one that ended"
        }
        (io::ErrorKind::NotFound, Host::Socket { .. }) => {
            "start the server, or name the folder that `SHOW unix_socket_directories` names as host"
        }
        (io::ErrorKind::PermissionDenied, Host::Socket { .. }) => "let this user into the socket's folder",
        _ => "look at the name, the network and the firewall",
    };
    let why = error.to_string();
    let why = why.split(" (os error").next().unwrap_or_default().to_owned();
    Error::new(ErrorKind::Unavailable, format!("{at} cannot be reached: {}", why.to_lowercase()))
        .with_hint(hint)
        .with_source(error)
}

/// A server that says nothing for too long.
pub(super) fn too_late(host: &Host, seconds: f64) -> Error {
    Error::new(ErrorKind::Timeout, format!("PostgreSQL at {host} did not let us in within {seconds} s")).with_hint(
        "look whether it is overloaded, whether a firewall drops packets, and whether it is PostgreSQL at all",
    )
}

/// Whether plain text may be tried after this, as `sslmode=prefer` has it: TLS itself failed, or is not let in.
pub(super) fn is_of_tls(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(said) => {
            *said.code() == SqlState::INVALID_AUTHORIZATION_SPECIFICATION && said.message().contains("pg_hba.conf")
        }
        None => error.to_string().starts_with("error performing TLS handshake"),
    }
}

/// Why a server did not let us in. `passfile` says why the password file gave none.
pub(super) fn of_the_login(
    place: &Place,
    host: &Host,
    error: tokio_postgres::Error,
    passfile: Option<String>,
) -> Error {
    if let Some(said) = error.as_db_error() {
        return refused(place, host, said, passfile);
    }
    let (user, text) = (&place.user, error.to_string());
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    if source == "password missing" {
        let hint =
            passfile.unwrap_or_else(|| "set it as password = \"env:NAME\", in PGPASSWORD or in ~/.pgpass".to_owned());
        return Error::new(
            ErrorKind::Denied,
            format!("PostgreSQL at {host} asks user {user:?} for a password, and there is none"),
        )
        .with_hint(hint);
    }
    if text.starts_with("error performing TLS handshake") {
        return of_tls(place, host, &error, &source);
    }
    if text.contains("authentication") {
        return Error::new(
            ErrorKind::Unsupported,
            format!("PostgreSQL at {host} wants to know user {user:?} by a way we lack: {source}"),
        )
        .with_hint("give that user scram-sha-256, cert or peer in pg_hba.conf");
    }
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let is_foreign = matches!(io, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
        || source == "bytes remaining on stream"
        || text.contains("unexpected message");
    if is_foreign {
        return Error::invalid(format!("what answers at {host} does not speak PostgreSQL's protocol"))
            .with_hint("correct host and port: PostgreSQL's is 5432 unless it was changed");
    }
    Error::new(ErrorKind::Unavailable, format!("PostgreSQL at {host} hung up while it let us in"))
        .with_hint("look at the server's log; if it has nothing of it, host and port are somebody else's")
        .with_source(error)
}

fn of_tls(place: &Place, host: &Host, error: &tokio_postgres::Error, source: &str) -> Error {
    if source == "server does not support TLS" {
        let message = format!("PostgreSQL at {host} has no TLS, and sslmode asks for it");
        return Error::new(ErrorKind::Refused, message)
            .with_hint("set ssl = on, with a certificate, in postgresql.conf; sslmode=prefer does without it");
    }
    let inner = error.source().and_then(|it| it.downcast_ref::<io::Error>()).and_then(io::Error::get_ref);
    let why = match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => format!("its certificate is not accepted: {why}"),
        Some(rustls::Error::AlertReceived(alert)) => format!("it ended the handshake: {alert:?}"),
        _ => source.to_owned(),
    };
    let hint = match place.tls.mode {
        SslMode::VerifyFull | SslMode::VerifyCa => {
            "name the file of the authority that signed it as sslrootcert, and as host a name that is in the certificate"
        }
        _ => "look at the server's log, and whether it wants a certificate of ours (sslcert, sslkey)",
    };
    Error::new(ErrorKind::Refused, format!("no TLS with PostgreSQL at {host}: {why}")).with_hint(hint)
}

/// A login that the server refuses in words.
fn refused(place: &Place, host: &Host, said: &DbError, passfile: Option<String>) -> Error {
    let (code, words) = (said.code(), said.message());
    let at = format!("PostgreSQL at {host}");
    let (kind, message, hint) = if *code == SqlState::INVALID_PASSWORD {
        let hint = passfile.unwrap_or_else(|| {
            "correct the password: that of the settings goes before PGPASSWORD, and both before ~/.pgpass".to_owned()
        });
        (ErrorKind::Denied, format!("{at} refuses the password of user {:?}", place.user), hint)
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        let hint = "correct the database's name; psql -l lists those that there are".to_owned();
        (ErrorKind::NotFound, format!("{at} has no database {:?}", place.database), hint)
    } else if *code == SqlState::TOO_MANY_CONNECTIONS || *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED {
        let hint = "end idle connections or raise max_connections; one of pg_use_reserved_connections (16 and later) is let in";
        (ErrorKind::Busy, format!("{at} has no connection left: {words}"), hint.to_owned())
    } else if *code == SqlState::CANNOT_CONNECT_NOW || *code == SqlState::ADMIN_SHUTDOWN {
        (
            ErrorKind::Unavailable,
            format!("{at} lets nobody in now: {words}"),
            "wait until it is up; its log says how far it is".to_owned(),
        )
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION && words.contains("pg_hba.conf") {
        let line = match host {
            Host::Tcp { .. } => "host DATABASE USER ADDRESS/32 scram-sha-256",
            Host::Socket { .. } => "local DATABASE USER peer",
        };
        let hint = format!("add a line to its pg_hba.conf, such as {line:?}, and reload it: SELECT pg_reload_conf()");
        (ErrorKind::Denied, format!("{at} lets us in by no line of its pg_hba.conf: {words}"), hint)
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        let hint =
            "correct the user; by peer the name of the system's user counts, and \\du lists those that there are";
        (ErrorKind::Denied, format!("{at} does not let user {:?} in: {words}", place.user), hint.to_owned())
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        let hint = format!("GRANT CONNECT ON DATABASE {} TO {}", quoted(&place.database), quoted(&place.user));
        (ErrorKind::Denied, format!("{at} does not let user {:?} in: {words}", place.user), hint)
    } else {
        (ErrorKind::Unavailable, format!("{at} does not let us in: {words}"), "look at the server's log".to_owned())
    };
    Error::new(kind, message).with_hint(hint).with_context("sqlstate", code.code())
}

/// Why a question was not answered. `doing` completes "could not …".
pub(super) fn of_a_question(doing: &str, error: tokio_postgres::Error) -> Error {
    let Some(said) = error.as_db_error() else {
        return Error::new(ErrorKind::Unavailable, format!("could not {doing}: the connection to PostgreSQL broke"))
            .with_hint("look whether the server was restarted, and at its log")
            .with_source(error);
    };
    let code = said.code();
    let (kind, hint) = match code.code() {
        "42501" => (ErrorKind::Denied, "grant what the message names; pg_monitor is enough for numbers"),
        "57014" => (ErrorKind::Timeout, "raise statement_timeout_seconds, or look what the server is busy with"),
        "55P03" | "40P01" | "40001" => (ErrorKind::Busy, "try again: somebody else holds a lock"),
        "53100" => (ErrorKind::NoSpace, "free space on the server's disk"),
        // So it says when its table of locks is full.
        "53200" if said.message().contains("shared memory") => (
            ErrorKind::Busy,
            "the server has no room for so many locks: raise max_locks_per_transaction, and restart it",
        ),
        "53200" | "53300" => (ErrorKind::Busy, "the server is out of memory or connections: look what it is busy with"),
        "57P01" | "57P02" | "57P03" => {
            (ErrorKind::Unavailable, "the server was shut down: bring it back, then try again")
        }
        "XX001" | "XX002" => {
            (ErrorKind::Corrupt, "data of the server is damaged: back up its folder, then restore a copy")
        }
        _ => (ErrorKind::Unavailable, "look at the server's log"),
    };
    Error::new(kind, format!("could not {doing}: {}", said.message()))
        .with_hint(hint)
        .with_context("sqlstate", code.code())
}

/// A name as SQL writes it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
