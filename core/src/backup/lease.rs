//! One writer per target, with nothing but objects.
//!
//! The lease of a target is the object `locks/writer.<generation>` with the highest generation. Whoever
//! wants it creates the next generation with `if_absent`, which exactly one can do. The object says who
//! holds it; the holder writes it again every 20 seconds, and at the end once more, marked as released. It
//! stays as that mark, so that the highest generation never goes back.
//!
//! A lease is free when it is released, when its owner is provably dead (a process of this machine that is
//! gone, by boot id, pid namespace, pid and start time), or when it has not been renewed for 90 seconds. The
//! last is judged by the target's own clock, which may jump: so a lease that looks expired is watched for
//! longer than a renewal takes before it is taken over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::blocks::list_all;
use super::target::{BackupTarget, MAX_BLOCK, Object};
use super::target_clock::{sweep_probes, target_now};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::process::{Liveness, ProcessIdentity};
use crate::value::random_hex;

/// Where the leases of a target are.
const PREFIX: &str = "locks/writer.";

/// How often an expired lease is looked at while it is watched.
const LOOKS: u32 = 10;

/// The tokens of the leases that this process holds.
static HELD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// How many times the next generation is tried for when others are faster.
const ATTEMPTS: usize = 5;

/// How often a lease is renewed, and when it ends by itself.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTimes {
    /// A lease that was not renewed for this long has expired.
    pub ttl: Duration,
    /// It is renewed this often.
    pub renew: Duration,
    /// One that looks expired is watched for this long, which must exceed `renew`.
    pub watch: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(90), renew: Duration::from_secs(20), watch: Duration::from_secs(30) }
    }
}

/// The right to write to a target. Released by [`Lease::release`]; when dropped instead, a task releases it,
/// and where there is no runtime any more it expires.
#[derive(Debug)]
pub struct Lease {
    held: Option<Arc<Held>>,
    renewal: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Held {
    target: Arc<dyn BackupTarget>,
    name: String,
    generation: u64,
    owner: Owner,
    _token: HeldToken,
    lost: AtomicBool,
    /// Renewal and release take turns, so that a renewal under way cannot undo the release.
    turn: tokio::sync::Mutex<()>,
    scope: Scope,
}

/// An entry in [`HELD`].
#[derive(Debug)]
struct HeldToken(String);

impl HeldToken {
    fn of(owner: &Owner) -> Self {
        held_tokens().insert(owner.token.clone());
        Self(owner.token.clone())
    }
}

impl Drop for HeldToken {
    fn drop(&mut self) {
        held_tokens().remove(&self.0);
    }
}

/// Who holds a lease, as the object says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    owner: Owner,
    /// When it was last renewed, by the owner's clock: for people, nothing is decided by it.
    renewed_at: Timestamp,
    ttl_seconds: f64,
    #[serde(default)]
    released: bool,
}

/// Who holds a lease. Another process on the same machine can tell whether it lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Owner {
    /// Distinguishes two leases of one process.
    token: String,
    host: String,
    #[serde(flatten)]
    process: ProcessIdentity,
}

impl Owner {
    fn this_process(host: &str) -> Result<Self> {
        Ok(Self { token: random_hex(12)?, host: host.to_owned(), process: ProcessIdentity::current() })
    }

    /// Whether this owner cannot come back. `false` when that is not known.
    fn is_provably_dead(&self) -> bool {
        let ProcessIdentity { boot_id, start_time, pid_namespace, .. } = &self.process;
        // Where the system tells less, a process of another machine looks like a dead one of this.
        if boot_id.is_empty() || pid_namespace.is_empty() || *start_time == 0 {
            return false;
        }
        // This process lives, but a lease of its own that could not be given back does not.
        let given_up = self.process.pid == std::process::id() && !held_tokens().contains(&self.token);
        match self.process.liveness() {
            Liveness::Alive => given_up,
            Liveness::Dead => true,
            Liveness::Unknown => false,
        }
    }
}

