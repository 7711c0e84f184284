//! Putting the archive together: files first, while the databases are copied, then the databases.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::super::archive::{ArchiveWriter, Special, Summary, WriteOptions, Written};
use super::super::discover::{Contents, Database};
use super::super::manifest::{FORMAT, Manifest, Outcome, RelPath, SkipReason, Skipped, StoreRecord};
use super::super::meter::Meter;
use super::super::seal::{KeyRing, Keys, SealedSummary, Sealer, Sink};
use super::super::walk::{Found, FoundKind};
use super::databases::{Copied, Copy};
use super::deliver::{Encrypted, Fan, Seal};
use super::files::{FileStorer, Hook};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::store::IntegrityReport;

/// How much of a copy is read at once.
const BLOCK: usize = 1 << 20;

/// Everything that one archive is made of.
pub(super) struct Assembly {
    pub(super) root: PathBuf,
    pub(super) contents: Contents,
    pub(super) options: WriteOptions,
    /// Filled in by the assembly: stores, skipped, outcome, counts.
    pub(super) manifest: Manifest,
    /// The archive's key in every target.
    pub(super) key: String,
    /// What it is encrypted to.
    pub(super) keys: Keys,
    pub(super) copies: mpsc::UnboundedReceiver<Copy>,
    pub(super) fan: Fan,
    pub(super) hook: Option<Hook>,
}

/// Writes the archive to the fan and returns its manifest and seal. It blocks.
pub(super) fn assemble(scope: &Scope, assembly: Assembly) -> Result<(Manifest, Seal)> {
    let Assembly { root, contents, options, mut manifest, key, keys, mut copies, fan, hook } = assembly;
    let way = Way::new(fan, keys)?;
    let mut writer = ArchiveWriter::new(scope, options, way.sink())?;
    let mut storer = FileStorer::new(scope, &root, hook)?;
    storer.skipped = contents.skipped;

    // Databases come last, and a file that arrives changes the time of the folder that it arrives in. `tar` sets
    // a folder's time when it has left the folder, not at its own end: so these folders come after them.
    let (above_databases, ordinary): (Vec<Found>, Vec<Found>) = {
        let links = contents.database_links.iter().map(|(found, _)| found);
        let late = contents.databases.iter().map(|database| &database.found).chain(links);
        let folders: HashSet<PathBuf> =
            late.filter_map(|found| found.path.as_path().parent().map(Path::to_owned)).collect();
        contents
            .ordinary
            .into_iter()
            .partition(|found| found.kind == FoundKind::Dir && folders.contains(found.path.as_path()))
    };
    {
        let bytes: u64 = ordinary.iter().map(|found| found.size.min(found.disk_bytes)).sum();
        let files = ordinary.len() as u64;
        let mut meter = Meter::start(scope, "storing files".to_owned(), Some(bytes), Some(files));
        for found in &ordinary {
            storer.store(&mut writer, found, &mut meter)?;
        }
    }

    let mut databases = Databases { scope, writer: &mut writer, storer: &mut storer, records: Vec::new() };
    let mut stored: Vec<RelPath> = Vec::new();
    while let Some(copy) = copies.blocking_recv() {
        scope.cancel.check()?;
        let path = copy.database.found.path.clone();
        if databases.take(copy)? {
            stored.push(path);
        }
    }
    scope.cancel.check()?;
    manifest.stores = databases.records;
    for (found, target) in contents.database_links {
        if stored.contains(&target) {
            let head = storer.head(&found);
            writer.add(head, Special::HardLink { target })?;
        } else {
            let message = format!("it is another name of {target:?}, which is not stored");
            storer.skipped.push(Skipped { path: found.path, reason: SkipReason::Database, message });
        }
    }

    let mut meter = Meter::start(scope, "storing folders".to_owned(), None, None);
    for found in &above_databases {
        storer.store(&mut writer, found, &mut meter)?;
    }

    manifest.format = FORMAT;
    manifest.skipped = storer.skipped;
    manifest.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    let partial = manifest.skipped.iter().any(|skipped| skipped.reason.makes_partial());
    manifest.outcome = if partial { Outcome::Partial } else { Outcome::Complete };
    let written = writer.finish(manifest)?;
    let seal = way.finish(&key, &written)?;
    Ok((written.manifest, seal))
}

/// The archive's way to the fan: straight, or encrypted.
struct Way {
    fan: Arc<Mutex<Fan>>,
    encryption: Option<(Arc<KeyRing>, Arc<Mutex<Option<Sealer>>>)>,
}

impl Way {
    fn new(fan: Fan, keys: Keys) -> Result<Self> {
        let fan = Arc::new(Mutex::new(fan));
        let encryption = match keys {
            None => None,
            Some(keys) => {
                let sealer = keys.sealer(push_to(&fan))?;
                Some((keys, Arc::new(Mutex::new(Some(sealer)))))
            }
        };
        Ok(Self { fan, encryption })
    }

