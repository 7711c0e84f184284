//! Operations that do as they are told, in either lane of the worker and in the host.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uplifted_ops::backup::target::MAX_BLOCK;
use uplifted_ops::ops::{Context, Effect, Entry, Lane, Operation, Place};
use uplifted_ops::process::Program;
use uplifted_ops::worker::Setup;
use uplifted_ops::{Error, ErrorKind, ProgressEvent, Result, Scope};

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Answer with `value`.
    Echo { value: Value },
    /// Answer with facts about the process.
    Facts,
    /// Panic.
    Panic { message: String },
    /// Fail with a cause.
    Fail,
    /// Print to both streams, by Rust and by a child, and read from stdin.
    Print,
    /// Report `waiting` and wait for the cancel.
    Wait,
    /// Start programs, report their process ids and ignore every cancel.
    Ignore,
    /// Must not be interrupted until the FIFO is written to.
    Firm { gate: PathBuf },
    /// Report the stage and send this signal to oneself.
    Signal { number: i32 },
    /// Say something and exit.
    Exit { code: i32 },
    /// Write blocks to a target and read them back.
    Blocks { target: String, blocks: u64 },
    /// Leave an upload open.
    LeaveOpen { target: String },
    /// Put one object.
    Put { target: String },
    /// Ask a store.
    Store { store: String },
    /// Ask a check.
    Check { check: String },
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    pub value: Value,
}

macro_rules! puppet {
    ($type:ident, $name:literal, $effect:expr, $place:expr) => {
        #[derive(Debug)]
        pub struct $type;

        impl Operation for $type {
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "Do as told";
            const EFFECT: Effect = $effect;
            const PLACE: Place = $place;
            type Request = Act;
            type Response = Answer;

            async fn run(context: Arc<Context>, scope: Scope, act: Act) -> Result<Answer> {
                perform(&context, &scope, act).await.map(|value| Answer { value })
            }

            fn healthy(response: &Answer) -> bool {
                response.value != json!("unwell")
            }
        }
    };
}

puppet!(Heavy, "test.heavy", Effect::Change, Place::Worker(Lane::Heavy));
puppet!(Prompt, "test.prompt", Effect::Read, Place::Worker(Lane::Prompt));
puppet!(InHost, "test.host", Effect::Read, Place::Host);

/// The table of them.
pub static OPERATIONS: &[Entry] = &[Entry::of::<Heavy>(), Entry::of::<InHost>(), Entry::of::<Prompt>()];

/// What host and worker are given.
pub fn setup() -> Setup {
    Setup::new().operations(OPERATIONS)
}

fn stage(name: impl Into<String>, uninterruptible: bool) -> ProgressEvent {
    ProgressEvent {
        stage: name.into(),
        done_bytes: 0,
        total_bytes: None,
        done_files: 0,
        total_files: None,
        uninterruptible,
    }
}

async fn perform(context: &Arc<Context>, scope: &Scope, act: Act) -> Result<Value> {
    match act {
        Act::Echo { value } => Ok(value),
        Act::Facts => facts(context),
        Act::Panic { message } => panic!("{message}"),
        Act::Fail => {
            Err(Error::new(ErrorKind::Busy, "no luck").with_hint("wait").with_source(std::io::Error::other("why")))
        }
        Act::Print => {
            println!("stray");
            std::io::stdout().write_all(&[0xff; 100_000]).unwrap();
            std::io::stdout().flush().unwrap();
            Command::new("echo").arg("stray").status().unwrap();
            let mut read = String::new();
            std::io::stdin().read_to_string(&mut read).unwrap();
            Ok(json!(read))
        }
        Act::Wait => {
            scope.progress.report(stage("waiting", false));
            scope.cancel.cancelled().await;
            Err(scope.cancel.check().unwrap_err())
        }
        Act::Ignore => {
            let plain = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap().id();
            let grouped = Command::new("sleep").arg("1000").stdin(Stdio::null()).process_group(0).spawn().unwrap().id();
            // A program of ours with a child of its own; the shell tells the child's number through a file.
            let told = tempfile::NamedTempFile::new().unwrap();
            let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", told.path().display());
            tokio::spawn(async move {
                Program::new(vec!["sh".into(), "-c".into(), script.into()]).run(&Scope::default()).await
            });
            let deep = loop {
                if let Ok(pid) = std::fs::read_to_string(told.path()).unwrap().trim().parse::<u32>() {
                    break pid;
                }
                tokio::task::yield_now().await;
            };
            let me = std::process::id();
            scope.progress.report(stage(format!("pids {me} {plain} {grouped} {deep}"), false));
            std::future::pending().await
        }
        Act::Firm { gate } => {
            scope.progress.report(stage("swapping", true));
            tokio::task::spawn_blocking(move || std::fs::read(gate)).await.unwrap().unwrap();
            scope.progress.report(stage("swapped", false));
            Ok(json!("finished"))
        }
        Act::Signal { number } => {
            scope.progress.report(stage("copying database main", false));
            // What is reported is on its way before the end: a call to the host and back is after it.
            context.check("alive")?.component.check(scope).await?;
            eprintln!("last words");
            let signal = rustix::process::Signal::from_named_raw(number).unwrap();
            rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
            std::future::pending().await
        }
        Act::Exit { code } => {
            eprintln!("last words");
            std::process::exit(code)
        }
        Act::Blocks { target, blocks } => {
            let target = &context.target(&target)?.component;
            let mut upload = target.upload(scope, "big", None).await?;
            for n in 0..blocks {
                upload.write(&vec![n as u8; MAX_BLOCK]).await?;
            }
            let length = MAX_BLOCK as u64;
            for n in 0..blocks {
                let read = upload.read_back(n * length..(n + 1) * length).await?;
                assert!(read.len() == MAX_BLOCK && read.iter().all(|byte| *byte == n as u8));
            }
            upload.finish().await?;
            let listed = target.list(scope, "", None).await?;
            Ok(json!({ "size_bytes": listed[0].size_bytes, "rss": peak_rss_kib() }))
        }
        Act::LeaveOpen { target } => {
            let mut upload = context.target(&target)?.component.upload(scope, "open", None).await?;
            upload.write(b"x").await?;
            std::mem::forget(upload);
            Ok(Value::Null)
        }
        Act::Put { target } => Ok(json!(context.target(&target)?.component.put(scope, "a", b"x", false).await?)),
        Act::Store { store } => {
            let store = &context.store(&store)?.component;
            Ok(json!({ "capability": store.capability(), "stats": store.stats(scope).await? }))
        }
        Act::Check { check } => Ok(json!(context.check(&check)?.component.check(scope).await?)),
    }
}

fn facts(context: &Context) -> Result<Value> {
    let nice = rustix::process::getpriority_process(None).map_err(|e| Error::io("read the priority", e))?;
    Ok(json!({
        "pid": std::process::id(),
        "parent": std::os::unix::process::parent_id(),
        "group": rustix::process::getpgrp().as_raw_nonzero().get(),
        "session": rustix::process::getsid(None).unwrap().as_raw_nonzero().get(),
        "nice": nice,
        "settings": context.settings(),
        "root": context.root,
        "state": context.state,
        "mode": context.mode,
        "command_line": String::from_utf8_lossy(&std::fs::read("/proc/self/cmdline").unwrap()),
        "environment": String::from_utf8_lossy(&std::fs::read("/proc/self/environ").unwrap()),
        "stores": context.stores.iter().map(|store| &store.name).collect::<Vec<_>>(),
    }))
}

/// The largest resident size that this process has had.
pub fn peak_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
