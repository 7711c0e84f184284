//! What to do with each object of a repository, and why. Pure: a survey in, decisions out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::SignedDuration;

use super::survey::{Standing, Survey};
use super::{LONGEST_RUN, REMOVALS_KEPT, in_words, signed};
use crate::backup::collect::{CollectAction, CollectDecision, CollectKind, TargetCollection};
use crate::backup::repository::id::{PackId, SnapshotId};
use crate::backup::target::Object;

/// What a condemnation has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sentence {
    /// A clock jumped since the record was made: it proves no age.
    Doubtful,
    /// The record is this old, and must be that old.
    Waiting(SignedDuration, SignedDuration),
    /// The record has this age, which is enough.
    Due(SignedDuration),
}

/// Judges everything in a survey.
pub(super) fn judge(survey: &Survey, target: &str, grace: Duration) -> TargetCollection {
    let court = Court::of(survey, grace);
    let mut decisions = court.packs();
    decisions.extend(court.lonely_indexes());
    decisions.extend(court.records());
    decisions.sort_by(|a, b| (a.action, a.kind, &a.key).cmp(&(b.action, b.kind, &b.key)));
    let (mut dead_packs, mut dead_bytes) = (0, 0);
    for (pack, object) in survey.packs.iter().filter(|(pack, _)| !survey.needed.contains_key(pack)) {
        dead_packs += 1;
        dead_bytes += object.size_bytes + court.index_bytes.get(pack).unwrap_or(&0);
    }
    let bytes = |objects: &[(PackId, Object)]| objects.iter().map(|(_, object)| object.size_bytes).sum::<u64>();
    TargetCollection {
        target: target.to_owned(),
        repository_id: survey.id().to_string(),
        target_time: survey.target_now,
        grace_hours: grace.as_secs_f64() / 3600.0,
        snapshots: survey.snapshots.len() as u64,
        packs: survey.packs.len() as u64,
        dead_packs,
        repository_bytes: bytes(&survey.packs) + bytes(&survey.indexes) + survey.record_bytes,
        dead_bytes,
        refusals: survey.refusals.clone(),
        decisions,
        problems: survey.problems.clone(),
        ..TargetCollection::default()
    }
}

struct Court<'a> {
    survey: &'a Survey,
    grace: SignedDuration,
    /// For each condemned pack the best that a record can say.
    condemned: HashMap<PackId, Sentence>,
    index_bytes: HashMap<PackId, u64>,
}

impl<'a> Court<'a> {
    fn of(survey: &'a Survey, grace: Duration) -> Self {
        let grace = signed(grace);
        let mut condemned: HashMap<PackId, Sentence> = HashMap::new();
        for standing in &survey.records {
            let sentence = sentence(survey, standing, grace);
            for pack in &standing.record.packs {
                let best = condemned.entry(*pack).or_insert(sentence);
                *best = sentence.max(*best);
            }
        }
        let index_bytes = survey.indexes.iter().map(|(pack, object)| (*pack, object.size_bytes)).collect();
        Self { survey, grace, condemned, index_bytes }
    }

    fn age(&self, object: &Object) -> SignedDuration {
        self.survey.target_now.duration_since(object.modified_at)
    }

    fn packs(&self) -> Vec<CollectDecision> {
        let under_way = self.under_way();
        let grace = in_words(self.grace);
        self.survey
            .packs
            .iter()
            .filter_map(|(pack, object)| {
                let (action, reason) = match (self.survey.needed.get(pack), self.condemned.get(pack)) {
                    (Some(_), None) => return None,
                    (Some(need), Some(_)) => (
                        CollectAction::Keep,
                        format!(
                            "it was condemned and snapshot {} needs it: no new one uses it, and it goes after the last of \
                             the {} that do",
                            need.newest, need.snapshots
                        ),
                    ),
                    (None, Some(Sentence::Due(age))) => (
                        CollectAction::Delete,
                        format!("no snapshot needs it, and it was condemned {} ago", in_words(*age)),
                    ),
                    (None, Some(Sentence::Waiting(age, wait))) => (
                        CollectAction::Wait,
                        format!("it was condemned {} ago, and goes after {}", in_words(*age), in_words(*wait)),
                    ),
                    (None, Some(Sentence::Doubtful)) => (
                        CollectAction::Condemn,
                        "it was condemned, but a clock has jumped since, so nobody knows how long ago".to_owned(),
                    ),
                    (None, None) if under_way.contains(pack) => (
                        CollectAction::Wait,
                        format!("no snapshot needs it yet: a backup that has stored something within {grace} may"),
                    ),
                    (None, None) => (
                        CollectAction::Condemn,
                        format!("no snapshot needs it; it is {} old", in_words(self.age(object))),
                    ),
                };
                let stored_bytes = object.size_bytes + self.index_bytes.get(pack).unwrap_or(&0);
                Some(CollectDecision { key: object.key.clone(), kind: CollectKind::Pack, stored_bytes, action, reason })
            })
            .collect()
    }

