//! `journal.read`: what was done.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::journal::{JournalPage, Query};
use crate::ops::{Context, Effect, Operation, Place};

/// Which records to read.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadRequest {
    /// Only what was done at or after this time, RFC 3339.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Only this operation.
    #[serde(default)]
    pub operation: Option<String>,
    /// At most this many, the newest. 100 when missing.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// `journal.read`
#[derive(Debug)]
pub struct Read;

impl Operation for Read {
    const NAME: &'static str = "journal.read";
    const SUMMARY: &'static str = "Read what was done, newest first";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = ReadRequest;
    type Response = JournalPage;

    async fn run(context: Arc<Context>, _scope: Scope, request: ReadRequest) -> Result<JournalPage> {
        context.journal.read(&Query {
            since: request.since,
            operations: request.operation.into_iter().collect(),
            limit: request.limit.unwrap_or(100),
            newest_first: true,
            ..Query::default()
        })
    }
}
