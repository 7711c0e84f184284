//! `metrics.render`: every number, as Prometheus reads it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::Result;
use crate::metrics::{Format, global, own, render};
use crate::ops::history;
use crate::ops::{Context, Effect, Operation, Place};

/// How to write the numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenderRequest {
    /// The format. `text` when missing.
    #[serde(default)]
    pub format: Option<Format>,
}

/// The numbers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RenderResponse {
    /// What to send as `Content-Type`.
    pub content_type: String,
    /// The text.
    pub body: String,
}

/// `metrics.render`
#[derive(Debug)]
pub struct Render;

impl Operation for Render {
    const NAME: &'static str = "metrics.render";
    const SUMMARY: &'static str = "Write every metric as Prometheus reads it";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = RenderRequest;
    type Response = RenderResponse;

    async fn run(context: Arc<Context>, _scope: Scope, request: RenderRequest) -> Result<RenderResponse> {
        let format = request.format.unwrap_or_default();
        // Registered on first use, so that a page of a fresh process has their names.
        own::own()?;
        let mut snapshot = global().snapshot();
        let mut backups = history::backups(&context.journal)?;
        backups.targets = context.targets.iter().map(|target| target.name.clone()).collect();
        snapshot.merge(backups.families());
        Ok(RenderResponse { content_type: format.content_type().to_owned(), body: render(&snapshot, format) })
    }
}
