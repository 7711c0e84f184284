//! `status`: what runs here.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::manifest::RelPath;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::http::ListenerView;
use crate::worker::PROTOCOL_VERSION;

use super::context::{Context, RunMode};
use super::operation::{Effect, Operation, Place};

/// Says what runs here: the process, the service, this build.
#[derive(Debug)]
pub struct Status;

/// Nothing to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {}

/// What runs here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusResponse {
    /// The time, by this machine's clock.
    pub time: Timestamp,
    /// The process that answers.
    pub pid: u32,
    /// How long that process has been running, in seconds.
    pub uptime_seconds: f64,
    /// Whether it is the service itself or the command line beside it.
    pub mode: RunMode,
    /// The service.
    pub service: ServiceFacts,
    /// The version of uplifted-ops.
    pub version: String,
    /// The version of the protocol between host and worker.
    pub protocol_version: u32,
    /// The features that this build has.
    pub features: Vec<String>,
    /// The service's root folder.
    pub root: RelPath,
    /// The state folder.
    pub state: RelPath,
    /// How many worker processes this process has now.
    pub workers: usize,
    /// Who answers on the address of `metrics.listen`. Absent without one.
    pub listener: Option<ListenerView>,
    /// Who answers the command line on `ops.sock` in the state folder. Absent where nobody is to (`http.socket = false`), and
    /// where the command line itself answers.
    pub socket: Option<ListenerView>,
}

/// The service that is looked after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceFacts {
    /// Its name: `service.name`, else that of the root folder.
    pub name: String,
    /// Its version, where the settings tell.
    pub version: Option<String>,
}

impl Operation for Status {
    const NAME: &'static str = "status";
    const SUMMARY: &'static str = "Say what runs here: process, service, build";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Inline;
    type Request = StatusRequest;
    type Response = StatusResponse;

    async fn run(context: Arc<Context>, scope: Scope, _: StatusRequest) -> Result<StatusResponse> {
        let identity = &context.process.identity;
        Ok(StatusResponse {
            time: scope.clock.now(),
            pid: identity.pid,
            uptime_seconds: identity.age().unwrap_or_default().as_secs_f64(),
            mode: context.mode,
            service: ServiceFacts { name: context.service_name(), version: context.settings.service.version.clone() },
            version: env!("CARGO_PKG_VERSION").into(),
            protocol_version: PROTOCOL_VERSION,
            features: features(),
            root: RelPath::new(&context.root),
            state: RelPath::new(&context.state),
            workers: context.process.workers(),
            listener: context.listener(),
            socket: context.socket(),
        })
    }
}

/// The features of this build, sorted.
fn features() -> Vec<String> {
    let all = [
        ("cli", cfg!(feature = "cli")),
        ("encryption", cfg!(feature = "encryption")),
        ("faults", cfg!(feature = "faults")),
        ("http", cfg!(feature = "http")),
        ("s3", cfg!(feature = "s3")),
        ("sftp", cfg!(feature = "sftp")),
        ("sqlite", cfg!(feature = "sqlite")),
        ("testing", cfg!(feature = "testing")),
        ("tls", cfg!(feature = "tls")),
    ];
    all.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()).collect()
}
