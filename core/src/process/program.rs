//! Starting programs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

use super::capture::{Capture, Watcher};
use super::exit::Exit;
use super::identity::ProcessIdentity;
use super::priority;

/// How many of the last bytes of stdout, and of stderr, are kept unless said otherwise: 64 KiB.
pub const OUTPUT_LIMIT: usize = 64 * 1024;

/// A program to run to its end: an argument vector, never a shell line.
///
/// It runs in a process group of its own, with `/dev/null` as standard input. When the caller cancels, the
/// deadline passes or the future is dropped, the whole group is killed. When the program ends by itself, what
/// it left behind is not: `pg_ctl start` is meant to leave something behind.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use uplifted_ops::{Scope, process::Program};
///
/// let argv = vec!["uname".into(), "-s".into()];
/// let output = Program::new(argv).deadline(Duration::from_secs(5)).run(&Scope::default()).await?;
/// assert!(output.status.success());
/// # Ok::<(), uplifted_ops::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Program {
    argv: Vec<OsString>,
    cwd: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    without: Vec<OsString>,
    deadline: Option<Duration>,
    output_limit: usize,
    watcher: Watching,
}

/// Who sees what a program prints.
#[derive(Clone, Default)]
struct Watching(Option<Watcher>);

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watching").field(&self.0.is_some()).finish()
    }
}

/// What a program that ended by itself left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramOutput {
    /// The program, for messages.
    pub program: String,
    /// How it ended.
    pub status: Exit,
    /// The last bytes of its standard output.
    pub stdout: Vec<u8>,
    /// Bytes of its standard output that came before those.
    pub stdout_dropped: u64,
    /// The last bytes of its standard error.
    pub stderr: Vec<u8>,
    /// Bytes of its standard error that came before those.
    pub stderr_dropped: u64,
    /// How long it ran.
    pub duration: Duration,
}

impl ProgramOutput {
    /// The output, unless the program failed.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] with the status and the last lines of standard error.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        let said = last_words(&self.stderr);
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        Err(Error::new(ErrorKind::Unavailable, format!("{:?} ended with {}{said}", self.program, self.status))
            .with_hint("run it by hand to see what it needs"))
    }
}

/// The last line that says something, at most 300 characters of it.
pub(crate) fn last_words(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("").chars().take(300).collect()
}

impl Program {
    /// The program `argv[0]` with the arguments after it. A name without `/` is looked up in `PATH`; a relative
    /// one with `/` starts at the working directory that it is given.
    pub fn new(argv: Vec<OsString>) -> Self {
        Self {
            argv,
            cwd: None,
            env: Vec::new(),
            without: Vec::new(),
            deadline: None,
            output_limit: OUTPUT_LIMIT,
            watcher: Watching::default(),
        }
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cwd = Some(folder.into());
        self
    }

    /// Sets an environment variable beside those of this process.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Keeps an environment variable of this process from it, unless [`Program::env`] sets it.
    #[must_use]
    pub fn without(mut self, name: impl Into<OsString>) -> Self {
        self.without.push(name.into());
        self
    }

    /// Shows all that it prints to standard output to `watcher`, in its order, as it comes.
    #[must_use]
    pub fn watched(mut self, watcher: Watcher) -> Self {
        self.watcher = Watching(Some(watcher));
        self
    }

    /// Kills it when it takes longer.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Keeps this many of the last bytes of stdout, and of stderr.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Runs it to its end. A failure of the program is an output, see [`ProgramOutput::success`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an empty `argv`, [`ErrorKind::NotFound`] and [`ErrorKind::Denied`] for a
    /// program that is missing or not executable, [`ErrorKind::Timeout`], [`ErrorKind::Cancelled`].
    pub async fn run(&self, scope: &Scope) -> Result<ProgramOutput> {
        scope.cancel.check()?;
        let mut command = command(&self.argv, self.cwd.as_deref())?;
        let (mut stdout, stdout_end) = Capture::pipe(self.output_limit)?;
        stdout.watch(self.watcher.0.clone());
        let (mut stderr, stderr_end) = Capture::pipe(self.output_limit)?;
        self.without.iter().for_each(|name| {
            command.env_remove(name);
        });
        command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(stdout_end)
            .stderr(stderr_end)
            .process_group(0);
        let started = scope.clock.monotonic();
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().map_err(|e| cannot_start(&self.argv, e))?;
        // It holds our copies of the pipes' other ends, without whose closing no end is ever read.
        drop(command);
        let group = GroupGuard::of(child.id());

        let ended = tokio::select! {
            status = child.wait() => Ok(Exit::of(status)),
            error = self.interrupted(scope) => Err(error),
            // Never wins: reading to the end is not the end, since what is left behind may hold the pipe.
            () = async { tokio::join!(stdout.fill(), stderr.fill()); std::future::pending().await } => Ok(Exit::Unknown),
        };
        let ended = match ended {
            Ok(status) => {
                group.disarm();
                Ok(status)
            }
            Err(error) => {
                // The group first, then the wait: until then the number cannot mean anybody else.
                drop(group);
                let _ = child.wait().await;
                Err(error)
            }
        };
        stdout.drain();
        stderr.drain();
        match ended {
            Ok(status) => Ok(ProgramOutput {
                program: self.name(),
                status,
                stdout: stdout.tail(),
                stdout_dropped: stdout.dropped(),
                stderr: stderr.tail(),
                stderr_dropped: stderr.dropped(),
                duration: scope.clock.monotonic().saturating_sub(started),
            }),
            Err(error) => Err(match last_words(&stderr.tail()) {
                said if said.is_empty() => error,
                said => error.with_context("stderr", said),
            }),
        }
    }

