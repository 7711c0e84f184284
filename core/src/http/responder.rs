//! From a request to a response.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::health::{Check, CheckRequest, State};
use crate::api::metrics;
use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::health::{HealthState, Phase, own};
use crate::metrics::{Exposition, accepts_gzip};
use crate::ops::{Operation, Ops};
use crate::worker::CatchPanic;

use super::access::{Access, Grant, Guard};
use super::badge::badge;
use super::blocking::block_on;
use super::fields::{Field, fields_of, read_query};
use super::message::{Once, Request, Response};
use super::pages::Pages;
use super::probe;
use super::refusal::Refusal;
use super::route::{Place, Routes, Served, badge_of, cut};
use super::{MAX_BODY, MAX_QUERY};

/// Answers requests with the operations of an [`Ops`]. A handle: clones are cheap and share the cache.
#[derive(Debug, Clone)]
pub struct Responder {
    ops: Ops,
    answers: Arc<Answers>,
}

/// All of a [`Responder`] but the `Ops`, for those who must not keep that alive.
#[derive(Debug)]
pub(super) struct Answers {
    guard: Guard,
    routes: Routes,
    health_fields: Vec<Field>,
    pages: Pages,
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
        let answers = Arc::new(Answers::new(ops, access)?);
        // What cannot be asked is unknown, and so is not ready.
        let _ = ops.watch_health();
        Ok(Self { ops: ops.clone(), answers })
    }

    /// Says that the service is about to stop: from now on `/readyz` is 503, so that no more work is sent here,
    /// while everything else is answered as before. [`Ops::drain`] says the same, and waits.
    pub fn drain(&self) {
        self.ops.context().watch.drain();
    }

    /// Answers `request`. Never fails and never panics; runs on any executor. Dropped, it cancels the operation.
    pub fn respond(&self, scope: Scope, request: Request) -> impl Future<Output = Response> + Send + 'static {
        Arc::clone(&self.answers).respond(self.ops.clone(), scope, request)
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

impl Answers {
    pub(super) fn new(ops: &Ops, access: &Access) -> Result<Self> {
        Ok(Self::with_guard(ops, Guard::new(access)?))
    }

    /// Where the kernel said who asks, and nobody gets here who may not read.
    #[cfg(feature = "http")]
    pub(super) fn for_own(ops: &Ops) -> Self {
        Self::with_guard(ops, Guard::for_own())
    }

    fn with_guard(ops: &Ops, guard: Guard) -> Self {
        Self {
            guard,
            routes: Routes::of(ops),
            health_fields: fields_of(&schemars::schema_for!(CheckRequest)),
            pages: Pages::default(),
            mark: own::mark(&ops.context().state),
            pid: std::process::id(),
        }
    }

    /// See [`Responder::respond`].
    pub(super) async fn respond(self: Arc<Self>, ops: Ops, scope: Scope, request: Request) -> Response {
        let head = request.method == "HEAD";
        let answered = CatchPanic::new(self.answer(&ops, scope, &request)).await;
        let response = answered.unwrap_or_else(|panic| Err(Refusal::from(panic)));
        finish(response.unwrap_or_else(Refusal::into_response), head)
    }

    /// The answer to a `GET` of a path that anybody may ask for; `None` for all others. It waits for nobody: a server asks
    /// here first, before it copies the headers. What a check of our own asks (with the header [`own::HEADER`]) is to go to
    /// [`respond`](Self::respond).
    #[cfg(feature = "http")]
    pub(super) fn probe(&self, ops: &Ops, path: &str) -> Option<Response> {
        let response = match path {
            "/livez" => self.live(ops),
            "/readyz" => self.ready(ops),
            "/startupz" => self.startup(ops),
            "/status" => self.status(ops),
            _ => return None,
        };
        Some(finish(response, false))
    }

