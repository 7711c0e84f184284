//! The writer: the example's own `writer`, as a process of its own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use uplifted_example::Failure;

/// A writer at work. It stops when this program ends, however it ends.
#[derive(Debug)]
pub(crate) struct Load {
    child: Child,
    acknowledged: PathBuf,
}

impl Load {
    /// Starts the writer and returns once it has committed its first transfers.
    pub(crate) fn start(database: &Path, rate: f64, acknowledged: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe()?.with_file_name("uplifted-example");
        let child = Command::new(&program)
            .arg("writer")
            .arg("--until-stdin-closes")
            .arg("--database")
            .arg(database)
            .arg("--rate")
            .arg(rate.to_string())
            .arg("--acknowledge")
            .arg(acknowledged)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the writer {} does not start: {error}", program.display()))?;
        let mut load = Self { child, acknowledged: acknowledged.into() };
        let began = Instant::now();
        while load.committed() == 0 {
            if let Some(status) = load.child.try_wait()? {
                return Err(format!("the writer ended at once: {status}").into());
            }
            if began.elapsed() > Duration::from_secs(30) {
                return Err("the writer committed nothing in 30 seconds".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(load)
    }

    /// The number of the last transfer that the writer knows to be committed.
    pub(crate) fn committed(&self) -> u64 {
        let bytes = std::fs::read(&self.acknowledged).unwrap_or_default();
        bytes.try_into().map(u64::from_le_bytes).unwrap_or(0)
    }

    /// Lets some time pass, so that there is something to back up.
    pub(crate) fn work_for(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Stops the writer. Its report.
    pub(crate) fn stop(mut self) -> Result<Value, Failure> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut line)?;
        }
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("the writer failed: {status}").into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}
