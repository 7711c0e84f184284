//! Where a Redis is, and who asks it.

use crate::error::{Error, Result};
use crate::value::{Secret, percent_decoded};

/// What `url` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16, tls: bool },
    Unix(String),
}

impl Address {
    /// `redis://[[user]:password@]host[:port][/db]`, `rediss://…`, `unix:///run/redis.sock`.
    pub(super) fn parse(url: &str) -> Result<Self> {
        // Never with the text itself, which may hold a password.
        let wrong = |why: &str| {
            Error::invalid(format!("the url of Redis {why}"))
                .with_hint("write it like redis://127.0.0.1:6379, rediss:// for TLS")
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        if scheme == "unix" {
            let path = rest.split('?').next().unwrap_or_default();
            let place = Place::Unix(path.to_owned());
            return if path.starts_with('/') {
                Ok(Self { place, user: None, password: None })
            } else {
                Err(wrong("names no socket"))
            };
        }
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err(wrong("begins with neither redis:// nor rediss://")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (credentials, server) = match authority.rsplit_once('@') {
            Some((credentials, server)) => (Some(credentials), server),
            None => (None, authority),
        };
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("has a port that is none"))?)
            }
            _ => (server, 6379),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or(("", text))) {
            None => (None, None),
            Some((user, password)) => {
                let text = |part: &str| {
                    percent_decoded(part).ok_or_else(|| wrong("has a user or password that is not percent-encoded"))
                };
                (Some(text(user)?).filter(|user| !user.is_empty()), Some(Secret::new(text(password)?)))
            }
        };
        Ok(Self { place: Place::Tcp { host: host.to_owned(), port, tls }, user, password })
    }

    /// The server, for a message.
    pub(super) fn shown(&self) -> String {
        match &self.place {
            Place::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port, .. } => format!("{host}:{port}"),
            Place::Unix(path) => path.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let tcp = |host: &str, port, tls| Place::Tcp { host: host.to_owned(), port, tls };
        for (url, place, user, password) in [
            ("redis://localhost", tcp("localhost", 6379, false), None, None),
            ("rediss://[::1]:6380/3", tcp("::1", 6380, true), None, None),
            ("redis://[::1]", tcp("::1", 6379, false), None, None),
            ("redis://:p%40ss@h:1?x=1", tcp("h", 1, false), None, Some("p@ss")),
            ("redis://u:a@b@h", tcp("h", 6379, false), Some("u"), Some("a@b")),
            ("redis://hunter2@h", tcp("h", 6379, false), None, Some("hunter2")),
            ("unix:///run/redis.sock?db=1", Place::Unix("/run/redis.sock".to_owned()), None, None),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((&address.place, address.user.as_deref()), (&place, user), "{url}");
            assert_eq!(address.password.as_ref().map(Secret::reveal), password, "{url}");
            assert!(!address.shown().contains('@') && !format!("{address:?}").contains("hunter2"), "{url}");
        }
        for url in ["", "localhost", "http://x", "redis://", "redis://:0", "redis://h:x", "redis://:%zz@h", "unix://x"]
        {
            let error = Address::parse(url).unwrap_err();
            assert!(!error.message().contains("%zz"), "{error}");
        }
    }
}
