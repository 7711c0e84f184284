//! From what was typed to the operation that does it: one pure function, no I/O.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::args::{
    BackupCommand, Command, ConfigCommand, HealthCommand, HealthOptions, IdentityFile, KeysCommand, MetricsCommand,
    MetricsFormat, MetricsOptions, RestoreCommand, RestoreOptions, ScheduleCommand, Snapshot, StoreCommand,
};
use super::render::{self, Renderer};
use crate::backup::import::is_file;
use crate::backup::manifest::RelPath;
use crate::clock::Timestamp;
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
                let HealthOptions { group } = match command {
                    Some(HealthCommand::Check(options)) => options,
                    None => check,
                };
                let request = Request::new().maybe("group", group.as_deref());
                Self::new("health.check", request.done(), render::health::check)
            }
            Command::Metrics { render, command } => {
                let MetricsOptions { format } = match command {
                    Some(MetricsCommand::Render(options)) => options,
                    None => render,
                };
                let format = format.map(|format| match format {
                    MetricsFormat::Text => "text",
                    MetricsFormat::Openmetrics => "openmetrics",
                });
                Self::new("metrics.render", Request::new().maybe("format", format).done(), render::health::metrics)
            }
            Command::Backup(command) => Self::of_backup(command)?,
            Command::Restore(command) => Self::of_restore(command)?,
            Command::Store(StoreCommand::Stats { store }) => {
                let request = Request::new().maybe("store", store.as_deref());
                Self::new("store.stats", request.done(), render::store::stats)
            }
            Command::Store(StoreCommand::Verify { store, depth }) => {
                let request = Request::new().maybe("store", store.as_deref()).with("depth", depth.as_str());
                Self::new("store.verify", request.done(), render::store::verify)
            }
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

    fn of_backup(command: &BackupCommand) -> Result<Self> {
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
            BackupCommand::Drill { id, target, checks, into, key } => {
                let into = into.as_deref().map(absolute).transpose()?;
                let request = with_identity(Request::new(), key)?
                    .maybe("snapshot_id", id.as_deref())
                    .maybe("target", target.as_deref())
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
            BackupCommand::Import { path, label, target } => {
                let path = absolute(path)?;
                let request = Request::new()
                    .with("path", path.as_str())
                    .maybe("label", label.as_deref())
                    .maybe("target", target.as_deref());
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

    fn of_restore(command: &RestoreCommand) -> Result<Self> {
        Ok(match command {
            RestoreCommand::Plan(options) => {
                Self::new("restore.plan", restore_request(options)?, render::restore::plan)
            }
            RestoreCommand::Apply { options, yes } => {
                let request = restore_request(options)?;
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

fn restore_request(options: &RestoreOptions) -> Result<Value> {
    let into = options.into.as_deref().map(absolute).transpose()?;
    let paths: Vec<Value> = options.paths.iter().map(path_value).collect::<Result<_>>()?;
    let mut snapshot = options.snapshot.clone();
    if is_file(&snapshot.id) {
        snapshot.id = absolute(Path::new(&snapshot.id))?;
    }
    Ok(with_identity(of_snapshot(&snapshot), &options.key)?
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
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let age = Duration::from_secs(count.checked_mul(factor).ok_or_else(wrong)?);
    now.checked_sub(age).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use clap::Parser;

    use super::*;
    use crate::cli::args::Cli;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn parse(words: &str) -> Invocation {
        let words: Vec<&str> = words.split_whitespace().collect();
        let cli = Cli::try_parse_from(std::iter::once("uplifted-ops").chain(words)).unwrap();
        Invocation::of(&cli.command, now()).unwrap().unwrap()
    }

    #[test]
    fn each_command_asks_for_its_operation() {
        for (words, operation, request) in [
            ("init", "config.init", json!({})),
            ("init --force", "config.init", json!({ "force": true })),
            ("init --print", "config.init", json!({ "dry_run": true })),
            ("status", "status", json!({})),
            ("config show", "config.show", json!({})),
            ("config check", "config.check", json!({})),
            ("health", "health.check", json!({})),
            ("health --group ready", "health.check", json!({ "group": "ready" })),
            ("health check --group ready", "health.check", json!({ "group": "ready" })),
            ("metrics", "metrics.render", json!({})),
            ("metrics --format text", "metrics.render", json!({ "format": "text" })),
            ("metrics render --format openmetrics", "metrics.render", json!({ "format": "openmetrics" })),
            ("backup create", "backup.create", json!({})),
            (
                "backup create --label a --target local --layout archive",
                "backup.create",
                json!({ "label": "a", "target": "local", "layout": "archive" }),
            ),
            ("backup create --tag a --tag b", "backup.create", json!({ "tags": ["a", "b"] })),
            ("backup list", "backup.list", json!({})),
            ("backup retain --target a", "backup.retain", json!({ "target": "a" })),
            ("backup retain --dry-run", "backup.retain", json!({ "dry_run": true })),
            ("backup hold 1f --reason x", "backup.hold", json!({ "snapshot_id": "1f", "reason": "x" })),
            (
                "backup hold 1f --reason x --by ann --target a",
                "backup.hold",
                json!({ "snapshot_id": "1f", "reason": "x", "by": "ann", "target": "a" }),
            ),
            ("backup release 1f", "backup.release", json!({ "snapshot_id": "1f" })),
            ("backup collect --target a", "backup.collect", json!({ "target": "a" })),
            (
                "backup collect --dry-run --accept-missing",
                "backup.collect",
                json!({ "dry_run": true, "accept_missing": true }),
            ),
            (
                "backup copy 1f --to a --identity-file /key",
                "backup.copy",
                json!({ "snapshot_id": "1f", "to": "a", "identity_file": "/key" }),
            ),
            (
                "restore plan /backup/uplifted_20260101_020000.tar.gz",
                "restore.plan",
                json!({ "snapshot_id": "/backup/uplifted_20260101_020000.tar.gz" }),
            ),
            ("backup show latest", "backup.show", json!({ "snapshot_id": "latest" })),
            ("backup verify 1f", "backup.verify", json!({ "snapshot_id": "1f", "depth": "full" })),
            ("backup verify 1f --depth data", "backup.verify", json!({ "snapshot_id": "1f", "depth": "data" })),
            ("backup drill", "backup.drill", json!({})),
            (
                "backup drill 1f --target a --check rows --check queries --into /tmp/look",
                "backup.drill",
                json!({ "snapshot_id": "1f", "target": "a", "checks": ["rows", "queries"], "into": "/tmp/look" }),
            ),
            ("backup bisect integrity", "backup.bisect", json!({ "check": "integrity" })),
            (
                "backup bisect query SELECT --store main",
                "backup.bisect",
                json!({ "check": "query", "query": "SELECT", "store": "main" }),
            ),
            ("backup sample --max-bytes 7", "backup.sample", json!({ "max_bytes": 7 })),
            ("backup copy 1f --to b", "backup.copy", json!({ "snapshot_id": "1f", "to": "b" })),
            ("backup copy 1f --from a --to b", "backup.copy", json!({ "snapshot_id": "1f", "from": "a", "to": "b" })),
            ("backup delete 1f", "backup.delete", json!({ "snapshot_id": "1f" })),
            (
                "backup delete 1f --dry-run --force --target a",
                "backup.delete",
                json!({ "snapshot_id": "1f", "dry_run": true, "force": true, "target": "a" }),
            ),
            ("restore plan 1f a b", "restore.plan", json!({ "snapshot_id": "1f", "paths": ["a", "b"] })),
            ("restore apply 1f --salvage", "restore.apply", json!({ "snapshot_id": "1f", "salvage": true })),
            ("restore plan 1f --target a", "restore.plan", json!({ "snapshot_id": "1f", "target": "a" })),
            ("restore undo u1", "restore.undo", json!({ "undo_id": "u1" })),
            ("restore undo", "restore.undo_list", json!({})),
            ("restore discard u1 u2", "restore.discard", json!({ "undo_ids": ["u1", "u2"] })),
            ("restore discard u1 --dry-run", "restore.discard", json!({ "undo_ids": ["u1"], "dry_run": true })),
            ("store stats", "store.stats", json!({})),
            ("store verify --store main", "store.verify", json!({ "store": "main", "depth": "full" })),
            ("schedule", "schedule.list", json!({})),
            ("schedule list", "schedule.list", json!({})),
            ("schedule run backup", "schedule.run", json!({ "job": "backup" })),
            ("journal", "journal.read", json!({ "limit": 50 })),
            (
                "journal --since 24h --operation backup.create --limit 3",
                "journal.read",
                json!({ "since": "2026-11-21T12:00:00Z", "operation": "backup.create", "limit": 3 }),
            ),
        ] {
            let invocation = parse(words);
            assert_eq!(invocation.operation, operation, "{words}");
            assert_eq!(invocation.request, request, "{words}");
        }
    }

    #[test]
    fn only_what_replaces_or_deletes_needs_consent() {
        for words in [
            "backup delete 1f",
            "backup collect",
            "backup retain",
            "restore apply 1f",
            "restore apply 1f config",
            "restore discard u1",
            "restore undo u1",
        ] {
            let consent = parse(words).consent.unwrap();
            assert!(!consent.given, "{words}");
        }
        assert_eq!(parse("backup delete 1f --force").consent.unwrap().request["dry_run"], true);
        assert_eq!(parse("restore apply 1f").consent.unwrap().operation, "restore.plan");
        assert!(parse("restore apply 1f -y").consent.unwrap().given);
        assert_eq!(parse("restore undo u1").consent.unwrap().request["dry_run"], true);
        assert!(parse("restore undo u1 --yes").consent.unwrap().given);
        for words in [
            "restore undo u1 --dry-run",
            "restore undo",
            "backup delete 1f --dry-run",
            "restore apply 1f --into x",
            "restore plan 1f",
            "backup create",
        ] {
            assert!(parse(words).consent.is_none(), "{words}");
        }
    }

    #[test]
    fn a_folder_is_relative_to_the_working_directory_and_a_name_may_hold_any_bytes() {
        let invocation = parse("restore apply 1f --into out");
        let expected = std::env::current_dir().unwrap().join("out");
        assert_eq!(invocation.request["into"], expected.to_str().unwrap());
        let path = path_value(&OsString::from_vec(vec![b'a', 0xff])).unwrap();
        assert_eq!(path, json!({ "bytes": "61ff" }));
    }

    #[test]
    fn moments_are_times_dates_or_ages() {
        for (text, expected) in [
            ("2026-11-22T18:16:21Z", "2026-11-22T18:16:21Z"),
            ("2026-11-22T18:16:21+02:00", "2026-11-22T16:16:21Z"),
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("90s", "2026-11-22T11:58:30Z"),
            ("7d", "2026-11-15T12:00:00Z"),
            ("2w", "2026-11-08T12:00:00Z"),
        ] {
            assert_eq!(moment(text, now()).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "h", "yesterday", "1.5h", "-3h", "12", "99999999999999999999d", "9999999999999w", "7é"] {
            assert!(moment(text, now()).is_err(), "{text:?}");
        }
    }
}
