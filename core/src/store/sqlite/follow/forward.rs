//! Rolling a copy forward: increments on their way back.
//!
//! A page that many increments bring is written into the copy once: the last images wait in memory, and go to the file in the
//! order of their numbers. Small writes all over a large file are what takes the time otherwise. Those of a transaction of several parts wait in a file beside it until the
//! part with the point is there and wanted. At the end the copy is read once, and must have the checksum of the point.
//!
//! That checksum is all the proof that there is, and all that is needed. A copy that is older than the first increment lacks
//! pages, one that is newer than the point has pages too new, and so has one to which a page of another database was added: each
//! of them is another state, and has another checksum. What is not proven is not *reached*.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::blocking::{self, Task};
use super::super::header::Header;
use super::super::live;
use super::super::reading::{Block, Reading};
use super::hashes::{Checksum, hash, lock_page};
use super::payload;
use crate::cancel::{ProgressEvent, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Dir, OutFile, PRIVATE_FILE};
use crate::store::follow::{Continuity, Increment, Increments, Point, Reached, Until};

/// Bytes read and written at once.
const BLOCK: usize = 1 << 20;
/// How many bytes of pages wait in memory.
const HELD: usize = 32 << 20;
/// How many threads prove a copy. Behind that it is the memory that is waited for.
const MOST_THREADS: usize = 4;

/// Adds `increments` to the copy at `path`, see [`Store::roll_forward`](crate::store::Store::roll_forward).
pub(in super::super) async fn roll(
    scope: &Scope,
    path: PathBuf,
    increments: &mut dyn Increments,
    until: &Until,
) -> Result<Reached> {
    if let Until::Place(place) = until {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the log of SQLite has no words for a place such as {place:?}"),
        )
        .with_hint("name a moment"));
    }
    let mut forward = blocking::run(scope, move |_| Forward::open(path)).await?;
    let (mut number, mut end): (u64, Option<String>) = (0, None);
    let mut next = increments.next(scope).await;
    // What comes behind the place that is wanted is of no concern, even where it cannot be read.
    while !forward.arrived(until) {
        let Some(increment) = next? else { break };
        number += 1;
        check_order(&increment, end.as_deref(), number)?;
        if increment.points.last().is_some_and(|point| is_past(point, until)) {
            break;
        }
        end = Some(increment.to.clone());
        scope.progress.report(ProgressEvent {
            stage: "rolling the database forward".to_owned(),
            done_bytes: number,
            total_bytes: None,
            done_files: 0,
            total_files: None,
            uninterruptible: false,
        });
        // The next one is fetched and unpacked while this one is written.
        let added = blocking::run(scope, move |task| forward.add(task, &increment));
        let (added, fetched) = tokio::join!(added, increments.next(scope));
        (forward, next) = (added?, fetched);
    }
    if let (Until::Position(position), false) = (until, forward.arrived(until)) {
        return Err(Error::new(ErrorKind::NotFound, format!("no point has the position {position:?}"))
            .with_hint("name one of those that restore.points lists"));
    }
    blocking::run(scope, move |task| forward.finish(task)).await
}

/// Refuses an increment that does not go on from the one that ended at `end`.
fn check_order(increment: &Increment, end: Option<&str>, number: u64) -> Result<()> {
    // The first may begin anew: whether the copy is not older than that, the checksum proves.
    let Some(end) = end else { return Ok(()) };
    let broken = |what: String| {
        Err(Error::new(ErrorKind::Corrupt, format!("increment {number}: {what}"))
            .with_hint("go back to a moment before it, or begin with a newer copy"))
    };
    if let Continuity::Begins { reason } = &increment.continuity {
        return broken(format!("it cannot be added to what is before it: {reason}"));
    }
    if increment.from != end {
        return broken(format!("it goes on from {:?}, and the one before it ends at {end:?}", increment.from));
    }
    Ok(())
}

fn is_past(point: &Point, until: &Until) -> bool {
    matches!(until, Until::Time(time) if point.time > *time)
}

/// A copy that is being rolled forward.
struct Forward {
    out: OutFile,
    path: PathBuf,
    /// Bytes of a page; 0 for a copy of an empty database, until an increment says.
    page_size: u32,
    /// The last images of pages that are not in the file yet.
    held: BTreeMap<u32, Vec<u8>>,
    /// Parts that wait for their point.
    waiting: Option<Waiting>,
    /// The last point that was added.
    point: Option<Point>,
}

