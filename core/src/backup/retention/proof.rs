//! What verifications said about the copies of snapshots.

use std::collections::{BTreeMap, BTreeSet};

use super::super::list::Listed;
use super::super::manifest::Outcome;
use crate::clock::Timestamp;

/// What the last verification or drill that could tell said about one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It is whole.
    Whole(Timestamp),
    /// It is damaged.
    Damaged(Timestamp),
    /// What was said before does not count any more.
    Doubted,
}

/// What verifications said about each copy. A snapshot that is whole in one target may be damaged in another.
///
/// The latest word comes first: nothing that is noted later changes what is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proofs {
    notes: BTreeMap<String, Vec<(Option<String>, Proof)>>,
    /// When samples had read all of a copy and found it whole, by snapshot and target.
    sampled: BTreeMap<(String, String), Timestamp>,
    doubted: BTreeSet<String>,
    all_doubted: bool,
}

impl Proofs {
    /// Notes what was said about a snapshot in `target`, or in every target.
    pub fn note(&mut self, snapshot_id: &str, target: Option<&str>, proof: Proof) {
        let doubted = self.all_doubted || target.is_some_and(|target| self.doubted.contains(target));
        let proof = match proof {
            Proof::Whole(_) if doubted => Proof::Doubted,
            proof => proof,
        };
        self.notes.entry(snapshot_id.to_owned()).or_default().push((target.map(str::to_owned), proof));
    }

    /// Notes that samples have read every byte of a copy, the last of them at `at`, and found nothing. It proves what
    /// nobody has looked at more closely: samples neither open databases nor restore.
    pub fn note_sampled(&mut self, snapshot_id: &str, target: &str, at: Timestamp) {
        if !self.all_doubted && !self.doubted.contains(target) {
            self.sampled.entry((snapshot_id.to_owned(), target.to_owned())).or_insert(at);
        }
    }

    /// Damage was found in `target`, or nobody knows where, and in which snapshot nobody knows: whatever is noted from now
    /// on, which is older, proves nothing whole there.
    pub fn doubt_all_in(&mut self, target: Option<&str>) {
        match target {
            Some(target) => drop(self.doubted.insert(target.to_owned())),
            None => self.all_doubted = true,
        }
    }

    fn of(&self, listed: &Listed) -> Option<&Proof> {
        let notes = self.notes.get(&listed.snapshot_id)?;
        let about = |target: &Option<String>| target.as_ref().is_none_or(|target| *target == listed.target);
        notes.iter().find(|(target, _)| about(target)).map(|(_, proof)| proof)
    }

    /// When this copy was last found whole, by a full verification, a drill, or samples of every byte; nothing when it
    /// never was, or was found damaged since.
    pub fn verified_at(&self, listed: &Listed) -> Option<Timestamp> {
        let sampled = self.sampled.get(&(listed.snapshot_id.clone(), listed.target.clone())).copied();
        match self.of(listed) {
            Some(Proof::Whole(at)) => Some(sampled.map_or(*at, |sampled| sampled.max(*at))),
            Some(Proof::Damaged(_) | Proof::Doubted) => None,
            None => sampled,
        }
    }

    /// When this copy was found damaged, unless it was found whole since.
    pub fn damaged_at(&self, listed: &Listed) -> Option<Timestamp> {
        match self.of(listed)? {
            Proof::Whole(_) | Proof::Doubted => None,
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
