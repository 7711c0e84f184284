//! HTTP/1.1 on the sockets of one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::cancel::Cancel;
use crate::health::own;
use crate::ops::WeakOps;

use super::super::message::{Request, Response};
use super::super::refusal::Refusal;
use super::super::responder::Answers;
use super::super::{MAX_BODY, MAX_QUERY};
use super::Limits;
use super::hold::{Ear, Held};
use super::stream::{Answer, Phase, State, Stream};

/// How often it is looked who has waited for too long.
const TICK: Duration = Duration::from_millis(250);
/// How many bytes of a long answer a client has to take in a second, over all: 64 KiB are half a megabit. Tests wait for less.
const PACE: usize = if cfg!(test) { 1 << 20 } else { 64 << 10 };
/// How many bytes all clients together may be taking. Past it the slowest is hung up on.
const UNDER_WAY: usize = 128 << 20;
/// How many ticks it is given before that.
const GRACE: u64 = 4;
/// How long answers that are under way may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// After so many ticks it is looked whether the socket still has its name.
const LOOK: u64 = 4;
/// How long nobody is accepted when the process has no descriptor left.
const BREATH: Duration = Duration::from_millis(50);
/// The longest head: a query of the longest that is taken, and as much again.
const MAX_HEAD: usize = 2 * MAX_QUERY;
/// The most headers.
const MAX_HEADERS: usize = 100;

/// Serves the connections of one thread.
#[derive(Debug)]
pub(super) struct Server {
    door: Rc<Door>,
    limits: Limits,
    connections: Rc<RefCell<BTreeMap<u64, Rc<State>>>>,
    tick: Rc<Cell<u64>>,
}

/// What is accepted from.
enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted.
enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody at this address.
    Address(IpAddr),
    /// On the socket: the user that this process runs as, or root.
    Own,
    /// On the socket: somebody else, whatever let him in.
    Other,
}

impl Acceptor {
    fn of(ear: Ear) -> io::Result<Self> {
        Ok(match ear {
            Ear::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            Ear::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => {
                socket.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer.ip().to_canonical()))
            }
            Self::Unix(socket) => socket.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// Who connected, which the kernel tells (`SO_PEERCRED`, unix(7)).
fn user_of(stream: &UnixStream) -> Peer {
    let ours = [rustix::process::geteuid().as_raw(), 0];
    match stream.peer_cred() {
        Ok(peer) if ours.contains(&peer.uid()) => Peer::Own,
        _ => Peer::Other,
    }
}

/// What answers.
#[derive(Debug)]
struct Door {
    answers: Arc<Answers>,
    ops: WeakOps,
    /// How long a body may take.
    patience: Duration,
    connections: Rc<RefCell<BTreeMap<u64, Rc<State>>>>,
    tick: Rc<Cell<u64>>,
}

impl Server {
    pub(super) fn new(answers: Arc<Answers>, ops: WeakOps, limits: Limits) -> Self {
        let (connections, tick): (Rc<RefCell<BTreeMap<_, _>>>, Rc<Cell<_>>) = Default::default();
        let door = Door {
            answers,
            ops,
            patience: limits.header,
            connections: Rc::clone(&connections),
            tick: Rc::clone(&tick),
        };
        Self { door: Rc::new(door), limits, connections, tick }
    }

    /// Serves until `closing` is raised. Gives the time to wait when the socket is of no use.
    pub(super) async fn serve(&self, held: Held, closing: &Cancel) -> Duration {
        // Who is ready to answer for the service, asks its checks. The command line has them asked when it wants to know.
        if matches!(held.socket, Ear::Tcp(_))
            && let Some(ops) = self.door.ops.upgrade()
        {
            let _ = ops.watch_health();
        }
        // Dropped in this order, see `Held`.
        let Held { name, mark, socket, lock } = held;
        let Ok(socket) = Acceptor::of(socket) else { return BREATH };
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut number = 0;
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                _ = ticks.tick() => {
                    self.sweep();
                    // Somebody emptied the state folder: a socket without a name is of no use to anybody.
                    if self.tick.get().is_multiple_of(LOOK) && name.as_ref().is_some_and(|name| !name.is_there()) {
                        break;
                    }
                }
                accepted = socket.accept() => match accepted {
                    Ok(accepted) => {
                        number += 1;
                        self.take(number, accepted, closing);
                    }
                    // A client that is gone already is nothing; without a descriptor there is one less to wait for.
                    Err(error) if is_of_the_client(&error) => {}
                    Err(_) => {
                        self.evict();
                        tokio::time::sleep(BREATH).await;
                    }
                },
            }
        }
        drop(name);
        drop(mark);
        drop(socket);
        drop(lock);
        let gone = async {
            while !self.connections.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, gone).await;
        Duration::ZERO
    }

