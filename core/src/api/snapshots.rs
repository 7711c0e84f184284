//! What the operations on snapshots share: the targets of a request, and a snapshot opened.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::keyring;
use crate::backup::checkers::Checkers;
use crate::backup::create::{CreateJob, NamedTarget};
use crate::backup::import::{ImportJob, is_file, open_file};
use crate::backup::list::find;
use crate::backup::manifest::RelPath;
use crate::backup::memory::look_for;
use crate::backup::nodes::{Limits, Selection};
use crate::backup::restore::Source;
use crate::cancel::Scope;
use crate::component::BuildContext;
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

/// Opens the snapshot `wanted` in the first target that has an undamaged copy, or the archive in the file of that path.
/// With `salvage` a copy without an index is opened as well, and one of which only some of the keys are at hand. What is not
/// in `selection` may be missing in it.
pub(super) async fn open(
    context: &Context,
    scope: &Scope,
    wanted: &str,
    target: Option<&str>,
    identity_file: Option<&RelPath>,
    salvage: bool,
    selection: Selection,
) -> Result<Arc<dyn Source>> {
    if is_file(wanted) {
        return open_archive(context, scope, wanted, target).await;
    }
    let service = context.settings().service.name.as_str();
    let targets = targets(context, target)?;
    let keys = keyring::for_reading(context, scope, &targets, identity_file).await?;
    let found = find(scope, &targets, &keys, Some(service), wanted).await;
    let copies = or_missing(context, scope, &targets, found).await?;
    let mut first_error = None;
    for in_part in [false, true] {
        for copy in &copies {
            match copy.source_of(scope, context.settings().restore.max_entries, in_part, selection.clone()).await {
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

/// What was found. Where that is nothing, it may lie on a disk that is not mounted: then that is the error.
pub(super) async fn or_missing<T>(
    context: &Context,
    scope: &Scope,
    targets: &[NamedTarget],
    found: Result<T>,
) -> Result<T> {
    if found.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        for target in targets {
            look_for(scope, &context.state, target).await?;
        }
    }
    found
}

/// Opens the archive in a file.
async fn open_archive(context: &Context, scope: &Scope, path: &str, target: Option<&str>) -> Result<Arc<dyn Source>> {
    if let Some(target) = target {
        return Err(Error::invalid(format!("{path:?} is a file, and lies in no target such as {target:?}"))
            .with_hint("leave the target out, or name a snapshot by its identifier"));
    }
    let settings = context.settings();
    let mut create = CreateJob::new(context.root.clone(), context.state.clone(), context.kinds.stores.clone());
    create.service.clone_from(&settings.service.name);
    create.host = host_name();
    create.settings = settings.backup.clone();
    let path = std::path::absolute(path).map_err(|error| Error::io(format!("find {path:?}"), error))?;
    let job = ImportJob {
        path,
        create,
        scratch: context.scratch(),
        scratch_in_memory: settings.backup.scratch_in_memory,
        limits: limits(context),
    };
    open_file(scope, job, |folder| {
        let scene = BuildContext {
            name: "scratch".into(),
            root: context.root.clone(),
            state: context.state.clone(),
            service: context.service_name(),
        };
        let place = Map::from_iter([("path".to_owned(), Value::from(folder.to_string_lossy()))]);
        (context.kinds.targets.get("fs")?.build)(&scene, &place)
    })
    .await
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
