//! The way to a moment: which snapshot, and which increments are added to it.

use std::collections::VecDeque;
use std::path::Path;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::timeline::{Base, Span, StoreView, View, not_covered};
use crate::backup::manifest::StoreRecord;
use crate::backup::repository::streams::{Shelf, Stored};
use crate::backup::restore::ReachedStore;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;
use crate::store::follow::{Increment, Increments, Point, Reached, Until};

/// The way of all stores of a service to a moment.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) at: Timestamp,
    /// The snapshot that is restored.
    pub(crate) snapshot_id: String,
    /// How each store goes on from there.
    pub(crate) stores: Vec<StoreWay>,
}

/// How one store goes on from its copy.
#[derive(Debug, Clone)]
pub(crate) struct StoreWay {
    pub(crate) store: String,
    pub(crate) base: Base,
    /// The last state that is not after the moment. Where nothing was committed between the copy and the moment it is the one
    /// before the copy, whose checksum proves that the copy has nothing younger; none where the driver has no checksums.
    pub(crate) point: Option<Point>,
    /// The first increment that is needed ended at this moment or later.
    pub(crate) begins: Timestamp,
    /// What is added, in order.
    pub(crate) segments: Vec<Stored>,
    pub(crate) shelf: Shelf,
}

impl View {
    /// The same with the bases of one snapshot alone, by its identifier or the beginning of it.
    pub(crate) fn of_snapshot(&self, snapshot: &str) -> Self {
        let stores = self.stores.iter().map(|store| store.with_bases_of(snapshot)).collect();
        Self { shelves: self.shelves.clone(), stores, failed: Vec::new() }
    }

    /// One of the moments that all followed stores can go back to: the one at `part` (0 to 1) of them. Nothing where there is
    /// none.
    pub(crate) fn any_moment(&self, part: f64) -> Option<Timestamp> {
        let followed = self.stores.iter().filter(|store| !store.runs.is_empty());
        let common = followed.map(|store| store.timeline().coverage).reduce(|a, b| in_both(&a, &b))?;
        let length = |span: &Span| span.until.as_millisecond() - span.from.as_millisecond() + 1;
        let mut at = (common.iter().map(length).sum::<i64>() as f64 * part) as i64;
        for span in &common {
            if at < length(span) {
                // Of the first millisecond a part is before the span.
                let moment = Timestamp::from_millisecond(span.from.as_millisecond() + at).ok()?;
                return Some(moment.clamp(span.from, span.until));
            }
            at -= length(span);
        }
        common.last().map(|last| last.until)
    }

    /// The way to `at`: from the newest snapshot from which each of the stores gets there without a gap.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with the nearest moments on both sides.
    pub(crate) fn way(&self, at: Timestamp) -> Result<Way> {
        let followed: Vec<&StoreView> = self.stores.iter().filter(|store| !store.runs.is_empty()).collect();
        if followed.is_empty() {
            let failed = self.failed.first().map(|failed| Error::from(failed.error.clone()));
            return Err(failed.unwrap_or_else(|| {
                Error::new(ErrorKind::NotFound, "no store was followed: there is nothing to go back to a moment with")
                    .with_hint(
                        "on a new machine restore into a folder, with the identity file where the repository is encrypted; to follow \
                         stores name them in [continuous] of ops.toml; a snapshot by its identifier needs neither",
                    )
            }));
        }
        // An exact one first: a copy that no commit came after may show some that came while it was made.
        for exact in [true, false] {
            for snapshot in self.snapshots_before(at) {
                let ways: Option<Vec<StoreWay>> =
                    followed.iter().map(|store| self.way_of(store, &snapshot, at, exact)).collect();
                if let Some(stores) = ways {
                    return Ok(Way { at, snapshot_id: snapshot, stores });
                }
            }
        }
        let uncovered = followed
            .iter()
            .map(|store| store.timeline())
            .find(|timeline| !timeline.coverage.iter().any(|span| span.from <= at && at <= span.until));
        Err(match uncovered {
            Some(timeline) => not_covered(&timeline, at),
            None => Error::new(
                ErrorKind::NotFound,
                format!("each store can go back to {at}, but there is no snapshot from which all of them can"),
            )
            .with_hint("restore them one after the other, each with `paths`"),
        })
    }

