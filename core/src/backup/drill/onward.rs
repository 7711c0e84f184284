//! Going on from a restored snapshot to a moment behind it.

use std::fmt::Debug;
use std::path::Path;

use async_trait::async_trait;

use super::{Done, DrillPhase, DrillProblem, DrilledMoment};
use crate::backup::manifest::Manifest;
use crate::backup::probe::Tester;
use crate::backup::restore::ReachedStore;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::Result;

/// Knows what was committed since a snapshot.
#[async_trait]
pub trait Onward: Debug + Send + Sync {
    /// The way from the snapshot of `manifest` to the moment that is to be proven; nothing where nothing is known to have
    /// come after the snapshot.
    async fn way(&self, scope: &Scope, manifest: &Manifest) -> Result<Option<Box<dyn OnwardWay>>>;
}

/// The way from a snapshot to a moment.
#[async_trait]
pub trait OnwardWay: Debug + Send + Sync {
    /// The moment.
    fn at(&self) -> Timestamp;

    /// Takes the restored databases below `folder` there.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when what was stored does not lead there, or leads to another state.
    async fn go_on(&self, scope: &Scope, manifest: &Manifest, folder: &Path) -> Result<Vec<ReachedStore>>;
}

/// Goes there, and lets each database that went be checked once more.
pub(super) async fn go_on(
    scope: &Scope,
    tester: &Tester,
    way: &dyn OnwardWay,
    manifest: &Manifest,
    folder: &Path,
) -> Result<Done<DrilledMoment>> {
    let stores = way.go_on(scope, manifest, folder).await?;
    let mut problems = Vec::new();
    for record in manifest.stores.iter().filter(|record| stores.iter().any(|store| store.store == record.name)) {
        scope.cancel.check()?;
        let found = tester.integrity(scope, folder, record).await?;
        let problem = |message| DrillProblem { step: DrillPhase::Moment, path: Some(record.path.clone()), message };
        problems.extend(found.into_iter().map(problem));
    }
    Ok(Done { value: DrilledMoment { at: way.at(), stores }, problems })
}
