//! What waits to be written to the pipe: in order, and never much.
//!
//! Calls and replies may carry a block, so they wait for room; two fit. Cancels are few, one for each open
//! call. Progress is bounded by merging: a newer count replaces the older one of the same stage, and a slow
//! reader loses the oldest stages. So a reader that stands still costs two blocks of memory, whatever happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::cancel::ProgressEvent;
use crate::error::Result;

use super::frame::Frame;
use super::protocol::Message;

/// How many calls and replies wait at most.
const ROOM: usize = 2;
/// How many progress events wait at most.
const MAX_PROGRESS: usize = 64;

#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    wake: Notify,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Item>,
    closed: bool,
}

#[derive(Debug)]
enum Item {
    Ready(Frame, Option<OwnedSemaphorePermit>),
    Progress(u64, ProgressEvent),
}

/// The connection is closed, nothing more can be sent.
#[derive(Debug)]
pub(super) struct OutboxClosed;

impl Outbox {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), wake: Notify::new(), room: Arc::new(Semaphore::new(ROOM)) }
    }

    /// Queues a call or a reply once there is room. Dropped before it returns, it has queued nothing.
    pub(super) async fn send(&self, frame: Frame) -> Result<(), OutboxClosed> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| OutboxClosed)?;
        self.push(Item::Ready(frame, Some(permit)))
    }

    /// Queues a small frame at once.
    pub(super) fn send_now(&self, message: &Message) -> Result<(), OutboxClosed> {
        match Frame::new(message, Vec::new()) {
            Ok(frame) => self.push(Item::Ready(frame, None)),
            Err(_) => Ok(()),
        }
    }

    /// Queues how far call `id` is.
    pub(super) fn report(&self, id: u64, event: ProgressEvent) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let supersedes = |item: &Item| {
            matches!(item, Item::Progress(of, last)
                if *of == id && last.stage == event.stage && last.uninterruptible == event.uninterruptible)
        };
        if state.queue.back().is_some_and(supersedes) {
            state.queue.pop_back();
        }
        let waiting = |item: &Item| matches!(item, Item::Progress(..));
        if state.queue.iter().filter(|item| waiting(item)).count() >= MAX_PROGRESS
            && let Some(oldest) = state.queue.iter().position(waiting)
        {
            state.queue.remove(oldest);
        }
        state.queue.push_back(Item::Progress(id, event));
        drop(state);
        self.wake.notify_one();
    }

    /// The next frame to write, and its claim on the room, to be dropped when it is written. `None` once closed
    /// and empty. One reader only.
    pub(super) async fn next(&self) -> Option<(Frame, Option<OwnedSemaphorePermit>)> {
        loop {
            {
                let mut state = self.lock();
                match state.queue.pop_front() {
                    Some(Item::Ready(frame, permit)) => return Some((frame, permit)),
                    Some(Item::Progress(id, event)) => {
                        // A stage name past the limit of a head is nobody's loss.
                        match Frame::new(&Message::Progress { id, event }, Vec::new()) {
                            Ok(frame) => return Some((frame, None)),
                            Err(_) => continue,
                        }
                    }
                    None if state.closed => return None,
                    None => {}
                }
            }
            self.wake.notified().await;
        }
    }

    /// Lets what is queued out, and takes nothing more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.wake.notify_one();
    }

    fn push(&self, item: Item) -> Result<(), OutboxClosed> {
        let mut state = self.lock();
        if state.closed {
            return Err(OutboxClosed);
        }
        state.queue.push_back(item);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
