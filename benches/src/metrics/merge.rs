//! What it costs to sum the counts of several processes: real ones, which live and hold their files.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use uplifted_example::Failure;
use uplifted_ops::metrics::{self, Definition, global};

use super::{Options, Sets};

/// Processes whose counts are summed.
const PROCESSES: usize = 8;
/// Sums of a reader after its first.
const WARM: usize = 9;

/// What a part of this measurement does in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// Counts, and stays until its input ends.
    Count,
    /// Sums, and says how long that took: the first time, and then.
    Sum,
}

/// Does one part.
pub(super) fn part(part: Part, folder: &Path, options: &Options) -> Result<String, Failure> {
    match part {
        Part::Count => {
            let labels = ["method", "path", "status"];
            let many = Definition::new("many_total", "Many series").labels(&labels).max_series(1 << 20);
            let many = global().counters(many)?;
            metrics::share(folder)?;
            for (n, set) in Sets::new(options.series).iter().enumerate() {
                many.with(&set)?.inc_by(n as u64);
            }
            println!("ready");
            std::io::stdout().flush()?;
            std::io::stdin().read_to_end(&mut Vec::new())?;
            Ok(String::new())
        }
        Part::Sum => {
            metrics::show(folder);
            let mut times = Vec::new();
            for _ in 0..=WARM {
                let start = Instant::now();
                let series = metrics::look_at_others();
                times.push(start.elapsed().as_secs_f64() * 1e3);
                if series != options.series {
                    return Err(format!("{series} series, not {}", options.series).into());
                }
            }
            let cold = times.remove(0);
            times.sort_by(f64::total_cmp);
            Ok(format!("{cold} {}", times[WARM / 2]))
        }
    }
}

fn start(part: &str, folder: &Path, options: &Options) -> Result<Child, Failure> {
    let program: PathBuf = std::env::current_exe()?;
    Ok(Command::new(program)
        .args(["metrics", "--series", &options.series.to_string(), "--part", part, "--folder"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?)
}

/// Measures, and writes the rows of the table.
pub(super) fn run(options: &Options, report: &mut String) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut counting = Vec::new();
    for _ in 0..PROCESSES {
        let mut child = start("count", folder.path(), options)?;
        let mut line = String::new();
        // Kept open: it says a word at its end as well.
        if let Some(stdout) = &mut child.stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        counting.push(child);
        if line != "ready\n" {
            return Err("a process that counts did not get ready".into());
        }
    }
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let output = start("sum", folder.path(), options)?.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut times = text.split_whitespace().map(str::parse::<f64>);
        match (times.next(), times.next()) {
            (Some(Ok(first)), Some(Ok(then))) => {
                cold.push(first);
                warm.push(then);
            }
            _ => return Err("a process that sums ended without a word".into()),
        }
    }
    for mut child in counting {
        // Its input ends, and so does it.
        drop(child.stdin.take());
        child.wait()?;
    }
    for (what, mut times) in [("first", cold), ("further", warm)] {
        times.sort_by(f64::total_cmp);
        let (median, least, most) = (times[times.len() / 2], times[0], times[times.len() - 1]);
        writeln!(
            report,
            "| {what} sum of {PROCESSES} processes | uplifted-ops | {median:.2} ms | {least:.2} to {most:.2} | 1.00 |"
        )?;
    }
    Ok(())
}
