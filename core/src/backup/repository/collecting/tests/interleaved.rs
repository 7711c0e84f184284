//! Backups and collectors interleaved at their calls of the target, in every order that a bound allows.
//!
//! Each actor runs the real code over a target whose calls wait until a scheduler lets them go, one at a time. The
//! scheduler goes through the orders depth first: it repeats the choices of a run up to some point, takes another one there,
//! and goes on with whoever runs. How often it may take the turn from an actor that could go on is bounded, as in Musuvathi and
//! Qadeer, "Iterative context bounding for systematic testing of multithreaded programs" (PLDI 2007); random orders, with as
//! many switches as there are calls, come on top. Time is an actor as well.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, OnceLock};

use super::super::Collector;
use super::super::guard::Marks;
use super::*;
use crate::backup::blocks::list_all;
use crate::error::{Error, ErrorKind};
use crate::testing::random;
use crate::testing::{Call, FaultyTarget};

/// Lets one actor go at a time.
#[derive(Default)]
struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeSet<usize>,
    done: BTreeSet<usize>,
    /// Who may go.
    turn: Option<usize>,
}

impl Turns {
    /// Waits for the actor's turn.
    fn wait(&self, actor: usize) {
        let mut state = self.state.lock().unwrap();
        state.waiting.insert(actor);
        self.changed.notify_all();
        while state.turn != Some(actor) {
            state = self.changed.wait(state).unwrap();
        }
        state.turn = None;
        state.waiting.remove(&actor);
    }

    fn end(&self, actor: usize) {
        self.state.lock().unwrap().done.insert(actor);
        self.changed.notify_all();
    }

    /// Those who wait for their turn, once everybody does or has ended.
    fn standing(&self, actors: usize) -> Vec<usize> {
        let mut state = self.state.lock().unwrap();
        while state.turn.is_some() || state.waiting.len() + state.done.len() < actors {
            let (next, timeout) = self.changed.wait_timeout(state, Duration::from_secs(60)).unwrap();
            assert!(!timeout.timed_out(), "an actor hangs");
            state = next;
        }
        state.waiting.iter().copied().collect()
    }

    fn give(&self, actor: usize) {
        self.state.lock().unwrap().turn = Some(actor);
        self.changed.notify_all();
    }
}

/// Who takes part besides a backup, and how careful the backup is.
#[derive(Debug, Clone, Copy, Default)]
struct Cast {
    /// Collectors, each of which looks and applies twice.
    collectors: usize,
    /// Somebody who removes the snapshot that the pack belongs to.
    remover: bool,
    /// How many times twenty hours go by.
    times: usize,
    /// Leaves out the check before the header.
    no_check: bool,
    /// Leaves out the look after it.
    no_look: bool,
}

/// What became of the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It used what was there.
    Reused,
    /// It stored its own.
    Stored,
    /// It was told to start again.
    Again,
}

/// The pack that the backup would like to use.
const WANTED: PackId = PackId([1; 16]);
/// The one that it stores otherwise.
const OWN: PackId = PackId([2; 16]);

/// One backup: the run's side as `repository/{prepare,deliver}.rs` have it.
async fn back_up(scope: Scope, target: Arc<dyn BackupTarget>, header: Header, key: IdKey, cast: Cast) -> Result<End> {
    let repository = open(&scope, &target).await?;
    let marks = blocking(move || Marks::read(&repository)).await?;
    let there = list_all(&scope, &*target, names::PACKS).await?;
    let indexed = list_all(&scope, &*target, names::INDEX).await?;
    let usable = |key: &str, of: fn(&str) -> Option<PackId>| of(key) == Some(WANTED);
    let packs = there.iter().any(|it| usable(&it.key, |key| names::pack_of(key).map(|(id, _)| id)));
    let reuse = packs && indexed.iter().any(|it| usable(&it.key, names::index_of)) && !marks.condemned(&WANTED);
    let pack = if reuse { WANTED } else { OWN };
    if !reuse {
        target.put(&scope, &names::pack(pack, false), &[2; 100], true).await?;
        target.put(&scope, &names::index(pack), b"index", true).await?;
    }
    let mut header = header;
    header.packs = vec![NeededPack { id: pack, stored_bytes: 100, digest: Digest([0; 32]), fingerprint: None }];
    let confirmed = marks.confirm(&scope, &*target, [pack]).await;
    let cleared = match confirmed {
        Err(error) if error.kind() == ErrorKind::Busy && !cast.no_check => return Ok(End::Again),
        Err(error) if error.kind() != ErrorKind::Busy => return Err(error),
        other => other.ok(),
    };
    let name = names::snapshot(header.time, header.snapshot);
    let (bytes, mac) = header.write(&key);
    target.put(&scope, &name, &bytes, true).await?;
    if let Some(cleared) = cleared.filter(|_| !cast.no_look) {
        match cleared.shown(&scope, &*target, &name, (header.snapshot, mac)).await {
            Err(error) if error.kind() == ErrorKind::Busy => return Ok(End::Again),
            other => other?,
        }
    }
    Ok(if reuse { End::Reused } else { End::Stored })
}

