//! The keys that a request works with: those of the host, and those that an operator's identity opens.

use crate::backup::create::NamedTarget;
use crate::backup::manifest::RelPath;
use crate::backup::seal::{self, Keys};
use crate::cancel::Scope;
use crate::error::Result;
use crate::ops::Context;

#[cfg(feature = "encryption")]
pub(super) use with::{one_repository, operator, ring, wrap_to};

/// What a backup is encrypted to; none where it is stored in clear.
///
/// # Errors
/// [`ErrorKind::Refused`](crate::ErrorKind::Refused) when the settings ask for encryption and no key was made;
/// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when this host had one and lost it: nothing is ever stored in
/// clear because a file is gone.
pub(super) async fn for_writing(context: &Context, scope: &Scope, targets: &[NamedTarget]) -> Result<Keys> {
    #[cfg(feature = "encryption")]
    return with::for_writing(context, scope, targets).await;
    #[cfg(not(feature = "encryption"))]
    {
        let _ = (scope, targets);
        let wanted = context.settings().backup.encryption.is_wanted();
        if wanted || seal::host_has_keys(&context.state)? { Err(seal::unsupported()) } else { Ok(None) }
    }
}

/// What a request reads with: the host's keys, and what the identity opens that it names, or else the settings.
///
/// # Errors
/// What is wrong with the identity; that it opens none of the wrapped keys, with both sides named.
pub(super) async fn for_reading(
    context: &Context,
    scope: &Scope,
    targets: &[NamedTarget],
    identity_file: Option<&RelPath>,
) -> Result<Keys> {
    #[cfg(feature = "encryption")]
    return with::for_reading(context, scope, targets, identity_file).await;
    #[cfg(not(feature = "encryption"))]
    {
        let _ = (context, scope, targets);
        if identity_file.is_some() { Err(seal::unsupported()) } else { Ok(None) }
    }
}

#[cfg(feature = "encryption")]
mod with {
    use std::sync::Arc;

    use super::*;
    use crate::backup::list::blocking;
    use crate::backup::seal::{HostKeys, KeyRing, Operator, Recipient, RepositoryKey, WrapTo, vault};
    use crate::config::{read_small_file, reference};
    use crate::error::{Error, ErrorKind};

