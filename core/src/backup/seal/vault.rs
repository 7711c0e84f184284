//! The wrapped keys in the targets: `keys/<fingerprint>-<n>.age`.
//!
//! Every target has all of them, so that each can be restored from alone. An object is never changed: a key that is
//! wrapped anew gets the next number, is read back and proven to open, and only then do the older ones go. A crash
//! in between leaves one more than is needed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::fingerprint::Fingerprint;
use super::header::{KeyHolders, MAX_HEADER};
use super::identity::{Means, Operator};
use super::ring::KeyRing;
use super::wrap::{RepositoryKey, WrapTo};
use crate::backup::blocks::list_all;
use crate::backup::create::NamedTarget;
use crate::backup::list::blocking;
use crate::backup::target::BackupTarget;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorBody, ErrorKind, Result};

/// What the keys of wrapped keys begin with.
pub const PREFIX: &str = "keys/";
const SUFFIX: &str = ".age";
/// How often the next number is tried for when others are faster.
const ATTEMPTS: usize = 20;

/// A wrapped key in a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The object's key: `keys/<fingerprint>-<n>.age`.
    pub key: String,
    /// The key that is wrapped in it.
    pub fingerprint: Fingerprint,
    /// How many times it was wrapped before, and one.
    pub number: u64,
    /// When it was put, by the target's clock.
    pub modified_at: Timestamp,
}

/// The wrapped keys of a target, by fingerprint and number.
///
/// # Errors
/// What the target says.
pub async fn wrapped(scope: &Scope, target: &dyn BackupTarget) -> Result<Vec<Wrapped>> {
    let mut found = Vec::new();
    for object in list_all(scope, target, PREFIX).await? {
        let name = object.key.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
        let parts = name.and_then(|name| name.split_once('-'));
        let parsed = parts.and_then(|(fingerprint, number)| Some((fingerprint.parse().ok()?, number.parse().ok()?)));
        if let Some((fingerprint, number)) = parsed {
            found.push(Wrapped { fingerprint, number, modified_at: object.modified_at, key: object.key });
        }
    }
    found.sort_by(|a, b| (&a.fingerprint, a.number).cmp(&(&b.fingerprint, b.number)));
    Ok(found)
}

/// The bytes of a wrapped key.
///
/// # Errors
/// What the target says; [`ErrorKind::Corrupt`] when it is longer than any.
pub async fn read(scope: &Scope, target: &dyn BackupTarget, key: &str) -> Result<Vec<u8>> {
    let bytes = target.get(scope, key, 0..MAX_HEADER + 1).await?;
    if bytes.len() as u64 > MAX_HEADER {
        return Err(Error::new(ErrorKind::Corrupt, format!("{key:?} is no wrapped key: it is longer than any")));
    }
    Ok(bytes)
}

/// Who can open a wrapped key.
///
/// # Errors
/// As [`read()`], and [`ErrorKind::Corrupt`] when it is no age file.
pub async fn holders(scope: &Scope, target: &dyn BackupTarget, key: &str) -> Result<KeyHolders> {
    KeyHolders::of(&read(scope, target, key).await?)
}

/// Stores a wrapped key under the next number, reads it back, and returns its key in the target.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when the target did not keep it, and nothing new is there then; what the target says.
pub async fn add(scope: &Scope, target: &dyn BackupTarget, fingerprint: &Fingerprint, bytes: &[u8]) -> Result<String> {
    let known = wrapped(scope, target).await?;
    let last = known.iter().filter(|known| known.fingerprint == *fingerprint).map(|known| known.number).max();
    let first = last.unwrap_or(0) + 1;
    for number in first..first + ATTEMPTS as u64 {
        let key = format!("{PREFIX}{fingerprint}-{number}{SUFFIX}");
        if !target.put(scope, &key, bytes, true).await? {
            continue;
        }
        if read(scope, target, &key).await? == bytes {
            return Ok(key);
        }
        let location = target.capability().location;
        let lost = Error::new(ErrorKind::Corrupt, format!("{location} did not keep the wrapped key {key:?}"))
            .with_hint("look at the disk and the memory of the target");
        return match target.delete(scope, &key).await {
            Ok(()) => Err(lost),
            Err(stuck) => Err(lost.with_context("left_behind", key).with_context("delete", stuck)),
        };
    }
    Err(Error::new(ErrorKind::Busy, format!("others wrap the key {fingerprint} at the same time")))
}

