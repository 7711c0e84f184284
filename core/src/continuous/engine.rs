//! In the one process that leads: a worker for each store that is followed, and a backup where one is needed.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::folder::Folder;
use crate::backup::list::blocking;
use crate::cancel::{Cancel, Scope};
use crate::clock::Clock;
use crate::config::ContinuousSettings;
use crate::error::{Error, ErrorBody, ErrorKind, Result};
use crate::fs::ProcessLock;

/// How often a process that does not lead tries to.
const ELECTION: Duration = Duration::from_secs(2);
/// How often it is looked at what was asked for, and how the stores stand.
const STEP: Duration = Duration::from_secs(1);
/// How soon a worker that ended is started again, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How soon another backup is asked for, after one that went well, and after one that failed at first and at last.
const BACKUP: (Duration, Duration, Duration) =
    (Duration::from_secs(15), Duration::from_secs(30), Duration::from_secs(3600));

/// What runs.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// What the engine needs of whoever has the workers and the operations.
pub(crate) trait Host: Send + Sync + Debug + 'static {
    /// The clock that everything goes by.
    fn clock(&self) -> Arc<dyn Clock>;

    /// Follows a store in a worker of its own, until `scope` is cancelled.
    fn follow(&self, store: &str, scope: Scope) -> Running;

    /// Makes a backup into the repositories.
    fn backup(&self, scope: Scope) -> Running;
}

/// How the engine of this process stands.
#[derive(Debug, Default)]
pub struct EngineStanding(Mutex<(bool, Option<ErrorBody>)>);

impl EngineStanding {
    /// Whether this process leads, and the trouble that it has.
    pub fn get(&self) -> (bool, Option<ErrorBody>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn leads(&self, leads: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = leads;
    }

    fn trouble(&self, error: Option<&Error>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = error.map(Error::to_body);
    }
}

/// Follows stores by itself.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) folder: Folder,
    pub(crate) settings: ContinuousSettings,
    /// The stores of the settings.
    pub(crate) known: Vec<String>,
    pub(crate) standing: Arc<EngineStanding>,
    /// Raised to end it.
    pub(crate) stop: Cancel,
}

/// A store that is followed, or is to be again.
#[derive(Debug, Default)]
struct Followed {
    /// Ends its worker.
    cancel: Option<Cancel>,
    /// When a worker may be started, on the monotonic clock.
    not_before: Duration,
    wait: Duration,
    began: Duration,
}

/// What the leader has under way.
struct Term {
    stores: BTreeMap<String, Followed>,
    running: JoinSet<Result<()>>,
    names: HashMap<tokio::task::Id, String>,
    backup: Option<tokio::task::JoinHandle<Result<()>>>,
    backup_cancel: Cancel,
    backup_not_before: Duration,
    backup_wait: Duration,
}

impl Engine {
    /// Leads as often as it can, and follows while it does. Returns when [`stop`](Self::stop) is raised and what runs has
    /// ended cleanly.
    pub(crate) async fn run(self) {
        let clock = self.host.clock();
        while !self.stop.is_cancelled() {
            let (folder, settings, known) = (self.folder.clone(), self.settings.clone(), self.known.clone());
            // A service that follows nothing has no folder for it.
            let lead = blocking(move || match folder.wanted(&settings, &known)?.is_empty() {
                true => Ok(None),
                false => folder.lead(),
            });
            match lead.await {
                Ok(Some(lead)) => {
                    self.standing.leads(true);
                    self.standing.trouble(None);
                    self.lead(&lead).await;
                    self.standing.leads(false);
                }
                Ok(None) => self.standing.trouble(None),
                Err(error) => self.standing.trouble(Some(&error.while_doing("no store is followed"))),
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = clock.sleep(ELECTION) => {}
            }
        }
    }

