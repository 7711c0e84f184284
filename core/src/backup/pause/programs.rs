//! A pause by two programs of the service: `[backup.pause]`.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::PauseHook;
use crate::cancel::Scope;
use crate::error::Result;
use crate::process::{Program, ProgramOutput};

/// Runs one program to pause and another one to let go, each killed past the deadline.
#[derive(Debug, Clone)]
pub struct PausePrograms {
    /// The program that pauses, and its arguments.
    pub before: Vec<String>,
    /// The program that lets go.
    pub after: Vec<String>,
    /// The folder that they run in.
    pub root: PathBuf,
    /// How long each may take, and the pause may last. They find it, in seconds, as `UPLIFTED_OPS_PAUSE_SECONDS`: a
    /// service that lets go by itself then survives even the end of its machine's process that paused it.
    pub deadline: Duration,
}

impl PausePrograms {
    async fn run(&self, scope: &Scope, argv: &[String]) -> Result<()> {
        let program = Program::new(argv.iter().map(Into::into).collect()).cwd(&self.root).deadline(self.deadline);
        let program = program.env("UPLIFTED_OPS_PAUSE_SECONDS", self.deadline.as_secs_f64().to_string());
        program.run(scope).await.and_then(ProgramOutput::success).map(drop)
    }
}

#[async_trait]
impl PauseHook for PausePrograms {
    async fn before(&self, scope: &Scope) -> Result<()> {
        self.run(scope, &self.before).await
    }

    async fn after(&self, scope: &Scope) -> Result<()> {
        self.run(scope, &self.after).await
    }
}
