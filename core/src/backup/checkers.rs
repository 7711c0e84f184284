//! Which store checks a database that comes out of a backup.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Map;

use super::manifest::StoreRecord;
use crate::component::{BuildContext, Registry};
use crate::error::Result;
use crate::store::Store;

/// What can check a restored database: the kinds that this build has, and the live stores of the service, whose
/// kinds may be known to nobody else.
#[derive(Debug, Clone)]
pub struct Checkers {
    /// The kinds of stores that this build has.
    pub kinds: Registry<dyn Store>,
    /// The service's stores.
    pub live: Vec<Arc<dyn Store>>,
}

impl Checkers {
    /// The files that a store's copy of the database of `record` consists of: its own, and those that its driver lays beside.
    pub(crate) fn files_of(&self, record: &StoreRecord) -> Vec<PathBuf> {
        let its = |files: &Vec<PathBuf>| files.iter().any(|file| file == record.path.as_path());
        let all = self.live.iter().map(|store| store.capability().copy_files).find(its);
        all.unwrap_or_else(|| vec![record.path.as_path().to_owned()])
    }

    /// A store whose `check_copy` understands the database of `record`, restored to `file`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a kind that nobody knows.
    pub fn store_for(&self, record: &StoreRecord, file: &Path) -> Result<Arc<dyn Store>> {
        let kind = match self.kinds.get(&record.kind) {
            Ok(kind) => kind,
            Err(unknown) => {
                let of_kind = self.live.iter().find(|store| store.capability().kind == record.kind);
                return of_kind.cloned().ok_or(unknown);
            }
        };
        // What is no file is not told by its file: the service's own settings say how it is read.
        if kind.detect.is_none() {
            let mut of_kind = self.live.iter().filter(|store| store.capability().kind == record.kind);
            let its =
                |store: &&Arc<dyn Store>| store.capability().copy_files.iter().any(|it| it == record.path.as_path());
            if let Some(live) = of_kind.clone().find(its).or_else(|| of_kind.next()) {
                return Ok(Arc::clone(live));
            }
        }
        let settings = kind.detect.map_or_else(Map::new, |detect| (detect.settings)(file));
        let folder = file.parent().unwrap_or(file).to_owned();
        let context =
            BuildContext { name: record.name.clone(), root: folder.clone(), state: folder, service: String::new() };
        (kind.build)(&context, &settings)
    }
}
