//! Retention: the rules, the safeties, and what becomes of a plan.

mod apply;
mod holding;
mod random;
mod rules;
mod safety;

use super::holds::Hold;
use super::*;
use crate::backup::list::Listed;
use crate::backup::manifest::Outcome;
use crate::clock::{TimeZone, Timestamp};
use crate::config::RetentionSettings;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(rules: RetentionSettings) -> Policy {
    Policy::new(rules, TimeZone::UTC).unwrap()
}

/// A policy in a time zone.
fn policy_in(zone: &str, rules: RetentionSettings) -> Policy {
    Policy::new(rules, TimeZone::get(zone).unwrap()).unwrap()
}

/// A complete snapshot of that moment. Its identifier is `id`, its target `one`.
fn snapshot(id: &str, time: &str) -> Listed {
    Listed {
        snapshot_id: id.to_owned(),
        target: "one".to_owned(),
        key: format!("app_{id}.tar.zst"),
        time: at(time),
        stored_at: at(time),
        layout: "archive".to_owned(),
        outcome: Outcome::Complete,
        label: None,
        tags: Vec::new(),
        service: "app".to_owned(),
        service_version: None,
        host: "here".to_owned(),
        size_bytes: 1000,
        stored_bytes: 10,
        files: 1,
        skipped: 0,
        stores: 0,
        encrypted_to: None,
    }
}

/// What one target has, and what is known of it, while a test puts it together.
#[derive(Default)]
struct Scene {
    stock: Stock,
    proofs: Proofs,
}

impl Scene {
    fn new(snapshots: impl IntoIterator<Item = Listed>) -> Self {
        let snapshots = snapshots.into_iter().collect();
        Self { stock: Stock { target: "one".to_owned(), snapshots, ..Stock::default() }, ..Self::default() }
    }

    /// All are complete, and verified but for those named.
    fn verified_but(mut self, unverified: &[&str]) -> Self {
        for listed in &self.stock.snapshots {
            if !unverified.contains(&listed.snapshot_id.as_str()) {
                self.proofs.note(&listed.snapshot_id, Some(&listed.target), Proof::Whole(listed.time));
            }
        }
        self
    }

    fn held(mut self, id: &str) -> Self {
        let hold = Hold { by: "ann".to_owned(), at: at("2026-01-01T00:00:00Z"), reason: "evidence".to_owned() };
        self.stock.holds.entry(id.to_owned()).or_default().push(hold);
        self
    }

    fn plan(&self, policy: &Policy, now: &str) -> TargetPlan {
        let plan = plan(policy, "app", std::slice::from_ref(&self.stock), &self.proofs, at(now));
        let [target] = <[TargetPlan; 1]>::try_from(plan.targets).unwrap();
        target
    }
}

/// The identifiers of what is kept, newest first.
fn kept(plan: &TargetPlan) -> Vec<&str> {
    ids(plan, Action::Keep)
}

/// The identifiers of what is deleted, newest first.
fn deleted(plan: &TargetPlan) -> Vec<&str> {
    ids(plan, Action::Delete)
}

fn ids(plan: &TargetPlan, action: Action) -> Vec<&str> {
    let decisions = plan.decisions.iter().filter(|decision| decision.action == action);
    decisions.map(|decision| decision.snapshot_id.as_str()).collect()
}

/// The reasons of one decision, in words.
fn why<'a>(plan: &'a TargetPlan, id: &str) -> Vec<&'a str> {
    let decision = plan.decisions.iter().find(|decision| decision.snapshot_id == id).unwrap();
    decision.reasons.iter().map(|reason| reason.message.as_str()).collect()
}

/// The rules of one decision.
fn rules_of(plan: &TargetPlan, id: &str) -> Vec<Rule> {
    let decision = plan.decisions.iter().find(|decision| decision.snapshot_id == id).unwrap();
    decision.reasons.iter().map(|reason| reason.rule).collect()
}
