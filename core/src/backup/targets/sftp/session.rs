//! A session: a program that carries SFTP, and what one asks of the server (draft-ietf-secsh-filexfer-02, which is
//! version 3 of the protocol, and OpenSSH's additions in its file `PROTOCOL`).

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as Protocol;
use russh_sftp::client::rawsession::Limits;
use russh_sftp::extensions;
use russh_sftp::protocol::{File, FileAttributes, OpenFlags, Packet, StatusCode};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::config::Config;
use super::fault::{Fault, silent, unborn};
use crate::error::{Error, ErrorKind};
use crate::process::{Capture, cannot_start, command, last_words};

/// How many blocks travel at once, as OpenSSH's own client does it (sftp(1), `-R`).
const IN_FLIGHT: usize = 64;
/// The longest block that every server takes (draft-ietf-secsh-filexfer-02, 3).
const SMALL_BLOCK: u64 = 32 << 10;
/// The longest block asked for where the server takes more: with its header it fits the longest packet we read.
const LARGE_BLOCK: u64 = 255 << 10;
/// How many of the last bytes of what the program complains are kept.
const COMPLAINTS: usize = 4096;
/// How long a program that has no session to give may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);
const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// A part of a file that was asked for, and what came.
type Arrived = (Range<u64>, Result<Vec<u8>, Fault>);

/// A session with the server. It ends when dropped.
pub(super) struct Session {
    raw: Arc<RawSftpSession>,
    timeout: Duration,
    read_block: u64,
    write_block: u64,
    can_sync: bool,
    can_replace: bool,
    can_tell_space: bool,
    _program: Child,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("can_sync", &self.can_sync).finish_non_exhaustive()
    }
}

