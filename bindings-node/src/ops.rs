//! An open `Ops`.

use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;
use uplifted_ops::embed::{self, Begun};
use uplifted_ops::health::Pulse;
use uplifted_ops::ops::Ops;
use uplifted_ops::{Cancel, Error, Progress, Scope};

use crate::channel::Channel;

/// How long what runs may take to stop when an `Ops` is closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);

/// An open `Ops`. Its methods answer through the function that `Builder.open` was given, by the number of the call.
#[napi]
pub struct NativeOps {
    pub(crate) ops: Ops,
    pub(crate) channel: Arc<Channel>,
    pulse: Pulse,
}

#[napi]
impl NativeOps {
    /// Runs an operation. `request` is JSON text. What ended at once is answered at once, as `[word, text]`, and not
    /// through the function.
    #[napi]
    pub fn call(
        &self,
        call: i64,
        name: String,
        request: String,
        with_progress: bool,
    ) -> Option<(&'static str, String)> {
        let cancel = Cancel::new();
        let pending = self.channel.begin(call, &cancel);
        let progress = if with_progress { self.channel.progress(call) } else { Progress::default() };
        let scope = Scope { cancel, progress, ..self.ops.scope() };
        match embed::begin(embed::call(&self.ops, scope, &name, &request, None)) {
            Begun::Ended(result) => Some(pending.answered(result)),
            Begun::Running(work) => {
                self.background(async move { pending.answer(work.await) });
                None
            }
        }
    }

    /// Asks a call to stop. It is still answered.
    #[napi]
    pub fn cancel(&self, call: i64) {
        self.channel.cancel(call);
    }

    /// Cancels what runs, refuses what comes later, and answers when no worker is left.
    #[napi]
    pub fn close(&self, call: i64) {
        let pending = self.channel.begin(call, &Cancel::new());
        let ops = self.ops.clone();
        // Not on its own threads, which end with it.
        let closing = std::thread::Builder::new().name("uplifted-ops-close".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .map_err(|error| Error::io("start what closes the Ops", error));
            let closed = runtime.and_then(|runtime| runtime.block_on(ops.close(CLOSE_PATIENCE)));
            pending.text(closed.map(|()| "null".into()));
        });
        // Without a thread `pending` was dropped, and has answered.
        drop(closing);
    }

    /// Whether it listens on an address of its own, or stands by to.
    #[napi(getter)]
    pub fn listens(&self) -> bool {
        self.ops.context().listener().is_some()
    }

    /// How often the event loop is to beat, in milliseconds.
    #[napi(getter)]
    pub fn beat_milliseconds(&self) -> f64 {
        self.ops.beat_period().as_secs_f64() * 1000.0
    }

    /// The event loop goes on.
    #[napi]
    pub fn beat(&self) {
        self.pulse.beat();
    }

    /// Says that the service is about to stop, and gives the time that it goes on for, in milliseconds.
    #[napi]
    pub fn drain(&self) -> f64 {
        drop(self.ops.drain(Duration::ZERO));
        self.ops.drain_delay().as_secs_f64() * 1000.0
    }

    /// The service's root folder, absolute.
    #[napi(getter)]
    pub fn root(&self) -> String {
        self.ops.context().root.to_string_lossy().into_owned()
    }
}

impl NativeOps {
    pub(crate) fn new(ops: Ops, channel: Arc<Channel>) -> Self {
        Self { pulse: ops.pulse("event loop"), ops, channel }
    }

    /// Starts `work`. When that is refused it is dropped, and what it holds answers.
    pub(crate) fn background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let _ = self.ops.spawn(work);
    }
}

/// At the latest when its event loop ends: nobody waits for the answers then.
impl Drop for NativeOps {
    fn drop(&mut self) {
        self.channel.cancel_all();
    }
}
