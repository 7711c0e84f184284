//! `continuous.*` and `restore.points`: stores that are followed, and the seconds that they can go back to.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keyring;
use super::snapshots::{host_name, targets};
use crate::backup::create::NamedTarget;
use crate::backup::list::FailedTarget;
use crate::backup::manifest::RelPath;
use crate::backup::repository::streams::Shelf;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::config::ContinuousSettings;
use crate::continuous::compact;
use crate::continuous::folder::Folder;
use crate::continuous::follow::{FollowJob, follow};
use crate::continuous::timeline::{Wanted, look};
use crate::continuous::{StoreStanding, StoreTimeline};
use crate::error::{Error, ErrorBody, ErrorKind, Result};
use crate::ops::{Context, Effect, Lane, Operation, Place};

/// How long a store may take to be followed, or not to be any more.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long is waited for a process that leads: one that starts needs a moment.
const LEADER_PATIENCE: Duration = Duration::from_secs(4);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Which stores.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContinuousRequest {
    /// This store only. All when missing.
    pub store: Option<String>,
}

/// How the following of the stores stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ContinuousStatusResponse {
    /// Whether every store that is to be followed is, and loses no more than it may.
    pub ok: bool,
    /// The stores that are to be followed, or were.
    pub stores: Vec<ContinuousStore>,
    /// Whether the process that answers is the one that follows them.
    pub leads: bool,
    /// What keeps it from that.
    pub trouble: Option<ErrorBody>,
}

/// A store that is to be followed, or was.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ContinuousStore {
    /// The store's name.
    pub name: String,
    /// Whether it is to be followed.
    pub wanted: bool,
    /// Whether a process does.
    pub following: bool,
    /// What would be lost if this machine were gone now, in seconds of commits. Nothing before anything was stored.
    pub lag_seconds: Option<f64>,
    /// How it stands. Nothing where it never was followed.
    pub standing: Option<StoreStanding>,
}

impl ContinuousStore {
    fn is_well(&self) -> bool {
        let standing = self.standing.as_ref();
        let waits = standing.is_some_and(|it| it.waits_for.is_some() || it.base_wanted_since.is_some());
        !self.wanted || (self.following && !waits && standing.is_some_and(|it| it.stored_until().is_some()))
    }
}

/// `continuous.status`
#[derive(Debug)]
pub struct Status;

impl Operation for Status {
    const NAME: &'static str = "continuous.status";
    const SUMMARY: &'static str =
        "Say which stores are followed, how far behind what is stored is, and what is missing";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = ContinuousRequest;
    type Response = ContinuousStatusResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: ContinuousRequest) -> Result<ContinuousStatusResponse> {
        let names = named(&context, request.store.as_deref())?;
        let now = scope.clock.now();
        let (of, about) = (Arc::clone(&context), names);
        let stores = off_thread(move || standings(&of, &about, now)).await?;
        let (leads, trouble) = context.continuous.get();
        Ok(ContinuousStatusResponse { ok: stores.iter().all(ContinuousStore::is_well), stores, leads, trouble })
    }

    fn healthy(response: &ContinuousStatusResponse) -> bool {
        response.ok
    }
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ContinuousChange {
    /// The stores that it is about.
    pub stores: Vec<String>,
    /// Those that are followed now.
    pub following: Vec<String>,
    /// What to know.
    pub notes: Vec<String>,
}

/// `continuous.start`
#[derive(Debug)]
pub struct Start;

impl Operation for Start {
    const NAME: &'static str = "continuous.start";
    const SUMMARY: &'static str = "Follow stores from now on, also after a restart, whatever the settings say";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Host;
    type Request = ContinuousRequest;
    type Response = ContinuousChange;

    async fn run(context: Arc<Context>, scope: Scope, request: ContinuousRequest) -> Result<ContinuousChange> {
        targets_of(&context)?;
        change(&context, &scope, &request, true).await
    }
}

/// `continuous.stop`
#[derive(Debug)]
pub struct Stop;

impl Operation for Stop {
    const NAME: &'static str = "continuous.stop";
    const SUMMARY: &'static str =
        "Follow stores no longer: what was committed until now is stored, and what is stored stays";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Host;
    type Request = ContinuousRequest;
    type Response = ContinuousChange;

