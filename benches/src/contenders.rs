//! Who is timed, and how each does its job.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use uplifted_example::Failure;

use crate::program::{Measure, measure, measure_pipe};

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Place {
    /// The service's folder.
    pub(crate) service: PathBuf,
    /// Where the harness writes, on the same filesystem.
    pub(crate) work: PathBuf,
    /// The command line of `uplifted-ops`.
    pub(crate) ours: PathBuf,
    /// The layout of our backups; settings, state and target of each have names of their own.
    pub(crate) layout: &'static str,
}

impl Place {
    /// A path in the work folder.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// The service's database.
    pub(crate) fn database(&self) -> PathBuf {
        self.service.join("data/uplifted.db")
    }

    /// Our target.
    pub(crate) fn target(&self) -> String {
        format!("ours-{}", self.layout)
    }

    /// Removes something from the work folder.
    pub(crate) fn clear(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.at(name);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
        Ok(path)
    }

    /// A folder that never was. Restores go into one each, and none is removed before the job is over: ext4
    /// passes over what was deleted in the last minutes when it looks for a free inode (`recently_deleted`), so
    /// whoever makes files after a removal pays for it.
    pub(crate) fn fresh(&self) -> Result<PathBuf, Failure> {
        let all = self.at(RESTORES);
        fs::create_dir_all(&all)?;
        let count = fs::read_dir(&all)?.count();
        Ok(all.join(count.to_string()))
    }

    /// Removes what the contenders restored.
    pub(crate) fn tidy(&self) -> Result<(), Failure> {
        self.clear(RESTORES).map(drop)
    }

    /// Settings whose state and target lie in the work folder: the service is only read.
    pub(crate) fn write_settings(&self) -> Result<(), Failure> {
        let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
        let settings = format!(
            "[service]\nname = \"uplifted\"\nroot = {}\n\n[state]\npath = {}\n\n[backup]\ninclude = [\".\"]\nlayout = \"{}\"\nclear_secrets = true\n\n\
             [[store]]\nname = \"main\"\nkind = \"sqlite\"\npath = \"data/uplifted.db\"\n\n\
             [[target]]\nname = \"local\"\nkind = \"fs\"\npath = {}\n",
            quoted(&self.service),
            quoted(&self.at(&format!("state-{}", self.layout))),
            self.layout,
            quoted(&self.at(&self.target())),
        );
        Ok(fs::write(self.settings(), settings)?)
    }

    fn settings(&self) -> PathBuf {
        self.at(&format!("ops-{}.toml", self.layout))
    }

    /// An operation of ours.
    pub(crate) fn call(&self, name: &str, request: &Value) -> Command {
        let mut command = Command::new(&self.ours);
        command.arg("--root").arg(&self.service).arg("--config").arg(self.settings());
        command.args(["--quiet", "call", name, &request.to_string()]);
        command
    }
}

/// One way to do a job.
#[derive(Clone, Copy)]
pub(crate) struct Contender {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// Programs it needs.
    pub(crate) needs: &'static [&'static str],
    /// Makes the scene; not timed.
    pub(crate) prepare: fn(&Place) -> Result<(), Failure>,
    /// Does it.
    pub(crate) run: fn(&Place) -> Result<Measure, Failure>,
}

/// A job, and who does it. The first is ours.
pub(crate) struct Job {
    /// What is done.
    pub(crate) name: &'static str,
    /// Makes each round's scene, before the first contender of it; not timed.
    pub(crate) scene: fn(&Place) -> Result<(), Failure>,
    /// Who does it.
    pub(crate) contenders: &'static [Contender],
}

/// Nothing to prepare.
pub(crate) fn ready(_: &Place) -> Result<(), Failure> {
    Ok(())
}

/// The jobs in their order: a restore takes what a backup left.
pub(crate) const JOBS: &[Job] = &[
    Job {
        name: "backup",
        scene: ready,
        contenders: &[
            Contender { name: OURS, needs: &[], prepare: |p| p.clear(&p.target()).map(drop), run: backup },
            Contender { name: "tar \\| zstd -3 -T2", needs: &["tar", "zstd"], prepare: ready, run: tar_zstd },
            Contender {
                name: "tar \\| zstd -3 -T2, sync -f",
                needs: &["tar", "zstd"],
                prepare: ready,
                run: tar_zstd_sync,
            },
            Contender { name: "guide's backup.sh", needs: &["cp", "tar", "gzip"], prepare: ready, run: guide_script },
        ],
    },
    Job {
        name: "verify",
        scene: ready,
        contenders: &[
            Contender { name: OURS, needs: &[], prepare: ready, run: |place| verify(place, "full") },
            Contender { name: OURS_DATA, needs: &[], prepare: ready, run: |place| verify(place, "data") },
            Contender { name: RESTIC, needs: &["restic"], prepare: restic_backup, run: restic_check },
            Contender { name: INTEGRITY, needs: &["sqlite3"], prepare: ready, run: integrity_check },
        ],
    },
    Job {
        name: "restore",
        scene: ready,
        contenders: &[
            Contender { name: OURS, needs: &[], prepare: ready, run: restore },
            Contender { name: TAR, needs: &["tar", "zstd"], prepare: ready, run: untar },
            Contender {
                name: "tar --zstd -xf, sync -f",
                needs: &["tar", "zstd"],
                prepare: ready,
                run: |place| Ok(untar(place)? + sync(&place.work)?),
            },
        ],
    },
];

