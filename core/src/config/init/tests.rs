use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::config::{Config, LoadInput, Severity, check, load};

fn facts(folder: &Path) -> InitFacts {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    InitFacts {
        build: BuildFacts {
            stores: names(&["sqlite"]),
            targets: names(&["fs"]),
            checks: names(&["disk", "http"]),
            sinks: names(&["otlp", "statsd", "textfile"]),
            acts_on: Vec::new(),
        },
        backup_parent: folder.join("no-such-folder"),
        ..InitFacts::default()
    }
}

fn put(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn database() -> Vec<u8> {
    [b"SQLite format 3\0".as_slice(), &[0; 496]].concat()
}

/// The guide's layout, with all that lies about in a real one.
fn the_guides() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    let root = folder.path().join("uplifted");
    put(&root, "data/uplifted.db", &database());
    put(&root, "data/uplifted.db-wal", b"w");
    put(&root, "data/plugins/search.db", &database());
    put(&root, "data/deep/a/b/c/d/e/hidden.db", &database());
    put(&root, "data/node_modules/x/cache.db", &database());
    put(&root, "data/small.db", b"SQLite format 3\0");
    put(&root, "data/text.db", &[b'x'; 200]);
    put(&root, "config/config.yaml", b"a: 1\n");
    put(&root, ".env", b"UPLIFTED__LOGGING__LEVEL=INFO\n");
    put(&root, "plugins/a/plugin.py", b"");
    put(&root, "plugins/a/__pycache__/x.pyc", b"");
    put(&root, "logs/uplifted.log", b"");
    put(&root, "logs/error.log", b"");
    put(&root, "uploads/a.png", b"");
    put(&root, "scripts/backup.sh", b"");
    put(&root, "README.md", b"");
    put(&root, "extra.yaml", b"");
    put(&root, ".git/HEAD", b"");
    put(&root, "venv/pyvenv.cfg", b"");
    put(&root, "my-env/pyvenv.cfg", b"");
    put(&root, "__pycache__/x.pyc", b"");
    put(&root, "service.pid", b"1");
    put(&root, "odd[1] \"name\"", b"");
    symlink("data", root.join("current")).unwrap();
    (folder, root)
}

/// Writes the plan, reads it back, and returns what there is to say about it.
fn written(plan: &InitPlan, facts: &InitFacts) -> (Config, Vec<String>) {
    write_init(plan).unwrap();
    let root = plan.path.parent().unwrap();
    let config = load(&LoadInput { environment: facts.environment.clone(), ..LoadInput::new(root) }).unwrap();
    let findings = check(&config, &facts.build);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Warning), "{findings:#?}");
    let findings = findings.into_iter().map(|finding| format!("{}: {}", finding.key, finding.message)).collect();
    (config, findings)
}

#[test]
fn a_build_that_encrypts_says_how_until_there_is_a_key() {
    let (folder, root) = the_guides();
    let mut facts = facts(folder.path());
    facts.build.acts_on.push("backup.encryption".to_owned());
    let text = plan_init(&root, &facts).unwrap().text;
    assert!(text.contains("\nclear_secrets = true\n# encryption = { recipients = [\"age1…\"] }\n"), "{text}");
    // The line that is commented out is right as it stands.
    let without = text.replace("# encryption = ", "encryption = ");
    assert!(file::parse(&without, FILE_NAME).is_ok());
    facts.has_key = true;
    assert!(!plan_init(&root, &facts).unwrap().text.contains("clear_secrets"));
}

