//! The ways between the two processes.

use std::time::Duration;

use async_trait::async_trait;

use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Lane;
use crate::remote::{ComponentCall, LONG_FACTOR, Link, NoAnswer, Patience, Payload, signs_of_life};

use super::peer::{CallError, Peer};
use super::pool::{Pool, Request};
use super::protocol::method;

/// From the worker to the host.
#[derive(Debug)]
pub(super) struct HostLink {
    pub(super) peer: Peer,
    /// How long the host may be silent.
    pub(super) deadline: Duration,
}

/// How long a cancelled call into the host may still take.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// A component in the host may have the same deadline there, and says more when it is over: its word gets the time
/// to arrive.
const ARRIVAL: Duration = Duration::from_millis(500);

#[async_trait]
impl Link for HostLink {
    async fn call(&self, scope: &Scope, call: ComponentCall, body: Vec<u8>, reply_bytes: usize) -> Result<Payload> {
        scope.cancel.check()?;
        let silence = if call.is_long() { self.deadline * LONG_FACTOR } else { self.deadline };
        let title = call.to_string();
        let request = Payload { body, ..Payload::of(&call)? };
        let gone = || Error::new(ErrorKind::Unavailable, format!("the host ended before it answered {title}"));
        let no_answer = |why| match why {
            NoAnswer::Cancelled => Error::new(ErrorKind::Cancelled, "cancelled by the caller"),
            NoAnswer::Silent => {
                let seconds = silence.as_secs_f64();
                Error::new(ErrorKind::Timeout, format!("the host did not answer {title} within {seconds} s")).with_hint(
                    "look at the host: this component of it hangs, or its event loop or interpreter lock is blocked",
                )
            }
        };
        let (progress, bell) = signs_of_life(&scope.progress);
        let patience = Patience { silence: silence + ARRIVAL, grace: Duration::ZERO };
        let begin = self.peer.begin(method::COMPONENT, request, reply_bytes, progress);
        let mut open = match patience.wait(scope, &bell, begin, || ()).await.map_err(no_answer)? {
            Ok(open) => open,
            Err(CallError::Lost) => return Err(gone()),
            Err(CallError::Refused(error)) => return Err(error),
        };
        let patience = Patience { grace: CANCEL_PATIENCE, ..patience };
        let canceller = open.canceller();
        let reply = patience.wait(scope, &bell, open.reply(), || canceller.cancel()).await.map_err(no_answer)?;
        reply.unwrap_or_else(|_| Err(gone()))
    }

    fn tell(&self, call: ComponentCall) {
        if let Ok(value) = serde_json::to_value(&call) {
            self.peer.tell(method::COMPONENT, value);
        }
    }

    fn keeps_handles(&self) -> bool {
        true
    }
}

/// From the host to whichever worker of the prompt lane is free.
#[derive(Debug)]
pub(crate) struct PoolLink(pub(crate) Pool);

#[async_trait]
impl Link for PoolLink {
    async fn call(&self, scope: &Scope, call: ComponentCall, body: Vec<u8>, reply_bytes: usize) -> Result<Payload> {
        let doing = call.to_string();
        let payload = Payload { body, ..Payload::of(&call)? };
        let request = Request { method: method::COMPONENT, payload, reply_bytes, doing };
        self.0.call(Lane::Prompt, request, scope).await
    }

    fn tell(&self, _: ComponentCall) {}

    fn keeps_handles(&self) -> bool {
        false
    }
}
