//! The acts. Each order of steps is one that a crash may end anywhere: what is encrypted can be opened, always.

use super::super::keyring::{one_repository, operator, ring, wrap_to};
use super::super::snapshots;
use super::*;
use crate::backup::create::NamedTarget;
use crate::backup::list::{self as snapshots_of, blocking};
use crate::backup::repository::names;
use crate::backup::seal::{HostKeys, KeyHolders, Keys, Operator, RepositoryKey, WrapTo, vault};
use crate::error::{Error, ErrorKind};

const NO_REVOKING: &str = "whoever could open the backups before, and kept a copy of a wrapped key, still can: \
                           `uplifted-ops backup keys rotate` starts a new key for new backups";

pub(super) async fn init(context: &Context, scope: &Scope, request: InitRequest) -> Result<MadeResponse> {
    let targets = snapshots::targets(context, None)?;
    if let Some(host) = host_keys(context).await? {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("this host has a key already: {} of repository {}", host.current.fingerprint(), host.repository),
        )
        .with_hint("start a new one with `uplifted-ops backup keys rotate`"));
    }
    if !request.anew {
        for (name, target) in &targets {
            if let Some(wrapped) = vault::wrapped(scope, &**target).await?.first() {
                return Err(Error::new(
                    ErrorKind::Refused,
                    format!("target {name:?} has {}, which this host does not know", wrapped.key),
                )
                .with_hint(
                    "restore the host's part with `uplifted-ops backup keys adopt --identity-file FILE`, or pass anew \
                     (--anew) when it is another host's",
                ));
            }
        }
    }
    let key = RepositoryKey::generate(scope.clock.now())?;
    let host = HostKeys::of(&key);
    make(context, scope, &targets, key, host, request.identity_file.as_ref()).await
}

pub(super) async fn rotate(context: &Context, scope: &Scope, request: RotateRequest) -> Result<MadeResponse> {
    let targets = snapshots::targets(context, None)?;
    let host = host_keys(context).await?.ok_or_else(no_host_keys)?;
    let key = host.next_key(scope.clock.now());
    let host = host.rotated_to(&key)?;
    make(context, scope, &targets, key, host, request.identity_file.as_ref()).await
}

/// Stores a new key in every target, and then what the host keeps of it: until that, nothing is encrypted to it.
async fn make(
    context: &Context,
    scope: &Scope,
    targets: &[NamedTarget],
    key: RepositoryKey,
    host: HostKeys,
    proof_file: Option<&RelPath>,
) -> Result<MadeResponse> {
    let (to, by_itself) = wrap_to(context).await?;
    let proof = match proof_file {
        Some(file) => operator(context, Some(file), None).await?,
        None => by_itself,
    };
    let (proven, recipients) = (proof.is_some(), words(&to));
    let stored = vault::store(scope, targets, &key, to, proof).await?;
    let (fingerprint, public_key) = (key.fingerprint(), key.identity.recipient().to_string());
    drop(key);
    let (repository_id, state) = (host.repository.clone(), context.state.clone());
    blocking(move || host.save(&state)).await?;
    let stored = stored.into_iter().map(|(target, key)| StoredKey { target, key }).collect();
    Ok(MadeResponse { repository_id, fingerprint, public_key, stored, recipients, proven })
}

pub(super) async fn list(context: &Context, scope: &Scope, request: ListRequest) -> Result<ListResponse> {
    let targets = snapshots::targets(context, request.target.as_deref())?;
    let host = host_keys(context).await?;
    let current = host.as_ref().map(|host| host.current.fingerprint());
    let known = host.as_ref().map(HostKeys::fingerprints).unwrap_or_default();
    let (mut keys, mut failed) = (Vec::new(), Vec::new());
    for (name, target) in &targets {
        let found = match vault::wrapped(scope, &**target).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                failed.push(FailedKey { target: name.clone(), key: None, error: error.to_body() });
                continue;
            }
        };
        for wrapped in found {
            let status = match (Some(&wrapped.fingerprint) == current.as_ref(), known.contains(&wrapped.fingerprint)) {
                (true, _) => KeyStatus::Current,
                (false, true) => KeyStatus::Former,
                (false, false) => KeyStatus::Unknown,
            };
            let recipients = match vault::holders(scope, &**target, &wrapped.key).await {
                Ok(KeyHolders::Recipients(number)) => Some(number as u64),
                Ok(KeyHolders::Passphrase) => None,
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    failed.push(FailedKey { target: name.clone(), key: Some(wrapped.key), error: error.to_body() });
                    continue;
                }
            };
            keys.push(ListedKey {
                stored: StoredKey { target: name.clone(), key: wrapped.key },
                fingerprint: wrapped.fingerprint,
                status,
                recipients,
                stored_at: wrapped.modified_at,
            });
        }
    }
    Ok(ListResponse { repository_id: host.map(|host| host.repository), current, keys, failed })
}