#[test]
fn the_guides_folder() {
    let (folder, root) = the_guides();
    let facts = facts(folder.path());
    let plan = plan_init(&root, &facts).unwrap();
    assert!(!root.join("ops.toml").exists(), "a plan writes nothing");
    let expected = r#"# Operations of this service: health, metrics, backup and restore.
# Paths are relative to this file's folder. `uplifted-ops config check` looks this file over,
# `uplifted-ops config show` prints every setting with its default and its source.

[service]
name = "uplifted"
log = "logs/uplifted.log"
# A restore into this folder needs the service stopped. Programs with arguments, never a shell line:
# stop = ["systemctl", "stop", "uplifted"]
# start = ["systemctl", "start", "uplifted"]

[[store]]
name = "uplifted"
kind = "sqlite"
path = "data/uplifted.db"

[[store]]
name = "search"
kind = "sqlite"
path = "data/plugins/search.db"

[backup]
include = ["data", "config", ".env", "plugins", "extra.yaml", "uploads", "ops.toml"]
# Left out. What is in neither list is reported by `uplifted-ops config check`.
exclude = [
  "**/__pycache__",
  ".git", # version control
  "README.md", "current", 'odd\[1\] "name"', "scripts", # neither data nor configuration
  "logs", # log files
  "my-env", "venv", # installed packages
  "service.pid", # of the running process
]
# Backups are not encrypted, since this build cannot do it: whoever can read a target reads .env and every other
# secret in them.
clear_secrets = true

[[target]]
name = "local"
kind = "fs"
# Beside the service: this survives a mistake, not the loss of the disk. Another disk is better.
path = "../uplifted-backups"

# Disk, process, databases and the age of the last backup are checked without being named.
# Where the service answers over HTTP:
# [[check]]
# name = "api"
# kind = "http"
# url = "http://127.0.0.1:7541/status"

# Where no Prometheus asks for the metrics, they are sent: to a StatsD server, or with kind = "otlp" and an
# endpoint to an OpenTelemetry collector.
# [[sink]]
# name = "agent"
# kind = "statsd"
# address = "127.0.0.1:8125"
"#;
    assert_eq!(plan.text, expected);
    assert_eq!(plan.found.databases, ["data/uplifted.db", "data/plugins/search.db"]);
    assert_eq!(plan.found.notes, Vec::<String>::new());

    let (config, findings) = written(&plan, &facts);
    assert_eq!(config.settings.stores.len(), 2);
    assert_eq!(plan.path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    // The one thing left to say is true, and stands in the file as well.
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].contains("same disk"), "{findings:#?}");
}

#[test]
fn the_services_own_settings_are_used() {
    let (folder, root) = the_guides();
    std::fs::create_dir(folder.path().join("backup")).unwrap();
    let mut facts = facts(folder.path());
    facts.backup_parent = folder.path().join("backup");
    put(
        &root,
        ".env",
        b"UPLIFTED__DATABASE__PATH=./data/plugins/search.db\nUPLIFTED__SERVER__HOST=0.0.0.0\n\
          UPLIFTED__LOGGING__FILE=logs/error.log\n",
    );
    facts.environment = vec![("UPLIFTED__SERVER__PORT".into(), "8000".into())];
    let plan = plan_init(&root, &facts).unwrap();
    for line in [
        "name = \"main\"\nkind = \"sqlite\"\npath = \"data/plugins/search.db\"\n",
        "log = \"logs/error.log\"\n",
        "\n[[check]]\nname = \"api\"\nkind = \"http\"\nurl = \"http://127.0.0.1:8000/status\"\n",
        &format!("path = \"{}/uplifted\"\n", facts.backup_parent.canonicalize().unwrap().display()),
    ] {
        assert!(plan.text.contains(line), "{line} is not in {}", plan.text);
    }
    assert_eq!(plan.found.variables, ["UPLIFTED__DATABASE__PATH", "UPLIFTED__LOGGING__FILE", "UPLIFTED__SERVER__PORT"]);
    written(&plan, &facts);
}

#[test]
fn a_postgres_url_is_referred_to_and_never_copied() {
    let (folder, root) = the_guides();
    let mut facts = facts(folder.path());
    facts.environment = vec![("UPLIFTED__DATABASE__URL".into(), "postgresql+asyncpg://u:hunter2@h/x".into())];
    let plan = plan_init(&root, &facts).unwrap();
    assert!(plan.text.contains("# UPLIFTED__DATABASE__URL names a PostgreSQL database. This build has no"));
    facts.build.stores.push("postgres".into());
    let plan = plan_init(&root, &facts).unwrap();
    assert!(plan.text.contains("kind = \"postgres\"\nurl = \"env:UPLIFTED__DATABASE__URL\"\n"), "{}", plan.text);
    assert!(!format!("{plan:?} {facts:?}").contains("hunter2"));
    written(&plan, &facts);
}

