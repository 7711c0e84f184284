//! [`Request`] and [`Response`]: plain data that every server's own types are turned into and out of.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

use super::target;

/// A request as the host's server read it. Nothing in it is trusted.
///
/// The peer, and whether a proxy is named in the headers, decide about access: fill in [`Request::peer`] and
/// [`Request::headers`] honestly and completely. Prints without the values of headers and without the body.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The method as it was sent: `GET`.
    pub method: String,
    /// The path below [`Request::mount`], percent-decoded once: `/api/v1/store/stats`.
    pub path: String,
    /// What stands behind the `?`, not decoded, without the `?`. Empty when there is nothing.
    pub query: String,
    /// Names in any case, in the order they came, doubled ones twice. Bytes of a value are the characters of the
    /// same number (Latin-1), as RFC 9110 has it.
    pub headers: Vec<(String, String)>,
    /// The whole body. A binding stops reading at [`MAX_BODY`](super::MAX_BODY) + 1 bytes; what it has then is
    /// enough to refuse the request.
    pub body: Vec<u8>,
    /// The address at the other end of the connection, as the socket says it: never one that a header names.
    /// `None` for a Unix socket and where the server does not tell; such a peer is a stranger.
    pub peer: Option<IpAddr>,
    /// Where the responder is mounted (ASGI `root_path`, WSGI `SCRIPT_NAME`, Express `baseUrl`), for the paths
    /// in the index. Empty at the root.
    pub mount: String,
}

impl Request {
    /// A request with the target of its request line, path and query still encoded: `/status`, `/a%20b?x=1`.
    pub fn from_target(method: impl Into<String>, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // What cannot be decoded stays as it is, and is no path of ours.
        let path = target::decode(path, false).unwrap_or_else(|| path.to_owned());
        Self { query: query.to_owned(), ..Self::new(method, path) }
    }

    /// A request with a path that is decoded already, as ASGI and WSGI have it.
    pub fn new(method: impl Into<String>, path: impl Into<String>) -> Self {
        Self { method: method.into(), path: path.into(), ..Self::default() }
    }

    /// Adds a header; text and bytes are both welcome.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((latin1(name.as_ref()), latin1(value.as_ref())));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Says that the body is longer than [`MAX_BODY`](super::MAX_BODY), for a server that stops reading there.
    #[must_use]
    pub fn body_too_long(mut self) -> Self {
        self.body = vec![0; super::MAX_BODY + 1];
        self
    }

    /// Sets the peer.
    #[must_use]
    pub fn peer(mut self, peer: impl Into<IpAddr>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    /// Says where the responder is mounted. The path may still begin with that prefix (ASGI, Fastify) or not
    /// (WSGI, Express): it is taken off where it stands.
    #[must_use]
    pub fn mounted_at(mut self, mount: &str) -> Self {
        let mount = mount.trim_end_matches('/');
        let below = self.path.strip_prefix(mount).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        if let Some(below) = below.map(str::to_owned) {
            self.path = if below.is_empty() { "/".to_owned() } else { below };
        }
        self.mount = mount.to_owned();
        self
    }

    /// The values of the headers called `name`, in any case.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.headers.iter().filter(move |(other, _)| other.trim().eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.trim())
    }

    /// The value of a header that may be there once.
    pub(super) fn value<'a>(&'a self, name: &'a str) -> Once<'a> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (None, _) => Once::Missing,
            (Some(value), None) => Once::Is(value),
            (Some(_), Some(_)) => Once::Several,
        }
    }
}

/// What a header that may be there once says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Once<'a> {
    Missing,
    Is(&'a str),
    /// Whoever stands between us and the sender may have taken either.
    Several,
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &crate::config::redact::text(&self.query))
            .field("headers", &names)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("peer", &self.peer)
            .field("mount", &self.mount)
            .finish()
    }
}

/// What to answer. Send it as it is: the headers are complete, `content-length` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, each at most once. Names and values are visible ASCII and spaces: nothing that a
    /// caller sent is in them.
    pub headers: Vec<(&'static str, String)>,
    /// The body. Empty for `HEAD`, whose `content-length` is that of the `GET`.
    pub body: Vec<u8>,
}

impl Response {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", value.to_string())
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The value of the header called `name`, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// The phrase that goes with the status, for servers that want one: `200 OK` in WSGI.
    pub fn reason(&self) -> &'static str {
        match self.status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            507 => "Insufficient Storage",
            508 => "Loop Detected",
            _ => "Unknown",
        }
    }
}
