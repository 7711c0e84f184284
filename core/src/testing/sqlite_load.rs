//! A process that writes to a SQLite database under an invariant, for tests and benches of copies.
//!
//! Locks belong to processes, so the load must come from another one. A test binary starts itself again with
//! [`ENV`] set and calls [`run_if_asked`] first thing; the parent stops it by closing its standard input.
//!
//! The invariant: each transaction moves an amount between two accounts, appends the movement to a ledger and
//! counts it. In every consistent copy the balances sum to what they began with, each balance is what its ledger says, the
//! ledger has no gap and its length is the count. After each commit the writer acknowledges the count in a file of its own,
//! so that a copy can be asked for everything that was committed before it was made.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{OutFile, PRIVATE_FILE};
use crate::testing::random::Rng;

/// The environment variable that holds a [`Load`] as JSON.
pub const ENV: &str = "UPLIFTED_OPS_SQLITE_LOAD";

/// What every account begins with.
const OPENING_BALANCE: i64 = 1000;

/// What the writer does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The database.
    pub path: PathBuf,
    /// Where the number of committed transactions is acknowledged; created by the writer.
    pub acknowledged: PathBuf,
    /// Bytes of a page, 512 to 65536.
    pub page_size: u32,
    /// `wal`, `delete`, `truncate` or `persist`.
    pub journal_mode: String,
    /// Transactions per second that it tries for.
    pub transactions_per_second: u32,
    /// A forced checkpoint each so many transactions: its mode, such as `TRUNCATE`.
    pub checkpoint: Option<(u64, String)>,
    /// A `VACUUM` each so many transactions.
    pub vacuum: Option<u64>,
    /// The connection is closed and opened again each so many transactions.
    pub reopen: Option<u64>,
    /// Number of accounts.
    pub accounts: u32,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Load {
    /// A load of 500 transactions a second on a WAL database with pages of 4096 bytes.
    pub fn new(path: &Path, seed: u64) -> Self {
        let mut acknowledged = path.as_os_str().to_owned();
        acknowledged.push(".acknowledged");
        Self {
            path: path.to_owned(),
            acknowledged: acknowledged.into(),
            page_size: 4096,
            journal_mode: "wal".to_owned(),
            transactions_per_second: 500,
            checkpoint: None,
            vacuum: None,
            reopen: None,
            accounts: 100,
            seed,
        }
    }

    /// Makes the database. To be called in a process that then leaves it alone.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn create(&self) -> Result<()> {
        let create = || -> rusqlite::Result<()> {
            let db = Connection::open(&self.path)?;
            db.pragma_update(None, "page_size", self.page_size)?;
            db.query_row(&format!("PRAGMA journal_mode={}", self.journal_mode), [], |_| Ok(()))?;
            db.execute_batch(
                "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
                 CREATE TABLE ledger (id INTEGER PRIMARY KEY, payer INT, payee INT, amount INT, note BLOB);
                 CREATE INDEX ledger_payer ON ledger (payer, amount);
                 CREATE TABLE progress (committed INTEGER NOT NULL);
                 INSERT INTO progress VALUES (0);
                 CREATE TABLE filler (id INTEGER PRIMARY KEY, bytes BLOB);",
            )?;
            let mut insert = db.prepare("INSERT INTO account VALUES (?, ?)")?;
            (0..self.accounts).try_for_each(|id| insert.execute(params![id, OPENING_BALANCE]).map(drop))
        };
        create().map_err(engine)
    }

    /// Writes until `stop` says so.
    ///
    /// # Errors
    /// Those of the engine, but for a database that stays busy: that transaction is tried again.
    pub fn run(&self, stop: impl Fn() -> bool) -> Result<()> {
        let acknowledged = OutFile::create_new(&self.acknowledged, PRIVATE_FILE)?;
        let clock = SystemClock;
        let mut random = Rng::with_seed(self.seed);
        let mut db = self.connect()?;
        let started = clock.monotonic();
        let pause = Duration::from_secs_f64(1.0 / f64::from(self.transactions_per_second.max(1)));
        let mut committed = committed(&db).map_err(engine)?;
        let mut done = 0_u32;
        while !stop() {
            match self.transfer(&db, &mut random) {
                Ok(()) => committed += 1,
                Err(error) if is_busy(&error) => {
                    let _ = db.execute_batch("ROLLBACK");
                    continue;
                }
                Err(error) => return Err(engine(error)),
            }
            acknowledged.write_all_at(&committed.to_le_bytes(), 0)?;
            let due = |every: Option<u64>| every.is_some_and(|every| committed.is_multiple_of(every));
            if let Some((every, mode)) = &self.checkpoint
                && due(Some(*every))
            {
                // A reader in the way makes it incomplete, which is as it should be.
                let _ = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
            }
            if due(self.vacuum) {
                let _ = db.execute_batch("VACUUM");
            }
            if due(self.reopen) {
                drop(db);
                db = self.connect()?;
            }
            done += 1;
            if let Some(early) = (started + pause * done).checked_sub(clock.monotonic()) {
                std::thread::sleep(early);
            }
        }
        Ok(())
    }

    fn connect(&self) -> Result<Connection> {
        let connect = || -> rusqlite::Result<Connection> {
            let db = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            db.busy_timeout(Duration::from_secs(30))?;
            db.query_row(&format!("PRAGMA journal_mode={}", self.journal_mode), [], |_| Ok(()))?;
            db.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(db)
        };
        connect().map_err(engine)
    }

    fn transfer(&self, db: &Connection, random: &mut Rng) -> rusqlite::Result<()> {
        let [payer, payee] = [(); 2].map(|()| random.i64(..i64::from(self.accounts)));
        let amount = random.i64(..100);
        let note = vec![(amount & 0xff) as u8; random.usize(..400)];
        db.execute_batch("BEGIN IMMEDIATE")?;
        let run = |sql, params: &[&dyn rusqlite::ToSql]| db.prepare_cached(sql)?.execute(params);
        run("UPDATE account SET balance = balance - ? WHERE id = ?", &[&amount, &payer])?;
        run("UPDATE account SET balance = balance + ? WHERE id = ?", &[&amount, &payee])?;
        run("INSERT INTO ledger (payer, payee, amount, note) VALUES (?, ?, ?, ?)", &[&payer, &payee, &amount, &note])?;
        run("UPDATE progress SET committed = committed + 1", &[])?;
        // Pages that come and go, for VACUUM and the freelist to have work.
        run("INSERT OR REPLACE INTO filler VALUES (?, zeroblob(?))", &[&random.i64(..64), &random.i64(..9000)])?;
        run("DELETE FROM filler WHERE id = ?", &[&random.i64(..64)])?;
        db.execute_batch("COMMIT")
    }

    /// How many transactions the writer has acknowledged; `None` before the first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn acknowledged(&self) -> Result<Option<u64>> {
        let mut bytes = [0; 8];
        match File::open(&self.acknowledged).and_then(|file| file.read_exact_at(&mut bytes, 0)) {
            Ok(()) => Ok(Some(u64::from_le_bytes(bytes))),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof) => {
                Ok(None)
            }
            Err(error) => Err(Error::io(format!("read {:?}", self.acknowledged), error)),
        }
    }
}

