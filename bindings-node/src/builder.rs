//! Opening an `Ops`.

use std::sync::Arc;

use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Task};
use napi_derive::napi;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use uplifted_ops::Error;
use uplifted_ops::ops::{Ops, OpsBuilder};

use crate::channel::{Channel, Deliver};
use crate::error::{not_json, thrown};
use crate::ops::NativeOps;
use crate::plugin::NativePlugin;
use crate::process::WorkerFile;

/// What `Ops.create` is told, without the live objects.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    root: Option<String>,
    config: Option<String>,
    settings: Option<Value>,
    callback_deadline_seconds: Option<f64>,
    worker: WorkerFile,
}

/// Collects settings and live objects, and opens an `Ops`.
#[napi]
pub struct Builder(Option<OpsBuilder>);

#[napi]
impl Builder {
    /// Begins with the settings, as JSON text.
    #[napi(constructor)]
    pub fn new(options: String) -> napi::Result<Self> {
        Self::from_options(&options).map(|builder| Self(Some(builder))).map_err(|error| thrown(&error))
    }

    fn from_options(options: &str) -> uplifted_ops::Result<OpsBuilder> {
        let options: Options = serde_json::from_str(options).map_err(|error| not_json("the options", error))?;
        let mut builder = options.worker.tell(Ops::builder().setup(crate::process::setup()));
        if let Some(root) = options.root {
            builder = builder.root(root);
        }
        if let Some(file) = options.config {
            builder = builder.config_file(file);
        }
        if let Some(settings) = options.settings {
            builder = builder.overrides(&settings);
        }
        if let Some(seconds) = options.callback_deadline_seconds {
            let deadline = Duration::try_from_secs_f64(seconds).map_err(|_| {
                Error::invalid(format!("callbackDeadlineSeconds = {seconds} is not a number of seconds"))
                    .with_hint("give a number above 0")
            })?;
            builder = builder.callback_deadline(deadline);
        }
        Ok(builder)
    }

    /// Registers an object. `contract` is `store`, `target`, `check` or `sink`.
    #[napi]
    pub fn plugin(&mut self, contract: String, name: String, object: &NativePlugin) -> napi::Result<()> {
        let contract = crate::suites::contract(&contract)?;
        let plugin = object.take()?;
        let builder = self.take()?.plugin(contract, &name, plugin).map_err(|error| thrown(&error))?;
        self.0 = Some(builder);
        Ok(())
    }

    /// Opens it, on a thread that may wait: settings are read, and an interrupted restore is finished.
    #[napi(ts_return_type = "Promise<NativeOps>")]
    pub fn open(&mut self, deliver: Deliver) -> napi::Result<AsyncTask<Opening>> {
        let builder = self.take()?;
        Ok(AsyncTask::new(Opening { builder: Some(builder), channel: Channel::new(&deliver)? }))
    }

    fn take(&mut self) -> napi::Result<OpsBuilder> {
        self.0.take().ok_or_else(|| thrown(&Error::internal("this builder was used before")))
    }
}

/// An `Ops` being opened.
pub struct Opening {
    builder: Option<OpsBuilder>,
    channel: Arc<Channel>,
}

impl Task for Opening {
    type Output = Ops;
    type JsValue = NativeOps;

    fn compute(&mut self) -> napi::Result<Ops> {
        let builder = self.builder.take().ok_or_else(|| thrown(&Error::internal("an Ops is opened once")))?;
        builder.build().map_err(|error| thrown(&error))
    }

    fn resolve(&mut self, _: Env, ops: Ops) -> napi::Result<NativeOps> {
        Ok(NativeOps::new(ops, Arc::clone(&self.channel)))
    }
}
