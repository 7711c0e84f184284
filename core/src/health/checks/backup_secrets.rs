//! `backup_secrets`: are the backups encrypted.
//!
//! Made by itself; `health.without = ["backup_secrets"]` in `ops.toml` leaves it out.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::cancel::Scope;
use crate::error::{Error, Result};
use crate::health::{CheckOutcome, CheckStatus, HealthCheck};

/// Warns as long as this host has no key that backups are encrypted to.
#[derive(Debug)]
pub struct BackupSecretsCheck {
    keys: PathBuf,
    allowed: bool,
}

impl BackupSecretsCheck {
    /// A check that looks for a key's file in the folder `keys`, which is that of the state folder. `allowed` is
    /// `backup.clear_secrets`.
    pub fn new(keys: PathBuf, allowed: bool) -> Self {
        Self { keys, allowed }
    }
}

#[async_trait]
impl HealthCheck for BackupSecretsCheck {
    async fn check(&self, _scope: &Scope) -> Result<CheckOutcome> {
        // One small folder, of which nothing is opened.
        let found = match std::fs::read_dir(&self.keys) {
            Ok(entries) => entries.flatten().any(|entry| entry.path().extension().is_some_and(|it| it == "json")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::io(format!("read {:?}", self.keys), error)),
        };
        Ok(match (found, self.allowed) {
            (true, _) => CheckOutcome::new(CheckStatus::Pass, "backups are encrypted"),
            (false, true) => CheckOutcome::new(
                CheckStatus::Warn,
                "backups hold secrets in clear: set backup.encryption and run `uplifted-ops backup keys init`",
            ),
            (false, false) => CheckOutcome::new(
                CheckStatus::Warn,
                "backups are not encrypted, and one that meets a secret is refused: set backup.encryption and run \
                 `uplifted-ops backup keys init`",
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_warns_until_there_is_a_key() {
        let state = tempfile::tempdir().unwrap();
        let keys = state.path().join("keys");
        let outcome = async |allowed| BackupSecretsCheck::new(keys.clone(), allowed).check(&Scope::default()).await;
        let clear = outcome(true).await.unwrap();
        assert_eq!(clear.status, CheckStatus::Warn);
        assert!(clear.message.contains("in clear"), "{clear:?}");
        assert!(outcome(false).await.unwrap().message.contains("is refused"));
        std::fs::create_dir(&keys).unwrap();
        assert_eq!(outcome(true).await.unwrap().status, CheckStatus::Warn);
        std::fs::write(keys.join("0123.json"), "{}").unwrap();
        assert_eq!(outcome(true).await.unwrap().status, CheckStatus::Pass);
        std::fs::remove_dir_all(&keys).unwrap();
        std::fs::write(&keys, "no folder").unwrap();
        assert!(outcome(true).await.is_err());
    }
}
