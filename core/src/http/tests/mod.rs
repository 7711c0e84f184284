//! The responder against an `Ops` with operations and checks that do as they are told.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use super::{Access, Request, Responder, Response};
use crate::cancel::Scope;
use crate::clock::{ManualClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{CheckOutcome, CheckStatus, HealthCheck, HealthState};
use crate::ops::{Context, Effect, Entry, Operation, Ops, OpsBuilder, Place};
use crate::value::Secret;
use crate::worker::Setup;

mod access;
mod hostile;
mod probes;
mod routes;
mod settings;

/// What guards against a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of a service, its `Ops`, and a responder for them.
struct Scene {
    responder: Responder,
    ops: Ops,
    clock: Arc<ManualClock>,
    check: Arc<Scripted>,
    /// Kept while the test runs.
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(access: Access) -> Self {
        Self::with(access, |builder| builder)
    }

    fn with(access: Access, more: impl FnOnce(OpsBuilder) -> OpsBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let check = Arc::new(Scripted::default());
        let builder = Ops::builder()
            .root(folder.path())
            .environment([])
            .clock(clock.clone())
            .setup(Setup::new().operations(OPERATIONS))
            .setting("service.name", "shop")
            .setting("health.without", json!(["disk", "process", "store", "backup_age", "log_errors"]))
            .check("scripted", check.clone());
        let ops = more(builder).build().unwrap();
        let responder = Responder::with_access(&ops, &access).unwrap();
        let scene = Self { responder, ops, clock, check, _folder: folder };
        // On a thread of its own: this may be called from within a runtime.
        std::thread::scope(|threads| {
            let settled = || {
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(scene.settled())
            };
            threads.spawn(settled);
        });
        scene
    }

    /// A scene with both tokens.
    fn guarded() -> Self {
        Self::new(guarded())
    }

    async fn send(&self, request: Request) -> Response {
        let answered = tokio::time::timeout(PATIENCE, self.responder.respond(self.ops.scope(), request));
        let response = answered.await.expect("no answer in time");
        assert_sound(&response);
        response
    }

    /// Returns when each check was asked, and waits for its next turn or for an answer that does not come.
    async fn settled(&self) {
        let checks = self.ops.context().health.entries().count();
        tokio::time::timeout(PATIENCE, self.clock.sleepers(checks)).await.expect("a check is still asked");
    }

    /// Returns when each check has answered once.
    async fn answered(&self) {
        let answered = async {
            let state = || self.ops.context().watch.view(None, false, Duration::ZERO).unwrap();
            while state().checks.iter().any(|check| check.status == HealthState::Unknown) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("a check does not answer");
    }

    /// Lets one period pass, with its jitter.
    async fn period(&self) {
        self.clock.advance(Duration::from_secs(33));
        self.settled().await;
    }

    /// Asks from this machine.
    async fn get(&self, target: &str) -> Response {
        self.send(local("GET", target)).await
    }
}

const TOKEN: &str = "read-0123456789abcdef";
const WRITE_TOKEN: &str = "write-0123456789abcdef";

fn guarded() -> Access {
    let secret = |text: &str| Some(Secret::new(text));
    Access { token: secret(TOKEN), write_token: secret(WRITE_TOKEN), ..Access::default() }
}

/// A request from this machine.
fn local(method: &str, target: &str) -> Request {
    Request::from_target(method, target).header("Host", "localhost:7541").peer(Ipv4Addr::LOCALHOST)
}

/// A request from another machine.
fn remote(method: &str, target: &str) -> Request {
    Request::from_target(method, target).header("Host", "shop.example").peer(IpAddr::from([203, 0, 113, 7]))
}

fn bearer(request: Request, token: &str) -> Request {
    request.header("Authorization", format!("Bearer {token}"))
}

fn post(target: &str, body: &str) -> Request {
    local("POST", target).header("Content-Type", "application/json").body(body)
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(&response.body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&response.body)))
}

/// The message of an error.
fn message(response: &Response) -> String {
    body(response)["error"]["message"].as_str().unwrap_or_default().to_owned()
}

fn hint(response: &Response) -> String {
    body(response)["error"]["hint"].as_str().unwrap_or_default().to_owned()
}

