//! What a hostile or broken target may hold: every reader answers or refuses, and never panics.

use super::super::header::{Header, tests as headers};
use super::super::id::{BlobId, IdKey, RepositoryId};
use super::super::identity::Identity;
use super::super::lines::{Kind, RecordReader};
use super::super::pages::PageMap;
use super::super::pieces::PieceSource;
use super::super::tree::{BlockReader, read_root, tests as trees};
use crate::error::{ErrorKind, Result};
use crate::testing::random::{self, Rng};

/// Something that was a record once.
fn broken(random: &mut Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = samples[random.usize(..samples.len())].clone();
    for _ in 0..=random.u64(..4) {
        let at = random.usize(..bytes.len() + 1);
        let other = random.usize(..bytes.len() + 1);
        let (low, high) = (at.min(other), at.max(other));
        match random.u64(..7) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 => drop(bytes.drain(low..high)),
            3 => {
                let again = bytes[low..high].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let noise = random::bytes(random, 5);
                bytes.splice(at..at, noise);
            }
            5 => {
                let digits = random.u64(..).to_string().into_bytes();
                bytes.splice(at..at, digits);
            }
            _ => bytes.extend_from_slice(b"\n"),
        }
    }
    bytes
}

/// Runs a reader over many broken records. It may take one or refuse it as damaged or too new, no more.
fn endure<T>(name: &str, samples: &[Vec<u8>], mut read: impl FnMut(&[u8]) -> Result<T>) {
    let mut random = random::seeded(name);
    for sample in samples {
        assert!(read(sample).is_ok(), "{name}: {}", String::from_utf8_lossy(sample));
    }
    for _ in 0..4_000 {
        let bytes = broken(&mut random, samples);
        if let Err(error) = read(&bytes) {
            let expected = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported);
            assert!(expected, "{error}");
        }
    }
    for len in 0..200 {
        let bytes = random::bytes(&mut random, len);
        assert!(read(&bytes).is_err(), "");
    }
}

#[test]
fn records_with_a_mac() {
    let key = IdKey::new([1; 32]);
    let clear = Identity::new("2026-03-01T02:00:05Z".parse().unwrap(), Some(key.clone())).unwrap();
    let sealed = Identity { clear_key: None, ..clear.clone() };
    endure("identity", &[clear.write(&key), sealed.write(&key)], Identity::read);
    let header = headers::sample();
    endure("header", &[header.write(&key).0], |bytes| Header::read(bytes, RepositoryId([1; 16]), &key));
    // As far as the mac does not stop it before: the same lines without one.
    endure("header without mac", &[header.write(&key).0], |bytes| {
        let mut reader = RecordReader::proven(bytes, Kind::new("snapshot"))?;
        while let Some(mut fields) = reader.next()? {
            while fields.more() {
                fields.bytes()?;
            }
        }
        Ok(())
    });
}

#[test]
fn records_in_blobs() {
    let block = trees::block_of(&trees::samples());
    endure("tree", &[block], |bytes| {
        let mut reader = BlockReader::new(bytes)?;
        let mut entries = 0;
        while reader.next()?.is_some() {
            entries += 1;
        }
        Ok(entries)
    });
    let blob = "03".repeat(16);
    let other = "04".repeat(16);
    endure("root", &[format!("uplifted-ops root 1\nblock {blob} 5\nblock {other} 512\n").into_bytes()], |bytes| {
        read_root(bytes)
    });
    let flat =
        format!("uplifted-ops pages 1\nunit 4096\nlength 20480\ndepth 0\ndata {blob} 5\nrun 0 3 0 2\nrun 3 2 0 0\n");
    let over =
        format!("uplifted-ops pages 1\nunit 4096\nlength 16384\nbase {blob}\ndepth 1\ndata {blob} 2\nrun 1 1 0 1\n");
    let base = PageMap::read(flat.as_bytes()).unwrap();
    endure("pages", &[flat.into_bytes(), over.into_bytes()], |bytes| {
        PageMap::read(bytes)?.flatten(|_| Ok(base.clone()))
    });
    let list = format!("uplifted-ops pieces 1\npiece {blob} 5\npiece {blob} 5\n").into_bytes();
    let mut first = true;
    endure("pieces", &[list], |bytes| {
        first = true;
        let fetch = |_: &BlobId| Ok(if std::mem::take(&mut first) { bytes.to_vec() } else { b"piece".to_vec() });
        let whole = PieceSource::open(&BlobId([0; 16]), fetch)?.read_whole()?;
        // What is no list of pieces is any record: its own reader judges it.
        if whole == bytes { RecordReader::proven(bytes, Kind::new("none")).map(drop) } else { Ok(()) }
    });
}
