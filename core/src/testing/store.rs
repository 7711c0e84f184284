//! The suite of the [`Store`] contract: one function per clause, for every implementation in any language.
//!
//! An implementation provides a [`Fixture`]: a store over a fresh database, and a way to write to it from
//! outside the store. A clause that does not hold says what was expected.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use uplifted_ops::{Result, testing::{assert_all, store::{self, Fixture}}};
//! # async fn test(fresh: impl AsyncFn() -> Result<Arc<dyn Fixture>>) {
//! assert_all(&store::run(fresh).await);
//! # }
//! ```

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::CaseOutcome;
use super::case::run_all;
use crate::cancel::{Cancel, Progress, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{CheckDepth, Inspection, MaintenanceTask, Store};

/// A store over a database of its own, empty at first, and everything that a clause needs around it.
///
/// "Rows" are whatever the fixture counts. Writing happens outside the store, for a database of files from
/// another process or with every connection closed again before the method returns.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The store under test.
    fn store(&self) -> Arc<dyn Store>;

    /// A store of the same kind whose database does not exist.
    fn missing(&self) -> Arc<dyn Store>;

    /// Stores of the same kind over something that is no such database, or an encrypted one; each with a word for it.
    fn foreign(&self) -> Vec<(String, Arc<dyn Store>)>;

    /// Commits further rows.
    async fn commit(&self, rows: u64) -> Result<()>;

    /// The rows of the live database.
    async fn rows(&self) -> Result<u64>;

    /// The rows of the copy in `dir`.
    async fn rows_in(&self, dir: &Path) -> Result<u64>;

    /// Damages the copy in `dir` so that a quick check must notice.
    async fn damage(&self, dir: &Path) -> Result<()>;

    /// Opens the database in another process, until what is returned is dropped. `None` where that cannot be done: then
    /// nothing is asked about a database that others have open.
    async fn hold_open(&self) -> Result<Option<Box<dyn Send>>>;

    /// Names and bytes of the live database's files, to see whether they were touched. Also of the missing one's
    /// folder.
    async fn footprint(&self) -> Result<Vec<(PathBuf, Vec<u8>)>>;

    /// The rows of a database that [`Store::restore_as`] has made beside the live one. Only asked of a store that restores beside,
    /// see [`restore_puts_the_copy_in_place`](cases).
    async fn rows_beside(&self, database: &str) -> Result<u64> {
        Err(Error::new(ErrorKind::Unsupported, format!("there is no database {database:?} beside the live one")))
    }

    /// A new empty folder.
    fn empty_folder(&self) -> Result<PathBuf>;
}

/// One clause of the contract, as a check of a store over a fresh database.
pub type Case = super::Case<Arc<dyn Fixture>, Error>;

/// Runs every case, each on a fixture of its own that `fresh` makes. Must be called within a Tokio runtime.
pub async fn run(fresh: impl AsyncFn() -> Result<Arc<dyn Fixture>>) -> Vec<CaseOutcome> {
    run_all(cases(), fresh).await
}

macro_rules! case {
    ($name:ident, $clause:literal) => {
        Case {
            name: stringify!($name),
            clause: $clause,
            run: |fixture| Box::pin(async move { $name(&*fixture).await }),
        }
    };
}

/// The cases, in the order of the contract's clauses.
pub fn cases() -> Vec<Case> {
    vec![
        case!(capability_names_what_is_there, "capability says what the store can do, and names its files"),
        case!(a_missing_database_is_refused, "a missing database is refused by name, and nothing is created"),
        case!(a_foreign_database_is_refused, "an encrypted or foreign database is refused by name and not touched"),
        case!(a_copy_holds_all_that_was_committed, "the copy holds everything that was committed before the call"),
        case!(a_copy_holds_nothing_that_came_later, "the copy is of one moment, and self-contained"),
        case!(a_copy_is_taken_beside_others, "a copy is taken while the service has the database open"),
        case!(
            reading_leaves_the_live_database_alone,
            "the live database is never rewritten but by maintain and restore_from"
        ),
        case!(a_sound_database_verifies, "verify finds nothing wrong with a sound database, at either depth"),
        case!(damage_is_a_report, "damage is a report, not an error"),
        case!(
            a_copy_that_can_be_asked_counts_its_rows,
            "inspect_copy counts the rows of the copy and changes nothing, or says that it is unsupported"
        ),
        case!(a_cancelled_call_leaves_nothing, "a cancel is honoured, and nothing is left in dir"),
        case!(
            restore_puts_the_copy_in_place,
            "restore_from replaces the database by the copy, which stays; a database of a server is restored beside"
        ),
        case!(
            restore_refuses,
            "a restore checks the copy first, and refuses a database that is open, or there, already"
        ),
        case!(maintenance_answers_for_every_task, "a task that the store does not know is skipped, with the reason"),
    ]
}

