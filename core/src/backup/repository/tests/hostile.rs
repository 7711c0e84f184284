//! Repositories that somebody made to do harm, with every mac and every id right: what is wrong is named, nothing is
//! written where it does not belong, and a snapshot beside it is restored.

use std::time::Instant;

use super::read::extract;
use super::scene::{Scene, UNIT, folder, tree_of};
use crate::backup::frames::Packer;
use crate::backup::manifest::{Digest, Node, RelPath};
use crate::backup::nodes::{ExtractOptions, MAX_PROBLEMS, Problem, ProblemKind, Selection};
use crate::backup::repository::cache::known::Known;
use crate::backup::repository::cache::{CacheFolder, CacheOf};
use crate::backup::repository::header::{Header, NeededPack};
use crate::backup::repository::id::{BlobId, PackId, PageId};
use crate::backup::repository::index::{IndexWriter, IndexedMap, IndexedPack};
use crate::backup::repository::names;
use crate::backup::repository::pack::{END_FRAME, FrameBuilder, MAX_FRAME, PackedBlob};
use crate::backup::repository::pages::PageMap;
use crate::backup::repository::rebase::rebuild;
use crate::backup::repository::tree::{Block, Content, Span, TreeEntry, write_root};
use crate::backup::repository::verify::{Depth, verify};
use crate::fs::Dir;
use crate::testing::random;
use crate::value::hex;

/// A repository with an honest snapshot, and the key of its header.
fn honest() -> (Scene, String) {
    let mut scene = Scene::new();
    let entries = [folder("data"), scene.chunked("data/good", &random::noise(300_000, 3), 100_000)];
    let key = scene.snapshot(&entries);
    scene.end_pack();
    (scene, key)
}

fn problems(scene: &Scene, key: &str, depth: Depth) -> Vec<Problem> {
    let key = key.to_owned();
    scene.with(move |scope, repository| verify(scope, &repository, &key, depth, 2, 10_000_000).unwrap().problems)
}

/// Extracts what is left of a snapshot; nothing may come about beside the folder. The restored tree, or why there is none.
fn salvage(scene: &Scene, key: &str) -> Result<std::collections::BTreeMap<Vec<u8>, String>, String> {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let folder = into.clone();
    let made = scene.open(key, move |scope, snapshot| {
        let options = ExtractOptions { salvage: true, ..ExtractOptions::default() };
        snapshot?.extract(scope, &Selection::All, &Dir::open(&folder).unwrap(), &options)
    });
    let beside: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["into"]);
    made.map(|_| tree_of(&into)).map_err(|error| error.message().to_owned())
}

/// Verify names what is wrong in every depth that can see it, and the snapshot beside it is whole.
fn assert_named(scene: &Scene, good: &str, bad: &str, kind: ProblemKind, named: &str) {
    let found = problems(scene, bad, Depth::Full);
    let fits = |problem: &Problem| {
        let path = problem.path.as_ref().map(|path| format!("{path:?}")).unwrap_or_default();
        problem.kind == kind && (problem.message.contains(named) || path.contains(named))
    };
    assert!(found.iter().any(fits), "{named}: {found:?}");
    let _ = salvage(scene, bad);
    assert_eq!(problems(scene, good, Depth::Full), [], "{named}");
    let (folder, made) = extract(scene, good, Selection::All, ExtractOptions::default());
    made.unwrap();
    assert!(std::fs::read(folder.path().join("data/good")).unwrap() == random::noise(300_000, 3));
}

/// A snapshot whose tree is these blocks, as text behind the first line, each with the number of its entries.
fn forged(scene: &mut Scene, blocks: &[(String, u64)], change: impl FnOnce(&mut Header)) -> String {
    let blocks: Vec<Block> = blocks
        .iter()
        .map(|(text, entries)| Block {
            id: scene.record(format!("uplifted-ops tree 1\n{text}").as_bytes()),
            entries: *entries,
            span: None,
        })
        .collect();
    rooted(scene, &blocks, change)
}

