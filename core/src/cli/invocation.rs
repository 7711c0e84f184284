//! From what was typed to the operation that does it: one pure function, no I/O.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::args::{
    BackupCommand, Command, ConfigCommand, ContinuousCommand, HealthCommand, HealthOptions, IdentityFile, KeysCommand,
    MetricsCommand, RestoreCommand, RestoreOptions, ScheduleCommand, Snapshot, StoreCommand, SwapOptions,
};
use super::render::{self, Renderer};
use crate::backup::import::is_file;
use crate::backup::manifest::RelPath;
use crate::clock::{Timestamp, time_zone};
use crate::error::{Error, Result};

/// An operation to call, and how to show its answer.
#[derive(Debug)]
pub(super) struct Invocation {
    /// The operation's name.
    pub(super) operation: &'static str,
    /// Its request.
    pub(super) request: Value,
    /// Shows its response to a person.
    pub(super) render: Renderer,
    /// What must be agreed to first, when it deletes or replaces.
    pub(super) consent: Option<Consent>,
}

/// The plan to show, and the question to ask.
#[derive(Debug)]
pub(super) struct Consent {
    /// The operation that makes the plan; it changes nothing.
    pub(super) operation: &'static str,
    /// Its request.
    pub(super) request: Value,
    /// Shows the plan.
    pub(super) render: Renderer,
    /// What is asked below the plan.
    pub(super) question: &'static str,
    /// Agreed already, with `--yes`.
    pub(super) given: bool,
}

impl Invocation {
    fn new(operation: &'static str, request: Value, render: Renderer) -> Self {
        Self { operation, request, render, consent: None }
    }

    /// What deletes, with a dry run that is shown before it is agreed to.
    fn planned(
        operation: &'static str,
        request: impl Fn(bool) -> Value,
        render: Renderer,
        question: &'static str,
        dry_run: bool,
        given: bool,
    ) -> Self {
        let mut invocation = Self::new(operation, request(dry_run), render);
        if !dry_run {
            invocation.consent = Some(Consent { operation, request: request(true), render, question, given });
        }
        invocation
    }

    /// What a friendly command calls. `None` for the commands that are no single operation: `call`, `schema`,
    /// `completions` and `schedule serve`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a path or a time that no request can
    /// hold.
    pub(super) fn of(command: &Command, now: Timestamp) -> Result<Option<Self>> {
        Ok(Some(match command {
            Command::Init { force, print } => {
                let request = Request::new().flag("force", *force).flag("dry_run", *print);
                Self::new(
                    "config.init",
                    request.done(),
                    if *print { render::config::preview } else { render::config::init },
                )
            }
            Command::Status => Self::new("status", json!({}), render::status::status),
            Command::Config(ConfigCommand::Show) => Self::new("config.show", json!({}), render::config::show),
            Command::Config(ConfigCommand::Check) => Self::new("config.check", json!({}), render::config::check),
            Command::Health { check, command } => {
                let HealthOptions { group, history, hours } = match command {
                    Some(HealthCommand::Check(options)) => options,
                    None => check,
                };
                if *history {
                    let request = Request::new().maybe("hours", *hours);
                    Self::new("health.history", request.done(), render::health::history)
                } else {
                    let request = Request::new().maybe("group", group.as_deref());
                    Self::new("health.check", request.done(), render::health::check)
                }
            }
            Command::Metrics { render, command } => {
                let render = MetricsCommand::Render(render.clone());
                Self::of_metrics(command.as_ref().unwrap_or(&render))?
            }
            Command::Generate(command) => Self::of_generate(command)?,
            Command::Backup(command) => Self::of_backup(command, now)?,
            Command::Restore(command) => Self::of_restore(command, now)?,
            Command::Store(StoreCommand::Stats { store }) => {
                let request = Request::new().maybe("store", store.as_deref());
                Self::new("store.stats", request.done(), render::store::stats)
            }
            Command::Store(StoreCommand::Verify { store, depth }) => {
                let request = Request::new().maybe("store", store.as_deref()).with("depth", depth.as_str());
                Self::new("store.verify", request.done(), render::store::verify)
            }
            Command::Continuous(command) => Self::of_continuous(command),
            Command::Schedule { command: None | Some(ScheduleCommand::List) } => {
                Self::new("schedule.list", json!({}), render::schedule::list)
            }
            Command::Schedule { command: Some(ScheduleCommand::Run { job }) } => {
                Self::new("schedule.run", json!({ "job": job }), render::schedule::run)
            }
            Command::Journal { since, operation, limit } => {
                let since = since.as_deref().map(|text| moment(text, now)).transpose()?;
                let request = Request::new()
                    .maybe("since", since.map(|at| at.to_string()).as_deref())
                    .maybe("operation", operation.as_deref())
                    .with("limit", *limit);
                Self::new("journal.read", request.done(), render::journal::read)
            }
            Command::Schedule { command: Some(ScheduleCommand::Serve) }
            | Command::Call { .. }
            | Command::Schema { .. }
            | Command::Completions { .. } => return Ok(None),
        }))
    }

