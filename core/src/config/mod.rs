//! Layered settings: defaults < `ops.toml` < `.env` < environment < code, merged per leaf, each value with
//! where it came from.

mod settings;

pub use settings::{
    BackupSettings, CheckSettings, ComponentSettings, HealthSettings, MetricsSettings, RestoreSettings,
    ServiceSettings, Settings, StateSettings, WorkerSettings,
};
