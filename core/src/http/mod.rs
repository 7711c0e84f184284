//! The operations over HTTP: a [`Request`] in, a [`Response`] out, whatever server the host has.
//!
//! `metrics.listen` makes the `Ops` itself listen (feature `http`), on a thread of its own, so that it answers while the
//! host's event loop is busy: see [`ListenerView`]. Beside that there is no server in here. An adapter for ASGI, WSGI, Node's `http` or axum turns its server's request into a
//! [`Request`], awaits [`Responder::respond`] and sends the [`Response`] as it is.
//!
//! ```no_run
//! # async fn example() -> uplifted_ops::Result<()> {
//! use std::net::Ipv4Addr;
//! use uplifted_ops::http::{Request, Responder};
//! use uplifted_ops::ops::Ops;
//!
//! let ops = Ops::builder().root("/opt/uplifted").build()?;
//! let responder = Responder::new(&ops)?;
//! let request = Request::from_target("GET", "/api/v1/store/stats?store=main")
//!     .header("host", "127.0.0.1:7541")
//!     .peer(Ipv4Addr::LOCALHOST);
//! let response = responder.respond(ops.scope(), request).await;
//! assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
//! # Ok(()) }
//! ```
//!
//! # Routes
//!
//! | path | who | answers |
//! | --- | --- | --- |
//! | `/status` | anybody | `{"status": "Server is running", "service", "uptime_seconds"}`: cheap, asks nobody |
//! | `/livez` | anybody | `{"status": "pass"}`: the process answers; 503 and `fail` when a check of the group `live` fails, which none of a dependency can, and when the host [beats](crate::ops::Ops::pulse) no more: `wedged` names the process |
//! | `/readyz` | anybody | `{"status": "pass" \| "warn" \| "unknown" \| "fail"}`, with 503 for the last two: the critical checks of the group `ready`, or all critical ones where no check is in that group |
//! | `/startupz` | anybody | the same: 503 and `unknown` until the checks of the group `startup` have passed once, or those of `/readyz` where no check is in that group |
//! | `/health` | readers | the answer of `health.state`, with 503 for `fail` and `unknown`; `?group=NAME`; as `application/health+json` (draft-inadarei-api-health-check) by the `Accept` header |
//! | `/api/v1/system/status` | readers | the verdict, and what the checks of the group `system` observed, under their names: what the guide's callers read |
//! | `/badge.svg`, `/badge/<check>.svg` | readers | the verdict, or the state of a check, as a picture |
//! | `/metrics` | readers | the page of `metrics.render`, as text or OpenMetrics by the `Accept` header |
//! | `/api/v1` | readers | the operations: name, path, effect, fields, and whether they are on |
//! | `/api/v1/<group>/<operation>` | readers | an operation that reads: `GET` with its fields as a query, or `POST` with them as a JSON object |
//! | the same | holders of the write token | an operation that changes or destroys: `POST` alone |
//!
//! The answer of an operation is its response as JSON with status 200, also when it is a bad one (a damaged backup, a
//! failed check): the header `uplifted-ops-healthy` says `true` or `false`, as exit status 1 does on the command
//! line. An error is `{"error": {"kind", "message", "hint", "retryable", "operation"}}` with the status of its
//! kind, on every route. Every `GET` has its `HEAD`, every path its `OPTIONS`; nothing may be cached; there are no
//! CORS headers, so a page of another site reads nothing.
//!
//! The checks are asked in the background, see [`health`](crate::health): these endpoints tell what was found last and how long
//! ago, wait for nobody, and a flood of probes asks nothing. `/api/v1/health/check` asks at once.
//!
//! A `[[check]]` of kind `http` that asks its own service for the result of the checks would wait for itself, or believe
//! itself for ever: such a request is answered 508 at once.
//!
//! To stop a service (SIGTERM): [`Ops::drain`](crate::ops::Ops::drain) with the time that its load balancer takes to see
//! `/readyz` fail, then stop the server, then [`Ops::close`](crate::ops::Ops::close). `/livez` says `pass` all along.
//!
//! # Access
//!
//! See [`Access`]. In short: who sends `Authorization: Bearer` with `http.token` reads; who sends
//! `http.write_token` reads and writes; without a token, a peer on this machine's loopback reads, if no header says
//! that it came through a proxy, its `Host` is a name of this machine (or one of `http.hosts`), and
//! no page of another site sent it. Writing is off until `http.write_token` is set.
//!
//! # How a binding calls it
//!
//! Make one [`Responder`] for each `Ops` and keep it: it is a cheap clone and `Send + Sync`. Making one fails when a token's variable is not set or a host name is none: let that reach the
//! host's start.
//!
//! | field of [`Request`] | ASGI | WSGI | Node |
//! | --- | --- | --- | --- |
//! | `method` | `scope["method"]` | `REQUEST_METHOD` | `req.method` |
//! | `path` | `scope["path"]`, by [`Request::new`] | `PATH_INFO`, its Latin-1 characters as bytes of UTF-8 | `req.url`, by [`Request::from_target`] |
//! | `query` | `scope["query_string"]` | `QUERY_STRING` | by [`Request::from_target`] |
//! | `mount` | `scope["root_path"]`, by [`Request::mounted_at`] | `SCRIPT_NAME`, by [`Request::mounted_at`] | `req.baseUrl ?? ""` (Express), the prefix (Fastify), by [`Request::mounted_at`] |
//! | `headers` | `scope["headers"]`, pairs of bytes, by [`Request::header`] | `HTTP_*`, `CONTENT_TYPE` (underscores to hyphens) | `req.rawHeaders` in pairs |
//! | `body` | `http.request` messages until `more_body` is false | `wsgi.input`, `CONTENT_LENGTH` bytes of it | the stream |
//! | `peer` | `scope["client"][0]`, `None` for none | `REMOTE_ADDR` | `req.socket.remoteAddress`, never `req.ip` |
//!
//! - [`parse_peer`] reads the peer's text (`::1`, `::ffff:127.0.0.1`, `fe80::1%eth0`); what it cannot read is `None`.
//! - `headers` are all of them: leaving out `X-Forwarded-For` would make everybody behind a proxy a local caller.
//!   For HTTP/2 pass `:authority` as `host`.
//! - Read at most [`MAX_BODY`] + 1 bytes of body and call; the answer is 413. A body is read for `POST` alone.
//! - [`Responder::respond`] runs on any executor and needs none of its own. Dropping its future (the client went
//!   away, the caller's task was cancelled) cancels the operation. [`Responder::respond_blocking`] is the same
//!   for WSGI: call it with the GIL released.
//! - Send status, headers and body as they are; nothing is to be added. In WSGI the status line is
//!   `{status} {reason}`, see [`Response::reason`]. An error of the sending is the server's business.
//! - It never fails and never panics: what goes wrong is a response.

mod access;
mod badge;
mod blocking;
mod check;
mod fields;
#[cfg(feature = "http")]
pub(crate) mod listener;
mod message;
mod pages;
mod probe;
mod refusal;
mod responder;
mod route;
mod standing;
mod target;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use access::Access;
pub(crate) use check::findings;
pub use message::{Request, Response};
pub use responder::Responder;
pub(crate) use standing::Standing;
pub use standing::{ListenerState, ListenerView};

/// The longest body of a request, in bytes (1 MiB).
pub const MAX_BODY: usize = 1024 * 1024;

/// The socket on which a running service answers the command line, in its state folder.
#[cfg(any(feature = "http", feature = "cli"))]
pub(crate) const SOCKET: &str = "ops.sock";

/// The longest query, in bytes (16 KiB).
pub const MAX_QUERY: usize = 16 * 1024;

/// The address in what a server calls the peer: without a zone, an IPv4 address in IPv6 clothes as IPv4.
pub fn parse_peer(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = text.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}
