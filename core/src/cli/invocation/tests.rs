use std::os::unix::ffi::OsStringExt;

use clap::Parser;

use super::*;
use crate::cli::args::Cli;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn parse(words: &str) -> Invocation {
    let words: Vec<&str> = words.split_whitespace().collect();
    let cli = Cli::try_parse_from(std::iter::once("uplifted-ops").chain(words)).unwrap();
    Invocation::of(&cli.command, now()).unwrap().unwrap()
}

#[test]
fn each_command_asks_for_its_operation() {
    for (words, operation, request) in [
        ("init", "config.init", json!({})),
        ("init --force", "config.init", json!({ "force": true })),
        ("init --print", "config.init", json!({ "dry_run": true })),
        ("status", "status", json!({})),
        ("config show", "config.show", json!({})),
        ("config check", "config.check", json!({})),
        ("health", "health.check", json!({})),
        ("health --group ready", "health.check", json!({ "group": "ready" })),
        ("health --history", "health.history", json!({})),
        ("health --history --hours 24", "health.history", json!({ "hours": 24.0 })),
        ("health check --group ready", "health.check", json!({ "group": "ready" })),
        ("metrics", "metrics.render", json!({})),
        ("metrics --format text", "metrics.render", json!({ "format": "text" })),
        ("metrics render --format openmetrics", "metrics.render", json!({ "format": "openmetrics" })),
        ("metrics history", "metrics.history", json!({ "range_seconds": 3600.0, "limit": 20 })),
        (
            "metrics history up* --label status=5* --label a=b --function rate --window 2m --range 30m --step 90s",
            "metrics.history",
            json!({ "metric": "up*", "labels": ["status=5*", "a=b"], "function": "rate", "limit": 20,
                "window_seconds": 120.0, "range_seconds": 1800.0, "step_seconds": 90.0 }),
        ),
        ("generate alerts", "generate.alerts", json!({})),
        ("generate grafana --write /x --force", "generate.grafana", json!({ "write": "/x", "force": true })),
        (
            "generate prometheus --target a:1 --alertmanager b:2",
            "generate.prometheus",
            json!({ "target": "a:1", "alertmanager": "b:2" }),
        ),
        ("backup create", "backup.create", json!({})),
        (
            "backup create --label a --target local --layout archive",
            "backup.create",
            json!({ "label": "a", "target": "local", "layout": "archive" }),
        ),
        ("backup create --tag a --tag b", "backup.create", json!({ "tags": ["a", "b"] })),
        ("backup list", "backup.list", json!({})),
        ("backup retain --target a", "backup.retain", json!({ "target": "a" })),
        ("backup retain --dry-run", "backup.retain", json!({ "dry_run": true })),
        ("backup hold 1f --reason x", "backup.hold", json!({ "snapshot_id": "1f", "reason": "x" })),
        (
            "backup hold 1f --reason x --by ann --target a",
            "backup.hold",
            json!({ "snapshot_id": "1f", "reason": "x", "by": "ann", "target": "a" }),
        ),
        ("backup release 1f", "backup.release", json!({ "snapshot_id": "1f" })),
        ("backup collect --target a", "backup.collect", json!({ "target": "a" })),
        (
            "backup collect --dry-run --accept-missing",
            "backup.collect",
            json!({ "dry_run": true, "accept_missing": true }),
        ),
        (
            "backup copy 1f --to a --identity-file /key",
            "backup.copy",
            json!({ "snapshot_id": "1f", "to": "a", "identity_file": "/key" }),
        ),
        (
            "restore plan /backup/uplifted_20260101_020000.tar.gz",
            "restore.plan",
            json!({ "snapshot_id": "/backup/uplifted_20260101_020000.tar.gz" }),
        ),
        ("backup show latest", "backup.show", json!({ "snapshot_id": "latest" })),
        ("backup verify 1f", "backup.verify", json!({ "snapshot_id": "1f", "depth": "full" })),
        ("backup verify 1f --depth data", "backup.verify", json!({ "snapshot_id": "1f", "depth": "data" })),
        ("backup drill", "backup.drill", json!({})),
        (
            "backup drill 1f --target a --check rows --check queries --into /tmp/look",
            "backup.drill",
            json!({ "snapshot_id": "1f", "target": "a", "checks": ["rows", "queries"], "into": "/tmp/look" }),
        ),
        ("backup bisect integrity", "backup.bisect", json!({ "check": "integrity" })),
        (
            "backup bisect query SELECT --store main",
            "backup.bisect",
            json!({ "check": "query", "query": "SELECT", "store": "main" }),
        ),
        ("backup sample --max-bytes 7", "backup.sample", json!({ "max_bytes": 7 })),
        ("backup copy 1f --to b", "backup.copy", json!({ "snapshot_id": "1f", "to": "b" })),
        ("backup copy 1f --from a --to b", "backup.copy", json!({ "snapshot_id": "1f", "from": "a", "to": "b" })),
        ("backup delete 1f", "backup.delete", json!({ "snapshot_id": "1f" })),
        (
            "backup delete 1f --dry-run --force --target a",
            "backup.delete",
            json!({ "snapshot_id": "1f", "dry_run": true, "force": true, "target": "a" }),
        ),
        ("restore plan 1f a b", "restore.plan", json!({ "snapshot_id": "1f", "paths": ["a", "b"] })),
        ("restore apply 1f --salvage", "restore.apply", json!({ "snapshot_id": "1f", "salvage": true })),
        ("restore plan 1f --target a", "restore.plan", json!({ "snapshot_id": "1f", "target": "a" })),
        (
            "restore plan --at 2026-11-22T14:32:10Z a b",
            "restore.plan",
            json!({ "at": "2026-11-22T14:32:10Z", "paths": ["a", "b"] }),
        ),
        ("restore points --store main", "restore.points", json!({ "store": "main" })),
        ("continuous status", "continuous.status", json!({})),
        ("continuous start --store main", "continuous.start", json!({ "store": "main" })),
        ("continuous stop", "continuous.stop", json!({})),
        ("continuous compact --dry-run", "continuous.compact", json!({ "dry_run": true })),
        ("restore undo u1", "restore.undo", json!({ "undo_id": "u1" })),
        ("restore undo", "restore.undo_list", json!({})),
        (
            "restore database 1f copy --store main",
            "restore.database",
            json!({ "snapshot_id": "1f", "database": "copy", "store": "main" }),
        ),
        (
            "restore database copy --at 2026-11-22T14:32:10Z",
            "restore.database",
            json!({ "at": "2026-11-22T14:32:10Z", "database": "copy" }),
        ),
        (
            "restore swap copy --store main --drain --drain-seconds 5",
            "restore.swap",
            json!({ "database": "copy", "store": "main", "drain": true, "drain_seconds": 5.0 }),
        ),
        ("restore swap-undo --drain", "restore.swap_undo", json!({ "drain": true })),
        ("restore swap-discard --dry-run", "restore.swap_discard", json!({ "dry_run": true })),
        ("restore discard u1 u2", "restore.discard", json!({ "undo_ids": ["u1", "u2"] })),
        ("restore discard u1 --dry-run", "restore.discard", json!({ "undo_ids": ["u1"], "dry_run": true })),
        ("store stats", "store.stats", json!({})),
        ("store verify --store main", "store.verify", json!({ "store": "main", "depth": "full" })),
        ("schedule", "schedule.list", json!({})),
        ("schedule list", "schedule.list", json!({})),
        ("schedule run backup", "schedule.run", json!({ "job": "backup" })),
        ("journal", "journal.read", json!({ "limit": 50 })),
        (
            "journal --since 24h --operation backup.create --limit 3",
            "journal.read",
            json!({ "since": "2026-11-21T12:00:00Z", "operation": "backup.create", "limit": 3 }),
        ),
    ] {
        let invocation = parse(words);
        assert_eq!(invocation.operation, operation, "{words}");
        assert_eq!(invocation.request, request, "{words}");
    }
}