#[test]
fn an_unknown_layout_lists_everything() {
    let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    let root = folder.path().join("a \"b\" \\ c");
    put(&root, "store/main.sqlite", &database());
    put(&root, "app.js", b"");
    put(&root, "node_modules/x.js", b"");
    put(&root, "debug.log", b"");
    put(&root, "Cargo.toml", b"");
    put(&root, "target/x", b"");
    let facts = facts(folder.path());
    let plan = plan_init(&root, &facts).unwrap();
    assert_eq!(plan.found.included, ["Cargo.toml", "app.js", "store", "ops.toml"]);
    assert!(plan.text.contains("name = \"main\"\nkind = \"sqlite\"\npath = \"store/main.sqlite\""), "{}", plan.text);
    let (config, findings) = written(&plan, &facts);
    assert_eq!(config.settings.service.name, "a \"b\" \\ c");
    assert_eq!(findings.len(), 1, "{findings:#?}");
}

#[test]
fn a_build_that_schedules_gets_a_schedule() {
    let (folder, root) = the_guides();
    let mut facts = facts(folder.path());
    let keys = ["backup.schedule", "backup.layout", "backup.verify_schedule", "backup.drill_schedule"];
    facts.build.acts_on = keys.map(str::to_owned).to_vec();
    let plan = plan_init(&root, &facts).unwrap();
    let expected = "
clear_secrets = true
# Cron expressions, in the machine's time zone or that of [service] timezone. Whatever was missed while the
# service was down is made up for once, after its start.
schedule = \"0 2 * * *\"
# Scheduled backups share content in a repository, and `uplifted-ops backup create` makes an archive, one file to
# carry away. Set, this counts for both:
# layout = \"repository\"
# Reads a part of what is stored, every byte within verify_days (30).
verify_schedule = \"0 4 * * *\"
# Restores the newest backup into scratch and puts it to the test.
drill_schedule = \"0 5 1 * *\"

[[target]]";
    assert!(plan.text.contains(expected), "{}", plan.text);
    let (config, _) = written(&plan, &facts);
    assert_eq!(config.settings.backup.schedule.as_deref(), Some("0 2 * * *"));
}

#[test]
fn an_empty_folder_and_a_small_build() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan_init(folder.path(), &InitFacts::default()).unwrap();
    assert!(!plan.text.contains("[[") || plan.text.contains("# This build has no targets"), "{}", plan.text);
    assert!(!plan.text.lines().any(|line| line.starts_with("[[")), "{}", plan.text);
    write_init(&plan).unwrap();
    load(&LoadInput::new(folder.path())).unwrap();
}

#[test]
fn a_file_that_exists_is_not_replaced() {
    let (folder, root) = the_guides();
    let facts = facts(folder.path());
    let plan = plan_init(&root, &facts).unwrap();
    put(&root, "ops.toml", b"# mine\n");
    for error in [write_init(&plan).unwrap_err(), plan_init(&root, &facts).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().ends_with("exists already"), "{error}");
    }
    assert_eq!(std::fs::read(root.join("ops.toml")).unwrap(), b"# mine\n");
}

#[test]
fn what_is_replaced_is_kept_beside_whatever_it_holds() {
    let (folder, root) = the_guides();
    let facts = InitFacts { force: true, ..facts(folder.path()) };
    let mine = root.join("ops.toml");
    for (content, kept) in [(&b"# mine\n"[..], "ops.toml.old"), (b"= \xff [[", "ops.toml.old-2")] {
        put(&root, "ops.toml", content);
        std::fs::set_permissions(&mine, std::fs::Permissions::from_mode(0o640)).unwrap();
        let plan = plan_init(&root, &facts).unwrap();
        assert_eq!(plan.kept, Some(root.canonicalize().unwrap().join(kept)));
        assert!(!plan.found.included.iter().any(|name| name.contains(".old")), "{:?}", plan.found.included);
        write_init(&plan).unwrap();
        assert_eq!(std::fs::read(root.join(kept)).unwrap(), content);
        assert_eq!(std::fs::metadata(root.join(kept)).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(std::fs::read_to_string(&mine).unwrap().contains("[backup]"));
        // The name has been taken since the plan: neither file is lost.
        let ours = std::fs::read(&mine).unwrap();
        assert_eq!(write_init(&plan).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(std::fs::read(&mine).unwrap(), ours);
        assert_eq!(std::fs::read(root.join(kept)).unwrap(), content);
    }
}

#[test]
fn the_plan_survives_the_way_to_another_process() {
    let (folder, root) = the_guides();
    let plan = plan_init(&root, &facts(folder.path())).unwrap();
    let back: InitPlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(back, plan);
}
