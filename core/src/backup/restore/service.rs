//! Stopping the service before a swap, starting it after, and asking whether it is well.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::Result;

/// How the service is stopped and started. Everything is optional: a service without `stop` must be stopped
/// by hand before its databases are replaced.
#[derive(Clone, Copy, Default)]
pub struct Service<'a> {
    /// Stops the service and returns once it was told. An error when the program for it failed.
    pub stop: Option<&'a Act<'a>>,
    /// Starts it again, in a session of its own.
    pub start: Option<&'a Act<'a>>,
    /// Waits until the service is well, within its own deadline; `false` when it did not become so. Asked
    /// only after `start`.
    pub gate: Option<&'a Ask<'a>>,
    /// How long the service may take after `stop` to close its databases.
    pub patience: Duration,
}

/// Does something to the service.
pub type Act<'a> = dyn Fn(&Scope) -> Result<()> + Sync + 'a;
/// Asks something of the service.
pub type Ask<'a> = dyn Fn(&Scope) -> Result<bool> + Sync + 'a;

impl fmt::Debug for Service<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("stop", &self.stop.is_some())
            .field("start", &self.start.is_some())
            .field("gate", &self.gate.is_some())
            .field("patience", &self.patience)
            .finish()
    }
}

/// What was done to the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceReport {
    /// Whether it was told to stop.
    pub stopped: bool,
    /// Whether it was started again.
    pub started: bool,
    /// What the health gate said, when it was asked.
    pub healthy: Option<bool>,
}

/// How often a database is looked at while its service stops.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The service during one restore: what was stopped is started again, however the restore ends.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    service: Service<'a>,
    /// What was done so far.
    pub(super) report: ServiceReport,
}

impl<'a> Hold<'a> {
    /// Does nothing yet.
    pub(super) fn new(service: Service<'a>) -> Self {
        Self { service, report: ServiceReport::default() }
    }

    /// Stops the service if it can, then waits until `free` says that nobody holds its files. What `free` last
    /// answered, when that is not so, is the error. A `stop` that failed is forgiven when nobody holds any:
    /// the service may have been stopped already.
    pub(super) fn stop(&mut self, scope: &Scope, free: &dyn Fn() -> Result<()>) -> Result<()> {
        let Some(stop) = self.service.stop else { return free() };
        scope.progress.stage("stopping the service");
        let told = stop(scope);
        self.report.stopped = told.is_ok();
        let mut looks = self.service.patience.as_millis() / LOOK_AGAIN.as_millis();
        let mut said = String::new();
        loop {
            match (free(), &told) {
                (Ok(()), _) => return Ok(()),
                (Err(held), Err(failed)) => return Err(held.with_context("service.stop", failed)),
                (Err(held), Ok(())) if looks == 0 => return Err(held),
                (Err(held), Ok(())) => {
                    scope.cancel.check()?;
                    // Who waits learns for whom: it may not be the service.
                    if said != held.message() {
                        said = held.message().to_owned();
                        scope.progress.stage(format!("waiting for the service to stop: {said}"));
                    }
                    std::thread::sleep(LOOK_AGAIN);
                    looks -= 1;
                }
            }
        }
    }

    /// Starts the service, if it can be started and was told to stop.
    pub(super) fn start(&mut self, scope: &Scope) -> Result<()> {
        if let (Some(start), true) = (self.service.start, self.report.stopped) {
            scope.progress.stage("starting the service");
            start(scope)?;
            self.report.started = true;
        }
        Ok(())
    }

    /// Whether the service is well. `true` without asking when it was not started.
    pub(super) fn gate(&mut self, scope: &Scope) -> Result<bool> {
        let Some(gate) = self.service.gate.filter(|_| self.report.started) else { return Ok(true) };
        scope.progress.stage("waiting for the service to be healthy");
        let healthy = gate(scope)?;
        self.report.healthy = Some(healthy);
        Ok(healthy)
    }

    /// Whether the service runs, or may run, something that the swap did not give it: it was not started by us.
    pub(super) fn needs_start(&self) -> bool {
        self.report.stopped && !self.report.started
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::cancel::Progress;
    use crate::error::{Error, ErrorKind};

    fn held() -> Error {
        Error::new(ErrorKind::Refused, "held")
    }

    #[test]
    fn a_stop_is_waited_for() {
        let stop = |_: &Scope| Ok(());
        let mut hold =
            Hold::new(Service { stop: Some(&stop), patience: Duration::from_secs(60), ..Service::default() });
        let looks = Cell::new(0);
        let free = || {
            looks.set(looks.get() + 1);
            if looks.get() < 3 { Err(held()) } else { Ok(()) }
        };
        let stages = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&stages);
        let progress = Progress::new(move |event| told.lock().unwrap().push(event.stage));
        hold.stop(&Scope { progress, ..Scope::default() }, &free).unwrap();
        // For whom, once.
        assert_eq!(*stages.lock().unwrap(), ["stopping the service", "waiting for the service to stop: held"]);
        assert!(hold.report.stopped && hold.needs_start());
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn a_failed_stop_counts_only_while_somebody_holds_the_files() {
        let stop = |_: &Scope| Err(Error::new(ErrorKind::Unavailable, "exit status 5"));
        let mut hold = Hold::new(Service { stop: Some(&stop), ..Service::default() });
        hold.stop(&Scope::default(), &|| Ok(())).unwrap();
        assert!(!hold.report.stopped);
        let error = hold.stop(&Scope::default(), &|| Err(held())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(error.context()[0].1, "exit status 5");
    }

    #[test]
    fn only_what_was_stopped_is_started_and_asked() {
        let started = AtomicU32::new(0);
        let start = |_: &Scope| {
            started.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        let gate = |_: &Scope| Ok(false);
        let mut hold = Hold::new(Service { start: Some(&start), gate: Some(&gate), ..Service::default() });
        hold.start(&Scope::default()).unwrap();
        assert!(hold.gate(&Scope::default()).unwrap());
        assert_eq!(started.load(Ordering::SeqCst), 0);
        hold.report.stopped = true;
        hold.start(&Scope::default()).unwrap();
        assert!(!hold.gate(&Scope::default()).unwrap());
        assert_eq!((started.load(Ordering::SeqCst), hold.report.healthy), (1, Some(false)));
    }
}
