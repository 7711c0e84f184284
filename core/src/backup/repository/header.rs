//! A snapshot's header: what it is, and which packs it needs.

use super::id::{BlobId, IdKey, PackId, RepositoryId, SnapshotId};
use super::lines::{Fields, Kind, RecordWriter, read_with_mac};
use crate::backup::manifest::{Digest, Outcome};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::value::hex;

const KIND: Kind = Kind::new("snapshot");

/// What the header of a snapshot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) repository: RepositoryId,
    pub(crate) snapshot: SnapshotId,
    /// When the backup began.
    pub(crate) time: Timestamp,
    pub(crate) service: String,
    pub(crate) service_version: Option<String>,
    pub(crate) host: String,
    pub(crate) label: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) outcome: Outcome,
    pub(crate) counts: Counts,
    /// The newest header that the run saw, with its mac.
    pub(crate) previous: Option<(SnapshotId, Digest)>,
    /// The fingerprint of the key that the run encrypted to. Packs of earlier runs may need others.
    pub(crate) encrypted_to: Option<String>,
    /// The manifest, as JSON.
    pub(crate) manifest: BlobId,
    /// The root of the tree.
    pub(crate) root: BlobId,
    /// Every pack that the snapshot needs, sorted by id.
    pub(crate) packs: Vec<NeededPack>,
}

/// Numbers about a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Regular files, hard links included.
    pub(crate) files: u64,
    /// Entries of every kind.
    pub(crate) entries: u64,
    /// Bytes of the files' content.
    pub(crate) bytes: u64,
    /// Bytes that this run added to the repository.
    pub(crate) stored: u64,
    /// How many things were skipped.
    pub(crate) skipped: u64,
    /// How many databases are in it.
    pub(crate) stores: u64,
}

impl Counts {
    const WORDS: [&'static str; 6] = ["files", "entries", "bytes", "stored", "skipped", "stores"];

    fn of(self) -> [u64; 6] {
        [self.files, self.entries, self.bytes, self.stored, self.skipped, self.stores]
    }
}

/// A pack as a header, and its index, name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeededPack {
    pub(crate) id: PackId,
    /// Its length in the target.
    pub(crate) stored_bytes: u64,
    /// The BLAKE3 of what the target has.
    pub(crate) digest: Digest,
    /// The fingerprint of the key that it is encrypted to; `None` for a pack in clear.
    pub(crate) fingerprint: Option<String>,
}

impl NeededPack {
    /// How a pack in clear is marked where a sealed one has the fingerprint of its key.
    const CLEAR: &'static str = "clear";

    /// Reads the fields `<pack id> <stored bytes> <BLAKE3>`, and with [`NeededPack::read_key`] the rest.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self> {
        let (id, stored_bytes) = (PackId(fields.hex()?), fields.number()?);
        Ok(Self { id, stored_bytes, digest: Digest(fields.hex()?), fingerprint: None })
    }

    /// Reads the field `<fingerprint or "clear">`.
    pub(crate) fn read_key(fields: &mut Fields<'_>) -> Result<Option<String>> {
        Ok(Some(fields.text()?).filter(|text| text != Self::CLEAR))
    }

    /// The field that [`NeededPack::read_key`] reads.
    pub(crate) fn key_field(&self) -> &str {
        self.fingerprint.as_deref().unwrap_or(Self::CLEAR)
    }
}

impl Header {
    /// The record, and the mac that the next header names.
    pub(crate) fn write(&self, key: &IdKey) -> (Vec<u8>, Digest) {
        let mut record = RecordWriter::new(KIND);
        record.line("repository").number(self.repository);
        record.line("snapshot").number(self.snapshot);
        record.line("time").number(self.time);
        record.line("service").text(&self.service);
        if let Some(version) = &self.service_version {
            record.line("service_version").text(version);
        }
        record.line("host").text(&self.host);
        if let Some(label) = &self.label {
            record.line("label").text(label);
        }
        for tag in &self.tags {
            record.line("tag").text(tag);
        }
        record.line("outcome").text(match self.outcome {
            Outcome::Complete => "complete",
            Outcome::Partial => "partial",
        });
        for (word, count) in Counts::WORDS.into_iter().zip(self.counts.of()) {
            record.line(word).number(count);
        }
        if let Some((snapshot, mac)) = &self.previous {
            record.line("previous").number(snapshot).text(&hex(&mac.0));
        }
        if let Some(fingerprint) = &self.encrypted_to {
            record.line("encrypted_to").text(fingerprint);
        }
        record.line("manifest").number(self.manifest);
        record.line("root").number(self.root);
        for pack in &self.packs {
            record
                .line("pack")
                .number(pack.id)
                .number(pack.stored_bytes)
                .text(&hex(&pack.digest.0))
                .text(pack.key_field());
        }
        record.finish_with_mac(key)
    }

