//! What other processes do between and during the copies, and whether our locks hold.

use super::child::Child;
use super::*;
use crate::error::ErrorKind;

/// A WAL database whose rows are partly in the log alone, open in another process.
fn written_by_a_child(scene: &Scene, rows: u32) -> Arc<Child> {
    scene.create("wal", 10);
    filled(Child::open(&scene.db()), rows)
}

/// The same, and the other process has an older engine.
fn written_by_an_older_engine(scene: &Scene, rows: u32) -> Arc<Child> {
    scene.create("wal", 10);
    filled(Child::of_another_engine(&scene.db()), rows)
}

fn filled(child: Child, rows: u32) -> Arc<Child> {
    child.run("PRAGMA wal_autocheckpoint=0");
    child.insert(rows);
    Arc::new(child)
}

#[tokio::test]
async fn the_host_closes_its_last_connection_between_the_copies() {
    let scene = Scene::new();
    let child = written_by_an_older_engine(&scene, 576);
    let closing = Arc::clone(&child);
    let store = scene.store_at(Moment::BetweenCopies, move || closing.close());
    assert_eq!(rows(&snapshot(&store, &scene.out("a")).await), 586);
    // The log could not be removed under our lock, and holds what is not in the main file.
    assert!(scene.data_names().contains(&"app.db-wal".to_owned()));
    assert_eq!(child.run("SELECT count(*) FROM t"), "586");
}

#[tokio::test]
async fn the_host_tries_to_leave_wal_mode_between_the_copies() {
    let scene = Scene::new();
    let child = written_by_an_older_engine(&scene, 100);
    let leaving = Arc::clone(&child);
    let store = scene.store_at(Moment::BetweenCopies, move || {
        let answer = leaving.ask("PRAGMA journal_mode=DELETE");
        assert!(answer.as_deref() == Ok("wal") || answer.is_err(), "{answer:?}");
    });
    assert_eq!(rows(&snapshot(&store, &scene.out("a")).await), 110);
    assert_eq!(child.run("PRAGMA journal_mode=DELETE"), "delete");
}

#[tokio::test]
async fn checkpoints_and_vacuum_between_and_during_the_copies() {
    for act in [
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA wal_checkpoint(RESTART)",
        "PRAGMA wal_checkpoint(PASSIVE)",
        "DELETE FROM t WHERE id > 3000; VACUUM",
        "UPDATE t SET text = hex(randomblob(40)); PRAGMA wal_checkpoint(PASSIVE)",
    ] {
        for moment in [Moment::MainBlock(0), Moment::BetweenCopies, Moment::WalBlock(0), Moment::Copied] {
            let scene = Scene::new();
            let child = written_by_an_older_engine(&scene, 30_000);
            child.run("PRAGMA wal_checkpoint(TRUNCATE)");
            child.insert(30_000);
            let acting = Arc::clone(&child);
            let store = scene.store_at(moment, move || drop(acting.ask(act)));
            let copied = rows(&snapshot(&store, &scene.out("a")).await);
            assert!(copied == 60_010 || (act.starts_with("DELETE") && copied == 3000), "{act} {moment:?}: {copied}");
        }
    }
}

/// The log is in the main file completely, so our reader holds read lock 0 and a writer may start the log over.
#[tokio::test]
async fn the_log_starts_over_while_it_is_copied() {
    for (act, moment) in [
        ("UPDATE t SET text = hex(randomblob(17))", Moment::WalBlock(0)),
        ("UPDATE t SET text = hex(randomblob(17))", Moment::BetweenCopies),
        ("PRAGMA wal_checkpoint(TRUNCATE)", Moment::WalBlock(0)),
        ("PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t (text) VALUES ('x')", Moment::WalBlock(1)),
    ] {
        let scene = Scene::new();
        let child = written_by_a_child(&scene, 20_000);
        child.run("PRAGMA wal_checkpoint(TRUNCATE)");
        // Small transactions at the beginning of the log, then others on the same pages: were the beginning alone
        // replayed over the main file, it would turn those pages back, and the index would disagree.
        for third in [0, 1, 2] {
            child.run(&format!("UPDATE t SET text = hex(randomblob(16)) WHERE id < 100 AND id % 3 = {third}"));
        }
        child.run("UPDATE t SET text = hex(randomblob(16)); UPDATE t SET text = hex(randomblob(16))");
        child.run("PRAGMA wal_checkpoint(PASSIVE)");
        assert!(scene.folder.path().join("data/app.db-wal").metadata().unwrap().len() > 3 << 20);
        let acting = Arc::clone(&child);
        let once = std::sync::Once::new();
        let store = scene.store_at(moment, move || once.call_once(|| drop(acting.run(act))));
        let copied = rows(&snapshot(&store, &scene.out("a")).await);
        assert!((20_010..=20_011).contains(&copied), "{act} {moment:?}: {copied}");
    }
}

