//! What a probe costs: the listener of an `Ops` in this process, asked over keep-alive connections.
//!
//! The rate counts against the processor time of the listener's own thread, since the clients of this measurement need a core
//! as well: requests for each second in which that thread had a core.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use uplifted_example::Failure;
use uplifted_ops::ops::Ops;

/// How thorough the measurement is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Connections that ask at once
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

/// What the design asks for.
const RATE: f64 = 50_000.0;
const P99: Duration = Duration::from_millis(5);

/// Measures, and writes the table.
pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let folder = tempfile::tempdir()?;
    let ops = Ops::builder().root(folder.path()).environment([]).setting("metrics.listen", "127.0.0.1:0").build()?;
    let listener = ops.context().listener().ok_or("this build does not listen")?;
    let address: SocketAddr = listener.address.parse()?;
    let mut report = String::from("| what | result | target |\n| --- | ---: | ---: |\n");
    for path in ["/livez", "/readyz", "/health"] {
        let (requests, wall, cpu) = flood(address, path, options)?;
        let (by_core, by_wall) = (requests as f64 / cpu, requests as f64 / wall);
        let target = if path == "/livez" { format!("{RATE:.0}") } else { String::new() };
        writeln!(report, "| `{path}`, requests a second of one core | {by_core:.0} | {target} |")?;
        writeln!(report, "| `{path}`, requests a second beside {} clients | {by_wall:.0} | |", options.connections)?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for spinning in [0, 1, cores] {
        let mut times = while_spinning(spinning, || ask_by_turns(address, options))?;
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        let target = if spinning == 1 { format!("{} ms", P99.as_millis()) } else { String::new() };
        let what = format!("`/livez` while {spinning} of {cores} cores spin: p50, p99, most");
        writeln!(report, "| {what} | {:.2}, {:.2}, {:.2} ms | {target} |", at(0.5), at(0.99), at(1.0))?;
    }
    drop(ops);
    Ok(report)
}

/// Asks on all connections at once for a while: how many answers, in what time, and in what processor time of the listener.
fn flood(address: SocketAddr, path: &str, options: &Options) -> Result<(u64, f64, f64), Failure> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut connections = Vec::new();
    for _ in 0..options.connections {
        connections.push(connect(address)?);
    }
    // Whose thread has answered has its name.
    connections[0].write_all(request.as_bytes())?;
    answer(&mut connections[0])?;
    let (began, before) = (Instant::now(), processor_seconds()?);
    let mut requests = 0;
    while began.elapsed().as_secs_f64() < options.seconds {
        for stream in &mut connections {
            stream.write_all(request.as_bytes())?;
        }
        for stream in &mut connections {
            answer(stream)?;
            requests += 1;
        }
    }
    Ok((requests, began.elapsed().as_secs_f64(), processor_seconds()? - before))
}

/// Asks two hundred times a second, half of the time on a new connection, as probes do.
fn ask_by_turns(address: SocketAddr, options: &Options) -> Result<Vec<Duration>, Failure> {
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut kept = connect(address)?;
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed().as_secs_f64() < options.seconds {
        let asked = Instant::now();
        if times.len() % 2 == 0 {
            kept.write_all(request)?;
            answer(&mut kept)?;
        } else {
            let mut fresh = connect(address)?;
            fresh.write_all(request)?;
            answer(&mut fresh)?;
        }
        times.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(5).saturating_sub(asked.elapsed()));
    }
    Ok(times)
}

fn while_spinning<T>(threads: usize, work: impl FnOnce() -> T) -> T {
    let stop = Arc::new(AtomicBool::new(false));
    let spin = |stop: Arc<AtomicBool>| {
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    };
    let spinning: Vec<_> = (0..threads).map(|_| spin(Arc::clone(&stop))).collect();
    let done = work();
    stop.store(true, Ordering::Relaxed);
    spinning.into_iter().for_each(|thread| drop(thread.join()));
    done
}

fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// Reads one answer to its end.
fn answer(stream: &mut TcpStream) -> Result<(), Failure> {
    let mut bytes = [0; 64 * 1024];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut bytes[filled..])?;
        if read == 0 {
            return Err("the listener hung up".into());
        }
        filled += read;
        let Some(head) = bytes[..filled].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&bytes[..head])?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).ok_or("no length")?;
        if filled >= head + 4 + length.parse::<usize>()? {
            return Ok(());
        }
    }
}

/// The processor time of the listener's thread so far, in seconds (`schedstat` of proc(5): nanoseconds on a core).
fn processor_seconds() -> Result<f64, Failure> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        if std::fs::read_to_string(folder.join("comm"))?.starts_with("uplifted-ops-ht") {
            let text = std::fs::read_to_string(folder.join("schedstat"))?;
            let nanos: f64 = text.split_ascii_whitespace().next().ok_or("no schedstat")?.parse()?;
            return Ok(nanos / 1e9);
        }
    }
    Err("the listener has no thread".into())
}
