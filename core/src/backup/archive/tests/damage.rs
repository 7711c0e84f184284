//! Bits flip, ends are cut off, pieces are cut out: it is noticed, wrong bytes never appear, and the rest is saved.

use super::*;
use crate::error::ErrorKind;

/// A tree whose files lie in many frames.
fn tree() -> Tree {
    let mut random = Rng::with_seed(11);
    let mut tree: Tree = vec![dir("d")];
    for number in 0..6 {
        let len = 500 + number * 700;
        tree.push(file(format!("d/{number}"), content(&mut random, len)));
    }
    tree.push(link("d/link", "d/3"));
    tree.push(symlink("d/s", "3"));
    tree.push(sparse("d/sparse", 50_000, &[(3000, 3072), (40_000, 100)], 5));
    tree.push(file("d/empty", ""));
    tree
}

/// Frames as small as they get.
fn tiny() -> WriteOptions {
    WriteOptions { level: 1, threads: 2, frame_bytes: 1024 }
}

/// Whatever `extract` leaves behind must be right: every file there has exactly its content.
fn assert_no_wrong_bytes(folder: &std::path::Path, tree: &Tree, what: &str) {
    let expected = expected(tree);
    for (path, node) in look(folder) {
        let name = String::from_utf8_lossy(&path).into_owned();
        let right = &expected.get(&path).unwrap_or_else(|| panic!("{what}: {name:?} appeared"));
        assert!(node.kind == right.kind && node.content == right.content, "{what}: {name:?} has wrong bytes");
    }
}

/// Salvages, and checks that what is not listed as lost is there.
fn assert_salvaged(archive: &Archive, tree: &Tree, what: &str) -> Vec<Problem> {
    let folder = tempfile::tempdir().unwrap();
    let made = extract_all(archive, folder.path(), &ExtractOptions { salvage: true, ..options() })
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_no_wrong_bytes(folder.path(), tree, what);
    let found = look(folder.path());
    for path in expected(tree).keys() {
        let lost = made.lost.iter().any(|p| p.path.as_ref().is_some_and(|lost| lost.as_bytes() == path));
        assert_eq!(found.contains_key(path), !lost, "{what}: {:?}", String::from_utf8_lossy(path));
    }
    made.lost
}

#[test]
fn every_flipped_bit_of_a_small_archive_is_noticed() {
    let tree = vec![dir("d"), file("d/a", random::noise(900, 1)), file("d/b", "b"), symlink("s", "d/b")];
    flip_bits(&tree, 1);
}

#[test]
fn flipped_bits_anywhere_are_noticed() {
    flip_bits(&tree(), 37);
}

/// Flips a bit in one byte of `every`.
fn flip_bits(tree: &Tree, every: u64) {
    let (bytes, _) = pack(tree, tiny());
    let mut random = random::seeded("flip_bits");
    println!("{} bytes", bytes.len());
    for at in 0..bytes.len() {
        if random.u64(..every) != 0 {
            continue;
        }
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << random.u64(..8);
        let what = format!("byte {at}");
        let Ok(archive) = open(&damaged) else { panic!("{what}: one byte never makes an archive unreadable") };
        let problems = archive.verify_full(&Scope::default(), 1).unwrap();
        assert!(!problems.is_empty(), "{what}: not noticed");
        // Extraction costs more: a sample.
        if random.u64(..4) != 0 {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let strict = extract_all(&archive, folder.path(), &options());
        assert_no_wrong_bytes(folder.path(), tree, &what);
        let in_frames = at < archive.contents.frames_end as usize;
        match strict {
            Ok(made) => assert!(!in_frames && made.lost.is_empty(), "{what}"),
            Err(error) => assert!(in_frames && error.kind() == ErrorKind::Corrupt, "{what}: {error}"),
        }
        let lost = assert_salvaged(&archive, tree, &what);
        // A frame of 1 KiB holds at most a few files.
        assert!(lost.len() <= 4, "{what}: {lost:?}");
    }
}

#[test]
fn a_strict_extraction_names_the_file() {
    let tree = vec![file("good", vec![1; 3000]), file("bad", random::noise(30_000, 1))];
    let (mut bytes, _) = pack(&tree, tiny());
    let at = open(&bytes).unwrap().contents.frames[20].offset as usize + 30;
    bytes[at] ^= 4;
    let folder = tempfile::tempdir().unwrap();
    let error = extract_all(&open(&bytes).unwrap(), folder.path(), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("bad"), "{error}");
    assert!(!folder.path().join("bad").exists());
    // The undamaged file can be had without salvage.
    let folder = tempfile::tempdir().unwrap();
    let into = Dir::open(folder.path()).unwrap();
    let archive = open(&bytes).unwrap();
    archive.extract(&Scope::default(), &Selection::Paths(vec!["good".into()]), &into, &options()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("good")).unwrap(), vec![1; 3000]);
}

