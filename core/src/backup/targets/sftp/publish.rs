//! From a hidden name to an object's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh_sftp::protocol::{OpenFlags, StatusCode};

use super::fault::Fault;
use super::session::Session;
use super::{FileType, SftpTarget, kind_of};
use crate::backup::decorate::RetryPolicy;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::value::random_hex;

/// What is being written is called `.partial-<random>`, beside where it will lie.
const PARTIAL: &str = ".partial-";
/// Whoever may give the name away has made `.turn-<name>`, where the server's rename alone does not decide.
const TURN: &str = ".turn-";
/// A partial file of nobody who lives, in seconds.
const DEAD_PARTIAL: u32 = 24 * 3600;
/// A turn takes a rename. Whoever takes so long is dead.
const DEAD_TURN: Duration = Duration::from_secs(60);
/// How often a turn may be refused with nobody to be seen who has it.
const REFUSALS: u32 = 20;
/// How long to wait before looking again whose turn it is.
const TURN_WAIT: Duration = Duration::from_millis(100);
/// How long clearing away is worth trying.
const CLEAR_AWAY: Duration = Duration::from_secs(15);

/// The folder of a path; empty for where the login begins.
pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => "",
    }
}

/// An object under its hidden name.
#[derive(Debug)]
pub(super) struct Hidden {
    target: SftpTarget,
    path: String,
    partial: String,
    /// Whether a rename was asked for whose reply may have been lost.
    renaming: AtomicBool,
}

impl Hidden {
    pub(super) fn new(target: &SftpTarget, key: &str) -> Result<Self> {
        let path = target.path_of(key)?;
        let partial = beside(&path, &format!("{PARTIAL}{}", random_hex(16)?));
        Ok(Self { target: target.clone(), path, partial, renaming: AtomicBool::new(false) })
    }

    /// Where the object will lie.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Makes the hidden file, empty, and its folder. Returns a handle to write and to read by.
    pub(super) async fn create(&self, session: &Session) -> Result<String, Fault> {
        let folder = parent(&self.path);
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::READ | OpenFlags::WRITE;
        let handle = match session.open(&self.partial, flags).await {
            Err(fault) if fault.is_missing() => {
                make_folders(session, folder).await?;
                session.open(&self.partial, flags).await?
            }
            opened => opened?,
        };
        if self.target.swept().insert(folder.to_owned()) {
            self.sweep(session, folder).await?;
        }
        Ok(handle)
    }

    /// Opens the hidden file again, over a new connection.
    pub(super) async fn open_again(&self, session: &Session) -> Result<String, Fault> {
        session.open(&self.partial, OpenFlags::READ | OpenFlags::WRITE).await
    }

    /// Whether a rename whose reply was lost was carried out: then nothing has the hidden name any more.
    pub(super) async fn was_published(&self, session: &Session) -> Result<bool, Fault> {
        if !self.renaming.load(Ordering::SeqCst) || session.look(&self.partial).await?.is_some() {
            return Ok(false);
        }
        session.sync_folder(parent(&self.path)).await?;
        Ok(true)
    }

    /// Gives the file its name, in place of what has it.
    pub(super) async fn publish(&self, session: &Session) -> Result<(), Fault> {
        self.renaming.store(true, Ordering::SeqCst);
        session.replace(&self.partial, &self.path).await?;
        session.sync_folder(parent(&self.path)).await
    }

    /// Gives the file its name, and returns `false` when something has it.
    pub(super) async fn publish_new(&self, session: &Session) -> Result<bool, Fault> {
        if self.target.has_links(session).await? {
            return self.rename(session).await;
        }
        let turn = beside(&self.path, &format!("{TURN}{}", name(&self.path)));
        if !take_turn(session, &turn, &self.path).await? {
            return Ok(false);
        }
        let renamed = match session.look(&self.path).await {
            Ok(Some(_)) => Ok(false),
            Ok(None) => self.rename(session).await,
            Err(fault) => Err(fault),
        };
        session.remove(&turn).await?;
        renamed
    }

    async fn rename(&self, session: &Session) -> Result<bool, Fault> {
        self.renaming.store(true, Ordering::SeqCst);
        match session.rename(&self.partial, &self.path).await {
            Ok(()) => session.sync_folder(parent(&self.path)).await.map(|()| true),
            // Of what a server says only a look tells why: most know no word for "exists".
            Err(Fault::Answer(code, said)) => match session.look(&self.path).await? {
                Some(_) => Ok(false),
                None => Err(Fault::Answer(code, said)),
            },
            Err(fault) => Err(fault),
        }
    }

