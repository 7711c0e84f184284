//! Giving snapshots to sinks, from time to time.
//!
//! Each sink has a loop of its own, so that one that is slow or gone holds up no other. An export that has not ended when
//! its time is over is given up, and never is a second one begun beside it. When the service ends, each sink gets the
//! numbers once more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

use super::own::own;
use super::{MetricsSink, MetricsSnapshot};

/// The longest time that an export may take unless its outlet says otherwise; a shorter period bounds it as well.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the last one may take, when the service ends.
const LAST: Duration = Duration::from_secs(2);

/// A sink, and how often it gets the numbers.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// The name in the settings.
    pub name: String,
    /// Where the numbers go.
    pub sink: Arc<dyn MetricsSink>,
    /// From the beginning of one export to the next, above zero.
    pub period: Duration,
    /// How long an export may take. The period, and at most half a minute, when not given.
    pub deadline: Option<Duration>,
}

/// Takes a snapshot of everything.
pub type Source = dyn Fn() -> Pin<Box<dyn Future<Output = Result<MetricsSnapshot>> + Send>> + Send + Sync;

/// What gives the numbers to the sinks.
pub struct Exporter {
    /// The sinks.
    pub outlets: Vec<Outlet>,
    /// Where the numbers come from.
    pub source: Arc<Source>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Raised when the service ends.
    pub stop: Cancel,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("outlets", &self.outlets).finish_non_exhaustive()
    }
}

impl Exporter {
    /// Works until it is stopped, and the sinks have what was counted by then.
    pub async fn run(self) {
        let Self { outlets, source, clock, stop } = self;
        let mut loops = tokio::task::JoinSet::new();
        for outlet in outlets {
            let work = Work { outlet, source: Arc::clone(&source), clock: Arc::clone(&clock), stop: stop.clone() };
            loops.spawn(work.run());
        }
        while loops.join_next().await.is_some() {}
    }
}

/// The loop of one sink.
struct Work {
    outlet: Outlet,
    source: Arc<Source>,
    clock: Arc<dyn Clock>,
    stop: Cancel,
}

impl Work {
    async fn run(self) {
        let period = self.outlet.period.max(Duration::from_millis(1));
        let mut next = self.clock.monotonic() + period;
        loop {
            let wait = next.saturating_sub(self.clock.monotonic());
            let stopped = tokio::select! {
                biased;
                () = self.stop.cancelled() => true,
                () = self.clock.sleep(wait) => false,
            };
            if stopped {
                return self.count(self.export(LAST, None).await);
            }
            let deadline = self.outlet.deadline.unwrap_or(period.min(DEADLINE));
            self.count(self.export(deadline, Some(&self.stop)).await);
            // What a slow export took the time of is left out, and not made up for.
            let now = self.clock.monotonic();
            next = if next + period > now { next + period } else { now + period };
        }
    }

    /// One export, which ends with its deadline, or when `stop` is raised.
    async fn export(&self, deadline: Duration, stop: Option<&Cancel>) -> Result<()> {
        let cancel = Cancel::new();
        // Whatever the sink has begun elsewhere hears that nobody waits any more.
        let _given_up = CancelOnDrop::new(&cancel);
        let scope = Scope { cancel, clock: Arc::clone(&self.clock), ..Scope::default() };
        let work = async {
            let snapshot = (self.source)().await?;
            self.outlet.sink.export(&scope, &snapshot).await
        };
        let stopped = async {
            match stop {
                Some(stop) => stop.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = stopped => Err(Error::new(ErrorKind::Cancelled, "the service ends")),
            () = self.clock.sleep(deadline) => {
                let seconds = deadline.as_secs_f64();
                Err(Error::new(ErrorKind::Timeout, format!("sink {:?} took more than {seconds} s", self.outlet.name)))
            }
        }
    }

    fn count(&self, exported: Result<()>) {
        let (outcome, at) = match &exported {
            Ok(()) => ("done", Some(self.clock.now())),
            // The service ends: the last export follows.
            Err(error) if error.kind() == ErrorKind::Cancelled && self.stop.is_cancelled() => return,
            Err(error) => (error.kind().as_str(), None),
        };
        // Without our own instruments nobody could be told.
        let _ = own().and_then(|own| own.export(&self.outlet.name, outcome, at));
    }
}

#[cfg(test)]
mod tests;
