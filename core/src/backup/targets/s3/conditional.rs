//! Creating an object only where there is none.

use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path as Location;

use super::S3Target;
use super::fault::Fault;
use crate::backup::blocks::holds;
use crate::backup::target::BackupTarget;
use crate::cancel::Scope;
use crate::error::{ErrorKind, Result};

/// What the bucket is asked with. No caller's key begins with a dot, so nobody sees it.
const PROBE: &str = ".create-if-absent";
const PROBE_TEXT: &[u8] = b"uplifted-ops puts this twice, to learn whether the bucket refuses to replace an object\n";

/// How long one who wrote waits for others who looked at the same moment and saw nothing either.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

impl S3Target {
    /// Whether the bucket refuses to replace an object when it is told to. Asked once.
    pub(super) async fn is_conditional(&self, scope: &Scope) -> Result<bool> {
        self.0.conditional.get_or_try_init(|| self.ask(scope)).await.copied()
    }

    async fn ask(&self, scope: &Scope) -> Result<bool> {
        let place = self.locate(PROBE)?;
        let bytes = Bytes::from_static(PROBE_TEXT);
        // `None`: the server does not know what it was asked.
        let put = async || {
            let once = |_| async {
                match self.put_once(scope, &place, &bytes, true).await {
                    Ok(()) => Ok(Some(true)),
                    Err(fault) if fault.is_there_already() => Ok(Some(false)),
                    Err(fault) if is_unknown(&fault) => Ok(None),
                    Err(fault) => Err(fault),
                }
            };
            self.request(scope, "ask whether it refuses to replace objects", once).await
        };
        match put().await? {
            None => Ok(false),
            Some(true) => Ok(put().await? == Some(false)),
            // One that refuses whether there is an object or not would refuse every lease.
            Some(false) => Ok(self.head(scope, PROBE, &place).await?.is_some()),
        }
    }

    /// Puts `bytes` where there is nothing, and says whether it did. Where the server does not arrange that, waits as
    /// long as `settle` for others who write at the same moment.
    pub(super) async fn put_new(
        &self,
        scope: &Scope,
        key: &str,
        place: &Location,
        bytes: &Bytes,
        settle: Duration,
    ) -> Result<bool> {
        if !self.is_conditional(scope).await? {
            return self.put_and_look(scope, key, place, bytes, settle).await;
        }
        let doing = format!("create {key:?}");
        let once = |number| async move {
            match self.put_once(scope, place, bytes, true).await {
                Ok(()) => Ok((true, number)),
                Err(fault) if fault.is_there_already() => Ok((false, number)),
                Err(fault) => Err(fault),
            }
        };
        match self.request(scope, &doing, once).await? {
            (true, _) => Ok(true),
            (false, 0) => Ok(false),
            // An earlier try failed on the way there, or on the way back.
            (false, _) => holds(scope, self, key, bytes).await,
        }
    }

    /// The same where the server lets everybody replace objects: the one whose object stays is the one who created it.
    /// Between machines this is as good as the wait is long, which is why the capability does not promise it.
    async fn put_and_look(
        &self,
        scope: &Scope,
        key: &str,
        place: &Location,
        bytes: &Bytes,
        settle: Duration,
    ) -> Result<bool> {
        let _turn = self.0.turn.lock().await;
        if self.stat(scope, key).await?.is_some() {
            return Ok(false);
        }
        self.replace(scope, key, place, bytes).await?;
        tokio::select! {
            () = tokio::time::sleep(settle) => {}
            () = scope.cancel.cancelled() => scope.cancel.check()?,
        }
        match holds(scope, self, key, bytes).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            done => done,
        }
    }
}

/// Whether the server says that it has no such thing as `If-None-Match`.
fn is_unknown(fault: &Fault) -> bool {
    fault.status() == Some(501)
        || (fault.status() == Some(400)
            && matches!(fault.code(), "NotImplemented" | "InvalidArgument" | "InvalidRequest"))
}
