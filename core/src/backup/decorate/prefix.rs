//! A sub-folder of a target's keys.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use crate::backup::target::{BackupTarget, Object, TargetCapability, Upload, check_key};
use crate::cancel::Scope;
use crate::error::Result;

/// A target whose keys lie below a prefix of another's, and that knows no others.
#[derive(Debug, Clone)]
pub struct Prefix {
    inner: Arc<dyn BackupTarget>,
    /// Ends in `/`.
    prefix: String,
}

impl Prefix {
    /// The part of `inner` below `prefix`, which is a key itself: `a/b`, with or without a `/` at its end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a prefix that is no key.
    pub fn new(inner: Arc<dyn BackupTarget>, prefix: &str) -> Result<Self> {
        let prefix = prefix.trim_end_matches('/');
        check_key(prefix).map_err(|error| error.while_doing("prefix"))?;
        Ok(Self { inner, prefix: format!("{prefix}/") })
    }

    fn outer(&self, key: &str) -> Result<String> {
        check_key(key)?;
        Ok(format!("{}{key}", self.prefix))
    }

    fn shortened(&self, object: Object) -> Option<Object> {
        let key = object.key.strip_prefix(&self.prefix)?.to_owned();
        Some(Object { key, ..object })
    }

    fn within(&self, mut capability: TargetCapability) -> TargetCapability {
        let below = self.prefix.trim_end_matches('/');
        capability.location = format!("{}/{below}", capability.location.trim_end_matches('/'));
        capability
    }
}

#[async_trait]
impl BackupTarget for Prefix {
    fn capability(&self) -> TargetCapability {
        self.within(self.inner.capability())
    }

    async fn probe(&self, scope: &Scope) -> Result<TargetCapability> {
        Ok(self.within(self.inner.probe(scope).await?))
    }

    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        self.inner.put(scope, &self.outer(key)?, bytes, if_absent).await
    }

    async fn upload(&self, scope: &Scope, key: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        self.inner.upload(scope, &self.outer(key)?, expected_bytes).await
    }

    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.inner.get(scope, &self.outer(key)?, range).await
    }

    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let after = after.map(|after| format!("{}{after}", self.prefix));
        let page = self.inner.list(scope, &format!("{}{prefix}", self.prefix), after.as_deref()).await?;
        Ok(page.into_iter().filter_map(|object| self.shortened(object)).collect())
    }

    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        let object = self.inner.stat(scope, &self.outer(key)?).await?;
        Ok(object.and_then(|object| self.shortened(object)))
    }

    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        self.inner.delete(scope, &self.outer(key)?).await
    }

    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        self.inner.free_bytes(scope).await
    }
}