pub(super) async fn check(context: &Context, scope: &Scope, request: CheckRequest) -> Result<CheckResponse> {
    let targets = snapshots::targets(context, request.target.as_deref())?;
    let operator = operator(context, request.identity_file.as_ref(), None).await?.ok_or_else(no_operator)?;
    let (unlocked, operator) = vault::unlock(scope, &targets, operator).await?;
    let keys = unlocked.some(&operator)?;
    let ring: Keys = Some(Arc::new(ring(host_keys(context).await?, keys, &operator)?));
    let service = context.settings().service.name.as_str();
    let mut checked = Vec::new();
    for target in &targets {
        scope.cancel.check()?;
        checked.push(match check_target(scope, target, &ring, service).await {
            Ok(checked) => checked,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => CheckedTarget {
                target: target.0.clone(),
                snapshot_id: None,
                encrypted_to: None,
                error: Some(error.to_body()),
            },
        });
    }
    let opens = ring
        .iter()
        .flat_map(|ring| ring.fingerprints())
        .filter(|fingerprint| ring.as_ref().is_some_and(|ring| ring.opens(fingerprint)));
    Ok(CheckResponse {
        ok: checked.iter().all(|target| target.error.is_none()),
        opens: opens.cloned().collect(),
        targets: checked,
    })
}

/// Opens the newest encrypted snapshot of a target, see [`Found::prove_opens`](snapshots_of::Found::prove_opens).
async fn check_target(scope: &Scope, target: &NamedTarget, keys: &Keys, service: &str) -> Result<CheckedTarget> {
    let only = std::slice::from_ref(target);
    let listing = snapshots_of::list(scope, only, keys, Some(service)).await?;
    if let Some(failed) = listing.failed.into_iter().next() {
        return Err(failed.error.into());
    }
    let newest = listing.snapshots.into_iter().find(|listed| listed.encrypted_to.is_some());
    let Some(newest) = newest else {
        // What cannot even be listed may be the newest.
        return match listing.unreadable.into_iter().find(|it| may_be_sealed(&it.key)) {
            Some(unreadable) => Err(unreadable.error.into()),
            None => Ok(CheckedTarget { target: target.0.clone(), snapshot_id: None, encrypted_to: None, error: None }),
        };
    };
    let copies = snapshots_of::find(scope, only, keys, Some(service), &newest.snapshot_id).await?;
    let copy = copies.into_iter().next().ok_or_else(|| Error::internal("a snapshot was listed and not found"))?;
    let error = match copy.prove_opens(scope).await {
        Ok(()) => None,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => Some(error.to_body()),
    };
    Ok(CheckedTarget {
        target: target.0.clone(),
        snapshot_id: Some(newest.snapshot_id),
        encrypted_to: newest.encrypted_to,
        error,
    })
}

/// Whether what has this key in a target may be an encrypted snapshot.
fn may_be_sealed(key: &str) -> bool {
    key.ends_with(snapshots_of::SEALED_SUFFIX) || key.starts_with(names::SNAPSHOTS)
}

pub(super) async fn rewrap(context: &Context, scope: &Scope, request: RewrapRequest) -> Result<RewrapResponse> {
    let targets = snapshots::targets(context, None)?;
    let present = operator(context, request.identity_file.as_ref(), request.passphrase.as_deref()).await?;
    let present = present.ok_or_else(no_operator)?;
    let (to, by_itself) = wrap_to(context).await?;
    let recipients = words(&to);
    let proof = match &request.proof_file {
        Some(file) => operator(context, Some(file), None).await?,
        None if by_itself.is_some() => by_itself,
        // Whoever opens the old and is to open the new proves both.
        None if present.recipients().iter().any(|recipient| to.who().contains(recipient)) => {
            operator(context, request.identity_file.as_ref(), None).await?
        }
        None => None,
    };
    if proof.is_none() && !request.unproven && !request.dry_run {
        return Err(Error::new(
            ErrorKind::Refused,
            "nobody has shown the secret half of a new recipient: were it lost or mistyped, no backup could be opened again",
        )
        .with_hint("pass proof_file (--proof-file FILE): the identity of one of the new recipients"));
    }
    let (unlocked, present) = vault::unlock(scope, &targets, present).await?;
    if let Some((name, error)) = unlocked.failed.into_iter().next() {
        return Err(error.while_doing(format!("target {name:?}")));
    }
    let untouched =
        unlocked.closed.iter().map(|(target, key, _)| StoredKey { target: target.clone(), key: key.clone() });
    let untouched: Vec<StoredKey> = untouched.collect();
    let unlocked = vault::Unlocked { keys: unlocked.keys, closed: unlocked.closed, failed: Vec::new() };
    let keys = unlocked.some(&present)?;

    let mut rewraps = Vec::new();
    for (name, target) in &targets {
        let there = vault::wrapped(scope, &**target).await?;
        for key in &keys {
            let fingerprint = key.fingerprint();
            let of_key = there.iter().filter(|wrapped| wrapped.fingerprint == fingerprint);
            // What this identity does not open was wrapped by somebody else, for a reason of his own.
            let ours = of_key.filter(|wrapped| untouched.iter().all(|it| it.key != wrapped.key || it.target != *name));
            let replaces: Vec<String> = ours.map(|wrapped| wrapped.key.clone()).collect();
            rewraps.push(Rewrap { target: name.clone(), fingerprint, stored: None, replaces });
        }
    }
    let proven = proof.is_some();
    if !request.dry_run {
        carry_out(scope, &targets, &keys, to, proof, &mut rewraps).await?;
    }
    Ok(RewrapResponse {
        rewraps,
        untouched,
        recipients,
        proven,
        rewrapped: !request.dry_run,
        note: NO_REVOKING.to_owned(),
    })
}