/// `capability` names a kind, absolute files, and agrees with what the other methods do.
async fn capability_names_what_is_there(fixture: &dyn Fixture) -> Result<()> {
    let capability = fixture.store().capability();
    demand(!capability.kind.is_empty(), "the kind is named")?;
    for file in capability.file.iter().chain(&capability.side_files) {
        demand(file.is_absolute(), format_args!("{file:?} is absolute"))?;
    }
    fixture.commit(1).await?;
    if let Some(file) = &capability.file {
        demand(file.is_file(), format_args!("{file:?} is the database"))?;
    }
    let stats = fixture.store().stats(&Scope::default()).await?;
    demand(stats.size_bytes + stats.log_bytes.unwrap_or(0) > 0, "a database with rows has a size")
}

/// A missing database is [`ErrorKind::NotFound`] for every method, and nothing is created in its place.
async fn a_missing_database_is_refused(fixture: &dyn Fixture) -> Result<()> {
    refused(fixture, &*fixture.missing(), &[ErrorKind::NotFound, ErrorKind::Unavailable]).await
}

/// What is no database of this kind, or is encrypted, is refused by name and not touched.
async fn a_foreign_database_is_refused(fixture: &dyn Fixture) -> Result<()> {
    for (what, store) in fixture.foreign() {
        let kinds = [ErrorKind::Unsupported, ErrorKind::InvalidInput, ErrorKind::Denied];
        refused(fixture, &*store, &kinds).await.map_err(|error| error.while_doing(what))?;
    }
    Ok(())
}

async fn refused(fixture: &dyn Fixture, store: &dyn Store, kinds: &[ErrorKind]) -> Result<()> {
    let before = fixture.footprint().await?;
    let scope = Scope::default();
    let out = fixture.empty_folder()?;
    let tasks = [MaintenanceTask::Optimize];
    for (method, error) in [
        ("snapshot_to", store.snapshot_to(&scope, &out).await.err()),
        ("stats", store.stats(&scope).await.err()),
        ("verify", store.verify(&scope, CheckDepth::Quick).await.err()),
        ("maintain", store.maintain(&scope, &tasks).await.err()),
    ] {
        let kind = error.as_ref().map(Error::kind);
        demand(
            kind.is_some_and(|kind| kinds.contains(&kind)),
            format_args!("{method} fails as {kinds:?}, not {kind:?}"),
        )?;
        let hint = error.as_ref().and_then(Error::hint);
        demand(hint.is_some(), format_args!("{method} hints at the repair"))?;
    }
    demand(is_empty(&out), "nothing is left in the copy's folder")?;
    demand(fixture.footprint().await? == before, "nothing is created or changed")
}

/// A copy holds everything that was committed before the call, and can be checked.
async fn a_copy_holds_all_that_was_committed(fixture: &dyn Fixture) -> Result<()> {
    for rows in [0, 1, 500] {
        fixture.commit(rows).await?;
        let store = fixture.store();
        let (scope, out) = (Scope::default(), fixture.empty_folder()?);
        let before = scope.clock.now();
        let snapshot = store.snapshot_to(&scope, &out).await?;
        demand(snapshot.taken_at >= before && snapshot.taken_at <= scope.clock.now(), "taken_at lies within the call")?;
        demand(!snapshot.files.is_empty(), "the copy's files are named")?;
        let mut size = 0;
        for file in &snapshot.files {
            demand(file.is_relative(), format_args!("{file:?} is relative to the folder"))?;
            size += out.join(file).metadata().map_err(|e| Error::io(format!("look at {file:?}"), e))?.len();
        }
        demand(
            snapshot.size_bytes == size,
            format_args!("the files have {size} bytes, {} reported", snapshot.size_bytes),
        )?;
        let report = store.check_copy(&scope, &out, CheckDepth::Full).await?;
        demand(report.ok && report.problems.is_empty(), format_args!("the copy is sound: {:?}", report.problems))?;
        let (copied, live) = (fixture.rows_in(&out).await?, fixture.rows().await?);
        demand(copied == live, format_args!("the copy holds all {live} rows, not {copied}"))?;
    }
    Ok(())
}

/// A copy does not change when the database does.
async fn a_copy_holds_nothing_that_came_later(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(7).await?;
    let out = fixture.empty_folder()?;
    fixture.store().snapshot_to(&Scope::default(), &out).await?;
    fixture.commit(7).await?;
    let rows = fixture.rows_in(&out).await?;
    demand(rows == 7, format_args!("the copy holds the 7 rows of its moment, not {rows}"))
}

