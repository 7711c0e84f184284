//! One end of a connection: calls in both directions at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::backup::target::MAX_BLOCK;
use crate::cancel::{Cancel, Progress, Scope};
use crate::clock::SystemClock;
use crate::error::{Error, ErrorBody, ErrorKind, Result};
use crate::remote::Payload;

use super::frame::{self, Frame, MAX_HEAD};
use super::outbox::Outbox;
use super::panics::CatchPanic;
use super::protocol::Message;

/// The blocks that our open calls send and await may take this much together, in KiB. Memory on both sides
/// is bounded by it, and by the two frames of each outbox. So that nobody waits in a circle, only one side calls
/// with blocks from within a call: the worker, for its operation.
const BUDGET_KIB: usize = 2 * MAX_BLOCK / 1024;
/// What a call takes of the budget when no block belongs to it.
const SMALL_CALL_KIB: usize = 32;
/// More open calls than a well-behaved peer can have.
const MAX_SERVING: usize = BUDGET_KIB / SMALL_CALL_KIB + 64;

/// What one side does when it is called.
#[async_trait]
pub(super) trait Service: Send + Sync {
    /// Does it. `scope` is cancelled when the caller cancels or the connection closes.
    async fn serve(&self, peer: &Peer, method: &str, request: Payload, scope: Scope) -> Result<Payload>;
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Closed {
    /// The other side closed it, or ended.
    Ended,
    /// What came was not a message.
    Broken(ErrorBody),
}

/// The connection closed before the answer came.
#[derive(Debug)]
pub(super) struct Lost;

/// One end of a connection. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Peer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    outbox: Outbox,
    /// Our calls that wait for their replies. `None` once closed.
    calls: Mutex<Option<HashMap<u64, Waiting>>>,
    /// Their calls that we work on.
    serving: Mutex<HashMap<u64, Cancel>>,
    served: watch::Sender<usize>,
    next_id: AtomicU64,
    budget: Arc<Semaphore>,
    closed: watch::Sender<Option<Closed>>,
    /// The other side has said that it ends.
    ending: AtomicBool,
    /// End after a call of theirs panicked here.
    end_after_panic: bool,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<Payload>>,
    progress: Progress,
}

impl Peer {
    /// Starts reading and writing on the current runtime. The greetings are behind us.
    pub(super) fn start(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        service: Arc<dyn Service>,
        end_after_panic: bool,
    ) -> Self {
        let peer = Self(Arc::new(Shared {
            outbox: Outbox::new(),
            calls: Mutex::new(Some(HashMap::new())),
            serving: Mutex::default(),
            served: watch::Sender::new(0),
            next_id: AtomicU64::new(1),
            budget: Arc::new(Semaphore::new(BUDGET_KIB)),
            closed: watch::Sender::new(None),
            ending: AtomicBool::new(false),
            end_after_panic,
        }));
        tokio::spawn(peer.clone().write_all(writer));
        tokio::spawn(peer.clone().read_all(BufReader::with_capacity(64 * 1024, reader), service));
        peer
    }

    /// Starts a call. `reply_bytes` is the largest block that the answer may hold. Waits while the blocks of
    /// other calls are under way.
    pub(super) async fn begin(
        &self,
        method: &str,
        request: Payload,
        reply_bytes: usize,
        progress: Progress,
    ) -> Result<OpenCall, CallError> {
        let kib = (request.body.len().max(reply_bytes).div_ceil(1024)).clamp(SMALL_CALL_KIB, BUDGET_KIB);
        let budget = Arc::clone(&self.0.budget).acquire_many_owned(kib as u32).await.map_err(|_| Lost)?;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let message = Message::Call { id, method: method.to_owned(), params: request.value };
        let frame = Frame::new(&message, request.body)?;
        let (sender, receiver) = oneshot::channel();
        match self.calls().as_mut() {
            Some(calls) => calls.insert(id, Waiting { reply: sender, progress }),
            None => return Err(Lost.into()),
        };
        let mut call = OpenCall { peer: self.clone(), id, reply: receiver, sent: false, done: false, _budget: budget };
        self.0.outbox.send(frame).await.map_err(|_| Lost)?;
        call.sent = true;
        Ok(call)
    }

