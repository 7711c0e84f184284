//! `backup.*`: making, listing and proving snapshots. What deletes them, or prevents it, is in [`keep`](super::keep).

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keyring;
use super::snapshots::{checkers, host_name, or_missing, targets};
use crate::backup::copy::{CopyJob, CopyReport, copy};
use crate::backup::create::{CreateJob, CreateReport, create};
use crate::backup::layout::Layout;
use crate::backup::lease::LeaseTimes;
use crate::backup::list::{FailedTarget, Listed, Shown, Unreadable, list, show};
use crate::backup::manifest::RelPath;
use crate::backup::memory::look_for;
use crate::backup::retention::holds::{Hold, Holds, holds};
use crate::backup::verify::{VerifyDepth, VerifyJob, VerifyLevel, VerifyReport, verify};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::history;
use crate::ops::{Context, Effect, Lane, Operation, Place};
use crate::store::CheckDepth;

/// What to back up, and where to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateRequest {
    /// This target only. All of the settings when missing.
    pub target: Option<String>,
    /// How it is stored. What `backup.layout` says when missing, and else `archive`; a job of the schedule asks for
    /// `repository` then.
    pub layout: Option<Layout>,
    /// What to call it.
    pub label: Option<String>,
    /// Words to find it by, and that `backup.retention` may keep it by: at most 32 of at most 64 letters, digits
    /// and `. _ - : @ + = /` each.
    pub tags: Vec<String>,
    /// Go on although a target has lost the repository that this host stored into, or has another one: use what is there,
    /// and begin a repository where there is none. Without it such a target is refused, since what looks like that is a disk
    /// that is not mounted.
    pub anew: bool,
}

/// `backup.create`
#[derive(Debug)]
pub struct Create;

impl Operation for Create {
    const NAME: &'static str = "backup.create";
    const SUMMARY: &'static str = "Back the service up while it runs: databases consistent, read back, then visible";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    type Request = CreateRequest;
    type Response = CreateReport;

    async fn run(context: Arc<Context>, scope: Scope, request: CreateRequest) -> Result<CreateReport> {
        let target = request.target.as_deref();
        let job = create_job(&context, &scope, target, request.layout, request.label, request.tags).await?;
        create(&scope, CreateJob { anew: request.anew, ..job }).await
    }

    fn healthy(response: &CreateReport) -> bool {
        response.is_healthy()
    }
}

/// A backup of the service as the settings have it.
pub(super) async fn create_job(
    context: &Context,
    scope: &Scope,
    target: Option<&str>,
    layout: Option<Layout>,
    label: Option<String>,
    tags: Vec<String>,
) -> Result<CreateJob> {
    let settings = context.settings();
    let mut backup = settings.backup.clone();
    if let Some(layout) = layout {
        backup.layout = Some(layout.name().to_owned());
    }
    let targets = targets(context, target)?;
    let keys = keyring::for_writing(context, scope, &targets).await?;
    Ok(CreateJob {
        service: settings.service.name.clone(),
        service_version: settings.service.version.clone(),
        host: host_name(),
        root: context.root.clone(),
        state: context.state.clone(),
        settings: backup,
        label,
        tags,
        stores: context.stores.iter().map(|store| (store.name.clone(), Arc::clone(&store.component))).collect(),
        kinds: context.kinds.stores.clone(),
        targets,
        keys,
        leave_out: Vec::new(),
        check: CheckDepth::Quick,
        lease: LeaseTimes::default(),
        time: None,
        pause: context.pause.clone(),
        anew: false,
    })
}

/// Where to look.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListRequest {
    /// This target only. All of the settings when missing.
    pub target: Option<String>,
    /// The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
    /// where the request runs, and never recorded.
    pub identity_file: Option<RelPath>,
}

/// The snapshots.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ListResponse {
    /// The snapshots, newest first; one that is in several targets is there once for each.
    pub snapshots: Vec<KnownSnapshot>,
    /// What looks like an archive and could not be read as one.
    pub unreadable: Vec<Unreadable>,
    /// The targets that could not be asked.
    pub failed: Vec<FailedTarget>,
}

