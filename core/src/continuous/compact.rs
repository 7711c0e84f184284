//! Many small segments into few, and what is too old: a plan, and carrying it out.
//!
//! A segment that is put together has the frames of its parts as they are, sealed ones sealed, so that a host without the key does
//! it too. It is there, read back, before its parts go; whoever reads meanwhile takes either.

use std::sync::Arc;
use std::time::Duration;

use super::follow::Shared;
use super::timeline::{Run, runs};
use crate::backup::create::NamedTarget;
use crate::backup::list::blocking;
use crate::backup::repository::names::{self, SegmentName};
use crate::backup::repository::segment::{Place, Segment};
use crate::backup::repository::streams::{Shelf, Stored, by_stream, thread};
use crate::backup::target::MAX_BLOCK;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::config::ContinuousSettings;
use crate::error::Result;

/// How often a target is looked at.
const PERIOD: Duration = Duration::from_secs(600);
/// The most bytes that are put together: one block of a target. A few times that is in memory on the way.
const MOST_BYTES: u64 = MAX_BLOCK as u64;
/// The most increments: each has a line in the head.
const MOST_INCREMENTS: usize = 40_000;
/// Fewer segments than this are left as they are.
const FEWEST: usize = 4;

/// What is to be done with the segments of a store in a target.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompactPlan {
    /// Segments that become one.
    pub(crate) merges: Vec<Vec<Stored>>,
    /// Segments that go, and why.
    pub(crate) removals: Vec<(SegmentName, &'static str)>,
}

impl CompactPlan {
    /// What to do with `segments` of one stream. `keep_from` is the time of the oldest base that is needed: what ended before it is
    /// needed by nothing.
    pub(crate) fn of(all: &[Stored], settings: &ContinuousSettings, now: Timestamp, keep_from: Timestamp) -> Self {
        let mut plan = Self::default();
        let chosen = thread(all.to_vec(), |stored| &stored.name);
        for stored in all {
            let is_chosen = chosen.iter().any(|other| other.name == stored.name);
            let with_others =
                || chosen.iter().any(|it| it.name.first <= stored.name.first && stored.name.last <= it.name.last);
            if !is_chosen && with_others() {
                plan.removals.push((stored.name.clone(), "its parts are in a larger one"));
            }
        }
        let hours = settings.compact_after_hours.clamp(0.0, 24.0 * 365.0);
        let settled = before(now, Duration::from_secs_f64(hours * 3600.0));
        for run in runs(0, chosen, &[]) {
            let Run { segments, .. } = run;
            let old = segments.iter().take_while(|stored| stored.head.until < keep_from).count();
            // The last one that ended before the base stays: it shows that what comes next follows.
            let gone = old.saturating_sub(1);
            let too_old = segments[..gone].iter().map(|it| (it.name.clone(), "no base that is kept needs it"));
            plan.removals.extend(too_old);
            let mut group: Vec<Stored> = Vec::new();
            // An hour is put together once, when it is over.
            for stored in segments.into_iter().skip(gone).take_while(|stored| hour(stored.head.until) < hour(settled)) {
                if !group.is_empty() && !fits(&group, &stored) {
                    plan.merge(std::mem::take(&mut group));
                }
                group.push(stored);
            }
            plan.merge(group);
        }
        plan
    }

