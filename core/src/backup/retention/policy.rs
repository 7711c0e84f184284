//! A policy that may be acted on.

use crate::clock::{TimeZone, time_zone};
use crate::config::{RetentionSettings, Settings};
use crate::error::{Error, ErrorKind, Result};

/// The rules of a service, and the time zone of its days. There is no empty one.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: RetentionSettings,
    zone: TimeZone,
}

impl Policy {
    /// A policy of these rules.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for rules that keep nothing, or could delete the last good snapshot.
    pub fn new(rules: RetentionSettings, zone: TimeZone) -> Result<Self> {
        match rules.mistake() {
            Some(mistake) => Err(Error::invalid(mistake.message)
                .with_context("setting", mistake.key)
                .with_hint(format!("{}: {}", mistake.key, mistake.hint))),
            None => Ok(Self { rules, zone }),
        }
    }

    /// The policy of a service.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the settings have none; as [`Policy::new`] for one that is wrong.
    pub fn of(settings: &Settings) -> Result<Self> {
        let rules = settings.backup.retention.clone().ok_or_else(|| {
            Error::new(ErrorKind::Refused, "the settings have no backup.retention, so every snapshot is kept")
                .with_hint(
                    "write retention = { keep_last = 3, daily = 7, weekly = 4, monthly = 12, min_verified = 2 } below \
                 [backup] in ops.toml",
                )
        })?;
        Self::new(rules, time_zone(settings.service.timezone.as_deref())?)
    }

    /// The rules.
    pub fn rules(&self) -> &RetentionSettings {
        &self.rules
    }

    /// The time zone that its days are in.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The name of the time zone.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("the machine's")
    }
}