/// A snapshot whose root names these blocks.
fn rooted(scene: &mut Scene, blocks: &[Block], change: impl FnOnce(&mut Header)) -> String {
    let root = scene.record(&write_root(blocks));
    let mut header = scene.header(&[]);
    header.root = root;
    header.counts.entries = blocks.iter().map(|block| block.entries).sum();
    header.counts.files = header.counts.entries;
    header.counts.bytes = header.counts.entries;
    change(&mut header);
    scene.put_header(&header)
}

/// The line of a file of one byte.
fn file(scene: &mut Scene, path: &str) -> String {
    let blob = scene.blob(b"x");
    format!("f 644 0 0 1.000000000 {path} 1 {} {blob}\n", hex(&Digest::of(b"x").0))
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["../evil", "/tmp/evil", "a/../../evil", "..", ".", "a//b", "a/", "a%00b", "a/./b"] {
        let (mut scene, good) = honest();
        let line = file(&mut scene, name);
        let bad = forged(&mut scene, &[(line, 1)], |_| ());
        assert_named(&scene, &good, &bad, ProblemKind::DamagedTree, "name");
    }
}

#[test]
fn a_name_below_a_link_and_a_name_twice_are_refused() {
    for (kind, named, lines) in [
        (ProblemKind::UnsafeName, "s/evil", vec!["l 777 0 0 1.000000000 s /tmp\n".to_owned(), "s/evil".to_owned()]),
        (ProblemKind::UnsafeName, "twice", vec!["twice".to_owned(), "twice".to_owned()]),
        (ProblemKind::UnsafeName, "h", vec!["h 644 0 0 1.000000000 h ../../etc/passwd\n".to_owned(), "z".to_owned()]),
        (ProblemKind::UnsafeName, "h", vec!["h 644 0 0 1.000000000 h later\n".to_owned(), "later".to_owned()]),
    ] {
        let (mut scene, good) = honest();
        let text: String =
            lines.iter().map(|line| if line.ends_with('\n') { line.clone() } else { file(&mut scene, line) }).collect();
        let files = if named == "s/evil" { 1 } else { 2 };
        let bad = forged(&mut scene, &[(text, 2)], |header| {
            (header.counts.files, header.counts.bytes) = (files, 2);
        });
        // A target that leads elsewhere is refused with its block, the others with the names in order.
        let kind = if lines[0].contains("..") { ProblemKind::DamagedTree } else { kind };
        assert_named(&scene, &good, &bad, kind, if kind == ProblemKind::DamagedTree { "link" } else { named });
    }
}

#[test]
fn a_block_twice_is_refused_before_it_multiplies() {
    let (mut scene, good) = honest();
    let line = file(&mut scene, "a");
    let blocks = vec![(line, 1); 50];
    let bad = forged(&mut scene, &blocks, |_| ());
    assert_named(&scene, &good, &bad, ProblemKind::DamagedTree, "there twice");
}

#[test]
fn a_block_that_is_not_where_the_root_says_is_named() {
    let (mut scene, good) = honest();
    let line = file(&mut scene, "m");
    let id = scene.record(format!("uplifted-ops tree 1\n{line}").as_bytes());
    let span = Some(Span { least: RelPath::new("a"), greatest: RelPath::new("b") });
    let bad = rooted(&mut scene, &[Block { id, entries: 1, span }], |_| ());
    assert_named(&scene, &good, &bad, ProblemKind::DamagedTree, "not where the root says");
}