/// Other processes that have the database open keep nobody from copying, asking and checking.
async fn a_copy_is_taken_beside_others(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(20).await?;
    let _held = fixture.hold_open().await?;
    let (store, scope, out) = (fixture.store(), Scope::default(), fixture.empty_folder()?);
    store.snapshot_to(&scope, &out).await?;
    store.stats(&scope).await?;
    demand(store.verify(&scope, CheckDepth::Quick).await?.ok, "the database verifies")?;
    demand(fixture.rows_in(&out).await? == 20, "the copy holds the 20 rows")
}

/// `stats`, `verify`, `snapshot_to` and `check_copy` change no byte of the live database.
async fn reading_leaves_the_live_database_alone(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(50).await?;
    let (store, scope, out) = (fixture.store(), Scope::default(), fixture.empty_folder()?);
    let before = fixture.footprint().await?;
    store.stats(&scope).await?;
    store.verify(&scope, CheckDepth::Full).await?;
    store.snapshot_to(&scope, &out).await?;
    store.check_copy(&scope, &out, CheckDepth::Quick).await?;
    demand(fixture.footprint().await? == before, "the live database's files are as they were")
}

/// A sound database verifies at both depths.
async fn a_sound_database_verifies(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(50).await?;
    for depth in [CheckDepth::Quick, CheckDepth::Full] {
        let report = fixture.store().verify(&Scope::default(), depth).await?;
        demand(
            report.ok && report.problems.is_empty(),
            format_args!("{depth:?} finds nothing: {:?}", report.problems),
        )?;
    }
    Ok(())
}

/// A damaged copy is `ok: false` with at most 100 problems.
async fn damage_is_a_report(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(500).await?;
    let (store, scope, out) = (fixture.store(), Scope::default(), fixture.empty_folder()?);
    store.snapshot_to(&scope, &out).await?;
    fixture.damage(&out).await?;
    for depth in [CheckDepth::Quick, CheckDepth::Full] {
        let report = store.check_copy(&scope, &out, depth).await?;
        demand(!report.ok, format_args!("{depth:?} notices the damage"))?;
        demand((1..=100).contains(&report.problems.len()), "1 to 100 problems are listed")?;
    }
    Ok(())
}

/// Some table of the copy has as many rows as were committed; without a question nothing is answered.
async fn a_copy_that_can_be_asked_counts_its_rows(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(37).await?;
    let (store, scope, out) = (fixture.store(), Scope::default(), fixture.empty_folder()?);
    store.snapshot_to(&scope, &out).await?;
    let everything = Inspection { rows: true, queries: Vec::new() };
    let facts = match store.inspect_copy(&scope, &out, &everything).await {
        Err(error) => return demand(error.kind() == ErrorKind::Unsupported, format_args!("unsupported, not {error}")),
        Ok(facts) => facts,
    };
    let rows = fixture.rows_in(&out).await?;
    demand(facts.rows.iter().any(|count| count.rows == rows), format_args!("{rows} rows are counted: {facts:?}"))?;
    let nothing = store.inspect_copy(&scope, &out, &Inspection::default()).await?;
    demand(nothing.rows.is_empty() && nothing.answers.is_empty(), "what was not asked is not answered")?;
    demand(store.check_copy(&scope, &out, CheckDepth::Full).await?.ok, "the copy is unchanged")
}

/// Cancelled before or during the work, every method returns [`ErrorKind::Cancelled`] and leaves nothing behind.
async fn a_cancelled_call_leaves_nothing(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(50).await?;
    let (store, out) = (fixture.store(), fixture.empty_folder()?);
    let before = fixture.footprint().await?;
    let cancelled = Scope::default();
    cancelled.cancel.cancel();
    let cancel = Cancel::new();
    let raise = cancel.clone();
    let during = Scope { cancel, progress: Progress::new(move |_| raise.cancel()), ..Scope::default() };
    for scope in [&cancelled, &during] {
        // A copy may be done before it sees the flag; then it is whole, and not what this clause is about.
        match store.snapshot_to(scope, &out).await {
            Err(error) => demand(error.kind() == ErrorKind::Cancelled, format_args!("cancelled, not {error}"))?,
            Ok(_) => continue,
        }
        demand(is_empty(&out), "nothing is left in the copy's folder")?;
    }
    let kind = store.verify(&cancelled, CheckDepth::Quick).await.map_err(|error| error.kind()).err();
    demand(kind == Some(ErrorKind::Cancelled), "verify is cancelled")?;
    demand(fixture.footprint().await? == before, "the live database's files are as they were")
}

