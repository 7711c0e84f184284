//! Databases that a verify puts together from the ids of their pages.

use std::collections::{BTreeSet, HashMap};

use super::super::id::PageId;
use super::super::roll::Stored;
use super::super::snapshot::Snapshot;
use super::mismatch;
use crate::backup::manifest::Digest;
use crate::backup::nodes::{Problem, Roll};

/// The page ids of the databases, as they come.
#[derive(Default)]
pub(super) struct Units(HashMap<u32, Vec<Option<PageId>>>);

impl Units {
    pub(super) fn add(&mut self, snapshot: &Snapshot, units: Vec<(u32, u64, Vec<PageId>)>) {
        for (file, first, ids) in units {
            let of_file = self.0.entry(file).or_default();
            let end = first as usize + ids.len();
            // Runs lie within their file, whose size the guard has let pass.
            debug_assert!(snapshot.roll.len() > file);
            if of_file.len() < end {
                of_file.resize(end, None);
            }
            for (slot, id) in of_file[first as usize..end].iter_mut().zip(ids) {
                *slot = Some(id);
            }
        }
    }

    /// Compares each database's ids with its digest, but those of which parts are lost anyway.
    pub(super) fn compare(&self, snapshot: &Snapshot, hit: &BTreeSet<u32>, problems: &mut Vec<Problem>) {
        for number in 0..snapshot.roll.len() {
            let Stored::Pages(_, digest) = snapshot.roll.stored(number) else { continue };
            if hit.contains(&number) {
                continue;
            }
            let mut mac = snapshot.packs.repository().key.mac();
            for id in self.0.get(&number).into_iter().flatten().flatten() {
                mac.update(&id.0);
            }
            if Digest(*mac.finalize().as_bytes()) != digest {
                problems.push(mismatch(snapshot, number));
            }
        }
    }
}
