//! Driving the command line.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use uplifted_example::Failure;

/// The command line, set up for one service.
#[derive(Debug)]
pub(crate) struct Tool {
    program: PathBuf,
    root: PathBuf,
    config: PathBuf,
}

/// What a call answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The response.
    pub(crate) response: Value,
    /// Whether it exited 0, and not 1.
    pub(crate) healthy: bool,
    /// How long the whole program took.
    pub(crate) seconds: f64,
}

impl Tool {
    /// The command line at `program` for the service in `root`, with the settings in `config`.
    pub(crate) fn new(program: &Path, root: &Path, config: &Path) -> Self {
        Self { program: program.into(), root: root.into(), config: config.into() }
    }

    /// Runs `uplifted-ops init`, which writes `ops.toml` into the root.
    pub(crate) fn init(&self) -> Result<f64, Failure> {
        // Without `--config`: a settings file that is named must exist.
        let (status, _, seconds) = self.run(Command::new(&self.program).arg("--root").arg(&self.root).arg("init"))?;
        if status == 0 { Ok(seconds) } else { Err(format!("`uplifted-ops init` exited {status}").into()) }
    }

    /// Runs `uplifted-ops call`.
    ///
    /// # Errors
    /// It exits with anything but 0 or 1, or answers no JSON.
    pub(crate) fn call(&self, name: &str, request: &Value) -> Result<Answer, Failure> {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--config").arg(&self.config);
        let (status, stdout, seconds) = self.run(command.args(["--quiet", "call", name, &request.to_string()]))?;
        let response: Value = serde_json::from_slice(&stdout).map_err(|error| {
            format!("{name} exited {status} and answered no JSON ({error}): {}", String::from_utf8_lossy(&stdout))
        })?;
        if status > 1 {
            let told = |field: &str| response["error"][field].as_str().unwrap_or_default().to_owned();
            return Err(format!("{name} could not be done: {}; {}", told("message"), told("hint")).into());
        }
        Ok(Answer { response, healthy: status == 0, seconds })
    }

    fn run(&self, command: &mut Command) -> Result<(i32, Vec<u8>, f64), Failure> {
        let began = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", self.program.display()))?;
        let mut stdout = Vec::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut stdout)?;
        }
        let status = child.wait()?;
        let code =
            status.code().ok_or_else(|| format!("{} was ended by a signal: {status}", self.program.display()))?;
        Ok((code, stdout, began.elapsed().as_secs_f64()))
    }
}
