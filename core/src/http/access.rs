//! Who may ask: tokens, the loopback, and the two ways in which a browser or a proxy pretends to be on it.

use std::fmt;
use std::net::IpAddr;

use crate::config::reference;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Context;
use crate::value::Secret;

use super::message::{Once, Request};
use super::refusal::Refusal;

/// Who may ask for what, as data. By default: callers on this machine read, and nobody writes.
///
/// - A request with `Authorization: Bearer` and [`Access::token`] reads; with [`Access::write_token`] it reads
///   and writes, from anywhere. A wrong token is refused from anywhere.
/// - A request without a token reads when all of this holds: its peer is on the loopback; no header names a
///   proxy (`Forwarded`, `Via`, `X-Forwarded-…`, `X-Real-IP` and their like), since behind one everybody comes
///   from the loopback; its `Host` is `localhost`, an address of the loopback, or one of [`Access::hosts`], since a page
///   elsewhere can make its own name lead here (DNS rebinding); and neither `Origin` nor `Sec-Fetch-Site` says
///   that a page of another site sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The token for reading.
    pub token: Option<Secret>,
    /// The token for reading and writing. Writing is off without it.
    pub write_token: Option<Secret>,
    /// Names of this machine beside those of the loopback: `ops.internal`, `ops.internal:7541`.
    pub hosts: Vec<String>,
    /// Whether callers on the loopback read without a token.
    pub trust_loopback: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self { token: None, write_token: None, hosts: Vec::new(), trust_loopback: true }
    }
}

impl Access {
    /// What the section `[http]` of the settings says, with references such as `env:NAME` followed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a variable that is not set.
    pub fn from_settings(context: &Context) -> Result<Self> {
        let settings = &context.settings.http;
        let variable = |name: &str| {
            let mut of_name = context.environment.iter().rev().filter(|(other, _)| other == name);
            of_name.next().map(|(_, value)| value.clone())
        };
        let secret = |key: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => reference::resolve_with(text, &context.root, variable)
                .map(Some)
                .map_err(|error| error.while_doing(format!("the setting {key}")).with_context("setting", key)),
        };
        Ok(Self {
            token: secret("http.token", &settings.token)?,
            write_token: secret("http.write_token", &settings.write_token)?,
            hosts: settings.hosts.clone(),
            trust_loopback: settings.trust_loopback,
        })
    }
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grant {
    Read,
    Write,
}

/// [`Access`], ready to decide.
///
/// It keeps no token, only a hash under a key of its own: comparing hashes in constant time tells neither where
/// two tokens differ nor how long ours is.
pub(super) struct Guard {
    key: [u8; 32],
    token: Option<blake3::Hash>,
    write_token: Option<blake3::Hash>,
    hosts: Vec<Host>,
    trust_loopback: bool,
    /// Everybody who gets here was let in before.
    all_read: bool,
}

impl Guard {
    /// For a place where only those arrive who may read.
    #[cfg(feature = "http")]
    pub(super) fn for_own() -> Self {
        Self { key: [0; 32], token: None, write_token: None, hosts: Vec::new(), trust_loopback: true, all_read: true }
    }

