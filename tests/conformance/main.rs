//! The conformance cases, through Rust. `README.md` beside this says how they are written; `runner.py` and
//! `runner.mjs` run the same ones.

#![allow(clippy::disallowed_methods, reason = "tests set up their own scenes")]

mod config;
mod expect;
mod given;
mod operations;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use uplifted_ops::ops::operations as table;

/// Longer than any case takes: only a hang meets it.
const HANG: Duration = Duration::from_secs(120);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// Every case of `area`, with its file's name, in the order of files and cases.
fn cases(area: &str) -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder().join(area)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let list: Vec<Value> = serde_json::from_slice(&fs::read(&file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = format!("{area}/{}", file.file_name().unwrap().to_str().unwrap());
        cases.extend(list.into_iter().map(|case| (name.clone(), case)));
    }
    cases
}

/// Runs `case` on a thread, for at most [`HANG`].
fn guarded(run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(run()));
    told.recv_timeout(HANG).unwrap_or_else(|_| Err("panicked, or took longer than two minutes".to_owned()))
}

/// Runs all cases and writes the list that `compare.py` compares.
#[test]
fn every_case() {
    let only = std::env::var("CONFORMANCE_ONLY").ok();
    let mut list = String::new();
    let mut failures = Vec::new();
    let mut names = BTreeSet::new();
    let operations = cases("operations").into_iter().map(|(file, case)| (file, case, true));
    let config = cases("config").into_iter().filter(|(file, _)| file == "config/environment.json");
    for (file, case, operation) in operations.chain(config.map(|(file, case)| (file, case, false))) {
        let name = format!("{file}::{}", case["name"].as_str().unwrap());
        assert!(names.insert(name.clone()), "{name} is there twice");
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let lacking = given::lacking(&case);
        let outcome = match (lacking, operation) {
            (Some(need), _) => Ok(format!("skipped: {need}")),
            (None, true) => guarded(move || operations::run(&case)).map(|()| "ok".to_owned()),
            (None, false) => guarded(move || config::run(&case)).map(|()| "ok".to_owned()),
        };
        let status = outcome.clone().unwrap_or_else(|_| "failed".to_owned());
        writeln!(list, "{name} -> {status}").unwrap();
        failures.extend(outcome.err().map(|why| format!("{name}\n    {why}")));
    }
    if only.is_none() {
        let out =
            std::env::var_os("CONFORMANCE_OUT").map_or_else(|| folder().join("../../target/conformance"), Into::into);
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("cargo.txt"), list).unwrap();
    }
    assert!(failures.is_empty(), "{} cases failed\n{}", failures.len(), failures.join("\n"));
}

/// `requests.json` is what the tests of each language ask every operation of the table with.
#[test]
fn every_operation_has_a_request() {
    let file: Value = serde_json::from_slice(&fs::read(folder().join("requests.json")).unwrap()).unwrap();
    let asked: BTreeSet<&str> = file["requests"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(asked, table().map(|entry| entry.name).collect());
}

/// What no case can expect, because the runners have no server for it: its success is shown end to end (`e2e/postgres.rs`).
const NEEDS_A_SERVER: [&str; 4] = [
    "restore.database: response",
    "restore.swap: response",
    "restore.swap_discard: response",
    "restore.swap_undo: response",
];

#[test]
fn every_operation_has_a_case_of_success_and_one_of_an_error() {
    let cases = cases("operations");
    let steps: Vec<Value> = cases.iter().flat_map(|(_, case)| operations::steps(case)).collect();
    let mut lacking = Vec::new();
    for entry in table() {
        let of = |what: &str| {
            steps.iter().any(|step| step["call"]["operation"] == entry.name && step["expect"].get(what).is_some())
        };
        lacking.extend(
            ["response", "error"].iter().filter(|what| !of(what)).map(|what| format!("{}: {what}", entry.name)),
        );
    }
    lacking.retain(|lacking| !NEEDS_A_SERVER.contains(&lacking.as_str()));
    assert!(lacking.is_empty(), "no case expects\n{}", lacking.join("\n"));
}
