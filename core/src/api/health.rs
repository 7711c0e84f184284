//! `health.check` asks whether the service is well; `health.state` tells what is known already.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::Result;
use crate::health::{CheckStatus, HealthReport, HealthState, HealthView};
use crate::metrics::own;
use crate::ops::{Context, Effect, Operation, Place};

/// Which checks are meant.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// Only the checks of this group. All when missing.
    #[serde(default)]
    pub group: Option<String>,
    /// Only the checks whose failure makes the whole answer `fail`.
    #[serde(default)]
    pub critical: bool,
}

/// `health.check`
#[derive(Debug)]
pub struct Check;

impl Operation for Check {
    const NAME: &'static str = "health.check";
    const SUMMARY: &'static str = "Run the health checks and add up their verdicts";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = CheckRequest;
    type Response = HealthReport;

    async fn run(context: Arc<Context>, scope: Scope, request: CheckRequest) -> Result<HealthReport> {
        let group = request.group.as_deref();
        let report = match request.critical {
            true => context.health.run_critical(&scope, group).await?,
            false => context.health.run(&scope, group).await?,
        };
        for check in &report.checks {
            let status = match check.status {
                CheckStatus::Pass => "pass",
                CheckStatus::Warn => "warn",
                CheckStatus::Fail => "fail",
            };
            own::own()?.check(&check.name, status, check.duration_seconds)?;
        }
        Ok(report)
    }

    fn healthy(response: &HealthReport) -> bool {
        response.status != CheckStatus::Fail
    }
}

/// `health.state`
#[derive(Debug)]
pub struct State;

impl Operation for State {
    const NAME: &'static str = "health.state";
    const SUMMARY: &'static str = "Tell what the checks that run in the background last found, without asking any";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Inline;
    type Request = CheckRequest;
    type Response = HealthView;

    async fn run(context: Arc<Context>, scope: Scope, request: CheckRequest) -> Result<HealthView> {
        context.watch.view(request.group.as_deref(), request.critical, scope.clock.monotonic())
    }

    /// What is unknown is not well.
    fn healthy(response: &HealthView) -> bool {
        !matches!(response.status, HealthState::Fail | HealthState::Unknown)
    }
}
