//! Progress on stderr: a bar on a terminal, a plain line now and then elsewhere.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::render::{clean, count, duration};
use crate::cancel::{Progress, ProgressEvent};
use crate::clock::Clock;
use crate::value::ByteSize;

/// Plain lines come no closer than this, and none comes before work has lasted this long.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Not at all.
    Silent,
    /// Lines, for logs and pipes.
    Lines,
    /// A bar, for a terminal.
    Bar,
}

/// Shows progress, and the messages that must not collide with it.
#[derive(Clone)]
pub(super) struct Reporter(Arc<Mutex<State>>);

struct State {
    mode: Mode,
    clock: Arc<dyn Clock>,
    out: Box<dyn Write + Send>,
    bar: Option<ProgressBar>,
    stages: HashMap<String, Stage>,
    last_line: Duration,
}

/// A part of the work. Several may go on at once and report in turn, as storing and reading back do.
struct Stage {
    began: Duration,
    done_bytes: u64,
}

impl Reporter {
    /// A reporter that writes lines to `out`; a bar goes to the terminal by itself.
    pub(super) fn new(mode: Mode, clock: Arc<dyn Clock>, out: Box<dyn Write + Send>) -> Self {
        let now = clock.monotonic();
        Self(Arc::new(Mutex::new(State { mode, clock, out, bar: None, stages: HashMap::new(), last_line: now })))
    }

    /// What the work reports to.
    pub(super) fn progress(&self) -> Progress {
        if self.lock().mode == Mode::Silent {
            return Progress::default();
        }
        let this = self.clone();
        Progress::new(move |event| this.lock().show(&event))
    }

