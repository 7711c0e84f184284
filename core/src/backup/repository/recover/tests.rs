use super::*;

/// The BLAKE3 and the length of every version, the first one first. One that is here is in somebody's repository.
const VERSIONS: [(&str, usize); 2] = [
    ("d042666bfcf6be65aed897e355eca016e77c199ab9e3d5e39b47dff8a9235bd9", 14427),
    ("05a233287ef57d336a457a2ba2e4f1fa85fba4edf1f19235590d0dfd7dfd5cf3", 18947),
];

#[test]
fn a_script_that_changes_gets_a_version_of_its_own() {
    let (digest, len) = VERSIONS[VERSION as usize - 1];
    let found = blake3::hash(SCRIPT.as_bytes()).to_hex();
    assert_eq!(
        (found.as_str(), SCRIPT.len(), VERSIONS.len()),
        (digest, len, VERSION as usize),
        "recover.sh was changed: raise VERSION, there and in its first lines, and add a line to VERSIONS, unless no \
         repository can have the one before"
    );
    assert_eq!(version_of(SCRIPT.as_bytes()), VERSION);
    let old = std::fs::read(fixture().join("recover.sh")).unwrap();
    assert_eq!((blake3::hash(&old).to_hex().as_str(), old.len()), VERSIONS[0]);
    assert_eq!(version_of(&old), 1);
    // A run tells them apart by their length.
    let lengths: std::collections::BTreeSet<usize> = VERSIONS.iter().map(|(_, len)| *len).collect();
    assert_eq!(lengths.len(), VERSIONS.len());
}

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backup/repository/tests/version-1/target")
}

/// Puts what is missing, as a run does, into a target where nothing that is there can be replaced or deleted; the calls that
/// wrote something.
async fn put_into(target: &MemoryTarget) -> Vec<String> {
    let there = target.keys();
    let locked = FaultyTarget::new(Arc::new(target.clone()), move |call, key, _| {
        let changes = matches!(call, Call::Put | Call::Delete) && there.iter().any(|known| known == key);
        changes.then_some(ErrorKind::Denied)
    });
    let objects = Objects::new(&Scope::default(), Arc::new(locked.clone()));
    blocking(move || put(&objects)).await.unwrap();
    locked.calls().into_iter().filter(|(call, _)| *call == Call::Put).map(|(_, key)| key).collect()
}

