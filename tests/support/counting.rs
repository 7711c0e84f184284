//! A process that counts, and does what it is told: a line on standard input each, answered by a line.
//!
//! | line | does |
//! | --- | --- |
//! | `share DIR`, `show DIR` | shares what it counts, or only shows what others do |
//! | `clock N` | lets N seconds pass, where the environment has `COUNTING_CLOCK`, the seconds to begin with |
//! | `seen LABEL N` | adds to a counter whose series expire after 600 seconds |
//! | `add LABEL N`, `part LABEL N` | adds to a counter, N times 1, or the number N |
//! | `observe VALUE` | counts in a histogram |
//! | `define SCHEMA ZERO MAX` | defines the native histogram, which resets after a second where MAX is 8 |
//! | `define classic` | the same without native buckets |
//! | `native VALUE N` | counts in it N times |
//! | `natives` | answers with what its buckets hold, as JSON |
//! | `native fork N VALUE` | forks N times at once, and each child counts once in it |
//! | `facade` | installs the recorder of the `metrics` facade |
//! | `facade add NAME LABELS N` | adds N to a counter of the facade; labels as `a=1,b=2`, or `-` |
//! | `facade tell NAME UNIT HELP` | describes it |
//! | `facade fork NAME LABELS N` | forks, and the child adds |
//! | `set MODE VALUE`, `shift MODE VALUE` | sets or adds to the gauge of that mode |
//! | `series N` | makes N series, and counts once in each |
//! | `remove LABEL` | takes a series of the counter out |
//! | `threads N M` | N threads at once add M each |
//! | `lend LABEL X`, `take back` | counts X as an interpreter does, in memory of its own, or ends all such memory |
//! | `fork N M` | forks N times at once, and each child adds M; answers when all have ended |
//! | `churn N M` | the same one after another |
//! | `busy` | adds 1 again and again, from four threads, and says each 1,000 how many it has added |
//! | `page` | answers with the page, which ends in `# EOF` |

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "part of tests")]

use std::io::{BufRead, Write};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use uplifted_ops::clock::{ManualClock, Timestamp};
use uplifted_ops::metrics::{
    self, Definition, ForeignCells, Format, Gauge, GaugeMode, Histogram, NativeBuckets, Value, global,
};

