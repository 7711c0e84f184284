//! Who follows, and what they stored when.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use uplifted_example::Failure;
use uplifted_ops::clock::Timestamp;

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) work: PathBuf,
    pub(crate) ours: PathBuf,
    pub(crate) litestream: Option<PathBuf>,
}

/// A contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    Ours,
    Litestream,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "nobody follows",
            Self::Ours => "uplifted-ops",
            Self::Litestream => "litestream",
        })
    }
}

/// An object in a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// It holds what was committed up to then, in seconds since 1970.
    pub(crate) until: f64,
    /// When it was there.
    pub(crate) at: f64,
}

impl Place {
    pub(crate) fn all(&self) -> Vec<Who> {
        let peer = self.litestream.as_ref().map(|_| Who::Litestream);
        [Some(Who::Nobody), Some(Who::Ours), peer].into_iter().flatten().collect()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.work.join("service")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.work.join("target")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root().join("data/app.db")
    }

    /// An empty service, and an empty target.
    pub(crate) fn fresh(&self) -> Result<(), Failure> {
        for folder in [self.root(), self.target()] {
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
        }
        fs::create_dir_all(self.root().join("data"))?;
        let settings = format!(
            "[service]\nname = \"bench\"\n\n[[store]]\nname = \"main\"\nkind = \"sqlite\"\npath = \"data/app.db\"\n\n\
             [backup]\ninclude = [\"data\"]\nclear_secrets = true\n\n[[target]]\nname = \"local\"\nkind = \"fs\"\npath = {:?}\n\n\
             [continuous]\nstores = [\"main\"]\n",
            self.target()
        );
        Ok(fs::write(self.root().join("ops.toml"), settings)?)
    }
}

/// A process that follows, and those that it started. All are killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    who: Who,
    process: Option<Child>,
}

impl Follower {
    pub(crate) fn start(place: &Place, who: Who) -> Result<Self, Failure> {
        let mut command = match (who, &place.litestream) {
            (Who::Ours, _) => {
                let mut command = Command::new(&place.ours);
                command.arg("--root").arg(place.root()).args(["schedule", "serve"]);
                command
            }
            (Who::Litestream, Some(litestream)) => {
                let mut command = Command::new(litestream);
                command.args(["replicate", "-log-level", "error"]).arg(place.database());
                command.arg(format!("file://{}", place.target().display()));
                command
            }
            _ => return Ok(Self { who, process: None }),
        };
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { who, process: Some(process) })
    }

    /// Waits until it follows, and has what it begins with.
    pub(crate) fn settle(&mut self, place: &Place) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let is_there = match self.who {
                Who::Nobody => true,
                Who::Ours => fs::read_dir(place.target().join("snapshots")).is_ok_and(|mut all| all.next().is_some()),
                Who::Litestream => !self.stored(place)?.is_empty(),
            };
            if is_there {
                // The backup that it begins with has ended, and what it cost is over.
                std::thread::sleep(Duration::from_secs(4));
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(120) {
                return Err(format!("{} did not begin", self.who).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Seconds of processor: that of the processes that it started, or its own without any; and the rest.
    pub(crate) fn processor(&self) -> (f64, f64) {
        let Some(process) = &self.process else { return (0.0, 0.0) };
        let own = processor_of(process.id());
        let children: Vec<u32> = children_of(process.id());
        match children.is_empty() {
            true => (own, 0.0),
            false => (children.into_iter().map(processor_of).sum(), own),
        }
    }

    /// Kills all of it, as when the machine is gone.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let children = children_of(process.id());
        process.kill()?;
        for pid in children {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        process.wait()?;
        Ok(())
    }

    /// What the target has.
    pub(crate) fn stored(&self, place: &Place) -> Result<Vec<Stored>, Failure> {
        let (folder, until): (_, fn(&Path) -> Option<f64>) = match self.who {
            Who::Nobody => return Ok(Vec::new()),
            Who::Ours => (place.target().join("streams"), until_of_segment),
            Who::Litestream => (place.target().join("ltx/0"), until_of_ltx),
        };
        let (mut found, mut waiting) = (Vec::new(), vec![folder]);
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let (path, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
                if meta.is_dir() {
                    waiting.push(path);
                } else if let Some(until) = until(&path) {
                    found.push(Stored { until, at: meta.ctime() as f64 + meta.ctime_nsec() as f64 / 1e9 });
                }
            }
        }
        Ok(found)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The line `until` of a segment's head; none for a file that is not finished.
fn until_of_segment(path: &Path) -> Option<f64> {
    if path.file_name()?.len() != 25 {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let line = bytes.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"until "))?;
    let time: Timestamp = std::str::from_utf8(line).ok()?.parse().ok()?;
    Some(time.as_nanosecond() as f64 / 1e9)
}

/// The time in the head of an LTX file, in milliseconds behind the page size and the numbers of the transactions.
fn until_of_ltx(path: &Path) -> Option<f64> {
    if path.extension()? != "ltx" {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let time = bytes.get(32..40)?.try_into().ok()?;
    bytes.starts_with(b"LTX1").then(|| i64::from_be_bytes(time) as f64 / 1e3)
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

fn processor_of(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = text.rsplit_once(") ") else { return 0.0 };
    let fields: Vec<&str> = fields.split(' ').collect();
    // In hundredths of a second (proc(5), USER_HZ).
    [11, 12].into_iter().filter_map(|at| fields.get(at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}