impl Forward {
    fn open(path: PathBuf) -> Result<Self> {
        for suffix in ["-wal", "-journal"] {
            if live::beside(&path, suffix).metadata().is_ok_and(|meta| meta.len() > 0) {
                let message = format!("{path:?} is not whole without the {suffix} beside it");
                return Err(Error::new(ErrorKind::Corrupt, message).with_hint("begin with another copy"));
            }
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::invalid(format!("{path:?} does not name a file")));
        };
        let out = Dir::open(folder)?.open_file(Path::new(name))?;
        let page_size = Header::read(out.file(), &path)?.map_or(0, |header| header.page_size);
        Ok(Self { out, path, page_size, held: BTreeMap::new(), waiting: None, point: None })
    }

    /// Whether the point that was asked for is the last one that was added.
    fn arrived(&self, until: &Until) -> bool {
        matches!((until, &self.point), (Until::Position(wanted), Some(point)) if point.position == *wanted)
    }

    fn add(mut self, task: &Task, increment: &Increment) -> Result<Self> {
        let named = |error: Error| error.while_doing(format!("increment {:?}", increment.to));
        let Some(point) = increment.points.last() else {
            payload::decode(&increment.payload).map_err(named)?;
            let waiting = match &mut self.waiting {
                Some(waiting) => waiting,
                None => self.waiting.insert(Waiting::create(live::beside(&self.path, "-forward"))?),
            };
            waiting.add(&increment.payload)?;
            return Ok(self);
        };
        if let Some(mut waiting) = self.waiting.take() {
            waiting
                .each(|payload| {
                    task.check()?;
                    self.write(payload, None)
                })
                .map_err(named)?;
        }
        self.write(&increment.payload, Some(point)).map_err(named)?;
        self.point = Some(point.clone());
        Ok(self)
    }

    /// Writes the pages of a payload; `point` is that of the last part.
    fn write(&mut self, bytes: &[u8], point: Option<&Point>) -> Result<()> {
        let payload = payload::decode(bytes)?;
        let corrupt = |what: String| Err(Error::new(ErrorKind::Corrupt, what).with_hint("begin with a newer copy"));
        if self.page_size == 0 {
            self.page_size = payload.page_size;
        }
        if payload.page_size != self.page_size {
            return corrupt(format!(
                "its pages have {} bytes, those of the copy {}",
                payload.page_size, self.page_size
            ));
        }
        let Some(point) = point else { return self.pages(&payload) };
        if let Some(checksum) = &point.checksum
            && Checksum::parse(checksum)?.size != payload.size
        {
            return corrupt(format!("it makes {} pages, its point has others: {checksum}", payload.size));
        }
        self.pages(&payload)?;
        self.held.split_off(&payload.size.saturating_add(1));
        self.out.set_len(u64::from(payload.size) * u64::from(self.page_size))?;
        let zeros = vec![0; self.page_size as usize];
        payload.void.iter().try_for_each(|page| self.page(*page, &zeros))
    }

    fn pages(&mut self, payload: &payload::Payload<'_>) -> Result<()> {
        payload.pages.iter().try_for_each(|(page, bytes)| self.page(*page, bytes))
    }

    fn page(&mut self, page: u32, bytes: &[u8]) -> Result<()> {
        let image = self.held.entry(page).or_default();
        image.clear();
        image.extend_from_slice(bytes);
        if self.held.len() * self.page_size as usize > HELD {
            self.write_held()?;
        }
        Ok(())
    }

    /// Brings what waits into the file, neighbours together.
    fn write_held(&mut self) -> Result<()> {
        let (mut first, mut run): (u32, Vec<Vec<u8>>) = (0, Vec::new());
        let most = BLOCK / (self.page_size as usize).max(1);
        for (page, image) in std::mem::take(&mut self.held) {
            if !run.is_empty() && ((page - first) as usize != run.len() || run.len() >= most) {
                self.write_run(first, &run)?;
                run.clear();
            }
            if run.is_empty() {
                first = page;
            }
            run.push(image);
        }
        self.write_run(first, &run)
    }

    /// Writes neighbours, of which `first` is the first.
    fn write_run(&self, first: u32, run: &[Vec<u8>]) -> Result<()> {
        let offset = u64::from(first.saturating_sub(1)) * u64::from(self.page_size);
        match run {
            [] => Ok(()),
            [alone] => self.out.write_all_at(alone, offset),
            neighbours => self.out.write_all_at(&neighbours.concat(), offset),
        }
    }

    /// Proves the state.
    fn finish(mut self, task: &Task) -> Result<Reached> {
        self.write_held()?;
        let Some(point) = self.point else {
            return Err(Error::new(
                ErrorKind::NotFound,
                "no moment that can be gone back to is at or before that time",
            )
            .with_hint("name a later time, or restore the copy as it is"));
        };
        task.scope.progress.stage("proving the database that was rolled forward");
        let proven = match &point.checksum {
            None => None,
            Some(text) => {
                let wanted = Checksum::parse(text)?;
                let sum = sum(task, &self.path, self.page_size, &wanted)?;
                if sum != wanted.sum {
                    return Err(Error::new(
                        ErrorKind::Corrupt,
                        format!(
                            "the copy {:?}, rolled forward to {}, is not the database that was there then: its checksum is \
                             {sum:032x} instead of {:032x}",
                            self.path, point.time, wanted.sum
                        ),
                    )
                    .with_hint("begin with an older copy: this one may be newer than that moment, or damaged"));
                }
                Some(true)
            }
        };
        Ok(Reached { point, proven })
    }
}

