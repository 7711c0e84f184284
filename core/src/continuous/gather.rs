//! Increments into segments: which stream they are of, and where one ends.
//!
//! Times in a stream never go back. A clock that was set back by a little is waited for, as far as the times go; one that was set
//! back by more ends the stream, since nobody could say which of two moments is meant.

use std::time::Duration;

use crate::backup::manifest::Digest;
use crate::backup::repository::id::StreamId;
use crate::backup::repository::segment::{Frame, Head, Place, Segment};
use crate::backup::repository::streams::pack;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::follow::{Continuity, Increment, MAX_PAYLOAD, Resume};

use super::spool::NOWHERE;

/// How far a clock may go back within a stream.
pub(super) const STEP_BACK: Duration = Duration::from_secs(5);
/// A segment ends when its payloads have so many bytes.
const FULL: usize = 16 << 20;
/// And when its head may have so many.
const FULL_HEAD: usize = 1 << 20;

/// Where a stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The place of the last segment.
    pub(super) place: Place,
    pub(super) to: String,
    pub(super) checksum: Option<String>,
    pub(super) until: Timestamp,
    /// That of the last point, where it is known.
    time: Timestamp,
}

impl Line {
    /// Behind `segment`.
    pub(super) fn behind(segment: &Segment) -> Self {
        Self {
            place: segment.place.clone(),
            to: segment.to.clone(),
            checksum: segment.checksum.clone(),
            until: segment.until,
            time: segment.points().last().map_or(Timestamp::MIN, |point| point.time),
        }
    }

    /// From where a driver goes on.
    pub(super) fn resume(&self) -> Resume {
        Resume { position: self.to.clone(), checksum: self.checksum.clone(), until: self.until }
    }
}

/// Who follows what.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) store: String,
    pub(super) kind: String,
    pub(super) host: String,
}

/// Makes segments.
#[derive(Debug)]
pub(super) struct Gather {
    who: Who,
    /// Behind what was gathered, whether it is in a segment already or not.
    line: Option<Line>,
    open: Option<Open>,
}

/// A segment in the making.
#[derive(Debug)]
struct Open {
    place: Place,
    from: String,
    heads: Vec<Head>,
    plain: Vec<u8>,
    head_bytes: usize,
}

/// A segment that is full or whose time has come.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) head: Segment,
    pub(super) packed: Vec<u8>,
}

/// A new stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) reason: String,
    /// A copy that is younger than this can be added to.
    pub(super) since: Timestamp,
}

impl Gather {
    pub(super) fn new(who: Who, line: Option<Line>) -> Self {
        Self { who, line, open: None }
    }

    /// Where it stands.
    pub(super) fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    /// Whether something waits to become a segment.
    pub(super) fn has_some(&self) -> bool {
        self.open.is_some()
    }

