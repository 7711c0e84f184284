//! What goes in comes out.

use std::path::PathBuf;

use super::*;
use crate::error::ErrorKind;

fn assert_round_trip(tree: &Tree, options: WriteOptions) {
    let (bytes, written) = pack(tree, options);
    let archive = open(&bytes).unwrap();
    assert_eq!(*archive.manifest(), written.manifest);
    assert_eq!(archive.problems(), []);
    assert_eq!(archive.verify_full(&Scope::default(), 2).unwrap(), []);
    let folder = tempfile::tempdir().unwrap();
    let made = extract_all(&archive, folder.path(), &super::options()).unwrap();
    assert_eq!(made.lost, []);
    assert_eq!((made.files, made.entries), (written.manifest.files, written.manifest.entries));
    assert_eq!(made.bytes, written.manifest.size_bytes);
    assert_same(&look(folder.path()), &expected(tree));
}

#[test]
fn one_of_everything_comes_back() {
    let tree = one_of_everything();
    for frame_bytes in [1024, 4096, 1 << 20] {
        assert_round_trip(&tree, WriteOptions { frame_bytes, ..small() });
    }
}

#[test]
fn nothing_comes_back() {
    assert_round_trip(&Vec::new(), small());
}

#[test]
fn a_random_tree_comes_back() {
    let mut random = random::seeded("a_random_tree_comes_back");
    for _ in 0..8 {
        let mut tree: Tree = Vec::new();
        let mut folders = vec![Vec::new()];
        let mut files: Vec<Vec<u8>> = Vec::new();
        for number in 0..40_u64 {
            let parent = folders[random.usize(..folders.len())].clone();
            let name_len = 1 + random.usize(..200);
            let mut path = parent;
            if !path.is_empty() {
                path.push(b'/');
            }
            let wild = random.u64(..3) == 0;
            path.extend((0..name_len).map(|_| match random.u8(..) {
                0 | b'/' => b'_',
                byte if wild => byte,
                byte => b'a' + byte % 26,
            }));
            path.extend_from_slice(number.to_string().as_bytes());
            if path.len() > 3000 {
                continue;
            }
            let (mut head, kind) = match random.u64(..9) {
                0 | 1 => {
                    folders.push(path.clone());
                    dir(&path)
                }
                2 => symlink(
                    &path,
                    random::bytes(&mut random, 1 + number as usize * 4).iter().map(|b| b | 1).collect::<Vec<_>>(),
                ),
                3 => (head(&path, 0o600), Kind::Special(Special::Fifo)),
                4 if !files.is_empty() => link(&path, &files[random.usize(..files.len())]),
                5 => {
                    let mut parts = Vec::new();
                    let mut at = random.u64(..3) * 5000;
                    for _ in 0..random.u64(..6) {
                        let len = 512 * (1 + random.u64(..12));
                        parts.push((at, len));
                        at += len + random.u64(..2) * 7000;
                    }
                    // Only the last part may end inside a block.
                    if let Some((_, len)) = parts.last_mut() {
                        *len -= random.u64(..512);
                    }
                    files.push(path.clone());
                    sparse(&path, at as usize + random.usize(..2) * 9000, &parts, random.u8(1..))
                }
                _ => {
                    files.push(path.clone());
                    let len = random.usize(..20_000);
                    file(&path, content(&mut random, len))
                }
            };
            if !matches!(kind, Kind::Special(Special::HardLink { .. })) {
                head.mode =
                    if matches!(kind, Kind::Special(Special::Dir)) { 0o700 } else { 0o400 } | random.u32(..0o100);
                head.mtime = random.u64(..1 << 32) as i64 - (1 << 30);
                head.mtime_nanos = random.u32(..3) * 333_333_333;
            }
            tree.push((head, kind));
        }
        let frame_bytes = 1024 + random.usize(..40_000);
        assert_round_trip(&tree, WriteOptions { frame_bytes, level: 1, threads: 2 });
    }
}

#[test]
fn the_stream_does_not_depend_on_frames_or_threads() {
    let tree = one_of_everything();
    let plain = |options| zstd::stream::decode_all(pack(&tree, options).0.as_slice()).unwrap();
    let one = plain(WriteOptions { level: 1, threads: 1, frame_bytes: 1024 });
    assert!(one == plain(WriteOptions { level: 9, threads: 4, frame_bytes: 50_000 }));
    // And the same again is the same file.
    assert!(pack(&tree, small()).0 == pack(&tree, small()).0);
}

