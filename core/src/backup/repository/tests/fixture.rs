//! A repository that version 1 wrote, kept in this folder: every later version must read it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scene::tree_of;
use crate::backup::checkers::Checkers;
use crate::backup::create::{CreateJob, NamedTarget, create};
use crate::backup::list::{find, list};
use crate::backup::nodes::{ExtractOptions, Selection};
use crate::backup::target::BackupTarget;
use crate::backup::verify::{VerifyDepth, VerifyJob, verify};
use crate::cancel::Scope;
use crate::component::Registry;
use crate::config::BackupSettings;
use crate::fs::Dir;
use crate::store::Store;
use crate::testing::MemoryTarget;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backup/repository/tests/version-1")
}

fn kinds() -> Registry<dyn Store> {
    let mut kinds = Registry::new("store");
    kinds.register(crate::store::sqlite::KIND);
    kinds
}

/// Everything below a folder, a line each, with owners and what an engine may touch left out.
fn described(root: &Path) -> String {
    let line = |(name, said): (Vec<u8>, String)| format!("{} {said}\n", String::from_utf8_lossy(&name).escape_debug());
    tree_of(root).into_iter().map(line).collect()
}

/// The service whose backups the fixture holds.
fn make_service(root: &Path) {
    let shell = "mkdir -p config data/deep 'odd names'; printf 'a: 1\\n' > config/app.yaml; ln config/app.yaml config/again; \
                 printf 'x' > \"odd names/with 'quotes'\"; ln -s ../config data/link; mkfifo data/pipe; \
                 head -c 3000000 /dev/zero > data/zeros; truncate -s 5000000 data/hole; printf end >> data/hole; chmod 640 data/zeros; \
                 i=0; while [ $i -lt 40 ]; do printf \"file %s\" $i > data/deep/$i; i=$((i + 1)); done; \
                 find . -depth -exec touch -h -d '2026-01-05T02:00:00.123456789Z' {} +";
    let status = std::process::Command::new("sh").args(["-ec", shell]).current_dir(root).status().unwrap();
    assert!(status.success());
}

/// Writes the fixture anew: `UPLIFTED_OPS_WRITE_FIXTURE=1 cargo test -p uplifted-ops --lib fixture`. Only ever for a new
/// version of the format, into a folder of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_written_when_asked_for() {
    if std::env::var_os("UPLIFTED_OPS_WRITE_FIXTURE").is_none() {
        return;
    }
    assert!(!folder().exists(), "the fixture of a version never changes");
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("root");
    std::fs::create_dir(&root).unwrap();
    make_service(&root);
    let target = MemoryTarget::default();
    let database = rusqlite::Connection::open(root.join("data/app.db")).unwrap();
    database.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)").unwrap();
    for (label, rows) in [("first", 200), ("second", 3)] {
        for _ in 0..rows {
            database.execute("INSERT INTO t (x) VALUES (hex(randomblob(20)))", []).unwrap();
        }
        std::fs::write(root.join("config/label"), label).unwrap();
        let job = CreateJob {
            service: "uplifted".into(),
            service_version: Some("1.0".into()),
            host: "fixture".into(),
            settings: BackupSettings {
                include: vec![PathBuf::from(".")],
                layout: Some("repository".to_owned()),
                scratch: Some(base.path().join("scratch")),
                scratch_in_memory: true,
                clear_secrets: Some(true),
                ..BackupSettings::default()
            },
            label: Some(label.to_owned()),
            targets: vec![("local".into(), Arc::new(target.clone()))],
            ..CreateJob::new(root.clone(), base.path().join("state"), kinds())
        };
        let report = create(&Scope::default(), job).await.unwrap();
        assert!(report.is_healthy(), "{report:?}");
        let copy = base.path().join(label);
        std::fs::create_dir(&copy).unwrap();
        restore(&[("local".into(), Arc::new(target.clone()))], &report.snapshot_id, &copy).await;
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(folder().join(format!("{label}.txt")), described(&copy)).unwrap();
    }
    for key in target.keys().into_iter().filter(|key| !key.starts_with("locks/")) {
        let path = folder().join("target").join(&key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = crate::backup::blocks::read_object(&Scope::default(), &target, &key, u64::MAX).await.unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

async fn restore(targets: &[NamedTarget], id: &str, into: &Path) {
    let copies = find(&Scope::default(), targets, &None, None, id).await.unwrap();
    let source = copies[0].source(&Scope::default(), 10_000, false).await.unwrap();
    let into = Dir::open(into).unwrap();
    let made = tokio::task::spawn_blocking(move || {
        source.extract(&Scope::default(), &Selection::All, &into, &ExtractOptions::default()).unwrap()
    });
    assert_eq!(made.await.unwrap().lost, []);
}

/// The fixture in a target.
async fn target() -> MemoryTarget {
    let target = MemoryTarget::default();
    let root = folder().join("target");
    let mut waiting = vec![root.clone()];
    while let Some(at) = waiting.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let key = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            target.put(&Scope::default(), &key, &std::fs::read(&path).unwrap(), false).await.unwrap();
        }
    }
    target
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_1_is_listed_verified_and_restored() {
    let targets: Vec<NamedTarget> = vec![("local".into(), Arc::new(target().await))];
    let scope = Scope::default();
    let listing = list(&scope, &targets, &None, Some("uplifted")).await.unwrap();
    assert_eq!((listing.snapshots.len(), listing.unreadable.len()), (2, 0), "{listing:?}");
    for listed in &listing.snapshots {
        let job = VerifyJob {
            targets: targets.clone(),
            service: None,
            snapshot: listed.snapshot_id.clone(),
            depth: VerifyDepth::Full,
            scratch: std::env::temp_dir(),
            scratch_in_memory: true,
            checkers: Checkers { kinds: kinds(), live: Vec::new() },
            threads: 2,
            keys: None,
            state: std::env::temp_dir().join("no-state"),
        };
        let report = verify(&scope, job).await.unwrap();
        assert!(report.ok && report.databases.len() == 1, "{report:?}");
        let into = tempfile::tempdir().unwrap();
        restore(&targets, &listed.snapshot_id, into.path()).await;
        let label = listed.label.clone().unwrap();
        let expected = std::fs::read_to_string(folder().join(format!("{label}.txt"))).unwrap();
        assert_eq!(described(into.path()), expected, "{label}");
    }
}

#[test]
fn version_1_is_restored_by_its_own_script() {
    for label in ["first", "second"] {
        let place = tempfile::tempdir().unwrap();
        let into = place.path().join("into");
        let list =
            std::process::Command::new("sh").arg(folder().join("target/recover.sh")).arg("list").output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let id = list.lines().find(|line| line.ends_with(label)).unwrap().split(' ').next().unwrap().to_owned();
        let output = std::process::Command::new("sh")
            .arg(folder().join("target/recover.sh"))
            .args(["restore", &id])
            .arg(&into)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected = std::fs::read_to_string(folder().join(format!("{label}.txt"))).unwrap();
        assert_eq!(described(&into), expected, "{label}");
    }
}