/// The XOR of the hashes of a file's pages. The order does not matter to it, so several threads share the file.
fn sum(task: &Task, path: &Path, page_size: u32, wanted: &Checksum) -> Result<u128> {
    let file = Reading::open_cached(path)?;
    let next = AtomicU32::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    std::thread::scope(|threads| {
        let workers: Vec<_> =
            (0..workers).map(|_| threads.spawn(|| sum_of_share(task, &file, path, page_size, wanted, &next))).collect();
        workers.into_iter().try_fold(0, |sum, worker| {
            let share = worker.join().map_err(|_| Error::internal("a thread that proves the copy panicked"))?;
            share.map(|share| sum ^ share)
        })
    })
}

/// That of the blocks that nobody else takes.
fn sum_of_share(
    task: &Task,
    file: &Reading,
    path: &Path,
    page_size: u32,
    wanted: &Checksum,
    next: &AtomicU32,
) -> Result<u128> {
    let (size, lock) = (page_size as usize, lock_page(page_size));
    let per_block = (BLOCK / size) as u32;
    let mut block = Block::new(BLOCK);
    let mut sum = 0;
    loop {
        task.check()?;
        let before = next.fetch_add(1, Ordering::Relaxed).saturating_mul(per_block);
        if before >= wanted.size {
            return Ok(sum);
        }
        let offset = u64::from(before) * size as u64;
        let read = file.read(&mut block, BLOCK, offset).map_err(|e| Error::io(format!("read {path:?}"), e))?;
        for (page, bytes) in (before + 1..=wanted.size).zip(block.bytes()[..read].chunks_exact(size)) {
            if page != lock && !wanted.void.contains(&page) {
                sum ^= hash(page, bytes);
            }
        }
    }
}

/// Payloads in a file, removed when dropped.
struct Waiting {
    file: OutFile,
    lens: Vec<usize>,
}

impl Waiting {
    fn create(path: PathBuf) -> Result<Self> {
        fs::remove_file(&path)?;
        Ok(Self { file: OutFile::create_new(&path, PRIVATE_FILE)?, lens: Vec::new() })
    }

    fn add(&mut self, payload: &[u8]) -> Result<()> {
        self.file.write_all(payload)?;
        self.lens.push(payload.len());
        Ok(())
    }

    fn each(&mut self, mut act: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (mut at, file): (u64, &File) = (0, self.file.file());
        for len in &self.lens {
            let mut payload = vec![0; *len];
            file.read_exact_at(&mut payload, at).map_err(|e| Error::io(format!("read {:?}", self.file.path()), e))?;
            act(&payload)?;
            at += *len as u64;
        }
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.file.path());
    }
}
