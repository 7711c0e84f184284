//! From a policy and what there is to a decision on every snapshot. Pure: it reads no clock and no target.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::list::{FailedTarget, Listed, Unreadable};
use super::super::manifest::Outcome;
use super::holds::{Hold, Holds};
use super::policy::Policy;
use super::proof::Proofs;
use super::rules;
use crate::clock::Timestamp;
use crate::config::RetentionSettings;

/// A snapshot may be this far in the future before a clock is suspected.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(300);

/// What one target has.
#[derive(Debug, Clone, Default)]
pub struct Stock {
    /// The target's name.
    pub target: String,
    /// Its snapshots, in any order, those of other services included.
    pub snapshots: Vec<Listed>,
    /// What looks like a snapshot and could not be read.
    pub unreadable: Vec<Unreadable>,
    /// What is held there.
    pub holds: Holds,
}

/// What is kept and what is deleted, target by target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetentionPlan {
    /// When it was made.
    pub time: Timestamp,
    /// The time zone that days, weeks, months and years are in.
    pub timezone: String,
    /// The rules.
    pub policy: RetentionSettings,
    /// Each target by itself: what another one has is no reason to delete anything.
    pub targets: Vec<TargetPlan>,
    /// The targets that could not be asked. Nothing is deleted there.
    pub failed: Vec<FailedTarget>,
}

/// What is kept and what is deleted in one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionTargetPlan")]
pub struct TargetPlan {
    /// The target's name.
    pub target: String,
    /// Every snapshot of the service, newest first.
    pub decisions: Vec<Decision>,
    /// How many are kept.
    pub kept: u64,
    /// How many are deleted.
    pub deletions: u64,
    /// The bytes that become free; of a repository, once they are collected.
    pub freed_bytes: u64,
    /// How many of those that are kept are complete and verified.
    pub verified: u64,
    /// Why snapshots that no rule keeps are not deleted.
    pub withheld: Vec<Withheld>,
    /// What could not be read as a snapshot. It is left alone.
    pub unreadable: Vec<Unreadable>,
}

/// Why snapshots that no rule keeps are not deleted, and what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Withheld {
    /// Why.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// How many snapshots it is about.
    pub snapshots: u64,
}

/// What becomes of one snapshot in one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionDecision")]
pub struct Decision {
    /// The snapshot's identifier.
    pub snapshot_id: String,
    /// Its key in the target.
    pub key: String,
    /// How it is stored.
    pub layout: String,
    /// When the backup began.
    pub time: Timestamp,
    /// The machine it was made on.
    pub host: String,
    /// What the caller called it.
    pub label: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether everything was read completely.
    pub outcome: Outcome,
    /// Bytes that it takes.
    pub stored_bytes: u64,
    /// When this copy was last verified in full and found whole.
    pub verified_at: Option<Timestamp>,
    /// What becomes of it.
    pub action: Action,
    /// All the reasons, those of the rules first.
    pub reasons: Vec<Reason>,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RetentionAction")]
pub enum Action {
    /// It stays.
    Keep,
    /// It is deleted.
    Delete,
}

/// One reason of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionReason")]
pub struct Reason {
    /// Which rule it is.
    pub rule: Rule,
    /// The reason in words.
    pub message: String,
}

/// What keeps a snapshot, or lets it go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RetentionRule")]
pub enum Rule {
    /// One of the last ones.
    KeepLast,
    /// The newest of an hour.
    Hourly,
    /// The newest of a day.
    Daily,
    /// The newest of a week.
    Weekly,
    /// The newest of a month.
    Monthly,
    /// The newest of a year.
    Yearly,
    /// Not much older than the newest.
    Within,
    /// It has a tag that is kept.
    Tag,
    /// One of the last ones of its label.
    PerLabel,
    /// One of the last ones of a tag.
    PerTag,
    /// Somebody holds it.
    Held,
    /// The newest complete one.
    Newest,
    /// One of the newest that are verified.
    MinVerified,
    /// It is of the future.
    Future,
    /// The target received it lately, though it claims to be old.
    ReceivedLate,
    /// A verification found it damaged.
    Damaged,
    /// Several objects claim to be it.
    Ambiguous,
    /// Too few snapshots are verified.
    TooFewVerified,
    /// No newer one is verified.
    NoNewerVerified,
    /// Snapshots of several machines alternate.
    SeveralHosts,
    /// No rule keeps it, and a newer verified one exists. The only reason to delete.
    Superseded,
}

impl Rule {
    pub(super) fn because(self, message: impl Into<String>) -> Reason {
        Reason { rule: self, message: message.into() }
    }
}

/// A snapshot while it is judged.
pub(super) struct Item<'a> {
    pub(super) listed: &'a Listed,
    /// Whether rules count it. What is damaged, ambiguous or of the future is kept and stands for nothing.
    pub(super) counts: bool,
    verified_at: Option<Timestamp>,
    /// What keeps it before any rule is asked.
    known: Vec<Reason>,
    pub(super) reasons: Vec<Reason>,
    deleted: bool,
}

