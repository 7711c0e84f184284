//! Requests of a server of the host.

use std::sync::Arc;

use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;
use serde_json::json;
use uplifted_ops::http::{MAX_BODY, Request, Responder, Response, parse_peer};
use uplifted_ops::ops::Ops;
use uplifted_ops::{Cancel, Scope};

use crate::channel::Channel;
use crate::error::thrown;
use crate::ops::NativeOps;

/// A request as Node read it.
#[napi(object)]
pub struct NativeRequest {
    /// The method.
    pub method: String,
    /// The target of the request line.
    pub target: String,
    /// Where the handler is mounted.
    pub mount: String,
    /// `rawHeaders`: names and values by turns.
    pub headers: Vec<String>,
    /// The address at the other end of the connection.
    pub peer: Option<String>,
}

/// Answers requests. One for each handler: it has the cache of the probes.
#[napi]
pub struct NativeResponder {
    responder: Responder,
    ops: Ops,
    channel: Arc<Channel>,
}

#[napi]
impl NativeResponder {
    /// A responder with the access that the settings give.
    #[napi(constructor)]
    pub fn new(ops: &NativeOps) -> napi::Result<Self> {
        let responder = Responder::new(&ops.ops).map_err(|error| thrown(&error))?;
        Ok(Self { responder, ops: ops.ops.clone(), channel: Arc::clone(&ops.channel) })
    }

    /// Answers a request under the number of a call, with JSON text: `{status, headers, body}`.
    #[napi]
    pub fn respond(&self, call: i64, request: NativeRequest, body: Option<Uint8ArraySlice<'_>>) {
        let mut asked = Request::from_target(request.method, &request.target);
        // Node has read the bytes of a header as characters of the same number: they stay as they are.
        let pairs = request.headers.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        asked.headers.extend(pairs);
        asked.body = body.map(|body| body.to_vec()).unwrap_or_default();
        asked.peer = request.peer.as_deref().and_then(parse_peer);

        let cancel = Cancel::new();
        let pending = self.channel.begin(call, &cancel);
        let scope = Scope { cancel, ..self.ops.scope() };
        let work = self.responder.respond(scope, asked.mounted_at(&request.mount));
        // Refused by an `Ops` that is closed: `pending` is dropped, and has answered.
        let _ = self.ops.spawn(async move { pending.text(Ok(text(&work.await))) });
    }

    /// `/readyz` is 503 from now on.
    #[napi]
    pub fn drain(&self) {
        self.responder.drain();
    }
}

/// How much of a body is to be read: one byte more than what is accepted, so that it is seen to be too much.
#[napi]
pub const BODY_LIMIT: u32 = MAX_BODY as u32 + 1;

fn text(response: &Response) -> String {
    // Each byte as the character of its number ("latin1"): a page may be protobuf, or compressed.
    let body: String = response.body.iter().map(|byte| char::from(*byte)).collect();
    json!({ "status": response.status, "headers": response.headers, "body": body }).to_string()
}