    /// Prints a message above the bar.
    pub(super) fn note(&self, message: &str) {
        let state = &mut *self.lock();
        let out = &mut state.out;
        // On a closed stderr there is nobody left to tell.
        let mut write = || drop(out.write_all(format!("{message}\n").as_bytes()).and_then(|()| out.flush()));
        match &state.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        state.mode = Mode::Silent;
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn show(&mut self, event: &ProgressEvent) {
        let now = self.clock.monotonic();
        let stage = match self.stages.get_mut(&event.stage) {
            Some(stage) => stage,
            None => self.stages.entry(event.stage.clone()).or_insert(Stage { began: now, done_bytes: 0 }),
        };
        if event.done_bytes < stage.done_bytes {
            // The next pack, or the next database: it begins again.
            stage.began = now;
        }
        stage.done_bytes = event.done_bytes;
        let elapsed = now.saturating_sub(stage.began);
        match self.mode {
            Mode::Silent => {}
            Mode::Lines => {
                if now.saturating_sub(self.last_line) >= LINE_EVERY {
                    self.last_line = now;
                    let line = format!("{}\n", describe(event, elapsed));
                    let _ = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
                }
            }
            Mode::Bar => {
                let bar = self.bar.get_or_insert_with(new_bar);
                if let Some((done, total)) = position(event) {
                    bar.set_style(style("{spinner} [{bar:20}] {wide_msg}"));
                    bar.set_length(total);
                    bar.set_position(done.min(total));
                } else {
                    bar.set_style(style("{spinner} {wide_msg}"));
                }
                bar.set_message(describe(event, elapsed));
            }
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// How far, by bytes when their total is known, else by files.
fn position(event: &ProgressEvent) -> Option<(u64, u64)> {
    let by_bytes = event.total_bytes.filter(|total| *total > 0).map(|total| (event.done_bytes, total));
    by_bytes.or_else(|| event.total_files.filter(|total| *total > 0).map(|total| (event.done_files, total)))
}

/// `copying database main: 42 %, 512.0 MiB of 1.2 GiB, 12,000 files, 180.2 MiB/s, 4.2 s left`.
fn describe(event: &ProgressEvent, elapsed: Duration) -> String {
    let mut parts = Vec::new();
    let seconds = elapsed.as_secs_f64();
    if let Some((done, total)) = position(event) {
        parts.push(format!("{:.0} %", done.min(total) as f64 * 100.0 / total as f64));
    }
    match event.total_bytes {
        Some(total) if total > 0 => parts.push(format!("{} of {}", ByteSize(event.done_bytes), ByteSize(total))),
        _ if event.done_bytes > 0 => parts.push(ByteSize(event.done_bytes).to_string()),
        _ => {}
    }
    match event.total_files {
        Some(total) if total > 0 => parts.push(format!("{} of {} files", count(event.done_files), count(total))),
        _ if event.done_files == 1 => parts.push("1 file".to_owned()),
        _ if event.done_files > 0 => parts.push(format!("{} files", count(event.done_files))),
        _ => {}
    }
    // A rate over the first moments says nothing.
    if event.done_bytes > 0 && seconds >= 0.5 {
        let rate = event.done_bytes as f64 / seconds;
        parts.push(format!("{}/s", ByteSize(rate as u64)));
        if let Some(left) = event.total_bytes.and_then(|total| total.checked_sub(event.done_bytes)).filter(|n| *n > 0) {
            parts.push(format!("{} left", duration(left as f64 / rate)));
        }
    }
    if event.uninterruptible {
        parts.push("cannot be interrupted".to_owned());
    }
    let stage = clean(&event.stage);
    if parts.is_empty() { stage } else { format!("{stage}: {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::Shared;
    use crate::clock::{ManualClock, Timestamp};

    fn event(stage: &str, done: u64) -> ProgressEvent {
        ProgressEvent {
            stage: stage.to_owned(),
            done_bytes: done,
            total_bytes: Some(4 << 20),
            done_files: 0,
            total_files: None,
            uninterruptible: false,
        }
    }

    #[test]
    fn stages_that_take_turns_keep_their_own_pace_and_one_that_begins_again_has_a_new_one() {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let out = Shared::default();
        let progress = {
            let reporter = Reporter::new(Mode::Lines, clock.clone(), Box::new(out.clone()));
            reporter.progress()
        };
        // One MiB in four seconds each, in turn; then the second from its start.
        for (stage, done) in [("storing", 0), ("reading back", 0), ("storing", 1), ("reading back", 1)] {
            progress.report(event(stage, done << 20));
            clock.advance(Duration::from_secs(2));
        }
        progress.report(event("reading back", 1 << 18));
        clock.advance(Duration::from_secs(2));
        progress.report(event("reading back", 1 << 19));
        let text = out.text();
        let rates: Vec<&str> =
            text.lines().filter_map(|line| line.split(", ").find(|part| part.ends_with("/s"))).collect();
        assert_eq!(rates, ["256.0 KiB/s", "256.0 KiB/s", "256.0 KiB/s"], "{text}");
    }

    #[test]
    fn lines_come_at_most_every_two_seconds_and_never_for_quick_work() {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let out = Shared::default();
        let reporter = Reporter::new(Mode::Lines, clock.clone(), Box::new(out.clone()));
        let progress = reporter.progress();
        for step in 0..10 {
            progress.report(event("copying", step << 18));
            clock.advance(Duration::from_millis(500));
        }
        assert_eq!(
            out.text(),
            "copying: 25 %, 1.0 MiB of 4.0 MiB, 512.0 KiB/s, 6.00 s left\n\
             copying: 50 %, 2.0 MiB of 4.0 MiB, 512.0 KiB/s, 4.00 s left\n"
        );
        reporter.note("stopping");
        reporter.finish();
        clock.advance(Duration::from_secs(10));
        progress.report(event("copying", 4 << 20));
        assert!(out.text().ends_with("left\nstopping\n"), "{}", out.text());
    }

    #[test]
    fn a_stage_is_described_by_what_is_known() {
        let bare = ProgressEvent { total_bytes: None, ..event("looking for databases", 0) };
        assert_eq!(describe(&bare, Duration::from_secs(9)), "looking for databases");
        let files = ProgressEvent {
            total_bytes: None,
            done_files: 1200,
            total_files: Some(2400),
            uninterruptible: true,
            ..event("swapping", 0)
        };
        assert_eq!(describe(&files, Duration::ZERO), "swapping: 50 %, 1,200 of 2,400 files, cannot be interrupted");
    }
}
