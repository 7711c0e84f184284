//! A restore to a moment: the snapshot that it begins with, and what is added to its databases before anything is replaced.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::restore::RestoreRequest;
use super::{keyring, snapshots};
use crate::backup::manifest::{RelPath, StoreRecord};
use crate::backup::restore::{AtPlan, ReachedStore, StoreAt};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::continuous::timeline::{View, Wanted, look};
use crate::continuous::travel::{StoreWay, Way};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Context;
use crate::store::Store;
use crate::store::follow::Until;

/// What a request says of where a restore comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) at: Option<Timestamp>,
    /// A place in the log of the store, before that moment or, without one, before the newest.
    pub(super) place: Option<&'a str>,
    pub(super) snapshot_id: &'a str,
    pub(super) target: Option<&'a str>,
    pub(super) identity_file: Option<&'a RelPath>,
}

/// Where a restore goes, and how far it came.
#[derive(Debug, Default)]
pub(super) struct Moment {
    way: Option<Way>,
    /// A place before it, in the words of the store.
    place: Option<String>,
    reached: Mutex<Vec<ReachedStore>>,
}

impl Moment {
    /// The way to the moment of a request; nothing where it names none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with the nearest moments on both sides.
    pub(super) async fn find(
        context: &Context,
        scope: &Scope,
        request: &RestoreRequest,
        paths: &[PathBuf],
    ) -> Result<Self> {
        let stores = stores_at(context, paths, request.into.is_some());
        if request.at.is_some() && stores.is_empty() && on_servers(context).next().is_some() {
            return Err(Error::new(ErrorKind::NotFound, "a restore in place brings no database that is on a server")
                .with_hint(
                    "restore.database with `at` puts it beside the live one, and restore.swap gives it its name",
                ));
        }
        let origin = Origin {
            at: request.at,
            place: None,
            snapshot_id: &request.snapshot_id,
            target: request.target.as_deref(),
            identity_file: request.identity_file.as_ref(),
        };
        // A whole service in a folder of its own: also on a machine whose settings name no store.
        let whole = request.into.is_some() && paths.is_empty();
        let wanted = if whole { Wanted::AndFound(&stores) } else { Wanted::Named(&stores) };
        Self::of(context, scope, origin, wanted).await
    }

    /// The way of the wanted stores to the moment that `origin` names; nothing where it names none.
    ///
    /// # Errors
    /// As [`Moment::find`].
    pub(super) async fn of(context: &Context, scope: &Scope, origin: Origin<'_>, wanted: Wanted<'_>) -> Result<Self> {
        if origin.at.is_none() && origin.place.is_none() {
            if origin.snapshot_id.is_empty() {
                return Err(Error::invalid("neither a snapshot nor a moment was named")
                    .with_hint("name snapshot_id, which may be \"latest\", or at"));
            }
            return Ok(Self::default());
        }
        if let Some(at) = origin.at.filter(|at| *at > scope.clock.now()) {
            return Err(Error::invalid(format!("{at} has not come yet")).with_hint("name a moment of the past"));
        }
        scope.progress.stage("looking for the way to that moment");
        let targets = snapshots::targets(context, origin.target)?;
        let keys = keyring::for_reading(context, scope, &targets, origin.identity_file).await?;
        let view = look(scope, &targets, &keys, wanted).await?;
        let way = choose(&view, origin.at, origin.snapshot_id)?;
        Ok(Self { way: Some(way), place: origin.place.map(str::to_owned), reached: Mutex::default() })
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

    /// What to know of a restore of `paths`: one in place leaves the databases of servers as they are.
    pub(super) fn warnings(&self, context: &Context, paths: &[PathBuf], in_place: bool) -> Vec<String> {
        if !in_place {
            return Vec::new();
        }
        let how = match (&self.way, paths.is_empty()) {
            (Some(_), _) => "NAME --at TIME",
            (None, true) => "latest NAME",
            // Somebody asked for these very files.
            (None, false) => return Vec::new(),
        };
        let stays = |name: &str| {
            format!(
                "the database of {name} stays as it is on its server, and its copy comes back as files alone: `uplifted-ops restore \
                 database {how} --store {name}` puts the database beside it"
            )
        };
        on_servers(context).map(stays).collect()
    }

    /// Where the stores have come to.
    pub(super) fn reached(&self) -> Vec<ReachedStore> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds to the restored database `file` what was committed until the moment. Belongs on a thread that may wait.
    pub(super) fn go_on(&self, context: &Context, scope: &Scope, record: &StoreRecord, file: &Path) -> Result<()> {
        if self.way.is_none() {
            return Ok(());
        }
        let driver = snapshots::checkers(context).store_for(record, file)?;
        let folder = file.parent().unwrap_or(file);
        tokio::runtime::Handle::current().block_on(self.roll(scope, record, &*driver, folder))
    }

    /// Adds to the copy of `record` in `folder` what was committed until the moment.
    pub(super) async fn roll(
        &self,
        scope: &Scope,
        record: &StoreRecord,
        driver: &dyn Store,
        folder: &Path,
    ) -> Result<()> {
        let Some(way) = &self.way else { return Ok(()) };
        let Some(store) = way.stores.iter().find(|store| store.store == record.name) else { return Ok(()) };
        let until = self.place.clone().map_or(Until::Time(way.at), Until::Place);
        let went = store.go_on(scope, driver, record, folder, &until).await?;
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).extend(went);
        Ok(())
    }
}

/// The way to `at` or to the newest moment, from the snapshot that was asked for where one was.
fn choose(view: &View, at: Option<Timestamp>, snapshot: &str) -> Result<Way> {
    let of_snapshot = (!snapshot.is_empty()).then(|| view.of_snapshot(snapshot));
    let view = of_snapshot.as_ref().unwrap_or(view);
    // Where nothing is covered the way says so.
    let at = at.or_else(|| view.any_moment(1.0)).unwrap_or(Timestamp::MAX);
    view.way(at).map_err(|error| match of_snapshot {
        Some(_) => error.while_doing(format!("from the snapshot {snapshot:?}")),
        None => error,
    })
}

/// The stores whose databases are on a server.
fn on_servers(context: &Context) -> impl Iterator<Item = &str> {
    let of_server = context.stores.iter().filter(|store| store.component.capability().file.is_none());
    of_server.map(|store| store.name.as_str())
}

/// The stores that a restore of `paths` brings. Into a folder it brings the copies of databases that are on a server, too; in
/// place it never does.
fn stores_at(context: &Context, paths: &[PathBuf], into: bool) -> Vec<String> {
    let asked = |file: &Path| paths.is_empty() || paths.iter().any(|path| file.starts_with(path));
    let of_it = |store: &dyn Store| {
        let capability = store.capability();
        match capability.file {
            Some(file) => asked(file.strip_prefix(&context.root).unwrap_or(&file)),
            None => into && capability.copy_files.iter().any(|file| asked(file)),
        }
    };
    let stores = context.stores.iter().filter(|store| of_it(&*store.component));
    stores.map(|store| store.name.clone()).collect()
}
