//! Who answers: the seam between the command line and the operations.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::args::GlobalOptions;
use super::progress::Reporter;
use super::running::{Found, Running, is_of_the_service};
use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::ops::{Answer, Entry, Ops, OpsBuilder, RunMode, TABLE};

/// Whoever runs operations: this process with its worker, or the running service.
#[async_trait]
pub(super) trait Caller: Send + Sync {
    /// Runs the operation `name`.
    async fn call(&self, name: &str, request: Value, scope: Scope) -> Result<Answer>;
}

/// Connects to whoever answers, as the options say. `prepare` adds what the program around us knows; who answers is told to
/// `reporter` where a person might take one for the other.
///
/// # Errors
/// The settings are wrong, or the folder does not exist.
pub(super) fn connect(
    options: &GlobalOptions,
    prepare: &dyn Fn(OpsBuilder) -> OpsBuilder,
    reporter: Reporter,
) -> Result<Box<dyn Caller>> {
    let ops = build(options, prepare, RunMode::CommandLine)?;
    // The service has other settings than those that are given here.
    if options.local || !options.set.is_empty() {
        return Ok(Box::new(Local(ops)));
    }
    Ok(Box::new(Beside { local: Local(ops), reporter, is_quiet: options.quiet || options.json }))
}

/// Makes the operations of this process, as the options say.
///
/// # Errors
/// As [`connect`].
pub(super) fn build(options: &GlobalOptions, prepare: &dyn Fn(OpsBuilder) -> OpsBuilder, mode: RunMode) -> Result<Ops> {
    let overrides = overrides(&options.set)?;
    let builder = || {
        let mut builder = prepare(Ops::builder()).mode(mode).overrides(&overrides);
        if let Some(root) = &options.root {
            builder = builder.root(root);
        }
        if let Some(config) = &options.config {
            builder = builder.config_file(config);
        }
        if options.checks_settings {
            builder = builder.tolerant();
        }
        builder
    };
    // A file that --config names is not the one that `init` replaces.
    let replaces = options.replaces_settings && options.config.is_none();
    builder().build().or_else(|error| match replaces {
        true => builder().without_file().build().map_err(|_| error),
        false => Err(error),
    })
}

/// This process, with its worker.
struct Local(Ops);

#[async_trait]
impl Caller for Local {
    async fn call(&self, name: &str, request: Value, scope: Scope) -> Result<Answer> {
        self.0.call(scope, name, request).await
    }
}

/// The running service, for what speaks of it; this process for the rest, and where there is none.
struct Beside {
    local: Local,
    reporter: Reporter,
    /// A program reads the answer, which says who gave it where that matters.
    is_quiet: bool,
}

#[async_trait]
impl Caller for Beside {
    async fn call(&self, name: &str, request: Value, scope: Scope) -> Result<Answer> {
        if !is_of_the_service(name) {
            return self.local.call(name, request, scope).await;
        }
        match Running::find(&self.local.0).await? {
            Found::Nobody => self.local.call(name, request, scope).await,
            Found::Gone(why) => {
                self.reporter.note(&format!("{why}; this process answers"));
                self.local.call(name, request, scope).await
            }
            Found::Service(running) => {
                if let Some(complaint) = &running.complaint {
                    self.reporter.note(complaint);
                }
                // `status` tells the process itself.
                if let Some(pid) = running.pid.filter(|_| !self.is_quiet && name != "status") {
                    self.reporter.note(&format!("the running service answers, process {pid} (--local: this process)"));
                }
                running.ask(name, &request, &scope).await
            }
        }
    }
}

/// Every operation.
pub(super) fn table() -> &'static [Entry] {
    TABLE
}

/// The settings of `--set` as a nested object: `backup.level=9` is `{"backup": {"level": 9}}`. A value that
/// is JSON is taken as such, everything else is text.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a key with an empty part, and for two keys that cannot both hold, such as
/// `a=1` and `a.b=2`.
fn overrides(pairs: &[(String, String)]) -> Result<Value> {
    let mut root = Map::new();
    for (key, text) in pairs {
        let wrong = |why: &str| {
            Error::invalid(format!("--set {key}: {why}")).with_hint("`uplifted-ops config show` prints every key")
        };
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
        let (folders, leaf) = key.rsplit_once('.').map_or((None, key.as_str()), |(above, leaf)| (Some(above), leaf));
        let mut table = &mut root;
        for part in folders.into_iter().flat_map(|folders| folders.split('.')) {
            if part.is_empty() {
                return Err(wrong("a part of the key is empty"));
            }
            let below = table.entry(part).or_insert_with(|| Value::Object(Map::new()));
            table = below.as_object_mut().ok_or_else(|| wrong("a part of the key was set to a value before"))?;
        }
        if leaf.is_empty() {
            return Err(wrong("a part of the key is empty"));
        }
        if table.get(leaf).is_some_and(Value::is_object) && !value.is_object() {
            return Err(wrong("a key below it was set before"));
        }
        table.insert(leaf.to_owned(), value);
    }
    Ok(if root.is_empty() { Value::Null } else { Value::Object(root) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;

    fn of(pairs: &[(&str, &str)]) -> Result<Value> {
        overrides(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn keys_nest_and_values_are_json_or_text() {
        let set =
            of(&[("backup.level", "9"), ("backup.include", "[\"a\"]"), ("service.name", "my service"), ("x", "")]);
        assert_eq!(
            set.unwrap(),
            json!({ "backup": { "level": 9, "include": ["a"] }, "service": { "name": "my service" }, "x": "" })
        );
        assert_eq!(of(&[("a.b", "1"), ("a.b", "2")]).unwrap(), json!({ "a": { "b": 2 } }), "the last one counts");
        assert_eq!(of(&[]).unwrap(), Value::Null);
    }

    #[test]
    fn keys_that_mean_nothing_are_refused() {
        for pairs in [
            &[("a..b", "1")][..],
            &[(".a", "1")],
            &[("a.", "1")],
            &[("a", "1"), ("a.b", "2")],
            &[("a.b", "2"), ("a", "1")],
        ] {
            assert_eq!(of(pairs).unwrap_err().kind(), ErrorKind::InvalidInput, "{pairs:?}");
        }
    }
}