    async fn lead(&self, lead: &ProcessLock) {
        let clock = self.host.clock();
        let mut term = Term {
            stores: BTreeMap::new(),
            running: JoinSet::new(),
            names: HashMap::new(),
            backup: None,
            backup_cancel: Cancel::new(),
            backup_not_before: Duration::ZERO,
            backup_wait: BACKUP.1,
        };
        while lead.is_held() && !self.stop.is_cancelled() {
            if let Err(error) = self.step(&mut term).await {
                self.standing.trouble(Some(&error));
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                Some(ended) = term.running.join_next_with_id() => self.ended(&mut term, ended),
                () = clock.sleep(STEP) => {}
            }
        }
        // The last commits are on their way: as long as that takes, nobody else begins.
        term.backup_cancel.cancel();
        term.stores.values().filter_map(|store| store.cancel.as_ref()).for_each(Cancel::cancel);
        while let Some(ended) = term.running.join_next_with_id().await {
            self.ended(&mut term, ended);
        }
        if let Some(backup) = term.backup.take() {
            let _ = backup.await;
        }
    }

    /// Starts and stops what is to be, and asks for a backup where one is needed.
    async fn step(&self, term: &mut Term) -> Result<()> {
        let (folder, settings, known) = (self.folder.clone(), self.settings.clone(), self.known.clone());
        let (wanted, base_wanted) = blocking(move || {
            let wanted = folder.wanted(&settings, &known)?;
            let mut base_wanted = false;
            for store in &wanted {
                let standing = folder.store(store).standing()?;
                base_wanted |= standing.is_some_and(|it| it.following && it.base_wanted_since.is_some());
            }
            Ok((wanted, base_wanted))
        })
        .await?;
        let now = self.host.clock().monotonic();
        for (name, store) in &term.stores {
            if let Some(cancel) = store.cancel.as_ref().filter(|_| !wanted.contains(name)) {
                cancel.cancel();
            }
        }
        for name in wanted {
            let store = term.stores.entry(name.clone()).or_default();
            if store.cancel.is_some() || now < store.not_before {
                continue;
            }
            let cancel = Cancel::new();
            let scope = Scope { clock: self.host.clock(), cancel: cancel.clone(), ..Scope::default() };
            (store.cancel, store.began) = (Some(cancel), now);
            let task = term.running.spawn(self.host.follow(&name, scope));
            term.names.insert(task.id(), name);
        }
        self.back_up(term, base_wanted, now).await;
        Ok(())
    }

    async fn back_up(&self, term: &mut Term, wanted: bool, now: Duration) {
        if term.backup.as_ref().is_some_and(tokio::task::JoinHandle::is_finished)
            && let Some(backup) = term.backup.take()
        {
            let ended = backup.await.unwrap_or_else(|_| Err(Error::internal("a backup ended without an answer")));
            match ended {
                Ok(()) => (term.backup_not_before, term.backup_wait) = (now + BACKUP.0, BACKUP.1),
                Err(error) => {
                    term.backup_not_before = now + term.backup_wait;
                    term.backup_wait = (term.backup_wait * 2).min(BACKUP.2);
                    self.standing.trouble(Some(&error.while_doing("making the backup that a followed store needs")));
                }
            }
        }
        if wanted && term.backup.is_none() && now >= term.backup_not_before {
            let scope = Scope { clock: self.host.clock(), cancel: term.backup_cancel.clone(), ..Scope::default() };
            term.backup = Some(tokio::spawn(self.host.backup(scope)));
        }
    }

    /// A worker ended: it is started again, unless it was told to end.
    fn ended(
        &self,
        term: &mut Term,
        ended: std::result::Result<(tokio::task::Id, Result<()>), tokio::task::JoinError>,
    ) {
        let (id, result) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                (error.id(), Err(Error::internal(format!("following a store ended without an answer: {error}"))))
            }
        };
        let Some(store) = term.names.remove(&id).and_then(|name| term.stores.get_mut(&name)) else { return };
        store.cancel = None;
        let now = self.host.clock().monotonic();
        match result {
            Ok(()) => {
                (store.wait, store.not_before) = (AGAIN.0, now);
                self.standing.trouble(None);
            }
            Err(error) => {
                // One that ran for a while was well.
                if now.saturating_sub(store.began) > AGAIN.1 || store.wait < AGAIN.0 {
                    store.wait = AGAIN.0;
                }
                store.not_before = now + store.wait;
                store.wait = (store.wait * 2).min(AGAIN.1);
                if error.kind() != ErrorKind::Cancelled {
                    self.standing.trouble(Some(&error));
                }
            }
        }
    }
}
