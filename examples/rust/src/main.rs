//! A small host service with `uplifted-ops` inside (`serve`), and its parts as programs: `writer` is the load
//! of the demo, the stress test and the benches, `verify` their proof.

#![allow(clippy::disallowed_methods, reason = "a host has its own clocks, files and programs")]

mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;
use uplifted_example::{Failure, ledger, say, stop, writer};

/// A small service with a ledger, and uplifted-ops inside.
#[derive(Debug, Parser)]
#[command(name = "uplifted-example", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: write transfers, answer /status, check and back itself up
    Serve {
        #[command(flatten)]
        options: serve::Options,
        /// Stop when stdin closes, too
        #[arg(long)]
        until_stdin_closes: bool,
    },
    /// Write transfers at a pace, without any operations; print one line of JSON when stopped
    Writer {
        #[command(flatten)]
        options: writer::Options,
        /// Stop when stdin closes, too
        #[arg(long)]
        until_stdin_closes: bool,
    },
    /// Check a copy of the ledger that nobody has open; print what was found as JSON
    Verify {
        /// The database
        database: PathBuf,
    },
}

fn main() -> ExitCode {
    // First of all: the worker is this same program, started again. In a worker this does not return.
    uplifted_ops::worker::run_if_worker();

    match run(Cli::parse().command) {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve { options, until_stdin_closes } => {
            serve::run(&options, &stop::flag(until_stdin_closes)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Writer { options, until_stdin_closes } => {
            let stop = stop::flag(until_stdin_closes)?;
            say!("{}", json!(writer::run(&options, &stop)?))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { database } => {
            let proof = ledger::verify(&database)?;
            say!("{}", json!(proof))?;
            Ok(if proof.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
