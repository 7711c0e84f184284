//! The way to a server: a datagram socket of either family.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::{UdpSocket, UnixDatagram};

use crate::error::{Error, ErrorKind, Result};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// `host:port`, looked up for each export.
    Udp(String),
    Unix(PathBuf),
}

impl Address {
    /// Reads `host:port`, `udp://host:port` or `unix:///path`.
    pub(super) fn parse(text: &str, resolve: impl Fn(&Path) -> PathBuf) -> Result<Self> {
        let wrong = |what: &str| {
            Err(Error::invalid(format!("the address {text:?} {what}"))
                .with_context("field", "address")
                .with_hint("write \"127.0.0.1:8125\" or \"unix:///var/run/datadog/dsd.socket\""))
        };
        if let Some(path) = text.strip_prefix("unix://") {
            // The system's bound (sockaddr_un, unix(7)).
            return match path.len() {
                0 => wrong("names no socket"),
                1..108 => Ok(Self::Unix(resolve(Path::new(path)))),
                _ => wrong("is too long for a socket"),
            };
        }
        let host = text.strip_prefix("udp://").unwrap_or(text);
        if host.contains("//") {
            return wrong("is of a kind that StatsD does not have");
        }
        match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                Ok(Self::Udp(host.to_owned()))
            }
            _ => wrong("has no port"),
        }
    }

    /// The longest datagram that arrives in one piece: in Fast Ethernet, and in an agent's buffer.
    pub(super) fn usual_packet(&self) -> usize {
        match self {
            Self::Udp(_) => 1_432,
            Self::Unix(_) => 8_192,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host) => f.write_str(host),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A socket that is connected to a server.
pub(super) struct Socket {
    inner: Inner,
    to: String,
}

enum Inner {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    /// Makes one. Of a server over UDP that says nothing of whether it is there.
    pub(super) async fn open(address: &Address) -> Result<Self> {
        let to = address.to_string();
        let unavailable = |error| unavailable(&to, &error);
        let inner = match address {
            Address::Udp(host) => {
                let mut found = tokio::net::lookup_host(host).await.map_err(unavailable)?;
                let server = found.next().ok_or_else(|| {
                    Error::new(ErrorKind::Unavailable, format!("the StatsD server at {to} has no address"))
                        .with_hint("look at the sink's `address`")
                })?;
                let any: SocketAddr = match server {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any).await.map_err(unavailable)?;
                socket.connect(server).await.map_err(unavailable)?;
                Inner::Udp(socket)
            }
            Address::Unix(path) => {
                let socket = UnixDatagram::unbound().map_err(unavailable)?;
                socket.connect(path).map_err(unavailable)?;
                Inner::Unix(socket)
            }
        };
        Ok(Self { inner, to })
    }

    /// Sends a datagram, and waits while a server on this machine has no room for it.
    pub(super) async fn send(&mut self, packet: &[u8]) -> Result<()> {
        let sent = match &self.inner {
            // The system's word that nobody listens comes with the next call; on this machine it is there at once.
            Inner::Udp(socket) => match socket.send(packet).await {
                Ok(_) => socket.take_error().and_then(|error| error.map_or(Ok(()), Err)),
                Err(error) => Err(error),
            },
            Inner::Unix(socket) => socket.send(packet).await.map(drop),
        };
        sent.map_err(|error| unavailable(&self.to, &error))
    }
}

fn unavailable(to: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the StatsD server at {to} cannot be reached: {error}"))
        .with_hint("look at the server; the next export has what was counted meanwhile")
}
