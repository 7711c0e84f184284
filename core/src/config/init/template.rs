//! The text of a first `ops.toml`: what a person would have written, comments included.

use std::fmt::Write;
use std::path::Path;

use super::discover::Database;
use super::layout::Layout;
use super::{InitFacts, InitFound};
use crate::config::HostFacts;

/// Everything that the text depends on.
pub(super) struct Scene<'a> {
    pub(super) root: &'a Path,
    pub(super) facts: &'a InitFacts,
    pub(super) host: &'a HostFacts,
    pub(super) layout: &'a Layout,
    pub(super) databases: &'a [Database],
}

/// Writes the text, and notes in `found` what it used.
pub(super) fn render(scene: &Scene<'_>, found: &mut InitFound) -> String {
    let mut text = String::from(
        "# Operations of this service: health, metrics, backup and restore.\n\
         # Paths are relative to this file's folder. `uplifted-ops config check` looks this file over,\n\
         # `uplifted-ops config show` prints every setting with its default and its source.\n",
    );
    for part in
        [service(scene, found), stores(scene, found), backup(scene), target(scene), check(scene, found), later(scene)]
    {
        if !part.is_empty() {
            text.push('\n');
            text.push_str(&part);
        }
    }
    found.variables.sort();
    found.variables.dedup();
    text
}

fn service(scene: &Scene<'_>, found: &mut InitFound) -> String {
    let name = name_of(scene.root);
    let mut text = format!("[service]\nname = {}\n", quoted(&name));
    let log = match &scene.host.logging_file {
        Some(fact) => {
            found.variables.push(fact.variable.clone());
            let path = fact.value.strip_prefix(scene.root).unwrap_or(&fact.value);
            path.to_str().map(str::to_owned)
        }
        None => the_log(scene.root, &name),
    };
    if let Some(log) = log {
        text += &format!("log = {}\n", quoted(&log));
    }
    text += "# A restore into this folder needs the service stopped. Programs with arguments, never a shell line:\n";
    text += &format!("# stop = [\"systemctl\", \"stop\", {}]\n", quoted(&name));
    text += &format!("# start = [\"systemctl\", \"start\", {}]\n", quoted(&name));
    text
}

/// `logs/<name>.log`, or the only log there is.
fn the_log(root: &Path, name: &str) -> Option<String> {
    let usual = format!("logs/{name}.log");
    if root.join(&usual).is_file() {
        return Some(usual);
    }
    let mut logs = std::fs::read_dir(root.join("logs")).ok()?.take(1000).filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.ends_with(".log").then(|| format!("logs/{name}"))
    });
    let only = logs.next()?;
    logs.next().is_none().then_some(only)
}

fn stores(scene: &Scene<'_>, found: &mut InitFound) -> String {
    let has = |kind: &str| scene.facts.build.stores.iter().any(|known| known == kind);
    let mut text = String::new();
    if has("sqlite") {
        for Database { name, path } in scene.databases {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ =
                write!(text, "{gap}[[store]]\nname = {}\nkind = \"sqlite\"\npath = {}\n", quoted(name), quoted(path));
        }
    } else if !scene.databases.is_empty() {
        text += "# This build has no stores of kind \"sqlite\": the databases here are not copied consistently.\n";
        found.notes.push("there are SQLite databases, and this build cannot copy them consistently".to_owned());
    }
    let url = scene.host.database_url.as_ref().filter(|fact| {
        let scheme = fact.value.reveal().split(':').next().unwrap_or_default();
        matches!(scheme.split('+').next(), Some("postgres" | "postgresql"))
    });
    if let Some(fact) = url {
        found.variables.push(fact.variable.clone());
        let gap = if text.is_empty() { "" } else { "\n" };
        if has("postgres") {
            let name = if scene.databases.iter().any(|database| database.name == "main") { "postgres" } else { "main" };
            let reference = quoted(&format!("env:{}", fact.variable));
            let _ = write!(text, "{gap}[[store]]\nname = {}\nkind = \"postgres\"\nurl = {reference}\n", quoted(name));
        } else {
            let _ = write!(
                text,
                "{gap}# {} names a PostgreSQL database. This build has no stores of kind \"postgres\":\n\
                 # back that database up by other means.\n",
                fact.variable
            );
            found.notes.push(format!("{} names a PostgreSQL database, which this build cannot back up", fact.variable));
        }
    }
    text
}

fn backup(scene: &Scene<'_>) -> String {
    let included: Vec<String> = scene.layout.included.iter().map(|entry| quoted(&entry.name)).collect();
    let mut text = String::from("[backup]\n");
    if !scene.layout.is_the_guides {
        text += "# Everything in the folder but what is left out below. Remove what is not the service's data.\n";
    }
    text += &list("include", &included);
    text += "# Left out. What is in neither list is reported by `uplifted-ops config check`.\n";
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    // The one pattern covers it at every depth.
    for entry in scene.layout.left_out.iter().filter(|entry| entry.name != "__pycache__") {
        match reasons.iter_mut().find(|(why, _)| *why == entry.why) {
            Some((_, names)) => names.push(&entry.name),
            None => reasons.push((&entry.why, vec![&entry.name])),
        }
    }
    text += "exclude = [\n  \"**/__pycache__\",\n";
    for (why, names) in reasons {
        let patterns: Vec<String> = names.into_iter().map(|name| quoted(&literal(name))).collect();
        let _ = writeln!(text, "  {}, # {why}", patterns.join(", "));
    }
    text += "]\n";
    text += clear_secrets(scene);
    if scene.facts.build.acts_on("backup.schedule") {
        text += "# Cron expressions, in the machine's time zone or that of [service] timezone. Whatever was missed while the\n\
                 # service was down is made up for once, after its start.\n\
                 schedule = \"0 2 * * *\"\n";
        if scene.facts.build.acts_on("backup.layout") {
            text += "# Scheduled backups share content in a repository, and `uplifted-ops backup create` makes an archive, one file to\n\
                     # carry away. Set, this counts for both:\n\
                     # layout = \"repository\"\n";
        }
    }
    if scene.facts.build.acts_on("backup.verify_schedule") {
        text += "# Reads a part of what is stored, every byte within verify_days (30).\n\
                 verify_schedule = \"0 4 * * *\"\n";
    }
    if scene.facts.build.acts_on("backup.drill_schedule") {
        text += "# Restores the newest backup into scratch and puts it to the test.\n\
                 drill_schedule = \"0 5 1 * *\"\n";
    }
    if scene.facts.build.acts_on("backup.retention") {
        text += "# What is kept of them after each scheduled backup. Nothing is deleted before min_verified backups are verified.\n";
        text += "retention = { keep_last = 3, daily = 7, weekly = 4, monthly = 12, min_verified = 2 }\n";
    }
    text
}

