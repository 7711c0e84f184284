//! Reading what is whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::scene::{Scene, UNIT, folder, plain, tree_of};
use crate::backup::manifest::{Node, RelPath, Xattr};
use crate::backup::nodes::{ExtractOptions, Extracted, Problem, Selection};
use crate::backup::repository::tree::TreeEntry;
use crate::cancel::Scope;
use crate::error::{ErrorKind, Result};
use crate::fs::Dir;
use crate::testing::random::{self, Rng};

/// A tree with one of each kind, and what a restore must make of it.
pub(crate) fn varied(scene: &mut Scene, random: &mut Rng) -> Vec<TreeEntry> {
    let mut odd = scene.file(b"data/with \"quotes\"\nand \xff% bytes", b"odd");
    odd.entry.mode = 0o600;
    odd.entry.mtime = -5;
    odd.entry.xattrs = vec![Xattr { name: RelPath::new("user.note"), value: "00ff".to_owned() }];
    let large = random::bytes(random, 3_000_000);
    let database = random::bytes(random, UNIT * 23 + 100);
    let mut again = folder("data");
    again.entry.mode = 0o750;
    vec![
        folder("config"),
        scene.file("config/app.yaml", b"a: 1\n"),
        scene.file("config/copy.yaml", b"a: 1\n"),
        scene.file("config/empty", b""),
        odd,
        scene.chunked("data/large", &large, 700_001),
        scene.sparse("data/sparse", 5_000_000, &[(4096, &[7; 4096]), (3 << 20, &[8; 100])]),
        scene.sparse("data/hole", 100_000, &[]),
        plain("link", Node::Symlink { target: RelPath::new("data/../elsewhere") }),
        plain("pipe", Node::Fifo),
        scene.file("unlisted/below/file", b"its folders have no entries"),
        scene.database("data/app.db", &database, None).0,
        plain("data/app-again.db", Node::HardLink { target: RelPath::new("data/app.db") }),
        again,
    ]
}

/// Extracts into a fresh folder.
pub(crate) fn extract(
    scene: &Scene,
    key: &str,
    selection: Selection,
    options: ExtractOptions,
) -> (tempfile::TempDir, Result<Extracted>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let made = scene
        .open(key, move |scope, snapshot| snapshot?.extract(scope, &selection, &Dir::open(&path).unwrap(), &options));
    (folder, made)
}

#[test]
fn every_kind_comes_back() {
    let mut scene = Scene::new();
    let mut random = Rng::with_seed(1);
    let entries = varied(&mut scene, &mut random);
    let key = scene.snapshot(&entries);
    for threads in [1, 3] {
        let options = ExtractOptions { threads, ..ExtractOptions::default() };
        let (folder, made) = extract(&scene, &key, Selection::All, options);
        let made = made.unwrap();
        let real: Vec<&Problem> = made.lost.iter().filter(|lost| !lost.message.contains("attribute")).collect();
        assert_eq!(real, Vec::<&Problem>::new());
        assert_eq!((made.files, made.entries), (10, 14));
        let tree = tree_of(folder.path());
        assert_eq!(tree.len(), entries.len() + 2);
        let hash = |seed: u64, skip: usize, len: usize| {
            let mut random = Rng::with_seed(seed);
            random::bytes(&mut random, skip);
            format!("{len} {}", blake3::hash(&random::bytes(&mut random, len)))
        };
        let at = |name: &str| tree[name.as_bytes()].as_str();
        assert!(at("data/large").ends_with(&hash(1, 0, 3_000_000)), "{}", at("data/large"));
        assert!(at("data/app.db").ends_with(&hash(1, 3_000_000, UNIT * 23 + 100)), "{}", at("data/app.db"));
        assert!(at("data/app-again.db").starts_with("100644 2 "));
        assert!(at("data").starts_with("40750 0 1700000000.123456789"));
        assert!(at("pipe").starts_with("10644"));
        assert!(at("link").ends_with("-> \"data/../elsewhere\""));
        assert!(tree[&b"data/with \"quotes\"\nand \xff% bytes"[..]].starts_with("100600 1 -5.123456789 3 "));
        let mut whole = vec![0; 5_000_000];
        whole[4096..8192].fill(7);
        whole[3 << 20..(3 << 20) + 100].fill(8);
        assert!(at("data/sparse").ends_with(&blake3::hash(&whole).to_string()));
        assert!(at("data/hole").ends_with(&blake3::hash(&[0; 100_000]).to_string()));
    }
}

