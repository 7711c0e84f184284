//! A folder of an SFTP server as a place where backups go: a NAS, a storage box, any machine one may log into.
//!
//! ```toml
//! [[target]]
//! name = "nas"
//! kind = "sftp"
//! url = "sftp://backup@nas.local/srv/backup"   # or sftp://backup@nas.local/~/shop, in that user's home
//! identity_file = "/etc/shop/id_ed25519"       # or leave it to ~/.ssh/config and an agent
//! ```
//!
//! | setting | meaning | when missing |
//! | --- | --- | --- |
//! | `identity_file` | the private key of the login | ssh's own choice |
//! | `known_hosts_file` | the keys of servers that are trusted | `~/.ssh/known_hosts` |
//! | `ssh_options` | more options of `ssh`, such as `"ProxyJump=door.example"` | none |
//! | `command` | a program to run in place of `ssh`, which speaks SFTP by its standard input and output | `ssh` |
//! | `timeout_seconds` | how long the server may be silent | 30 |
//! | `retry_seconds` | how long a request is tried again over new connections; 0: never | 180 |
//!
//! **The way there** is OpenSSH's own client, which is started and spoken to by pipes. So `~/.ssh/config`, agents,
//! jump hosts, hardware keys and the care for the server's key are those that a person knows from `ssh`, and it asks
//! nothing: what it does not know it refuses.
//!
//! **Whole or not at all.** An object is written under a hidden name, synced (`fsync@openssh.com`), and renamed, which
//! replaces nothing. A hidden file that a dead run left goes a day later, by the server's clock.
//!
//! **Create if absent** is as sure as the server's rename. Where files there can have a second name (`link`), OpenSSH
//! renames by that, and exactly one of many comes first. Elsewhere [`probe`](BackupTarget::probe) says no, and those who
//! write at the same moment take turns by a file that only one can make.
//!
//! **Lost replies.** A rename whose reply was lost with the connection was carried out when the hidden name is gone.
//!
//! To let the login do nothing but this, on the server: `ForceCommand internal-sftp` and `ChrootDirectory` in its
//! `sshd_config`, see sshd_config(5).

mod config;
mod fault;
mod publish;
mod session;
mod upload;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use russh_sftp::protocol::{FileAttributes, FileType, OpenFlags};
use serde_json::{Map, Value};

use self::config::Config;
use self::fault::Fault;
use self::publish::Hidden;
use self::session::Session;
use self::upload::SftpUpload;
use super::fs::{check_block, missing};
use crate::backup::decorate::RetryPolicy;
use crate::backup::target::{BackupTarget, Object, TargetCapability, Upload, check_key};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{BuildContext, Kind, Placement};
use crate::error::{Error, ErrorKind, Result};

/// A folder of an SFTP server.
pub const KIND: Kind<dyn BackupTarget> = Kind {
    name: "sftp",
    summary: "a folder of another machine, by SFTP over ssh",
    placement: Placement::Worker,
    build,
    detect: None,
};

/// The most objects that one call of `list` returns.
const PAGE: usize = 1000;

fn build(context: &BuildContext, settings: &Map<String, Value>) -> Result<Arc<dyn BackupTarget>> {
    Ok(Arc::new(SftpTarget::new(context, settings)?))
}

/// A folder of an SFTP server, see [the module](self). Clones share one connection.
#[derive(Clone)]
pub struct SftpTarget(Arc<Shared>);

struct Shared {
    config: Config,
    policy: RetryPolicy,
    /// Made by the first request, and again when it broke.
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    /// Folders that were cleared of what the dead left.
    swept: Mutex<HashSet<String>>,
    /// Whether files can have a second name there, once that is known.
    links: tokio::sync::OnceCell<bool>,
}

impl fmt::Debug for SftpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpTarget").field("location", &self.0.config.location).finish_non_exhaustive()
    }
}

