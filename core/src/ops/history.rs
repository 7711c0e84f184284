//! What the journal says about backups.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::backup::drill::EarlierRows;
use crate::backup::verify::VerifyLevel;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::journal::{Journal, Query};
use crate::metrics::own::{BackupHistory, Fact};

/// How many records are looked at: years of daily backups and verifications.
const FAR_ENOUGH: usize = 10_000;

/// How the backups stand.
pub(crate) fn backups(journal: &Journal) -> Result<BackupHistory> {
    let records = about_backups(journal, &["backup.create", "backup.verify", "backup.drill"])?;
    Ok(BackupHistory::of(records.iter().map(|record| Fact {
        time: record.time,
        operation: &record.operation,
        request: Some(&record.request),
        response: record.error.is_none().then_some(&record.response),
        duration_seconds: record.duration_seconds,
    })))
}

/// What earlier drills did.
#[derive(Debug, Default)]
pub(crate) struct Drills {
    /// When each target was last drilled, well or not.
    pub(crate) times: Vec<(String, Timestamp)>,
    /// What the last one that went well counted.
    pub(crate) rows: EarlierRows,
}

/// What earlier drills did.
pub(crate) fn drills(journal: &Journal) -> Result<Drills> {
    let mut drills = Drills::default();
    // The newest come first.
    for record in about_backups(journal, &["backup.drill"])? {
        let response = &record.response;
        if let Some(target) = response["target"].as_str().filter(|target| !target.is_empty())
            && !drills.times.iter().any(|(known, _)| known == target)
        {
            drills.times.push((target.to_owned(), record.time));
        }
        if drills.rows.is_empty() && response["ok"] == true {
            drills.rows = rows_of(response).unwrap_or_default();
        }
    }
    Ok(drills)
}

/// How far sampled verification came in each target.
pub(crate) fn sampled(journal: &Journal) -> Result<BTreeMap<String, Timestamp>> {
    let mut reached = BTreeMap::new();
    // The newest come first.
    for record in about_backups(journal, &["backup.sample"])? {
        for target in record.response["targets"].as_array().into_iter().flatten() {
            let time = target["reached"].as_str().and_then(|time| time.parse().ok());
            if let (Some(name), Some(time)) = (target["target"].as_str(), time) {
                reached.entry(name.to_owned()).or_insert(time);
            }
        }
    }
    Ok(reached)
}

/// The rows that a drill counted.
fn rows_of(response: &Value) -> Option<EarlierRows> {
    let mut rows = EarlierRows::new();
    for database in response["databases"].as_array()? {
        for table in database["tables"].as_array()? {
            let name = (database["name"].as_str()?.to_owned(), table["table"].as_str()?.to_owned());
            rows.insert(name, table["rows"].as_u64()?);
        }
    }
    Some(rows)
}

/// When each snapshot was last verified in full, or restored by a drill, and found whole. A quick verify proves no byte.
pub(crate) fn verified(journal: &Journal) -> Result<BTreeMap<String, Timestamp>> {
    let mut times = BTreeMap::new();
    for record in about_backups(journal, &["backup.verify", "backup.drill"])? {
        let proven =
            record.response["ok"] == true && (record.operation == "backup.drill" || record.response["depth"] == "full");
        if let (true, Some(id)) = (proven, record.response["snapshot_id"].as_str()) {
            let last = times.entry(id.to_owned()).or_insert(record.time);
            *last = record.time.max(*last);
        }
    }
    Ok(times)
}

/// Whether each of those snapshots was looked into when it was last verified in full.
pub(crate) fn levels(journal: &Journal) -> Result<BTreeMap<String, VerifyLevel>> {
    let mut levels = BTreeMap::new();
    // The newest first, and the newest counts.
    for record in about_backups(journal, &["backup.verify"])? {
        let whole = record.response["ok"] == true && record.response["depth"] == "full";
        if let (true, Some(id)) = (whole, record.response["snapshot_id"].as_str()) {
            let sealed = record.response["level"] == "sealed";
            let level = if sealed { VerifyLevel::Sealed } else { VerifyLevel::Proven };
            levels.entry(id.to_owned()).or_insert(level);
        }
    }
    Ok(levels)
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
