//! `metrics.render`: every number, as Prometheus reads it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::metrics::{self, Exposition, Format, global};
use crate::ops::{Context, Effect, Operation, Place, told};

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

    async fn run(context: Arc<Context>, scope: Scope, request: RenderRequest) -> Result<RenderResponse> {
        let format = request.format.unwrap_or_default();
        let mut body = String::new();
        global().render_into(&mut body, format, told(&context, &scope).await?);
        Ok(RenderResponse { content_type: format.content_type().to_owned(), body })
    }
}

/// A page for a scraper.
#[derive(Debug)]
pub(crate) struct Page {
    /// What to send as `Content-Type`.
    pub(crate) content_type: String,
    /// The page.
    pub(crate) body: Vec<u8>,
    /// Whether it is compressed with gzip.
    pub(crate) is_gzip: bool,
}

/// Shorter pages are not worth to be compressed.
const MIN_GZIP: usize = 1_024;

/// The page that a scraper asks for, compressed if it likes.
///
/// # Errors
/// As [`told`].
pub(crate) async fn page(context: &Arc<Context>, scope: &Scope, exposition: Exposition, gzip: bool) -> Result<Page> {
    let told = told(context, scope).await?;
    let make = move || {
        let mut body = Vec::new();
        global().expose_into(&mut body, exposition, told);
        let is_gzip = gzip && body.len() >= MIN_GZIP;
        if is_gzip {
            body = metrics::gzip(&body)?;
        }
        Ok(Page { content_type: exposition.content_type(), body, is_gzip })
    };
    // A large one takes a while to compress.
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(|error| Error::internal(format!("a page of metrics was not made: {error}")))?
}
