//! Archives that somebody made to do harm: refused, with nothing written.

use super::frame::Frame;
use super::index::IndexBuilder;
use super::*;
use crate::backup::frames::Packer;
use crate::backup::manifest::{Digest, Entry, Node};
use crate::error::ErrorKind;

/// Changes what the index says.
type Tweak = Box<dyn Fn(&mut Vec<Entry>, &mut Vec<Frame>, &mut Manifest)>;

/// An archive that is sealed like an honest one, whatever it says.
#[derive(Default)]
struct Forger {
    entries: Vec<Entry>,
    stream: Vec<u8>,
    /// The last word on index and frames.
    tweak: Option<Tweak>,
}

impl Forger {
    fn entry(mut self, path: &str, node: Node, content: &[u8]) -> Self {
        let mut entry = Entry {
            path: RelPath::new(path),
            node,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            mtime_nanos: 0,
            xattrs: Vec::new(),
            offset: self.stream.len() as u64,
        };
        if let Node::File { blake3, .. } = &mut entry.node {
            *blake3 = Some(Digest::of(content));
        }
        // What cannot be encoded is not in the stream.
        let _ = tar::encode(&entry, &mut self.stream);
        self.stream.extend_from_slice(content);
        self.stream.resize(self.stream.len().next_multiple_of(512), 0);
        self.entries.push(entry);
        self
    }

    fn file(self, path: &str) -> Self {
        let node = Node::File { size: 4, blake3: None, data: None, valid_size: None };
        self.entry(path, node, b"data")
    }

    fn tweak(mut self, tweak: impl Fn(&mut Vec<Entry>, &mut Vec<Frame>, &mut Manifest) + 'static) -> Self {
        self.tweak = Some(Box::new(tweak));
        self
    }

    fn seal(self) -> Vec<u8> {
        let end = self.stream.len() + 1024;
        self.seal_at(end)
    }

    /// Seals a stream of `len` bytes.
    fn seal_at(mut self, len: usize) -> Vec<u8> {
        self.stream.resize(len, 0);
        let (mut out, mut packed, mut frames) = (Vec::new(), Vec::new(), Vec::new());
        let mut packer = Packer::new(1).unwrap();
        for (number, plain) in self.stream.chunks(4096).enumerate() {
            packer.pack(plain, &mut packed).unwrap();
            frames.push(Frame {
                offset: out.len() as u64,
                length: packed.len() as u64,
                plain_offset: number as u64 * 4096,
                plain_length: plain.len() as u64,
                blake3: Digest::of(&packed),
            });
            out.extend_from_slice(&packed);
        }
        let is_file = |entry: &&Entry| matches!(entry.node, Node::File { .. } | Node::HardLink { .. });
        let mut manifest = Manifest {
            format: 1,
            files: self.entries.iter().filter(is_file).count() as u64,
            entries: self.entries.len() as u64,
            size_bytes: self.entries.iter().map(|entry| restored_len(&entry.node)).sum(),
            ..manifest()
        };
        if let Some(tweak) = &self.tweak {
            tweak(&mut self.entries, &mut frames, &mut manifest);
        }
        let mut index = IndexBuilder::new().unwrap();
        for entry in &self.entries {
            index.entry(entry).unwrap();
        }
        let index = index.finish(&frames, &manifest).unwrap();
        let end = out.len() as u64;
        for part in tail::build(&index, &Summary::from(&manifest), end).unwrap() {
            out.extend_from_slice(&part);
        }
        out
    }
}

fn symlink_to(target: &str) -> Node {
    Node::Symlink { target: RelPath::new(target) }
}

fn hard_link_to(target: &str) -> Node {
    Node::HardLink { target: RelPath::new(target) }
}