    fn of_keys(command: &KeysCommand) -> Result<Self> {
        Ok(match command {
            KeysCommand::Init { key, anew } => {
                let request = with_identity(Request::new(), key)?.flag("anew", *anew);
                Self::new("backup.keys_init", request.done(), render::keys::made)
            }
            KeysCommand::List { target } => {
                let request = Request::new().maybe("target", target.as_deref());
                Self::new("backup.keys_list", request.done(), render::keys::list)
            }
            KeysCommand::Check { key, target } => {
                let request = with_identity(Request::new(), key)?.maybe("target", target.as_deref());
                Self::new("backup.keys_check", request.done(), render::keys::check)
            }
            KeysCommand::Rewrap { key, passphrase, proof_file, unproven, dry_run, yes } => {
                let proof = proof_file.as_deref().map(absolute).transpose()?;
                let request = |dry_run| -> Result<Value> {
                    let request = with_identity(Request::new(), key)?
                        .maybe("passphrase", passphrase.as_deref())
                        .maybe("proof_file", proof.as_deref())
                        .flag("unproven", *unproven)
                        .flag("dry_run", dry_run);
                    Ok(request.done())
                };
                let mut invocation = Self::new("backup.keys_rewrap", request(*dry_run)?, render::keys::rewrap);
                if !dry_run {
                    invocation.consent = Some(Consent {
                        operation: "backup.keys_rewrap",
                        request: request(true)?,
                        render: render::keys::rewrap,
                        question: "Wrap them anew, and remove the old ones?",
                        given: *yes,
                    });
                }
                invocation
            }
            KeysCommand::Rotate { key } => {
                let request = with_identity(Request::new(), key)?;
                Self::new("backup.keys_rotate", request.done(), render::keys::made)
            }
            KeysCommand::Adopt { key, target } => {
                let request = with_identity(Request::new(), key)?.maybe("target", target.as_deref());
                Self::new("backup.keys_adopt", request.done(), render::keys::adopt)
            }
        })
    }

