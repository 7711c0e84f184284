//! The way to a component that lives elsewhere, and the patience with it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cancel::{Progress, Scope};
use crate::error::{Error, Result};

use super::call::ComponentCall;

/// JSON, and the block that belongs to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Payload {
    pub(crate) value: Value,
    pub(crate) body: Vec<u8>,
}

impl Payload {
    /// JSON alone.
    pub(crate) fn of(value: &impl serde::Serialize) -> Result<Self> {
        let value = serde_json::to_value(value)
            .map_err(|error| Error::internal(format!("what leaves this process is not JSON: {error}")))?;
        Ok(Self { value, body: Vec::new() })
    }

    /// The JSON as a type.
    pub(crate) fn parse<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        serde_json::from_value(self.value)
            .map_err(|error| Error::internal(format!("the other process answered something else: {error}")))
    }
}

/// The way to a component that lives elsewhere.
#[async_trait]
pub(crate) trait Link: Send + Sync + Debug {
    /// Calls. `reply_bytes` is the largest block that the answer may hold.
    async fn call(&self, scope: &Scope, call: ComponentCall, body: Vec<u8>, reply_bytes: usize) -> Result<Payload>;

    /// Calls without waiting for the answer.
    fn tell(&self, call: ComponentCall);

    /// Whether something opened by one call is still open for the next.
    fn keeps_handles(&self) -> bool;
}

/// Methods that go through a whole database may be silent this many times longer.
pub(crate) const LONG_FACTOR: u32 = 10;

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How long there may be no sign of life. Progress is one.
    pub(crate) silence: Duration,
    /// How long after a cancel the answer may still take.
    pub(crate) grace: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The caller cancelled, and the grace is over.
    Cancelled,
    /// It was silent for too long.
    Silent,
}

/// Progress that goes on to `outer`, and a bell that rings with each event.
pub(crate) fn signs_of_life(outer: &Progress) -> (Progress, Arc<Notify>) {
    let bell = Arc::new(Notify::new());
    let (rings, outer) = (Arc::clone(&bell), outer.clone());
    let progress = Progress::new(move |event| {
        rings.notify_one();
        outer.report(event);
    });
    (progress, bell)
}

impl Patience {
    /// Waits for `answer`. `cancelled` is called once when the scope is cancelled. Whoever gives up drops `answer`.
    pub(crate) async fn wait<T>(
        self,
        scope: &Scope,
        bell: &Notify,
        answer: impl Future<Output = T>,
        mut cancelled: impl FnMut(),
    ) -> Result<T, NoAnswer> {
        let mut answer = std::pin::pin!(answer);
        let mut until = Instant::now() + self.silence;
        let mut asked = false;
        loop {
            tokio::select! {
                answer = &mut answer => return Ok(answer),
                () = bell.notified(), if !asked => until = Instant::now() + self.silence,
                () = scope.cancel.cancelled(), if !asked => {
                    asked = true;
                    cancelled();
                    until = Instant::now() + self.grace;
                }
                () = tokio::time::sleep_until(until) => {
                    return Err(if asked { NoAnswer::Cancelled } else { NoAnswer::Silent });
                }
            }
        }
    }
}
