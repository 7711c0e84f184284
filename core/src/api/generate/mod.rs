//! `generate.*`: what Prometheus, its alerts and Grafana need to watch this service, as files.

mod alerts;
mod dashboard;
mod files;
mod prometheus;
mod yaml;

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alerts::Facts;
use crate::backup::manifest::RelPath;
use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::health::checks::redis;
use crate::ops::{Context, Effect, Operation, Place};

use files::Draft;

/// Where the files go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// The folder to write into, absolute. Nothing is written when missing: the answer has the text.
    #[serde(default)]
    pub write: Option<String>,
    /// Replace a file that somebody has changed, or made. It is kept beside the new one.
    #[serde(default)]
    pub force: bool,
}

/// Where the files go, and what they lead to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusRequest {
    /// The folder to write into, absolute. Nothing is written when missing: the answer has the text.
    #[serde(default)]
    pub write: Option<String>,
    /// Replace a file that somebody has changed, or made. It is kept beside the new one.
    #[serde(default)]
    pub force: bool,
    /// Where the service's metrics are, as `host:port`. What `metrics.listen` says when missing.
    #[serde(default)]
    pub target: Option<String>,
    /// Where an Alertmanager is, as `host:port`. None when missing.
    #[serde(default)]
    pub alertmanager: Option<String>,
}

/// What was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GenerateResponse {
    /// The files.
    pub files: Vec<GeneratedFile>,
    /// What to look after before they are used.
    pub warnings: Vec<String>,
}

/// A file that was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GeneratedFile {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub outcome: GenerateOutcome,
    /// Where it was written. Absent when it was not.
    pub path: Option<RelPath>,
    /// Where the file is kept that it replaces, when somebody had changed that.
    pub kept: Option<RelPath>,
    /// Its text, when it was not written.
    pub content: Option<String>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GenerateOutcome {
    /// Nothing was written.
    Printed,
    /// It was not there, and is now.
    Created,
    /// It was written earlier, by us, and is replaced.
    Replaced,
    /// It is there already, byte for byte.
    Unchanged,
}

/// Writes the files, or puts their text into the answer.
async fn answer(
    write: Option<String>,
    force: bool,
    drafts: Vec<Draft>,
    warnings: Vec<String>,
) -> Result<GenerateResponse> {
    let Some(folder) = write else {
        let files = drafts.into_iter().map(Draft::printed).collect();
        return Ok(GenerateResponse { files, warnings });
    };
    let folder = PathBuf::from(folder);
    if !folder.is_absolute() {
        return Err(Error::invalid(format!("write is {folder:?}, which is not absolute"))
            .with_hint("name the whole path: who asks and who writes may be in different folders"));
    }
    let written = tokio::task::spawn_blocking(move || files::write(&folder, drafts, force));
    let files =
        written.await.map_err(|error| Error::internal(format!("writing ended without an answer: {error}")))??;
    Ok(GenerateResponse { files, warnings })
}

/// What the rules and the dashboard depend on.
fn facts(context: &Context) -> Facts {
    let settings = &context.settings;
    Facts {
        job: context.service_name(),
        stores: !context.stores.is_empty(),
        redis: settings.checks.iter().any(|check| check.kind == redis::KIND.name),
        backups: !context.targets.is_empty(),
        jobs: context.jobs.jobs().run_by_themselves(),
        collectors: settings.metrics.collect.clone(),
        backup_age_seconds: settings.health.backup_age_seconds,
        verify_age_seconds: settings.health.verify_age_seconds,
        drill_age_seconds: settings.health.drill_age_seconds,
    }
}

/// `generate.prometheus`
#[derive(Debug)]
pub struct Prometheus;

impl Operation for Prometheus {
    const NAME: &'static str = "generate.prometheus";
    const SUMMARY: &'static str =
        "Write a configuration with which Prometheus scrapes this service and loads its alerts";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Host;
    // Most answers are texts of many pages that change nothing.
    const JOURNALLED: bool = false;
    type Request = PrometheusRequest;
    type Response = GenerateResponse;

    async fn run(context: Arc<Context>, _scope: Scope, request: PrometheusRequest) -> Result<GenerateResponse> {
        let plan = prometheus::Plan::of(&context, request.target.as_deref(), request.alertmanager.as_deref())?;
        let draft = Draft::new("prometheus.yml", plan.text());
        answer(request.write, request.force, vec![draft], plan.warnings).await
    }
}

/// `generate.alerts`
#[derive(Debug)]
pub struct Alerts;

impl Operation for Alerts {
    const NAME: &'static str = "generate.alerts";
    const SUMMARY: &'static str = "Write the alert rules of this service for Prometheus, with the tests of them";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Host;
    const JOURNALLED: bool = false;
    type Request = GenerateRequest;
    type Response = GenerateResponse;

    async fn run(context: Arc<Context>, _scope: Scope, request: GenerateRequest) -> Result<GenerateResponse> {
        let facts = facts(&context);
        let drafts =
            vec![Draft::new(alerts::FILE, alerts::rules(&facts)), Draft::new(alerts::TESTS, alerts::tests(&facts))];
        answer(request.write, request.force, drafts, Vec::new()).await
    }
}

/// `generate.grafana`
#[derive(Debug)]
pub struct Grafana;

impl Operation for Grafana {
    const NAME: &'static str = "generate.grafana";
    const SUMMARY: &'static str = "Write the dashboard of this service for Grafana";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Host;
    const JOURNALLED: bool = false;
    type Request = GenerateRequest;
    type Response = GenerateResponse;

    async fn run(context: Arc<Context>, _scope: Scope, request: GenerateRequest) -> Result<GenerateResponse> {
        let draft = Draft::new("uplifted-dashboard.json", dashboard::text(&facts(&context))?);
        answer(request.write, request.force, vec![draft], Vec::new()).await
    }
}

#[cfg(test)]
mod tests;