#[test]
fn numbers_beyond_all_files_are_refused() {
    let digest = hex(&[8; 32]);
    for (size, named) in
        [(u64::MAX, "longer than any file"), (u64::MAX / 2 - 600, "ratio"), (1 << 50, "ratio"), (2, "not as long as")]
    {
        let (mut scene, good) = honest();
        let blob = scene.blob(b"x");
        let bad =
            forged(&mut scene, &[(format!("f 644 0 0 1.000000000 huge {size} {digest} {blob}\n"), 1)], |header| {
                header.counts.bytes = size;
            });
        let kind = match named {
            "ratio" => ProblemKind::LimitExceeded,
            "not as long as" => ProblemKind::DamagedFrame,
            _ => ProblemKind::DamagedTree,
        };
        assert_named(&scene, &good, &bad, kind, named);
    }
    // Numbers of the header itself.
    let changes: [fn(&mut Header); 4] = [
        |header| header.counts.entries = u64::MAX,
        |header| header.counts.bytes = u64::MAX,
        |header| header.packs.iter_mut().for_each(|pack| pack.stored_bytes = u64::MAX),
        |header| (header.counts.stored, header.counts.skipped, header.counts.stores) = (u64::MAX, u64::MAX, u64::MAX),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut scene, good) = honest();
        let line = file(&mut scene, "a");
        let bad = forged(&mut scene, &[(line, 1)], change);
        for depth in [Depth::Quick, Depth::Data, Depth::Full] {
            let found = problems(&scene, &bad, depth);
            assert_eq!(found.is_empty(), number == 3, "change {number}: {found:?}");
        }
        let _ = salvage(&scene, &bad);
        assert_eq!(problems(&scene, &good, Depth::Full), []);
    }
}

#[test]
fn a_header_that_needs_a_great_many_packs_ends_soon() {
    let (mut scene, good) = honest();
    let line = file(&mut scene, "a");
    let started = Instant::now();
    let bad = forged(&mut scene, &[(line, 1)], |header| {
        let mut needed: Vec<NeededPack> = (0..2_000_u32)
            .map(|number| {
                let mut id = [0xff; 16];
                id[..4].copy_from_slice(&number.to_be_bytes());
                NeededPack { id: PackId(id), stored_bytes: 1 << 20, digest: Digest([1; 32]), fingerprint: None }
            })
            .collect();
        needed.append(&mut header.packs);
        needed.sort_by_key(|pack| pack.id);
        header.packs = needed;
    });
    let found = problems(&scene, &bad, Depth::Full);
    assert!(found.iter().any(|problem| problem.message.contains("is missing")), "{found:?}");
    assert!(found.len() <= MAX_PROBLEMS);
    assert_eq!(salvage(&scene, &bad).unwrap().len(), 1);
    assert_eq!(problems(&scene, &good, Depth::Full), []);
    // A hang guard, and no more.
    assert!(started.elapsed().as_secs() < 120);
    // One that is longer than all packs that there can be is not even read.
    scene.target.tamper(&bad, |bytes| bytes.resize(65 << 20, b'p'));
    let found = problems(&scene, &bad, Depth::Quick);
    assert!(found[0].message.contains("longer than anything that belongs there"), "{found:?}");
}

#[test]
fn maps_that_do_not_go_together_are_refused() {
    let (data, blob) = (vec![5; UNIT * 2], |scene: &mut Scene, text: String| scene.record(text.as_bytes()));
    let flat = |id: BlobId, depth: u8, base: &str| {
        format!("uplifted-ops pages 1\nunit 4096\nlength 8192\n{base}depth {depth}\ndata {id} 2\nrun 0 2 0 0\n")
    };
    for (named, depth, below) in [
        ("depth", 3, "flat"),
        ("is in no pack", 1, "missing"),
        ("no pack has the blob", 1, "missing map"),
        ("depth does not go", 16, "flat"),
        ("shorter than its page map", 0, "long"),
        ("where unit 1 is", 0, "hole"),
        ("of a file of", 0, "length"),
    ] {
        let (mut scene, good) = honest();
        let id = scene.blob(&data);
        let base = match below {
            "missing map" => BlobId([9; 16]),
            _ => blob(&mut scene, flat(id, 0, "")),
        };
        let text = match below {
            "flat" | "missing map" => flat(id, depth, &format!("base {base}\n")),
            "missing" => flat(BlobId([9; 16]), 1, &format!("base {base}\n")),
            "long" => flat(id, 0, "").replace(" 2\nrun", " 200\nrun").replace("0 2 0 0", "0 2 0 100"),
            "hole" => flat(id, 0, "").replace("run 0 2 0 0", "run 0 1 0 0"),
            _ => flat(id, 0, "").replace("length 8192", "length 8191"),
        };
        let map = blob(&mut scene, text);
        let bad = forged(
            &mut scene,
            &[(format!("p 644 0 0 1.000000000 app.db 8192 {} {map}\n", hex(&[8; 32])), 1)],
            |header| {
                header.counts.bytes = 8192;
            },
        );
        let found = problems(&scene, &bad, Depth::Full);
        let fits = |problem: &Problem| problem.path.as_ref().is_some_and(|path| path.as_bytes() == b"app.db");
        assert!(found.iter().any(fits), "{named}: {found:?}");
        assert_eq!(salvage(&scene, &bad).unwrap().len(), 0, "{named}");
        assert_eq!(problems(&scene, &good, Depth::Full), []);
    }
}

