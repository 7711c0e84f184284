//! `restore.swap`, `restore.swap_undo`, `restore.swap_discard`: a database that was restored beside the live one takes its name.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{Context, Effect, Lane, Named, Operation, Place};
use crate::store::Store;
use crate::store::swap::{SwapAct, SwapReport, SwapRequest};

/// Which database becomes the live one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreSwapRequest {
    /// The store. The only one of a server when missing.
    #[serde(default)]
    pub store: Option<String>,
    /// The database that `restore.database` made, and found to be as the snapshot has it.
    pub database: String,
    /// End the sessions that are open. Without it an open session is a reason to refuse.
    #[serde(default)]
    pub drain: bool,
    /// How long ending them may take, in seconds (0 to 3600; 30 when missing).
    #[serde(default = "thirty")]
    pub drain_seconds: f64,
    /// Say what would be done and what is in the way, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which swap to take back, or whose old database to drop.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwapBackRequest {
    /// The store. The only one of a server when missing.
    #[serde(default)]
    pub store: Option<String>,
    /// End the sessions that are open. Without it an open session is a reason to refuse.
    #[serde(default)]
    pub drain: bool,
    /// How long ending them may take, in seconds (0 to 3600; 30 when missing).
    #[serde(default = "thirty")]
    pub drain_seconds: f64,
    /// Say what would be done and what is in the way, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

fn thirty() -> f64 {
    30.0
}

/// What was swapped, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RestoreSwapResponse {
    /// The store.
    pub store: String,
    /// What was done, or would be.
    #[serde(flatten)]
    pub report: SwapReport,
}

/// `restore.swap`
#[derive(Debug)]
pub struct RestoreSwap;

impl Operation for RestoreSwap {
    const NAME: &'static str = "restore.swap";
    const SUMMARY: &'static str =
        "Let a database that was restored beside the live one take its name; the live one is put aside";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = RestoreSwapRequest;
    type Response = RestoreSwapResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: RestoreSwapRequest) -> Result<RestoreSwapResponse> {
        let RestoreSwapRequest { store, database, drain, drain_seconds, dry_run } = request;
        let act = SwapAct::Apply { database };
        swap(&context, &scope, act, SwapBackRequest { store, drain, drain_seconds, dry_run }).await
    }
}

/// `restore.swap_undo`
#[derive(Debug)]
pub struct RestoreSwapUndo;

impl Operation for RestoreSwapUndo {
    const NAME: &'static str = "restore.swap_undo";
    const SUMMARY: &'static str = "Take a swap of databases back: what was put aside becomes the live one again";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = SwapBackRequest;
    type Response = RestoreSwapResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: SwapBackRequest) -> Result<RestoreSwapResponse> {
        swap(&context, &scope, SwapAct::Undo, request).await
    }
}

/// `restore.swap_discard`
#[derive(Debug)]
pub struct RestoreSwapDiscard;

impl Operation for RestoreSwapDiscard {
    const NAME: &'static str = "restore.swap_discard";
    const SUMMARY: &'static str = "Drop for good the database that a swap put aside";
    const EFFECT: Effect = Effect::Destroy;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = SwapBackRequest;
    type Response = RestoreSwapResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: SwapBackRequest) -> Result<RestoreSwapResponse> {
        swap(&context, &scope, SwapAct::Discard, request).await
    }
}

async fn swap(context: &Context, scope: &Scope, act: SwapAct, request: SwapBackRequest) -> Result<RestoreSwapResponse> {
    let SwapBackRequest { store, drain, drain_seconds, dry_run } = request;
    if !(0.0..=3600.0).contains(&drain_seconds) {
        return Err(
            Error::invalid(format!("drain_seconds is {drain_seconds}")).with_hint("set drain_seconds to 0 to 3600")
        );
    }
    let named = the_store(context, store.as_deref())?;
    let request = SwapRequest { act, drain, patience: Duration::from_secs_f64(drain_seconds), dry_run };
    let report = named.component.swap(scope, &request).await?;
    Ok(RestoreSwapResponse { store: named.name.clone(), report })
}

/// The store of that name, or the only one that is no file.
fn the_store<'a>(context: &'a Context, name: Option<&str>) -> Result<&'a Named<dyn Store>> {
    let found: Vec<_> = match name {
        Some(name) => context.stores.iter().filter(|it| it.name == name).collect(),
        None => context.stores.iter().filter(|it| it.component.capability().file.is_none()).collect(),
    };
    let names = || {
        let names: Vec<&str> = context.stores.iter().map(|it| it.name.as_str()).collect();
        names.join(", ")
    };
    match found[..] {
        [only] => Ok(only),
        [] => {
            let what = name.map_or_else(|| "of a server".to_owned(), |name| format!("called {name:?}"));
            Err(Error::new(ErrorKind::NotFound, format!("there is no store {what}"))
                .with_hint(format!("the settings have: {}", names())))
        }
        _ => Err(Error::invalid("the settings have several stores of servers")
            .with_hint(format!("name one as `store`: {}", names()))),
    }
}