    /// The packs that a run which has not ended may have stored: a run stores something within each grace time, or is
    /// dead. So they are a chain back from now, without a gap of that length.
    fn under_way(&self) -> HashSet<PackId> {
        let unknown = |pack: &PackId| !self.survey.needed.contains_key(pack) && !self.condemned.contains_key(pack);
        let mut young: Vec<(SignedDuration, PackId)> = self
            .survey
            .packs
            .iter()
            .filter(|(pack, _)| unknown(pack))
            .map(|(pack, object)| (self.age(object), *pack))
            .collect();
        young.sort_unstable();
        let mut last = SignedDuration::ZERO;
        let chain = young.into_iter().take_while(|(age, _)| {
            let near = age.saturating_sub(last) < self.grace && *age < LONGEST_RUN.max(self.grace);
            last = *age;
            near
        });
        chain.map(|(_, pack)| pack).collect()
    }

    /// Indexes whose pack is gone: what a collection that died, or somebody's hand, has left.
    fn lonely_indexes(&self) -> Vec<CollectDecision> {
        let packs: HashSet<PackId> = self.survey.packs.iter().map(|(pack, _)| *pack).collect();
        let lonely = self.survey.indexes.iter().filter(|(pack, _)| !packs.contains(pack));
        lonely
            .map(|(pack, object)| {
                let age = self.age(object);
                let (action, reason) = match self.survey.needed.get(pack) {
                    Some(need) => {
                        (CollectAction::Keep, format!("its pack is lost, and snapshot {} needs it", need.newest))
                    }
                    None if age >= self.grace => {
                        (CollectAction::Delete, format!("its pack is gone; it is {} old", in_words(age)))
                    }
                    None => (CollectAction::Wait, format!("its pack is gone; it is only {} old", in_words(age))),
                };
                CollectDecision {
                    key: object.key.clone(),
                    kind: CollectKind::Index,
                    stored_bytes: object.size_bytes,
                    action,
                    reason,
                }
            })
            .collect()
    }

    /// Records that have done their work.
    fn records(&self) -> Vec<CollectDecision> {
        let packs: HashSet<PackId> = self.survey.packs.iter().map(|(pack, _)| *pack).collect();
        let named: HashSet<SnapshotId> = self.survey.named.iter().map(|(snapshot, _)| *snapshot).collect();
        let decide = |Standing { object, record }: &Standing| {
            let age = self.age(object);
            let there = record.packs.iter().filter(|pack| packs.contains(pack)).count();
            let removed = || record.snapshots.iter().map(|(snapshot, _)| snapshot);
            let (action, reason) = if there > 0 {
                (CollectAction::Keep, format!("{there} of the packs that it condemns are still there"))
            } else if let Some(left) = removed().find(|snapshot| self.survey.snapshots.contains_key(snapshot)) {
                (CollectAction::Keep, format!("it removes snapshot {left}, which is still there"))
            } else if let Some(named) = removed().find(|snapshot| named.contains(snapshot)) {
                (CollectAction::Keep, format!("a later snapshot was made after {named}, which it removed"))
            } else if removed().next().is_some() && age < REMOVALS_KEPT {
                let kept = in_words(REMOVALS_KEPT);
                (CollectAction::Wait, format!("it tells for {kept} which snapshots were removed"))
            } else {
                (CollectAction::Delete, "all that it condemned is gone".to_owned())
            };
            let (key, stored_bytes) = (object.key.clone(), object.size_bytes);
            CollectDecision { key, kind: CollectKind::Record, stored_bytes, action, reason }
        };
        self.survey.records.iter().map(decide).collect()
    }
}

/// How old a record is, and whether that can be believed.
fn sentence(survey: &Survey, standing: &Standing, grace: SignedDuration) -> Sentence {
    let Standing { object, record } = standing;
    let age = survey.target_now.duration_since(object.modified_at);
    let wait = grace.max(signed(record.grace));
    if age < wait {
        return Sentence::Waiting(age, wait);
    }
    // How far the target's clock is from a machine's: now from ours, then from the maker's. A jump of either between the two
    // shows; so does that the maker's is another machine's with a clock of its own.
    let now = survey.target_now.duration_since(survey.our_now);
    let then = object.modified_at.duration_since(record.time);
    if now.saturating_sub(then).abs() > wait / 4 { Sentence::Doubtful } else { Sentence::Due(age) }
}