/// The bytes of a pack, with an index that says what it likes.
fn put_pack(scene: &mut Scene, number: u8, frames: &[(Vec<u8>, u32, Vec<PackedBlob>)]) {
    let (mut bytes, mut index) = (Vec::new(), IndexWriter::new(scene.id));
    let mut end = Vec::new();
    Packer::new(3).unwrap().pack(&END_FRAME, &mut end).unwrap();
    for (packed, plain, blobs) in frames.iter().chain([&(end, END_FRAME.len() as u32, Vec::new())]) {
        bytes.extend_from_slice(packed);
        index.frame(packed.len() as u32, *plain, blobs);
    }
    let id = PackId([number; 16]);
    let indexed = IndexedPack::in_clear(id, bytes.len() as u64, Digest::of(&bytes));
    scene.put(&names::pack(id, false), &bytes);
    scene.put(&names::index(id), &index.finish(&indexed, &scene.key, Vec::new()).unwrap());
    scene.packs.insert(id, indexed.pack);
}

#[test]
fn a_frame_that_expands_to_gigabytes_does_not() {
    let zeros = zstd::stream::encode_all(std::io::Read::take(std::io::repeat(0), 1 << 30), 1).unwrap();
    assert!(zeros.len() < 1 << 20);
    for with_index in [true, false] {
        let (mut scene, good) = honest();
        let id = scene.key.blob_id(b"never there");
        let blob = PackedBlob { id, offset: 512, len: 11 };
        put_pack(&mut scene, 0xee, &[(zeros.clone(), MAX_FRAME as u32, vec![blob])]);
        if !with_index {
            scene.delete(&names::index(PackId([0xee; 16])));
        }
        let digest = hex(&Digest::of(b"never there").0);
        let line = file(&mut scene, "fine");
        let text = format!("f 644 0 0 1.000000000 bomb 11 {digest} {id}\n{line}");
        let bad = forged(&mut scene, &[(text, 2)], |header| header.counts.bytes = 12);
        assert_named(&scene, &good, &bad, ProblemKind::DamagedPack, &hex(&[0xee; 16]));
        let restored = salvage(&scene, &bad).unwrap();
        assert_eq!(restored.keys().collect::<Vec<_>>(), [b"fine"]);
    }
}

