//! What verifications said about the copies of snapshots.

use std::collections::BTreeMap;

use super::super::list::Listed;
use super::super::manifest::Outcome;
use crate::clock::Timestamp;

/// What the last verification that could tell said about one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A full one, that found it whole.
    Whole(Timestamp),
    /// One of any depth, that found it damaged.
    Damaged(Timestamp),
}

/// What verifications said about each copy. A snapshot that is whole in one target may be damaged in another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proofs(BTreeMap<String, Vec<(Option<String>, Proof)>>);

impl Proofs {
    /// Notes what a verification said about a snapshot in `target`, or in every target. The latest one comes first:
    /// nothing that is noted later changes what is known.
    pub fn note(&mut self, snapshot_id: &str, target: Option<&str>, proof: Proof) {
        self.0.entry(snapshot_id.to_owned()).or_default().push((target.map(str::to_owned), proof));
    }

    fn of(&self, listed: &Listed) -> Option<&Proof> {
        let notes = self.0.get(&listed.snapshot_id)?;
        let about = |target: &Option<String>| target.as_ref().is_none_or(|target| *target == listed.target);
        notes.iter().find(|(target, _)| about(target)).map(|(_, proof)| proof)
    }

    /// When this copy was last found whole by a full verification; nothing when it never was, or was found damaged
    /// since.
    pub fn verified_at(&self, listed: &Listed) -> Option<Timestamp> {
        match self.of(listed)? {
            Proof::Whole(at) => Some(*at),
            Proof::Damaged(_) => None,
        }
    }

    /// When this copy was found damaged, unless it was found whole since.
    pub fn damaged_at(&self, listed: &Listed) -> Option<Timestamp> {
        match self.of(listed)? {
            Proof::Whole(_) => None,
            Proof::Damaged(at) => Some(*at),
        }
    }

    /// Whether this copy is one to fall back on: complete, and verified. What deletes asks this, and nothing else.
    pub fn is_good(&self, listed: &Listed) -> bool {
        listed.outcome == Outcome::Complete && self.verified_at(listed).is_some()
    }

    /// Why deleting `doomed` would take from its target the last one to fall back on: the last good one, or, while
    /// there is none, the last complete one. `all` are the snapshots of its service in that target.
    pub fn last_of_its_worth(&self, doomed: &Listed, all: &[Listed]) -> Option<String> {
        if doomed.outcome != Outcome::Complete {
            return None;
        }
        let others = || {
            all.iter().filter(|other| {
                other.target == doomed.target
                    && other.service == doomed.service
                    && other.snapshot_id != doomed.snapshot_id
                    && other.outcome == Outcome::Complete
            })
        };
        let Listed { service, target, .. } = doomed;
        if others().any(|other| self.is_good(other)) {
            return None;
        }
        if self.is_good(doomed) {
            return Some(format!("it is the last complete snapshot of {service:?} in {target} that was verified"));
        }
        let last = others().next().is_none();
        last.then(|| format!("it is the last complete snapshot of {service:?} in {target}"))
    }
}
