//! The worker, as a real process: what it survives, what it leaves behind, what it says.

#![allow(clippy::disallowed_methods, reason = "tests set up their own scenes")]

mod calls;
mod cancels;
mod crashes;
mod ends;
mod priorities;
mod starts;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use uplifted_ops::config::Settings;
use uplifted_ops::ops::{Ops, OpsBuilder};
use uplifted_ops::{Progress, Result, Scope};
use uplifted_ops_tests::puppet;

/// The program that is worker, host and impostor.
const FIXTURE: &str = env!("CARGO_BIN_EXE_worker-fixture");

/// Longer than anything here takes: only a hang meets it.
const HANG: Duration = Duration::from_secs(60);

async fn no_hang<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("hangs")
}

/// A root folder with nothing in it, and a builder for it whose worker is `command`.
fn builder_with(command: &[&str]) -> (TempDir, OpsBuilder) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Ops::builder()
        .root(folder.path())
        .settings(Settings::default())
        .setup(puppet::setup())
        .check("alive", Arc::new(Alive))
        .worker_command(command);
    (folder, builder)
}

fn builder() -> (TempDir, OpsBuilder) {
    builder_with(&[FIXTURE])
}

async fn call(ops: &Ops, name: &str, act: Value) -> Result<Value> {
    call_in(ops, Scope::default(), name, act).await
}

async fn call_in(ops: &Ops, scope: Scope, name: &str, act: Value) -> Result<Value> {
    no_hang(ops.call(scope, name, act)).await.map(|answer| answer.response["value"].clone())
}

async fn facts(ops: &Ops, name: &str) -> Value {
    call(ops, name, json!({"act": "facts"})).await.unwrap()
}

fn pid_of(facts: &Value) -> u32 {
    u32::try_from(facts["pid"].as_u64().unwrap()).unwrap()
}

/// A check that passes.
#[derive(Debug)]
struct Alive;

#[async_trait::async_trait]
impl uplifted_ops::health::HealthCheck for Alive {
    async fn check(&self, _: &Scope) -> Result<uplifted_ops::health::CheckOutcome> {
        Ok(uplifted_ops::health::CheckOutcome::new(uplifted_ops::health::CheckStatus::Pass, "alive"))
    }
}

/// Waits for the end of a process that runs now.
struct Watch(OwnedFd);

impl Watch {
    fn on(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        Self(pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    /// Panics when the process does not end.
    fn wait(&self) {
        let mut watched = [PollFd::new(&self.0, PollFlags::IN)];
        let limit = rustix::time::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(poll(&mut watched, Some(&limit)).unwrap(), 1, "the process did not end");
    }

    fn has_ended(&self) -> bool {
        let mut watched = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut watched, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }
}

/// Catches the stages that an operation reports.
#[derive(Default)]
struct Stages(Mutex<Vec<String>>, Notify);

impl Stages {
    fn scope(self: &Arc<Self>) -> Scope {
        let stages = Arc::clone(self);
        let progress = Progress::new(move |event| {
            stages.0.lock().unwrap().push(event.stage);
            stages.1.notify_one();
        });
        Scope { progress, ..Scope::default() }
    }

    /// The first stage that begins with `prefix`, once it is there.
    async fn reached(&self, prefix: &str) -> String {
        no_hang(async {
            loop {
                if let Some(stage) = self.0.lock().unwrap().iter().find(|stage| stage.starts_with(prefix)) {
                    return stage.clone();
                }
                self.1.notified().await;
            }
        })
        .await
    }

    /// Watches on the processes that `ignore` reports.
    async fn family(&self) -> Vec<Watch> {
        watches(&self.reached("pids ").await)
    }
}

fn watches(stage: &str) -> Vec<Watch> {
    stage.split_whitespace().skip(1).map(|pid| Watch::on(pid.parse().unwrap())).collect()
}