#[test]
fn a_file_that_shrank_comes_back_as_long_as_it_was_read() {
    let mut tree = vec![
        file("shrank", vec![7; 10_000]),
        file("gone", vec![8; 5_000]),
        sparse("holes", 10_000, &[(0, 3072), (6000, 3000)], 9),
        file("after", "intact"),
    ];
    for (number, len) in [(0, 4_321), (1, 0), (2, 7_000)] {
        let Kind::File { valid, .. } = &mut tree[number].1 else { unreachable!() };
        *valid = Some(len);
    }
    assert_round_trip(&tree, small());
}

#[test]
fn a_shrunk_file_cut_inside_a_hole_keeps_the_hole() {
    let (mut bytes, mut made) = (Vec::new(), None);
    let out = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let out = Arc::clone(&out);
        Box::new(move |block: &[u8]| {
            out.lock().unwrap().extend_from_slice(block);
            Ok(())
        })
    };
    let mut writer = ArchiveWriter::new(&Scope::default(), small(), sink).unwrap();
    writer.begin_file(head("f", 0o600), 10_000, Some(vec![(0, 1024), (9000, 1000)])).unwrap();
    writer.write(&[1; 1024]).unwrap();
    writer.end_file(Some(5000)).unwrap();
    made.replace(writer.finish(manifest()).unwrap());
    bytes.append(&mut out.lock().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let archive = open(&bytes).unwrap();
    assert_eq!(archive.verify_full(&Scope::default(), 1).unwrap(), []);
    extract_all(&archive, folder.path(), &options()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("f")).unwrap(), [vec![1; 1024], vec![0; 3976]].concat());
}

#[test]
fn attributes_come_back_where_the_filesystem_has_them() {
    let mut tree = vec![dir("d"), file("d/f", "text"), file("read only", "text")];
    tree[0].0.xattrs = vec![xattr("user.on a folder", b"1")];
    tree[1].0.xattrs = vec![xattr("user.a=b%c", b"\0\xff\n"), xattr("user.empty", b""), xattr("user.long", &[5; 2000])];
    tree[2].0.xattrs = vec![xattr("user.x", b"y")];
    tree[2].0.mode = 0o400;
    let (bytes, _) = pack(&tree, small());
    let folder = tempfile::tempdir().unwrap();
    let made = extract_all(&open(&bytes).unwrap(), folder.path(), &options()).unwrap();
    assert_same(&look(folder.path()), &expected(&tree));
    if !made.lost.is_empty() {
        assert!(made.lost.iter().all(|problem| problem.kind == ProblemKind::AttributeNotRestored), "{:?}", made.lost);
        return println!("this filesystem has no user attributes: not compared");
    }
    for (head, _) in &tree {
        for attribute in &head.xattrs {
            let mut value = vec![0; 4096];
            let path = folder.path().join(head.path.as_path());
            let len = rustix::fs::getxattr(&path, attribute.name.as_path(), &mut value[..]).unwrap();
            assert_eq!(hex(&value[..len]), attribute.value, "{attribute:?}");
        }
    }
}

#[test]
fn without_owners_no_rights_are_lent() {
    let mut tree = vec![file("tool", "#!/bin/sh\n")];
    tree[0].0.mode = 0o6755;
    tree[0].0.xattrs = vec![xattr("security.capability", &[1; 20])];
    let (bytes, _) = pack(&tree, small());
    let folder = tempfile::tempdir().unwrap();
    let made =
        extract_all(&open(&bytes).unwrap(), folder.path(), &ExtractOptions { owners: false, ..options() }).unwrap();
    assert_eq!(made.lost.len(), 1);
    assert_eq!(made.lost[0].kind, ProblemKind::AttributeNotRestored);
    tree[0].0.mode = 0o755;
    assert_same(&look(folder.path()), &expected(&tree));
}

#[test]
fn sparse_files_stay_sparse() {
    let tree = vec![sparse("s", 8 << 20, &[(1 << 20, 4096)], 1)];
    let (bytes, _) = pack(&tree, small());
    let folder = tempfile::tempdir().unwrap();
    extract_all(&open(&bytes).unwrap(), folder.path(), &options()).unwrap();
    let meta = folder.path().join("s").metadata().unwrap();
    assert_eq!(meta.len(), 8 << 20);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
}

