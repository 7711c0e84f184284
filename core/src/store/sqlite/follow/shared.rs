//! What the follower and its thread say to each other, beside the increments.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::follow::FollowerStanding;

/// Shared by both.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    stored: u64,
    looks: u64,
    seen: Option<Timestamp>,
    standing: FollowerStanding,
}

impl Shared {
    /// Ends the thread's waits from now on.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.stopped.notify_all();
    }

    /// Waits for as long, or until it is stopped; says whether it is.
    pub(super) fn wait(&self, pause: Duration) -> bool {
        let state = self.lock();
        self.stopped.wait_timeout_while(state, pause, |state| !state.stop).map_or(true, |(state, _)| state.stop)
    }

    /// Everything up to increment `number` is stored.
    pub(super) fn store(&self, number: u64) {
        let mut state = self.lock();
        state.stored = state.stored.max(number);
    }

    /// Up to which increment everything is stored.
    pub(super) fn stored(&self) -> u64 {
        self.lock().stored
    }

    /// A look is over, and everything that was committed before `seen` is handed over.
    pub(super) fn looked(&self, seen: Timestamp) {
        let mut state = self.lock();
        state.looks += 1;
        state.seen = Some(seen);
    }

    /// Everything that was committed before this is handed over; `None` before the first look is over.
    pub(super) fn seen(&self) -> Option<Timestamp> {
        self.lock().seen
    }

    /// How many looks are over; `None` while something keeps it from looking.
    pub(super) fn looks(&self) -> Option<u64> {
        let state = self.lock();
        state.standing.waits_for.is_none().then_some(state.looks)
    }

    pub(super) fn standing(&self, change: impl FnOnce(&mut FollowerStanding)) {
        change(&mut self.lock().standing);
    }

    pub(super) fn stands(&self) -> FollowerStanding {
        self.lock().standing.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
