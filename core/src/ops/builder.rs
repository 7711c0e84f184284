//! Making an [`Ops`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::backup::BackupTarget;
use crate::backup::pause::{Hooks, NamedHook, PauseHook, PausePrograms};
use crate::clock::{Clock, SystemClock};
use crate::component::Kind;
use crate::config::{self, BackupSettings, Config, HealthSettings, HttpSettings, LoadInput, Settings};
use crate::embed::{Component, Contract, Plugin, Registered};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{HealthCheck, Pulses, Runner, Watch};
#[cfg(feature = "http")]
use crate::http::listener::Listener;
use crate::journal::Journal;
use crate::metrics::{Collectors, MetricsSink, set_max_series};
use crate::remote::{Link, WirePath};
use crate::store::Store;
use crate::worker::{Components, Configuration, Launch, Pool, PoolLink, Setup, started_as_worker};

use super::assemble::{Bearing, HostSide, build_sinks, refuse_duplicates};
use super::checks;
use super::context::{Context, Named, ProcessFacts, RunMode};
use super::front::Ops;
use super::history::KnownBackups;
use super::jobs::JobRoom;
use super::recorder;
use super::recovery;
use super::redis_numbers::RedisNumbers;
use super::sharing;
use super::store_numbers::StoreNumbers;

/// Collects settings, which are data, and components, which are live objects, and makes an [`Ops`] of them.
///
/// Settings given here win over the environment, which wins over `.env`, `ops.toml` and the defaults.
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct OpsBuilder {
    root: Option<PathBuf>,
    config_file: Option<PathBuf>,
    without_file: bool,
    tolerant: bool,
    environment: Option<Vec<(String, String)>>,
    settings: Option<Settings>,
    overrides: Value,
    mode: RunMode,
    clock: Arc<dyn Clock>,
    registered: Components,
    sinks: Vec<Named<dyn MetricsSink>>,
    pauses: Vec<Named<dyn PauseHook>>,
    plugins: Vec<Registered>,
    setup: Setup,
    worker_command: Option<Vec<OsString>>,
    worker_environment: Vec<(OsString, Option<OsString>)>,
    no_worker: Option<Error>,
    callback_deadline: Duration,
    greeting_deadline: Duration,
}

impl Default for OpsBuilder {
    fn default() -> Self {
        Self {
            root: None,
            config_file: None,
            without_file: false,
            tolerant: false,
            environment: None,
            settings: None,
            overrides: Value::Object(Map::new()),
            mode: RunMode::Embedded,
            clock: Arc::new(SystemClock),
            registered: Components::default(),
            sinks: Vec::new(),
            pauses: Vec::new(),
            plugins: Vec::new(),
            setup: Setup::new(),
            worker_command: None,
            worker_environment: Vec::new(),
            no_worker: None,
            callback_deadline: Duration::from_secs(60),
            greeting_deadline: Duration::from_secs(10),
        }
    }
}

