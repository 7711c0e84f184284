//! Putting a restored copy to the test: its databases, queries about them, and the service's own programs.
//!
//! A program of the service inherits the environment of the service, which says where the live databases are. So every
//! variable of ours that names a path below the root is told to name the same path below the restored folder. What a
//! program finds by other means, a database server above all, is the live one: a program for drills takes the folder
//! that it is given.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checkers::Checkers;
use super::manifest::StoreRecord;
use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::config::DrillSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::process::{Program, ProgramOutput};
use crate::store::{CheckDepth, CopyFacts, Inspection};

/// What puts restored copies to the test.
#[derive(Debug, Clone)]
pub struct Tester {
    /// What knows the databases.
    pub checkers: Checkers,
    /// The programs, the queries, and how long each may take.
    pub settings: DrillSettings,
    /// The service's root folder, absolute.
    pub root: PathBuf,
    /// The variables of the service, of which those that name the root are changed for its programs.
    pub environment: Vec<(String, String)>,
}

impl Tester {
    /// What is wrong with a restored database, every index held against its table. Nothing when it is sound.
    ///
    /// # Errors
    /// When it could not be asked, for a reason that is not its own.
    pub async fn integrity(&self, scope: &Scope, folder: &Path, record: &StoreRecord) -> Result<Vec<String>> {
        let file = folder.join(record.path.as_path());
        let store = match self.checkers.store_for(record, &file) {
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(vec![error.message().to_owned()]),
            other => other?,
        };
        // A copy of a server's is another file, or a folder, once it went on to a moment: its driver knows.
        if store.capability().file.is_some() && !file.is_file() {
            return Ok(vec!["the database was not restored".to_owned()]);
        }
        let report = match store.check_copy(scope, parent(&file), CheckDepth::Full).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(vec![error.message().to_owned()]),
            other => other?,
        };
        Ok(match (report.ok, report.problems.is_empty()) {
            (true, _) => Vec::new(),
            (false, false) => report.problems,
            (false, true) => vec!["its store says that it is damaged".to_owned()],
        })
    }

    /// What a restored database answers. `None` from a store that cannot be asked.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a damaged one, [`ErrorKind::InvalidInput`] for a query that is none,
    /// [`ErrorKind::Timeout`] past the deadline of the settings.
    pub async fn facts(
        &self,
        scope: &Scope,
        folder: &Path,
        record: &StoreRecord,
        inspection: &Inspection,
    ) -> Result<Option<CopyFacts>> {
        let file = folder.join(record.path.as_path());
        let what = format!("asking database {:?}", record.name);
        let ask = async |scope: Scope| {
            let store = self.checkers.store_for(record, &file)?;
            store.inspect_copy(&scope, parent(&file), inspection).await
        };
        match within(scope, self.deadline(), &what, ask).await {
            Ok(facts) => Ok(Some(facts)),
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs a program of the service in the restored folder. What it has to complain about; nothing when it ended well.
    ///
    /// # Errors
    /// Only a cancel. A program that is missing or hangs has not proven anything.
    pub async fn program(&self, scope: &Scope, folder: &Path, argv: &[String]) -> Result<Option<String>> {
        let mut argv: Vec<std::ffi::OsString> = argv.iter().map(Into::into).collect();
        // A program of the service that is named relative to its root is the live one: the copy need not hold it.
        if let Some(program) = argv.first_mut().filter(|program| Path::new(program).components().count() > 1) {
            *program = self.root.join(&*program).into();
        }
        argv.push(folder.into());
        let mut program = Program::new(argv).cwd(folder).deadline(self.deadline()).env("UPLIFTED_OPS_DRILL", folder);
        for (name, value) in self.redirected(folder) {
            program = program.env(name, value);
        }
        match program.run(scope).await.and_then(ProgramOutput::success) {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            Err(error) => Ok(Some(error.message().to_owned())),
        }
    }

    /// The variables that name the live service, naming the copy instead.
    fn redirected(&self, folder: &Path) -> Vec<(String, String)> {
        let (Some(root), Some(folder)) = (self.root.to_str().filter(|root| root.len() > 1), folder.to_str()) else {
            return Vec::new();
        };
        let named = self.environment.iter().filter(|(_, value)| value.contains(root));
        named.map(|(name, value)| (name.clone(), value.replace(root, folder))).collect()
    }

    fn deadline(&self) -> Duration {
        Duration::try_from_secs_f64(self.settings.deadline_seconds).unwrap_or(Duration::from_secs(600))
    }
}

fn parent(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

/// Does `work` under a cancel of its own, which is raised with the caller's, and when `deadline` is over.
async fn within<T>(
    scope: &Scope,
    deadline: Duration,
    what: &str,
    work: impl AsyncFnOnce(Scope) -> Result<T>,
) -> Result<T> {
    scope.cancel.check()?;
    let cancel = Cancel::new();
    let _guard = CancelOnDrop::new(&cancel);
    let mut work = std::pin::pin!(work(Scope { cancel: cancel.clone(), ..scope.clone() }));
    let late = tokio::select! {
        done = &mut work => return done,
        () = scope.cancel.cancelled() => false,
        () = tokio::time::sleep(deadline) => true,
    };
    cancel.cancel();
    // It is waited for, so that nothing reads a folder that is removed.
    match work.await {
        Err(error) if error.kind() == ErrorKind::Cancelled && late => {
            let seconds = deadline.as_secs_f64();
            Err(Error::new(ErrorKind::Timeout, format!("{what} did not end within {seconds} s and was stopped"))
                .with_hint("ask for less, or raise backup.drill.deadline_seconds"))
        }
        other => other,
    }
}
