//! The health checks of a service: those of its settings and its code, and those that come by themselves.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::config::{CheckSettings, Config, Settings};
use crate::continuous::folder::Folder;
use crate::error::Result;
use crate::health::checks::backup_age::{BackupAgeCheck, BackupTimes};
use crate::health::checks::backup_secrets::BackupSecretsCheck;
use crate::health::checks::continuous::ContinuousCheck;
use crate::health::checks::disk::{DiskCheck, DiskSettings};
use crate::health::checks::jobs::JobsCheck;
use crate::health::checks::listener::{ListenerCheck, ListenerSeen};
use crate::health::checks::process::{ProcessCheck, ProcessSettings};
use crate::health::checks::store::{StoreCheck, StoreCheckSettings};
use crate::health::{HealthCheck, Runner, RunnerEntry};
use crate::http::ListenerState;

use super::context::{Context, RunMode};

/// The check that comes by itself and lives in the worker, since it opens a file: its settings are added to
/// those of the service, so that it is built where it belongs.
pub(super) const LOG_ERRORS: &str = "log_errors";

/// Adds `log_errors` to the settings when the service's log is known and nobody said otherwise.
pub(super) fn add_log_errors(settings: &mut Settings, config: &Config) {
    let fact = || config.host.logging_file.as_ref().map(|fact| fact.value.clone());
    let Some(path) = settings.service.log.clone().or_else(fact) else { return };
    let taken = settings.checks.iter().any(|check| check.name == LOG_ERRORS || check.kind == LOG_ERRORS);
    if taken || without(settings, LOG_ERRORS) {
        return;
    }
    settings.checks.push(CheckSettings {
        settings: Map::from_iter([("path".to_owned(), Value::from(path.to_string_lossy()))]),
        // Errors in a log are somebody's work tomorrow; they do not take the service out of rotation.
        critical: false,
        ..CheckSettings::named(LOG_ERRORS)
    });
}

/// What the service writes to beside its root and its state folder, absolute or below the root: its databases, the targets in
/// folders, its log, what it shares, and where copies of databases and temporary files are made.
fn in_use(settings: &Settings) -> Vec<PathBuf> {
    let path = |settings: &Map<String, Value>| settings.get("path").and_then(Value::as_str).map(PathBuf::from);
    let stores = settings.stores.iter().filter_map(|store| path(&store.settings));
    let targets =
        settings.targets.iter().filter(|target| target.kind == "fs").filter_map(|target| path(&target.settings));
    let named =
        [&settings.service.log, &settings.backup.scratch, &settings.metrics.folder].into_iter().flatten().cloned();
    stores.chain(targets).chain(named).chain([std::env::temp_dir()]).collect()
}

/// Tells the checks of kind `disk` that name no paths what the service uses.
pub(super) fn add_disk_use(settings: &mut Settings) {
    let used: Vec<Value> = in_use(settings).iter().map(|path| path.to_string_lossy().into()).collect();
    let unnamed = |check: &&mut CheckSettings| {
        check.kind == "disk" && !["paths", "used"].iter().any(|key| check.settings.contains_key(*key))
    };
    for check in settings.checks.iter_mut().filter(unnamed) {
        check.settings.insert("used".to_owned(), used.clone().into());
    }
}

/// Makes the runner: the checks of the settings in their order, those of the code, and then the built-in ones
/// that `health.without` does not name and nobody else took the name of.
pub(super) fn runner(context: &Context) -> Result<Runner> {
    let health = &context.settings.health;
    let mut runner = Runner::new(health)?;
    for named in &context.checks {
        let of_name = context.settings.checks.iter().find(|check| check.name == named.name);
        let own = CheckSettings::named(&named.name);
        runner.add(RunnerEntry::new(of_name.unwrap_or(&own), health, Arc::clone(&named.component))?)?;
    }
    let mut add = |name: &str, critical: bool, check: Arc<dyn HealthCheck>| -> Result<()> {
        if runner.entries().any(|entry| entry.name == name) {
            return Ok(());
        }
        runner.add(RunnerEntry::new(&CheckSettings { critical, ..CheckSettings::named(name) }, health, check)?)
    };
    if !without(&context.settings, "disk") {
        let mut used = vec![context.root.clone(), context.state.clone()];
        used.extend(context.target_folders());
        used.extend(context.database_files());
        used.extend(in_use(&context.settings).iter().map(|path| context.root.join(path)));
        add("disk", true, Arc::new(DiskCheck::new(Vec::new(), used, DiskSettings::default())?))?;
    }
    // On the command line this process is not the service's.
    if !without(&context.settings, "process") && context.mode == RunMode::Embedded {
        add("process", false, Arc::new(ProcessCheck::new(ProcessSettings::default())?))?;
    }
    // What a build without the feature makes of the setting is for `config.check` to say.
    let listens = cfg!(feature = "http") && context.settings.metrics.listen.is_some();
    if !without(&context.settings, "listener") && context.mode == RunMode::Embedded && listens {
        let standing = Arc::clone(&context.listener);
        let look = move || match standing.get() {
            None => ListenerSeen { well: true, message: "the listener begins".to_owned() },
            Some(view) => ListenerSeen { well: view.state != ListenerState::Refused, message: view.message },
        };
        add("listener", false, Arc::new(ListenerCheck::new(Arc::new(look))))?;
    }
    if !without(&context.settings, "store") {
        for store in &context.stores {
            let check = StoreCheck::new(&store.name, Arc::clone(&store.component), StoreCheckSettings::default());
            add(&format!("store_{}", store.name), true, Arc::new(check))?;
        }
    }
    if !without(&context.settings, "backup_age") && !context.targets.is_empty() {
        let journal = context.journal.clone();
        let times = move || {
            let history = super::history::backups(&journal)?;
            Ok(BackupTimes {
                first_complete: history.first_complete,
                last_complete: history.last_complete,
                last_verified: history.last_verified,
                last_restorable: history.last_restorable,
                last_proven: history.last_proven,
            })
        };
        add("backup_age", false, Arc::new(BackupAgeCheck::new(Arc::new(times), health)?))?;
    }
    if !without(&context.settings, "backup_secrets") && !context.targets.is_empty() {
        let allowed = context.settings.backup.clear_secrets == Some(true);
        add("backup_secrets", false, Arc::new(BackupSecretsCheck::new(context.state.join("keys"), allowed)))?;
    }
    let followed = &context.settings.continuous.stores;
    if !without(&context.settings, "continuous") && !followed.is_empty() && !context.targets.is_empty() {
        let (folder, settings) = (Folder::new(&context.state), context.settings.continuous.clone());
        let look = move |now| super::follow_numbers::of_wanted(&folder, &settings, now);
        add("continuous", false, Arc::new(ContinuousCheck::new(Arc::new(look))))?;
    }
    if !without(&context.settings, "jobs") && context.jobs.jobs().run_by_themselves() {
        add("jobs", false, Arc::new(JobsCheck::new(context.jobs.source(context.mode))))?;
    }
    Ok(runner)
}

fn without(settings: &Settings, name: &str) -> bool {
    settings.health.without.iter().any(|left_out| left_out == name)
}
