//! An archive put into a new database, which is then held against the archive. The live database is not touched.
//!
//! What fails on the way is removed again, since it was ours. What was restored and is not as the archive has it stays, to be
//! looked at, and is told as not well.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::place::Place;
use super::programs::{self, Programs};
use super::session::Session;
use super::trouble::quoted;
use super::{PostgresStore, archive, dump};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::process::last_words;
use crate::store::RestoredDatabase;

/// The longest name (`NAMEDATALEN` less one).
const LONGEST: usize = 63;
/// Tables that are asked for by one question.
const BATCH: usize = 200;

#[derive(Debug, Deserialize)]
struct Name {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Number {
    name: String,
    number: i64,
}

#[derive(Debug, Deserialize)]
struct Rights {
    exists: bool,
    creates: bool,
    is_superuser: bool,
}

/// Restores the archive in `dir` into a new database called `name`.
///
/// # Errors
/// Why that was not possible; then there is no such database.
pub(super) async fn into_new(store: &PostgresStore, scope: &Scope, dir: &Path, name: &str) -> Result<RestoredDatabase> {
    const DOING: &str = "restore into a new database";
    if name.is_empty() || name.len() > LONGEST || name.contains('\0') {
        return Err(Error::invalid(format!("{name:?} is no name of a database"))
            .with_hint(format!("name it with 1 to {LONGEST} bytes")));
    }
    let file = dump::archive_in(store, dir)?;
    let named = store.server.settings.programs.as_deref();
    let newest = Programs::newest(scope, named).await?;
    let contents = archive::list(scope, &newest, &file).await?.map_err(|why| unreadable(&file, &why))?;
    let (place, session) = beside(store, scope).await?;
    if session.version() < contents.server {
        let message = format!(
            "the archive is of PostgreSQL {}, the server is {}, which is older",
            contents.server,
            session.version()
        );
        return Err(Error::new(ErrorKind::Refused, message)
            .with_hint(format!("restore it to a server of {} or later", contents.server)));
    }
    let text = name.replace('\'', "''");
    let rights = format!(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = '{text}') AS exists, rolcreatedb OR rolsuper AS creates,
          rolsuper AS is_superuser FROM pg_roles WHERE rolname = current_user"
    );
    let rights: Rights = session.ask_one(DOING, &rights).await?;
    if rights.exists {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("there is a database {name:?} already, and none is ever replaced"),
        )
        .with_hint("name one that does not exist"));
    }
    if !rights.creates {
        let user = quoted(&place.user);
        return Err(Error::new(ErrorKind::Denied, format!("user {user} may not create a database"))
            .with_hint(format!("ALTER ROLE {user} CREATEDB")));
    }
    let programs = Programs::find(scope, named, contents.writer.max(session.version())).await?;
    let how = archive::how_to_create(scope, &programs, &file).await?;
    scope.progress.stage(format!("restoring database {name}"));
    session.run(DOING, &format!("CREATE DATABASE {}{how}", quoted(name))).await?;
    let filled = fill(store, scope, &programs, &place, &session, &file, name, rights.is_superuser).await;
    if let Err(error) = filled {
        let dropped =
            session.run("remove it again", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name))).await;
        return Err(match dropped {
            Ok(()) => error,
            Err(left) => error.with_context("left", format!("the unfinished database {name:?}: {}", left.message())),
        });
    }
    let version = session.version().to_string();
    session.close().await;
    filled.map(|mut restored| {
        restored.ok = restored.problems.is_empty();
        restored.server_version = version;
        restored
    })
}

fn unreadable(file: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the archive {file:?} cannot be read: {why}"))
        .with_hint("use another snapshot")
}