#[test]
fn one_file_needs_its_own_frames_only() {
    let mut scene = Scene::new();
    let mut random = Rng::with_seed(2);
    let mut entries = vec![folder("data")];
    for number in 0..5 {
        entries.push(scene.file(format!("data/{number}"), &random::bytes(&mut random, 900_000)));
        scene.end_pack();
    }
    let key = scene.snapshot(&entries);
    // The others' packs are gone, and nobody asks.
    for number in [1, 2, 4, 5] {
        scene.delete(&crate::backup::repository::names::pack(
            crate::backup::repository::id::PackId([number; 16]),
            false,
        ));
    }
    let paths = vec![PathBuf::from("data/2")];
    let (folder, made) = extract(&scene, &key, Selection::Paths(paths), ExtractOptions::default());
    assert_eq!(made.unwrap().files, 1);
    assert_eq!(tree_of(folder.path()).keys().collect::<Vec<_>>(), [&b"data"[..], b"data/2"]);
    let (_folder, all) = extract(&scene, &key, Selection::All, ExtractOptions::default());
    let error = all.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("data/0") && error.message().contains("is missing"), "{error}");
}

#[test]
fn a_part_is_what_it_is_in_the_whole() {
    let mut scene = Scene::new();
    let mut random = random::seeded("a_part_is_what_it_is_in_the_whole");
    let mut entries = varied(&mut scene, &mut random);
    // Many blocks, the last of them out of order.
    let late = entries.split_off(11);
    entries.push(folder("many"));
    for number in 0..60 {
        if number % 20 == 0 {
            entries.push(folder(format!("many/{}", number / 20)));
        }
        let name = format!("many/{}/{number:02}", number / 20);
        entries.push(scene.file(name.as_bytes(), name.as_bytes()));
    }
    entries.push(plain("many/again", Node::HardLink { target: RelPath::new("many/0/07") }));
    entries.extend(late);
    let key = scene.snapshot(&entries);
    let names: Vec<PathBuf> = entries.iter().map(|entry| entry.entry.path.as_path().to_owned()).collect();
    let above = ["many", "many/1", "unlisted", "data", "config"].map(PathBuf::from);
    for _ in 0..40 {
        let mut paths: Vec<PathBuf> = Vec::new();
        for _ in 0..=random.usize(..3) {
            paths.push(match random.u64(..3) {
                0 => above[random.usize(..above.len())].clone(),
                _ => names[random.usize(..names.len())].clone(),
            });
        }
        let selection = Selection::Paths(paths.clone());
        let (whole, made) = extract(&scene, &key, selection.clone(), ExtractOptions::default());
        let made = made.unwrap();
        let part = tempfile::tempdir().unwrap();
        let path = part.path().to_owned();
        let again = scene.open_part(&key, selection.clone(), move |scope, snapshot| {
            snapshot?.extract(scope, &selection, &Dir::open(&path).unwrap(), &ExtractOptions::default())
        });
        let again = again.unwrap();
        // Folders without entries have the time of their making.
        let listed = |folder: &tempfile::TempDir| {
            let mut tree = tree_of(folder.path());
            tree.retain(|name, _| !matches!(&name[..], b"unlisted" | b"unlisted/below"));
            tree
        };
        assert_eq!(listed(&part), listed(&whole), "{paths:?}");
        assert_eq!((again.files, again.entries, again.bytes), (made.files, made.entries, made.bytes), "{paths:?}");
    }
}

