//! Which seconds can be gone back to, from which base; what is missing, and why.
//!
//! A stream in a target is read into *runs*: segments of which each provably follows the one before it. A base lies in a run when
//! its copy was begun after the run's first increment ended: then all that the copy lacks is in the run.
//!
//! What comes back for a moment is the last state that was seen until then: nothing in it is younger than the moment, and what
//! it lacks is younger than [`TOLERANCE`] before it. Where the looks lay further apart than that, the time between them is a gap.

use std::collections::{BTreeSet, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::create::NamedTarget;
use crate::backup::list::{FailedTarget, blocking};
use crate::backup::manifest::StoreRecord;
use crate::backup::repository::snapshot::manifest_of;
use crate::backup::repository::streams::{Broken, Shelf, Stored, by_stream, thread};
use crate::backup::seal::Keys;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::follow::Continuity;

/// What is committed less than this before a moment may be missing in what comes back for it. Between two looks that are
/// further apart no state is known.
pub(crate) const TOLERANCE: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

/// The seconds that a store can go back to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreTimeline {
    /// The store's name.
    pub store: String,
    /// The snapshots that have it, oldest first.
    pub bases: Vec<Base>,
    /// What can be gone back to, oldest first. Spans do not touch.
    pub coverage: Vec<Span>,
    /// What cannot, between the first base and the last thing that is known.
    pub gaps: Vec<Gap>,
    /// Segments that are stored, all targets together.
    pub segments: u64,
    /// Their bytes.
    pub stored_bytes: u64,
}

/// A snapshot that has the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Base {
    /// Everything committed before this moment is in it.
    pub taken_at: Timestamp,
    /// The snapshot.
    pub snapshot_id: String,
    /// The target that has it.
    pub target: String,
    /// Whether the time is only known roughly, as that of its beginning: its manifest is sealed, and no key is at hand.
    pub approximate: bool,
}

/// Seconds that can be gone back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// The first moment.
    pub from: Timestamp,
    /// The last one.
    pub until: Timestamp,
}

/// Seconds that cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// The last moment before it that can be gone back to.
    pub from: Timestamp,
    /// The first one behind it; nothing while it goes on.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// Segments of which each follows the one before it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Which shelf it lies on.
    pub(crate) shelf: usize,
    pub(crate) segments: Vec<Stored>,
    /// A copy that was begun after this can be added to.
    pub(crate) starts: Timestamp,
    /// Why it does not go on from what was before.
    pub(crate) because: String,
}

impl Run {
    /// Up to when it tells what was committed. The last state was seen when the look was over, and the time until then is
    /// told as well as any other.
    pub(crate) fn until(&self) -> Timestamp {
        let Some(last) = self.segments.last() else { return self.starts };
        let seen = last.head.points().last().map_or(last.head.until, |point| point.time);
        seen.clamp(last.head.until, after(last.head.until))
    }

    /// The times in it of which no state is known, or none that is young enough.
    fn holes(&self) -> Vec<Gap> {
        let mut holes = Vec::new();
        // What is committed before this is in what was gone through; the time of its last point.
        let (mut before, mut seen) = (self.starts, self.starts);
        // Since when a transaction or a look comes in parts.
        let mut open: Option<Timestamp> = None;
        for stored in &self.segments {
            for head in &stored.head.increments {
                let since = head.since.unwrap_or(before);
                let since = *open.insert(open.map_or(since, |open| open.min(since)));
                // A part has no point, and what is before it is not known to be all.
                let Some(point) = head.points.last() else { continue };
                open = None;
                let reason = match &head.continuity {
                    Continuity::Begins { .. } => None,
                    Continuity::Difference { reason } => Some(reason.clone()),
                    Continuity::Continues if point.time > after(since) => {
                        Some("nobody followed the store at that time".to_owned())
                    }
                    Continuity::Continues => None,
                };
                // The state before it is good for as long as what it lacks is young.
                let from = seen.clamp(since, after(since));
                if let Some(reason) = reason.filter(|_| point.time > from) {
                    holes.push(Gap { from, until: Some(point.time), reason });
                }
                (before, seen) = (before.max(head.until), seen.max(point.time));
            }
            if stored.head.increments.is_empty() {
                before = before.max(stored.head.until);
            }
        }
        holes
    }
}

