//! Whole runs of the command line against operations that are scripted.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use clap::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::args::{Cli, GlobalOptions};
use super::connect::Caller;
use super::progress::{Mode, Reporter};
use super::session::{Connect, Exit, Session};
use super::terminal::{Terminal, Traits};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{Answer, Context, Effect, Entry, Operation, Place};

/// A writer whose text a test can look at.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer that always fails in the same way.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

/// What `echo.say` is asked.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Say {
    /// What to say.
    text: String,
}

/// What `echo.say` answers.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Said {
    /// What was said.
    said: String,
}

struct Echo;

impl Operation for Echo {
    const NAME: &'static str = "echo.say";
    const SUMMARY: &'static str = "Says it again";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = Say;
    type Response = Said;

    async fn run(_: Arc<Context>, _: Scope, request: Say) -> Result<Said> {
        Ok(Said { said: request.text })
    }
}

pub(super) const TABLE: &[Entry] = &[Entry::of::<Echo>()];

/// Answers as a service in order would; what was called is written down.
struct Fake;

/// What the fakes of this thread were called with. A test runs on one thread.
#[derive(Default)]
struct Calls(Vec<(String, Value)>);

thread_local! {
    static CALLS: std::cell::RefCell<Calls> = std::cell::RefCell::default();
}

#[async_trait]
impl Caller for Fake {
    async fn call(&self, name: &str, request: Value, scope: Scope) -> Result<Answer> {
        CALLS.with_borrow_mut(|calls| calls.0.push((name.to_owned(), request.clone())));
        let good = |response| Ok(Answer { response, healthy: true });
        match name {
            "echo.say" => good(json!({ "said": request["text"] })),
            "health.check" => Ok(Answer {
                response: json!({ "status": "fail", "checks": [
                    { "name": "api", "status": "fail", "message": "nobody answers" } ] }),
                healthy: false,
            }),
            "backup.delete" => good(json!({ "snapshot_id": "1f", "dry_run": request["dry_run"] })),
            "restore.plan" => good(json!({ "replaces": 3 })),
            "restore.apply" => good(json!({ "restored_files": 3, "into": "/srv", "undo_id": "u1" })),
            "metrics.render" => good(json!({ "content_type": "text/plain", "body": "up 1\n" })),
            "wait" => {
                scope.cancel.cancelled().await;
                scope.cancel.check()?;
                good(json!({}))
            }
            _ => Err(Error::new(ErrorKind::NotFound, format!("there is no operation {name:?}"))
                .with_context("asked", name)
                .with_hint("`uplifted-ops schema` prints every operation")),
        }
    }
}

fn fake(_: &GlobalOptions) -> Result<Box<dyn Caller>> {
    Ok(Box::new(Fake))
}

fn nobody(_: &GlobalOptions) -> Result<Box<dyn Caller>> {
    Err(Error::invalid("ops.toml line 3: unknown key levle").with_hint("write level"))
}

/// A scene: who sits at the terminal, and what they type.
#[derive(Default)]
struct Scene {
    traits: Traits,
    typed: &'static str,
    cancelled: bool,
    broken: Option<io::ErrorKind>,
    disconnected: bool,
}

/// What a run left behind.
struct Ran {
    exit: Exit,
    stdout: String,
    stderr: String,
    calls: Vec<(String, Value)>,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {:?}", self.stdout))
    }
}

impl Scene {
    fn terminal() -> Self {
        let traits = Traits { interactive: true, stdout: true, stderr: true, ..Traits::default() };
        Self { traits, ..Self::default() }
    }

    async fn run(self, words: &[&str]) -> Ran {
        CALLS.with_borrow_mut(|calls| calls.0.clear());
        let cli = Cli::try_parse_from(std::iter::once(&"uplifted-ops").chain(words)).unwrap();
        let (stdout, stderr) = (Shared::default(), Shared::default());
        let out: Box<dyn Write + Send> = match self.broken {
            Some(kind) => Box::new(Broken(kind)),
            None => Box::new(stdout.clone()),
        };
        let mut terminal = Terminal {
            stdin: Box::new(io::Cursor::new(self.typed.as_bytes())),
            stdout: out,
            stderr: Box::new(stderr.clone()),
            traits: self.traits,
        };
        let scope = Scope::default();
        if self.cancelled {
            scope.cancel.cancel();
        }
        let reporter = Reporter::new(Mode::Silent, scope.clock.clone(), Box::new(io::sink()));
        let connect: Connect = Box::new(if self.disconnected { nobody } else { fake });
        let mut session = Session { terminal: &mut terminal, scope, reporter, connect, table: TABLE };
        let exit = session.run(&cli).await;
        let calls = CALLS.with_borrow_mut(|calls| std::mem::take(&mut calls.0));
        Ran { exit, stdout: stdout.text(), stderr: stderr.text(), calls }
    }
}

