//! A stored object as something that the archive reader can read.

use std::ops::Range;
use std::sync::Arc;

use super::archive::Blocks;
use super::target::{BackupTarget, MAX_BLOCK, Object};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// An object of a target. Reading it waits for the target, so it belongs on a thread that may wait
/// (`spawn_blocking`), never on one that runs tasks.
#[derive(Debug)]
pub struct TargetBlocks {
    scope: Scope,
    target: Arc<dyn BackupTarget>,
    object: Object,
    runtime: tokio::runtime::Handle,
}

impl TargetBlocks {
    /// The object as it was listed. Call it inside a runtime.
    pub fn new(scope: &Scope, target: Arc<dyn BackupTarget>, object: Object) -> Self {
        Self { scope: scope.clone(), target, object, runtime: tokio::runtime::Handle::current() }
    }
}

impl Blocks for TargetBlocks {
    fn len(&self) -> u64 {
        self.object.size_bytes
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let wanted = range.end.min(self.object.size_bytes).saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        while (bytes.len() as u64) < wanted {
            self.scope.cancel.check()?;
            let start = range.start + bytes.len() as u64;
            let end = (range.start + wanted).min(start + MAX_BLOCK as u64);
            let block = self.runtime.block_on(self.target.get(&self.scope, &self.object.key, start..end))?;
            if block.is_empty() {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("{:?} ends at byte {start}, before its {}", self.object.key, self.object.size_bytes),
                )
                .with_hint("use another backup, and look at the disk that holds this one"));
            }
            bytes.extend(block);
        }
        Ok(bytes)
    }
}

/// Every object whose key starts with `prefix`, sorted by key.
pub async fn list_all(scope: &Scope, target: &dyn BackupTarget, prefix: &str) -> Result<Vec<Object>> {
    let mut all: Vec<Object> = Vec::new();
    loop {
        scope.cancel.check()?;
        let after = all.last().map(|object| object.key.clone());
        let page = target.list(scope, prefix, after.as_deref()).await?;
        match page.last() {
            None => return Ok(all),
            Some(last) if after.as_deref().is_some_and(|after| last.key.as_str() <= after) => {
                return Err(Error::internal(format!("the target's list does not go on after {after:?}")));
            }
            Some(_) => all.extend(page),
        }
    }
}

/// Whether the object `key` is exactly `bytes`: whether a write whose reply was lost did happen.
pub async fn holds(scope: &Scope, target: &dyn BackupTarget, key: &str, bytes: &[u8]) -> Result<bool> {
    match target.stat(scope, key).await? {
        Some(object) if object.size_bytes == bytes.len() as u64 => {}
        _ => return Ok(false),
    }
    match target.get(scope, key, 0..bytes.len() as u64).await {
        Ok(stored) => Ok(stored == bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryTarget;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_range_is_read_whole_and_an_object_that_became_shorter_is_damaged() {
        let target = MemoryTarget::default();
        let scope = Scope::default();
        target.put(&scope, "k", b"0123456789", false).await.unwrap();
        let object = target.stat(&scope, "k").await.unwrap().unwrap();
        let blocks = Arc::new(TargetBlocks::new(&scope, Arc::new(target.clone()), object));
        let read = async |range: Range<u64>| {
            let blocks = Arc::clone(&blocks);
            tokio::task::spawn_blocking(move || blocks.read(range)).await.unwrap()
        };
        assert_eq!(blocks.len(), 10);
        assert_eq!(read(2..5).await.unwrap(), b"234");
        assert_eq!(read(8..20).await.unwrap(), b"89");
        target.tamper("k", |bytes| bytes.truncate(4));
        assert_eq!(read(2..6).await.unwrap_err().kind(), ErrorKind::Corrupt);
        target.delete(&scope, "k").await.unwrap();
        assert_eq!(read(0..1).await.unwrap_err().kind(), ErrorKind::NotFound);
        scope.cancel.cancel();
        assert_eq!(read(0..1).await.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
