//! Building the components, each in the process where it belongs, and proxies of it for the other.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::backup::pause::Pauser;
use crate::backup::{BackupTarget, decorate};
use crate::clock::SystemClock;
use crate::component::{BuildContext, Kind, Placement, Registry};
use crate::config::{ListedComponent, Settings, SinkSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::health::{HealthCheck, Pulses, Runner, Watch};
use crate::journal::Journal;
use crate::metrics::{Collectors, MetricsSink};
use crate::remote::{Link, RemoteCheck, RemotePauser, RemoteStore, RemoteTarget};
use crate::store::Store;
use crate::worker::{Components, Configuration, Placed, PlacedContract};

use super::builtin::builtin_kinds;
use super::context::{Context, Kinds, Named, ProcessFacts};
use super::history::KnownBackups;
use super::jobs::JobRoom;
use super::store_numbers::StoreNumbers;

/// What the three contracts that cross the pipe have in common.
trait Contract: Send + Sync + 'static {
    /// The table in the settings: `store`, `target`, `check`.
    const WHAT: &'static str;
    fn registry(kinds: &Kinds) -> &Registry<Self>;
    fn placed(&self) -> PlacedContract;
    /// Makes one of `kind` from its settings.
    fn build(kind: &Kind<Self>, context: &BuildContext, settings: &Map<String, Value>) -> Result<Arc<Self>> {
        (kind.build)(context, settings)
    }
    /// A proxy for one that was placed in the other process.
    fn remote(name: &str, placed: PlacedContract, link: &Arc<dyn Link>) -> Option<Arc<Self>>;
}

impl Contract for dyn Store {
    const WHAT: &'static str = "store";

    fn registry(kinds: &Kinds) -> &Registry<Self> {
        &kinds.stores
    }

    fn placed(&self) -> PlacedContract {
        PlacedContract::Store(self.capability())
    }

    fn remote(name: &str, placed: PlacedContract, link: &Arc<dyn Link>) -> Option<Arc<Self>> {
        let PlacedContract::Store(capability) = placed else { return None };
        Some(Arc::new(RemoteStore { name: name.to_owned(), capability, link: Arc::clone(link) }))
    }
}

impl Contract for dyn BackupTarget {
    const WHAT: &'static str = "target";

    fn registry(kinds: &Kinds) -> &Registry<Self> {
        &kinds.targets
    }

    fn placed(&self) -> PlacedContract {
        PlacedContract::Target(self.capability())
    }

    fn build(kind: &Kind<Self>, context: &BuildContext, settings: &Map<String, Value>) -> Result<Arc<Self>> {
        decorate::build(kind, context, settings)
    }

    fn remote(name: &str, placed: PlacedContract, link: &Arc<dyn Link>) -> Option<Arc<Self>> {
        let PlacedContract::Target(capability) = placed else { return None };
        Some(Arc::new(RemoteTarget { name: name.to_owned(), capability, link: Arc::clone(link) }))
    }
}

impl Contract for dyn HealthCheck {
    const WHAT: &'static str = "check";

    fn registry(kinds: &Kinds) -> &Registry<Self> {
        &kinds.checks
    }

    fn placed(&self) -> PlacedContract {
        PlacedContract::Check
    }

    fn remote(name: &str, placed: PlacedContract, link: &Arc<dyn Link>) -> Option<Arc<Self>> {
        let PlacedContract::Check = placed else { return None };
        Some(Arc::new(RemoteCheck { name: name.to_owned(), link: Arc::clone(link) }))
    }
}

/// Where the host says that a component lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// In the host, and the worker builds one of its own.
    Both,
    /// In the host alone: the worker calls it.
    Host,
    /// In the worker alone: the host calls it.
    Worker,
}

/// A component of the settings.
struct Wanted<'a> {
    name: &'a str,
    kind: &'a str,
    settings: &'a Map<String, Value>,
}

impl<'a> Wanted<'a> {
    /// Those of a list of the settings: `store`.
    fn of(settings: &'a Settings, list: &str) -> Vec<Self> {
        let components = settings.components().filter(|component| component.list == list);
        components.map(|ListedComponent { name, kind, settings, .. }| Self { name, kind, settings }).collect()
    }