/// Refused by extract (in every mode) and named by verify.
fn assert_refused(bytes: &[u8], kind: ProblemKind, named: &str) {
    let archive = open(bytes).unwrap();
    for salvage in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let error = extract_all(&archive, folder.path(), &ExtractOptions { salvage, ..options() }).unwrap_err();
        let refused = matches!(kind, ProblemKind::UnsafeName | ProblemKind::LimitExceeded);
        let expected = if refused { ErrorKind::Refused } else { ErrorKind::Corrupt };
        assert_eq!(error.kind(), expected, "{named}: {error}");
        assert!(error.message().contains(named), "{named}: {error}");
        assert!(look(folder.path()).is_empty(), "{named}: something was written");
    }
    // One that selects only what is harmless is refused as well.
    let folder = tempfile::tempdir().unwrap();
    let into = Dir::open(folder.path()).unwrap();
    if archive.entries().iter().any(|entry| entry.path.as_bytes() == b"fine") {
        let selection = Selection::Paths(vec!["fine".into()]);
        assert!(archive.extract(&Scope::default(), &selection, &into, &options()).is_err(), "{named}");
    }
    for problems in [archive.verify_quick(&Scope::default()), archive.verify_full(&Scope::default(), 1)] {
        let problems = problems.unwrap();
        assert!(problems.iter().any(|problem| problem.kind == kind), "{named}: {problems:?}");
    }
}

#[test]
fn the_forger_can_be_honest() {
    let bytes = Forger::default().file("a").entry("d", Node::Dir, b"").file("d/b").entry("d/l", hard_link_to("a"), b"");
    let archive = open(&bytes.seal()).unwrap();
    assert_eq!(archive.verify_full(&Scope::default(), 2).unwrap(), []);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(extract_all(&archive, folder.path(), &options()).unwrap().files, 3);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let long = "n".repeat(256);
    let deep = "d/".repeat(2100) + "d";
    for name in
        ["", "/etc/passwd", "../x", "a/../../x", "a/..", ".", "./a", "a/./b", "a//b", "a/", "a\0b", &long, &deep]
    {
        let bytes = Forger::default().file("fine").file(name).seal();
        let shown: String = name.escape_debug().take(20).collect();
        assert_refused(&bytes, ProblemKind::UnsafeName, &shown);
    }
}

#[test]
fn names_twice_or_below_no_folder_are_refused() {
    let cases: Vec<(Forger, &str)> = vec![
        (Forger::default().file("fine").file("twice").file("twice"), "twice"),
        (Forger::default().file("fine").entry("s", symlink_to("/etc"), b"").file("s/passwd"), "s/passwd"),
        (Forger::default().file("s/passwd").entry("s", symlink_to("/etc"), b"").file("fine"), "s/passwd"),
        (
            Forger::default().file("fine").entry("s", symlink_to("/etc"), b"").entry("s", Node::Dir, b"").file("s/x"),
            "s",
        ),
        (Forger::default().file("fine").file("f").file("f/below"), "f/below"),
        (Forger::default().file("fine").file("f").file("f-").file("f/a/b/c"), "f/a/b/c"),
        (Forger::default().file("fine").entry("p", Node::Fifo, b"").file("p/x"), "p/x"),
        (Forger::default().file("fine").entry("h", hard_link_to("fine"), b"").file("h/x"), "h/x"),
    ];
    for (forger, named) in cases {
        assert_refused(&forger.seal(), ProblemKind::UnsafeName, named);
    }
}

#[test]
fn hard_links_to_anything_but_an_earlier_file_are_refused() {
    let base = || Forger::default().file("fine").entry("d", Node::Dir, b"").entry("s", symlink_to("/etc/passwd"), b"");
    for target in ["missing", "/etc/passwd", "../x", "d", "s", "h", "later", "", "s/x"] {
        let bytes = base().entry("h", hard_link_to(target), b"").file("later").seal();
        assert_refused(&bytes, ProblemKind::UnsafeName, "h");
    }
    let bytes = base().entry("h0", hard_link_to("fine"), b"").entry("h", hard_link_to("h0"), b"").seal();
    assert_refused(&bytes, ProblemKind::UnsafeName, "h");
}

#[test]
fn a_symlink_itself_may_point_anywhere() {
    let bytes =
        Forger::default().entry("s", symlink_to("/etc/passwd"), b"").entry("t", symlink_to("../.."), b"").seal();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(extract_all(&open(&bytes).unwrap(), folder.path(), &options()).unwrap().entries, 2);
}