#[test]
fn parts_are_fitted_to_what_an_archive_takes() {
    assert_eq!(fit_parts(&[(1, 1), (600, 10), (5000, 96)], 5096), [(0, 1024), (4608, 488)]);
    assert_eq!(fit_parts(&[(0, 512), (512, 512)], 9000), [(0, 1024)]);
    assert_eq!(fit_parts(&[(5, 0), (9000, 10)], 9000), []);
    let many: Vec<_> = (0..200_000).map(|number| (number * 8192, 4096)).collect();
    let fitted = fit_parts(&many, 1 << 40);
    assert!(fitted.len() == MAX_PARTS, "{}", fitted.len());
    let holding = |at: u64| fitted[fitted.partition_point(|(start, _)| *start <= at) - 1];
    assert!(many.iter().all(|(at, len)| at + len <= holding(*at).0 + holding(*at).1));
}

#[test]
fn missing_folders_are_made() {
    let tree = vec![file("a/b/c", "x"), file("a/bb", "y"), dir("a/b/d")];
    let (bytes, _) = pack(&tree, small());
    let folder = tempfile::tempdir().unwrap();
    let made = extract_all(&open(&bytes).unwrap(), folder.path(), &options()).unwrap();
    assert_eq!((made.files, made.entries), (2, 3));
    let seen = look(folder.path());
    assert_eq!(seen.len(), 5);
    for name in ["a", "a/b"] {
        assert_eq!(seen[name.as_bytes()].mode, 0o755);
    }
}

#[test]
fn a_selection_reads_only_its_frames() {
    let mut random = Rng::with_seed(3);
    let mut tree: Tree = vec![dir("d")];
    tree.extend((0..100).map(|number| file(format!("d/{number:03}"), content(&mut random, 4096))));
    tree[0].0.mode = 0o750;
    let (bytes, _) = pack(&tree, small());
    let blocks = Memory::new(bytes);
    let archive = Archive::open(blocks.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let before = blocks.reads.load(Ordering::SeqCst);
    let selection = Selection::Paths(vec![PathBuf::from("./d/050")]);
    let into = Dir::open(folder.path()).unwrap();
    let made = archive.extract(&Scope::default(), &selection, &into, &options()).unwrap();
    assert_eq!((made.files, made.entries, made.bytes), (1, 2, 4096));
    assert!(blocks.reads.load(Ordering::SeqCst) - before <= 3);
    let expected: BTreeMap<_, _> =
        expected(&tree).into_iter().filter(|(path, _)| path == b"d" || path == b"d/050").collect();
    assert_same(&look(folder.path()), &expected);
}

#[test]
fn a_selection_takes_what_is_below_and_refuses_what_is_not_there() {
    let tree = vec![dir("d"), file("d/x", "1"), file("d-2", "2"), file("e/f/g", "3")];
    let (bytes, _) = pack(&tree, small());
    let archive = open(&bytes).unwrap();
    for (path, count) in [("d", 2), ("d/", 2), ("e/f", 1), (".", 4)] {
        let folder = tempfile::tempdir().unwrap();
        let into = Dir::open(folder.path()).unwrap();
        let made = archive.extract(&Scope::default(), &Selection::Paths(vec![path.into()]), &into, &options()).unwrap();
        assert_eq!(made.entries, count, "{path}");
    }
    let folder = tempfile::tempdir().unwrap();
    let into = Dir::open(folder.path()).unwrap();
    for (path, kind) in
        [("nope", ErrorKind::NotFound), ("../d", ErrorKind::InvalidInput), ("/d", ErrorKind::InvalidInput)]
    {
        let selection = Selection::Paths(vec!["d".into(), path.into()]);
        let error = archive.extract(&Scope::default(), &selection, &into, &options()).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(path), "{error}");
    }
    assert!(look(folder.path()).is_empty());
}

#[test]
fn a_hard_link_selected_alone_becomes_the_file() {
    let tree = vec![file("first", vec![1; 9000]), link("x/second", "first"), link("x/third", "first")];
    let (bytes, _) = pack(&tree, small());
    let folder = tempfile::tempdir().unwrap();
    let into = Dir::open(folder.path()).unwrap();
    let archive = open(&bytes).unwrap();
    let made = archive.extract(&Scope::default(), &Selection::Paths(vec!["x".into()]), &into, &options()).unwrap();
    assert_eq!((made.files, made.bytes), (2, 9000));
    let seen = look(folder.path());
    assert_eq!(seen[&b"x/second"[..]].content, vec![1; 9000]);
    assert_eq!(seen[&b"x/second"[..]].links, 2);
    assert!(!seen.contains_key(&b"first"[..]));
}

