use super::*;

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

use crate::backup::nodes::{ExtractOptions, Selection};
use crate::backup::repository::tests::read::{extract, varied};
use crate::backup::repository::tests::scene::{Scene, UNIT, tree_of};
use crate::testing::random::{self, Rng};

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