#[test]
fn values_that_no_file_has_are_refused() {
    type Tweak = fn(&mut Entry);
    let tweaks: [Tweak; 12] = [
        |e| e.mode = 0o10644,
        |e| e.uid = u32::MAX,
        |e| e.gid = u32::MAX,
        |e| e.mtime_nanos = 1_000_000_000,
        |e| e.xattrs = vec![Xattr { name: RelPath::new("user.x"), value: "xyz".to_owned() }],
        |e| e.xattrs = vec![xattr("", b"x")],
        |e| e.xattrs = vec![xattr("user.x", &vec![0; 70_000])],
        |e| e.node = Node::File { size: u64::MAX, blake3: Some(Digest([0; 32])), data: None, valid_size: None },
        |e| e.node = Node::File { size: 4, blake3: None, data: None, valid_size: None },
        |e| e.node = Node::File { size: 4, blake3: Some(Digest([0; 32])), data: None, valid_size: Some(5) },
        |e| {
            e.node = Node::File {
                size: 4,
                blake3: Some(Digest([0; 32])),
                data: Some(vec![(2, 2), (1, 1)]),
                valid_size: None,
            }
        },
        |e| {
            e.node =
                Node::File { size: 4, blake3: Some(Digest([0; 32])), data: Some(vec![(u64::MAX, 2)]), valid_size: None }
        },
    ];
    for tweak in tweaks {
        let bytes =
            Forger::default().file("fine").file("odd").tweak(move |entries, _, _| tweak(&mut entries[1])).seal();
        assert_refused(&bytes, ProblemKind::BadEntry, "odd");
    }
}

#[test]
fn offsets_and_counts_that_contradict_each_other_are_refused() {
    type Tweak = fn(&mut Vec<Entry>, &mut Vec<Frame>, &mut Manifest);
    let tweaks: [(Tweak, &str); 11] = [
        (|entries, _, _| entries[1].offset = 0, "odd"),
        (|entries, _, _| entries[1].offset = u64::MAX, "odd"),
        (|entries, _, _| entries[0].offset = 512, "fine"),
        // More content than the stream has, and less.
        (
            |entries, _, _| {
                entries[1].node = Node::File { size: 600, blake3: Some(Digest([0; 32])), data: None, valid_size: None };
            },
            "stream",
        ),
        (|entries, _, _| drop(entries.pop()), "stream"),
        (|_, frames, _| frames[0].plain_length -= 1, "frame"),
        (|_, frames, _| frames[0].plain_length = u64::MAX, "frame 0"),
        (|_, frames, _| frames[0].offset = 7, "frame 0"),
        (|_, frames, _| frames[0].length = u64::MAX, "frame"),
        (|_, frames, _| frames.clear(), "frames"),
        (|_, _, manifest| manifest.size_bytes += 1, "counts"),
    ];
    for (tweak, named) in tweaks {
        let bytes = Forger::default().file("fine").file("odd").tweak(tweak).seal();
        assert_refused(&bytes, ProblemKind::Inconsistent, named);
    }
}