/// Runs the [`Load`] in [`ENV`] until standard input ends, and says whether there was one. For the first line of
/// a test that serves as the child process.
///
/// # Errors
/// Those of [`Load::run`].
pub fn run_if_asked() -> Result<bool> {
    let Ok(json) = std::env::var(ENV) else { return Ok(false) };
    let load: Load = serde_json::from_str(&json).map_err(|e| Error::invalid(format!("{ENV}: {e}")))?;
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        seen.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    load.run(|| ended.load(std::sync::atomic::Ordering::SeqCst)).map(|()| true)
}

/// Checks the invariant in a copy, and returns how many transactions it holds.
///
/// # Errors
/// [`ErrorKind::Corrupt`] with what does not hold; `at_least` is what had been acknowledged before the copy.
pub fn check(copy: &Path, at_least: u64) -> Result<u64> {
    let db = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(engine)?;
    let broken = |what: String| Err(Error::new(ErrorKind::Corrupt, format!("{copy:?}: {what}")));
    let ask = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(engine);
    let integrity: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(engine)?;
    if integrity != "ok" {
        return broken(integrity);
    }
    let committed = committed(&db).map_err(engine)?;
    if committed < at_least {
        return broken(format!("holds {committed} transactions, {at_least} were committed before it was made"));
    }
    let (rows, last) = (ask("SELECT count(*) FROM ledger")?, ask("SELECT coalesce(max(id), 0) FROM ledger")?);
    if rows.unsigned_abs() != committed || last != rows {
        return broken(format!("{committed} transactions, but {rows} rows in the ledger, the last is {last}"));
    }
    let (sum, accounts) = (ask("SELECT sum(balance) FROM account")?, ask("SELECT count(*) FROM account")?);
    if sum != accounts * OPENING_BALANCE {
        return broken(format!("{accounts} accounts hold {sum}"));
    }
    let off = ask("SELECT count(*) FROM account WHERE balance != 1000
            - (SELECT coalesce(sum(amount), 0) FROM ledger WHERE payer = account.id)
            + (SELECT coalesce(sum(amount), 0) FROM ledger WHERE payee = account.id)")?;
    if off != 0 {
        return broken(format!("{off} balances differ from what the ledger says"));
    }
    Ok(committed)
}

fn committed(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row("SELECT committed FROM progress", [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}

fn engine(error: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the load's database: {error}")).with_source(error)
}
