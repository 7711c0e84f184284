//! An hour's worth of worker restarts, under load: processes that come, count, and go or are killed, thousands of them one
//! after another in groups. Whatever they counted must be in the sum, each time, and once.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use uplifted_example::Failure;
use uplifted_ops::metrics::{self, Counter, Definition, Histogram, MetricsSnapshot, NativeBuckets, Value, global};

/// How long the soak is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Processes that come and go: one a second is an hour
    #[arg(long, default_value_t = 3_600)]
    children: usize,
    /// So many at once
    #[arg(long, default_value_t = 8)]
    group: usize,
    /// Is one of them, in this folder
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
}

/// What each child counts.
const EACH: u64 = 1_000;
/// Threads of the one that stays.
const THREADS: usize = 2;
/// The folder may hold so many files besides those of the living.
const MOST_FILES: usize = 64;

/// What is counted: with and without labels, classic and native.
struct Counts {
    plain: Counter,
    labelled: [Counter; 3],
    sizes: Histogram,
}

impl Counts {
    fn new() -> Result<Self, Failure> {
        let by = global().counters(Definition::new("churn_work_total", "Work").labels(&["kind"]))?;
        let sizes = Definition::new("churn_sizes", "Sizes").bounds(&[1.0, 100.0]).native(NativeBuckets::default());
        Ok(Self {
            plain: global().counter("churn_lives_total", "Work of all")?,
            labelled: [by.with(&["a"])?, by.with(&["b"])?, by.with(&["c"])?],
            sizes: global().histograms(sizes)?.with(&[])?,
        })
    }

    /// One piece of work.
    fn count(&self, n: u64) {
        self.plain.inc();
        self.labelled[(n % 3) as usize].inc();
        self.sizes.observe((n % 300) as f64);
    }
}

/// What a snapshot says was counted, in each of the ways. They are one number once nobody counts.
fn counted(snapshot: &MetricsSnapshot) -> [u64; 4] {
    let sum = |name: &str, of: &dyn Fn(&Value) -> u64| -> u64 {
        snapshot.family(name).map_or(0, |family| family.series.iter().map(|series| of(&series.value)).sum())
    };
    let number = |value: &Value| if let Value::Number(number) = value { *number as u64 } else { 0 };
    let classic = |value: &Value| if let Value::Distribution(held) = value { held.count() } else { 0 };
    let native = |value: &Value| match value {
        Value::Distribution(held) => held.native.as_ref().map_or(0, |native| native.count()),
        _ => 0,
    };
    [sum("churn_lives", &number), sum("churn_work", &number), sum("churn_sizes", &classic), sum("churn_sizes", &native)]
}

/// Is a child: counts, says so, and stays until its input ends or it is killed.
fn child(folder: &Path) -> Result<String, Failure> {
    let counts = Counts::new()?;
    // Half of it before the folder is known, as modules do that are loaded first.
    (0..EACH / 2).for_each(|n| counts.count(n));
    metrics::share(folder)?;
    (EACH / 2..EACH).for_each(|n| counts.count(n));
    println!("counted");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(String::new())
}

fn start(folder: &Path) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["churn", "--child"]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

fn files(folder: &Path) -> Result<usize, Failure> {
    Ok(std::fs::read_dir(folder)?.count())
}

/// Soaks, and says how it went.
pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    if let Some(folder) = &options.child {
        return child(folder);
    }
    let folder = tempfile::tempdir()?;
    let counts = Counts::new()?;
    metrics::share(folder.path())?;
    let (stop, own) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut times, mut most, mut killed) = (Vec::new(), 0, 0);
    let begun = Instant::now();
    let soaked = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    (0..100).for_each(|n| counts.count(n));
                    own.fetch_add(100, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        }
        let soaked = soak(options, folder.path(), &mut times, &mut most, &mut killed);
        stop.store(true, Ordering::Relaxed);
        soaked
    });
    soaked?;
    let expected = options.children as u64 * EACH + own.load(Ordering::Relaxed);
    let found = counted(&global().snapshot());
    if found != [expected; 4] {
        return Err(format!("{expected} were counted, and the sums are {found:?}").into());
    }
    times.sort_by(f64::total_cmp);
    let mut report = String::from("| churn | |\n| --- | ---: |\n");
    writeln!(report, "| processes that came and went | {} |", options.children)?;
    writeln!(report, "| of those killed | {killed} |")?;
    writeln!(report, "| counted, and found in each of four ways | {expected} |")?;
    writeln!(report, "| most files in the folder | {most} |")?;
    writeln!(report, "| files at the end | {} |", files(folder.path())?)?;
    writeln!(
        report,
        "| snapshot, median and most | {:.1} ms, {:.1} ms |",
        times[times.len() / 2],
        times[times.len() - 1]
    )?;
    write!(report, "| time | {:.0} s |", begun.elapsed().as_secs_f64())?;
    Ok(report)
}

fn soak(
    options: &Options,
    folder: &Path,
    times: &mut Vec<f64>,
    most: &mut usize,
    killed: &mut usize,
) -> Result<(), Failure> {
    let (mut done, mut least) = (0, [0; 4]);
    while done < options.children {
        let group = options.group.clamp(1, options.children - done);
        let mut children = (0..group).map(|_| start(folder)).collect::<Result<Vec<_>, _>>()?;
        for child in &mut children {
            let mut line = String::new();
            if let Some(stdout) = &mut child.stdout {
                BufReader::new(stdout).read_line(&mut line)?;
            }
            if line != "counted\n" {
                return Err("a process that counts did not get to it".into());
            }
        }
        for (n, mut child) in children.into_iter().enumerate() {
            // Every other one is given no time to end well.
            if n % 2 == 0 {
                child.kill()?;
                *killed += 1;
            }
            drop(child.stdin.take());
            child.wait()?;
        }
        done += group;
        let start = Instant::now();
        let now = counted(&global().snapshot());
        times.push(start.elapsed().as_secs_f64() * 1e3);
        if now.iter().zip(least).any(|(now, before)| *now < before) {
            return Err(format!("after {done} processes the sums went from {least:?} to {now:?}").into());
        }
        least = now;
        *most = files(folder)?.max(*most);
        if *most > options.group + MOST_FILES {
            return Err(format!("{most} files lie in the folder").into());
        }
    }
    Ok(())
}
