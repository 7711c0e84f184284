//! A store for the tests of the engine: a file that begins with `FAKEDB`, whose log is `<file>-wal`.
//!
//! Its copy is the file followed by the log. What the file says decides how it behaves: `refuse` and an error
//! kind, `rotten` for a copy that fails its check, `alone` for one that wants no other copy beside it, or `panics`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{Detect, Kind, Placement, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::store::*;

pub(super) const KIND: Kind<dyn Store> = Kind {
    name: "fake",
    summary: "a file that begins with FAKEDB",
    placement: Placement::Anywhere,
    build: |context, settings| {
        let path = settings.get("path").and_then(Value::as_str).unwrap_or_default();
        Ok(Arc::new(FakeStore { path: context.resolve(Path::new(path)) }))
    },
    detect: Some(Detect {
        head: |head| head.starts_with(b"FAKEDB"),
        side_suffixes: &["-wal", "-shm"],
        settings: |path| Map::from_iter([("path".to_owned(), Value::from(path.to_string_lossy()))]),
    }),
};

pub(super) fn kinds() -> Registry<dyn Store> {
    let mut kinds = Registry::new("store");
    kinds.register(KIND);
    kinds
}

/// The content of a database: long enough to be recognised.
pub(super) fn content(says: &str) -> Vec<u8> {
    format!("FAKEDB {says} {}", "x".repeat(200)).into_bytes()
}

#[derive(Debug)]
pub(super) struct FakeStore {
    pub(super) path: PathBuf,
}

impl FakeStore {
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn copy_in(&self, dir: &Path) -> PathBuf {
        dir.join(self.path.file_name().unwrap())
    }
}

#[async_trait]
impl Store for FakeStore {
    fn capability(&self) -> StoreCapability {
        StoreCapability {
            kind: "fake".to_owned(),
            file: Some(self.path.clone()),
            copy_files: Vec::new(),
            side_files: vec![self.beside("-wal"), self.beside("-shm")],
            maintenance: Vec::new(),
        }
    }

    async fn stats(&self, _: &Scope) -> Result<StoreStats> {
        Err(Error::new(ErrorKind::Unsupported, "not in this test"))
    }

    async fn verify(&self, _: &Scope, _: CheckDepth) -> Result<IntegrityReport> {
        Err(Error::new(ErrorKind::Unsupported, "not in this test"))
    }

    async fn snapshot_to(&self, scope: &Scope, dir: &Path) -> Result<StoreSnapshot> {
        scope.cancel.check()?;
        let mut bytes = std::fs::read(&self.path).map_err(|e| Error::io(format!("read {:?}", self.path), e))?;
        for (word, kind) in [
            ("refuse corrupt", ErrorKind::Corrupt),
            ("refuse busy", ErrorKind::Busy),
            ("refuse unsupported", ErrorKind::Unsupported),
        ] {
            if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
                return Err(Error::new(kind, format!("{:?} is refused", self.path)).with_hint("as asked"));
            }
        }
        assert!(!bytes.starts_with(b"FAKEDB panics"), "as asked");
        if bytes.starts_with(b"FAKEDB alone") {
            assert_eq!(std::fs::read_dir(dir.parent().unwrap()).unwrap().count(), 1, "a failed copy is still there");
        }
        bytes.extend(std::fs::read(self.beside("-wal")).unwrap_or_default());
        let copy = self.copy_in(dir);
        std::fs::write(&copy, &bytes).map_err(|e| Error::io(format!("write {copy:?}"), e))?;
        Ok(StoreSnapshot {
            files: vec![PathBuf::from(copy.file_name().unwrap())],
            size_bytes: bytes.len() as u64,
            taken_at: Timestamp::UNIX_EPOCH,
            details: Map::new(),
        })
    }

    async fn check_copy(&self, scope: &Scope, dir: &Path, _: CheckDepth) -> Result<IntegrityReport> {
        scope.cancel.check()?;
        let copy = self.copy_in(dir);
        let bytes = std::fs::read(&copy).map_err(|e| Error::io(format!("read {copy:?}"), e))?;
        let ok = bytes.starts_with(b"FAKEDB") && !bytes.windows(6).any(|window| window == b"rotten");
        Ok(IntegrityReport { ok, problems: if ok { Vec::new() } else { vec!["page 7 is rotten".to_owned()] } })
    }

    async fn restore_from(&self, _: &Scope, _: &Path) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "not in this test"))
    }

    async fn maintain(&self, _: &Scope, _: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
        Ok(Vec::new())
    }
}
