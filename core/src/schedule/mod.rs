//! What runs by itself, and when.
//!
//! A [`Job`] is an operation, its request and a [`Schedule`]. The [`Engine`] of one process of the service runs the
//! jobs, whichever of them is the leader. What was decided is on the disk before it is done, in `<state>/schedule/`:
//!
//! | file | holds |
//! | --- | --- |
//! | `leader.lock` | the lock of the leader, see [`ProcessLock`](crate::fs::ProcessLock) |
//! | `leader.json` | who the leader is, for people |
//! | `<job>.lock` | held while the job runs, also by hand, so that it never runs twice at once |
//! | `<job>.json` | up to when the job's times are dealt with, its last run, its counts |
//!
//! The promises:
//! - A time that came while nobody was there, or many, are made up for by one run, [`ScheduleSettings::catch_up_delay_seconds`]
//!   after the start. A run that its process's end or death cut short is made up for once.
//! - A clock that is set back runs nothing twice: what was dealt with stays so. One that was wrong by more than a day
//!   is not believed, and the schedule begins anew from now.
//! - A clock that is set forward, and a machine that slept, is a time at which nobody was there.
//! - A job whose last run has not ended when its next one is due leaves that one out, and it is counted.
//! - A process that dies loses the lead with its life. A forked child never has it.
//! - Losing the folder costs what was to be made up for, nothing else.
//!
//! [`ScheduleSettings::catch_up_delay_seconds`]: crate::config::ScheduleSettings::catch_up_delay_seconds

mod cron;
mod engine;
mod job;
mod leader;
mod look;
mod ping;
mod plan;
mod run;
mod state;

#[cfg(test)]
mod tests;

pub use cron::Cron;
pub use engine::{Engine, Role, Standing};
pub use job::{Job, Jobs, Mistake, Schedule, Trigger};
pub use leader::{LeaderRecord, Leadership};
pub use look::{JobFact, look, ping_problem};
pub use plan::{Due, overdue, plan};
pub use run::{Called, Host, HostAnswer, RunReport, Runner};
pub use state::{Folder, JobState, LastRun, RunOutcome, Running, Why};
