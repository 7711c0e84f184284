//! Jobs from settings, and what is wrong with them.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::scene::{at, jobs};
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::schedule::{Jobs, Mistake, Trigger};

fn check(operation: &str, request: &Value) -> Result<()> {
    match operation {
        "backup.drill" => Err(Error::new(ErrorKind::NotFound, "there is no operation \"backup.drill\"")),
        "store.verfiy" => Err(Error::new(ErrorKind::NotFound, "there is no operation").with_hint("did you mean?")),
        _ if request.get("colour").is_some() => Err(Error::invalid("the request is wrong at colour")),
        _ => Ok(()),
    }
}

fn read(settings: Value) -> (Jobs, Vec<Mistake>) {
    let settings: Settings = serde_json::from_value(settings).unwrap();
    Jobs::read(&settings, &check)
}

#[test]
fn backup_stands_for_jobs() {
    let (jobs, mistakes) = read(json!({ "backup": {
        "schedule": "0 2 * * *", "verify_schedule": "@daily", "drill_schedule": "@monthly", "retention": { "daily": 7 },
    }}));
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let found: Vec<_> =
        jobs.iter().map(|job| (job.name.as_str(), job.operation.as_str(), job.request.clone())).collect();
    // This build has no drill: `config.check` says so.
    assert_eq!(
        found,
        [
            ("backup", "backup.create", json!({ "layout": "repository" })),
            ("retain", "backup.retain", json!({})),
            ("collect", "backup.collect", json!({})),
            ("verify", "backup.sample", json!({})),
        ]
    );
    assert!(matches!(&jobs.get("retain").unwrap().trigger, Trigger::After(first) if first == "backup"));
    let after: Vec<String> = jobs.after("backup").iter().map(|job| job.name.clone()).collect();
    assert_eq!(after, ["retain", "collect"], "what retention removes, the same night's collection condemns");
    // A job of the same name replaces it.
    let (jobs, mistakes) = read(json!({
        "backup": { "schedule": "0 2 * * *" },
        "job": [{ "name": "backup", "operation": "backup.create", "request": { "target": "local" } }],
    }));
    assert!(mistakes.is_empty());
    assert_eq!(jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["collect", "backup"]);
    assert_eq!(jobs.get("backup").unwrap().request["target"], "local");
    assert!(jobs.get("backup").unwrap().schedule().is_none());
    assert!(!read(json!({})).0.run_by_themselves());
}

#[test]
fn a_job_stores_into_a_repository_unless_somebody_says_otherwise() {
    let layout = |settings: Value| {
        let (jobs, mistakes) = read(settings);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        jobs.iter().find(|job| job.operation == "backup.create").unwrap().request.get("layout").cloned()
    };
    let job = |request: Value| json!([{ "name": "weekly", "operation": "backup.create", "request": request, "schedule": "@weekly" }]);
    assert_eq!(layout(json!({ "backup": { "schedule": "@daily" } })), Some(json!("repository")));
    assert_eq!(layout(json!({ "job": job(json!({ "label": "w" })) })), Some(json!("repository")));
    assert_eq!(layout(json!({ "job": job(json!({ "layout": "archive" })) })), Some(json!("archive")));
    // The setting counts for every backup, also for one by hand: the request leaves it to it.
    for set in ["archive", "repository"] {
        assert_eq!(layout(json!({ "backup": { "schedule": "@daily", "layout": set } })), None);
        assert_eq!(layout(json!({ "backup": { "layout": set }, "job": job(json!({})) })), None);
    }
}

