//! Putting a snapshot together: files first, while the databases are copied, then the databases.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::super::archive::{NodeHead, Special};
use super::super::discover::{Contents, Database};
use super::super::layout::DatabaseCopy;
use super::super::manifest::{FORMAT, Manifest, Outcome, RelPath, SkipReason, Skipped, StoreRecord, with_rows};
use super::super::meter::Meter;
use super::super::walk::{Found, FoundKind};
use super::databases::{Checked, Copied, Copy};
use super::files::{FileStorer, Hook, bare_head};
use super::moments::Moments;
use super::parts::Tee;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{IntegrityReport, StoreSnapshot, TableCount};

/// Everything that one snapshot is made of.
pub(super) struct Assembly {
    pub(super) root: PathBuf,
    pub(super) contents: Contents,
    /// What is known of each database that nobody needs to copy.
    pub(super) known: Vec<Option<StoreRecord>>,
    /// Filled in by the assembly: stores, skipped, outcome.
    pub(super) manifest: Manifest,
    pub(super) moments: Moments,
    /// The others, in their order.
    pub(super) copies: mpsc::UnboundedReceiver<Copy>,
    pub(super) hook: Option<Hook>,
}

/// Gives everything to `writer`. It blocks.
///
/// # Errors
/// Those of the service's folder, a cancel, and an end of all targets: why, the writer's results say.
pub(super) fn assemble(scope: &Scope, assembly: Assembly, writer: &mut Tee) -> Result<()> {
    let Assembly { root, contents, known, mut manifest, moments, mut copies, hook } = assembly;
    let mut storer = FileStorer::new(scope, &root, hook)?;
    storer.doubtful = contents.skipped.iter().map(|skipped| skipped.path.clone()).collect();
    storer.skipped = contents.skipped;

    // Databases come last, and a file that arrives changes the time of the folder that it arrives in. `tar` sets
    // a folder's time when it has left the folder, not at its own end: so these folders come after them.
    let folders: HashSet<PathBuf> = {
        let links = contents.database_links.iter().map(|(found, _)| found);
        let late = contents.databases.iter().map(|database| &database.found).chain(links);
        late.filter_map(|found| found.path.as_path().parent().map(Path::to_owned)).collect()
    };
    let mut above_databases: Vec<Found> = Vec::new();
    {
        let ordinary = &contents.ordinary;
        let mut meter = Meter::start(scope, "storing files".to_owned(), Some(ordinary.bytes()), Some(ordinary.len()));
        for found in ordinary.iter() {
            let found = found?;
            if found.kind == FoundKind::Dir && folders.contains(found.path.as_path()) {
                above_databases.push(found);
            } else {
                storer.store(writer, &found, &mut meter)?;
            }
        }
    }

    let mut databases = Databases { scope, writer, storer: &mut storer, records: Vec::new() };
    let mut stored: Vec<RelPath> = Vec::new();
    let mut to_come = known.iter().filter(|known| known.is_none()).count();
    for (database, known) in contents.databases.iter().zip(known) {
        scope.cancel.check()?;
        to_come -= usize::from(known.is_none());
        let is_stored = match known {
            Some(record) => databases.take_known(database, record)?,
            None => match copies.blocking_recv() {
                Some(copy) => databases.take(copy, to_come > 0)?,
                None => return Err(copying_ended(scope, database)),
            },
        };
        if is_stored {
            stored.push(database.found.path.clone());
        }
    }
    scope.cancel.check()?;
    manifest.stores = databases.records;
    for (found, target) in contents.database_links {
        if stored.contains(&target) {
            let head = storer.head(&found);
            writer.add(&head, &Special::HardLink { target })?;
        } else {
            let message = format!("it is another name of {target:?}, which is not stored");
            storer.skipped.push(Skipped { path: found.path, reason: SkipReason::Database, message });
        }
    }

    let mut meter = Meter::start(scope, "storing folders".to_owned(), None, None);
    for found in &above_databases {
        storer.store(writer, found, &mut meter)?;
    }

    manifest.format = FORMAT;
    manifest.group = Some(moments.end(scope, &storer));
    manifest.skipped = storer.skipped;
    manifest.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    let partial = manifest.skipped.iter().any(|skipped| skipped.reason.makes_partial());
    manifest.outcome = if partial { Outcome::Partial } else { Outcome::Complete };
    writer.finish(&manifest)
}

struct Databases<'a> {
    scope: &'a Scope,
    writer: &'a mut Tee,
    storer: &'a mut FileStorer,
    records: Vec<StoreRecord>,
}