/// What an operator's identity or passphrase opened.
#[derive(Debug, Default)]
pub struct Unlocked {
    /// The keys, oldest first; each once.
    pub keys: Vec<RepositoryKey>,
    /// What it did not open, as `(target, key, why)`.
    pub closed: Vec<(String, String, Error)>,
    /// The targets that could not be asked.
    pub failed: Vec<(String, Error)>,
}

impl Unlocked {
    /// The keys, when there is one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no target has a wrapped key; [`ErrorKind::InvalidInput`] when the operator opens
    /// none of those that are there, with both sides named; what a target said.
    pub fn some(mut self, operator: &Operator) -> Result<Vec<RepositoryKey>> {
        if !self.keys.is_empty() {
            return Ok(self.keys);
        }
        if let Some((_, error)) = self.failed.pop() {
            return Err(error);
        }
        match self.closed.len() {
            0 => Err(Error::new(ErrorKind::NotFound, "no target has a wrapped key")
                .with_hint("bring the folder keys/ back from another copy of the backups")),
            1 => self.closed.pop().map_or_else(
                || Err(Error::internal("an error is gone")),
                |(target, key, error)| Err(error.while_doing(format!("{key} in target {target:?}"))),
            ),
            many => {
                let mut names: Vec<&str> = self.closed.iter().map(|(_, key, _)| key.as_str()).collect();
                names.sort_unstable();
                names.dedup();
                let public: Vec<String> = operator.recipients().iter().map(ToString::to_string).collect();
                let public = if public.is_empty() { "a passphrase".to_owned() } else { public.join(", ") };
                Err(Error::invalid(format!(
                    "{} ({public}) opens none of the {many} wrapped keys: {}",
                    operator.name(),
                    names.join(", ")
                ))
                .with_hint("pass the identity of a recipient that they are wrapped to"))
            }
        }
    }
}

/// Unwraps every key in `targets` that `operator` opens.
///
/// # Errors
/// Only a cancel. What could not be opened or asked is in the result.
pub async fn unlock(scope: &Scope, targets: &[NamedTarget], operator: Operator) -> Result<(Unlocked, Operator)> {
    let mut unlocked = Unlocked::default();
    let mut objects: Vec<(String, String, Vec<u8>)> = Vec::new();
    for (name, target) in targets {
        match of_target(scope, name, &**target).await {
            Ok(found) => objects.extend(found),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => unlocked.failed.push((name.clone(), error)),
        }
    }
    let cancel = scope.cancel.clone();
    blocking(move || {
        // A passphrase costs a second each time, and every target has the same objects.
        let mut opened: BTreeMap<Vec<u8>, Result<RepositoryKey, Box<ErrorBody>>> = BTreeMap::new();
        for (target, key, bytes) in objects {
            cancel.check()?;
            let unwrap =
                |bytes: &Vec<u8>| RepositoryKey::unwrap(bytes, &operator).map_err(|error| Box::new(error.to_body()));
            let result = match opened.entry(bytes) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let result = unwrap(new.key());
                    new.insert(result)
                }
            };
            if let Err(error) = result {
                unlocked.closed.push((target, key, (**error).clone().into()));
            }
        }
        for key in opened.into_values().flatten() {
            if unlocked.keys.iter().all(|known| known.fingerprint() != key.fingerprint()) {
                unlocked.keys.push(key);
            }
        }
        if let Means::Unwrapped(key) = &operator.means {
            unlocked.keys = vec![(**key).clone()];
        }
        unlocked.keys.sort_by_key(|key| key.created);
        Ok((unlocked, operator))
    })
    .await
}

