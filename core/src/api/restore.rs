//! `restore.*`: putting a snapshot back, beside or in place, and taking that back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::snapshots;
use crate::backup::manifest::{RelPath, StoreRecord};
use crate::backup::nodes::Selection;
use crate::backup::restore::{
    self, DiscardPlan, RestoreJob, RestorePlan, RestoreReport, Service, ServiceReport, Site, UndoArea, UndoPlan,
};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{Context, Effect, Lane, Operation, Place, RunMode, site};
use crate::process::{Program, start_detached};
use crate::store::{CheckDepth, IntegrityReport};

/// How long the service may take to stop and close its databases.
const STOP_DEADLINE: Duration = Duration::from_secs(120);

/// What to restore, and where to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// The snapshot: its identifier, the beginning of it, or `latest`. Or the path of an archive: one of uplifted-ops, or a
    /// `.tar`, `.tar.gz` or `.tar.zst` that tar made, such as `/backup/uplifted_20260101_020000.tar.gz`. May be left out with
    /// `at`.
    #[serde(default)]
    pub snapshot_id: String,
    /// The moment to go back to: of the stores that are followed the last commit that is not after it. The snapshot is then the
    /// newest one from which every one of them gets there; files are as they are in it.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// Read it from this target only.
    #[serde(default)]
    pub target: Option<String>,
    /// A folder, missing or empty, that receives the files. In place when missing.
    #[serde(default)]
    pub into: Option<RelPath>,
    /// What to restore, relative to the root. All when missing or empty.
    #[serde(default)]
    pub paths: Option<Vec<RelPath>>,
    /// Restore what is undamaged, and what the keys at hand open, and name the rest, instead of failing.
    #[serde(default)]
    pub salvage: bool,
    /// The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
    /// where the request runs, and never recorded.
    #[serde(default)]
    pub identity_file: Option<RelPath>,
}

/// `restore.plan`
#[derive(Debug)]
pub struct Plan;

impl Operation for Plan {
    const NAME: &'static str = "restore.plan";
    const SUMMARY: &'static str = "Say what a restore would do, and change nothing";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = RestoreRequest;
    type Response = RestorePlan;

    async fn run(context: Arc<Context>, scope: Scope, request: RestoreRequest) -> Result<RestorePlan> {
        with_job(context, scope, request, |context, scope, job, moment| {
            let mut plan = RestorePlan { at: moment.plan(), ..restore::plan(scope, job)? };
            plan.warnings.extend(moment.warnings(context, &job.paths, job.into.is_none()));
            Ok(plan)
        })
        .await
    }
}

/// `restore.apply`
#[derive(Debug)]
pub struct Apply;

impl Operation for Apply {
    const NAME: &'static str = "restore.apply";
    const SUMMARY: &'static str = "Restore a snapshot, into a folder or in place, verified before anything is replaced";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = RestoreRequest;
    type Response = RestoreReport;

    async fn run(context: Arc<Context>, scope: Scope, request: RestoreRequest) -> Result<RestoreReport> {
        with_job(context, scope, request, |context, scope, job, moment| {
            let mut plan = restore::plan(scope, job)?;
            plan.warnings.extend(moment.warnings(context, &job.paths, job.into.is_none()));
            let mut report = restore::apply(scope, job, &plan)?;
            report.reached = moment.reached();
            Ok(report)
        })
        .await
    }

    fn healthy(response: &RestoreReport) -> bool {
        response.lost.is_empty()
    }
}

/// What to take back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// The `undo_id` that `restore.apply` answered.
    pub undo_id: String,
    /// Say what would come back, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What came back, or would.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UndoResponse {
    /// What became of it; with `dry_run` what would.
    #[serde(flatten)]
    pub report: RestoreReport,
    /// The plan.
    pub plan: UndoPlan,
    /// Whether it was carried out, or is staged for the next start.
    pub undone: bool,
}

/// `restore.undo`
#[derive(Debug)]
pub struct Undo;

impl Operation for Undo {
    const NAME: &'static str = "restore.undo";
    const SUMMARY: &'static str = "Take a restore back: what it replaced becomes the service again";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = UndoRequest;
    type Response = UndoResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: UndoRequest) -> Result<UndoResponse> {
        blocking(move || {
            with_site(&context, |site| {
                let plan = restore::plan_undo(site, &request.undo_id)?;
                let report = match request.dry_run {
                    true => RestoreReport {
                        snapshot_id: plan.area.snapshot_id.clone(),
                        restored_files: plan.area.files,
                        into: RelPath::new(&context.root),
                        undo_id: None,
                        restart_required: plan.restart_required,
                        lost: Vec::new(),
                        warnings: Vec::new(),
                        service: ServiceReport::default(),
                        reached: Vec::new(),
                    },
                    false => restore::undo(&scope, site, &request.undo_id)?,
                };
                Ok(UndoResponse { report, plan, undone: !request.dry_run })
            })
        })
        .await
    }
}

/// Nothing to ask.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoListRequest {}

/// What can be taken back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UndoListResponse {
    /// The undo areas, newest first.
    pub areas: Vec<UndoArea>,
}

/// `restore.undo_list`
#[derive(Debug)]
pub struct UndoList;

impl Operation for UndoList {
    const NAME: &'static str = "restore.undo_list";
    const SUMMARY: &'static str = "List what restores replaced and still keep";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = UndoListRequest;
    type Response = UndoListResponse;

