//! `backup.collect`: freeing what no snapshot needs.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::snapshots::{host_name, targets};
use crate::backup::collect::{CollectJob, CollectReport, collect};
use crate::backup::lease::LeaseTimes;
use crate::backup::repository::keyring::NoKeys;
use crate::cancel::Scope;
use crate::config::MIN_COLLECT_GRACE_HOURS;
use crate::error::{Error, Result};
use crate::ops::{Context, Effect, Lane, Operation, Place};

/// Where to collect.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CollectRequest {
    /// This target only. All of the settings when missing.
    pub target: Option<String>,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
    /// Go on although snapshots are missing that nobody removed: they are lost for good, and recorded as removed.
    pub accept_missing: bool,
}

/// `backup.collect`
#[derive(Debug)]
pub struct Collect;

impl Operation for Collect {
    const NAME: &'static str = "backup.collect";
    const SUMMARY: &'static str = "Free what no snapshot of a repository needs, while backups go on";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    type Request = CollectRequest;
    type Response = CollectReport;

    async fn run(context: Arc<Context>, scope: Scope, request: CollectRequest) -> Result<CollectReport> {
        let hours = context.settings().backup.collect_grace_hours;
        let grace = Duration::try_from_secs_f64(hours * 3600.0).map_err(|_| {
            Error::invalid(format!("backup.collect_grace_hours is {hours}, which is no duration"))
                .with_hint(format!("use 24, and no less than {MIN_COLLECT_GRACE_HOURS}"))
        })?;
        let job = CollectJob {
            targets: targets(&context, request.target.as_deref())?,
            keys: Arc::new(NoKeys),
            state: context.state.clone(),
            host: host_name(),
            lease: LeaseTimes::default(),
            grace,
            accept_missing: request.accept_missing,
            dry_run: request.dry_run,
        };
        collect(&scope, &job).await
    }

    fn healthy(response: &CollectReport) -> bool {
        response.is_healthy()
    }
}
