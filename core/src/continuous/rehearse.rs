//! The moment that a drill goes on to.

use std::path::Path;

use async_trait::async_trait;

use super::timeline::{View, Wanted, look};
use super::travel::Way;
use crate::backup::checkers::Checkers;
use crate::backup::create::NamedTarget;
use crate::backup::drill::{Onward, OnwardWay};
use crate::backup::manifest::Manifest;
use crate::backup::restore::ReachedStore;
use crate::backup::seal::Keys;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::follow::Until;

/// What is to be rehearsed.
#[derive(Debug, Clone)]
pub(crate) struct Rehearsal {
    /// Where what was committed is stored.
    pub(crate) targets: Vec<NamedTarget>,
    pub(crate) keys: Keys,
    /// What knows the databases.
    pub(crate) checkers: Checkers,
    /// The stores of the service.
    pub(crate) stores: Vec<String>,
    /// The moment to go to.
    pub(crate) at: Option<Timestamp>,
    /// Without one: that at this part (0 to 1) of all that are covered. A random number, so that in the end every part of what is
    /// stored is proven.
    pub(crate) part: f64,
}

impl Rehearsal {
    /// The snapshot from which a restore would go to `at`.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) with the nearest moments on both sides.
    pub(crate) async fn snapshot_for(&self, scope: &Scope, at: Timestamp) -> Result<String> {
        Ok(self.look(scope).await?.way(at)?.snapshot_id)
    }

    async fn look(&self, scope: &Scope) -> Result<View> {
        look(scope, &self.targets, &self.keys, Wanted::Named(&self.stores)).await
    }
}

#[async_trait]
impl Onward for Rehearsal {
    async fn way(&self, scope: &Scope, manifest: &Manifest) -> Result<Option<Box<dyn OnwardWay>>> {
        let view = self.look(scope).await?.of_snapshot(&manifest.snapshot_id);
        let Some(at) = self.at.or_else(|| view.any_moment(self.part)) else { return Ok(None) };
        let way = view.way(at).map_err(|error| error.while_doing(format!("from {}", manifest.snapshot_id)))?;
        Ok(Some(Box::new(Found { way, checkers: self.checkers.clone() })))
    }
}

/// A way, and what knows how to go it.
#[derive(Debug)]
struct Found {
    way: Way,
    checkers: Checkers,
}

#[async_trait]
impl OnwardWay for Found {
    fn at(&self) -> Timestamp {
        self.way.at
    }

    async fn go_on(&self, scope: &Scope, manifest: &Manifest, folder: &Path) -> Result<Vec<ReachedStore>> {
        let mut reached = Vec::new();
        for way in &self.way.stores {
            let Some(record) = manifest.stores.iter().find(|record| record.name == way.store) else { continue };
            let file = folder.join(record.path.as_path());
            let driver = self.checkers.store_for(record, &file)?;
            let folder = file.parent().unwrap_or(folder);
            reached.extend(way.go_on(scope, driver.as_ref(), record, folder, &Until::Time(self.way.at)).await?);
        }
        Ok(reached)
    }
}
