use super::*;
use crate::backup::blocks::Blocks;
use crate::backup::frames::Packer;
use crate::backup::repository::pack::{END_FRAME, FRAME, FrameBuilder, blobs_in, scan};

fn key() -> IdKey {
    IdKey::new([9; 32])
}

const REPOSITORY: RepositoryId = RepositoryId([1; 16]);
const PACK: PackId = PackId([2; 16]);

struct Bytes(Vec<u8>);

impl Blocks for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
        Ok(self.0[range.start as usize..range.end as usize].to_vec())
    }
}

/// A pack of blobs of these lengths, and its index.
fn sample(lengths: &[usize]) -> (Vec<u8>, IndexedPack, Vec<u8>, Vec<BlobId>) {
    let (mut pack, mut index, mut ids) = (Vec::new(), IndexWriter::new(REPOSITORY), Vec::new());
    let (mut packer, mut builder, mut packed) = (Packer::new(3).unwrap(), FrameBuilder::default(), Vec::new());
    let mut flush = |builder: &mut FrameBuilder, index: &mut IndexWriter| {
        let frame = builder.take();
        packer.pack(&frame.plain, &mut packed).unwrap();
        index.frame(packed.len() as u32, frame.plain.len() as u32, &frame.blobs);
        pack.extend_from_slice(&packed);
    };
    for (number, len) in lengths.iter().enumerate() {
        let content: Vec<u8> = (0..*len).map(|at| (at * (number + 3) / 7) as u8).collect();
        let id = key().blob_id(&content);
        if !builder.fits(*len) {
            flush(&mut builder, &mut index);
        }
        builder.push(id, &content).unwrap();
        ids.push(id);
    }
    if !builder.is_empty() {
        flush(&mut builder, &mut index);
    }
    packer.pack(&END_FRAME, &mut packed).unwrap();
    index.frame(packed.len() as u32, END_FRAME.len() as u32, &[]);
    pack.extend_from_slice(&packed);
    let mut map = PageMap::new(4096, 4096 * 700, None);
    for data in 0..3 {
        map.push_data(ids[0], 200);
        (0..200).for_each(|at| map.push_unit(data * 200 + at, data, at));
    }
    let map = IndexedMap { id: ids[0], path: ids[0], pieces: vec![ids[0]], map };
    index.map(map, Box::new((0..600).map(|_| Ok(PageId([5; 16])))));
    let indexed = IndexedPack::in_clear(PACK, pack.len() as u64, Digest::of(&pack));
    let bytes = index.finish(&indexed, &key(), Vec::new()).unwrap();
    (pack, indexed, bytes, ids)
}

fn lines(bytes: &[u8]) -> Result<(IndexedPack, Vec<IndexLine>)> {
    let mut lines = Vec::new();
    let pack = read(bytes, REPOSITORY, PACK, &key(), Lines::All, |line| {
        lines.push(line);
        Ok(())
    })?;
    Ok((pack, lines))
}

#[test]
fn what_was_written_is_read_and_found() {
    let lengths = [0, 1, 511, 512, 513, 4 << 20, 3 << 20, 1 << 20, 700_000];
    let (pack, indexed, bytes, ids) = sample(&lengths);
    let (said, lines) = lines(&bytes).unwrap();
    assert_eq!(said, indexed);
    let ids_lines: Vec<usize> =
        lines.iter().filter_map(|line| if let IndexLine::Ids(ids) = line { Some(ids.len()) } else { None }).collect();
    assert_eq!(ids_lines, [256, 256, 88]);
    let maps = lines.iter().filter(|line| matches!(line, IndexLine::Map(map) if map.map.runs.len() == 3));
    assert_eq!(maps.count(), 1);
    let mut lookup = Lookup::default();
    lookup.add(&bytes, REPOSITORY, &indexed.pack, &key()).unwrap();
    lookup.sort();
    assert_eq!(lookup.find(&BlobId([0; 16])), []);
    for (id, len) in ids.iter().zip(lengths) {
        let [blob] = lookup.find(id) else { panic!("{id}") };
        assert_eq!(blob.len as usize, len);
        let frame = lookup.frame(blob.frame);
        let packed = &pack[frame.offset as usize..(frame.offset + frame.packed) as usize];
        let plain = zstd::bulk::decompress(packed, frame.plain as usize).unwrap();
        assert_eq!(plain.len(), frame.plain as usize);
        assert!(plain.len() <= FRAME || blobs_in(&plain).unwrap().len() == 1);
        assert_eq!(key().blob_id(&plain[blob.offset as usize..][..len]), *id);
    }
}

#[test]
fn a_scan_finds_what_the_index_says() {
    let (pack, indexed, bytes, ids) = sample(&[10, 2 << 20, 3 << 20, 20]);
    let found = scan(&Bytes(pack.clone()), &key(), || Ok(())).unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
    let mut lookups = [Lookup::default(), Lookup::default()];
    lookups[0].add(&bytes, REPOSITORY, &indexed.pack, &key()).unwrap();
    lookups[1].add_scanned(&indexed.pack, &found.frames);
    for lookup in &mut lookups {
        lookup.sort();
    }
    assert_eq!(lookups[0].blobs, lookups[1].blobs);
    assert_eq!(lookups[0].frames, lookups[1].frames);
    // Cut, prolonged, changed: named, and the frames before it are there.
    for (damage, frames) in [(pack.len() - 1, 2), (pack.len() - 60, 1), (3, 0)] {
        let cut = scan(&Bytes(pack[..damage].to_vec()), &key(), || Ok(())).unwrap();
        assert!(cut.frames.len() >= frames && !cut.problems.is_empty(), "{damage}: {:?}", cut.problems);
    }
    let longer = scan(&Bytes([&pack[..], b"x"].concat()), &key(), || Ok(())).unwrap();
    assert_eq!(longer.problems, ["1 bytes follow its end"]);
    let mut changed = pack.clone();
    changed[100] ^= 1;
    let changed = scan(&Bytes(changed), &key(), || Ok(())).unwrap();
    let found: usize = changed.frames.iter().map(|frame| frame.blobs.len()).sum();
    assert!(found < ids.len() && !changed.problems.is_empty());
}