    /// # Errors
    /// A token that no header can hold, two that are one, a host that is none.
    pub(super) fn new(access: &Access) -> Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the system gives no random numbers: {error}"))
        })?;
        let hash = |name: &str, token: &Option<Secret>| {
            token.as_ref().map(|token| check_token(name, token).map(|()| hash(&key, token.reveal()))).transpose()
        };
        let (token, write_token) = (hash("http.token", &access.token)?, hash("http.write_token", &access.write_token)?);
        if token.is_some() && token == write_token {
            return Err(Error::invalid("http.token and http.write_token are the same: whoever reads could write")
                .with_hint("give http.write_token a value of its own")
                .with_context("setting", "http.write_token"));
        }
        let hosts = access.hosts.iter().map(|host| {
            Host::parse(host).ok_or_else(|| {
                Error::invalid(format!("http.hosts names {host:?}, which is no host"))
                    .with_hint("write a name such as ops.internal or ops.internal:7541, without a scheme and a path")
                    .with_context("setting", "http.hosts")
            })
        });
        Ok(Self {
            key,
            token,
            write_token,
            hosts: hosts.collect::<Result<_>>()?,
            trust_loopback: access.trust_loopback,
            all_read: false,
        })
    }

    /// Whether a token for writing exists.
    pub(super) fn writing_is_on(&self) -> bool {
        self.write_token.is_some()
    }

    /// What the sender of `request` may do.
    pub(super) fn grant(&self, request: &Request) -> std::result::Result<Grant, Refusal> {
        if self.all_read {
            return Ok(Grant::Read);
        }
        let tokens = self.token.is_some() || self.write_token.is_some();
        // Where we have no token, a bearer token is the host's own affair.
        match if tokens { bearer(request)? } else { None } {
            Some(presented) => self.by_token(presented),
            None => self.by_place(request, tokens).map(|()| Grant::Read),
        }
    }

    fn by_token(&self, presented: &str) -> std::result::Result<Grant, Refusal> {
        let presented = hash(&self.key, presented);
        // Both are compared, whichever fits; comparing two of these hashes takes the same time always.
        let reads = self.token.is_some_and(|token| token == presented);
        let writes = self.write_token.is_some_and(|token| token == presented);
        match (reads, writes) {
            (_, true) => Ok(Grant::Write),
            (true, false) => Ok(Grant::Read),
            (false, false) => Err(Refusal::unauthorised(
                "the token is wrong",
                "send the value of http.token or http.write_token as Authorization: Bearer",
            )),
        }
    }

    /// Whether the sender is on this machine, and no page of a browser that somebody else wrote.
    fn by_place(&self, request: &Request, tokens: bool) -> std::result::Result<(), Refusal> {
        if let Some(reason) = self.stranger(request) {
            return Err(match tokens {
                true => Refusal::unauthorised(reason, "send http.token as Authorization: Bearer"),
                false => Refusal::forbidden(
                    reason,
                    "set http.token and send it as Authorization: Bearer, or ask from the machine itself",
                ),
            });
        }
        let host_is_ours = match request.value("host") {
            Once::Is(host) => Host::parse(host).is_some_and(|host| self.is_ours(&host)),
            Once::Missing | Once::Several => false,
        };
        if !host_is_ours {
            return Err(Refusal::forbidden(
                "the Host header is no name of this machine",
                "ask for localhost or 127.0.0.1, or add the name to http.hosts",
            ));
        }
        if self.another_site_asks(request) {
            return Err(Refusal::forbidden("a page of another site sent this", "send http.token, or ask directly"));
        }
        Ok(())
    }

    /// Why the sender counts as a stranger, if so.
    fn stranger(&self, request: &Request) -> Option<&'static str> {
        if !self.trust_loopback {
            Some("a token is needed, from everywhere")
        } else if !request.peer.is_some_and(|peer| peer.to_canonical().is_loopback()) {
            Some("a token is needed from outside this machine")
        } else if request.headers.iter().any(|(name, _)| names_a_proxy(name)) {
            Some("a token is needed through a proxy")
        } else {
            None
        }
    }

    fn is_ours(&self, host: &Host) -> bool {
        let loopback = host.name == "localhost" || host.address().is_some_and(|address| address.is_loopback());
        let named = |ours: &Host| ours.name == host.name && (ours.port.is_none() || ours.port == host.port);
        loopback || self.hosts.iter().any(named)
    }

    fn another_site_asks(&self, request: &Request) -> bool {
        let fetched = request.values("sec-fetch-site").any(|site| !matches!(site, "same-origin" | "none"));
        let from = request.values("origin").any(|origin| {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            !authority.and_then(Host::parse).is_some_and(|host| self.is_ours(&host))
        });
        fetched || from
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("token", &self.token.is_some())
            .field("write_token", &self.write_token.is_some())
            .field("hosts", &self.hosts)
            .field("trust_loopback", &self.trust_loopback)
            .finish_non_exhaustive()
    }
}

fn hash(key: &[u8; 32], token: &str) -> blake3::Hash {
    blake3::keyed_hash(key, token.as_bytes())
}