#[test]
fn each_mistake_is_named_and_spares_the_others() {
    let job = |more: Value| {
        let mut job = json!({ "name": "a", "operation": "store.verify" });
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "job": [job, { "name": "good", "operation": "x", "schedule": "@daily" }] })
    };
    for (settings, key, message, hint) in [
        (
            json!({ "backup": { "schedule": "0 2 * *" }, "job": [{ "name": "good", "operation": "x" }] }),
            "backup.schedule",
            "4 fields",
            "minute",
        ),
        (job(json!({ "schedule": "61 * * * *" })), "job.a.schedule", "61 is out of range", "0 to 59"),
        (job(json!({ "name": "a/b" })), "job.a/b.name", "name of a file", "letters"),
        (job(json!({ "name": "leader" })), "job.leader.name", "name of a file", "letters"),
        (job(json!({ "operation": "store.verfiy" })), "job.a.operation", "no operation", "did you mean"),
        (job(json!({ "operation": "schedule.run" })), "job.a.operation", "may never end", "after"),
        (job(json!({ "request": { "colour": 1 } })), "job.a.request", "wrong at colour", ""),
        (job(json!({ "schedule": "@daily", "after": "good" })), "job.a.after", "a schedule, and runs after", "keep"),
        (job(json!({ "after": "godo" })), "job.a.after", "there is no such job", "good"),
        (job(json!({ "after": "a" })), "job.a.after", "after itself", "schedule"),
        (
            job(json!({ "schedule": "@daily", "timezone": "Europe/Berln" })),
            "job.a.timezone",
            "knows no time zone",
            "Europe/Berlin",
        ),
        (job(json!({ "schedule": "@daily", "timezone": "Narnia" })), "job.a.timezone", "knows no time zone", ""),
        (job(json!({ "deadline_seconds": 0 })), "job.a.deadline_seconds", "no duration", "1 or more"),
        (job(json!({ "jitter_seconds": -1 })), "job.a.jitter_seconds", "no duration", "0 or more"),
    ] {
        let (jobs, mistakes) = read(settings);
        assert_eq!(mistakes.len(), 1, "{key}: {mistakes:?}");
        assert_eq!(mistakes[0].key, key);
        let error = &mistakes[0].error;
        assert!(error.message().contains(message), "{key}: {}", error.message());
        assert!(error.hint().unwrap_or_default().contains(hint), "{key}: {:?}", error.hint());
        assert!(jobs.get("good").is_some(), "{key}");
    }
    let circle = json!({ "job": [
        { "name": "a", "operation": "x", "after": "b" }, { "name": "b", "operation": "x", "after": "a" },
    ]});
    assert_eq!(read(circle).1.len(), 2);
    let (_, mistakes) = read(json!({
        "schedule": { "timezone": "Narnia", "deadline_seconds": 0.5 }, "backup": { "schedule": "@daily" },
    }));
    assert_eq!(mistakes[0].key, "schedule.timezone");
}

#[test]
fn a_run_is_put_off_by_the_same_time_on_the_same_machine() {
    let jobs = jobs(json!([{ "name": "a", "operation": "x", "schedule": "@daily", "jitter_seconds": 600 }]));
    let job = jobs.get("a").unwrap();
    let (monday, tuesday) = (at("2026-03-09T00:00:00Z"), at("2026-03-10T00:00:00Z"));
    assert_eq!(job.put_off(monday, "here"), job.put_off(monday, "here"));
    let many: HashSet<_> = (0..100).map(|n| job.put_off(monday, &format!("host {n}"))).collect();
    assert!(many.len() > 80 && many.iter().all(|by| by.as_secs() <= 600), "{many:?}");
    assert_ne!(job.put_off(monday, "here"), job.put_off(tuesday, "here"));
}

#[test]
fn zones_are_the_machines_or_as_named() {
    let schedule = |zone: Value| {
        let (jobs, mistakes) = read(json!({ "schedule": { "timezone": zone }, "backup": { "schedule": "0 2 * * *" } }));
        assert!(mistakes.is_empty());
        jobs.get("backup").unwrap().schedule().unwrap().clone()
    };
    let berlin = schedule(json!("Europe/Berlin"));
    assert_eq!(berlin.to_string(), "0 2 * * * (Europe/Berlin)");
    assert_eq!(berlin.next_after(at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
    assert!(schedule(Value::Null).next_after(at("2026-03-28T12:00:00Z")).is_some());
}
