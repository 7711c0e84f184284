//! Time as a value: whoever needs it is handed a [`Clock`], so that a test owns it.

use std::fmt::Debug;
use std::time::Duration;

pub use jiff::Timestamp;
pub use jiff::tz::TimeZone;

use crate::error::{Error, Result};

/// The time zone called `name` in the database of the system (IANA, such as `Europe/Berlin`); without a name the
/// machine's own, which is UTC where the machine does not say.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a name that the system does not know.
pub fn time_zone(name: Option<&str>) -> Result<TimeZone> {
    let Some(name) = name else { return Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC)) };
    TimeZone::get(name).map_err(|_| {
        Error::invalid(format!("this machine knows no time zone {name:?}"))
            .with_hint("write a name such as Europe/Berlin, or UTC; the package tzdata brings the names")
    })
}

/// Where time comes from.
pub trait Clock: Send + Sync + Debug {
    /// The wall clock. May jump in either direction: never subtract two of these to measure a duration.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary origin that never goes back: for durations, deadlines and rates.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // The kernel's monotonic clock counts up from boot: neither part is negative.
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// A clock that stands still until the test moves it.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct ManualClock(std::sync::Mutex<(Timestamp, Duration)>);

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// Starts at `now`, with the monotonic clock at zero.
    pub fn new(now: Timestamp) -> Self {
        Self(std::sync::Mutex::new((now, Duration::ZERO)))
    }

    /// Lets `by` pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.0 += by;
        state.1 += by;
    }

    /// Sets the wall clock alone, as an administrator or NTP would.
    pub fn jump_to(&self, now: Timestamp) {
        self.lock().0 = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Timestamp, Duration)> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_leaves_the_monotonic_one_alone() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(5));
        clock.jump_to(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }

    #[test]
    fn the_systems_monotonic_clock_never_goes_back() {
        let (a, b) = (SystemClock.monotonic(), SystemClock.monotonic());
        assert!(b >= a);
    }
}
