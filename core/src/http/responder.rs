//! From a request to a response.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::health::{Check, CheckRequest, State};
use crate::api::metrics::{Render, RenderRequest};
use crate::cancel::Scope;
use crate::error::Result;
use crate::health::{HealthState, Phase, own};
use crate::metrics::negotiate;
use crate::ops::{Operation, Ops};
use crate::worker::CatchPanic;

use super::access::{Access, Grant, Guard};
use super::blocking::block_on;
use super::fields::{Field, fields_of, read_query};
use super::message::{Once, Request, Response};
use super::probe;
use super::refusal::Refusal;
use super::route::{Place, Routes, Served};
use super::{MAX_BODY, MAX_QUERY};

/// Answers requests with the operations of an [`Ops`]. A handle: clones are cheap and share the cache.
#[derive(Debug, Clone)]
pub struct Responder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ops: Ops,
    guard: Guard,
    routes: Routes,
    health_fields: Vec<Field>,
    /// What the service's own checks say in their requests, see [`own`].
    mark: String,
    /// The process that made it: a fork of it asks no checks, and must wait for no lock that a thread of its parent held.
    pid: u32,
}

impl Responder {
    /// A responder with the access that the section `[http]` of the settings gives. From now on the checks are asked
    /// in the background, see [`Ops::watch_health`].
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for `token = "env:NAME"` whose variable is not set,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a token or a host that can be none.
    pub fn new(ops: &Ops) -> Result<Self> {
        Self::with_access(ops, &Access::from_settings(ops.context())?)
    }

    /// A responder with the access that the code gives, whatever the settings say.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a token or a host that can be none.
    pub fn with_access(ops: &Ops, access: &Access) -> Result<Self> {
        let guard = Guard::new(access)?;
        // What cannot be asked is unknown, and so is not ready.
        let _ = ops.watch_health();
        Ok(Self(Arc::new(Inner {
            guard,
            routes: Routes::of(ops),
            health_fields: fields_of(&schemars::schema_for!(CheckRequest)),
            mark: own::mark(&ops.context().state),
            ops: ops.clone(),
            pid: std::process::id(),
        })))
    }

    /// Says that the service is about to stop: from now on `/readyz` is 503, so that no more work is sent here,
    /// while everything else is answered as before. [`Ops::drain`] says the same, and waits.
    pub fn drain(&self) {
        self.0.ops.context().watch.drain();
    }

    /// Answers `request`. Never fails and never panics; runs on any executor. Dropped, it cancels the operation.
    pub fn respond(&self, scope: Scope, request: Request) -> impl Future<Output = Response> + Send + 'static {
        let inner = Arc::clone(&self.0);
        async move {
            let head = request.method == "HEAD";
            let answered = CatchPanic::new(inner.answer(scope, &request)).await;
            let response = answered.unwrap_or_else(|panic| Err(Refusal::from(panic)));
            finish(response.unwrap_or_else(Refusal::into_response), head)
        }
    }

    /// The same for a host without `async`. Blocks the thread, whatever it is.
    pub fn respond_blocking(&self, scope: Scope, request: Request) -> Response {
        block_on(self.respond(scope, request))
    }
}

/// What every response has.
fn finish(response: Response, head: bool) -> Response {
    let mut response = response.with("cache-control", "no-store").with("x-content-type-options", "nosniff");
    if response.status != 204 {
        let length = response.body.len().to_string();
        response = response.with("content-length", length);
    }
    if head {
        response.body.clear();
    }
    response
}

impl Inner {
    async fn answer(&self, scope: Scope, request: &Request) -> Result<Response, Refusal> {
        let place = self.routes.find(&request.path)?;
        let served = match place {
            Place::Operation(number) => Some(self.routes.operation(number)),
            _ => None,
        };
        let allow = match served {
            None => "GET, HEAD, OPTIONS",
            Some(served) if served.writes() => "OPTIONS, POST",
            Some(_) => "GET, HEAD, OPTIONS, POST",
        };
        let method = request.method.as_str();
        if method == "OPTIONS" {
            return Ok(Response::empty(204).with("allow", allow));
        }
        let grant = match place {
            Place::Status | Place::Livez | Place::Readyz | Place::Startupz => None,
            _ => Some(self.guard.grant(request)?),
        };
        if let Some(served) = served {
            self.may(served, grant)?;
        }
        if !allow.split(", ").any(|allowed| allowed == method) {
            return Err(Refusal::method(allow, "use a method of the header Allow"));
        }
        if request.body.len() > MAX_BODY {
            return Err(Refusal::body_too_long());
        }
        if request.query.len() > MAX_QUERY {
            return Err(Refusal::query_too_long());
        }
        let runs_checks = match place {
            Place::Readyz | Place::Startupz | Place::Health | Place::System => true,
            Place::Operation(number) => self.routes.operation(number).entry.name == Check::NAME,
            _ => false,
        };
        if runs_checks && request.values(own::HEADER).any(|mark| mark == self.mark) {
            return Err(Refusal::looped(&self.mark));
        }
        match place {
            Place::Status => Ok(self.status()),
            Place::Livez => Ok(self.live()),
            Place::Readyz => Ok(self.ready()),
            Place::Startupz => Ok(self.startup()),
            Place::Health => self.health(request).await,
            Place::System => Ok(self.system().await?),
            Place::Metrics => self.metrics(scope, request).await,
            Place::Index => Ok(self.index(request)),
            Place::Operation(number) => {
                let served = self.routes.operation(number);
                self.operation(scope, served, request).await.map_err(|refusal| refusal.in_operation(served.entry.name))
            }
        }
    }

