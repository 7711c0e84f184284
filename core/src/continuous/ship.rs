//! From this disk into one target: one segment after the other, each read back before the next.

use std::sync::Arc;
use std::time::Duration;

use super::follow::Shared;
use super::spool::{self, Waiting};
use crate::backup::create::NamedTarget;
use crate::backup::list::blocking;
use crate::backup::manifest::Digest;
use crate::backup::repository::id::StreamId;
use crate::backup::repository::streams::{Batch, Shelf, thread};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// The first wait after a failure, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Ships to one target.
#[derive(Debug)]
pub(super) struct Shipper {
    shared: Arc<Shared>,
    /// Which target, in the order of the settings.
    number: usize,
    target: NamedTarget,
    shelf: Option<Shelf>,
    end: Option<End>,
}

/// The end of a stream as the target has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    stream: StreamId,
    /// The number of the last part.
    last: u64,
    /// What the next segment names.
    link: Option<Digest>,
}

impl Shipper {
    pub(super) fn new(shared: Arc<Shared>, number: usize, target: NamedTarget) -> Self {
        Self { shared, number, target, shelf: None, end: None }
    }

    /// Ships what waits, until nothing more will come. Then it gives a target that fails one more try, and ends.
    pub(super) async fn run(mut self, scope: &Scope) {
        let mut changed = self.shared.changed.subscribe();
        let mut wait = WAITS.0;
        loop {
            changed.borrow_and_update();
            let next = self.shared.state().spool.next_for(self.number);
            let ending = self.shared.ending.is_cancelled();
            let Some(number) = next else {
                if ending {
                    return;
                }
                // Dropped only together with everything.
                let _ = changed.changed().await;
                continue;
            };
            match self.ship(scope, number).await {
                Ok(()) => {
                    wait = WAITS.0;
                    self.note(None);
                }
                Err(error) => {
                    // Whatever it was: what this one knows of the target may be wrong.
                    (self.shelf, self.end) = (None, None);
                    self.note(Some(&error));
                    if ending {
                        return;
                    }
                    tokio::select! {
                        () = scope.clock.sleep(wait) => {}
                        () = self.shared.ending.cancelled() => {}
                    }
                    wait = (wait * 2).min(WAITS.1);
                }
            }
        }
    }

    fn note(&self, error: Option<&Error>) {
        let mut state = self.shared.state();
        if let Some(target) = state.standing.targets.get_mut(self.number) {
            target.error = error.map(Error::to_body);
        }
    }

    async fn ship(&mut self, scope: &Scope, number: u64) -> Result<()> {
        let path = self.shared.state().spool.path(number);
        let waiting = match blocking(move || spool::load(&path, number)).await {
            Ok(waiting) => waiting,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                // It can be shipped to nobody. What follows does not continue what is there, and says so.
                let mut state = self.shared.state();
                state.spool.shipped(self.number, number)?;
                if let Some(target) = state.standing.targets.get_mut(self.number) {
                    target.lost_segments += 1;
                }
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        if self.shelf.is_none() {
            let (name, target) = &self.target;
            self.shelf = Shelf::open(scope, name, target, &self.shared.keys).await?;
        }
        let Some(shelf) = self.shelf.clone() else {
            return Err(Error::new(ErrorKind::NotFound, format!("target {:?} has no repository yet", self.target.0))
                .with_hint("the first backup makes it: `uplifted-ops backup create --layout repository`"));
        };
        if self.shared.keys.is_some() && !shelf.repository.sealed {
            return Err(Error::new(
                ErrorKind::Refused,
                "the repository is in clear, and this host encrypts its backups",
            )
            .with_hint("name another folder or prefix in the [[target]]"));
        }
        let place = &waiting.head.place;
        let end = match self.end.filter(|end| end.stream == place.stream) {
            Some(end) => end,
            None => end_of(scope, &shelf, &waiting).await?,
        };
        if place.last <= end.last {
            self.is_there(scope, &shelf, &waiting).await?;
            self.end = Some(end);
            return self.shipped(&waiting, 0);
        }
        let follows = end.last + 1 == place.first;
        let previous = end.link.filter(|_| follows);
        let Waiting { head, packed, .. } = &waiting;
        let batch = Batch { place: &head.place, head, packed: packed.clone() };
        let (link, bytes) = shelf.put(scope, batch, previous).await?;
        if place.first > 1 && previous.is_none() {
            // Nothing that is there can be added to what comes from here on.
            let because = format!("target {:?} lacks what was stored before", self.target.0);
            self.shared.want_base_after_loss(&because, head.until);
        }
        self.end = Some(End { stream: place.stream, last: place.last, link: Some(link) });
        self.shipped(&waiting, bytes)
    }

    fn shipped(&self, waiting: &Waiting, bytes: u64) -> Result<()> {
        let mut state = self.shared.state();
        state.spool.shipped(self.number, waiting.number)?;
        if let Some(target) = state.standing.targets.get_mut(self.number) {
            target.stored_until = target.stored_until.max(Some(waiting.head.until));
            if bytes > 0 {
                target.segments_total += 1;
                target.bytes_total += bytes;
            }
        }
        Ok(())
    }

    /// Whether the target has this very segment, by itself or with others: an attempt whose answer was lost.
    async fn is_there(&self, scope: &Scope, shelf: &Shelf, waiting: &Waiting) -> Result<()> {
        let place = &waiting.head.place;
        let names = shelf.list_stream(scope, place).await?;
        let with = |name: &&_| holds(name, place.first, place.last);
        let Some(name) = names.iter().find(with) else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("target {:?} lacks segment {} of a stream that goes on behind it", shelf.name, place.first),
            ));
        };
        let stored = shelf.head(scope, name).await?;
        let alone = stored.head.place.first == stored.head.place.last;
        if alone && stored.head.increments != waiting.head.increments {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("target {:?} has something else as segment {} of this stream", shelf.name, place.first),
            )
            .with_hint("let one machine alone use this state folder"));
        }
        for number in 0..stored.head.frames.len() {
            shelf.stored_frame(scope, &stored, number).await?;
        }
        Ok(())
    }
}

fn holds(name: &crate::backup::repository::names::SegmentName, first: u64, last: u64) -> bool {
    name.first <= first && last <= name.last
}

/// Where the stream of a segment ends in a target.
async fn end_of(scope: &Scope, shelf: &Shelf, waiting: &Waiting) -> Result<End> {
    let place = &waiting.head.place;
    let names = shelf.list_stream(scope, place).await?;
    let Some(last) = thread(names, |name| name).pop() else {
        return Ok(End { stream: place.stream, last: 0, link: None });
    };
    let link = match shelf.head(scope, &last).await {
        Ok(stored) => Some(stored.link),
        // What follows names nothing before it: it begins where a base does.
        Err(error) if error.kind() == ErrorKind::Corrupt => None,
        Err(error) => return Err(error),
    };
    Ok(End { stream: place.stream, last: last.last, link })
}