impl Databases<'_> {
    /// Stores a database that has not changed since an earlier run.
    fn take_known(&mut self, database: &Database, record: StoreRecord) -> Result<bool> {
        let head = self.storer.head(&database.found);
        self.writer.add_known_database(&head, database)?;
        self.records.push(record);
        Ok(true)
    }

    /// Stores a database's copy, or names the database; says whether there is an entry of it. When there are `more` to
    /// come, the copy makes room for them.
    fn take(&mut self, copy: Copy, more: bool) -> Result<bool> {
        let Copy { database, copied } = copy;
        let copied = match copied {
            Ok(copied) => copied,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => return self.not_copied(&database, &error),
        };
        let Copied { folder, snapshot, check } = copied;
        // It is stored with the live file's mode, owner and times.
        let head = match database.is_file() {
            true => self.storer.head(&database.found),
            // A copy that has no live file.
            false => bare_head(&database.found),
        };
        // What belongs to it goes first: the database is the last of which something is remembered.
        for beside in &snapshot.files[1..] {
            let head = NodeHead { path: RelPath::new(beside), ..head.clone() };
            let copy =
                DatabaseCopy { scope: self.scope, database: &database, file: &folder.join(beside), page_size: None };
            self.writer.add_database(&head, &copy)?;
        }
        let page_size = snapshot.details.get("page_size").and_then(serde_json::Value::as_u64);
        let page_size = page_size.and_then(|size| u32::try_from(size).ok()).filter(|size| is_page_size(*size));
        let file = folder.join(&snapshot.files[0]);
        let copy = DatabaseCopy { scope: self.scope, database: &database, file: &file, page_size };
        self.writer.add_database(&head, &copy)?;
        // The copy is small change until it is checked; its check is over soon after it is stored.
        let Checked { report, rows } = match check.blocking_recv() {
            Ok(Err(error)) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Ok(Ok(checked)) => checked,
            Ok(Err(error)) => failed(&format!("the check could not be made: {error}")),
            Err(_) => failed("the check did not end"),
        };
        let report = held_against(report, &snapshot, &rows);
        if more {
            // The last one goes with its folder, while the targets finish.
            crate::fs::remove_dir_all(&folder)?;
        }
        if !report.ok {
            let first = report.problems.first().map_or("it is damaged", String::as_str);
            let message = format!("the copy of {:?} failed its integrity check: {first}", database.name);
            self.skip(&database, SkipReason::Corrupt, message);
        }
        let record = StoreRecord {
            name: database.name.clone(),
            kind: database.store.capability().kind,
            path: database.found.path.clone(),
            taken_at: snapshot.taken_at,
            check: report,
            details: with_rows(snapshot.details, rows),
        };
        if record.check.ok {
            self.writer.remember_database(&database, &record);
        }
        self.records.push(record);
        Ok(true)
    }

    fn not_copied(&mut self, database: &Database, error: &Error) -> Result<bool> {
        let gone = error.kind() == ErrorKind::NotFound;
        let reason = if gone { SkipReason::Vanished } else { SkipReason::Database };
        // Nobody configured it, and the store does not know it: it is a file that looks like a database.
        // Its connection is closed, so reading the file is safe now.
        let is_no_database = matches!(
            error.kind(),
            ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Refused | ErrorKind::InvalidInput
        );
        let as_file = is_no_database && !database.configured;
        let how = if as_file { "copied as a file" } else { "not copied" };
        let mut message = format!("database {:?} was {how}: {error}", database.name);
        if let Some(hint) = error.hint() {
            message.push_str(&format!(" ({hint})"));
        }
        let found: &Found = &database.found;
        if as_file {
            let mut meter = Meter::start(self.scope, format!("storing file {}", found.path), Some(found.size), Some(1));
            self.storer.doubtful.insert(found.path.clone());
            self.storer.store(self.writer, found, &mut meter)?;
        }
        self.skip(database, reason, message);
        Ok(as_file)
    }

    fn skip(&mut self, database: &Database, reason: SkipReason, message: String) {
        self.storer.skipped.push(Skipped { path: database.found.path.clone(), reason, message });
    }
}

/// What the check found, and whether the copy has as many rows as the live database had at its moment, where the store
/// counted those.
fn held_against(mut report: IntegrityReport, snapshot: &StoreSnapshot, rows: &[TableCount]) -> IntegrityReport {
    /// More tables than this need not be named.
    const TOLD: usize = 20;
    let Some(live) =
        snapshot.details.get("rows").and_then(serde_json::Value::as_object).filter(|live| !live.is_empty())
    else {
        return report;
    };
    let copied: HashMap<&str, u64> = rows.iter().map(|count| (count.table.as_str(), count.rows)).collect();
    let wrong = live.iter().filter(|(table, rows)| copied.get(table.as_str()).copied() != rows.as_u64());
    let wrong = wrong.take(TOLD).map(|(table, rows)| match copied.get(table.as_str()) {
        Some(copied) => format!("the copy has {copied} rows of {table}, the database had {rows}"),
        None => format!("the copy has nothing of {table}, of which the database had {rows} rows"),
    });
    report.problems.extend(wrong);
    report.ok &= report.problems.is_empty();
    report
}

/// Why there are no more copies. Without one a database would be missing, and nobody would be told.
fn copying_ended(scope: &Scope, database: &Database) -> Error {
    let cancelled = scope.cancel.check().err();
    cancelled.unwrap_or_else(|| {
        Error::internal(format!("the copying of databases ended before {:?} was copied", database.name))
    })
}

/// Whether a database can have pages of this size (sqlite.org/fileformat2, 1.3.2).
fn is_page_size(size: u32) -> bool {
    size.is_power_of_two() && (512..=65_536).contains(&size)
}

fn failed(problem: &str) -> Checked {
    Checked { report: IntegrityReport { ok: false, problems: vec![problem.to_owned()] }, rows: Vec::new() }
}
