//! `postgres`: does PostgreSQL answer, have connections left, keep up with its primary, and let go of its log.
//!
//! ```toml
//! [[check]]
//! name = "database"
//! kind = "postgres"
//! url = "env:DATABASE_URL"           # as of a [[store]] of kind "postgres": what it leaves out is looked up as psql does
//! password = "env:DB_PASSWORD"       # wins over that of the url
//! timeout_seconds = 3                # the default, for each question
//! warn_connections_ratio = 0.8       # of those that ordinary users get; the defaults
//! fail_connections_ratio = 0.95
//! warn_lag_seconds = 30              # of a standby that is asked, and of each replica of a primary; the default
//! fail_lag_seconds = 300             # off unless set
//! warn_lag_bytes = "1GiB"            # the default
//! fail_lag_bytes = "10GiB"           # off unless set
//! replicas = 1                       # warn when fewer follow; off unless set
//! warn_slot_bytes = "1GiB"           # of log that is kept for one replication slot; the default
//! fail_slot_bytes = "20GiB"          # off unless set
//! idle_slots = ["nightly"]           # slots of which it is fine that nobody reads from them now
//! max_transaction_seconds = 3600     # warn when a transaction is open for longer; off unless set
//! warn_xid_age = 1000000000          # transactions since the oldest row that is not frozen; the defaults. At 2144000000 the
//! fail_xid_age = 1800000000          # server refuses to write
//! ```
//!
//! One connection each time, and a few questions that read no user data. It fails when nobody is let in, when a slot has lost its
//! log, and past the bounds. A user in `pg_monitor` sees all of it; what another one may not see is no reason to warn, but with a
//! bound that is set it is named. The number is the share of connections in use.
//!
//! Source: chapters 26.2.6 "Replication Slots", 24.1.5 "Preventing Transaction ID Wraparound Failures" and 27.2 of the manual.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finding, bounds_in_order, level, ratio, seconds, worst};
use crate::cancel::Scope;
use crate::component::{BuildContext, Kind, Placement};
use crate::error::Result;
use crate::health::{CheckOutcome, CheckStatus, HealthCheck};
use crate::store::postgres::numbers::{Numbers, Slot};
use crate::store::postgres::{PostgresSettings, Server};
use crate::value::ByteSize;

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "postgres",
    summary: "PostgreSQL answers, has connections left, keeps up, and lets go of its log",
    placement: Placement::Anywhere,
    build: |context, settings| Ok(Arc::new(PostgresCheck::new(context, context.settings(settings)?)?)),
    detect: None,
};

/// Settings of [`PostgresCheck`].
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresCheckSettings {
    /// Where the database is, as of a `[[store]]` of kind `postgres`. May be `"env:NAME"`.
    #[serde(default)]
    pub url: String,
    /// The password. Write `"env:NAME"`.
    #[serde(default)]
    pub password: Option<String>,
    /// How long the server may take for one question, in seconds.
    #[serde(default = "three")]
    pub timeout_seconds: f64,
    /// Warn past this share of the connections that ordinary users get.
    #[serde(default = "warn_connections")]
    pub warn_connections_ratio: f64,
    /// Fail past this share.
    #[serde(default = "fail_connections")]
    pub fail_connections_ratio: f64,
    /// Warn when a standby is behind by more, in seconds.
    #[serde(default = "half_a_minute")]
    pub warn_lag_seconds: f64,
    /// Fail when it is behind by more.
    #[serde(default)]
    pub fail_lag_seconds: Option<f64>,
    /// Warn when a standby is behind by more of the log.
    #[serde(default = "a_gibibyte")]
    pub warn_lag_bytes: ByteSize,
    /// Fail when it is behind by more.
    #[serde(default)]
    pub fail_lag_bytes: Option<ByteSize>,
    /// Warn when fewer servers follow.
    #[serde(default)]
    pub replicas: Option<u64>,
    /// Warn when the server keeps more of the log for one slot.
    #[serde(default = "a_gibibyte")]
    pub warn_slot_bytes: ByteSize,
    /// Fail when it keeps more.
    #[serde(default)]
    pub fail_slot_bytes: Option<ByteSize>,
    /// Slots of which it is fine that nobody reads from them now.
    #[serde(default)]
    pub idle_slots: Vec<String>,
    /// Warn when a transaction is open for longer, in seconds.
    #[serde(default)]
    pub max_transaction_seconds: Option<f64>,
    /// Warn when the oldest row that is not frozen is older, in transactions.
    #[serde(default = "warn_xid")]
    pub warn_xid_age: u64,
    /// Fail when it is older.
    #[serde(default = "fail_xid")]
    pub fail_xid_age: u64,
}

fn three() -> f64 {
    3.0
}

fn warn_connections() -> f64 {
    0.8
}

fn fail_connections() -> f64 {
    0.95
}

fn half_a_minute() -> f64 {
    30.0
}

fn a_gibibyte() -> ByteSize {
    ByteSize(1 << 30)
}

fn warn_xid() -> u64 {
    1_000_000_000
}