    fn build<T: Contract + ?Sized>(&self, folders: Folders<'_>, kinds: &Kinds) -> Result<(Arc<T>, Placement)> {
        let kind = T::registry(kinds)
            .get(self.kind)
            .map_err(|error| error.while_doing(format!("{} {:?}", T::WHAT, self.name)))?;
        let context = folders.context(self.name);
        Ok((T::build(kind, &context, self.settings)?, kind.placement))
    }
}

/// Whether what cannot be made is an error, or noted and left out.
#[derive(Debug)]
pub(super) struct Bearing {
    pub(super) tolerant: bool,
    /// What was left out, by its setting.
    pub(super) unbuildable: Vec<(String, Error)>,
}

impl Bearing {
    /// Notes `error`, and makes something else in the place of what it is about; or refuses.
    pub(super) fn or_else<T>(&mut self, key: &str, error: Error, other: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.tolerant {
            return Err(error);
        }
        self.unbuildable.push((key.to_owned(), error));
        other()
    }

    /// What was made, or the default.
    pub(super) fn or_default<T: Default>(&mut self, key: &str, made: Result<T>) -> Result<T> {
        made.or_else(|error| self.or_else(key, error, || Ok(T::default())))
    }
}

#[derive(Clone, Copy)]
struct Folders<'a> {
    root: &'a Path,
    state: &'a Path,
    service: &'a str,
}

impl Folders<'_> {
    fn context(&self, name: &str) -> BuildContext {
        let Self { root, state, service } = *self;
        BuildContext { name: name.into(), root: root.into(), state: state.into(), service: service.into() }
    }
}

/// Components in order, and where each lives.
type Seated<T> = Vec<(Named<T>, Seat)>;

/// What the host makes of the settings and of what its code registered.
#[derive(Debug)]
pub(super) struct HostSide {
    stores: Seated<dyn Store>,
    targets: Seated<dyn BackupTarget>,
    checks: Seated<dyn HealthCheck>,
}

impl HostSide {
    /// Builds every component of the settings. What the code registered under the same name replaces it.
    pub(super) fn build(
        settings: &Settings,
        root: &Path,
        state: &Path,
        kinds: &Kinds,
        registered: &Components,
        bearing: &mut Bearing,
    ) -> Result<Self> {
        let folders = Folders { root, state, service: &settings.service.name };
        Ok(Self {
            stores: seat_all(&Wanted::of(settings, "store"), &registered.stores, folders, kinds, bearing)?,
            targets: seat_all(&Wanted::of(settings, "target"), &registered.targets, folders, kinds, bearing)?,
            checks: seat_all(&Wanted::of(settings, "check"), &registered.checks, folders, kinds, bearing)?,
        })
    }

    /// Those that the worker must call the host for.
    pub(super) fn called(&self) -> Components {
        Components {
            stores: called(&self.stores),
            targets: called(&self.targets),
            checks: called(&self.checks),
            pause: None,
        }
    }

    /// The components as the host's operations see them: those of the worker behind `link`.
    pub(super) fn into_components(self, link: &Arc<dyn Link>) -> Components {
        Components {
            stores: behind(self.stores, link),
            targets: behind(self.targets, link),
            checks: behind(self.checks, link),
            pause: None,
        }
    }
}

