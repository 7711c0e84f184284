//! Whatever is missing, swapped, truncated, duplicated or rolled back is found and named, and the rest is restored.

use std::collections::BTreeSet;

use super::read::{extract, varied};
use super::scene::{Scene, UNIT, tree_of};
use crate::backup::manifest::Digest;
use crate::backup::nodes::{ExtractOptions, Problem, ProblemKind, Selection};
use crate::backup::repository::collect::CollectRecord;
use crate::backup::repository::header::Header;
use crate::backup::repository::id::SnapshotId;
use crate::backup::repository::names;
use crate::backup::repository::verify::{Depth, verify};
use crate::testing::random::{self, Rng};

const SALVAGE: ExtractOptions = ExtractOptions {
    threads: 2,
    owners: false,
    limits: crate::backup::nodes::Limits { max_entries: 1 << 20, max_bytes: u64::MAX, max_ratio: 5_000 },
    salvage: true,
};

fn problems(scene: &Scene, key: &str, depth: Depth) -> Vec<Problem> {
    let key = key.to_owned();
    scene.with(move |scope, repository| verify(scope, &repository, &key, depth, 2, 1 << 20).unwrap().problems)
}

fn kinds(scene: &Scene, key: &str, depth: Depth) -> Vec<ProblemKind> {
    problems(scene, key, depth).into_iter().map(|problem| problem.kind).collect()
}

/// Two snapshots over five packs, with the keys of their headers.
fn pair(random: &mut Rng) -> (Scene, [String; 2]) {
    let mut scene = Scene::new();
    let mut entries = varied(&mut scene, random);
    scene.end_pack();
    let content = random::bytes(random, UNIT * 30);
    let (entry, id, map) = scene.database("more.db", &content, None);
    entries.push(entry);
    scene.end_pack();
    let first = scene.snapshot(&entries);
    let mut changed = content.clone();
    changed[UNIT * 7] ^= 1;
    changed.extend(random::bytes(random, 100));
    entries.pop();
    entries.push(scene.database("more.db", &changed, Some((&id, &map, &content))).0);
    scene.end_pack();
    entries.push(scene.file("new", &random::bytes(random, 5000)));
    let second = scene.snapshot(&entries);
    (scene, [first, second])
}

#[test]
fn a_whole_repository_has_no_problems() {
    let (scene, keys) = pair(&mut random::seeded("a_whole_repository_has_no_problems"));
    for key in &keys {
        for depth in [Depth::Quick, Depth::Data, Depth::Full] {
            assert_eq!(problems(&scene, key, depth), []);
        }
    }
}

