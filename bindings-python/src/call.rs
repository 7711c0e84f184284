//! One running operation: waited for by a thread, or told to an event loop.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use pyo3::prelude::*;
use uplifted_ops::embed::{self, Answered};
use uplifted_ops::ops::Ops;
use uplifted_ops::{Cancel, Error, ErrorKind, Progress, ProgressEvent, Result, Scope};

use crate::errors::to_json;
use crate::python::PythonThread;

/// How often a waiting thread asks Python for a signal: Ctrl-C is answered within this time.
const SLICE: Duration = Duration::from_millis(50);

/// Waits for `work` without the interpreter lock, and lets signals through. `between` runs with the lock whenever
/// the thread was woken. An error of either, `KeyboardInterrupt` for one, drops the work and thereby cancels it.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    work: impl Future<Output = T> + Send,
    mut between: impl FnMut() -> PyResult<()>,
) -> PyResult<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut work = pin!(work);
    loop {
        let polled = py.detach(|| {
            let mut context = Context::from_waker(&waker);
            if let Poll::Ready(value) = work.as_mut().poll(&mut context) {
                return Poll::Ready(value);
            }
            std::thread::park_timeout(SLICE);
            work.as_mut().poll(&mut context)
        });
        between()?;
        if let Poll::Ready(value) = polled {
            return Ok(value);
        }
        py.check_signals()?;
    }
}

/// Progress that waits to be told. Two events of one stage become one, so that a slow listener falls behind by a
/// stage and never by a heap of events.
#[derive(Default)]
struct Inbox(Mutex<VecDeque<ProgressEvent>>);

impl Inbox {
    /// Adds an event; says whether the inbox was empty.
    fn push(&self, event: ProgressEvent) -> bool {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = events.is_empty();
        match events.back_mut() {
            Some(last) if last.stage == event.stage && last.uninterruptible == event.uninterruptible => *last = event,
            _ => events.push_back(event),
        }
        was_empty
    }

    /// Takes the oldest.
    fn pop(&self) -> Option<ProgressEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Takes all of them, each as JSON text.
    fn take(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        events.iter().map(text).collect()
    }
}

/// An event as JSON text.
fn text(event: &ProgressEvent) -> String {
    // Numbers, strings and a flag: it is always JSON.
    serde_json::to_string(event).unwrap_or_default()
}

/// Runs `name` and waits for it. `on_progress` is called on this thread with JSON text.
pub(crate) fn run(
    py: Python<'_>,
    ops: &Ops,
    name: &str,
    request: &str,
    timeout: Option<Duration>,
    on_progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Result<Answered>> {
    let Some(on_progress) = on_progress else {
        return wait(py, embed::call(ops, ops.scope(), name, request, timeout), || Ok(()));
    };
    let inbox = Arc::new(Inbox::default());
    let progress = {
        let (inbox, thread) = (Arc::clone(&inbox), std::thread::current());
        Progress::new(move |event| {
            if inbox.push(event) {
                thread.unpark();
            }
        })
    };
    let scope = Scope { progress, ..ops.scope() };
    wait(py, embed::call(ops, scope, name, request, timeout), || {
        while let Some(event) = inbox.pop() {
            on_progress.call1((text(&event),))?;
        }
        Ok(())
    })
}

/// A running operation that an event loop waits for.
#[pyclass(frozen, module = "uplifted_ops._native")]
pub(crate) struct Call {
    pub(crate) cancel: Cancel,
}

#[pymethods]
impl Call {
    /// Asks the operation to stop. It is told to `settle` as ever.
    fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// Starts `name`. When it has ended, `listener.settle(ok, healthy, text)` is called on the Python thread; before
/// that `listener.progress(texts)`, when `wants_progress`.
pub(crate) fn start(
    ops: &Ops,
    python: &PythonThread,
    name: &str,
    request: &str,
    timeout: Option<Duration>,
    listener: Py<PyAny>,
    wants_progress: bool,
) -> Result<Call> {
    let cancel = Cancel::new();
    let listener = Arc::new(listener);
    let progress = if wants_progress {
        let (inbox, python, listener) = (Arc::new(Inbox::default()), python.clone(), Arc::clone(&listener));
        Progress::new(move |event| {
            if inbox.push(event) {
                let (inbox, listener) = (Arc::clone(&inbox), Arc::clone(&listener));
                python.post(move |py| listener.call_method1(py, "progress", (inbox.take(),)).map(drop));
            }
        })
    } else {
        Progress::default()
    };
    let scope = Scope { cancel: cancel.clone(), progress, ..ops.scope() };
    let work = embed::call(ops, scope, name, request, timeout);
    let mut settled = Settled { python: python.clone(), listener: Some(listener) };
    ops.spawn(async move { settled.with(work.await) })?;
    Ok(Call { cancel })
}

/// Tells the listener the end exactly once: whoever awaits must not wait for ever, even when the `Ops` was closed
/// and its threads dropped the work.
struct Settled {
    python: PythonThread,
    listener: Option<Arc<Py<PyAny>>>,
}

impl Settled {
    fn with(&mut self, result: Result<Answered>) {
        let Some(listener) = self.listener.take() else { return };
        let (ok, healthy, text) = match result {
            Ok(answer) => (true, answer.healthy, answer.response),
            Err(error) => (false, false, to_json(&error)),
        };
        self.python.post(move |py| listener.call_method1(py, "settle", (ok, healthy, text)).map(drop));
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        self.with(Err(Error::new(ErrorKind::Cancelled, "the Ops was closed")));
    }
}
