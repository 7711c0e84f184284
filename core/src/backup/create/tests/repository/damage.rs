//! Packs that a disk has damaged in place: who finds them, and what the next run does about it.

use super::pages::{change, database};
use super::*;
use crate::backup::checkers::Checkers;
use crate::backup::repository::names;
use crate::backup::sample::{SampleJob, sample};
use crate::backup::verify::{VerifyDepth, VerifyJob, verify};

/// Who reads packs.
#[derive(Debug, Clone, Copy)]
enum Finder {
    Verify(VerifyDepth),
    Sample,
}

impl Scene {
    fn targets(&self) -> Vec<NamedTarget> {
        self.job().targets
    }

    fn state(&self) -> PathBuf {
        self.root().join(".uplifted-ops")
    }

    /// Whether nothing is wrong with what is there.
    async fn is_whole(&self, finder: Finder) -> bool {
        let scratch = tempfile::tempdir().unwrap();
        match finder {
            Finder::Verify(depth) => {
                let job = VerifyJob {
                    targets: self.targets(),
                    service: None,
                    snapshot: "latest".into(),
                    depth,
                    scratch: scratch.path().to_owned(),
                    scratch_in_memory: true,
                    checkers: Checkers { kinds: self.repository_job().kinds, live: Vec::new() },
                    threads: 2,
                    keys: None,
                    state: self.state(),
                };
                verify(&later(0), job).await.unwrap().ok
            }
            Finder::Sample => {
                // The last one is so long ago that everything is due.
                let scope = later(1000);
                let last = scope.clock.now() - jiff::SignedDuration::from_hours(48);
                let job = SampleJob {
                    reached: self.targets().into_iter().map(|(name, _)| (name, last)).collect(),
                    targets: self.targets(),
                    keys: None,
                    days: 1.0,
                    max_bytes: None,
                    clean_since: Default::default(),
                    state: self.state(),
                };
                let report = sample(&scope, job).await.unwrap();
                assert!(report.failed.is_empty(), "{report:?}");
                report.ok
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_a_damaged_pack_is_stored_anew_once_somebody_has_read_it() {
    for finder in [Finder::Verify(VerifyDepth::Data), Finder::Verify(VerifyDepth::Full), Finder::Sample] {
        let mut random = random::seeded("damaged packs");
        let scene = many();
        let path = scene.root().join("data/app.db");
        database(&path, 4096, 3000, &mut random);
        scene.back_up(1).await;
        change(&path, 20, &mut random);
        scene.back_up(2).await;
        let packs: Vec<(String, Vec<u8>)> =
            scene.keys(names::PACKS).into_iter().map(|key| (key.clone(), scene.bytes(&key))).collect();
        for (pack, _) in &packs {
            scene.memory.tamper(pack, |bytes| bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 1));
        }
        // A run does not read packs, and cannot know.
        scene.back_up(3).await;
        assert!(!scene.is_whole(finder).await, "{finder:?}");
        let (report, _) = scene.back_up(4).await;
        assert!(report.is_healthy() && report.stored_bytes > 1 << 20, "{finder:?}: {report:?}");
        let (_, into) = restore_memory(&scene).await;
        same(&scene.root(), into.path());
        assert!(scene.is_whole(Finder::Verify(VerifyDepth::Full)).await, "{finder:?}");
        // What was put back in order is used again.
        for (pack, bytes) in &packs {
            scene.memory.tamper(pack, |now| now.clone_from(bytes));
        }
        let (report, _) = scene.back_up(5).await;
        assert!(report.stored_bytes < 100_000, "{finder:?}: {report:?}");
    }
}
