//! The command line: `uplifted-ops call` for programs, friendly commands for people.
//!
//! Every command is one operation (`invocation`), asked through one door (`connect`) and shown by one pure
//! function (`render`). What speaks of the running service is asked of it, on its socket (`running`). JSON goes to stdout, everything else to stderr. The exit status is 0 done, 1 done
//! and something is not well, 2 could not be done.

mod args;
mod connect;
mod invocation;
mod progress;
mod prompt;
mod render;
mod running;
mod schema;
mod session;
mod signals;
mod stay;
mod terminal;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::cancel::{Cancel, Scope};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::ops::{OpsBuilder, RunMode};
use args::{Cli, Command, ScheduleCommand};
use progress::{Mode, Reporter};
use session::{Connect, Exit, Session};
use terminal::Terminal;

/// Runs the command line with this process's arguments. The whole of a `main`, after
/// [`run_if_worker`](crate::worker).
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the command line with these arguments, the first of them the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(run_with(arguments, |builder| builder))
}

/// Runs the command line inside another program, as the Python and Node packages do, and returns the exit
/// status. `prepare` tells the builder what that program knows: how a worker is started.
pub fn run_with(
    arguments: impl IntoIterator<Item = OsString>,
    prepare: impl Fn(OpsBuilder) -> OpsBuilder + Send + Sync + 'static,
) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` into a closed pipe is no failure.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let mut terminal = Terminal::of_this_process();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::io("start the threads of the command line", error);
            let exit = session::fail(&mut terminal, &error, cli.global.json, SystemClock.now());
            return exit.status();
        }
    };
    let exit = runtime.block_on(serve(cli, prepare, &mut terminal));
    // A thread that waits for an answer on stdin must not keep the process.
    runtime.shutdown_background();
    exit.status()
}

async fn serve(
    cli: Cli,
    prepare: impl Fn(OpsBuilder) -> OpsBuilder + Send + Sync + 'static,
    terminal: &mut Terminal,
) -> Exit {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let reporter = Reporter::new(mode(&cli, terminal), Arc::clone(&clock), Box::new(std::io::stderr()));
    let scope = Scope { clock, cancel: Cancel::new(), progress: reporter.progress() };
    if let Err(error) = obey_signals(&scope.cancel, &reporter) {
        return session::fail(terminal, &error, cli.global.json, scope.clock.now());
    }
    if let Command::Schedule { command: Some(ScheduleCommand::Serve) } = &cli.command {
        let ops = connect::build(&cli.global, &prepare, RunMode::Embedded);
        let stayed = match ops {
            Ok(ops) => stay::stay(&ops, &scope.cancel, terminal).await,
            Err(error) => Err(error),
        };
        let now = scope.clock.now();
        return stayed.map_or_else(|error| session::fail(terminal, &error, cli.global.json, now), |()| Exit::Done);
    }
    let told = reporter.clone();
    let connect: Connect = Box::new(move |options| connect::connect(options, &prepare, told.clone()));
    let mut session = Session { terminal, scope, reporter, connect, table: connect::table() };
    session.run(&cli).await
}

/// A bar for people, lines for logs, nothing for those who asked for JSON or quiet.
fn mode(cli: &Cli, terminal: &Terminal) -> Mode {
    let options = &cli.global;
    if options.quiet || (options.json && !options.progress) {
        Mode::Silent
    } else if terminal.traits.stderr && !terminal.traits.dumb && !options.json {
        Mode::Bar
    } else {
        Mode::Lines
    }
}

fn obey_signals(cancel: &Cancel, reporter: &Reporter) -> Result<()> {
    let signals = signals::listen()?;
    let (cancel, reporter) = (cancel.clone(), reporter.clone());
    tokio::spawn(async move {
        let last = reporter.clone();
        let leave = move |status| {
            last.finish();
            let _ = std::io::stderr().flush();
            std::process::exit(status)
        };
        signals::obey(signals, cancel, |text| reporter.note(text), leave).await;
    });
    Ok(())
}