/// An empty token would let everybody in, and one with a space never arrives.
fn check_token(name: &str, token: &Secret) -> Result<()> {
    let token = token.reveal();
    if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let what = if token.is_empty() { "is empty" } else { "has characters that no header can hold" };
    Err(Error::invalid(format!("{name} {what}"))
        .with_hint("give it a long random value: `openssl rand -hex 32`")
        .with_context("setting", name))
}

/// The token of `Authorization: Bearer`. Other schemes are the host's own affair.
fn bearer(request: &Request) -> std::result::Result<Option<&str>, Refusal> {
    let value = match request.value("authorization") {
        Once::Missing => return Ok(None),
        Once::Is(value) => value,
        Once::Several => {
            return Err(Refusal::unauthorised("there are several Authorization headers", "send one"));
        }
    };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()))
}

/// Whether a header of this name says that somebody stands between the sender and us.
fn names_a_proxy(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-envoy-external-address",
        "x-cluster-client-ip",
        "x-original-host",
        "x-original-forwarded-for",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
    ];
    // WSGI cannot tell `_` from `-`, and some servers pass both.
    let name = name.trim().to_ascii_lowercase().replace('_', "-");
    name.starts_with("x-forwarded") || NAMES.contains(&name.as_str())
}

/// The host of a `Host` header: a name in lower case, or an address, and maybe a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (address, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let bracketed = text.starts_with('[');
        let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if name.is_empty() || !(bracketed || name.bytes().all(of_a_name)) {
            return None;
        }
        let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            None => None,
            Some(port) if digits(port) => Some(port.parse().ok()?),
            Some(_) => return None,
        };
        // `localhost.` is `localhost`, said completely.
        Some(Self { name: name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(), port })
    }

    fn address(&self) -> Option<IpAddr> {
        self.name.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_strictly() {
        for (text, expected) in [
            ("localhost", Some(("localhost", None))),
            ("LOCALHOST.", Some(("localhost", None))),
            ("localhost:7541", Some(("localhost", Some(7541)))),
            ("127.0.0.1:80", Some(("127.0.0.1", Some(80)))),
            ("[::1]", Some(("::1", None))),
            ("[::1]:7541", Some(("::1", Some(7541)))),
            ("ops_1.internal", Some(("ops_1.internal", None))),
            ("", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[localhost]", None),
            ("[fe80::1%eth0]", None),
            ("localhost:", None),
            ("localhost:80:80", None),
            ("localhost:+80", None),
            ("localhost:65536", None),
            ("a@localhost", None),
            ("localhost/x", None),
            ("localhost evil.example", None),
            ("localhost,evil.example", None),
            ("http://localhost", None),
            ("evil.example#localhost", None),
            ("löcalhost", None),
            ("localhost\0", None),
        ] {
            let host = Host::parse(text);
            let found = host.as_ref().map(|host| (host.name.as_str(), host.port));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn a_guard_keeps_no_token() {
        let access = Access { token: Some(Secret::new("hunter2-hunter2")), ..Access::default() };
        let guard = Guard::new(&access).unwrap();
        assert!(!format!("{access:?} {guard:?}").contains("hunter2"));
        // Two guards of one token hash it differently: a hash that leaks fits nowhere else.
        assert_ne!(guard.token, Guard::new(&access).unwrap().token);
    }

    #[test]
    fn settings_that_let_everybody_in_or_nobody_are_refused() {
        let token = |text: &str| Some(Secret::new(text));
        let refused = |access: Access| Guard::new(&access).unwrap_err().message().to_owned();
        let with = |text: &str| Access { token: token(text), ..Access::default() };
        assert_eq!(refused(with("")), "http.token is empty");
        for text in ["two words", "tab\t", "line\n", "smörgås"] {
            let message = refused(with(text));
            assert_eq!(message, "http.token has characters that no header can hold");
        }
        let same = Access { token: token("same"), write_token: token("same"), ..Access::default() };
        assert!(refused(same).starts_with("http.token and http.write_token are the same"));
        for host in ["", "*", "http://x", "x/y", "x:http"] {
            let access = Access { hosts: vec![host.to_owned()], ..Access::default() };
            assert_eq!(refused(access), format!("http.hosts names {host:?}, which is no host"));
        }
    }
}
