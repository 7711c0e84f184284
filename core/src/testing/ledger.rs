//! A store that can be followed and is simple enough to see through: a file that begins with `LEDGER` and to which lines are
//! added, each of them a commit. For tests of what follows, without a database.
//!
//! A position is the length of the file, a checksum the BLAKE3 of what is before it. A file that became shorter is another one.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{Detect, Kind, Placement};
use crate::error::{Error, ErrorKind, Result};
use crate::store::follow::{
    Continuity, FollowRequest, Follower, FollowerStanding, Increment, Increments, Point, Reached, Until,
};
use crate::store::*;

/// How a ledger begins.
pub const HEAD: &[u8] = b"LEDGER\n";
/// How often a follower looks.
const LOOK: Duration = Duration::from_millis(5);
/// The most that goes into one increment.
const MOST: u64 = 1 << 20;

/// The kind, for a registry.
pub const KIND: Kind<dyn Store> = Kind {
    name: "ledger",
    summary: "a file to which lines are added, for tests",
    placement: Placement::Worker,
    build: |context, settings| {
        let path = settings.get("path").and_then(Value::as_str).unwrap_or_default();
        Ok(Arc::new(Ledger { path: context.resolve(Path::new(path)) }))
    },
    detect: Some(Detect {
        head: |head| head.starts_with(HEAD),
        side_suffixes: &[],
        settings: |path| Map::from_iter([("path".to_owned(), Value::from(path.to_string_lossy()))]),
    }),
};

/// A ledger.
#[derive(Debug)]
pub struct Ledger {
    /// Its file.
    pub path: PathBuf,
}

impl Ledger {
    /// A new one, with nothing in it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create(path: &Path) -> Result<Self> {
        let ledger = Self { path: path.to_owned() };
        ledger.write(0, HEAD)?;
        Ok(ledger)
    }

    /// Commits a line.
    ///
    /// # Errors
    /// What the disk says.
    pub fn commit(&self, line: &str) -> Result<()> {
        let failed = |e| Error::io(format!("write {:?}", self.path), e);
        let mut file = fs::OpenOptions::new().append(true).open(&self.path).map_err(failed)?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }

    /// Its lines.
    ///
    /// # Errors
    /// What the disk says.
    pub fn lines(&self) -> Result<Vec<String>> {
        let text = String::from_utf8_lossy(&self.read(0)?).into_owned();
        Ok(text.lines().skip(1).map(str::to_owned).collect())
    }

    fn copy_in(&self, dir: &Path) -> Self {
        Self { path: dir.join(self.path.file_name().unwrap_or_default()) }
    }

    fn read(&self, from: u64) -> Result<Vec<u8>> {
        let failed = |e| Error::io(format!("read {:?}", self.path), e);
        let mut file = fs::File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let failed = |e| Error::io(format!("write {:?}", self.path), e);
        #[allow(clippy::disallowed_methods, reason = "a store's file is its own")]
        let mut file =
            fs::OpenOptions::new().create(true).truncate(false).write(true).open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        file.write_all(bytes).map_err(failed)
    }

    fn len(&self) -> Result<u64> {
        let meta = fs::metadata(&self.path).map_err(|e| Error::io(format!("look at {:?}", self.path), e))?;
        Ok(meta.len())
    }
}

#[async_trait]
impl Store for Ledger {
    fn capability(&self) -> StoreCapability {
        StoreCapability {
            kind: "ledger".to_owned(),
            file: Some(self.path.clone()),
            copy_files: Vec::new(),
            side_files: Vec::new(),
            maintenance: Vec::new(),
        }
    }

    async fn stats(&self, _: &Scope) -> Result<StoreStats> {
        Ok(StoreStats { size_bytes: self.len()?, log_bytes: None, details: Map::new() })
    }

    async fn verify(&self, _: &Scope, _: CheckDepth) -> Result<IntegrityReport> {
        let ok = self.read(0)?.starts_with(HEAD);
        Ok(IntegrityReport { ok, problems: Vec::new() })
    }

    async fn snapshot_to(&self, scope: &Scope, dir: &Path) -> Result<StoreSnapshot> {
        let taken_at = scope.clock.now();
        let bytes = self.read(0)?;
        // What is being written at this moment is not committed.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let copy = self.copy_in(dir);
        copy.write(0, &bytes[..whole])?;
        Ok(StoreSnapshot {
            files: vec![PathBuf::from(copy.path.file_name().unwrap_or_default())],
            size_bytes: whole as u64,
            taken_at,
            details: Map::new(),
        })
    }

    async fn check_copy(&self, scope: &Scope, dir: &Path, depth: CheckDepth) -> Result<IntegrityReport> {
        self.copy_in(dir).verify(scope, depth).await
    }