impl Item<'_> {
    pub(super) fn is_complete(&self) -> bool {
        self.listed.outcome == Outcome::Complete
    }

    /// Whether it is one to fall back on.
    fn is_good(&self) -> bool {
        self.counts && self.is_complete() && self.verified_at.is_some()
    }
}

/// Decides on every snapshot of `service` in each target. `now` tells what is of the future, and nothing else: no
/// snapshot is deleted because it is old.
pub fn plan(policy: &Policy, service: &str, stocks: &[Stock], proofs: &Proofs, now: Timestamp) -> RetentionPlan {
    RetentionPlan {
        time: now,
        timezone: policy.zone_name().to_owned(),
        policy: policy.rules().clone(),
        targets: stocks.iter().map(|stock| plan_target(policy, service, stock, proofs, now)).collect(),
        failed: Vec::new(),
    }
}

fn plan_target(policy: &Policy, service: &str, stock: &Stock, proofs: &Proofs, now: Timestamp) -> TargetPlan {
    let mut ours: Vec<&Listed> = stock.snapshots.iter().filter(|listed| listed.service == service).collect();
    ours.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| (&a.snapshot_id, &a.key).cmp(&(&b.snapshot_id, &b.key))));
    let mut items: Vec<Item<'_>> = ours.iter().map(|listed| item(listed, &ours, stock, proofs, now)).collect();
    let alternating = alternating_hosts(&items);
    let mut withheld = Vec::new();
    if policy.rules().per_host == Some(true) {
        let hosts: BTreeSet<&str> = ours.iter().map(|listed| listed.host.as_str()).collect();
        // The sort is stable: each line stays sorted by time.
        items.sort_by(|a, b| a.listed.host.cmp(&b.listed.host));
        let mut rest = items.as_mut_slice();
        for host in hosts {
            let len = rest.iter().take_while(|item| item.listed.host == host).count();
            let (line, others) = rest.split_at_mut(len);
            judge(policy, line, None, &mut withheld);
            rest = others;
        }
        items.sort_by_key(|item| std::cmp::Reverse(item.listed.time));
    } else {
        let undecided = alternating.filter(|_| policy.rules().per_host.is_none());
        judge(policy, &mut items, undecided, &mut withheld);
    }
    let count = |which: &dyn Fn(&Item<'_>) -> bool| items.iter().filter(|item| which(item)).count() as u64;
    TargetPlan {
        target: stock.target.clone(),
        kept: count(&|item| !item.deleted),
        deletions: count(&|item| item.deleted),
        freed_bytes: items
            .iter()
            .filter(|item| item.deleted)
            .fold(0, |sum, item| sum.saturating_add(item.listed.stored_bytes)),
        verified: count(&|item| !item.deleted && item.is_good()),
        decisions: items.into_iter().map(Decision::from).collect(),
        withheld,
        unreadable: stock.unreadable.clone(),
    }
}

/// A snapshot with what is known about it before any rule.
fn item<'a>(listed: &'a Listed, ours: &[&Listed], stock: &Stock, proofs: &Proofs, now: Timestamp) -> Item<'a> {
    let mut doubts = Vec::new();
    if listed.time.duration_since(now) > CLOCK_SLACK {
        doubts.push(Rule::Future.because("its time is in the future: a clock is, or was, wrong"));
    }
    if proofs.damaged_at(listed).is_some() {
        doubts.push(Rule::Damaged.because("a verification found it damaged: look at it, then delete it by hand"));
    }
    if ours.iter().filter(|other| other.snapshot_id == listed.snapshot_id).count() > 1 {
        doubts
            .push(Rule::Ambiguous.because("several objects claim to be this snapshot: delete the wrong ones by hand"));
    }
    let counts = doubts.is_empty();
    let held = stock.holds.get(&listed.snapshot_id).map(Vec::as_slice).unwrap_or_default();
    let held = held.iter().map(|Hold { by, reason, .. }| Rule::Held.because(format!("held by {by}: {reason}")));
    let known = held.chain(doubts).collect();
    Item { listed, counts, verified_at: proofs.verified_at(listed), known, reasons: Vec::new(), deleted: false }
}

