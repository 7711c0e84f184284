//! `command`: what does a program of your own say.
//!
//! ```toml
//! [[check]]
//! name = "queue"
//! kind = "command"
//! command = ["bin/check-queue", "--max", "100"]  # a list of arguments: no shell takes it apart
//! timeout_seconds = 8              # the default: then the program and all that it started is killed
//! env = { QUEUE = "main" }         # beside the variables of the service; the values are secret
//! cwd = "."                        # the root unless set
//! ```
//!
//! The exit status is the verdict, as with plugins of Nagios and of what followed it: 0 passes, 1 warns, 2 fails. So
//! does any other, 3 ("unknown") and the end by a signal included. The first line of what it prints is the message,
//! and the first number of its performance data (`| depth=12;50;100`) is the number. What looks like a secret in it is
//! hidden, and 300 characters are kept.
//!
//! Source: <https://nagios-plugins.org/doc/guidelines.html>, "Plugin Output for Nagios" and "Plugin Return Codes".

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::cancel::Scope;
use crate::component::{Kind, Placement};
use crate::config::redact;
use crate::error::{Error, ErrorKind, Result};
use crate::health::{CheckOutcome, CheckStatus, HealthCheck};
use crate::process::{Exit, Program, ProgramOutput};
use crate::value::Secret;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "command",
    summary: "A program of your own ends with 0; with 1 it warns, with anything else it fails",
    placement: Placement::Anywhere,
    build: |context, settings| {
        let mut settings: CommandSettings = context.settings(settings)?;
        settings.cwd = Some(context.resolve(&settings.cwd.unwrap_or_default()));
        Ok(Arc::new(CommandCheck::new(settings)?))
    },
    detect: None,
};

/// This much of the end of its output is kept while it runs.
const OUTPUT: usize = 16 << 10;
/// This many characters of its first line are told.
const TOLD: usize = 300;

/// Settings of [`CommandCheck`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandSettings {
    /// The program and its arguments. A relative path with a `/` starts at `cwd`.
    pub command: Vec<String>,
    /// How long it may run, in seconds.
    #[serde(default = "eight")]
    pub timeout_seconds: f64,
    /// Variables beside those of the service. Their values are secret.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: BTreeMap<String, Secret>,
    /// The folder to start it in.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
}

fn eight() -> f64 {
    8.0
}

impl CommandSettings {
    /// Settings that run these arguments.
    pub fn new<T: Into<String>>(command: impl IntoIterator<Item = T>) -> Self {
        let command = command.into_iter().map(Into::into).collect();
        Self { command, timeout_seconds: eight(), env: BTreeMap::new(), cwd: None }
    }
}

/// Runs a program.
#[derive(Debug)]
pub struct CommandCheck {
    settings: CommandSettings,
    timeout: Duration,
}

