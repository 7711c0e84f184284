//! A service folder, its target, and the command line under test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A service folder with its own target, both in a temporary folder.
#[derive(Debug)]
pub struct Scene {
    folder: TempDir,
    /// The command line to run.
    program: PathBuf,
    /// By how much the clock of its machine is ahead of the target's, negative when it is behind.
    pub clock_off_seconds: i64,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answered {
    /// The exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// The JSON on stdout, null when there was none.
    pub json: Value,
    /// What it said on stderr.
    pub stderr: String,
}

impl Answered {
    /// Reads what a command printed.
    pub fn of(output: &Output) -> Self {
        Self {
            status: output.status.code().filter(|code| *code < 128),
            json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The response; panics with everything there is to know unless the command exited 0.
    pub fn done(self) -> Value {
        assert_eq!(self.status, Some(0), "{}\n{}", self.json, self.stderr);
        self.json
    }

    /// The `kind` of the error; panics unless the command exited 2.
    pub fn error_kind(&self) -> &str {
        assert_eq!(self.status, Some(2), "{}\n{}", self.json, self.stderr);
        self.json["error"]["kind"].as_str().unwrap_or_default()
    }
}

impl Scene {
    /// A small service in the guide's layout: a database in WAL mode, configuration, a private `.env`,
    /// plugins with links, and a log that is not backed up.
    pub fn small(program: &str) -> Self {
        let scene =
            Self { folder: tempfile::tempdir().unwrap(), program: PathBuf::from(program), clock_off_seconds: 0 };
        let root = scene.root();
        for folder in ["data", "config", "plugins/one", "logs"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        scene.write("config/config.yaml", "port: 7541\n");
        scene.write(".env", "UPLIFTED__DATABASE__PATH=data/uplifted.db\nAPI_KEY=hunter2\n");
        fs::set_permissions(root.join(".env"), fs::Permissions::from_mode(0o600)).unwrap();
        scene.write("plugins/one/manifest.yaml", "name: one\n");
        scene.write("plugins/one/empty", "");
        symlink("one", root.join("plugins/current")).unwrap();
        fs::hard_link(root.join("plugins/one/manifest.yaml"), root.join("plugins/one/second")).unwrap();
        scene.write("logs/uplifted.log", "2025-10-28 10:30:45,123 - uplifted.api - INFO - started\n");
        scene.sql(
            "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t(v) VALUES ('one');",
        );
        scene.configure("");
        scene
    }

    /// Writes `ops.toml` with a target beside the root; `more` is appended.
    pub fn configure(&self, more: &str) {
        let target = self.target();
        self.write(
            "ops.toml",
            &format!(
                "[service]\nname = \"uplifted\"\n\n[[store]]\nname = \"main\"\nkind = \"sqlite\"\npath = \"data/uplifted.db\"\n\n\
                 [backup]\ninclude = [\"data\", \"config\", \".env\", \"plugins\"]\nclear_secrets = true\n\n\
                 [[target]]\nname = \"local\"\nkind = \"fs\"\npath = {target:?}\n{more}"
            ),
        );
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("uplifted")
    }

    pub fn target(&self) -> PathBuf {
        self.folder.path().join("backups")
    }

    /// A path beside the root, for restores.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs SQL on the service's database.
    pub fn sql(&self, sql: &str) {
        self.database().execute_batch(sql).unwrap();
    }

    /// A connection to the service's database.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.root().join("data/uplifted.db")).unwrap()
    }

    /// Runs `uplifted-ops --root ROOT ARGS…`, with a hang guard of two minutes.
    pub fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> Output {
        self.run_in(&[], args, environment)
    }

    /// The same as the last argument of another program, such as `strace`. Returns when all that it started has
    /// ended: a descriptor that everything inherits holds the pipe of standard error open.
    pub fn run_in(&self, wrapper: &[String], args: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new("sh")
            .args(["-c", "exec \"$@\" 9>&2", "sh", "timeout", "--signal=KILL", "120"])
            .args(wrapper)
            .arg(&self.program)
            .arg("--root")
            .arg(self.root())
            .args(args)
            .env_remove("UPLIFTED_OPS_FAULT")
            .env("UPLIFTED_OPS_CLOCK_OFF", self.clock_off_seconds.to_string())
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// The command line under test.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs an operation.
    pub fn call(&self, name: &str, request: &Value) -> Answered {
        self.call_with(name, request, &[])
    }

    /// Runs an operation with more environment.
    pub fn call_with(&self, name: &str, request: &Value, environment: &[(&str, &str)]) -> Answered {
        Answered::of(&self.run(&["call", name, &request.to_string()], environment))
    }

    /// The archives that are visible in the target.
    pub fn archives(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(self.target())
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".tar.zst")));
        found.sort();
        found
    }

    /// Copies the whole scene (root, state, target) with `cp -a`, so that a run can be repeated from here.
    pub fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let done = Command::new("cp")
            .arg("-a")
            .arg(format!("{}/.", self.folder.path().display()))
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(done.success());
        let copy = Self { folder, program: self.program.clone(), clock_off_seconds: self.clock_off_seconds };
        copy.rewrite_target();
        copy
    }

    /// Another machine with the same service, which has never run, and the same target.
    pub fn other_machine(&self) -> Self {
        let other = self.copy();
        let _ = fs::remove_dir_all(other.root().join(".uplifted-ops"));
        other.name_target(&self.target());
        other
    }

    /// Lets time pass, for this machine and for the target: what lies there becomes older, and the commands' clock is ahead
    /// by as much.
    pub fn pass(&mut self, hours: u64) {
        self.clock_off_seconds += i64::try_from(hours).unwrap() * 3600;
        let mut folders = vec![self.target()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let (path, meta) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
                if meta.is_dir() {
                    folders.push(path);
                } else {
                    let file = fs::File::options().write(true).open(path).unwrap();
                    file.set_modified(meta.modified().unwrap() - Duration::from_secs(hours * 3600)).unwrap();
                }
            }
        }
    }

    /// The copy's `ops.toml` names the copy's target; its times stay those of the original.
    fn rewrite_target(&self) {
        self.name_target(&self.target());
    }

    /// Makes `ops.toml` name another folder as the target.
    pub fn name_target(&self, target: &Path) {
        let path = self.root().join("ops.toml");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                let ours = line.starts_with("path = \"/") && line.contains("backups");
                if ours { format!("path = {target:?}") } else { line.to_owned() }
            })
            .collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
}

/// All points that a run passes in a role, by tracing it: how many there are, and what each is.
pub fn trace(scene: &Scene, role: &str, name: &str, request: &Value) -> Vec<String> {
    let file = scene.beside("trace");
    let plan = format!("{role}:trace@{}", file.display());
    scene.call_with(name, request, &[("UPLIFTED_OPS_FAULT", &plan)]).done();
    lines_of(&file)
}

fn lines_of(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}
