//! What the engine that follows stores sees of the core: workers, and the backup that it asks for.

use std::sync::{Arc, Weak};

use serde_json::json;

use crate::cancel::{Cancel, Scope};
use crate::clock::Clock;
use crate::continuous::engine::{Engine, Host, Running};
use crate::continuous::folder::Folder;
use crate::error::{Error, ErrorKind, Result};
use crate::worker::{FollowCall, WorkerRequest, method};

use super::context::RunMode;
use super::front::{Core, closed};
use super::operation::Lane;
use super::table::find_operation;

/// The core, which it does not keep alive.
#[derive(Debug)]
struct FollowHost {
    core: Weak<Core>,
    clock: Arc<dyn Clock>,
}

/// What follows the stores of a service; nothing where there is nothing to follow or no place for it, and on the command
/// line, which is not the service.
pub(super) fn engine(core: &Arc<Core>) -> Option<Engine> {
    let context = &core.context;
    if context.mode != RunMode::Embedded || context.stores.is_empty() || context.targets.is_empty() {
        return None;
    }
    Some(Engine {
        host: Arc::new(FollowHost { core: Arc::downgrade(core), clock: Arc::clone(&core.clock) }),
        folder: Folder::new(&context.state),
        settings: context.settings.continuous.clone(),
        known: context.stores.iter().map(|store| store.name.clone()).collect(),
        standing: Arc::clone(&context.continuous),
        stop: core.closing.clone(),
    })
}

impl FollowHost {
    fn core(&self) -> Result<Arc<Core>> {
        self.core.upgrade().ok_or_else(closed)
    }
}

impl Host for FollowHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn follow(&self, store: &str, scope: Scope) -> Running {
        let (core, store) = (self.core(), store.to_owned());
        Box::pin(async move {
            let request = WorkerRequest::new(method::FOLLOW, &format!("following {store}"), &FollowCall { store })?;
            let pool = core?.pool.clone();
            pool.call(Lane::Follow, request, &scope).await.map(drop)
        })
    }

    fn backup(&self, scope: Scope) -> Running {
        let found = self.core().and_then(|core| Ok((find_operation("backup.create", core.operations)?, core)));
        Box::pin(async move {
            let (entry, core) = found?;
            let request = json!({ "layout": "repository", "label": "base of continuous" });
            let answer = core.journalled(entry, scope, request, None)(Cancel::new()).await?;
            if answer.healthy {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Unavailable, "the backup was partial, or not stored everywhere")
                .with_hint("`uplifted-ops backup list` and the journal say what is missing"))
        })
    }
}