#[test]
fn a_frame_with_more_content_than_declared_is_not_unpacked() {
    // The table says 2,048 bytes; the frame, whose digest is right, holds 64 MiB of zeros.
    let mut bomb = Vec::new();
    Packer::new(1).unwrap().pack(&vec![0; 64 << 20], &mut bomb).unwrap();
    let mut forger = Forger::default().file("a");
    forger.stream.resize(forger.stream.len() + 1024, 0);
    let frame = Frame {
        offset: 0,
        length: bomb.len() as u64,
        plain_offset: 0,
        plain_length: forger.stream.len() as u64,
        blake3: Digest::of(&bomb),
    };
    let manifest = Manifest { format: 1, files: 1, entries: 1, size_bytes: 4, ..manifest() };
    let mut index = IndexBuilder::new().unwrap();
    index.entry(&forger.entries[0]).unwrap();
    let index = index.finish(&[frame], &manifest).unwrap();
    let mut bytes = bomb;
    let end = bytes.len() as u64;
    for part in tail::build(&index, &Summary::from(&manifest), end).unwrap() {
        bytes.extend_from_slice(&part);
    }
    let archive = open(&bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(extract_all(&archive, folder.path(), &options()).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(look(folder.path()).is_empty());
    assert_eq!(archive.verify_full(&Scope::default(), 1).unwrap()[0].kind, ProblemKind::DamagedFrame);
}

#[test]
fn an_index_that_lies_about_the_content_is_found_out() {
    // The stream and its frames are honest; the index calls the member by another name.
    let lie = |entries: &mut Vec<Entry>, _: &mut Vec<Frame>, _: &mut Manifest| entries[0].path = RelPath::new("lie");
    let bytes = Forger::default().file("abc").tweak(lie).seal();
    let archive = open(&bytes).unwrap();
    let problems = archive.verify_full(&Scope::default(), 1).unwrap();
    assert_eq!(problems.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [ProblemKind::HeaderMismatch]);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(extract_all(&archive, folder.path(), &options()).unwrap_err().kind(), ErrorKind::Corrupt);

    let wrong_hash = |entries: &mut Vec<Entry>, _: &mut Vec<Frame>, _: &mut Manifest| {
        entries[0].node = Node::File { size: 4, blake3: Some(Digest([0; 32])), data: None, valid_size: None };
    };
    let kinds = |bytes: &[u8]| -> Vec<ProblemKind> {
        let problems = open(bytes).unwrap().verify_full(&Scope::default(), 2).unwrap();
        problems.iter().map(|problem| problem.kind).collect()
    };
    assert_eq!(kinds(&Forger::default().file("abc").tweak(wrong_hash).seal()), [ProblemKind::ContentMismatch]);

    // The same for a file that reaches over several frames, and nothing for its neighbour.
    let big = |size| Node::File { size, blake3: None, data: None, valid_size: None };
    let wrong_hash = |entries: &mut Vec<Entry>, _: &mut Vec<Frame>, _: &mut Manifest| {
        entries[0].node = Node::File { size: 20_000, blake3: Some(Digest([0; 32])), data: None, valid_size: None };
    };
    let forger = Forger::default().entry("big", big(20_000), &[7; 20_000]).entry("next", big(9_000), &[8; 9_000]);
    assert_eq!(kinds(&forger.tweak(wrong_hash).seal()), [ProblemKind::ContentMismatch]);

    // Bytes that belong to nobody: behind a file's content, and behind the last entry.
    let mut forger = Forger::default().file("abc").file("next");
    forger.stream[1_000] = 1;
    assert_eq!(kinds(&forger.seal()), [ProblemKind::HeaderMismatch]);
    let mut forger = Forger::default().file("abc");
    let end = forger.stream.len() + 1_000;
    forger.stream.resize(end, 0);
    forger.stream[end - 1] = 1;
    assert_eq!(kinds(&forger.seal_at(end + 24)), [ProblemKind::HeaderMismatch]);
}

#[test]
fn limits_hold_for_count_bytes_and_ratio() {
    let tree: Tree = (0..20).map(|number| file(format!("{number}"), vec![0; 4 << 20])).collect();
    let (bytes, _) = pack(&tree, WriteOptions { frame_bytes: 4 << 20, ..small() });
    let archive = open(&bytes).unwrap();
    for limits in [
        Limits { max_entries: 19, ..Limits::default() },
        Limits { max_bytes: (80 << 20) - 1, ..Limits::default() },
        Limits { max_ratio: 1_000, ..Limits::default() },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = extract_all(&archive, folder.path(), &ExtractOptions { limits, ..options() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(look(folder.path()).is_empty());
    }
}

#[test]
fn an_index_that_is_a_bomb_is_refused() {
    let mut packer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let line = vec![b' '; 1 << 20];
    for _ in 0..64 {
        std::io::Write::write_all(&mut packer, &line).unwrap();
    }
    let packed = packer.finish().unwrap();
    let bomb = |text_len| {
        let index = index::PackedIndex { bytes: packed.clone(), text_len };
        let parts = tail::build(&index, &Summary::from(&manifest()), 0).unwrap();
        open(&parts.concat()).unwrap_err().kind()
    };
    assert_eq!(bomb(64 << 20), ErrorKind::Refused);
    // One that lies about its length is cut off there.
    assert_eq!(bomb(1000), ErrorKind::Corrupt);
}

#[test]
fn a_later_version_is_refused_by_name() {
    let later = |_: &mut Vec<Entry>, _: &mut Vec<Frame>, manifest: &mut Manifest| manifest.format = 2;
    let error = open(&Forger::default().file("a").tweak(later).seal()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.message(), "the archive has format version 2; this program reads versions up to 1");

    // By the footer alone: its digest is right, its version is not ours.
    let mut bytes = Forger::default().file("a").seal();
    let len = bytes.len();
    bytes[len - 16] = 2;
    let start = len - tail::FOOTER_LEN;
    let digest = blake3::hash(&[&bytes[start..len - 48], &bytes[len - 16..]].concat());
    bytes[len - 48..len - 16].copy_from_slice(digest.as_bytes());
    assert_eq!(open(&bytes).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(Archive::summary(&*Memory::new(bytes)).unwrap_err().kind(), ErrorKind::Unsupported);
}
