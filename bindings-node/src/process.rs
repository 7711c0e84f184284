//! This process as a worker, and as the command line.

use std::ffi::OsString;

use napi_derive::napi;
use serde::Deserialize;
use uplifted_ops::ops::OpsBuilder;
use uplifted_ops::worker::{self, MARKER, Setup};
use uplifted_ops::{Error, ErrorKind};

use crate::error::{not_json, thrown};

/// How this package starts a worker.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WorkerFile {
    /// The interpreter.
    program: String,
    /// The package's worker file, absolute.
    file: String,
    /// Whether it is there: a bundler may have left it behind.
    exists: bool,
    /// Whether the interpreter is Electron.
    electron: bool,
}

/// Variables that would make the worker's interpreter do more than start: open a debugger's port that the host
/// has, load the host's instrumentation, write coverage on its exit.
const TAKEN_AWAY: &[&str] =
    &["NODE_OPTIONS", "NODE_V8_COVERAGE", "NODE_INSPECT_RESUME_ON_START", "NODE_PENDING_DEPRECATION"];

impl WorkerFile {
    /// Tells a builder. The setting `worker.command` wins over it.
    pub(crate) fn tell(&self, mut builder: OpsBuilder) -> OpsBuilder {
        for name in TAKEN_AWAY {
            builder = builder.worker_environment(name, None);
        }
        if self.electron {
            builder = builder.worker_environment("ELECTRON_RUN_AS_NODE", Some("1".into()));
        }
        if self.exists {
            return builder.worker_command([&self.program, &self.file]);
        }
        builder.no_worker(
            Error::new(
                ErrorKind::NotFound,
                format!("the worker's file {:?} is not there: this application was bundled without it", self.file),
            )
            .with_hint(
                "set worker.command to [\"node\", \"…/uplifted-ops/dist/worker.js\"] or to an uplifted-ops program, \
                 or leave uplifted-ops out of the bundle (external)",
            ),
        )
    }
}

/// What host and worker have. For tests of the binding a panic can be asked for, in a debug build alone.
pub(crate) fn setup() -> Setup {
    if cfg!(debug_assertions) { uplifted_ops::testing::setup() } else { Setup::new() }
}

/// Runs this process as a worker, and never returns. `arguments` are those of the process after the file.
#[napi]
pub fn run_worker(arguments: Vec<String>) -> napi::Result<()> {
    match arguments.split_first() {
        Some((marker, rest)) if marker == MARKER => worker::run(rest.iter().map(OsString::from), setup()),
        _ => Err(thrown(
            &Error::invalid("this file is the worker of uplifted-ops, and was started by hand")
                .with_hint("a worker is started by its host: nothing is to be done"),
        )),
    }
}

/// Runs the command line and returns the exit status. `arguments` begin with the program's name; `worker` is JSON
/// text.
#[napi]
pub fn run_cli(arguments: Vec<String>, worker: String) -> napi::Result<u8> {
    let worker: WorkerFile =
        serde_json::from_str(&worker).map_err(|error| thrown(&not_json("the worker's file", error)))?;
    Ok(uplifted_ops::cli::run_with(arguments.into_iter().map(OsString::from), move |builder| worker.tell(builder)))
}
