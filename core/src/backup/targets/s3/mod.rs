//! A bucket of an S3 server as a place where backups go: Amazon S3, MinIO, Garage, Ceph, R2, and others.
//!
//! ```toml
//! [[target]]
//! name = "offsite"
//! kind = "s3"
//! url = "s3://backups/uplifted"            # bucket and prefix
//! endpoint = "https://minio.example:9000"  # not for Amazon's own
//! region = "eu-central-1"                  # AWS_REGION or the profile's when missing
//! access_key_id = "env:BACKUP_KEY_ID"      # or leave both out: environment, profile, container, machine
//! secret_access_key = "env:BACKUP_KEY"
//! ```
//!
//! | setting | meaning | when missing |
//! | --- | --- | --- |
//! | `path_style` | `https://host/bucket/key`, not `https://bucket.host/key` | with an `endpoint`, or a dot in the name |
//! | `allow_http` | lets `endpoint` be plain http | refused |
//! | `profile` | the profile in `~/.aws` that has the keys | `AWS_PROFILE`, `default` |
//! | `session_token` | belongs to keys that expire | none |
//! | `ca_file` | authorities to trust beside the system's, or a certificate that signs itself, PEM | none |
//! | `timeout_seconds` | how long the server may be silent | 30 |
//! | `retry_seconds` | how long a request is tried again; 0: never | 180 |
//! | `part_size` | bytes of a part of a large object | 8 MiB, more past 20 GB |
//!
//! **Whole or not at all.** S3 shows an object when its last byte has arrived, and a multipart upload when it is
//! completed. What a killed process has sent of one stays invisible and is paid for: a lifecycle rule of the bucket
//! (`AbortIncompleteMultipartUpload`) removes it.
//!
//! **Create if absent** (`If-None-Match: *`) is not on every server, and some ignore it. Whether this bucket has it is
//! asked once: an object `.create-if-absent` below the prefix is put twice, and the second must be refused. Where it is
//! not, [`capability`](BackupTarget::capability) says so, and a `put` with `if_absent` writes, waits for others who may
//! have written at the same moment, and looks whose object stayed.
//!
//! **Lost replies.** A request that failed on the way may have been carried out. Before a refusal to replace an object
//! counts, the object is compared with what was sent; one that has our content, or our mark, is ours.
//!
//! **Versions and object lock.** In a bucket with versioning a delete only hides an object behind a delete marker: its
//! bytes stay, and are paid for, until a lifecycle rule (`NoncurrentVersionExpiration`) or a person removes the version.
//! With object lock nobody removes it before its retention ends, not even who holds these keys: that is what protects
//! backups from an intruder. A server that refuses the delete itself is reported as
//! [`Refused`](crate::ErrorKind::Refused), with the reason.

mod conditional;
mod config;
mod credentials;
mod fault;
mod tls;
mod upload;
mod wire;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path as Location;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use serde_json::{Map, Value};

use self::config::Config;
use self::credentials::{Environment, Wallet};
use self::fault::{Fault, Place};
use super::fs::check_block;
use crate::backup::decorate::RetryPolicy;
use crate::backup::target::{BackupTarget, Object, TargetCapability, Upload, check_key};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{BuildContext, Kind, Placement};
use crate::error::{Error, ErrorKind, Result};

/// A bucket of an S3 server.
pub const KIND: Kind<dyn BackupTarget> = Kind {
    name: "s3",
    summary: "a bucket of Amazon S3, MinIO, Garage, Ceph, R2 or another S3 server",
    placement: Placement::Worker,
    build,
    detect: None,
};

/// The most objects that one call of `list` returns.
const PAGE: usize = 1000;

fn build(context: &BuildContext, settings: &Map<String, Value>) -> Result<Arc<dyn BackupTarget>> {
    Ok(Arc::new(S3Target::new(context, settings)?))
}

/// A bucket of an S3 server, see [the module](self). Clones share its connections and what is known of the bucket.
#[derive(Clone)]
pub struct S3Target(Arc<Shared>);