fn seat_all<T: Contract + ?Sized>(
    all: &[Wanted<'_>],
    registered: &[Named<T>],
    folders: Folders<'_>,
    kinds: &Kinds,
    bearing: &mut Bearing,
) -> Result<Seated<T>> {
    if !bearing.tolerant {
        refuse_duplicates(T::WHAT, all.iter().map(|wanted| wanted.name))?;
    }
    refuse_duplicates(T::WHAT, registered.iter().map(|named| named.name.as_str()))?;
    let builtin = builtin_kinds();
    let mut seated: Seated<T> = Vec::new();
    for (number, wanted) in all.iter().enumerate() {
        if let Some(own) = registered.iter().find(|own| own.name == wanted.name) {
            seated.push((own.clone(), Seat::Host));
            continue;
        }
        let (component, placement) = match wanted.build(folders, kinds) {
            Ok(built) => built,
            Err(error) => {
                bearing.or_else(&key_of(T::WHAT, all, number, &error), error, || Ok(()))?;
                continue;
            }
        };
        let seat = match placement {
            Placement::Worker => Seat::Worker,
            Placement::Host => Seat::Host,
            // A kind that the host's code brought may be unknown to the worker's program.
            Placement::Anywhere if T::registry(&builtin).get(wanted.kind).is_err() => Seat::Host,
            Placement::Anywhere => Seat::Both,
        };
        seated.push((Named { name: wanted.name.to_owned(), component }, seat));
    }
    for own in registered {
        if !all.iter().any(|wanted| wanted.name == own.name) {
            seated.push((own.clone(), Seat::Host));
        }
    }
    Ok(seated)
}

/// The setting that an error in making the component of this number is about.
fn key_of(what: &str, all: &[Wanted<'_>], number: usize, error: &Error) -> String {
    let field = error.context().iter().find(|(name, _)| name == "field").map(|(_, field)| field.as_str());
    // By its number where a name says nothing.
    let index = number.to_string();
    let name = all[number].name;
    let is_unique = all.iter().filter(|other| other.name == name).count() == 1;
    [what, if is_unique { name } else { &index }].into_iter().chain(field).collect::<Vec<_>>().join(".")
}

/// The sinks of the settings, and those that the code registered, which replace one of the same name. Sinks live in the
/// host alone.
pub(super) fn build_sinks(
    settings: &Settings,
    root: &Path,
    state: &Path,
    kinds: &Registry<dyn MetricsSink>,
    registered: Vec<Named<dyn MetricsSink>>,
    bearing: &mut Bearing,
) -> Result<Vec<Named<dyn MetricsSink>>> {
    let folders = Folders { root, state, service: &settings.service.name };
    let all = Wanted::of(settings, "sink");
    if !bearing.tolerant {
        refuse_duplicates("sink", all.iter().map(|wanted| wanted.name))?;
    }
    for sink in &settings.sinks {
        for (field, given) in [("interval_seconds", sink.interval_seconds), ("deadline_seconds", sink.deadline_seconds)]
        {
            if let Some(mistake) = given.and_then(SinkSettings::mistake) {
                let error = Error::invalid(format!("{field} of the sink {:?}: {mistake}", sink.name))
                    .with_hint("use a number above zero, at most a day");
                bearing.or_else(&format!("sink.{}.{field}", sink.name), error, || Ok(()))?;
            }
        }
    }
    let mut sinks = registered;
    for (number, wanted) in all.iter().enumerate() {
        if sinks.iter().any(|own| own.name == wanted.name) {
            continue;
        }
        let build = |kind: &Kind<dyn MetricsSink>| (kind.build)(&folders.context(wanted.name), wanted.settings);
        let built = kinds.get(wanted.kind).and_then(build);
        match built.map_err(|error| error.while_doing(format!("sink {:?}", wanted.name))) {
            Ok(component) => sinks.push(Named { name: wanted.name.to_owned(), component }),
            Err(error) => bearing.or_else(&key_of("sink", &all, number, &error), error, || Ok(()))?,
        }
    }
    Ok(sinks)
}

pub(super) fn refuse_duplicates<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::invalid(format!("two of [[{what}]] are called {name:?}"))
                .with_hint("give each a name of its own"));
        }
    }
    Ok(())
}

fn called<T: ?Sized>(seated: &Seated<T>) -> Vec<Named<T>> {
    seated.iter().filter(|(_, seat)| *seat == Seat::Host).map(|(named, _)| named.clone()).collect()
}

fn behind<T: Contract + ?Sized>(seated: Seated<T>, link: &Arc<dyn Link>) -> Vec<Named<T>> {
    let seen = seated.into_iter().map(|(named, seat)| match seat {
        Seat::Both | Seat::Host => named,
        Seat::Worker => {
            let remote = T::remote(&named.name, named.component.placed(), link);
            Named { component: remote.unwrap_or(named.component), name: named.name }
        }
    });
    seen.collect()
}