    async fn answer(&self, ops: &Ops, scope: Scope, request: &Request) -> Result<Response, Refusal> {
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
            Place::Readyz | Place::Startupz | Place::Health | Place::System | Place::Badge => true,
            Place::Operation(number) => self.routes.operation(number).entry.name == Check::NAME,
            _ => false,
        };
        if runs_checks && request.values(own::HEADER).any(|mark| mark == self.mark) {
            return Err(Refusal::looped(&self.mark));
        }
        match place {
            Place::Status => Ok(self.status(ops)),
            Place::Livez => Ok(self.live(ops)),
            Place::Readyz => Ok(self.ready(ops)),
            Place::Startupz => Ok(self.startup(ops)),
            Place::Health => self.health(ops, request).await,
            Place::Badge => self.badge(ops, &request.path),
            Place::System => Ok(self.system(ops).await?),
            Place::Metrics => self.metrics(ops, scope, request).await,
            Place::Index => Ok(self.index(ops, request)),
            Place::Operation(number) => {
                let served = self.routes.operation(number);
                self.operation(ops, scope, served, request)
                    .await
                    .map_err(|refusal| refusal.in_operation(served.entry.name))
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
    fn status(&self, ops: &Ops) -> Response {
        let context = ops.context();
        let uptime = context.process.identity.age().unwrap_or_default().as_secs_f64();
        let body = json!({
            "status": "Server is running",
            "service": context.service_name(),
            "uptime_seconds": uptime,
        });
        Response::json(200, &body)
    }

    /// Whether the process is well by itself. A fork has no thread that could know, and is alive.
    fn live(&self, ops: &Ops) -> Response {
        if self.is_fork() {
            return one_word(HealthState::Pass);
        }
        match ops.context().pulses.worst() {
            Some(wedged) => Response::json(503, &json!({ "status": HealthState::Fail, "wedged": wedged })),
            None => one_word(ops.context().watch.live(now(ops))),
        }
    }

    /// One word: which check failed, and why, is for `/health`.
    fn ready(&self, ops: &Ops) -> Response {
        // Whoever is wedged takes no work, whatever its checks found before.
        let here = !self.is_fork() && !ops.is_closed() && ops.context().pulses.own().is_none();
        one_word(if here { ops.context().watch.ready(now(ops)).status } else { HealthState::Fail })
    }

    /// Whether it has begun, which it does once.
    fn startup(&self, ops: &Ops) -> Response {
        // To ask for readiness is to look whether it has begun since.
        let begun = !self.is_fork() && ops.context().watch.ready(now(ops)).phase != Phase::Starting;
        one_word(if begun { HealthState::Pass } else { HealthState::Unknown })
    }

    fn is_fork(&self) -> bool {
        std::process::id() != self.pid
    }

    async fn health(&self, ops: &Ops, request: &Request) -> Result<Response, Refusal> {
        let asked = read_query(&self.health_fields, &request.query)?;
        let group = asked.get("group").and_then(Value::as_str).map(str::to_owned);
        let critical = asked.get("critical") == Some(&Value::Bool(true));
        let as_health_json = probe::wants_health_json(request);
        let (now, generation) = (now(ops), ops.context().watch.generation());
        let asked = (group.clone(), critical, as_health_json);
        if let Some(page) = self.pages.find(&asked, generation, now) {
            return Ok(page);
        }
        let view = ops.run::<State>(ops.scope(), CheckRequest { group, critical }).await?;
        let response = match as_health_json {
            true => {
                let body = probe::health_json(&view, &ops.context().service_name());
                Response::new(code_of(view.status), probe::HEALTH_JSON, body.to_string())
            }
            false => Response::json(code_of(view.status), &probe::plain(&view)),
        };
        let response = response.with("vary", "accept");
        self.pages.keep(asked, generation, now, &response);
        Ok(response)
    }

    /// The state of one check, or the verdict over all.
    fn badge(&self, ops: &Ops, path: &str) -> Result<Response, Refusal> {
        let context = ops.context();
        let view = context.watch.view(None, false, now(ops))?;
        let Some(name) = badge_of(path) else { return Ok(badge(&context.service_name(), view.status)) };
        match view.checks.iter().find(|check| check.name == name) {
            Some(check) => Ok(badge(name, check.status)),
            None => Err(Refusal::not_found(format!("there is no check {:?}", cut(name)), "/health lists the checks")),
        }
    }

    /// What the guide's callers read, see [`probe::system`].
    async fn system(&self, ops: &Ops) -> Result<Response> {
        let view = ops.run::<State>(ops.scope(), CheckRequest::default()).await?;
        let mut body = probe::system(&view);
        body["service"] = ops.context().service_name().into();
        Ok(Response::json(code_of(view.status), &body))
    }

    /// The page in the format and with the names that the scraper asks for, compressed if it likes.
    async fn metrics(&self, ops: &Ops, scope: Scope, request: &Request) -> Result<Response, Refusal> {
        let list = |name| request.values(name).collect::<Vec<_>>().join(",");
        let (exposition, gzip) = (Exposition::negotiate(Some(&list("accept"))), accepts_gzip(&list("accept-encoding")));
        let (tell, told) = tokio::sync::oneshot::channel();
        let context = Arc::clone(ops.context());
        ops.spawn(async move {
            // Whoever asked may have gone.
            let _ = tell.send(metrics::page(&context, &scope, exposition, gzip).await);
        })?;
        let page = told.await.map_err(|_| Error::internal("a page of metrics was not made: the service ends"))??;
        let response = Response::new(200, &page.content_type, page.body).with("vary", "accept, accept-encoding");
        Ok(if page.is_gzip { response.with("content-encoding", "gzip") } else { response })
    }

    fn index(&self, ops: &Ops, request: &Request) -> Response {
        let mut body = self.routes.describe(&request.mount, self.guard.writing_is_on());
        body["service"] = ops.context().service_name().into();
        body["version"] = env!("CARGO_PKG_VERSION").into();
        Response::json(200, &body)
    }

    async fn operation(
        &self,
        ops: &Ops,
        scope: Scope,
        served: &Served,
        request: &Request,
    ) -> Result<Response, Refusal> {
        let asked = if request.method == "POST" { body(request)? } else { read_query(&served.fields, &request.query)? };
        let answer = ops.call(scope, served.entry.name, asked).await?;
        let healthy = if answer.healthy { "true" } else { "false" };
        Ok(Response::json(200, &answer.response).with("uplifted-ops-healthy", healthy))
    }
}

fn now(ops: &Ops) -> std::time::Duration {
    ops.scope().clock.monotonic()
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