    async fn run(context: Arc<Context>, _scope: Scope, _request: UndoListRequest) -> Result<UndoListResponse> {
        let areas = blocking(move || with_site(&context, restore::list_undo)).await?;
        Ok(UndoListResponse { areas })
    }
}

/// Which undo areas to give up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscardRequest {
    /// The `undo_id`s.
    pub undo_ids: Vec<String>,
    /// Say what would be removed, and remove nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DiscardResponse {
    /// The plan.
    #[serde(flatten)]
    pub plan: DiscardPlan,
    /// Whether it was carried out.
    pub discarded: bool,
}

/// `restore.discard`
#[derive(Debug)]
pub struct Discard;

impl Operation for Discard {
    const NAME: &'static str = "restore.discard";
    const SUMMARY: &'static str = "Remove for good what restores replaced";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = DiscardRequest;
    type Response = DiscardResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: DiscardRequest) -> Result<DiscardResponse> {
        blocking(move || {
            with_site(&context, |site| {
                let plan = restore::plan_discard(site, &request.undo_ids)?;
                if !request.dry_run {
                    restore::discard(&scope, site, &plan)?;
                }
                Ok(DiscardResponse { plan, discarded: !request.dry_run })
            })
        })
        .await
    }
}

/// Opens the snapshot and calls `act` with the job, on a thread that may wait.
async fn with_job<T: Send + 'static>(
    context: Arc<Context>,
    scope: Scope,
    request: RestoreRequest,
    act: impl FnOnce(&Context, &Scope, &RestoreJob<'_>, &Moment) -> Result<T> + Send + 'static,
) -> Result<T> {
    let paths: Vec<PathBuf> = request.paths.iter().flatten().map(|path| path.as_path().to_owned()).collect();
    // A restore in place holds everything against what is there; another one needs to know what it brings.
    let selection = match request.into.is_some() && !request.salvage && !paths.is_empty() {
        true => Selection::Paths(paths.clone()),
        false => Selection::All,
    };
    let moment = Moment::find(&context, &scope, &request, &paths).await?;
    let source = snapshots::open(
        &context,
        &scope,
        moment.snapshot_id().unwrap_or(&request.snapshot_id),
        request.target.as_deref(),
        request.identity_file.as_ref(),
        request.salvage,
        selection,
    )
    .await?;
    blocking(move || {
        let check = |record: &StoreRecord, file: &std::path::Path| {
            moment.go_on(&context, &scope, record, file)?;
            check_copy(&context, &scope, record, file)
        };
        with_site(&context, |site| {
            let job = RestoreJob {
                site: site.clone(),
                source: source.as_ref(),
                into: request.into.as_ref().map(|into| into.as_path().to_owned()),
                paths,
                threads: context.settings().backup.threads,
                limits: snapshots::limits(&context),
                salvage: request.salvage,
                check: &check,
            };
            act(&context, &scope, &job, &moment)
        })
    })
    .await
}

/// Calls `act` with the service that this is about.
fn with_site<T>(context: &Context, act: impl FnOnce(&Site<'_>) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Handle::current();
    let service = &context.settings().service;
    let stop = |scope: &Scope| run_program(&runtime, scope, context, &service.stop, "service.stop");
    let start = |_: &Scope| {
        let argv = service.start.iter().map(Into::into).collect();
        start_detached(argv, &context.root).map(|_| ())
    };
    let gate = |scope: &Scope| runtime.block_on(is_well(context, scope));
    let stoppable = context.mode == RunMode::CommandLine && !service.stop.is_empty();
    act(&site(
        context,
        Service {
            stop: stoppable.then_some(&stop),
            start: (stoppable && !service.start.is_empty()).then_some(&start),
            gate: Some(&gate),
            patience: STOP_DEADLINE,
        },
    ))
}

fn run_program(
    runtime: &tokio::runtime::Handle,
    scope: &Scope,
    context: &Context,
    argv: &[String],
    setting: &str,
) -> Result<()> {
    let program = Program::new(argv.iter().map(Into::into).collect()).cwd(&context.root).deadline(STOP_DEADLINE);
    let output = runtime.block_on(program.run(scope))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unavailable, format!("{setting} failed: {}", output.status))
        .with_context("stderr", String::from_utf8_lossy(&output.stderr).trim())
        .with_hint(format!("run the program of {setting} by hand and see what it says")))
}

/// Asks the checks until the service is well or the time for that is over.
async fn is_well(context: &Context, scope: &Scope) -> Result<bool> {
    let seconds = context.settings().restore.health_gate_seconds.clamp(0.0, 86_400.0);
    let until = scope.clock.monotonic() + Duration::from_secs_f64(seconds);
    loop {
        let report = context.health.run(scope, None).await?;
        if report.status != crate::health::CheckStatus::Fail {
            return Ok(true);
        }
        if scope.clock.monotonic() >= until {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Checks a staged database with a store of its kind. Its bytes are those of the copy that the backup checked,
/// as the archive's checksums prove; what is left to ask is whether the engine finds its way in them.
fn check_copy(
    context: &Context,
    scope: &Scope,
    record: &StoreRecord,
    file: &std::path::Path,
) -> Result<IntegrityReport> {
    let store = snapshots::checkers(context).store_for(record, file)?;
    let folder = file.parent().unwrap_or(file).to_owned();
    tokio::runtime::Handle::current().block_on(store.check_copy(scope, &folder, CheckDepth::Quick))
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("the restore ended without an answer: {error}"))),
    }
}
