//! The contract of a place where backups go.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// The largest block that crosses the contract, in bytes (8 MiB). No stream crosses a language or a pipe.
pub const MAX_BLOCK: usize = 8 * 1024 * 1024;

/// A place where backups go.
///
/// Keys are `/`-separated names of `A-Z a-z 0-9 . _ -`, see [`check_key`]. Clauses, each with a case in the
/// public suite (`testing::target`):
/// - nothing is visible under its key before [`BackupTarget::put`] returns or [`Upload::finish`] returns, and
///   what is visible is whole and durable;
/// - an upload that is aborted, dropped or killed leaves nothing visible;
/// - reading, or asking for, a missing key is [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) from `get`
///   and `None` from `stat`;
/// - deleting what is missing succeeds;
/// - `list` is sorted by key in byte order, and complete when paged with `after`.
#[async_trait]
pub trait BackupTarget: Send + Sync + Debug {
    /// What this target can do, as far as it is known. Does no I/O, and says the same every time but for what
    /// [`BackupTarget::probe`] finds out.
    fn capability(&self) -> TargetCapability;

    /// What this target can do, asked where only the place itself can tell. [`BackupTarget::capability`] agrees
    /// from then on. Whoever relies on `put_if_absent` between machines asks here.
    async fn probe(&self, scope: &Scope) -> Result<TargetCapability> {
        let _ = scope;
        Ok(self.capability())
    }

    /// Stores a small object (at most [`MAX_BLOCK`]) at once. With `if_absent` an object that exists is left
    /// alone and `false` is returned; of several callers at the same time exactly one gets `true`.
    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool>;

    /// Starts an object of any size. `expected_bytes` is a hint for the free-space check.
    async fn upload(&self, scope: &Scope, key: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>>;

    /// Reads `range` of an object: exactly its bytes, fewer only where the object ends. At most [`MAX_BLOCK`].
    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>>;

    /// The objects whose key starts with `prefix` and is greater than `after`, at most 1,000.
    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>>;

    /// Size and time of an object, `None` when there is none.
    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>>;

    /// Removes an object for good.
    async fn delete(&self, scope: &Scope, key: &str) -> Result<()>;

    /// Bytes that can still be stored, `None` where the target cannot tell.
    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>>;
}

/// An object being written.
#[async_trait]
pub trait Upload: Send + Debug {
    /// Appends at most [`MAX_BLOCK`] bytes. After an error only `abort` may be called.
    async fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes what was written durable and reads `range` of it back from where it is stored.
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) unless
    /// [`TargetCapability::read_before_finish`] is set.
    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>>;

    /// Makes the object visible under its key. Durable when it returns. Replaces nothing: an object that
    /// exists under the key is [`ErrorKind::Refused`](crate::ErrorKind::Refused).
    async fn finish(self: Box<Self>) -> Result<()>;

    /// Removes what was written.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// What a target can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetCapability {
    /// The kind, such as `fs`.
    pub kind: String,
    /// Where it is, for people: a folder or a URL without secrets.
    pub location: String,
    /// The folder, absolute, for targets that are one on this machine. Below the service's root it is left out
    /// of backups and never moved by a restore.
    #[serde(default)]
    pub folder: Option<std::path::PathBuf>,
    /// Whether `put` with `if_absent` is known to be atomic between machines.
    pub put_if_absent: bool,
    /// Whether an upload can be read back before it becomes visible.
    pub read_before_finish: bool,
}

/// A stored object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was last written, by the target's clock.
    pub modified_at: Timestamp,
}

/// Refuses a key that is not `/`-separated names of `A-Z a-z 0-9 . _ -`, none of them empty or starting with
/// a dot, each at most 200 bytes, 900 together.
pub fn check_key(key: &str) -> Result<()> {
    let name_ok = |name: &str| {
        !name.is_empty()
            && name.len() <= 200
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if key.len() <= 900 && key.split('/').all(name_ok) {
        Ok(())
    } else {
        Err(Error::invalid(format!("{key:?} is not an object key"))
            .with_hint("use names of A-Z a-z 0-9 . _ - separated by /, none starting with a dot"))
    }
}
