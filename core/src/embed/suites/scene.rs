//! What makes the plugins under test.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::cancel::Scope;
use crate::embed::answer::Answer;
use crate::embed::caller::Caller;
use crate::embed::contract::{Contract, Method};
use crate::embed::plugin::Plugin;
use crate::error::{Error, Result};

/// A scene, or an object that one of its methods returned. Clones share what went wrong in it.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    caller: Caller,
    /// What the suite is about, in messages.
    title: String,
    deadline: Duration,
    /// The first failure of the scene itself.
    fault: Arc<Mutex<Option<Error>>>,
}

impl Scene {
    /// Checks that the scene has the methods that are `wanted`.
    pub(super) fn new(
        contract: Contract,
        plugin: Arc<dyn Plugin>,
        wanted: &[&str],
        deadline: Duration,
    ) -> Result<Self> {
        let title = format!("of the {contract} suite");
        Self::of(&title, plugin, wanted, deadline, Arc::default())
    }

    fn of(
        title: &str,
        plugin: Arc<dyn Plugin>,
        wanted: &[&str],
        deadline: Duration,
        fault: Arc<Mutex<Option<Error>>>,
    ) -> Result<Self> {
        let facts = plugin.facts();
        let missing: Vec<&Method> =
            Contract::Scene.methods().filter(|m| wanted.contains(&m.name) && !facts.has(m.name)).collect();
        Contract::Scene.refuse(title, &facts, &missing)?;
        let caller = Caller::new(Contract::Scene, title, plugin, facts, deadline);
        Ok(Self { caller, title: title.to_owned(), deadline, fault })
    }

    /// An object with methods of a scene that a method of this one returned.
    pub(super) fn inner(&self, plugin: Arc<dyn Plugin>, wanted: &[&str]) -> Result<Self> {
        self.blame(Self::of(&self.title, plugin, wanted, self.deadline, Arc::clone(&self.fault)))
    }

    /// The deadline of the plugins under test.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether it has an optional method.
    pub(super) fn has(&self, method: &str) -> bool {
        self.caller.facts.has(method)
    }

    /// The first failure of the scene itself.
    pub(super) fn faults(&self) -> Option<Error> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Remembers a failure as one of the scene.
    pub(super) fn blame<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            fault.get_or_insert_with(|| Error::from(error.to_body()));
        }
        result
    }

    /// Calls a method that returns plain data.
    pub(super) async fn value<T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: impl IntoIterator<Item = (&str, Value)>,
    ) -> Result<T> {
        self.ask(method, arguments).await?.read()
    }

    /// Calls a method whose answer is not looked at.
    pub(super) async fn act(&self, method: &str, arguments: impl IntoIterator<Item = (&str, Value)>) -> Result<()> {
        self.ask(method, arguments).await.map(drop)
    }

    /// Calls a method without arguments that returns an object.
    pub(super) async fn object(&self, method: &str) -> Result<Arc<dyn Plugin>> {
        self.object_for(method, []).await
    }

    /// Calls a method that returns an object. That it cannot is a failure of the scene itself.
    pub(super) async fn object_for(
        &self,
        method: &str,
        arguments: impl IntoIterator<Item = (&str, Value)>,
    ) -> Result<Arc<dyn Plugin>> {
        let object = async { self.ask(method, arguments).await?.object() };
        self.blame(object.await)
    }

    async fn ask(&self, method: &str, arguments: impl IntoIterator<Item = (&str, Value)>) -> Result<Answer<'_>> {
        let method = Contract::Scene.method(method)?;
        let arguments = arguments.into_iter().map(|(name, value)| (name.to_owned(), value));
        let arguments = Map::from_iter(arguments);
        let reply = self.caller.call(&Scope::default(), method, arguments, None).await?;
        Ok(Answer { caller: &self.caller, method, reply })
    }
}
