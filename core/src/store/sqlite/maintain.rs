//! Upkeep that neither rewrites nor checkpoints the live database.

use rusqlite::{Connection, OpenFlags};

use super::blocking::Task;
use super::live::{self, LiveFile, patiently, sql_error};
use super::{Database, MaintenanceOutcome, MaintenanceTask};
use crate::error::Result;

/// Rows that `ANALYZE` looks at per index: what SQLite recommends, so that a large table costs no more than a small one.
const ANALYSIS_LIMIT: i64 = 400;
/// Free pages returned per transaction, so that the service's writers wait for milliseconds.
const PAGES_AT_ONCE: i64 = 1000;

/// Carries out `tasks` in order.
pub(super) fn all(task: &Task, database: &Database, tasks: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
    let file = LiveFile::find(task, database)?;
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let work = || {
        let connection = live::connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        task.watch(&connection);
        let upkeep = Upkeep { task, database, file: &file, connection };
        tasks.iter().map(|task| upkeep.one(*task)).collect()
    };
    let outcomes = work();
    live::tidy(&file);
    outcomes
}

struct Upkeep<'a> {
    task: &'a Task,
    database: &'a Database,
    file: &'a LiveFile,
    connection: Connection,
}

impl Upkeep<'_> {
    fn one(&self, task: MaintenanceTask) -> Result<MaintenanceOutcome> {
        let (done, message) = match task {
            MaintenanceTask::Optimize => self.optimize()?,
            MaintenanceTask::ReleaseFreePages => self.release()?,
        };
        Ok(MaintenanceOutcome { task, done, message })
    }

    /// `PRAGMA optimize=0x10002`: a fresh connection has seen no queries, so the plain pragma would do nothing
    /// (<https://www.sqlite.org/pragma.html#pragma_optimize>).
    fn optimize(&self) -> Result<(bool, String)> {
        let limit = format!("PRAGMA analysis_limit={ANALYSIS_LIMIT}");
        self.connection.query_row(&limit, [], |_| Ok(())).map_err(|e| sql_error("optimize", &self.file.path, e))?;
        // Bit 1 makes it say what it would do, and do nothing.
        let planned = self.patiently(|connection| lines(connection, "PRAGMA optimize=0x10003"))?.len();
        if planned == 0 {
            return Ok((true, "the planner's statistics are fresh".to_owned()));
        }
        self.patiently(|connection| lines(connection, "PRAGMA optimize=0x10002"))?;
        let tables = if planned == 1 { "1 table".to_owned() } else { format!("{planned} tables") };
        Ok((true, format!("refreshed the planner's statistics of {tables}")))
    }

    fn release(&self) -> Result<(bool, String)> {
        match self.patiently(|connection| number(connection, "PRAGMA auto_vacuum"))? {
            2 => {}
            1 => return Ok((false, "skipped: auto_vacuum is full, free pages are returned at each commit".to_owned())),
            _ => {
                let reason = "skipped: auto_vacuum is not incremental, so only a VACUUM would return free pages";
                return Ok((false, reason.to_owned()));
            }
        }
        let free = || self.patiently(|connection| number(connection, "PRAGMA freelist_count"));
        let before = free()?;
        let mut left = before;
        while left > 0 {
            let vacuum = format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})");
            self.patiently(|connection| lines(connection, &vacuum))?;
            let now = free()?;
            if now >= left {
                // The service frees pages as fast as they are returned: the rest is for the next time.
                break;
            }
            left = now;
        }
        let bytes = before.saturating_sub(left).max(0).unsigned_abs()
            * self.patiently(|connection| number(connection, "PRAGMA page_size"))?.unsigned_abs();
        let size = crate::value::ByteSize(bytes);
        Ok((true, format!("returned {} free pages ({size})", before.saturating_sub(left).max(0))))
    }

    fn patiently<T>(&self, attempt: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        patiently(self.task, self.database, self.file, || attempt(&self.connection))
    }
}

/// Runs a statement to its end; each row's first column, where it has one, as text.
fn lines(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(row.get::<_, String>(0).unwrap_or_default());
    }
    Ok(lines)
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}
