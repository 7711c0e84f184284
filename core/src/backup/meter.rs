//! Progress of one stage, reported at most ten times a second.

use std::time::Duration;

use crate::cancel::{ProgressEvent, Scope};

const EVERY: Duration = Duration::from_millis(100);

/// Counts one stage. The first report is made when it starts, the last when it is dropped.
#[derive(Debug)]
pub(super) struct Meter {
    scope: Scope,
    event: ProgressEvent,
    next: Duration,
}

impl Meter {
    pub(super) fn start(scope: &Scope, stage: String, total_bytes: Option<u64>, total_files: Option<u64>) -> Self {
        let event =
            ProgressEvent { stage, done_bytes: 0, total_bytes, done_files: 0, total_files, uninterruptible: false };
        scope.progress.report(event.clone());
        Self { scope: scope.clone(), event, next: scope.clock.monotonic() + EVERY }
    }

    pub(super) fn bytes(&mut self, count: u64) {
        self.event.done_bytes += count;
        self.tick();
    }

    pub(super) fn file(&mut self) {
        self.event.done_files += 1;
        self.tick();
    }

    fn tick(&mut self) {
        let now = self.scope.clock.monotonic();
        if now >= self.next {
            self.next = now + EVERY;
            self.scope.progress.report(self.event.clone());
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.scope.progress.report(self.event.clone());
    }
}
