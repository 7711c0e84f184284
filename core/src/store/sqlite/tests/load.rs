//! Copies under a writer in another process, checked by its invariant.

use std::process::Stdio;
use std::time::Duration;

use super::child::again;
use super::*;
use crate::testing::random;
use crate::testing::sqlite_load::{self, ENV, Load};

/// The writer; ends when dropped.
pub(super) struct Writer {
    process: std::process::Child,
    load: Load,
}

impl Writer {
    pub(super) async fn start(load: Load) -> Self {
        load.create().unwrap();
        let json = serde_json::to_string(&load).unwrap();
        let process = again("load", ENV, &json).stdout(Stdio::null()).spawn().unwrap();
        let writer = Self { process, load };
        while writer.acknowledged() < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        writer
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.load.acknowledged().unwrap().unwrap_or(0)
    }

    /// Ends the writer and says whether it was content to the end.
    pub(super) fn stop(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn scene() -> Scene {
    let scene = Scene::new();
    std::fs::create_dir(scene.folder.path().join("data")).unwrap();
    scene
}

async fn copies(load: impl Fn(Load) -> Load, count: u32) {
    let mut random = random::seeded("copies under load");
    let scene = scene();
    let writer = Writer::start(load(Load::new(&scene.db(), random.u64(..)))).await;
    let store = scene.store_with(serde_json::json!({ "busy_timeout_seconds": 60 }), Seams::default());
    for number in 0..count {
        let before = writer.acknowledged();
        let copy = snapshot(&store, &scene.out(&number.to_string())).await;
        sqlite_load::check(&copy, before).unwrap();
        std::fs::remove_file(copy).unwrap();
    }
    writer.stop();
}

#[tokio::test]
async fn thirty_copies_under_load_are_consistent() {
    copies(|load| Load { checkpoint: Some((50, "PASSIVE".into())), ..load }, 6).await;
    copies(|load| Load { checkpoint: Some((3, "TRUNCATE".into())), transactions_per_second: 2000, ..load }, 6).await;
    copies(|load| Load { checkpoint: Some((7, "RESTART".into())), page_size: 512, ..load }, 6).await;
    copies(|load| Load { reopen: Some(2), vacuum: Some(40), page_size: 65536, ..load }, 6).await;
    copies(|load| Load { journal_mode: "delete".into(), vacuum: Some(30), transactions_per_second: 100, ..load }, 6)
        .await;
}

/// Snapshots, stats and checks at once, as fast as they go, while the writer closes its last connection and
/// truncates the log whenever it can. Were one task of ours to take another's locks, a copy would lack rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn our_own_tasks_take_no_lock_from_each_other() {
    let scene = Arc::new(scene());
    let load = Load { reopen: Some(1), transactions_per_second: 1000, ..Load::new(&scene.db(), 7) };
    let writer = Arc::new(Writer::start(load).await);
    let store = scene.store_with(serde_json::json!({ "busy_timeout_seconds": 60 }), Seams::default());
    let beside = [0, 1].map(|which| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                match which {
                    0 => drop(store.stats(&Scope::default()).await.unwrap()),
                    _ => assert!(store.verify(&Scope::default(), CheckDepth::Quick).await.unwrap().ok),
                }
            }
        })
    });
    for number in 0..20 {
        let before = writer.acknowledged();
        let copy = snapshot(&store, &scene.out(&number.to_string())).await;
        sqlite_load::check(&copy, before).unwrap();
    }
    for task in beside {
        task.await.unwrap();
    }
    Arc::into_inner(writer).unwrap().stop();
}
