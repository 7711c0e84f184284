//! Holding the rows of a restored copy against what is known of them.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Done, DrillPhase, DrillProblem, DrilledDatabase, DrilledTable};
use crate::backup::manifest::{Manifest, StoreRecord};
use crate::backup::probe::Tester;
use crate::cancel::Scope;
use crate::error::{ErrorKind, Result};
use crate::store::{Inspection, TableCount};

/// What an earlier drill counted: rows by store and table.
pub type EarlierRows = BTreeMap<(String, String), u64>;

/// The rows of the databases, in the manifest's order.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) tables: Vec<Vec<DrilledTable>>,
    pub(super) warnings: Vec<String>,
}

/// A database before anything is known of it but its name.
pub(super) fn database(record: &StoreRecord) -> DrilledDatabase {
    DrilledDatabase {
        name: record.name.clone(),
        path: record.path.clone(),
        taken_at: record.taken_at,
        sound: false,
        tables: Vec::new(),
    }
}

/// Counts the rows of every database.
pub(super) async fn count(
    scope: &Scope,
    tester: &Tester,
    manifest: &Manifest,
    folder: &Path,
    earlier: &EarlierRows,
) -> Result<Done<Counted>> {
    let mut done = Done::well(Counted::default());
    let inspection = Inspection { rows: true, queries: Vec::new() };
    for record in &manifest.stores {
        scope.cancel.check()?;
        if !folder.join(record.path.as_path()).is_file() {
            // The step before has said so.
            done.value.tables.push(Vec::new());
            continue;
        }
        let counts = match tester.facts(scope, folder, record, &inspection).await {
            Ok(Some(facts)) => facts.rows,
            Ok(None) => Vec::new(),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Timeout) => {
                done.problems.push(problem(record, error.message().to_owned()));
                Vec::new()
            }
            Err(error) => return Err(error.while_doing(format!("counting the rows of {:?}", record.name))),
        };
        compare(record, &counts, earlier, &mut done);
        let tables = counts.into_iter().map(|TableCount { table, rows }| {
            let rows_at_backup = record.rows_of(&table);
            DrilledTable { table, rows, rows_at_backup }
        });
        done.value.tables.push(tables.collect());
    }
    Ok(done)
}

/// A copy has the rows that it had. Nobody promises that it has as many as the copy before.
fn compare(record: &StoreRecord, counts: &[TableCount], earlier: &EarlierRows, done: &mut Done<Counted>) {
    let found: BTreeMap<&str, u64> = counts.iter().map(|count| (count.table.as_str(), count.rows)).collect();
    for table in record.counted_tables() {
        let (expected, rows) = (record.rows_of(table), found.get(table).copied());
        if rows != expected {
            let had = expected.unwrap_or_default();
            let message = match rows {
                Some(rows) => format!("table {table:?} has {rows} rows, it had {had} when the backup was made"),
                None => format!("table {table:?} is not there, it had {had} rows when the backup was made"),
            };
            done.problems.push(problem(record, message));
        }
    }
    let of_store = earlier.iter().filter(|((store, _), _)| *store == record.name);
    for ((_, table), before) in of_store {
        let now = found.get(table.as_str()).copied().unwrap_or_default();
        // Less than half: the service deletes rows too, and rarely so many.
        if !found.is_empty() && now < before.div_ceil(2) {
            let name = &record.name;
            done.value.warnings.push(format!(
                "table {table:?} of {name:?} has {now} rows, it had {before} in the drill before: was that meant?"
            ));
        }
    }
}

fn problem(record: &StoreRecord, message: String) -> DrillProblem {
    DrillProblem { step: DrillPhase::Rows, path: Some(record.path.clone()), message }
}
