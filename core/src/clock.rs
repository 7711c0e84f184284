//! Time as a value: whoever needs it is handed a [`Clock`], so that a test owns it.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

pub use jiff::Timestamp;
pub use jiff::tz::TimeZone;

use crate::error::{Error, Result};

/// The time zone called `name` in the database of the system (IANA, such as `Europe/Berlin`); without a name the
/// machine's own, which is UTC where the machine does not say (`TZ`, `/etc/localtime`).
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a name that the system does not know, with the one that was
/// probably meant.
pub fn time_zone(name: Option<&str>) -> Result<TimeZone> {
    let Some(name) = name else { return Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC)) };
    TimeZone::get(name).map_err(|_| {
        let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
        let lower = name.to_lowercase();
        // To compare takes long where the name does, and no zone has a long one.
        let near = known
            .iter()
            .filter(|_| lower.len() <= 64)
            .map(|zone| (strsim::normalized_damerau_levenshtein(&zone.to_lowercase(), &lower), zone))
            .filter(|(likeness, _)| *likeness >= 0.6)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let error = Error::invalid(format!("this machine knows no time zone {name:?}"));
        match near {
            Some((_, zone)) => error.with_hint(format!("did you mean {zone:?}?")),
            None => error.with_hint("write a name such as Europe/Berlin, or UTC; the package tzdata brings the names"),
        }
    })
}

/// Where time comes from.
pub trait Clock: Send + Sync + Debug {
    /// The wall clock. May jump in either direction: never subtract two of these to measure a duration.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary origin that never goes back: for durations, deadlines and rates.
    fn monotonic(&self) -> Duration;

    /// Returns when `duration` has passed on the monotonic clock, which stands still while the machine sleeps:
    /// whoever waits for a time of day waits in steps and looks again.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[cfg(feature = "faults")]
        return off::now();
        #[cfg(not(feature = "faults"))]
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // The kernel's monotonic clock counts up from boot: neither part is negative.
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// The wall clock of a machine whose clock is wrong, for the crash tests: `UPLIFTED_OPS_CLOCK_OFF` is by how many
/// seconds, negative when it is slow.
#[cfg(feature = "faults")]
mod off {
    use std::sync::OnceLock;

    use jiff::{SignedDuration, Timestamp};

    pub(super) fn now() -> Timestamp {
        static BY: OnceLock<SignedDuration> = OnceLock::new();
        let by = *BY.get_or_init(|| {
            let seconds = std::env::var("UPLIFTED_OPS_CLOCK_OFF").ok().and_then(|text| text.parse().ok());
            SignedDuration::from_secs(seconds.unwrap_or(0))
        });
        let now = Timestamp::now();
        now.saturating_add(by).unwrap_or(now)
    }
}

/// A clock that stands still until the test moves it.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct ManualClock {
    time: std::sync::Mutex<(Timestamp, Duration)>,
    moved: tokio::sync::watch::Sender<()>,
    /// Until when each waits, on the monotonic clock.
    sleepers: tokio::sync::watch::Sender<Vec<(u64, Duration)>>,
    names: std::sync::atomic::AtomicU64,
}

/// Somebody who waits for the clock.
#[cfg(any(test, feature = "testing"))]
struct Sleeper<'a>(&'a ManualClock, u64);

#[cfg(any(test, feature = "testing"))]
impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.0.sleepers.send_modify(|sleepers| sleepers.retain(|(name, _)| *name != self.1));
    }
}

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// Starts at `now`, with the monotonic clock at zero.
    pub fn new(now: Timestamp) -> Self {
        Self {
            time: std::sync::Mutex::new((now, Duration::ZERO)),
            moved: tokio::sync::watch::Sender::new(()),
            sleepers: tokio::sync::watch::Sender::new(Vec::new()),
            names: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Lets `by` pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.0 += by;
        state.1 += by;
        drop(state);
        self.moved.send_replace(());
    }

    /// Returns when at least `count` tasks wait in [`Clock::sleep`] for a time that is yet to come: then they have done
    /// what was to be done at this one.
    pub async fn sleepers(&self, count: usize) {
        let now = self.monotonic();
        let waiting = |sleepers: &Vec<(u64, Duration)>| sleepers.iter().filter(|(_, until)| *until > now).count();
        // The sender lives as long as this clock.
        let _ = self.sleepers.subscribe().wait_for(|sleepers| waiting(sleepers) >= count).await;
    }

    /// Returns when a task sleeps that is to wake exactly `wait` from now.
    pub async fn sleeper_for(&self, wait: Duration) {
        let until = self.monotonic() + wait;
        let waits = |sleepers: &Vec<(u64, Duration)>| sleepers.iter().any(|(_, end)| *end == until);
        // The sender lives as long as this clock.
        let _ = self.sleepers.subscribe().wait_for(waits).await;
    }

    /// Sets the wall clock alone, as an administrator or NTP would.
    pub fn jump_to(&self, now: Timestamp) {
        self.lock().0 = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Timestamp, Duration)> {
        self.time.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut moved = self.moved.subscribe();
            let until = self.monotonic().saturating_add(duration);
            let name = self.names.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.sleepers.send_modify(|sleepers| sleepers.push((name, until)));
            let _sleeper = Sleeper(self, name);
            while self.monotonic() < until && moved.changed().await.is_ok() {}
        })
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

    #[tokio::test]
    async fn a_sleep_ends_when_the_test_says_so() {
        let clock = std::sync::Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let theirs = std::sync::Arc::clone(&clock);
        let sleeper = tokio::spawn(async move { theirs.sleep(Duration::from_secs(5)).await });
        clock.sleepers(1).await;
        clock.advance(Duration::from_secs(4));
        clock.jump_to("2030-01-01T00:00:00Z".parse().unwrap());
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
    }

    #[test]
    fn the_systems_monotonic_clock_never_goes_back() {
        let (a, b) = (SystemClock.monotonic(), SystemClock.monotonic());
        assert!(b >= a);
    }
}