/// The wrapped keys of a target, as `(target, key, bytes)`.
async fn of_target(scope: &Scope, name: &str, target: &dyn BackupTarget) -> Result<Vec<(String, String, Vec<u8>)>> {
    let mut found = Vec::new();
    for wrapped in wrapped(scope, target).await? {
        let bytes = read(scope, target, &wrapped.key).await?;
        found.push((name.to_owned(), wrapped.key, bytes));
    }
    Ok(found)
}

/// Wraps `key` to those whom `to` names, and stores that in each of `targets`: all of them, or none.
///
/// `proof` opens what was read back, where the caller has it.
///
/// # Errors
/// What the first target says that does not take it; [`ErrorKind::InvalidInput`] when `proof` does not open it.
pub async fn store(
    scope: &Scope,
    targets: &[NamedTarget],
    key: &RepositoryKey,
    to: WrapTo,
    proof: Option<Operator>,
) -> Result<Vec<(String, String)>> {
    let (fingerprint, owned) = (key.fingerprint(), key.clone());
    let bytes = blocking(move || {
        let bytes = owned.wrap(&to)?;
        if let Some(proof) = proof {
            RepositoryKey::unwrap(&bytes, &proof)?;
        }
        Ok(bytes)
    })
    .await?;
    let mut stored: Vec<(String, String)> = Vec::new();
    for (name, target) in targets {
        match add(scope, &**target, &fingerprint, &bytes).await {
            Ok(key) => stored.push((name.clone(), key)),
            Err(error) => {
                let mut error = error.while_doing(format!("storing the wrapped key in target {name:?}"));
                for ((_, target), (name, key)) in targets.iter().zip(&stored) {
                    // The identity is forgotten with this error: nothing will ever need it.
                    if let Err(stuck) = target.delete(scope, key).await {
                        error = error.with_context(format!("left_behind_{name}"), key).with_context("delete", stuck);
                    }
                }
                return Err(error);
            }
        }
    }
    Ok(stored)
}

impl KeyRing {
    /// Makes sure that `target` has the wrapped key with this fingerprint: without it nobody could open what is
    /// stored there. One that was added later, or has only the rest of one, gets it from another of `all`.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when none of them has it; what the target says.
    pub async fn provide(
        &self,
        scope: &Scope,
        fingerprint: &Fingerprint,
        target: &NamedTarget,
        all: &[NamedTarget],
    ) -> Result<()> {
        // A host cannot open it. It sees whether there is the header of one.
        let has = async |target: &dyn BackupTarget| -> Result<Option<Vec<u8>>> {
            let found = wrapped(scope, target).await?;
            for wrapped in found.iter().rev().filter(|wrapped| wrapped.fingerprint == *fingerprint) {
                match read(scope, target, &wrapped.key).await {
                    Ok(bytes) if KeyHolders::of(&bytes).is_ok() => return Ok(Some(bytes)),
                    Ok(_) => {}
                    // Others may wrap it anew at this moment.
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        };
        if has(&*target.1).await?.is_some() {
            return Ok(());
        }
        for (_, other) in all.iter().filter(|(name, _)| *name != target.0) {
            // A target that does not answer says so where the backup goes to it.
            let Ok(Some(bytes)) = has(&**other).await else { continue };
            return add(scope, &*target.1, fingerprint, &bytes).await.map(drop);
        }
        Err(Error::new(
            ErrorKind::Refused,
            format!("target {:?} does not have the wrapped key {fingerprint} whole, without which nobody could open the backup", target.0),
        )
        .with_hint(format!(
            "bring {PREFIX}{fingerprint}-….age back from another copy, or start a new key: `uplifted-ops backup keys rotate`"
        )))
    }
}
