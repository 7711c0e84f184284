//! Without us: GNU tar, zstd and the `tar` crate read the same archive.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::*;

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).env("LC_ALL", "C.UTF-8").output().unwrap()
}

/// An archive in a folder of its own.
fn stored(tree: &Tree, options: WriteOptions) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar.zst");
    std::fs::write(&path, pack(tree, options).0).unwrap();
    (folder, path)
}

/// What GNU tar says, but for two notices that change nothing: it does not know the keyword that POSIX wants
/// with a long name that is not UTF-8, and it wonders about files from before 1970.
fn notices(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = |line: &str| line.contains("'hdrcharset'") || line.contains("implausibly old time stamp");
    text.lines().filter(|line| !expected(line)).map(str::to_owned).collect()
}

#[test]
fn tar_restores_one_of_everything() {
    let mut tree = one_of_everything();
    // A path of 4,000 bytes, in folders of their own.
    let mut deep = Vec::new();
    for _ in 0..15 {
        deep.extend(vec![b'd'; 250]);
        tree.push(dir(&deep));
        deep.push(b'/');
    }
    deep.extend(vec![b'f'; 4000 - deep.len()]);
    tree.push(file(&deep, "deep"));
    // A name that is cut for the ustar header right behind a slash, of a sparse file and of another.
    tree.push(sparse(format!("{}/s", "c".repeat(83)), 70_000, &[(0, 4096)], 4));
    tree.push(file(format!("{}/f", "c".repeat(99)), "regular"));
    tree.push(dir("c".repeat(83)));
    tree.push(dir("c".repeat(99)));
    tree.push(file([&b"d/"[..], &[0xff; 200]].concat(), "long and not UTF-8"));
    tree[0].0.xattrs = vec![xattr("user.a=b%c", b"\0\xff\n")];
    let (_folder, path) = stored(&tree, small());
    let name = path.to_str().unwrap();

    assert_eq!(notices(&run("zstd", &["-tq", name])), Vec::<String>::new());
    let listed = run("tar", &["--zstd", "-tvf", name]);
    assert!(listed.status.success());
    assert_eq!(notices(&listed), Vec::<String>::new());
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), tree.len());

    let into = tempfile::tempdir().unwrap();
    let folder = into.path().to_str().unwrap();
    let done = run("tar", &["--zstd", "--xattrs", "--xattrs-include=*", "-xpf", name, "-C", folder]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(notices(&done), Vec::<String>::new());
    let found = look(into.path());
    let expected = expected(&tree);
    assert_same(&found, &expected);
    for (head, kind) in &tree {
        if let Kind::File { content, parts: Some(parts), .. } = kind {
            let blocks = into.path().join(head.path.as_path()).metadata().unwrap().blocks() * 512;
            let data: u64 = parts.iter().map(|(_, len)| len + 8192).sum();
            assert!(blocks <= data && blocks < content.len() as u64, "{:?} has {blocks} bytes on disk", head.path);
        }
    }
    let mut value = [0; 64];
    match rustix::fs::getxattr(into.path().join("a"), "user.a=b%c", &mut value[..]) {
        Ok(len) => assert_eq!(value[..len], *b"\0\xff\n"),
        Err(error) => println!("attributes are not compared here: {error}"),
    }
    std::fs::remove_dir_all(into.path().join("d".repeat(250))).unwrap();
}

#[test]
fn tar_restores_a_file_that_shrank_with_zeros() {
    let mut tree = vec![file("shrank", vec![7; 3_000]), file("after", "intact")];
    let Kind::File { valid, .. } = &mut tree[0].1 else { unreachable!() };
    *valid = Some(1_000);
    let (_folder, path) = stored(&tree, small());
    let into = tempfile::tempdir().unwrap();
    let done = run("tar", &["--zstd", "-xf", path.to_str().unwrap(), "-C", into.path().to_str().unwrap()]);
    assert!(done.status.success() && done.stderr.is_empty());
    let content = std::fs::read(into.path().join("shrank")).unwrap();
    assert_eq!(content, [vec![7; 1_000], vec![0; 2_000]].concat());
    assert_eq!(std::fs::read(into.path().join("after")).unwrap(), b"intact");
}