struct Shared {
    config: Config,
    location: String,
    wallet: Wallet,
    environment: Environment,
    policy: RetryPolicy,
    /// Made at the first request, and again when the credentials were refused.
    store: Mutex<Option<Arc<AmazonS3>>>,
    /// Whether a second put is refused, once that is known.
    conditional: tokio::sync::OnceCell<bool>,
    /// Whether the bucket was seen to exist.
    bucket_seen: std::sync::atomic::AtomicBool,
    /// Puts with `if_absent` take turns where the server does not arrange it.
    turn: tokio::sync::Mutex<()>,
    settle: std::time::Duration,
}

impl fmt::Debug for S3Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Target").field("location", &self.0.location).finish_non_exhaustive()
    }
}

impl S3Target {
    /// A target with the settings of `[[target]]`, see [the module](self). Asks nobody.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for settings that make no sense.
    pub fn new(context: &BuildContext, settings: &Map<String, Value>) -> Result<Self> {
        Self::with_environment(context, settings, Arc::new(|name: &str| std::env::var(name).ok()))
    }

    fn with_environment(
        context: &BuildContext,
        settings: &Map<String, Value>,
        environment: Environment,
    ) -> Result<Self> {
        let config = Config::read(context, settings)?;
        Ok(Self(Arc::new(Shared {
            location: config.location(),
            policy: config.policy,
            wallet: Wallet::new(config.clone(), Arc::clone(&environment)),
            environment,
            config,
            store: Mutex::default(),
            conditional: tokio::sync::OnceCell::new(),
            bucket_seen: std::sync::atomic::AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
            settle: conditional::SETTLE,
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

    /// Changes how long a `put` with `if_absent` waits for others on a server that lets everybody replace objects. For
    /// a target that nobody uses yet.
    #[must_use]
    pub fn with_settle(mut self, settle: std::time::Duration) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.settle = settle;
        }
        self
    }

    /// The client, made when there is none.
    fn store(&self) -> Result<Arc<AmazonS3>> {
        let mut store = self.0.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*store {
            return Ok(Arc::clone(store));
        }
        let made = Arc::new(self.connect()?);
        *store = Some(Arc::clone(&made));
        Ok(made)
    }

    fn connect(&self) -> Result<AmazonS3> {
        let Shared { config, wallet, environment, .. } = &*self.0;
        let region = match &config.region {
            Some(region) => Some(region.clone()),
            None => wallet.region()?,
        };
        let https = config.endpoint.as_ref().is_none_or(|endpoint| endpoint.https);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&config.bucket)
            .with_region(region.unwrap_or_else(|| "us-east-1".to_owned()))
            .with_virtual_hosted_style_request(!config.path_style)
            .with_allow_http(!https)
            // Bulk deletes are missing on some servers, and one key at a time is all that is asked.
            .with_disable_bulk_delete(true)
            // The retries are ours: each signs anew, and they stop when the caller cancels.
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_http_connector(wire::Connector::new(https, config.ca_file.as_deref(), config.timeout)?);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(match config.path_style {
                true => endpoint.to_string(),
                false => {
                    let scheme = if endpoint.https { "https" } else { "http" };
                    format!("{scheme}://{}.{}", config.bucket, endpoint.authority)
                }
            });
        }
        if wallet.keys()?.is_some() {
            builder = builder.with_credentials(Arc::new(wallet.clone()));
        } else {
            for (name, key) in [
                ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
                ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
                ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
                ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
            ] {
                if let Some(value) = environment(name) {
                    builder = builder.with_config(key, value);
                }
            }
        }
        builder.build().map_err(|error| {
            Error::invalid(format!("target {:?} cannot be used: {}", config.name, wallet.scrub(&error.to_string())))
                .with_hint("correct its settings in ops.toml")
        })
    }

    /// One try of a request that sends and receives at most `bytes`, see [`wire::watched`].
    async fn attempt<T, F>(
        &self,
        scope: &Scope,
        bytes: u64,
        create_only: bool,
        request: impl FnOnce(Arc<AmazonS3>) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let store = self.store().map_err(Fault::Ours)?;
        let done = tokio::select! {
            done = wire::watched(self.0.config.timeout, bytes, create_only, request(store)) => done,
            () = scope.cancel.cancelled() => Err(Fault::Ours(cancelled())),
        };
        done.inspect_err(|fault| {
            if fault.is_of_credentials() {
                *self.0.store.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        })
    }

    /// Tries a request until it succeeds, fails for good, or the time is up.
    async fn request<T, F>(&self, scope: &Scope, doing: &str, mut once: impl FnMut(u32) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let explained = |number| {
            let attempt = once(number);
            async move { attempt.await.map_err(|fault| self.explain(fault, doing)) }
        };
        self.0.policy.run(scope, explained).await
    }

    fn explain(&self, fault: Fault, doing: &str) -> Error {
        let Shared { config, location, wallet, .. } = &*self.0;
        let place = Place { bucket: &config.bucket, location, doing };
        fault.into_error(place, |text| wallet.scrub(text)).with_context("target", &config.name)
    }

    /// The place of a key that is ours, checked or not.
    fn locate(&self, key: &str) -> Result<Location> {
        Location::parse(format!("{}{key}", self.0.config.prefix))
            .map_err(|_| Error::invalid(format!("{key:?} is no key of an S3 object")))
    }

    /// The place of a caller's key.
    fn place(&self, key: &str) -> Result<Location> {
        check_key(key)?;
        self.locate(key)
    }

    /// Puts `bytes`; with `create` only where there is nothing, which a fault says.
    async fn put_once(&self, scope: &Scope, place: &Location, bytes: &bytes::Bytes, create: bool) -> Result<(), Fault> {
        let options = PutOptions::from(if create { PutMode::Create } else { PutMode::Overwrite });
        let payload = PutPayload::from(bytes.clone());
        let put = async |store: Arc<AmazonS3>| store.put_opts(place, payload, options).await.map(drop);
        self.attempt(scope, bytes.len() as u64, false, put).await
    }

    /// Puts `bytes` unconditionally.
    async fn replace(&self, scope: &Scope, key: &str, place: &Location, bytes: &bytes::Bytes) -> Result<()> {
        let doing = format!("store {key:?}");
        self.request(scope, &doing, |_| self.put_once(scope, place, bytes, false)).await
    }

    /// What HEAD says of an object, `None` when there is none.
    async fn head(&self, scope: &Scope, key: &str, place: &Location) -> Result<Option<object_store::GetResult>> {
        let doing = format!("look at {key:?}");
        let once = |_| async {
            let head = async |store: Arc<AmazonS3>| {
                store.get_opts(place, GetOptions { head: true, ..GetOptions::default() }).await
            };
            match self.attempt(scope, 0, false, head).await {
                Ok(found) => Ok(Some(found)),
                Err(fault) if fault.is_missing() => Ok(None),
                Err(fault) => Err(fault),
            }
        };
        let found = self.request(scope, &doing, once).await?;
        if found.is_none() {
            self.see_bucket(scope).await?;
        }
        Ok(found)
    }

    /// Makes sure that the bucket exists: HEAD of a missing key and HEAD in a missing bucket look the same.
    async fn see_bucket(&self, scope: &Scope) -> Result<()> {
        use std::sync::atomic::Ordering;
        if !self.0.bucket_seen.load(Ordering::Relaxed) {
            self.page(scope, "", None, None, 1).await?;
            self.0.bucket_seen.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// One answer of the server to a list, and where the next goes on.
    async fn page(
        &self,
        scope: &Scope,
        prefix: &str,
        after: Option<&str>,
        token: Option<String>,
        most: usize,
    ) -> Result<(Vec<ObjectMeta>, Option<String>)> {
        let ours = &self.0.config.prefix;
        let prefix = format!("{ours}{prefix}");
        let offset = after.map(|after| format!("{ours}{after}"));
        let once = |_| {
            let options = PaginatedListOptions {
                offset: offset.clone(),
                max_keys: Some(most),
                page_token: token.clone(),
                ..PaginatedListOptions::default()
            };
            let list = async |store: Arc<AmazonS3>| {
                let prefix = Some(prefix.as_str()).filter(|prefix| !prefix.is_empty());
                store.list_paginated(prefix, options).await
            };
            self.attempt(scope, 1 << 20, false, list)
        };
        let page = self.request(scope, "list", once).await?;
        Ok((page.result.objects, page.page_token))
    }

    /// An object as callers know it; `None` for what is none of theirs.
    fn object(&self, meta: &ObjectMeta) -> Option<Object> {
        let key = meta.location.as_ref().strip_prefix(&self.0.config.prefix)?;
        check_key(key).ok()?;
        // HEAD knows whole seconds (RFC 9110, section 8.8.2), and a list may know more: both say the same here.
        let modified_at = Timestamp::from_second(meta.last_modified.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH);
        Some(Object { key: key.to_owned(), size_bytes: meta.size, modified_at })
    }
}

#[async_trait]
impl BackupTarget for S3Target {
    fn capability(&self) -> TargetCapability {
        TargetCapability {
            kind: KIND.name.to_owned(),
            location: self.0.location.clone(),
            folder: None,
            put_if_absent: self.0.conditional.get() == Some(&true),
            read_before_finish: false,
        }
    }

    async fn probe(&self, scope: &Scope) -> Result<TargetCapability> {
        self.is_conditional(scope).await?;
        Ok(self.capability())
    }

    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        check_block(bytes.len() as u64)?;
        let place = self.place(key)?;
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        if if_absent {
            return self.put_new(scope, key, &place, &bytes, self.0.settle).await;
        }
        self.replace(scope, key, &place, &bytes).await.map(|()| true)
    }

    async fn upload(&self, scope: &Scope, key: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        scope.cancel.check()?;
        let place = self.place(key)?;
        Ok(Box::new(upload::S3Upload::new(self.clone(), scope.clone(), key, place, expected_bytes)))
    }

    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let wanted = range.end.saturating_sub(range.start);
        check_block(wanted)?;
        let place = self.place(key)?;
        if wanted == 0 {
            return self.stat(scope, key).await?.map(|_| Vec::new()).ok_or_else(|| missing(key));
        }
        let doing = format!("read {key:?}");
        let once = |_| async {
            let get = async |store: Arc<AmazonS3>| {
                let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
                let found = store.get_opts(&place, options).await?;
                let promised = found.range.end - found.range.start;
                Ok((promised, found.bytes().await?))
            };
            match self.attempt(scope, wanted, false, get).await {
                Ok((promised, bytes)) if bytes.len() as u64 == promised => Ok(Some(Vec::from(bytes))),
                Ok((promised, bytes)) => Err(Fault::Broken(format!("{} of {promised} bytes came", bytes.len()))),
                // Nothing of the range is in the object.
                Err(fault) if fault.status() == Some(416) => Ok(Some(Vec::new())),
                Err(fault) if fault.is_missing() => Ok(None),
                Err(fault) => Err(fault),
            }
        };
        self.request(scope, &doing, once).await?.ok_or_else(|| missing(key))
    }

    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let mut token = None;
        loop {
            let (found, next) = self.page(scope, prefix, after, token, PAGE).await?;
            let mut objects: Vec<Object> = found.iter().filter_map(|meta| self.object(meta)).collect();
            objects.retain(|object| {
                object.key.starts_with(prefix) && after.is_none_or(|after| object.key.as_str() > after)
            });
            objects.sort_by(|a, b| a.key.cmp(&b.key));
            // A page may be full of what is none of ours.
            if !objects.is_empty() || next.is_none() {
                return Ok(objects);
            }
            token = next;
        }
    }

    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        let place = self.place(key)?;
        let found = self.head(scope, key, &place).await?;
        Ok(found.and_then(|found| self.object(&found.meta)))
    }

    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        let place = self.place(key)?;
        let doing = format!("delete {key:?}");
        let once = |_| async {
            let delete = async |store: Arc<AmazonS3>| store.delete(&place).await;
            match self.attempt(scope, 0, false, delete).await {
                Err(fault) if fault.is_missing() => Ok(()),
                done => done,
            }
        };
        self.request(scope, &doing, once).await
    }

    async fn free_bytes(&self, _: &Scope) -> Result<Option<u64>> {
        Ok(None)
    }
}

fn missing(key: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no object {key:?}"))
        .with_hint("`uplifted-ops backup list` prints what there is")
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled by the caller")
}

#[cfg(test)]
mod tests;
