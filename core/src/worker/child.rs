//! The child process of a worker: its end is noticed, its family killed, its last words kept.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, watch};

use crate::error::{Error, Result};
use crate::process::{Capture, Exit, ProcessIdentity, cannot_start, is_ancestor, kill_family};

/// How much of the end of a worker's standard error is kept for its crash report.
const LAST_WORDS: usize = 64 * 1024;

/// How a worker ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    /// The end of its standard error.
    pub(super) stderr: String,
}

/// A running child. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct ChildHandle {
    pub(super) pid: u32,
    kill: Arc<Notify>,
    ended: watch::Receiver<Option<Ended>>,
    /// The worker's own process, when a wrapper stands between it and us.
    inner: Arc<Mutex<Option<ProcessIdentity>>>,
}

impl ChildHandle {
    /// Starts `command`. `alive` counts it while it runs.
    pub(super) fn start(
        command: std::process::Command,
        argv: &[std::ffi::OsString],
        alive: watch::Sender<usize>,
    ) -> Result<(Self, ChildStdin, ChildStdout)> {
        let (stderr, stderr_end) = Capture::pipe(LAST_WORDS)?;
        let mut command = Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr_end).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| {
            cannot_start(argv, e).while_doing("the worker").with_hint("set worker.command to a program that is there")
        })?;
        drop(command);
        let missing = || Error::internal("a fresh child has no process id or no pipes");
        let pid = child.id().ok_or_else(missing)?;
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let (sender, ended) = watch::channel(None);
        let handle = Self { pid, kill: Arc::default(), ended, inner: Arc::default() };
        alive.send_modify(|count| *count += 1);
        tokio::spawn(handle.clone().supervise(child, stderr, sender, alive));
        Ok((handle, stdin, stdout))
    }

    /// Notes which process greeted. One that is not a descendant of the child is not believed.
    pub(super) fn greeted_by(&self, pid: u32) {
        if pid != self.pid && is_ancestor(self.pid, pid) {
            *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = ProcessIdentity::of(pid);
        }
    }

    /// Kills it with all it started.
    pub(super) fn kill(&self) {
        self.kill.notify_one();
    }

    /// Returns when it has ended and was waited for.
    pub(super) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let found = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        found.unwrap_or(Ended { exit: Exit::Unknown, stderr: String::new() })
    }

    /// Gives it `patience` to end by itself, then kills it.
    pub(super) async fn end_within(&self, patience: Duration) -> Ended {
        if let Ok(ended) = tokio::time::timeout(patience, self.ended()).await {
            return ended;
        }
        self.kill();
        self.ended().await
    }

    async fn supervise(
        self,
        mut child: Child,
        mut stderr: Capture,
        ended: watch::Sender<Option<Ended>>,
        alive: watch::Sender<usize>,
    ) {
        tokio::select! {
            () = has_ended(self.pid) => {}
            () = self.kill.notified() => {}
            () = async { stderr.fill().await; std::future::pending().await } => {}
        }
        // Killed or ended by itself, its family goes with it. It is not waited for until afterwards, so that its
        // number still means it. Looking through `/proc` may take a while on a crowded machine.
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let pid = self.pid;
        let _ = tokio::task::spawn_blocking(move || {
            if let Some(inner) = inner.filter(ProcessIdentity::is_alive) {
                kill_family(inner.pid);
            }
            kill_family(pid);
        })
        .await;
        let exit = Exit::of(child.wait().await);
        stderr.drain();
        let stderr = String::from_utf8_lossy(&stderr.tail()).into_owned();
        alive.send_modify(|count| *count -= 1);
        ended.send_replace(Some(Ended { exit, stderr }));
    }
}

/// Returns when the child has ended, and leaves it to be waited for. On a thread: `waitid` with `WNOWAIT` is
/// everywhere, a pidfd is not.
async fn has_ended(pid: u32) {
    use rustix::io::Errno;
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let wait = move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        // Another error means that somebody else has waited for it: it has ended.
        while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
    };
    let _ = tokio::task::spawn_blocking(wait).await;
}
