//! Accounts and transfers between them, with an invariant that a torn or stale copy breaks.
//!
//! Three facts hold after every commit:
//! - the balances add up to what was paid in when the ledger was made;
//! - each balance is its opening balance plus all of its entries;
//! - entries are numbered from 1 without a gap, two for each transfer, and the counter names the last one.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use serde::Serialize;

use crate::Failure;

/// What every account starts with.
const OPENING: i64 = 1000;

/// How a new ledger is made.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Bytes of a page, a power of two from 512 to 65536.
    pub page_size: u32,
    /// `wal`, `delete`, `truncate` or `persist`.
    pub journal_mode: String,
    /// `off`, `normal`, `full` or `extra`.
    pub synchronous: String,
    /// How many accounts there are.
    pub accounts: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self { page_size: 4096, journal_mode: "wal".into(), synchronous: "normal".into(), accounts: 1000 }
    }
}

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    accounts: u32,
}

impl Ledger {
    /// Opens the ledger at `path`, or makes it.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn open(path: &Path, layout: &Layout) -> Result<Self, Failure> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        // Counts only before the first table is made.
        connection.pragma_update(None, "page_size", layout.page_size)?;
        connection.pragma_update_and_check(None, "journal_mode", &layout.journal_mode, |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", &layout.synchronous)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS entry (
                 seq INTEGER PRIMARY KEY, transfer INTEGER NOT NULL, account INTEGER NOT NULL,
                 delta INTEGER NOT NULL, note TEXT NOT NULL);
             CREATE INDEX IF NOT EXISTS entry_by_account ON entry (account, seq);
             CREATE TABLE IF NOT EXISTS counter (last_transfer INTEGER NOT NULL);",
        )?;
        let mut accounts: u32 = transaction.query_row("SELECT count(*) FROM account", [], |row| row.get(0))?;
        if accounts == 0 {
            accounts = layout.accounts.max(2);
            let mut insert = transaction.prepare("INSERT INTO account VALUES (?1, ?2, ?3)")?;
            for id in 1..=accounts {
                insert.execute(params![id, format!("owner {id}"), OPENING])?;
            }
            drop(insert);
            transaction.execute("INSERT INTO counter VALUES (0)", [])?;
        }
        transaction.commit()?;
        Ok(Self { connection, accounts })
    }

    /// Moves money between two accounts that `random` picks, in one transaction. Returns the transfer's
    /// number once it is committed.
    ///
    /// # Errors
    /// SQLite's own; the ledger is as before.
    pub fn transfer(&mut self, random: u64, note: &str) -> Result<u64, rusqlite::Error> {
        // The upper bit is left out: SQLite's integers are signed.
        let (random, count) = ((random >> 1).cast_signed(), i64::from(self.accounts));
        let from = 1 + random % count;
        let to = 1 + (from + random / count % (count - 1)) % count;
        let amount = 1 + random % 97;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last: i64 = transaction.query_row("SELECT last_transfer FROM counter", [], |row| row.get(0))?;
        let transfer = last + 1;
        {
            let mut entry = transaction.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5)")?;
            let mut balance = transaction.prepare_cached("UPDATE account SET balance = balance + ?1 WHERE id = ?2")?;
            for (nth, account, delta) in [(1, from, -amount), (2, to, amount)] {
                entry.execute(params![2 * last + nth, transfer, account, delta, note])?;
                balance.execute(params![delta, account])?;
            }
            transaction.prepare_cached("UPDATE counter SET last_transfer = ?1")?.execute([transfer])?;
        }
        transaction.commit()?;
        Ok(transfer.unsigned_abs())
    }

    /// Moves the write-ahead log into the database and empties it.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn checkpoint(&self) -> Result<(), rusqlite::Error> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Rewrites the whole database.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn vacuum(&self) -> Result<(), rusqlite::Error> {
        self.connection.execute_batch("VACUUM")
    }
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// The last transfer in it.
    pub transfers: u64,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Checks a copy that nobody else has open: SQLite's `integrity_check`, and the three facts.
///
/// # Errors
/// The file cannot be opened or read as a ledger at all.
pub fn verify(path: &Path) -> Result<Proof, Failure> {
    let copy = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut problems = integrity(&copy)?;
    let number = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, i64>(0));
    let transfers = number("SELECT last_transfer FROM counter")?;
    let mut expect = |what: &str, found: i64, wanted: i64| {
        if found != wanted {
            problems.push(format!("{what}: {found} instead of {wanted}"));
        }
    };
    let paid_in = number("SELECT count(*) FROM account")? * OPENING;
    expect("all balances together", number("SELECT coalesce(sum(balance), 0) FROM account")?, paid_in);
    let wrong = "SELECT count(*) FROM account a WHERE balance <> ?1
        + coalesce((SELECT sum(delta) FROM entry e WHERE e.account = a.id), 0)";
    let wrong = copy.query_row(wrong, [OPENING], |row| row.get(0))?;
    expect("accounts whose entries do not add up", wrong, 0);
    expect("entries", number("SELECT count(*) FROM entry")?, 2 * transfers);
    expect("the last entry", number("SELECT coalesce(max(seq), 0) FROM entry")?, 2 * transfers);
    expect("the last entry's transfer", number("SELECT coalesce(max(transfer), 0) FROM entry")?, transfers);
    Ok(Proof { ok: problems.is_empty(), transfers: u64::try_from(transfers)?, problems })
}

/// What SQLite's own check finds wrong with any database.
///
/// # Errors
/// It is no database, or cannot be read.
pub fn integrity(copy: &Connection) -> Result<Vec<String>, Failure> {
    let mut check = copy.prepare("PRAGMA integrity_check")?;
    let lines = check.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy_ledger(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("a.db");
        let mut ledger = Ledger::open(&path, &Layout { accounts: 7, ..Layout::default() }).unwrap();
        for nth in 0..500_u64 {
            assert_eq!(ledger.transfer(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15), "x").unwrap(), nth + 1);
        }
        path
    }

    #[test]
    fn transfers_keep_the_invariant_and_a_ledger_opens_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = busy_ledger(folder.path());
        assert_eq!(verify(&path).unwrap(), Proof { ok: true, transfers: 500, problems: Vec::new() });
        let mut again = Ledger::open(&path, &Layout::default()).unwrap();
        assert_eq!(again.transfer(1, "").unwrap(), 501);
    }

    #[test]
    fn each_kind_of_damage_is_seen() {
        for (damage, expected) in [
            ("UPDATE account SET balance = balance + 1 WHERE id = 3", "all balances together"),
            ("UPDATE entry SET delta = delta + 1 WHERE seq = 5", "accounts whose entries do not add up"),
            ("DELETE FROM entry WHERE seq = 5", "entries: 999"),
            ("UPDATE counter SET last_transfer = 499", "the last entry: 1000"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = busy_ledger(folder.path());
            Connection::open(&path).unwrap().execute(damage, []).unwrap();
            let proof = verify(&path).unwrap();
            assert!(!proof.ok && proof.problems.iter().any(|p| p.starts_with(expected)), "{damage}: {proof:?}");
        }
    }

    #[test]
    fn what_is_no_ledger_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        assert!(verify(&path).is_err());
        assert!(!path.exists(), "nothing is created by looking");
        std::fs::write(&path, vec![7; 8192]).unwrap();
        assert!(verify(&path).is_err());
    }
}
