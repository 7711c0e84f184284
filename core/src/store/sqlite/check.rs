//! Asking the engine whether a database is whole.
//!
//! Foreign keys are not looked at: SQLite enforces them only where the application asks it to, so a dangling
//! one is the application's affair and no damage of the file.

use std::fmt::Write;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::blocking::Task;
use super::header::Header;
use super::live::{self, plain, sql_error};
use super::scratch::Scratch;
use super::{CheckDepth, Database, IntegrityReport, snapshot};
use crate::error::{Error, ErrorKind, Result};

/// Reports list no more than this.
const MAX_PROBLEMS: usize = 100;

/// Checks the live database on a copy in scratch, removed afterwards.
pub(super) fn live(task: &Task, database: &Database, depth: CheckDepth) -> Result<IntegrityReport> {
    let scratch = Scratch::create(&database.scratch, &database.path)?;
    match snapshot::take(task, database, &scratch.copy()) {
        Ok(_) => file(task, &scratch.copy().join(&database.copy_name), depth),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(report(vec![error.message().to_owned()])),
        Err(error) => Err(error),
    }
}

/// Checks a database file that nobody else has open, without changing a byte of it or beside it.
///
/// # Errors
/// Only where the check itself could not be made: cancelled, unreadable, no memory. All else is a problem in
/// the report.
pub(super) fn file(task: &Task, path: &Path, depth: CheckDepth) -> Result<IntegrityReport> {
    task.check()?;
    task.scope.progress.stage(format!("checking database {:?}", path.file_name().unwrap_or_default()));
    let opened = File::open(path).map_err(|e| Error::io(format!("open {path:?}"), e))?;
    match Header::read(&opened, path) {
        Ok(_) => drop(opened),
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
            return Ok(report(vec![error.message().to_owned()]));
        }
        Err(error) => return Err(error),
    }
    for suffix in ["-wal", "-journal"] {
        if live::beside(path, suffix).metadata().is_ok_and(|meta| meta.len() > 0) {
            return Ok(report(vec![format!("{path:?} is not whole without the {suffix} beside it")]));
        }
    }
    let check = || {
        let connection = open_unchanging(path)?;
        task.watch(&connection);
        problems(&connection, depth)
    };
    match check() {
        // What a cancelled check has not found means nothing.
        Ok(problems) => task.check().map(|()| report(problems)),
        Err(error) if is_about_the_data(&error) => Ok(report(vec![plain(&error)])),
        Err(error) => Err(sql_error("check", path, error)),
    }
}

/// Opens the file as one that nobody changes (`immutable=1`): no locks, no `-wal`, no `-shm`.
pub(super) fn open_unchanging(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            other => drop(write!(uri, "%{other:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    // The schema may come from a hostile archive: it calls no function that does more than compute.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    Ok(connection)
}

fn problems(connection: &Connection, depth: CheckDepth) -> rusqlite::Result<Vec<String>> {
    // Index order is looked up at random: 16 MB keep the upper levels of large trees at hand.
    connection.pragma_update(None, "cache_size", -16_000)?;
    let pragma = match depth {
        CheckDepth::Quick => "quick_check",
        CheckDepth::Full => "integrity_check",
    };
    match ask(connection, &format!("PRAGMA {pragma}({MAX_PROBLEMS})")) {
        Err(error) if needs_the_application(&error) => by_table(connection, pragma),
        other => other,
    }
}

/// Checks table by table, for a schema that uses a collation or function that only the application has: the
/// engine cannot check such a table's indexes, and that is no damage.
fn by_table(connection: &Connection, pragma: &str) -> rusqlite::Result<Vec<String>> {
    // Constraints may call such functions, and are not structure.
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")?;
    let names = names.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut found = Vec::new();
    for name in names.iter().map(String::as_str).chain(["sqlite_schema"]) {
        let quoted = name.replace('"', "\"\"");
        for pragma in [pragma, "quick_check"] {
            match ask(connection, &format!("PRAGMA {pragma}(\"{quoted}\")")) {
                Err(error) if needs_the_application(&error) => {}
                other => {
                    found.extend(other?);
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// Runs a check; what it says, less the `ok`.
fn ask(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

pub(super) fn needs_the_application(error: &rusqlite::Error) -> bool {
    const SAYINGS: [&str; 6] = [
        "no such collation sequence",
        "no such function",
        "unknown function",
        "no such module",
        "no such tokenizer",
        "unsafe use of",
    ];
    let text = plain(error);
    error.sqlite_error_code() == Some(ErrorCode::Unknown) && SAYINGS.iter().any(|saying| text.contains(saying))
}

/// Whether an error of the engine speaks of the file's content, and not of the machine or the caller.
fn is_about_the_data(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::OperationInterrupted
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::PermissionDenied
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
        )
    )
}

fn report(mut problems: Vec<String>) -> IntegrityReport {
    problems.truncate(MAX_PROBLEMS);
    IntegrityReport { ok: problems.is_empty(), problems }
}
