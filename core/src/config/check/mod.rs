//! `config.check`: what the settings say, against the machine and against what this build can do.
//!
//! Looks at names, sizes and filesystems; opens nothing.

use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::Config;
use super::settings::{JobSettings, MIN_COLLECT_GRACE_HOURS};
use crate::clock::time_zone;
use crate::fs;

mod components;
mod continuous;
mod metrics;
mod variables;

pub use variables::unset_variables;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something will not work.
    Error,
    /// It works, and probably not as meant.
    Warning,
}

/// Something to correct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The setting concerned.
    pub key: String,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// The repair, one line.
    pub hint: Option<String>,
    /// Where the setting comes from, as [`Config::source_of`] says it.
    pub source: String,
}

/// What this build has and does. Names only, so that this room knows no driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildFacts {
    /// Kinds of `[[store]]`.
    pub stores: Vec<String>,
    /// Kinds of `[[target]]`.
    pub targets: Vec<String>,
    /// Kinds of `[[check]]`.
    pub checks: Vec<String>,
    /// Kinds of `[[sink]]`.
    pub sinks: Vec<String>,
    /// Those of `backup.schedule`, `backup.verify_schedule`, `backup.drill_schedule`, `backup.retention`, `backup.layout`,
    /// `backup.encryption` and `metrics.listen` that this build acts on. The others are accepted, with a warning.
    pub acts_on: Vec<String>,
}

impl BuildFacts {
    /// The kinds of a list: of `store` those of `[[store]]`.
    pub fn kinds_of(&self, list: &str) -> &[String] {
        match list {
            "store" => &self.stores,
            "target" => &self.targets,
            "check" => &self.checks,
            "sink" => &self.sinks,
            _ => &[],
        }
    }

    /// Whether this build acts on the setting `key`.
    pub fn acts_on(&self, key: &str) -> bool {
        self.acts_on.iter().any(|known| known == key)
    }
}

/// What `backup.layout` may say.
const LAYOUTS: [&str; 2] = ["archive", "repository"];

/// Looks the settings over. Errors come first; no finding shows a secret.
pub fn check(config: &Config, build: &BuildFacts) -> Vec<Finding> {
    let mut checker = Checker { config, build, findings: config.mistakes.clone() };
    checker.earlier_warnings();
    checker.numbers();
    checker.retention();
    checker.kinds();
    checker.sinks();
    checker.drills();
    checker.included();
    checker.excluded();
    checker.left_over();
    checker.targets();
    checker.places();
    checker.service();
    checker.metrics();
    checker.continuous();
    checker.encryption();
    checker.not_acted_on();
    checker.clear_secrets();
    checker.findings.sort_by_key(|finding| finding.severity);
    checker.findings
}

/// What waits longer than a year is never collected.
const MAX_GRACE_HOURS: f64 = 365.0 * 24.0;

