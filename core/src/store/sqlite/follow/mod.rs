//! Following a live database: every commit, as it is committed, page by page.
//!
//! A thread looks at the `-wal` ten times a second through a descriptor of its own, takes the frames that are committed, keeps
//! the last image of each page, and hands that over as an [`Increment`] with one point. It keeps a hash of every page, and
//! with each point goes the checksum of the whole database in that state (`hashes`), which a copy that was rolled forward must
//! have: a state that lacks a commit, or has one too many, has another.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `wal` | frames, and how they go on from each other |
//! | `mark` | the read locks that keep the log until it is read |
//! | `chase` | what each look at the log proves |
//! | `scan` | the whole database at one moment, when the log does not tell |
//! | `hashes`, `cache` | the state that was handed over, in memory and on disk |
//! | `emit`, `payload`, `position` | increments |
//! | `forward` | increments on their way back |
//!
//! # What the host notices
//!
//! It cannot leave WAL mode while it is followed: that needs the database for itself alone. `wal_checkpoint(RESTART)` and
//! `(TRUNCATE)` wait for about a quarter of a second until the read mark has moved out of their way. The log of a host that never rests grows to the
//! limit of [`FollowRequest::log_limit_bytes`] before it starts over.

mod cache;
mod chase;
mod emit;
mod forward;
mod hashes;
mod mark;
mod payload;
mod position;
mod scan;
mod shared;
mod sitting;
mod wal;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

pub(super) use forward::roll;

use self::cache::Cache;
use self::chase::Chase;
use self::emit::Emit;
use self::position::Position;
use self::shared::Shared;
use super::Database;
use super::blocking::Task;
use super::gate::Identity;
use super::live::LiveFile;
use crate::cancel::{Cancel, Scope};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::follow::{FollowRequest, Follower, FollowerStanding, Increment};

/// How soon a follower that was not done with its look is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// Begins to follow; see [`Store::follow`](crate::store::Store::follow).
pub(super) async fn begin(
    scope: &Scope,
    database: &Arc<Database>,
    request: FollowRequest,
) -> Result<Box<dyn Follower>> {
    // What is no database is refused here; what can become one later is waited for.
    let looked = Arc::clone(database);
    super::blocking::run(scope, move |task| LiveFile::find(task, &looked).map(drop)).await?;
    let (sender, increments) = mpsc::channel(1);
    let shared = Arc::new(Shared::default());
    let cancel = Cancel::new();
    let task = Task::alone(Scope { cancel: cancel.clone(), ..scope.clone() });
    let position = request.resume.as_ref().map(|resume| resume.position.clone()).unwrap_or_default();
    if let Ok(Position { number, .. }) = Position::parse(&position) {
        shared.store(number);
    }
    shared.standing(|standing| standing.position.clone_from(&position));
    // What was committed since the last increment that was stored may come in several.
    let known = request.resume.as_ref().map_or_else(|| scope.clock.now(), |resume| resume.until);
    let emit = Emit::new(sender, Cache::new(request.cache), position, known);
    let limit = request.log_limit_bytes;
    let chase = Chase::new(Arc::clone(database), Arc::clone(&shared), emit, request.resume.as_ref(), limit);
    let thread = std::thread::Builder::new()
        .name("follow".to_owned())
        .spawn(move || chase.run(&task))
        .map_err(|e| Error::io("start a thread", e))?;
    Ok(Box::new(SqliteFollower { increments: Some(increments), shared, seen: None, cancel, thread: Some(thread) }))
}

/// Follows one SQLite database on a thread of its own.
#[derive(Debug)]
struct SqliteFollower {
    increments: Option<mpsc::Receiver<Increment>>,
    shared: Arc<Shared>,
    /// Everything that was committed before this was taken by the caller.
    seen: Option<Timestamp>,
    cancel: Cancel,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[async_trait]
impl Follower for SqliteFollower {
    /// Nothing means that a whole look, which began after the call, found nothing: who stops the service, and then asks until
    /// nothing comes, has everything.
    async fn next(&mut self, scope: &Scope, patience: Duration) -> Result<Option<Increment>> {
        let ended = || Error::internal("the thread that follows the database ended early");
        let increments = self.increments.as_mut().ok_or_else(ended)?;
        let before = self.shared.looks();
        let mut pause = patience;
        loop {
            tokio::select! {
                biased;
                () = scope.cancel.cancelled() => {
                    return Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller"));
                }
                increment = increments.recv() => return increment.map(Some).ok_or_else(ended),
                () = scope.clock.sleep(pause) => {}
            }
            // In this order: what the looks found that are over by now is in the channel.
            let (looks, seen) = (self.shared.looks(), self.shared.seen());
            if let Ok(increment) = increments.try_recv() {
                return Ok(Some(increment));
            }
            // The look that was under way at the call, and the one after it.
            match looks {
                Some(now) if now < before.unwrap_or(0) + 2 => pause = AGAIN,
                _ => {
                    self.seen = seen;
                    return Ok(None);
                }
            }
        }
    }

    async fn stored(&mut self, _scope: &Scope, position: &str) -> Result<()> {
        let position = Position::parse(position)?;
        // A part is stored for good only with the rest.
        if position.part == 0 {
            self.shared.store(position.number);
        }
        Ok(())
    }

    fn standing(&self) -> FollowerStanding {
        FollowerStanding { seen_until: self.seen, ..self.shared.stands() }
    }
}

impl Drop for SqliteFollower {
    /// Returns when the locks are released: a look takes milliseconds, and a scan looks up between two blocks.
    fn drop(&mut self) {
        self.cancel.cancel();
        self.shared.stop();
        drop(self.increments.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A database that is not in WAL mode.
fn not_wal(path: &Path) -> Error {
    Error::new(ErrorKind::Refused, format!("database {path:?} is not in WAL mode, and cannot be followed without it"))
        .with_hint("switch it once: PRAGMA journal_mode=WAL")
}

/// A log whose chain of checksums breaks among the frames that are committed; frame 0 is its header.
fn damaged_log(path: &Path, frame: u32) -> Error {
    let place = if frame == 0 { "in its header".to_owned() } else { format!("at frame {frame}") };
    Error::new(ErrorKind::Corrupt, format!("the log of database {path:?} is damaged {place}"))
        .with_hint("verify the database, and restore it if it is damaged")
}
