//! `backup.drill`: restoring a snapshot to know that it can be done.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::snapshots::{checkers, limits, targets};
use crate::backup::drill::{DrillCheck, DrillJob, DrillReport, drill};
use crate::backup::manifest::RelPath;
use crate::backup::probe::Tester;
use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::ops::history;
use crate::ops::{Context, Effect, Lane, Operation, Place};

/// What to rehearse.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrillRequest {
    /// The snapshot: its identifier, the beginning of it, or `latest`, which is meant when missing.
    pub snapshot_id: Option<String>,
    /// Restore the copy in this target. When missing, the one of the target that was not drilled for the longest time.
    pub target: Option<String>,
    /// What to do beside restoring and checking integrity. When missing, all that the settings have.
    pub checks: Option<Vec<DrillCheck>>,
    /// A folder, missing or empty, that receives the restored copy and keeps it. When missing, the copy is made in
    /// scratch and removed.
    pub into: Option<RelPath>,
}

/// `backup.drill`
#[derive(Debug)]
pub struct Drill;

impl Operation for Drill {
    const NAME: &'static str = "backup.drill";
    const SUMMARY: &'static str = "Rehearse a restore: restore into scratch, test the copy, say how long recovery takes";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    // The journal remembers what was proven to be restorable, and when.
    const JOURNALLED: bool = true;
    type Request = DrillRequest;
    type Response = DrillReport;

    async fn run(context: Arc<Context>, scope: Scope, request: DrillRequest) -> Result<DrillReport> {
        let backup = &context.settings().backup;
        let into = request.into.map(|into| into.as_path().to_owned());
        if into.as_ref().is_some_and(|into| into.starts_with(&context.state)) {
            return Err(Error::invalid(format!("{:?} lies in the state folder", into.unwrap_or_default()))
                .with_hint("name a folder outside it"));
        }
        let checks = request.checks.map_or_else(|| DrillCheck::ALL.into(), BTreeSet::from_iter);
        let earlier = history::drills(&context.journal)?;
        let job = DrillJob {
            targets: targets(&context, request.target.as_deref())?,
            service: Some(context.settings().service.name.clone()),
            snapshot: request.snapshot_id.unwrap_or_else(|| "latest".to_owned()),
            into,
            checks,
            tester: tester(&context),
            scratch: context.scratch(),
            scratch_in_memory: backup.scratch_in_memory,
            limits: limits(&context),
            threads: backup.threads,
            drilled: earlier.times,
            earlier: earlier.rows,
        };
        drill(&scope, job).await
    }

    fn healthy(response: &DrillReport) -> bool {
        response.ok
    }
}

/// What puts restored copies to the test, by the settings.
pub(super) fn tester(context: &Context) -> Tester {
    let settings = context.settings();
    let prefix = format!("{}__", settings.service.env_prefix.as_deref().unwrap_or("UPLIFTED"));
    let ours = context.environment.iter().filter(|(name, _)| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(&prefix)) || name == "DATABASE_URL"
    });
    Tester {
        checkers: checkers(context),
        settings: settings.backup.drill.clone(),
        root: context.root.clone(),
        environment: ours.cloned().collect(),
    }
}
