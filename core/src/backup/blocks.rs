//! Where the bytes of a snapshot come from: a local file, or an object of a target.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::target::{BackupTarget, MAX_BLOCK, Object};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::OutFile;

/// Stored bytes, read by range.
///
/// Threads read at the same time. The length does not change while it is in use.
pub trait Blocks: Send + Sync {
    /// The number of bytes.
    fn len(&self) -> u64;

    /// The bytes of `range`, fewer only where they end. At most [`MAX_BLOCK`] are asked for.
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>>;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads exactly `range`, in blocks of at most [`MAX_BLOCK`].
///
/// # Errors
/// [`ErrorKind::Corrupt`] when the bytes end before `range` does.
pub(in crate::backup) fn read_exact(blocks: &dyn Blocks, range: Range<u64>) -> Result<Vec<u8>> {
    if range.start > range.end || range.end > blocks.len() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("it has {} bytes, and bytes {} to {} are needed", blocks.len(), range.start, range.end),
        ));
    }
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let at = range.start + bytes.len() as u64;
        let end = range.end.min(at + MAX_BLOCK as u64);
        if at == end {
            return Ok(bytes);
        }
        let block = blocks.read(at..end)?;
        if block.len() as u64 != end - at {
            return Err(Error::new(ErrorKind::Corrupt, format!("it ends early, at byte {at}")));
        }
        // The usual case needs no copy.
        if bytes.is_empty() {
            bytes = block;
        } else {
            bytes.extend_from_slice(&block);
        }
    }
}

/// A local file.
#[derive(Debug)]
pub struct FileBlocks {
    file: File,
    len: u64,
    path: PathBuf,
}

impl FileBlocks {
    /// Opens the regular file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(format!("open {path:?}"), e))?;
        let meta = file.metadata().map_err(|e| Error::io(format!("look at {path:?}"), e))?;
        if !meta.is_file() {
            return Err(Error::invalid(format!("{path:?} is not a regular file")));
        }
        Ok(Self { file, len: meta.len(), path: path.to_owned() })
    }

    /// What was written to a file of our own so far.
    pub(crate) fn of(out: &OutFile) -> Result<Self> {
        let failed = |error| Error::io(format!("look at {:?}", out.path()), error);
        let file = out.file().try_clone().map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self { file, len, path: out.path().to_owned() })
    }
}

impl Blocks for FileBlocks {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let wanted = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| Error::invalid("a block larger than the memory"))?;
        let mut bytes = vec![0; wanted];
        let mut done = 0;
        while done < wanted {
            match self.file.read_at(&mut bytes[done..], range.start + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(format!("read {:?}", self.path), e)),
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }
}

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

/// The objects of a target, for code that waits: it belongs on threads that may.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    scope: Scope,
    target: Arc<dyn BackupTarget>,
    runtime: tokio::runtime::Handle,
}

/// How many small objects are asked for at once.
const AT_ONCE: usize = 8;

impl Objects {
    /// Those of `target`. Call it inside a runtime.
    pub(crate) fn new(scope: &Scope, target: Arc<dyn BackupTarget>) -> Self {
        Self { scope: scope.clone(), target, runtime: tokio::runtime::Handle::current() }
    }

    /// The target that they are in.
    pub(crate) fn target(&self) -> &dyn BackupTarget {
        &*self.target
    }

