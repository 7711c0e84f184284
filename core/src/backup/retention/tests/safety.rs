//! What stays whatever the policy says. The guide's `find -mtime +7 -delete` deletes in each of these.

use super::*;

/// The guide's week, as a policy.
fn week() -> Policy {
    policy(RetentionSettings { daily: 7, ..RetentionSettings::default() })
}

/// Daily backups from the first to the twentieth of January 2026, `j01` to `j20`.
fn january() -> Vec<Listed> {
    (1..=20).map(|day| snapshot(&format!("j{day:02}"), &format!("2026-01-{day:02}T02:00:00Z"))).collect()
}

#[test]
fn backups_that_fail_for_weeks_delete_nothing_however_old_the_others_become() {
    let scene = Scene::new(january()).verified_but(&[]);
    let at_first = scene.plan(&week(), "2026-01-20T03:00:00Z");
    assert_eq!(kept(&at_first), ["j20", "j19", "j18", "j17", "j16", "j15", "j14"]);
    // Retention runs every night, and nothing new is made. What is left stays, for ever.
    let left = |plan: &TargetPlan| {
        let kept: Vec<String> = kept(plan).into_iter().map(str::to_owned).collect();
        january().into_iter().filter(|listed| kept.contains(&listed.snapshot_id)).collect::<Vec<_>>()
    };
    let survivors = left(&at_first);
    for now in ["2026-01-27T03:00:00Z", "2026-02-20T03:00:00Z", "2031-01-01T00:00:00Z"] {
        let plan = Scene::new(survivors.clone()).verified_but(&[]).plan(&week(), now);
        assert_eq!((plan.kept, plan.deletions), (7, 0), "{now}");
    }
}

#[test]
fn when_nothing_was_ever_verified_nothing_is_deleted_and_the_plan_says_what_to_do() {
    let plan = Scene::new(january()).plan(&week(), "2026-01-20T03:00:00Z");
    assert_eq!((plan.kept, plan.deletions, plan.verified), (20, 0, 0));
    assert_eq!(why(&plan, "j01"), ["no rule keeps it, but 0 of 2 are verified"]);
    assert_eq!(
        plan.withheld,
        [Withheld {
            message: "no complete snapshot is verified".to_owned(),
            hint: "run `uplifted-ops backup verify j20` and `uplifted-ops backup verify j19`".to_owned(),
            snapshots: 13,
        }]
    );
    // Below the policy there is nothing to withhold, and nothing to say.
    let plan = Scene::new(january().into_iter().take(5)).plan(&week(), "2026-01-20T03:00:00Z");
    assert!(plan.withheld.is_empty());
}

#[test]
fn one_verified_snapshot_is_not_enough_where_two_must_stay() {
    let mut scene = Scene::new(january());
    scene.proofs.note("j20", Some("one"), Proof::Whole(at("2026-01-20T02:30:00Z")));
    let plan = scene.plan(&week(), "2026-01-20T03:00:00Z");
    assert_eq!(plan.deletions, 0);
    assert_eq!(plan.withheld[0].message, "1 of the 2 verified snapshots that must stay are there");
    assert_eq!(plan.withheld[0].hint, "run `uplifted-ops backup verify j19`");
    scene.proofs.note("j19", Some("one"), Proof::Whole(at("2026-01-20T02:30:00Z")));
    let plan = scene.plan(&week(), "2026-01-20T03:00:00Z");
    assert_eq!((plan.deletions, plan.withheld.len()), (13, 0));
}

#[test]
fn nothing_goes_that_has_no_newer_verified_one() {
    let rules = policy(RetentionSettings { keep_last: 1, ..RetentionSettings::default() });
    // Verified are only the fifth and the sixth; newer ones may all be rubbish.
    let all: Vec<String> = january().into_iter().map(|listed| listed.snapshot_id).collect();
    let others: Vec<&str> = all.iter().map(String::as_str).filter(|id| !["j05", "j06"].contains(id)).collect();
    let plan = Scene::new(january()).verified_but(&others).plan(&rules, "2026-01-20T03:00:00Z");
    assert_eq!(deleted(&plan), ["j04", "j03", "j02", "j01"]);
    assert_eq!(rules_of(&plan, "j05"), [Rule::MinVerified]);
    assert_eq!(why(&plan, "j10"), ["no rule keeps it, but no newer one is verified"]);
    assert_eq!(plan.withheld[0].message, "the verified snapshots are older than these");
    assert_eq!(plan.withheld[0].hint, "run `uplifted-ops backup verify j20`");
}

