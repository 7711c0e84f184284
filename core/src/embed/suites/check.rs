//! The suite of checks.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::scene::Scene;
use crate::cancel::Scope;
use crate::error::Result;
use crate::health::{CheckOutcome, HealthCheck};
use crate::testing::{self, CaseOutcome};

pub(super) async fn run(scene: &Scene) -> Result<Vec<CaseOutcome>> {
    let mut cases = testing::check::Scene::new(made_by(scene, "fresh"));
    if scene.has("stuck") {
        cases = cases.stuck(made_by(scene, "stuck"));
    }
    if scene.has("watched") {
        for path in scene.blame(scene.value::<Vec<PathBuf>>("watched", []).await)? {
            cases = cases.watching(path);
        }
    }
    Ok(testing::check::run(cases).await)
}

fn made_by(scene: &Scene, method: &'static str) -> impl Fn() -> Arc<dyn HealthCheck> + Send + Sync + 'static {
    let scene = scene.clone();
    move || Arc::new(Made { scene: scene.clone(), method, check: OnceCell::new() })
}

/// A check that the scene makes when it is asked for the first time: making one takes time, and the suite does not
/// wait.
#[derive(Debug)]
struct Made {
    scene: Scene,
    method: &'static str,
    check: OnceCell<Arc<dyn HealthCheck>>,
}

#[async_trait]
impl HealthCheck for Made {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let make = async || {
            let plugin = self.scene.object(self.method).await?;
            self.scene.blame(crate::embed::check("check", plugin, self.scene.deadline()))
        };
        self.check.get_or_try_init(make).await?.check(scope).await
    }
}
