//! Asks the checks in the background, each at its own pace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;

use super::board::{Board, HealthView, Readiness};
use super::entry::Entry;
use super::runner::Runner;
use super::state::{HealthState, Phase};
use crate::cancel::{Cancel, Scope};
use crate::clock::Clock;
use crate::error::Result;
use crate::metrics::own::own;

/// How often a check is asked at least that has failed since the beginning.
const WARM_UP: Duration = Duration::from_secs(1);

/// Asks the checks in the background, and knows what they last answered. Who reads never waits. See
/// [the model](super#the-model).
#[derive(Debug)]
pub struct Watch {
    runner: Arc<Runner>,
    board: Board,
    started: AtomicBool,
    observer: OnceLock<Observer>,
}

/// An answer, as it counts.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    pub(crate) check: &'a str,
    pub(crate) state: HealthState,
    /// Secrets are `***`.
    pub(crate) message: &'a str,
}

/// Who hears of every answer.
struct Observer(Box<dyn Fn(&Answered<'_>) + Send + Sync>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

impl Watch {
    /// A watch over the checks of `runner`, which asks nothing yet.
    ///
    /// # Errors
    /// For a parent that there is not, and for checks that depend on each other in a circle.
    pub fn new(runner: Arc<Runner>) -> Result<Self> {
        Ok(Self { board: Board::of(&runner)?, runner, started: AtomicBool::new(false), observer: OnceLock::new() })
    }

    /// Whether this call is the first, so that [`run`](Self::run) is its caller's to call.
    pub fn claim(&self) -> bool {
        !self.started.swap(true, Ordering::SeqCst)
    }

    /// Lets `observe` hear of every answer from the first on. The first who comes is the one.
    pub(crate) fn observe(&self, observe: impl Fn(&Answered<'_>) + Send + Sync + 'static) {
        let _ = self.observer.set(Observer(Box::new(observe)));
    }

    /// Whether the checks are asked in the background in this process, or were.
    pub fn is_running(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    /// Asks every check at once, and then again and again at its pace, until `stop` is raised. `place` is what the
    /// jitter is drawn from: it differs between the instances of a service. One that has failed since the beginning is asked
    /// each second. Must be called within a Tokio runtime.
    ///
    /// A check that hangs is asked once, whatever its period; nothing here can fail or panic with a check.
    pub async fn run(self: Arc<Self>, clock: Arc<dyn Clock>, place: String, stop: Cancel) {
        let mut loops = JoinSet::new();
        for number in 0..self.runner.entries().count() {
            let (watch, clock, place, stop) = (Arc::clone(&self), Arc::clone(&clock), place.clone(), stop.clone());
            loops.spawn(async move { watch.keep_asking(number, &clock, &place, &stop).await });
        }
        while loops.join_next().await.is_some() {}
        self.board.enter(Phase::Stopped);
    }

    async fn keep_asking(&self, number: usize, clock: &Arc<dyn Clock>, place: &str, stop: &Cancel) {
        let Some(entry) = self.runner.entries().nth(number) else { return };
        let scope = Scope { clock: Arc::clone(clock), ..Scope::default() };
        let mut failed_so_far = true;
        for run in 0_u64.. {
            let began = clock.monotonic();
            let report = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                report = self.runner.ask(number, &scope) => report,
            };
            let (seconds, message) = (report.duration_seconds, report.message.clone());
            let state = self.board.record(number, entry, report, clock.as_ref());
            // A number that cannot be counted is no reason to stop asking.
            let _ = own().and_then(|own| own.check(&entry.name, state.as_str(), seconds));
            if let Some(Observer(observe)) = self.observer.get() {
                observe(&Answered { check: &entry.name, state, message: &message });
            }
            let period =
                entry.pace.period + later(place, &entry.name, run, entry.pace.period.mul_f64(entry.pace.jitter));
            // A service that is just making its database is not kept out of rotation for a whole period.
            failed_so_far &= state == HealthState::Fail;
            let period = if failed_so_far { period.min(WARM_UP) } else { period };
            let wait = (began + period).saturating_sub(clock.monotonic());
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = clock.sleep(wait) => {}
            }
        }
    }

    /// What is known of the checks of `group`, or of all of them (`None` or `all`), of the critical ones alone if
    /// wanted. `now` is of the monotonic clock that the watch runs by.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a group that no check belongs to.
    pub fn view(&self, group: Option<&str>, critical: bool, now: Duration) -> Result<HealthView> {
        let group = group.unwrap_or("all");
        self.runner.know(group)?;
        let wanted = |entry: &Entry| entry.is_in(group) && (entry.critical || !critical);
        let background = self.started.load(Ordering::SeqCst) && self.phase() != Phase::Stopped;
        Ok(HealthView { background, ..self.board.view(&self.runner, wanted, now) })
    }

    /// Whether work is to be sent here. Worked out when an answer comes or expires; in between to ask is cheap.
    pub fn ready(&self, now: Duration) -> Readiness {
        self.board.ready(now)
    }

    /// Whether the process is well by itself: `fail` when a check of the group `live` fails, and otherwise `pass`.
    pub fn live(&self, now: Duration) -> HealthState {
        self.board.live(now)
    }

    /// A number that grows with every answer and every phase: what was told at the same number is still so, but for its ages.
    pub fn generation(&self) -> u64 {
        self.board.generation()
    }

    /// Where the service is in its life.
    pub fn phase(&self) -> Phase {
        self.board.phase()
    }

    /// Says that the service is about to stop: from now on it is not ready, and is asked about as before.
    pub fn drain(&self) {
        self.board.enter(Phase::Draining);
    }

    /// Says that the service has stopped.
    pub fn stopped(&self) {
        self.board.enter(Phase::Stopped);
    }
}

/// By how much run number `run` of a check is put off: the same for the same words, spread evenly up to `most`.
fn later(place: &str, name: &str, run: u64, most: Duration) -> Duration {
    let mut hash = blake3::Hasher::new();
    hash.update(place.as_bytes()).update(&[0]).update(name.as_bytes()).update(&[0]).update(&run.to_le_bytes());
    let mut first = [0; 4];
    first.copy_from_slice(&hash.finalize().as_bytes()[..4]);
    most.mul_f64(f64::from(u32::from_le_bytes(first)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
