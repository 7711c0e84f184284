//! Retention through the command line, and its rules beside those of restic(1).

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use uplifted_ops::backup::list::Listed;
use uplifted_ops::backup::manifest::Outcome;
use uplifted_ops::backup::retention::{Policy, Proof, Proofs, Rule, Stock, plan};
use uplifted_ops::clock::{TimeZone, Timestamp};
use uplifted_ops::config::RetentionSettings;
use uplifted_ops::testing::random;
use uplifted_ops_tests::scene::Scene;

use super::PROGRAM;

const POLICY: &str = "retention = { keep_last = 2, min_verified = 1 }";

/// A service with four backups and a policy that keeps two.
fn four_backups() -> (Scene, Vec<String>) {
    let scene = Scene::small(PROGRAM);
    let text = fs::read_to_string(scene.root().join("ops.toml")).unwrap();
    scene.write("ops.toml", &text.replace("[backup]\n", &format!("[backup]\n{POLICY}\n")));
    let create = |_| scene.call("backup.create", &json!({})).done()["snapshot_id"].as_str().unwrap().to_owned();
    let ids = (0..4).map(create).collect();
    (scene, ids)
}

fn ids_in(scene: &Scene) -> Vec<String> {
    let listed = scene.call("backup.list", &json!({})).done();
    let snapshots = listed["snapshots"].as_array().unwrap();
    snapshots.iter().map(|it| it["snapshot_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_command_shows_every_snapshot_with_its_reasons() {
    let (scene, ids) = four_backups();
    let said = |args: &[&str]| {
        let output = scene.run(args, &[]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // Nothing is verified: nothing goes, and it is said what to do. That is not well.
    let (status, text, _) = said(&["backup", "retain", "--yes"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("2 snapshots that no rule keeps stay: no complete snapshot is verified"), "{text}");
    assert!(text.contains(&format!("run `uplifted-ops backup verify {}`", ids[3])), "{text}");
    assert_eq!(ids_in(&scene).len(), 4);

    scene.call("backup.verify", &json!({ "snapshot_id": ids[2] })).done();
    let (status, text, _) = said(&["backup", "retain", "--dry-run"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.starts_with("local: 2 kept, 2 would be deleted, "), "{text}");
    let line = |id: &str| text.lines().find(|line| line.contains(id)).unwrap_or_default().to_owned();
    assert!(line(&ids[3]).ends_with("keep      last 1 of 2; the newest complete one"), "{text}");
    assert!(line(&ids[2]).ends_with("keep      last 2 of 2; verified, 1 of the 1 that must stay"), "{text}");
    assert!(line(&ids[0]).contains("delete    no rule keeps it, and"), "{text}");
    assert_eq!(ids_in(&scene).len(), 4);

    // Nobody can be asked here.
    let (status, _, error) = said(&["backup", "retain"]);
    assert!(status == Some(2) && error.contains("--yes"), "{error}");
    let (status, text, _) = said(&["backup", "hold", &ids[0], "--reason", "evidence", "--by", "ann"]);
    assert_eq!((status, text), (Some(0), format!("snapshot {} is held in local by ann: evidence\n", ids[0])));
    let (status, text, _) = said(&["backup", "retain", "--yes"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("held by ann: evidence"), "{text}");
    assert_eq!(ids_in(&scene), [&ids[3], &ids[2], &ids[0]].map(Clone::clone));
    // With the state folder all that was verified is lost, and nothing more goes. The hold is in the target.
    fs::remove_dir_all(scene.root().join(".uplifted-ops")).unwrap();
    let (_, text, _) = said(&["backup", "release", &ids[0][..6]]);
    assert_eq!(text, format!("snapshot {}: 1 hold ended\n", ids[0]));
    let (status, text, _) = said(&["backup", "retain", "--yes"]);
    assert!(status == Some(1) && text.contains("no complete snapshot is verified"), "{text}");
    assert_eq!(ids_in(&scene).len(), 3);
    // The journal has every run.
    let journal = scene.call("journal.read", &json!({ "operation": "backup.retain" })).done();
    assert_eq!(journal["records"].as_array().unwrap().len(), 1, "{journal}");
}

#[test]
fn init_writes_a_policy_that_works() {
    let scene = Scene::small(PROGRAM);
    fs::remove_file(scene.root().join("ops.toml")).unwrap();
    scene.call("config.init", &json!({})).done();
    let text = fs::read_to_string(scene.root().join("ops.toml")).unwrap();
    assert!(
        text.contains("\nretention = { keep_last = 3, daily = 7, weekly = 4, monthly = 12, min_verified = 2 }\n"),
        "{text}"
    );
    let shown = scene.call("config.show", &json!({})).done();
    let setting = |key: &str| {
        let all = shown["settings"].as_array().unwrap();
        all.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("{key}")).clone()
    };
    assert_eq!(setting("backup.retention.daily")["value"], 7);
    assert!(setting("backup.retention.daily")["source"].as_str().unwrap().starts_with("ops.toml:"));
    assert_eq!(setting("backup.retention.hourly")["value"], 0);
    let findings = scene.call("config.check", &json!({})).done();
    assert!(!findings.to_string().contains("retention"), "{findings}");
    let answer = scene.call("backup.retain", &json!({ "dry_run": true })).done();
    assert_eq!(answer["policy"]["monthly"], 12);
}

/// A restic repository, in which a snapshot is known by its time.
struct Restic {
    folder: tempfile::TempDir,
}

impl Restic {
    fn run(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("timeout")
            .args(["--signal=KILL", "60", "restic", "--no-cache", "--quiet"])
            .args(args)
            .current_dir(self.folder.path())
            .env("RESTIC_PASSWORD", "x")
            .env("RESTIC_REPOSITORY", self.folder.path().join("repository"))
            .env("TZ", "UTC")
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The times of the snapshots that `forget` keeps, sorted.
    fn kept(&self, rules: &RetentionSettings) -> Vec<Timestamp> {
        let counts = [
            ("--keep-last", rules.keep_last),
            ("--keep-hourly", rules.hourly),
            ("--keep-daily", rules.daily),
            ("--keep-weekly", rules.weekly),
            ("--keep-monthly", rules.monthly),
            ("--keep-yearly", rules.yearly),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .flat_map(|(name, n)| [(*name).to_owned(), n.to_string()])
            .collect();
        let mut args = vec!["forget", "--dry-run", "--json"];
        args.extend(counts.iter().map(String::as_str));
        let groups: Value = serde_json::from_slice(&self.run(&args)).unwrap();
        let kept = groups[0]["keep"].as_array().unwrap().iter();
        let mut times: Vec<Timestamp> = kept.map(|it| it["time"].as_str().unwrap().parse().unwrap()).collect();
        times.sort();
        times
    }
}

fn listed(time: Timestamp) -> Listed {
    Listed {
        snapshot_id: time.as_second().to_string(),
        target: "one".to_owned(),
        key: time.as_second().to_string(),
        time,
        stored_at: time,
        layout: "archive".to_owned(),
        outcome: Outcome::Complete,
        label: None,
        tags: Vec::new(),
        service: "app".to_owned(),
        service_version: None,
        host: "here".to_owned(),
        size_bytes: 0,
        stored_bytes: 0,
        files: 0,
        skipped: 0,
        stores: 0,
        encrypted_to: None,
    }
}

/// The same histories and rules, through `restic forget --keep-*` and through ours. `UPLIFTED_OPS_RESTIC_SNAPSHOTS`
/// makes it longer.
#[test]
fn the_rules_keep_what_restic_keeps() {
    if Command::new("restic").arg("version").output().is_err() {
        println!("skipped: there is no restic here; `make setup` installs it");
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let count = number("UPLIFTED_OPS_RESTIC_SNAPSHOTS").unwrap_or(12);
    let mut random = random::seeded("the_rules_keep_what_restic_keeps");
    let restic = Restic { folder: tempfile::tempdir().unwrap() };
    fs::write(restic.folder.path().join("file"), "x").unwrap();
    restic.run(&["init"]);
    // Around a leap day and two New Years of different weeks, in bursts of hours, days and months.
    let mut time: Timestamp = "2023-12-30T21:00:00Z".parse().unwrap();
    let mut stock = Stock { target: "one".to_owned(), ..Stock::default() };
    let mut proofs = Proofs::default();
    for _ in 0..count {
        let step = random.choice([1_200, 9_000, 90_000, 700_000, 2_700_000]).unwrap();
        time += std::time::Duration::from_secs(random.u64(1..=2 * step));
        restic.run(&["backup", "--host", "here", "--time", &time.strftime("%Y-%m-%d %H:%M:%S").to_string(), "file"]);
        proofs.note(&time.as_second().to_string(), Some("one"), Proof::Whole(time));
        stock.snapshots.push(listed(time));
    }
    for _ in 0..(count / 3).max(4) {
        let mut some = |most| if random.bool() { random.u32(..most) } else { 0 };
        let rules = RetentionSettings {
            keep_last: 1 + some(4),
            hourly: some(6),
            daily: some(6),
            weekly: some(5),
            monthly: some(5),
            yearly: some(3),
            min_verified: 1,
            ..RetentionSettings::default()
        };
        let policy = Policy::new(rules.clone(), TimeZone::UTC).unwrap();
        let ours = plan(&policy, "app", std::slice::from_ref(&stock), &proofs, "2100-01-01T00:00:00Z".parse().unwrap());
        let by_rules =
            ours.targets[0].decisions.iter().filter(|it| it.reasons.iter().any(|why| why.rule <= Rule::Yearly));
        let mut kept: Vec<Timestamp> = by_rules.map(|decision| decision.time).collect();
        kept.sort();
        assert_eq!(kept, restic.kept(&rules), "{count} snapshots, {rules:?}");
    }
}