    async fn restore_from(&self, _: &Scope, _: &Path) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "a ledger is restored as a file"))
    }

    async fn follow(&self, scope: &Scope, request: FollowRequest) -> Result<Box<dyn Follower>> {
        let mut follower = LedgerFollower {
            ledger: Self { path: self.path.clone() },
            at: HEAD.len() as u64,
            hasher: blake3::Hasher::new(),
            begins: Some("the ledger is followed from its beginning".to_owned()),
            since: request.resume.as_ref().map_or_else(|| scope.clock.now(), |resume| resume.until),
            seen: None,
        };
        if let Some(resume) = request.resume {
            let at: u64 = resume.position.parse().map_err(|_| Error::invalid("a position is a number"))?;
            let bytes = self.read(0)?;
            match bytes.get(..at as usize) {
                Some(before) if resume.checksum.is_none_or(|sum| sum == blake3::hash(before).to_hex().to_string()) => {
                    follower.hasher.update(before);
                    (follower.at, follower.begins) = (at, None);
                    return Ok(Box::new(follower));
                }
                _ => follower.begins = Some("the ledger is another one than before".to_owned()),
            }
        }
        // From what it has now on: a copy brings the rest.
        let bytes = self.read(0)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        follower.hasher.update(&bytes[..whole]);
        follower.at = whole as u64;
        scope.cancel.check()?;
        Ok(Box::new(follower))
    }

    async fn roll_forward(
        &self,
        scope: &Scope,
        dir: &Path,
        _taken_at: Timestamp,
        increments: &mut dyn Increments,
        until: &Until,
    ) -> Result<Reached> {
        if let Until::Place(place) = until {
            return Err(Error::new(ErrorKind::Unsupported, format!("a ledger has no place named {place:?}")));
        }
        let copy = self.copy_in(dir);
        let mut reached = None::<Point>;
        let mut place = None::<String>;
        while let Some(increment) = increments.next(scope).await? {
            if place.as_ref().is_some_and(|place| *place != increment.from) {
                return Err(Error::new(ErrorKind::Corrupt, "an increment of the ledger is missing"));
            }
            place = Some(increment.to.clone());
            let from: u64 = increment.from.parse().map_err(|_| Error::invalid("a position is a number"))?;
            if from > copy.len()? {
                return Err(Error::new(ErrorKind::Corrupt, "an increment does not fit the copy of the ledger"));
            }
            let (mut over, mut takes) = (false, increment.points.is_empty());
            for point in &increment.points {
                let wanted = match until {
                    Until::Time(time) => point.time <= *time,
                    Until::Position(position) => reached.as_ref().is_none_or(|it| it.position != *position),
                    Until::Place(_) | Until::End => true,
                };
                if !wanted {
                    over = true;
                    break;
                }
                (reached, takes) = (Some(point.clone()), true);
            }
            if takes {
                copy.write(from, &increment.payload)?;
            }
            if over {
                break;
            }
        }
        let point = reached.ok_or_else(|| Error::new(ErrorKind::NotFound, "no point is at or before that"))?;
        let end: u64 = point.position.parse().map_err(|_| Error::invalid("a position is a number"))?;
        // The last increment may go on behind the point, and begin before it.
        if copy.len()? < end {
            return Err(Error::new(ErrorKind::Corrupt, "the ledger does not reach its point"));
        }
        let mut bytes = copy.read(0)?;
        bytes.truncate(end as usize);
        crate::fs::remove_file(&copy.path)?;
        copy.write(0, &bytes)?;
        let sum = blake3::hash(&bytes).to_hex().to_string();
        let proven = point.checksum.as_ref().map(|checksum| *checksum == sum);
        Ok(Reached { point, proven })
    }

    async fn maintain(&self, _: &Scope, _: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
        Ok(Vec::new())
    }
}

/// Follows a ledger.
#[derive(Debug)]
struct LedgerFollower {
    ledger: Ledger,
    at: u64,
    /// Of what is before it.
    hasher: blake3::Hasher,
    begins: Option<String>,
    /// When it looked last, and everything that it found was handed over.
    since: Timestamp,
    seen: Option<Timestamp>,
}

impl LedgerFollower {
    fn look(&mut self, now: Timestamp) -> Result<Option<Increment>> {
        let len = self.ledger.len()?;
        if len < self.at {
            self.begins = Some("the ledger became shorter".to_owned());
            let before = self.ledger.read(0)?;
            self.hasher = blake3::Hasher::new();
            self.hasher.update(&before);
            self.at = before.len() as u64;
        }
        let mut bytes = if len > self.at { self.ledger.read(self.at)? } else { Vec::new() };
        bytes.truncate(MOST as usize);
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
        if bytes.is_empty() && self.begins.is_none() {
            return Ok(None);
        }
        let from = self.at.to_string();
        let mut points = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.hasher.update(line);
            self.at += line.len() as u64;
            let checksum = Some(self.hasher.finalize().to_hex().to_string());
            points.push(Point { time: now, position: self.at.to_string(), checksum });
        }
        let continuity = match self.begins.take() {
            Some(reason) => Continuity::Begins { reason },
            None => Continuity::Continues,
        };
        let since = self.since;
        Ok(Some(Increment { from, to: self.at.to_string(), continuity, points, since, until: now, payload: bytes }))
    }
}

#[async_trait]
impl Follower for LedgerFollower {
    async fn next(&mut self, scope: &Scope, patience: Duration) -> Result<Option<Increment>> {
        let until = scope.clock.monotonic() + patience;
        loop {
            scope.cancel.check()?;
            let looked = scope.clock.now();
            if let Some(mut increment) = self.look(looked)? {
                // What is seen was committed before the look is over.
                let now = scope.clock.now();
                increment.points.iter_mut().for_each(|point| point.time = now);
                if increment.payload.len() as u64 * 2 < MOST {
                    self.since = looked;
                } else {
                    // There may be more than went into it.
                    increment.until = self.since;
                }
                return Ok(Some(increment));
            }
            (self.since, self.seen) = (looked, Some(looked));
            if scope.clock.monotonic() >= until {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn stored(&mut self, _: &Scope, _: &str) -> Result<()> {
        Ok(())
    }

    fn standing(&self) -> FollowerStanding {
        FollowerStanding { position: self.at.to_string(), log_bytes: 0, waits_for: None, seen_until: self.seen }
    }
}
