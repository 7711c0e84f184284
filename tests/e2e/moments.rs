//! Back to any moment of a database that is followed, by real processes: a service that commits rows and notes when, a host
//! whose worker is stopped, and which is killed together with it, again and again. What comes back for a moment is what was
//! committed then, or it is refused.
//!
//! `UPLIFTED_OPS_ROUNDS` sets how often the followers are disturbed (4); ten moments are asked for each.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use uplifted_ops::clock::Timestamp;
use uplifted_ops::testing::random::{Rng, seeded};
use uplifted_ops_tests::scene::Scene;

use super::PROGRAM;

/// What may be missing of what was committed before a moment, as the README promises.
const TOLERANCE: Duration = Duration::from_secs(1);

/// A moment of this machine's clock, since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn text(moment: Duration) -> String {
    let seconds = i64::try_from(moment.as_secs()).unwrap();
    Timestamp::new(seconds, moment.subsec_nanos().cast_signed()).unwrap().to_string()
}

/// A row was committed after the first and before the second.
type Row = (Duration, Duration);

/// Commits rows until told to end, at times a thousand a second, at times none for a while.
fn write(scene: &Scene, seed: u64, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<Row>> {
    let db = scene.database();
    let mut random = Rng::with_seed(seed);
    std::thread::spawn(move || {
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute_batch("PRAGMA synchronous=OFF; CREATE TABLE row (id INTEGER PRIMARY KEY, filler BLOB)").unwrap();
        let mut insert = db.prepare("INSERT INTO row (filler) VALUES (randomblob(?))").unwrap();
        let mut rows = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..random.u32(1..60) {
                let before = now();
                insert.execute([random.u32(1..3000)]).unwrap();
                rows.push((before, now()));
                std::thread::sleep(Duration::from_micros(random.u64(0..8000)));
            }
            if random.u32(0..12) == 0 {
                std::thread::sleep(Duration::from_millis(random.u64(0..1500)));
            }
        }
        rows
    })
}

/// The process of the service that follows.
struct Host(Child);

impl Host {
    fn start(scene: &Scene) -> Self {
        let mut command = Command::new(scene.program());
        command.arg("--root").arg(scene.root()).args(["schedule", "serve"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// The processes that it started.
    fn workers(&self) -> Vec<u32> {
        let children = format!("/proc/{0}/task", self.0.id());
        let Ok(tasks) = std::fs::read_dir(children) else { return Vec::new() };
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
        lists
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
            .collect()
    }

    fn signal_workers(&self, signal: &str) {
        for pid in self.workers() {
            let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Host {
    /// Both at once, as when the machine's power is gone.
    fn drop(&mut self) {
        self.signal_workers("-KILL");
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn timeline(scene: &Scene) -> Value {
    scene.call("restore.points", &json!({})).json["stores"][0].clone()
}

/// Waits until what is committed from now on comes back.
fn wait_for_base(scene: &Scene) {
    let began = Instant::now();
    loop {
        let line = timeline(scene);
        let covers = line["coverage"].as_array().is_some_and(|spans| !spans.is_empty());
        if covers && line["gaps"].as_array().is_some_and(|gaps| gaps.iter().all(|gap| !gap["until"].is_null())) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{line}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_comes_back_for_a_moment_was_committed_then() {
    let rounds: u64 = std::env::var("UPLIFTED_OPS_ROUNDS").map_or(4, |text| text.parse().unwrap());
    let mut random = seeded("moments of a database that is followed");
    let scene = Scene::small(PROGRAM);
    scene.configure("\n[continuous]\nstores = [\"main\"]\nship_seconds = 0.2\n");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = write(&scene, random.u64(..), Arc::clone(&stop));
    let mut host = Some(Host::start(&scene));
    wait_for_base(&scene);
    let began = now();
    // When nobody looked, roughly.
    let mut disturbed = Vec::new();
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(random.u64(300..2500)));
        let pause = Duration::from_millis(random.u64(100..5000));
        let from = now();
        if random.bool() {
            drop(host.take());
            std::thread::sleep(pause);
            host = Some(Host::start(&scene));
        } else {
            let host = host.as_ref().unwrap();
            host.signal_workers("-STOP");
            std::thread::sleep(pause / 2);
            host.signal_workers("-CONT");
        }
        disturbed.push((from, now()));
    }
    std::thread::sleep(Duration::from_secs(5));
    let end = now();
    drop(host);
    stop.store(true, Ordering::Relaxed);
    let rows = writer.join().unwrap();

    let (mut back, mut refused, mut oldest) = (0, 0, Duration::ZERO);
    let mut worst = String::new();
    for number in 0..rounds * 10 {
        let span = u64::try_from((end - began).as_millis()).unwrap();
        // Half of them where it hurts.
        let at = if number % 2 == 0 {
            began + Duration::from_millis(random.u64(0..span))
        } else {
            let (from, until) = disturbed[random.usize(..disturbed.len())];
            let around = u64::try_from((until - from).as_millis()).unwrap() + 3000;
            from + Duration::from_millis(random.u64(0..around)) - Duration::from_secs(1)
        };
        let into = scene.beside(&format!("at-{number}"));
        let answer = scene.call("restore.apply", &json!({ "at": text(at), "into": into }));
        if answer.status != Some(0) {
            let kind = answer.error_kind().to_owned();
            // Refused with the plan, or by the checksum where the copy is younger than that.
            assert!(["not_found", "corrupt"].contains(&kind.as_str()), "{}: {}", text(at), answer.json);
            refused += 1;
            continue;
        }
        let db = rusqlite::Connection::open(into.join("data/uplifted.db")).unwrap();
        let (count, last): (u32, u32) = db
            .query_row("SELECT count(*), coalesce(max(id), 0) FROM row", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(count, last, "rows have no holes at {}", text(at));
        let count = usize::try_from(count).unwrap();
        if let Some(youngest) = count.checked_sub(1) {
            let (before, _) = rows[youngest];
            assert!(before <= at, "{}: row {count} came {:?} later", text(at), before - at);
        }
        // The first that is missing.
        if let Some((_, after)) = rows.get(count).filter(|(_, after)| *after < at) {
            let age = at - *after;
            assert!(age <= TOLERANCE, "{}: row {} of {age:?} before it is missing", text(at), count + 1);
            if age > oldest {
                (oldest, worst) = (age, text(at));
            }
        }
        back += 1;
        drop(db);
        std::fs::remove_dir_all(&into).unwrap();
    }
    let line = timeline(&scene);
    println!("{back} came back, {refused} were refused; at most {oldest:?} were missing ({worst}); {}", line["gaps"]);
    assert!(back >= rounds * 3, "{back} came back, {refused} were refused: {line}");
}
