//! Calling an object: its deadline, its cancellation, its panics.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::remote::{LONG_FACTOR, NoAnswer, Patience, signs_of_life};
use crate::worker::CatchPanic;

use super::contract::{Contract, Method};
use super::plugin::{Plugin, PluginCall, PluginFacts, PluginReply};

/// How long an object that was told to stop may take to end.
const GRACE: Duration = Duration::from_millis(500);

/// An object under the name of its component.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    plugin: Arc<dyn Plugin>,
    /// `target "offsite"`.
    title: String,
    pub(super) facts: PluginFacts,
    deadline: Duration,
}

impl Caller {
    /// `deadline` is that of a short call.
    pub(super) fn new(
        contract: Contract,
        name: &str,
        plugin: Arc<dyn Plugin>,
        facts: PluginFacts,
        deadline: Duration,
    ) -> Self {
        Self { plugin, title: format!("{contract} {name:?}"), facts, deadline }
    }

    /// For an object that a method of this one returned.
    pub(super) fn opened(&self, by: &str, plugin: Arc<dyn Plugin>, facts: PluginFacts) -> Self {
        Self { plugin, title: format!("{}.{by}", self.title), facts, deadline: self.deadline }
    }

    /// Whether the object has this method.
    pub(super) fn has(&self, method: &Method) -> bool {
        self.facts.has(method.name)
    }

    /// `target "offsite".put`, in the object's own spelling.
    pub(super) fn title(&self, method: &Method) -> String {
        format!("{}.{}", self.title, self.facts.spelling.write(method.name))
    }

    /// `Foo.put`, in the object's own spelling.
    pub(super) fn place(&self, method: &Method) -> String {
        format!("{}.{}", self.facts.class, self.facts.spelling.write(method.name))
    }

    /// Calls it. `arguments` is an object in wire names.
    pub(super) async fn call(
        &self,
        scope: &Scope,
        method: &'static Method,
        arguments: Map<String, Value>,
        bytes: Option<Vec<u8>>,
    ) -> Result<PluginReply> {
        scope.cancel.check()?;
        let spelling = self.facts.spelling;
        let arguments = arguments.into_iter().map(|(name, value)| (spelling.write(&name), value)).collect();
        let times = if method.long { LONG_FACTOR } else { 1 };
        let patience = Patience { silence: self.deadline * times, grace: GRACE * times };
        let (progress, bell) = signs_of_life(&scope.progress);
        let inner = Scope { progress, ..scope.clone() };
        let answer = CatchPanic::new(self.plugin.call(&inner, PluginCall { method, arguments, bytes }));
        let error = match patience.wait(scope, &bell, answer, || ()).await {
            Ok(Ok(Ok(reply))) => return Ok(self.in_wire_names(reply)),
            // What an object says while it is being stopped is about that.
            Ok(_) | Err(NoAnswer::Cancelled) if scope.cancel.is_cancelled() => {
                return Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller"));
            }
            Ok(Ok(Err(error)) | Err(error)) => match error.hint() {
                Some(_) => error.while_doing(self.title(method)),
                None => {
                    let hint = format!("look at {}, which says so", self.place(method));
                    error.while_doing(self.title(method)).with_hint(hint)
                }
            },
            Err(NoAnswer::Cancelled | NoAnswer::Silent) => {
                let seconds = patience.silence.as_secs_f64();
                Error::new(ErrorKind::Timeout, format!("{} did not answer within {seconds} s", self.title(method)))
                    .with_hint(format!(
                        "look at {}: it hangs, or blocks its event loop or the interpreter's lock",
                        self.place(method)
                    ))
            }
        };
        Err(error.with_context("plugin", self.place(method)))
    }

    /// The fields of an answer under their wire names: those of the object itself, or of the objects in a list. What
    /// lies deeper are the plugin's own words.
    fn in_wire_names(&self, mut reply: PluginReply) -> PluginReply {
        let rename = |value: &mut Value| {
            if let Value::Object(fields) = value {
                let named = std::mem::take(fields).into_iter();
                *fields = named.map(|(name, value)| (self.facts.spelling.read(&name), value)).collect();
            }
        };
        match &mut reply.value {
            Value::Array(items) => items.iter_mut().for_each(rename),
            value => rename(value),
        }
        reply
    }
}
