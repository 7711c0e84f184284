//! The README's Rust example is `examples/embed.rs`, and it does what it says.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may unwrap, and sets up its own scene")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const README: &str = include_str!("../../../README.md");
const EMBED: &str = include_str!("../examples/embed.rs");

#[test]
fn the_example_of_the_readme_is_the_one_that_is_run() {
    let (_, rest) = README.split_once("```rust\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    assert!(EMBED.ends_with(shown), "the README shows:\n{shown}");
}

#[test]
fn it_makes_a_backup() {
    let scene = tempfile::tempdir().unwrap();
    fs::create_dir(scene.path().join("data")).unwrap();
    fs::write(scene.path().join("data/note"), "kept").unwrap();
    let settings = "[backup]\ninclude = [\"data\"]\n[[target]]\nname = \"local\"\nkind = \"fs\"\npath = \"backups\"\n";
    fs::write(scene.path().join("ops.toml"), settings).unwrap();
    let made = Command::new(embed()).arg(scene.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(String::from_utf8_lossy(&made.stdout).trim().ends_with("\"complete\""), "{made:?}");
    assert_eq!(fs::read_dir(scene.path().join("backups")).unwrap().flatten().filter(is_archive).count(), 1);
}

fn is_archive(entry: &fs::DirEntry) -> bool {
    entry.path().extension().is_some_and(|extension| extension == "zst")
}

/// Cargo builds examples beside the test's own folder.
fn embed() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples/embed")
}