    /// The scope that the target works in.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Every object whose key starts with `prefix`, sorted by key.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        self.runtime.block_on(list_all(&self.scope, &*self.target, prefix))
    }

    /// The whole of an object that has at most `most` bytes.
    ///
    /// # Errors
    /// What the target says; [`ErrorKind::Corrupt`] when it is longer.
    pub(crate) fn read(&self, key: &str, most: u64) -> Result<Vec<u8>> {
        self.runtime.block_on(read_object(&self.scope, &*self.target, key, most))
    }

    /// Whether there is an object.
    pub(crate) fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.len_of(key)?.is_some())
    }

    /// The length of an object, when there is one.
    pub(crate) fn len_of(&self, key: &str) -> Result<Option<u64>> {
        let found = self.runtime.block_on(self.target.stat(&self.scope, key))?;
        Ok(found.map(|object| object.size_bytes))
    }

    /// Stores a small object unless there is one; says whether it did.
    pub(crate) fn put_new(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        self.runtime.block_on(self.target.put(&self.scope, key, bytes, true))
    }

    /// [`Objects::read`] for many objects, several at once. `each` gets them in order, with their numbers.
    pub(crate) fn read_each(
        &self,
        keys: &[String],
        most: u64,
        mut each: impl FnMut(usize, Result<Vec<u8>>) -> Result<()>,
    ) -> Result<()> {
        let mut asked = std::collections::VecDeque::new();
        let mut next = 0;
        for number in 0..keys.len() {
            while next < keys.len() && asked.len() < AT_ONCE {
                let (scope, target, key) = (self.scope.clone(), Arc::clone(&self.target), keys[next].clone());
                asked.push_back(self.runtime.spawn(async move { read_object(&scope, &*target, &key, most).await }));
                next += 1;
            }
            let Some(answer) = asked.pop_front() else { break };
            let answer = self
                .runtime
                .block_on(answer)
                .map_err(|error| Error::internal(format!("reading an object of a target did not end: {error}")))?;
            each(number, answer)?;
        }
        Ok(())
    }

    /// An object of `size_bytes` to be read by range.
    pub(crate) fn blocks(&self, key: &str, size_bytes: u64) -> TargetBlocks {
        let object = Object { key: key.to_owned(), size_bytes, modified_at: crate::clock::Timestamp::UNIX_EPOCH };
        TargetBlocks {
            scope: self.scope.clone(),
            target: Arc::clone(&self.target),
            object,
            runtime: self.runtime.clone(),
        }
    }
}

/// The whole of an object that has at most `most` bytes.
///
/// # Errors
/// What the target says; [`ErrorKind::Corrupt`] when it is longer.
pub(crate) async fn read_object(scope: &Scope, target: &dyn BackupTarget, key: &str, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        scope.cancel.check()?;
        let at = bytes.len() as u64;
        let block = target.get(scope, key, at..at + MAX_BLOCK as u64).await?;
        let last = block.len() < MAX_BLOCK;
        if bytes.is_empty() {
            bytes = block;
        } else {
            bytes.extend_from_slice(&block);
        }
        if bytes.len() as u64 > most {
            return Err(Error::new(ErrorKind::Corrupt, format!("{key:?} is longer than anything that belongs there")));
        }
        if last {
            return Ok(bytes);
        }
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

/// What lies at the top of a target.
#[derive(Debug, Default)]
pub(crate) struct Top {
    /// The objects that are in no folder.
    pub(crate) objects: Vec<Object>,
    /// The names of the folders.
    pub(crate) folders: Vec<String>,
}

/// What lies at the top of a target, without listing what is in its folders: a repository has thousands of packs.
pub(crate) async fn list_top(scope: &Scope, target: &dyn BackupTarget) -> Result<Top> {
    let mut top = Top::default();
    let mut after: Option<String> = None;
    loop {
        scope.cancel.check()?;
        let page = target.list(scope, "", after.as_deref()).await?;
        let Some(last) = page.last().map(|object| object.key.clone()) else { return Ok(top) };
        if after.as_deref().is_some_and(|after| last.as_str() <= after) {
            return Err(Error::internal(format!("the target's list does not go on after {after:?}")));
        }
        for object in page {
            match object.key.split_once('/') {
                None => top.objects.push(object),
                Some((folder, _)) if top.folders.last().is_some_and(|last| last == folder) => {}
                Some((folder, _)) => top.folders.push(folder.to_owned()),
            }
        }
        // No key has a `~`, and all that it may have comes before it.
        after = Some(match last.split_once('/') {
            Some((folder, _)) => format!("{folder}/~").max(last),
            None => last,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryTarget;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_top_is_listed_without_what_is_in_folders() {
        let target = MemoryTarget::default();
        let scope = Scope::default();
        let inside = (0..2500).flat_map(|number| [format!("packs/{number:05}"), format!("index/{number:05}")]);
        for key in inside.chain(["a", "index.txt", "packs-old", "z/1"].map(str::to_owned)) {
            target.put(&scope, &key, b"", false).await.unwrap();
        }
        let top = list_top(&scope, &target).await.unwrap();
        let keys: Vec<&str> = top.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["a", "index.txt", "packs-old"]);
        assert_eq!(top.folders, ["index", "packs", "z"]);
    }

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