    /// Whether that is enough for one.
    pub(super) fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.plain.len() >= FULL || open.head_bytes >= FULL_HEAD)
    }

    /// Why `increment` cannot go on in the stream.
    fn breaks(&self, increment: &Increment) -> Option<String> {
        let Some(line) = &self.line else {
            return Some(match &increment.continuity {
                Continuity::Begins { reason } => reason.clone(),
                _ => "the store is followed for the first time".to_owned(),
            });
        };
        if let Continuity::Begins { reason } = &increment.continuity {
            return Some(reason.clone());
        }
        if increment.from != line.to {
            return Some(format!("the store was followed up to {}, and went on at {}", line.to, increment.from));
        }
        let back = line.until.duration_since(increment.until);
        match Duration::try_from(back) {
            Ok(back) if back > STEP_BACK => {
                Some(format!("the clock of this machine was set back by {:.0} s", back.as_secs_f64()))
            }
            _ => None,
        }
    }

    /// Takes an increment. When it begins a stream, what was gathered before is a segment of the one before.
    ///
    /// # Errors
    /// When the driver broke its contract.
    pub(super) fn take(&mut self, mut increment: Increment, now: Timestamp) -> Result<(Option<Ready>, Option<Begun>)> {
        if increment.payload.len() > MAX_PAYLOAD {
            return Err(Error::internal(format!(
                "the store {:?} made an increment of {} bytes; {MAX_PAYLOAD} are allowed",
                self.who.store,
                increment.payload.len()
            )));
        }
        let (mut before, mut begun) = (None, None);
        if let Some(reason) = self.breaks(&increment) {
            before = self.end()?;
            let place = Place {
                store: self.who.store.clone(),
                kind: self.who.kind.clone(),
                host: self.who.host.clone(),
                stream: StreamId::random()?,
                begun: now,
                first: 0,
                last: 0,
            };
            let (to, until) = (increment.from.clone(), Timestamp::MIN);
            self.line = Some(Line { place, to, checksum: None, until, time: until });
            increment.continuity = Continuity::Begins { reason: reason.clone() };
            begun = Some(Begun { reason, since: increment.until });
        }
        let Some(line) = &mut self.line else { return Err(Error::internal("a stream was begun and is not there")) };
        // A driver that resumes may have seen a point before the time in which it is known that nothing was committed.
        let earliest = line.time.max(line.until.min(increment.until));
        increment.until = increment.until.max(line.until);
        increment.since = increment.since.min(increment.until);
        for point in &mut increment.points {
            point.time = point.time.max(earliest).max(line.time);
            line.time = point.time;
        }
        line.until = increment.until;
        line.to.clone_from(&increment.to);
        if let Some(point) = increment.points.last() {
            line.checksum.clone_from(&point.checksum);
        }
        let open = self.open.get_or_insert_with(|| {
            line.place.first = line.place.last + 1;
            line.place.last = line.place.first;
            Open {
                place: line.place.clone(),
                from: increment.from.clone(),
                heads: Vec::new(),
                plain: Vec::new(),
                head_bytes: 0,
            }
        });
        let head = Head::of(&increment);
        // Roughly: times and numbers have a known length, and escapes are rare.
        open.head_bytes += 160 + head.from.len() + head.to.len();
        open.head_bytes += head.points.iter().map(|it| 60 + it.position.len() + 70).sum::<usize>();
        open.heads.push(head);
        open.plain.extend_from_slice(&increment.payload);
        Ok((before, begun))
    }

    /// What was gathered, as a segment. Takes its time: compresses.
    pub(super) fn end(&mut self) -> Result<Option<Ready>> {
        let (Some(open), Some(line)) = (self.open.take(), &self.line) else { return Ok(None) };
        let Open { place, from, heads, plain, .. } = open;
        let packed = pack(&plain)?;
        let frame = Frame {
            stored_bytes: packed.len() as u64,
            plain_bytes: plain.len() as u64,
            digest: Digest(*blake3::hash(&packed).as_bytes()),
            sealed_to: None,
        };
        let head = Segment {
            repository: NOWHERE,
            place,
            previous: None,
            tail: None,
            from,
            to: line.to.clone(),
            checksum: line.checksum.clone(),
            until: line.until,
            frames: if plain.is_empty() { Vec::new() } else { vec![frame] },
            increments: heads,
        };
        Ok(Some(Ready { head, packed }))
    }

    /// A segment that says that nothing was committed before `seen`; none before anything was.
    pub(super) fn idle(&mut self, seen: Timestamp) -> Result<Option<Ready>> {
        if self.open.is_some() {
            return self.end();
        }
        let Some(line) = &mut self.line else { return Ok(None) };
        if seen <= line.until || line.place.last == 0 {
            return Ok(None);
        }
        line.until = seen;
        line.place.first = line.place.last + 1;
        line.place.last = line.place.first;
        let head = Segment {
            repository: NOWHERE,
            place: line.place.clone(),
            previous: None,
            tail: None,
            from: line.to.clone(),
            to: line.to.clone(),
            checksum: line.checksum.clone(),
            until: seen,
            frames: Vec::new(),
            increments: Vec::new(),
        };
        Ok(Some(Ready { head, packed: Vec::new() }))
    }
}