    fn of_backup(command: &BackupCommand, now: Timestamp) -> Result<Self> {
        Ok(match command {
            BackupCommand::Keys(command) => return Self::of_keys(command),
            BackupCommand::Create { label, tags, target, layout, anew } => {
                let request = Request::new()
                    .maybe("label", label.as_deref())
                    .maybe("tags", (!tags.is_empty()).then(|| tags.clone()))
                    .maybe("target", target.as_deref())
                    .maybe("layout", layout.as_deref())
                    .flag("anew", *anew);
                Self::new("backup.create", request.done(), render::backup::create)
            }
            BackupCommand::List { target, key } => {
                let request = with_identity(Request::new(), key)?.maybe("target", target.as_deref());
                Self::new("backup.list", request.done(), render::backup::snapshots)
            }
            BackupCommand::Show { snapshot, key } => {
                Self::new("backup.show", with_identity(of_snapshot(snapshot), key)?.done(), render::snapshot::show)
            }
            BackupCommand::Verify { snapshot, depth, key } => {
                let request = with_identity(of_snapshot(snapshot), key)?.with("depth", depth.as_str());
                Self::new("backup.verify", request.done(), render::backup::verify)
            }
            BackupCommand::Drill { id, target, at, checks, into, key } => {
                let into = into.as_deref().map(absolute).transpose()?;
                let at = at.as_deref().map(|text| local_moment(text, now)).transpose()?;
                let request = with_identity(Request::new(), key)?
                    .maybe("snapshot_id", id.as_deref())
                    .maybe("target", target.as_deref())
                    .maybe("at", at.map(|at| at.to_string()))
                    .maybe("checks", (!checks.is_empty()).then(|| checks.clone()))
                    .maybe("into", into.as_deref());
                Self::new("backup.drill", request.done(), render::drill::drill)
            }
            BackupCommand::Bisect { check, query, store, target, key } => {
                let request = with_identity(Request::new(), key)?
                    .with("check", check.as_str())
                    .maybe("query", query.as_deref())
                    .maybe("store", store.as_deref())
                    .maybe("target", target.as_deref());
                Self::new("backup.bisect", request.done(), render::drill::bisect)
            }
            BackupCommand::Sample { target, max_bytes } => {
                let request = Request::new().maybe("target", target.as_deref()).maybe("max_bytes", *max_bytes);
                Self::new("backup.sample", request.done(), render::drill::sample)
            }
            BackupCommand::Copy { id, to, from, key } => {
                let request = with_identity(Request::new(), key)?
                    .with("snapshot_id", id.as_str())
                    .with("to", to.as_str())
                    .maybe("from", from.as_deref());
                Self::new("backup.copy", request.done(), render::backup::copy)
            }
            BackupCommand::Collect { target, dry_run, accept_missing, yes } => {
                let request = |dry_run| {
                    let request = Request::new().maybe("target", target.as_deref()).flag("dry_run", dry_run);
                    request.flag("accept_missing", *accept_missing).done()
                };
                Self::planned(
                    "backup.collect",
                    request,
                    render::collect::collect,
                    "Condemn and delete that?",
                    *dry_run,
                    *yes,
                )
            }
            BackupCommand::Export { snapshot, output, key } => {
                let output = absolute(output)?;
                let request = with_identity(of_snapshot(snapshot), key)?.with("output", output.as_str());
                Self::new("backup.export", request.done(), render::backup::export)
            }
            BackupCommand::Import { path, label, target, layout } => {
                let path = absolute(path)?;
                let request = Request::new()
                    .with("path", path.as_str())
                    .maybe("label", label.as_deref())
                    .maybe("target", target.as_deref())
                    .maybe("layout", layout.as_deref());
                Self::new("backup.import", request.done(), render::backup::create)
            }
            BackupCommand::Retain { target, dry_run, yes } => {
                let request =
                    |dry_run| Request::new().maybe("target", target.as_deref()).flag("dry_run", dry_run).done();
                Self::planned(
                    "backup.retain",
                    request,
                    render::keep::retain,
                    "Delete what no rule keeps?",
                    *dry_run,
                    *yes,
                )
            }
            BackupCommand::Hold { snapshot, reason, by } => {
                let request = of_snapshot(snapshot).with("reason", reason.as_str()).maybe("by", by.as_deref());
                Self::new("backup.hold", request.done(), render::keep::hold)
            }
            BackupCommand::Release { snapshot } => {
                Self::new("backup.release", of_snapshot(snapshot).done(), render::keep::release)
            }
            BackupCommand::Delete { snapshot, dry_run, force, yes } => {
                let request = |dry_run| of_snapshot(snapshot).flag("dry_run", dry_run).flag("force", *force).done();
                Self::planned("backup.delete", request, render::keep::delete, "Delete it?", *dry_run, *yes)
            }
        })
    }

    fn of_continuous(command: &ContinuousCommand) -> Self {
        let of = |store: &Option<String>| Request::new().maybe("store", store.as_deref());
        match command {
            ContinuousCommand::Status { store } => {
                Self::new("continuous.status", of(store).done(), render::continuous::status)
            }
            ContinuousCommand::Start { store } => {
                Self::new("continuous.start", of(store).done(), render::continuous::change)
            }
            ContinuousCommand::Stop { store } => {
                Self::new("continuous.stop", of(store).done(), render::continuous::change)
            }
            ContinuousCommand::Compact { store, target, dry_run } => {
                let request = of(store).maybe("target", target.as_deref()).flag("dry_run", *dry_run);
                Self::new("continuous.compact", request.done(), render::continuous::change)
            }
        }
    }