#[test]
fn an_index_that_lies_is_named_with_the_files_that_it_costs() {
    type Lie = fn(&mut Vec<PackedBlob>);
    let lies: [Lie; 5] = [
        |blobs| blobs[0].offset += 1,
        |blobs| blobs[0].len -= 1,
        |blobs| (blobs[0].offset, blobs[0].len) = (0, 0),
        |blobs| blobs[0].id = BlobId([3; 16]),
        |blobs| {
            let (first, second) = (blobs[0], blobs[1]);
            (blobs[0].id, blobs[1].id) = (second.id, first.id);
        },
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let (mut scene, good) = honest();
        let mut builder = FrameBuilder::default();
        let contents = [random::noise(3000, 1), random::noise(3000, 2), random::noise(10, 4)];
        for content in &contents {
            builder.push(scene.key.blob_id(content), content).unwrap();
        }
        let frame = builder.take();
        let mut packed = Vec::new();
        Packer::new(3).unwrap().pack(&frame.plain, &mut packed).unwrap();
        let mut blobs = frame.blobs.clone();
        lie(&mut blobs);
        put_pack(&mut scene, 0xee, &[(packed, frame.plain.len() as u32, blobs)]);
        let lines = contents.iter().enumerate().map(|(at, content)| {
            let (digest, id) = (hex(&Digest::of(content).0), scene.key.blob_id(content));
            format!("f 644 0 0 1.000000000 f{at} {} {digest} {id}\n", content.len())
        });
        let text: String = lines.collect();
        let bad = forged(&mut scene, &[(text, 3)], |header| header.counts.bytes = 6010);
        assert_named(&scene, &good, &bad, ProblemKind::DamagedPack, &hex(&[0xee; 16]));
        let found = problems(&scene, &bad, Depth::Full);
        let hit = |name: &str| {
            found.iter().any(|problem| problem.path.as_ref().is_some_and(|path| path.as_bytes() == name.as_bytes()))
        };
        assert!(hit("f0") && !hit("f2"), "lie {number}: {found:?}");
        let restored = salvage(&scene, &bad).unwrap();
        assert!(restored.contains_key(&b"f2"[..]) && !restored.contains_key(&b"f0"[..]), "lie {number}: {restored:?}");
    }
}

#[test]
fn packs_in_each_others_place_are_named_and_nothing_is_lost() {
    for with_indexes in [false, true] {
        let mut scene = Scene::new();
        let first = scene.file("first", &random::noise(9000, 1));
        scene.end_pack();
        let second = scene.file("second", &random::noise(9000, 2));
        scene.end_pack();
        let key = scene.snapshot(&[first, second]);
        let swap = |name: fn(PackId) -> String| {
            let (a, b) = (name(PackId([1; 16])), name(PackId([2; 16])));
            let (was_a, was_b) = (scene.get(&a), scene.get(&b));
            scene.put(&a, &was_b);
            scene.put(&b, &was_a);
        };
        swap(|id| names::pack(id, false));
        if with_indexes {
            swap(names::index);
        }
        let found = problems(&scene, &key, Depth::Full);
        for pack in [[1; 16], [2; 16]] {
            let named =
                |problem: &Problem| problem.message.contains(&hex(&pack)) && problem.kind == ProblemKind::DamagedPack;
            assert!(found.iter().any(named), "{with_indexes}: {found:?}");
        }
        let restored = salvage(&scene, &key).unwrap();
        // With its index a pack says what is in it, and is found to be another; without it is asked itself.
        assert_eq!(restored.len(), if with_indexes { 2 } else { 0 }, "{found:?}");
    }
}

#[test]
fn parts_of_a_file_in_another_order_are_found() {
    let swapped = |mut entry: TreeEntry| {
        if let Content::Blobs(blobs) = &mut entry.content {
            blobs.swap(0, 1);
        }
        entry
    };
    let mut scene = Scene::new();
    let content = random::noise(2_500_000, 9);
    let chunks = scene.chunked("chunks", &content, 500_000);
    scene.end_pack();
    let tail = scene.chunked("fine", &content, 700_001);
    let parts = [vec![7; 1 << 20], vec![8; 1 << 20]].concat();
    let sparse = scene.sparse("sparse", 4 << 20, &[(4096, &parts)]);
    let hole = scene.sparse("whole", 4 << 20, &[(4096, &parts[..100])]);
    let good = scene.snapshot(&[chunks.clone(), tail.clone(), sparse.clone(), hole.clone()]);
    let mut wrong = hole.clone();
    if let Node::File { blake3, .. } = &mut wrong.entry.node {
        *blake3 = Some(Digest([3; 32]));
    }
    let bad = scene.snapshot(&[swapped(chunks), tail, swapped(sparse), wrong]);
    assert_eq!(problems(&scene, &good, Depth::Full), []);
    let found = problems(&scene, &bad, Depth::Full);
    let named: Vec<(&[u8], ProblemKind)> =
        found.iter().map(|problem| (problem.path.as_ref().unwrap().as_bytes(), problem.kind)).collect();
    let kind = ProblemKind::ContentMismatch;
    assert_eq!(named, [(&b"chunks"[..], kind), (b"sparse", kind), (b"whole", kind)], "{found:?}");
}

