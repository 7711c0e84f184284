//! Garbage collection in two phases: a pack that no snapshot needs is *condemned* by a collect record, and deleted
//! much later, when the record is older than its grace time and still no snapshot needs the pack.
//!
//! Backups go on meanwhile, from any machine and without a lock. Why no snapshot that is visible ever lacks a pack:
//!
//! 1. A run reads the collect records before it looks for packs, and uses none that is condemned. So only a run that began
//!    before the record was there can want a pack that the record names.
//! 2. Such a run puts its header only when the record is younger than half its grace time ([`guard`]), and at once.
//! 3. A collector deletes a pack only when the record was older than the whole grace time at the moment at which the
//!    collector began to list the headers: whatever header rule 2 allowed is in that list.
//! 4. A record stays as long as one of the packs it names is there, also when a header came to need that pack. So
//!    rule 1 holds for ever, a collector may stand still between its list and its deletions for as long as it likes, and several
//!    may work at once.
//! 5. A run whose packs were condemned and deleted while it stood still misses them when it looks, before it puts its
//!    header. Where it stood still between that look and the header, it looks again, and takes its header back.
//!
//! All ages are by the target's clock, which may jump. So the offset between it and the machine's own clock is compared with
//! what it was when a record was made: where they differ, the record proves no age, and the packs are condemned once
//! more. And between the two looks of one collection it must run as fast as the machine's.
//!
//! A pack is dead or alive as a whole. What is dead in a pack that is needed stays until no header names it: headers are
//! immutable, so storing the living part once more frees nothing before the last snapshot made before that is removed. Simulated with
//! daily backups that change 3.6 % of the pages, of which 7 daily, 4 weekly and 12 monthly stay: emptying the packs that are needed by less than half
//! makes the repository 9 % smaller (nine changes in ten fall on a twentieth of the pages) to 11 % larger (changes everywhere)
//! after 60 days, 29 % smaller to as large after one year, and half to as large after two. It needs no more than to condemn
//! a pack that is still needed, which the rules above allow; nothing does so yet.

pub(crate) mod guard;

mod apply;
mod judge;
mod memory;
mod survey;

pub(super) use apply::put_record;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use crate::backup::collect::{CollectJob, TargetCollection};
use crate::backup::target::BackupTarget;
use crate::cancel::Scope;
use crate::config::MIN_COLLECT_GRACE_HOURS;

/// The shortest grace time.
pub(crate) const MIN_GRACE: Duration = Duration::from_secs(MIN_COLLECT_GRACE_HOURS * 3600);
/// The usual grace time.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 3600);
/// How long a record stays that names removed snapshots: whoever looked at the repository within this time can tell a
/// snapshot that was removed from one that was lost.
pub(super) const REMOVALS_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The longest run whose packs are left alone while it goes on.
const LONGEST_RUN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Collects in one target.
pub(crate) struct Collector<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) job: &'a CollectJob,
    pub(crate) name: &'a str,
    pub(crate) target: &'a Arc<dyn BackupTarget>,
}

/// A look at a repository, and what follows from it.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) plan: TargetCollection,
    survey: survey::Survey,
}

/// A span of time as a signed one.
fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

/// A span as people say it.
fn in_words(span: SignedDuration) -> String {
    let minutes = span.as_mins().max(0);
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests;
