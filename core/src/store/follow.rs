//! The contract of following a database: what is committed, as it is committed, and back to any moment of it.
//!
//! A [`Follower`] is a stream of [`Increment`]s, each of which continues the one before it or says why it cannot. Whoever stores
//! them hands them, with a copy of the database that is older than the moment that is wanted, to
//! [`Store::roll_forward`](super::Store::roll_forward).
//!
//! # Which copies an increment can be added to
//!
//! A copy shows a state between two moments, [`StoreSnapshot::taken_at`](super::StoreSnapshot) and the end of the copy. Whoever
//! rolls it forward begins with the first increment whose [`Increment::until`] is not before `taken_at`. Increments bring whole
//! pages (or a log that is replayed from a known place), so what the copy had already changes nothing in the end.
//!
//! # Which states are known
//!
//! A follower looks, and looks again: of the commits between two looks only the state at the second is known. An increment says
//! when the look before it was ([`Increment::since`]), and its points when they were seen. From the one to the other the last
//! point before is a state that lacks commits that are younger than `since`, and no others. Whoever promises a second refuses
//! the time between two looks that are further apart than that.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::Result;

/// Follows one database, from where it began.
///
/// Clauses:
/// - the database is never checkpointed nor otherwise written to, and no writer waits;
/// - increments come in the order of the commits, each commit once; `from` of one is `to` of the one before it;
/// - what cannot be proven to continue is [`Continuity::Begins`], with the reason, never silent;
/// - it may be dropped at any moment, and loses nothing that [`Follower::stored`] was not told of.
#[async_trait]
pub trait Follower: Send + Debug {
    /// Waits for what was committed since the last increment, and returns it as soon as there is something; `None` when nothing
    /// was within `patience`. Cancelled, it returns [`Cancelled`](crate::ErrorKind::Cancelled).
    async fn next(&mut self, scope: &Scope, patience: Duration) -> Result<Option<Increment>>;

    /// Everything up to `position` is stored: what the database keeps for us until then (a read mark, a slot) may go.
    async fn stored(&mut self, scope: &Scope, position: &str) -> Result<()>;

    /// Nobody goes on from here: what the database keeps for whoever comes next (a slot, which holds its log back for ever) goes
    /// too. What is followed again later may begin anew.
    ///
    /// # Errors
    /// What is still there, and how to remove it.
    async fn give_up(&mut self, scope: &Scope) -> Result<()> {
        let _ = scope;
        Ok(())
    }

    /// How it stands. Does no I/O.
    fn standing(&self) -> FollowerStanding;
}

/// How a follower stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FollowerStanding {
    /// Up to where it has read, in the driver's words.
    pub position: String,
    /// Bytes of log that the database keeps because of us, or for anybody.
    pub log_bytes: u64,
    /// What keeps it from following, for people; `None` while it follows.
    pub waits_for: Option<String>,
    /// Everything committed before this moment, by our clock, was in what [`Follower::next`] returned by now; `None` before
    /// the first look is over. It goes on while nothing is committed, and stands still while the database cannot be read.
    pub seen_until: Option<Timestamp>,
}

/// What was committed between two positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Increment {
    /// Where it begins, in the driver's words.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// Whether it continues what came before it.
    pub continuity: Continuity,
    /// The moments that can be gone back to within it, in order. Empty where a transaction goes on in the next increment.
    pub points: Vec<Point>,
    /// What is in it was committed at this moment or later, by our clock: that of the look before. After a
    /// [`Resume`] it is that one's `until`. The beginning of time where it is not known.
    pub since: Timestamp,
    /// Everything committed before this moment is in it or in those before it, by our clock.
    pub until: Timestamp,
    /// The changes, in the driver's own form; at most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

/// The longest payload of an increment, in bytes (4 MiB). What is longer comes in several, of which the last has the points.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// A state of the database that was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// When it was seen by our clock: it was committed before, and after the [`Increment::since`] of its increment.
    pub time: Timestamp,
    /// Its place, in the driver's words (an LSN).
    pub position: String,
    /// The checksum of the whole database in this state, where the driver keeps one; in the driver's words.
    pub checksum: Option<String>,
}

/// Whether an increment continues the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Continuity {
    /// Every commit since is in it.
    Continues,
    /// Together with those before it, it makes the state at its end; states between its two ends are lost.
    Difference {
        /// Why, for people.
        reason: String,
    },
    /// It can be added to no copy that is older than it: a new copy is needed first, and the time until that is a gap.
    Begins {
        /// Why, for people.
        reason: String,
    },
}

/// From where a follower goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Where the last increment that was stored ended.
    pub position: String,
    /// The checksum of its last point.
    pub checksum: Option<String>,
    /// Its [`Increment::until`]: what comes first need not hold everything up to now.
    pub until: Timestamp,
}

/// Where and how to follow.
#[derive(Debug, Clone)]
pub struct FollowRequest {
    /// Where to go on; `None` begins anew.
    pub resume: Option<Resume>,
    /// A folder that the driver may keep things in that it can do without. It exists, and is the driver's alone.
    pub cache: PathBuf,
    /// Past this much log the database is no longer held back for us.
    pub log_limit_bytes: u64,
}

/// Increments on their way back, in order.
#[async_trait]
pub trait Increments: Send {
    /// The next one; `None` after the last.
    async fn next(&mut self, scope: &Scope) -> Result<Option<Increment>>;
}

/// Until where to roll forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The last point whose time is not after this.
    Time(Timestamp),
    /// The point with this position, in the driver's words.
    Position(String),
    /// A place between points that the driver finds in what is added, in words that its users have: for PostgreSQL an LSN
    /// (`0/3000060`), or the name of a restore point (`pg_create_restore_point`). [`ErrorKind::Unsupported`] where there are no
    /// such words.
    ///
    /// [`ErrorKind::Unsupported`]: crate::ErrorKind::Unsupported
    Place(String),
    /// Everything there is.
    End,
}

/// Where a copy was rolled forward to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reached {
    /// The point.
    pub point: Point,
    /// Whether the copy's checksum is that of the point; `None` where the driver has none.
    pub proven: Option<bool>,
}