fn main() {
    let clock = std::env::var("COUNTING_CLOCK").ok().map(|seconds| {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        clock.advance(Duration::from_secs(seconds.parse().unwrap()));
        assert!(uplifted_ops::testing::set_clock_of_metrics(Arc::clone(&clock) as _));
        clock
    });
    let seen = Definition::new("shop_seen_total", "Seen").labels(&["who"]).expire_after(Duration::from_secs(600));
    let seen = global().counters(seen).unwrap();
    let requests = global().counters(Definition::new("shop_requests_total", "Requests").labels(&["by"])).unwrap();
    let took = global().histogram("shop_took_seconds", "Took", &[0.1, 1.0]).unwrap();
    let many = Definition::new("shop_many_total", "Many").labels(&["n"]).max_series(1 << 20);
    let many = global().counters(many).unwrap();
    let gauge = |name: &str, mode| -> Gauge {
        global().gauges(Definition::new(format!("shop_{name}"), "A gauge").mode(mode)).unwrap().with(&[]).unwrap()
    };
    let gauges = [
        ("live_sum", gauge("live_sum", GaugeMode::LiveSum)),
        ("live_max", gauge("live_max", GaugeMode::LiveMax)),
        ("live_min", gauge("live_min", GaugeMode::LiveMin)),
        ("sum", gauge("sum", GaugeMode::Sum)),
        ("max", gauge("max", GaugeMode::Max)),
        ("min", gauge("min", GaugeMode::Min)),
        ("recent", gauge("recent", GaugeMode::MostRecent)),
    ];
    let gauge = |name: &str| &gauges.iter().find(|(of, _)| *of == name).unwrap().1;
    let number = |text: &str| text.parse::<u64>().unwrap();
    let float = |text: &str| text.parse::<f64>().unwrap();
    let mut lent = Vec::new();
    let mut native: Option<Histogram> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut answer = "done".to_owned();
        match words[..] {
            ["share", folder] => {
                if let Err(error) = metrics::share(Path::new(folder)) {
                    answer = format!("error: {error}");
                }
            }
            ["show", folder] => metrics::show(Path::new(folder)),
            ["add", label, count] => {
                let counter = requests.with(&[label]).unwrap();
                (0..number(count)).for_each(|_| counter.inc());
            }
            ["clock", seconds] => clock.as_ref().unwrap().advance(Duration::from_secs(number(seconds))),
            ["seen", who, count] => (0..number(count)).for_each(|_| seen.inc(&[who]).unwrap()),
            ["part", label, count] => requests.with(&[label]).unwrap().add(float(count)).unwrap(),
            ["observe", value] => took.observe(float(value)),
            ["define", schema, zero, max] => {
                let buckets =
                    NativeBuckets::default().schema(schema.parse().unwrap()).max_buckets(max.parse().unwrap());
                let buckets = buckets.zero_threshold(float(zero));
                let buckets = if max == "8" { buckets.reset_after(Duration::from_secs(1)) } else { buckets };
                let definition = Definition::new("shop_sizes", "Sizes").bounds(&[]).native(buckets);
                native = Some(global().histograms(definition).unwrap().with(&[]).unwrap());
            }
            ["define", "classic"] => {
                let definition = Definition::new("shop_sizes", "Sizes").bounds(&[]);
                native = Some(global().histograms(definition).unwrap().with(&[]).unwrap());
            }
            ["native", "fork", children, value] => {
                let sizes = native.as_ref().unwrap();
                let pids: Vec<i32> = (0..number(children)).map(|_| child(|| sizes.observe(float(value)))).collect();
                pids.into_iter().for_each(wait);
            }
            ["native", value, count] => {
                (0..number(count)).for_each(|_| native.as_ref().unwrap().observe(float(value)));
            }
            ["natives"] => {
                let snapshot = global().snapshot();
                let sizes = snapshot.family("shop_sizes").and_then(|family| family.series.first());
                let held = sizes.and_then(|series| match &series.value {
                    Value::Distribution(held) => held.native.clone(),
                    _ => None,
                });
                answer = serde_json::to_string(&held).unwrap();
            }
            ["facade"] => metrics::facade::Recorder::new().unwrap().install().unwrap(),
            ["facade", "add", name, labels, count] => facade(name, labels).increment(number(count)),
            ["facade", "tell", name, unit, help] => {
                let unit = ::metrics::Unit::from_string(unit).unwrap();
                ::metrics::describe_counter!(name.to_owned(), unit, help.to_owned());
            }
            ["facade", "fork", name, labels, count] => {
                wait(child(|| facade(name, labels).increment(number(count))));
            }
            ["set", mode, value] => gauge(mode).set(float(value)),
            ["shift", mode, value] => gauge(mode).add(float(value)),
            ["series", count] => (0..number(count)).for_each(|n| many.inc(&[&n.to_string()]).unwrap()),
            ["remove", label] => answer = requests.remove(&[label]).unwrap().to_string(),
            ["threads", threads, count] => {
                let counter = requests.with(&["thread"]).unwrap();
                std::thread::scope(|scope| {
                    for _ in 0..number(threads) {
                        scope.spawn(|| (0..number(count)).for_each(|_| counter.inc()));
                    }
                });
            }
            ["lend", label, count] => lent.push(lend(&requests.with(&[label]).unwrap(), float(count))),
            ["take", "back"] => lent.clear(),
            ["fork", children, count] => {
                let counter = requests.with(&["fork"]).unwrap();
                let work = || (0..number(count)).for_each(|_| counter.inc());
                let pids: Vec<i32> = (0..number(children)).map(|_| child(work)).collect();
                pids.into_iter().for_each(wait);
            }
            ["churn", children, count] => {
                let counter = requests.with(&["churn"]).unwrap();
                for _ in 0..number(children) {
                    wait(child(|| (0..number(count)).for_each(|_| counter.inc())));
                }
            }
            ["busy"] => busy(&requests.with(&["busy"]).unwrap()),
            ["page"] => answer = global().render(Format::OpenMetrics).trim_end().to_owned(),
            _ => panic!("{line}?"),
        }
        let mut out = std::io::stdout();
        writeln!(out, "{answer}").unwrap();
        out.flush().unwrap();
    }
}

fn facade(name: &str, labels: &str) -> ::metrics::Counter {
    let labels: Vec<(String, String)> =
        labels.split(',').filter_map(|label| label.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();
    ::metrics::counter!(name.to_owned(), &labels)
}

/// Counts in memory that the slab is lent.
#[allow(unsafe_code, reason = "nobody but the lender knows for how long the memory stays")]
fn lend(counter: &metrics::Counter, count: f64) -> ForeignCells {
    let cells = ForeignCells::new();
    let first = counter.place().first as usize;
    let memory: &'static [AtomicU64] = (0..ForeignCells::CHUNK).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
    // SAFETY: so many cells, which stay for ever.
    let attached = unsafe { cells.attach((first / ForeignCells::CHUNK) as u32, NonNull::from(&memory[0])) };
    assert!(attached);
    memory[first % ForeignCells::CHUNK].store(count.to_bits(), Ordering::Relaxed);
    cells
}

/// Until it is killed.
fn busy(counter: &metrics::Counter) {
    let added = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    (0..1_000).for_each(|_| counter.inc());
                    let now = added.fetch_add(1_000, Ordering::SeqCst) + 1_000;
                    let mut out = std::io::stdout();
                    writeln!(out, "{now}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

/// A child that does this, and ends as one that is killed does.
#[allow(unsafe_code, reason = "fork has no safe form")]
fn child(work: impl Fn()) -> i32 {
    // SAFETY: what the child does is what must work in a forked child of a program with threads: that is the test.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        work();
        // SAFETY: ends without a look at anything.
        unsafe { libc::_exit(0) };
    }
    assert!(pid > 0);
    pid
}

fn wait(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid);
    let (_, status) = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0), "{status:?}");
}
