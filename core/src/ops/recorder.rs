//! Writing down the numbers of a service, so that it knows its own recent past.

use std::sync::Arc;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::config::MetricsSettings;
use crate::metrics::history::{History, Limits, Moment};

use super::context::{Context, RunMode};
use super::front::Core;
use super::told;

/// The past as the settings want it kept; `None` where they want none, and on the command line, which has none.
pub(super) fn history(settings: &MetricsSettings, mode: RunMode) -> Option<History> {
    let window = Duration::try_from_secs_f64(settings.history_seconds).ok().filter(|window| !window.is_zero())?;
    let bytes = usize::try_from(settings.history_bytes.0).unwrap_or(usize::MAX);
    let limits = Limits { window, bytes, series: settings.history_series };
    (mode == RunMode::Embedded).then(|| History::new(limits))
}

/// What writes the past down, each `metrics.step_seconds`.
pub(super) struct Recorder {
    context: Arc<Context>,
    history: History,
    step: Duration,
    clock: Arc<dyn Clock>,
    stop: Cancel,
}

impl Recorder {
    /// `None` where no past is kept.
    pub(super) fn of(core: &Arc<Core>) -> Option<Self> {
        let step = Duration::try_from_secs_f64(core.context.settings.metrics.step_seconds).ok()?;
        Some(Self {
            history: core.context.history.clone()?,
            context: Arc::clone(&core.context),
            step: step.max(Duration::from_millis(10)),
            clock: Arc::clone(&core.clock),
            stop: core.closing.clone(),
        })
    }

    /// Works until it is stopped.
    pub(super) async fn run(self) {
        let mut next = self.clock.monotonic() + self.step;
        loop {
            let wait = next.saturating_sub(self.clock.monotonic());
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.clock.sleep(wait) => {}
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.write_down() => {}
            }
            // What was slept through, or took too long, is left out.
            let now = self.clock.monotonic();
            while next <= now {
                next += self.step;
            }
        }
    }

    async fn write_down(&self) {
        let moment = Moment::of(self.clock.as_ref());
        // What cannot be read now is a gap. A page that is asked for says why.
        let Ok(snapshot) = told::quiet_snapshot(&self.context, &self.clock).await else { return };
        let history = self.history.clone();
        let _ = tokio::task::spawn_blocking(move || history.record(moment, &snapshot)).await;
    }
}
