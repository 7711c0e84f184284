//! Whether tables and indexes of a database are what they should be, by `pg_amcheck` and what the server itself has noticed.
//!
//! It reads every page of every table, and holds every B-tree index against its order (*quick*) and against the rows of its
//! table (*full*), under the locks of a SELECT. It runs on the live server: there is no copy of a database that has its pages.

use serde::Deserialize;

use super::PostgresStore;
use super::place::{Host, Place};
use super::programs::{self, Programs};
use super::session::Session;
use super::trouble::quoted;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::process::last_words;
use crate::store::{CheckDepth, IntegrityReport};

/// Problems that are told.
const MOST: usize = 100;
/// `pg_amcheck` is there from this version on.
const FIRST: u32 = 14;

#[derive(Debug, Deserialize)]
struct Facts {
    /// The schema of amcheck, where the database has it.
    schema: Option<String>,
    allowed: bool,
    checksum_failures: Option<i64>,
    user: String,
}

#[derive(Debug, Deserialize)]
struct Name {
    name: String,
}

/// Checks the live database.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with what is missing when nothing can be checked; [`ErrorKind::Denied`] with the grant.
pub(super) async fn live(store: &PostgresStore, scope: &Scope, depth: CheckDepth) -> Result<IntegrityReport> {
    let place = store.server.place()?;
    let session = store.server.connect(scope).await?;
    let facts = facts(&session).await?;
    let user = quoted(&facts.user);
    let Some(schema) = &facts.schema else {
        let message = "no table and no index was checked: the database has no extension amcheck";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("as a superuser, in that database: CREATE EXTENSION amcheck (Debian: it is in postgresql-NN)"));
    };
    if !facts.allowed {
        let message = format!("no table and no index was checked: user {user} may not use amcheck");
        let hint = format!(
            "as a superuser, in that database: GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {} TO {user}",
            quoted(schema)
        );
        return Err(Error::new(ErrorKind::Denied, message).with_hint(hint));
    }
    let programs = Programs::find(scope, store.server.settings.programs.as_deref(), session.version()).await?;
    let mut problems = noticed(&session, facts.checksum_failures).await?;
    problems.extend(pages(scope, &programs, &place, session.host(), &place.database, depth).await?);
    session.close().await;
    problems.truncate(MOST);
    Ok(IntegrityReport { ok: problems.is_empty(), problems })
}

async fn facts(session: &Session) -> Result<Facts> {
    let privilege = "has_function_privilege(p.oid, 'EXECUTE')";
    session
        .ask_one(
            "look whether the database can be checked",
            &format!(
                "SELECT (SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'amcheck') AS schema,
                   (SELECT coalesce(bool_and({privilege}), false) FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
                      JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
                    WHERE extname = 'amcheck' AND proname IN ('verify_heapam', 'bt_index_check')) AS allowed,
                   (SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()) AS checksum_failures,
                   current_user AS user"
            ),
        )
        .await
}

/// What the server itself knows to be wrong.
async fn noticed(session: &Session, checksum_failures: Option<i64>) -> Result<Vec<String>> {
    const DOING: &str = "look what the server has noticed";
    let mut problems = Vec::new();
    if let Some(failures) = checksum_failures.filter(|failures| *failures > 0) {
        problems.push(format!("pages whose checksum was wrong when they were read: {failures} times"));
    }
    let invalid = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid ORDER BY 1";
    let invalid: Vec<Name> = session.ask(DOING, invalid).await?;
    problems.extend(invalid.into_iter().map(|it| format!("the index {} is not valid: REINDEX INDEX it", it.name)));
    problems.extend(collations(session).await?);
    Ok(problems)
}

