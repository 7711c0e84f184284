//! An object on its way.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::SftpTarget;
use super::fault::Fault;
use super::publish::Hidden;
use super::session::Session;
use crate::backup::target::Upload;
use crate::backup::targets::fs::check_block;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::value::ByteSize;

/// A file being written under its hidden name. A connection that breaks costs the block that travelled: the file is
/// opened again, and the block is written once more to its place.
#[derive(Debug)]
pub(super) struct SftpUpload {
    target: SftpTarget,
    scope: Scope,
    key: String,
    hidden: Hidden,
    /// The file, and the session that it is open in.
    open: Mutex<Option<(Arc<Session>, String)>>,
    begun: AtomicBool,
    written: AtomicU64,
    failed: bool,
    ended: bool,
}

impl SftpUpload {
    pub(super) fn new(target: &SftpTarget, scope: &Scope, key: &str) -> Result<Self> {
        Ok(Self {
            hidden: Hidden::new(target, key)?,
            target: target.clone(),
            scope: scope.clone(),
            key: key.to_owned(),
            open: Mutex::default(),
            begun: AtomicBool::new(false),
            written: AtomicU64::new(0),
            failed: false,
            ended: false,
        })
    }

    /// Makes the hidden file, unless there is an object already or too little room.
    pub(super) async fn begin(&self, expected_bytes: Option<u64>) -> Result<()> {
        let begin = |session: Arc<Session>, _| async move {
            if session.look(self.hidden.path()).await?.is_some() {
                return Err(Fault::Ours(self.exists()));
            }
            if let Some(expected) = expected_bytes
                && let Some(free) = self.target.free(&session).await?.filter(|free| *free < expected)
            {
                return Err(Fault::Ours(self.no_room(expected, free)));
            }
            self.handle(&session).await.map(drop)
        };
        self.target.request(&self.scope, &format!("begin {:?}", self.key), begin).await
    }

    /// A handle of the file in this session.
    async fn handle(&self, session: &Arc<Session>) -> Result<String, Fault> {
        let mut open = self.open.lock().await;
        if let Some((of, handle)) = &*open
            && Arc::ptr_eq(of, session)
        {
            return Ok(handle.clone());
        }
        let handle = match self.begun.load(Ordering::SeqCst) {
            true => self.hidden.open_again(session).await?,
            false => self.hidden.create(session).await?,
        };
        self.begun.store(true, Ordering::SeqCst);
        *open = Some((Arc::clone(session), handle.clone()));
        Ok(handle)
    }

    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::internal(format!("the upload of {:?} was used after it failed", self.key)));
        }
        Ok(())
    }

    fn exists(&self) -> Error {
        Error::new(ErrorKind::Refused, format!("{:?} exists already, and a backup replaces nothing", self.key))
            .with_hint("start the backup again: every run has a name of its own")
    }

    fn no_room(&self, needed: u64, free: u64) -> Error {
        let place = &self.target.0.config.location;
        let (needed, free) = (ByteSize(needed), ByteSize(free));
        Error::new(ErrorKind::NoSpace, format!("{place} has {free} free, the backup may need {needed}"))
            .with_hint("free space on the server, or name another [[target]]")
    }
}

#[async_trait]
impl Upload for SftpUpload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.usable()?;
        check_block(bytes.len() as u64)?;
        self.failed = true;
        let this = &*self;
        let at = this.written.load(Ordering::SeqCst);
        let write = |session: Arc<Session>, _| async move {
            let handle = this.handle(&session).await?;
            session.write(&handle, at, bytes).await
        };
        this.target.request(&this.scope, &format!("store {:?}", this.key), write).await?;
        this.written.store(at + bytes.len() as u64, Ordering::SeqCst);
        self.failed = false;
        Ok(())
    }

    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        self.usable()?;
        check_block(range.end.saturating_sub(range.start))?;
        let (this, range) = (&*self, &range);
        let read = |session: Arc<Session>, _| async move {
            let handle = this.handle(&session).await?;
            if range.start == 0 {
                session.sync(&handle).await?;
            }
            session.read(&handle, range.clone()).await
        };
        this.target.request(&this.scope, &format!("read {:?} back", this.key), read).await
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.usable()?;
        let this = &*self;
        let finish = |session: Arc<Session>, _| async move {
            if this.hidden.was_published(&session).await? {
                return Ok(true);
            }
            let handle = this.handle(&session).await?;
            // A connection that broke may have taken with it what was answered for, though the server lives.
            let size = session.look_by(&handle).await?.size;
            let written = this.written.load(Ordering::SeqCst);
            if size != Some(written) {
                return Err(Fault::Ours(Error::new(
                    ErrorKind::Corrupt,
                    format!("{:?} has {size:?} bytes on the server after {written} were written", this.key),
                )));
            }
            session.sync(&handle).await?;
            *this.open.lock().await = None;
            session.close(&handle).await?;
            this.hidden.publish_new(&session).await
        };
        let published = this.target.request(&this.scope, &format!("finish {:?}", this.key), finish).await?;
        self.ended = published;
        if published { Ok(()) } else { Err(self.exists()) }
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.ended = true;
        if let Some((session, handle)) = self.open.lock().await.take() {
            session.let_go(handle);
        }
        self.hidden.remove().await
    }
}

impl Drop for SftpUpload {
    fn drop(&mut self) {
        if !self.ended && self.begun.load(Ordering::SeqCst) {
            self.hidden.clear_away();
        }
    }
}