#[test]
fn partial_ones_are_no_reason_to_delete_a_complete_one() {
    let mut some = january();
    for partial in some.iter_mut().skip(5) {
        partial.outcome = Outcome::Partial;
    }
    // The partial ones are verified too: they are whole, and lack something.
    let rules = policy(RetentionSettings { keep_last: 1, ..RetentionSettings::default() });
    let plan = Scene::new(some.clone()).verified_but(&[]).plan(&rules, "2026-01-20T03:00:00Z");
    assert!(kept(&plan).contains(&"j05") && kept(&plan).contains(&"j04"));
    assert_eq!(deleted(&plan), ["j03", "j02", "j01"]);
    // With nothing but partial ones, all stay.
    some.drain(..5);
    let plan = Scene::new(some).verified_but(&[]).plan(&rules, "2026-01-20T03:00:00Z");
    assert_eq!(plan.deletions, 0);
    assert_eq!(plan.withheld[0].message, "no complete snapshot is verified");
    assert!(plan.withheld[0].hint.starts_with("make complete backups"), "{}", plan.withheld[0].hint);
}

#[test]
fn what_is_damaged_stays_and_counts_for_nothing() {
    let mut scene = Scene::new(january());
    scene.proofs.note("j20", Some("one"), Proof::Damaged(at("2026-01-20T04:00:00Z")));
    // Noted later, so it is the older word: it was whole once.
    let mut scene = scene.verified_but(&[]);
    let plan = scene.plan(&week(), "2026-01-21T03:00:00Z");
    assert_eq!(rules_of(&plan, "j20"), [Rule::Damaged]);
    assert_eq!(kept(&plan), ["j20", "j19", "j18", "j17", "j16", "j15", "j14", "j13"]);
    assert_eq!(plan.decisions[0].verified_at, None);
    // In another target the copy is whole.
    scene.stock.target = "two".to_owned();
    scene.stock.snapshots.iter_mut().for_each(|listed| listed.target = "two".to_owned());
    assert_eq!(scene.plan(&week(), "2026-01-21T03:00:00Z").verified, 0, "nothing was said about two");
}

#[test]
fn what_is_held_stays() {
    let plan = Scene::new(january()).verified_but(&[]).held("j01").plan(&week(), "2026-01-20T03:00:00Z");
    assert_eq!(why(&plan, "j01"), ["held by ann: evidence"]);
    assert_eq!(plan.deletions, 12);
}

#[test]
fn other_services_are_not_even_looked_at() {
    let mut some = january();
    let mut foreign = snapshot("f01", "2020-01-01T00:00:00Z");
    foreign.service = "other".to_owned();
    some.push(foreign);
    let plan = Scene::new(some).verified_but(&[]).plan(&week(), "2026-01-20T03:00:00Z");
    assert!(plan.decisions.iter().all(|decision| decision.snapshot_id != "f01"));
    // Verified ones of another service do not vouch for ours.
    let mut others = january();
    others.iter_mut().for_each(|listed| listed.service = "other".to_owned());
    others.extend(january().into_iter().map(|it| Listed { snapshot_id: format!("o{}", it.snapshot_id), ..it }));
    let ours: Vec<String> = january().into_iter().map(|it| format!("o{}", it.snapshot_id)).collect();
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    let plan = Scene::new(others).verified_but(&ours).plan(&week(), "2026-01-20T03:00:00Z");
    assert_eq!((plan.deletions, plan.kept), (0, 20));
}

#[test]
fn each_target_is_judged_by_itself() {
    let near = Scene::new(january()).verified_but(&[]);
    let mut far = Scene::new(january()).stock;
    far.target = "two".to_owned();
    far.snapshots.iter_mut().for_each(|listed| listed.target = "two".to_owned());
    let plan = plan(&week(), "app", &[near.stock, far], &near.proofs, at("2026-01-20T03:00:00Z"));
    assert_eq!(plan.targets.iter().map(|target| target.deletions).collect::<Vec<_>>(), [13, 0]);
    assert_eq!(plan.targets[1].withheld[0].message, "no complete snapshot is verified");
}