    async fn run(context: Arc<Context>, scope: Scope, request: ContinuousRequest) -> Result<ContinuousChange> {
        change(&context, &scope, &request, false).await
    }
}

/// What seconds to ask for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PointsRequest {
    /// This store only. All when missing.
    pub store: Option<String>,
    /// In this target only. In all of the settings when missing.
    pub target: Option<String>,
    /// The file with the secret half of a recipient, for encrypted repositories: without it the times of the bases are known
    /// only roughly. Read where the request runs, and never recorded.
    pub identity_file: Option<RelPath>,
}

/// The seconds that can be gone back to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PointsResponse {
    /// The stores.
    pub stores: Vec<StoreTimeline>,
    /// The targets that could not be asked.
    pub failed: Vec<FailedTarget>,
}

/// `restore.points`
#[derive(Debug)]
pub struct Points;

impl Operation for Points {
    const NAME: &'static str = "restore.points";
    const SUMMARY: &'static str =
        "Say which seconds each store can go back to: bases, coverage, and gaps with their reasons";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = PointsRequest;
    type Response = PointsResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: PointsRequest) -> Result<PointsResponse> {
        let names = named(&context, request.store.as_deref())?;
        let targets = targets(&context, request.target.as_deref())?;
        let keys = keyring::for_reading(&context, &scope, &targets, request.identity_file.as_ref()).await?;
        let wanted = if request.store.is_some() { Wanted::Named(&names) } else { Wanted::AndFound(&names) };
        let view = look(&scope, &targets, &keys, wanted).await?;
        Ok(PointsResponse { stores: view.stores.iter().map(|store| store.timeline()).collect(), failed: view.failed })
    }

    fn healthy(response: &PointsResponse) -> bool {
        response.failed.is_empty()
    }
}

/// What to put together.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompactRequest {
    /// This store only. All when missing.
    pub store: Option<String>,
    /// In this target only. In all of the settings when missing.
    pub target: Option<String>,
    /// Say what would be done, and change nothing.
    pub dry_run: bool,
}

/// What was put together and removed, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CompactResponse {
    /// For each store and target.
    pub stores: Vec<CompactedStore>,
    /// Whether it was carried out.
    pub compacted: bool,
}

/// What was done with a store in a target, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CompactedStore {
    /// The store.
    pub store: String,
    /// The target.
    pub target: String,
    /// Segments that become part of a larger one.
    pub merged: u64,
    /// The larger ones.
    pub into: u64,
    /// Segments that go.
    pub removed: Vec<RemovedSegment>,
}

/// A segment that goes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RemovedSegment {
    /// Its key.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// `continuous.compact`
#[derive(Debug)]
pub struct Compact;

impl Operation for Compact {
    const NAME: &'static str = "continuous.compact";
    const SUMMARY: &'static str =
        "Put small segments together and remove what is too old, as the process that follows does now and then";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    type Request = CompactRequest;
    type Response = CompactResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: CompactRequest) -> Result<CompactResponse> {
        let names = named(&context, request.store.as_deref())?;
        let targets = targets(&context, request.target.as_deref())?;
        let keys = keyring::for_reading(&context, &scope, &targets, None).await?;
        let mut stores = Vec::new();
        for (name, target) in &targets {
            let Some(shelf) = Shelf::open(&scope, name, target, &keys).await? else { continue };
            for store in &names {
                let plan = compact::plan(&scope, &shelf, store, &context.settings().continuous).await?;
                let removed = plan
                    .removals
                    .iter()
                    .map(|(segment, reason)| RemovedSegment { key: segment.key(), reason: (*reason).to_owned() });
                stores.push(CompactedStore {
                    store: store.clone(),
                    target: name.clone(),
                    merged: plan.merges.iter().map(|parts| parts.len() as u64).sum(),
                    into: plan.merges.len() as u64,
                    removed: removed.collect(),
                });
                if !request.dry_run {
                    compact::apply(&scope, &shelf, &plan).await?;
                }
            }
        }
        Ok(CompactResponse { stores, compacted: !request.dry_run })
    }
}