async fn holding(keys: &[(&str, &[u8])]) -> MemoryTarget {
    let target = MemoryTarget::default();
    for (key, bytes) in keys {
        target.put(&Scope::default(), key, bytes, true).await.unwrap();
    }
    target
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_script_goes_beside_an_older_one_and_replaces_nothing() {
    let record = std::fs::read(fixture().join("repository")).unwrap();
    let (text, old) = ("# Restoring".as_bytes(), std::fs::read(fixture().join("recover.sh")).unwrap());
    let of_later = |version: u32| format!("#!/bin/sh\n# Version {version}. Later.\n").into_bytes();

    // A new repository: what this version has, once.
    let target = holding(&[("repository", &record)]).await;
    assert_eq!(put_into(&target).await, ["RECOVER.md", "recover.sh"]);
    assert_eq!(put_into(&target).await, [] as [&str; 0]);

    // One of an older version; the names that are there are asked for and left as they are.
    let target = holding(&[("repository", &record), ("RECOVER.md", text)]).await;
    target.put(&Scope::default(), "recover.sh", &old, true).await.unwrap();
    assert_eq!(put_into(&target).await, ["RECOVER-2.md", "recover-2.sh"]);
    assert_eq!(put_into(&target).await, [] as [&str; 0]);
    let read = async |key: &str| read_object(&Scope::default(), &target, key, 1 << 20).await.unwrap();
    assert_eq!(read("recover.sh").await, old);
    assert_eq!(read("RECOVER.md").await, text);
    assert_eq!(read("recover-2.sh").await, SCRIPT.as_bytes());
    let said = String::from_utf8(read("RECOVER-2.md").await).unwrap();
    assert!(said.contains("sh recover-2.sh restore SNAPSHOT") && !said.contains("sh recover.sh"), "{said}");
    assert_eq!(record_in(said.as_bytes()).unwrap(), record);

    // One that a later version made, or was at.
    for (key, bytes) in [("recover.sh", of_later(3)), ("recover-3.sh", of_later(3)), ("recover-2.sh", of_later(2))] {
        let target = holding(&[("repository", &record), ("RECOVER.md", text), (key, &bytes)]).await;
        if key != "recover.sh" {
            target.put(&Scope::default(), "recover.sh", &old, true).await.unwrap();
        }
        assert_eq!(put_into(&target).await, [] as [&str; 0], "{key}");
    }
}

#[test]
fn a_newer_script_restores_what_an_older_one_was_made_for() {
    let place = tempfile::tempdir().unwrap();
    let repository = place.path().join("repository");
    let copied = Command::new("cp").arg("-r").arg(fixture()).arg(&repository).status().unwrap();
    assert!(copied.success());
    std::fs::write(repository.join("recover-2.sh"), SCRIPT).unwrap();
    let mut trees = Vec::new();
    for script in ["recover.sh", "recover-2.sh"] {
        let into = place.path().join(script);
        let output =
            Command::new("sh").arg(repository.join(script)).args(["restore", "latest"]).arg(&into).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        trees.push(tree_of(&into));
    }
    assert!(trees[0].len() > 40);
    assert_eq!(trees[0], trees[1]);
}

#[test]
fn the_text_carries_the_record() {
    let record = b"uplifted-ops repository 1\nrepository 00\nmac ff\n";
    let text = text(record);
    assert_eq!(record_in(text.as_bytes()), Some(&record[..]));
    assert_eq!(record_in(b"nothing"), None);
    assert_eq!(record_in(b"\nuplifted-ops repository 1\n"), None);
}

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use crate::backup::BackupTarget;
use crate::backup::blocks::read_object;
use crate::backup::list::blocking;
use crate::backup::nodes::{ExtractOptions, Selection};
use crate::backup::repository::tests::read::{extract, varied};
use crate::backup::repository::tests::scene::{Scene, UNIT, tree_of};
use crate::cancel::Scope;
use crate::testing::random::{self, Rng};
use crate::testing::{Call, FaultyTarget, MemoryTarget};

/// Puts a repository into a folder, as the target `fs` has it.
fn spread(scene: &Scene, into: &Path) {
    for key in scene.target.keys() {
        let path = into.join(&key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, scene.get(&key)).unwrap();
    }
}

/// The shells that are here, each as a command.
pub(in crate::backup) fn shells() -> Vec<Vec<&'static str>> {
    let is_there = |shell: &str| Command::new(shell).arg("--help").output().is_ok();
    let all = [vec!["sh"], vec!["dash"], vec!["busybox", "sh"]];
    all.into_iter().filter(|shell| is_there(shell[0])).collect()
}

pub(in crate::backup) fn run(shell: &[&str], repository: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(repository.join("recover.sh")).args(arguments);
    command.output().unwrap()
}

/// A tree as the script makes it: without nanoseconds where the shell's own `touch` knows none.
pub(in crate::backup) fn comparable(root: &Path, shell: &[&str]) -> Vec<(Vec<u8>, String)> {
    let is_nanos = |text: &str| text.get(..9).is_some_and(|nanos| nanos.bytes().all(|byte| byte.is_ascii_digit()));
    let coarse = |line: String| match line.split_once('.') {
        Some((before, after)) if shell[0] == "busybox" && is_nanos(after) => format!("{before}{}", &after[9..]),
        _ => line,
    };
    // The time of a folder that nobody listed is that of its making.
    let unlisted = |name: &[u8]| name == b"unlisted" || name == b"unlisted/below";
    let line = |name: &[u8], line: String| if unlisted(name) { line[..5].to_owned() } else { coarse(line) };
    tree_of(root)
        .into_iter()
        .map(|(name, said)| {
            let said = line(&name, said);
            (name, said)
        })
        .collect()
}