/// What a run of one order was like.
struct Trace {
    /// Who could go at each point, and who went.
    points: Vec<(Vec<usize>, usize)>,
    end: End,
    collected: bool,
    /// A snapshot that is visible and lacks a pack.
    broken: bool,
}

/// Whether others may go before this call. Reads of what never changes need no order of their own.
fn is_point(call: Call, key: &str) -> bool {
    let clock = key.starts_with("locks/") || call == Call::Stat && !key.starts_with("packs/");
    !matches!(call, Call::Get) && !clock
}

/// Where the actors run: a worker for each that waits for its turn, and some to spare.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(40).enable_all().build().unwrap())
}

/// Runs everybody in the order that `choose` makes of who could go, and who went last.
fn play(cast: Cast, choose: &mut dyn FnMut(&[usize], Option<usize>) -> usize) -> Trace {
    let runtime = runtime();
    let mut world = runtime.block_on(World::without_memory("/proc/none".into()));
    let target = world.target.clone();
    runtime.block_on(async {
        world.pack(1).await;
        world.pack(3).await;
        if cast.remover {
            world.snapshot(1, &[WANTED, PackId([3; 16])]).await;
            world.pass(HOUR);
        }
        world.snapshot(2, &[PackId([3; 16])]).await;
        world.pass(48 * HOUR);
    });
    let turns = Arc::new(Turns::default());
    let gated = |actor: usize| -> Arc<dyn BackupTarget> {
        let turns = Arc::clone(&turns);
        Arc::new(FaultyTarget::new(Arc::new(target.clone()), move |call, key, _| {
            if is_point(call, key) {
                turns.wait(actor);
            }
            None
        }))
    };
    let header = world.header(9, &[]);
    let name = names::snapshot(header.time, header.snapshot);
    let mut others = Vec::new();
    let (scope, key) = (world.scope(), world.key.clone());
    let (theirs, seat) = (gated(0), Arc::clone(&turns));
    let backup = runtime.spawn(async move {
        seat.wait(0);
        let end = back_up(scope, theirs, header, key, cast).await;
        seat.end(0);
        end
    });
    let mut actors = 1;
    for _ in 0..cast.collectors {
        let (actor, seat, scope) = (actors, Arc::clone(&turns), world.scope());
        let (theirs, clocks) = (gated(actor), (world.clock.clone(), world.ours.clone()));
        let job = world.job(Arc::clone(&theirs));
        others.push(runtime.spawn(async move {
            seat.wait(actor);
            for _ in 0..2 {
                let collector = Collector { scope: &scope, job: &job, name: "local", target: &theirs };
                let look = collector.look().await?.unwrap();
                let mut shown = look.plan.clone();
                // Without the lease: that no two collect at once is not what makes it safe.
                if look.plan.has_work() {
                    collector.apply(&look, None, &mut shown).await?;
                }
                clocks.0.advance(25 * HOUR);
                clocks.1.advance(25 * HOUR);
            }
            seat.end(actor);
            Ok::<(), Error>(())
        }));
        actors += 1;
    }
    if cast.remover {
        let (actor, seat, theirs, scope) = (actors, Arc::clone(&turns), gated(actors), world.scope());
        let removed = names::snapshot(world.headers[0].0.time, SnapshotId([1; 6]));
        others.push(runtime.spawn(async move {
            seat.wait(actor);
            remove(&scope, &theirs, open(&scope, &theirs).await?, &removed).await?;
            seat.end(actor);
            Ok(())
        }));
        actors += 1;
    }
    if cast.times > 0 {
        let (actor, seat, clocks) = (actors, Arc::clone(&turns), (world.clock.clone(), world.ours.clone()));
        others.push(runtime.spawn(async move {
            for _ in 0..cast.times {
                seat.wait(actor);
                clocks.0.advance(20 * HOUR);
                clocks.1.advance(20 * HOUR);
            }
            seat.end(actor);
            Ok(())
        }));
        actors += 1;
    }
    let (mut points, mut last) = (Vec::new(), None);
    loop {
        let standing = turns.standing(actors);
        if standing.is_empty() {
            break;
        }
        let next = choose(&standing, last);
        points.push((standing, next));
        last = Some(next);
        turns.give(next);
    }
    runtime.block_on(async {
        let end = backup.await.unwrap().unwrap();
        for other in others {
            other.await.unwrap().unwrap();
        }
        let lacks = |keys: &[String]| {
            let pack = if end == End::Reused { WANTED } else { OWN };
            keys.contains(&name) && !(keys.contains(&names::pack(pack, false)) && keys.contains(&names::index(pack)))
        };
        let mut broken = (end != End::Again) != target.keys().contains(&name) || lacks(&target.keys());
        // Whatever is to come, it stays whole.
        for _ in 0..2 {
            world.pass(26 * HOUR);
            let report = world.try_collect(|_| {}).await.unwrap();
            broken |= lacks(&target.keys()) || !report.targets[0].refusals.is_empty();
        }
        Trace { points, end, collected: !world.has(WANTED).0, broken }
    })
}

