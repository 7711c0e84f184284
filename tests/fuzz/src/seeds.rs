//! Real bytes to begin with: the repository that version 1 wrote, and archives made on the spot.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use uplifted_ops::Scope;
use uplifted_ops::backup::archive::{ArchiveWriter, NodeHead, Special, WriteOptions};
use uplifted_ops::backup::manifest::{Manifest, RelPath, Xattr};
use uplifted_ops::testing::parsers::{self, BETWEEN, KEY, REPOSITORY};

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/src/backup/repository/tests/version-1/target")
}

/// The objects of the fixture below a folder, or one object.
fn objects(name: &str) -> Vec<Vec<u8>> {
    let path = fixture().join(name);
    if path.is_file() {
        return vec![std::fs::read(path).unwrap()];
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// A record as one of the repository that the parsers are set up for, without its mac.
fn ours(record: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(record).unwrap();
    let body = text.split_inclusive('\n').filter(|line| !line.starts_with("mac ")).map(|line| {
        match line.strip_prefix("repository ") {
            Some(_) => format!("repository {}\n", hex(&REPOSITORY)),
            None => line.to_owned(),
        }
    });
    body.collect::<String>().into_bytes()
}

/// The record `repository`, in clear and encrypted.
pub(crate) fn identities() -> Vec<Vec<u8>> {
    let clear = ours(objects("repository").remove(0));
    let text = String::from_utf8(clear.clone()).unwrap();
    let sealed =
        text.split_inclusive('\n').map(|line| if line.starts_with("id_key ") { "encryption age\n" } else { line });
    vec![clear.clone(), sealed.collect::<String>().into_bytes()]
}

pub(crate) fn headers() -> Vec<Vec<u8>> {
    objects("snapshots").into_iter().map(ours).collect()
}

pub(crate) fn collects() -> Vec<Vec<u8>> {
    let text = format!(
        "uplifted-ops collect 1\nrepository {}\ntime 2026-03-01T02:00:05Z\ngrace 86400\nsnapshot 020202020202 {}\npack {}\npack {}\n",
        hex(&REPOSITORY),
        hex(&[3; 32]),
        hex(&[5; 16]),
        hex(&[4; 16])
    );
    vec![text.into_bytes()]
}

pub(crate) fn indexes() -> Vec<Vec<u8>> {
    objects("index").into_iter().map(|packed| ours(zstd::stream::decode_all(&packed[..]).unwrap())).collect()
}

/// Indexes as they are stored, of the pack whose id is zeros.
pub(crate) fn stored_indexes() -> Vec<Vec<u8>> {
    let key = blake3::derive_key("uplifted-ops repository 1 mac", &KEY);
    let stored = indexes().into_iter().map(|body| {
        let text = String::from_utf8(body).unwrap();
        let lines = text.split_inclusive('\n').map(|line| match line.strip_prefix("pack ") {
            Some(rest) => format!("pack {}{}", hex(&[0; 16]), &rest[32..]),
            None => line.to_owned(),
        });
        let mut text: String = lines.collect();
        let mac = blake3::keyed_hash(&key, text.as_bytes());
        text.push_str(&format!("mac {mac}\n"));
        zstd::bulk::compress(text.as_bytes(), 3).unwrap()
    });
    stored.collect()
}

/// The blobs of the fixture that begin with `first`.
pub(crate) fn blobs(first: &str) -> Vec<Vec<u8>> {
    let record = String::from_utf8(objects("repository").remove(0)).unwrap();
    let id_key = record.lines().find_map(|line| line.strip_prefix("id_key ")).unwrap();
    let id_key: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&id_key[2 * at..2 * at + 2], 16).unwrap()).collect();
    let packs = objects("packs")
        .into_iter()
        .flat_map(|pack| parsers::blobs_of_pack(&pack, id_key.clone().try_into().unwrap()).unwrap());
    packs.filter(|blob| blob.starts_with(first.as_bytes())).collect()
}

/// Trees of the fixture, and one with everything that an entry can have.
pub(crate) fn trees() -> Vec<Vec<u8>> {
    let blob = hex(&[9; 16]);
    let (digest, many) = (hex(&[8; 32]), vec![blob.clone(); 64].join(" "));
    let text = format!(
        "uplifted-ops tree 1\nd 755 0 0 1700000000.000000005 a%20b\nf 644 1000 1000 -4.750000000 a%20b/f 70 {digest} {many}\n\
         + {blob} {blob}\nx user.note 00ff\nx user.empty %\nf 600 0 0 0.000000000 s 5000000 {digest} {blob}\n= 4096 512\n= 8192 100\n\
         f 644 0 0 1.000000000 hole 100000 {digest}\nf 644 0 0 1.000000000 empty 0 {digest}\n\
         p 4755 0 0 1.000000000 db 20480 {digest} {blob}\nl 777 0 0 1.000000000 l ../%FF\nh 644 0 0 1.000000000 h db\ni 644 0 0 1.000000000 i\n"
    );
    let mut trees = blobs("uplifted-ops tree ");
    trees.push(text.into_bytes());
    trees
}