    pub(super) async fn for_writing(context: &Context, scope: &Scope, targets: &[NamedTarget]) -> Result<Keys> {
        let state = context.state.clone();
        if let Some(host) = blocking(move || HostKeys::load(&state)).await? {
            return Ok(Some(Arc::new(KeyRing::of_host(&host))));
        }
        let backup = &context.settings().backup;
        let wanted = backup.encryption.is_wanted();
        if !wanted && backup.clear_secrets == Some(true) {
            return Ok(None);
        }
        for (name, target) in targets {
            // A target that does not answer says so where the backup goes to it.
            let Ok(found) = vault::wrapped(scope, &**target).await else { continue };
            if let Some(wrapped) = found.first() {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "this host has no key to encrypt with, and target {name:?} has {}: it is another host's, or this \
                         one lost its own",
                        wrapped.key
                    ),
                )
                .with_hint(
                    "restore it with `uplifted-ops backup keys adopt --identity-file FILE`, or start a new one with \
                     `uplifted-ops backup keys init --anew`",
                ));
            }
        }
        if !wanted {
            return Ok(None);
        }
        Err(Error::new(ErrorKind::Refused, "the settings ask for encryption, and no key was made yet")
            .with_hint("make it: `uplifted-ops backup keys init`"))
    }

    pub(super) async fn for_reading(
        context: &Context,
        scope: &Scope,
        targets: &[NamedTarget],
        identity_file: Option<&RelPath>,
    ) -> Result<Keys> {
        let state = context.state.clone();
        let host = blocking(move || HostKeys::load(&state)).await;
        let Some(operator) = operator(context, identity_file, None).await? else {
            return Ok(host?.map(|host| Arc::new(KeyRing::of_host(&host))));
        };
        // Whoever has the identity needs nothing of the host.
        let host = host.ok().flatten();
        let (unlocked, operator) = vault::unlock(scope, targets, operator).await?;
        let keys = match unlocked.some(&operator) {
            Ok(keys) => keys,
            // The settings name an identity, and nothing was ever encrypted.
            Err(error) if error.kind() == ErrorKind::NotFound && identity_file.is_none() => {
                return Ok(host.map(|host| Arc::new(KeyRing::of_host(&host))));
            }
            Err(error) => return Err(error),
        };
        ring(host, keys, &operator).map(|ring| Some(Arc::new(ring)))
    }

    /// The keys of a run out of what the host keeps and what an operator unwrapped.
    pub(in crate::api) fn ring(
        host: Option<HostKeys>,
        keys: Vec<RepositoryKey>,
        operator: &Operator,
    ) -> Result<KeyRing> {
        let Some(host) = host else {
            one_repository(&keys)?;
            return KeyRing::of_unwrapped(keys);
        };
        let mut ring = KeyRing::of_host(&host);
        for key in keys {
            // What this host knows tells its keys from those of others, and from one that somebody slipped in.
            if key.repository == host.repository && key.id_key == host.id_key {
                ring.add(key)?;
            }
        }
        if !ring.has_identity() {
            let known: Vec<&str> = ring.fingerprints().iter().map(seal::Fingerprint::as_str).collect();
            return Err(Error::invalid(format!(
                "{} opens only keys of other repositories, and none of {}",
                operator.name(),
                known.join(", ")
            ))
            .with_hint("pass the identity of a recipient that this host's keys are wrapped to"));
        }
        Ok(ring)
    }

    /// The repository that all of the keys are of.
    pub(in crate::api) fn one_repository(keys: &[RepositoryKey]) -> Result<String> {
        let mut ids: Vec<&str> = keys.iter().map(|key| key.repository.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        match ids[..] {
            [id] => Ok(id.to_owned()),
            _ => Err(Error::invalid(format!("the identity opens keys of several repositories: {}", ids.join(", ")))
                .with_hint(
                    "unwrap the key of this host by hand, `age -d -i FILE keys/….age > KEY`, and pass KEY as identity_file",
                )),
        }
    }

    /// What the operator of a request unwraps with: the file that it names, the passphrase that it names, what the
    /// settings name. None when nobody named any.
    pub(in crate::api) async fn operator(
        context: &Context,
        identity_file: Option<&RelPath>,
        passphrase: Option<&str>,
    ) -> Result<Option<Operator>> {
        let encryption = &context.settings().backup.encryption;
        let file = match (identity_file, passphrase) {
            (Some(file), _) => Some(file.as_path()),
            (None, Some(_)) => None,
            (None, None) => encryption.identity_file.as_deref(),
        };
        if let Some(file) = file {
            let path = context.root.join(file);
            return blocking(move || Operator::from_file(&path)).await.map(Some);
        }
        if let Some(text) = passphrase {
            let Some(name) = reference::name_in(text) else {
                return Err(Error::invalid("a passphrase is named by its variable, never written into a request")
                    .with_hint("write \"env:NAME\", and set that variable"));
            };
            let secret = reference::resolve(text, &context.root)?;
            return Ok(Some(Operator::from_passphrase(&secret, name)));
        }
        let Some(text) = &encryption.passphrase else { return Ok(None) };
        match reference::resolve(text, &context.root) {
            Ok(secret) => {
                let name = reference::name_in(text).unwrap_or("backup.encryption.passphrase");
                Ok(Some(Operator::from_passphrase(&secret, name)))
            }
            // The host makes backups without it.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who the settings say that keys are wrapped to, and what opens them again where that is known.
    pub(in crate::api) async fn wrap_to(context: &Context) -> Result<(WrapTo, Option<Operator>)> {
        let encryption = &context.settings().backup.encryption;
        let mut recipients = Vec::new();
        for (number, text) in encryption.recipients.iter().enumerate() {
            let at = format!("backup.encryption.recipients, number {}", number + 1);
            recipients.push(text.parse::<Recipient>().map_err(|error| error.while_doing(at))?);
        }
        if let Some(file) = &encryption.recipients_file {
            let path = context.root.join(file);
            recipients.extend(
                blocking(move || {
                    let bytes = read_small_file(&path)?.ok_or_else(|| {
                        Error::new(ErrorKind::NotFound, format!("there is no recipients file {path:?}"))
                            .with_hint("correct backup.encryption.recipients_file")
                    })?;
                    Recipient::all_in(&String::from_utf8_lossy(&bytes), &format!("{path:?}"))
                })
                .await?,
            );
        }
        let Some(text) = &encryption.passphrase else { return Ok((WrapTo::recipients(recipients)?, None)) };
        if !recipients.is_empty() {
            return Err(Error::invalid(
                "the settings name recipients and a passphrase, and a key is wrapped to one of them",
            )
            .with_hint("remove backup.encryption.passphrase or the recipients"));
        }
        let secret = reference::resolve(text, &context.root)?;
        let name = reference::name_in(text).unwrap_or("backup.encryption.passphrase");
        Ok((WrapTo::passphrase(&secret)?, Some(Operator::from_passphrase(&secret, name))))
    }
}
