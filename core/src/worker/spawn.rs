//! Starting a worker, and calling it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cancel::{Cancel, Progress, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Lane;
use crate::process::{Exit, ProcessIdentity, command};
use crate::remote::Payload;

use super::MARKER;
use super::child::{ChildHandle, Ended};
use super::components::Components;
use super::peer::{CallError, Closed, OpenCall, Peer, Service};
use super::pool::Request;
use super::protocol::{Configuration, Hello, greet, greeting, method};
use super::serve::ComponentServer;

/// How long after a cancel a host's component is waited for.
const GIVE_UP: Duration = Duration::from_secs(5);
/// How long a worker whose connection is over may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What tells glibc's allocator (mallopt(3)) to give memory back. By itself it keeps what each thread freed for that
/// thread, large buffers as well: a first backup of 1.7 GB then peaked at 131 MB instead of 83.
const ALLOCATOR: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "1048576"), ("MALLOC_TRIM_THRESHOLD_", "4194304")];

/// How workers are started.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The program and arguments, before the hidden ones.
    pub(crate) command: Vec<OsString>,
    /// What a worker's environment has and this process's has not; `None` takes a variable away.
    pub(crate) environment: Vec<(OsString, Option<OsString>)>,
    /// What a worker is told.
    pub(crate) configuration: Configuration,
    /// The host's components that a worker may call.
    pub(crate) components: Components,
    /// How long a worker may take to greet.
    pub(crate) greeting_deadline: Duration,
    /// How long it may take to stop after a cancel.
    pub(crate) cancel_grace: Duration,
    /// How long an idle one is kept.
    pub(crate) idle: Duration,
}

impl Launch {
    /// The setting `worker.command`, else what the builder was told, else this program itself.
    pub(crate) fn find_command(
        setting: &[String],
        builder: Option<Vec<OsString>>,
        root: &Path,
    ) -> Result<Vec<OsString>> {
        let mut command = match builder {
            _ if !setting.is_empty() => setting.iter().map(OsString::from).collect(),
            Some(command) if !command.is_empty() => command,
            _ => return own_program().map(|program| vec![program.into()]),
        };
        // A relative path in the settings starts at the root, like every other.
        let program = PathBuf::from(&command[0]);
        if program.is_relative() && program.components().count() > 1 {
            command[0] = root.join(program).into();
        }
        Ok(command)
    }
}

/// This program. Through `/proc` it is the very file that runs, even when an upgrade has replaced it since.
fn own_program() -> Result<PathBuf> {
    let of_process = Path::new("/proc/self/exe");
    if of_process.exists() {
        return Ok(of_process.to_owned());
    }
    std::env::current_exe().map_err(|e| {
        Error::io("find this program, to start it as a worker", e)
            .with_hint("name the worker's program in worker.command")
    })
}

/// A running worker, seen from the host.
#[derive(Debug)]
pub(super) struct Worker {
    peer: Peer,
    child: ChildHandle,
    server: Arc<ComponentServer>,
}

/// The host's side of the calls that a worker makes.
struct HostService(Arc<ComponentServer>);

#[async_trait::async_trait]
impl Service for HostService {
    async fn serve(&self, _: &Peer, called: &str, request: Payload, scope: Scope) -> Result<Payload> {
        match called {
            method::COMPONENT => self.0.serve(request, scope).await,
            other => Err(Error::new(ErrorKind::Unsupported, format!("a worker cannot call {other:?} of its host"))),
        }
    }
}

