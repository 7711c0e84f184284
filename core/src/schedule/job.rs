//! The jobs of a service, from its settings.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::cron::Cron;
use crate::clock::{TimeZone, Timestamp, time_zone};
use crate::config::{JobSettings, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::value::hex;

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    zone_name: String,
}

impl Schedule {
    /// The schedule in a zone of the IANA database; in the machine's when `zone` is `None`, which is UTC where the
    /// machine says nothing (`TZ`, `/etc/localtime`).
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an expression that is none, and for a zone that this
    /// machine does not know.
    pub fn new(expression: &str, zone: Option<&str>) -> Result<Self> {
        let cron = expression.parse()?;
        let found = time_zone(zone)?;
        let zone_name = zone.or(found.iana_name()).unwrap_or("the machine's").to_owned();
        Ok(Self { cron, zone: found, zone_name })
    }

    /// The first time after `after`, see [`Cron::next_after`].
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.cron.next_after(after, &self.zone)
    }

    /// The expression.
    pub fn cron(&self) -> &Cron {
        &self.cron
    }

    /// The zone's name.
    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cron, self.zone_name)
    }
}

/// What makes a job run.
#[derive(Debug, Clone)]
pub enum Trigger {
    /// A time.
    Schedule(Schedule),
    /// The success of another job.
    After(String),
    /// A person.
    ByHand,
}

/// How a job stores its backups, unless its request or `backup.layout` says otherwise.
const SCHEDULED_LAYOUT: &str = "repository";

/// Something that runs by itself. Prints without the address to tell, which is a secret.
#[derive(Clone)]
pub struct Job {
    /// Its name: a name of a file as well.
    pub name: String,
    /// The operation that it runs.
    pub operation: String,
    /// Its request.
    pub request: Value,
    /// What makes it run.
    pub trigger: Trigger,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// How long it may take.
    pub deadline: Duration,
    /// By how much a run may be put off.
    pub jitter: Duration,
    /// The address to tell, perhaps as a reference `env:NAME`.
    pub ping_url: Option<String>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("name", &self.name)
            .field("operation", &self.operation)
            .field("trigger", &self.trigger)
            .finish_non_exhaustive()
    }
}

impl Job {
    /// The schedule, when it has one.
    pub fn schedule(&self) -> Option<&Schedule> {
        match &self.trigger {
            Trigger::Schedule(schedule) => Some(schedule),
            _ => None,
        }
    }

    /// By how much the run for `time` is put off: from 0 to the jitter, always the same on the machine `place`, so that
    /// a restart does not throw the dice again.
    pub fn put_off(&self, time: Timestamp, place: &str) -> Duration {
        if self.jitter.is_zero() {
            return Duration::ZERO;
        }
        let text = format!("{place}\0{}\0{}", self.name, time.as_second());
        let digits = hex(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
        let share = u64::from_str_radix(&digits, 16).unwrap_or(0) as f64 / u64::MAX as f64;
        Duration::from_secs(self.jitter.mul_f64(share).as_secs())
    }
}

/// A setting that makes no job.
#[derive(Debug)]
pub struct Mistake {
    /// The setting: `job.nightly.schedule`, `backup.schedule`.
    pub key: String,
    /// What is wrong.
    pub error: Error,
}

/// The jobs of a service.
#[derive(Debug, Clone, Default)]
pub struct Jobs(Vec<Arc<Job>>);

impl Jobs {
    /// Reads the settings: the jobs that `[backup]` stands for, then those of `[[job]]`. `check` says whether there is
    /// an operation of that name, and whether it takes that request.
    ///
    /// What is wrong with one leaves the others as they are.
    pub fn read(settings: &Settings, check: &dyn Fn(&str, &Value) -> Result<()>) -> (Self, Vec<Mistake>) {
        let mut reader = Reader { settings, check, jobs: Vec::new(), mistakes: Vec::new() };
        for (key, job) in of_backup(settings) {
            // An operation that a later version brings: `config.check` says that the setting does nothing.
            let known = (check)(&job.operation, &Value::Object(job.request.clone())).is_ok();
            if known && !settings.jobs.iter().any(|own| own.name == job.name) {
                reader.job(&job, key);
            }
        }
        for job in &settings.jobs {
            reader.job(job, &format!("job.{}", job.name));
        }
        reader.followers();
        (Self(reader.jobs.into_iter().map(Arc::new).collect()), reader.mistakes)
    }

    /// All, those of `[backup]` first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.0.iter()
    }

