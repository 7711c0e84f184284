//! The worker process: from the hidden argument to its end.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::unix::pipe::{Receiver, Sender};

use crate::component::Kind;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::fault;
use crate::health::HealthCheck;
use crate::ops::{Entry, Kinds, Lane};
use crate::process::{self, ProcessIdentity};
use crate::store::Store;

use super::MARKER;
use super::peer::Peer;
use super::protocol::{Hello, greet, greeting};
use super::server::Server;

/// The exit status of a worker that could not begin.
const COULD_NOT_BEGIN: i32 = 70;

/// What a host program adds to its workers: drivers of its own that must run beside the service's files.
///
/// Give the same to [`run_if_worker_with`] and to
/// [`OpsBuilder::setup`](crate::ops::OpsBuilder::setup): the host must know the kinds as well.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(crate) kinds: Kinds,
    pub(crate) operations: &'static [Entry],
}

impl Default for Setup {
    fn default() -> Self {
        Self { kinds: crate::ops::builtin_kinds(), operations: &[] }
    }
}

impl Setup {
    /// What this build has, and nothing more.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind of store.
    #[must_use]
    pub fn kind_store(mut self, kind: Kind<dyn Store>) -> Self {
        self.kinds.stores.register(kind);
        self
    }

    /// Adds a kind of backup target.
    #[must_use]
    pub fn kind_target(mut self, kind: Kind<dyn crate::backup::BackupTarget>) -> Self {
        self.kinds.targets.register(kind);
        self
    }

    /// Adds a kind of health check.
    #[must_use]
    pub fn kind_check(mut self, kind: Kind<dyn HealthCheck>) -> Self {
        self.kinds.checks.register(kind);
        self
    }

    /// Adds operations beside those of the table: for tests.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn operations(mut self, operations: &'static [Entry]) -> Self {
        self.operations = operations;
        self
    }
}

/// Becomes a worker when this process was started as one, and then never returns. Call it first thing in
/// `main`, before threads are started and files opened.
pub fn run_if_worker() {
    if started_as_worker() {
        run_if_worker_with(Setup::new());
    }
}

/// [`run_if_worker`] for a host with drivers of its own.
pub fn run_if_worker_with(setup: Setup) {
    if started_as_worker() {
        run(std::env::args_os().skip(2), setup);
    }
}

/// Whether this process was started to be a worker.
pub fn started_as_worker() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == MARKER)
}

/// Runs a worker; never returns. `arguments` are those after [`MARKER`]. For the loaders of other languages;
/// Rust hosts call [`run_if_worker`].
pub fn run(arguments: impl IntoIterator<Item = OsString>, setup: Setup) -> ! {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match begin(&arguments, setup) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            eprintln!("uplifted-ops worker: {error}{hint}");
            std::process::exit(COULD_NOT_BEGIN)
        }
    }
}

fn begin(arguments: &[OsString], setup: Setup) -> Result<()> {
    let (lane, host) = parse(arguments)?;
    // A session of its own: out of reach of the terminal's Ctrl-C, which goes to the host, and the mark by which
    // everything started here is found and killed. Refused only to one that leads a group already.
    let _ = rustix::process::setsid();
    let (input, output) = take_pipes()?;
    fault::set_role("worker");
    super::panics::remember_places();
    // Both before any thread is started: priorities are inherited, and an orphan does nothing at all.
    if lane == Lane::Heavy {
        process::priority::lower();
    }
    if !process::is_ancestor(host.pid, std::process::id()) {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("process {} is to be the host, and did not start this worker", host.pid),
        )
        .with_hint("a worker is started by its host, not by hand"));
    }
    process::end_with(&host)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_name("uplifted-ops")
        .enable_all()
        .build()
        .map_err(|e| Error::io("start the worker's threads", e))?;
    let result = runtime.block_on(serve(input, output, setup));
    // Threads that hang in a system call must not keep the process.
    runtime.shutdown_background();
    result
}

fn parse(arguments: &[OsString]) -> Result<(Lane, ProcessIdentity)> {
    let parsed = match arguments {
        [lane, host, ..] => Option::zip(
            lane.to_str().and_then(Lane::from_name),
            host.to_str().and_then(|text| serde_json::from_str(text).ok()),
        ),
        _ => None,
    };
    parsed.ok_or_else(|| {
        Error::invalid(format!("the arguments after {MARKER} are not a lane and a host"))
            .with_hint("a worker is started by its host, not by hand")
    })
}

/// Takes the two pipes away from the standard streams: what a library prints goes to standard error, and what
/// it reads is nothing.
fn take_pipes() -> Result<(OwnedFd, OwnedFd)> {
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};

    let take = || -> std::io::Result<(OwnedFd, OwnedFd)> {
        let input = fcntl_dupfd_cloexec(stdin(), 3)?;
        let output = fcntl_dupfd_cloexec(stdout(), 3)?;
        dup2_stdin(std::fs::File::open("/dev/null")?)?;
        dup2_stdout(stderr())?;
        Ok((input, output))
    };
    take().map_err(|e| Error::io("take the pipes to the host", e))
}

async fn serve(input: OwnedFd, output: OwnedFd, setup: Setup) -> Result<()> {
    let pipe = |e| Error::io("use the pipes to the host", e).with_hint("a worker is started by its host, not by hand");
    let mut reader = Receiver::from_owned_fd(input).map_err(pipe)?;
    let mut writer = Sender::from_owned_fd(output).map_err(pipe)?;
    // The host decides what an interrupt means. Caught rather than ignored: programs started here inherit an
    // ignored signal, and not a caught one.
    let _interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(pipe)?;

    let Some(host) = greeting(&mut reader).await? else { return Ok(()) };
    let accepted = host.accept("host");
    let hello = Hello { refused: accepted.as_ref().err().map(Error::to_body), ..Hello::ours() };
    greet(&mut writer, &hello).await?;
    accepted?;

    let server = Arc::new(Server::new(setup));
    let peer = Peer::start(reader, writer, Arc::clone(&server) as _, true);
    peer.closed().await;
    // The host let go of us: what runs was cancelled, and gets the time it would get from a living host.
    server.quiet(&peer).await;
    Ok(())
}