/// A connection to any database of the server: ours may be what was lost.
async fn beside(store: &PostgresStore, scope: &Scope) -> Result<(Place, Session)> {
    let place = store.server.place()?;
    let mut first = None;
    for database in [place.database.clone(), "postgres".to_owned(), "template1".to_owned()] {
        let place = place.in_database(&database);
        match Session::open(scope, &place, store.server.statement_timeout).await {
            Ok(session) => return Ok((place, session)),
            Err(error) if error.kind() == ErrorKind::NotFound => first = first.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(|| Error::internal("no database was tried")))
}

#[allow(clippy::too_many_arguments, reason = "one caller, and each is something else")]
async fn fill(
    store: &PostgresStore,
    scope: &Scope,
    programs: &Programs,
    place: &Place,
    session: &Session,
    file: &Path,
    name: &str,
    is_superuser: bool,
) -> Result<RestoredDatabase> {
    let mut restored = RestoredDatabase { database: name.to_owned(), ..RestoredDatabase::default() };
    // As a pair: a name with = in it would be taken for pairs. Without the password, which is in a variable.
    let pair = format!("--dbname=dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut arguments = vec![pair.into(), "--exit-on-error".into(), "--jobs=2".into(), "--no-password".into()];
    if !is_superuser {
        arguments.push("--no-owner".into());
        restored
            .notes
            .push("everything belongs to the user that restored it: only a superuser gives things away".to_owned());
    }
    arguments.push(file.into());
    let program = programs::led_to(programs.program("pg_restore", arguments), place, session.host(), name);
    let output = program.run(scope).await?;
    if !output.status.success() {
        return Err(failed(
            &String::from_utf8_lossy(&output.stderr),
            &last_words(&output.stderr),
            &store.globals_name(),
        ));
    }
    scope.progress.stage(format!("checking database {name}"));
    let contents = archive::list(scope, programs, file).await?.map_err(|why| unreadable(file, &why))?;
    let data = archive::read(scope, programs, file).await?.map_err(|why| unreadable(file, &why))?;
    let place = place.in_database(name);
    let new = Session::open(scope, &place, store.server.statement_timeout).await?;
    let asked = async {
        compare_rows(&new, &data.rows, &mut restored).await?;
        compare_sequences(&new, &data.sequences, &mut restored).await?;
        look_at_the_rest(&new, &contents.extensions, &mut restored).await?;
        // Without statistics every plan is a guess.
        new.run("gather statistics", "SET statement_timeout = 0; ANALYZE").await
    };
    let asked = tokio::select! {
        biased;
        () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
        asked = asked => asked,
    };
    new.close().await;
    asked.map(|()| restored)
}

fn failed(text: &str, last: &str, globals: &str) -> Error {
    let line = text.lines().map(str::trim).find(|line| line.contains("ERROR:") || line.contains("error:"));
    let said: String = line.unwrap_or(last).chars().take(300).collect();
    let hint = if text.contains("role \"") && text.contains("does not exist") {
        format!("make the roles first, from {globals} of the snapshot: psql -f {globals}")
    } else if text.contains("extension") && (text.contains("not available") || text.contains("could not open")) {
        "install that extension's package on the server".to_owned()
    } else if text.contains("permission denied") || text.contains("must be") {
        "restore as a superuser, or grant what the message names".to_owned()
    } else {
        "look at the server's log".to_owned()
    };
    Error::new(ErrorKind::Unavailable, format!("the archive was not restored: {said}")).with_hint(hint)
}

/// What belongs to an extension brings rows of its own.
const OF_EXTENSIONS: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'";

async fn compare_rows(session: &Session, rows: &BTreeMap<String, u64>, restored: &mut RestoredDatabase) -> Result<()> {
    const DOING: &str = "count the rows that were restored";
    let foreign: Vec<Name> = session.ask_within(DOING, OF_EXTENSIONS).await?;
    let tables: Vec<(&String, u64)> = rows
        .iter()
        .filter(|(table, _)| foreign.iter().all(|it| it.name != **table))
        .map(|(table, rows)| (table, *rows))
        .collect();
    for batch in tables.chunks(BATCH) {
        let each = |(table, _): &(&String, u64)| {
            format!("SELECT '{}' AS name, count(*) AS number FROM ONLY {table}", table.replace('\'', "''"))
        };
        let counted: Vec<Number> =
            session.ask_within(DOING, &batch.iter().map(each).collect::<Vec<_>>().join(" UNION ALL ")).await?;
        let counted: BTreeMap<&str, i64> = counted.iter().map(|it| (it.name.as_str(), it.number)).collect();
        for (table, rows) in batch {
            let there = counted.get(table.as_str()).copied().unwrap_or(0);
            restored.tables += 1;
            restored.rows += u64::try_from(there).unwrap_or(0);
            if i128::from(there) != i128::from(*rows) {
                restored.problems.push(format!("{table} has {there} rows, the archive has {rows}"));
            }
        }
    }
    Ok(())
}

async fn compare_sequences(
    session: &Session,
    stand: &BTreeMap<String, i64>,
    restored: &mut RestoredDatabase,
) -> Result<()> {
    const DOING: &str = "look where the sequences stand";
    let all: Vec<(&String, &i64)> = stand.iter().collect();
    for batch in all.chunks(BATCH) {
        let each = |(name, _): &(&String, &i64)| {
            format!("SELECT '{}' AS name, last_value AS number FROM {name}", name.replace('\'', "''"))
        };
        let found: Vec<Number> =
            session.ask_within(DOING, &batch.iter().map(each).collect::<Vec<_>>().join(" UNION ALL ")).await?;
        for Number { name, number } in found {
            restored.sequences += 1;
            if stand.get(&name) != Some(&number) {
                restored.problems.push(format!("the sequence {name} stands at {number}, not where the archive has it"));
            }
        }
    }
    Ok(())
}

async fn look_at_the_rest(session: &Session, extensions: &[String], restored: &mut RestoredDatabase) -> Result<()> {
    const DOING: &str = "look at what was restored";
    let there: Vec<Name> = session.ask_within(DOING, "SELECT extname AS name FROM pg_extension").await?;
    for extension in extensions {
        if there.iter().all(|it| it.name != *extension) {
            restored.problems.push(format!("the extension {extension} is missing"));
        }
    }
    restored.extensions = extensions.to_vec();
    let invalid = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid";
    let invalid: Vec<Name> = session.ask_within(DOING, invalid).await?;
    restored.problems.extend(invalid.into_iter().map(|index| format!("the index {} is not valid", index.name)));
    let unchecked = "SELECT conrelid::regclass::text || ' ' || quote_ident(conname) AS name FROM pg_constraint
        WHERE NOT convalidated AND contype IN ('c', 'f') ORDER BY 1";
    let unchecked: Vec<Name> = session.ask_within(DOING, unchecked).await?;
    let note = |constraint: Name| format!("the constraint {} is NOT VALID, as it is in the archive", constraint.name);
    restored.notes.extend(unchecked.into_iter().map(note));
    Ok(())
}
