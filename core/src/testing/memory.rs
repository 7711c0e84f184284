//! A target in memory, for tests of engines.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::backup::target::{BackupTarget, MAX_BLOCK, Object, TargetCapability, Upload, check_key};
use crate::cancel::Scope;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};

/// The bytes and the time of each key.
type Objects = BTreeMap<String, (Vec<u8>, Timestamp)>;

/// A target in memory. Clones share their objects.
#[derive(Debug, Clone)]
pub struct MemoryTarget {
    objects: Arc<Mutex<Objects>>,
    clock: Arc<dyn Clock>,
    free: Option<u64>,
    read_before_finish: bool,
    put_if_absent: bool,
}

impl Default for MemoryTarget {
    fn default() -> Self {
        Self {
            objects: Arc::default(),
            clock: Arc::new(SystemClock),
            free: None,
            read_before_finish: true,
            put_if_absent: true,
        }
    }
}

impl MemoryTarget {
    /// Gives it a clock of its own, as a server has.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets what [`BackupTarget::free_bytes`] says.
    #[must_use]
    pub fn with_free_bytes(mut self, free: u64) -> Self {
        self.free = Some(free);
        self
    }

    /// Makes it one whose uploads cannot be read back before they are finished, as most object stores are.
    #[must_use]
    pub fn without_read_back(mut self) -> Self {
        self.read_before_finish = false;
        self
    }

    /// Makes it one that does not promise `put` with `if_absent` between machines, as some object stores do not.
    #[must_use]
    pub fn without_put_if_absent(mut self) -> Self {
        self.put_if_absent = false;
        self
    }

    /// The keys of everything in it.
    pub fn keys(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Changes an object behind the product's back.
    pub fn tamper(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some((bytes, _)) = self.lock().get_mut(key) {
            change(bytes);
        }
    }

    /// Empties it behind the product's back, as a folder is empty whose disk was unmounted.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BackupTarget for MemoryTarget {
    fn capability(&self) -> TargetCapability {
        TargetCapability {
            kind: "memory".to_owned(),
            folder: None,
            location: "memory".to_owned(),
            put_if_absent: self.put_if_absent,
            read_before_finish: self.read_before_finish,
        }
    }

    async fn put(&self, _: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        check_key(key)?;
        check_block(bytes.len())?;
        let now = self.clock.now();
        let mut objects = self.lock();
        if if_absent && objects.contains_key(key) {
            return Ok(false);
        }
        objects.insert(key.to_owned(), (bytes.to_vec(), now));
        Ok(true)
    }

    async fn upload(&self, _: &Scope, key: &str, _: Option<u64>) -> Result<Box<dyn Upload>> {
        check_key(key)?;
        Ok(Box::new(MemoryUpload { target: self.clone(), key: key.to_owned(), bytes: Vec::new() }))
    }

    async fn get(&self, _: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        check_key(key)?;
        let objects = self.lock();
        let (bytes, _) =
            objects.get(key).ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no object {key:?}")))?;
        cut(bytes, range)
    }

    async fn list(&self, _: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let objects = self.lock();
        Ok(objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
            .take(1000)
            .map(|(key, (bytes, at))| describe(key, bytes, *at))
            .collect())
    }

    async fn stat(&self, _: &Scope, key: &str) -> Result<Option<Object>> {
        check_key(key)?;
        Ok(self.lock().get(key).map(|(bytes, at)| describe(key, bytes, *at)))
    }

    async fn delete(&self, _: &Scope, key: &str) -> Result<()> {
        check_key(key)?;
        self.lock().remove(key);
        Ok(())
    }

    async fn free_bytes(&self, _: &Scope) -> Result<Option<u64>> {
        Ok(self.free)
    }
}

#[derive(Debug)]
struct MemoryUpload {
    target: MemoryTarget,
    key: String,
    bytes: Vec<u8>,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        check_block(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        if !self.target.read_before_finish {
            return Err(Error::new(ErrorKind::Unsupported, "this target cannot read an upload back"));
        }
        cut(&self.bytes, range)
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let Self { target, key, bytes } = *self;
        let now = target.clock.now();
        let mut objects = target.lock();
        if objects.contains_key(&key) {
            return Err(Error::new(ErrorKind::Refused, format!("{key:?} exists already")));
        }
        objects.insert(key, (bytes, now));
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

fn describe(key: &str, bytes: &[u8], modified_at: Timestamp) -> Object {
    Object { key: key.to_owned(), size_bytes: bytes.len() as u64, modified_at }
}

fn check_block(len: usize) -> Result<()> {
    if len <= MAX_BLOCK { Ok(()) } else { Err(Error::invalid(format!("a block of {len} bytes is too long"))) }
}

fn cut(bytes: &[u8], range: Range<u64>) -> Result<Vec<u8>> {
    let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
    let (start, end) = (at(range.start), at(range.end));
    check_block(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX))?;
    Ok(bytes[start..end.max(start)].to_vec())
}