#[test]
fn snapshots_of_the_future_count_for_nothing_until_their_time_has_come() {
    // For two nights the clock was a year ahead.
    let mut some = january();
    some.push(snapshot("x1", "2027-01-21T02:00:00Z"));
    some.push(snapshot("x2", "2027-01-22T02:00:00Z"));
    let scene = Scene::new(some).verified_but(&[]);
    let plan = scene.plan(&week(), "2026-01-23T03:00:00Z");
    assert_eq!(rules_of(&plan, "x2"), [Rule::Future]);
    assert_eq!(kept(&plan), ["x2", "x1", "j20", "j19", "j18", "j17", "j16", "j15", "j14"]);
    assert_eq!(plan.decisions[2].reasons.last().unwrap().message, "verified, 1 of the 2 that must stay");
    // A few minutes are no jump.
    let plan = scene.plan(&week(), "2027-01-22T01:57:00Z");
    assert!(rules_of(&plan, "x2").contains(&Rule::Newest));
    // The clock of the machine that plans fell back to 1970: everything is of the future, and stays.
    let plan = scene.plan(&week(), "1970-01-01T00:00:00Z");
    assert_eq!((plan.kept, plan.deletions), (22, 0));
}

#[test]
fn a_snapshot_of_a_clock_that_was_behind_is_not_taken_for_the_oldest() {
    let mut some = january();
    let mut behind = snapshot("b1", "2000-01-01T00:03:00Z");
    behind.stored_at = at("2026-01-21T02:00:00Z");
    some.push(behind);
    let plan = Scene::new(some).verified_but(&[]).plan(&week(), "2026-01-21T03:00:00Z");
    assert_eq!(rules_of(&plan, "b1"), [Rule::ReceivedLate]);
    assert_eq!(plan.deletions, 13);
}

#[test]
fn machines_that_alternate_are_not_thinned_out_together_before_somebody_decides() {
    let mut some = january();
    for (n, listed) in some.iter_mut().enumerate() {
        listed.host = if n % 2 == 0 { "web1" } else { "web2" }.to_owned();
    }
    let with = |per_host| policy(RetentionSettings { daily: 3, per_host, ..RetentionSettings::default() });
    let scene = Scene::new(some).verified_but(&[]);
    let undecided = scene.plan(&with(None), "2026-01-20T03:00:00Z");
    assert_eq!(undecided.deletions, 0);
    assert_eq!(undecided.withheld[0].message, "snapshots of web1 and web2 alternate here");
    assert!(undecided.withheld[0].hint.starts_with("set backup.retention.per_host: true where"));
    assert_eq!(rules_of(&undecided, "j10"), [Rule::SeveralHosts]);
    assert_eq!(kept(&scene.plan(&with(Some(false)), "2026-01-20T03:00:00Z")), ["j20", "j19", "j18"]);
    let apart = scene.plan(&with(Some(true)), "2026-01-20T03:00:00Z");
    assert_eq!(kept(&apart), ["j20", "j19", "j18", "j17", "j16", "j15"]);
    assert!(apart.decisions.is_sorted_by(|a, b| a.time >= b.time));
    // Each line has its own verified ones.
    let web2: Vec<String> = (1..=20).filter(|day| day % 2 == 0).map(|day| format!("j{day:02}")).collect();
    let web2: Vec<&str> = web2.iter().map(String::as_str).collect();
    let scene = Scene::new(scene.stock.snapshots).verified_but(&web2);
    let half = scene.plan(&with(Some(true)), "2026-01-20T03:00:00Z");
    assert_eq!((half.deletions, half.withheld.len()), (7, 1));

    // A container has another name each time: one goes on for the other, and that is one line.
    let mut containers = january();
    for (n, listed) in containers.iter_mut().enumerate() {
        listed.host = format!("box-{}", n / 3);
    }
    let plan = Scene::new(containers).verified_but(&[]).plan(&with(None), "2026-01-20T03:00:00Z");
    assert_eq!(plan.deletions, 17);
}

#[test]
fn two_objects_that_claim_to_be_one_snapshot_both_stay() {
    let mut some = january();
    some.push(Listed { key: "copy of app_j03.tar.zst".to_owned(), ..some[2].clone() });
    let plan = Scene::new(some).verified_but(&[]).plan(&week(), "2026-01-20T03:00:00Z");
    assert_eq!(rules_of(&plan, "j03"), [Rule::Ambiguous]);
    assert_eq!(kept(&plan).iter().filter(|id| **id == "j03").count(), 2);
    assert_eq!(plan.deletions, 12);
}