/// Follows a store until `scope` is cancelled: what a worker of its own does.
pub(crate) async fn follow_store(context: &Context, scope: &Scope, store: &str) -> Result<()> {
    let named = context.store(store)?;
    let targets = targets_of(context)?;
    let keys = keyring::for_writing(context, scope, &targets).await?;
    let job = FollowJob {
        name: named.name.clone(),
        store: Arc::clone(&named.component),
        targets,
        keys,
        settings: context.settings().continuous.clone(),
        folder: Folder::new(&context.state).store(store),
        host: host_name(),
    };
    follow(scope, job).await
}

/// The targets that receive what is committed.
fn targets_of(context: &Context) -> Result<Vec<NamedTarget>> {
    let all = targets(context, None)?;
    let wanted = &context.settings().continuous.targets;
    for name in wanted {
        context.target(name).map_err(|error| error.while_doing("continuous.targets"))?;
    }
    Ok(all.into_iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name)).collect())
}

/// The stores of a request.
fn named(context: &Context, store: Option<&str>) -> Result<Vec<String>> {
    match store {
        Some(name) => Ok(vec![context.store(name)?.name.clone()]),
        None => Ok(context.stores.iter().map(|store| store.name.clone()).collect()),
    }
}

/// How each of `names` stands that is to be followed, or was.
pub(crate) fn standings(context: &Context, names: &[String], now: Timestamp) -> Result<Vec<ContinuousStore>> {
    standings_in(&Folder::new(&context.state), &context.settings().continuous, names, now)
}

/// The same of a state folder.
pub(crate) fn standings_in(
    folder: &Folder,
    settings: &ContinuousSettings,
    names: &[String],
    now: Timestamp,
) -> Result<Vec<ContinuousStore>> {
    let wanted = folder.wanted(settings, names)?;
    let mut stores = Vec::new();
    for name in names {
        let of_store = folder.store(name);
        let (standing, wanted) = (of_store.standing()?, wanted.contains(name));
        if !wanted && standing.is_none() {
            continue;
        }
        stores.push(ContinuousStore {
            name: name.clone(),
            wanted,
            following: of_store.is_followed(),
            lag_seconds: standing.as_ref().and_then(|standing| standing.lag_seconds(now)),
            standing,
        });
    }
    Ok(stores)
}

async fn change(
    context: &Arc<Context>,
    scope: &Scope,
    request: &ContinuousRequest,
    followed: bool,
) -> Result<ContinuousChange> {
    let mut names = named(context, request.store.as_deref())?;
    let settings = &context.settings().continuous;
    if request.store.is_none() && !settings.stores.is_empty() {
        names.retain(|name| settings.stores.contains(name));
    }
    if names.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "the settings have no [[store]] that could be followed")
            .with_hint("add a [[store]] to ops.toml"));
    }
    let folder = Folder::new(&context.state);
    let (of, about) = (folder.clone(), names.clone());
    off_thread(move || about.iter().try_for_each(|store| of.wish(store, followed))).await?;
    let mut notes = Vec::new();
    // Somebody must be there who does it: the process that leads, which may be another one.
    let began = scope.clock.monotonic();
    let following = loop {
        scope.cancel.check()?;
        let (of, about) = (folder.clone(), names.clone());
        let (following, leader) = off_thread(move || {
            let following: Vec<String> = about.into_iter().filter(|name| of.store(name).is_followed()).collect();
            Ok((following, of.has_leader()))
        })
        .await?;
        let done = if followed { following.len() == names.len() } else { following.is_empty() };
        let waited = scope.clock.monotonic().saturating_sub(began);
        let patience = if leader { PATIENCE } else { LEADER_PATIENCE };
        if done || waited >= patience {
            if !done && followed {
                notes.push(match leader {
                    true => "it is not followed yet: `uplifted-ops continuous status` says why".to_owned(),
                    false => "no process of the service runs: it is followed from its next start on".to_owned(),
                });
            }
            break following;
        }
        scope.clock.sleep(BETWEEN_LOOKS).await;
    };
    Ok(ContinuousChange { stores: names, following, notes })
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    crate::backup::list::blocking(work).await
}
