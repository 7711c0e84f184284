//! Streams as earlier versions wrote them, kept in this folder: every later version goes back to each moment of them.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::backup::blocks::read_object;

/// What a version wrote: a folder of objects, and the lines of the ledger at some moments.
fn folder(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/continuous/tests/version-{version}"))
}

/// Writes a fixture: `UPLIFTED_OPS_WRITE_FIXTURE=2 cargo test -p uplifted-ops --lib streams_are_written`. Only ever for a new
/// version of the format, into a folder of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_are_written_when_asked_for() {
    let Ok(version) = std::env::var("UPLIFTED_OPS_WRITE_FIXTURE") else { return };
    let folder = folder(version.parse().unwrap());
    assert!(!folder.exists(), "the fixture of a version never changes");
    let scene = Scene::new();
    scene.back_up().await;
    let following = scene.follow().await;
    until("a stream", async || !scene.segments().is_empty()).await;
    scene.back_up().await;
    let mut moments = Vec::new();
    for number in 0..6 {
        moments.push((scene.commit(&format!("line {number}")).await, scene.ledger().lines().unwrap()));
    }
    following.kill().await;
    // Several put together, and some by themselves.
    plans::put_all_together(&scene).await;
    let following = scene.follow().await;
    for number in 6..9 {
        moments.push((scene.commit(&format!("line {number}")).await, scene.ledger().lines().unwrap()));
    }
    following.stop().await;
    for key in scene.memory.keys().into_iter().filter(|key| !key.starts_with("locks/")) {
        let path = folder.join("target").join(&key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, read_object(&Scope::default(), &scene.memory, &key, u64::MAX).await.unwrap()).unwrap();
    }
    let moments: BTreeMap<String, Vec<String>> =
        moments.into_iter().map(|(moment, lines)| (moment.to_string(), lines)).collect();
    std::fs::write(folder.join("moments.json"), serde_json::to_vec_pretty(&moments).unwrap()).unwrap();
}

/// Puts what is below `from` into the target of `scene`.
async fn fill(scene: &Scene, from: &Path) {
    let mut waiting = vec![from.to_owned()];
    while let Some(at) = waiting.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let key = path.strip_prefix(from).unwrap().to_str().unwrap();
            scene.memory.put(&Scope::default(), key, &std::fs::read(&path).unwrap(), false).await.unwrap();
        }
    }
}

async fn comes_back(version: u32) {
    let scene = Scene::new();
    fill(&scene, &folder(version).join("target")).await;
    let text = std::fs::read_to_string(folder(version).join("moments.json")).unwrap();
    let moments: BTreeMap<String, Vec<String>> = serde_json::from_str(&text).unwrap();
    let view = scene.view().await;
    assert_eq!(view.stores[0].runs.len(), 1, "{:?}", view.stores[0]);
    assert_eq!(moments.len(), 9);
    for (moment, lines) in moments {
        assert_eq!(scene.go_back_in(&view, moment.parse().unwrap()).await.unwrap(), lines, "{moment}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_of_version_1_come_back() {
    comes_back(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_of_version_2_come_back() {
    comes_back(2).await;
}