/// Where restores go.
const RESTORES: &str = "restores";
/// Us.
pub(crate) const OURS: &str = "uplifted-ops";
/// Us, every byte and no database.
pub(crate) const OURS_DATA: &str = "uplifted-ops, depth data";
/// The peer of verify.
pub(crate) const RESTIC: &str = "restic check --read-data";
/// The yardstick of a database's integrity.
pub(crate) const INTEGRITY: &str = "sqlite3 integrity_check";
/// The peer of restore.
pub(crate) const TAR: &str = "tar --zstd -xf";

/// Ours.
pub(crate) fn backup(place: &Place) -> Result<Measure, Failure> {
    measure(&mut place.call("backup.create", &json!({})))
}

/// Ours.
pub(crate) fn verify(place: &Place, depth: &str) -> Result<Measure, Failure> {
    measure(&mut place.call("backup.verify", &json!({ "snapshot_id": "latest", "depth": depth })))
}

/// Ours.
pub(crate) fn restore(place: &Place) -> Result<Measure, Failure> {
    measure(&mut place.call("restore.apply", &json!({ "snapshot_id": "latest", "into": place.fresh()? })))
}

fn tar_zstd(place: &Place) -> Result<Measure, Failure> {
    let file = place.clear("peer.tar.zst")?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&place.service).args(["-cf", "-", "."]);
    measure_pipe(&mut tar, Command::new("zstd").args(["-q", "-3", "-T2"]), &file)
}

fn tar_zstd_sync(place: &Place) -> Result<Measure, Failure> {
    Ok(tar_zstd(place)? + sync(&place.at("peer.tar.zst"))?)
}

pub(crate) fn sync(path: &Path) -> Result<Measure, Failure> {
    measure(Command::new("sync").arg("-f").arg(path))
}

/// The steps of the guide's `scripts/backup.sh`, its paths exchanged for ours. It leaves the log out.
fn guide_script(place: &Place) -> Result<Measure, Failure> {
    let folder = place.clear("guide")?;
    let staged = folder.join("uplifted_now");
    fs::create_dir_all(&staged)?;
    let copy = |recursive: bool, name: &str| {
        let mut cp = Command::new("cp");
        if recursive {
            cp.arg("-r");
        }
        measure(cp.arg(place.service.join(name)).arg(format!("{}/", staged.display())))
    };
    let copied = copy(true, "data")? + copy(true, "config")? + copy(false, ".env")? + copy(true, "plugins")?;
    let archive = folder.join("uplifted_now.tar.gz");
    let packed = measure(Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(&folder).arg("uplifted_now"))?;
    let removed = measure(Command::new("rm").arg("-rf").arg(&staged))?;
    Ok(copied + packed + removed)
}

/// restic, with a repository of its own for each layout of ours.
pub(crate) fn restic(place: &Place) -> Command {
    let mut command = Command::new("restic");
    command.arg("-q").arg("-r").arg(place.at(&format!("restic-{}", place.layout))).env("RESTIC_PASSWORD", "bench");
    command.env("RESTIC_CACHE_DIR", place.at("restic-cache"));
    command
}

/// A repository with one snapshot of the service, made once.
fn restic_backup(place: &Place) -> Result<(), Failure> {
    if place.at(&format!("restic-{}", place.layout)).exists() {
        return Ok(());
    }
    measure(restic(place).arg("init"))?;
    measure(restic(place).arg("backup").arg(&place.service)).map(drop)
}

fn restic_check(place: &Place) -> Result<Measure, Failure> {
    measure(restic(place).args(["check", "--read-data"]))
}

fn integrity_check(place: &Place) -> Result<Measure, Failure> {
    measure(Command::new("sqlite3").arg("-readonly").arg(place.database()).arg("PRAGMA integrity_check"))
}

fn untar(place: &Place) -> Result<Measure, Failure> {
    let into = place.fresh()?;
    fs::create_dir_all(&into)?;
    measure(Command::new("tar").arg("--zstd").arg("-xf").arg(place.at("peer.tar.zst")).arg("-C").arg(into))
}

/// Runs a backup of ours while a writer works; the writer's report.
pub(crate) fn under_load(place: &Place, writer: &Path, rate: f64, backup: bool, idle: f64) -> Result<Value, Failure> {
    let mut load = Command::new(writer)
        .args(["writer", "--until-stdin-closes", "--rate", &rate.to_string(), "--database"])
        .arg(place.database())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", writer.display()))?;
    let done = if backup {
        place.clear(&place.target()).map(drop).and_then(|()| self::backup(place).map(drop))
    } else {
        std::thread::sleep(std::time::Duration::from_secs_f64(idle));
        Ok(())
    };
    drop(load.stdin.take());
    let output = load.wait_with_output()?;
    done?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("the writer's report: {error}").into())
}