impl SftpTarget {
    /// A target with the settings of `[[target]]`, see [the module](self). Asks nobody.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for settings that make no sense.
    pub fn new(context: &BuildContext, settings: &Map<String, Value>) -> Result<Self> {
        let config = Config::read(context, settings)?;
        Ok(Self(Arc::new(Shared {
            policy: config.policy,
            config,
            session: tokio::sync::Mutex::default(),
            swept: Mutex::default(),
            links: tokio::sync::OnceCell::new(),
        })))
    }

    /// Changes when requests are tried again. For a target that nobody uses yet.
    #[must_use]
    pub fn with_policy(mut self, policy: RetryPolicy) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.policy = policy;
        }
        self
    }

    /// The session, begun when there is none.
    async fn session(&self) -> Result<Arc<Session>, Fault> {
        let mut session = self.0.session.lock().await;
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        let begun = Arc::new(Session::start(&self.0.config).await?);
        *session = Some(Arc::clone(&begun));
        Ok(begun)
    }

    /// Asks, and asks again over a new connection when the old one broke, until it is answered or the time is up.
    async fn request<T, F>(&self, scope: &Scope, doing: &str, once: impl Fn(Arc<Session>, u32) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        self.request_by(&self.0.policy, scope, doing, once).await
    }

    async fn request_by<T, F>(
        &self,
        policy: &RetryPolicy,
        scope: &Scope,
        doing: &str,
        once: impl Fn(Arc<Session>, u32) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let try_it = async |number: u32| {
            let session = self.session().await?;
            let done = once(Arc::clone(&session), number).await;
            if let Err(Fault::Lost(_)) = &done {
                let mut current = self.0.session.lock().await;
                if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &session)) {
                    *current = None;
                }
            }
            done
        };
        let told = |fault: Fault| {
            // What the server answered it answers again.
            let again = matches!(&fault, Fault::Lost(error) if error.retryable());
            fault.error(&self.0.config.location, doing).with_retryable(again)
        };
        let call = |number| async move {
            tokio::select! {
                done = try_it(number) => done.map_err(told),
                () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
            }
        };
        policy.run(scope, call).await
    }

    /// The path of an object on the server, and its key checked.
    fn path_of(&self, key: &str) -> Result<String> {
        check_key(key)?;
        Ok(self.below(key))
    }

    /// The path of what lies below the folder.
    fn below(&self, name: &str) -> String {
        match self.0.config.folder.trim_end_matches('/') {
            "" if self.0.config.folder.is_empty() => name.to_owned(),
            folder => format!("{folder}/{name}"),
        }
    }

    fn swept(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first [`PAGE`] objects after `after` that start with `prefix`.
    async fn objects(&self, session: &Session, prefix: &str, after: Option<&str>) -> Result<Vec<Object>, Fault> {
        let (mut page, mut folders) = (BTreeSet::new(), vec![String::new()]);
        while let Some(folder) = folders.pop() {
            let path = if folder.is_empty() { self.0.config.folder.clone() } else { self.below(&folder) };
            let path = if path == "/" { "/" } else { path.trim_end_matches('/') };
            // Not written to yet, or deleted since it was listed.
            let Some(names) = session.names(path).await? else { continue };
            for file in names {
                let name = format!("{folder}{}", file.filename);
                // A name that is no key cannot be asked for, so it is not offered: `.`, `..`, hidden and foreign files.
                if check_key(&name).is_err() {
                    continue;
                }
                match kind_of(&file.attrs) {
                    FileType::Dir => {
                        let below = format!("{name}/");
                        if below.starts_with(prefix) || prefix.starts_with(&below) {
                            folders.push(below);
                        }
                    }
                    FileType::File if name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after) => {
                        page.insert(Listed(object(&name, &file.attrs)));
                        if page.len() > PAGE {
                            page.pop_last();
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(page.into_iter().map(|Listed(object)| object).collect())
    }
}

/// An object, in the order of keys.
struct Listed(Object);

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Listed {}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Listed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

fn kind_of(attributes: &FileAttributes) -> FileType {
    // The kind is in the upper bits of the mode (sys/stat.h), which servers send though the draft forgets to say so.
    const KIND_OF_FILE: u32 = 0o170_000;
    FileType::from(attributes.permissions.unwrap_or(0) & KIND_OF_FILE)
}

fn object(key: &str, attributes: &FileAttributes) -> Object {
    let modified = Timestamp::from_second(i64::from(attributes.mtime.unwrap_or(0)));
    Object {
        key: key.to_owned(),
        size_bytes: attributes.size.unwrap_or(0),
        modified_at: modified.unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

#[async_trait]
impl BackupTarget for SftpTarget {
    fn capability(&self) -> TargetCapability {
        TargetCapability {
            kind: KIND.name.to_owned(),
            location: self.0.config.location.clone(),
            folder: None,
            put_if_absent: self.0.links.get().copied().unwrap_or(false),
            read_before_finish: true,
        }
    }

    async fn probe(&self, scope: &Scope) -> Result<TargetCapability> {
        self.request(scope, "see whether files can have two names", |session, _| async move {
            self.has_links(&session).await
        })
        .await?;
        Ok(self.capability())
    }

    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        check_block(bytes.len() as u64)?;
        let hidden = Hidden::new(self, key)?;
        let (hidden, doing) = (&hidden, format!("store {key:?}"));
        let once = |session: Arc<Session>, _| async move {
            if hidden.was_published(&session).await? {
                return Ok(true);
            }
            if if_absent && session.look(hidden.path()).await?.is_some() {
                return Ok(false);
            }
            let handle = hidden.create(&session).await?;
            session.write(&handle, 0, bytes).await?;
            session.sync(&handle).await?;
            session.close(&handle).await?;
            if if_absent {
                return hidden.publish_new(&session).await;
            }
            hidden.publish(&session).await.map(|()| true)
        };
        let put = self.request(scope, &doing, once).await;
        if !matches!(put, Ok(true)) {
            hidden.clear_away();
        }
        put
    }

    async fn upload(&self, scope: &Scope, key: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        let upload = SftpUpload::new(self, scope, key)?;
        upload.begin(expected_bytes).await?;
        Ok(Box::new(upload))
    }

    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        check_block(range.end.saturating_sub(range.start))?;
        let path = &self.path_of(key)?;
        let range = &range;
        let once = |session: Arc<Session>, _| async move {
            // Both at once: what is no file must not be read, and a look costs a way to the server and back.
            let (kind, handle) = tokio::join!(session.look(path), session.open(path, OpenFlags::READ));
            let is_file = kind?.is_some_and(|attributes| kind_of(&attributes) == FileType::File);
            match handle {
                Ok(handle) if is_file => {
                    let bytes = session.read(&handle, range.clone()).await;
                    session.let_go(handle);
                    bytes
                }
                Ok(handle) => {
                    session.let_go(handle);
                    Err(Fault::Ours(missing(key)))
                }
                Err(fault) if fault.is_missing() || !is_file => Err(Fault::Ours(missing(key))),
                Err(fault) => Err(fault),
            }
        };
        self.request(scope, &format!("read {key:?}"), once).await
    }

    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let once = |session: Arc<Session>, _| async move { self.objects(&session, prefix, after).await };
        self.request(scope, "list the objects", once).await
    }

    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        let path = &self.path_of(key)?;
        let once = |session: Arc<Session>, _| async move {
            let found = session.look(path).await?.filter(|attributes| kind_of(attributes) == FileType::File);
            Ok(found.map(|attributes| object(key, &attributes)))
        };
        self.request(scope, &format!("look at {key:?}"), once).await
    }

    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        let path = &self.path_of(key)?;
        let once = |session: Arc<Session>, _| async move {
            if session.look(path).await?.is_none_or(|attributes| kind_of(&attributes) != FileType::File) {
                return Ok(());
            }
            session.remove(path).await?;
            session.sync_folder(publish::parent(path)).await
        };
        self.request(scope, &format!("delete {key:?}"), once).await
    }

    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        let once = |session: Arc<Session>, _| async move { self.free(&session).await };
        self.request(scope, "ask for the free space", once).await
    }
}

#[cfg(test)]
mod tests;
