//! Operations that panic on purpose: what shows that a panic in the core is an error of its call in every
//! language, and never the end of the host. A binding has them in builds with debug assertions, and never in a release.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::error::Result;
use crate::ops::{Context, Effect, Entry, Lane, Operation, Place};
use crate::worker::Setup;

/// What this build has, and the operations `testing.panic` (in the host) and `testing.panic_in_worker`.
pub fn setup() -> Setup {
    static PANICS: [Entry; 2] = [Entry::of::<InHost>(), Entry::of::<InWorker>()];
    Setup::new().operations(&PANICS)
}

/// Nothing, asked and answered.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

struct InHost;

impl Operation for InHost {
    const NAME: &'static str = "testing.panic";
    const SUMMARY: &'static str = "Panic in the host";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = Nothing;
    type Response = Nothing;

    async fn run(_: Arc<Context>, _: Scope, _: Nothing) -> Result<Nothing> {
        panic!("on purpose, in the host")
    }
}

struct InWorker;

impl Operation for InWorker {
    const NAME: &'static str = "testing.panic_in_worker";
    const SUMMARY: &'static str = "Panic in a worker";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Worker(Lane::Prompt);
    type Request = Nothing;
    type Response = Nothing;

    async fn run(_: Arc<Context>, _: Scope, _: Nothing) -> Result<Nothing> {
        panic!("on purpose, in a worker")
    }
}