/// The context of operations in a worker, and the components that live there, for the host's calls.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a kind that this program does not have.
pub(crate) fn worker_context(
    configuration: Configuration,
    kinds: Kinds,
    link: &Arc<dyn Link>,
) -> Result<(Context, Components)> {
    let Configuration { settings, environment, root, state, mode, placed, .. } = configuration;
    let (root, state) = (root.0, state.0);
    let folders = Folders { root: &root, state: &state, service: &settings.service.name };
    let stores = take_seats(&Wanted::of(&settings, "store"), &placed, folders, &kinds, link)?;
    let targets = take_seats(&Wanted::of(&settings, "target"), &placed, folders, &kinds, link)?;
    let checks = take_seats(&Wanted::of(&settings, "check"), &placed, folders, &kinds, link)?;
    let own = Components { stores: stores.own, targets: targets.own, checks: checks.own, pause: None };
    let can_pause = placed.iter().any(|placed| placed.contract == PlacedContract::Pause);
    let pauser = || Arc::new(RemotePauser { link: Arc::clone(link) }) as Arc<dyn Pauser>;
    let process = ProcessFacts::of_this_process(None);
    let journal = Journal::open(&state)?;
    let health = Arc::new(Runner::new(&settings.health)?);
    let heartbeat = settings.health.heartbeat_seconds;
    let mut context = Context {
        watch: Arc::new(Watch::new(Arc::clone(&health))?),
        health,
        settings,
        config: None,
        environment,
        journal,
        root,
        state,
        mode,
        kinds,
        stores: stores.all,
        targets: targets.all,
        checks: checks.all,
        sinks: Vec::new(),
        collectors: Collectors::default(),
        history: None,
        known_backups: KnownBackups::default(),
        store_numbers: Arc::new(StoreNumbers::new(Duration::MAX)),
        redis_numbers: Arc::default(),
        pause: can_pause.then(pauser),
        recovered: Vec::new(),
        jobs: JobRoom::default(),
        continuous: Arc::default(),
        process,
        pulses: Arc::new(Pulses::new(heartbeat, Arc::new(SystemClock))?),
        listener: Arc::default(),
        socket: Arc::default(),
        unbuildable: Vec::new(),
    };
    context.set_health(super::checks::runner(&context)?)?;
    Ok((context, own))
}

/// The components of one contract in a worker.
struct InWorker<T: ?Sized> {
    /// All, in the host's order.
    all: Vec<Named<T>>,
    /// Those that live here.
    own: Vec<Named<T>>,
}

/// Builds what belongs here, and makes proxies for the rest.
fn take_seats<T: Contract + ?Sized>(
    wanted: &[Wanted<'_>],
    placed: &[Placed],
    folders: Folders<'_>,
    kinds: &Kinds,
    link: &Arc<dyn Link>,
) -> Result<InWorker<T>> {
    let in_host = |name: &str| {
        let mut of_name = placed.iter().filter(|placed| placed.name == name);
        of_name.find_map(|placed| T::remote(name, placed.contract.clone(), link))
    };
    let (mut all, mut own) = (Vec::new(), Vec::new());
    for wanted in wanted {
        let name = wanted.name.to_owned();
        if let Some(component) = in_host(wanted.name) {
            all.push(Named { name, component });
            continue;
        }
        let (component, _) = wanted.build(folders, kinds).map_err(|error: Error| match error.kind() {
            ErrorKind::Unsupported => error.with_hint(
                "give the worker this kind as well (uplifted_ops::worker::run_if_worker_with), or set worker.command \
                 to a program that has it",
            ),
            _ => error,
        })?;
        let named = Named { name, component };
        own.push(named.clone());
        all.push(named);
    }
    for Placed { name, .. } in placed {
        if !all.iter().any(|named: &Named<T>| named.name == *name)
            && let Some(component) = in_host(name)
        {
            all.push(Named { name: name.clone(), component });
        }
    }
    Ok(InWorker { all, own })
}
