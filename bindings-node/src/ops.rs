//! An open `Ops`.

use std::sync::Arc;

use napi_derive::napi;
use crate::call as embed;
use uplifted_ops::ops::Ops;
use uplifted_ops::{Cancel, Progress, Scope};

use crate::channel::Channel;

/// An open `Ops`. Its methods answer through the function that `Builder.open` was given, by the number of the call.
#[napi]
pub struct NativeOps {
    pub(crate) ops: Ops,
    pub(crate) channel: Arc<Channel>,
}

#[napi]
impl NativeOps {
    /// Runs an operation. `request` is JSON text.
    #[napi]
    pub fn call(&self, call: i64, name: String, request: String, with_progress: bool) {
        let cancel = Cancel::new();
        let pending = self.channel.begin(call, &cancel);
        let progress = if with_progress { self.channel.progress(call) } else { Progress::default() };
        let scope = Scope { cancel, progress, ..self.ops.scope() };
        let work = embed::call(&self.ops, scope, &name, &request);
        self.background(async move { pending.answer(work.await) });
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
        self.background(async move {
            ops.close().await;
            pending.text(Ok("null".into()));
        });
    }

    /// The service's root folder, absolute.
    #[napi(getter)]
    pub fn root(&self) -> String {
        self.ops.context().root.to_string_lossy().into_owned()
    }
}

impl NativeOps {
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
