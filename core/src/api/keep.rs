//! `backup.retain`, `backup.hold`, `backup.release`, `backup.delete`: what deletes snapshots, and what prevents it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keyring;
use super::snapshots::{host_name, targets};
use crate::backup::delete::{DeletePlan, apply_delete, plan_delete};
use crate::backup::lease::LeaseTimes;
use crate::backup::list::{FailedTarget, find};
use crate::backup::memory::look_for;
use crate::backup::retention::holds::{self, Hold};
use crate::backup::retention::{Policy, RetainJob, RetainReport, retain};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::history;
use crate::ops::{Context, Effect, Lane, Operation, Place};

/// Where to delete what the policy does not keep.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetainRequest {
    /// This target only. All of the settings when missing.
    pub target: Option<String>,
    /// Say what would be deleted and why, and delete nothing.
    pub dry_run: bool,
}

/// `backup.retain`
#[derive(Debug)]
pub struct Retain;

impl Operation for Retain {
    const NAME: &'static str = "backup.retain";
    const SUMMARY: &'static str = "Delete the snapshots that backup.retention does not keep, never the last good ones";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    type Request = RetainRequest;
    type Response = RetainReport;

    async fn run(context: Arc<Context>, scope: Scope, request: RetainRequest) -> Result<RetainReport> {
        let settings = context.settings();
        let policy = Policy::of(settings)?;
        let (mut there, mut missing, mut first_error) = (Vec::new(), Vec::new(), None);
        for named in targets(&context, request.target.as_deref())? {
            match look_for(&scope, &context.state, &named).await {
                Ok(()) => there.push(named),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                // A disk that is not mounted is no target without snapshots.
                Err(error) => {
                    missing.push(FailedTarget { target: named.0, error: error.to_body() });
                    first_error = first_error.or(Some(error));
                }
            }
        }
        if let Some(error) = first_error.filter(|_| there.is_empty()) {
            return Err(error);
        }
        let job = RetainJob {
            keys: keyring::for_reading(&context, &scope, &there, None).await?,
            targets: there,
            service: settings.service.name.clone(),
            policy,
            proofs: &|| history::proofs(&context.journal),
            host: host_name(),
            lease: LeaseTimes::default(),
            dry_run: request.dry_run,
        };
        let mut report = retain(&scope, &job).await?;
        report.plan.failed.extend(missing);
        Ok(report)
    }

    fn healthy(response: &RetainReport) -> bool {
        response.is_healthy()
    }
}

/// Which snapshot to hold, and why.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// The snapshot: its identifier, the beginning of it, or `latest`.
    pub snapshot_id: String,
    /// Why nothing may delete it, for whoever wants to.
    pub reason: String,
    /// Who holds it. The user and the machine when missing.
    #[serde(default)]
    pub by: Option<String>,
    /// Hold the copy in this target only. Every copy when missing.
    #[serde(default)]
    pub target: Option<String>,
}

/// What is held.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HoldResponse {
    /// The snapshot.
    pub snapshot_id: String,
    /// The hold.
    pub hold: Hold,
    /// The targets whose copies are held.
    pub targets: Vec<String>,
    /// The targets whose copies could not be held.
    pub failed: Vec<FailedTarget>,
}

/// `backup.hold`
#[derive(Debug)]
pub struct HoldSnapshot;