/// A snapshot, who holds it, and what the journal knows of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KnownSnapshot {
    /// The snapshot in its target.
    #[serde(flatten)]
    pub listed: Listed,
    /// When this copy was last found whole: by a verification in full, by a drill, or because samples have read every
    /// byte of its target. Nothing when it never was, when damage was found since, or when the journal is lost.
    pub verified_at: Option<Timestamp>,
    /// Whether it was looked into then. One that is encrypted is not, where no identity was given.
    pub verified_level: Option<VerifyLevel>,
    /// Who holds it, so that nothing deletes it.
    pub holds: Vec<Hold>,
}

/// `backup.list`
#[derive(Debug)]
pub struct List;

impl Operation for List {
    const NAME: &'static str = "backup.list";
    const SUMMARY: &'static str = "List the snapshots, newest first";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = ListRequest;
    type Response = ListResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: ListRequest) -> Result<ListResponse> {
        let targets = targets(&context, request.target.as_deref())?;
        let keys = keyring::for_reading(&context, &scope, &targets, request.identity_file.as_ref()).await?;
        let mut listing = list(&scope, &targets, &keys, Some(&context.settings().service.name)).await?;
        let (proofs, levels) = (history::proofs(&context.journal)?, history::levels(&context.journal)?);
        let mut held: BTreeMap<&str, Holds> = BTreeMap::new();
        let silent = listing.failed.clone();
        for named in targets.iter().filter(|(name, _)| silent.iter().all(|it| it.target != *name)) {
            let (name, target) = named;
            // A disk that is not mounted is no target without snapshots.
            if let Err(error) = look_for(&scope, &context.state, named).await {
                if error.kind() == ErrorKind::Cancelled {
                    return Err(error);
                }
                listing.failed.push(FailedTarget { target: name.clone(), error: error.to_body() });
                continue;
            }
            match holds(&scope, &**target).await {
                Ok(holds) => drop(held.insert(name, holds)),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => listing.failed.push(FailedTarget { target: name.clone(), error: error.to_body() }),
            }
        }
        let known = |listed: Listed| KnownSnapshot {
            verified_at: proofs.verified_at(&listed),
            verified_level: levels.get(&listed.snapshot_id).copied(),
            holds: held
                .get(listed.target.as_str())
                .and_then(|it| it.get(&listed.snapshot_id))
                .cloned()
                .unwrap_or_default(),
            listed,
        };
        Ok(ListResponse {
            snapshots: listing.snapshots.into_iter().map(known).collect(),
            unreadable: listing.unreadable,
            failed: listing.failed,
        })
    }

    fn healthy(response: &ListResponse) -> bool {
        response.unreadable.is_empty() && response.failed.is_empty()
    }
}

/// Which snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowRequest {
    /// The snapshot: its identifier, the beginning of it, or `latest`.
    pub snapshot_id: String,
    /// Read it from this target only.
    #[serde(default)]
    pub target: Option<String>,
    /// The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
    /// where the request runs, and never recorded.
    #[serde(default)]
    pub identity_file: Option<RelPath>,
}

/// `backup.show`
#[derive(Debug)]
pub struct Show;

impl Operation for Show {
    const NAME: &'static str = "backup.show";
    const SUMMARY: &'static str = "Show what a snapshot says about itself";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = ShowRequest;
    type Response = Shown;

    async fn run(context: Arc<Context>, scope: Scope, request: ShowRequest) -> Result<Shown> {
        let targets = targets(&context, request.target.as_deref())?;
        let keys = keyring::for_reading(&context, &scope, &targets, request.identity_file.as_ref()).await?;
        let shown = show(&scope, &targets, &keys, Some(&context.settings().service.name), &request.snapshot_id).await;
        or_missing(&context, &scope, &targets, shown).await
    }
}

