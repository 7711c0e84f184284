//! Following databases: what is committed goes into the repository as it is committed, and the service goes back to any second.
//!
//! A [`Follower`](crate::store::follow::Follower) hands out increments; here they become *segments* of a *stream*, which lie
//! beside the snapshots of the same repository. A snapshot is a *base*: it is restored, and the increments that were committed
//! since are added to it, up to the wanted second.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `folder`, `standing` | what is kept in the state folder: how it stands, what was asked for |
//! | `gather`, `spool` | increments into segments, on this disk first |
//! | `ship` | from there into each target, one after the other, read back |
//! | `follow` | all of that, for one store, in a worker of its own |
//! | `timeline` | which seconds can be gone back to, from which base; what is missing, and why |
//! | `travel` | the way to one of them |
//! | `rehearse` | the one that a drill goes to |
//! | `compact` | many small segments into few, and what is too old |
//! | `engine` | in the process that leads: keeps a worker for each store, and asks for backups |
//!
//! What is on this disk is not yet safe, and what is in a target is what counts: `lag` is about that. A target that does not
//! answer holds nobody up; what it lacks waits here, up to a bound, and beyond that is a gap there, by name.

pub(crate) mod compact;
pub(crate) mod engine;
pub(crate) mod folder;
pub(crate) mod follow;
mod gather;
pub(crate) mod rehearse;
mod ship;
mod spool;
pub(crate) mod standing;
pub(crate) mod timeline;
pub(crate) mod travel;

pub use engine::EngineStanding;
pub use standing::{StoreStanding, TargetStanding};
pub use timeline::{Base, Gap, Span, StoreTimeline};

#[cfg(test)]
mod tests;