/// The collations whose order has changed below the indexes that were built by it.
///
/// # Errors
/// What the server says.
pub(super) async fn collations(session: &Session) -> Result<Vec<String>> {
    const DOING: &str = "look at the versions of the collations";
    let mut select = "SELECT format('the collation %s was of version %s when indexes were built by it, and is %s now: REINDEX them, then \
           ALTER COLLATION %s REFRESH VERSION', c.oid::regcollation, collversion, pg_collation_actual_version(c.oid), c.oid::regcollation) AS name
         FROM pg_collation c WHERE collversion <> pg_collation_actual_version(c.oid)
           AND EXISTS (SELECT FROM pg_attribute a JOIN pg_index i ON i.indexrelid = a.attrelid WHERE attcollation = c.oid AND indrelid >= 16384)"
        .to_owned();
    if session.version() >= 15 {
        select.push_str(
            " UNION ALL SELECT format('the database was made by version %s of its collation, which is %s now: REINDEX DATABASE it, then \
               ALTER DATABASE %I REFRESH COLLATION VERSION', datcollversion, pg_database_collation_actual_version(oid), datname)
             FROM pg_database WHERE datname = current_database() AND datcollversion <> pg_database_collation_actual_version(oid)",
        );
    }
    let drifted: Vec<Name> = session.ask(DOING, &select).await?;
    Ok(drifted.into_iter().map(|it| it.name).collect())
}

/// Checks a database that was just restored, and is ours; says why where that is not possible. Amcheck is lent to it where it
/// has none of its own.
///
/// # Errors
/// What keeps it from being checked although it could be.
pub(super) async fn restored(
    scope: &Scope,
    programs: &Programs,
    place: &Place,
    session: &Session,
) -> Result<std::result::Result<Vec<String>, &'static str>> {
    const DOING: &str = "lend amcheck to the new database";
    if session.version() < FIRST || !programs.has("pg_amcheck") {
        return Ok(Err("pg_amcheck is missing"));
    }
    let available: Vec<Name> =
        session.ask(DOING, "SELECT name FROM pg_available_extensions WHERE name = 'amcheck'").await?;
    if available.is_empty() {
        return Ok(Err("the server has no extension amcheck"));
    }
    let lent = facts(session).await?.schema.is_none();
    if lent {
        session.run(DOING, "CREATE EXTENSION amcheck").await?;
    }
    let found = pages(scope, programs, place, session.host(), &place.database, CheckDepth::Full).await;
    if lent {
        session.run(DOING, "DROP EXTENSION amcheck").await?;
    }
    found.map(Ok)
}

async fn pages(
    scope: &Scope,
    programs: &Programs,
    place: &Place,
    host: &Host,
    database: &str,
    depth: CheckDepth,
) -> Result<Vec<String>> {
    if !programs.has("pg_amcheck") {
        let message = "no table and no index was checked: pg_amcheck is missing beside pg_dump";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("install postgresql-client of 14 or later, or name the folder that has it as programs"));
    }
    let pair = format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"));
    let how = match depth {
        CheckDepth::Quick => "--exclude-toast-pointers",
        CheckDepth::Full => "--heapallindexed",
    };
    let arguments = ["--no-password".into(), "--jobs=2".into(), how.into(), pair.into()];
    let program = programs::led_to(programs.program("pg_amcheck", arguments), place, host, database);
    let output = program.run(scope).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut problems = said(&text);
    if output.status.success() {
        return Ok(Vec::new());
    }
    // 2 is damage that was found, anything else is that the check itself failed.
    if output.status != crate::process::Exit::Status(2) {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("the database was not checked to its end: {}", last_words(&output.stderr)),
        )
        .with_hint("look at the server's log"));
    }
    if problems.is_empty() {
        problems.push("pg_amcheck found damage, and does not say which".to_owned());
    }
    if output.stdout_dropped > 0 {
        problems.push("and more: run pg_amcheck for all of it".to_owned());
    }
    Ok(problems)
}

/// The findings: a line that names the place, and lines below it that say what.
fn said(text: &str) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match problems.last_mut() {
            Some(last) if line.starts_with(' ') => last.extend([" ", line.trim()]),
            _ => problems.push(line.trim().to_owned()),
        }
    }
    problems.truncate(MOST);
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_one_problem() {
        let text = "heap table \"a.b.c\", block 0, offset 1:\n    xmin 3 is odd\nbtree index \"a.b.d\":\n    ERROR:  lacks\n    DETAIL:  more\n";
        let found = said(text);
        assert_eq!(
            found,
            [
                "heap table \"a.b.c\", block 0, offset 1: xmin 3 is odd",
                "btree index \"a.b.d\": ERROR:  lacks DETAIL:  more"
            ]
        );
    }
}
