//! `backup.drill`, `backup.sample`, `backup.bisect`: knowing what the backups are worth.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keyring;
use super::snapshots::{checkers, limits, or_missing, targets};
use crate::backup::bisect::{BisectJob, BisectReport, Question, bisect};
use crate::backup::drill::{DrillCheck, DrillJob, DrillReport, drill};
use crate::backup::manifest::RelPath;
use crate::backup::probe::Tester;
use crate::backup::sample::{SampleJob, SampleReport, sample};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::continuous::rehearse::Rehearsal;
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
    /// The moment to go on to where stores are followed: the snapshot is then the newest from which it can be reached, unless one
    /// is named. When missing, a random one of those that are covered behind the snapshot.
    pub at: Option<Timestamp>,
    /// What to do beside restoring and checking integrity. When missing, all that the settings have.
    pub checks: Option<Vec<DrillCheck>>,
    /// A folder, missing or empty, that receives the restored copy and keeps it. When missing, the copy is made in
    /// scratch and removed.
    pub into: Option<RelPath>,
    /// The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
    /// where the request runs, and never recorded.
    pub identity_file: Option<RelPath>,
}

/// `backup.drill`
#[derive(Debug)]
pub struct Drill;

impl Operation for Drill {
    const NAME: &'static str = "backup.drill";
    const SUMMARY: &'static str =
        "Rehearse a restore: restore into scratch, test the copy, say how long recovery takes";
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
        let targets = targets(&context, request.target.as_deref())?;
        let keys = keyring::for_reading(&context, &scope, &targets, request.identity_file.as_ref()).await?;
        let onward = Rehearsal {
            targets: targets.clone(),
            keys: keys.clone(),
            checkers: checkers(&context),
            stores: context.stores.iter().map(|store| store.name.clone()).collect(),
            at: request.at,
            part: at_random()?,
        };
        let snapshot = match (request.snapshot_id, request.at) {
            (Some(snapshot), _) => snapshot,
            (None, Some(at)) => onward.snapshot_for(&scope, at).await?,
            (None, None) => "latest".to_owned(),
        };
        let job = DrillJob {
            targets: targets.clone(),
            keys,
            service: Some(context.settings().service.name.clone()),
            snapshot,
            into,
            checks,
            tester: tester(&context),
            scratch: context.scratch(),
            scratch_in_memory: backup.scratch_in_memory,
            limits: limits(&context),
            threads: backup.threads,
            drilled: earlier.times,
            earlier: earlier.rows,
            onward: Some(Arc::new(onward)),
        };
        or_missing(&context, &scope, &targets, drill(&scope, job).await).await
    }

    fn healthy(response: &DrillReport) -> bool {
        response.ok
    }
}

/// A number from 0 to 1, evenly spread.
fn at_random() -> Result<f64> {
    let number = getrandom::u32().map_err(|error| Error::internal(format!("no random number: {error}")))?;
    Ok(f64::from(number) / f64::from(u32::MAX))
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

/// How much to read.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleRequest {
    /// Read from this target only. From all of the settings when missing.
    pub target: Option<String>,
    /// Not more than about so many bytes; what is due and not read waits for the next run. No bound when missing.
    pub max_bytes: Option<u64>,
}

/// `backup.sample`
#[derive(Debug)]
pub struct Sample;

impl Operation for Sample {
    const NAME: &'static str = "backup.sample";
    const SUMMARY: &'static str = "Read what is due of all backups, so that every stored byte is read within days";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    // The journal remembers how far a run came.
    const JOURNALLED: bool = true;
    type Request = SampleRequest;
    type Response = SampleReport;

    async fn run(context: Arc<Context>, scope: Scope, request: SampleRequest) -> Result<SampleReport> {
        let targets = targets(&context, request.target.as_deref())?;
        let keys = keyring::for_reading(&context, &scope, &targets, None).await?;
        let earlier = history::sampled(&context.journal)?;
        let job = SampleJob {
            targets,
            keys,
            days: context.settings().backup.verify_days,
            max_bytes: request.max_bytes,
            reached: earlier.reached,
            clean_since: earlier.clean_since,
            state: context.state.clone(),
        };
        sample(&scope, job).await
    }

    fn healthy(response: &SampleReport) -> bool {
        response.ok && response.failed.is_empty()
    }
}

/// What to look for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BisectRequest {
    /// What must hold.
    pub check: BisectCheck,
    /// For `query`: what to ask. It must return a row whose first column is neither null nor zero.
    #[serde(default)]
    pub query: Option<String>,
    /// The database to ask, by its name in the snapshots. The only one when missing.
    #[serde(default)]
    pub store: Option<String>,
    /// Look among the snapshots in this target only.
    #[serde(default)]
    pub target: Option<String>,
    /// The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
    /// where the request runs, and never recorded.
    #[serde(default)]
    pub identity_file: Option<RelPath>,
}

/// What must hold in a bisection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BisectCheck {
    /// The database is sound, every index held against its table.
    Integrity,
    /// The query holds.
    Query,
    /// The program `backup.drill.command` of the settings ends well in the restored folder.
    Command,
}

/// `backup.bisect`
#[derive(Debug)]
pub struct Bisect;

impl Operation for Bisect {
    const NAME: &'static str = "backup.bisect";
    const SUMMARY: &'static str = "Find the last snapshot for which a check still holds";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    const JOURNALLED: bool = true;
    type Request = BisectRequest;
    type Response = BisectReport;

    async fn run(context: Arc<Context>, scope: Scope, request: BisectRequest) -> Result<BisectReport> {
        let backup = &context.settings().backup;
        let question = match (request.check, request.query) {
            (BisectCheck::Query, Some(query)) => Question::Query(query),
            (BisectCheck::Query, None) => {
                return Err(Error::invalid("there is no query to ask")
                    .with_hint("give one as `query`: SELECT count(*) > 0 FROM users"));
            }
            (_, Some(_)) => {
                return Err(Error::invalid("a query is given, and the check is another one")
                    .with_hint("leave `query` out, or set `check` to \"query\""));
            }
            (BisectCheck::Integrity, None) => Question::Integrity,
            (BisectCheck::Command, None) if backup.drill.command.is_empty() => {
                return Err(Error::invalid("the settings have no backup.drill.command to run")
                    .with_hint("set backup.drill.command to a program and its arguments"));
            }
            (BisectCheck::Command, None) => Question::Command,
        };
        let targets = targets(&context, request.target.as_deref())?;
        let keys = keyring::for_reading(&context, &scope, &targets, request.identity_file.as_ref()).await?;
        let job = BisectJob {
            targets,
            keys,
            service: context.settings().service.name.clone(),
            question,
            store: request.store,
            tester: tester(&context),
            scratch: context.scratch(),
            scratch_in_memory: backup.scratch_in_memory,
            limits: limits(&context),
            threads: backup.threads,
        };
        bisect(&scope, job).await
    }

    /// One that holds was found, and nothing contradicts it.
    fn healthy(response: &BisectReport) -> bool {
        response.good.is_some() && response.neighbours_agree
    }
}