#[test]
fn random_damage_is_named_and_the_rest_is_restored() {
    let mut random = random::seeded("random_damage_is_named_and_the_rest_is_restored");
    let (scene, keys) = pair(&mut random);
    let pristine: Vec<_> = keys
        .iter()
        .map(|key| {
            let (folder, made) = extract(&scene, key, Selection::All, ExtractOptions::default());
            made.unwrap();
            tree_of(folder.path())
        })
        .collect();
    let objects: Vec<String> =
        scene.target.keys().into_iter().filter(|key| !key.to_lowercase().starts_with("rec")).collect();
    for round in 0..48 {
        let object = &objects[round % objects.len()];
        let before = scene.get(object);
        let what = match random.u64(..5) {
            0 => {
                scene.delete(object);
                "deleted"
            }
            1 => {
                let len = random.usize(..before.len());
                scene.target.tamper(object, |bytes| bytes.truncate(len));
                "truncated"
            }
            2 => {
                scene.target.tamper(object, |bytes| bytes.extend_from_slice(b"more"));
                "prolonged"
            }
            3 => {
                let other = scene.get(&objects[random.usize(..objects.len())]);
                scene.target.tamper(object, |bytes| *bytes = other);
                "swapped"
            }
            _ => {
                let (at, bit) = (random.usize(..before.len()), random.usize(..8));
                scene.target.tamper(object, |bytes| bytes[at] ^= 1 << bit);
                "flipped"
            }
        };
        let same = scene.get(object) == before && what != "deleted";
        let says = format!("round {round}: {object} {what}");
        for (key, pristine) in keys.iter().zip(&pristine) {
            if object == key && what == "deleted" {
                continue;
            }
            // The second snapshot's header needs all packs, the first only those before it.
            let needed = is_needed(&scene, key, object);
            let found = problems(&scene, key, Depth::Full);
            let concerns = needed && (object == key || !object.starts_with("snapshots/"));
            // A byte behind the end of an index, or a bit that zstd does not look at, changes nothing that it says.
            let may_mean_nothing = object.starts_with("index/") && matches!(what, "flipped" | "prolonged");
            if concerns && !same && !may_mean_nothing {
                assert!(!found.is_empty(), "{says}: nothing found in {key}");
            }
            let (folder, made) = extract(&scene, key, Selection::All, SALVAGE);
            let Ok(made) = made else {
                assert!(!found.is_empty(), "{says}: {made:?}");
                continue;
            };
            let restored = tree_of(folder.path());
            let named: BTreeSet<Vec<u8>> =
                made.lost.iter().filter_map(|lost| Some(lost.path.as_ref()?.as_bytes().to_vec())).collect();
            let lost_blocks = made.lost.iter().any(|lost| lost.kind == ProblemKind::DamagedTree);
            for (name, line) in pristine {
                let is_unlisted = name.starts_with(b"unlisted") && !name.ends_with(b"file");
                match restored.get(name) {
                    _ if is_unlisted => {}
                    Some(restored) if line.contains(" 2 1700000000") => {
                        assert_eq!(restored.split(' ').next_back(), line.split(' ').next_back(), "{says}");
                    }
                    // With a lost block a folder may be made without its entry.
                    Some(restored) if lost_blocks && line.starts_with('4') => assert!(restored.starts_with('4')),
                    Some(restored) => assert_eq!(restored, line, "{says}: {:?}", String::from_utf8_lossy(name)),
                    None => assert!(
                        named.contains(name) || lost_blocks,
                        "{says}: {:?} is missing and not named",
                        String::from_utf8_lossy(name)
                    ),
                }
            }
        }
        scene.put(object, &before);
    }
}

/// Whether the snapshot at `key` needs an object, as far as that can be said.
fn is_needed(scene: &Scene, key: &str, object: &str) -> bool {
    if !object.starts_with("packs/") && !object.starts_with("index/") {
        return true;
    }
    let (key, object) = (key.to_owned(), object.to_owned());
    scene.with(move |_, repository| {
        let Ok((header, _)) = repository.header(&key) else { return true };
        let id = names::index_of(&object).or_else(|| names::pack_of(&object).map(|(id, _)| id));
        header.packs.iter().any(|pack| Some(pack.id) == id)
    })
}

#[test]
fn a_lost_index_is_made_again_from_its_pack() {
    let (scene, keys) = pair(&mut Rng::with_seed(4));
    for index in scene.target.keys().into_iter().filter(|key| key.starts_with("index/")) {
        scene.delete(&index);
    }
    let found = kinds(&scene, &keys[0], Depth::Full);
    assert_eq!(found, vec![ProblemKind::DamagedIndex; found.len()]);
    assert_eq!(found.len(), 3);
    let (_folder, made) = extract(&scene, &keys[0], Selection::All, ExtractOptions::default());
    assert_eq!(made.unwrap().files, 11);
}

#[test]
fn a_blob_in_two_packs_survives_the_loss_of_one() {
    let mut scene = Scene::new();
    let content = random::noise(20_000, 5);
    let entries = [scene.file("file", &content)];
    scene.end_pack();
    scene.blob_again(&content);
    scene.end_frame();
    let key = scene.snapshot(&entries);
    for number in [1, 2] {
        let pack = names::pack(crate::backup::repository::id::PackId([number; 16]), false);
        let before = scene.get(&pack);
        scene.target.tamper(&pack, |bytes| bytes[4000] ^= 1);
        let found = problems(&scene, &key, Depth::Full);
        assert!(found.iter().all(|problem| problem.path.is_none()), "{found:?}");
        assert!(found.iter().any(|problem| problem.kind == ProblemKind::DamagedPack), "{found:?}");
        let (folder, made) = extract(&scene, &key, Selection::All, ExtractOptions::default());
        made.unwrap();
        assert!(std::fs::read(folder.path().join("file")).unwrap() == content);
        scene.put(&pack, &before);
    }
}