/// The moment up to which a state is good that lacks what was committed from `time` on.
fn after(time: Timestamp) -> Timestamp {
    time.checked_add(TOLERANCE).unwrap_or(Timestamp::MAX)
}

/// A store as all targets have it.
#[derive(Debug, Default)]
pub(crate) struct StoreView {
    pub(crate) store: String,
    pub(crate) runs: Vec<Run>,
    pub(crate) bases: Vec<Base>,
    segments: u64,
    stored_bytes: u64,
}

/// What the targets have of some stores.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) shelves: Vec<Shelf>,
    pub(crate) stores: Vec<StoreView>,
    /// The targets that could not be asked.
    pub(crate) failed: Vec<FailedTarget>,
}

/// Which stores to look for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Those of these names.
    Named(&'a [String]),
    /// Those as well that the snapshots tell of and that were followed: on a new machine nobody knows their names.
    AndFound(&'a [String]),
}

/// Looks what `targets` have of the stores that are wanted.
///
/// # Errors
/// A cancel. A target that fails is in the result.
pub(crate) async fn look(scope: &Scope, targets: &[NamedTarget], keys: &Keys, wanted: Wanted<'_>) -> Result<View> {
    let (Wanted::Named(named) | Wanted::AndFound(named)) = wanted;
    let (mut names, mut opened, mut view) = (named.to_vec(), Vec::new(), View::default());
    for (name, target) in targets {
        let open = async {
            let Some(shelf) = Shelf::open(scope, name, target, keys).await? else { return Ok(None) };
            let bases = bases(scope, &shelf).await?;
            let followed =
                if let Wanted::AndFound(_) = wanted { followed(scope, &shelf, &bases).await? } else { vec![] };
            Ok(Some((shelf, bases, followed)))
        };
        if let Some((shelf, bases, followed)) = view.unless_failed(name, open.await)?.flatten() {
            names.extend(followed);
            opened.push((shelf, bases));
        }
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    view.stores = names.into_iter().map(|store| StoreView { store, ..StoreView::default() }).collect();
    for (shelf, bases) in opened {
        let mut of_shelf = Vec::new();
        for store in &view.stores {
            of_shelf.push(look_at(scope, &shelf, view.shelves.len(), &store.store, &bases).await);
        }
        // What a target says in part is not taken for all that it has.
        let of_shelf: Result<Vec<StoreView>> = of_shelf.into_iter().collect();
        if let Some(of_shelf) = view.unless_failed(&shelf.name, of_shelf)? {
            view.stores.iter_mut().zip(of_shelf).for_each(|(store, more)| store.add(more));
            view.shelves.push(shelf);
        }
    }
    for store in &mut view.stores {
        store.bases.sort();
        store.runs.sort_by_key(|run| run.starts);
    }
    Ok(view)
}

impl View {
    /// What `asked` is, unless the target failed, which is remembered then. A cancel is passed on.
    fn unless_failed<T>(&mut self, target: &str, asked: Result<T>) -> Result<Option<T>> {
        match asked {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            Err(error) => {
                self.failed.push(FailedTarget { target: target.to_owned(), error: error.to_body() });
                Ok(None)
            }
        }
    }
}

impl StoreView {
    fn add(&mut self, more: Self) {
        self.runs.extend(more.runs);
        self.bases.extend(more.bases);
        self.segments += more.segments;
        self.stored_bytes += more.stored_bytes;
    }
}

/// What a shelf, the one of that number, has of a store.
async fn look_at(scope: &Scope, shelf: &Shelf, number: usize, store: &str, bases: &[FoundBase]) -> Result<StoreView> {
    let listed = shelf.list(scope, store).await?;
    let mut view = StoreView {
        store: store.to_owned(),
        segments: listed.len() as u64,
        stored_bytes: listed.iter().map(|(_, len)| len).sum(),
        ..StoreView::default()
    };
    for (_, segments) in by_stream(listed) {
        let names = segments.into_iter().map(|(name, _)| name).collect();
        let (mut whole, mut broken) = (Vec::new(), Vec::new());
        for head in shelf.heads(scope, names).await? {
            match head {
                Ok(stored) => whole.push(stored),
                Err(error) => broken.push(error),
            }
        }
        view.runs.extend(runs(number, thread(whole, |stored| &stored.name), &broken));
    }
    let of_store = bases.iter().filter(|(_, record)| record.as_ref().is_none_or(|it| it.name == store));
    view.bases.extend(of_store.map(|(base, record)| match record {
        Some(record) => Base { taken_at: record.taken_at, ..base.clone() },
        None => base.clone(),
    }));
    Ok(view)
}

/// The names of the stores in snapshots of a shelf that segments of it belong to.
async fn followed(scope: &Scope, shelf: &Shelf, bases: &[FoundBase]) -> Result<Vec<String>> {
    let streams = shelf.stores(scope).await?;
    let names: BTreeSet<&str> = bases.iter().filter_map(|(_, record)| Some(record.as_ref()?.name.as_str())).collect();
    let is_followed = |name: &&str| streams.iter().any(|id| shelf.is_store(*id, name));
    Ok(names.into_iter().filter(is_followed).map(str::to_owned).collect())
}

/// A snapshot with one of its databases, which is not known where the manifest cannot be read for want of a key.
type FoundBase = (Base, Option<StoreRecord>);

/// The databases of the snapshots of a repository.
async fn bases(scope: &Scope, shelf: &Shelf) -> Result<Vec<FoundBase>> {
    let (repository, target, scope) = (shelf.repository.clone(), shelf.name.clone(), scope.clone());
    blocking(move || {
        let mut found = Vec::new();
        for stored in repository.headers()? {
            // A damaged one is no base, and a verify names it.
            let Ok((header, _)) = &stored.header else { continue };
            if header.counts.stores == 0 {
                continue;
            }
            let base = Base {
                taken_at: header.time,
                snapshot_id: header.snapshot.to_string(),
                target: target.clone(),
                approximate: false,
            };
            match manifest_of(&scope, &repository, header) {
                Ok(manifest) => {
                    found.extend(manifest.stores.into_iter().map(|record| (base.clone(), Some(record))));
                }
                Err(error) if error.kind() == ErrorKind::Denied => {
                    found.push((Base { approximate: true, ..base }, None));
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(_) => {}
            }
        }
        Ok(found)
    })
    .await
}

/// Cuts a stream where a segment does not follow the one before it.
pub(crate) fn runs(shelf: usize, segments: Vec<Stored>, broken: &[Broken]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for stored in segments {
        let because = match runs.last().and_then(|run| run.segments.last()) {
            None => match stored.head.increments.first().map(|head| &head.continuity) {
                Some(Continuity::Begins { reason }) => Some(reason.clone()),
                _ => Some(before(1, stored.name.first, broken)),
            },
            Some(last) => breaks(last, &stored, broken),
        };
        match (because, runs.last_mut()) {
            (None, Some(run)) => run.segments.push(stored),
            (because, _) => runs.push(Run {
                shelf,
                starts: stored.head.increments.first().map_or(stored.head.until, |head| head.until),
                because: because.unwrap_or_default(),
                segments: vec![stored],
            }),
        }
    }
    runs
}

/// Why `next` does not follow `last`; `None` when it does.
fn breaks(last: &Stored, next: &Stored, broken: &[Broken]) -> Option<String> {
    if next.name.first != last.name.last + 1 {
        return Some(before(last.name.last + 1, next.name.first, broken));
    }
    let times = next.head.points().next().zip(last.head.points().last());
    let goes_back = next.head.until < last.head.until || times.is_some_and(|(next, last)| next.time < last.time);
    if next.head.previous != Some(last.link) || next.head.from != last.head.to || goes_back {
        return Some(match next.head.previous {
            None => format!("what was stored before segment {} was not known when it was stored", next.name.first),
            Some(_) => format!("segment {} does not follow the one before it", next.name.first),
        });
    }
    None
}

/// Why there is nothing from `first` to before `next`.
fn before(first: u64, next: u64, broken: &[Broken]) -> String {
    let damaged = broken.iter().find(|broken| broken.name.last >= first && broken.name.first < next);
    match (damaged, next - first) {
        (Some(Broken { name, error }), _) => format!("segment {} cannot be read: {}", name.first, error.message()),
        (None, 1) => format!("segment {first} is missing"),
        (None, _) => format!("segments {first} to {} are missing", next - 1),
    }
}

impl StoreView {
    /// The same with the bases of one snapshot alone, by its identifier or the beginning of it.
    pub(crate) fn with_bases_of(&self, snapshot: &str) -> Self {
        let bases = self.bases.iter().filter(|base| base.snapshot_id.starts_with(snapshot)).cloned().collect();
        Self { store: self.store.clone(), runs: self.runs.clone(), bases, ..*self }
    }

    /// The bases that lie in a run, in the order of their times.
    pub(crate) fn bases_in<'a>(&'a self, run: &'a Run) -> impl DoubleEndedIterator<Item = &'a Base> {
        self.bases.iter().filter(|base| base.taken_at > run.starts && base.taken_at <= run.until())
    }

    /// What is covered, oldest first, in spans that do not touch; what is not.
    pub(crate) fn timeline(&self) -> StoreTimeline {
        let mut spans: Vec<Span> = Vec::new();
        let mut holes: Vec<Gap> = Vec::new();
        for run in &self.runs {
            let Some(first) = self.bases_in(run).next() else { continue };
            let mut from = first.taken_at;
            for hole in run.holes() {
                let Some(end) = hole.until else { continue };
                if end <= from {
                    continue;
                }
                if hole.from > from {
                    spans.push(Span { from, until: hole.from });
                }
                holes.push(Gap { from: hole.from.max(from), ..hole });
                // A base that was made within it brings nothing sooner: its states are those of the difference as well.
                from = end;
            }
            if run.until() >= from {
                spans.push(Span { from, until: run.until() });
            }
        }
        let coverage = joined(spans);
        let mut gaps = Vec::new();
        for pair in coverage.windows(2) {
            let (from, until) = (pair[0].until, pair[1].from);
            gaps.push(Gap { from, until: Some(until), reason: self.reason(from, until, &holes) });
        }
        let end = coverage.last().map(|last| last.until);
        if let Some(run) = self.runs.iter().rfind(|run| end.is_none_or(|end| run.until() > end)) {
            let from = end.unwrap_or(run.starts);
            let reason = format!("{}; there is no backup since", self.reason(from, run.until(), &holes));
            gaps.push(Gap { from, until: None, reason });
        }
        StoreTimeline {
            store: self.store.clone(),
            bases: self.bases.clone(),
            coverage,
            gaps,
            segments: self.segments,
            stored_bytes: self.stored_bytes,
        }
    }

    fn reason(&self, from: Timestamp, until: Timestamp, holes: &[Gap]) -> String {
        let hole = holes.iter().find(|hole| hole.from <= until && hole.until.is_some_and(|end| end >= from));
        let run = self.runs.iter().find(|run| run.starts >= from && run.starts <= until);
        match (hole, run) {
            // Where a stream broke off, that nobody looked for a while beside it is the smaller matter.
            (_, Some(run)) => run.because.clone(),
            (Some(hole), None) => hole.reason.clone(),
            (None, None) => "nothing of that time is stored".to_owned(),
        }
    }
}

/// Spans that overlap or touch as one.
fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| (span.from, span.until));
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.from <= last.until => last.until = last.until.max(span.until),
            _ => joined.push(span),
        }
    }
    joined
}

