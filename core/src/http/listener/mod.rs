//! A server of our own, on a thread of its own, for the address that `metrics.listen` names, and for the command line on
//! `<state>/ops.sock` (feature `http`).
//!
//! It serves what a [`Responder`](super::Responder) answers, under the same [`Access`], and goes on while the host's event
//! loop or interpreter is busy: the thread and its runtime are nobody else's, probes are answered on it at once, and what
//! takes longer is worked out on the threads of the `Ops`.
//!
//! - **One process of a service holds the address**: it has a lock in the state folder, and the others try for it four times
//!   a second, so that one of them takes over when it ends, however it ends. Without a state folder that can be written to,
//!   the address alone decides.
//! - **A stranger who has the address is named**, in the check `listener`, in `status` and in the error. `http.listen_required`
//!   says whether the service does not start then; otherwise it goes on trying.
//! - **A client costs little**: `http.header_seconds` for the head of a request and for its body, 32 KiB of head, one MiB of
//!   body, `http.idle_seconds` between requests, `http.send_seconds` without progress while an answer is read, and
//!   64 KiB a second over all; answers of 128 MiB under way to all clients together, past which the slowest goes. Past `http.max_connections`
//!   the one that has been quiet for longest gives its place to the next, so that a probe gets in.
//! - **It answers for the host**, whose heartbeat it looks at: `/livez` names the process of the service that has been silent for
//!   longest past `health.heartbeat_seconds`.
//! - **A forked child has none of its sockets**, see [`Unforked`](crate::process::Unforked).
//! - **On the socket** the user of this process and root read, and nobody else is answered; there is no token. One process of a
//!   service has it, by a lock like that of the address; without a lock nobody does. A socket that a dead process left is replaced,
//!   and one whose name somebody removed is made again.
//! - At the end it stops accepting at once, so that the next process gets the address, and lets answers out for up to a second.

mod beats;
mod hold;
mod server;
mod stream;

#[cfg(test)]
mod tests;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{Context, Ops};

use self::hold::{At, Held, Outcome, Place};
use super::SOCKET;
use super::access::Access;
use super::check::MAX_SECONDS;
use super::responder::Answers;
use super::standing::{ListenerState, Standing};

/// What is to be listened on, before anybody is served there.
#[derive(Debug)]
pub(crate) struct Listener {
    rooms: Vec<Room>,
}

/// One place, with who may ask there.
#[derive(Debug)]
struct Room {
    place: Place,
    limits: Limits,
    held: Option<Held>,
    standing: Arc<Standing>,
    /// `None` where the kernel says who asks.
    access: Option<Access>,
}

/// What a client may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: usize,
    header: Duration,
    idle: Duration,
    send: Duration,
}

const A_WHILE: Duration = Duration::from_secs(10);
/// What the command line may take, which is one of us.
const OF_THE_SOCKET: Limits = Limits { connections: 32, header: A_WHILE, idle: A_WHILE, send: A_WHILE };

impl Listener {
    /// Looks who has the address of the settings and the socket, and takes what is free; `None` when there is nothing to listen
    /// on.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an address that is none, for limits and tokens that are none; with
    /// `http.listen_required`, [`Refused`](ErrorKind::Refused) when the address cannot be had. A socket that cannot be had is no
    /// error: `status` tells it.
    pub(crate) fn open(context: &Context) -> Result<Option<Self>> {
        let mut rooms: Vec<Room> = Self::on_address(context)?.into_iter().collect();
        if context.settings.http.socket {
            let path = context.state.join(SOCKET);
            let place = Place {
                shown: path.display().to_string(),
                lock: Some(context.state.join("locks").join(format!("{SOCKET}.lock"))),
                at: At::Socket(path),
            };
            rooms.push(Room::open(place, OF_THE_SOCKET, &context.socket, None).0);
        }
        Ok(Some(Self { rooms }).filter(|listener| !listener.rooms.is_empty()))
    }

