//! Signs of life of the host: what answers for a service says nothing about it while it runs on a thread of its own.
//!
//! Whatever of the host is to go on (an event loop, an interpreter, a runtime) has a [`Pulse`] and beats it. One that has
//! beaten and then is silent for longer than `health.heartbeat_seconds` makes the process *wedged*, which fails liveness. What
//! has never beaten, and what said that it [rests](Pulse::rest), is not judged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::error::{Error, Result};

/// How long nobody may look before it is taken that this whole process stood still (a debugger, a machine that slept).
const STOOD_STILL: Duration = Duration::from_secs(2);

/// A host that beats no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wedged {
    /// The process.
    pub pid: u32,
    /// What of it beats no more: `event loop`, `interpreter`, `runtime`, or a name that the host gave.
    pub pulse: String,
    /// For how long, in seconds.
    pub age_seconds: f64,
}

/// The last beat of whatever has been silent for longest in a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastBeat {
    /// Whose beat it is.
    pub(crate) pulse: String,
    /// When it was, on the monotonic clock.
    pub(crate) at: Duration,
}

/// All that beats in a process, and what is known of other processes of the service.
#[derive(Debug)]
pub struct Pulses {
    deadline: Duration,
    clock: Arc<dyn Clock>,
    beating: Mutex<Vec<Weak<Beats>>>,
    host: OnceLock<Pulse>,
    others: Mutex<Option<Wedged>>,
    looked: AtomicU64,
    /// Beats before this time count as if they were of it.
    forgiven: AtomicU64,
}

#[derive(Debug)]
struct Beats {
    name: String,
    /// Nanoseconds of the monotonic clock. 0 when it never beat, or rests.
    last: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// A sign of life. When it is dropped, nobody waits for it any more.
#[derive(Debug)]
pub struct Pulse(Arc<Beats>);

impl Pulse {
    /// Says that it goes on. Costs a look at the clock; may be called from anywhere.
    pub fn beat(&self) {
        self.0.last.store(nanos(self.0.clock.monotonic()).max(1), Ordering::Relaxed);
    }

    /// Says that it stops, and that this is as it should be. The next beat begins anew.
    pub fn rest(&self) {
        self.0.last.store(0, Ordering::Relaxed);
    }
}

impl Pulses {
    /// Nothing beats yet. What beats is to beat every `deadline`.
    ///
    /// # Errors
    /// When `health.heartbeat_seconds` is no time: 0, or more than a day.
    pub fn new(seconds: f64, clock: Arc<dyn Clock>) -> Result<Self> {
        let deadline = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero() && seconds <= 86_400.0);
        let deadline = deadline.ok_or_else(|| {
            Error::invalid(format!("health.heartbeat_seconds is {seconds}"))
                .with_hint("set it to more than 0 and at most 86400")
                .with_context("setting", "health.heartbeat_seconds")
        })?;
        Ok(Self {
            deadline,
            clock,
            beating: Mutex::default(),
            host: OnceLock::new(),
            others: Mutex::default(),
            looked: AtomicU64::new(0),
            forgiven: AtomicU64::new(0),
        })
    }

    /// Something that will beat.
    pub fn begin(&self, name: &str) -> Pulse {
        let beats = Arc::new(Beats { name: name.to_owned(), last: AtomicU64::new(0), clock: Arc::clone(&self.clock) });
        let mut beating = lock(&self.beating);
        beating.retain(|beats| beats.strong_count() > 0);
        beating.push(Arc::downgrade(&beats));
        Pulse(beats)
    }

    /// One beat of the host as a whole.
    pub fn beat(&self) {
        self.host.get_or_init(|| self.begin("host")).beat();
    }

    /// How often to beat: five times within the deadline, and not more often than is of use.
    pub fn period(&self) -> Duration {
        (self.deadline / 5).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }

