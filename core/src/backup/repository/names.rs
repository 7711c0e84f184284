//! The keys of a repository's objects in its target.

use super::id::{BlobId, IdKey, PackId, SnapshotId, StreamId};
use crate::clock::Timestamp;

/// The record that says which repository this is.
pub(crate) const REPOSITORY: &str = "repository";
/// How to restore with standard tools, for people.
pub(crate) const RECOVER_TEXT: &str = "RECOVER.md";
/// The same, as a program.
pub(crate) const RECOVER_SCRIPT: &str = "recover.sh";
/// How the scripts begin that newer versions put beside that one.
pub(crate) const RECOVER_PREFIX: &str = "recover-";
/// Where the wrapped keys are.
pub(crate) const KEYS: &str = "keys/";
/// Where the packs are.
pub(crate) const PACKS: &str = "packs/";
/// Where the indexes of the packs are.
pub(crate) const INDEX: &str = "index/";
/// Where the headers of the snapshots are.
pub(crate) const SNAPSHOTS: &str = "snapshots/";
/// Where the streams of databases that are followed are.
pub(crate) const STREAMS: &str = "streams/";
/// Where the collect records are.
pub(crate) const COLLECT: &str = "collect/";

const PACK_SUFFIX: &str = ".tar.zst";
const SEALED_SUFFIX: &str = ".tar.zst.age";
const INDEX_SUFFIX: &str = ".zst";
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// The key of the script of a version, beside `recover.sh` of an older one.
pub(crate) fn recover_script(version: u32) -> String {
    format!("{RECOVER_PREFIX}{version}.sh")
}

/// The key of the text that goes with it.
pub(crate) fn recover_text(version: u32) -> String {
    format!("RECOVER-{version}.md")
}

/// The version of the script that a key names.
pub(crate) fn recover_version(key: &str) -> Option<u32> {
    key.strip_prefix(RECOVER_PREFIX)?.strip_suffix(".sh")?.parse().ok()
}

/// The key of a pack, sealed (encrypted with age) or in clear.
pub(crate) fn pack(id: PackId, sealed: bool) -> String {
    format!("{PACKS}{id}{}", if sealed { SEALED_SUFFIX } else { PACK_SUFFIX })
}

/// The pack that a key names, and whether it is sealed.
pub(crate) fn pack_of(key: &str) -> Option<(PackId, bool)> {
    let name = key.strip_prefix(PACKS)?;
    let (id, sealed) = match name.strip_suffix(SEALED_SUFFIX) {
        Some(id) => (id, true),
        None => (name.strip_suffix(PACK_SUFFIX)?, false),
    };
    Some((PackId::parse(id.as_bytes())?, sealed))
}

/// The key of a pack's index.
pub(crate) fn index(id: PackId) -> String {
    format!("{INDEX}{id}{INDEX_SUFFIX}")
}

/// The pack whose index a key names.
pub(crate) fn index_of(key: &str) -> Option<PackId> {
    PackId::parse(key.strip_prefix(INDEX)?.strip_suffix(INDEX_SUFFIX)?.as_bytes())
}

/// The key of a snapshot's header; keys sort by time.
pub(crate) fn snapshot(time: Timestamp, id: SnapshotId) -> String {
    format!("{SNAPSHOTS}{}_{id}", time.strftime(TIME))
}

/// The snapshot that a key names.
pub(crate) fn snapshot_of(key: &str) -> Option<SnapshotId> {
    dated(key.strip_prefix(SNAPSHOTS)?)
}

/// The key of a collect record; `id` is random, as a snapshot's.
pub(crate) fn collect(time: Timestamp, id: SnapshotId) -> String {
    format!("{COLLECT}{}_{id}", time.strftime(TIME))
}

/// The random part of a collect record's key.
pub(crate) fn collect_of(key: &str) -> Option<SnapshotId> {
    dated(key.strip_prefix(COLLECT)?)
}

/// Where the streams of the store of this name are.
pub(crate) fn streams_of(store: &str, key: &IdKey) -> String {
    let id: BlobId = key.blob_id(store.as_bytes());
    format!("{STREAMS}{id}/")
}

