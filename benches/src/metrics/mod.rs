//! What counting costs, beside the peers `prometheus-client` and `metrics-exporter-prometheus`, in one run; and in Python and
//! Node, beside theirs.
//!
//! Contenders come by turns, another one first in each round, so that a slow minute of the machine hits all of them.

pub(crate) mod churn;
mod contenders;
mod hosts;
pub(crate) mod memory;
mod merge;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use uplifted_example::Failure;
use uplifted_ops::metrics::{Definition, Encoding, Exposition, Registry, gzip};

use contenders::{Contender, Exporter, Facade, Ours, Peer};

/// How thorough the measurement is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Rounds; medians are reported
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Increments of each round and contender
    #[arg(long, default_value_t = 5_000_000)]
    increments: usize,
    /// Series on the page
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// Time only jobs whose name has this in it, in Rust alone, and nothing else: `--only page`
    #[arg(long)]
    only: Option<String>,
    /// Does one part of the sum over processes, for the measurement
    #[arg(long, hide = true, requires = "folder")]
    part: Option<merge::Part>,
    /// Where the parts meet
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
    /// Where Python and Node are installed with their peers; without them, Rust alone is measured
    #[arg(long, default_value = "target/bench/metrics")]
    hosts: PathBuf,
}

/// Label values that come at run time: three labels, 64 sets by turns.
pub(crate) struct Sets(Vec<[String; 3]>);

impl Sets {
    fn new(count: usize) -> Self {
        let set = |n: usize| {
            let (method, status) = (["GET", "POST", "PUT", "DELETE"][n % 4], ["200", "404", "500"][n % 3]);
            [method.to_owned(), format!("/api/v1/items/{n}"), status.to_owned()]
        };
        Self((0..count).map(set).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = [&str; 3]> {
        self.0.iter().map(|[a, b, c]| [a.as_str(), b.as_str(), c.as_str()])
    }

    /// Of `count` calls, each with its values.
    pub(crate) fn by_turns(&self, count: usize) -> impl Iterator<Item = [&str; 3]> {
        (0..count).map(|n| &self.0[n % self.0.len()]).map(|[a, b, c]| [a.as_str(), b.as_str(), c.as_str()])
    }
}

/// What is timed: its name, and how many times it happens in a measurement of `n`.
type Job = (&'static str, &'static str, fn(&mut dyn Contender, &Options, &Sets) -> usize);

const JOBS: [Job; 6] = [
    ("handle, inc", "ns", |who, options, _| who.increments(options.increments)),
    ("two threads on one counter, inc", "ns", |who, options, _| who.by_two_threads(options.increments)),
    ("three dynamic labels, handle and inc", "ns", |who, options, sets| who.labelled(sets, options.increments / 10)),
    ("three dynamic labels, one call", "ns", |who, options, sets| who.one_call(sets, options.increments / 10)),
    ("histogram of 11 bounds, observe", "ns", |who, options, _| who.observations(options.increments / 4)),
    ("page of all series", "ms", |who, _, _| who.page()),
];

/// What a page of ours costs in each format, and compressed.
fn formats(series: &Sets, rounds: usize) -> Result<String, Failure> {
    let registry = Registry::new();
    let labels = ["method", "path", "status"];
    let many = registry.counters(Definition::new("many_total", "Many").labels(&labels).max_series(1 << 20))?;
    for (n, set) in series.iter().enumerate() {
        many.with(&set)?.inc_by(n as u64 * 7);
    }
    let mut report = String::from("| page of all series | median | bytes |\n| --- | ---: | ---: |\n");
    let mut row = |what: &str, make: &mut dyn FnMut() -> Result<usize, Failure>| -> Result<(), Failure> {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..rounds.max(3) {
            let start = Instant::now();
            bytes = make()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        writeln!(report, "| {what} | {:.2} ms | {bytes} |", times[times.len() / 2])?;
        Ok(())
    };
    for encoding in [Encoding::Text, Encoding::OpenMetrics, Encoding::Protobuf] {
        let mut out = Vec::new();
        row(&format!("{encoding:?}"), &mut || {
            out.clear();
            registry.expose_into(&mut out, Exposition { encoding, escaping: None }, []);
            Ok(out.len())
        })?;
        row(&format!("gzip of {encoding:?}"), &mut || Ok(gzip(&out)?.len()))?;
    }
    Ok(report)
}

/// Measures, and writes the table.
pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    if let (Some(part), Some(folder)) = (options.part, &options.folder) {
        return merge::part(part, folder, options);
    }
    let sets = Sets::new(64);
    let all = Sets::new(options.series);
    let mut contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(Ours::new()?), Box::new(Facade::new()?), Box::new(Peer::new()), Box::new(Exporter::new()?)];
    let mut bytes = Vec::new();
    for who in &mut contenders {
        // Two pages are made: what they keep for the next one counts, of which the second keeps more.
        bytes.push(memory::growth(|| {
            who.fill(&all);
            who.page();
            who.page();
            who.forget_page();
        }));
    }
    let mut report = String::from("| what | who | median | least to most | ratio to ours |\n");
    report.push_str("| --- | --- | ---: | ---: | ---: |\n");
    let only = options.only.as_deref().unwrap_or_default();
    for (what, unit, job) in JOBS.into_iter().filter(|(what, ..)| what.contains(only)) {
        let mut times = vec![Vec::new(); contenders.len()];
        for round in 0..options.rounds {
            for turn in 0..contenders.len() {
                let at = (round + turn) % contenders.len();
                let start = Instant::now();
                let count = job(&mut *contenders[at], options, &sets);
                let scale = if unit == "ms" { 1e3 } else { 1e9 };
                times[at].push(start.elapsed().as_secs_f64() * scale / count as f64);
            }
        }
        times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        let ours = times[0][options.rounds / 2];
        for (who, times) in contenders.iter().zip(&times) {
            let (median, least, most) = (times[times.len() / 2], times[0], times[times.len() - 1]);
            let name = who.name();
            let ratio = median / ours;
            writeln!(report, "| {what} | {name} | {median:.2} {unit} | {least:.2} to {most:.2} | {ratio:.2} |")?;
        }
    }
    if options.only.is_some() {
        write!(report, "\n{}", formats(&all, options.rounds)?)?;
        return Ok(report);
    }
    for (who, grown) in contenders.iter().zip(&bytes) {
        let (each, ratio) = (*grown as f64 / options.series as f64, *grown as f64 / bytes[0] as f64);
        writeln!(report, "| memory of a series | {} | {each:.0} B | | {ratio:.2} |", who.name())?;
    }
    merge::run(options, &mut report)?;
    hosts::run(&mut report, &options.hosts, options.rounds)?;
    let length: Vec<String> = all.iter().map(|set| set.concat()).collect();
    let label_bytes = length.iter().map(String::len).sum::<usize>() as f64 / options.series as f64;
    write!(report, "\n{}", formats(&all, options.rounds)?)?;
    write!(
        report,
        "\n{} series, whose label values are {label_bytes:.0} bytes together; ours have two cells of 8 bytes \
         beside what is told, in mapped memory",
        options.series
    )?;
    Ok(report)
}
