//! The Python and the Node host: whether this machine can run them, and what they need, installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use uplifted_example::{Failure, say};

/// The folder of examples, in the sources that this program was built from.
fn examples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A language whose host is not compiled with this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// FastAPI, with the wheel in an environment of its own.
    Python,
    /// `node:http`, with the package as npm installs it.
    Node,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::Node => "Node",
        }
    }

    /// What is needed on the machine, and a command that succeeds when it is there.
    fn needs(self) -> (&'static str, [&'static str; 3]) {
        match self {
            Self::Python => (
                "Python 3.11 with venv",
                ["python3", "-c", "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"],
            ),
            Self::Node => (
                "Node.js 20 with npm",
                ["sh", "-c", "npm --version && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'"],
            ),
        }
    }

    /// The sources, below the folder of examples. When one of them is newer than what is installed, that is stale.
    fn sources(self) -> [&'static str; 3] {
        match self {
            Self::Python => ["../core/src", "../bindings-python", "python"],
            Self::Node => ["../core/src", "../bindings-node", "node"],
        }
    }

    /// Installs the package and what the host needs beside it into a folder of its own in `hosts`, unless that was done
    /// already. The command that starts the host; `None`, said in a line, when this machine cannot run it.
    pub(crate) fn equip(self, hosts: &Path) -> Result<Option<Command>, Failure> {
        let (needed, probe) = self.needs();
        let found = Command::new(probe[0]).args(&probe[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            say!("   {} is left out: {needed} is not installed", self.name())?;
            return Ok(None);
        }
        let folder = hosts.join(self.name().to_lowercase());
        let stamp = folder.join(".installed");
        let sources = self.sources().map(|source| examples().join(source));
        let installed = fs::metadata(&stamp).and_then(|meta| meta.modified()).ok();
        if installed.is_none_or(|installed| sources.iter().any(|source| newest(source) > Some(installed))) {
            self.install(hosts, &folder)?;
            File::create(&stamp)?;
        }
        Ok(Some(self.command(&folder)))
    }

    fn install(self, hosts: &Path, folder: &Path) -> Result<(), Failure> {
        let name = self.name();
        say!("   The package for {name} is built and installed; the first time this takes a few minutes")?;
        fs::create_dir_all(hosts)?;
        let log = folder.with_extension("log");
        let output = File::create(&log)?;
        let profiles = if cfg!(debug_assertions) { ["dev", "debug"] } else { ["release", "release"] };
        let status = Command::new(examples().join(name.to_lowercase()).join("install"))
            .arg(folder)
            .envs([("PROFILE", profiles[0]), ("UPLIFTED_OPS_NODE_PROFILE", profiles[1])])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()?;
        if status.success() {
            return Ok(());
        }
        let others = name.to_lowercase();
        Err(format!(
            "the host in {name} could not be installed: see {}, or leave it out with --without {others}",
            log.display()
        )
        .into())
    }

    fn command(self, folder: &Path) -> Command {
        let (program, script) = match self {
            Self::Python => (folder.join("bin/python"), examples().join("python/app.py")),
            Self::Node => ("node".into(), folder.join("dist/src/app.js")),
        };
        let mut command = Command::new(program);
        command.arg(script);
        command
    }
}

/// When the youngest file below `path` was written, what installing itself writes left aside.
fn newest(path: &Path) -> Option<SystemTime> {
    const WRITTEN: [&str; 5] = ["node_modules", "dist", "__pycache__", "tests", "package-lock.json"];
    let name = path.file_name()?.to_string_lossy().into_owned();
    if WRITTEN.contains(&name.as_str()) || name.ends_with(".node") || name.ends_with(".tgz") {
        return None;
    }
    let meta = fs::metadata(path).ok()?;
    if !meta.is_dir() {
        return meta.modified().ok();
    }
    fs::read_dir(path).ok()?.flatten().filter_map(|entry| newest(&entry.path())).max()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_youngest_source_counts_and_not_what_installing_writes() {
        let folder = tempfile::tempdir().unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (name, age) in [("src/a.rs", 5), ("src/b/c.rs", 9), ("dist/x.js", 100), ("a.node", 100)] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(&path).unwrap().set_modified(old + Duration::from_secs(age)).unwrap();
        }
        assert_eq!(newest(folder.path()), Some(old + Duration::from_secs(9)));
        assert_eq!(newest(&folder.path().join("missing")), None);
    }

    #[test]
    fn the_sources_of_both_are_there() {
        for language in [Language::Python, Language::Node] {
            for source in language.sources() {
                assert!(newest(&examples().join(source)).is_some(), "{source}");
            }
        }
    }
}
