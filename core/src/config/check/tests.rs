use std::os::unix::fs::symlink;

use super::*;
use crate::config::{LoadInput, load};

fn build() -> BuildFacts {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    BuildFacts {
        stores: names(&["sqlite"]),
        targets: names(&["fs"]),
        checks: names(&["disk", "http"]),
        sinks: names(&["otlp", "statsd", "textfile"]),
        acts_on: Vec::new(),
    }
}

/// A service that nothing is wrong with but that its target shares its disk.
fn service() -> tempfile::TempDir {
    // Not in /tmp, which may be in memory.
    let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    for name in ["svc/data", "svc/config", "svc/logs"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    folder
}

const GOOD: &str = "[backup]\ninclude = [\"data\", \"config\", \"ops.toml\"]\nexclude = [\"logs\", \"**/__pycache__\"]\n\
                    [[target]]\nname = \"local\"\nkind = \"fs\"\npath = \"../backups\"\n";

/// The findings for `GOOD` and `more`, but for the disk that all tests share, as `key: message`.
fn findings(folder: &tempfile::TempDir, text: &str) -> Vec<String> {
    let root = folder.path().join("svc");
    std::fs::write(root.join("ops.toml"), text).unwrap();
    let config = load(&LoadInput::new(&root)).unwrap();
    check(&config, &build())
        .into_iter()
        .filter(|finding| !finding.message.contains("same disk"))
        .map(|finding| format!("{:?} {}: {}", finding.severity, finding.key, finding.message))
        .collect()
}

#[test]
fn a_good_configuration_has_no_findings() {
    let folder = service();
    assert_eq!(findings(&folder, GOOD), Vec::<String>::new());
}

#[test]
fn each_mistake_is_found() {
    let folder = service();
    let root = folder.path().join("svc");
    symlink("/", root.join("data/elsewhere")).unwrap();
    let backup = |lines: &str| GOOD.replace("[backup]\n", &format!("[backup]\n{lines}\n"));
    let include = |list: &str| GOOD.replace("[\"data\", \"config\", \"ops.toml\"]", list);
    let target = |path: &str| GOOD.replace("../backups", path);
    let with = |more: &str| format!("{GOOD}{more}\n");
    for (text, expected) in [
        (backup("level = 0"), "Error backup.level: level 0 is not one of zstd's"),
        (with("[continuous]\nstores = [\"shop\"]"), "Error continuous.stores: no [[store]] is called \"shop\""),
        (with("[continuous]\ntargets = [\"lokal\"]"), "Error continuous.targets: no [[target]] is called \"lokal\""),
        (with("[continuous]\nship_seconds = 0"), "Error continuous.ship_seconds: 0 is no length of time"),
        (with("[continuous]\nkeep_days = -1"), "Error continuous.keep_days: -1 is no length of time"),
        (with("[continuous]\ncompact_after_hours = 0"), "Error continuous.compact_after_hours: 0 is no length of time"),
        (with("[continuous]\nlog_limit_bytes = 0"), "Error continuous.log_limit_bytes: no room at all is left"),
        (with("[continuous]\nspool_limit_bytes = 0"), "Error continuous.spool_limit_bytes: no room at all is left"),
        (backup("level = 20"), "Error backup.level: level 20 is not one of zstd's"),
        (backup("collect_grace_hours = 1"), "Error backup.collect_grace_hours: 1 hours is no grace time between 2"),
        (backup("rollback_copy_seconds = 0"), "Error backup.rollback_copy_seconds"),
        (
            backup("schedule = \"0 2 * * *\""),
            "Warning backup.schedule: this build accepts backup.schedule and does not",
        ),
        (backup("retention = { daily = 7 }"), "Warning backup.retention: this build accepts"),
        (with("[service]\ntimezone = \"Europe/Berlim\""), "Error service.timezone: this machine knows no time zone"),
        (backup("layout = \"repositroy\""), "Error backup.layout: \"repositroy\" is no layout"),
        (backup("scratch = \"~/x\""), "Error backup.scratch: `~` is no folder"),
        (include("[]"), "Error backup.include: the list is empty"),
        (include("[\"../other\", \".\"]"), "Error backup.include: \"../other\" is outside"),
        (include("[\"/etc\", \".\"]"), "Error backup.include: \"/etc\" is outside"),
        (include("[\"data/../../x\", \".\"]"), "Error backup.include: \"data/../../x\" is outside"),
        (include("[\".\", \"nowhere\"]"), "Warning backup.include: \"nowhere\" does not exist"),
        (include("[\".\", \"data/elsewhere\"]"), "Warning backup.include: \"data/elsewhere\" is a symlink"),
        (include("[\"data\", \"ops.toml\"]"), "Warning backup.include: neither included nor excluded: config"),
        (GOOD.replace("\"logs\"", "\"log\", \"logs\""), "Warning backup.exclude: \"log\" leaves nothing out"),
        (GOOD.replace("\"logs\"", "\"/x\", \"logs\""), "Error backup.exclude: \"/x\" is no pattern"),
        (target("data/backups"), "Warning target.local.path: the target lies inside an included folder"),
        (target("data/../config/b"), "Warning target.local.path: the target lies inside an included folder"),
        (target("."), "Error target.local.path: the service itself lies in the target"),
        (target(".."), "Error target.local.path: the service itself lies in the target"),
        (
            with("[[store]]\nname = \"m\"\nkind = \"sqlit\""),
            "Error store.m.kind: this build has no store of kind \"sqlit\"",
        ),
        (with("[[check]]\nname = \"c\"\nkind = \"grpc\""), "Error check.c.kind"),
        (with("[[check]]\nname = \"c\"\nkind = \"http\"\ndeadline_seconds = 0"), "Error check.c.deadline_seconds"),
        (with("[metrics]\nlisten = \"127.0.0.1:9090\""), "Warning metrics.listen: port 9090 is Prometheus' own"),
        (with("[metrics]\nlisten = \"127.0.0.1:9464\""), "Warning metrics.listen: this build accepts"),
        (with("[metrics]\nlisten = \"9464\""), "Error metrics.listen: it is no address"),
        (with("[http]\ntoken = \"hunter2\""), "Warning http.token: a secret stands in the configuration file"),
        (with("[http]\nwrite_token = \"x\"\ntoken = \"env:X\""), "Warning http.write_token: a secret stands"),
        (with("[state]\npath = \"/dev/shm/x\""), "Warning state.path: the state folder is in memory"),
        (with("[service]\nstop = [\"x\"]"), "Warning service.start"),
        (with("[service]\nlog = \"logs/x.log\""), "Warning service.log: the log file does not exist"),
        (with("[health]\nconcurrency = 0"), "Error health.concurrency"),
        ("[backup]\ninclude = [\".\"]\n".to_owned(), "Warning target: there is no [[target]]"),
    ] {
        let found = findings(&folder, &text);
        assert!(found.iter().any(|finding| finding.starts_with(expected)), "{expected} is not in {found:#?}\n{text}");
        // An address is looked at, and then reported as not listened on.
        let both = expected.contains("metrics.listen: ") && !expected.contains("accepts");
        assert!(found.len() == 1 || both && found.len() == 2, "{expected}: {found:#?}");
    }
}

#[test]
fn a_misspelled_kind_gets_a_suggestion() {
    let folder = service();
    let root = folder.path().join("svc");
    for (kind, hint) in [("sqlit", "did you mean \"sqlite\"?"), ("s3", "use one of: sqlite")] {
        let store = format!("{GOOD}[[store]]\nname = \"m\"\nkind = \"{kind}\"\n");
        std::fs::write(root.join("ops.toml"), store).unwrap();
        let findings = check(&load(&LoadInput::new(&root)).unwrap(), &build());
        assert_eq!((findings[0].severity, findings[0].hint.as_deref()), (Severity::Error, Some(hint)));
        assert_eq!(findings[0].source, "ops.toml:10");
    }
}

#[test]
fn a_policy_that_would_never_delete_anything_is_found() {
    let folder = service();
    let root = folder.path().join("svc");
    let mut build = build();
    build.acts_on.extend(["backup.retention", "backup.schedule", "backup.verify_schedule"].map(str::to_owned));
    let found = |more: &str| {
        let backup = format!("[backup]\nschedule = \"@daily\"\nretention = {{ daily = 7 }}\n{more}\n");
        std::fs::write(root.join("ops.toml"), GOOD.replace("[backup]\n", &backup)).unwrap();
        let findings = check(&load(&LoadInput::new(&root)).unwrap(), &build);
        findings.into_iter().find(|finding| finding.message.starts_with("nothing verifies backups"))
    };
    let finding = found("").unwrap();
    assert_eq!((finding.severity, finding.key.as_str()), (Severity::Warning, "backup.retention"));
    assert!(found("verify_schedule = \"@weekly\"").is_none());
}

#[test]
fn a_policy_that_deletes_too_much_is_an_error_with_its_line() {
    let folder = service();
    let root = folder.path().join("svc");
    let mut build = build();
    build.acts_on.push("backup.retention".to_owned());
    for (policy, key, message) in [
        ("{ daily = 0 }", "backup.retention", "the policy keeps nothing"),
        ("{ tags = [\"keep\"], per_label = 3 }", "backup.retention", "the policy keeps nothing"),
        ("{ daily = 7, min_verified = 0 }", "backup.retention.min_verified", "with 0 the last backup"),
        ("{ daily = 7, tags = [\"a b\"] }", "backup.retention.tags", "no snapshot can have the tag \"a b\""),
    ] {
        std::fs::write(root.join("ops.toml"), GOOD.replace("[backup]\n", &format!("[backup]\nretention = {policy}\n")))
            .unwrap();
        let findings = check(&load(&LoadInput::new(&root)).unwrap(), &build);
        let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 1, "{policy}: {findings:#?}");
        assert_eq!((errors[0].key.as_str(), errors[0].source.as_str()), (key, "ops.toml:2"), "{policy}");
        assert!(errors[0].message.starts_with(message), "{policy}: {}", errors[0].message);
    }
    for (policy, message) in [
        ("{ dayly = 7 }", "ops.toml:2: unknown key `backup.retention.dayly`"),
        ("{ daily = \"7\" }", "ops.toml:2: `backup.retention.daily`: expected a whole number"),
        ("{ daily = -1 }", "ops.toml:2: `backup.retention.daily`"),
        ("7", "ops.toml:2: `backup.retention` is a section, found"),
    ] {
        std::fs::write(root.join("ops.toml"), format!("[backup]\nretention = {policy}\n")).unwrap();
        let error = load(&LoadInput::new(&root)).unwrap_err();
        assert!(error.message().starts_with(message), "{policy}: {error}");
    }
}

#[test]
fn what_this_build_acts_on_is_not_reported() {
    let folder = service();
    let root = folder.path().join("svc");
    std::fs::write(root.join("ops.toml"), format!("{GOOD}[metrics]\nlisten = \"127.0.0.1:9464\"\n")).unwrap();
    let config = load(&LoadInput::new(&root)).unwrap();
    let mut build = build();
    let count = |build: &BuildFacts| check(&config, build).iter().filter(|f| f.key == "metrics.listen").count();
    assert_eq!(count(&build), 1);
    build.acts_on.push("metrics.listen".to_owned());
    assert_eq!(count(&build), 0);
}

#[test]
fn a_target_on_the_same_disk_is_reported() {
    let folder = service();
    let root = folder.path().join("svc");
    std::fs::write(root.join("ops.toml"), GOOD).unwrap();
    let config = load(&LoadInput::new(&root)).unwrap();
    let findings = check(&config, &build());
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!((findings[0].key.as_str(), findings[0].source.as_str()), ("target.local.path", "ops.toml:7"));
}