#[test]
fn only_what_replaces_or_deletes_needs_consent() {
    for words in [
        "backup delete 1f",
        "backup collect",
        "backup retain",
        "restore apply 1f",
        "restore apply 1f config",
        "restore discard u1",
        "restore undo u1",
    ] {
        let consent = parse(words).consent.unwrap();
        assert!(!consent.given, "{words}");
    }
    assert_eq!(parse("backup delete 1f --force").consent.unwrap().request["dry_run"], true);
    assert_eq!(parse("restore apply 1f").consent.unwrap().operation, "restore.plan");
    assert!(parse("restore apply 1f -y").consent.unwrap().given);
    assert_eq!(parse("restore undo u1").consent.unwrap().request["dry_run"], true);
    assert!(parse("restore undo u1 --yes").consent.unwrap().given);
    for words in [
        "restore undo u1 --dry-run",
        "restore undo",
        "backup delete 1f --dry-run",
        "restore apply 1f --into x",
        "restore plan 1f",
        "backup create",
    ] {
        assert!(parse(words).consent.is_none(), "{words}");
    }
}

#[test]
fn a_folder_is_relative_to_the_working_directory_and_a_name_may_hold_any_bytes() {
    let invocation = parse("restore apply 1f --into out");
    let expected = std::env::current_dir().unwrap().join("out");
    assert_eq!(invocation.request["into"], expected.to_str().unwrap());
    let path = path_value(&OsString::from_vec(vec![b'a', 0xff])).unwrap();
    assert_eq!(path, json!({ "bytes": "61ff" }));
}

#[test]
fn moments_are_times_dates_or_ages() {
    for (text, expected) in [
        ("2026-11-22T18:16:21Z", "2026-11-22T18:16:21Z"),
        ("2026-11-22T18:16:21+02:00", "2026-11-22T16:16:21Z"),
        ("2026-11-01", "2026-11-01T00:00:00Z"),
        ("90s", "2026-11-22T11:58:30Z"),
        ("7d", "2026-11-15T12:00:00Z"),
        ("2w", "2026-11-08T12:00:00Z"),
    ] {
        assert_eq!(moment(text, now()).unwrap().to_string(), expected, "{text}");
    }
    for text in ["", "h", "yesterday", "1.5h", "-3h", "12", "99999999999999999999d", "9999999999999w", "7é"] {
        assert!(moment(text, now()).is_err(), "{text:?}");
    }
}
