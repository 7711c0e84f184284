//! The table of hashes in a file, and beside it what was changed since, increment by increment.
//!
//! A scan can say what differs from the state that a follower left behind only by the hashes of that very state. So each
//! increment is noted before it is handed over, and whoever goes on finds the table of the position that he names, be it an
//! older one than the last: the table is written anew only when everything before it is stored.
//!
//! Nothing is synced but the table: what a loss of power takes is missed (its records carry a checksum), and then a new copy
//! of the database is needed where its log does not go on from where it was left.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::gate::Identity;
use super::hashes::Table;
use super::position::Position;
use crate::error::Result;
use crate::fs::{self, OutFile, PRIVATE_FILE};

const TABLE: &str = "pages";
const CHANGES: &str = "changes";

/// What the table was of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// The file.
    pub(super) identity: Identity,
    /// The hashes of everything that was handed over.
    pub(super) table: Table,
    /// The checksum of the last point.
    pub(super) checksum: Option<String>,
}

/// The head of either file, and of each record.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    identity: Identity,
    page_size: u32,
    position: String,
    checksum: Option<String>,
    /// Pages of the last state that was committed.
    size: u32,
    /// To how many pages it shrank first.
    floor: u32,
}

const VERSION: u32 = 1;

/// The folder.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    identity: Identity,
    changes: Option<OutFile>,
    /// Bytes of the changes.
    len: u64,
}

impl Cache {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, identity: (0, 0), changes: None, len: 0 }
    }

    /// What is known of the state at `position`; `None` when it is not.
    pub(super) fn load(&self, position: &str) -> Option<Known> {
        let wanted = Position::parse(position).ok()?;
        let bytes = std::fs::read(self.folder.join(TABLE)).ok()?;
        let (head, pages, _) = record(&bytes)?;
        let mut known =
            Known { identity: head.identity, table: Table::new(head.page_size), checksum: head.checksum.clone() };
        let mut at = Position::parse(&head.position).ok()?;
        pages.iter().for_each(|(page, hash)| known.table.set(*page, *hash));
        known.table.settle(head.size);
        let changes = std::fs::read(self.folder.join(CHANGES)).unwrap_or_default();
        let mut rest = &changes[..];
        while at != wanted {
            let (head, pages, after) = record(rest)?;
            rest = after;
            let next = Position::parse(&head.position).ok()?;
            // Those before the table are left over from a moment between two writes.
            if (next.number, next.part) > (at.number, at.part) {
                apply(&mut known, &head, &pages);
                at = next;
            }
        }
        Some(known)
    }

    /// Writes the whole table, and forgets the changes.
    pub(super) fn save(
        &mut self,
        identity: Identity,
        table: &Table,
        position: &str,
        checksum: Option<&str>,
    ) -> Result<()> {
        let pages: Vec<(u32, u128)> = table.pages().filter(|(_, hash)| *hash != 0).collect();
        let bytes = encode(&head(identity, table, table.size(), position, checksum), &pages);
        fs::write_atomic(&self.folder.join(TABLE), PRIVATE_FILE, &bytes)?;
        self.changes = None;
        fs::remove_file(&self.folder.join(CHANGES))?;
        self.identity = identity;
        self.len = 0;
        Ok(())
    }

    /// Notes what an increment changes.
    pub(super) fn note(
        &mut self,
        table: &Table,
        floor: u32,
        pages: &[(u32, u128)],
        position: &str,
        checksum: Option<&str>,
    ) -> Result<()> {
        let bytes = encode(&head(self.identity, table, floor, position, checksum), pages);
        let file = match &mut self.changes {
            Some(file) => file,
            None => self.changes.insert(OutFile::append_to(&self.folder.join(CHANGES), PRIVATE_FILE)?),
        };
        file.append(&bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Whether the changes have become longer than the table that would replace them.
    pub(super) fn is_long(&self, table: &Table) -> bool {
        self.len > (4 << 20) + 40 * u64::from(table.size())
    }

    pub(super) fn is_changed(&self) -> bool {
        self.len > 0
    }
}

fn head(identity: Identity, table: &Table, floor: u32, position: &str, checksum: Option<&str>) -> Head {
    Head {
        version: VERSION,
        identity,
        page_size: table.page_size,
        position: position.to_owned(),
        checksum: checksum.map(str::to_owned),
        size: table.size(),
        floor,
    }
}

fn apply(known: &mut Known, head: &Head, pages: &[(u32, u128)]) {
    known.table.shrink(head.floor);
    pages.iter().for_each(|(page, hash)| known.table.set(*page, *hash));
    // A part leaves the size as it is, and pages behind it.
    if Position::parse(&head.position).is_ok_and(|position| position.part == 0) {
        known.table.settle(head.size);
        known.checksum.clone_from(&head.checksum);
    }
}

/// Length, checksum, head as JSON, a zero, then pages of 4 + 16 bytes.
fn encode(head: &Head, pages: &[(u32, u128)]) -> Vec<u8> {
    let mut body = serde_json::to_vec(head).unwrap_or_default();
    body.push(0);
    for (page, hash) in pages {
        body.extend_from_slice(&page.to_le_bytes());
        body.extend_from_slice(&hash.to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(body.len() + 16);
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&blake3::hash(&body).as_bytes()[..8]);
    bytes.extend_from_slice(&body);
    bytes
}

type Record<'a> = (Head, Vec<(u32, u128)>, &'a [u8]);

/// The first record, and what is after it; `None` where it is not whole.
fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let (body, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    if blake3::hash(body).as_bytes()[..8] != *sum {
        return None;
    }
    let end = body.iter().position(|byte| *byte == 0)?;
    let head: Head = serde_json::from_slice(&body[..end]).ok()?;
    let pages = body[end + 1..]
        .chunks_exact(20)
        .map(|entry| {
            let (mut page, mut hash) = ([0; 4], [0; 16]);
            page.copy_from_slice(&entry[..4]);
            hash.copy_from_slice(&entry[4..]);
            (u32::from_le_bytes(page), u128::from_le_bytes(hash))
        })
        .collect();
    (head.version == VERSION).then_some((head, pages, rest))
}