fn held_tokens() -> MutexGuard<'static, BTreeSet<String>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lease {
    /// Takes the lease of `target`, called `name` in errors.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] with the holder's host, pid and age when somebody holds it.
    pub async fn acquire(
        scope: &Scope,
        name: &str,
        target: Arc<dyn BackupTarget>,
        host: &str,
        times: LeaseTimes,
    ) -> Result<Self> {
        let owner = Owner::this_process(host)?;
        let token = HeldToken::of(&owner);
        for _ in 0..ATTEMPTS {
            scope.cancel.check()?;
            let generation = match highest(scope, &*target).await? {
                Some((generation, object)) => {
                    wait_until_free(scope, name, &*target, &object, times).await?;
                    generation + 1
                }
                None => 1,
            };
            let claim = record(scope, &owner, times, false)?;
            if !target.put(scope, &key_of(generation), &claim, true).await? {
                continue;
            }
            match settle(scope, &*target, generation).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    // Ours or not, nobody shall wait for it.
                    let mark = record(scope, &owner, times, true)?;
                    let _ = target.put(&scope.uncancelled(), &key_of(generation), &mark, false).await;
                    return Err(error);
                }
            }
            // The lease outlives a cancel, for as long as it takes to clean up under it.
            let scope = scope.uncancelled();
            let held = Arc::new(Held {
                target,
                name: name.to_owned(),
                generation,
                owner,
                _token: token,
                lost: AtomicBool::new(false),
                turn: tokio::sync::Mutex::new(()),
                scope,
            });
            let renewal = tokio::spawn(renew(Arc::clone(&held), times));
            return Ok(Self { held: Some(held), renewal });
        }
        Err(busy(name, "others are taking it at this moment"))
    }

    /// Checks with the target that the lease is still ours: call it before an act that relies on it.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when somebody took it over, because this process or the target stood still for
    /// longer than the lease lasts.
    pub async fn confirm(&self) -> Result<()> {
        let Some(held) = &self.held else { return Err(Error::internal("a released lease was used")) };
        if !held.lost.load(Ordering::SeqCst) && held.is_ours().await? {
            return Ok(());
        }
        Err(busy(&held.name, "another writer took over the lease, because it was not renewed in time"))
    }

    /// Gives the lease back.
    pub async fn release(mut self) -> Result<()> {
        self.renewal.abort();
        match self.held.take() {
            Some(held) => held.release().await,
            None => Ok(()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        let Some(held) = self.held.take() else { return };
        held_tokens().remove(&held.owner.token);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { held.release().await });
        }
    }
}

impl Held {
    async fn is_ours(&self) -> Result<bool> {
        let Some((generation, object)) = highest(&self.scope, &*self.target).await? else { return Ok(false) };
        if generation != self.generation || self.target.capability().put_if_absent {
            return Ok(generation == self.generation);
        }
        // Where create-if-absent is not atomic, two may have created the generation: the last one wrote over the other.
        let written = read_record(&self.scope, &*self.target, &object.key).await?;
        Ok(written.is_some_and(|record| record.owner.token == self.owner.token))
    }

    /// Gives the lease back. Whether the target takes it or not, from here on this process does not hold it:
    /// said at once, since the renewal, which is being aborted, may keep this value alive for a moment more.
    async fn release(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let given_back = self.mark_released().await;
        held_tokens().remove(&self.owner.token);
        given_back
    }

    async fn mark_released(&self) -> Result<()> {
        if self.lost.load(Ordering::SeqCst) || !self.is_ours().await? {
            return Ok(());
        }
        let mark = record(&self.scope, &self.owner, LeaseTimes::default(), true)?;
        self.target.put(&self.scope, &key_of(self.generation), &mark, false).await?;
        Ok(())
    }
}

async fn renew(held: Arc<Held>, times: LeaseTimes) {
    loop {
        tokio::time::sleep(times.renew).await;
        let _turn = held.turn.lock().await;
        match held.is_ours().await {
            Ok(true) => {}
            Ok(false) => {
                held.lost.store(true, Ordering::SeqCst);
                return;
            }
            // The target does not answer: nobody else can take the lease either. `confirm` finds out.
            Err(_) => continue,
        }
        if let Ok(sign) = record(&held.scope, &held.owner, times, false) {
            let _ = held.target.put(&held.scope, &key_of(held.generation), &sign, false).await;
        }
    }
}