impl Worker {
    /// Starts one, greets it and configures it. Dropped meanwhile, the child is killed.
    pub(super) async fn start(launch: &Launch, lane: Lane, alive: watch::Sender<usize>) -> Result<Self> {
        let mut argv = launch.command.clone();
        let host = serde_json::to_string(&ProcessIdentity::current())
            .map_err(|error| Error::internal(format!("the host's identity is not JSON: {error}")))?;
        argv.extend([MARKER.into(), lane.as_str().into(), host.into()]);
        let mut program = command(&argv, None)?;
        // Whoever has set them for this process meant them.
        program.envs(ALLOCATOR.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()));
        for (name, value) in &launch.environment {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        let (child, stdin, stdout) = ChildHandle::start(program, &argv, alive)?;
        let killer = KillOnDrop(Some(child.clone()));

        let greeted = tokio::time::timeout(launch.greeting_deadline, Self::meet(launch, &child, stdin, stdout)).await;
        let error = match greeted {
            Ok(Ok(worker)) => {
                killer.disarm();
                return Ok(worker);
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let seconds = launch.greeting_deadline.as_secs_f64();
                not_a_worker(&launch.command, &format!("did not greet within {seconds} s"))
            }
        };
        // A moment to end by itself: its exit status and its last words tell more than our kill.
        let ended = child.end_within(Duration::from_millis(500)).await;
        Err(with_last_words(error.with_context("ended", ended.exit), &ended.stderr))
    }

    async fn meet(
        launch: &Launch,
        child: &ChildHandle,
        mut stdin: ChildStdin,
        mut stdout: ChildStdout,
    ) -> Result<Self> {
        let said = |what: &str| not_a_worker(&launch.command, what);
        greet(&mut stdin, &Hello::ours()).await.map_err(|_| said("ended before it greeted"))?;
        let hello = match greeting(&mut stdout).await {
            Ok(Some(hello)) => hello,
            Ok(None) => return Err(said("ended before it greeted")),
            Err(error) => return Err(said("printed something else than a greeting").with_source(error)),
        };
        hello.accept("worker")?;
        child.greeted_by(hello.pid);
        let server = Arc::new(ComponentServer::new(launch.components.clone(), Some(GIVE_UP)));
        let peer = Peer::start(stdout, stdin, Arc::new(HostService(Arc::clone(&server))), false);
        let worker = Self { peer, child: child.clone(), server };
        let configure = Request {
            method: method::CONFIGURE,
            payload: Payload::of(&launch.configuration)?,
            reply_bytes: 0,
            doing: "its configuration".into(),
        };
        worker.call(configure, &Scope::default(), &Cancel::new(), Duration::ZERO).await?;
        Ok(worker)
    }

    /// Whether it can take another call.
    pub(super) fn is_open(&self) -> bool {
        self.peer.is_open()
    }

