//! An archive put into a new database, which is then held against the archive. The live database is not touched.
//!
//! What fails on the way is removed again, since it was ours. What was restored and is not as the archive has it stays, to be
//! looked at, and is told as not well.

use std::path::Path;

use serde::Deserialize;

use super::place::Place;
use super::programs::{self, Programs};
use super::session::Session;
use super::trouble::quoted;
use super::{PostgresStore, archive, check, compare, dump, swap};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::process::last_words;
use crate::store::RestoredDatabase;

/// The longest name (`NAMEDATALEN` less one).
const LONGEST: usize = 63;
const DOING: &str = "restore into a new database";

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
    check_name(name)?;
    let file = dump::archive_in(store, dir)?;
    let named = store.server.settings.programs.as_deref();
    let newest = Programs::newest(scope, named).await?;
    let contents = archive::list(scope, &newest, &file).await?.map_err(|why| unreadable(&file, &why))?;
    let (place, session) = beside(store, scope, &[]).await?;
    if session.version() < contents.server {
        let message = format!(
            "the archive is of PostgreSQL {}, the server is {}, which is older",
            contents.server,
            session.version()
        );
        return Err(Error::new(ErrorKind::Refused, message)
            .with_hint(format!("restore it to a server of {} or later", contents.server)));
    }
    let rights = may_create(&session, &place, name).await?;
    let programs = Programs::find(scope, named, contents.writer.max(session.version())).await?;
    let how = archive::how_to_create(scope, &programs, &file).await?;
    scope.progress.stage(format!("restoring database {name}"));
    session.run(DOING, &format!("CREATE DATABASE {}{how}", quoted(name))).await?;
    let filled = fill(store, scope, &programs, &place, &session, &file, name, rights.is_superuser).await;
    if let Err(error) = filled {
        let dropped =
            session.run("remove it again", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name))).await;
        // pg_restore ends alike whether the server or the archive is at fault.
        let error = match error.kind() {
            ErrorKind::Cancelled => error,
            _ => match archive::read(scope, &programs, &file).await? {
                Ok(_) => error,
                Err(why) => unreadable(&file, &why),
            },
        };
        return Err(match dropped {
            Ok(()) => error,
            Err(left) => error.with_context("left", format!("the unfinished database {name:?}: {}", left.message())),
        });
    }
    let mut restored = filled?;
    restored.ok = restored.problems.is_empty();
    restored.server_version = session.version().to_string();
    // A swap asks for it.
    if let Err(error) = swap::remember(store, scope, &session, name, restored.ok).await {
        let why = error.message();
        restored.notes.push(format!("it is not remembered that this was verified, which a swap asks for: {why}"));
    }
    session.close().await;
    Ok(restored)
}

/// Refuses what would be refused at the end of a long way.
///
/// # Errors
/// Why there can be no new database called `name`.
pub(super) async fn refuse_early(store: &PostgresStore, scope: &Scope, name: &str) -> Result<()> {
    check_name(name)?;
    let (place, session) = beside(store, scope, &[]).await?;
    may_create(&session, &place, name).await?;
    session.close().await;
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > LONGEST || name.contains('\0') {
        return Err(Error::invalid(format!("{name:?} is no name of a database"))
            .with_hint(format!("name it with 1 to {LONGEST} bytes")));
    }
    Ok(())
}

async fn may_create(session: &Session, place: &Place, name: &str) -> Result<Rights> {
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
    Ok(rights)
}

fn unreadable(file: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the archive {file:?} cannot be read: {why}"))
        .with_hint("use another snapshot")
}

/// A connection to any database of the server but those of `avoid`: ours may be what was lost.
pub(super) async fn beside(store: &PostgresStore, scope: &Scope, avoid: &[String]) -> Result<(Place, Session)> {
    let place = store.server.place()?;
    let mut first = None;
    let databases = [place.database.clone(), "postgres".to_owned(), "template1".to_owned()];
    for database in databases.into_iter().filter(|database| !avoid.contains(database)) {
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
    let restored_by_program = async {
        let output = program.run(scope).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(&String::from_utf8_lossy(&output.stderr), &last_words(&output.stderr), &store.globals_name()))
    };
    // What the archive holds is read while it is restored.
    let (contents, data, ()) = tokio::try_join!(
        archive::list(scope, programs, file),
        archive::read(scope, programs, file),
        restored_by_program
    )?;
    let contents = contents.map_err(|why| unreadable(file, &why))?;
    let data = data.map_err(|why| unreadable(file, &why))?;
    scope.progress.stage(format!("checking database {name}"));
    let place = place.in_database(name);
    let new = Session::open(scope, &place, store.server.statement_timeout).await?;
    let beside = Session::open(scope, &place, store.server.statement_timeout).await?;
    let looked_at = async {
        match is_superuser {
            true => check::restored(scope, programs, &place, &beside).await,
            false => Ok(Err("only a superuser may lend amcheck to it")),
        }
    };
    let compared = async {
        compare::with_archive(&new, &contents, &data, is_superuser, &mut restored).await?;
        // Without statistics every plan is a guess.
        new.run("gather statistics", "SET statement_timeout = 0; ANALYZE").await
    };
    let asked = tokio::select! {
        biased;
        () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
        asked = async { tokio::try_join!(looked_at, compared) } => asked,
    };
    new.close().await;
    beside.close().await;
    match asked?.0 {
        Ok(problems) => restored.problems.extend(problems),
        Err(why) => restored.notes.push(format!("its pages and indexes were not looked at: {why}")),
    }
    Ok(restored)
}

fn failed(text: &str, last: &str, globals: &str) -> Error {
    let line = text.lines().map(str::trim).find(|line| line.contains("ERROR:") || line.contains("error:"));
    let said: String = line.unwrap_or(last).chars().take(300).collect();
    if text.contains("No space left on device") {
        let message = format!("the archive was not restored: {said}");
        return Error::new(ErrorKind::NoSpace, message).with_hint("free space on the server's disk");
    }
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