struct Checker<'a> {
    config: &'a Config,
    build: &'a BuildFacts,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn find(&mut self, severity: Severity, key: &str, message: impl Into<String>, hint: &str) {
        let source = self.config.source_of(key);
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.findings.push(Finding { severity, key: key.to_owned(), message: message.into(), hint, source });
    }

    fn error(&mut self, key: &str, message: impl Into<String>, hint: &str) {
        self.find(Severity::Error, key, message, hint);
    }

    fn warn(&mut self, key: &str, message: impl Into<String>, hint: &str) {
        self.find(Severity::Warning, key, message, hint);
    }

    fn earlier_warnings(&mut self) {
        for warning in &self.config.warnings {
            self.findings.push(Finding {
                severity: Severity::Warning,
                key: warning.key.clone(),
                message: warning.message.clone(),
                hint: None,
                source: warning.source.clone(),
            });
        }
    }

    fn numbers(&mut self) {
        let settings = &self.config.settings;
        if let Some(level) = settings.backup.level.filter(|level| !(1..=19).contains(level)) {
            let message = format!("level {level} is not one of zstd's levels 1 to 19");
            self.error("backup.level", message, "use 3, or 19 for the smallest archive");
        }
        let grace = settings.backup.collect_grace_hours;
        if !(MIN_COLLECT_GRACE_HOURS as f64..=MAX_GRACE_HOURS).contains(&grace) {
            let message = format!("{grace} hours is no grace time between {MIN_COLLECT_GRACE_HOURS} hours and a year");
            self.error("backup.collect_grace_hours", message, "use 24");
        }
        if let Some(layout) = settings.backup.layout.as_deref().filter(|layout| !LAYOUTS.contains(layout)) {
            let near = LAYOUTS.into_iter().find(|known| strsim::normalized_damerau_levenshtein(known, layout) >= 0.6);
            let hint = match near {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "use \"repository\", where backups share content, or \"archive\"".to_owned(),
            };
            self.error("backup.layout", format!("{layout:?} is no layout"), &hint);
        }
        if settings.health.concurrency == 0 {
            self.error("health.concurrency", "no check could ever run", "use at least 1");
        }
        for (key, seconds, zero_is_fine) in [
            ("backup.rollback_copy_seconds", settings.backup.rollback_copy_seconds, false),
            ("restore.health_gate_seconds", settings.restore.health_gate_seconds, true),
            ("health.deadline_seconds", settings.health.deadline_seconds, false),
            ("health.period_seconds", settings.health.period_seconds, false),
            ("health.heartbeat_seconds", settings.health.heartbeat_seconds, false),
            ("health.drain_seconds", settings.health.drain_seconds, true),
            ("health.backup_age_seconds", settings.health.backup_age_seconds, false),
            ("health.verify_age_seconds", settings.health.verify_age_seconds, false),
            ("health.drill_age_seconds", settings.health.drill_age_seconds, false),
            ("backup.drill.deadline_seconds", settings.backup.drill.deadline_seconds, false),
            ("backup.pause.deadline_seconds", settings.backup.pause.deadline_seconds, false),
            ("worker.cancel_grace_seconds", settings.worker.cancel_grace_seconds, true),
            ("worker.idle_seconds", settings.worker.idle_seconds, true),
        ] {
            if seconds < 0.0 || (seconds == 0.0 && !zero_is_fine) {
                self.error(key, format!("{seconds} seconds is no duration"), "use a number above zero");
            }
        }
        if settings.restore.max_ratio < 1.0 {
            self.error("restore.max_ratio", "every archive would be refused", "use 1 or more");
        }
        for check in &settings.checks {
            if check.deadline_seconds.is_some_and(|seconds| seconds <= 0.0) {
                let key = format!("check.{}.deadline_seconds", check.name);
                self.error(&key, "the check could never answer in time", "use a number above zero");
            }
        }
    }

    fn retention(&mut self) {
        if let Some(mistake) = self.config.settings.backup.retention.as_ref().and_then(|policy| policy.mistake()) {
            self.error(mistake.key, mistake.message, mistake.hint);
        }
        let backup = &self.config.settings.backup;
        let proves = |job: &JobSettings| ["backup.verify", "backup.sample", "backup.drill"].contains(&&*job.operation);
        let proven = backup.verify_schedule.is_some()
            || backup.drill_schedule.is_some()
            || self.config.settings.jobs.iter().any(proves);
        if backup.retention.is_some() && backup.schedule.is_some() && !proven {
            self.warn(
                "backup.retention",
                "nothing verifies backups by itself, and before some are verified nothing is deleted",
                "set backup.verify_schedule, such as \"0 4 * * *\"",
            );
        }
        if let Err(error) = time_zone(self.config.settings.service.timezone.as_deref()) {
            self.error("service.timezone", error.message(), error.hint().unwrap_or_default());
        }
    }

    fn drills(&mut self) {
        let backup = self.config.settings.backup.clone();
        if backup.verify_days <= 0.0 || backup.verify_days.is_nan() {
            let message = format!("{} days is no time in which everything can be read", backup.verify_days);
            self.error("backup.verify_days", message, "use a number above zero, such as 30");
        }
        for name in backup.drill.queries.keys() {
            // Databases that nobody configured are called by their path.
            let known = self.config.settings.stores.iter().any(|store| store.name == *name);
            if !known && self.config.root.join(name).symlink_metadata().is_err() {
                let message =
                    format!("there is no [[store]] called {name:?}: the drill's queries would find no database");
                self.warn("backup.drill.queries", message, "name a [[store]], or a database by its path");
            }
        }
        let pause = &backup.pause;
        if pause.before.is_empty() != pause.after.is_empty() {
            let key = if pause.before.is_empty() { "backup.pause.before" } else { "backup.pause.after" };
            self.error(key, "writes would be paused by one program and let go by none", "set both, or neither");
        }
    }

    /// A path of the settings against the root: where it leads without looking at the disk.
    fn inside_root(&self, path: &Path) -> Option<PathBuf> {
        let mut depth = 0_usize;
        let relative = path.strip_prefix(&self.config.root).unwrap_or(path);
        for part in relative.components() {
            match part {
                Component::Normal(_) => depth += 1,
                Component::CurDir => {}
                Component::ParentDir => depth = depth.checked_sub(1)?,
                Component::RootDir | Component::Prefix(_) => return None,
            }
        }
        Some(self.config.root.join(relative))
    }

    fn included(&mut self) {
        const KEY: &str = "backup.include";
        let include = self.config.settings.backup.include.clone();
        if include.is_empty() {
            self.error(KEY, "the list is empty, so a backup would hold nothing", "write [\".\"] for everything");
        }
        for path in &include {
            let Some(full) = self.inside_root(path) else {
                self.error(KEY, format!("{path:?} is outside the root"), "name files and folders inside the root");
                continue;
            };
            match full.symlink_metadata() {
                Err(_) => self.warn(KEY, format!("{path:?} does not exist"), "correct the name, or remove it"),
                Ok(meta) if meta.is_symlink() => {
                    let leads = full.canonicalize().ok();
                    let root = self.config.root.canonicalize().ok();
                    if leads.is_none() || leads.zip(root).is_some_and(|(leads, root)| !leads.starts_with(root)) {
                        let message = format!("{path:?} is a symlink that leads outside the root, or nowhere");
                        self.warn(KEY, message, "move the data into the root, or take it through a [[store]]");
                    }
                }
                Ok(_) => {}
            }
        }
    }

    fn excluded(&mut self) {
        const KEY: &str = "backup.exclude";
        for pattern in self.config.settings.backup.exclude.clone() {
            let path = Path::new(&pattern);
            if pattern.is_empty() || path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
                self.error(KEY, format!("{pattern:?} is no pattern below the root"), "write it relative to the root");
            } else if !pattern.contains(['*', '?', '[', '{', '\\', '!'])
                && self.config.root.join(path).symlink_metadata().is_err()
            {
                self.warn(KEY, format!("{pattern:?} leaves nothing out: it does not exist"), "correct or remove it");
            }
        }
    }

    /// What nobody decided about: new folders of the service that no backup holds.
    fn left_over(&mut self) {
        let config = self.config;
        let backup = &config.settings.backup;
        if backup.include.is_empty() {
            return;
        }
        let first = |path: &Path| {
            path.components().find_map(|part| match part {
                Component::Normal(name) => Some(name.to_owned()),
                _ => None,
            })
        };
        let mut decided = Vec::new();
        for path in &backup.include {
            let relative = path.strip_prefix(&config.root).unwrap_or(path);
            match first(relative) {
                Some(name) => decided.push(name),
                None => return,
            }
        }
        // The state and targets inside the root are always left out.
        let always = [config.state.clone()].into_iter().chain(self.target_paths().into_iter().map(|(_, path)| path));
        decided.extend(always.filter_map(|path| first(path.strip_prefix(&config.root).ok()?)));

        let Ok(entries) = std::fs::read_dir(&config.root) else { return };
        let mut undecided: Vec<String> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|name| !decided.contains(name))
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| !backup.exclude.iter().any(|pattern| fast_glob::glob_match(pattern, name)))
            .collect();
        undecided.sort();
        if !undecided.is_empty() {
            let message = format!("neither included nor excluded: {}", enumerate(&undecided));
            self.warn("backup.include", message, "add each to backup.include or to backup.exclude");
        }
    }

    /// The targets that are folders here, absolute.
    fn target_paths(&self) -> Vec<(String, PathBuf)> {
        let paths = self.config.settings.targets.iter().filter(|target| target.kind == "fs").filter_map(|target| {
            let path = target.settings.get("path")?.as_str()?;
            Some((target.name.clone(), self.config.root.join(path)))
        });
        paths.collect()
    }

    fn targets(&mut self) {
        let config = self.config;
        for (name, path) in self.target_paths() {
            let key = format!("target.{name}.path");
            let included = |path: &Path| {
                config.settings.backup.include.iter().any(|included| {
                    self.inside_root(included).is_some_and(|included| path.starts_with(lexical(&included)))
                })
            };
            let resolved = lexical(&path);
            if resolved == config.root || config.root.starts_with(&resolved) {
                self.error(&key, "the service itself lies in the target", "name a folder of its own for backups");
            } else if included(&resolved) {
                self.warn(
                    &key,
                    "the target lies inside an included folder: a disaster there takes the backups too",
                    "name a folder outside the root, best on another disk",
                );
            }
            if let (Some(target), Some(root)) = (device(&path), device(&config.root))
                && target == root
            {
                self.warn(
                    &key,
                    "the target is on the same disk as the service: when the disk goes, both go",
                    "name a folder on another disk, or add a second [[target]]",
                );
            }
        }
    }

    fn places(&mut self) {
        let config = self.config;
        let in_memory = |path: &Path| fs::is_in_memory(path).unwrap_or(false);
        if in_memory(&config.state) {
            let message = "the state folder is in memory (tmpfs): the journal is gone after a restart";
            self.warn("state.path", message, "name a folder on a disk");
        }
        let backup = &config.settings.backup;
        if let Some(scratch) = backup.scratch.as_ref().map(|scratch| config.root.join(scratch))
            && in_memory(&scratch)
            && !backup.scratch_in_memory
        {
            let message = "the scratch folder is in memory (tmpfs), where a large database takes all of it";
            self.error("backup.scratch", message, "name a folder on a disk, or set backup.scratch_in_memory");
        }
        let paths = [("state.path", Some(&config.settings.state.path)), ("backup.scratch", backup.scratch.as_ref())];
        for (key, path) in paths {
            if path.is_some_and(|path| path.starts_with("~")) {
                self.error(key, "`~` is no folder outside a shell", "write the whole path");
            }
        }
    }

    fn service(&mut self) {
        let config = self.config;
        let service = &config.settings.service;
        match (service.stop.is_empty(), service.start.is_empty()) {
            (false, true) => {
                self.warn("service.start", "a restore could stop the service and not start it", "set service.start");
            }
            (true, false) => {
                self.warn("service.stop", "a restore cannot stop the service", "set service.stop");
            }
            _ => {}
        }
        if service.log.as_ref().is_some_and(|log| config.root.join(log).symlink_metadata().is_err()) {
            self.warn("service.log", "the log file does not exist", "correct the path, or start the service");
        }
        let levels = config.host.logging_level.as_ref().zip(config.host.server_log_level.as_ref());
        if let Some((logging, server)) = levels
            && !logging.value.eq_ignore_ascii_case(&server.value)
        {
            self.findings.push(Finding {
                severity: Severity::Warning,
                key: "server.log_level".to_owned(),
                message: format!("{} and {} say different things", logging.variable, server.variable),
                hint: Some("keep one of them".to_owned()),
                source: server.source.clone(),
            });
        }
    }

    fn not_acted_on(&mut self) {
        let settings = &self.config.settings;
        let backup = &settings.backup;
        for (key, is_set, consequence) in [
            ("backup.schedule", backup.schedule.is_some(), "no backup is made by itself"),
            ("backup.verify_schedule", backup.verify_schedule.is_some(), "no backup is verified by itself"),
            ("backup.drill_schedule", backup.drill_schedule.is_some(), "no restore is rehearsed by itself"),
            ("backup.retention", backup.retention.is_some(), "no old backup is deleted"),
            ("metrics.listen", settings.metrics.listen.is_some(), "no address is listened on"),
        ] {
            if is_set && !self.build.acts_on(key) {
                let message = format!("this build accepts {key} and does not act on it: {consequence}");
                self.warn(key, message, "leave it for a later version, or do it by other means until then");
            }
        }
    }

    fn encryption(&mut self) {
        let backup = &self.config.settings.backup;
        let encryption = &backup.encryption;
        if (encryption.is_wanted() || encryption.identity_file.is_some()) && !self.build.acts_on("backup.encryption") {
            self.error(
                "backup.encryption",
                "this build has no encryption",
                "use a build with the feature `encryption`: the packages of PyPI and npm have it",
            );
            return;
        }
        let recipients = !encryption.recipients.is_empty() || encryption.recipients_file.is_some();
        if recipients && encryption.passphrase.is_some() {
            self.error(
                "backup.encryption.passphrase",
                "a key is wrapped to recipients or to a passphrase, not to both",
                "remove one of them",
            );
        }
        for (number, recipient) in encryption.recipients.iter().enumerate() {
            let text = recipient.trim();
            if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
                self.error(
                    "backup.encryption.recipients",
                    format!("number {} is the secret half of a key", number + 1),
                    "name the public half, age1…, and take the secret off this host: it has to be replaced now",
                );
            } else if !text.starts_with("age1") {
                self.error(
                    "backup.encryption.recipients",
                    format!("number {} is no age recipient", number + 1),
                    "name the public half of a key that `age-keygen` made: age1…",
                );
            }
        }
        let files = [
            ("backup.encryption.recipients_file", &encryption.recipients_file),
            ("backup.encryption.identity_file", &encryption.identity_file),
        ];
        for (key, file) in files {
            if file.as_ref().is_some_and(|file| self.config.root.join(file).symlink_metadata().is_err()) {
                self.error(key, "the file does not exist", "correct the path");
            }
        }
        if encryption.identity_file.is_some() {
            self.warn(
                "backup.encryption.identity_file",
                "the key that opens the backups lies on the host that makes them",
                "keep it only where drills have to run by themselves, readable for the service alone",
            );
        }
    }
}

/// `a, b and 3 more`.
fn enumerate(names: &[String]) -> String {
    const TOLD: usize = 12;
    let told = names.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// The path without `.` and `..`, by names alone.
fn lexical(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(result.pop()),
            part => result.push(part),
        }
    }
    result
}

/// The device that `path`, or its nearest existing parent, is on.
fn device(path: &Path) -> Option<u64> {
    let existing = fs::nearest_existing(path).canonicalize().ok()?;
    fs::identity(&existing).ok().flatten().map(|(device, _)| device)
}

#[cfg(test)]
mod tests;