    /// The snapshots that were made before `at`, the newest first.
    fn snapshots_before(&self, at: Timestamp) -> Vec<String> {
        let bases = self.stores.iter().flat_map(|store| &store.bases).filter(|base| base.taken_at <= at);
        let mut all: Vec<(Timestamp, &str)> = bases.map(|base| (base.taken_at, base.snapshot_id.as_str())).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let mut ids: Vec<String> = Vec::new();
        for (_, id) in all {
            if !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
        ids
    }

    fn way_of(&self, store: &StoreView, snapshot: &str, at: Timestamp, exact: bool) -> Option<StoreWay> {
        for run in store.runs.iter().rev() {
            if run.until() < at {
                continue;
            }
            let Some(base) = store.bases_in(run).rev().find(|base| base.snapshot_id == snapshot && base.taken_at <= at)
            else {
                continue;
            };
            let covered = store.timeline().coverage.iter().any(|span| span.from <= at && at <= span.until);
            if !covered {
                continue;
            }
            let increments = run.segments.iter().flat_map(|stored| &stored.head.increments);
            let points = increments.flat_map(|head| head.points.iter().map(|point| (point, head.until)));
            let last = points.take_while(|(point, _)| point.time <= at).last();
            if exact && last.is_none_or(|(point, _)| point.time < base.taken_at) {
                continue;
            }
            let last = last.filter(|(point, _)| point.time >= base.taken_at || point.checksum.is_some());
            let (point, begins) = match last {
                Some((point, until)) => (Some(point.clone()), until.min(base.taken_at)),
                None => (None, base.taken_at),
            };
            let first = run.segments.partition_point(|stored| stored.head.until < begins);
            let last = run.segments[first..].iter().take_while(|stored| {
                point.is_some() && stored.head.points().next().is_none_or(|first| first.time <= at)
            });
            let segments: Vec<Stored> = last.cloned().collect();
            return Some(StoreWay {
                store: store.store.clone(),
                base: base.clone(),
                point,
                begins,
                segments,
                shelf: self.shelves.get(run.shelf)?.clone(),
            });
        }
        None
    }
}

/// What two lists of spans, each in order, have in common.
fn in_both(a: &[Span], b: &[Span]) -> Vec<Span> {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
    let common = pairs.map(|(a, b)| Span { from: a.from.max(b.from), until: a.until.min(b.until) });
    common.filter(|span| span.from <= span.until).collect()
}

impl StoreWay {
    /// Adds to the restored copy in `folder`, which `record` is about, what was committed `until` the moment of this way or a place
    /// before it; nothing where nothing was.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when what is stored does not lead there, or leads to another state; [`ErrorKind::NotFound`] for a
    /// place that is not on the way.
    pub(crate) async fn go_on(
        &self,
        scope: &Scope,
        driver: &dyn Store,
        record: &StoreRecord,
        folder: &Path,
        until: &Until,
    ) -> Result<Option<ReachedStore>> {
        let goal = match until {
            Until::Place(place) => format!("{place:?}"),
            Until::Time(time) => time.to_string(),
            Until::Position(_) | Until::End => "the end".to_owned(),
        };
        if self.point.is_none() {
            return match until {
                Until::Place(_) => Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "nothing was committed to {} behind its copy of {}, so there is no {goal}",
                        record.name, record.taken_at
                    ),
                )
                .with_hint("name a moment behind the place, and before that copy, as `at`")),
                _ => Ok(None),
            };
        }
        scope.progress.stage(format!("going on with database {}", record.name));
        let mut reading = Reading::of(self, record.taken_at);
        let rolled = driver.roll_forward(scope, folder, record.taken_at, &mut reading, until).await;
        let Reached { point, proven } = rolled
            .map_err(|error| error.while_doing(format!("adding what was committed until {goal} to {}", record.name)))?;
        if proven == Some(false) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the database {} is not what it was at {}: its checksum differs", record.name, point.time),
            )
            .with_hint("name an earlier moment, or restore a snapshot by its identifier"));
        }
        let Point { time, position, .. } = point;
        Ok(Some(ReachedStore { store: record.name.clone(), time, position, proven }))
    }
}

/// How many frames are read and unpacked ahead of the one that is added: as many as a few processors can.
const FRAMES_AHEAD: usize = 4;
/// How many bytes they may have, unpacked, together. One is read whatever it has.
const BYTES_AHEAD: u64 = 32 << 20;

/// The increments of some segments that a copy needs, in order. Several are read at once, ahead of the one that is asked for.
#[derive(Debug)]
pub(crate) struct Reading {
    shelf: Shelf,
    segments: VecDeque<Stored>,
    /// The next frame of the first of them.
    frame: usize,
    ahead: VecDeque<Ahead>,
    ready: VecDeque<Increment>,
    begins: Timestamp,
}

/// A frame that is being read. Whoever drops it stops that.
#[derive(Debug)]
struct Ahead {
    bytes: u64,
    /// One task.
    read: JoinSet<Result<Vec<Increment>>>,
}

impl Reading {
    /// Those of `way` that a copy of `taken_at` may lack.
    pub(crate) fn of(way: &StoreWay, taken_at: Timestamp) -> Self {
        Self {
            shelf: way.shelf.clone(),
            segments: way.segments.iter().cloned().collect(),
            frame: 0,
            ahead: VecDeque::new(),
            ready: VecDeque::new(),
            begins: way.begins.min(taken_at),
        }
    }

    fn read_ahead(&mut self, scope: &Scope) {
        while let Some(stored) = self.segments.front() {
            let frames = stored.head.frames.len();
            let bytes = stored.head.frames.get(self.frame).map_or(0, |frame| frame.plain_bytes);
            let reading: u64 = self.ahead.iter().map(|ahead| ahead.bytes).sum();
            let is_enough = self.ahead.len() >= FRAMES_AHEAD || reading.saturating_add(bytes) > BYTES_AHEAD;
            if is_enough && !self.ahead.is_empty() {
                return;
            }
            let (shelf, scope, stored, frame) = (self.shelf.clone(), scope.clone(), stored.clone(), self.frame);
            let mut read = JoinSet::new();
            read.spawn(async move {
                if frames == 0 {
                    return Ok(stored.head.increments.into_iter().map(|head| head.with(Vec::new())).collect());
                }
                let read = shelf.increments(&scope, &stored, frame).await;
                read.map_err(|error| error.with_context("target", &shelf.name))
            });
            self.ahead.push_back(Ahead { bytes, read });
            self.frame += 1;
            if self.frame >= frames {
                self.segments.pop_front();
                self.frame = 0;
            }
        }
    }
}

#[async_trait]
impl Increments for Reading {
    async fn next(&mut self, scope: &Scope) -> Result<Option<Increment>> {
        loop {
            scope.cancel.check()?;
            if let Some(increment) = self.ready.pop_front() {
                if increment.until < self.begins {
                    continue;
                }
                return Ok(Some(increment));
            }
            self.read_ahead(scope);
            let Some(mut next) = self.ahead.pop_front() else { return Ok(None) };
            while let Some(read) = next.read.join_next().await {
                let read = read.map_err(|error| Error::internal(format!("reading a segment did not end: {error}")))?;
                self.ready.extend(read?);
            }
        }
    }
}
