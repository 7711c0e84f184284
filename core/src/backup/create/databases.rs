//! Consistent copies of the databases, made and checked beside the storing of the files.
//!
//! Copies are made one after the other, close together in time, and each is checked while the next is made
//! and while it is being stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::super::discover::Database;
use super::super::scratch::Scratch;
use super::moments::Holding;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{CheckDepth, Inspection, IntegrityReport, Store, StoreSnapshot, TableCount};

/// A database as far as its copy goes.
pub(super) struct Copy {
    pub(super) database: Database,
    pub(super) copied: Result<Copied>,
}

/// A copy that is ready to be stored.
pub(super) struct Copied {
    pub(super) folder: PathBuf,
    pub(super) snapshot: StoreSnapshot,
    /// What its check finds, later.
    pub(super) check: oneshot::Receiver<Result<Checked>>,
}

/// What is known of a copy once it was checked.
pub(super) struct Checked {
    pub(super) report: IntegrityReport,
    /// The rows of its tables, where its store counts them.
    pub(super) rows: Vec<TableCount>,
}

struct Check {
    store: Arc<dyn Store>,
    folder: PathBuf,
    answer: oneshot::Sender<Result<Checked>>,
}

/// Copies the databases and sends each as soon as it is copied. Ends early on a cancel, or when nobody
/// listens any more.
pub(super) async fn copy_all(
    scope: Scope,
    databases: Vec<Database>,
    scratch: Arc<Scratch>,
    depth: CheckDepth,
    copies: mpsc::UnboundedSender<Copy>,
    hold: Option<Holding>,
) {
    let (checks, mut queue) = mpsc::unbounded_channel::<Check>();
    let checking = tokio::spawn({
        let (scope, scratch) = (scope.clone(), Arc::clone(&scratch));
        async move {
            while let Some(Check { store, folder, answer }) = queue.recv().await {
                let _ = answer.send(check(&scope, &*store, &folder, depth).await);
            }
            // The folder must outlive the last check.
            drop(scratch);
        }
    });
    for (number, database) in databases.into_iter().enumerate() {
        let copied = match scope.cancel.check() {
            Ok(()) => copy(&scope, &database, number, &scratch, &checks).await,
            Err(error) => Err(error),
        };
        if copies.send(Copy { database, copied }).is_err() {
            break;
        }
    }
    // The service writes again while the copies are checked and stored.
    if let Some(hold) = hold {
        hold.end().await;
    }
    drop(checks);
    let _ = checking.await;
}

/// Checks a copy, and counts what a drill will hold the restored one against. Counting reads a part of what the check
/// has just read, so it costs a fraction of it; that it cannot be done is no fault of the copy.
async fn check(scope: &Scope, store: &dyn Store, folder: &Path, depth: CheckDepth) -> Result<Checked> {
    let report = store.check_copy(scope, folder, depth).await?;
    let inspection = Inspection { rows: true, queries: Vec::new() };
    let rows = match store.inspect_copy(scope, folder, &inspection).await {
        Ok(facts) => facts.rows,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(_) => Vec::new(),
    };
    Ok(Checked { report, rows })
}

async fn copy(
    scope: &Scope,
    database: &Database,
    number: usize,
    scratch: &Scratch,
    checks: &mpsc::UnboundedSender<Check>,
) -> Result<Copied> {
    scope.progress.stage(format!("copying database {}", database.name));
    let folder = scratch.folder(&format!("database-{number}"))?;
    let made = database.store.snapshot_to(scope, &folder).await.and_then(|snapshot| match &snapshot.files[..] {
        [file] if database.is_file() && file.components().count() == 1 => Ok(snapshot),
        [file, more @ ..] if !database.is_file() => {
            let names = database.store.capability().copy_files;
            let promised = file == database.found.path.as_path() && more.iter().all(|file| names.contains(file));
            promised.then_some(snapshot).ok_or_else(|| {
                Error::internal(format!("the copy of {:?} has files that its store does not name", database.name))
            })
        }
        files => Err(Error::new(
            ErrorKind::Unsupported,
            format!("the copy of {:?} has {} files, this layout holds one", database.name, files.len()),
        )),
    });
    match made {
        Ok(snapshot) => {
            let (answer, check) = oneshot::channel();
            let store = Arc::clone(&database.store);
            // Without a checker the answer is dropped, which the reader of `check` sees.
            let _ = checks.send(Check { store, folder: folder.clone(), answer });
            Ok(Copied { folder, snapshot, check })
        }
        Err(error) => {
            crate::fs::remove_dir_all(&folder)?;
            Err(error)
        }
    }
}
