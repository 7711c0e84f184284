//! The checks that come with the product, one file each.
//!
//! | kind | question |
//! | --- | --- |
//! | [`http`] | does an address answer as it should, and fast enough, with a certificate that lasts |
//! | [`tcp`] | does a port accept connections |
//! | [`disk`] | is there room, in bytes and in inodes, where the service writes, and for how long |
//! | [`process`] | does a process live, and within its limits |
//! | [`memory`] | is there memory left, for the control group and the machine |
//! | [`cpu`] | is there CPU left, for the control group and the machine, over a window |
//! | [`load`] | how many tasks of the machine run or wait, for each core |
//! | [`leak`] | does the memory of a process grow without end |
//! | [`clock`] | is the machine's clock kept right, and was it not set |
//! | [`port_owner`] | does the right program listen on a port |
//! | [`systemd`] | is a unit of systemd active |
//! | [`fds`] | are file descriptors left, for a process and the machine |
//! | [`file`](mod@file) | is a file there, young enough, of the right size and mode, and does it grow |
//! | [`folder`] | is a folder there, with as many files as it should have, one of them young |
//! | [`command`] | what does a program of your own say |
//! | [`dns`] | does a name resolve, to the right addresses, and fast enough |
//! | `certificate` | how long are the certificates in a file valid, and for whom (feature `tls`) |
//! | `tls` | the same of what a server shows (feature `tls`) |
//! | `postgres` | does PostgreSQL answer, have connections left, keep up with its primary, and let go of its log (feature `postgres`) |
//! | [`redis`] | does Redis answer, save, follow its primary, and have memory left |
//! | [`job_age`] | did a job end well lately |
//! | [`last_verified_restore`] | how old is the newest backup that a drill has restored |
//! | [`log_errors`] | how many errors did the service log lately |
//! | [`store`] | does a database answer, and is its log in bounds |
//! | [`backup_age`] | is the last backup young enough, verified, and provably restorable |
//! | [`backup_secrets`] | are the backups encrypted |
//! | [`listener`] | is the address of `metrics.listen` ours |
//! | [`jobs`] | did what runs by itself run, and well |
//! | [`continuous`] | are the stores followed that are to be, and is what is stored young |
//!
//! Those up to `log_errors` are kinds that `[[check]]` in `ops.toml` names. The others need live objects, and are made by
//! whoever has them.

pub mod backup_age;
pub mod backup_secrets;
#[cfg(feature = "tls")]
pub mod certificate;
pub mod clock;
pub mod command;
pub mod continuous;
pub mod cpu;
pub mod disk;
pub mod dns;
pub mod fds;
pub mod file;
pub mod folder;
pub mod http;
pub mod job_age;
pub mod jobs;
pub mod last_verified_restore;
pub mod leak;
pub mod listener;
pub mod load;
pub mod log_errors;
pub mod memory;
pub mod port_owner;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod process;
pub mod redis;
pub mod store;
mod subject;
pub mod systemd;
pub mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
mod trend;
#[cfg(feature = "tls")]
mod x509;

use crate::metrics::kernel;

use std::time::Duration;

use crate::error::{Error, Result};

use super::CheckStatus;

/// A duration from the settings: above 0 and at most an hour.
fn seconds(name: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value).ok().filter(|d| !d.is_zero() && *d <= Duration::from_secs(3600)).ok_or_else(
        || {
            Error::invalid(format!("{name} is {value}"))
                .with_hint(format!("set {name} to more than 0 and at most 3600"))
        },
    )
}

/// How many days before a certificate ends to warn, unless the settings say it.
fn three_weeks() -> f64 {
    21.0
}

/// How many days before a certificate ends to fail, unless the settings say it.
fn one_week() -> f64 {
    7.0
}

/// A share from the settings: 0 to 1.
fn ratio(name: &str, value: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(Error::invalid(format!("{name} is {value}")).with_hint(format!("set {name} to a share from 0 to 1")))
    }
}

/// An age from the settings, in seconds: above 0 and at most ten years.
fn age(name: &str, value: f64) -> Result<f64> {
    const MAX: f64 = 10.0 * 366.0 * 24.0 * 3600.0;
    if value > 0.0 && value <= MAX {
        Ok(value)
    } else {
        Err(Error::invalid(format!("{name} is {value}"))
            .with_hint(format!("set {name} to seconds above 0 and at most ten years")))
    }
}

/// Of two bounds that are both set, the first comes first: else one of them would never be met.
fn bounds_in_order(pair: [(&str, Option<f64>); 2]) -> Result<()> {
    let [(low, first), (high, second)] = pair;
    match (first, second) {
        (Some(first), Some(second)) if first > second => {
            Err(Error::invalid(format!("{low} is above {high}")).with_hint(format!("set {low} to at most {second}")))
        }
        _ => Ok(()),
    }
}

/// The verdict on a number of which more is worse.
fn level(value: f64, warn: f64, fail: f64) -> CheckStatus {
    match value {
        value if value > fail => CheckStatus::Fail,
        value if value > warn => CheckStatus::Warn,
        _ => CheckStatus::Pass,
    }
}

/// One thing that a check looked at: its verdict, and the number behind it.
#[derive(Debug, Clone, PartialEq)]
struct Finding {
    status: CheckStatus,
    message: String,
    observed: f64,
    unit: &'static str,
}

/// The worst of several findings decides, and the number is its own; the messages of all that are not `pass` are
/// told, or those of all when every one is.
fn worst(findings: Vec<Finding>) -> Option<super::CheckOutcome> {
    let status = findings.iter().map(|finding| finding.status).max()?;
    let told: Vec<&str> = findings
        .iter()
        .filter(|finding| status == CheckStatus::Pass || finding.status != CheckStatus::Pass)
        .map(|finding| finding.message.as_str())
        .collect();
    let message = told.join("; ");
    let first = findings.iter().find(|finding| finding.status == status)?;
    Some(super::CheckOutcome::new(status, message).observing(first.observed, first.unit))
}