    /// Reads a header of `repository`, and its mac.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is damaged, not genuine, or of another repository;
    /// [`ErrorKind::Unsupported`] when it is too new.
    pub(crate) fn read(bytes: &[u8], repository: RepositoryId, key: &IdKey) -> Result<(Self, Digest)> {
        let mut draft = Draft::default();
        let mac = read_with_mac(bytes, KIND, key, |fields| draft.take(fields))?;
        let header = draft.finish()?;
        if header.repository != repository {
            return Err(corrupt(format!("it belongs to the repository {}", header.repository)));
        }
        Ok((header, mac))
    }
}

/// A header on its way in.
#[derive(Default)]
struct Draft {
    repository: Option<RepositoryId>,
    snapshot: Option<SnapshotId>,
    time: Option<Timestamp>,
    service: Option<String>,
    service_version: Option<String>,
    host: Option<String>,
    label: Option<String>,
    tags: Vec<String>,
    outcome: Option<Outcome>,
    counts: [Option<u64>; 6],
    previous: Option<(SnapshotId, Digest)>,
    encrypted_to: Option<String>,
    manifest: Option<BlobId>,
    root: Option<BlobId>,
    packs: Vec<NeededPack>,
}

impl Draft {
    fn take(&mut self, fields: &mut Fields<'_>) -> Result<()> {
        let fresh = match fields.word() {
            "repository" => self.repository.replace(RepositoryId(fields.hex()?)).is_none(),
            "snapshot" => self.snapshot.replace(SnapshotId(fields.hex()?)).is_none(),
            "time" => self.time.replace(fields.time()?).is_none(),
            "service" => self.service.replace(fields.text()?).is_none(),
            "service_version" => self.service_version.replace(fields.text()?).is_none(),
            "host" => self.host.replace(fields.text()?).is_none(),
            "label" => self.label.replace(fields.text()?).is_none(),
            "tag" => {
                self.tags.push(fields.text()?);
                true
            }
            "outcome" => {
                let outcome = match fields.plain()? {
                    "complete" => Outcome::Complete,
                    "partial" => Outcome::Partial,
                    _ => return Err(fields.wrong("the outcome is neither complete nor partial")),
                };
                self.outcome.replace(outcome).is_none()
            }
            "previous" => {
                let previous = (SnapshotId(fields.hex()?), Digest(fields.hex()?));
                self.previous.replace(previous).is_none()
            }
            "encrypted_to" => self.encrypted_to.replace(fields.text()?).is_none(),
            "manifest" => self.manifest.replace(BlobId(fields.hex()?)).is_none(),
            "root" => self.root.replace(BlobId(fields.hex()?)).is_none(),
            "pack" => {
                let mut pack = NeededPack::read(fields)?;
                pack.fingerprint = NeededPack::read_key(fields)?;
                let sorted = self.packs.last().is_none_or(|last| last.id < pack.id);
                self.packs.push(pack);
                sorted
            }
            word => match Counts::WORDS.iter().position(|known| *known == word) {
                Some(at) => self.counts[at].replace(fields.number()?).is_none(),
                None => return Err(fields.unknown()),
            },
        };
        if fresh { Ok(()) } else { Err(fields.wrong("a line is there twice, or out of order")) }
    }

