//! Putting increments together, and handing them over.

use std::collections::BTreeMap;

use tokio::sync::mpsc::Sender;

use super::super::blocking::Task;
use super::super::gate::Identity;
use super::cache::Cache;
use super::hashes::{self, Table, lock_page};
use super::payload;
use super::position::Position;
use super::wal::Place;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::follow::{Continuity, Increment, MAX_PAYLOAD, Point};

/// Room for void pages in each payload.
const VOID_ROOM: usize = 256;

/// What was handed over, and what is being put together.
#[derive(Debug)]
pub(super) struct Emit {
    sender: Sender<Increment>,
    pub(super) cache: Cache,
    /// The hashes of the pages that were handed over.
    pub(super) table: Table,
    /// Up to where everything was handed over, and whole.
    pub(super) place: Place,
    /// How the last increment's end is called.
    pub(super) position: String,
    /// The number of the last increment.
    pub(super) number: u64,
    /// How many parts of the next increment are handed over.
    part: u32,
    /// Whether the last page that was put in belongs to a transaction that goes on.
    pub(super) within_transaction: bool,
    checksum: Option<String>,
    /// What the next increment says of itself.
    continuity: Continuity,
    /// When the log was last looked at before what is being put together was found.
    pub(super) looked: Timestamp,
    /// When what is being put together was known to be committed, all of it; `None` for when it is handed over.
    pub(super) found: Option<Timestamp>,
    until: Timestamp,
    /// The last image of each page.
    batch: BTreeMap<u32, Vec<u8>>,
    /// The fewest pages that the database had since the last increment.
    floor: u32,
}

impl Emit {
    /// `position` is where the last increment ended, empty where there was none; it has everything before `known`.
    pub(super) fn new(sender: Sender<Increment>, cache: Cache, position: String, known: Timestamp) -> Self {
        Self {
            sender,
            cache,
            table: Table::new(512),
            place: Place::default(),
            position,
            number: 0,
            part: 0,
            within_transaction: false,
            checksum: None,
            continuity: Continuity::Continues,
            looked: known,
            found: None,
            until: known,
            batch: BTreeMap::new(),
            floor: u32::MAX,
        }
    }

    /// Goes on from a position, which was stored.
    pub(super) fn go_on(&mut self, position: &Position) {
        let Position { number, place, part } = *position;
        (self.number, self.place, self.part) = (number, place, part);
    }

    /// Goes on from what is known of the state at the position.
    pub(super) fn resume(&mut self, table: Table, checksum: Option<String>) {
        self.table = table;
        self.checksum = checksum;
    }

    /// Forgets what is being put together, and with it nothing that was handed over.
    pub(super) fn abandon(&mut self) {
        self.batch.clear();
        self.floor = u32::MAX;
        self.within_transaction = false;
    }

    /// The next increment says so. What must be said and was not yet stays.
    pub(super) fn say(&mut self, continuity: Continuity) {
        self.continuity = continuity;
    }

    /// Whether another page fits.
    pub(super) fn fits(&self, page: u32) -> bool {
        let pages = self.batch.len() + usize::from(!self.batch.contains_key(&page));
        payload::len(self.table.page_size, pages, VOID_ROOM) <= MAX_PAYLOAD
    }

    /// A page as it is now. It must fit.
    pub(super) fn page(&mut self, page: u32, bytes: &[u8]) {
        // The engine never writes that one.
        if page == lock_page(self.table.page_size) {
            return;
        }
        let image = self.batch.entry(page).or_default();
        image.clear();
        image.extend_from_slice(bytes);
    }

    /// A commit in the middle of what is being put together left so many pages.
    pub(super) fn shrink(&mut self, size: u32) {
        self.floor = self.floor.min(size);
        self.batch.split_off(&size.saturating_add(1));
    }

    /// Hands over a part of a transaction.
    pub(super) fn part(&mut self, task: &Task) -> Result<()> {
        self.part += 1;
        let position = Position { number: self.number, place: self.place, part: self.part };
        self.send(task, position, None)
    }

