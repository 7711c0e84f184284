//! The jobs of a service: read from the settings, looked at, run by hand or by themselves.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::cancel::{Cancel, Scope};
use crate::clock::Timestamp;
use crate::config::{Config, Finding, Settings, Severity};
use crate::error::{Error, ErrorBody, ErrorKind, Result};
use crate::health::checks::jobs::{JobsSeen, JobsSource};
use crate::schedule::{
    Engine, Folder, Host, JobFact, Jobs, LeaderRecord, Leadership, Mistake, Role, RunReport, Runner, Standing, Why,
    look, ping_problem,
};

use super::context::{Context, RunMode};
use super::operation::Entry;
use super::table::{find_operation, similar};

/// The jobs of a service, and how they stand in this process. The default is that of a worker: none.
#[derive(Debug, Default)]
pub struct JobRoom {
    jobs: Jobs,
    mistakes: Vec<Mistake>,
    folder: Option<Folder>,
    /// What the delays of this service on this machine are drawn from.
    place: String,
    enabled: bool,
    catch_up_delay: Duration,
    standing: Arc<Standing>,
    runner: OnceLock<Arc<Runner>>,
}

impl JobRoom {
    /// Reads the settings. What is wrong with them is kept, for `config.check`.
    pub(super) fn new(settings: &Settings, root: &Path, state: &Path, operations: &'static [Entry]) -> Self {
        let check = |name: &str, request: &serde_json::Value| find_operation(name, operations)?.accepts(request);
        let (jobs, mut mistakes) = Jobs::read(settings, &check);
        let delay = settings.schedule.catch_up_delay_seconds;
        let catch_up_delay = Duration::try_from_secs_f64(delay).unwrap_or_else(|_| {
            mistakes.push(Mistake {
                key: "schedule.catch_up_delay_seconds".to_owned(),
                error: Error::invalid(format!("{delay} seconds is no duration")).with_hint("use 0 or more"),
            });
            Duration::ZERO
        });
        let machine = rustix::system::uname();
        Self {
            jobs,
            mistakes,
            folder: Some(Folder::new(state)),
            place: format!("{}\0{}", machine.nodename().to_string_lossy(), root.display()),
            enabled: settings.schedule.enabled,
            catch_up_delay,
            standing: Arc::default(),
            runner: OnceLock::new(),
        }
    }