#[tokio::test]
async fn call_prints_the_response_and_nothing_else() {
    let ran = Scene::default().run(&["call", "echo.say", r#"{"text":"hi"}"#]).await;
    assert_eq!((ran.exit, ran.stdout.as_str(), ran.stderr.as_str()), (Exit::Done, "{\"said\":\"hi\"}\n", ""));
    let ran = Scene { typed: r#"{"text": "piped"}"#, ..Scene::default() }.run(&["call", "echo.say", "-"]).await;
    assert_eq!(ran.json(), json!({ "said": "piped" }));
    let ran = Scene::default().run(&["call", "echo.say"]).await;
    assert_eq!(ran.calls, [("echo.say".to_owned(), json!({}))]);
}

#[tokio::test]
async fn what_is_done_and_not_well_exits_1() {
    let ran = Scene::default().run(&["call", "health.check"]).await;
    assert_eq!((ran.exit, &ran.json()["status"]), (Exit::Unwell, &json!("fail")));
    let ran = Scene::default().run(&["health"]).await;
    assert_eq!(ran.exit, Exit::Unwell);
    assert_eq!(ran.stdout, "STATUS  CHECK  MESSAGE\nfail    api    nobody answers\nfail: 1 check\n");
}

#[tokio::test]
async fn errors_of_call_are_json_on_stdout() {
    for request in ["{", "", "[\"hi\"]", "7", "{} {}", "-"] {
        let ran = Scene { typed: "not json", ..Scene::default() }.run(&["call", "echo.say", request]).await;
        let error = &ran.json()["error"];
        assert_eq!(ran.exit, Exit::Failed, "{request}");
        assert_eq!(error["kind"], "invalid_input", "{request}");
        assert_eq!(error["operation"], "echo.say", "{request}");
        assert_eq!(error["retryable"], false, "{request}");
        assert!(error["message"].as_str().unwrap().starts_with("the request is "), "{error}");
        assert!(error["hint"].is_string(), "{error}");
        assert!(ran.calls.is_empty(), "{request}");
        assert_eq!(ran.stderr, "");
    }
    let ran = Scene::default().run(&["call", "nope"]).await;
    assert_eq!((&ran.json()["error"]["kind"], ran.exit), (&json!("not_found"), Exit::Failed));
    let ran = Scene { disconnected: true, ..Scene::default() }.run(&["call", "echo.say"]).await;
    assert_eq!(ran.json()["error"]["hint"], "write level");
}

#[tokio::test]
async fn errors_for_people_are_on_stderr_and_with_json_on_stdout() {
    let ran = Scene { disconnected: true, ..Scene::default() }.run(&["status"]).await;
    assert_eq!((ran.exit, ran.stdout.as_str()), (Exit::Failed, ""));
    assert_eq!(ran.stderr, "error: ops.toml line 3: unknown key levle\n  operation: status\nhint: write level\n");
    let ran = Scene { disconnected: true, ..Scene::default() }.run(&["status", "--json"]).await;
    assert_eq!(ran.json()["error"]["operation"], "status");
    assert_eq!(ran.stderr, "");
}

#[tokio::test]
async fn without_a_terminal_nothing_is_deleted_or_replaced_unless_yes_is_said() {
    for words in [["backup", "delete", "1f"], ["restore", "apply", "1f"]] {
        let ran = Scene { typed: "y\n", ..Scene::default() }.run(&words).await;
        assert_eq!(ran.exit, Exit::Failed, "{words:?}");
        assert!(ran.calls.is_empty(), "{words:?}");
        assert!(ran.stderr.contains("needs to be confirmed, and nobody can be asked"), "{}", ran.stderr);
        assert!(ran.stderr.ends_with("hint: add --yes\n"), "{}", ran.stderr);
    }
    let ran = Scene::default().run(&["restore", "apply", "1f", "--yes"]).await;
    assert_eq!(ran.exit, Exit::Done);
    assert_eq!(ran.calls.len(), 1, "no plan is asked for when nobody sees it");
    let ran = Scene::default().run(&["restore", "apply", "1f", "--into", "/tmp/x"]).await;
    assert_eq!(ran.exit, Exit::Done);
}

#[tokio::test]
async fn on_a_terminal_the_plan_is_shown_before_the_question() {
    let ran = Scene { typed: "y\n", ..Scene::terminal() }.run(&["restore", "apply", "1f"]).await;
    assert_eq!(ran.exit, Exit::Done);
    assert_eq!(ran.stderr, "replaces  3\nReplace the service's files by these? [y/N] ");
    assert!(ran.stdout.starts_with("restored 3 files into /srv\n"), "{}", ran.stdout);
    let names: Vec<&str> = ran.calls.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["restore.plan", "restore.apply"]);

    for typed in ["n\n", "\n", "", "yep\n"] {
        let ran = Scene { typed, ..Scene::terminal() }.run(&["backup", "delete", "1f"]).await;
        assert_eq!(ran.exit, Exit::Failed, "{typed:?}");
        assert!(ran.stderr.ends_with("nothing was done\n"), "{}", ran.stderr);
        assert_eq!(ran.calls.len(), 1, "only the dry run");
        assert_eq!(ran.calls[0].1["dry_run"], true);
    }
    let ran = Scene { typed: "YES\n", ..Scene::terminal() }.run(&["backup", "delete", "1f"]).await;
    assert_eq!(ran.exit, Exit::Done);
    assert_eq!(ran.calls[1], ("backup.delete".to_owned(), json!({ "snapshot_id": "1f" })));
}

#[tokio::test]
async fn call_never_asks() {
    let ran = Scene::terminal().run(&["call", "backup.delete", r#"{"snapshot_id":"1f"}"#]).await;
    assert_eq!((ran.exit, ran.stderr.as_str()), (Exit::Done, ""));
    assert_eq!(ran.stdout, "{\n  \"dry_run\": null,\n  \"snapshot_id\": \"1f\"\n}\n", "indented on a terminal");
}

#[tokio::test]
async fn a_cancel_is_told_in_a_plain_sentence() {
    let ran = Scene { cancelled: true, ..Scene::default() }.run(&["call", "wait"]).await;
    assert_eq!((&ran.json()["error"]["kind"], ran.exit), (&json!("cancelled"), Exit::Failed));
    let ran = Scene { cancelled: true, typed: "y\n", ..Scene::terminal() }.run(&["call", "wait", "-"]).await;
    assert_eq!(ran.json()["error"]["kind"], "cancelled");
}

#[tokio::test]
async fn a_reader_who_left_is_no_failure_but_a_full_disk_is() {
    let ran = Scene { broken: Some(io::ErrorKind::BrokenPipe), ..Scene::default() }.run(&["metrics"]).await;
    assert_eq!((ran.exit, ran.stderr.as_str()), (Exit::Done, ""));
    let ran = Scene { broken: Some(io::ErrorKind::StorageFull), ..Scene::default() }.run(&["metrics"]).await;
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.stderr.starts_with("error: could not write to stdout: "), "{}", ran.stderr);
    let ran = Scene { broken: Some(io::ErrorKind::StorageFull), ..Scene::default() }.run(&["call", "nope"]).await;
    assert!(ran.stderr.starts_with("error: could not write to stdout: "), "{}", ran.stderr);
}

#[tokio::test]
async fn schemas_metrics_and_completions_are_printed_as_they_are() {
    let ran = Scene::default().run(&["schema"]).await;
    assert_eq!(ran.json()["operations"][0]["name"], "echo.say");
    let ran = Scene::default().run(&["schema", "nope", "--json"]).await;
    assert_eq!((&ran.json()["error"]["kind"], ran.exit), (&json!("not_found"), Exit::Failed));
    let ran = Scene::default().run(&["metrics"]).await;
    assert_eq!(ran.stdout, "up 1\n");
    for shell in ["bash", "zsh", "fish"] {
        let ran = Scene::default().run(&["completions", shell]).await;
        assert!(ran.stdout.contains("uplifted-ops") && ran.stdout.contains("journal"), "{shell}");
    }
}
