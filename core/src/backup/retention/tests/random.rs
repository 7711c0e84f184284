//! Random histories, policies and accidents: whatever comes, the invariants hold. A failure prints its seed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::*;
use crate::testing::random::Rng;

fn one_in(random: &mut Rng, chances: u64) -> bool {
    random.u64(..chances) == 0
}

/// Runs `test` with many seeds, and names the one that failed.
fn with_seeds(count: u64, test: impl Fn(&mut Rng)) {
    for seed in 0..count {
        let run = std::panic::AssertUnwindSafe(|| test(&mut Rng::with_seed(seed)));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn rules(random: &mut Rng) -> RetentionSettings {
    let mut count = |chances: u64, most: u64| match one_in(random, chances) {
        true => random.u64(..most) as u32,
        false => 0,
    };
    RetentionSettings {
        keep_last: 1 + count(2, 6),
        hourly: count(3, 30),
        daily: count(2, 10),
        weekly: count(2, 6),
        monthly: count(2, 14),
        yearly: count(3, 4),
        within_days: count(4, 20),
        per_label: count(4, 3),
        per_tag: count(4, 3),
        tags: if count(4, 2) == 1 { vec!["keep".to_owned()] } else { Vec::new() },
        min_verified: 1 + count(2, 4),
        per_host: [None, Some(false), Some(true)][count(1, 3) as usize],
    }
}

/// A history of up to 80 snapshots with everything that can be the matter with them, and what is known of it.
fn history(random: &mut Rng) -> Scene {
    let mut time = at("2023-12-20T00:00:00Z");
    let step = random.choice([60_u64, 600, 5_000, 40_000, 300_000, 2_000_000]).unwrap();
    let mut snapshots = Vec::new();
    for n in 0..random.u64(..80) {
        time += SignedDuration::from_secs((random.u64(..2 * step) + 1).cast_signed());
        let mut listed = snapshot(&format!("{n:03}"), &time.to_string());
        if one_in(random, 4) {
            listed.outcome = Outcome::Partial;
        }
        if one_in(random, 20) {
            // A clock was wrong, in one direction or the other.
            let off = SignedDuration::from_hours(random.u64(..20_000).cast_signed() - 10_000);
            listed.time = listed.time.checked_add(off).unwrap();
        }
        if one_in(random, 8) {
            listed.service = "other".to_owned();
        }
        if one_in(random, 6) {
            listed.host = "there".to_owned();
        }
        listed.label = one_in(random, 3).then(|| random.choice(["nightly", "upgrade"]).unwrap().to_owned());
        listed.tags = ["keep", "v1", "v2"].iter().filter(|_| one_in(random, 8)).map(|tag| (*tag).to_owned()).collect();
        snapshots.push(listed);
    }
    if let Some(first) = snapshots.first().filter(|_| one_in(random, 10)).cloned() {
        snapshots.push(Listed { key: "another".to_owned(), ..first });
    }
    let mut scene = Scene::new(snapshots);
    let verified = 1 + random.u64(..6);
    for listed in scene.stock.snapshots.clone() {
        let target = if one_in(random, 10) { "elsewhere" } else { "one" };
        match random.u64(..20) {
            0 => scene.proofs.note(&listed.snapshot_id, Some(target), Proof::Damaged(listed.stored_at)),
            1 => scene = scene.held(&listed.snapshot_id),
            n if n % verified == 0 => {
                scene.proofs.note(&listed.snapshot_id, Some(target), Proof::Whole(listed.stored_at));
            }
            _ => {}
        }
    }
    scene
}

/// Whether a snapshot is one to fall back on, said without any code of the plan.
fn is_good(scene: &Scene, listed: &Listed, now: Timestamp) -> bool {
    let copies = scene.stock.snapshots.iter().filter(|it| it.snapshot_id == listed.snapshot_id && it.service == "app");
    listed.outcome == Outcome::Complete
        && listed.time <= now + SignedDuration::from_secs(300)
        && scene.proofs.verified_at(listed).is_some()
        && copies.count() == 1
}

fn survivors(scene: &Scene, plan: &TargetPlan) -> Scene {
    let gone: BTreeSet<&str> =
        plan.decisions.iter().filter(|it| it.action == Action::Delete).map(|it| it.key.as_str()).collect();
    let mut after = Scene { stock: scene.stock.clone(), proofs: scene.proofs.clone() };
    after.stock.snapshots.retain(|listed| !gone.contains(listed.key.as_str()));
    after
}

#[test]
fn the_invariants_hold() {
    let deletions = std::cell::Cell::new(0);
    with_seeds(1000, |random| {
        let (scene, rules) = (history(random), rules(random));
        let newest = scene.stock.snapshots.iter().map(|listed| listed.stored_at).max();
        let now =
            newest.unwrap_or(at("2024-01-01T00:00:00Z")) + SignedDuration::from_hours(random.u64(..500).cast_signed());
        let policy = policy_in(
            random.choice(["UTC", "Europe/Berlin", "Pacific/Apia", "America/Caracas"]).unwrap(),
            rules.clone(),
        );
        let plan = scene.plan(&policy, &now.to_string());
        deletions.set(deletions.get() + plan.deletions);

        // Every snapshot of ours has one decision with a reason, and no other has any.
        let ours: Vec<&Listed> = scene.stock.snapshots.iter().filter(|listed| listed.service == "app").collect();
        let keys: BTreeSet<&str> = plan.decisions.iter().map(|decision| decision.key.as_str()).collect();
        assert_eq!(keys, ours.iter().map(|listed| listed.key.as_str()).collect());
        assert_eq!(plan.decisions.len(), ours.len());
        assert!(plan.decisions.iter().all(|decision| !decision.reasons.is_empty()));

        let after = survivors(&scene, &plan);
        let left: Vec<&Listed> = after.stock.snapshots.iter().filter(|listed| listed.service == "app").collect();
        let same_line = |a: &Listed, b: &Listed| rules.per_host != Some(true) || a.host == b.host;
        for decision in plan.decisions.iter().filter(|decision| decision.action == Action::Delete) {
            let doomed = ours.iter().find(|listed| listed.key == decision.key).unwrap();
            assert_eq!(decision.reasons.iter().map(|reason| reason.rule).collect::<Vec<_>>(), [Rule::Superseded]);
            assert!(!scene.stock.holds.contains_key(&doomed.snapshot_id), "a held one");
            assert!(scene.proofs.damaged_at(doomed).is_none(), "a damaged one");
            assert!(doomed.time <= now + SignedDuration::from_secs(300), "one of the future");
            assert!(!doomed.tags.iter().any(|tag| rules.tags.contains(tag)), "a tagged one");
            let good = || left.iter().filter(|it| same_line(it, doomed) && is_good(&scene, it, now));
            assert!(good().any(|it| it.time > doomed.time), "without a newer verified one");
            assert!(good().count() >= rules.min_verified as usize, "with too few verified ones left");
        }
        // The newest complete one stays, whatever else is the matter.
        let complete = |of: &[&Listed]| {
            let present = of.iter().filter(|it| it.outcome == Outcome::Complete && it.time <= now);
            present.map(|listed| listed.time).max()
        };
        assert_eq!(complete(&ours), complete(&left));
        // Doing it again deletes nothing, neither now nor in ten years, unless the future has become the past.
        let again = after.plan(&policy, &now.to_string());
        assert_eq!(again.deletions, 0, "{:#?}", deleted(&again));
        if left.iter().all(|listed| listed.time <= now) {
            let later = after.plan(&policy, &(now + SignedDuration::from_hours(24 * 3650)).to_string());
            assert_eq!(later.deletions, 0, "{:#?}", deleted(&later));
        }
        // A hold keeps one and changes nothing else.
        if let Some(id) = deleted(&plan).first() {
            let mut holding = Scene { stock: scene.stock.clone(), proofs: scene.proofs.clone() };
            holding = holding.held(id);
            let held = holding.plan(&policy, &now.to_string());
            assert_eq!(deleted(&held), deleted(&plan)[1..]);
        }
        // Without partial ones the same complete ones stay: none is pushed out.
        if rules.per_host.is_some() {
            let is_complete = |it: &Decision| it.outcome == Outcome::Complete && it.action == Action::Delete;
            let complete = |plan: &TargetPlan| -> Vec<String> {
                plan.decisions.iter().filter(|it| is_complete(it)).map(|it| it.key.clone()).collect()
            };
            let mut whole = Scene { stock: scene.stock.clone(), proofs: scene.proofs.clone() };
            whole.stock.snapshots.retain(|listed| listed.outcome == Outcome::Complete);
            // Two objects that claim to be one snapshot are ambiguous together only.
            if whole.stock.snapshots.iter().all(|it| it.key != "another") {
                assert_eq!(complete(&plan), complete(&whole.plan(&policy, &now.to_string())));
            }
        }
        // Nothing verified, nothing deleted.
        let unproven = Scene { stock: scene.stock.clone(), proofs: Proofs::default() };
        assert_eq!(unproven.plan(&policy, &now.to_string()).deletions, 0);
    });
    assert!(deletions.get() > 2_000, "the histories are too tame: {} deletions", deletions.get());
}

/// The rules as restic applies them (its manual: "the last n … which have one or more snapshots, keep only the
/// most recent one"), written once more over plain numbers.
fn expected(rules: &RetentionSettings, newest_first: &[Timestamp]) -> Vec<bool> {
    let mut kept = vec![false; newest_first.len()];
    let buckets = [
        (rules.keep_last, None),
        (rules.hourly, Some("%Y%m%d%H")),
        (rules.daily, Some("%Y%m%d")),
        (rules.weekly, Some("%G%V")),
        (rules.monthly, Some("%Y%m")),
        (rules.yearly, Some("%Y")),
    ];
    for (mut count, bucket) in buckets {
        let mut last = String::new();
        for (nth, time) in newest_first.iter().enumerate() {
            let this = bucket.map_or_else(|| nth.to_string(), |format| time.strftime(format).to_string());
            if count > 0 && this != last {
                (kept[nth], last, count) = (true, this, count - 1);
            }
        }
    }
    kept
}

#[test]
fn the_rules_are_those_that_restic_documents() {
    with_seeds(500, |random| {
        let step = random.choice([600_u64, 5_000, 40_000, 300_000, 2_000_000]).unwrap();
        let mut time = at("2019-12-27T00:00:00Z");
        let snapshots: Vec<Listed> = (0..1 + random.u64(..100))
            .map(|n| {
                time += SignedDuration::from_secs((random.u64(..2 * step) + 1).cast_signed());
                snapshot(&n.to_string(), &time.to_string())
            })
            .collect();
        let mut rules = rules(random);
        (rules.within_days, rules.per_label, rules.per_tag, rules.per_host) = (0, 0, 0, None);
        let plan = Scene::new(snapshots).verified_but(&[]).plan(&policy(rules.clone()), "2060-01-01T00:00:00Z");
        let times: Vec<Timestamp> = plan.decisions.iter().map(|decision| decision.time).collect();
        let by_rules = plan.decisions.iter().map(|it| it.reasons.iter().any(|reason| reason.rule <= Rule::Yearly));
        assert_eq!(by_rules.collect::<Vec<_>>(), expected(&rules, &times), "{rules:?}");
    });
}

/// Years of a service: backups that fail, are partial, or of a clock that jumped; verifications now and then;
/// and a retention each night.
#[test]
fn years_of_accidents_never_cost_what_is_good() {
    with_seeds(25, |random| {
        let rules = rules(random);
        let policy = policy(rules.clone());
        let mut scene = Scene::new([]);
        let mut now = at("2024-01-01T02:00:00Z");
        let (mut fails_for, mut made) = (0_u64, 0);
        let mut notes: BTreeMap<String, Proof> = BTreeMap::new();
        for _ in 0..400 {
            now += SignedDuration::from_secs((60_000 + random.u64(..50_000)).cast_signed());
            if one_in(random, 60) {
                fails_for = random.u64(..40);
            }
            fails_for = fails_for.saturating_sub(1);
            if fails_for == 0 {
                made += 1;
                let clock = if one_in(random, 40) { now - SignedDuration::from_hours(24) } else { now };
                let mut listed = snapshot(&format!("s{made}"), &clock.to_string());
                listed.stored_at = now;
                if one_in(random, 5) {
                    listed.outcome = Outcome::Partial;
                }
                if one_in(random, 2) {
                    notes.insert(listed.snapshot_id.clone(), Proof::Whole(now));
                }
                scene.stock.snapshots.push(listed);
            }
            if one_in(random, 100) {
                // The state folder is lost, and all that was verified with it.
                notes.clear();
            }
            scene.proofs = Proofs::default();
            for (id, proof) in &notes {
                scene.proofs.note(id, Some("one"), proof.clone());
            }
            let good = |scene: &Scene| scene.stock.snapshots.iter().filter(|it| scene.proofs.is_good(it)).count();
            let complete = |scene: &Scene| {
                scene.stock.snapshots.iter().filter(|it| it.outcome == Outcome::Complete).map(|it| it.time).max()
            };
            let before = (good(&scene), complete(&scene));
            let plan = scene.plan(&policy, &now.to_string());
            scene = survivors(&scene, &plan);
            assert!(good(&scene) >= before.0.min(rules.min_verified as usize));
            assert_eq!(complete(&scene), before.1);
        }
        assert!(made < 10 || scene.stock.snapshots.len() < made, "{made} were made and none was ever deleted");
    });
}