    /// Hands over everything up to `place`, where the database has `size` pages; what else was found at this look is yet to
    /// come.
    pub(super) fn commit_some(&mut self, task: &Task, place: Place, size: u32) -> Result<()> {
        let looked = std::mem::replace(&mut self.looked, self.until);
        let committed = self.commit(task, place, size);
        self.looked = looked;
        committed
    }

    /// Whether a transaction was handed over in parts, and not to its end.
    pub(super) fn has_parts(&self) -> bool {
        self.part > 0
    }

    /// Hands over everything up to `place`, where the database has `size` pages, which is all that was found at this look.
    /// Hands over nothing where nothing changed.
    pub(super) fn commit(&mut self, task: &Task, place: Place, size: u32) -> Result<()> {
        self.place = place;
        let quiet = self.batch.is_empty() && self.part == 0 && size == self.table.size() && self.floor >= size;
        if quiet && self.continuity == Continuity::Continues {
            self.until = self.looked;
            return Ok(());
        }
        self.shrink(size);
        // Room for the names of the pages that become void by this.
        let before = self.table.size().min(self.floor);
        let missing = (before + 1..=size).filter(|page| !self.batch.contains_key(page) && self.table.get(*page) == 0);
        if payload::len(self.table.page_size, self.batch.len(), missing.count()) > MAX_PAYLOAD {
            self.part(task)?;
        }
        self.number += 1;
        self.part = 0;
        self.send(task, Position { number: self.number, place, part: 0 }, Some(size))
    }

    /// Everything that was committed before this moment was handed over.
    pub(super) fn until(&self) -> Timestamp {
        self.until
    }

    fn send(&mut self, task: &Task, position: Position, size: Option<u32>) -> Result<()> {
        task.check()?;
        let since = self.until;
        let floor = self.floor;
        let batch = std::mem::take(&mut self.batch);
        self.floor = u32::MAX;
        self.table.shrink(floor);
        let hashes: Vec<(u32, u128)> = batch.iter().map(|(page, bytes)| (*page, hashes::hash(*page, bytes))).collect();
        hashes.iter().for_each(|(page, hash)| self.table.set(*page, *hash));
        let void = size.map(|size| self.table.settle(size)).unwrap_or_default();
        let position = position.to_string();
        if size.is_some() {
            self.checksum = Some(self.table.checksum().to_string());
            self.until = self.looked;
        }
        self.cache.note(&self.table, floor, &hashes, &position, self.checksum.as_deref())?;
        let points = size.map(|_| Point {
            time: self.found.unwrap_or_else(|| task.scope.clock.now()),
            position: position.clone(),
            checksum: self.checksum.clone(),
        });
        let images = batch.iter().map(|(page, bytes)| (*page, &bytes[..]));
        let increment = Increment {
            from: std::mem::replace(&mut self.position, position.clone()),
            to: position,
            continuity: std::mem::replace(&mut self.continuity, Continuity::Continues),
            points: points.into_iter().collect(),
            since,
            until: self.until,
            payload: payload::encode(self.table.page_size, size.unwrap_or(0), &void, images),
        };
        let gone = |_| Error::new(ErrorKind::Cancelled, "cancelled: nobody follows any more");
        self.sender.blocking_send(increment).map_err(gone)
    }

    /// Begins anew with `table`, the state at `place`; what is before can no longer be added to.
    pub(super) fn begin(
        &mut self,
        task: &Task,
        identity: Identity,
        table: Table,
        place: Place,
        reason: String,
    ) -> Result<()> {
        self.abandon();
        self.part = 0;
        self.number += 1;
        let position = Position { number: self.number, place, part: 0 }.to_string();
        if self.position.is_empty() {
            self.position.clone_from(&position);
        }
        self.checksum = Some(table.checksum().to_string());
        self.cache.save(identity, &table, &position, self.checksum.as_deref())?;
        self.table = table;
        self.number -= 1;
        self.continuity = Continuity::Begins { reason };
        let size = self.table.size();
        self.commit(task, place, size)
    }

    /// Writes the table down when all that it stands for is stored.
    pub(super) fn save(&mut self, identity: Identity) -> Result<()> {
        self.cache.save(identity, &self.table, &self.position, self.checksum.as_deref())
    }
}