    fn finish(self) -> Result<Header> {
        let missing = |what: &str| corrupt(format!("it does not say its {what}"));
        let mut counts = [0; 6];
        for ((count, said), word) in counts.iter_mut().zip(self.counts).zip(Counts::WORDS) {
            *count = said.ok_or_else(|| missing(word))?;
        }
        let [files, entries, bytes, stored, skipped, stores] = counts;
        Ok(Header {
            repository: self.repository.ok_or_else(|| missing("repository"))?,
            snapshot: self.snapshot.ok_or_else(|| missing("id"))?,
            time: self.time.ok_or_else(|| missing("time"))?,
            service: self.service.ok_or_else(|| missing("service"))?,
            service_version: self.service_version,
            host: self.host.ok_or_else(|| missing("host"))?,
            label: self.label,
            tags: self.tags,
            outcome: self.outcome.ok_or_else(|| missing("outcome"))?,
            counts: Counts { files, entries, bytes, stored, skipped, stores },
            previous: self.previous,
            encrypted_to: self.encrypted_to,
            manifest: self.manifest.ok_or_else(|| missing("manifest"))?,
            root: self.root.ok_or_else(|| missing("root"))?,
            packs: self.packs,
        })
    }
}

fn corrupt(what: String) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the header of a snapshot is damaged: {what}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn sample() -> Header {
        Header {
            repository: RepositoryId([1; 16]),
            snapshot: SnapshotId([2; 6]),
            time: "2026-03-01T02:00:05.25Z".parse().unwrap(),
            service: "uplifted".into(),
            service_version: Some("1.2 beta".into()),
            host: "web-1".into(),
            label: Some("before the upgrade: 100%".into()),
            tags: vec!["a".into(), String::new()],
            outcome: Outcome::Partial,
            counts: Counts { files: 1, entries: 2, bytes: 3, stored: 4, skipped: 5, stores: 6 },
            previous: Some((SnapshotId([3; 6]), Digest([4; 32]))),
            encrypted_to: Some("0123456789abcdef".into()),
            manifest: BlobId([5; 16]),
            root: BlobId([6; 16]),
            packs: vec![
                NeededPack { id: PackId([7; 16]), stored_bytes: 8, digest: Digest([9; 32]), fingerprint: None },
                NeededPack {
                    id: PackId([8; 16]),
                    stored_bytes: 1 << 40,
                    digest: Digest([9; 32]),
                    fingerprint: Some("00ff00ff".into()),
                },
            ],
        }
    }

    #[test]
    fn a_header_round_trips_and_is_bound_to_its_repository() {
        let key = IdKey::new([1; 32]);
        let mut header = sample();
        for _ in 0..2 {
            let (bytes, mac) = header.write(&key);
            let (read, read_mac) = Header::read(&bytes, header.repository, &key).unwrap();
            assert_eq!((&read, read_mac), (&header, mac));
            let error = Header::read(&bytes, RepositoryId([9; 16]), &key).unwrap_err();
            assert!(error.message().contains("belongs to the repository"), "{error}");
            assert!(Header::read(&bytes, header.repository, &IdKey::new([2; 32])).is_err());
            header = Header {
                service_version: None,
                label: None,
                tags: Vec::new(),
                outcome: Outcome::Complete,
                previous: None,
                encrypted_to: None,
                packs: Vec::new(),
                ..header
            };
        }
    }

    #[test]
    fn a_line_that_is_missing_twice_or_unknown_is_named() {
        let key = IdKey::new([1; 32]);
        let header = sample();
        let bytes = header.write(&key).0;
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let again = |lines: Vec<&str>| {
            let body = lines[1..lines.len() - 1].iter().map(|line| format!("{line}\n")).collect::<String>();
            let mut record = RecordWriter::new(KIND);
            record.lines(body.as_bytes());
            Header::read(&record.finish_with_mac(&key).0, header.repository, &key)
        };
        again(lines.clone()).unwrap();
        let optional = ["service_version", "label", "tag", "previous", "encrypted_to", "pack"];
        for at in 1..lines.len() - 1 {
            let word = lines[at].split(' ').next().unwrap();
            let mut without = lines.clone();
            without.remove(at);
            assert_eq!(again(without).is_err(), !optional.contains(&word), "{word}");
            let mut twice = lines.clone();
            twice.insert(at, lines[at]);
            assert_eq!(again(twice).is_err(), word != "tag", "{word}");
        }
        let mut strange = lines.clone();
        strange.insert(3, "surprise 1");
        let error = again(strange).unwrap_err();
        assert!(error.message().contains("\"surprise\", which version 1 does not know"), "{error}");
    }
}
