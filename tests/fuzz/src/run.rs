//! The short run: seeded mutations of the seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uplifted_ops::testing::random;

use crate::Target;
use crate::mutate::mutate;

/// Runs a target: its seeds, inputs that once were too much for it, and mutations.
///
/// `UPLIFTED_OPS_SEED` plays a run again, `UPLIFTED_OPS_FUZZ_SECONDS` lets it go on for so long.
///
/// # Panics
/// At the first input that the target does not stand. It is kept in a file, which the message names.
pub fn run(target: &Target) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let mut random = random::seeded(target.name);
    let mut corpus = (target.seeds)();
    assert!(!corpus.is_empty(), "{}: there is nothing to begin with", target.name);
    for input in &corpus {
        // A seed that is refused reaches nothing.
        if let Err(error) = (target.read)(input) {
            panic!("{}: a seed is refused: {error}\n{}", target.name, String::from_utf8_lossy(input));
        }
        check(target, input);
    }
    for input in known(target.name) {
        check(target, &input);
        corpus.push(input);
    }
    let until = number("UPLIFTED_OPS_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut done = 0;
    while until.map_or(done < target.short, |until| Instant::now() < until) {
        check(target, &mutate(&mut random, &corpus));
        done += 1;
    }
    println!("{}: {done} mutations of {} inputs", target.name, corpus.len());
}

fn check(target: &Target, input: &[u8]) {
    let what = match catch_unwind(AssertUnwindSafe(|| target.check(input))) {
        Ok(Ok(())) => return,
        Ok(Err(message)) => message,
        Err(_) => "it panicked".to_owned(),
    };
    let file = kept(target.name, input);
    panic!("{}: {what}\nthe input is in {}", target.name, file.display());
}

/// Keeps an input that a target did not stand.
fn kept(name: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz/failed");
    let file = folder.join(format!("{name}-{}", &blake3::hash(input).to_hex()[..12]));
    let _ = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input));
    file
}

/// Inputs that a target once did not stand: `tests/fuzz/known/<target>/`.
fn known(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("known").join(name);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}