#[test]
fn quick_sees_missing_and_short_packs_and_names_who_needs_them() {
    let (scene, keys) = pair(&mut Rng::with_seed(6));
    let pack = scene.target.keys().into_iter().find(|key| key.starts_with("packs/")).unwrap();
    let before = scene.get(&pack);
    scene.target.tamper(&pack, |bytes| bytes.truncate(bytes.len() - 1));
    let found = problems(&scene, &keys[1], Depth::Quick);
    assert!(found.iter().any(|problem| problem.message.contains("needed by 010101010101, 020202020202")), "{found:?}");
    scene.delete(&pack);
    let found = problems(&scene, &keys[1], Depth::Quick);
    assert!(found.iter().any(|problem| problem.message.contains("it is missing")), "{found:?}");
    assert!(found.iter().any(|problem| problem.path.is_some()), "nobody says which files are hit: {found:?}");
    // Quick does not read what has the right length; data does.
    let mut flipped = before.clone();
    flipped[3000] ^= 1;
    scene.put(&pack, &flipped);
    assert_eq!(problems(&scene, &keys[1], Depth::Quick), []);
    assert!(kinds(&scene, &keys[1], Depth::Data).contains(&ProblemKind::DamagedPack));
}

#[test]
fn a_header_that_was_taken_away_or_put_back_is_missed() {
    let (mut scene, keys) = pair(&mut Rng::with_seed(7));
    let third = {
        let entries = [scene.file("only", b"x")];
        scene.snapshot(&entries)
    };
    let first = scene.get(&keys[0]);
    let second = scene.get(&keys[1]);
    scene.delete(&keys[1]);
    let found = problems(&scene, &third, Depth::Quick);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("its predecessor 020202020202 is gone"), "{found:?}");
    // A record of the removal explains it, if it is of that very header.
    let (header, mac) = Header::read(&second, scene.id, &scene.key).unwrap();
    for (mac, ok) in [(Digest([0; 32]), false), (mac, true)] {
        let record = CollectRecord {
            grace: std::time::Duration::from_secs(86_400),
            repository: scene.id,
            time: header.time,
            snapshots: vec![(header.snapshot, mac)],
            packs: Vec::new(),
        };
        scene.put(&names::collect(header.time, SnapshotId([9; 6])), &record.write(&scene.key));
        assert_eq!(problems(&scene, &third, Depth::Quick).is_empty(), ok);
    }
    // The first one under the second's name is neither.
    scene.put(&keys[1], &first);
    assert_eq!(kinds(&scene, &keys[1], Depth::Quick), [ProblemKind::DamagedIndex]);
    scene.delete(&names::collect(header.time, SnapshotId([9; 6])));
    // Another header of the same snapshot breaks the chain behind it.
    let other = Header { host: "elsewhere".to_owned(), ..header };
    scene.put(&keys[1], &other.write(&scene.key).0);
    let found = problems(&scene, &third, Depth::Quick);
    assert!(found[0].message.contains("is not the one that it was made after"), "{found:?}");
}

#[test]
fn a_lost_record_of_the_repository_is_read_from_the_text() {
    let (scene, keys) = pair(&mut Rng::with_seed(8));
    for round in 0..2 {
        match round {
            0 => scene.target.tamper(names::REPOSITORY, |bytes| bytes[40] ^= 1),
            _ => scene.delete(names::REPOSITORY),
        }
        let found = problems(&scene, &keys[0], Depth::Full);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.starts_with("the record of the repository is "), "{found:?}");
    }
}
