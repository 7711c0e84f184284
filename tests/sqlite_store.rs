//! The SQLite store under load, and killed or failing at every step it takes on the disk.
//!
//! `UPLIFTED_OPS_STRESS_RUNS` sets the number of copies under load (100; a bench wants 1,000).

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests set up their own scenes")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use uplifted_ops::Scope;
use uplifted_ops::component::BuildContext;
use uplifted_ops::store::{CheckDepth, Store, sqlite};
use uplifted_ops::testing::random;
use uplifted_ops::testing::sqlite_load::{self, ENV, Load};

/// The store over `<root>/app.db`.
fn store(root: &Path) -> Arc<dyn Store> {
    let context =
        BuildContext { name: "main".into(), root: root.into(), state: root.join("state"), service: "shop".into() };
    let settings = json!({ "path": "app.db", "busy_timeout_seconds": 60, "keep_free_bytes": 0 });
    (sqlite::KIND.build)(&context, settings.as_object().unwrap()).unwrap()
}

/// This binary again, running one of the tests that serve as child processes.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[test]
fn child_load() {
    sqlite_load::run_if_asked().unwrap();
}

/// A writer in another process; killed when dropped.
struct Writer(Child);

impl Writer {
    fn start(load: &Load) -> Self {
        load.create().unwrap();
        let json = serde_json::to_string(load).unwrap();
        let writer = Self(again("child_load").env(ENV, json).stdout(Stdio::null()).spawn().unwrap());
        while load.acknowledged().unwrap().unwrap_or(0) < 20 {
            std::thread::sleep(Duration::from_millis(5));
        }
        writer
    }

    fn stop(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From 20 to 5,000 transactions a second, each page size, checkpoints of every kind, `VACUUM`, a host that comes and
/// goes, and the rollback modes.
fn loads(path: &Path, seed: u64) -> Vec<Load> {
    let new = || Load::new(path, seed);
    let checkpoint = |every, mode: &str| Some((every, mode.to_owned()));
    vec![
        Load { transactions_per_second: 20, page_size: 1024, ..new() },
        Load { transactions_per_second: 5000, checkpoint: checkpoint(10, "PASSIVE"), ..new() },
        Load { transactions_per_second: 5000, checkpoint: checkpoint(1, "TRUNCATE"), page_size: 512, ..new() },
        Load { transactions_per_second: 2000, checkpoint: checkpoint(5, "RESTART"), page_size: 8192, ..new() },
        Load { checkpoint: checkpoint(3, "FULL"), vacuum: Some(25), page_size: 2048, ..new() },
        Load { reopen: Some(1), page_size: 16384, ..new() },
        Load { reopen: Some(7), vacuum: Some(20), checkpoint: checkpoint(2, "TRUNCATE"), page_size: 65536, ..new() },
        Load { transactions_per_second: 200, journal_mode: "delete".into(), page_size: 32768, ..new() },
        Load { transactions_per_second: 200, journal_mode: "truncate".into(), vacuum: Some(20), ..new() },
        Load { transactions_per_second: 200, journal_mode: "persist".into(), reopen: Some(5), ..new() },
    ]
}

#[tokio::test]
async fn copies_under_load_are_never_broken() {
    let runs: usize = std::env::var("UPLIFTED_OPS_STRESS_RUNS").map_or(100, |runs| runs.parse().unwrap());
    let seed = random::seeded("copies under load").u64(..);
    let count = loads(Path::new("/"), seed).len();
    for which in 0..count {
        let folder = tempfile::tempdir().unwrap();
        let load = loads(&folder.path().join("app.db"), seed).swap_remove(which);
        let writer = Writer::start(&load);
        let store = store(folder.path());
        for run in (which..runs).step_by(count) {
            let before = load.acknowledged().unwrap().unwrap_or(0);
            let out = folder.path().join(run.to_string());
            std::fs::create_dir(&out).unwrap();
            store.snapshot_to(&Scope::default(), &out).await.unwrap_or_else(|error| panic!("{load:?}: {error}"));
            let report = store.check_copy(&Scope::default(), &out, CheckDepth::Full).await.unwrap();
            assert!(report.ok, "{load:?}: {report:?}");
            sqlite_load::check(&out.join("app.db"), before).unwrap_or_else(|error| panic!("{load:?}: {error}"));
            std::fs::remove_dir_all(&out).unwrap();
        }
        writer.stop();
    }
}

const CALL: &str = "UPLIFTED_OPS_TEST_CALL";

/// Calls `restore` or `snapshot` in the folder named after it, and says how it went.
#[tokio::test]
async fn child_call() {
    let Ok(call) = std::env::var(CALL) else { return };
    let (method, root) = call.split_once(' ').unwrap();
    let root = Path::new(root);
    let outcome = match method {
        "restore" => store(root).restore_from(&Scope::default(), &root.join("copy")).await,
        _ => store(root).snapshot_to(&Scope::default(), &root.join("out")).await.map(drop),
    };
    let word = outcome.map_or_else(|error| error.kind().to_string(), |()| "ok".into());
    writeln!(std::io::stdout(), "@@{word}").unwrap();
}

/// Calls in a process of its own with a fault. `None` when that was the end of the process.
fn call(method: &str, root: &Path, fault: &str) -> Option<String> {
    let mut command = again("child_call");
    command.env(CALL, format!("{method} {}", root.display())).env("UPLIFTED_OPS_FAULT", fault);
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    output.lines().find_map(|line| line.split_once("@@")).map(|(_, word)| word.to_owned())
}

/// A database whose writer was killed, so that its last transactions are in the log alone, and an older copy of it.
/// With it: how many transactions the copy and the database hold.
async fn scene(root: &Path, journal_mode: &str) -> (u64, u64) {
    let load = Load { journal_mode: journal_mode.into(), ..Load::new(&root.join("app.db"), 3) };
    let writer = Writer::start(&load);
    for name in ["copy", "out", "now"] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    store(root).snapshot_to(&Scope::default(), &root.join("copy")).await.unwrap();
    let old = load.acknowledged().unwrap().unwrap();
    while load.acknowledged().unwrap().unwrap() < old + 50 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(writer);
    store(root).snapshot_to(&Scope::default(), &root.join("now")).await.unwrap();
    let counts = [root.join("copy/app.db"), root.join("now/app.db")].map(|copy| sqlite_load::check(&copy, 0).unwrap());
    for name in ["copy", "now"] {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(root.join(name).join(format!("app.db{suffix}")));
        }
    }
    (counts[0], counts[1])
}

/// The files of `from`, and of its folder `copy`, in a new folder with an empty `out`.
fn clone_scene(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in ["copy", "out"] {
        std::fs::create_dir(to.path().join(name)).unwrap();
    }
    for name in ["app.db", "app.db-wal", "app.db-journal", "copy/app.db"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.path().join(name)).unwrap();
        }
    }
    to
}