    fn on_address(context: &Context) -> Result<Option<Room>> {
        let Some(shown) = context.settings.metrics.listen.clone() else { return Ok(None) };
        let http = &context.settings.http;
        let address = resolve(&shown)?;
        let lock = (address.port() != 0).then(|| {
            let name: String =
                address.to_string().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            context.state.join("locks").join(format!("listen-{name}.lock"))
        });
        let limits = Limits {
            connections: http.max_connections,
            header: seconds("http.header_seconds", http.header_seconds)?,
            idle: seconds("http.idle_seconds", http.idle_seconds)?,
            send: seconds("http.send_seconds", http.send_seconds)?,
        };
        if limits.connections == 0 {
            return Err(Error::invalid("http.max_connections is 0: nobody would be served")
                .with_hint("set http.max_connections to 256, or 1 at the least")
                .with_context("setting", "http.max_connections"));
        }
        let place = Place { at: At::Address(address), shown, lock };
        let (room, is_refused) = Room::open(place, limits, &context.listener, Some(Access::from_settings(context)?));
        if is_refused && http.listen_required {
            let message = room.standing.get().map(|view| view.message).unwrap_or_default();
            return Err(Error::new(ErrorKind::Refused, message)
                .with_hint("stop who has it, choose another metrics.listen, or set http.listen_required = false")
                .with_context("setting", "metrics.listen"));
        }
        Ok(Some(room))
    }

    /// Begins to serve, until `ops` is closed or nobody has it any more.
    ///
    /// # Errors
    /// Those of [`Responder::new`](super::Responder::new), and when no thread can be had.
    pub(crate) fn serve(self, ops: &Ops, closing: Cancel) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io("start the runtime of the listener", error))?;
        let mut rooms = Vec::new();
        for room in self.rooms {
            let answers = match &room.access {
                Some(access) => Answers::new(ops, access)?,
                None => Answers::for_own(ops),
            };
            // Told before the thread runs, so that whoever asks after the start knows the port.
            if let Some(held) = &room.held {
                room.standing.set(hold::serving(&room.place, held));
            }
            rooms.push((room, Arc::new(answers)));
        }
        // Closing waits until the places are free again.
        let (counted, weak) = (ops.counted(), ops.downgrade());
        let beats = beats::Beats::new(&ops.context().state, Arc::clone(&ops.context().pulses));
        std::thread::Builder::new()
            .name("uplifted-ops-http".to_owned())
            .spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.spawn_local(beats.keep(rooms.iter().map(|(room, _)| Arc::clone(&room.standing)).collect()));
                local.block_on(&runtime, async {
                    let serve = |(room, answers): (Room, Arc<Answers>)| {
                        let server = server::Server::new(answers, weak.clone(), room.limits);
                        let held = hold::run(room.place, room.held, room.standing, server, closing.clone());
                        tokio::task::spawn_local(held)
                    };
                    let serving: Vec<_> = rooms.into_iter().map(serve).collect();
                    for one in serving {
                        // What panicked took its place with it, and nobody else's.
                        let _ = one.await;
                    }
                });
                drop(counted);
            })
            .map_err(|error| Error::io("start the thread of the listener", error))?;
        Ok(())
    }
}

impl Room {
    /// Tries for the place, and tells how it stands. Whether somebody else has it.
    fn open(place: Place, limits: Limits, standing: &Arc<Standing>, access: Option<Access>) -> (Self, bool) {
        let (held, view) = match hold::attempt(&place) {
            Outcome::Held(held) => (Some(held), None),
            Outcome::Standby => (None, Some(hold::standby(&place, None))),
            Outcome::Refused(why) => (None, Some(hold::refused(&place, &why))),
        };
        let is_refused = view.as_ref().is_some_and(|view| view.state == ListenerState::Refused);
        if let Some(view) = view {
            standing.set(view);
        }
        (Self { place, limits, held, standing: Arc::clone(standing), access }, is_refused)
    }
}

/// The address that `text` names.
pub(super) fn resolve(text: &str) -> Result<SocketAddr> {
    let wrong = |why: String| {
        Error::invalid(format!("metrics.listen is {text:?}: {why}"))
            .with_hint("write it like 127.0.0.1:9464")
            .with_context("setting", "metrics.listen")
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        return Err(wrong("it is no address with a port".to_owned()));
    }
    let found = text.to_socket_addrs().map_err(|error| wrong(error.to_string()))?.next();
    found.ok_or_else(|| wrong("the name has no address".to_owned()))
}

fn seconds(name: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value).ok().filter(|time| !time.is_zero() && value <= MAX_SECONDS).ok_or_else(|| {
        Error::invalid(format!("{name} is {value}"))
            .with_hint(format!("set {name} to more than 0 and at most {MAX_SECONDS}"))
            .with_context("setting", name)
    })
}
