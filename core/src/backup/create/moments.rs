//! Which moments a backup is of, and the pause that makes them one.
//!
//! The pause begins before the walk and ends when the last database is copied. Files are stored later, while the service
//! writes again: each is held against what the walk met, so a snapshot says whether it is all of that one moment.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::manifest::{ConsistencyGroup, SkipReason};
use super::super::pause::{Hold, PauseReport, Pauser};
use super::files::FileStorer;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// What is known of the moments while the backup is made.
pub(super) struct Moments {
    from: Timestamp,
    pause: Pause,
}

enum Pause {
    NotAsked,
    /// Why there is none.
    Refused(Error),
    /// How it goes, once it has ended.
    Begun(oneshot::Receiver<Result<PauseReport>>),
}

/// The pause, for whoever ends it. Dropped, it ends in the background.
pub(super) struct Holding {
    hold: Box<dyn Hold>,
    report: oneshot::Sender<Result<PauseReport>>,
}

impl Holding {
    pub(super) async fn end(self) {
        // Without a reader the backup has failed, and nobody asks how the pause went.
        let _ = self.report.send(self.hold.end().await);
    }
}

impl Moments {
    /// Pauses the service, when there is somebody to do it. One that cannot is no reason to have no backup.
    ///
    /// # Errors
    /// Only a cancel.
    pub(super) async fn begin(scope: &Scope, pauser: Option<&Arc<dyn Pauser>>) -> Result<(Self, Option<Holding>)> {
        let mut holding = None;
        let pause = match pauser {
            None => Pause::NotAsked,
            Some(pauser) => {
                scope.progress.stage("pausing the service");
                match pauser.begin(scope).await {
                    Ok(hold) => {
                        let (report, reported) = oneshot::channel();
                        holding = Some(Holding { hold, report });
                        Pause::Begun(reported)
                    }
                    Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                    Err(error) => Pause::Refused(error),
                }
            }
        };
        Ok((Self { from: scope.clock.now(), pause }, holding))
    }

    /// Says which moments the snapshot is of, once all is stored. It may wait.
    pub(super) fn end(self, scope: &Scope, storer: &FileStorer) -> ConsistencyGroup {
        let mut group = ConsistencyGroup {
            files_from: self.from,
            files_until: scope.clock.now(),
            asked: !matches!(self.pause, Pause::NotAsked),
            pause: None,
            consistent: false,
            message: None,
        };
        let said = match self.pause {
            Pause::NotAsked => return group,
            Pause::Refused(error) => Err(error),
            Pause::Begun(report) => report
                .blocking_recv()
                .unwrap_or_else(|_| Err(Error::internal("nobody says how the pause of the service went"))),
        };
        let gone = storer.skipped.iter().find(|skipped| {
            matches!(skipped.reason, SkipReason::Vanished | SkipReason::Changed | SkipReason::Database)
        });
        group.message = match &said {
            Err(error) => Some(format!("the service was not paused: {error}")),
            Ok(PauseReport { error: Some(error), .. }) => Some(format!("the service may still be paused: {error}")),
            Ok(report) if !report.held => {
                Some("the pause ended at its deadline, before all databases were copied".to_owned())
            }
            Ok(_) => match (&storer.moved, gone) {
                (Some((first, count)), _) => {
                    Some(format!("{count} files were written after the pause, among them {first}"))
                }
                (None, Some(gone)) => Some(format!("{} is not as it was in the pause: {}", gone.path, gone.message)),
                (None, None) => None,
            },
        };
        group.consistent = group.message.is_none();
        group.pause = said.ok();
        group
    }
}