impl Session {
    /// Starts the program and greets the server.
    pub(super) async fn start(config: &Config) -> Result<Self, Fault> {
        let program = config.argv.first().cloned().unwrap_or_default();
        let (mut complaints, stderr) = Capture::pipe(COMPLAINTS)?;
        let mut child = Command::from(command(&config.argv, None)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // A Ctrl-C is for us, who then end it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| cannot_start(&config.argv, error))?;
        let (Some(from), Some(to)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(Error::internal(format!("{program:?} has no pipes")).into());
        };
        let complaints = tokio::spawn(async move {
            complaints.fill().await;
            complaints.tail()
        });
        let mut raw = RawSftpSession::new(tokio::io::join(from, to));
        // Silence is watched here, for each block that travels.
        raw.set_timeout(u64::from(u32::MAX));
        // A login takes several answers, each of which may take its time.
        let version = match within(config.timeout * 3, raw.init()).await {
            Ok(version) => version,
            Err(fault) => {
                let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
                let still_runs = child.try_wait().ok().flatten().is_none();
                drop((raw, child));
                if still_runs {
                    return Err(fault);
                }
                let said = tokio::time::timeout(LAST_WORDS, complaints).await;
                let said = said.ok().and_then(Result::ok).unwrap_or_default();
                return Err(Fault::Lost(unborn(&program, &config.location, &meaning(&said))));
            }
        };
        let has = |name: &str| version.extensions.contains_key(name);
        let (mut read_block, mut write_block) = (SMALL_BLOCK, SMALL_BLOCK);
        if has(extensions::LIMITS) {
            let limits = Limits::from(within(config.timeout, raw.limits()).await?);
            let block = |limit: Option<u64>| limit.unwrap_or(SMALL_BLOCK).clamp(1, LARGE_BLOCK);
            (read_block, write_block) = (block(limits.read_len), block(limits.write_len));
            raw.set_limits(limits);
        }
        Ok(Self {
            raw: Arc::new(raw),
            timeout: config.timeout,
            read_block,
            write_block,
            can_sync: has(extensions::FSYNC),
            can_replace: has(POSIX_RENAME),
            can_tell_space: has(extensions::STATVFS),
            _program: child,
        })
    }

    async fn ask<T>(&self, request: impl Future<Output = Result<T, Protocol>>) -> Result<T, Fault> {
        within(self.timeout, request).await
    }

    /// Opens a file; one that is made is nobody else's to read.
    pub(super) async fn open(&self, path: &str, flags: OpenFlags) -> Result<String, Fault> {
        Ok(self.ask(self.raw.open(path, flags, private(0o600))).await?.handle)
    }

    /// Closes a handle, and hears of what could not be written.
    pub(super) async fn close(&self, handle: &str) -> Result<(), Fault> {
        self.ask(self.raw.close(handle)).await.map(drop)
    }

    /// Closes a handle that was only read from; nobody waits for it.
    pub(super) fn let_go(&self, handle: String) {
        let (raw, timeout) = (Arc::clone(&self.raw), self.timeout);
        tokio::spawn(async move { within(timeout, raw.close(handle)).await.map(drop) });
    }

    /// Reads exactly `range`, less only where the file ends.
    pub(super) async fn read(&self, handle: &str, range: Range<u64>) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)];
        let (mut next, mut end) = (range.start, range.end);
        let mut travelling = JoinSet::new();
        loop {
            while next < end && travelling.len() < IN_FLIGHT {
                let part = next..end.min(next + self.read_block);
                next = part.end;
                self.ask_for(&mut travelling, handle, part);
            }
            let Some(arrived) = travelling.join_next().await else { break };
            let (part, answer) = arrived.map_err(|error| Error::internal(format!("a read did not end: {error}")))?;
            match answer {
                Ok(data) if data.is_empty() || data.len() as u64 > part.end - part.start => {
                    return Err(Fault::Lost(Error::new(
                        ErrorKind::Unavailable,
                        format!("the SFTP server sent {} bytes of {} asked for", data.len(), part.end - part.start),
                    )));
                }
                Ok(data) => {
                    let at = (part.start - range.start) as usize;
                    bytes[at..at + data.len()].copy_from_slice(&data);
                    // Fewer than asked for says nothing of the end: the rest is asked for by itself.
                    let rest = part.start + data.len() as u64..part.end;
                    if !rest.is_empty() {
                        self.ask_for(&mut travelling, handle, rest);
                    }
                }
                Err(fault) if fault.is_end() => end = end.min(part.start),
                Err(fault) => return Err(fault),
            }
        }
        bytes.truncate((end - range.start) as usize);
        Ok(bytes)
    }

    fn ask_for(&self, travelling: &mut JoinSet<Arrived>, handle: &str, part: Range<u64>) {
        let (raw, handle, timeout) = (Arc::clone(&self.raw), handle.to_owned(), self.timeout);
        travelling.spawn(async move {
            let len = u32::try_from(part.end - part.start).unwrap_or(u32::MAX);
            let data = within(timeout, raw.read(handle, part.start, len)).await.map(|data| data.data);
            (part, data)
        });
    }

    /// Writes all of `bytes` at `offset`.
    pub(super) async fn write(&self, handle: &str, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut parts = bytes.chunks(self.write_block as usize).zip((offset..).step_by(self.write_block as usize));
        let mut travelling = JoinSet::new();
        loop {
            while travelling.len() < IN_FLIGHT
                && let Some((part, at)) = parts.next()
            {
                let (raw, handle, part) = (Arc::clone(&self.raw), handle.to_owned(), part.to_vec());
                let timeout = self.timeout;
                travelling.spawn(async move { within(timeout, raw.write(handle, at, part)).await.map(drop) });
            }
            match travelling.join_next().await {
                Some(written) => {
                    written.map_err(|error| Error::internal(format!("a write did not end: {error}")))??;
                }
                None => return Ok(()),
            }
        }
    }

    /// Waits until what was written lies on the server's disk, where the server can say so.
    pub(super) async fn sync(&self, handle: &str) -> Result<(), Fault> {
        if !self.can_sync {
            return Ok(());
        }
        // A filesystem that has no such thing (FUSE ones) is as good as a server that has not.
        match self.ask(self.raw.fsync(handle)).await {
            Err(Fault::Answer(StatusCode::OpUnsupported, _)) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Waits until a folder's names lie on the server's disk. A server that opens no folders for reading, or syncs
    /// none, keeps them as its filesystem does.
    pub(super) async fn sync_folder(&self, folder: &str) -> Result<(), Fault> {
        if !self.can_sync {
            return Ok(());
        }
        let synced = match self.open(here_if_empty(folder), OpenFlags::READ).await {
            Ok(handle) => {
                let synced = self.sync(&handle).await;
                self.let_go(handle);
                synced
            }
            Err(fault) => Err(fault),
        };
        match synced {
            Err(Fault::Answer(..)) => Ok(()),
            done => done,
        }
    }

    /// What lies under a name, without following links; `None` for nothing.
    pub(super) async fn look(&self, path: &str) -> Result<Option<FileAttributes>, Fault> {
        match self.ask(self.raw.lstat(here_if_empty(path))).await {
            Ok(attributes) => Ok(Some(attributes.attrs)),
            Err(Fault::Answer(StatusCode::NoSuchFile, _)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// What an open file is.
    pub(super) async fn look_by(&self, handle: &str) -> Result<FileAttributes, Fault> {
        Ok(self.ask(self.raw.fstat(handle)).await?.attrs)
    }

    /// Whether there is a folder, also by a link.
    pub(super) async fn is_folder(&self, path: &str) -> Result<bool, Fault> {
        match self.ask(self.raw.stat(here_if_empty(path))).await {
            Ok(attributes) => Ok(attributes.attrs.is_dir()),
            Err(Fault::Answer(StatusCode::NoSuchFile, _)) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Everything in a folder; `None` where there is none.
    pub(super) async fn names(&self, folder: &str) -> Result<Option<Vec<File>>, Fault> {
        let handle = match self.ask(self.raw.opendir(here_if_empty(folder))).await {
            Ok(handle) => handle.handle,
            Err(fault) if fault.is_missing() => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let mut all = Vec::new();
        let end = loop {
            match self.ask(self.raw.readdir(handle.as_str())).await {
                Ok(names) => all.extend(names.files),
                Err(fault) => break fault,
            }
        };
        self.let_go(handle);
        if end.is_end() { Ok(Some(all)) } else { Err(end) }
    }

    /// Makes one folder; `false` when the server refuses, for one because it is there.
    pub(super) async fn make_folder(&self, folder: &str) -> Result<bool, Fault> {
        match self.ask(self.raw.mkdir(folder, private(0o700))).await {
            Ok(_) => Ok(true),
            Err(Fault::Answer(StatusCode::Failure, _)) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Gives a file another name that must be free: SSH_FXP_RENAME, of which the draft says that it replaces nothing.
    pub(super) async fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.ask(self.raw.rename(from, to)).await.map(drop)
    }

    /// Gives a file a second name that must be free.
    pub(super) async fn link(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.ask(self.raw.hardlink(from, to)).await.map(drop)
    }

    /// Gives a file another name, in place of what has it: rename(2).
    pub(super) async fn replace(&self, from: &str, to: &str) -> Result<(), Fault> {
        if !self.can_replace {
            return Err(Fault::Answer(StatusCode::OpUnsupported, format!("no {POSIX_RENAME}")));
        }
        let mut names = Vec::new();
        for name in [from, to] {
            names.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
            names.extend(name.bytes());
        }
        match self.ask(self.raw.extended(POSIX_RENAME, names)).await? {
            Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
            Packet::Status(status) => Err(Protocol::Status(status).into()),
            _ => Err(Protocol::UnexpectedPacket.into()),
        }
    }

    /// Removes a file, and whether there was one.
    pub(super) async fn remove(&self, path: &str) -> Result<bool, Fault> {
        match self.ask(self.raw.remove(path)).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_missing() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Bytes that the login may still store where `folder` is, `None` where the server cannot tell.
    pub(super) async fn free_bytes(&self, folder: &str) -> Result<Option<u64>, Fault> {
        if !self.can_tell_space {
            return Ok(None);
        }
        match self.ask(self.raw.statvfs(here_if_empty(folder))).await {
            Ok(space) => Ok(Some(space.fragment_size.saturating_mul(space.blocks_avail))),
            Err(Fault::Answer(StatusCode::OpUnsupported, _)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// Waits for an answer, but not for ever.
async fn within<T>(timeout: Duration, request: impl Future<Output = Result<T, Protocol>>) -> Result<T, Fault> {
    match tokio::time::timeout(timeout, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(silent(timeout)),
    }
}

fn private(mode: u32) -> FileAttributes {
    FileAttributes { permissions: Some(mode), ..FileAttributes::empty() }
}

/// The name of the folder where the login begins.
fn here_if_empty(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

/// The line that says what is wrong: ssh's last one is often only that the connection is closed.
fn meaning(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let told = text.lines().map(str::trim).find(|line| {
        [
            "verification failed",
            "IDENTIFICATION HAS CHANGED",
            "Permission denied",
            "failed on channel",
            "bad permissions",
        ]
        .iter()
        .any(|words| line.contains(words))
    });
    told.map_or_else(|| last_words(said), |line| line.chars().take(300).collect())
}