    /// Takes the archive's bytes.
    fn sink(&self) -> Sink {
        let Some((_, sealer)) = &self.encryption else { return push_to(&self.fan) };
        let sealer = Arc::clone(sealer);
        Box::new(move |bytes| match &mut *sealer.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(sealer) => sealer.write(bytes),
            None => Err(Error::internal("an archive was written to after its end")),
        })
    }

    /// Ends the stream: what the object under `key` must be.
    fn finish(self, key: &str, written: &Written) -> Result<Seal> {
        let mut seal = Seal { stored_bytes: written.stored_bytes, blake3: written.blake3, encrypted: None };
        if let Some((keys, sealer)) = self.encryption {
            let sealer = sealer.lock().unwrap_or_else(PoisonError::into_inner).take();
            let sealed = sealer.ok_or_else(|| Error::internal("an archive was ended twice"))?.finish()?;
            let summary = SealedSummary {
                summary: Summary::from(&written.manifest),
                encrypted_to: keys.fingerprint(),
                stored_bytes: sealed.stored_bytes,
                blake3: sealed.blake3,
            };
            let summary = summary.write(&keys, key)?;
            (seal.stored_bytes, seal.blake3) = (sealed.stored_bytes, sealed.blake3.0);
            seal.encrypted = Some(Arc::new(Encrypted { keys, plain: written.blake3, summary }));
        }
        self.fan.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
        Ok(seal)
    }
}

fn push_to(fan: &Arc<Mutex<Fan>>) -> Sink {
    let fan = Arc::clone(fan);
    Box::new(move |bytes| fan.lock().unwrap_or_else(PoisonError::into_inner).push(bytes))
}

struct Databases<'a> {
    scope: &'a Scope,
    writer: &'a mut ArchiveWriter,
    storer: &'a mut FileStorer,
    records: Vec<StoreRecord>,
}

impl Databases<'_> {
    /// Stores a database's copy, or names the database; says whether there is an entry of it.
    fn take(&mut self, copy: Copy) -> Result<bool> {
        let Copy { database, copied } = copy;
        let copied = match copied {
            Ok(copied) => copied,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => return self.not_copied(&database, &error),
        };
        let Copied { folder, snapshot, check } = copied;
        self.store(&database, &folder.join(&snapshot.files[0]), snapshot.size_bytes)?;
        // The copy is small change until it is checked; its check is over soon after it is stored.
        let report = match check.blocking_recv() {
            Ok(Err(error)) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Ok(Ok(report)) => report,
            Ok(Err(error)) => failed(&format!("the check could not be made: {error}")),
            Err(_) => failed("the check did not end"),
        };
        crate::fs::remove_dir_all(&folder)?;
        if !report.ok {
            let first = report.problems.first().map_or("it is damaged", String::as_str);
            let message = format!("the copy of {:?} failed its integrity check: {first}", database.name);
            self.skip(&database, SkipReason::Corrupt, message);
        }
        self.records.push(StoreRecord {
            name: database.name,
            kind: database.store.capability().kind,
            path: database.found.path,
            taken_at: snapshot.taken_at,
            check: report,
            details: snapshot.details,
        });
        Ok(true)
    }

    /// Stores the file of a copy under the live file's name, with the live file's mode, owner and times.
    fn store(&mut self, database: &Database, file: &Path, total: u64) -> Result<()> {
        let reading = |error| Error::io(format!("read the copy {file:?}"), error);
        let mut source = std::fs::File::open(file).map_err(reading)?;
        let size = source.metadata().map_err(reading)?.len();
        let mut meter = Meter::start(self.scope, format!("storing database {}", database.name), Some(total), Some(1));
        let head = self.storer.head(&database.found);
        self.writer.begin_file(head, size, None)?;
        let mut buffer = vec![0; BLOCK];
        let mut left = size;
        while left > 0 {
            self.scope.cancel.check()?;
            let want = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            std::io::Read::read_exact(&mut source, &mut buffer[..want]).map_err(reading)?;
            self.writer.write(&buffer[..want])?;
            left -= want as u64;
            meter.bytes(want as u64);
        }
        self.writer.end_file(None)
    }

    fn not_copied(&mut self, database: &Database, error: &Error) -> Result<bool> {
        let gone = error.kind() == ErrorKind::NotFound;
        let reason = if gone { SkipReason::Vanished } else { SkipReason::Database };
        // Nobody configured it, and the store does not know it: it is a file that looks like a database.
        // Its connection is closed, so reading the file is safe now.
        let is_no_database = matches!(
            error.kind(),
            ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Refused | ErrorKind::InvalidInput
        );
        let as_file = is_no_database && !database.configured;
        let how = if as_file { "copied as a file" } else { "not copied" };
        let mut message = format!("database {:?} was {how}: {error}", database.name);
        if let Some(hint) = error.hint() {
            message.push_str(&format!(" ({hint})"));
        }
        let found: &Found = &database.found;
        if as_file {
            let mut meter = Meter::start(self.scope, format!("storing file {}", found.path), Some(found.size), Some(1));
            self.storer.store(self.writer, found, &mut meter)?;
        }
        self.skip(database, reason, message);
        Ok(as_file)
    }

    fn skip(&mut self, database: &Database, reason: SkipReason, message: String) {
        self.storer.skipped.push(Skipped { path: database.found.path.clone(), reason, message });
    }
}

fn failed(problem: &str) -> IntegrityReport {
    IntegrityReport { ok: false, problems: vec![problem.to_owned()] }
}
