//! When to ask those who tell numbers, and what they said: one question at a time, and none too soon after the last, however many pages want it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What was told, by those of one kind.
#[derive(Default)]
pub(super) struct Asked<T>(Mutex<State<T>>);

#[derive(Default)]
struct State<T> {
    known: T,
    /// When they were last asked, on the monotonic clock.
    asked: Option<Duration>,
    asking: bool,
}

impl<T> Asked<T> {
    /// The right to ask, until it is dropped, unless somebody has it or the last question came less than `spacing` before
    /// `now`.
    pub(super) fn claim(self: &Arc<Self>, now: Duration, spacing: Duration) -> Option<Asking<T>> {
        let mut state = self.state();
        let is_due = state.asked.is_none_or(|asked| now.saturating_sub(asked) >= spacing);
        if !is_due || state.asking {
            return None;
        }
        (state.asked, state.asking) = (Some(now), true);
        Some(Asking(Arc::clone(self)))
    }

    /// What is known.
    pub(super) fn known(&self) -> T
    where
        T: Clone,
    {
        self.state().known.clone()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Asked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

/// The right to ask. It is given back when this is dropped, also with a task that is.
pub(super) struct Asking<T>(Arc<Asked<T>>);

impl<T> Asking<T> {
    /// Notes an answer.
    pub(super) fn tell(&self, note: impl FnOnce(&mut T)) {
        note(&mut self.0.state().known);
    }
}

impl<T> Drop for Asking<T> {
    fn drop(&mut self) {
        self.0.state().asking = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_at_a_time_and_not_too_soon() {
        let (numbers, second) = (Arc::new(Asked::<Vec<u32>>::default()), Duration::from_secs(1));
        let first = numbers.claim(second, second).unwrap();
        assert!(numbers.claim(3 * second, second).is_none(), "the first is still at it");
        first.tell(|known| known.push(7));
        drop(first);
        assert!(numbers.claim(second * 3 / 2, second).is_none(), "that was asked just now");
        assert!(numbers.claim(2 * second, second).is_some());
        assert_eq!(numbers.known(), [7]);
    }
}