#[test]
fn a_part_needs_its_own_blocks_only() {
    let mut scene = Scene::new();
    let entries: Vec<TreeEntry> =
        (0..500).map(|number| scene.file(format!("d/file-{number:03}"), format!("{number}").as_bytes())).collect();
    let key = scene.snapshot(&entries);
    let count = |paths: &[&str]| {
        let selection = Selection::Paths(paths.iter().map(PathBuf::from).collect());
        scene.open_part(&key, selection, |_, snapshot| snapshot.unwrap().roll().count())
    };
    assert_eq!(count(&["d/file-123"]), 1);
    assert_eq!(count(&["./d//file-000", "d/file-499"]), 2);
    assert_eq!((count(&["d"]), count(&["."]), count(&["e", "d/file"])), (500, 500, 0));
    let selection = Selection::Paths(vec![PathBuf::from("e")]);
    let error = scene.open_part(&key, selection.clone(), move |scope, snapshot| {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        snapshot.unwrap().extract(scope, &selection, &dir, &ExtractOptions::default()).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_chain_of_page_maps_is_followed() {
    let mut scene = Scene::new();
    let mut random = random::seeded("a_chain_of_page_maps_is_followed");
    let mut content = random::bytes(&mut random, UNIT * 40 + 17);
    let (entry, mut id, mut map) = scene.database("app.db", &content, None);
    let mut expected = vec![(scene.snapshot(&[entry]), content.clone())];
    for _ in 0..6 {
        let old = content.clone();
        match random.u64(..3) {
            0 => content.truncate(content.len() - random.usize(..UNIT * 3)),
            1 => content.extend(random::bytes(&mut random, 1)),
            _ => content.extend(random::bytes(&mut random, 9000)),
        }
        for _ in 0..3 {
            let at = random.usize(..content.len());
            content[at] ^= 1;
        }
        let (entry, next_id, next_map) = scene.database("app.db", &content, Some((&id, &map, &old)));
        (id, map) = (next_id, next_map);
        expected.push((scene.snapshot(&[entry]), content.clone()));
    }
    for (key, content) in expected {
        let (folder, made) = extract(&scene, &key, Selection::All, ExtractOptions::default());
        made.unwrap();
        assert!(std::fs::read(folder.path().join("app.db")).unwrap() == content, "{key}");
    }
}

#[test]
fn a_long_manifest_and_many_blocks_are_read() {
    let mut scene = Scene::new();
    scene.manifest.excludes = (0..200_000).map(|number| format!("some/pattern/{number}")).collect();
    let entries: Vec<TreeEntry> =
        (0..500).map(|number| scene.file(format!("file-{number}"), format!("{number}").as_bytes())).collect();
    let key = scene.snapshot(&entries);
    let (count, excludes) = scene.open(&key, |_, snapshot| {
        let snapshot = snapshot.unwrap();
        assert_eq!(snapshot.problems(), []);
        (snapshot.roll().count(), snapshot.manifest().excludes.len())
    });
    assert_eq!((count, excludes), (500, 200_000));
    let (folder, made) = extract(&scene, &key, Selection::All, ExtractOptions::default());
    assert_eq!(made.unwrap().files, 500);
    let found: BTreeMap<Vec<u8>, String> = tree_of(folder.path());
    assert_eq!(found.len(), 500);
}

#[test]
fn a_cancel_ends_it() {
    let mut scene = Scene::new();
    let entries = [scene.file("a", b"1")];
    let key = scene.snapshot(&entries);
    let error = scene.open(&key, |_, snapshot| {
        let scope = Scope::default();
        scope.cancel.cancel();
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        snapshot.unwrap().extract(&scope, &Selection::All, &dir, &ExtractOptions::default()).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
