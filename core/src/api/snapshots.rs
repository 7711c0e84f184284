//! What the operations on snapshots share: the targets of a request, and a snapshot opened.

use std::sync::Arc;

use super::keyring;
use crate::backup::checkers::Checkers;
use crate::backup::create::NamedTarget;
use crate::backup::list::find;
use crate::backup::manifest::RelPath;
use crate::backup::nodes::Limits;
use crate::backup::restore::Source;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::Context;

/// The targets that a request is about.
///
/// # Errors
/// [`ErrorKind::NotFound`] for a target that the settings do not have; [`ErrorKind::InvalidInput`] when they
/// have none at all.
pub(super) fn targets(context: &Context, name: Option<&str>) -> Result<Vec<NamedTarget>> {
    let all = || context.targets.iter().map(|target| (target.name.clone(), Arc::clone(&target.component)));
    let known = || all().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    match name {
        None if context.targets.is_empty() => {
            Err(Error::invalid("the settings have no [[target]]: backups have no place to go")
                .with_hint("run `uplifted-ops init`, or add a [[target]] with name, kind and path to ops.toml"))
        }
        None => Ok(all().collect()),
        Some(name) => all().find(|(target, _)| target == name).map(|target| vec![target]).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no target called {name:?}"))
                .with_hint(format!("the settings have: {}", known()))
        }),
    }
}

/// The name of this machine.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Opens the snapshot `wanted` in the first target that has an undamaged copy. With `salvage` a copy without an
/// index is opened as well.
pub(super) async fn open(
    context: &Context,
    scope: &Scope,
    wanted: &str,
    target: Option<&str>,
    identity_file: Option<&RelPath>,
    salvage: bool,
) -> Result<Arc<dyn Source>> {
    let service = context.settings().service.name.as_str();
    let targets = targets(context, target)?;
    let keys = keyring::for_reading(context, scope, &targets, identity_file).await?;
    let copies = find(scope, &targets, &keys, Some(service), wanted).await?;
    let mut first_error = None;
    for without_index in [false, true] {
        for copy in &copies {
            match copy.source(scope, context.settings().restore.max_entries, without_index).await {
                Ok(source) => return Ok(source),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if !salvage {
            break;
        }
    }
    Err(first_error.unwrap_or_else(|| Error::internal(format!("snapshot {wanted:?} was found in no target"))))
}

/// What checks the databases of a snapshot.
pub(super) fn checkers(context: &Context) -> Checkers {
    let live = context.stores.iter().map(|store| Arc::clone(&store.component)).collect();
    Checkers { kinds: context.kinds.stores.clone(), live }
}

/// The bounds against hostile archives, by the settings.
pub(super) fn limits(context: &Context) -> Limits {
    let limits = &context.settings().restore;
    Limits {
        max_entries: limits.max_entries,
        max_bytes: limits.max_bytes.map_or(u64::MAX, |size| size.0),
        // A float saturates: any number is a bound.
        max_ratio: limits.max_ratio as u64,
    }
}