    /// Returns, with the error that says why, when the program must not run on.
    async fn interrupted(&self, scope: &Scope) -> Error {
        let late = async {
            match self.deadline {
                Some(deadline) => {
                    tokio::time::sleep(deadline).await;
                    deadline
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = scope.cancel.cancelled() => {
                Error::new(ErrorKind::Cancelled, format!("cancelled by the caller; {:?} was killed", self.name()))
            }
            deadline = late => Error::new(
                ErrorKind::Timeout,
                format!("{:?} did not end within {} s and was killed", self.name(), deadline.as_secs_f64()),
            )
            .with_hint("run it by hand to see what it waits for, or allow it more time"),
        }
    }

    fn name(&self) -> String {
        self.argv.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// Starts a program that outlives us: in a session of its own, with `/dev/null` as its three streams.
/// It is waited for by a thread, so that it leaves no zombie while we run.
///
/// # Errors
/// As [`Program::run`], for what goes wrong before the program runs.
pub fn start_detached(argv: Vec<OsString>, cwd: &Path) -> Result<ProcessIdentity> {
    let mut command = command(&argv, Some(cwd))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    priority::in_own_session(&mut command);
    let mut child = command.spawn().map_err(|e| cannot_start(&argv, e))?;
    let pid = child.id();
    // Taken before the wait: the number is its own until then. One that has ended already has no other name.
    let identity = ProcessIdentity::of(pid).unwrap_or_else(|| ProcessIdentity {
        pid,
        start_time: 0,
        ..ProcessIdentity::current()
    });
    std::thread::Builder::new()
        .name("reap".into())
        .stack_size(64 * 1024)
        .spawn(move || child.wait())
        .map_err(|e| Error::io("start the thread that waits for a program", e))?;
    Ok(identity)
}

/// The command of `argv`, not yet started.
pub(crate) fn command(argv: &[OsString], cwd: Option<&Path>) -> Result<Command> {
    let Some((program, arguments)) = argv.split_first().filter(|(program, _)| !program.is_empty()) else {
        return Err(Error::invalid("there is no program to start: the list of arguments is empty")
            .with_hint("name the program and its arguments as a list: [\"systemctl\", \"stop\", \"uplifted\"]"));
    };
    let mut program = PathBuf::from(program);
    if let Some(folder) = cwd {
        // The system call reports a missing folder as a missing program.
        if !folder.is_dir() {
            return Err(Error::new(ErrorKind::NotFound, format!("{folder:?} is not a folder to start {program:?} in"))
                .with_hint("create it, or name another working directory"));
        }
        if program.is_relative() && program.components().count() > 1 {
            program = folder.join(program);
        }
    }
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(folder) = cwd {
        command.current_dir(folder);
    }
    Ok(command)
}

/// The error of a start that failed.
pub(crate) fn cannot_start(argv: &[OsString], error: std::io::Error) -> Error {
    let program = argv.first().cloned().unwrap_or_default();
    let doing = format!("start {program:?}");
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("could not {doing}: there is no such program"))
                .with_hint("install it, or give its absolute path: PATH may differ from that of your shell")
                .with_source(error)
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::Denied, format!("could not {doing}: it is not executable for this user"))
                .with_hint("make it executable (chmod +x), or run as the user that may")
                .with_source(error)
        }
        _ if error.raw_os_error() == Some(libc::ENOEXEC) => {
            Error::new(ErrorKind::InvalidInput, format!("could not {doing}: it is not a program of this machine"))
                .with_hint("begin a script with #! and its interpreter, or use the build for this machine")
                .with_source(error)
        }
        _ => Error::io(doing, error),
    }
}

/// Kills a process group unless disarmed.
#[derive(Debug)]
struct GroupGuard(Option<Pid>);

impl GroupGuard {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(super::stat::raw))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
