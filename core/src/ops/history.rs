//! What the journal says about backups.

use crate::backup::retention::{Proof, Proofs};
use crate::error::Result;
use crate::journal::{Journal, Query};
use crate::metrics::own::{BackupHistory, Fact};

/// How many records are looked at: years of daily backups and verifications.
const FAR_ENOUGH: usize = 10_000;

/// How the backups stand.
pub(crate) fn backups(journal: &Journal) -> Result<BackupHistory> {
    let records = about_backups(journal, &["backup.create", "backup.verify"])?;
    Ok(BackupHistory::of(records.iter().map(|record| Fact {
        time: record.time,
        operation: &record.operation,
        request: Some(&record.request),
        response: record.error.is_none().then_some(&record.response),
        duration_seconds: record.duration_seconds,
    })))
}

/// What verifications said about each copy of each snapshot: the last one that could tell. A full one proves a copy
/// whole; one of any depth proves it damaged. Which was the last, the order of the journal says: clocks jump.
pub(crate) fn proofs(journal: &Journal) -> Result<Proofs> {
    let mut proofs = Proofs::default();
    for record in about_backups(journal, &["backup.verify"])? {
        let response = &record.response;
        let Some(id) = response["snapshot_id"].as_str() else { continue };
        let (Some(targets), Some(problems)) = (response["targets"].as_array(), response["problems"].as_array()) else {
            // So many problems that the record was cut: which copies have them is lost.
            proofs.note(id, None, Proof::Damaged(record.time));
            continue;
        };
        for target in targets.iter().filter_map(|target| target.as_str()) {
            if problems.iter().any(|problem| problem["target"] == target) {
                proofs.note(id, Some(target), Proof::Damaged(record.time));
            } else if response["depth"] == "full" {
                proofs.note(id, Some(target), Proof::Whole(record.time));
            }
        }
    }
    Ok(proofs)
}

fn about_backups(journal: &Journal, operations: &[&str]) -> Result<Vec<crate::journal::Record>> {
    let query = Query {
        operations: operations.iter().map(|name| (*name).to_owned()).collect(),
        limit: FAR_ENOUGH,
        newest_first: true,
        ..Query::default()
    };
    Ok(journal.read(&query)?.records)
}

#[cfg(test)]
mod tests;
