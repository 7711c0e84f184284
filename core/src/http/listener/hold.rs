//! Which process has the address, or the socket, and what it does with it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::fs::{self, NamedSocket, ProcessLock, SocketName};
use crate::process::{Unforked, port};

use super::super::standing::{ListenerState, ListenerView, Standing};
use super::server::Server;

/// How many may wait to be accepted. The system may allow fewer (`net.core.somaxconn`).
const QUEUE: i32 = 4096;

/// How often a process that stands by tries for the lock.
const LOOK: Duration = Duration::from_millis(250);
/// How often an address that somebody else has is tried.
const RETRY: Duration = Duration::from_secs(1);
/// After so many tries it is looked up again who has the address.
const LOOK_UP: u32 = 30;

/// Where to listen.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) at: At,
    /// As it is told.
    pub(super) shown: String,
    /// The lock of this place, which the processes of a service share. None is needed for a port that the system chooses.
    pub(super) lock: Option<PathBuf>,
}

/// What there is to listen on.
#[derive(Debug, Clone)]
pub(super) enum At {
    Address(SocketAddr),
    Socket(PathBuf),
}

/// The place, held by this process.
#[derive(Debug)]
pub(super) struct Held {
    // Dropped in this order: a name must lead to somebody who listens, no child may close what is somebody else's by then, and
    // nobody may come for the place before it is free.
    pub(super) name: Option<NamedSocket>,
    pub(super) mark: Unforked,
    pub(super) socket: Ear,
    pub(super) lock: Option<ProcessLock>,
}

/// What listens.
#[derive(Debug)]
pub(super) enum Ear {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Outcome {
    Held(Held),
    /// Another process of this service has the lock.
    Standby,
    /// The system says no.
    Refused(Why),
}

/// Why a place is not to be had.
#[derive(Debug)]
pub(super) struct Why {
    message: String,
    /// Who has it, where that can be seen.
    pid: Option<u32>,
}

/// Tries for the place once.
pub(super) fn attempt(place: &Place) -> Outcome {
    let lock = match place.lock.as_deref().map(lock) {
        None => Ok(None),
        Some(Ok(None)) => return Outcome::Standby,
        Some(taken) => taken,
    };
    match &place.at {
        // A state folder that cannot be written to is no reason not to be watched.
        At::Address(address) => on_address(*address, lock.unwrap_or_default()),
        // And without a lock two would take the name from each other.
        At::Socket(path) => lock
            .and_then(|lock| on_socket(path, lock))
            .map_or_else(|error| Outcome::Refused(Why { message: error.to_string(), pid: None }), Outcome::Held),
    }
}

/// The lock; `None` when another process has it.
fn lock(path: &Path) -> Result<Option<ProcessLock>> {
    path.parent().map_or(Ok(()), |folder| fs::create_dir_all(folder, fs::PRIVATE_DIR))?;
    ProcessLock::try_acquire(path)
}

fn on_address(address: SocketAddr, lock: Option<ProcessLock>) -> Outcome {
    // The standard library sets SO_REUSEADDR: connections of a predecessor that linger are not in the way, and another socket
    // that listens is.
    let bound = TcpListener::bind(address).and_then(|socket| {
        // Once more, with a longer queue: the standard library's holds 128, and who comes past that is reset (listen(2)).
        rustix::net::listen(&socket, QUEUE)?;
        socket.set_nonblocking(true).map(|()| socket)
    });
    match bound {
        Ok(socket) => Outcome::Held(Held { name: None, mark: Unforked::new(&socket), socket: Ear::Tcp(socket), lock }),
        Err(error) => {
            let owner = (error.kind() == io::ErrorKind::AddrInUse).then(|| port::in_the_way_of(address)).flatten();
            let message = owner
                .as_ref()
                .map_or_else(|| error.to_string(), |owner| format!("{owner} listens on {}", owner.address));
            Outcome::Refused(Why { message, pid: owner.and_then(|owner| owner.pid) })
        }
    }
}

fn on_socket(path: &Path, lock: Option<ProcessLock>) -> Result<Held> {
    let (socket, name) = NamedSocket::listen(path)?;
    socket.set_nonblocking(true).map_err(|error| Error::io(format!("listen on {path:?}"), error))?;
    Ok(Held { name: Some(name), mark: Unforked::new(&socket), socket: Ear::Unix(socket), lock })
}

pub(super) fn serving(place: &Place, held: &Held) -> ListenerView {
    let address = match &held.socket {
        Ear::Tcp(socket) => socket.local_addr().map_or_else(|_| place.shown.clone(), |address| address.to_string()),
        Ear::Unix(_) => place.shown.clone(),
    };
    ListenerView {
        message: format!("this process answers on {address}"),
        address,
        state: ListenerState::Serving,
        pid: Some(std::process::id()),
    }
}

pub(super) fn standby(place: &Place, holder: Option<u32>) -> ListenerView {
    let pid = match &place.at {
        At::Address(address) => port::in_the_way_of(*address).and_then(|owner| owner.pid),
        At::Socket(_) => holder,
    };
    let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    let message = format!("{who} of this service answers on {}, and this one takes over when it ends", place.shown);
    ListenerView { address: place.shown.clone(), state: ListenerState::Standby, pid, message }
}

pub(super) fn refused(place: &Place, why: &Why) -> ListenerView {
    let shown = &place.shown;
    let message = format!("{shown} is not to be had: {}", why.message);
    ListenerView { address: shown.clone(), state: ListenerState::Refused, pid: why.pid, message }
}

/// The process that has the socket, which the kernel tells whoever connects (`SO_PEERCRED`, unix(7)).
async fn holder(at: &At) -> Option<u32> {
    let At::Socket(path) = at else { return None };
    let stream = UnixStream::connect(SocketName::of(path).ok()?.as_path()).await.ok()?;
    u32::try_from(stream.peer_cred().ok()?.pid()?).ok()
}

/// Gets the place, sooner or later, and serves until `closing` is raised.
pub(super) async fn run(
    place: Place,
    mut held: Option<Held>,
    standing: Arc<Standing>,
    server: Server,
    closing: Cancel,
) {
    let mut tries = 0_u32;
    while !closing.is_cancelled() {
        let outcome = held.take().map_or_else(|| attempt(&place), Outcome::Held);
        let was = standing.get().map(|view| view.state);
        let wait = match outcome {
            Outcome::Held(held) => {
                standing.set(serving(&place, &held));
                tries = 0;
                server.serve(held, &closing).await
            }
            Outcome::Standby => {
                // Whose process it is costs a look at all of them.
                if was != Some(ListenerState::Standby) || tries.is_multiple_of(LOOK_UP) {
                    standing.set(standby(&place, holder(&place.at).await));
                }
                LOOK
            }
            Outcome::Refused(why) => {
                standing.set(refused(&place, &why));
                RETRY
            }
        };
        tries = tries.wrapping_add(1);
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    let message = format!("nobody in this process answers on {} any more", place.shown);
    standing.set(ListenerView { address: place.shown, state: ListenerState::Stopped, pid: None, message });
}