fn fail_xid() -> u64 {
    1_800_000_000
}

impl PostgresCheckSettings {
    /// Settings for a server, all else by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password: None,
            timeout_seconds: three(),
            warn_connections_ratio: warn_connections(),
            fail_connections_ratio: fail_connections(),
            warn_lag_seconds: half_a_minute(),
            fail_lag_seconds: None,
            warn_lag_bytes: a_gibibyte(),
            fail_lag_bytes: None,
            replicas: None,
            warn_slot_bytes: a_gibibyte(),
            fail_slot_bytes: None,
            idle_slots: Vec::new(),
            max_transaction_seconds: None,
            warn_xid_age: warn_xid(),
            fail_xid_age: fail_xid(),
        }
    }
}

impl std::fmt::Debug for PostgresCheckSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresCheckSettings").field("timeout_seconds", &self.timeout_seconds).finish_non_exhaustive()
    }
}

/// Asks PostgreSQL how it is.
#[derive(Debug)]
pub struct PostgresCheck {
    server: Server,
    settings: PostgresCheckSettings,
}

impl PostgresCheck {
    /// A check as the settings describe it. Connects to nothing yet.
    ///
    /// # Errors
    /// When the url is none, or a number is out of range.
    pub fn new(context: &BuildContext, settings: PostgresCheckSettings) -> Result<Self> {
        seconds("timeout_seconds", settings.timeout_seconds)?;
        for (name, share) in [
            ("warn_connections_ratio", settings.warn_connections_ratio),
            ("fail_connections_ratio", settings.fail_connections_ratio),
        ] {
            ratio(name, share)?;
        }
        let some = |value: f64| Some(value);
        let bytes = |size: Option<ByteSize>| size.map(|size| size.0 as f64);
        for (warn, low, fail, high) in [
            (
                "warn_connections_ratio",
                some(settings.warn_connections_ratio),
                "fail_connections_ratio",
                some(settings.fail_connections_ratio),
            ),
            ("warn_lag_seconds", some(settings.warn_lag_seconds), "fail_lag_seconds", settings.fail_lag_seconds),
            ("warn_lag_bytes", bytes(Some(settings.warn_lag_bytes)), "fail_lag_bytes", bytes(settings.fail_lag_bytes)),
            (
                "warn_slot_bytes",
                bytes(Some(settings.warn_slot_bytes)),
                "fail_slot_bytes",
                bytes(settings.fail_slot_bytes),
            ),
            ("warn_xid_age", some(settings.warn_xid_age as f64), "fail_xid_age", some(settings.fail_xid_age as f64)),
        ] {
            bounds_in_order([(warn, low), (fail, high)])?;
        }
        let server = PostgresSettings {
            password: settings.password.clone(),
            statement_timeout_seconds: settings.timeout_seconds,
            ..PostgresSettings::new(&settings.url)
        };
        Ok(Self { server: Server::new(server, &context.root)?, settings })
    }

    fn judge(&self, numbers: &Numbers) -> Vec<Finding> {
        let mut findings = vec![self.connections(numbers)];
        findings.extend(self.lags(numbers));
        findings.extend(numbers.slots.iter().filter_map(|slot| self.slot(slot)));
        findings.extend(self.transactions(numbers));
        findings
    }

    fn connections(&self, numbers: &Numbers) -> Finding {
        let connections = &numbers.connections;
        let ordinary = connections.max.saturating_sub(connections.reserved).max(1);
        let share = connections.used as f64 / ordinary as f64;
        let mut message = format!("{} of {ordinary} connections are in use", connections.used);
        let status = level(share, self.settings.warn_connections_ratio, self.settings.fail_connections_ratio);
        if let (Some(idle), true) =
            (connections.idle_in_transaction.filter(|idle| *idle > 0), status != CheckStatus::Pass)
        {
            message.push_str(&format!(", {idle} of them idle in a transaction"));
        }
        Finding { status, message, observed: share, unit: "ratio" }
    }

