//! Following one store, in a worker of its own, until it is told to end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::compact;
use super::folder::StoreFolder;
use super::gather::{Begun, Gather, Line, Ready, Who};
use super::ship::Shipper;
use super::spool::{self, Spool};
use super::standing::{StoreStanding, TargetStanding};
use crate::backup::create::NamedTarget;
use crate::backup::list::blocking;
use crate::backup::repository::names;
use crate::backup::repository::streams::{Shelf, by_stream, thread};
use crate::backup::seal::Keys;
use crate::cancel::{Cancel, ProgressEvent, Scope};
use crate::clock::Timestamp;
use crate::config::ContinuousSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;
use crate::store::follow::{FollowRequest, Follower};

/// How often an idle database has it stored that nothing was committed.
const IDLE: Duration = Duration::from_secs(60);
/// How long the last segments may take on their way into the targets, once it is to end.
const LAST_SHIP: Duration = Duration::from_secs(10);
/// How long a driver is asked at once for what was committed last.
const ASK: Duration = Duration::from_millis(50);
/// How long the last commits may take to be read.
const LAST_READ: Duration = Duration::from_secs(5);
/// How often it is written down how things stand, at most.
const TELL: Duration = Duration::from_secs(1);
/// How often it is looked whether there is a base now.
const LOOK_FOR_BASE: Duration = Duration::from_secs(2);
/// How long the targets may take to say where they stand, where this disk does not.
const ASK_TARGETS: Duration = Duration::from_secs(20);

/// What to follow.
#[derive(Debug, Clone)]
pub(crate) struct FollowJob {
    pub(crate) name: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) targets: Vec<NamedTarget>,
    /// What segments are sealed to; none in clear.
    pub(crate) keys: Keys,
    pub(crate) settings: ContinuousSettings,
    pub(crate) folder: StoreFolder,
    pub(crate) host: String,
}

/// What the parts of a worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) keys: Keys,
    pub(super) settings: ContinuousSettings,
    folder: StoreFolder,
    state: Mutex<State>,
    /// Counts what was spooled.
    pub(super) changed: watch::Sender<u64>,
    /// Raised when nothing more will be spooled.
    pub(super) ending: Cancel,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) spool: Spool,
    pub(super) standing: StoreStanding,
    /// Whether something was read that is not on this disk yet.
    gathers: bool,
    /// When it was last written down, on the monotonic clock.
    told: Option<Duration>,
}