impl CommandCheck {
    /// A check as the settings describe it. Starts nothing yet.
    ///
    /// # Errors
    /// When there is no program, a variable's name is not one, or the timeout is out of range.
    pub fn new(settings: CommandSettings) -> Result<Self> {
        if settings.command.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("a check of kind \"command\" names no program")
                .with_hint("write command = [\"bin/check\", \"--argument\"]"));
        }
        let holds_nul = |text: &str| text.contains('\0');
        let wrong = |name: &String| name.is_empty() || name.contains('=') || holds_nul(name);
        if settings.command.iter().any(|word| holds_nul(word))
            || settings.env.iter().any(|(name, value)| wrong(name) || holds_nul(value.reveal()))
        {
            return Err(Error::invalid("an argument or a variable of a command holds what none can")
                .with_hint("leave out NUL, and = in the name of a variable"));
        }
        let timeout = seconds("timeout_seconds", settings.timeout_seconds)?;
        Ok(Self { settings, timeout })
    }

    fn judge(&self, output: &ProgramOutput) -> CheckOutcome {
        let status = match output.status {
            Exit::Status(0) => CheckStatus::Pass,
            Exit::Status(1) => CheckStatus::Warn,
            _ => CheckStatus::Fail,
        };
        let printed = String::from_utf8_lossy(&output.stdout);
        let mut lines = printed.lines().map(str::trim).filter(|line| !line.is_empty());
        let (text, data) = lines.next().map(|line| line.split_once('|').unwrap_or((line, ""))).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr);
        // A program that could not even begin to check says why on stderr.
        let said = || said.lines().map(str::trim).rfind(|line| !line.is_empty()).map(|line| self.told(line));
        let told = Some(self.told(text)).filter(|text| !text.is_empty()).or_else(said);
        let program = &self.settings.command[0];
        let message = match (told, status) {
            (Some(told), CheckStatus::Fail) if output.status != Exit::Status(2) => {
                format!("{told} ({program:?} ended with {})", output.status)
            }
            (Some(told), _) => told,
            (None, _) => format!("{program:?} ended with {}", output.status),
        };
        let outcome = CheckOutcome::new(status, message);
        match number(data) {
            Some((value, unit)) => outcome.observing(value, unit),
            None => outcome.observing(output.duration.as_secs_f64(), "seconds"),
        }
    }

    /// A line as it may be shown: without secrets, without control characters, not too long, without a full stop.
    fn told(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for value in self.settings.env.values().map(Secret::reveal).filter(|value| value.len() >= 4) {
            line = line.replace(value, Secret::MASK);
        }
        let line = redact::text(&line);
        let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let clean = clean.trim();
        match clean.char_indices().nth(TOLD) {
            Some((end, _)) => format!("{}…", &clean[..end]),
            None => clean.trim_end_matches('.').to_owned(),
        }
    }
}

/// The first number of performance data, `'label'=value[unit];warn;crit;min;max`, and its unit, or else its label.
fn number(data: &str) -> Option<(f64, String)> {
    let (label, rest) = data.trim().split_once('=')?;
    let rest = rest.split([';', ' ']).next()?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(rest.len());
    let value: f64 = rest[..end].parse().ok()?;
    let (value, unit) = match &rest[end..] {
        "s" => (value, "seconds"),
        "ms" => (value / 1e3, "seconds"),
        "us" => (value / 1e6, "seconds"),
        "%" => (value / 100.0, "ratio"),
        "B" => (value, "bytes"),
        "KB" => (value * 1024.0, "bytes"),
        "MB" => (value * f64::from(1 << 20), "bytes"),
        "GB" => (value * f64::from(1 << 30), "bytes"),
        "TB" => (value * (1_u64 << 40) as f64, "bytes"),
        _ => (value, label.trim().trim_matches('\'')),
    };
    let unit: String = unit.chars().filter(|c| !c.is_control()).take(40).collect();
    (value.is_finite() && !unit.is_empty()).then_some((value, unit))
}

#[async_trait]
impl HealthCheck for CommandCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let argv = self.settings.command.iter().map(Into::into).collect();
        let mut program = Program::new(argv).deadline(self.timeout).output_limit(OUTPUT);
        if let Some(cwd) = &self.settings.cwd {
            program = program.cwd(cwd);
        }
        for (name, value) in &self.settings.env {
            program = program.env(name, value.reveal());
        }
        match program.run(scope).await {
            Ok(output) => Ok(self.judge(&output)),
            Err(error) if error.kind() == ErrorKind::Timeout => {
                Ok(CheckOutcome::new(CheckStatus::Fail, error.message().to_owned())
                    .observing(self.timeout.as_secs_f64(), "seconds"))
            }
            // What it printed until then may hold a secret.
            Err(error) => Err(error
                .context()
                .iter()
                .filter(|(name, _)| name != "stderr")
                .fold(Error::new(error.kind(), error.message()), |new, (name, value)| new.with_context(name, value))
                .with_hint(error.hint().unwrap_or("run it by hand to see what it needs"))),
        }
    }
}

#[cfg(test)]
mod tests;