    /// Begins to serve a connection.
    fn take(&self, number: u64, accepted: Accepted, closing: &Cancel) {
        if self.connections.borrow().len() >= self.limits.connections && !self.evict() {
            // All of them wait for answers of ours. Who has none of that may come again.
            return;
        }
        match accepted {
            Accepted::Tcp(socket, ip) => {
                let _ = socket.set_nodelay(true);
                self.begin(number, socket, Peer::Address(ip), closing);
            }
            Accepted::Unix(socket) => {
                let peer = user_of(&socket);
                self.begin(number, socket, peer, closing);
            }
        }
    }

    fn begin<S>(&self, number: u64, socket: S, peer: Peer, closing: &Cancel)
    where
        S: AsyncRead + AsyncWrite + AsRawFd + Unpin + 'static,
    {
        let state = Rc::new(State::new(Rc::clone(&self.tick)));
        self.connections.borrow_mut().insert(number, Rc::clone(&state));
        let (door, connections, closing) = (Rc::clone(&self.door), Rc::clone(&self.connections), closing.clone());
        tokio::task::spawn_local(async move {
            let listed = Listed(number, connections);
            door.converse(socket, peer, state, &closing).await;
            drop(listed);
        });
    }

    /// Hangs up on those who have waited for too long.
    fn sweep(&self) {
        let now = self.tick.get() + 1;
        self.tick.set(now);
        let past = |since: u64| TICK * u32::try_from(now - since).unwrap_or(u32::MAX);
        for state in self.connections.borrow().values() {
            let slow = |answer: Answer| {
                past(answer.since) > self.limits.send + Duration::from_secs((answer.bytes / PACE) as u64)
            };
            let most = match state.phase() {
                Phase::Head => self.limits.header,
                Phase::Next => self.limits.idle,
                Phase::Taking => self.limits.send,
                // The body has a deadline of its own, and an answer takes as long as its operation.
                Phase::Body | Phase::Answer => continue,
            };
            if past(state.since()) > most || state.taking().is_some_and(slow) {
                state.hang_up.notify_one();
            }
        }
        self.door.relieve();
    }

    /// Hangs up on whoever has been quiet for longest; whether there is such a one.
    fn evict(&self) -> bool {
        let mut connections = self.connections.borrow_mut();
        let quiet = connections.iter().filter(|(_, state)| !matches!(state.phase(), Phase::Body | Phase::Answer));
        // Who waits between two requests goes before who is sending one, and then the oldest.
        let Some(number) = quiet.min_by_key(|(number, state)| (state.phase() != Phase::Next, state.since(), **number))
        else {
            return false;
        };
        let number = *number.0;
        if let Some(state) = connections.remove(&number) {
            state.hang_up.notify_one();
        }
        true
    }
}

/// Takes a connection off the list when it ends.
struct Listed(u64, Rc<RefCell<BTreeMap<u64, Rc<State>>>>);

impl Drop for Listed {
    fn drop(&mut self) {
        self.1.borrow_mut().remove(&self.0);
    }
}

fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl Door {
    /// Hangs up on the slowest of those who take an answer, while all together take too much: what they leave lying is our
    /// memory.
    fn relieve(&self) {
        let connections = self.connections.borrow();
        let taking: Vec<(&u64, Answer)> =
            connections.iter().filter_map(|(number, state)| Some((number, state.taking()?))).collect();
        for number in too_slow(taking, self.tick.get()) {
            if let Some(state) = connections.get(&number) {
                state.hang_up.notify_one();
            }
        }
    }

    async fn converse<S>(self: Rc<Self>, socket: S, peer: Peer, state: Rc<State>, closing: &Cancel)
    where
        S: AsyncRead + AsyncWrite + AsRawFd + Unpin,
    {
        let io = TokioIo::new(Stream::new(socket, Rc::clone(&state)));
        let service = service_fn(|request| {
            let (door, state) = (Rc::clone(&self), Rc::clone(&state));
            state.enter(Phase::Answer);
            async move {
                let response = door.answer(request, peer, &state).await;
                state.hand_over(response.body().0.as_ref().map_or(0, Bytes::len));
                Ok::<_, Infallible>(response)
            }
        });
        let mut conversation =
            http1::Builder::new().max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS).serve_connection(io, service);
        // What goes wrong on a connection is the client's affair, and was answered where an answer is possible.
        tokio::select! {
            biased;
            _ = &mut conversation => {
                state.enter(Phase::Head);
                let rest = discard(conversation.into_parts().io.into_inner());
                tokio::select! {
                    _ = tokio::time::timeout(LAST_WORDS, rest) => {}
                    () = state.hang_up.notified() => {}
                    () = closing.cancelled() => {}
                }
            }
            () = state.hang_up.notified() => {}
            () = closing.cancelled() => {
                Pin::new(&mut conversation).graceful_shutdown();
                let _ = tokio::time::timeout(LAST_WORDS, conversation).await;
            }
        }
    }

    async fn answer(&self, request: hyper::Request<Incoming>, peer: Peer, state: &State) -> hyper::Response<Reply> {
        if peer == Peer::Other {
            return sent(stranger());
        }
        let Some(ops) = self.ops.upgrade() else { return sent(stopped()) };
        let is_get = request.method() == hyper::Method::GET && !request.headers().contains_key(own::HEADER);
        if is_get && let Some(response) = self.answers.probe(&ops, request.uri().path()) {
            return sent(response);
        }
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut asked = Request::from_target(head.method.as_str(), target);
        asked.peer = match peer {
            Peer::Address(ip) => Some(ip),
            Peer::Own | Peer::Other => None,
        };
        for (name, value) in &head.headers {
            asked = asked.header(name, value);
        }
        if head.method == hyper::Method::POST {
            state.enter(Phase::Body);
            match tokio::time::timeout(self.patience, read(body)).await {
                Ok(Some(body)) => asked.body = body,
                // The client went away, or is not going to end.
                Ok(None) => return sent(stopped()),
                Err(_) => return sent(Response::empty(408).with("connection", "close").with("content-length", "0")),
            }
            state.enter(Phase::Answer);
        }
        let scope = ops.scope();
        let work = Arc::clone(&self.answers).respond(ops.clone(), scope, asked);
        // On the threads of the `Ops`: to write a page of metrics takes milliseconds, in which probes are to be answered here.
        sent(ops.elsewhere(work).await.unwrap_or_else(|_| stopped()))
    }
}

