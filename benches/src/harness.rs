//! The run: every contender of a job by turns, so that a slow minute of the machine hits all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use uplifted_example::Failure;

use crate::contenders::{Contender, JOBS, OURS, Place, under_load};
use crate::generate;
use crate::machine;
use crate::program::{Measure, version};
use crate::report::{Latencies, Report};
use crate::repository;

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    service: generate::Options,
    /// Where the harness writes; on the service's filesystem, with three times its size free, and three times
    /// more for each round
    #[arg(long, default_value = "target/bench/work", value_name = "FOLDER")]
    work: PathBuf,
    /// How often each is run; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u32,
    /// Only these jobs: backup, verify, restore, writer, repository (its six jobs) or one of those by its name; a
    /// job takes what an earlier one left
    #[arg(long, value_name = "JOB", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave the page cache as it is between runs
    #[arg(long)]
    warm: bool,
    /// The command line to time; the one beside this program when not given
    #[arg(long, value_name = "FILE")]
    uplifted_ops: Option<PathBuf>,
    /// Transfers a second of the writer
    #[arg(long, default_value_t = 500.0, value_name = "N")]
    rate: f64,
}

/// Runs everything. The report.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    if options.rounds == 0 {
        return Err("--rounds is at least 1".into());
    }
    let facts = generate::run(&options.service)?;
    let program = |name: &str| -> Result<PathBuf, Failure> { Ok(std::env::current_exe()?.with_file_name(name)) };
    let ours = options.uplifted_ops.clone().map_or_else(|| program(OURS), Ok)?;
    fs::create_dir_all(&options.work)?;
    let archive = Place {
        service: options.service.service.canonicalize()?,
        work: options.work.canonicalize()?,
        ours,
        layout: "archive",
    };
    archive.write_settings()?;

    let wanted = |job: &str| options.only.is_empty() || options.only.iter().any(|only| only == job);
    let wanted_repository = |job: &str| wanted(job) || options.only.iter().any(|only| only == "repository");
    let repository = match repository::JOBS.iter().any(|job| wanted_repository(job.name)) {
        true => Some(repository::place(&archive)?),
        false => None,
    };
    let jobs = JOBS.iter().filter(|job| wanted(job.name)).map(|job| (job, &archive));
    let more = repository::JOBS.iter().filter(|job| wanted_repository(job.name));
    let more = more.filter_map(|job| Some((job, repository.as_ref()?)));
    let mut report = Report::new(facts, machine::facts(&archive.work, &archive.ours), options.rounds);
    for (job, place) in jobs.chain(more) {
        let (there, missing): (Vec<&Contender>, Vec<&Contender>) = job
            .contenders
            .iter()
            .partition(|contender| contender.needs.iter().all(|needed| version(needed, "--version").is_some()));
        report.missing.extend(missing.iter().map(|contender| contender.name.to_owned()));
        let mut measured: BTreeMap<&str, Vec<Measure>> = BTreeMap::new();
        for round in 0..options.rounds as usize {
            (job.scene)(place)?;
            // Another one begins each round. Within a restore all find what the backups left.
            for at in 0..there.len() {
                let contender = there[(at + round) % there.len()];
                (contender.prepare)(place)?;
                report.cold = !options.warm && machine::drop_caches();
                eprintln!("{} {}/{}: {}", job.name, round + 1, options.rounds, contender.name);
                let measure = (contender.run)(place)?;
                eprintln!("  {:.2} s, peak {:.1} MB", measure.seconds, measure.peak_bytes as f64 / 1e6);
                measured.entry(contender.name).or_default().push(measure);
            }
        }
        place.tidy()?;
        report.add(job.name, there.iter().map(|c| (c.name, measured.remove(c.name).unwrap_or_default())).collect());
    }
    if wanted("writer") {
        let writer = program("uplifted-example")?;
        let mut latencies = Latencies::default();
        for round in 0..options.rounds {
            eprintln!("writer {}/{}", round + 1, options.rounds);
            let p = |report: &Value, name: &str| report["commit_seconds"][name].as_f64().unwrap_or(f64::NAN);
            let alone = under_load(&archive, &writer, options.rate, false, 5.0)?;
            let during = under_load(&archive, &writer, options.rate, true, 0.0)?;
            latencies.alone.push((p(&alone, "p99"), p(&alone, "max")));
            latencies.during.push((p(&during, "p99"), p(&during, "max")));
        }
        report.latencies = Some(latencies);
    }
    Ok(report)
}