/// What all the orders came to.
#[derive(Debug, Default)]
struct Sum {
    orders: usize,
    ends: BTreeSet<End>,
    collected: usize,
    broken: usize,
    worst: Vec<usize>,
}

impl Sum {
    fn add(&mut self, trace: &Trace) {
        self.orders += 1;
        self.ends.insert(trace.end);
        self.collected += usize::from(trace.collected);
        self.broken += usize::from(trace.broken);
        if trace.broken && self.worst.is_empty() {
            self.worst = trace.points.iter().map(|(_, next)| *next).collect();
        }
    }

    fn is_sound(&self) {
        assert_eq!(self.broken, 0, "{self:?}");
    }
}

/// Orders with at most `switches` turns taken from somebody who could go on: all of them where there are no more than `most`,
/// or `UPLIFTED_OPS_SOAK` is set, and else so many by chance.
fn explore(cast: Cast, switches: usize, most: usize, stop_when: impl Fn(&Sum) -> bool) -> Sum {
    let mut random = random::seeded("orders");
    let most = if std::env::var_os("UPLIFTED_OPS_SOAK").is_some() { usize::MAX } else { most };
    let mut sum = Sum::default();
    let mut open: Vec<Vec<usize>> = vec![Vec::new()];
    while !open.is_empty() && sum.orders < most {
        let prefix = open.swap_remove(random.usize(..open.len()));
        let mut at = 0;
        let trace = play(cast, &mut |standing, last| {
            at += 1;
            match prefix.get(at - 1) {
                Some(next) => *next,
                None => last.filter(|last| standing.contains(last)).unwrap_or(standing[0]),
            }
        });
        sum.add(&trace);
        if stop_when(&sum) {
            break;
        }
        let mut taken = 0;
        for (at, (standing, went)) in trace.points.iter().enumerate() {
            let last = at.checked_sub(1).map(|before| trace.points[before].1).filter(|last| standing.contains(last));
            if at >= prefix.len() {
                for other in standing.iter().filter(|other| *other != went) {
                    if taken + usize::from(last.is_some_and(|last| last != *other)) <= switches {
                        let mut next: Vec<usize> = trace.points[..at].iter().map(|(_, went)| *went).collect();
                        next.push(*other);
                        open.push(next);
                    }
                }
            }
            taken += usize::from(last.is_some_and(|last| last != *went));
        }
    }
    sum
}

/// Random orders.
fn shuffle(cast: Cast, orders: usize, seed: &str) -> Sum {
    let mut random = random::seeded(seed);
    let mut sum = Sum::default();
    for _ in 0..orders {
        sum.add(&play(cast, &mut |standing, _| standing[random.usize(..standing.len())]));
    }
    sum
}

fn never(_: &Sum) -> bool {
    false
}

const ONE: Cast = Cast { collectors: 1, remover: false, times: 1, no_check: false, no_look: false };

#[test]
fn a_backup_beside_a_collector_in_every_order_of_two_switches() {
    let sum = explore(ONE, 2, 500, never);
    sum.is_sound();
    assert!(sum.orders >= 500 && sum.collected > 0, "{sum:?}");
    assert_eq!(sum.ends, [End::Reused, End::Stored, End::Again].into());
}

#[test]
fn a_backup_beside_a_removal_a_collector_and_time_in_every_order_of_one_switch() {
    let sum = explore(Cast { remover: true, times: 2, ..ONE }, 1, 250, never);
    sum.is_sound();
    assert!(sum.orders > 100 && sum.collected > 0, "{sum:?}");
}

#[test]
fn two_collectors_without_a_lease_in_every_order_of_one_switch() {
    let sum = explore(Cast { collectors: 2, times: 0, ..ONE }, 1, 250, never);
    sum.is_sound();
    assert!(sum.orders > 100 && sum.collected > 0, "{sum:?}");
}

#[test]
fn everybody_at_once_in_random_orders() {
    let everybody = Cast { collectors: 2, remover: true, times: 3, ..ONE };
    let sum = shuffle(everybody, 150, "everybody");
    sum.is_sound();
    assert!(sum.collected > 0 && sum.ends.len() > 1, "{sum:?}");
}

#[test]
fn a_backup_that_does_not_check_loses_packs_and_this_test_would_know() {
    assert!(explore(Cast { no_check: true, ..ONE }, 2, 5000, |sum| sum.broken > 0).broken > 0);
    assert!(explore(Cast { no_look: true, ..ONE }, 2, 5000, |sum| sum.broken > 0).broken > 0);
}