    /// What of this process has been silent for longest, of all that has ever beaten.
    pub(crate) fn last(&self) -> Option<LastBeat> {
        let forgiven = self.forgiven.load(Ordering::Relaxed);
        let beating = lock(&self.beating);
        let all = beating.iter().filter_map(|beats| {
            let beats = beats.upgrade()?;
            let last = beats.last.load(Ordering::Relaxed);
            (last != 0).then(|| (last.max(forgiven), beats))
        });
        let (last, beats) = all.min_by_key(|(last, _)| *last)?;
        Some(LastBeat { pulse: beats.name.clone(), at: Duration::from_nanos(last) })
    }

    /// Whether a beat of that time is too old.
    pub(crate) fn judge(&self, pid: u32, last: LastBeat) -> Option<Wedged> {
        let age = self.clock.monotonic().saturating_sub(last.at);
        (age > self.deadline).then_some(Wedged { pid, pulse: last.pulse, age_seconds: age.as_secs_f64() })
    }

    /// Whether this process is wedged.
    pub fn own(&self) -> Option<Wedged> {
        self.judge(std::process::id(), self.last()?)
    }

    /// The process of this service that has been silent for longest, past the deadline: this one or, where it looks after
    /// the others, another.
    pub fn worst(&self) -> Option<Wedged> {
        let other = lock(&self.others).clone();
        [self.own(), other].into_iter().flatten().max_by(|a, b| a.age_seconds.total_cmp(&b.age_seconds))
    }

    /// Keeps what was found of the other processes.
    #[cfg(feature = "http")]
    pub(crate) fn set_others(&self, worst: Option<Wedged>) {
        *lock(&self.others) = worst;
    }

    /// To be called often, from a thread that nothing of the host holds up: when it was not, the whole process stood still,
    /// and nobody is to blame for having been silent meanwhile.
    pub fn look(&self) {
        let now = nanos(self.clock.monotonic());
        let before = self.looked.swap(now, Ordering::Relaxed);
        if before != 0 && Duration::from_nanos(now.saturating_sub(before)) > STOOD_STILL {
            self.forgiven.store(now, Ordering::Relaxed);
        }
    }
}

/// Five hundred years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn scene() -> (Arc<ManualClock>, Pulses) {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        clock.advance(Duration::from_secs(1));
        let pulses = Pulses::new(10.0, clock.clone()).unwrap();
        (clock, pulses)
    }

    #[test]
    fn the_longest_silence_past_the_deadline_is_told() {
        let (clock, pulses) = scene();
        let (first, second, never) = (pulses.begin("event loop"), pulses.begin("interpreter"), pulses.begin("never"));
        clock.advance(Duration::from_secs(60));
        assert_eq!(pulses.worst(), None, "nothing has beaten yet");
        first.beat();
        clock.advance(Duration::from_secs(6));
        second.beat();
        assert_eq!(pulses.worst(), None);
        clock.advance(Duration::from_secs(5));
        let wedged = Wedged { pid: std::process::id(), pulse: "event loop".to_owned(), age_seconds: 11.0 };
        assert_eq!(pulses.worst(), Some(wedged));
        first.beat();
        assert_eq!(pulses.worst(), None);
        clock.advance(Duration::from_secs(11));
        second.rest();
        drop(first);
        assert_eq!(pulses.worst(), None, "who rests and who is gone is not waited for");
        drop(never);
    }

    #[test]
    fn a_process_that_stood_still_is_given_time() {
        let (clock, pulses) = scene();
        let pulse = pulses.begin("event loop");
        pulse.beat();
        pulses.look();
        clock.advance(Duration::from_secs(3600));
        pulses.look();
        assert_eq!(pulses.worst(), None);
        for _ in 0..11 {
            clock.advance(Duration::from_secs(1));
            pulses.look();
        }
        assert_eq!(pulses.worst().map(|wedged| wedged.age_seconds), Some(11.0));
    }

    #[test]
    fn a_deadline_that_is_none_is_an_error() {
        for seconds in [0.0, -1.0, f64::NAN, 1e9] {
            assert!(Pulses::new(seconds, Arc::new(crate::clock::SystemClock)).is_err(), "{seconds}");
        }
        let (_, pulses) = scene();
        assert_eq!(pulses.period(), Duration::from_secs(1));
    }
}
