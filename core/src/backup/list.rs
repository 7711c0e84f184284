//! Which snapshots there are, and finding one.
//!
//! A list reads the summary at the end of each archive and nothing else. What ends in `.tar.zst` and is no
//! archive of ours, or a damaged one, is listed apart: never hidden, never fatal.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::{Archive, Summary};
use super::blocks::{TargetBlocks, list_all};
use super::create::NamedTarget;
use super::manifest::{Manifest, Outcome};
use super::target::{BackupTarget, Object};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorBody, ErrorKind, Result};

/// How the name of every archive ends.
pub const SUFFIX: &str = ".tar.zst";

/// All snapshots in some targets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// The snapshots, newest first; one that is in several targets is there once for each.
    pub snapshots: Vec<Listed>,
    /// What looks like an archive and could not be read as one.
    pub unreadable: Vec<Unreadable>,
    /// The targets that could not be asked.
    pub failed: Vec<FailedTarget>,
}

/// A snapshot in a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// The snapshot's identifier: 12 hexadecimal digits.
    pub snapshot_id: String,
    /// The target that has it.
    pub target: String,
    /// Its key there.
    pub key: String,
    /// When the backup began.
    pub time: Timestamp,
    /// How it is stored: `archive`.
    pub layout: String,
    /// Whether everything was read completely.
    pub outcome: Outcome,
    /// What the caller called it.
    pub label: Option<String>,
    /// The service's name.
    pub service: String,
    /// The service's version, when it is known.
    pub service_version: Option<String>,
    /// The name of the machine it was made on.
    pub host: String,
    /// Bytes of the files' content.
    pub size_bytes: u64,
    /// Bytes of the archive.
    pub stored_bytes: u64,
    /// Regular files, hard links included.
    pub files: u64,
    /// How many things were skipped.
    pub skipped: u64,
    /// How many databases are in it.
    pub stores: u64,
}

/// Something that looks like an archive and could not be read as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unreadable {
    /// The target that has it.
    pub target: String,
    /// Its key there.
    pub key: String,
    /// Its size.
    pub stored_bytes: u64,
    /// Why it could not be read.
    pub error: ErrorBody,
}

/// A target that could not be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedTarget {
    /// Its name.
    pub target: String,
    /// Why.
    pub error: ErrorBody,
}

/// A snapshot in a target, ready to be read.
#[derive(Debug, Clone)]
pub struct Found {
    /// The snapshot's identifier, from its name when the archive is too damaged to say.
    pub snapshot_id: String,
    /// The target's name.
    pub target: String,
    /// The target.
    pub component: Arc<dyn BackupTarget>,
    /// The archive.
    pub object: Object,
    /// What it says about itself; `None` when it is too damaged.
    pub listed: Option<Listed>,
}

impl Found {
    /// The archive's bytes. Call it inside a runtime, and read on a thread that may wait.
    pub fn blocks(&self, scope: &Scope) -> TargetBlocks {
        TargetBlocks::new(scope, Arc::clone(&self.component), self.object.clone())
    }
}

/// A snapshot with its manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// As a list has it.
    pub snapshot: Listed,
    /// The targets that have it.
    pub targets: Vec<String>,
    /// What it says about itself.
    pub manifest: Manifest,
}