    /// Whether somebody with this grant may ask for this operation.
    fn may(&self, served: &Served, grant: Option<Grant>) -> Result<(), Refusal> {
        if !served.writes() || grant == Some(Grant::Write) {
            return Ok(());
        }
        let name = served.entry.name;
        Err(match self.guard.writing_is_on() {
            true => Refusal::forbidden(
                format!("{name} changes something, and that takes the write token"),
                "send http.write_token as Authorization: Bearer",
            ),
            false => Refusal::forbidden(
                format!("{name} changes something, and writing over HTTP is off"),
                "set http.write_token, or call it from the service or the command line",
            ),
        }
        .in_operation(name))
    }

    /// The answer that the guide expects, and nothing that a stranger must not know.
    fn status(&self) -> Response {
        let context = self.ops.context();
        let uptime = context.process.identity.age().unwrap_or_default().as_secs_f64();
        let body = json!({
            "status": "Server is running",
            "service": context.service_name(),
            "uptime_seconds": uptime,
        });
        Response::json(200, &body)
    }

    /// Whether the process is well by itself. A fork has no thread that could know, and is alive.
    fn live(&self) -> Response {
        let here = !self.is_fork();
        one_word(if here { self.ops.context().watch.live(self.now()) } else { HealthState::Pass })
    }

    /// One word: which check failed, and why, is for `/health`.
    fn ready(&self) -> Response {
        let here = !self.is_fork() && !self.ops.is_closed();
        one_word(if here { self.ops.context().watch.ready(self.now()).status } else { HealthState::Fail })
    }

    /// Whether it has begun, which it does once.
    fn startup(&self) -> Response {
        // To ask for readiness is to look whether it has begun since.
        let begun = !self.is_fork() && self.ops.context().watch.ready(self.now()).phase != Phase::Starting;
        one_word(if begun { HealthState::Pass } else { HealthState::Unknown })
    }

    fn is_fork(&self) -> bool {
        std::process::id() != self.pid
    }

    fn now(&self) -> std::time::Duration {
        self.ops.scope().clock.monotonic()
    }

    async fn health(&self, request: &Request) -> Result<Response, Refusal> {
        let asked = read_query(&self.health_fields, &request.query)?;
        let group = asked.get("group").and_then(Value::as_str).map(str::to_owned);
        let critical = asked.get("critical") == Some(&Value::Bool(true));
        let view = self.ops.run::<State>(self.ops.scope(), CheckRequest { group, critical }).await?;
        let response = match probe::wants_health_json(request) {
            true => {
                let body = probe::health_json(&view, &self.ops.context().service_name());
                Response::new(code_of(view.status), probe::HEALTH_JSON, body.to_string())
            }
            false => Response::json(code_of(view.status), &probe::plain(&view)),
        };
        Ok(response.with("vary", "accept"))
    }

    /// What the guide's callers read, see [`probe::system`].
    async fn system(&self) -> Result<Response> {
        let view = self.ops.run::<State>(self.ops.scope(), CheckRequest::default()).await?;
        let mut body = probe::system(&view);
        body["service"] = self.ops.context().service_name().into();
        Ok(Response::json(code_of(view.status), &body))
    }

    async fn metrics(&self, scope: Scope, request: &Request) -> Result<Response, Refusal> {
        let accept = request.values("accept").collect::<Vec<_>>().join(",");
        let format = negotiate(Some(&accept).filter(|accept| !accept.is_empty()).map(String::as_str));
        let asked = RenderRequest { format: Some(format) };
        let page = self.ops.run::<Render>(scope, asked).await?;
        Ok(Response::new(200, &page.content_type, page.body).with("vary", "accept"))
    }

    fn index(&self, request: &Request) -> Response {
        let mut body = self.routes.describe(&request.mount, self.guard.writing_is_on());
        body["service"] = self.ops.context().service_name().into();
        body["version"] = env!("CARGO_PKG_VERSION").into();
        Response::json(200, &body)
    }

    async fn operation(&self, scope: Scope, served: &Served, request: &Request) -> Result<Response, Refusal> {
        let asked = if request.method == "POST" { body(request)? } else { read_query(&served.fields, &request.query)? };
        let answer = self.ops.call(scope, served.entry.name, asked).await?;
        let healthy = if answer.healthy { "true" } else { "false" };
        Ok(Response::json(200, &answer.response).with("uplifted-ops-healthy", healthy))
    }
}

fn one_word(status: HealthState) -> Response {
    Response::json(code_of(status), &json!({ "status": status }))
}

/// What is unknown is not well.
fn code_of(status: HealthState) -> u16 {
    if status.is_down() { 503 } else { 200 }
}

/// The JSON object that a POST carries. No body at all is an empty one.
fn body(request: &Request) -> Result<Value, Refusal> {
    if !request.query.is_empty() {
        return Err(Refusal::invalid("a POST has its fields in the body, and this one has a query", "send JSON"));
    }
    if request.body.is_empty() {
        return Ok(json!({}));
    }
    // Also what keeps a form on another site's page out: it cannot send this type.
    let is_json = match request.value("content-type") {
        Once::Is(value) => {
            value.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
        }
        Once::Missing | Once::Several => false,
    };
    if !is_json {
        return Err(Refusal::not_json());
    }
    match serde_json::from_slice(&request.body) {
        Ok(fields @ Value::Object(_)) => Ok(fields),
        Ok(_) => Err(Refusal::invalid("the body is no JSON object", "send the fields as {\"name\": value}")),
        Err(error) => Err(Refusal::invalid(format!("the body is not JSON: {error}"), "correct the JSON")),
    }
}
