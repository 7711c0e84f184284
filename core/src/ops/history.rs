//! What the journal says about backups.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::journal::{Journal, Query};
use crate::metrics::own::{BackupHistory, Fact};

/// How many records are looked at: years of daily backups and verifications.
const FAR_ENOUGH: usize = 10_000;

/// How the backups stand.
pub(crate) fn backups(journal: &Journal) -> Result<BackupHistory> {
    let records = about_backups(journal, &["backup.create", "backup.verify", "backup.collect"])?;
    Ok(BackupHistory::of(records.iter().map(|record| Fact {
        time: record.time,
        operation: &record.operation,
        request: Some(&record.request),
        response: record.error.is_none().then_some(&record.response),
        duration_seconds: record.duration_seconds,
    })))
}

/// When each snapshot was last verified in full and found whole. A quick verify proves no byte.
pub(crate) fn verified(journal: &Journal) -> Result<BTreeMap<String, Timestamp>> {
    let mut times = BTreeMap::new();
    for record in about_backups(journal, &["backup.verify"])? {
        let proven = record.response["ok"] == true && record.response["depth"] == "full";
        if let (true, Some(id)) = (proven, record.response["snapshot_id"].as_str()) {
            let last = times.entry(id.to_owned()).or_insert(record.time);
            *last = record.time.max(*last);
        }
    }
    Ok(times)
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