#[test]
fn an_index_that_expands_beyond_reason_is_refused() {
    let (mut scene, good) = honest();
    let blob = PackedBlob { id: BlobId([4; 16]), offset: 512, len: 0 };
    let mut packed = Vec::new();
    Packer::new(3).unwrap().pack(&[0; 2048], &mut packed).unwrap();
    put_pack(&mut scene, 0xee, &[(packed, 2048, vec![blob; 100_000])]);
    assert!(scene.get(&names::index(PackId([0xee; 16]))).len() < 2_000);
    let line = file(&mut scene, "a");
    let bad = forged(&mut scene, &[(line, 1)], |_| ());
    assert_named(&scene, &good, &bad, ProblemKind::DamagedTree, "expands beyond reason");
}

#[test]
fn a_pack_that_was_cut_and_lost_its_index_gives_what_is_left() {
    let mut scene = Scene::new();
    let first = scene.file("first", &random::noise(9000, 1));
    scene.end_frame();
    let second = scene.file("second", &random::noise(9000, 2));
    scene.end_pack();
    let key = scene.snapshot(&[first, second]);
    let pack = names::pack(PackId([1; 16]), false);
    scene.delete(&names::index(PackId([1; 16])));
    scene.target.tamper(&pack, |bytes| bytes.truncate(bytes.len() - 3000));
    let found = problems(&scene, &key, Depth::Full);
    assert!(
        found.iter().any(|problem| problem.path.as_ref().is_some_and(|path| path.as_bytes() == b"second")),
        "{found:?}"
    );
    assert_eq!(salvage(&scene, &key).unwrap().keys().collect::<Vec<_>>(), [b"first"]);
}

/// A host that lost its caches asks the indexes for a database. One line says that it is larger than any memory.
#[test]
fn a_page_map_that_claims_a_giant_over_little_is_passed_over() {
    let (scene, _) = honest();
    let (path, below, top) = (BlobId([1; 16]), BlobId([2; 16]), BlobId([3; 16]));
    let mut base = PageMap::new(4096, 4096, None);
    base.push_data(BlobId([4; 16]), 1);
    base.push_unit(0, 0, 0);
    let giant = PageMap::new(4096, u64::from(u32::MAX) * 4096, Some((below, 0, 4096)));
    let pack = PackId([5; 16]);
    let bytes = scene.with(move |_, repository| {
        let mut index = IndexWriter::new(repository.id);
        index.frame(100, 100, &[]);
        let ids = Box::new(std::iter::once(Ok(PageId([6; 16]))));
        index.map(IndexedMap { id: below, path, pieces: Vec::new(), map: base }, ids);
        index.map(IndexedMap { id: top, path, pieces: Vec::new(), map: giant }, Box::new(std::iter::empty()));
        index.finish(&IndexedPack::in_clear(pack, 100, Digest([0; 32])), &repository.key, Vec::new()).unwrap()
    });
    scene.put(&names::index(pack), &bytes);
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().to_owned();
    let rebuilt = scene.with(move |_, repository| {
        let caches = CacheFolder::open(&folder, CacheOf::Backups, repository.id).unwrap();
        rebuild(&repository, &caches, &Known::default(), path).unwrap()
    });
    assert!(!rebuilt);
}