#[test]
fn every_cut_end_is_noticed_and_the_beginning_saved() {
    let tree = tree();
    let (bytes, _) = pack(&tree, tiny());
    let whole = open(&bytes).unwrap();
    let footer = whole.footer.clone().unwrap();
    let mut random = random::seeded("every_cut_end_is_noticed");
    let mut cuts: Vec<usize> = whole.contents.frames.iter().map(|frame| frame.end() as usize).collect();
    cuts.extend([0, 1, footer.copies[0].end as usize, footer.copies[1].end as usize, bytes.len() - 1]);
    cuts.extend((0..60).map(|_| random.usize(..bytes.len())));
    for cut in cuts {
        let what = format!("cut at {cut} of {}", bytes.len());
        let damaged = &bytes[..cut];
        if cut >= footer.copies[0].end as usize {
            let archive = open(damaged).unwrap();
            assert!(!archive.verify_quick(&Scope::default()).unwrap().is_empty(), "{what}");
            assert_eq!(assert_salvaged(&archive, &tree, &what), []);
            continue;
        }
        assert_eq!(open(damaged).unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
        assert_eq!(Archive::summary(&*Memory::new(damaged.to_vec())).unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
        let Ok(archive) = Archive::open_without_index(Memory::new(damaged.to_vec())) else {
            assert!(cut < whole.contents.frames[1].end() as usize, "{what}: nothing was saved");
            continue;
        };
        assert!(!archive.problems().is_empty() && !archive.has_index());
        let folder = tempfile::tempdir().unwrap();
        extract_all(&archive, folder.path(), &options()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_no_wrong_bytes(folder.path(), &tree, &what);
        // Every entry that lies before the cut is there.
        let plain =
            whole.contents.frames.iter().filter(|frame| frame.end() as usize <= cut).map(|f| f.plain_end()).max();
        let found = look(folder.path());
        for (number, entry) in whole.entries().iter().enumerate() {
            if Some(whole.contents.place(number as u32).end) <= plain {
                assert!(found.contains_key(entry.path.as_bytes()), "{what}: {:?} is missing", entry.path);
            }
        }
    }
}

#[test]
fn without_its_index_a_whole_archive_is_read_to_the_end() {
    let tree = one_of_everything();
    for frame_bytes in [1024, 5000, 1 << 20] {
        let (mut bytes, _) = pack(&tree, WriteOptions { frame_bytes, ..tiny() });
        let end = open(&bytes).unwrap().contents.frames_end as usize;
        bytes.truncate(end);
        let archive = Archive::open_without_index(Memory::new(bytes)).unwrap();
        assert_eq!(archive.problems().len(), 1);
        assert_eq!(archive.verify_full(&Scope::default(), 2).unwrap().len(), 1);
        let folder = tempfile::tempdir().unwrap();
        extract_all(&archive, folder.path(), &options()).unwrap();
        assert_same(&look(folder.path()), &expected(&tree));
    }
}

#[test]
fn a_piece_cut_from_the_middle_loses_only_its_files() {
    let tree = tree();
    let (bytes, _) = pack(&tree, tiny());
    let whole = open(&bytes).unwrap();
    let end = whole.contents.frames_end;
    let mut random = random::seeded("a_piece_cut_from_the_middle");
    for _ in 0..60 {
        let start = random.u64(..end);
        let stop = start + 1 + random.u64(..(end - start).min(3000));
        let what = format!("without {start}..{stop}");
        let damaged = [&bytes[..start as usize], &bytes[stop as usize..]].concat();
        let archive = open(&damaged).unwrap_or_else(|error| panic!("{what}: {error}"));
        let problems = archive.verify_full(&Scope::default(), 2).unwrap();
        assert!(problems.iter().any(|problem| problem.kind == ProblemKind::Truncated), "{what}: {problems:?}");
        let lost = assert_salvaged(&archive, &tree, &what);
        // Only files of which a frame was touched are lost.
        for problem in lost {
            let path = problem.path.unwrap();
            let number = whole.entries().iter().position(|entry| entry.path == path).unwrap();
            if matches!(whole.entries()[number].node, crate::backup::manifest::Node::HardLink { .. }) {
                continue;
            }
            let place = whole.contents.place(number as u32);
            let frames = &whole.contents.frames[whole.contents.frames_of(place.data..place.data_end)];
            let touched = frames.iter().any(|frame| frame.offset < stop && frame.end() > start);
            assert!(touched, "{what}: {path:?} was lost for nothing");
        }
    }
}

#[test]
fn a_cut_that_takes_the_footer_too_is_survived() {
    let tree = tree();
    let (bytes, _) = pack(&tree, tiny());
    let whole = open(&bytes).unwrap();
    let second_end = whole.footer.clone().unwrap().copies[1].end as usize;
    let damaged = [&bytes[..100], &bytes[2000..second_end]].concat();
    let archive = open(&damaged).unwrap();
    let kinds: Vec<_> = archive.problems().iter().map(|problem| problem.kind).collect();
    assert!(kinds.contains(&ProblemKind::Truncated) && kinds.contains(&ProblemKind::DamagedTrailer), "{kinds:?}");
    assert_salvaged(&archive, &tree, "both");
}

#[test]
fn either_copy_of_the_index_is_enough() {
    let (bytes, written) = pack(&tree(), tiny());
    let footer = open(&bytes).unwrap().footer.unwrap();
    for dead in [vec![0], vec![1], vec![0, 2], vec![1, 2]] {
        let mut damaged = bytes.clone();
        for part in &dead {
            match part {
                2 => *damaged.last_mut().unwrap() ^= 1,
                copy => damaged[footer.copies[*copy].start as usize + 100] ^= 1,
            }
        }
        let archive = open(&damaged).unwrap();
        assert_eq!(*archive.manifest(), written.manifest);
        assert!(!archive.verify_quick(&Scope::default()).unwrap().is_empty(), "{dead:?}");
        assert_eq!(Archive::summary(&*Memory::new(damaged)).unwrap(), Summary::from(&written.manifest));
    }
}

#[test]
fn an_archive_inside_an_archive_is_not_mistaken_for_it() {
    // zstd stores a block of 128 KiB as it is when it gains less than a 64th: an inner archive's end shows.
    let mut random = Rng::with_seed(2);
    let mut noise = |len: usize| random::bytes(&mut random, len);
    let options = WriteOptions { frame_bytes: 64 << 10, ..small() };
    let (inner, _) = pack(&vec![file("inner", noise(100_000))], options);
    let tree =
        vec![file("before", noise(50_000)), file("backup.tar.zst", inner.clone()), file("after", noise(200_000))];
    let (outer, _) = pack(&tree, WriteOptions { frame_bytes: 1 << 20, ..small() });
    let whole = open(&outer).unwrap();
    // The file can be cut exactly there.
    let frames = &outer[..whole.contents.frames_end as usize];
    let magic = &inner[inner.len() - 8..];
    let visible = frames.windows(8).rposition(|window| window == magic).map(|at| at + 8);
    let cuts = (1..whole.contents.frames_end as usize).filter(|cut| cut % 20_011 == 0);
    for cut in cuts.chain(visible).chain([inner.len(), inner.len() + 1]) {
        match open(&outer[..cut]) {
            Ok(archive) => panic!("cut at {cut}: found {:?}", archive.entries()[0].path),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
    }
    assert!(visible.is_some(), "the inner archive was compressed: the test proves nothing");
}

#[test]
fn a_file_that_is_no_archive_is_called_so() {
    for bytes in [vec![], vec![0; 100], random::noise(100_000, 1), zstd::stream::encode_all(&b"x"[..], 3).unwrap()] {
        assert_eq!(open(&bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        let error = Archive::open_without_index(Memory::new(bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_disk_that_fails_is_an_error_and_damage_to_a_salvage() {
    struct Failing(Arc<Memory>, Range<u64>);
    impl Blocks for Failing {
        fn len(&self) -> u64 {
            self.0.len()
        }
        fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
            if range == self.1 {
                let error = std::io::Error::from_raw_os_error(libc::EIO);
                return Err(crate::error::Error::io("read the archive", error));
            }
            self.0.read(range)
        }
    }
    let tree = tree();
    let (bytes, _) = pack(&tree, tiny());
    let whole = open(&bytes).unwrap();
    let number = whole.entries().iter().position(|entry| entry.path.as_bytes() == b"d/5").unwrap();
    let place = whole.contents.place(number as u32);
    let frame = whole.contents.frames[whole.contents.frames_of(place.data..place.data_end).start];
    let archive = Archive::open(Arc::new(Failing(Memory::new(bytes), frame.offset..frame.end()))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = extract_all(&archive, folder.path(), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_no_wrong_bytes(folder.path(), &tree, "EIO");
    assert!(!assert_salvaged(&archive, &tree, "EIO").is_empty());
}
