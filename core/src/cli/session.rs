//! One run of the command line, from what was parsed to the exit status.

use clap::CommandFactory;
use serde_json::{Value, json};

use super::args::{Cli, Command, GlobalOptions};
use super::connect::Caller;
use super::invocation::{Consent, Invocation};
use super::progress::Reporter;
use super::prompt;
use super::render;
use super::schema::schema;
use super::terminal::Terminal;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{Answer, Entry};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Done,
    /// Done, and something is not well.
    Unwell,
    /// Could not be done.
    Failed,
}

impl Exit {
    /// The exit status.
    pub(super) fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unwell => 1,
            Self::Failed => 2,
        }
    }

    fn of(answer: &Answer) -> Self {
        if answer.healthy { Self::Done } else { Self::Unwell }
    }
}

/// Opens the way to the operations.
pub(super) type Connect = Box<dyn Fn(&GlobalOptions) -> Result<Box<dyn Caller>> + Send + Sync>;

/// What a run works with.
pub(super) struct Session<'a> {
    pub(super) terminal: &'a mut Terminal,
    pub(super) scope: Scope,
    pub(super) reporter: Reporter,
    pub(super) connect: Connect,
    pub(super) table: &'static [Entry],
}

impl Session<'_> {
    /// Does what was asked.
    pub(super) async fn run(&mut self, cli: &Cli) -> Exit {
        let json = cli.global.json || matches!(cli.command, Command::Call { .. });
        let done = self.dispatch(cli).await;
        self.reporter.finish();
        done.unwrap_or_else(|error| fail(self.terminal, &error, json, self.scope.clock.now()))
    }

    async fn dispatch(&mut self, cli: &Cli) -> Result<Exit> {
        match &cli.command {
            Command::Call { name, request } => {
                self.call(&cli.global, name, request.as_deref()).await.map_err(|error| error.in_operation(name))
            }
            Command::Schema { name } => {
                let schemas = schema(self.table, name.as_deref())?;
                self.print_json(&schemas)?;
                Ok(Exit::Done)
            }
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut Cli::command(), "uplifted-ops", &mut script);
                self.terminal.print(&String::from_utf8_lossy(&script))?;
                Ok(Exit::Done)
            }
            command => match Invocation::of(command, self.scope.clock.now())? {
                Some(invocation) => self.invoke(&cli.global, invocation).await,
                None => Err(Error::internal("the command has no operation")),
            },
        }
    }

    async fn call(&mut self, options: &GlobalOptions, name: &str, request: Option<&str>) -> Result<Exit> {
        let request = match request {
            None => json!({}),
            Some("-") => parse_request(&prompt::read_all(self.terminal, &self.scope.cancel).await?)?,
            Some(text) => parse_request(text)?,
        };
        // A program reads the answer, with the option or without it.
        let options = GlobalOptions { json: true, ..options.clone().meant_for(name, &request) };
        let answer = (self.connect)(&options)?.call(name, request, self.scope.clone()).await?;
        self.reporter.finish();
        self.print_json(&answer.response)?;
        Ok(Exit::of(&answer))
    }

    async fn invoke(&mut self, options: &GlobalOptions, invocation: Invocation) -> Result<Exit> {
        let name = invocation.operation;
        let needs_asking = invocation.consent.as_ref().is_some_and(|consent| !consent.given);
        // Refused before anything is read: a script that lacks --yes learns it at once.
        if needs_asking && !self.terminal.traits.interactive {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("{name} needs to be confirmed, and nobody can be asked"),
            )
            .with_hint("add --yes")
            .in_operation(name));
        }
        let meant = options.clone().meant_for(name, &invocation.request);
        let caller = (self.connect)(&meant).map_err(|error| error.in_operation(name))?;
        if let Some(consent) = invocation.consent.as_ref().filter(|_| needs_asking)
            && !self.agreed(caller.as_ref(), consent).await?
        {
            self.terminal.say("nothing was done");
            return Ok(Exit::Failed);
        }
        let answer = caller
            .call(name, invocation.request, self.scope.clone())
            .await
            .map_err(|error| error.in_operation(name))?;
        self.reporter.finish();
        if options.json {
            self.print_json(&answer.response)?;
        } else {
            let view = self.terminal.stdout_view(self.scope.clock.now());
            self.terminal.print(&(invocation.render)(&answer.response, &view))?;
        }
        Ok(Exit::of(&answer))
    }

    /// Shows the plan and asks. Both go to stderr, where a person looks also when stdout is a file.
    async fn agreed(&mut self, caller: &dyn Caller, consent: &Consent) -> Result<bool> {
        let plan = caller
            .call(consent.operation, consent.request.clone(), self.scope.clone())
            .await
            .map_err(|error| error.in_operation(consent.operation))?;
        let view = self.terminal.stderr_view(self.scope.clock.now());
        self.terminal.say(&(consent.render)(&plan.response, &view));
        prompt::confirm(self.terminal, consent.question, &self.scope.cancel).await
    }

    /// Indented for people, one line for programs.
    fn print_json(&mut self, value: &Value) -> Result<()> {
        self.terminal.print(&json_text(value, self.terminal.traits.stdout))
    }
}

fn json_text(value: &Value, pretty: bool) -> String {
    // `#` is serde_json's indented form.
    if pretty { format!("{value:#}") } else { value.to_string() }
}

/// Tells the error, on stdout as `{"error": {…}}` when JSON was asked for, else on stderr.
pub(super) fn fail(terminal: &mut Terminal, error: &Error, json: bool, now: Timestamp) -> Exit {
    let printed = if json {
        let text = json_text(&json!({ "error": error.to_body() }), terminal.traits.stdout);
        terminal.print(&text)
    } else {
        let view = terminal.stderr_view(now);
        terminal.say(&render::error(error, &view));
        Ok(())
    };
    if let Err(unprinted) = printed {
        let view = terminal.stderr_view(now);
        terminal.say(&render::error(&unprinted, &view));
    }
    Exit::Failed
}

/// Reads a request.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for what is not JSON, and for JSON that is no object: a list would be taken
/// for the fields in their order.
fn parse_request(text: &str) -> Result<Value> {
    let hint = "write one JSON object, such as '{\"group\": \"ready\"}'";
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("the request is not JSON: {error}")).with_hint(hint))?;
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(json!({})),
        other => {
            let what = match other {
                Value::Array(_) => "a list",
                Value::String(_) => "text",
                Value::Bool(_) => "a truth value",
                _ => "a number",
            };
            Err(Error::invalid(format!("the request is {what}, not an object")).with_hint(hint))
        }
    }
}
