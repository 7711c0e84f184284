//! Crash points and injected faults: the backup and the restore are killed, or made to fail, at every write,
//! fsync, rename, creation and removal that they make.
//!
//! A run is traced once to learn its points; then it is repeated from the same scene for each point and each
//! fault. Points are numbered in the order they are passed, and threads may pass them in another order next
//! time: every number is still hit, which is what counts. `UPLIFTED_OPS_CRASH_EVERY=n` tests every n-th point.
//!
//! What a repository goes through has thousands of faults: a sample of them is tried, `UPLIFTED_OPS_CRASH_SAMPLE` of each
//! operation's, and all of them with `UPLIFTED_OPS_CRASH_ALL=1`. The seed of a sample is printed, and
//! `UPLIFTED_OPS_SEED` sets it.
//!
//! `system_calls` does the same one floor lower, where SQLite and the libraries write.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests set up their own scenes")]

mod backup;
mod cancel;
mod collect;
mod copy;
mod drill;
mod keys;
mod places;
mod portable;
mod repository;
mod restore;
mod retain;
mod system_calls;
mod together;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use uplifted_ops::testing::random;
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

const PROGRAM: &str = env!("CARGO_BIN_EXE_under-test");

/// The faults to inject at a point: SIGKILL, a full disk once and for good, a failing device, a short write.
const FAULTS: [&str; 5] = ["kill", "enospc", "enospc+", "eio", "short"];

/// The numbers of the points to test, from 1.
fn points(count: usize) -> impl Iterator<Item = usize> {
    let every = std::env::var("UPLIFTED_OPS_CRASH_EVERY").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (1..=count).step_by(every)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Whether everything is to be tried.
fn all() -> bool {
    number("UPLIFTED_OPS_CRASH_ALL") == Some(1)
}

/// `count` of `plans` by chance, or all of them where that is wanted.
fn sample<T>(what: &str, mut plans: Vec<T>, count: usize) -> Vec<T> {
    if !all() {
        let known = plans.len();
        let count = number("UPLIFTED_OPS_CRASH_SAMPLE").map_or(count, |count| usize::try_from(count).unwrap());
        random::seeded(what).shuffle(&mut plans);
        plans.truncate(count);
        println!("{what}: {} of {known} faults", plans.len());
    } else {
        println!("{what}: all of {} faults", plans.len());
    }
    plans
}

/// Runs `test` for each fault at each point.
fn at_every_point(role: &str, count: usize, test: impl Fn(&str, &str) + Sync) {
    assert!(count > 0, "no point was traced: is the binary built with fault points?");
    let plans: Vec<(String, &str)> =
        points(count).flat_map(|at| FAULTS.iter().map(move |fault| (format!("{role}:{fault}@{at}"), *fault))).collect();
    for_each(&plans, |(plan, fault)| test(plan, fault));
}

/// Runs `test` for each of `plans`, on as many threads as there are cores.
fn for_each<T: Sync>(plans: &[T], test: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            threads.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::SeqCst)) {
                    test(plan);
                }
            });
        }
    });
}

/// Every hidden or temporary thing that a dead run may leave is gone.
fn assert_no_litter(scene: &Scene, plan: &str) {
    let litter = hidden_below(&scene.target());
    assert!(litter.is_empty(), "{plan}: the target keeps {litter:?}");
    let state = scene.root().join(".uplifted-ops");
    let litter = hidden_below(&state.join("cache"));
    assert!(litter.is_empty(), "{plan}: the caches keep {litter:?}");
    let scratch = state.join("scratch");
    let left = fs::read_dir(&scratch)
        .map_or(0, |entries| entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count());
    assert_eq!(left, 0, "{plan}: {} keeps {left} folders", scratch.display());
}

/// The hidden names below a folder.
fn hidden_below(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Tree::of(folder, &[]).0.into_keys().collect();
    found.retain(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
    found
}