/// As long as there is no key: secrets are stored in clear, and the file says so.
fn clear_secrets(scene: &Scene<'_>) -> &'static str {
    if scene.facts.has_key {
        return "";
    }
    if scene.facts.build.acts_on("backup.encryption") {
        "# Backups are not encrypted yet: whoever can read a target reads .env and every other secret in them. To end that,\n\
         # make a key on another machine (`age-keygen -o backup-key.txt`), write its public half below, run\n\
         # `uplifted-ops backup keys init`, and remove this line.\n\
         clear_secrets = true\n\
         # encryption = { recipients = [\"age1…\"] }\n"
    } else {
        "# Backups are not encrypted, since this build cannot do it: whoever can read a target reads .env and every other\n\
         # secret in them.\n\
         clear_secrets = true\n"
    }
}

/// `key = [ … ]`, on one line where it fits.
fn list(key: &str, items: &[String]) -> String {
    let line = format!("{key} = [{}]\n", items.join(", "));
    if line.len() <= 100 {
        return line;
    }
    let items: String = items.iter().map(|item| format!("  {item},\n")).collect();
    format!("{key} = [\n{items}]\n")
}

fn target(scene: &Scene<'_>) -> String {
    if !scene.facts.build.targets.iter().any(|kind| kind == "fs") {
        return "# This build has no targets of kind \"fs\": add a [[target]] of a kind that it has.\n".to_owned();
    }
    let parent = &scene.facts.backup_parent;
    let folder = scene.root.file_name().map(|name| name.to_string_lossy().into_owned());
    let (path, comment) = if parent.is_dir() && is_writable(parent) {
        (
            parent.join(name_of(scene.root)).display().to_string(),
            "# Better on another disk than the service, best on another machine as well.\n",
        )
    } else if let Some(folder) = folder.filter(|_| scene.root.parent().is_some_and(is_writable)) {
        (
            format!("../{folder}-backups"),
            "# Beside the service: this survives a mistake, not the loss of the disk. Another disk is better.\n",
        )
    } else {
        (
            "backups".to_owned(),
            "# Inside the service's folder, the only one that this user may write. Another disk is better.\n",
        )
    };
    format!("[[target]]\nname = \"local\"\nkind = \"fs\"\n{comment}path = {}\n", quoted(&path))
}

fn is_writable(folder: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

fn check(scene: &Scene<'_>, found: &mut InitFound) -> String {
    if !scene.facts.build.checks.iter().any(|kind| kind == "http") {
        return String::new();
    }
    let intro = "# Disk, process, databases and the age of the last backup are checked without being named.\n";
    let entry =
        |url: &str| ["[[check]]", "name = \"api\"", "kind = \"http\"", &format!("url = {}", quoted(url))].join("\n");
    match &scene.host.server_port {
        Some(port) => {
            found.variables.push(port.variable.clone());
            let host = match scene.host.server_host.as_ref().map(|fact| fact.value.as_str()) {
                None | Some("" | "0.0.0.0" | "::" | "[::]" | "*") => "127.0.0.1".to_owned(),
                Some(address) if address.contains(':') && !address.starts_with('[') => format!("[{address}]"),
                Some(address) => address.to_owned(),
            };
            format!("{intro}{}\n", entry(&format!("http://{host}:{}/status", port.value)))
        }
        // Nothing says where the service listens, and a check that asks the wrong port always fails.
        None => {
            let commented: String =
                entry("http://127.0.0.1:7541/status").lines().map(|line| format!("# {line}\n")).collect();
            format!("{intro}# Where the service answers over HTTP:\n{commented}")
        }
    }
}

fn later(scene: &Scene<'_>) -> String {
    let mut text = String::new();
    if scene.facts.build.acts_on("metrics.listen") {
        text += "# Serves the probes, /metrics and the operations on a port of its own, also while the service is busy.\n\
                 # 9090 is Prometheus' own port.\n# [metrics]\n# listen = \"127.0.0.1:9464\"\n";
    }
    let has = |kind: &str| scene.facts.build.sinks.iter().any(|known| known == kind);
    if has("statsd") && has("otlp") {
        if !text.is_empty() {
            text.push('\n');
        }
        text += "# Where no Prometheus asks for the metrics, they are sent: to a StatsD server, or with kind = \"otlp\" and an\n\
                 # endpoint to an OpenTelemetry collector.\n\
                 # [[sink]]\n# name = \"agent\"\n# kind = \"statsd\"\n# address = \"127.0.0.1:8125\"\n";
    }
    text
}

/// The folder's name, as a service is called.
fn name_of(root: &Path) -> String {
    root.file_name().map_or_else(|| "service".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// A glob that matches `name` and nothing else.
fn literal(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '!' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