/// Why a moment cannot be gone back to, with the nearest ones that can.
pub(crate) fn not_covered(timeline: &StoreTimeline, at: Timestamp) -> Error {
    let before = timeline.coverage.iter().rev().find(|span| span.until < at).map(|span| span.until);
    let after = timeline.coverage.iter().find(|span| span.from > at).map(|span| span.from);
    let gap = timeline.gaps.iter().find(|gap| gap.from <= at && gap.until.is_none_or(|until| at <= until));
    let why = match (gap, timeline.coverage.first(), timeline.coverage.last()) {
        (Some(gap), ..) => gap.reason.clone(),
        (None, None, _) => "nothing of it is stored that a backup could be rolled forward with".to_owned(),
        (None, Some(first), _) if at < first.from => "it was not followed yet".to_owned(),
        (None, ..) => "nothing of that time is stored yet".to_owned(),
    };
    let hint = match (before, after) {
        (Some(before), Some(after)) => format!("the nearest times are {before} and {after}"),
        (Some(before), None) => format!("the last time before it is {before}"),
        (None, Some(after)) => format!("the first time after it is {after}"),
        (None, None) => "`uplifted-ops restore points` prints what can be gone back to".to_owned(),
    };
    let message = format!("the store {:?} cannot go back to {at}: {why}", timeline.store);
    Error::new(ErrorKind::NotFound, message).with_hint(hint)
}