    /// Calls it. When `cancel` is raised it is told, given `grace` to answer, and then killed; time in which it
    /// says that it must not be interrupted does not count.
    pub(super) async fn call(
        &self,
        request: Request,
        scope: &Scope,
        cancel: &Cancel,
        grace: Duration,
    ) -> Result<Payload> {
        let Request { method, payload, reply_bytes, doing } = request;
        let stage = Arc::new(Mutex::new(None::<String>));
        let (firm_sender, firm) = watch::channel(false);
        let progress = {
            let (stage, outer) = (Arc::clone(&stage), scope.progress.clone());
            Progress::new(move |event| {
                firm_sender.send_if_modified(|firm| std::mem::replace(firm, event.uninterruptible) != *firm);
                *stage.lock().unwrap_or_else(PoisonError::into_inner) = Some(event.stage.clone());
                outer.report(event);
            })
        };
        let answered = match self.peer.begin(method, payload, reply_bytes, progress).await {
            Ok(mut call) => tokio::select! {
                reply = call.reply() => Some(reply),
                () = cancel.cancelled() => {
                    call.cancel();
                    reply_within(&mut call, grace, firm).await
                }
            },
            Err(CallError::Lost) => Some(Err(super::peer::Lost)),
            Err(CallError::Refused(error)) => return Err(error),
        };
        let result = match answered {
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                let stage = stage.lock().unwrap_or_else(PoisonError::into_inner).take();
                Err(self.crashed(&doing, stage).await)
            }
            None => {
                self.child.kill();
                self.child.ended().await;
                let seconds = grace.as_secs_f64();
                Err(Error::new(
                    ErrorKind::Cancelled,
                    format!(
                        "cancelled by the caller; {doing} did not stop within {seconds} s and its worker was killed"
                    ),
                ))
            }
        };
        self.server.close_handles().await;
        result
    }

    /// Kills it with all it started.
    pub(super) async fn kill(&self) {
        self.child.kill();
        self.child.ended().await;
    }

    /// Ends it: at once when it is idle, by force when it does not.
    pub(super) async fn end(&self, patience: Duration) {
        self.peer.close();
        self.child.end_within(patience).await;
    }

    /// The report of a worker that is gone.
    async fn crashed(&self, doing: &str, stage: Option<String>) -> Error {
        // A worker that no longer reads, but holds its output open, is as gone as one that has ended.
        let closed = tokio::time::timeout(END_PATIENCE, self.peer.closed()).await.unwrap_or(Closed::Ended);
        if matches!(closed, Closed::Broken(_)) {
            self.child.kill();
        }
        self.peer.close();
        let Ended { exit, stderr } = self.child.end_within(END_PATIENCE).await;
        let at = stage.as_ref().map(|stage| format!(" while {stage}")).unwrap_or_default();
        let again = "nothing was lost: try again";
        let error = match (closed, exit) {
            (Closed::Broken(body), _) => Error::internal(format!("the worker of {doing} sent garbage{at}"))
                .with_source(Error::from(body))
                .with_hint(format!("{again}; if it repeats, look at what the worker's program prints")),
            (Closed::Ended, Exit::Signal(libc::SIGKILL)) => {
                Error::new(ErrorKind::Unavailable, format!("the worker of {doing} was killed by {exit}{at}"))
                    .with_hint(format!("{again}; if nobody killed it, the machine or the container ran out of memory"))
            }
            (Closed::Ended, Exit::Signal(libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT)) => {
                Error::new(ErrorKind::Unavailable, format!("the worker of {doing} was stopped by {exit}{at}"))
                    .with_hint(again)
            }
            (Closed::Ended, _) => Error::internal(format!("the worker of {doing} ended with {exit}{at}"))
                .with_hint(format!("{again}; if it repeats, report it with this message")),
        };
        let error = match stage {
            Some(stage) => error.with_context("stage", stage),
            None => error,
        };
        with_last_words(error.with_context("ended", exit).with_retryable(true), &stderr)
    }
}

/// Waits for the answer of a cancelled call; `None` when `grace` is over.
async fn reply_within(
    call: &mut OpenCall,
    grace: Duration,
    mut firm: watch::Receiver<bool>,
) -> Option<Result<Result<Payload>, super::peer::Lost>> {
    let mut left = grace;
    loop {
        let counts = !*firm.borrow_and_update();
        let since = Instant::now();
        tokio::select! {
            reply = call.reply() => return Some(reply),
            () = tokio::time::sleep(left), if counts => return None,
            Ok(()) = firm.changed() => {}
        }
        if counts {
            left = left.saturating_sub(since.elapsed());
        }
    }
}

fn not_a_worker(command: &[OsString], what: &str) -> Error {
    let program = command.first().cloned().unwrap_or_default();
    Error::new(ErrorKind::Unavailable, format!("the worker's program {program:?} {what}"))
        .with_hint(
            "set worker.command to the uplifted-ops program, or call uplifted_ops::worker::run_if_worker() first \
             thing in main",
        )
        .with_retryable(false)
}

fn with_last_words(error: Error, stderr: &str) -> Error {
    match stderr.trim() {
        "" => error,
        said => error.with_context("stderr", said),
    }
}

/// Kills a child unless disarmed.
struct KillOnDrop(Option<ChildHandle>);

impl KillOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            child.kill();
        }
    }
}
