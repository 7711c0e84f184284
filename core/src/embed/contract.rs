//! What an object must have to be a component.

use std::fmt;

use crate::error::{Error, Result};

use super::plugin::PluginFacts;

/// What an object is registered as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Contract {
    /// A database under our care: [`Store`](crate::store::Store).
    Store,
    /// A place where backups go: [`BackupTarget`](crate::backup::BackupTarget).
    Target,
    /// An object being written to a target: [`Upload`](crate::backup::Upload). Never registered; what `upload` returns.
    Upload,
    /// A question about the service: [`HealthCheck`](crate::health::HealthCheck).
    Check,
    /// A place where numbers go: [`MetricsSink`](crate::metrics::MetricsSink).
    Sink,
    /// What pauses the service's writes: [`PauseHook`](crate::backup::pause::PauseHook).
    Pause,
    /// What a suite needs around the plugins under test, see `embed::suites`.
    Scene,
}

/// A method of a contract, as a binding calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// The contract that it belongs to.
    pub contract: Contract,
    /// Its name on the wire.
    pub name: &'static str,
    /// Its parameters in order. [`Method::BYTES`] stands for the block.
    pub parameters: &'static [&'static str],
    /// Whether an object must have it.
    pub required: bool,
    /// What it answers, for messages: `a list of objects {key, size_bytes, modified_at}`.
    pub answer: &'static str,
    /// Whether it goes through a whole database, and so may take ten times as long.
    pub long: bool,
}

impl Method {
    /// The parameter that is the block of bytes.
    pub const BYTES: &'static str = "bytes";

    const fn of(contract: Contract, name: &'static str, parameters: &'static [&'static str]) -> Self {
        Self { contract, name, parameters, required: true, answer: "nothing", long: false }
    }

    const fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    const fn answers(mut self, answer: &'static str) -> Self {
        self.answer = answer;
        self
    }

    const fn long(mut self) -> Self {
        self.long = true;
        self
    }
}

const REPORT: &str = "{ok: true or false, problems: a list of texts}";

/// Every method of every contract.
static METHODS: &[Method] = &{
    use Contract::{Check, Pause, Scene, Sink, Store, Target, Upload};
    [
        Method::of(Store, "stats", &[]).answers("{size_bytes, log_bytes, details}"),
        Method::of(Store, "verify", &["depth"]).answers(REPORT).long(),
        Method::of(Store, "snapshot_to", &["dir"])
            .answers("{files: names below dir, size_bytes, taken_at, details}")
            .long(),
        Method::of(Store, "check_copy", &["dir", "depth"]).answers(REPORT).long(),
        Method::of(Store, "inspect_copy", &["dir", "rows", "queries"])
            .answers("{rows: a list of {table, rows}, answers: a list of {holds, message}}")
            .optional()
            .long(),
        Method::of(Store, "restore_from", &["dir"]).long(),
        Method::of(Store, "maintain", &["tasks"]).answers("a list of {task, done, message}").optional().long(),
        Method::of(Target, "put", &["key", Method::BYTES, "if_absent"])
            .answers("true when it stored the object, false when there was one"),
        Method::of(Target, "upload", &["key", "expected_bytes"]).answers("an object with write, finish and abort"),
        Method::of(Target, "get", &["key", "start", "end"]).answers("bytes, or nothing when there is no such object"),
        Method::of(Target, "list", &["prefix", "after"])
            .answers("a list of {key, size_bytes, modified_at}, sorted by key"),
        Method::of(Target, "stat", &["key"]).answers("{key, size_bytes, modified_at} or nothing"),
        Method::of(Target, "delete", &["key"]),
        Method::of(Target, "free_bytes", &[]).answers("a number of bytes or nothing").optional(),
        Method::of(Upload, "write", &[Method::BYTES]),
        Method::of(Upload, "read_back", &["start", "end"]).answers("bytes").optional(),
        Method::of(Upload, "finish", &[]),
        Method::of(Upload, "abort", &[]),
        Method::of(Check, "check", &[]).answers("{status: pass, warn or fail, message, observed, unit}"),
        Method::of(Sink, "export", &["snapshot"]),
        Method::of(Pause, "before", &[]),
        Method::of(Pause, "after", &[]),
        // The scenes of the suites. Which of them a suite wants is in `suites`.
        Method::of(Scene, "fresh", &[]).answers("an object to test").optional(),
        Method::of(Scene, "stuck", &[]).answers("a check whose question gets no answer").optional(),
        Method::of(Scene, "watched", &[]).answers("a list of paths").optional(),
        Method::of(Scene, "sink", &[]).answers("the sink").optional(),
        Method::of(Scene, "received", &["name", "labels"]).answers("a number or nothing").optional(),
        Method::of(Scene, "exports", &[]).answers("a number or nothing").optional(),
        Method::of(Scene, "set_failing", &["failing"]).optional(),
        Method::of(Scene, "open", &["folder"]).answers("the store over the database in the folder").optional(),
        Method::of(Scene, "commit", &["folder", "rows"]).optional(),
        Method::of(Scene, "rows", &["folder"]).answers("a number of rows").optional(),
        Method::of(Scene, "rows_in", &["folder"]).answers("a number of rows").optional(),
        Method::of(Scene, "damage", &["folder"]).optional(),
        Method::of(Scene, "hold_open", &["folder"]).answers("an object with release").optional(),
        Method::of(Scene, "release", &[]).optional(),
    ]
};

/// Every method of every contract: what a binding looks for in an object.
pub fn methods() -> impl Iterator<Item = &'static Method> {
    METHODS.iter()
}

impl Contract {
    /// The methods of this contract.
    pub fn methods(self) -> impl Iterator<Item = &'static Method> {
        METHODS.iter().filter(move |method| method.contract == self)
    }

    /// The method called `name`.
    pub(super) fn method(self, name: &str) -> Result<&'static Method> {
        self.methods()
            .find(|method| method.name == name)
            .ok_or_else(|| Error::internal(format!("a {self} has no method {name:?}")))
    }

    /// Checks that an object has what this contract wants. `name` is the component's.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) that names everything that is missing.
    pub fn check(self, name: &str, facts: &PluginFacts) -> Result<()> {
        let missing: Vec<&Method> =
            self.methods().filter(|method| method.required && !facts.has(method.name)).collect();
        self.refuse(name, facts, &missing)
    }

    /// The error of an object that lacks methods, if it lacks any.
    pub(super) fn refuse(self, name: &str, facts: &PluginFacts, missing: &[&Method]) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let spelling = facts.spelling;
        let names: Vec<String> = missing.iter().map(|method| spelling.write(method.name)).collect();
        let signatures: Vec<String> = missing
            .iter()
            .map(|method| {
                let parameters: Vec<String> = method.parameters.iter().map(|name| spelling.write(name)).collect();
                format!("{}({})", spelling.write(method.name), parameters.join(", "))
            })
            .collect();
        let (many, class) = (if names.len() == 1 { "" } else { "s" }, &facts.class);
        Err(Error::invalid(format!("{self} {name:?} (class {class}) has no method{many} {}", names.join(", ")))
            .with_hint(format!("add to class {class}: {}", signatures.join(", "))))
    }
}

/// The word for messages: `store`, `target`, ….
impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::Target => "target",
            Self::Upload => "upload",
            Self::Check => "check",
            Self::Sink => "sink",
            Self::Pause => "pause",
            Self::Scene => "scene",
        })
    }
}