impl State {
    fn want_base(&mut self, because: &str, since: Timestamp) {
        self.standing.base_wanted_since = self.standing.base_wanted_since.max(Some(since));
        self.standing.base_wanted_because = Some(because.to_owned());
        self.told = None;
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a base is needed that was begun after `since`: a stream begins.
    pub(super) fn want_base(&self, because: &str, since: Timestamp) {
        let mut state = self.state();
        state.want_base(because, since);
        state.standing.gaps_total += 1;
    }

    /// Notes the same for what was lost on its way into a target. What is lost as long as that goes on is one gap, and an
    /// earlier wish does not do: the base that it gets may be older than the loss.
    pub(super) fn want_base_after_loss(&self, because: &str, since: Timestamp) {
        let mut state = self.state();
        let is_new = state.standing.base_wanted_since.is_none();
        state.want_base(because, since);
        state.standing.gaps_total += u64::from(is_new);
    }

    /// Writes down how things stand, unless that was done just now.
    async fn tell(self: &Arc<Self>, scope: &Scope, at_once: bool) -> Result<()> {
        let (folder, standing) = {
            let mut state = self.state();
            let now = scope.clock.monotonic();
            if !at_once && state.told.is_some_and(|told| now.saturating_sub(told) < TELL) {
                return Ok(());
            }
            state.told = Some(now);
            let State { spool, standing, gathers, .. } = &mut *state;
            (standing.spool_segments, standing.spool_bytes) = spool.size();
            for (number, target) in standing.targets.iter_mut().enumerate() {
                target.waiting_segments = spool.waiting(number);
                // All that was read is there: so is the time in which nothing was committed.
                if !*gathers
                    && target.waiting_segments == 0
                    && target.stored_until.is_some()
                    && target.lost_segments == 0
                {
                    target.stored_until = target.stored_until.max(standing.seen_until);
                }
            }
            standing.written_at = Some(scope.clock.now());
            (self.folder.clone(), standing.clone())
        };
        blocking(move || folder.keep(&standing)).await
    }
}

/// Follows a store until `scope` is cancelled, and then ends cleanly: everything that was committed is stored.
///
/// # Errors
/// [`ErrorKind::Busy`] while another process follows it; what the store says; what this disk says. A target that fails is in
/// what is written down, and holds nobody up.
pub(crate) async fn follow(scope: &Scope, job: FollowJob) -> Result<()> {
    let folder = job.folder.clone();
    let lock = blocking(move || {
        folder.create()?;
        folder.lock()
    })
    .await?;
    let Some(_lock) = lock else {
        return Err(Error::new(ErrorKind::Busy, format!("another process follows the store {:?}", job.name)));
    };
    let shared = share(&job).await?;
    // A stop that comes at once finds a follower all the same, which reads what was committed until then.
    let own = scope.uncancelled();
    let line = where_to_go_on(&own, &job, &shared).await?;
    let mut shipping = JoinSet::new();
    for (number, target) in job.targets.iter().enumerate() {
        let shipper = Shipper::new(Arc::clone(&shared), number, target.clone());
        let scope = own.clone();
        shipping.spawn(async move { shipper.run(&scope).await });
    }
    let mut beside = JoinSet::new();
    for target in &job.targets {
        beside.spawn(compact::keep_tidy(own.clone(), Arc::clone(&shared), target.clone()));
    }
    beside.spawn(look_for_base(own.clone(), Arc::clone(&shared), job.targets.clone()));

    let followed = run(scope, &job, &shared, line).await;
    say_last(scope);
    beside.abort_all();
    shared.ending.cancel();
    shared.changed.send_modify(|count| *count += 1);
    let all = async { while shipping.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        // It waits on this disk, and the next worker goes on with it.
        () = scope.clock.sleep(LAST_SHIP) => {}
    }
    {
        let mut state = shared.state();
        state.standing.following = false;
        state.standing.trouble = followed.as_ref().err().map(Error::to_body);
    }
    let told = shared.tell(scope, true).await;
    scope.progress.stage("ended");
    followed.and(told)
}

/// Says that it ends, and must not be interrupted in that: what was committed last is on its way.
fn say_last(scope: &Scope) {
    scope.progress.report(ProgressEvent {
        stage: "storing what was committed last".to_owned(),
        done_bytes: 0,
        total_bytes: None,
        done_files: 0,
        total_files: None,
        uninterruptible: true,
    });
}

async fn share(job: &FollowJob) -> Result<Arc<Shared>> {
    let (folder, limit, targets) = (job.folder.clone(), job.settings.spool_limit_bytes.0, job.targets.len());
    let (spool, before) =
        blocking(move || Ok((Spool::open(&folder.spool(), limit, targets)?, folder.standing()?))).await?;
    let before = before.unwrap_or_default();
    let target = |name: &String| {
        let known = before.targets.iter().find(|known| known.target == *name).cloned();
        TargetStanding { target: name.clone(), error: None, ..known.unwrap_or_default() }
    };
    let standing = StoreStanding {
        store: job.name.clone(),
        kind: job.store.capability().kind,
        following: true,
        targets: job.targets.iter().map(|(name, _)| target(name)).collect(),
        trouble: None,
        // What the worker before this one read is not all on this disk.
        seen_until: None,
        ..before
    };
    Ok(Arc::new(Shared {
        name: job.name.clone(),
        keys: job.keys.clone(),
        settings: job.settings.clone(),
        folder: job.folder.clone(),
        state: Mutex::new(State { spool, standing, gathers: false, told: None }),
        changed: watch::Sender::new(0),
        ending: Cancel::new(),
    }))
}

/// Behind the last segment: of those that wait here, or else, and where this disk was put back to an older state, of those in
/// the targets.
async fn where_to_go_on(scope: &Scope, job: &FollowJob, shared: &Arc<Shared>) -> Result<Option<Line>> {
    let last = {
        let state = shared.state();
        state.spool.last().map(|number| (number, state.spool.path(number)))
    };
    let mut line = match last {
        // A damaged one is no place to go on from, and its gap is named by what comes next.
        Some((number, path)) => blocking(move || Ok(spool::load(&path, number).ok())).await?,
        None => None,
    }
    .map(|waiting| Line::behind(&waiting.head));
    for (name, target) in &job.targets {
        let ask = last_of(scope, job, name, target, line.as_ref());
        let answer = tokio::select! {
            answer = ask => answer,
            () = scope.clock.sleep(ASK_TARGETS) => Ok(None),
        };
        match answer {
            Ok(Some(theirs)) => {
                let newer = line.as_ref().is_none_or(|ours| match ours.place.stream == theirs.place.stream {
                    true => theirs.place.last > ours.place.last,
                    false => false,
                });
                if newer {
                    line = Some(theirs);
                }
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            // A target that does not answer is shipped to later.
            Ok(None) | Err(_) => {}
        }
    }
    Ok(line)
}

/// Behind the last segment that a target has: of our stream, or else of the newest one of this machine.
async fn last_of(
    scope: &Scope,
    job: &FollowJob,
    name: &str,
    target: &Arc<dyn crate::backup::BackupTarget>,
    ours: Option<&Line>,
) -> Result<Option<Line>> {
    let Some(shelf) = Shelf::open(scope, name, target, &job.keys).await? else { return Ok(None) };
    let mut streams = by_stream(shelf.list(scope, &job.name).await?);
    if let Some(ours) = ours {
        streams.retain(|(stream, _)| *stream == ours.place.stream);
    }
    for (_, segments) in streams.into_iter().rev() {
        let Some((last, _)) = thread(segments, |(name, _)| name).pop() else { continue };
        match shelf.head(scope, &last).await {
            Ok(stored) if stored.head.place.host == job.host => return Ok(Some(Line::behind(&stored.head))),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Reads what is committed and spools it, until `scope` is cancelled.
async fn run(scope: &Scope, job: &FollowJob, shared: &Arc<Shared>, line: Option<Line>) -> Result<()> {
    let request = FollowRequest {
        resume: line.as_ref().map(Line::resume),
        cache: job.folder.cache(),
        log_limit_bytes: job.settings.log_limit_bytes.0,
    };
    let mut follower = job.store.follow(&scope.uncancelled(), request).await?;
    let who = Who { store: job.name.clone(), kind: job.store.capability().kind, host: job.host.clone() };
    let mut reader = Reader { shared, gather: Gather::new(who, line), spooled: None };
    shared.tell(scope, true).await?;
    let every = job.settings.ship_every();
    let mut since = None::<Duration>;
    let mut stored = scope.clock.monotonic();
    let ended = loop {
        if scope.cancel.is_cancelled() {
            break Ok(());
        }
        let now = scope.clock.monotonic();
        let patience = since.map_or(every, |since| every.saturating_sub(now.saturating_sub(since)));
        match follower.next(scope, patience.max(Duration::from_millis(1))).await {
            Ok(Some(increment)) => {
                reader.take(scope, increment).await?;
                since = since.or(Some(now));
            }
            Ok(None) => reader.nothing_before(follower.standing().seen_until),
            Err(error) if error.kind() == ErrorKind::Cancelled && scope.cancel.is_cancelled() => break Ok(()),
            Err(error) => break Err(error),
        }
        let now = scope.clock.monotonic();
        let due = since.is_some_and(|since| now.saturating_sub(since) >= every) || reader.gather.is_full();
        let is_idle = since.is_none() && now.saturating_sub(stored) >= IDLE;
        if due || is_idle {
            if reader.store(scope, &mut *follower, is_idle).await? {
                stored = now;
            }
            since = None;
        }
        reader.look_at(&*follower);
        shared.tell(scope, false).await?;
    };
    // What was committed until now belongs to it.
    say_last(scope);
    let own = scope.uncancelled();
    let until = own.clock.monotonic() + LAST_READ;
    while ended.is_ok() && own.clock.monotonic() < until {
        match follower.next(&own, ASK).await {
            Ok(Some(increment)) => reader.take(&own, increment).await?,
            Ok(None) => {
                reader.nothing_before(follower.standing().seen_until);
                break;
            }
            Err(_) => break,
        }
        if reader.gather.is_full() {
            reader.store(&own, &mut *follower, false).await?;
        }
    }
    // What was committed last, and behind it the time in which nothing was.
    let last = async {
        reader.store(&own, &mut *follower, false).await?;
        reader.store(&own, &mut *follower, ended.is_ok()).await
    };
    let last = last.await;
    ended.and(last.map(|_| ()))?;
    // With the service nothing ends: the next worker goes on from what the database keeps for it.
    let (folder, name) = (job.folder.clone(), job.name.clone());
    match blocking(move || folder.is_unwanted(&name)).await? {
        true => follower.give_up(&own).await,
        false => Ok(()),
    }
}

/// What reads, and spools.
struct Reader<'a> {
    shared: &'a Arc<Shared>,
    gather: Gather,
    /// Up to where it is on this disk.
    spooled: Option<String>,
}

impl Reader<'_> {
    async fn take(&mut self, scope: &Scope, increment: crate::store::follow::Increment) -> Result<()> {
        let until = increment.until;
        let (before, begun) = self.gather.take(increment, scope.clock.now())?;
        if let Some(ready) = before {
            self.spool(ready).await?;
        }
        if let Some(Begun { reason, since }) = begun {
            self.shared.want_base(&reason, since);
            let mut state = self.shared.state();
            let place = self.gather.line().map(|line| &line.place);
            state.standing.stream = place.map(|place| place.stream.to_string());
            state.standing.since = place.map(|place| place.begun);
        }
        self.shared.state().gathers = self.gather.has_some();
        self.nothing_before(Some(until));
        Ok(())
    }

    /// Notes that everything committed before `time` was read.
    fn nothing_before(&self, time: Option<Timestamp>) {
        let seen = &mut self.shared.state().standing.seen_until;
        *seen = (*seen).max(time);
    }

    fn look_at(&self, follower: &dyn Follower) {
        let standing = follower.standing();
        let mut state = self.shared.state();
        state.standing.position = standing.position;
        state.standing.log_bytes = standing.log_bytes;
        state.standing.waits_for = standing.waits_for;
        let place = self.gather.line().map(|line| &line.place);
        state.standing.stream = place.map(|place| place.stream.to_string());
        state.standing.since = place.map(|place| place.begun);
    }

    /// Spools what was gathered, or where that is nothing, and it `is_idle`, that nothing was committed. Says whether there was
    /// something.
    async fn store(&mut self, scope: &Scope, follower: &mut dyn Follower, is_idle: bool) -> Result<bool> {
        let seen = self.shared.state().standing.seen_until;
        let ready = match seen {
            Some(seen) if is_idle && !self.gather.has_some() => self.gather.idle(seen)?,
            _ => self.gather.end()?,
        };
        let Some(ready) = ready else { return Ok(false) };
        let to = ready.head.to.clone();
        self.spool(ready).await?;
        if self.spooled.as_ref() != Some(&to) {
            follower.stored(&scope.uncancelled(), &to).await?;
            self.spooled = Some(to);
        }
        Ok(true)
    }

    async fn spool(&self, ready: Ready) -> Result<()> {
        let path = self.shared.state().spool.next_path();
        let since = ready.head.until;
        let bytes = blocking(move || spool::write(&path, &ready.head, &ready.packed)).await?;
        let lost = {
            let mut state = self.shared.state();
            let lost = state.spool.added(bytes)?;
            for (target, lost) in state.standing.targets.iter_mut().zip(&lost) {
                target.lost_segments += lost;
            }
            state.gathers = self.gather.has_some();
            lost.iter().any(|lost| *lost > 0)
        };
        if lost {
            let because = "more waited for a target than continuous.spool_limit_bytes allows";
            self.shared.want_base_after_loss(because, since);
        }
        self.shared.changed.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// While a base is needed: looks whether there is one.
async fn look_for_base(scope: Scope, shared: Arc<Shared>, targets: Vec<NamedTarget>) {
    loop {
        let wanted = shared.state().standing.base_wanted_since;
        if let Some(since) = wanted {
            for (name, target) in &targets {
                if let Ok(true) = has_base(&scope, name, target, &shared.keys, since).await {
                    let mut state = shared.state();
                    // Another one may be needed by now.
                    if state.standing.base_wanted_since == Some(since) {
                        state.standing.base_wanted_since = None;
                        state.standing.base_wanted_because = None;
                        state.told = None;
                    }
                    break;
                }
            }
        }
        scope.clock.sleep(LOOK_FOR_BASE).await;
    }
}

/// Whether a target has a snapshot with databases that was begun after `since`.
async fn has_base(
    scope: &Scope,
    name: &str,
    target: &Arc<dyn crate::backup::BackupTarget>,
    keys: &Keys,
    since: Timestamp,
) -> Result<bool> {
    let Some(shelf) = Shelf::open(scope, name, target, keys).await? else { return Ok(false) };
    let repository = shelf.repository.clone();
    blocking(move || {
        for object in repository.objects.list(names::SNAPSHOTS)?.into_iter().rev().take(8) {
            if names::snapshot_of(&object.key).is_some()
                && let Ok((header, _)) = repository.header(&object.key)
                && header.time > since
                && header.counts.stores > 0
            {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}