/// Whom to hang up on, so that what is left to be taken fits [`UNDER_WAY`].
fn too_slow(taking: Vec<(&u64, Answer)>, now: u64) -> Vec<u64> {
    let left = |answer: &Answer| answer.bytes.saturating_sub(answer.taken);
    let mut all: usize = taking.iter().map(|(_, answer)| left(answer)).sum();
    let mut slow: Vec<_> = taking.into_iter().filter(|(_, answer)| now - answer.since >= GRACE).collect();
    // By the bytes of a tick, the slowest first.
    slow.sort_by_key(|(_, answer)| answer.taken as u64 / (now - answer.since));
    let mut chosen = Vec::new();
    for (number, answer) in slow {
        if all <= UNDER_WAY {
            break;
        }
        all -= left(&answer);
        chosen.push(*number);
    }
    chosen
}

/// Reads what a client still sends that was answered already. A connection that is closed with something unread is reset, and
/// the client would see that instead of the answer.
async fn discard<S: AsyncRead + Unpin>(mut stream: Stream<S>) {
    let mut block = vec![0; 16 * 1024];
    while let Ok(1..) = stream.read(&mut block).await {}
}

/// At most one byte more of a body than it may have: that is enough to refuse it.
async fn read(mut body: Incoming) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        let room = (MAX_BODY + 1).saturating_sub(bytes.len());
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if bytes.len() > MAX_BODY {
            break;
        }
    }
    Some(bytes)
}

fn stranger() -> Response {
    let user = rustix::process::geteuid().as_raw();
    Refusal::forbidden(
        format!("this socket answers the user {user} and root"),
        "ask as the user of the service, or as root",
    )
    .into_response()
    .with("connection", "close")
}

fn stopped() -> Response {
    Response::empty(503).with("retry-after", "1").with("connection", "close").with("content-length", "0")
}

fn sent(response: Response) -> hyper::Response<Reply> {
    let mut sent = hyper::Response::new(Reply(Some(Bytes::from(response.body)).filter(|body| !body.is_empty())));
    *sent.status_mut() = hyper::StatusCode::from_u16(response.status).unwrap_or_default();
    for (name, value) in response.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            sent.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    sent
}

/// A body that is there as a whole.
struct Reply(Option<Bytes>);

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_go_until_the_rest_fits() {
        const PAGE: usize = 7 << 20;
        let answer = |taken, since| Answer { bytes: PAGE, since, taken };
        let many = |count: u64, of: &dyn Fn(u64) -> Answer| {
            let numbers: Vec<u64> = (0..count).collect();
            too_slow(numbers.iter().map(|number| (number, of(*number))).collect(), 100)
        };
        assert_eq!(many(18, &|_| answer(0, 0)), [0_u64; 0], "as much as there may be");
        assert_eq!(many(40, &|_| answer(0, 100)), [0_u64; 0], "they have just begun");
        let chosen = many(40, &|number| answer(usize::try_from(number).unwrap() * 1000, 90));
        assert_eq!(chosen.len(), 22, "{chosen:?}");
        assert_eq!(chosen[..3], [0, 1, 2], "{chosen:?}");
        // Who has nearly all of it costs nearly nothing.
        assert_eq!(many(1000, &|_| answer(PAGE - 100_000, 0)), [0_u64; 0]);
    }
}