/// Returns once the lease in `object` is free.
async fn wait_until_free(
    scope: &Scope,
    name: &str,
    target: &dyn BackupTarget,
    object: &Object,
    times: LeaseTimes,
) -> Result<()> {
    let before = read_record(scope, target, &object.key).await?;
    let ttl = match &before {
        Some(record) if record.released || record.owner.is_provably_dead() => return Ok(()),
        Some(record) => Duration::try_from_secs_f64(record.ttl_seconds).unwrap_or(times.ttl),
        None => times.ttl,
    };
    let age = age_by_the_targets_clock(scope, target, object).await?;
    if (0.0..=ttl.as_secs_f64()).contains(&age) {
        return Err(held_by(name, before.as_ref(), age));
    }
    if before.as_ref().is_some_and(|record| held_tokens().contains(&record.owner.token)) {
        return Err(held_by(name, before.as_ref(), age));
    }
    // Expired, or written in the future: either its owner is gone, or the target's clock jumped. An owner
    // that lives renews it while we watch.
    for _ in 0..LOOKS {
        tokio::select! {
            () = tokio::time::sleep(times.watch / LOOKS) => {}
            () = scope.cancel.cancelled() => scope.cancel.check()?,
        }
        if target.stat(scope, &object.key).await?.as_ref() != Some(object)
            || read_record(scope, target, &object.key).await? != before
        {
            return Err(held_by(name, before.as_ref(), 0.0));
        }
    }
    Ok(())
}

/// Seconds since `object` was written, negative when it was written in the future.
async fn age_by_the_targets_clock(scope: &Scope, target: &dyn BackupTarget, object: &Object) -> Result<f64> {
    let now = target_now(scope, target).await?;
    Ok(now.duration_since(object.modified_at).as_secs_f64())
}

/// Whether the generation that was just created is the highest. Clears away the others then, or itself.
async fn settle(scope: &Scope, target: &dyn BackupTarget, generation: u64) -> Result<bool> {
    // A slow caller may have created a generation that was deleted as an old one meanwhile.
    let now_highest = highest(scope, target).await?.map(|(generation, _)| generation);
    if now_highest != Some(generation) {
        target.delete(scope, &key_of(generation)).await?;
        return Ok(false);
    }
    for object in list_all(scope, target, PREFIX).await? {
        if generation_of(&object.key).is_some_and(|older| older < generation) {
            target.delete(scope, &object.key).await?;
        }
    }
    let Some(ours) = target.stat(scope, &key_of(generation)).await? else { return Ok(false) };
    sweep_probes(scope, target, ours.modified_at).await?;
    Ok(true)
}

/// The highest generation and its object.
async fn highest(scope: &Scope, target: &dyn BackupTarget) -> Result<Option<(u64, Object)>> {
    let objects = list_all(scope, target, PREFIX).await?;
    Ok(objects
        .into_iter()
        .filter_map(|object| Some((generation_of(&object.key)?, object)))
        .max_by_key(|(generation, _)| *generation))
}

/// What an object says about its owner, `None` when it says nothing that we understand.
async fn read_record(scope: &Scope, target: &dyn BackupTarget, key: &str) -> Result<Option<Record>> {
    match target.get(scope, key, 0..MAX_BLOCK.min(64 << 10) as u64).await {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn record(scope: &Scope, owner: &Owner, times: LeaseTimes, released: bool) -> Result<Vec<u8>> {
    let record =
        Record { owner: owner.clone(), renewed_at: scope.clock.now(), ttl_seconds: times.ttl.as_secs_f64(), released };
    serde_json::to_vec(&record).map_err(|error| Error::internal(format!("a lease is not JSON: {error}")))
}

fn key_of(generation: u64) -> String {
    format!("{PREFIX}{generation:08}")
}

fn generation_of(key: &str) -> Option<u64> {
    let digits = key.strip_prefix(PREFIX)?;
    // As we write them, so that nobody else's name can be the last generation that there is.
    let plain = (8..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

fn held_by(name: &str, record: Option<&Record>, age: f64) -> Error {
    match record {
        Some(Record { owner, .. }) => {
            let pid = owner.process.pid;
            busy(name, &format!("process {pid} on {} is writing to it (last sign {age:.0} s ago)", owner.host))
                .with_context("host", &owner.host)
                .with_context("pid", pid)
        }
        None => busy(name, &format!("an unknown writer holds its lease (last sign {age:.0} s ago)")),
    }
}

fn busy(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Busy, format!("target {name:?} is busy: {why}"))
        .with_context("target", name)
        .with_hint("wait until the other backup has ended; the lease of a dead one ends by itself in 2 minutes")
}

#[cfg(test)]
mod tests;