    fn swap(operation: &'static str, database: Option<&String>, options: &SwapOptions, question: &'static str) -> Self {
        let request = |dry_run| {
            let request = Request::new().maybe("database", database.map(String::as_str));
            let request = request.maybe("store", options.store.as_deref()).flag("drain", options.drain);
            request.maybe("drain_seconds", options.drain_seconds).flag("dry_run", dry_run).done()
        };
        Self::planned(operation, request, render::restore::swap, question, options.dry_run, options.yes)
    }

    fn of_restore(command: &RestoreCommand, now: Timestamp) -> Result<Self> {
        Ok(match command {
            RestoreCommand::Plan(options) => {
                Self::new("restore.plan", restore_request(options, now)?, render::restore::plan)
            }
            RestoreCommand::Apply { options, yes } => {
                let request = restore_request(options, now)?;
                let mut invocation = Self::new("restore.apply", request.clone(), render::restore::apply);
                // Beside the service nothing is replaced, so there is nothing to agree to.
                if options.into.is_none() {
                    invocation.consent = Some(Consent {
                        operation: "restore.plan",
                        request,
                        render: render::restore::plan,
                        question: "Replace the service's files by these?",
                        given: *yes,
                    });
                }
                invocation
            }
            RestoreCommand::Points { store, target, key } => {
                let request = Request::new().maybe("store", store.as_deref()).maybe("target", target.as_deref());
                Self::new("restore.points", with_identity(request, key)?.done(), render::continuous::points)
            }
            RestoreCommand::Database { names, target, at, place, store, key } => {
                let at = at.as_deref().map(|text| local_moment(text, now)).transpose()?;
                let (snapshot, database) = match &names[..] {
                    [database] if at.is_some() || place.is_some() => (None, database),
                    [snapshot, database] => (Some(snapshot.as_str()), database),
                    _ => {
                        return Err(Error::invalid("neither a snapshot nor a moment was named")
                            .with_hint("uplifted-ops restore database latest NAME, or NAME --at 14:32:10"));
                    }
                };
                let request = Request::new().maybe("snapshot_id", snapshot).maybe("target", target.as_deref());
                let request = with_identity(request, key)?.maybe("at", at.map(|at| at.to_string()));
                let request = request.maybe("place", place.as_deref());
                let request = request.with("database", database.as_str()).maybe("store", store.as_deref()).done();
                Self::new("restore.database", request, render::restore::database)
            }
            RestoreCommand::Swap { database, options } => {
                let question = "Let it take the name of the live database?";
                Self::swap("restore.swap", Some(database), options, question)
            }
            RestoreCommand::SwapUndo { options } => {
                Self::swap("restore.swap_undo", None, options, "Take the swap back?")
            }
            RestoreCommand::SwapDiscard { options } => {
                Self::swap("restore.swap_discard", None, options, "Drop that database for good?")
            }
            RestoreCommand::Undo { id: Some(id), dry_run, yes } => {
                let request = |dry_run| Request::new().with("undo_id", id.as_str()).flag("dry_run", dry_run).done();
                Self::planned(
                    "restore.undo",
                    request,
                    render::restore::undo,
                    "Put that back over the service?",
                    *dry_run,
                    *yes,
                )
            }
            RestoreCommand::Discard { ids, dry_run, yes } => {
                let request = |dry_run| Request::new().with("undo_ids", ids.as_slice()).flag("dry_run", dry_run).done();
                Self::planned(
                    "restore.discard",
                    request,
                    render::restore::discard,
                    "Remove that for good?",
                    *dry_run,
                    *yes,
                )
            }
            RestoreCommand::Undo { id: None, .. } => {
                Self::new("restore.undo_list", json!({}), render::restore::undo_list)
            }
        })
    }
}