#[test]
fn standard_tools_restore_what_we_restore() {
    let mut scene = Scene::new();
    let mut random = random::seeded("standard_tools_restore_what_we_restore");
    let mut entries = varied(&mut scene, &mut random);
    let mut content = random::bytes(&mut random, UNIT * 60 + 5);
    let (entry, mut id, mut map) = scene.database("data/chain.db", &content, None);
    let mut chain = entry;
    for _ in 0..4 {
        let old = content.clone();
        content.truncate(content.len() - random.usize(..3 * UNIT));
        content.extend(random::bytes(&mut random, 2 * UNIT));
        for _ in 0..4 {
            let at = random.usize(..content.len());
            content[at] ^= 1;
        }
        (chain, id, map) = scene.database("data/chain.db", &content, Some((&id, &map, &old)));
        scene.end_pack();
    }
    entries.insert(1, chain);
    // Long enough for pieces.
    scene.manifest.excludes = (0..60_000).map(|number| format!("some/pattern/{number}")).collect();
    let key = scene.snapshot(&entries);
    let (expected, made) = extract(&scene, &key, Selection::All, ExtractOptions::default());
    made.unwrap();

    let repository = tempfile::tempdir().unwrap();
    spread(&scene, repository.path());
    for shell in shells() {
        let list = run(&shell, repository.path(), &["list"]);
        assert!(String::from_utf8_lossy(&list.stdout).starts_with("010101010101  2026-03-01T02:00:00Z"), "{list:?}");
        let place = tempfile::tempdir().unwrap();
        for (number, snapshot) in ["latest", "0101"].into_iter().enumerate() {
            let into = place.path().join(format!("into '{number}'"));
            let output = run(&shell, repository.path(), &["restore", snapshot, into.to_str().unwrap()]);
            assert!(output.status.success(), "{shell:?}: {}", String::from_utf8_lossy(&output.stderr));
            let (made, expected) = (comparable(&into, &shell), comparable(expected.path(), &shell));
            for (made, expected) in made.iter().zip(&expected) {
                assert_eq!(made, expected, "{shell:?}: {:?}", String::from_utf8_lossy(&made.0));
            }
            assert_eq!(made.len(), expected.len());
        }
        // Nothing but what was restored is left.
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
        let again = run(&shell, repository.path(), &["restore", "latest", place.path().to_str().unwrap()]);
        assert_eq!(again.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&again.stderr).contains("is not an empty folder"));
    }
}

#[test]
fn standard_tools_name_what_is_lost_and_restore_the_rest() {
    let mut scene = Scene::new();
    let mut random = Rng::with_seed(3);
    let mut entries = Vec::new();
    for name in ["a", "b", "c"] {
        entries.push(scene.file(name, &random::bytes(&mut random, 10_000)));
        scene.end_pack();
    }
    scene.snapshot(&entries);
    let keys: Vec<String> = scene.target.keys().into_iter().filter(|key| key.starts_with("packs/")).collect();
    scene.target.tamper(&keys[1], |bytes| bytes[5000] ^= 1);
    let repository = tempfile::tempdir().unwrap();
    spread(&scene, repository.path());
    for shell in shells() {
        let place = tempfile::tempdir().unwrap();
        let into = place.path().join("into");
        let output = run(&shell, repository.path(), &["restore", "latest", into.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("pack 02020202020202020202020202020202 "), "{said}");
        assert!(
            said.contains("b: a part of it is lost") || said.contains("b: its content is not what it was"),
            "{said}"
        );
        let names: Vec<Vec<u8>> = tree_of(&into).into_keys().collect();
        assert_eq!(names, [b"a", b"c"]);
    }
}

#[test]
fn standard_tools_refuse_what_leads_elsewhere() {
    use crate::backup::manifest::{Node, RelPath};
    use crate::backup::repository::tests::scene::plain;
    let outside = tempfile::tempdir().unwrap();
    let link = |name: &str| plain(name, Node::Symlink { target: RelPath::new(outside.path()) });
    for number in 0..2 {
        let mut scene = Scene::new();
        let file = scene.file("link/file", b"x");
        let twice = scene.file("link", b"x");
        let entries = match number {
            0 => vec![link("link"), file],
            _ => vec![link("link"), twice],
        };
        scene.snapshot(&entries);
        let repository = tempfile::tempdir().unwrap();
        spread(&scene, repository.path());
        for shell in shells() {
            let place = tempfile::tempdir().unwrap();
            let into = place.path().join("into");
            let output = run(&shell, repository.path(), &["restore", "latest", into.to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert_eq!(tree_of(&into).len(), 0);
            assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        }
    }
}
