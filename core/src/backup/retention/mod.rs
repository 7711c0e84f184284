//! Retention: which snapshots are kept, and the deletion of the others.
//!
//! [`plan`] is a pure function: from a policy, the snapshots of each target, what verifications said and what is
//! held, to a decision on every snapshot with all its reasons. [`retain`] makes the plan, and carries it out under each
//! target's lease, against a fresh listing.
//!
//! # What is never deleted
//! Whatever the policy says, in each target by itself:
//! - what is unreadable, was found damaged, or belongs to another service;
//! - what is [held](holds);
//! - the newest complete snapshot, and the newest `min_verified` ones that were verified. While a target has fewer
//!   than that, nothing is deleted there: a service whose backups were never verified loses none of them, and is told
//!   what to do;
//! - what has no newer, complete, verified snapshot in its target. So backups that fail for weeks, or that nobody
//!   verifies, delete nothing, however old the others become: no rule looks at the age of a snapshot, only at what
//!   came after it;
//! - what claims to be of the future, and what the target received last although it claims to be old: a clock was
//!   wrong, and its snapshots are neither counted nor deleted.
//!
//! Partial snapshots stand in for a day (week, …) that has no complete one; they never take the place of one.
//!
//! # What counts as verified
//! A `backup.verify` in full depth, or a `backup.drill`, of that very copy, without a problem, in the journal of this
//! service; a later one that found a problem takes it back, and so does damage that a `backup.sample` found anywhere in
//! that target. An encrypted copy counts also where nobody could look inside (level `sealed`): its bytes are those that
//! were read back and whose databases were checked when it was made, and a host without the identity has no other word.
//! There is no mark of it in the target on purpose. A mark that is believed makes
//! deletion more eager, and whoever may write to the target, but not delete there, could forge it: upload rubbish,
//! mark it as verified, and let the next retention delete what was good. The journal is on this machine. When it is
//! lost, nothing is deleted until `min_verified` snapshots were verified again, which costs minutes. Holds, which
//! only ever prevent a deletion, are in the target for the opposite reason: see [`holds`].

mod apply;
pub mod holds;
mod plan;
mod policy;
mod proof;
mod rules;

pub use apply::{Deleted, FailedDeletion, RetainJob, RetainReport, retain};
pub use plan::{Action, Decision, Reason, RetentionPlan, Rule, Stock, TargetPlan, Withheld, plan};
pub use policy::Policy;
pub use proof::{Proof, Proofs};

#[cfg(test)]
mod tests;