/// Wraps and proves everything in memory; then, target by target, stores and reads back the new before it removes the old.
async fn carry_out(
    scope: &Scope,
    targets: &[NamedTarget],
    keys: &[RepositoryKey],
    to: WrapTo,
    proof: Option<Operator>,
    rewraps: &mut [Rewrap],
) -> Result<()> {
    let owned: Vec<RepositoryKey> = keys.to_vec();
    let wrapped = blocking(move || {
        let wrapped: Result<Vec<_>> = owned.iter().map(|key| Ok((key.fingerprint(), key.wrap(&to)?))).collect();
        let wrapped = wrapped?;
        if let Some(proof) = &proof {
            for (_, bytes) in &wrapped {
                RepositoryKey::unwrap(bytes, proof)?;
            }
        }
        Ok(wrapped)
    })
    .await?;
    for rewrap in rewraps {
        scope.cancel.check()?;
        let target = targets.iter().find(|(name, _)| *name == rewrap.target).map(|(_, target)| target);
        let bytes = wrapped.iter().find(|(fingerprint, _)| *fingerprint == rewrap.fingerprint).map(|(_, bytes)| bytes);
        let (Some(target), Some(bytes)) = (target, bytes) else { continue };
        let at = |error: Error| error.while_doing(format!("target {:?}", rewrap.target));
        rewrap.stored = Some(vault::add(scope, &**target, &rewrap.fingerprint, bytes).await.map_err(at)?);
        for old in &rewrap.replaces {
            target.delete(scope, old).await.map_err(at)?;
        }
    }
    Ok(())
}

pub(super) async fn adopt(context: &Context, scope: &Scope, request: AdoptRequest) -> Result<AdoptResponse> {
    let targets = snapshots::targets(context, request.target.as_deref())?;
    let operator = operator(context, request.identity_file.as_ref(), None).await?.ok_or_else(no_operator)?;
    let (unlocked, operator) = vault::unlock(scope, &targets, operator).await?;
    let keys = unlocked.some(&operator)?;
    let present = host_keys(context).await?;
    let repository = match &present {
        Some(host) => host.repository.clone(),
        None => one_repository(&keys)?,
    };
    let mut keys = keys.into_iter().filter(|key| key.repository == repository);
    let first = keys.next().ok_or_else(|| {
        Error::new(
            ErrorKind::Refused,
            format!("this host has keys of repository {repository}, and the identity opens others"),
        )
        .with_hint("move the file in the state folder's keys/ away first, if the host is to change its repository")
    })?;
    let mut host = HostKeys::of(&first);
    for key in keys {
        host = host.rotated_to(&key)?;
    }
    // What a rotation made meanwhile stays the key that is encrypted to.
    if let Some(present) = present.filter(|present| present.created > host.created) {
        host = HostKeys { current: present.current.clone(), created: present.created, former: present.former, ..host };
    }
    let state = context.state.clone();
    let saved = host.clone();
    blocking(move || saved.save(&state)).await?;
    let mut former = host.fingerprints();
    former.pop();
    Ok(AdoptResponse { repository_id: host.repository.clone(), fingerprint: host.current.fingerprint(), former })
}

async fn host_keys(context: &Context) -> Result<Option<HostKeys>> {
    let state = context.state.clone();
    blocking(move || HostKeys::load(&state)).await
}

fn no_host_keys() -> Error {
    Error::new(ErrorKind::NotFound, "this host has no key")
        .with_hint("make one with `uplifted-ops backup keys init`, or restore it with `uplifted-ops backup keys adopt`")
}

fn no_operator() -> Error {
    Error::new(ErrorKind::Denied, "opening the wrapped keys needs an identity, and none was given").with_hint(
        "pass identity_file (--identity-file FILE), or set backup.encryption.passphrase = \"env:NAME\" and that variable",
    )
}

/// The recipients as they are printed.
fn words(to: &WrapTo) -> Vec<String> {
    to.who().iter().map(ToString::to_string).collect()
}
