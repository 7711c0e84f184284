//! A large service made from a seed, and a harness that times `uplifted-ops` and its peers on it: in one
//! run, by turns, medians, ratios.

#![allow(clippy::disallowed_methods, reason = "a harness measures real time and starts real programs")]

mod contenders;
mod follow;
mod generate;
mod harness;
mod health;
mod machine;
mod memory;
mod metrics;
mod postgres;
mod program;
mod random;
mod report;
mod repository;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: metrics::memory::Counting = metrics::memory::Counting;

/// Makes a large service, and times uplifted-ops and its peers on it.
#[derive(Debug, Parser)]
#[command(name = "uplifted-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the service: a 1.2 GB database, 20,000 plugin files of 234 MB, a 300 MB log
    Generate(generate::Options),
    /// Time backup, verify and restore, and the writer's latency, and print a Markdown report
    Run(harness::Options),
    /// Time probes of the listener, also while the processor is busy, and print a Markdown table
    Health(health::Options),
    /// Time counting and the page beside other libraries, and print a Markdown table
    Metrics(metrics::Options),
    /// Time following a database: lag, cost, loss when killed, and the way back, beside Litestream
    Follow(follow::Options),
    /// The writer of `follow`
    #[command(hide = true)]
    FollowWriter(follow::WriterOptions),
    /// Time dump, restore and the next day's dump of PostgreSQL beside its own programs, and print a Markdown report
    Postgres(postgres::Options),
    /// Soak the sum over processes: an hour's worth of restarts under load, whose sum must be exact
    Churn(metrics::churn::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Generate(options) => generate::run(&options).map(|facts| println!("{facts}")),
        Command::Run(options) => harness::run(&options).map(|report| println!("{report}")),
        Command::Health(options) => health::run(&options).map(|report| println!("{report}")),
        Command::Metrics(options) => metrics::run(&options).map(|report| println!("{report}")),
        Command::Follow(options) => follow::run(&options).map(|report| println!("{report}")),
        Command::FollowWriter(options) => follow::write(&options).map(|nothing| print!("{nothing}")),
        Command::Postgres(options) => postgres::run(&options).map(|report| println!("{report}")),
        Command::Churn(options) => metrics::churn::run(&options).map(|report| println!("{report}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(2)
        }
    }
}
