use super::*;

fn entry(path: &[u8], node: Node) -> Entry {
    Entry {
        path: RelPath::from(path),
        node,
        mode: 0o644,
        uid: 1000,
        gid: 100,
        mtime: 1_700_000_000,
        mtime_nanos: 5,
        xattrs: Vec::new(),
        offset: 0,
    }
}

fn file(path: &[u8], size: u64, blobs: usize, data: Option<Vec<(u64, u64)>>) -> TreeEntry {
    let node = Node::File { size, blake3: Some(Digest([9; 32])), data, valid_size: None };
    let blobs = (0..blobs).map(|at| BlobId(*blake3::hash(&at.to_le_bytes()).as_bytes().first_chunk().unwrap()));
    TreeEntry { entry: entry(path, node), content: Content::Blobs(blobs.collect()) }
}

/// One entry of each kind, with whatever is hard to write down.
pub(crate) fn samples() -> Vec<TreeEntry> {
    let plain = |path: &[u8], node| TreeEntry { entry: entry(path, node), content: Content::Nothing };
    let mut folder = plain(b"data", Node::Dir);
    folder.entry.mode = 0o7777;
    folder.entry.mtime = -5;
    folder.entry.mtime_nanos = 250_000_000;
    let mut marked = file(b"with spaces\nand%\xff", 5, 1, None);
    marked.entry.xattrs = vec![
        Xattr { name: RelPath::from(&b"user.odd name"[..]), value: "00ff".into() },
        Xattr { name: RelPath::from(&b"user.empty"[..]), value: String::new() },
    ];
    let pages = TreeEntry {
        entry: entry(b"data/app.db", Node::File { size: 8192, blake3: None, data: None, valid_size: None }),
        content: Content::Pages { map: BlobId([3; 16]), digest: Digest([4; 32]) },
    };
    vec![
        folder,
        file(b"empty", 0, 0, None),
        file(b"one line", 64 << 20, 64, None),
        file(b"three lines", 1 << 30, 129, None),
        file(b"sparse", 1 << 30, 1, Some(vec![(0, 4096), (1 << 20, 512), (1 << 29, 100)])),
        file(b"all hole", 1 << 30, 0, Some(Vec::new())),
        marked,
        pages,
        plain(b"link", Node::Symlink { target: RelPath::from(&b"../any where"[..]) }),
        plain(b"again", Node::HardLink { target: RelPath::from(&b"one line"[..]) }),
        plain(b"pipe", Node::Fifo),
    ]
}

pub(crate) fn block_of(entries: &[TreeEntry]) -> Vec<u8> {
    let mut record = RecordWriter::new(TREE);
    entries.iter().for_each(|entry| write_entry(&mut record, entry));
    record.finish()
}

fn read(block: &[u8]) -> Result<Vec<TreeEntry>> {
    let mut reader = BlockReader::new(block)?;
    std::iter::from_fn(|| reader.next().transpose()).collect()
}

#[test]
fn every_kind_of_entry_round_trips() {
    let entries = samples();
    let block = block_of(&entries);
    let text = String::from_utf8(block.clone()).unwrap();
    assert!(text.starts_with("uplifted-ops tree 1\nd 7777 1000 100 -4.750000000 data\n"), "{text}");
    assert!(text.contains(" with%20spaces%0Aand%25%FF 5 "), "{text}");
    assert!(text.contains("\nx user.odd%20name 00ff\nx user.empty %\n"), "{text}");
    for (read, written) in read(&block).unwrap().iter().zip(&entries) {
        assert!(read == written, "{:?} is not {:?}", read.entry, written.entry);
    }
    assert_eq!(read(&block).unwrap().len(), entries.len());
    assert_eq!(read(b"uplifted-ops tree 1\n").unwrap(), []);
}