#[test]
fn tar_itself_unpacks_a_pack() {
    let (pack, _, _, ids) = sample(&[10, 100_000, 0]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.tar.zst");
    std::fs::write(&file, pack).unwrap();
    let status = std::process::Command::new("tar")
        .args(["--zstd", "-xf"])
        .arg(&file)
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    for id in ids {
        let content = std::fs::read(folder.path().join(format!("blobs/{id}"))).unwrap();
        assert_eq!(key().blob_id(&content), id);
    }
}

#[test]
fn an_index_of_something_else_is_refused() {
    let (_, indexed, bytes, _) = sample(&[10, 20]);
    let fails = |result: Result<IndexedPack>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt);
    let none = |_: IndexLine| Ok(());
    fails(read(&bytes, RepositoryId([7; 16]), PACK, &key(), Lines::All, none));
    fails(read(&bytes, REPOSITORY, PackId([7; 16]), &key(), Lines::All, none));
    fails(read(&bytes, REPOSITORY, PACK, &IdKey::new([8; 32]), Lines::All, none));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        // A bit of zstd's own header may mean nothing; what it says is still proven.
        if let Ok((pack, _)) = lines(&changed) {
            assert_eq!(pack, indexed, "byte {at}");
        }
        assert!(lines(&bytes[..at]).is_err(), "cut at {at}");
    }
    let mut other = indexed.pack.clone();
    other.stored_bytes += 1;
    let mut lookup = Lookup::default();
    fails(lookup.add(&bytes, REPOSITORY, &other, &key()));
    lookup.sort();
    assert_eq!((lookup.len(), lookup.packs().len()), (0, 0));
}

#[test]
fn a_genuine_index_with_impossible_lines_is_refused() {
    let digest = hex(&[1; 32]);
    let head = format!("repository {REPOSITORY}\npack {PACK} 50 {digest} 50 clear\n");
    let id = "00112233445566778899aabbccddeeff";
    let attempt = |body: &str| {
        let mut record = RecordWriter::new(KIND);
        record.lines(body.as_bytes());
        let bytes = zstd::encode_all(&record.finish_with_mac(&key()).0[..], 1).unwrap();
        lines(&bytes)
    };
    attempt(&format!("{head}frame 50 1024\n")).unwrap();
    attempt(&format!(
        "{head}frame 50 1024\nblob {id} 512 512\nmap {id} {id} - 4096 8192 0\ndata {id} 2\nrun 0 2 0 0\nids {id}\n"
    ))
    .unwrap();
    for wrong in [
        String::new(),
        head.clone(),
        format!("{head}frame 49 1024\n"),
        format!("{head}frame 0 1024\nframe 50 1024\n"),
        format!("{head}frame 50 4195329\n"),
        format!("{head}blob {id} 0 1\nframe 50 1024\n"),
        format!("{head}frame 50 1024\nblob {id} 512 513\n"),
        format!("{head}frame 50 1024\nblob {id} 4294967295 2\n"),
        format!("{head}{head}frame 50 1024\n"),
        format!("{head}frame 50 1024\nmap {id} {id} - 4097 8192 0\n"),
        format!("{head}frame 50 1024\nmap {id} {id} - 4096 8192 1\n"),
        format!("{head}frame 50 1024\nmap {id} {id} {id} 4096 8192 16\n"),
        format!("{head}frame 50 1024\nids {id}\n"),
        format!("{head}frame 50 1024\nmap {id} {id} - 4096 8192 0\nids {id}\n"),
        format!("{head}frame 50 1024\nmap {id} {id} - 4096 8192 0\nrun 0 1 0 0\n"),
        format!("{head}frame 50 1024\nmap {id} {id} - 4096 8192 0\ndata {id} 1\nrun 0 1 0 0\nids {id}{id}\n"),
        format!("{head}frame 50 1024\nmap {id} {id} - 4096 8192 0\ndata {id} 1\nrun 0 1 0 0\nids {id}0\n"),
        format!("{head}frame 50 1024\nmap {id} {id} - 4096 8192 0\ndata {id} 1\npiece {id}\n"),
        format!("{head}frame 50 1024\nmap {id} {id} - 4096 8192 0\nframe 1 1\n"),
        format!("{head}frame 50 1024\nsurprise\n"),
    ] {
        assert_eq!(attempt(&wrong).unwrap_err().kind(), ErrorKind::Corrupt, "{wrong}");
    }
}

#[test]
fn a_bomb_is_refused() {
    let mut record = RecordWriter::new(KIND);
    record.line("repository").number(REPOSITORY);
    let mut text = record.finish();
    let line = format!("map {0} {0} - 4096 0 0\n", BlobId([0; 16]));
    text.extend_from_slice(format!("pack {PACK} 0 {} 0 clear\n", hex(&[0; 32])).as_bytes());
    while text.len() < 34 << 20 {
        text.extend_from_slice(line.as_bytes());
    }
    let bytes = zstd::encode_all(&text[..], 19).unwrap();
    let error = read(&bytes, REPOSITORY, PACK, &key(), Lines::All, |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}
