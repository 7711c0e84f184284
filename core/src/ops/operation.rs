//! What an operation is, and the table of all of them.

use std::pin::Pin;
use std::sync::Arc;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cancel::Scope;
use crate::error::{Error, Result};

use super::context::Context;

/// What an operation does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing.
    Read,
    /// Adds something.
    Change,
    /// Deletes or replaces something.
    Destroy,
}

/// In which process an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the host, at once, on the thread of whoever asks: it neither waits nor opens a file.
    Inline,
    /// In the host: it opens no file of the service.
    Host,
    /// In a worker of that lane.
    Worker(Lane),
}

/// Which worker takes an operation. Lanes do not wait for each other: a check never queues behind a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Long work at low CPU and I/O priority: backup, verify, drill.
    Heavy,
    /// Work that somebody waits for, at normal priority: checks, restore, queries.
    Prompt,
    /// Following a store, at normal priority, for as long as the service lives: a worker for each store.
    Follow,
}

impl Lane {
    /// The lane's name in a worker's arguments.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Heavy => "heavy",
            Self::Prompt => "prompt",
            Self::Follow => "follow",
        }
    }

    /// The lane called `name`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Heavy, Self::Prompt, Self::Follow].into_iter().find(|lane| lane.as_str() == name)
    }
}

/// A typed act, written once and offered everywhere: the command line, HTTP, Python, Node.
pub trait Operation: 'static {
    /// Its name, `group.verb`.
    const NAME: &'static str;
    /// One line that says what it does.
    const SUMMARY: &'static str;
    /// What it does to the world.
    const EFFECT: Effect;
    /// Where it runs.
    const PLACE: Place;
    /// Whether the journal keeps a record of it.
    const JOURNALLED: bool = !matches!(Self::EFFECT, Effect::Read);

    /// What it is asked. The doc comment of a field is its description in every language.
    type Request: Serialize + DeserializeOwned + JsonSchema + Send;
    /// What it answers.
    type Response: Serialize + DeserializeOwned + JsonSchema + Send;

    /// Does it.
    fn run(
        context: Arc<Context>,
        scope: Scope,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Response>> + Send;

    /// Whether the answer is a good one: `false` makes the command line exit 1. Never an exception.
    fn healthy(_response: &Self::Response) -> bool {
        true
    }
}

type Run = fn(Arc<Context>, Scope, Value) -> Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// The answer of an operation, with its types erased.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The response as JSON.
    pub response: Value,
    /// See [`Operation::healthy`].
    pub healthy: bool,
}

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Entry {
    /// See [`Operation::NAME`].
    pub name: &'static str,
    /// See [`Operation::SUMMARY`].
    pub summary: &'static str,
    /// See [`Operation::EFFECT`].
    pub effect: Effect,
    /// See [`Operation::PLACE`].
    pub place: Place,
    /// See [`Operation::JOURNALLED`].
    pub journalled: bool,
    /// The JSON schema of the request.
    pub request_schema: fn() -> Schema,
    /// The JSON schema of the response.
    pub response_schema: fn() -> Schema,
    accepts: fn(&Value) -> Result<()>,
    run: Run,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Entry {
    /// The row of an operation.
    pub const fn of<O: Operation>() -> Self {
        Self {
            name: O::NAME,
            summary: O::SUMMARY,
            effect: O::EFFECT,
            place: O::PLACE,
            journalled: O::JOURNALLED,
            request_schema: || schemars::schema_for!(O::Request),
            response_schema: || serialized_schema::<O::Response>(),
            accepts: |request| parse::<O>(request.clone()).map(drop),
            run: |context, scope, request| Box::pin(run_erased::<O>(context, scope, request)),
        }
    }

    /// Whether it takes that request, before it is asked to do it.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) that names the field.
    pub fn accepts(&self, request: &Value) -> Result<()> {
        (self.accepts)(request)
    }

    /// Runs it in this process.
    pub async fn run(&self, context: Arc<Context>, scope: Scope, request: Value) -> Result<Answer> {
        (self.run)(context, scope, request).await.map_err(|error| error.in_operation(self.name))
    }
}

/// The schema of what is written, which always has the fields that a reader may do without.
fn serialized_schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

fn parse<O: Operation>(request: Value) -> Result<O::Request> {
    // `call NAME` without a request means `{}`.
    let request = if request.is_null() { Value::Object(serde_json::Map::new()) } else { request };
    serde_path_to_error::deserialize(request).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!(" at {path}") };
        Error::invalid(format!("the request is wrong{at}: {}", error.inner()))
            .with_hint(format!("`uplifted-ops schema {}` prints what it takes", O::NAME))
    })
}

async fn run_erased<O: Operation>(context: Arc<Context>, scope: Scope, request: Value) -> Result<Answer> {
    let request = parse::<O>(request)?;
    let response = O::run(context, scope, request).await?;
    let healthy = O::healthy(&response);
    let response = serde_json::to_value(&response)
        .map_err(|error| Error::internal(format!("the response of {} is not JSON: {error}", O::NAME)))?;
    Ok(Answer { response, healthy })
}