/// How many fault points a call passes.
fn points(method: &str, from: &Path) -> usize {
    let scene = clone_scene(from);
    let trace = scene.path().join("trace");
    assert_eq!(call(method, scene.path(), &format!("host:trace@{}", trace.display())).as_deref(), Some("ok"));
    std::fs::read_to_string(trace).unwrap().lines().count()
}

fn names(folder: PathBuf) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[tokio::test]
async fn a_restore_killed_or_failing_anywhere_leaves_the_old_or_the_new() {
    for mode in ["wal", "delete"] {
        let template = tempfile::tempdir().unwrap();
        let (new, old) = scene(template.path(), mode).await;
        assert!(old > new, "{old} {new}");
        let points = points("restore", template.path());
        assert!(points > 8, "{points}");
        let (mut saw_old, mut saw_new) = (false, false);
        for action in ["kill", "enospc", "eio", "short"] {
            for point in 1..=points {
                let scene = clone_scene(template.path());
                let outcome = call("restore", scene.path(), &format!("host:{action}@{point}"));
                let held = sqlite_load::check(&scene.path().join("app.db"), 0)
                    .unwrap_or_else(|error| panic!("{mode} {action}@{point} of {points}: {error}"));
                let at = format!("{mode} {action}@{point} of {points}: {outcome:?}, holds {held} of {new} or {old}");
                assert!(held == old || held == new, "{at}");
                assert!(outcome.as_deref() != Some("ok") || held == new, "{at}");
                assert_eq!(outcome.is_none(), action == "kill", "{at}");
                saw_old |= held == old;
                saw_new |= held == new;
            }
        }
        assert!(saw_old && saw_new);
    }
}

#[tokio::test]
async fn a_snapshot_that_fails_anywhere_leaves_nothing() {
    let template = tempfile::tempdir().unwrap();
    let (_, rows) = scene(template.path(), "wal").await;
    let points = points("snapshot", template.path());
    assert!(points >= 4, "{points}");
    for action in ["enospc", "eio", "short"] {
        for point in 1..=points {
            let scene = clone_scene(template.path());
            let outcome = call("snapshot", scene.path(), &format!("host:{action}@{point}")).unwrap();
            let left = names(scene.path().join("out"));
            match outcome.as_str() {
                "ok" => assert_eq!(sqlite_load::check(&scene.path().join("out/app.db"), 0).unwrap(), rows),
                "no_space" | "unavailable" => assert!(left.is_empty(), "{action}@{point}: {left:?}"),
                other => panic!("{action}@{point}: {other}"),
            }
            assert!(action == "short" || outcome != "ok" || left.len() == 1, "{action}@{point}");
            assert_eq!(sqlite_load::check(&scene.path().join("app.db"), 0).unwrap(), rows, "{action}@{point}");
        }
    }
}