    /// Tells the other side something without waiting for an answer: for `Drop`.
    pub(super) fn tell(&self, method: &str, value: Value) {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let _ = self.0.outbox.send_now(&Message::Call { id, method: method.to_owned(), params: value });
    }

    /// Sends what is queued, then closes our direction: the other side sees the end.
    pub(super) fn close(&self) {
        self.0.outbox.close();
    }

    /// Returns when the connection is over, with the reason.
    pub(super) async fn closed(&self) -> Closed {
        let mut closed = self.0.closed.subscribe();
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(Closed::Ended),
            Err(_) => Closed::Ended,
        }
    }

    /// Whether another call can be made.
    pub(super) fn is_open(&self) -> bool {
        self.0.closed.borrow().is_none() && !self.0.ending.load(Ordering::SeqCst)
    }

    /// Returns when none of their calls is being worked on.
    pub(super) async fn idle(&self) {
        let _ = self.0.served.subscribe().wait_for(|count| *count == 0).await;
    }

    async fn write_all(self, mut writer: impl AsyncWrite + Unpin) {
        while let Some((frame, room)) = self.0.outbox.next().await {
            if frame.write(&mut writer).await.is_err() {
                // The other side is gone; reading says so and why.
                self.0.outbox.close();
                return;
            }
            drop(room);
        }
        let _ = writer.shutdown().await;
    }

    async fn read_all(self, mut reader: impl AsyncRead + Unpin, service: Arc<dyn Service>) {
        let reason = loop {
            match self.read_one(&mut reader, &service).await {
                Ok(true) => {}
                Ok(false) => break Closed::Ended,
                Err(error) => break Closed::Broken(error.to_body()),
            }
        };
        self.0.closed.send_replace(Some(reason));
        self.0.outbox.close();
        self.0.budget.close();
        // Their senders drop: every waiting call learns that its answer is lost.
        drop(self.calls().take());
        for cancel in self.serving().values() {
            cancel.cancel();
        }
    }

    async fn read_one(&self, reader: &mut (impl AsyncRead + Unpin), service: &Arc<dyn Service>) -> Result<bool> {
        let Some((head, body)) = frame::read(reader, MAX_HEAD).await? else { return Ok(false) };
        match Message::parse(&head)? {
            Message::Call { id, method, params } => {
                self.accept(id, method, Payload { value: params, body }, service)?;
            }
            Message::Reply { id, ok, error, ending } => {
                if ending {
                    self.0.ending.store(true, Ordering::SeqCst);
                }
                // An answer to what nobody waits for any more is dropped.
                if let Some(waiting) = self.calls().as_mut().and_then(|calls| calls.remove(&id)) {
                    let result = match error {
                        None => Ok(Payload { value: ok, body }),
                        Some(error) => Err(Error::from(error)),
                    };
                    let _ = waiting.reply.send(result);
                }
            }
            Message::Cancel { id } => {
                if let Some(cancel) = self.serving().get(&id) {
                    cancel.cancel();
                }
            }
            Message::Progress { id, event } => {
                let progress =
                    self.calls().as_ref().and_then(|calls| calls.get(&id)).map(|waiting| waiting.progress.clone());
                if let Some(progress) = progress {
                    // The sink is the caller's code: its panic must not end the connection.
                    let report = std::panic::AssertUnwindSafe(|| progress.report(event));
                    let _ = std::panic::catch_unwind(report);
                }
            }
        }
        Ok(true)
    }

    /// Starts working on a call of theirs.
    fn accept(&self, id: u64, method: String, request: Payload, service: &Arc<dyn Service>) -> Result<()> {
        let cancel = Cancel::new();
        {
            let mut serving = self.serving();
            if serving.len() >= MAX_SERVING || serving.contains_key(&id) {
                return Err(Error::new(ErrorKind::Corrupt, format!("the other process made call {id} out of order")));
            }
            serving.insert(id, cancel.clone());
            self.0.served.send_replace(serving.len());
        }
        let (peer, service) = (self.clone(), Arc::clone(service));
        let reporter = self.clone();
        let scope = Scope {
            clock: Arc::new(SystemClock),
            cancel,
            progress: Progress::new(move |event| reporter.0.outbox.report(id, event)),
        };
        tokio::spawn(async move {
            let worked = CatchPanic::new(service.serve(&peer, &method, request, scope)).await;
            let ending = worked.is_err() && peer.0.end_after_panic;
            peer.reply(id, worked.and_then(|result| result), ending).await;
            let mut serving = peer.serving();
            serving.remove(&id);
            peer.0.served.send_replace(serving.len());
        });
        Ok(())
    }

    async fn reply(&self, id: u64, result: Result<Payload>, ending: bool) {
        let framed = result.and_then(|payload| {
            Frame::new(&Message::Reply { id, ok: payload.value, error: None, ending }, payload.body)
        });
        let framed = framed.or_else(|error| {
            let reply = Message::Reply { id, ok: Value::Null, error: Some(bounded(error.to_body())), ending };
            Frame::new(&reply, Vec::new())
        });
        if let Ok(frame) = framed {
            let _ = self.0.outbox.send(frame).await;
        }
        if ending {
            self.0.outbox.close();
        }
    }

    fn calls(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiting>>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serving(&self) -> MutexGuard<'_, HashMap<u64, Cancel>> {
        self.0.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps an error below the limit of a head, whatever a component put into it.
fn bounded(mut body: ErrorBody) -> ErrorBody {
    const MOST: usize = 64 * 1024;
    let cut = |text: &mut String| {
        if text.len() > MOST {
            text.truncate((0..=MOST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
            text.push('…');
        }
    };
    cut(&mut body.message);
    body.hint.iter_mut().for_each(cut);
    body.causes.truncate(16);
    body.causes.iter_mut().for_each(cut);
    while body.context.len() > 64 {
        body.context.pop_last();
    }
    body.context.values_mut().for_each(cut);
    body
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The connection is closed.
    Lost,
    /// It was refused on this side already.
    Refused(Error),
}

impl From<Lost> for CallError {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// A call under way. Dropped before the answer came, it cancels the other side's work.
#[derive(Debug)]
pub(super) struct OpenCall {
    peer: Peer,
    id: u64,
    reply: oneshot::Receiver<Result<Payload>>,
    sent: bool,
    done: bool,
    _budget: OwnedSemaphorePermit,
}

impl OpenCall {
    /// The answer. May be dropped and called again.
    pub(super) async fn reply(&mut self) -> Result<Result<Payload>, Lost> {
        let reply = (&mut self.reply).await;
        self.done = true;
        reply.map_err(|_| Lost)
    }

    /// Asks the other side to stop. The answer still comes.
    pub(super) fn cancel(&self) {
        self.canceller().cancel();
    }

    /// What asks the other side to stop while the answer is awaited.
    pub(super) fn canceller(&self) -> Canceller {
        Canceller { peer: self.peer.clone(), id: self.id }
    }
}

/// Cancels a call under way.
pub(super) struct Canceller {
    peer: Peer,
    id: u64,
}

impl Canceller {
    /// Asks the other side to stop.
    pub(super) fn cancel(&self) {
        let _ = self.peer.0.outbox.send_now(&Message::Cancel { id: self.id });
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.done {
            if let Some(calls) = self.peer.calls().as_mut() {
                calls.remove(&self.id);
            }
            if self.sent {
                self.cancel();
            }
        }
    }
}
