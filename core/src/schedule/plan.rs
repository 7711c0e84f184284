//! Whether a job is due: a pure function of its schedule, of what is settled, and of the time.

use std::time::Duration;

use jiff::SignedDuration;

use super::job::Schedule;
use super::state::Why;
use crate::clock::Timestamp;

/// A run that begins within this after its time begins in time: nobody was away.
const IN_TIME: SignedDuration = SignedDuration::from_secs(60);

/// What is settled may lie this far in the future, because the clock was set back: it stays settled, and nothing runs
/// twice. Clocks are put right by seconds, and by an hour or a few where somebody mistook the zone. What lies further
/// ahead was written by a clock that was wrong, and would keep the job from running for as long.
const CREDIBLE: SignedDuration = SignedDuration::from_hours(25);

/// When a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Not by itself.
    Never,
    /// Later.
    At(Timestamp),
    /// Now.
    Now {
        /// The time of the schedule, the first one that is not dealt with.
        scheduled_for: Timestamp,
        /// [`Why::Scheduled`], or [`Why::CatchUp`] when it is more than a minute late.
        why: Why,
    },
}

/// Decides. `jitter` says by how much the run for a time of the schedule is put off.
pub fn plan(
    schedule: &Schedule,
    settled_until: Option<Timestamp>,
    now: Timestamp,
    jitter: impl Fn(Timestamp) -> Duration,
) -> Due {
    let anchor = credible(settled_until, now).unwrap_or(now);
    let Some(scheduled_for) = schedule.next_after(anchor) else { return Due::Never };
    let at = scheduled_for.checked_add(jitter(scheduled_for)).unwrap_or(Timestamp::MAX);
    if at > now {
        return Due::At(at);
    }
    let late = now.duration_since(at) > IN_TIME;
    Due::Now { scheduled_for, why: if late { Why::CatchUp } else { Why::Scheduled } }
}

/// What is settled, unless it is too far in the future to be true.
pub(super) fn credible(settled_until: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    settled_until.filter(|settled| settled.duration_since(now) <= CREDIBLE)
}

/// How late a job is that should have run by itself; `None` when it is not.
pub fn overdue(
    schedule: &Schedule,
    settled_until: Option<Timestamp>,
    now: Timestamp,
    jitter: impl Fn(Timestamp) -> Duration,
) -> Option<Duration> {
    let scheduled_for = schedule.next_after(credible(settled_until, now)?)?;
    let at = scheduled_for.checked_add(jitter(scheduled_for)).ok()?;
    Duration::try_from(now.duration_since(at)).ok().filter(|late| !late.is_zero())
}
