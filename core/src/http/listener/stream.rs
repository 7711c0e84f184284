//! A connection that knows what it waits for, and since when.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::process::Unforked;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The rest of a request's head. So begins every connection.
    Head,
    /// The rest of a request's body.
    Body,
    /// Our own answer.
    Answer,
    /// The client, to take the answer.
    Taking,
    /// The next request.
    Next,
}

/// What the sweeper looks at. Times are in its ticks: to look at a clock for each request would cost more than the rest.
#[derive(Debug)]
pub(super) struct State {
    phase: Cell<Phase>,
    since: Cell<u64>,
    /// How long the answer is that the client takes, in bytes, since when, and how much of it is gone.
    answer: Cell<Answer>,
    now: Rc<Cell<u64>>,
    /// Told when the connection is to end.
    pub(super) hang_up: Notify,
}

/// An answer on its way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answer {
    pub(super) bytes: usize,
    pub(super) since: u64,
    pub(super) taken: usize,
}

impl State {
    pub(super) fn new(now: Rc<Cell<u64>>) -> Self {
        let (phase, since) = (Cell::new(Phase::Head), Cell::new(now.get()));
        Self { phase, since, answer: Cell::default(), now, hang_up: Notify::new() }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.now.get());
    }

    /// The client is to take an answer of so many bytes.
    pub(super) fn hand_over(&self, bytes: usize) {
        self.answer.set(Answer { bytes, since: self.now.get(), taken: 0 });
        self.enter(Phase::Taking);
    }

    /// What it is taking; `None` when it is not.
    pub(super) fn taking(&self) -> Option<Answer> {
        (self.phase() == Phase::Taking).then(|| self.answer.get())
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Since which tick it waits for that.
    pub(super) fn since(&self) -> u64 {
        self.since.get()
    }
}

/// The socket, whose progress is noted.
#[derive(Debug)]
pub(super) struct Stream<S> {
    // Dropped before the socket is closed.
    _mark: Unforked,
    socket: S,
    state: Rc<State>,
}

impl<S: AsRawFd> Stream<S> {
    pub(super) fn new(socket: S, state: Rc<State>) -> Self {
        Self { _mark: Unforked::new(&socket), socket, state }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before && matches!(self.state.phase(), Phase::Next | Phase::Taking) {
            self.state.enter(Phase::Head);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.progressed(&polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.progressed(&polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        if matches!(polled, Poll::Ready(Ok(()))) && self.state.phase() == Phase::Taking {
            self.state.enter(Phase::Next);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S> Stream<S> {
    /// A client that takes an answer slowly, and takes it, is not hung up on.
    fn progressed(&self, polled: &Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let done = match polled {
            Poll::Ready(Ok(count)) => Poll::Ready(Ok(*count)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::from(error.kind()))),
            Poll::Pending => Poll::Pending,
        };
        if let (Poll::Ready(Ok(count @ 1..)), Some(mut answer)) = (&done, self.state.taking()) {
            answer.taken += count;
            self.state.answer.set(answer);
            self.state.enter(Phase::Taking);
        }
        done
    }
}
