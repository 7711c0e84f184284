//! Places in the log that people have words for: an LSN, or a restore point (`pg_create_restore_point`).
//!
//! `pg_waldump` says where each record begins. A record ends where the next one begins, so a place is the end of the last record
//! that belongs to it. Sources: "pg_waldump" and section 20.5.6, "Recovery Target", of the PostgreSQL manual.

use super::super::programs::Programs;
use super::wal::Lsn;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use std::ffi::OsString;
use std::path::Path;

/// What `pg_waldump` may say: of the checkpoints and restore points of weeks, it is a part.
const SAID: usize = 64 << 20;

/// A place as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Everything that was logged before it.
    Lsn(Lsn),
    /// Everything up to the restore point of that name, the first one if there are several, as recovery has it.
    Name(String),
}

impl Place {
    /// What has the form of an LSN is one.
    pub(super) fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Lsn)
    }
}

/// The log of one timeline that lies in a folder: where the copy of the cluster ends, the moments after that, in order, of which
/// the last is its end.
#[derive(Debug)]
pub(super) struct Logged<'a> {
    pub(super) programs: &'a Programs,
    pub(super) folder: &'a Path,
    pub(super) timeline: u32,
    pub(super) copy: Lsn,
    pub(super) moments: &'a [Lsn],
}

/// A record.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    begins: Lsn,
    says: String,
}

impl Logged<'_> {
    /// Where the log has to end for this place.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where the log does not have it, or the copy is behind it.
    pub(super) async fn find(&self, scope: &Scope, place: &Place) -> Result<Lsn> {
        let end = self.moments.last().copied().unwrap_or(self.copy);
        match place {
            Place::Lsn(lsn) if *lsn < self.copy => {
                Err(Error::new(ErrorKind::NotFound, format!("the copy has everything up to {}, which is behind {lsn}", self.copy))
                    .with_hint("name an older snapshot, or as `at` a moment between the place and that copy"))
            }
            Place::Lsn(lsn) if *lsn > end => {
                Err(Error::new(ErrorKind::NotFound, format!("the log reaches {end}, and not {lsn}"))
                    .with_hint("name a later moment as `at`, or none; or wait until it is stored: continuous.status says how far it is"))
            }
            Place::Lsn(lsn) => {
                let before = self.moments.iter().take_while(|moment| *moment <= lsn).last();
                let from = before.copied().unwrap_or(self.copy);
                if from == *lsn {
                    return Ok(from);
                }
                // Of a record that goes on beyond it nothing is taken.
                match self.records(scope, from, *lsn, &[]).await?.last() {
                    Some(last) => Ok(self.end_of(scope, last, end).await?.min(*lsn)),
                    None => Ok(from),
                }
            }
            Place::Name(name) => {
                let all = self.records(scope, self.copy, end, &["--rmgr=XLOG"]).await?;
                let named: Vec<(&str, &Record)> =
                    all.iter().filter_map(|record| Some((record.says.strip_prefix("RESTORE_POINT ")?, record))).collect();
                match named.iter().find(|(it, _)| it == name) {
                    Some((_, record)) => self.end_of(scope, record, end).await,
                    None => Err(self.unknown(name, end, &named)),
                }
            }
        }
    }

    fn unknown(&self, name: &str, end: Lsn, named: &[(&str, &Record)]) -> Error {
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Error::new(
            ErrorKind::NotFound,
            format!("there is no restore point {name:?} in the log from {}, where the copy ends, to {end}", self.copy),
        )
        .with_hint(format!(
            "it has: {there}; for an earlier one name an older snapshot, or as `at` a moment behind it and before that copy"
        ))
    }

    /// Where a record ends: where the next one begins, or the log ends.
    async fn end_of(&self, scope: &Scope, record: &Record, end: Lsn) -> Result<Lsn> {
        let both = self.records(scope, record.begins, end, &["--limit=2"]).await?;
        match &both[..] {
            [first, rest @ ..] if first.begins == record.begins => Ok(rest.first().map_or(end, |next| next.begins)),
            _ => Err(Error::new(ErrorKind::Corrupt, format!("the log has no record at {} any more", record.begins))),
        }
    }

    /// The records that lie whole between two places.
    async fn records(&self, scope: &Scope, from: Lsn, to: Lsn, only: &[&str]) -> Result<Vec<Record>> {
        if !self.programs.has("pg_waldump") {
            return Err(Error::new(ErrorKind::Unsupported, "pg_waldump is missing beside pg_dump")
                .with_hint("install the server's package (Debian: postgresql-NN), or name a time instead"));
        }
        let mut arguments: Vec<OsString> =
            ["--timeline", &self.timeline.to_string(), "--start", &from.to_string(), "--end", &to.to_string()]
                .map(OsString::from)
                .to_vec();
        arguments.extend(["--path".into(), self.folder.into()]);
        arguments.extend(only.iter().map(OsString::from));
        let program = self.programs.program("pg_waldump", arguments).env("LC_ALL", "C").output_limit(SAID);
        let output = program.run(scope).await?.success()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(record).collect())
    }
}

/// `rmgr: XLOG  len (rec/tot): 91/ 91, tx: 0, lsn: 0/0303D8A0, prev 0/0303D868, desc: RESTORE_POINT before-upgrade`
fn record(line: &str) -> Option<Record> {
    let (_, rest) = line.split_once(", lsn: ")?;
    let (begins, rest) = rest.split_once(", prev ")?;
    let (_, says) = rest.split_once(", desc: ")?;
    Some(Record { begins: begins.parse().ok()?, says: says.trim_end().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_places_are_read_as_they_are_written() {
        let line = "rmgr: XLOG        len (rec/tot):     91/    91, tx:          0, lsn: 0/0303D8A0, prev 0/0303D868, desc: RESTORE_POINT one, two";
        let found = record(line).unwrap();
        assert_eq!((found.begins, found.says.as_str()), (Lsn(0x303_D8A0), "RESTORE_POINT one, two"));
        assert_eq!(record("pg_waldump: first record is after 0/3000028"), None);
        assert_eq!(Place::of("1/A0"), Place::Lsn(Lsn(0x1_0000_00A0)));
        for name in ["before-upgrade", "a/b/c", "1/", "x/y", ""] {
            assert_eq!(Place::of(name), Place::Name(name.to_owned()), "{name}");
        }
    }
}
