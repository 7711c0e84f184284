//! `store.*`: the databases themselves.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::{Error, ErrorBody, ErrorKind, Result};
use crate::ops::{Context, Effect, Lane, Named, Operation, Place};
use crate::store::{CheckDepth, IntegrityReport, Store, StoreStats};

/// Which database to look at.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatsRequest {
    /// This database only. All of the settings when missing.
    #[serde(default)]
    pub store: Option<String>,
}

/// Sizes and settings of databases.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatsResponse {
    /// The databases, in the order of the settings.
    pub stores: Vec<StoreStatus>,
}

/// Sizes and settings of one database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StoreStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Whether it answered.
    pub ok: bool,
    /// What it answered.
    #[serde(flatten)]
    pub stats: Option<StoreStats>,
    /// Why it did not answer.
    pub error: Option<ErrorBody>,
}

/// `store.stats`
#[derive(Debug)]
pub struct Stats;

impl Operation for Stats {
    const NAME: &'static str = "store.stats";
    const SUMMARY: &'static str = "Say how large the databases are and how they are set up";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = StatsRequest;
    type Response = StatsResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: StatsRequest) -> Result<StatsResponse> {
        let mut stores = Vec::new();
        for named in chosen(&context, request.store.as_deref())? {
            let answer = named.component.stats(&scope).await;
            scope.cancel.check()?;
            stores.push(StoreStatus {
                name: named.name.clone(),
                kind: named.component.capability().kind,
                ok: answer.is_ok(),
                error: answer.as_ref().err().map(Error::to_body),
                stats: answer.ok(),
            });
        }
        Ok(StatsResponse { stores })
    }

    fn healthy(response: &StatsResponse) -> bool {
        response.stores.iter().all(|store| store.ok)
    }
}

/// What to check.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// This database only. All of the settings when missing.
    #[serde(default)]
    pub store: Option<String>,
    /// How much of it to check.
    #[serde(default = "full")]
    pub depth: CheckDepth,
}

fn full() -> CheckDepth {
    CheckDepth::Full
}

/// What the checks found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct VerifyResponse {
    /// The databases, in the order of the settings.
    pub stores: Vec<StoreVerdict>,
}

/// What the check of one database found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StoreVerdict {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Whether nothing was wrong.
    pub ok: bool,
    /// What was wrong.
    pub problems: Vec<String>,
    /// Why it could not be checked.
    pub error: Option<ErrorBody>,
}

/// `store.verify`
#[derive(Debug)]
pub struct Verify;

impl Operation for Verify {
    const NAME: &'static str = "store.verify";
    const SUMMARY: &'static str = "Check the integrity of the databases, on copies";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    type Request = VerifyRequest;
    type Response = VerifyResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: VerifyRequest) -> Result<VerifyResponse> {
        let mut stores = Vec::new();
        for named in chosen(&context, request.store.as_deref())? {
            scope.progress.stage(format!("checking database {}", named.name));
            let answer = named.component.verify(&scope, request.depth).await;
            scope.cancel.check()?;
            let error = answer.as_ref().err().map(Error::to_body);
            let report = answer.unwrap_or(IntegrityReport { ok: false, problems: Vec::new() });
            stores.push(StoreVerdict {
                name: named.name.clone(),
                kind: named.component.capability().kind,
                ok: report.ok,
                problems: report.problems,
                error,
            });
        }
        Ok(VerifyResponse { stores })
    }

    fn healthy(response: &VerifyResponse) -> bool {
        response.stores.iter().all(|store| store.ok)
    }
}

/// The stores that a request is about.
fn chosen<'a>(context: &'a Context, name: Option<&str>) -> Result<Vec<&'a Named<dyn Store>>> {
    let all = &context.stores;
    let Some(name) = name else { return Ok(all.iter().collect()) };
    match all.iter().find(|store| store.name == name) {
        Some(store) => Ok(vec![store]),
        None => {
            let known: Vec<&str> = all.iter().map(|store| store.name.as_str()).collect();
            Err(Error::new(ErrorKind::NotFound, format!("there is no store called {name:?}"))
                .with_hint(format!("the settings have: {}", known.join(", "))))
        }
    }
}
