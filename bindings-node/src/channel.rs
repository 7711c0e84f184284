//! The one way back to an event loop: answers and progress, by the number of their call.
//!
//! One threadsafe function serves all calls of an `Ops`. It is weak: what keeps the process while a call runs is
//! on the other side, where a call begins and ends on one thread.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};
use uplifted_ops::embed::Answered;
use uplifted_ops::{Cancel, Error, ErrorKind, Progress, ProgressEvent};

use crate::error;

/// What is delivered: the call, what it is, and JSON text. The words are those of `lib/calls.ts`.
type Arguments = FnArgs<(i64, &'static str, String)>;
/// The JavaScript function that everything is delivered to.
pub(crate) type Deliver = Function<'static, Arguments, ()>;

/// Calls of one `Ops` that have not been answered yet, and the way to answer them.
pub(crate) struct Channel {
    function: ThreadsafeFunction<Delivery, (), Arguments, Status, false, true>,
    running: Mutex<HashMap<i64, Cancel>>,
}

/// What is on its way to the event loop.
enum Delivery {
    /// The end of a call.
    Answer { call: i64, word: &'static str, text: String },
    /// Progress is waiting to be fetched.
    Progress { call: i64, inbox: Arc<Inbox> },
}

impl Channel {
    /// A channel to `deliver`, to be made on its thread.
    pub(crate) fn new(deliver: &Deliver) -> Result<Arc<Self>> {
        let function =
            deliver.build_threadsafe_function::<Delivery>().weak::<true>().build_callback(|context| {
                Ok(FnArgs::from(match context.value {
                    Delivery::Answer { call, word, text } => (call, word, text),
                    Delivery::Progress { call, inbox } => (call, "progress", inbox.take()),
                }))
            })?;
        Ok(Arc::new(Self { function, running: Mutex::default() }))
    }

    /// Begins a call: what is returned answers it, even when it is dropped.
    pub(crate) fn begin(self: &Arc<Self>, call: i64, cancel: &Cancel) -> Pending {
        self.running().insert(call, cancel.clone());
        Pending { channel: Arc::clone(self), call, answered: false }
    }

    /// Asks a call to stop.
    pub(crate) fn cancel(&self, call: i64) {
        if let Some(cancel) = self.running().get(&call) {
            cancel.cancel();
        }
    }

    /// Asks every call to stop.
    pub(crate) fn cancel_all(&self) {
        for cancel in self.running().values() {
            cancel.cancel();
        }
    }

    /// Where the progress of a call goes.
    pub(crate) fn progress(self: &Arc<Self>, call: i64) -> Progress {
        let (channel, inbox) = (Arc::clone(self), Arc::new(Inbox::default()));
        Progress::new(move |event| {
            if inbox.push(event) {
                channel.send(Delivery::Progress { call, inbox: Arc::clone(&inbox) });
            }
        })
    }

    fn send(&self, delivery: Delivery) {
        // Refused only by an event loop that has ended: nobody waits there.
        let _ = self.function.call(delivery, ThreadsafeFunctionCallMode::NonBlocking);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<i64, Cancel>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that somebody waits for.
pub(crate) struct Pending {
    channel: Arc<Channel>,
    call: i64,
    answered: bool,
}

impl Pending {
    /// Answers with the response of an operation.
    pub(crate) fn answer(mut self, result: uplifted_ops::Result<Answered>) {
        match result {
            Ok(answer) if answer.healthy => self.send("ok", answer.response),
            Ok(answer) => self.send("unhealthy", answer.response),
            Err(error) => self.send("error", error::text(&error)),
        }
    }

    /// Answers with JSON text.
    pub(crate) fn text(mut self, result: uplifted_ops::Result<String>) {
        match result {
            Ok(text) => self.send("ok", text),
            Err(error) => self.send("error", error::text(&error)),
        }
    }

    fn send(&mut self, word: &'static str, text: String) {
        self.answered = true;
        self.channel.running().remove(&self.call);
        self.channel.send(Delivery::Answer { call: self.call, word, text });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            let error = Error::new(ErrorKind::Cancelled, "the Ops was closed");
            self.send("error", error::text(&error));
        }
    }
}

/// Progress that waits for the event loop. Events of one stage become one, so a loop that is slow falls behind by
/// a stage and never by a heap of events.
#[derive(Default)]
struct Inbox(Mutex<VecDeque<ProgressEvent>>);

impl Inbox {
    /// Adds an event; says whether the inbox was empty, so that somebody must be told.
    fn push(&self, event: ProgressEvent) -> bool {
        let mut events = self.lock();
        let was_empty = events.is_empty();
        match events.back_mut() {
            Some(last) if last.stage == event.stage && last.uninterruptible == event.uninterruptible => *last = event,
            _ => events.push_back(event),
        }
        was_empty
    }

    /// Takes all of them, as the JSON text of a list.
    fn take(&self) -> String {
        let events = std::mem::take(&mut *self.lock());
        // Numbers, strings and a flag: it is always JSON.
        serde_json::to_string(&events).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ProgressEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
