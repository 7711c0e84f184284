//! A load with a pace: so many transfers a second, the latency of each commit measured.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::Failure;
use crate::latency::{Histogram, Summary};
use crate::ledger::{Layout, Ledger};

/// How the writer works.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The database; it is made when it does not exist
    #[arg(long, value_name = "FILE")]
    pub database: PathBuf,
    /// Transfers a second; 0 is as many as possible
    #[arg(long, default_value_t = 500.0, value_name = "N")]
    pub rate: f64,
    /// How long to work; until stopped when not given
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// Force a truncating checkpoint after so many transfers
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<u64>,
    /// VACUUM after so many transfers
    #[arg(long, value_name = "N")]
    pub vacuum_every: Option<u64>,
    /// Bytes of a page of a new database
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    pub page_size: u32,
    /// The journal mode: wal, delete, truncate, persist
    #[arg(long, default_value = "wal", value_name = "MODE")]
    pub journal_mode: String,
    /// The synchronous setting: off, normal, full, extra
    #[arg(long, default_value = "normal", value_name = "MODE")]
    pub synchronous: String,
    /// Accounts of a new database
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub accounts: u32,
    /// Bytes of text in each entry
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub note_bytes: usize,
    /// Keep the number of the last committed transfer in this file, 8 bytes little-endian: what was committed
    /// before a backup began must be in it
    #[arg(long, value_name = "FILE")]
    pub acknowledge: Option<PathBuf>,
    /// Seed of the choice of accounts
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
}

/// What the writer did: the JSON line it prints when it stops.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Transfers committed by this run.
    pub transactions: u64,
    /// How long it worked.
    pub seconds: f64,
    /// Transfers a second.
    pub per_second: f64,
    /// Latencies from `BEGIN IMMEDIATE` to the end of `COMMIT`, in seconds.
    pub commit_seconds: Summary,
    /// Latencies from the moment the pace demanded the transfer to the end of `COMMIT`, in seconds: a writer
    /// that was blocked and then hurries cannot hide it here.
    pub response_seconds: Summary,
    /// Transfers that found the database locked for longer than the busy timeout, and were tried again.
    pub busy: u64,
    /// Checkpoints that were forced.
    pub checkpoints: u64,
    /// Times the database was rewritten.
    pub vacuums: u64,
    /// The number of the last committed transfer.
    pub last_transfer: u64,
}

/// Opens the ledger, made if it is missing. A service does so before it says that it is there.
///
/// # Errors
/// The database cannot be opened or made.
pub fn open(options: &Options) -> Result<Ledger, Failure> {
    let layout = Layout {
        page_size: options.page_size,
        journal_mode: options.journal_mode.clone(),
        synchronous: options.synchronous.clone(),
        accounts: options.accounts,
    };
    Ledger::open(&options.database, &layout)
}

/// Works until `stop` is raised or the time is over.
///
/// # Errors
/// The database fails in any way but being locked.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<Report, Failure> {
    let mut ledger = open(options)?;
    let acknowledge = options.acknowledge.as_ref().map(File::create).transpose()?;
    let note = "n".repeat(options.note_bytes);
    let (mut commit, mut response) = (Histogram::default(), Histogram::default());
    let (mut busy, mut checkpoints, mut vacuums, mut last) = (0, 0, 0, 0);
    let mut random = fastrand::Rng::with_seed(options.seed);
    let began = Instant::now();
    let mut due = began;
    while !stop.load(Ordering::Relaxed) {
        if options.seconds.is_some_and(|limit| began.elapsed().as_secs_f64() >= limit) {
            break;
        }
        if options.rate > 0.0 {
            sleep_until(due);
        } else {
            due = Instant::now();
        }
        let start = Instant::now();
        match ledger.transfer(random.u64(..), &note) {
            Ok(transfer) => last = transfer,
            Err(error) if is_busy(&error) => {
                busy += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let done = Instant::now();
        commit.record(done - start);
        response.record(done.saturating_duration_since(due));
        if let Some(file) = &acknowledge {
            file.write_all_at(&last.to_le_bytes(), 0)?;
        }
        let is_time = |every: Option<u64>| every.is_some_and(|every| every > 0 && last.is_multiple_of(every));
        if is_time(options.checkpoint_every) {
            // A reader may keep it from finishing; the next one will.
            match ledger.checkpoint() {
                Ok(()) => checkpoints += 1,
                Err(error) if is_busy(&error) => busy += 1,
                Err(error) => return Err(error.into()),
            }
        }
        if is_time(options.vacuum_every) {
            match ledger.vacuum() {
                Ok(()) => vacuums += 1,
                Err(error) if is_busy(&error) => busy += 1,
                Err(error) => return Err(error.into()),
            }
        }
        if options.rate > 0.0 {
            due += Duration::from_secs_f64(1.0 / options.rate);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(Report {
        transactions: commit.count(),
        seconds,
        per_second: commit.count() as f64 / seconds.max(f64::MIN_POSITIVE),
        commit_seconds: commit.summary(),
        response_seconds: response.summary(),
        busy,
        checkpoints,
        vacuums,
        last_transfer: last,
    })
}

fn sleep_until(due: Instant) {
    if let Some(left) = due.checked_duration_since(Instant::now()) {
        std::thread::sleep(left);
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::ledger::verify;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn it_works_at_its_pace_and_leaves_a_sound_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let (database, acknowledged) = (folder.path().join("a.db"), folder.path().join("last"));
        let mut options = Line::parse_from([
            "w",
            "--database",
            database.to_str().unwrap(),
            "--seconds",
            "0.5",
            "--rate",
            "200",
            "--page-size",
            "512",
            "--checkpoint-every",
            "20",
            "--vacuum-every",
            "50",
        ])
        .options;
        options.acknowledge = Some(acknowledged.clone());
        let report = run(&options, &AtomicBool::new(false)).unwrap();
        assert!(report.transactions > 0 && report.transactions <= 110, "{report:?}");
        assert_eq!(report.checkpoints, report.last_transfer / 20);
        let last: [u8; 8] = std::fs::read(acknowledged).unwrap().try_into().unwrap();
        assert_eq!(u64::from_le_bytes(last), report.last_transfer);
        let proof = verify(&database).unwrap();
        assert!(proof.ok, "{proof:?}");
        assert_eq!(proof.transfers, report.last_transfer);
    }

    #[test]
    fn a_raised_flag_stops_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let options = Line::parse_from(["w", "--database", database.to_str().unwrap()]).options;
        assert_eq!(run(&options, &AtomicBool::new(true)).unwrap().transactions, 0);
    }
}
