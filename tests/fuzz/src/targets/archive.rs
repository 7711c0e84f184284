//! Archives: the index behind its digests, the tar stream behind zstd's checksums, and the bytes as they lie there. And files
//! that `tar` made, which an import reads.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use uplifted_ops::backup::archive::Archive;
use uplifted_ops::backup::blocks::Blocks;
use uplifted_ops::backup::nodes::{ExtractOptions, Limits, Selection};
use uplifted_ops::fs::Dir;
use uplifted_ops::testing::parsers::{Form, Memory};
use uplifted_ops::{Result, Scope};

use super::{MIB, broken};
use crate::{Target, seeds};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "archive_index", read: index, seeds: index_seeds, floor: 16 * MIB, factor: 256, short: 100 },
    Target { name: "archive_tar", read: tar, seeds: tar_seeds, floor: 64 * MIB, factor: 64, short: 100 },
    Target {
        name: "archive_stored",
        read: stored,
        seeds: || vec![seeds::archive()],
        floor: 64 * MIB,
        factor: 64,
        short: 100,
    },
];

/// Where the frames of the seed end, its frames, and the text of its index.
fn parts() -> &'static (Vec<u8>, Vec<u8>) {
    static PARTS: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    PARTS.get_or_init(|| {
        let archive = seeds::archive();
        let magic = b"\x89UPOPS-INDEX\r\n\x1a\n";
        let at = archive.windows(16).position(|window| window == magic).unwrap();
        let number = |at: usize| u64::from_le_bytes(archive[at..at + 8].try_into().unwrap()) as usize;
        // Magic, digest, version, copy, offset; then the two lengths.
        let (text, packed) = (number(at + 64), number(at + 72));
        let text = zstd::bulk::decompress(&archive[at + 80..at + 80 + packed], text).unwrap();
        (archive[..at - 8].to_vec(), text)
    })
}

fn index_seeds() -> Vec<Vec<u8>> {
    vec![parts().1.clone()]
}

/// An archive with this text as its index, sealed as `FORMAT.md` says.
fn sealed(frames: &[u8], text: &[u8]) -> Vec<u8> {
    let packed = zstd::bulk::compress(text, 1).unwrap();
    let skippable =
        |payload: &[u8]| [&0x184D_2A5B_u32.to_le_bytes(), &(payload.len() as u32).to_le_bytes(), payload].concat();
    let mut archive = frames.to_vec();
    let (mut places, mut digests) = (Vec::new(), Vec::new());
    for copy in 0..2_u32 {
        let at = archive.len() as u64;
        let mut rest = Vec::new();
        rest.extend_from_slice(&1_u32.to_le_bytes());
        rest.extend_from_slice(&copy.to_le_bytes());
        for number in [at, text.len() as u64, packed.len() as u64] {
            rest.extend_from_slice(&number.to_le_bytes());
        }
        rest.extend_from_slice(&packed);
        let digest = blake3::hash(&rest);
        let payload = [b"\x89UPOPS-INDEX\r\n\x1a\n", &digest.as_bytes()[..], &rest].concat();
        archive.extend_from_slice(&skippable(&payload));
        places.push((at, archive.len() as u64 - at));
        digests.push(digest);
    }
    let summary = serde_json::json!({
        "format": 1, "snapshot_id": "aaaaaaaaaaaa", "service": "uplifted", "service_version": null, "host": "web-1", "made_by": "0",
        "label": null, "time": "2026-03-01T02:00:00Z", "outcome": "complete", "files": 0, "entries": 0, "size_bytes": 0,
        "skipped": 0, "stores": 0,
    })
    .to_string();
    let trailer = archive.len() as u64;
    let total = trailer + 8 + 16 + summary.len() as u64 + 200;
    let mut footer = Vec::new();
    for number in [places[0].0, places[0].1, places[1].0, places[1].1, trailer, summary.len() as u64, total] {
        footer.extend_from_slice(&number.to_le_bytes());
    }
    for digest in [digests[0], digests[1], blake3::hash(summary.as_bytes())] {
        footer.extend_from_slice(digest.as_bytes());
    }
    let end = [&1_u32.to_le_bytes()[..], &200_u32.to_le_bytes(), b"\x89UPOPSF\n"].concat();
    let own = blake3::hash(&[&footer[..], &end].concat());
    footer.extend_from_slice(own.as_bytes());
    footer.extend_from_slice(&end);
    archive.extend_from_slice(&skippable(&[b"\x89UPOPS-TRAIL\r\n\x1a\n", summary.as_bytes(), &footer].concat()));
    archive
}

fn index(input: &[u8]) -> Result<Form> {
    let blocks: Arc<dyn Blocks> = Arc::new(Memory(sealed(&parts().0, input)));
    let summary = Archive::summary(&*blocks)?;
    if summary.host != "web-1" {
        return Err(broken("the summary is not the one in the trailer"));
    }
    let archive = Archive::open(Arc::clone(&blocks))?;
    let found = archive.verify_full(&Scope::default(), 1)?;
    let restored = extract(&archive, false)?;
    if found.is_empty() && !restored {
        return Err(broken("a whole archive is not restored"));
    }
    extract(&archive, true)?;
    Ok(Form::Read)
}

/// The tar stream of the seed.
fn tar_seeds() -> Vec<Vec<u8>> {
    vec![zstd::stream::decode_all(&parts().0[..]).unwrap()]
}

/// The checksum of every block that may be a header, made right.
fn with_checksums(mut stream: Vec<u8>) -> Vec<u8> {
    for block in stream.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    stream
}

fn tar(input: &[u8]) -> Result<Form> {
    let stream = with_checksums(input.to_vec());
    let mut bytes = Vec::new();
    let mut packer = zstd::bulk::Compressor::new(1).unwrap();
    packer.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
    for plain in stream.chunks(4096) {
        bytes.extend_from_slice(&packer.compress(plain).unwrap());
    }
    without_index(&bytes)
}

fn without_index(bytes: &[u8]) -> Result<Form> {
    let archive = Archive::open_without_index(Arc::new(Memory(bytes.to_vec())))?;
    extract(&archive, true)?;
    Ok(Form::Read)
}

fn stored(input: &[u8]) -> Result<Form> {
    let blocks: Arc<dyn Blocks> = Arc::new(Memory(input.to_vec()));
    let _ = Archive::summary(&*blocks);
    match Archive::open(blocks) {
        Ok(archive) => {
            let found = archive.verify_full(&Scope::default(), 1)?;
            let restored = extract(&archive, false)?;
            if restored == found.iter().any(|problem| problem.path.is_some()) && (restored || found.is_empty()) {
                return Err(broken(format!("what is restored is not what verifies: {found:?}")));
            }
            extract(&archive, true)?;
            Ok(Form::Read)
        }
        Err(_) => without_index(input),
    }
}

/// Extracts into a fresh folder, and says whether it could. Nothing may come about beside it.
fn extract(archive: &Archive, salvage: bool) -> Result<bool> {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let limits = Limits { max_entries: 1000, max_bytes: 16 << 20, max_ratio: 100 };
    let options = ExtractOptions { threads: 1, owners: false, limits, salvage };
    let made = archive.extract(&Scope::default(), &Selection::All, &Dir::open(&into)?, &options);
    only_inside(place.path())?;
    Ok(made.is_ok())
}

/// Whether a folder has nothing but `into`.
fn only_inside(place: &Path) -> Result<()> {
    let beside = std::fs::read_dir(place).unwrap().any(|entry| entry.unwrap().file_name() != "into");
    if beside { Err(broken("something was made outside of the folder")) } else { Ok(()) }
}
