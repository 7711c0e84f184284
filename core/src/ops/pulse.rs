//! The heartbeat of a Rust host, see [`Pulses`](crate::health::Pulses).

use std::time::Duration;

use tokio::runtime::Handle;

use crate::health::Pulse;

use super::front::Ops;

impl Ops {
    /// Something of the host that will beat, under a name for `/livez`. Once it has beaten, it is to beat again within
    /// `health.heartbeat_seconds`, else the process counts as wedged; dropped, it is not waited for.
    ///
    /// ```no_run
    /// # fn example(ops: &uplifted_ops::ops::Ops, more: impl Fn() -> bool) {
    /// let pulse = ops.pulse("importer");
    /// while more() {
    ///     pulse.beat();
    ///     // … one piece of the work
    /// }
    /// # }
    /// ```
    pub fn pulse(&self, name: &str) -> Pulse {
        self.context().pulses.begin(name)
    }

    /// One beat of the host as a whole, for a loop of its own: call it once in each turn.
    pub fn beat(&self) {
        self.context().pulses.beat();
    }

    /// How often to beat: five times within `health.heartbeat_seconds`, at most once a second.
    pub fn beat_period(&self) -> Duration {
        self.context().pulses.period()
    }

    /// Lets a task of the host's own runtime beat until this is closed: a runtime whose threads are all busy, or block, beats no
    /// more. Give it `&Handle::current()` within that runtime.
    pub fn beat_on(&self, runtime: &Handle) {
        let (pulse, period, closing) = (self.pulse("runtime"), self.beat_period(), self.closing());
        runtime.spawn(async move {
            while !closing.is_cancelled() {
                pulse.beat();
                tokio::select! {
                    () = closing.cancelled() => {}
                    () = tokio::time::sleep(period) => {}
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_beats_until_it_is_blocked() {
        let folder = tempfile::tempdir().unwrap();
        let builder = Ops::builder().root(folder.path()).environment([]).setting("health.heartbeat_seconds", 0.2);
        let ops = builder.build().unwrap();
        let host = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        ops.beat_on(host.handle());
        let pulses = &ops.context().pulses;
        let until = |wanted: bool| {
            let began = std::time::Instant::now();
            while pulses.own().is_some() != wanted || pulses.last().is_none() {
                assert!(began.elapsed() < Duration::from_secs(30), "wedged is not {wanted}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        until(false);
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        host.spawn(async move {
            let _ = blocked.recv();
        });
        until(true);
        assert_eq!(pulses.own().unwrap().pulse, "runtime");
        drop(release);
        until(false);
        ops.beat();
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(pulses.own().unwrap().pulse, "host", "it beat once, and no more");
    }
}
