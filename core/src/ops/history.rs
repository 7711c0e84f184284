//! What the journal says about backups.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::backup::drill::EarlierRows;
use crate::backup::retention::{Proof, Proofs};
use crate::backup::verify::VerifyLevel;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::journal::{Journal, JournalStamp, Query};
use crate::metrics::own::{BackupHistory, Fact};

/// How many records are looked at: years of daily backups and verifications.
const FAR_ENOUGH: usize = 10_000;

/// How the backups stand.
pub(crate) fn backups(journal: &Journal) -> Result<BackupHistory> {
    let operations = ["backup.create", "backup.verify", "backup.sample", "backup.drill", "backup.collect"];
    let records = about_backups(journal, &operations)?;
    Ok(BackupHistory::of(records.iter().map(|record| Fact {
        time: record.time,
        operation: &record.operation,
        request: Some(&record.request),
        response: record.error.is_none().then_some(&record.response),
        duration_seconds: record.duration_seconds,
    })))
}

/// How the backups stand, worked out anew when the journal has changed: a page of metrics is asked for four times a
/// minute, and to go through the journal of years takes long.
#[derive(Debug, Default)]
pub struct KnownBackups(Mutex<Option<(JournalStamp, BackupHistory)>>);

impl KnownBackups {
    /// How they stand.
    pub(crate) fn of(&self, journal: &Journal) -> Result<BackupHistory> {
        // Before it is read: what is written meanwhile makes the next stamp another one.
        let stamp = journal.stamp()?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, history)) = known.as_ref().filter(|(of, _)| *of == stamp) {
            return Ok(history.clone());
        }
        let history = backups(journal)?;
        *known = Some((stamp, history.clone()));
        Ok(history)
    }
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

/// How far sampled verification came, by target.
#[derive(Debug, Default)]
pub(crate) struct Sampled {
    /// All that became due until then is read.
    pub(crate) reached: BTreeMap<String, Timestamp>,
    /// Since then nothing was left out, and nothing was wrong.
    pub(crate) clean_since: BTreeMap<String, Timestamp>,
}

/// How far sampled verification came in each target.
pub(crate) fn sampled(journal: &Journal) -> Result<Sampled> {
    let mut sampled = Sampled::default();
    // The newest come first.
    for record in about_backups(journal, &["backup.sample"])? {
        for target in record.response["targets"].as_array().into_iter().flatten() {
            let time = |field: &str| target[field].as_str().and_then(|time| time.parse().ok());
            if let (Some(name), Some(reached)) = (target["target"].as_str(), time("reached"))
                && !sampled.reached.contains_key(name)
            {
                sampled.reached.insert(name.to_owned(), reached);
                sampled.clean_since.extend(time("clean_since").map(|time| (name.to_owned(), time)));
            }
        }
    }
    Ok(sampled)
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

/// What was proven of each copy of each snapshot: the last word that could tell. A full verify, or a drill, proves a copy
/// whole. A verify of any depth proves it damaged, and so does a drill that could not restore it; one that
/// failed in the service's own eyes takes back what was proven. Damage that a sample found may be anybody's: nothing that was
/// proven in that target before counts any more. Samples that have read every byte of a copy prove it whole, unless somebody
/// who looked closer found otherwise. Which was the last, the order of the journal says: clocks jump.
pub(crate) fn proofs(journal: &Journal) -> Result<Proofs> {
    let mut proofs = Proofs::default();
    // The newest come first.
    for record in about_backups(journal, &["backup.verify", "backup.drill", "backup.sample"])? {
        let response = &record.response;
        match (record.operation.as_str(), response["snapshot_id"].as_str()) {
            ("backup.verify", Some(id)) => of_verify(&mut proofs, id, response, record.time),
            ("backup.drill", Some(id)) => of_drill(&mut proofs, id, response, record.time),
            ("backup.sample", _) if !response.is_null() => of_sample(&mut proofs, response, record.time),
            _ => {}
        }
    }
    Ok(proofs)
}

fn of_verify(proofs: &mut Proofs, id: &str, response: &Value, time: Timestamp) {
    let (Some(targets), Some(problems)) = (response["targets"].as_array(), response["problems"].as_array()) else {
        // So many problems that the record was cut: which copies have them is lost.
        return proofs.note(id, None, Proof::Damaged(time));
    };
    for target in targets.iter().filter_map(Value::as_str) {
        if problems.iter().any(|problem| problem["target"] == target) {
            proofs.note(id, Some(target), Proof::Damaged(time));
        } else if response["depth"] == "full" {
            proofs.note(id, Some(target), Proof::Whole(time));
        }
    }
}

fn of_drill(proofs: &mut Proofs, id: &str, response: &Value, time: Timestamp) {
    let target = response["target"].as_str();
    // What the service's own migrations, queries and programs think is about the service as well.
    let is_damage = |problem: &Value| {
        matches!(problem["step"].as_str(), Some("find" | "open" | "restore" | "integrity" | "rows") | None)
    };
    let proof = match response["problems"].as_array() {
        Some(_) if response["ok"] == true => Proof::Whole(time),
        Some(problems) if !problems.iter().any(is_damage) => Proof::Doubted,
        _ => Proof::Damaged(time),
    };
    proofs.note(id, target, proof);
}

fn of_sample(proofs: &mut Proofs, response: &Value, time: Timestamp) {
    for target in response["targets"].as_array().into_iter().flatten() {
        let whole = target["whole"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(name) = target["target"].as_str() {
            whole.for_each(|id| proofs.note_sampled(id, name, time));
        }
    }
    match response["problems"].as_array() {
        Some(problems) => problems.iter().for_each(|problem| proofs.doubt_all_in(problem["target"].as_str())),
        // The record was cut.
        None => proofs.doubt_all_in(None),
    }
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

#[cfg(test)]
mod tests;
