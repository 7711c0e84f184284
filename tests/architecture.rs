//! The floors of the house: a module imports only from floors below its own.
//!
//! The table is the one in the design. The test reads the sources as text, finds every `crate::room` path
//! and `super` chain that leaves a room, and fails on one that climbs or stays on its own floor.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor. A room on a floor knows nothing of its neighbours.
const FLOORS: &[&[&str]] = &[
    &["error", "clock", "cancel", "value", "fs", "process", "tls"],
    &["config", "component", "journal"],
    &["store", "metrics", "logs", "schedule"],
    &["health", "backup"],
    &["continuous"],
    &["alerts", "maintenance", "security", "capacity", "incident"],
    &["ops", "api", "http", "embed", "remote", "cli", "worker", "testing", "bin"],
];

/// The top floor and the ground floor are each one household: their rooms may use each other.
const HOUSEHOLDS: &[usize] = &[0, 6];

/// Contracts: what they may import beside their own parts.
const CONTRACT_FILES: &[(&str, usize)] =
    &[("store/mod.rs", 1), ("backup/target.rs", 1), ("health/mod.rs", 1), ("metrics/sink.rs", 1)];

fn core_src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src")
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The source without comments and without what only tests see (from `#[cfg(test)]` on: by our habit the
/// tests are the last thing in a file).
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The rooms that `crate::…` paths in `code` name, grouped imports included, with the line of each.
fn rooms_named(code: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` and `my_crate::` are somebody else's.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut word = String::new();
            let mut fresh = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && (c.is_alphanumeric() || c == '_') && fresh {
                    word.push(c);
                } else if !word.is_empty() {
                    named.push((line, std::mem::take(&mut word)));
                    fresh = false;
                }
                if depth == 1 && c == ',' {
                    fresh = true;
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            named.push((line, word));
        }
    }
    named
}

#[test]
fn no_import_climbs_a_floor() {
    let root = core_src();
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources are not where this test looks");
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let own = relative.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        if own == "lib" || relative.ends_with("tests.rs") || relative.contains("/tests/") {
            continue;
        }
        let Some(own_floor) = floor_of(&own) else {
            wrong.push(format!("{relative}: the room `{own}` is on no floor: add it to the table"));
            continue;
        };
        let allowed = CONTRACT_FILES.iter().find(|(name, _)| *name == relative).map(|(_, floor)| *floor);
        for (line, room) in rooms_named(&code_of(&fs::read_to_string(&file).unwrap())) {
            // Re-exports at the crate's root (`crate::Error`) are all of the ground floor.
            let floor = match floor_of(&room) {
                Some(floor) => floor,
                None if room.starts_with(char::is_uppercase) => 0,
                None => {
                    wrong.push(format!("{relative}:{line}: `crate::{room}` is on no floor"));
                    continue;
                }
            };
            let fine = room == own || floor < own_floor || (floor == own_floor && HOUSEHOLDS.contains(&floor));
            if !fine {
                wrong.push(format!("{relative}:{line}: floor {own_floor} `{own}` imports floor {floor} `{room}`"));
            } else if let Some(allowed) = allowed
                && room != own
                && floor > allowed
            {
                wrong.push(format!("{relative}:{line}: a contract imports `{room}`, above floor {allowed}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn engines_import_no_drivers() {
    let root = core_src();
    let drivers: BTreeMap<&str, &[&str]> = [
        // The check is a driver itself: it asks the same server in the same way.
        ("store::postgres", &["ops", "store", "testing", "health/checks/postgres"][..]),
        ("store::sqlite", &["ops", "store", "testing"]),
        ("backup::targets", &["ops", "backup/targets", "testing"]),
    ]
    .into();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if relative.ends_with("tests.rs") || relative.contains("/tests/") {
            continue;
        }
        let code = code_of(&fs::read_to_string(&file).unwrap());
        for (driver, homes) in &drivers {
            let named = code.contains(&format!("crate::{driver}")) || code.contains(&format!("super::{driver}"));
            if named && !homes.iter().any(|home| relative.starts_with(home)) {
                wrong.push(format!(
                    "{relative} imports the driver `{driver}`; only the registry in `ops` knows drivers"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_groups() {
    let rooms: Vec<String> =
        rooms_named("use crate::{error::{Error, Kind}, fs, ops::Ops};\nlet x = crate::value::Secret;")
            .into_iter()
            .map(|(_, room)| room)
            .collect();
    assert_eq!(rooms, ["error", "fs", "ops", "value"]);
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    let mut files = Vec::new();
    sources(&core_src(), &mut files);
    let long: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let lines = fs::read_to_string(file).unwrap().lines().count();
            (lines > 600).then(|| format!("{}: {lines} lines; what is the second thing in it?", file.display()))
        })
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}