    /// The job called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Job>> {
        self.0.iter().find(|job| job.name == name)
    }

    /// Those that run after the success of `name`.
    pub fn after(&self, name: &str) -> Vec<Arc<Job>> {
        let follows = |job: &&Arc<Job>| matches!(&job.trigger, Trigger::After(first) if first == name) && job.enabled;
        self.0.iter().filter(follows).cloned().collect()
    }

    /// Whether any runs by itself.
    pub fn run_by_themselves(&self) -> bool {
        self.0.iter().any(|job| job.enabled && !matches!(job.trigger, Trigger::ByHand))
    }
}

/// The jobs that `[backup]` stands for, each with the key of its schedule.
///
/// `retain` and `collect` follow a backup that went well, in this order. Whether there is anything to collect is the
/// target's to say: where it holds no repository, the run ends at once. A retention that fails in one target keeps nobody
/// from collecting in another, so `collect` does not wait for its success.
fn of_backup(settings: &Settings) -> Vec<(&'static str, JobSettings)> {
    let backup = &settings.backup;
    let job = |name: &str, operation: &str, request: Value, schedule: &Option<String>| JobSettings {
        name: name.to_owned(),
        operation: operation.to_owned(),
        request: match request {
            Value::Object(fields) => fields,
            _ => Map::new(),
        },
        schedule: schedule.clone(),
        after: None,
        timezone: None,
        enabled: true,
        deadline_seconds: None,
        jitter_seconds: None,
        ping_url: None,
    };
    let mut jobs = Vec::new();
    if backup.schedule.is_some() {
        let create = job("backup", "backup.create", json!({}), &backup.schedule);
        jobs.push(("backup.schedule", JobSettings { ping_url: backup.ping_url.clone(), ..create }));
        if backup.retention.is_some() {
            let retain = job("retain", "backup.retain", json!({}), &None);
            jobs.push(("backup.retention", JobSettings { after: Some("backup".to_owned()), ..retain }));
        }
        let collect = job("collect", "backup.collect", json!({}), &None);
        jobs.push(("backup.schedule", JobSettings { after: Some("backup".to_owned()), ..collect }));
    }
    if backup.verify_schedule.is_some() {
        // A little of everything, and never all of it at once: what a repository stores is shared by its snapshots, so
        // that reading the newest alone would read most of it each time, and the rest never.
        jobs.push(("backup.verify_schedule", job("verify", "backup.sample", json!({}), &backup.verify_schedule)));
    }
    if backup.drill_schedule.is_some() {
        jobs.push(("backup.drill_schedule", job("drill", "backup.drill", json!({}), &backup.drill_schedule)));
    }
    jobs
}