    /// Removes the hidden file, some time soon, whoever still waits for what.
    pub(super) fn clear_away(&self) {
        let (target, partial) = (self.target.clone(), self.partial.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remove(&target, &partial).await });
        }
    }

    /// Removes the hidden file.
    pub(super) async fn remove(&self) -> Result<()> {
        remove(&self.target, &self.partial).await
    }

    /// Removes what dead runs left in the folder, by the server's clock, which our new file tells.
    async fn sweep(&self, session: &Session, folder: &str) -> Result<(), Fault> {
        let Some(now) = session.look(&self.partial).await?.and_then(|attributes| attributes.mtime) else {
            return Ok(());
        };
        for file in session.names(folder).await?.unwrap_or_default() {
            let is_dead = file.attrs.mtime.is_some_and(|time| time.saturating_add(DEAD_PARTIAL) < now);
            if is_dead && file.filename.starts_with(PARTIAL) && kind_of(&file.attrs) == FileType::File {
                session.remove(&beside(&self.partial, &file.filename)).await?;
            }
        }
        Ok(())
    }
}

/// Tries for a while: the one who clears away may be the one whose connection broke.
async fn remove(target: &SftpTarget, partial: &str) -> Result<()> {
    let policy = RetryPolicy { deadline: CLEAR_AWAY, ..target.0.policy };
    let once = |session: Arc<Session>, _| async move { session.remove(partial).await.map(drop) };
    target.request_by(&policy, &Scope::default(), "clear away what was written", once).await
}

impl SftpTarget {
    /// Whether files can have a second name there: then a rename that replaces nothing is one step. Found out once, by
    /// a file that is given two.
    pub(super) async fn has_links(&self, session: &Session) -> Result<bool, Fault> {
        let probe = self.0.links.get_or_try_init(|| async {
            let name = self.below(&format!("{PARTIAL}{}", random_hex(16)?));
            make_folders(session, parent(&name)).await?;
            let handle = session.open(&name, OpenFlags::CREATE | OpenFlags::WRITE).await?;
            session.close(&handle).await?;
            let second = format!("{name}-2");
            let linked = session.link(&name, &second).await;
            // The second time must fail: a server may say yes to everything.
            let again = match &linked {
                Ok(()) => session.link(&name, &second).await,
                Err(_) => Ok(()),
            };
            session.remove(&name).await?;
            session.remove(&second).await?;
            match (linked, again) {
                (Err(fault @ (Fault::Lost(_) | Fault::Ours(_))), _)
                | (_, Err(fault @ (Fault::Lost(_) | Fault::Ours(_)))) => Err(fault),
                (linked, again) => Ok::<_, Fault>(linked.is_ok() && again.is_err()),
            }
        });
        probe.await.copied()
    }

    /// Bytes that can still be stored in the folder, or where it will be made.
    pub(super) async fn free(&self, session: &Session) -> Result<Option<u64>, Fault> {
        let mut folder = self.0.config.folder.as_str();
        loop {
            match session.free_bytes(folder).await {
                Err(fault) if fault.is_missing() && !matches!(folder, "" | "/") => folder = parent(folder),
                told => return told,
            }
        }
    }
}

/// Makes a folder and those above it that are missing.
async fn make_folders(session: &Session, folder: &str) -> Result<(), Fault> {
    let mut lacking = Vec::new();
    let mut at = folder;
    while !matches!(at, "" | "/") && !session.is_folder(at).await? {
        lacking.push(at);
        at = parent(at);
    }
    for folder in lacking.into_iter().rev() {
        if !session.make_folder(folder).await? && !session.is_folder(folder).await? {
            return Err(Fault::Ours(
                Error::new(ErrorKind::Refused, format!("the SFTP server does not make the folder {folder:?}"))
                    .with_hint("a file may be in its place, or the disk full; make it by hand to see"),
            ));
        }
        session.sync_folder(parent(folder)).await?;
    }
    Ok(())
}

/// Makes the file of the turn, which only one can; `false` when somebody was first and the object is there.
async fn take_turn(session: &Session, turn: &str, path: &str) -> Result<bool, Fault> {
    let flags = OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE;
    let (began, mut refused) = (tokio::time::Instant::now(), 0);
    loop {
        match session.open(turn, flags).await {
            Ok(handle) => return session.close(&handle).await.map(|()| true),
            Err(Fault::Answer(StatusCode::Failure, said)) => {
                if session.look(path).await?.is_some() {
                    return Ok(false);
                }
                if session.look(turn).await?.is_none() {
                    // Given back since, unless the server refuses for another reason.
                    refused += 1;
                    if refused > REFUSALS {
                        return Err(Fault::Answer(StatusCode::Failure, said));
                    }
                } else if began.elapsed() > DEAD_TURN {
                    session.remove(turn).await?;
                }
                tokio::time::sleep(TURN_WAIT).await;
            }
            Err(fault) => return Err(fault),
        }
    }
}

fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn beside(path: &str, name: &str) -> String {
    match parent(path) {
        "" => name.to_owned(),
        "/" => format!("/{name}"),
        folder => format!("{folder}/{name}"),
    }
}