#[test]
fn sizes_and_owners_beyond_octal_are_listed_right() {
    let huge = 9 << 30;
    let mut writer = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.zst");
        let mut file = std::fs::File::create(&path).unwrap();
        let sink = Box::new(move |bytes: &[u8]| {
            std::io::Write::write_all(&mut file, bytes).unwrap();
            Ok(())
        });
        (folder, path, ArchiveWriter::new(&Scope::default(), small(), sink).unwrap())
    };
    let mut big = head("huge", 0o600);
    (big.uid, big.gid, big.mtime) = (3_000_000, 4_000_000_000, 1 << 34);
    writer.2.begin_file(big, huge, Some(vec![(5 << 30, 4)])).unwrap();
    writer.2.write(b"data").unwrap();
    writer.2.end_file(None).unwrap();
    let written = writer.2.finish(manifest()).unwrap();
    assert_eq!(written.manifest.size_bytes, huge);
    let listed = run("tar", &["--zstd", "--numeric-owner", "-tvf", writer.1.to_str().unwrap()]);
    assert_eq!(String::from_utf8_lossy(&listed.stderr), "");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        text.contains("3000000/4000000000") && text.contains(&huge.to_string()) && text.contains("2514-"),
        "{text}"
    );
    let archive = Archive::open(Arc::new(FileBlocks::open(&writer.1).unwrap())).unwrap();
    assert_eq!(archive.verify_quick(&Scope::default()).unwrap(), []);
}

#[test]
fn the_size_of_a_member_beyond_octal_is_in_the_pax_header() {
    let entry = crate::backup::manifest::Entry {
        path: RelPath::new("huge"),
        node: crate::backup::manifest::Node::File { size: 9 << 30, blake3: None, data: None, valid_size: None },
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nanos: 0,
        xattrs: Vec::new(),
        offset: 0,
    };
    let mut header = Vec::new();
    tar::encode(&entry, &mut header).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    std::fs::write(&path, &header).unwrap();
    // The content is missing, but the header is read before that is noticed.
    let listed = run("tar", &["-tvf", path.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&(9_u64 << 30).to_string()));
    assert_eq!(untar::parse(&header), Ok(untar::Parsed::Member { entry: Box::new(entry), header: header.len() }));
}

#[test]
fn the_stand_in_of_a_long_name_never_looks_like_a_folder() {
    // Readers that know no PAX take a regular file whose name ends in a slash for a folder.
    for (name, data) in [(99, None), (83, Some(vec![(0, 4)]))] {
        let path = RelPath::new(format!("{}/file", "c".repeat(name)));
        let node = crate::backup::manifest::Node::File { size: 4, blake3: None, data, valid_size: None };
        let (mode, uid, gid, mtime, mtime_nanos) = (0o600, 0, 0, 0, 0);
        let xattrs = Vec::new();
        let entry =
            crate::backup::manifest::Entry { path, node, mode, uid, gid, mtime, mtime_nanos, xattrs, offset: 0 };
        let mut header = Vec::new();
        tar::encode(&entry, &mut header).unwrap();
        let ustar = header.windows(6).rposition(|window| window == b"ustar\0").unwrap() - 257;
        let name = header[ustar..ustar + 100].split(|byte| *byte == 0).next().unwrap();
        assert!(name.ends_with(b"c"), "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn the_tar_crate_agrees() {
    let tree = one_of_everything();
    let (bytes, _) = pack(&tree, small());
    let mut reader = ::tar::Archive::new(zstd::stream::Decoder::new(bytes.as_slice()).unwrap());
    let mut names = Vec::new();
    for entry in reader.entries().unwrap() {
        let entry = entry.unwrap();
        if entry.header().entry_type().is_file() || entry.header().entry_type().is_dir() {
            names.push(entry.path_bytes().strip_suffix(b"/").unwrap_or(&entry.path_bytes()).to_vec());
        }
    }
    // The crate knows no sparse files of format 1.0: it gives those their stand-in names.
    for (head, kind) in &tree {
        match kind {
            Kind::File { parts: None, .. } | Kind::Special(Special::Dir) => {
                assert!(names.contains(&head.path.as_bytes().to_vec()), "{:?}", head.path);
            }
            _ => {}
        }
    }
}
