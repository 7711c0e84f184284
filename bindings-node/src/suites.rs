//! The public suites, run against objects of JavaScript.

use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Task};
use napi_derive::napi;
use uplifted_ops::Error;
use uplifted_ops::embed::{Contract, Plugin, suites};

use crate::error::thrown;
use crate::plugin::NativePlugin;

/// The contract called `name`.
pub(crate) fn contract(name: &str) -> napi::Result<Contract> {
    match name {
        "store" => Ok(Contract::Store),
        "target" => Ok(Contract::Target),
        "check" => Ok(Contract::Check),
        "sink" => Ok(Contract::Sink),
        "pause" => Ok(Contract::Pause),
        other => Err(thrown(&Error::internal(format!("{other:?} is no contract")))),
    }
}

/// Runs the suite of a contract with what `scene` makes. The outcomes are JSON text.
#[napi(ts_return_type = "Promise<string>")]
pub fn run_suite(of: String, scene: &NativePlugin, deadline_seconds: f64) -> napi::Result<AsyncTask<Suite>> {
    let deadline = Duration::try_from_secs_f64(deadline_seconds).map_err(|_| {
        thrown(&Error::invalid(format!("deadlineSeconds = {deadline_seconds} is not a number of seconds")))
    })?;
    Ok(AsyncTask::new(Suite { contract: contract(&of)?, scene: scene.take()?, deadline }))
}

/// A suite that runs, on a thread that may wait.
pub struct Suite {
    contract: Contract,
    scene: Arc<dyn Plugin>,
    deadline: Duration,
}

impl Task for Suite {
    type Output = String;
    type JsValue = String;

    fn compute(&mut self) -> napi::Result<String> {
        let outcomes = suites::run_blocking(self.contract, Arc::clone(&self.scene), self.deadline);
        let outcomes = outcomes.map_err(|error| thrown(&error))?;
        // Text and nothing else: it is always JSON.
        Ok(serde_json::to_string(&outcomes).unwrap_or_default())
    }

    fn resolve(&mut self, _: Env, outcomes: String) -> napi::Result<String> {
        Ok(outcomes)
    }
}