    /// How far this server, or those that follow it, are behind.
    fn lags(&self, numbers: &Numbers) -> Vec<Finding> {
        let settings = &self.settings;
        let mut findings = Vec::new();
        let mut judge = |who: &str, bytes: Option<u64>, seconds: Option<f64>| {
            let fail = settings.fail_lag_seconds.unwrap_or(f64::INFINITY);
            if let Some(seconds) = seconds {
                let status = level(seconds, settings.warn_lag_seconds, fail);
                findings.push(Finding {
                    status,
                    message: format!("{who} is {seconds:.1} s behind"),
                    observed: seconds,
                    unit: "seconds",
                });
            }
            if let Some(bytes) = bytes {
                let fail = settings.fail_lag_bytes.map_or(f64::INFINITY, |most| most.0 as f64);
                let status = level(bytes as f64, settings.warn_lag_bytes.0 as f64, fail);
                let message = format!("{who} is {} behind", ByteSize(bytes));
                findings.push(Finding { status, message, observed: bytes as f64, unit: "bytes" });
            }
        };
        if let Some(lag) = &numbers.lag {
            judge("it", lag.bytes, lag.seconds);
        }
        for replica in &numbers.replicas {
            judge(&format!("replica {:?}", replica.name), replica.lag_bytes, replica.lag_seconds);
        }
        let warn =
            |message: String, observed: f64, unit| Finding { status: CheckStatus::Warn, message, observed, unit };
        if numbers.lag.as_ref().is_some_and(|lag| lag.streaming == Some(false)) {
            findings.push(warn(
                "it receives nothing from its primary: look at primary_conninfo and both logs".to_owned(),
                0.0,
                "replicas",
            ));
        }
        if let Some(wanted) = settings.replicas {
            let following = numbers.replicas.len() as u64;
            let blind = numbers.missing.iter().find(|missing| missing.what.starts_with("replicas"));
            match blind {
                Some(missing) => {
                    findings.push(warn(format!("its replicas cannot be seen: {}", missing.grant), 0.0, "replicas"));
                }
                None if following < wanted => {
                    findings.push(warn(
                        format!("{following} of {wanted} replicas follow"),
                        following as f64,
                        "replicas",
                    ));
                }
                None => {}
            }
        }
        findings
    }

    fn slot(&self, slot: &Slot) -> Option<Finding> {
        let settings = &self.settings;
        let kept = slot.retained_bytes.unwrap_or(0);
        let finding = |status, message| Finding { status, message, observed: kept as f64, unit: "bytes" };
        let name = &slot.name;
        if slot.wal_status.as_deref() == Some("lost") {
            let message = format!("slot {name:?} has lost its log: its reader has to begin anew, then drop the slot");
            return Some(finding(CheckStatus::Fail, message));
        }
        let fail = settings.fail_slot_bytes.map_or(f64::INFINITY, |most| most.0 as f64);
        let status = level(kept as f64, settings.warn_slot_bytes.0 as f64, fail);
        if status != CheckStatus::Pass {
            let message =
                format!("{} of log are kept for slot {name:?}: end its reader's trouble, or drop it", ByteSize(kept));
            return Some(finding(status, message));
        }
        (!slot.active && !settings.idle_slots.contains(name)).then(|| {
            let message = format!(
                "nobody reads from slot {name:?}, for which {} of log are kept: drop it, or name it in idle_slots",
                ByteSize(kept)
            );
            finding(CheckStatus::Warn, message)
        })
    }

    fn transactions(&self, numbers: &Numbers) -> Vec<Finding> {
        let (settings, transactions) = (&self.settings, &numbers.transactions);
        let age = transactions.xid_age as f64;
        let status = level(age, settings.warn_xid_age as f64, settings.fail_xid_age as f64);
        let mut findings = Vec::new();
        if status != CheckStatus::Pass {
            let message = format!(
                "{} transactions are left until it refuses to write: end what holds vacuum back (old transactions, prepared ones, \
                 slots), then VACUUM",
                transactions.xid_left
            );
            findings.push(Finding { status, message, observed: age, unit: "transactions" });
        }
        if let Some(most) = settings.max_transaction_seconds {
            let warn =
                |message: String, observed| Finding { status: CheckStatus::Warn, message, observed, unit: "seconds" };
            let blind = numbers.missing.iter().find(|missing| missing.what.contains("oldest transaction"));
            match (transactions.oldest_seconds, blind) {
                (Some(oldest), _) if oldest > most => {
                    findings.push(warn(
                        format!("a transaction is open for {oldest:.0} s: look at pg_stat_activity"),
                        oldest,
                    ));
                }
                (None, Some(missing)) => {
                    findings.push(warn(format!("the oldest transaction cannot be seen: {}", missing.grant), 0.0));
                }
                _ => {}
            }
            if let Some(oldest) = transactions.oldest_prepared_seconds.filter(|oldest| *oldest > most) {
                let message = format!("a prepared transaction waits for {oldest:.0} s: look at pg_prepared_xacts");
                findings.push(warn(message, oldest));
            }
        }
        findings
    }
}

#[async_trait]
impl HealthCheck for PostgresCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let numbers = match self.server.numbers(scope).await {
            Ok(numbers) => numbers,
            Err(error) => {
                scope.cancel.check()?;
                let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                return Ok(CheckOutcome::new(CheckStatus::Fail, format!("{}{hint}", error.message())));
            }
        };
        let findings = self.judge(&numbers);
        let well = findings.iter().all(|finding| finding.status == CheckStatus::Pass);
        let outcome = worst(findings).unwrap_or_else(|| CheckOutcome::new(CheckStatus::Pass, "it answers"));
        if !well {
            return Ok(outcome);
        }
        let connections = self.connections(&numbers);
        let role = if numbers.standby { "standby" } else { "primary" };
        let message = format!("PostgreSQL {} answers, a {role}; {}", numbers.server_version, connections.message);
        Ok(CheckOutcome::new(CheckStatus::Pass, message).observing(connections.observed, connections.unit))
    }
}

#[cfg(test)]
mod tests;
