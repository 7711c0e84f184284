//! What is known of the jobs' runs, on the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorBody, Result};
use crate::fs::{self, ProcessLock};
use crate::process::ProcessIdentity;

/// The name of our folder in the state folder.
const FOLDER: &str = "schedule";

/// A file of ours that is larger than this, in bytes, is none.
const MAX_BYTES: u64 = 1 << 20;

/// Why a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its time has come.
    Scheduled,
    /// Its time came while nobody was there, or its last run was cut short.
    CatchUp,
    /// The job that it follows has succeeded.
    After,
    /// Somebody asked for it.
    ByHand,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// The operation did what it should.
    Done,
    /// It did, and the answer is a bad one: a partial backup, a failed check.
    Unhealthy,
    /// It did not.
    Failed,
    /// It did not end before its deadline and was cancelled.
    TimedOut,
    /// The process that ran it ended, or somebody cancelled it.
    Interrupted,
    /// It was left out, because the last run had not ended.
    Skipped,
}

impl RunOutcome {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Done, Self::Unhealthy, Self::Failed, Self::TimedOut, Self::Interrupted, Self::Skipped];

    /// The outcome's name on the wire: `timed_out`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unhealthy => "unhealthy",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }
}

/// What is known of one job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobState {
    /// The schedule and the zone that [`settled_until`](Self::settled_until) is about. After a change of either the
    /// schedule begins anew: nothing is made up for that the former one asked for.
    pub schedule: String,
    /// Every time of the schedule up to this one is dealt with.
    pub settled_until: Option<Timestamp>,
    /// The run that is going on, or was when its process died.
    pub running: Option<Running>,
    /// The last run that ended.
    pub last: Option<LastRun>,
    /// When a run last ended well.
    pub last_success_at: Option<Timestamp>,
    /// How many runs were cut short without one that was not.
    pub interrupted_in_a_row: u32,
    /// Whether a run that was cut short is to be made up for.
    pub owed: bool,
    /// How many runs there were, by outcome.
    pub runs: BTreeMap<RunOutcome, u64>,
}

/// A run that is going on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: Why,
    /// The time of the schedule that it is for.
    #[serde(default)]
    pub scheduled_for: Option<Timestamp>,
    /// The process that runs it.
    pub owner: ProcessIdentity,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastRun {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in seconds. Nothing when its process died.
    pub duration_seconds: Option<f64>,
    /// Why it ran.
    pub why: Why,
    /// The time of the schedule that it was for.
    pub scheduled_for: Option<Timestamp>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why it did not end well.
    pub error: Option<ErrorBody>,
    /// Why the address of `ping_url` could not be told.
    pub ping_error: Option<String>,
}

/// `<state>/schedule`.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The one in the state folder `state`. Makes nothing yet.
    pub fn new(state: &Path) -> Self {
        Self(state.join(FOLDER))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it.
    ///
    /// # Errors
    /// What [`crate::fs`] says, so for the three below.
    pub fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.0, fs::PRIVATE_DIR)
    }

    /// Takes the lock of a job, or `None` while it runs.
    pub fn lock(&self, job: &str) -> Result<Option<ProcessLock>> {
        self.make()?;
        ProcessLock::try_acquire(&self.0.join(format!("{job}.lock")))
    }

    /// What is known of a job. A record that is missing or damaged is an empty one: the job begins anew.
    pub fn load(&self, job: &str) -> Result<JobState> {
        Ok(self.read(&format!("{job}.json"))?.unwrap_or_default())
    }

    /// Keeps what is known of a job, durably. Only who has its lock may.
    pub fn save(&self, job: &str, state: &JobState) -> Result<()> {
        self.write(&format!("{job}.json"), state)
    }

    pub(super) fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>> {
        let path = self.0.join(name);
        let read = || -> io::Result<Vec<u8>> {
            let meta = path.metadata()?;
            if !meta.is_file() || meta.len() > MAX_BYTES {
                return Ok(Vec::new());
            }
            std::fs::read(&path)
        };
        match read() {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("read {path:?}"), error)),
        }
    }

    pub(super) fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        self.make()?;
        let text = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::internal(format!("the record {name} is not JSON: {error}")))?;
        // Readable where its folder is: `sudo uplifted-ops schedule run` must not shut the service out of it.
        fs::write_atomic(&self.0.join(name), 0o644, &text)
    }
}

impl JobState {
    /// Counts a run that ended, and keeps it as the last one.
    pub(super) fn ended(&mut self, run: LastRun, by_itself: bool) {
        *self.runs.entry(run.outcome).or_default() += 1;
        self.running = None;
        if run.outcome == RunOutcome::Interrupted {
            // Made up for once. A run that takes its process down each time must not do so at every start.
            self.interrupted_in_a_row += 1;
            self.owed = by_itself && self.interrupted_in_a_row == 1;
        } else {
            self.interrupted_in_a_row = 0;
            self.owed = false;
        }
        if run.outcome == RunOutcome::Done {
            let took = std::time::Duration::try_from_secs_f64(run.duration_seconds.unwrap_or(0.0)).unwrap_or_default();
            self.last_success_at = run.started_at.checked_add(took).ok();
        }
        self.last = Some(run);
    }
}