/// What holds for every response, whatever was asked.
fn assert_sound(response: &Response) {
    assert_ne!(response.reason(), "Unknown", "{}", response.status);
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    let mut names: Vec<&str> = response.headers.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a header twice: {names:?}");
    for (name, value) in &response.headers {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
        assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{name}: {value:?}");
        assert!(!name.starts_with("access-control"), "{name}");
    }
    let length = response.header("content-length").map(|length| length.parse::<usize>().unwrap());
    assert_eq!(length.is_none(), response.status == 204);
    if response.status >= 400
        && response.header("content-type") == Some("application/json")
        && !response.body.is_empty()
    {
        let body = body(response);
        let error = &body["error"];
        let a_verdict = body["status"] == "fail" || body["status"] == "unknown";
        let an_error = error["kind"].is_string() && error["message"].is_string() && error["hint"].is_string();
        assert!(a_verdict || an_error, "{body}");
    }
}

/// A check that a test holds in its hands.
#[derive(Debug)]
struct Scripted {
    status: Mutex<CheckStatus>,
    calls: AtomicUsize,
    called: Notify,
    /// Waited for before an answer, when there is one.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            status: Mutex::new(CheckStatus::Pass),
            calls: AtomicUsize::new(0),
            called: Notify::new(),
            gate: Mutex::default(),
        }
    }
}

impl Scripted {
    fn say(&self, status: CheckStatus) {
        *self.status.lock().unwrap() = status;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// From now on calls wait for a permit.
    fn close(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }
}

#[async_trait]
impl HealthCheck for Scripted {
    async fn check(&self, _: &Scope) -> Result<CheckOutcome> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.called.notify_one();
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.map_err(|_| Error::internal("the gate is gone"))?.forget();
        }
        Ok(CheckOutcome::new(*self.status.lock().unwrap(), "password=hunter2 as told"))
    }
}

static OPERATIONS: &[Entry] = &[
    Entry::of::<Erase>(),
    Entry::of::<Fail>(),
    Entry::of::<Panic>(),
    Entry::of::<Read>(),
    Entry::of::<Wait>(),
    Entry::of::<Write>(),
];

/// What the test operations take, and give back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Said {
    /// Some text.
    text: Option<String>,
    /// A number.
    count: Option<u64>,
    /// A truth.
    well: Option<bool>,
    /// Some words.
    words: Option<Vec<String>>,
    /// What to fail with.
    kind: Option<ErrorKind>,
}

macro_rules! operation {
    ($type:ident, $name:literal, $effect:ident, |$scope:ident, $said:ident| $run:expr) => {
        #[derive(Debug)]
        struct $type;

        impl Operation for $type {
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "Do what a test tells it to";
            const EFFECT: Effect = Effect::$effect;
            const PLACE: Place = Place::Host;
            const JOURNALLED: bool = false;
            type Request = Said;
            type Response = Said;

            async fn run(_: Arc<Context>, $scope: Scope, $said: Said) -> Result<Said> {
                $run
            }

            fn healthy(response: &Said) -> bool {
                response.well != Some(false)
            }
        }
    };
}

operation!(Read, "test.read", Read, |_scope, said| Ok(said));
operation!(Write, "test.write", Change, |_scope, said| {
    WRITTEN.fetch_add(1, Ordering::SeqCst);
    Ok(said)
});
operation!(Erase, "test.erase", Destroy, |_scope, said| {
    WRITTEN.fetch_add(1, Ordering::SeqCst);
    Ok(said)
});
operation!(Panic, "test.panic", Read, |_scope, said| panic!("told to, {said:?}"));
operation!(Fail, "test.fail", Read, |_scope, said| {
    let error = Error::new(said.kind.unwrap_or(ErrorKind::Internal), said.text.unwrap_or_default());
    Err(error.with_hint("none").with_context("where", "here"))
});
operation!(Wait, "test.wait", Read, |scope, _said| {
    WAITING.notify_one();
    scope.cancel.cancelled().await;
    CANCELLED.notify_one();
    scope.cancel.check().map(|()| Said::default())
});

/// How often something was written, in all tests: none of them may get that far without the token.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);
static WAITING: Notify = Notify::const_new();
static CANCELLED: Notify = Notify::const_new();
