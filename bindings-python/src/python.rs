//! The one thread on which Rust calls Python.
//!
//! Whoever in Rust has something to tell Python posts it here. So no thread of the runtime ever waits for the
//! interpreter lock, a burst of news takes the lock once, and at the interpreter's end there is one thread to
//! stop. What is posted must be short: it hands over to an event loop or a queue and returns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use uplifted_ops::{Error, Result};

/// Something to tell Python.
type Job = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send>;

/// How many jobs are done before other threads of Python get a chance.
const BATCH: usize = 256;
/// How long stopping waits for a job that is being done.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The way to the thread. Clones share it.
#[derive(Clone)]
pub(crate) struct PythonThread(Arc<Shared>);

struct Shared {
    /// `None` once stopped.
    jobs: Mutex<Option<Sender<Job>>>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
    pid: u32,
}

impl PythonThread {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (alive, ended) = channel::<()>();
        std::thread::Builder::new()
            .name("uplifted-ops-py".into())
            .spawn(move || {
                work(&inbox);
                drop(alive);
            })
            .map_err(|error| Error::io("start the thread that calls Python", error))?;
        Ok(Self(Arc::new(Shared { jobs: Mutex::new(Some(jobs)), ended: Mutex::new(ended), pid: std::process::id() })))
    }

    /// Has `job` done soon, in the order of posting. After [`PythonThread::stop`] it is dropped.
    pub(crate) fn post(&self, job: impl FnOnce(Python<'_>) -> PyResult<()> + Send + 'static) {
        if let Some(jobs) = &*self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = jobs.send(Box::new(job));
        }
    }

    /// Drops what was not begun, and returns when the thread has ended: from then on no thread of Rust enters the
    /// interpreter. Does nothing in a forked child, which does not have the thread.
    pub(crate) fn stop(&self, py: Python<'_>) {
        if self.0.pid != std::process::id() {
            return;
        }
        py.detach(|| {
            drop(self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
            let ended = self.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
            debug_assert_ne!(ended.recv_timeout(STOP_PATIENCE), Err(RecvTimeoutError::Timeout));
        });
    }
}

fn work(inbox: &Receiver<Job>) {
    while let Ok(first) = inbox.recv() {
        let entered = Python::try_attach(|py| {
            let more = std::iter::from_fn(|| inbox.try_recv().ok());
            for job in std::iter::once(first).chain(more).take(BATCH) {
                // A job that fails concerns nobody but whoever posted it, and that one hears nothing: Python
                // prints it as it prints what fails in a destructor.
                match catch_unwind(AssertUnwindSafe(|| job(py))) {
                    Ok(Ok(())) | Err(_) => {}
                    Ok(Err(error)) => error.write_unraisable(py, None),
                }
            }
        });
        if entered.is_none() {
            // The interpreter is ending, and did not stop us: an embedding host without `atexit`.
            return;
        }
    }
}