/// `restore_from` brings back the rows of the copy, which stays and can be restored again.
async fn restore_puts_the_copy_in_place(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(30).await?;
    let (store, scope, out) = (fixture.store(), Scope::default(), fixture.empty_folder()?);
    store.snapshot_to(&scope, &out).await?;
    if restores_beside(fixture, &out).await? {
        fixture.commit(12).await?;
        let restored = store.restore_as(&scope, &out, "beside").await?;
        let (beside, live) = (fixture.rows_beside("beside").await?, fixture.rows().await?);
        return demand(
            restored.ok && (beside, live) == (30, 42),
            format_args!("30 rows beside the 42 that are live, not {beside} and {live}: {:?}", restored.problems),
        );
    }
    for _ in 0..2 {
        fixture.commit(12).await?;
        store.restore_from(&scope, &out).await?;
        let rows = fixture.rows().await?;
        demand(rows == 30, format_args!("the 30 rows of the copy are back, not {rows}"))?;
    }
    demand(fixture.rows_in(&out).await? == 30, "the copy is still there")?;
    demand(store.verify(&scope, CheckDepth::Full).await?.ok, "the restored database verifies")
}

/// `restore_from` refuses a damaged copy, and a database that another process has open; then nothing has changed.
async fn restore_refuses(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(500).await?;
    let (store, scope, out) = (fixture.store(), Scope::default(), fixture.empty_folder()?);
    store.snapshot_to(&scope, &out).await?;
    let beside = restores_beside(fixture, &out).await?;
    fixture.commit(1).await?;
    if beside {
        store.restore_as(&scope, &out, "beside").await?;
        let there = store.restore_as(&scope, &out, "beside").await.map_err(|error| error.kind()).err();
        demand(there == Some(ErrorKind::Refused), format_args!("a name that is taken is refused, not {there:?}"))?;
        fixture.damage(&out).await?;
        let damaged = store.restore_as(&scope, &out, "another").await.map_err(|error| error.kind()).err();
        demand(damaged == Some(ErrorKind::Corrupt), format_args!("a damaged copy is corrupt, not {damaged:?}"))?;
        demand(fixture.rows_beside("another").await.is_err(), "nothing is left of what could not be restored")?;
        let rows = fixture.rows().await?;
        return demand(rows == 501, format_args!("the 501 rows are untouched, not {rows}"));
    }
    let held = fixture.hold_open().await?;
    if held.is_some() {
        let open = store.restore_from(&scope, &out).await.map_err(|error| error.kind()).err();
        demand(open == Some(ErrorKind::Refused), format_args!("an open database is refused, not {open:?}"))?;
    }
    drop(held);
    fixture.damage(&out).await?;
    let damaged = store.restore_from(&scope, &out).await.map_err(|error| error.kind()).err();
    demand(damaged == Some(ErrorKind::Corrupt), format_args!("a damaged copy is corrupt, not {damaged:?}"))?;
    let rows = fixture.rows().await?;
    demand(rows == 501, format_args!("the 501 rows are untouched, not {rows}"))
}

/// Whether a restore of this store goes beside the live database, which is that of a server: in place it says so, and changes
/// nothing.
async fn restores_beside(fixture: &dyn Fixture, copy: &Path) -> Result<bool> {
    let store = fixture.store();
    if store.capability().file.is_some() {
        return Ok(false);
    }
    let before = fixture.footprint().await?;
    match store.restore_from(&Scope::default(), copy).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            demand(error.hint().is_some(), "what cannot be restored in place hints at the other way")?;
            demand(fixture.footprint().await? == before, "the live database is as it was")?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// `maintain` answers for each task in order, done or with a reason, and loses no row.
async fn maintenance_answers_for_every_task(fixture: &dyn Fixture) -> Result<()> {
    fixture.commit(50).await?;
    let store = fixture.store();
    let tasks = [MaintenanceTask::ReleaseFreePages, MaintenanceTask::Optimize];
    let outcomes = store.maintain(&Scope::default(), &tasks).await?;
    let answered: Vec<_> = outcomes.iter().map(|outcome| outcome.task).collect();
    demand(answered == tasks, format_args!("each task is answered in order: {answered:?}"))?;
    let known = store.capability().maintenance;
    for outcome in &outcomes {
        demand(!outcome.message.is_empty(), "each outcome says what happened, or why not")?;
        demand(known.contains(&outcome.task) || !outcome.done, "an unknown task is skipped")?;
    }
    demand(fixture.rows().await? == 50, "the 50 rows are still there")
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn demand(holds: bool, what: impl ToString + Debug) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Internal, format!("expected: {}", what.to_string()))) }
}
