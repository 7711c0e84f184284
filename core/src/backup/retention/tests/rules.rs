//! What each rule keeps, in which time zone.

use super::*;

const NOW: &str = "2027-12-31T00:00:00Z";

/// One a day at two in the morning (UTC), the newest is `d01`.
fn daily(days: i64) -> Vec<Listed> {
    let newest = at("2026-11-22T02:00:00Z");
    let day =
        |n: i64| snapshot(&format!("d{n:02}"), &(newest - jiff::SignedDuration::from_hours(24 * (n - 1))).to_string());
    (1..=days).map(day).collect()
}

/// What each rule keeps when nothing else does: everything is verified, and the two newest are always kept.
fn only(rules: RetentionSettings, snapshots: Vec<Listed>) -> Vec<String> {
    let plan =
        Scene::new(snapshots).verified_but(&[]).plan(&policy(RetentionSettings { min_verified: 1, ..rules }), NOW);
    kept(&plan).into_iter().map(str::to_owned).collect()
}

#[test]
fn every_decision_has_all_its_reasons() {
    let rules =
        RetentionSettings { keep_last: 2, daily: 3, weekly: 2, monthly: 2, yearly: 1, ..RetentionSettings::default() };
    let plan = Scene::new(daily(40)).verified_but(&[]).plan(&policy(rules), NOW);
    assert_eq!(
        why(&plan, "d01"),
        [
            "last 1 of 2",
            "daily 1 of 3, 2026-11-22",
            "weekly 1 of 2, 2026-W47",
            "monthly 1 of 2, 2026-11",
            "yearly 1 of 1, 2026",
            "the newest complete one",
            "verified, 1 of the 2 that must stay"
        ]
    );
    assert_eq!(why(&plan, "d03"), ["daily 3 of 3, 2026-11-20"]);
    assert_eq!(why(&plan, "d23"), ["monthly 2 of 2, 2026-10"]);
    assert_eq!(why(&plan, "d30"), ["no rule keeps it, and d01 of 2026-11-22 is newer and verified"]);
    assert_eq!(kept(&plan), ["d01", "d02", "d03", "d08", "d23"]);
    assert_eq!((plan.kept, plan.deletions, plan.freed_bytes, plan.verified), (5, 35, 350, 5));
    assert!(plan.withheld.is_empty());
}

#[test]
fn weeks_begin_on_monday_and_belong_to_the_year_of_their_thursday() {
    let rules = || RetentionSettings { weekly: 2, ..RetentionSettings::default() };
    let around_new_year = vec![
        snapshot("monday", "2025-01-06T00:00:00Z"),
        snapshot("sunday", "2025-01-05T23:59:59Z"),
        snapshot("new_years", "2025-01-01T12:00:00Z"),
        snapshot("old_years", "2024-12-30T00:00:00Z"),
        snapshot("week_before", "2024-12-29T23:59:59Z"),
    ];
    assert_eq!(only(rules(), around_new_year), ["monday", "sunday"]);
}

#[test]
fn a_leap_day_is_a_day() {
    let rules = RetentionSettings { daily: 3, ..RetentionSettings::default() };
    let leap = vec![
        snapshot("march", "2028-03-01T00:00:00Z"),
        snapshot("leap_evening", "2028-02-29T23:00:00Z"),
        snapshot("leap_morning", "2028-02-29T01:00:00Z"),
        snapshot("february", "2028-02-28T23:59:59Z"),
        snapshot("before", "2028-02-27T00:00:00Z"),
    ];
    let plan = Scene::new(leap).verified_but(&[]).plan(&policy(rules), "2028-03-02T00:00:00Z");
    assert_eq!(kept(&plan), ["march", "leap_evening", "february"]);
    let within = RetentionSettings { within_days: 366, min_verified: 1, ..RetentionSettings::default() };
    let years = vec![
        snapshot("leap", "2028-02-29T12:00:00Z"),
        snapshot("a", "2027-02-28T12:00:00Z"),
        snapshot("b", "2027-02-28T11:59:59Z"),
    ];
    let plan = Scene::new(years).verified_but(&[]).plan(&policy(within), "2028-03-02T00:00:00Z");
    assert_eq!(kept(&plan), ["leap", "a"]);
}

#[test]
fn days_are_those_of_the_time_zone() {
    // 23:30 and 00:30 of Berlin's summer are on one day of UTC.
    let night = || vec![snapshot("after", "2026-07-02T22:30:00Z"), snapshot("before", "2026-07-02T21:30:00Z")];
    let rules = || RetentionSettings { daily: 2, min_verified: 1, ..RetentionSettings::default() };
    let of = |zone: &str| Scene::new(night()).verified_but(&[]).plan(&policy_in(zone, rules()), NOW);
    assert_eq!(kept(&of("UTC")), ["after"]);
    assert_eq!(kept(&of("Europe/Berlin")), ["after", "before"]);
    assert!(why(&of("Europe/Berlin"), "after").contains(&"daily 1 of 2, 2026-07-03"));
    assert_eq!(kept(&of("Pacific/Kiritimati")), ["after"]);
}