    fn merge(&mut self, group: Vec<Stored>) {
        if group.len() >= FEWEST {
            self.merges.push(group);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.merges.is_empty() && self.removals.is_empty()
    }
}

fn hour(time: Timestamp) -> i64 {
    time.as_second().div_euclid(3600)
}

/// Whether a segment goes together with those before it: of the same hour, and not too large.
fn fits(group: &[Stored], next: &Stored) -> bool {
    let bytes: u64 = group.iter().map(|stored| stored.head.payload_bytes()).sum();
    let increments: usize = group.iter().map(|stored| stored.head.increments.len()).sum();
    group.first().is_some_and(|first| hour(first.head.until) == hour(next.head.until))
        && bytes + next.head.payload_bytes() <= MOST_BYTES
        && increments + next.head.increments.len() <= MOST_INCREMENTS
}

/// The parts as one: of the points of a second, those that end an increment, and the last, remain.
pub(crate) fn merged(parts: &[Stored]) -> Option<Segment> {
    let (first, last) = (parts.first()?, parts.last()?);
    let mut increments: Vec<_> = parts.iter().flat_map(|part| part.head.increments.iter().cloned()).collect();
    for head in &mut increments {
        let points = std::mem::take(&mut head.points);
        let seconds: Vec<i64> = points.iter().map(|point| point.time.as_second()).collect();
        let is_last = |number: usize| seconds.get(number + 1).is_none_or(|next| *next != seconds[number]);
        head.points = points.into_iter().enumerate().filter(|(number, _)| is_last(*number)).map(|(_, it)| it).collect();
    }
    Some(Segment {
        repository: first.head.repository,
        place: Place { last: last.head.place.last, ..first.head.place.clone() },
        previous: first.head.previous,
        tail: Some(last.link),
        from: first.head.from.clone(),
        to: last.head.to.clone(),
        checksum: last.head.checksum.clone(),
        until: last.head.until,
        frames: parts.iter().flat_map(|part| part.head.frames.iter().cloned()).collect(),
        increments,
    })
}

/// Carries a plan out.
///
/// # Errors
/// What the target says. Whatever was done is whole; doing it again goes on.
pub(crate) async fn apply(scope: &Scope, shelf: &Shelf, plan: &CompactPlan) -> Result<()> {
    for parts in &plan.merges {
        let Some(segment) = merged(parts) else { continue };
        let mut payload = Vec::new();
        for part in parts {
            for number in 0..part.head.frames.len() {
                payload.extend(shelf.stored_frame(scope, part, number).await?);
            }
        }
        shelf.put_segment(scope, &segment, &payload).await?;
        for part in parts {
            shelf.delete(scope, &part.name).await?;
        }
    }
    for (name, _) in &plan.removals {
        shelf.delete(scope, name).await?;
    }
    Ok(())
}

/// What to do with a store in a target.
pub(crate) async fn plan(
    scope: &Scope,
    shelf: &Shelf,
    store: &str,
    settings: &ContinuousSettings,
) -> Result<CompactPlan> {
    let now = scope.clock.now();
    let keep_from = keep_from(shelf, settings, now).await?;
    let mut whole = CompactPlan::default();
    for (_, segments) in by_stream(shelf.list(scope, store).await?) {
        let names = segments.into_iter().map(|(name, _)| name).collect();
        let heads = shelf.heads(scope, names).await?;
        if heads.iter().any(|head| head.is_err()) {
            // Nothing is changed beside what is damaged: somebody may want to look.
            continue;
        }
        let stored: Vec<Stored> = heads.into_iter().flatten().collect();
        let CompactPlan { merges, removals } = CompactPlan::of(&stored, settings, now, keep_from);
        whole.merges.extend(merges);
        whole.removals.extend(removals);
    }
    Ok(whole)
}

/// What was committed before this is needed by nothing: the time of the newest base that is older than what is kept, or of the
/// oldest one; the beginning of time where there is none.
async fn keep_from(shelf: &Shelf, settings: &ContinuousSettings, now: Timestamp) -> Result<Timestamp> {
    let days = settings.keep_days.clamp(0.0, 36_500.0);
    let horizon = before(now, Duration::from_secs_f64(days * 86_400.0));
    let repository = shelf.repository.clone();
    let mut times: Vec<Timestamp> = blocking(move || {
        let listed = repository.objects.list(names::SNAPSHOTS)?;
        let headers = listed.iter().filter(|object| names::snapshot_of(&object.key).is_some());
        let mut times = Vec::new();
        for object in headers {
            if let Ok((header, _)) = repository.header(&object.key)
                && header.counts.stores > 0
            {
                times.push(header.time);
            }
        }
        Ok(times)
    })
    .await?;
    times.sort_unstable();
    let older = times.iter().rev().find(|time| **time <= horizon);
    Ok(older.or(times.first()).copied().map_or(Timestamp::MIN, |time| time.min(horizon)))
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// Plans and carries out, now and then, until it is dropped. What fails is tried again the next time.
pub(super) async fn keep_tidy(scope: Scope, shared: Arc<Shared>, (name, target): NamedTarget) {
    loop {
        scope.clock.sleep(PERIOD).await;
        let tidy = async {
            let Some(shelf) = Shelf::open(&scope, &name, &target, &shared.keys).await? else { return Ok(()) };
            let plan = plan(&scope, &shelf, &shared.name, &shared.settings).await?;
            apply(&scope, &shelf, &plan).await
        };
        let done = tidy.await;
        let mut state = shared.state();
        let standing = state.standing.targets.iter_mut().find(|standing| standing.target == name);
        if let Some(standing) = standing {
            standing.tidy_error = done.err().map(|error| error.to_body());
        }
    }
}