#[test]
fn times_have_one_form() {
    for (time, text) in [
        ((0, 0), "0.000000000"),
        ((0, 1), "0.000000001"),
        ((-1, 500_000_000), "-0.500000000"),
        ((-1, 0), "-1.000000000"),
        ((-2, 999_999_999), "-1.000000001"),
        ((i64::MAX, 0), "9223372036854775807.000000000"),
        ((i64::MIN, 0), "-9223372036854775808.000000000"),
        ((i64::MIN, 1), "-9223372036854775807.999999999"),
    ] {
        assert_eq!(seconds(time.0, time.1), text);
        let block = format!("uplifted-ops tree 1\nd 755 0 0 {text} a\n");
        let entry = &read(block.as_bytes()).unwrap()[0].entry;
        assert_eq!((entry.mtime, entry.mtime_nanos), time, "{text}");
    }
    for wrong in
        ["0", "0.0", "-0.000000000", "+1.000000000", "01.000000000", "1.00000000x", "1.0000000000", "-.500000000"]
    {
        let block = format!("uplifted-ops tree 1\nd 755 0 0 {wrong} a\n");
        assert!(read(block.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn what_no_file_can_be_is_refused() {
    let digest = "09".repeat(32);
    let blob = "03".repeat(16);
    let many = vec![blob.as_str(); 65].join(" ");
    for wrong in [
        "d 755 0 0 0.000000000 /etc".to_owned(),
        "d 755 0 0 0.000000000 a/../b".to_owned(),
        "d 755 0 0 0.000000000 %".to_owned(),
        "d 755 0 0 0.000000000 a%00b".to_owned(),
        "d 10000 0 0 0.000000000 a".to_owned(),
        "d 0755 0 0 0.000000000 a".to_owned(),
        "d 755 -1 0 0.000000000 a".to_owned(),
        "d 755 0 0 0.000000000 a extra".to_owned(),
        "d 755 0 0 0.000000000".to_owned(),
        "l 755 0 0 0.000000000 a %".to_owned(),
        "h 755 0 0 0.000000000 a ../b".to_owned(),
        format!("f 644 0 0 0.000000000 a 18446744073709551615 {digest}"),
        format!("f 644 0 0 0.000000000 a 5 {digest} {many}"),
        format!("f 644 0 0 0.000000000 a 5 {digest}\n+ {blob}"),
        format!("f 644 0 0 0.000000000 a 5 {digest} {blob}\n+ {blob}"),
        format!("f 644 0 0 0.000000000 a 5 {digest} {blob}\n= 0 6"),
        format!("f 644 0 0 0.000000000 a 5 {digest} {blob}\nx a 00\n= 0 5"),
        format!("f 644 0 0 0.000000000 a 5 {digest} {blob}\nx a 0"),
        format!("f 644 0 0 0.000000000 a 5 {digest} {blob}\nx % 00"),
        format!("p 644 0 0 0.000000000 a 5 {digest} {blob} {blob}"),
        format!("p 644 0 0 0.000000000 a 5 {digest} {blob}\n= 0 5"),
        "+ 00".to_owned(),
        "z 1".to_owned(),
    ] {
        let error = read(format!("uplifted-ops tree 1\n{wrong}\n").as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{wrong}: {error}");
    }
}

#[test]
fn blocks_end_by_the_paths_alone() {
    let key = IdKey::new([1; 32]);
    let cut = |names: &[String]| -> Vec<Vec<u8>> {
        let mut writer = BlockWriter::new(&key);
        let mut blocks = Vec::new();
        for name in names {
            blocks.extend(writer.push(&file(name.as_bytes(), 0, 0, None)).unwrap().map(|block| block.record));
        }
        blocks.extend(writer.cut().map(|block| block.record));
        assert!(writer.cut().is_none());
        blocks
    };
    let mut names: Vec<String> = (0..20_000).map(|at| format!("d/{at:06}")).collect();
    let before = cut(&names);
    assert!((20..80).contains(&before.len()), "{}", before.len());
    names.insert(7_000, "d/006999a".to_owned());
    names.remove(15_000);
    let after = cut(&names);
    let new = after.iter().filter(|block| !before.contains(block)).count();
    assert!(new <= 4, "{new} of {} blocks are new", after.len());
    let entries: usize = after.iter().map(|block| read(block).unwrap().len()).sum();
    assert_eq!(entries, names.len());
}

#[test]
fn a_block_knows_where_its_names_lie() {
    let mut writer = BlockWriter::new(&IdKey::new([1; 32]));
    for name in ["m/b", "m-a", "m/a/z", "m/c"] {
        assert!(writer.push(&file(name.as_bytes(), 0, 0, None)).unwrap().is_none());
    }
    let span = writer.cut().unwrap().span;
    assert_eq!((span.least.as_bytes(), span.greatest.as_bytes()), (&b"m/a/z"[..], &b"m-a"[..]));
    assert!(["m/a/z", "m/b/c", "m/c/d", "m-a"].iter().all(|name| span.has(&RelPath::new(name))));
    assert!(!["m", "m/a", "m-a/b", "n", ""].iter().any(|name| span.has(&RelPath::new(name))));
}

#[test]
fn a_long_block_ends_too() {
    let key = IdKey::new([1; 32]);
    let mut writer = BlockWriter::new(&key);
    let big = file(b"a", 1 << 40, 40_000, None);
    let block = writer.push(&big).unwrap().unwrap();
    assert!((block.entries, read(&block.record).unwrap()) == (1, vec![big]));
    let mut shrunk = file(b"b", 5, 1, None);
    let Node::File { valid_size, .. } = &mut shrunk.entry.node else { unreachable!() };
    *valid_size = Some(3);
    assert_eq!(writer.push(&shrunk).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_root_round_trips() {
    let span = |least: &[u8], greatest: &[u8]| Span { least: RelPath::from(least), greatest: RelPath::from(greatest) };
    let spans = [None, Some(span(b"a", b"a/b c\n\xff")), Some(span(b"a/b", b"a-b"))];
    let blocks: Vec<Block> =
        (0..3).zip(spans).map(|(at, span)| Block { id: BlobId([at; 16]), entries: u64::from(at) + 1, span }).collect();
    assert_eq!(read_root(&write_root(&blocks)[..]).unwrap(), blocks);
    let id = BlobId([1; 16]);
    for wrong in ["b a", "a", "a-b a/b", "a b c"] {
        assert!(read_root(format!("uplifted-ops root 1\nblock {id} 1 {wrong}\n").as_bytes()).is_err(), "{wrong}");
    }
    assert!(read_root(&b"uplifted-ops root 1\nblock 00 1\n"[..]).is_err());
    assert!(read_root(&b"uplifted-ops tree 1\n"[..]).is_err());
}