#[test]
fn clocks_that_go_back_make_an_hour_twice_and_forward_none() {
    let rules = || RetentionSettings { hourly: 4, min_verified: 1, ..RetentionSettings::default() };
    // Berlin, 25 October 2026: 02:00 to 03:00 comes twice.
    let back = vec![
        snapshot("three", "2026-10-25T02:10:00Z"),
        snapshot("two_again", "2026-10-25T01:10:00Z"),
        snapshot("two_first", "2026-10-25T00:50:00Z"),
        snapshot("two_early", "2026-10-25T00:10:00Z"),
        snapshot("one", "2026-10-24T23:10:00Z"),
    ];
    let plan = Scene::new(back.clone()).verified_but(&[]).plan(&policy_in("Europe/Berlin", rules()), NOW);
    assert_eq!(kept(&plan), ["three", "two_again", "two_first", "one"]);
    assert!(why(&plan, "two_again").contains(&"hourly 2 of 4, 2026-10-25 02:00 +01:00"));
    // All of it is one day of 25 hours, and the day before.
    let days = RetentionSettings { daily: 9, min_verified: 1, ..RetentionSettings::default() };
    let plan = Scene::new(back).verified_but(&[]).plan(&policy_in("Europe/Berlin", days), NOW);
    assert_eq!(kept(&plan), ["three"], "23:10 UTC is 01:10 of the same day");
    // 29 March 2026: 02:00 to 03:00 does not exist. A daily backup of 02:00 local time runs at 03:00.
    let forward = vec![
        snapshot("after", "2026-03-30T00:00:00Z"),
        snapshot("hole", "2026-03-29T01:00:00Z"),
        snapshot("before", "2026-03-28T01:00:00Z"),
    ];
    let days = RetentionSettings { daily: 3, min_verified: 1, ..RetentionSettings::default() };
    let plan = Scene::new(forward).verified_but(&[]).plan(&policy_in("Europe/Berlin", days), NOW);
    assert_eq!(kept(&plan), ["after", "hole", "before"]);
}

#[test]
fn within_goes_back_from_the_newest_on_the_calendar() {
    let rules = |days| RetentionSettings { within_days: days, ..RetentionSettings::default() };
    assert_eq!(only(rules(3), daily(10)), ["d01", "d02", "d03", "d04"]);
    assert_eq!(only(rules(u32::MAX), daily(10)).len(), 10);
    // Two calendar days of Berlin are 49 hours when clocks go back.
    let long = vec![snapshot("new", "2026-10-26T01:00:00Z"), snapshot("old", "2026-10-24T00:00:00Z")];
    let two = RetentionSettings { min_verified: 1, ..rules(2) };
    let plan = |zone: &str| Scene::new(long.clone()).verified_but(&[]).plan(&policy_in(zone, two.clone()), NOW);
    assert_eq!(kept(&plan("Europe/Berlin")), ["new", "old"]);
    assert_eq!(kept(&plan("UTC")), ["new"]);
}

#[test]
fn tags_and_labels_keep() {
    let mut some = daily(6);
    some[2].label = Some("nightly".to_owned());
    some[3].label = Some("nightly".to_owned());
    some[4].tags = vec!["keep".to_owned(), "v1".to_owned()];
    some[5].tags = vec!["v1".to_owned()];
    let base = || RetentionSettings { keep_last: 1, ..RetentionSettings::default() };
    assert_eq!(only(base(), some.clone()), ["d01"]);
    assert_eq!(only(RetentionSettings { per_label: 1, ..base() }, some.clone()), ["d01", "d03"]);
    assert_eq!(only(RetentionSettings { per_tag: 1, ..base() }, some.clone()), ["d01", "d05"]);
    assert_eq!(only(RetentionSettings { per_tag: 2, ..base() }, some.clone()), ["d01", "d05", "d06"]);
    let tagged = RetentionSettings { tags: vec!["keep".to_owned(), "other".to_owned()], ..base() };
    let plan = Scene::new(some).verified_but(&[]).plan(&policy(tagged), NOW);
    assert_eq!(why(&plan, "d05"), ["it has the tag \"keep\""]);
}

#[test]
fn partial_snapshots_never_push_out_complete_ones() {
    let mut some = daily(8);
    // Every second day is partial; the newest of all too.
    for partial in some.iter_mut().step_by(2) {
        partial.outcome = Outcome::Partial;
    }
    let rules = RetentionSettings { keep_last: 2, daily: 3, ..RetentionSettings::default() };
    let plan = Scene::new(some).verified_but(&[]).plan(&policy(rules), NOW);
    // The last three days that are complete, as if there were no partial ones; those stand in for their own days.
    assert_eq!(kept(&plan), ["d01", "d02", "d03", "d04", "d05", "d06"]);
    assert_eq!(rules_of(&plan, "d06"), [Rule::Daily]);
    assert_eq!(
        why(&plan, "d01"),
        [
            "last: it is partial, and nothing complete is in its place",
            "daily, 2026-11-22: it is partial, and nothing complete is in its place"
        ]
    );
    assert_eq!(deleted(&plan), ["d07", "d08"]);
    // On a day with both, the complete one stays, also when the partial one is newer.
    let mut both = daily(4);
    both.push(snapshot("evening", "2026-11-20T22:00:00Z"));
    both.last_mut().unwrap().outcome = Outcome::Partial;
    let rules = RetentionSettings { daily: 4, ..RetentionSettings::default() };
    let plan = Scene::new(both).verified_but(&[]).plan(&policy(rules), NOW);
    assert_eq!(deleted(&plan), ["evening"]);
}

#[test]
fn rules_that_keep_nothing_are_refused() {
    for rules in [
        RetentionSettings::default(),
        RetentionSettings { per_label: 3, tags: vec!["keep".to_owned()], ..RetentionSettings::default() },
        RetentionSettings { daily: 7, min_verified: 0, ..RetentionSettings::default() },
        RetentionSettings { daily: 7, tags: vec!["two words".to_owned()], ..RetentionSettings::default() },
    ] {
        let error = Policy::new(rules.clone(), TimeZone::UTC).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput, "{rules:?}");
        assert!(error.hint().unwrap().starts_with("backup.retention"), "{:?}", error.hint());
    }
    let none = Policy::of(&crate::config::Settings::default()).unwrap_err();
    assert_eq!(none.kind(), crate::ErrorKind::Refused);
    assert!(none.hint().unwrap().contains("keep_last = 3"));
}
