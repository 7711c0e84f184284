//! The suite itself: it passes on a good target, and each broken one below makes the right case fail.

use std::ops::Range;

use async_trait::async_trait;

use super::*;
use crate::backup::target::TargetCapability;
use crate::testing::{MemoryTarget, assert_all};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_target_passes_with_and_without_read_back() {
    assert_all(&run(|| Arc::new(MemoryTarget::default())).await);
    assert_all(&run(|| Arc::new(MemoryTarget::default().without_read_back())).await);
}

/// A fault that a target may have.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    ListBackwards,
    ListAllAlways,
    ListIgnoresPrefix,
    IfAbsentReplaces,
    VisibleEarly,
    FinishReplaces,
    GetOffByOne,
    GetOfMissingIsEmpty,
    DeleteOfMissingFails,
    KeysUnchecked,
    ReadBackLies,
    AbortPublishes,
}

#[derive(Debug)]
struct Broken(MemoryTarget, Fault);

#[derive(Debug)]
struct BrokenUpload(Box<dyn Upload>, MemoryTarget, String, Fault);

#[async_trait]
impl BackupTarget for Broken {
    fn capability(&self) -> TargetCapability {
        self.0.capability()
    }

    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        if self.1 == Fault::IfAbsentReplaces {
            return self.0.put(scope, key, bytes, false).await;
        }
        if self.1 == Fault::KeysUnchecked && key.contains("..") {
            return Ok(true);
        }
        self.0.put(scope, key, bytes, if_absent).await
    }

    async fn upload(&self, scope: &Scope, key: &str, expected: Option<u64>) -> Result<Box<dyn Upload>> {
        let inner = self.0.upload(scope, key, expected).await?;
        if self.1 == Fault::VisibleEarly {
            self.0.put(scope, key, b"", true).await?;
        }
        Ok(Box::new(BrokenUpload(inner, self.0.clone(), key.to_owned(), self.1)))
    }

    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        match self.1 {
            Fault::GetOffByOne => self.0.get(scope, key, range.start..range.end.saturating_sub(1)).await,
            Fault::GetOfMissingIsEmpty if self.0.stat(scope, key).await?.is_none() => Ok(Vec::new()),
            _ => self.0.get(scope, key, range).await,
        }
    }

    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        match self.1 {
            Fault::ListBackwards => {
                let mut page = self.0.list(scope, prefix, after).await?;
                let swapped = page.len().min(2);
                page[..swapped].reverse();
                Ok(page)
            }
            Fault::ListAllAlways => self.0.list(scope, prefix, None).await,
            Fault::ListIgnoresPrefix => self.0.list(scope, "", after).await,
            _ => self.0.list(scope, prefix, after).await,
        }
    }

    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        self.0.stat(scope, key).await
    }

    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        if self.1 == Fault::DeleteOfMissingFails && self.0.stat(scope, key).await?.is_none() {
            return Err(crate::Error::new(ErrorKind::NotFound, "gone already"));
        }
        self.0.delete(scope, key).await
    }

    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        self.0.free_bytes(scope).await
    }
}

#[async_trait]
impl Upload for BrokenUpload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write(bytes).await
    }

    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = self.0.read_back(range).await?;
        if self.3 == Fault::ReadBackLies && !bytes.is_empty() {
            bytes[0] ^= 1;
        }
        Ok(bytes)
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let Self(inner, target, key, fault) = *self;
        if fault == Fault::FinishReplaces || fault == Fault::VisibleEarly {
            target.delete(&Scope::default(), &key).await?;
        }
        inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        if self.3 == Fault::AbortPublishes { self.0.finish().await } else { self.0.abort().await }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_makes_its_case_fail() {
    use Fault::*;
    for (fault, case) in [
        (ListBackwards, "list_is_sorted_and_filtered"),
        (ListAllAlways, "list_is_complete_when_paged"),
        (ListIgnoresPrefix, "list_is_sorted_and_filtered"),
        (IfAbsentReplaces, "one_of_many_puts_wins"),
        (IfAbsentReplaces, "put_replaces_unless_told"),
        (VisibleEarly, "an_upload_appears_when_finished"),
        (FinishReplaces, "an_upload_replaces_nothing"),
        (GetOffByOne, "ranges_are_exact"),
        (GetOfMissingIsEmpty, "what_is_missing_is_said"),
        (DeleteOfMissingFails, "deleting_is_final_and_repeatable"),
        (KeysUnchecked, "bad_keys_are_refused"),
        (ReadBackLies, "read_back_reads_what_was_written"),
        (AbortPublishes, "an_aborted_upload_leaves_nothing"),
    ] {
        let case = cases().into_iter().find(|known| known.name == case).unwrap();
        let target = Arc::new(Broken(MemoryTarget::default(), fault));
        assert!((case.run)(target).await.is_err(), "{fault:?} passes {}", case.name);
    }
}