struct Reader<'a> {
    settings: &'a Settings,
    check: &'a dyn Fn(&str, &Value) -> Result<()>,
    jobs: Vec<Job>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    /// Reads one. `key` is that of its table, or of its schedule when it has none.
    fn job(&mut self, job: &JobSettings, key: &str) {
        let of_table = key.starts_with("job.");
        let under = |field: &str| if of_table { format!("{key}.{field}") } else { key.to_owned() };
        match self.read(job, &under) {
            Ok(job) => self.jobs.push(job),
            Err(mistake) => self.mistakes.push(mistake),
        }
    }

    fn read(&self, job: &JobSettings, under: &dyn Fn(&str) -> String) -> Result<Job, Mistake> {
        let wrong = |key: String, error: Error| Mistake {
            error: error.while_doing(format!("the job {:?}", job.name)).with_context("setting", &key),
            key,
        };
        let mistake = |field: &str| {
            let key = under(field);
            move |error: Error| wrong(key, error)
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if job.name.is_empty() || job.name.len() > 64 || !job.name.chars().all(is_name) || job.name == "leader" {
            let error = Error::invalid("its name cannot be used as the name of a file")
                .with_hint("use letters, digits, - and _, at most 64, and not `leader`");
            return Err(mistake("name")(error));
        }
        let mut request = job.request.clone();
        // Backups that come again and again share content; one that is made by hand is to be carried away.
        if job.operation == "backup.create" && self.settings.backup.layout.is_none() {
            request.entry("layout").or_insert_with(|| json!(SCHEDULED_LAYOUT));
        }
        let request = Value::Object(request);
        if job.operation == "schedule.run" {
            let error = Error::invalid("a job that runs jobs may never end").with_hint("use `after` to join two jobs");
            return Err(mistake("operation")(error));
        }
        (self.check)(&job.operation, &request).map_err(|error| {
            let field = if error.kind() == ErrorKind::NotFound { "operation" } else { "request" };
            let hint = error.hint().unwrap_or("`uplifted-ops schema` prints all operations").to_owned();
            // Whatever is missing, it is the setting that is wrong.
            mistake(field)(Error::invalid(error.message()).with_hint(hint))
        })?;
        let defaults = &self.settings.schedule;
        let seconds = |name: &str, own: Option<f64>, default: f64, least: f64| {
            let value = own.unwrap_or(default);
            // Ten years.
            let in_range = (least..=3.2e8).contains(&value);
            Duration::try_from_secs_f64(value).ok().filter(|_| in_range).ok_or_else(|| {
                let key = if own.is_some() { under(name) } else { format!("schedule.{name}") };
                let error = Error::invalid(format!("{value} seconds is no duration")).with_hint(if least > 0.0 {
                    "use a number of 1 or more"
                } else {
                    "use 0 or more"
                });
                wrong(key, error)
            })
        };
        let trigger = match (&job.schedule, &job.after) {
            (Some(_), Some(_)) => {
                let error = Error::invalid("it has a schedule, and runs after another job")
                    .with_hint("keep `schedule` or `after`");
                return Err(mistake("after")(error));
            }
            (None, None) => Trigger::ByHand,
            (None, Some(first)) => Trigger::After(first.clone()),
            (Some(expression), None) => {
                let (own, all) = (job.timezone.as_deref(), defaults.timezone.as_deref());
                let zone = own.or(all).or(self.settings.service.timezone.as_deref());
                // The zone first: which of the two is wrong decides which setting is named.
                if let Some(zone) = zone {
                    time_zone(Some(zone)).map_err(|error| {
                        let key = match (own, all) {
                            (Some(_), _) => under("timezone"),
                            (None, Some(_)) => "schedule.timezone".to_owned(),
                            (None, None) => "service.timezone".to_owned(),
                        };
                        wrong(key, error)
                    })?;
                }
                Trigger::Schedule(Schedule::new(expression, zone).map_err(mistake("schedule"))?)
            }
        };
        Ok(Job {
            name: job.name.clone(),
            operation: job.operation.clone(),
            request,
            trigger,
            enabled: job.enabled,
            deadline: seconds("deadline_seconds", job.deadline_seconds, defaults.deadline_seconds, 1.0)?,
            jitter: seconds("jitter_seconds", job.jitter_seconds, defaults.jitter_seconds, 0.0)?,
            ping_url: job.ping_url.clone(),
        })
    }

    /// Leaves out those that follow a job that is none, or that follow themselves round a circle.
    fn followers(&mut self) {
        let first_of = |jobs: &[Job], name: &str| -> Option<String> {
            jobs.iter().find(|job| job.name == name).and_then(|job| match &job.trigger {
                Trigger::After(first) => Some(first.clone()),
                _ => None,
            })
        };
        let mut kept = Vec::new();
        'jobs: for job in &self.jobs {
            let mut seen = HashSet::from([job.name.clone()]);
            let mut next = first_of(&self.jobs, &job.name);
            let mut error = None;
            while let (Some(first), None) = (next.take(), &error) {
                if !self.jobs.iter().any(|job| job.name == first) {
                    // What follows a job that is there, and has a mistake, has none of its own: that one is named.
                    let named = |job: &JobSettings| job.name == first;
                    let is_there = self.settings.jobs.iter().any(named)
                        || of_backup(self.settings).iter().any(|(_, job)| named(job));
                    if is_there || !self.settings.jobs.iter().any(|own| own.name == job.name) {
                        continue 'jobs;
                    }
                    let known: Vec<&str> = self.jobs.iter().map(|job| job.name.as_str()).collect();
                    error = Some(
                        Error::invalid(format!("it runs after {first:?}, and there is no such job"))
                            .with_hint(format!("the jobs are: {}", known.join(", "))),
                    );
                } else if !seen.insert(first.clone()) {
                    error = Some(Error::invalid("it runs after itself").with_hint("give one of the circle a schedule"));
                } else {
                    next = first_of(&self.jobs, &first);
                }
            }
            match error {
                None => kept.push(job.clone()),
                Some(error) => {
                    let key = format!("job.{}.after", job.name);
                    let error = error.while_doing(format!("the job {:?}", job.name)).with_context("setting", &key);
                    self.mistakes.push(Mistake { key, error });
                }
            }
        }
        self.jobs = kept;
    }
}