/// Lists the snapshots of `service` (of all services when `None`) in `targets`.
///
/// # Errors
/// Only a cancel. A target that fails is in the result.
pub async fn list(scope: &Scope, targets: &[NamedTarget], service: Option<&str>) -> Result<Listing> {
    let mut listing = Listing::default();
    for (name, target) in targets {
        match read_target(scope, name, target).await {
            Ok(rows) => {
                for row in rows {
                    match row.listed {
                        Ok(listed) if service.is_none_or(|service| listed.service == service) => {
                            listing.snapshots.push(listed);
                        }
                        Ok(_) => {}
                        Err(error) => listing.unreadable.push(Unreadable {
                            target: name.clone(),
                            key: row.object.key,
                            stored_bytes: row.object.size_bytes,
                            error: error.to_body(),
                        }),
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => listing.failed.push(FailedTarget { target: name.clone(), error: error.to_body() }),
        }
    }
    listing.snapshots.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.snapshot_id.cmp(&b.snapshot_id)));
    Ok(listing)
}

/// Finds every copy of one snapshot, in the order of `targets`; there is at least one.
///
/// `wanted` is an identifier, the beginning of one, or `latest`: the newest readable one of `service`.
///
/// # Errors
/// [`ErrorKind::NotFound`] with what there is; [`ErrorKind::InvalidInput`] when several begin like that; what a
/// target said when the snapshot may be there.
pub async fn find(scope: &Scope, targets: &[NamedTarget], service: Option<&str>, wanted: &str) -> Result<Vec<Found>> {
    let (mut all, failed) = find_all(scope, targets).await?;
    let id = match choose(&all, service, wanted) {
        Ok(id) => id,
        Err(error) => return Err(failed.filter(|_| error.kind() == ErrorKind::NotFound).unwrap_or(error)),
    };
    all.retain(|found| found.snapshot_id == id);
    Ok(all)
}

/// Finds every copy of every snapshot, whatever the service, in the order of `targets`; and what the first target said
/// that could not be asked.
///
/// # Errors
/// Only a cancel.
pub(super) async fn find_all(scope: &Scope, targets: &[NamedTarget]) -> Result<(Vec<Found>, Option<Error>)> {
    let mut all = Vec::new();
    let mut failed = None;
    for (name, target) in targets {
        match read_target(scope, name, target).await {
            Ok(rows) => all.extend(rows.into_iter().filter_map(|row| row.found(name, target))),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Ok((all, failed))
}

/// Shows one snapshot with its manifest. `wanted` as for [`find`].
pub async fn show(scope: &Scope, targets: &[NamedTarget], service: Option<&str>, wanted: &str) -> Result<Shown> {
    let copies = find(scope, targets, service, wanted).await?;
    let names: Vec<String> = copies.iter().map(|copy| copy.target.clone()).collect();
    let mut first_error = None;
    // A damaged copy is no reason to show nothing while another one is whole.
    for copy in copies {
        let blocks = copy.blocks(scope);
        match blocking(move || Archive::open(Arc::new(blocks))).await {
            Ok(archive) => {
                let manifest = archive.manifest().clone();
                let snapshot =
                    copy.listed.unwrap_or_else(|| listed(&copy.target, &copy.object, Summary::from(&manifest)));
                return Ok(Shown { snapshot, targets: names, manifest });
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| Error::internal("a snapshot was found without a copy")))
}

fn choose(all: &[Found], service: Option<&str>, wanted: &str) -> Result<String> {
    let not_found = |message: String| {
        let newest = all.iter().filter_map(|found| found.listed.as_ref()).max_by_key(|listed| listed.time);
        let near = all
            .iter()
            .map(|found| (strsim::damerau_levenshtein(&found.snapshot_id, wanted), &found.snapshot_id))
            .min()
            .filter(|(distance, _)| *distance <= 2);
        let hint = match (near, newest) {
            (Some((_, near)), _) => format!("did you mean {near}?"),
            (None, Some(newest)) => format!("the newest is {} of {}", newest.snapshot_id, newest.time),
            (None, None) => "make one: `uplifted-ops backup create`".to_owned(),
        };
        Error::new(ErrorKind::NotFound, message).with_hint(hint)
    };
    if wanted == "latest" {
        let of_service = |listed: &&Listed| service.is_none_or(|service| listed.service == service);
        let newest = all.iter().filter_map(|found| found.listed.as_ref()).filter(of_service).max_by_key(|l| l.time);
        return match newest {
            Some(newest) => Ok(newest.snapshot_id.clone()),
            None => Err(not_found(match service {
                Some(service) => format!("there is no snapshot of {service:?} in the targets"),
                None => "there is no snapshot in the targets".to_owned(),
            })),
        };
    }
    if wanted.is_empty() {
        return Err(Error::invalid("no snapshot was named").with_hint("name an identifier, or \"latest\""));
    }
    if let Some(exact) = all.iter().find(|found| found.snapshot_id == wanted) {
        return Ok(exact.snapshot_id.clone());
    }
    let mut ids: Vec<&str> =
        all.iter().map(|found| found.snapshot_id.as_str()).filter(|id| id.starts_with(wanted)).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids[..] {
        [id] => Ok(id.to_owned()),
        [] => Err(not_found(format!("there is no snapshot {wanted:?} in the targets"))),
        _ => Err(Error::invalid(format!("{} snapshots begin with {wanted:?}: {}", ids.len(), ids.join(", ")))
            .with_hint("write more digits of the one that you mean")),
    }
}

/// One object that looks like an archive.
struct Row {
    object: Object,
    listed: Result<Listed>,
}

impl Row {
    /// Ready to be read, when at least its name says which snapshot it is.
    fn found(self, target: &str, component: &Arc<dyn BackupTarget>) -> Option<Found> {
        let listed = self.listed.ok();
        let snapshot_id = match &listed {
            Some(listed) => listed.snapshot_id.clone(),
            None => id_in_key(&self.object.key)?.to_owned(),
        };
        let component = Arc::clone(component);
        Some(Found { snapshot_id, target: target.to_owned(), component, object: self.object, listed })
    }
}

async fn read_target(scope: &Scope, name: &str, target: &Arc<dyn BackupTarget>) -> Result<Vec<Row>> {
    let objects = list_all(scope, &**target, "").await?;
    let sources: Vec<(Object, TargetBlocks)> = objects
        .into_iter()
        .filter(|object| object.key.ends_with(SUFFIX))
        .map(|object| (object.clone(), TargetBlocks::new(scope, Arc::clone(target), object)))
        .collect();
    let (scope, name) = (scope.clone(), name.to_owned());
    blocking(move || {
        let mut rows = Vec::with_capacity(sources.len());
        for (object, blocks) in sources {
            scope.cancel.check()?;
            let listed = match Archive::summary(&blocks) {
                Ok(summary) => Ok(listed(&name, &object, summary)),
                // Deleted since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => Err(error),
            };
            rows.push(Row { object, listed });
        }
        Ok(rows)
    })
    .await
}

fn listed(target: &str, object: &Object, summary: Summary) -> Listed {
    Listed {
        snapshot_id: summary.snapshot_id,
        target: target.to_owned(),
        key: object.key.clone(),
        time: summary.time,
        layout: "archive".to_owned(),
        outcome: summary.outcome,
        label: summary.label,
        service: summary.service,
        service_version: summary.service_version,
        host: summary.host,
        size_bytes: summary.size_bytes,
        stored_bytes: object.size_bytes,
        files: summary.files,
        skipped: summary.skipped,
        stores: summary.stores,
    }
}

/// The key of a snapshot: `<service>_<YYYYMMDDTHHMMSSZ>_<id>.tar.zst`.
pub fn archive_key(service: &str, time: Timestamp, snapshot_id: &str) -> String {
    format!("{}_{}_{snapshot_id}{SUFFIX}", key_name(service), time.strftime("%Y%m%dT%H%M%SZ"))
}

/// A service's name with the characters that a key can have.
fn key_name(service: &str) -> String {
    let name: String = service
        .chars()
        .take(100)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    match name.trim_start_matches('.') {
        "" => "service".to_owned(),
        name => name.to_owned(),
    }
}

/// The snapshot that a key of [`archive_key`]'s form names.
fn id_in_key(key: &str) -> Option<&str> {
    let id = key.strip_suffix(SUFFIX)?.rsplit('_').next()?;
    (id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// How many bytes of the newest backup of `service` in `target` one byte of its content takes.
pub(super) async fn last_ratio(scope: &Scope, target: &Arc<dyn BackupTarget>, service: &str) -> Result<Option<f64>> {
    let prefix = format!("{}_", key_name(service));
    // Keys of one service sort by time.
    let Some(newest) = list_all(scope, &**target, &prefix).await?.pop() else { return Ok(None) };
    let stored = newest.size_bytes as f64;
    let blocks = TargetBlocks::new(scope, Arc::clone(target), newest);
    let summary = blocking(move || Ok(Archive::summary(&blocks).ok())).await?;
    Ok(summary.filter(|summary| summary.size_bytes > 0).map(|summary| stored / summary.size_bytes as f64))
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("part of the work on a backup did not end: {error}")))?
}

#[cfg(test)]
mod tests;
