//! Followers that are killed, and writers that never rest.

use std::process::Stdio;

use super::*;
use crate::store::sqlite::tests::load::Writer;
use crate::testing::random;
use crate::testing::sqlite_load::{self, Load};

const ENV: &str = "UPLIFTED_OPS_SQLITE_FOLLOW";

/// What a follower in another process puts on its shelf, a file: length, then a record.
fn append(shelf: &mut std::fs::File, increment: &Increment) {
    use std::io::Write;
    let head = serde_json::json!([
        increment.from,
        increment.to,
        increment.continuity,
        increment.points,
        increment.since,
        increment.until,
        increment.payload.len()
    ])
    .to_string();
    let mut record = (head.len() as u32).to_le_bytes().to_vec();
    record.extend(head.as_bytes());
    record.extend(&increment.payload);
    shelf.write_all(&record).unwrap();
}

/// What is on it. What was not written to its end was not stored; who goes on behind it cuts it off.
pub(super) fn load(path: &Path, goes_on: bool) -> Shelf {
    let bytes = std::fs::read(path).unwrap_or_default();
    let (mut shelf, mut at) = (Shelf::default(), 0);
    while let Some(len) = bytes.get(at..at + 4) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        let Some(head) = bytes.get(at + 4..at + 4 + len) else { break };
        let (from, to, continuity, points, since, until, size): (_, _, _, _, _, _, usize) =
            serde_json::from_slice(head).unwrap();
        let Some(payload) = bytes.get(at + 4 + len..at + 4 + len + size) else { break };
        at += 4 + len + size;
        shelf.0.push(Increment { from, to, continuity, points, since, until, payload: payload.to_vec() });
    }
    if goes_on && path.exists() {
        std::fs::File::options().write(true).open(path).unwrap().set_len(at as u64).unwrap();
    }
    for pair in shelf.0.windows(2) {
        assert_eq!(pair[0].to, pair[1].from);
    }
    shelf
}

/// The process that follows until it is killed or its input ends; without the variable, nothing.
#[tokio::test(flavor = "multi_thread")]
async fn follow_to_a_file() {
    let Ok(value) = std::env::var(ENV) else { return };
    let (root, limit): (PathBuf, u64) = serde_json::from_str(&value).unwrap();
    let path = root.join("shelf");
    let shelf = load(&path, true);
    let context =
        BuildContext { name: "main".into(), state: root.join("state"), root: root.clone(), service: "shop".into() };
    let settings = serde_json::json!({ "path": "data/app.db", "busy_timeout_seconds": 60, "keep_free_bytes": 0 });
    let store = SqliteStore::new(&context, context.settings(settings.as_object().unwrap()).unwrap()).unwrap();
    let cache = root.join("cache");
    std::fs::create_dir_all(&cache).unwrap();
    let request = FollowRequest { resume: shelf.resume(), cache, log_limit_bytes: limit };
    let mut follower = store.follow(&Scope::default(), request).await.unwrap();
    let mut out = std::fs::File::options().append(true).create(true).open(path).unwrap();
    println!("@@follows");
    let ended = tokio::task::spawn_blocking(|| std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new()));
    loop {
        let patience = if ended.is_finished() { QUIET } else { Duration::from_millis(50) };
        match follower.next(&Scope::default(), patience).await.unwrap() {
            Some(increment) => {
                append(&mut out, &increment);
                follower.stored(&Scope::default(), &increment.to).await.unwrap();
            }
            None if ended.is_finished() => break,
            None => {}
        }
    }
}

/// A follower in another process.
pub(super) fn follower(scene: &Scene, limit: u64) -> std::process::Child {
    use std::io::{BufRead, BufReader};
    let value = serde_json::json!([scene.folder.path(), limit]).to_string();
    let mut process = super::super::child::again_in(module_path!(), "follow_to_a_file", ENV, &value)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
    assert!(lines.map(|line| line.unwrap()).any(|line| line.contains("@@follows")), "it follows");
    process
}

async fn killed(load_of: impl Fn(Load) -> Load, limit: u64, rounds: u32) {
    let mut random = random::seeded("followers killed under load");
    let scene = Scene::new();
    std::fs::create_dir(scene.folder.path().join("data")).unwrap();
    let writer = Writer::start(load_of(Load::new(&scene.db(), random.u64(..)))).await;
    let mut bases = Vec::new();
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let mut follower = follower(&scene, limit);
        if round % 5 == 0 {
            // In the first round it must have begun before the copy does.
            while load_points(&scene) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            bases.push(copy(&scene, &format!("base-{round}")));
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..800))).await;
        follower.kill().unwrap();
        follower.wait().unwrap();
        // Now and then nobody follows for as long as the log takes to start over.
        if random.u32(0..4) == 0 {
            tokio::time::sleep(Duration::from_millis(random.u64(0..300))).await;
        }
        // Counted first: what is committed in between is younger than the moment.
        let count = writer.acknowledged();
        acknowledged.push((Timestamp::now(), count));
    }
    let mut last = follower(&scene, limit);
    let before = writer.acknowledged();
    writer.stop();
    // Its input ends: it takes what is there and stops.
    drop(last.stdin.take());
    assert!(last.wait().unwrap().success());
    let shelf = load(&scene.folder.path().join("shelf"), false);
    let breaks = shelf.breaks();
    println!("{} increments, {} points, {} breaks", shelf.0.len(), shelf.points().len(), breaks.len());
    assert!(breaks[1..].iter().all(|reason| reason.starts_with("difference: ")), "{breaks:?}");
    for base in &bases {
        let file = scene.roll(base, &shelf, Until::End).await.unwrap();
        sqlite_load::check(&file, before).unwrap();
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
    // Any point is a state that was there, and has what was committed before it was looked for.
    let points = shelf.points();
    for _ in 0..20 {
        let base = &bases[random.usize(..bases.len())];
        let increments: Vec<&Increment> = shelf.0.iter().filter(|i| i.until > base.1 && !i.points.is_empty()).collect();
        let increment = increments[random.usize(..increments.len())];
        let point = increment.points.last().unwrap();
        let file = match scene.roll(base, &shelf, Until::Position(point.position.clone())).await {
            Ok(file) => file,
            // The copy was still being taken at that moment.
            Err(error) if error.kind() == crate::error::ErrorKind::Corrupt => {
                let late = increments.iter().position(|i| i.to == increment.to).unwrap();
                assert!(late < 20, "{error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let at_least = acknowledged.iter().filter(|(time, _)| *time <= increment.until).map(|(_, count)| *count).max();
        sqlite_load::check(&file, at_least.unwrap_or(0)).unwrap();
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
    assert!(points.len() as u32 > rounds / 3, "{}", points.len());
}

fn load_points(scene: &Scene) -> usize {
    load(&scene.folder.path().join("shelf"), false).points().len()
}

/// How many rounds: more of them by hand.
fn rounds() -> u32 {
    std::env::var("UPLIFTED_OPS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[tokio::test]
async fn killed_followers_of_a_writer_that_never_rests() {
    killed(|load| Load { reopen: Some(400), ..load }, 1 << 20, rounds()).await;
}

#[tokio::test]
async fn killed_followers_of_a_writer_that_checkpoints() {
    killed(|load| Load { checkpoint: Some((50, "TRUNCATE".into())), page_size: 1024, ..load }, 1 << 20, rounds()).await;
}

#[tokio::test]
async fn killed_followers_of_a_writer_that_vacuums() {
    killed(|load| Load { vacuum: Some(100), transactions_per_second: 200, ..load }, 4 << 20, rounds()).await;
}