/// What to verify, and how much of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The snapshot: its identifier, the beginning of it, or `latest`.
    pub snapshot_id: String,
    /// `quick` looks at the index and the sizes; `data` reads every byte; `full`, the default, does so and checks
    /// the databases.
    #[serde(default = "full")]
    pub depth: VerifyDepth,
    /// Verify the copy in this target only. Every copy when missing.
    #[serde(default)]
    pub target: Option<String>,
    /// The file with the secret half of a recipient, to look into encrypted snapshots. What the settings name when missing;
    /// without any, the stored bytes alone are compared, and the answer's `level` says so. Read where the request runs, and
    /// never recorded.
    #[serde(default)]
    pub identity_file: Option<RelPath>,
}

fn full() -> VerifyDepth {
    VerifyDepth::Full
}

/// `backup.verify`
#[derive(Debug)]
pub struct Verify;

impl Operation for Verify {
    const NAME: &'static str = "backup.verify";
    const SUMMARY: &'static str = "Prove that a snapshot can be restored";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    // The journal remembers which snapshots were proven, and when.
    const JOURNALLED: bool = true;
    type Request = VerifyRequest;
    type Response = VerifyReport;

    async fn run(context: Arc<Context>, scope: Scope, request: VerifyRequest) -> Result<VerifyReport> {
        let backup = &context.settings().backup;
        let targets = targets(&context, request.target.as_deref())?;
        let keys = keyring::for_reading(&context, &scope, &targets, request.identity_file.as_ref()).await?;
        let job = VerifyJob {
            targets: targets.clone(),
            keys,
            service: Some(context.settings().service.name.clone()),
            snapshot: request.snapshot_id,
            depth: request.depth,
            scratch: context.scratch(),
            scratch_in_memory: backup.scratch_in_memory,
            checkers: checkers(&context),
            threads: backup.threads,
            state: context.state.clone(),
        };
        or_missing(&context, &scope, &targets, verify(&scope, job).await).await
    }

    fn healthy(response: &VerifyReport) -> bool {
        response.ok
    }
}

/// What to copy, and where to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// The snapshot: its identifier, the beginning of it, or `latest`.
    pub snapshot_id: String,
    /// The target that it goes to.
    pub to: String,
    /// The target that it comes from. The first that has a whole copy when missing.
    #[serde(default)]
    pub from: Option<String>,
    /// The file with the secret half of a recipient, for a snapshot in a sealed repository: it is opened on its way, and only
    /// what the other repository lacks is sent. Without it the packs that it needs are sent as they are, to a repository of the
    /// same identity. What the settings name when missing. Read where the request runs, and never recorded.
    #[serde(default)]
    pub identity_file: Option<RelPath>,
}

/// `backup.copy`
#[derive(Debug)]
pub struct Copy;

impl Operation for Copy {
    const NAME: &'static str = "backup.copy";
    const SUMMARY: &'static str = "Copy a snapshot to another target: verified, sent, and read back there";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    type Request = CopyRequest;
    type Response = CopyReport;

    async fn run(context: Arc<Context>, scope: Scope, request: CopyRequest) -> Result<CopyReport> {
        let to = targets(&context, Some(&request.to))?.remove(0);
        let mut from = targets(&context, request.from.as_deref())?;
        from.retain(|(name, _)| *name != to.0);
        if from.is_empty() {
            return Err(Error::invalid(format!("a snapshot cannot be copied from {:?} to itself", to.0))
                .with_hint("name another target, or add a second [[target]] to ops.toml"));
        }
        let mut asked = from.clone();
        asked.push(to.clone());
        let keys = keyring::for_reading(&context, &scope, &asked, request.identity_file.as_ref()).await?;
        let backup = &context.settings().backup;
        let job = CopyJob {
            from,
            to,
            keys,
            service: Some(context.settings().service.name.clone()),
            snapshot: request.snapshot_id,
            host: host_name(),
            lease: LeaseTimes::default(),
            threads: backup.threads,
            level: backup.level.unwrap_or(Layout::Repository.level()),
            state: context.state.clone(),
        };
        copy(&scope, job).await
    }
}