impl OpsBuilder {
    /// The service's root folder. The working directory, or what the settings say, when not given.
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// The settings file. `ops.toml` in the root when not given.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config_file = Some(path.into());
        self
    }

    /// Reads no settings file: for `config.init`, which can replace one that is broken.
    pub fn without_file(mut self) -> Self {
        self.without_file = true;
        self
    }

    /// Leaves out what the settings make impossible instead of refusing all of it, for `config.check`, which then names every
    /// mistake at once. Nothing else is to be asked of what is built so.
    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    /// Who is running. [`RunMode::Embedded`] when not given.
    pub fn mode(mut self, mode: RunMode) -> Self {
        self.mode = mode;
        self
    }

    /// The environment to read settings from. That of the process when not given.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment = Some(variables.into_iter().collect());
        self
    }

    /// Sets one setting by its dotted name: `.setting("backup.level", 5)`.
    pub fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.overrides, name, value.into());
        self
    }

    /// Sets several settings, as a nested object: `{"backup": {"level": 5}}`.
    pub fn overrides(mut self, settings: &Value) -> Self {
        merge(&mut self.overrides, settings);
        self
    }

    /// Takes these settings as they are: no file and no environment is read. [`OpsBuilder::setting`] still wins.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Registers a live store. It replaces one of the settings that has the same name, as do the next two.
    pub fn store(mut self, name: impl Into<String>, store: Arc<dyn Store>) -> Self {
        self.registered.stores.push(Named { name: name.into(), component: store });
        self
    }

    /// Registers a live backup target.
    pub fn target(mut self, name: impl Into<String>, target: Arc<dyn BackupTarget>) -> Self {
        self.registered.targets.push(Named { name: name.into(), component: target });
        self
    }

    /// Registers a live health check.
    pub fn check(mut self, name: impl Into<String>, check: Arc<dyn HealthCheck>) -> Self {
        self.registered.checks.push(Named { name: name.into(), component: check });
        self
    }

    /// Registers a place where numbers go. A `[[sink]]` of the same name says how often, and nothing else.
    pub fn sink(mut self, name: impl Into<String>, sink: Arc<dyn MetricsSink>) -> Self {
        self.sinks.push(Named { name: name.into(), component: sink });
        self
    }

    /// Registers what pauses the service's writes for the moment in which a backup copies its databases.
    pub fn pause(mut self, name: impl Into<String>, hook: Arc<dyn PauseHook>) -> Self {
        self.pauses.push(Named { name: name.into(), component: hook });
        self
    }

    /// Registers an object of another language as a component. It replaces one of the settings that has the same name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] that names every method that the object lacks, or what is wrong with its capability.
    pub fn plugin(mut self, contract: Contract, name: &str, plugin: Arc<dyn Plugin>) -> Result<Self> {
        self.plugins.push(Registered::new(contract, name, plugin)?);
        Ok(self)
    }

    /// Adds a kind of store. One that is placed in the worker must be given to the worker as well, see [`Setup`].
    pub fn kind_store(mut self, kind: Kind<dyn Store>) -> Self {
        self.setup = self.setup.kind_store(kind);
        self
    }

    /// Adds a kind of backup target.
    pub fn kind_target(mut self, kind: Kind<dyn BackupTarget>) -> Self {
        self.setup = self.setup.kind_target(kind);
        self
    }

    /// Adds a kind of health check.
    pub fn kind_check(mut self, kind: Kind<dyn HealthCheck>) -> Self {
        self.setup = self.setup.kind_check(kind);
        self
    }

    /// Takes all kinds from what [`run_if_worker_with`](crate::worker::run_if_worker_with) gets too. Kinds that
    /// were added before are replaced.
    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self
    }

    /// The clock. The machine's when not given. Workers always use the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The program and arguments of the worker, unless the setting `worker.command` names one. This program
    /// itself when neither does; see [`run_if_worker`](crate::worker::run_if_worker).
    pub fn worker_command(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.worker_command = Some(command.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a variable of the workers' environment, or takes it away with `None`. The rest is that of this process.
    /// For hosts whose interpreter would do more than it should on a worker's start.
    pub fn worker_environment(mut self, name: impl Into<OsString>, value: Option<OsString>) -> Self {
        self.worker_environment.push((name.into(), value));
        self
    }

    /// Says why this program can be no worker, as a frozen or a bundled one cannot: without the setting
    /// `worker.command`, building fails with that error instead of starting this program again.
    pub fn no_worker(mut self, why: Error) -> Self {
        self.no_worker = Some(why);
        self
    }

    /// How long a component of the host may be silent when the worker calls it, and an object of another language
    /// whoever calls it: 60 s when not given, ten times that for work on a whole database. Progress counts as a sign
    /// of life.
    pub fn callback_deadline(mut self, deadline: Duration) -> Self {
        self.callback_deadline = deadline;
        self
    }

    /// How long a worker may take to greet: 10 s when not given.
    pub fn greeting_deadline(mut self, deadline: Duration) -> Self {
        self.greeting_deadline = deadline;
        self
    }

    /// Makes it: reads the settings, builds the components, starts two threads. No worker is started yet, and
    /// nothing that belongs to the service is opened.
    ///
    /// # Errors
    /// What is wrong with the settings; [`ErrorKind::Refused`] in a process that was started as a worker.
    pub fn build(mut self) -> Result<Ops> {
        if started_as_worker() {
            return Err(Error::new(
                ErrorKind::Refused,
                "this process was started to be a worker, and went on as the service",
            )
            .with_hint("call uplifted_ops::worker::run_if_worker() first thing in main, or set worker.command"));
        }
        let Loaded { settings, config, environment, root, state } = self.load()?;
        if let Some(why) = self.no_worker.take()
            && settings.worker.command.is_empty()
            && self.worker_command.is_none()
        {
            return Err(why);
        }
        self.adopt_plugins()?;
        let mut bearing = Bearing { tolerant: self.tolerant, unbuildable: Vec::new() };
        let side = HostSide::build(&settings, &root, &state, &self.setup.kinds, &self.registered, &mut bearing)?;
        let mut components = side.called();
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| {
                Error::invalid(format!("{name} = {value} is not a number of seconds")).with_hint("give 0 or more")
            })
        };
        components.pause = bearing.or_default("backup.pause", self.pause_hooks(&settings, &root))?;
        // The command line exports nothing; `config.check` wants to know whether the service could.
        let sinks = match self.mode == RunMode::Embedded || self.tolerant {
            true => {
                let registered = std::mem::take(&mut self.sinks);
                build_sinks(&settings, &root, &state, &self.setup.kinds.sinks, registered, &mut bearing)?
            }
            false => Vec::new(),
        };
        let command = Launch::find_command(&settings.worker.command, self.worker_command, &root);
        let cancel_grace = seconds("worker.cancel_grace_seconds", settings.worker.cancel_grace_seconds);
        let idle = seconds("worker.idle_seconds", settings.worker.idle_seconds);
        let launch = Launch {
            command: bearing.or_default("worker.command", command)?,
            environment: self.worker_environment,
            configuration: Configuration {
                // A worker answers no one over HTTP, runs no jobs and exports nothing: the tokens and addresses stay here.
                settings: Settings {
                    http: HttpSettings::default(),
                    jobs: Vec::new(),
                    sinks: Vec::new(),
                    backup: BackupSettings { ping_url: None, ..settings.backup.clone() },
                    ..settings.clone()
                },
                environment: environment.clone(),
                root: WirePath(root.clone()),
                state: WirePath(state.clone()),
                mode: self.mode,
                placed: components.placed(),
                callback_deadline_seconds: self.callback_deadline.as_secs_f64(),
            },
            components,
            greeting_deadline: self.greeting_deadline,
            cancel_grace: bearing.or_default("worker.cancel_grace_seconds", cancel_grace)?,
            idle: bearing.or_default("worker.idle_seconds", idle)?,
        };
        let mut jobs = JobRoom::new(&settings, &root, &state, self.setup.operations);
        if self.mode == RunMode::Embedded {
            set_max_series(settings.metrics.max_series);
            jobs.refuse_mistakes(config.as_ref())?;
        }
        // Before there are threads: they must not be dropped where this fails inside somebody's runtime.
        let health = match Runner::new(&settings.health) {
            Ok(runner) => runner,
            Err(error) => bearing.or_else("health", error, || Runner::new(&HealthSettings::default()))?,
        };
        let health = Arc::new(health);
        let redis_numbers = match self.tolerant {
            true => RedisNumbers::default(),
            false => RedisNumbers::new(&settings, &root, &state),
        };
        let collectors = bearing.or_default("metrics", Collectors::new(&settings.metrics))?;
        let store_period = seconds("metrics.store_seconds", settings.metrics.store_seconds);
        let store_numbers = Arc::new(StoreNumbers::new(bearing.or_default("metrics", store_period)?));
        let pulses = Pulses::new(settings.health.heartbeat_seconds, Arc::clone(&self.clock));
        let default = HealthSettings::default().heartbeat_seconds;
        let pulses = pulses.or_else(|error| {
            bearing.or_else("health.heartbeat_seconds", error, || Pulses::new(default, Arc::clone(&self.clock)))
        })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(64)
            .thread_name("uplifted-ops")
            .enable_all()
            .build()
            .map_err(|e| Error::io("start the threads of Ops", e))?;
        let handle = runtime.handle().clone();
        let mut threads = Threads(Some(runtime));
        let pool = Pool::new(launch, handle);
        let link: Arc<dyn Link> = Arc::new(PoolLink(pool.clone()));
        let Components { stores, targets, checks, .. } = side.into_components(&link);
        let history = recorder::history(&settings.metrics, self.mode);
        let mut context = Context {
            watch: Arc::new(Watch::new(Arc::clone(&health))?),
            health,
            settings,
            config,
            environment,
            journal: Journal::open(&state)?,
            root,
            state,
            mode: self.mode,
            kinds: self.setup.kinds,
            stores,
            targets,
            checks,
            sinks,
            collectors,
            store_numbers,
            redis_numbers: Arc::new(redis_numbers),
            history,
            known_backups: KnownBackups::default(),
            pause: None,
            recovered: Vec::new(),
            jobs,
            continuous: Arc::default(),
            process: ProcessFacts::of_this_process(Some(pool.clone())),
            pulses: Arc::new(pulses),
            listener: Arc::default(),
            socket: Arc::default(),
            unbuildable: Vec::new(),
        };
        if let Err(error) = checks::runner(&context).and_then(|runner| context.set_health(runner)) {
            bearing.or_else("health", error, || Ok(()))?;
        }
        context.unbuildable = bearing.unbuildable;
        recovery::recover(&mut context, &self.clock)?;
        if !self.tolerant {
            sharing::share(&context);
        }
        // Last of all: who asks there is to find everything in its place.
        #[cfg(feature = "http")]
        let listener = match context.mode {
            RunMode::Embedded => Listener::open(&context)?,
            RunMode::CommandLine => None,
        };
        let runtime = threads.0.take().ok_or_else(|| Error::internal("the threads of Ops are gone"))?;
        let ops = Ops::assemble(context, pool, runtime, self.clock, self.setup.operations);
        #[cfg(feature = "http")]
        if let Some(listener) = listener {
            ops.listen(listener)?;
        }
        Ok(ops)
    }

    /// Makes components of the objects, now that the deadline is known.
    fn adopt_plugins(&mut self) -> Result<()> {
        for registered in std::mem::take(&mut self.plugins) {
            let name = registered.name.clone();
            match registered.component(self.callback_deadline) {
                Component::Store(component) => self.registered.stores.push(Named { name, component }),
                Component::Target(component) => self.registered.targets.push(Named { name, component }),
                Component::Check(component) => self.registered.checks.push(Named { name, component }),
                Component::Sink(component) => self.sinks.push(Named { name, component }),
                Component::Pause(component) => self.pauses.push(Named { name, component }),
            }
        }
        refuse_duplicates("sink", self.sinks.iter().map(|sink| sink.name.as_str()))
    }

    /// What pauses the service: the hooks of its code, and then the programs of its settings.
    fn pause_hooks(&self, settings: &Settings, root: &Path) -> Result<Option<Hooks>> {
        refuse_duplicates("pause", self.pauses.iter().map(|hook| hook.name.as_str()))?;
        let pause = &settings.backup.pause;
        let deadline = Duration::try_from_secs_f64(pause.deadline_seconds).ok().filter(|deadline| !deadline.is_zero());
        let deadline = deadline.ok_or_else(|| {
            Error::invalid(format!("backup.pause.deadline_seconds is {}", pause.deadline_seconds))
                .with_hint("set it to the seconds that the service can stand still, such as 10")
        })?;
        let mut hooks: Vec<NamedHook> =
            self.pauses.iter().map(|hook| (hook.name.clone(), Arc::clone(&hook.component))).collect();
        match (pause.before.is_empty(), pause.after.is_empty()) {
            (true, true) => {}
            (false, false) => {
                let (before, after) = (pause.before.clone(), pause.after.clone());
                let programs = PausePrograms { before, after, root: root.to_owned(), deadline };
                hooks.push(("backup.pause".to_owned(), Arc::new(programs)));
            }
            _ => {
                return Err(Error::invalid("of backup.pause.before and backup.pause.after only one is set")
                    .with_hint("set both: what pauses the service, and what lets it go on"));
            }
        }
        Ok((!hooks.is_empty()).then_some(Hooks { hooks, deadline }))
    }

    /// The settings and the two folders.
    fn load(&self) -> Result<Loaded> {
        let process = LoadInput::of_process()?;
        let environment = self.environment.clone().unwrap_or(process.environment);
        let Some(settings) = &self.settings else {
            let config = config::load(&LoadInput {
                root: self.root.clone(),
                config_file: self.config_file.clone(),
                without_file: self.without_file,
                tolerant: self.tolerant,
                working_dir: process.working_dir,
                environment: environment.clone(),
                overrides: self.overrides.clone(),
            })?;
            let (mut settings, root, state) = (config.settings.clone(), config.root.clone(), config.state.clone());
            checks::add_log_errors(&mut settings, &config);
            checks::add_disk_use(&mut settings);
            return Ok(Loaded { settings, config: Some(config), environment, root, state });
        };
        let mut value = serde_json::to_value(settings)
            .map_err(|error| Error::invalid(format!("the settings cannot be written as JSON: {error}")))?;
        merge(&mut value, &self.overrides);
        let mut settings: Settings = serde_path_to_error::deserialize(value)
            .map_err(|error| Error::invalid(format!("setting {}: {}", error.path(), error.inner())))?;
        checks::add_disk_use(&mut settings);
        let root = self.root.as_ref().or(settings.service.root.as_ref());
        let root = process.working_dir.join(root.map_or(Path::new(""), PathBuf::as_path));
        let state = root.join(&settings.state.path);
        Ok(Loaded { settings, config: None, environment, root, state })
    }
}

/// The threads of an `Ops` that is being made. Where nothing comes of it they end by themselves: who builds it may be within a
/// runtime, where no other may be waited for.
struct Threads(Option<tokio::runtime::Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What reading the settings gives.
struct Loaded {
    settings: Settings,
    config: Option<Config>,
    environment: Vec<(String, String)>,
    root: PathBuf,
    state: PathBuf,
}

/// Puts `value` at a dotted name.
fn set(into: &mut Value, name: &str, value: Value) {
    let mut at = into;
    for part in name.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[part];
    }
    *at = value;
}

/// Lets the leaves of `over` win.
fn merge(value: &mut Value, over: &Value) {
    match (value, over) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, over) in above {
                merge(below.entry(name.clone()).or_insert(Value::Null), over);
            }
        }
        (value, over) => *value = over.clone(),
    }
}
