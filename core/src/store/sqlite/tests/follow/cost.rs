//! What a follower costs the writer, measured by hand on a quiet machine, in a release build:
//! `cargo test --release -p uplifted-ops --lib cost_to_the_writer -- --ignored --nocapture`.

use super::load::follower;
use super::*;
use crate::clock::{Clock, SystemClock};

const ENV: &str = "UPLIFTED_OPS_SQLITE_COMMITS";
/// Commits of one measurement.
const COMMITS: u32 = 5000;

/// The writer in a process of its own: commits so many a second, and says how long they took, in microseconds.
#[test]
fn commit_and_measure() {
    let Ok(value) = std::env::var(ENV) else { return };
    let (path, a_second): (PathBuf, u32) = serde_json::from_str(&value).unwrap();
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA synchronous=NORMAL; CREATE TABLE IF NOT EXISTS w (id INTEGER PRIMARY KEY, a, b)").unwrap();
    db.execute_batch("CREATE INDEX IF NOT EXISTS wa ON w (a)").unwrap();
    let mut insert = db.prepare("INSERT INTO w (a, b) VALUES (random(), randomblob(300))").unwrap();
    let started = SystemClock.monotonic();
    let mut took: Vec<u128> = (0..COMMITS)
        .map(|number| {
            let due = started + Duration::from_secs(1) * number / a_second;
            if let Some(early) = due.checked_sub(SystemClock.monotonic()) {
                std::thread::sleep(early);
            }
            let before = SystemClock.monotonic();
            insert.execute([]).unwrap();
            (SystemClock.monotonic() - before).as_micros()
        })
        .collect();
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!("@@took {} {} {} {}", at(0.5), at(0.99), at(0.999), at(1.0));
}

/// Seconds of processor that a process used.
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = [11, 12].map(|at: usize| fields[at].parse::<f64>().unwrap()).iter().sum();
    ticks / 100.0
}

#[test]
#[ignore = "a measurement"]
fn cost_to_the_writer() {
    for round in 0..3 {
        for a_second in [500, 5000] {
            for limit in [None, Some(8 << 20), Some(64_u64 << 20)] {
                let scene = Scene::new();
                scene.create("wal", 10);
                Child::open(&scene.db()).insert(50_000);
                let follower = limit.map(|limit| follower(&scene, limit));
                std::thread::sleep(Duration::from_millis(500));
                let before = follower.as_ref().map(|follower| processor_seconds(follower.id()));
                let value = serde_json::json!([scene.db(), a_second]).to_string();
                let output =
                    super::super::child::again_in(module_path!(), "commit_and_measure", ENV, &value).output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let took = text.lines().find_map(|line| line.split_once("@@took ")).unwrap().1.to_owned();
                let used = follower.as_ref().map(|follower| processor_seconds(follower.id()) - before.unwrap());
                println!("{round}: {a_second}/s, limit {limit:?}: p50 p99 p99.9 max {took} us, follower {used:?} s");
                if let Some(mut follower) = follower {
                    drop(follower.stdin.take());
                    follower.wait().unwrap();
                    let shelf = super::load::load(&scene.folder.path().join("shelf"), false);
                    let bytes: usize = shelf.0.iter().map(|increment| increment.payload.len()).sum();
                    println!("  {} increments, {} bytes, {} breaks", shelf.0.len(), bytes, shelf.breaks().len());
                }
            }
        }
    }
}
