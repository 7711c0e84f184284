//! An object on its way, in parts of bounded memory.
//!
//! Up to one part is kept and put at once, if absent. Anything longer becomes a multipart upload (Amazon S3 User Guide,
//! "Uploading and copying objects using multipart upload"), two parts of which travel while the next one fills.

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Location;
use object_store::{Attribute, Attributes, PutMultipartOptions, PutPayload};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::AmazonS3;
use tokio::task::JoinSet;

use super::S3Target;
use crate::backup::decorate::RetryPolicy;
use crate::backup::target::Upload;
use crate::backup::targets::fs::check_block;
use crate::cancel::{Cancel, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::value::random_hex;

/// The most parts of an object (Amazon S3 User Guide, "Multipart upload limits").
const MOST_PARTS: u64 = 10_000;
/// After so many parts they are twice as large, so that an object of unknown size can grow to 300 GB.
const GROW_AFTER: usize = 2_500;
/// How many parts travel at once.
const IN_FLIGHT: usize = 2;
/// Metadata that tells our upload from another to the same key.
const MARK: &str = "uplifted-ops-upload";
/// How long clearing away is worth trying.
const CLEAR_AWAY: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct S3Upload {
    target: S3Target,
    scope: Scope,
    key: String,
    place: Location,
    part_size: usize,
    pending: Vec<u8>,
    parts: Option<Parts>,
    failed: bool,
}

/// A multipart upload that has begun.
#[derive(Debug)]
struct Parts {
    id: String,
    mark: String,
    sent: Vec<Option<PartId>>,
    sent_bytes: u64,
    travelling: JoinSet<Result<(usize, PartId)>>,
}

impl S3Upload {
    pub(super) fn new(target: S3Target, scope: Scope, key: &str, place: Location, expected: Option<u64>) -> Self {
        // A tenth more than expected fits as well.
        let needed = expected.map_or(0, |expected| expected / (MOST_PARTS - MOST_PARTS / 10) + 1);
        let part_size = target.0.config.part_size.max(usize::try_from(needed).unwrap_or(usize::MAX));
        Self { target, scope, key: key.to_owned(), place, part_size, pending: Vec::new(), parts: None, failed: false }
    }

    /// Sends the first `len` bytes that are kept as the next part, begun if need be.
    async fn send(&mut self, len: usize) -> Result<()> {
        let rest = self.pending.split_off(len);
        let part = Bytes::from(std::mem::replace(&mut self.pending, rest));
        if self.parts.is_none() {
            self.parts = Some(self.begin().await?);
        }
        let Some(parts) = &mut self.parts else { return Err(Error::internal("an upload has no parts")) };
        while parts.travelling.len() >= IN_FLIGHT {
            parts.arrived().await?;
        }
        let number = parts.sent.len();
        if number as u64 >= MOST_PARTS {
            return Err(Error::invalid(format!("{:?} is longer than {MOST_PARTS} parts", self.key))
                .with_hint("set a larger part_size for this target"));
        }
        parts.sent.push(None);
        parts.sent_bytes += part.len() as u64;
        let (target, scope) = (self.target.clone(), self.scope.clone());
        let (key, place, id) = (self.key.clone(), self.place.clone(), parts.id.clone());
        parts.travelling.spawn(async move {
            let doing = format!("store part {} of {key:?}", number + 1);
            let once = |_| {
                let put = async |store: Arc<AmazonS3>| {
                    store.put_part(&place, &id, number, PutPayload::from(part.clone())).await
                };
                target.attempt(&scope, part.len() as u64, false, put)
            };
            Ok((number, target.request(&scope, &doing, once).await?))
        });
        if (number + 1).is_multiple_of(GROW_AFTER) {
            self.part_size *= 2;
        }
        Ok(())
    }

    async fn begin(&self) -> Result<Parts> {
        let mark = random_hex(24)?;
        let doing = format!("begin {:?}", self.key);
        let once = |_| {
            let attributes = Attributes::from_iter([(Attribute::Metadata(MARK.into()), mark.clone())]);
            let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
            let begin = async |store: Arc<AmazonS3>| store.create_multipart_opts(&self.place, options).await;
            self.target.attempt(&self.scope, 0, false, begin)
        };
        let id = self.target.request(&self.scope, &doing, once).await?;
        Ok(Parts { id, mark, sent: Vec::new(), sent_bytes: 0, travelling: JoinSet::new() })
    }

    /// Makes the parts an object, unless there is one.
    async fn complete(&mut self) -> Result<()> {
        let Some(parts) = &mut self.parts else { return Err(Error::internal("an upload has no parts")) };
        while !parts.travelling.is_empty() {
            parts.arrived().await?;
        }
        let sent: Option<Vec<PartId>> = parts.sent.iter().cloned().collect();
        let sent = sent.ok_or_else(|| Error::internal("a part of an upload did not arrive"))?;
        let (target, scope) = (&self.target, &self.scope);
        // Servers that cannot complete on a condition are asked before: a race of two is left to the lease then.
        if target.head(scope, &self.key, &self.place).await?.is_some() {
            return Err(exists(&self.key));
        }
        let conditional = target.is_conditional(scope).await?;
        let doing = format!("complete {:?}", self.key);
        let id = parts.id.clone();
        let once = |_| {
            let (place, id, sent) = (&self.place, &id, sent.clone());
            async move {
                let complete = async |store: Arc<AmazonS3>| store.complete_multipart(place, id, sent).await.map(drop);
                match target.attempt(scope, 4 << 20, conditional, complete).await {
                    Ok(()) => Ok(true),
                    Err(fault) if fault.is_there_already() => Ok(false),
                    Err(fault) => Err(fault),
                }
            }
        };
        match target.request(scope, &doing, once).await {
            Ok(true) => Ok(()),
            Ok(false) if self.is_ours().await? => Ok(()),
            Ok(false) => Err(exists(&self.key)),
            // A try whose answer was lost may have done it, and then the upload is unknown to the next one.
            Err(_) if self.is_ours().await.unwrap_or(false) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the object under our key is the one that this upload made.
    async fn is_ours(&self) -> Result<bool> {
        let Some(parts) = &self.parts else { return Ok(false) };
        let found = self.target.head(&self.scope, &self.key, &self.place).await?;
        Ok(found.is_some_and(|found| {
            let mark = found.attributes.get(&Attribute::Metadata(MARK.into()));
            found.meta.size == parts.sent_bytes && mark.is_some_and(|mark| mark.as_ref() == parts.mark)
        }))
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<()> {
        check_block(bytes.len() as u64)?;
        self.pending.extend_from_slice(bytes);
        // What fits one part is kept: an object that ends here is put at once, and if absent.
        while self.pending.len() > self.part_size {
            self.send(self.part_size).await?;
        }
        Ok(())
    }
}

impl Parts {
    /// Waits for one part to arrive.
    async fn arrived(&mut self) -> Result<()> {
        let Some(joined) = self.travelling.join_next().await else { return Ok(()) };
        let (number, part) = joined.map_err(|error| Error::internal(format!("sending a part ended: {error}")))??;
        self.sent[number] = Some(part);
        Ok(())
    }
}

/// Removes what was sent of a multipart upload.
async fn clear_away(target: S3Target, scope: Scope, key: String, place: Location, id: String) -> Result<()> {
    let scope = Scope { cancel: Cancel::new(), ..scope };
    let doing = format!("clear away the parts of {key:?}");
    let policy = RetryPolicy { deadline: CLEAR_AWAY.min(target.0.policy.deadline), ..target.0.policy };
    let once = |_| async {
        let abort = async |store: Arc<AmazonS3>| store.abort_multipart(&place, &id).await;
        match target.attempt(&scope, 0, false, abort).await {
            Err(fault) if fault.is_missing() => Ok(()),
            done => done.map_err(|fault| target.explain(fault, &doing)),
        }
    };
    policy.run(&scope, once).await
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::internal(format!("the upload of {:?} was used after it failed", self.key)));
        }
        let taken = self.take(bytes).await;
        // A write that is dropped half way leaves it set.
        self.failed = taken.is_err();
        taken
    }

    async fn read_back(&mut self, _: Range<u64>) -> Result<Vec<u8>> {
        Err(Error::new(ErrorKind::Unsupported, "S3 shows nothing of an object before it is complete")
            .with_hint("finish the upload and read the object"))
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::internal(format!("the upload of {:?} was finished after it failed", self.key)));
        }
        if self.parts.is_none() {
            let bytes = Bytes::from(std::mem::take(&mut self.pending));
            // Two machines at one key are left to the lease where the server does not tell them apart.
            let put = self.target.put_new(&self.scope, &self.key, &self.place, &bytes, Duration::ZERO);
            let created = put.await?;
            return if created { Ok(()) } else { Err(exists(&self.key)) };
        }
        let mut done = Ok(());
        if !self.pending.is_empty() {
            done = self.send(self.pending.len()).await;
        }
        if done.is_ok() {
            done = self.complete().await;
        }
        match done {
            Ok(()) => {
                self.parts = None;
                Ok(())
            }
            Err(error) => {
                // What went wrong matters more than what is left, which nobody sees.
                let _ = self.abort().await;
                Err(error)
            }
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let Some(mut parts) = self.parts.take() else { return Ok(()) };
        parts.travelling.shutdown().await;
        let (target, scope) = (self.target.clone(), self.scope.clone());
        clear_away(target, scope, self.key.clone(), self.place.clone(), parts.id).await
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (target, scope) = (self.target.clone(), self.scope.clone());
        let cleared = clear_away(target, scope, self.key.clone(), self.place.clone(), parts.id.clone());
        runtime.spawn(async move {
            let mut parts = parts;
            parts.travelling.shutdown().await;
            let _ = cleared.await;
        });
    }
}

fn exists(key: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("{key:?} exists already, and a backup replaces nothing"))
        .with_hint("start the backup again: every run has a name of its own")
}