/// The kernel's own word: at every moment of a copy our process holds the shared lock on the main file and a read
/// lock on the `-shm`.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn our_locks_are_held_from_the_first_block_to_the_last() {
    for mode in ["wal", "delete"] {
        let scene = Scene::new();
        scene.create(mode, 0);
        let child = Child::open(&scene.db());
        child.insert(40_000);
        let (main, shm) = (scene.db(), live::beside(&scene.db(), "-shm"));
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let moments = Arc::clone(&seen);
        let at = move |moment| {
            let held = |path: &Path, range: &str| {
                use std::os::unix::fs::MetadataExt;
                let Ok(inode) = path.metadata().map(|meta| format!(":{} ", meta.ino())) else { return false };
                let ours = format!("READ  {} ", std::process::id()).replace("  ", " ");
                std::fs::read_to_string("/proc/locks").unwrap().lines().any(|line| {
                    let line = line.split_whitespace().collect::<Vec<_>>().join(" ") + " ";
                    line.contains(&ours) && line.contains(&inode) && line.contains(range)
                })
            };
            assert!(held(&main, " 1073741826 1073742335 "), "{moment:?}: the shared lock on the main file");
            // Bytes 123 to 127 of the -shm are the read locks.
            assert!(mode == "delete" || (123..128).any(|byte| held(&shm, &format!(" {byte} {byte} "))), "{moment:?}");
            moments.lock().unwrap().push(moment);
        };
        let store = scene.store_with(serde_json::json!({}), Seams { at: Some(Arc::new(at)), space: None });
        assert_eq!(rows(&snapshot(&store, &scene.out("a")).await), 40_000);
        let seen = seen.lock().unwrap();
        assert!(seen.contains(&Moment::MainBlock(0)) && seen.contains(&Moment::Copied), "{seen:?}");
        drop(child);
    }
}

/// What the rule about descriptors prevents: our own process closes one, and its locks are gone.
#[tokio::test]
async fn a_lost_lock_is_noticed() {
    let scene = Scene::new();
    let child = written_by_an_older_engine(&scene, 576);
    let (closing, path) = (Arc::clone(&child), scene.db());
    let store = scene.store_at(Moment::BetweenCopies, move || {
        drop(std::fs::File::open(&path).unwrap());
        closing.close();
    });
    let out = scene.out("a");
    let error = store.snapshot_to(&Scope::default(), &out).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(names(&out).is_empty());
}

/// A process in the middle of a write keeps its lock whatever we do beside it.
#[tokio::test]
async fn a_writers_lock_survives_our_work() {
    for mode in ["wal", "delete"] {
        let scene = Scene::new();
        scene.create(mode, 100);
        let (writer, rival) = (Child::open(&scene.db()), Child::open(&scene.db()));
        writer.run("BEGIN IMMEDIATE; INSERT INTO t (text) VALUES ('mine')");
        let store = scene.store();
        for name in ["a", "b", "c"] {
            assert_eq!(rows(&snapshot(&store, &scene.out(name)).await), 100);
            store.stats(&Scope::default()).await.unwrap();
            assert!(store.verify(&Scope::default(), CheckDepth::Quick).await.unwrap().ok);
            assert!(rival.ask("BEGIN IMMEDIATE").unwrap_err().contains("locked"), "{mode}");
        }
        writer.run("COMMIT");
        assert_eq!(rival.run("SELECT count(*) FROM t"), "101");
    }
}

/// Tasks of this process on one file, under two names, wait for each other; otherwise the one that ends first
/// would take the other's locks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_of_one_process_wait_for_each_other() {
    let scene = Scene::new();
    let child = written_by_an_older_engine(&scene, 300);
    std::os::unix::fs::symlink("app.db", scene.folder.path().join("data/alias.db")).unwrap();
    let other = scene.store_with(serde_json::json!({ "path": "data/alias.db" }), Seams::default());
    let runtime = tokio::runtime::Handle::current();
    let (closing, started) = (Arc::clone(&child), Arc::new(std::sync::Barrier::new(2)));
    let store = scene.store_at(Moment::BetweenCopies, move || {
        let (other, started_too) = (other.clone(), Arc::clone(&started));
        runtime.spawn(async move {
            started_too.wait();
            other.stats(&Scope::default()).await
        });
        started.wait();
        // Long enough for a task that does not wait to be done; a shorter time could only hide the defect.
        std::thread::sleep(std::time::Duration::from_millis(100));
        closing.close();
    });
    assert_eq!(rows(&snapshot(&store, &scene.out("a")).await), 310);
}
