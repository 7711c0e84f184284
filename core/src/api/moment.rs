//! A restore to a moment: the snapshot that it begins with, and what is added to its databases before anything is replaced.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::restore::RestoreRequest;
use super::{keyring, snapshots};
use crate::backup::manifest::StoreRecord;
use crate::backup::restore::{AtPlan, ReachedStore, StoreAt};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::continuous::timeline::{View, look};
use crate::continuous::travel::{StoreWay, Way};
use crate::error::{Error, Result};
use crate::ops::Context;

/// Where a restore goes, and how far it came.
#[derive(Debug, Default)]
pub(super) struct Moment {
    way: Option<Way>,
    reached: Mutex<Vec<ReachedStore>>,
}

impl Moment {
    /// The way to the moment of a request; nothing where it names none.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) with the nearest moments on both sides.
    pub(super) async fn find(
        context: &Context,
        scope: &Scope,
        request: &RestoreRequest,
        paths: &[PathBuf],
    ) -> Result<Self> {
        let Some(at) = request.at else {
            if request.snapshot_id.is_empty() {
                return Err(Error::invalid("neither a snapshot nor a moment was named")
                    .with_hint("name snapshot_id, which may be \"latest\", or at"));
            }
            return Ok(Self::default());
        };
        if at > scope.clock.now() {
            return Err(Error::invalid(format!("{at} has not come yet")).with_hint("name a moment of the past"));
        }
        scope.progress.stage("looking for the way to that moment");
        let targets = snapshots::targets(context, request.target.as_deref())?;
        let keys = keyring::for_reading(context, scope, &targets, request.identity_file.as_ref()).await?;
        let view = look(scope, &targets, &keys, &stores_at(context, paths)).await?;
        Ok(Self { way: Some(choose(&view, at, &request.snapshot_id)?), reached: Mutex::default() })
    }

    /// The snapshot that it begins with.
    pub(super) fn snapshot_id(&self) -> Option<&str> {
        self.way.as_ref().map(|way| way.snapshot_id.as_str())
    }

    /// What a plan says of it.
    pub(super) fn plan(&self) -> Option<AtPlan> {
        let way = self.way.as_ref()?;
        let store = |store: &StoreWay| StoreAt {
            store: store.store.clone(),
            target: store.shelf.name.clone(),
            base_taken_at: store.base.taken_at,
            segments: store.segments.len() as u64,
            stored_bytes: store.segments.iter().map(|stored| stored.head.payload_bytes()).sum(),
            reaches: store.point.as_ref().map(|point| point.time),
        };
        Some(AtPlan { at: way.at, stores: way.stores.iter().map(store).collect() })
    }

    /// Where the stores have come to.
    pub(super) fn reached(&self) -> Vec<ReachedStore> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds to the restored database `file` what was committed until the moment. Belongs on a thread that may wait.
    pub(super) fn go_on(&self, context: &Context, scope: &Scope, record: &StoreRecord, file: &Path) -> Result<()> {
        let Some(way) = &self.way else { return Ok(()) };
        let Some(store) = way.stores.iter().find(|store| store.store == record.name) else { return Ok(()) };
        let driver = snapshots::checkers(context).store_for(record, file)?;
        let folder = file.parent().unwrap_or(file);
        let runtime = tokio::runtime::Handle::current();
        let went = runtime.block_on(store.go_on(scope, driver.as_ref(), record, folder, way.at))?;
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).extend(went);
        Ok(())
    }
}

/// The way to `at`, from the snapshot that was asked for where one was.
fn choose(view: &View, at: Timestamp, snapshot: &str) -> Result<Way> {
    if snapshot.is_empty() {
        return view.way(at);
    }
    view.of_snapshot(snapshot).way(at).map_err(|error| error.while_doing(format!("from the snapshot {snapshot:?}")))
}

/// The stores that a restore of `paths` brings.
fn stores_at(context: &Context, paths: &[PathBuf]) -> Vec<String> {
    let of_it = |file: Option<PathBuf>| match file {
        Some(file) => {
            let file = file.strip_prefix(&context.root).unwrap_or(&file);
            paths.is_empty() || paths.iter().any(|path| file.starts_with(path))
        }
        None => true,
    };
    let stores = context.stores.iter().filter(|store| of_it(store.component.capability().file));
    stores.map(|store| store.name.clone()).collect()
}