/// The machines whose snapshots alternate, such as `a, b, a`: one did not simply go on for the other.
fn alternating_hosts(items: &[Item<'_>]) -> Option<Vec<String>> {
    let mut runs: Vec<&str> = items.iter().map(|item| item.listed.host.as_str()).collect();
    runs.dedup();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for host in &runs {
        *times.entry(host).or_default() += 1;
    }
    times.values().any(|count| *count > 1).then(|| times.into_keys().map(str::to_owned).collect())
}

/// Decides on one line of snapshots, from the newest to the oldest.
fn judge(policy: &Policy, items: &mut [Item<'_>], undecided: Option<Vec<String>>, withheld: &mut Vec<Withheld>) {
    rules::apply(policy, items);
    for item in items.iter_mut() {
        item.reasons.append(&mut item.known);
    }
    keep_whatever_the_rules_say(policy, items);

    let needed = policy.rules().min_verified;
    let good = items.iter().filter(|item| item.is_good()).count();
    let newest_good = items.iter().find(|item| item.is_good()).map(|item| item.listed.clone());
    let mut unproven = 0;
    let mut unsafe_now = 0;
    let several = undecided.map(|hosts| format!("snapshots of {} alternate here", enumerate(&hosts)));
    for item in items.iter_mut().filter(|item| item.reasons.is_empty()) {
        let newer = newest_good.as_ref().filter(|good| good.time > item.listed.time);
        let reason = match (&several, newer) {
            (Some(several), _) => {
                unsafe_now += 1;
                Rule::SeveralHosts.because(format!("no rule keeps it, but {several}"))
            }
            (None, _) if good < needed as usize => {
                unproven += 1;
                Rule::TooFewVerified.because(format!("no rule keeps it, but {good} of {needed} are verified"))
            }
            (None, None) => {
                unproven += 1;
                Rule::NoNewerVerified.because("no rule keeps it, but no newer one is verified")
            }
            (None, Some(newer)) => {
                item.deleted = true;
                let Listed { snapshot_id, time, .. } = newer;
                let day = time.to_zoned(policy.zone().clone()).strftime("%Y-%m-%d").to_string();
                Rule::Superseded.because(format!("no rule keeps it, and {snapshot_id} of {day} is newer and verified"))
            }
        };
        item.reasons.push(reason);
    }
    if let Some(several) = several.filter(|_| unsafe_now > 0) {
        withheld.push(Withheld {
            message: several,
            hint:
                "set backup.retention.per_host: true where each machine has data of its own, false where one goes on \
                   for another"
                    .to_owned(),
            snapshots: unsafe_now,
        });
    }
    if unproven > 0 {
        withheld.push(Withheld {
            message: match (good, good < needed as usize) {
                (0, _) => "no complete snapshot is verified".to_owned(),
                (_, true) => format!("{good} of the {needed} verified snapshots that must stay are there"),
                (_, false) => "the verified snapshots are older than these".to_owned(),
            },
            hint: advice(items, needed),
            snapshots: unproven,
        });
    }
}

/// What stays whether a rule keeps it or not.
fn keep_whatever_the_rules_say(policy: &Policy, items: &mut [Item<'_>]) {
    let (needed, last) = (policy.rules().min_verified as usize, policy.rules().keep_last.max(1) as usize);
    if let Some(newest) = items.iter_mut().find(|item| item.counts && item.is_complete()) {
        newest.reasons.push(Rule::Newest.because("the newest complete one"));
    }
    for (nth, item) in items.iter_mut().filter(|item| item.is_good()).take(needed).enumerate() {
        let message = format!("verified, {} of the {needed} that must stay", nth + 1);
        item.reasons.push(Rule::MinVerified.because(message));
    }
    // A machine whose clock was behind made snapshots that look old. The target's clock knows better.
    let mut arrivals: Vec<usize> =
        (0..items.len()).filter(|at| items[*at].counts && items[*at].is_complete()).collect();
    arrivals.sort_by(|a, b| items[*b].listed.stored_at.cmp(&items[*a].listed.stored_at).then(a.cmp(b)));
    for at in arrivals.into_iter().take(last) {
        if items[at].reasons.is_empty() {
            let message = "the target received it as one of the last, though it claims to be old: a clock was wrong";
            items[at].reasons.push(Rule::ReceivedLate.because(message));
        }
    }
}

/// Which snapshots to verify, newest first, so that something may be deleted.
fn advice(items: &[Item<'_>], needed: u32) -> String {
    let unverified = items.iter().filter(|item| item.counts && item.is_complete() && item.verified_at.is_none());
    let good = items.iter().filter(|item| item.is_good()).count();
    let wanted = (needed as usize).saturating_sub(good).max(1);
    let commands: Vec<String> = unverified
        .take(wanted.min(3))
        .map(|item| format!("`uplifted-ops backup verify {}`", item.listed.snapshot_id))
        .collect();
    match commands.is_empty() {
        true => {
            "make complete backups and verify them: `uplifted-ops backup create`, `uplifted-ops backup verify latest`"
                .to_owned()
        }
        false => format!("run {}", commands.join(" and ")),
    }
}

/// `a and b`, `a, b and c`.
fn enumerate(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

impl From<Item<'_>> for Decision {
    fn from(item: Item<'_>) -> Self {
        let Listed { snapshot_id, key, layout, time, host, label, tags, outcome, stored_bytes, .. } =
            item.listed.clone();
        let action = if item.deleted { Action::Delete } else { Action::Keep };
        let (verified_at, reasons) = (item.verified_at, item.reasons);
        Self { snapshot_id, key, layout, time, host, label, tags, outcome, stored_bytes, verified_at, action, reasons }
    }
}