impl Operation for HoldSnapshot {
    const NAME: &'static str = "backup.hold";
    const SUMMARY: &'static str = "Hold a snapshot: nothing deletes it before it is released";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = HoldRequest;
    type Response = HoldResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: HoldRequest) -> Result<HoldResponse> {
        if request.reason.trim().is_empty() {
            return Err(
                Error::invalid("a hold needs a reason").with_hint("say why, for whoever wants to delete it later")
            );
        }
        let targets = targets(&context, request.target.as_deref())?;
        let service = context.settings().service.name.as_str();
        let keys = keyring::for_reading(&context, &scope, &targets, None).await?;
        let copies = find(&scope, &targets, &keys, Some(service), &request.snapshot_id).await?;
        let by = request.by.unwrap_or_else(|| this_user(&context.environment));
        let hold = Hold { by, at: scope.clock.now(), reason: request.reason };
        let snapshot_id = copies.first().map(|copy| copy.snapshot_id.clone()).unwrap_or_default();
        let mut response = HoldResponse { snapshot_id, hold, targets: Vec::new(), failed: Vec::new() };
        let mut first_error = None;
        for copy in &copies {
            let (id, key) = (&copy.snapshot_id, &copy.object.key);
            match holds::hold(&scope, &*copy.component, id, key, &response.hold).await {
                Ok(()) => response.targets.push(copy.target.clone()),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    response.failed.push(FailedTarget { target: copy.target.clone(), error: error.to_body() });
                    first_error = first_error.or(Some(error));
                }
            }
        }
        match first_error {
            Some(error) if response.targets.is_empty() => Err(error),
            _ => Ok(response),
        }
    }

    fn healthy(response: &HoldResponse) -> bool {
        response.failed.is_empty()
    }
}

/// `ann on web1`.
fn this_user(environment: &[(String, String)]) -> String {
    let named = |name: &str| environment.iter().find(|(known, value)| known == name && !value.is_empty());
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(named).map(|(_, value)| value.clone());
    let user = user.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()));
    format!("{user} on {}", host_name())
}

/// Which snapshot to release.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The snapshot: its identifier, the beginning of it, or `latest`.
    pub snapshot_id: String,
    /// Release the copy in this target only. Every copy when missing.
    #[serde(default)]
    pub target: Option<String>,
}

/// What was released.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseResponse {
    /// The snapshot.
    pub snapshot_id: String,
    /// How many holds were ended, over all targets. 0 when nobody held it.
    pub released: u64,
}

/// `backup.release`
#[derive(Debug)]
pub struct Release;

impl Operation for Release {
    const NAME: &'static str = "backup.release";
    const SUMMARY: &'static str = "End every hold of a snapshot";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = ReleaseRequest;
    type Response = ReleaseResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: ReleaseRequest) -> Result<ReleaseResponse> {
        let targets = targets(&context, request.target.as_deref())?;
        let service = context.settings().service.name.as_str();
        let keys = keyring::for_reading(&context, &scope, &targets, None).await?;
        let copies = find(&scope, &targets, &keys, Some(service), &request.snapshot_id).await?;
        let snapshot_id = copies.first().map(|copy| copy.snapshot_id.clone()).unwrap_or_default();
        let mut released = 0;
        for copy in &copies {
            released += holds::release(&scope, &*copy.component, &snapshot_id).await?;
        }
        Ok(ReleaseResponse { snapshot_id, released })
    }
}

/// What to delete.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// The snapshot: its identifier, or the beginning of it.
    pub snapshot_id: String,
    /// Delete it from this target only. From all when missing.
    #[serde(default)]
    pub target: Option<String>,
    /// Say what would be deleted, and delete nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Delete it even when it is the last good one. What is held stays all the same.
    #[serde(default)]
    pub force: bool,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeleteResponse {
    /// The plan.
    #[serde(flatten)]
    pub plan: DeletePlan,
    /// Whether it was carried out.
    pub deleted: bool,
}

/// `backup.delete`
#[derive(Debug)]
pub struct Delete;

impl Operation for Delete {
    const NAME: &'static str = "backup.delete";
    const SUMMARY: &'static str = "Delete a snapshot, unless it is the last good one";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = DeleteRequest;
    type Response = DeleteResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: DeleteRequest) -> Result<DeleteResponse> {
        let targets = targets(&context, request.target.as_deref())?;
        let proofs = history::proofs(&context.journal)?;
        let service = context.settings().service.name.as_str();
        let keys = keyring::for_reading(&context, &scope, &targets, None).await?;
        let plan =
            plan_delete(&scope, &targets, &keys, Some(service), &request.snapshot_id, &proofs, request.force).await?;
        if !request.dry_run {
            apply_delete(&scope, &targets, &keys, &plan, &host_name(), LeaseTimes::default()).await?;
        }
        Ok(DeleteResponse { plan, deleted: !request.dry_run })
    }
}
