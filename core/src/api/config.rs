//! `config.*`: what the settings are, where they come from, and what is wrong with them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::manifest::RelPath;
use crate::cancel::Scope;
use crate::config::{self, Finding, InitFacts, InitFound, Severity, ShownSetting};
use crate::error::{Error, Result};
use crate::http;
use crate::ops::{self, Context, Effect, Lane, Operation, Place};

/// Nothing to ask.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowRequest {}

/// Every setting.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ShowResponse {
    /// The service's root folder.
    pub root: RelPath,
    /// The file that was read, when there is one.
    pub file: Option<RelPath>,
    /// The settings, sorted by key. Secrets are `***`.
    pub settings: Vec<ShownSetting>,
}

/// `config.show`
#[derive(Debug)]
pub struct Show;

impl Operation for Show {
    const NAME: &'static str = "config.show";
    const SUMMARY: &'static str = "Show every setting, and where its value comes from";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = ShowRequest;
    type Response = ShowResponse;

    async fn run(context: Arc<Context>, _scope: Scope, _request: ShowRequest) -> Result<ShowResponse> {
        Ok(ShowResponse {
            root: RelPath::new(&context.root),
            file: context.config()?.file.as_ref().map(RelPath::new),
            settings: context.config()?.show(),
        })
    }
}

/// Nothing to ask.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {}

/// What is wrong with the settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CheckResponse {
    /// Whether no finding is an error.
    pub ok: bool,
    /// The findings, errors first.
    pub findings: Vec<Finding>,
}

/// `config.check`
#[derive(Debug)]
pub struct Check;

impl Operation for Check {
    const NAME: &'static str = "config.check";
    const SUMMARY: &'static str = "Say what is wrong, or probably wrong, with the settings";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = CheckRequest;
    type Response = CheckResponse;

    async fn run(context: Arc<Context>, _scope: Scope, _request: CheckRequest) -> Result<CheckResponse> {
        let config = context.config()?;
        let mut findings = config::check(config, &context.kinds.facts());
        findings.extend(http::findings(&context, config));
        findings.extend(ops::job_findings(&context, config));
        findings.sort_by_key(|finding| finding.severity);
        let ok = findings.iter().all(|finding| finding.severity != Severity::Error);
        Ok(CheckResponse { ok, findings })
    }

    fn healthy(response: &CheckResponse) -> bool {
        response.ok
    }
}

/// How to write the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InitRequest {
    /// Replace an `ops.toml` that exists, also one that is broken. It is kept beside the new one.
    pub force: bool,
    /// Say what would be written, and write nothing.
    pub dry_run: bool,
}

/// What was written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InitResponse {
    /// The file.
    pub path: RelPath,
    /// Its whole text.
    pub text: String,
    /// Whether it was written.
    pub written: bool,
    /// Where the file that it replaces is kept.
    pub kept: Option<String>,
    /// What the text is based on.
    pub found: InitFound,
}

/// `config.init`
#[derive(Debug)]
pub struct Init;

impl Operation for Init {
    const NAME: &'static str = "config.init";
    const SUMMARY: &'static str = "Look at the service's folder and write an ops.toml for it";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = InitRequest;
    type Response = InitResponse;

    async fn run(context: Arc<Context>, _scope: Scope, request: InitRequest) -> Result<InitResponse> {
        let written = tokio::task::spawn_blocking(move || {
            let facts = InitFacts {
                environment: context.environment.clone(),
                build: context.kinds.facts(),
                has_key: crate::backup::seal::host_has_keys(&context.state)?,
                force: request.force,
                ..InitFacts::default()
            };
            let plan = config::plan_init(&context.root, &facts)?;
            if !request.dry_run {
                config::write_init(&plan)?;
            }
            Ok(InitResponse {
                path: RelPath::new(plan.path),
                text: plan.text,
                written: !request.dry_run,
                kept: plan.kept.map(|kept| kept.display().to_string()),
                found: plan.found,
            })
        });
        written.await.map_err(|error| Error::internal(format!("init ended without an answer: {error}")))?
    }
}