/// A segment by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    /// The folder of its stream, with the last `/`: streams sort by the second in which they began.
    pub(crate) folder: String,
    pub(crate) stream: StreamId,
    /// The numbers of the first and the last of its parts.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl SegmentName {
    /// The name of a segment of a stream of `store` that began then.
    pub(crate) fn new(store: &str, key: &IdKey, begun: Timestamp, stream: StreamId, (first, last): (u64, u64)) -> Self {
        let folder = format!("{}{}_{stream}/", streams_of(store, key), begun.strftime(TIME));
        Self { folder, stream, first, last }
    }

    /// Its key; keys of a stream sort by number.
    pub(crate) fn key(&self) -> String {
        format!("{}{:012}-{:012}", self.folder, self.first, self.last)
    }

    /// The segment that a key names.
    pub(crate) fn of(key: &str) -> Option<Self> {
        let (folder, numbers) = key.rsplit_once('/')?;
        let (store, stream) = folder.strip_prefix(STREAMS)?.split_once('/')?;
        BlobId::parse(store.as_bytes())?;
        let stream = StreamId(dated(stream)?.0);
        let (first, last) = numbers.split_once('-')?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|value| format!("{value:012}") == text);
        let (first, last) = (number(first)?, number(last)?);
        Some(Self { folder: format!("{folder}/"), stream, first, last }).filter(|_| first <= last && first > 0)
    }
}

fn dated(name: &str) -> Option<SnapshotId> {
    let (time, id) = name.split_once('_')?;
    let shaped = time.len() == 16
        && time.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    SnapshotId::parse(id.as_bytes()).filter(|_| shaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::target::check_key;

    #[test]
    fn keys_name_what_they_name() {
        let (pack_id, snapshot_id) = (PackId([0xab; 16]), SnapshotId([0xcd; 6]));
        let time: Timestamp = "2026-03-01T02:00:05.9Z".parse().unwrap();
        for sealed in [false, true] {
            assert_eq!(pack_of(&pack(pack_id, sealed)), Some((pack_id, sealed)));
            check_key(&pack(pack_id, sealed)).unwrap();
        }
        assert_eq!(index_of(&index(pack_id)), Some(pack_id));
        assert_eq!(recover_version(&recover_script(12)), Some(12));
        assert_eq!((recover_version(RECOVER_SCRIPT), recover_version("recover-x.sh")), (None, None));
        check_key(&recover_script(12)).unwrap();
        check_key(&recover_text(12)).unwrap();
        assert_eq!(snapshot(time, snapshot_id), "snapshots/20260301T020005Z_cdcdcdcdcdcd");
        assert_eq!(snapshot_of(&snapshot(time, snapshot_id)), Some(snapshot_id));
        assert_eq!(collect_of(&collect(time, snapshot_id)), Some(snapshot_id));
        let segment = SegmentName::new("main", &IdKey::new([1; 32]), time, StreamId([0xef; 6]), (7, 12));
        assert!(segment.key().ends_with("/20260301T020005Z_efefefefefef/000000000007-000000000012"), "{segment:?}");
        assert_eq!(SegmentName::of(&segment.key()), Some(segment.clone()));
        check_key(&segment.key()).unwrap();
        for wrong in ["-", "7-12", "000000000012-000000000007", "000000000000-000000000007", "000000000007"] {
            assert_eq!(SegmentName::of(&format!("{}{wrong}", segment.folder)), None, "{wrong}");
        }
        for wrong in [
            "packs/x.tar.zst",
            "packs/abababababababababababababababab.zst",
            "index/abababababababababababababababab",
            "snapshots/20260301T020005_cdcdcdcdcdcd",
            "snapshots/20260301X020005Z_cdcdcdcdcdcd",
            "snapshots/20260301T020005Z_CDcdcdcdcdcd",
            "snapshots/",
            "packs/../x",
        ] {
            let named = (pack_of(wrong).is_some(), index_of(wrong), snapshot_of(wrong), collect_of(wrong));
            assert_eq!(named, (false, None, None, None), "{wrong}");
        }
    }
}
