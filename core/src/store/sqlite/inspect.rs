//! Asking a copy how many rows it has, and what a caller's query says about it.
//!
//! A query is the caller's, and the copy may be a stranger's. So it runs read-only, cannot attach another file, which
//! might be the live database, and its answer leaves as a number or as the kind of value that it is: what the service
//! stores has no place in a report.

use std::path::Path;

use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::blocking::Task;
use super::check::{needs_the_application, open_unchanging};
use super::live::{self, plain, sql_error};
use crate::error::{Error, Result};
use crate::store::{CopyFacts, Inspection, QueryAnswer, TableCount};

/// Tables that are counted. Who has more has them by pattern, and a report of all would drown the rest.
const MAX_TABLES: i64 = 1000;

/// Asks the database file at `path`, which nobody else has open.
pub(super) fn file(task: &Task, path: &Path, inspection: &Inspection) -> Result<CopyFacts> {
    task.check()?;
    let failed = |error| sql_error("inspect", path, error);
    let connection = open(path).map_err(failed)?;
    task.watch(&connection);
    let rows = if inspection.rows { count(task, &connection, path)? } else { Vec::new() };
    let answers = inspection.queries.iter().map(|sql| {
        task.check()?;
        ask(&connection, sql, path)
    });
    let answers = answers.collect::<Result<_>>()?;
    // What was interrupted half-way says nothing.
    task.check()?;
    Ok(CopyFacts { rows, answers })
}

/// Without locks where the file is whole by itself; with the engine's own care where a program that ran on the copy
/// left a log beside it.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let has_log = |suffix| live::beside(path, suffix).metadata().is_ok_and(|meta| meta.len() > 0);
    let connection = if ["-wal", "-journal"].into_iter().any(has_log) {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "query_only", true)?;
        connection
    } else {
        open_unchanging(path)?
    };
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    // The engine reads at least this much ahead of a count of a large table.
    connection.pragma_update(None, "cache_size", -4_000)?;
    Ok(connection)
}

/// Counts through the smallest tree of each table, as the engine does by itself. Tables that only the application
/// understands, and virtual ones, are left out; the tables in which those keep their rows are counted.
fn count(task: &Task, connection: &Connection, path: &Path) -> Result<Vec<TableCount>> {
    let names = || -> rusqlite::Result<Vec<String>> {
        let mut names = connection.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' \
             ESCAPE '\\' ORDER BY name LIMIT ?1",
        )?;
        names.query_map([MAX_TABLES], |row| row.get(0))?.collect()
    };
    let mut counts = Vec::new();
    for table in names().map_err(|error| sql_error("inspect", path, error))? {
        task.check()?;
        let sql = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
        match connection.query_row(&sql, [], |row| row.get::<_, i64>(0)) {
            Ok(rows) => counts.push(TableCount { table, rows: rows.unsigned_abs() }),
            Err(error) if needs_the_application(&error) => {}
            Err(error) => return Err(sql_error("count the rows of", path, error)),
        }
    }
    Ok(counts)
}

fn ask(connection: &Connection, sql: &str, path: &Path) -> Result<QueryAnswer> {
    let answer = || -> rusqlite::Result<Option<QueryAnswer>> {
        let mut statement = connection.prepare(sql)?;
        if !statement.readonly() || statement.column_count() == 0 {
            return Ok(None);
        }
        let mut rows = statement.query([])?;
        Ok(Some(match rows.next()? {
            Some(row) => judged(row.get_ref(0)?),
            None => QueryAnswer { holds: false, message: "it returned no row".to_owned() },
        }))
    };
    match answer() {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Error::invalid("the query returns nothing, or would change the copy")
            .with_context("query", sql)
            .with_hint("ask with a SELECT, such as SELECT count(*) > 0 FROM users")),
        Err(error) if is_no_query(&error) => {
            Err(Error::invalid(format!("the query is not SQL that SQLite understands: {}", plain(&error)))
                .with_context("query", sql)
                .with_hint("try it with the sqlite3 shell on a copy of the database"))
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Err(sql_error("query", path, error))
        }
        Err(error) => Ok(QueryAnswer { holds: false, message: plain(&error) }),
    }
}

fn judged(value: ValueRef<'_>) -> QueryAnswer {
    let (holds, message) = match value {
        ValueRef::Null => (false, "null".to_owned()),
        ValueRef::Integer(number) => (number != 0, number.to_string()),
        ValueRef::Real(number) => (number != 0.0, number.to_string()),
        ValueRef::Text(_) => (true, "a text".to_owned()),
        ValueRef::Blob(_) => (true, "a blob".to_owned()),
    };
    QueryAnswer { holds, message: format!("it returned {message}") }
}

/// Whether the text can be a query of no database at all.
fn is_no_query(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::MultipleStatement => true,
        other => {
            let text = plain(other);
            ["syntax error", "incomplete input", "unrecognized token", "too many attached"]
                .iter()
                .any(|saying| text.contains(saying))
        }
    }
}
