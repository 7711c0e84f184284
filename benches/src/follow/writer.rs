//! The service: a process that commits at a pace, and says when each commit was done and how long it took.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use rusqlite::Connection;
use uplifted_example::Failure;

/// What it does.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The database
    database: PathBuf,
    /// Transactions a second
    rate: u32,
    /// For how long; until its input ends when not given
    seconds: Option<f64>,
}

/// A commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit {
    /// When it was done, in seconds since 1970.
    pub(crate) at: f64,
    /// How long it took, in seconds.
    pub(crate) took: f64,
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Makes a database in WAL mode with `rows` rows of `bytes` bytes each.
pub(crate) fn create(path: &Path, rows: u64, bytes: u32) -> Result<(), Failure> {
    let db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE w (id INTEGER PRIMARY KEY, a, b)",
    )?;
    db.execute_batch("CREATE INDEX wa ON w (a); BEGIN")?;
    let mut insert = db.prepare("INSERT INTO w (a, b) VALUES (random(), randomblob(?))")?;
    for _ in 0..rows {
        insert.execute([bytes])?;
    }
    db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

/// Commits, and then prints two numbers of 64 bits for each commit.
pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    if options.seconds.is_none() {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            stop.store(true, Ordering::Relaxed);
        });
    }
    let db = Connection::open(&options.database)?;
    db.busy_timeout(Duration::from_secs(10))?;
    db.execute_batch("PRAGMA synchronous=NORMAL")?;
    let mut insert = db.prepare("INSERT INTO w (a, b) VALUES (random(), randomblob(300))")?;
    let (started, mut out) = (Instant::now(), Vec::new());
    let each = Duration::from_secs(1) / options.rate.max(1);
    let end = options.seconds.map(Duration::from_secs_f64);
    for number in 0_u32.. {
        let due = started + each * number;
        if stop.load(Ordering::Relaxed) || end.is_some_and(|end| due - started >= end) {
            break;
        }
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        let before = Instant::now();
        insert.execute([])?;
        let took = before.elapsed().as_secs_f64();
        out.extend_from_slice(&now().to_le_bytes());
        out.extend_from_slice(&took.to_le_bytes());
    }
    std::io::stdout().write_all(&out)?;
    Ok(String::new())
}

/// The process.
#[derive(Debug)]
pub(crate) struct Writer(Child);

impl Writer {
    pub(crate) fn start(database: &Path, rate: u32, seconds: Option<f64>) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("follow-writer").arg(database).arg(rate.to_string());
        if let Some(seconds) = seconds {
            command.arg(seconds.to_string());
        }
        Ok(Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?))
    }

    /// What it committed, once it has ended, or is to.
    pub(crate) fn finish(mut self) -> Result<Vec<Commit>, Failure> {
        drop(self.0.stdin.take());
        let mut bytes = Vec::new();
        self.0.stdout.take().ok_or("the writer has no output")?.read_to_end(&mut bytes)?;
        if !self.0.wait()?.success() {
            return Err("the writer failed".into());
        }
        let number = |bytes: &[u8]| bytes.try_into().map_or(0.0, f64::from_le_bytes);
        let (pairs, _) = bytes.as_chunks::<16>();
        Ok(pairs.iter().map(|pair| Commit { at: number(&pair[..8]), took: number(&pair[8..]) }).collect())
    }
}