    /// Stops a service from starting without the jobs that it was to have.
    pub(super) fn refuse_mistakes(&mut self, config: Option<&Config>) -> Result<()> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        let Mistake { key, error } = self.mistakes.swap_remove(0);
        Err(match config.map(|config| config.source_of(&key)) {
            Some(source) => error.while_doing(source),
            None => error,
        })
    }

    /// Gives the jobs their operations.
    pub(super) fn connect(&self, host: Arc<dyn Host>) {
        if let Some(folder) = &self.folder {
            // Once, by whoever assembles the handle.
            let _ = self.runner.set(Arc::new(Runner::new(self.jobs.clone(), folder.clone(), host)));
        }
    }

    /// What runs the jobs by themselves; `None` when there are none.
    pub(super) fn engine(&self, stop: &Cancel) -> Option<Engine> {
        let runner = self.runner.get().filter(|_| self.enabled && self.jobs.run_by_themselves())?;
        Some(Engine {
            runner: Arc::clone(runner),
            catch_up_delay: self.catch_up_delay,
            place: self.place.clone(),
            standing: Arc::clone(&self.standing),
            stop: stop.clone(),
        })
    }

    /// The jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// What this process does about them, and the trouble that it has.
    pub fn standing(&self) -> (Role, Option<ErrorBody>) {
        self.standing.get()
    }

    /// How each job stands, by what is on the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(&self, now: Timestamp) -> Result<Vec<JobFact>> {
        match &self.folder {
            Some(folder) => look(&self.jobs, folder, &self.place, now),
            None => Ok(Vec::new()),
        }
    }

    /// Where the health check learns about them.
    pub(super) fn source(&self, mode: RunMode) -> JobsSource {
        let (jobs, folder, place) = (self.jobs.clone(), self.folder.clone(), self.place.clone());
        let (standing, catch_up_delay) = (Arc::clone(&self.standing), self.catch_up_delay);
        let is_service = mode == RunMode::Embedded && self.enabled;
        Arc::new(move |now| {
            let facts = folder.as_ref().map_or_else(|| Ok(Vec::new()), |folder| look(&jobs, folder, &place, now))?;
            Ok(JobsSeen { facts, trouble: standing.get().1, is_service, catch_up_delay })
        })
    }

    /// The process that runs the jobs, if it lives.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn leader(&self) -> Result<Option<LeaderRecord>> {
        let Some(folder) = &self.folder else { return Ok(None) };
        Ok(Leadership::record(folder)?.filter(|leader| leader.owner.liveness() != crate::process::Liveness::Dead))
    }

    /// Runs a job now, and after its success those that follow it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a job that is none, [`ErrorKind::Busy`] when it runs already.
    pub async fn run(&self, name: &str, scope: &Scope) -> Result<Vec<RunReport>> {
        let Some(job) = self.jobs.get(name) else { return Err(self.no_such_job(name)) };
        let runner = self.runner.get().ok_or_else(|| Error::internal("jobs were asked for in a worker"))?;
        runner.run(job, Why::ByHand, None, scope).await
    }

    fn no_such_job(&self, name: &str) -> Error {
        if let Some(mistake) = self.mistakes.iter().find(|mistake| mistake.key.split('.').nth(1) == Some(name)) {
            let error = Error::invalid(mistake.error.message());
            return mistake
                .error
                .hint()
                .map_or_else(|| Error::invalid(mistake.error.message()), |hint| error.with_hint(hint));
        }
        let names: Vec<&str> = self.jobs.iter().map(|job| job.name.as_str()).collect();
        let hint = match (similar(name, names.iter().copied()), names.is_empty()) {
            (_, true) => "set backup.schedule, or add a [[job]] to ops.toml".to_owned(),
            (Some(meant), _) => format!("did you mean {meant:?}?"),
            (None, _) => format!("name one of: {}", names.join(", ")),
        };
        Error::new(ErrorKind::NotFound, format!("there is no job {name:?}")).with_hint(hint)
    }
}

/// What `config.check` says about jobs.
pub(crate) fn findings(context: &Context, config: &Config) -> Vec<Finding> {
    let finding = |severity, key: &str, error: &Error| Finding {
        severity,
        key: key.to_owned(),
        message: error.message().to_owned(),
        hint: error.hint().map(str::to_owned),
        source: config.source_of(key),
    };
    let room = &context.jobs;
    let mut found: Vec<Finding> =
        room.mistakes.iter().map(|mistake| finding(Severity::Error, &mistake.key, &mistake.error)).collect();
    for job in room.jobs.iter() {
        let own = context.settings.jobs.iter().any(|own| own.name == job.name);
        let key = |field: &str| if own { format!("job.{}.{field}", job.name) } else { format!("backup.{field}") };
        if let Some(error) =
            job.ping_url.as_deref().and_then(|url| ping_problem(url, &context.root, &context.environment))
        {
            // Beside the service, its environment is not known: the variable may be set where it counts.
            let unsure = error.kind() == ErrorKind::NotFound && context.mode == RunMode::CommandLine;
            let severity = if unsure { Severity::Warning } else { Severity::Error };
            found.push(finding(severity, &key("ping_url"), &error));
        }
        let now = Timestamp::now();
        let period = job.schedule().and_then(|schedule| {
            let first = schedule.next_after(now)?;
            Duration::try_from(schedule.next_after(first)?.duration_since(first)).ok()
        });
        if period.is_some_and(|period| job.jitter >= period) {
            let error = Error::invalid("a run may be put off past the next one, which is then left out")
                .with_hint("use a jitter_seconds that is shorter than the time between two runs");
            found.push(finding(Severity::Warning, &key("jitter_seconds"), &error));
        }
    }
    if !room.enabled && room.jobs.run_by_themselves() {
        let error = Error::invalid("no job runs by itself").with_hint("set it to true, or run them by hand");
        found.push(finding(Severity::Warning, "schedule.enabled", &error));
    }
    found
}