#[test]
fn a_list_costs_one_read_and_opening_two() {
    let mut random = Rng::with_seed(5);
    let tree: Tree = (0..2000).map(|number| file(format!("{number}"), content(&mut random, 300))).collect();
    let (bytes, written) = pack(&tree, WriteOptions { frame_bytes: 1 << 20, ..small() });
    let blocks = Memory::new(bytes);
    assert_eq!(Archive::summary(blocks.as_ref()).unwrap(), Summary::from(&written.manifest));
    assert_eq!(blocks.reads.load(Ordering::SeqCst), 1);
    assert_eq!(Archive::open(blocks.clone()).unwrap().entries().len(), 2000);
    assert_eq!(blocks.reads.load(Ordering::SeqCst), 3);
}

#[test]
fn the_writer_refuses_what_no_restore_accepts() {
    let refused = |node: (NodeHead, Kind)| {
        let mut writer = ArchiveWriter::new(&Scope::default(), small(), Box::new(|_| Ok(()))).unwrap();
        match node {
            (head, Kind::Special(special)) => writer.add(head, special).unwrap_err(),
            (head, Kind::File { content, parts, .. }) => {
                writer.begin_file(head, content.len() as u64, parts).unwrap_err()
            }
        }
    };
    for name in ["", "/a", "a/../b", "./a", "a//b", "a/", "a\0b"] {
        assert_eq!(refused(dir(name)).kind(), ErrorKind::InvalidInput, "{name:?}");
    }
    assert_eq!(refused(dir([b'n'; 256])).kind(), ErrorKind::InvalidInput);
    assert_eq!(refused(symlink("a", "")).kind(), ErrorKind::InvalidInput);
    for parts in [vec![(0, 1024), (512, 10)], vec![(0, 10), (50, 10)], vec![(0, 0)], vec![(2000, 1)]] {
        let mut bad = sparse("s", 2000, &[], 0);
        bad.1 = Kind::File { content: vec![0; 2000], parts: Some(parts), valid: None };
        assert_eq!(refused(bad).kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_writer_misused_or_failed_stays_failed() {
    let mut writer = ArchiveWriter::new(&Scope::default(), small(), Box::new(|_| Ok(()))).unwrap();
    writer.begin_file(head("a", 0o600), 3, None).unwrap();
    assert_eq!(writer.write(b"four").unwrap_err().kind(), ErrorKind::Internal);
    assert!(writer.end_file(None).is_err());
    assert!(writer.finish(manifest()).is_err());

    let full = || Err(crate::error::Error::new(ErrorKind::NoSpace, "the target is full"));
    let mut writer = ArchiveWriter::new(&Scope::default(), small(), Box::new(move |_| full())).unwrap();
    writer.begin_file(head("a", 0o600), 1 << 20, None).unwrap();
    let error = (0..).find_map(|_| writer.write(&[0; 4096]).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
}

#[test]
fn the_writer_holds_only_a_few_frames() {
    let frame = 64 << 10;
    let out = Arc::new(AtomicU64::new(0));
    let sink = {
        let out = Arc::clone(&out);
        Box::new(move |bytes: &[u8]| {
            out.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            Ok(())
        })
    };
    let options = WriteOptions { level: 1, threads: 2, frame_bytes: frame };
    let mut writer = ArchiveWriter::new(&Scope::default(), options, sink).unwrap();
    let mut random = Rng::with_seed(9);
    writer.begin_file(head("f", 0o600), 300 * 10_000, None).unwrap();
    for number in 1..=300 {
        // Random bytes: as many go out as come in.
        let block = random::bytes(&mut random, 10_000);
        writer.write(&block).unwrap();
        let held = (number * 10_000_u64).saturating_sub(out.load(Ordering::SeqCst));
        assert!(held <= 6 * frame as u64, "{held} bytes are held");
    }
    writer.end_file(None).unwrap();
    writer.finish(manifest()).unwrap();
}

#[test]
fn a_cancel_stops_everything() {
    let (bytes, _) = pack(&one_of_everything(), small());
    let archive = open(&bytes).unwrap();
    let scope = Scope::default();
    scope.cancel.cancel();
    let folder = tempfile::tempdir().unwrap();
    let into = Dir::open(folder.path()).unwrap();
    assert_eq!(archive.verify_full(&scope, 2).unwrap_err().kind(), ErrorKind::Cancelled);
    let error = archive.extract(&scope, &Selection::All, &into, &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let mut writer = ArchiveWriter::new(&scope, small(), Box::new(|_| Ok(()))).unwrap();
    assert_eq!(writer.add(head("a", 0o700), Special::Dir).unwrap_err().kind(), ErrorKind::Cancelled);
}