/// Page maps: those of the fixture, each over the next, and a chain of three.
pub(crate) fn page_maps() -> Vec<Vec<u8>> {
    let number = |number: u8| {
        hex(&{
            let mut id = [0; 16];
            id[15] = number;
            id
        })
    };
    let mut seeds = Vec::new();
    let maps: Vec<String> =
        blobs("uplifted-ops pages ").into_iter().map(|map| String::from_utf8(map).unwrap()).collect();
    let flat: Vec<&String> = maps.iter().filter(|map| !map.contains("\nbase ")).collect();
    for map in &maps {
        match map.find("\nbase ") {
            None => seeds.push(map.clone().into_bytes()),
            Some(at) => {
                let mut over = map.clone();
                over.replace_range(at + 6..at + 38, &number(1));
                seeds.push([over.as_bytes(), BETWEEN, flat[0].as_bytes()].concat());
            }
        }
    }
    let data = hex(&[3; 16]);
    let map = |base: Option<u8>, depth: u8, rest: &str| {
        let base = base.map_or(String::new(), |base| format!("base {}\n", number(base)));
        format!("uplifted-ops pages 1\nunit 4096\nlength 20480\n{base}depth {depth}\n{rest}").into_bytes()
    };
    let chain = [
        map(Some(1), 2, &format!("data {data} 2\nrun 1 1 0 1\n")),
        map(Some(2), 1, &format!("data {data} 3\nrun 0 1 0 0\nrun 3 2 0 1\n")),
        map(None, 0, &format!("data {data} 5\nrun 0 3 0 2\nrun 3 2 0 0\n")),
    ];
    seeds.push(chain.join(BETWEEN));
    seeds
}

pub(crate) fn pieces() -> Vec<Vec<u8>> {
    let tree = trees().pop().unwrap();
    let (first, second) = tree.split_at(tree.len() / 2);
    let id = |number: u8| format!("{}{number:02x}", "0".repeat(30));
    let list = format!("uplifted-ops pieces 1\npiece {} {}\npiece {} {}\n", id(1), first.len(), id(2), second.len());
    vec![tree.clone(), [list.as_bytes(), first, second].join(BETWEEN)]
}

/// The content of the first frame of each pack, and of the last frame of any.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut frames = vec![vec![0; 1024]];
    for pack in packs() {
        let mut plain = Vec::new();
        zstd::stream::read::Decoder::new(&pack[..]).unwrap().single_frame().read_to_end(&mut plain).unwrap();
        frames.push(plain);
    }
    // A large one is slow to mutate, and says no more.
    frames.retain(|plain| plain.len() < 1 << 18);
    frames
}

pub(crate) fn packs() -> Vec<Vec<u8>> {
    objects("packs")
}

pub(crate) fn recover_texts() -> Vec<Vec<u8>> {
    objects("RECOVER.md")
}

/// A manifest that is as short as one can be.
pub(crate) fn manifest(files: u64, entries: u64, size_bytes: u64) -> Manifest {
    serde_json::from_value(serde_json::json!({
        "format": 1, "snapshot_id": "aaaaaaaaaaaa", "service": "uplifted", "service_version": null, "host": "web-1",
        "made_by": "0.1.0", "label": "a label", "tags": ["a"], "time": "2026-03-01T02:00:00Z", "outcome": "complete",
        "includes": [{"path": "data", "present": true}], "excludes": ["*.tmp"], "stores": [], "group": null, "skipped": [],
        "files": files, "entries": entries, "size_bytes": size_bytes, "encrypted_to": null,
    }))
    .unwrap()
}

/// An archive with one entry of each kind.
pub fn archive() -> Vec<u8> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&bytes);
    let sink = Box::new(move |block: &[u8]| {
        sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(block);
        Ok(())
    });
    let options = WriteOptions { level: 1, threads: 1, frame_bytes: 4096 };
    let mut writer = ArchiveWriter::new(&Scope::default(), options, sink).unwrap();
    let head = |path: &[u8]| NodeHead {
        path: RelPath::from(path),
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: 1_700_000_000,
        mtime_nanos: 5,
        xattrs: Vec::new(),
    };
    writer.add(NodeHead { mode: 0o755, ..head(b"d") }, Special::Dir).unwrap();
    let noted = NodeHead {
        xattrs: vec![Xattr { name: RelPath::new("user.note=%"), value: "00ff".into() }],
        ..head(b"d/f\xff")
    };
    writer.begin_file(noted, 6, None).unwrap();
    writer.write(b"hello\n").unwrap();
    writer.end_file(None).unwrap();
    writer.begin_file(head(b"d/large"), 9000, None).unwrap();
    writer.write(&[7; 9000]).unwrap();
    writer.end_file(None).unwrap();
    writer.begin_file(head(b"sparse"), 100_000, Some(vec![(4096, 512), (8192, 10)])).unwrap();
    writer.write(&[1; 522]).unwrap();
    writer.end_file(None).unwrap();
    writer.add(head(b"l"), Special::Symlink { target: RelPath::new("../else/where") }).unwrap();
    writer.add(head(b"h"), Special::HardLink { target: RelPath::new("d/large") }).unwrap();
    writer.add(head(&[b'n'; 150]), Special::Fifo).unwrap();
    writer.finish(manifest(4, 7, 118_006)).unwrap();

    bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