fn with_identity(request: Request, key: &IdentityFile) -> Result<Request> {
    let file = key.identity_file.as_deref().map(absolute).transpose()?;
    Ok(request.maybe("identity_file", file.as_deref()))
}

fn of_snapshot(snapshot: &Snapshot) -> Request {
    Request::new().with("snapshot_id", snapshot.id.as_str()).maybe("target", snapshot.target.as_deref())
}

fn restore_request(options: &RestoreOptions, now: Timestamp) -> Result<Value> {
    let into = options.into.as_deref().map(absolute).transpose()?;
    let mut paths: Vec<Value> = options.paths.iter().map(path_value).collect::<Result<_>>()?;
    let at = options.at.as_deref().map(|text| local_moment(text, now)).transpose()?;
    let mut request = Request::new().maybe("target", options.target.as_deref());
    match (&options.id, at) {
        // What would be the snapshot is the first path.
        (Some(path), Some(_)) => paths.insert(0, path_value(&path.into())?),
        (Some(id), None) if is_file(id) => request = request.with("snapshot_id", absolute(Path::new(id))?),
        (Some(id), None) => request = request.with("snapshot_id", id.as_str()),
        (None, _) => {}
    }
    Ok(with_identity(request, &options.key)?
        .maybe("at", at.map(|at| at.to_string()))
        .maybe("into", into.as_deref())
        .maybe("paths", (!paths.is_empty()).then_some(paths))
        .flag("salvage", options.salvage)
        .done())
}

/// A folder named on the command line is relative to the working directory, in a request it is not.
fn absolute(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path).map_err(|error| Error::io(format!("find the folder {path:?}"), error))?;
    whole.into_os_string().into_string().map_err(|name| {
        Error::invalid(format!("the folder {name:?} has a name that is not UTF-8"))
            .with_hint("restore into a folder with a UTF-8 name")
    })
}

fn path_value(path: &OsString) -> Result<Value> {
    serde_json::to_value(RelPath::new(path))
        .map_err(|error| Error::internal(format!("the path {path:?} is not JSON: {error}")))
}

/// A request object, without the fields that were not given.
struct Request(Map<String, Value>);

impl Request {
    fn new() -> Self {
        Self(Map::new())
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn flag(self, name: &str, value: bool) -> Self {
        if value { self.with(name, true) } else { self }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// `2026-11-22T18:16:21Z`, `2026-11-22`, or an age before `now`: `90s`, `15m`, `24h`, `7d`, `2w`.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    let wrong = || {
        Error::invalid(format!("{text:?} is not a time"))
            .with_hint("write a time in UTC (2026-11-22T18:16:21Z), a date (2026-11-22), or an age (90m, 24h, 7d)")
    };
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(at) = format!("{text}T00:00:00Z").parse::<Timestamp>() {
        return Ok(at);
    }
    let age = span(text).ok_or_else(wrong)?;
    now.checked_sub(age).map_err(|_| wrong())
}

/// As [`moment`], and a time of this machine's zone: of today (`14:32:10`), or with its date.
fn local_moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    let zone = time_zone(None)?;
    let text = text.trim();
    let today = now.to_zoned(zone.clone()).date();
    let dated = if text.contains(':') && !text.contains('-') { format!("{today}T{text}") } else { text.to_owned() };
    match dated.parse::<jiff::civil::DateTime>() {
        Ok(local) if !dated.ends_with(['Z', 'z']) && dated.contains(':') => local
            .to_zoned(zone)
            .map(|zoned| zoned.timestamp())
            .map_err(|error| Error::invalid(format!("{text:?} is no time here: {error}"))),
        _ => moment(text, now),
    }
}

/// A length of time in seconds: `90s`, `15m`, `24h`, `7d`.
fn seconds(text: &str) -> Result<f64> {
    span(text.trim()).map(|span| span.as_secs_f64()).ok_or_else(|| {
        Error::invalid(format!("{text:?} is not a length of time")).with_hint("write one such as 90s, 30m, 2h, 1d")
    })
}

/// A number and the letter of its unit.
fn span(text: &str) -> Option<Duration> {
    let factor = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let count: u64 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(factor)?))
}

mod watch;

#[cfg(test)]
mod tests;
