//! Layered settings: defaults < `ops.toml` < `.env` < environment < code, merged per leaf, each value with
//! where it came from.
//!
//! ```
//! use uplifted_ops::config::{self, LoadInput};
//!
//! let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("ops.toml"), "[backup]\nlevel = 5\n")?;
//! let mut input = LoadInput::new(folder.path());
//! input.environment.push(("UPLIFTED__BACKUP__THREADS".into(), "2".into()));
//!
//! let config = config::load(&input)?;
//! assert_eq!((config.settings.backup.level, config.settings.backup.threads), (Some(5), 2));
//! assert_eq!(config.source_of("backup.level"), "ops.toml:2");
//! assert_eq!(config.source_of("backup.threads"), "environment (UPLIFTED__BACKUP__THREADS)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`load`] adds the layers up and refuses what has the wrong type; [`check`] looks at what they say against
//! the machine; [`Config::show`] prints them with their sources; [`plan_init`] writes the first `ops.toml`.

mod check;
mod coerce;
mod dotenv;
mod environment;
mod file;
mod host;
mod init;
mod layers;
mod load;
pub mod redact;
pub mod reference;
mod schema;
mod settings;
mod show;
pub(crate) mod small_file;

#[cfg(test)]
mod tests;

pub use check::{BuildFacts, Finding, Severity, check, unset_variables};
pub use host::{Fact, HostFacts};
pub use init::{InitFacts, InitFound, InitPlan, LeftOut, plan_init, write_init};
pub use load::{Config, ConfigWarning, LoadInput, load};
pub use settings::{
    BackupSettings, COLLECTORS, CheckSettings, ComponentSettings, ContinuousSettings, DrillSettings,
    EncryptionSettings, HealthSettings, HttpSettings, JobSettings, Listed, ListedComponent, MIN_COLLECT_GRACE_HOURS,
    MetricsMistake, MetricsSettings, PauseSettings, PolicyMistake, RestoreSettings, RetentionSettings,
    ScheduleSettings, ServiceSettings, Settings, SinkSettings, StateSettings, WorkerSettings, excluded,
};
pub use show::ShownSetting;
pub(crate) use small_file::read as read_small_file;
