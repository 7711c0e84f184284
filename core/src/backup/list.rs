//! Which snapshots there are, and finding one.
//!
//! A list reads the summary at the end of each archive, or beside an encrypted one, and nothing else. What ends in `.tar.zst` and is no
//! archive of ours, or a damaged one, is listed apart: never hidden, never fatal. Of a repository it reads the headers of
//! the snapshots. One target may hold both: archives lie at the top, and everything in folders belongs to the repository.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::archive_names::id_in_key;
use self::archive_names::key_name;
pub use self::archive_names::{SEALED_SUFFIX, SUFFIX, archive_key};
use self::choose::choose;
use super::archive::{Archive, Summary};
use super::blocks::{Blocks, Objects, TargetBlocks, list_all, list_top};
use super::create::NamedTarget;
use super::layout::Layout;
use super::manifest::{Manifest, Outcome};
use super::nodes::{Limits, Selection};
use super::repository::header::Header;
use super::repository::keyring::Keyring;
use super::repository::names;
use super::repository::open::Repository;
use super::repository::snapshot::{Asked, Snapshot};
use super::restore::Source;
use super::seal::{Fingerprint, Keys, MAX_SUMMARY, SUMMARY_SUFFIX, SealedSummary};
use super::target::{BackupTarget, Object};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorBody, ErrorKind, Result};

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
    /// When the backup began, by the clock of the machine that made it.
    pub time: Timestamp,
    /// When it was stored, by the target's clock.
    pub stored_at: Timestamp,
    /// How it is stored: `archive` or `repository`.
    pub layout: String,
    /// Whether everything was read completely.
    pub outcome: Outcome,
    /// What the caller called it.
    pub label: Option<String>,
    /// The tags that the caller gave it, sorted.
    pub tags: Vec<String>,
    /// The service's name.
    pub service: String,
    /// The service's version, when it is known.
    pub service_version: Option<String>,
    /// The name of the machine it was made on.
    pub host: String,
    /// Bytes of the files' content.
    pub size_bytes: u64,
    /// Bytes of the archive; of a snapshot in a repository those that its backup added.
    pub stored_bytes: u64,
    /// Regular files, hard links included.
    pub files: u64,
    /// How many things were skipped.
    pub skipped: u64,
    /// How many databases are in it.
    pub stores: u64,
    /// The fingerprint of the key that it is encrypted to. Nothing when it is stored in clear.
    pub encrypted_to: Option<Fingerprint>,
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
    /// The archive, or the header of a snapshot in a repository.
    pub object: Object,
    /// What it says about itself; `None` when it is too damaged, or encrypted to a key that is not at hand.
    pub listed: Option<Listed>,
    /// What opens it, when it is encrypted.
    pub keys: Keys,
}

impl Found {
    /// The stored bytes. Call it inside a runtime, and read on a thread that may wait.
    pub fn blocks(&self, scope: &Scope) -> TargetBlocks {
        TargetBlocks::new(scope, Arc::clone(&self.component), self.object.clone())
    }

    /// Whether it lies in a repository, and is no archive.
    pub fn in_repository(&self) -> bool {
        self.object.key.starts_with(names::SNAPSHOTS)
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        match self.in_repository() {
            true => self.listed.as_ref().is_some_and(|listed| listed.encrypted_to.is_some()),
            false => self.object.key.ends_with(SEALED_SUFFIX),
        }
    }

    /// Opens it, whatever its layout. To salvage what is left of it, an archive is read without its index, and a snapshot of a
    /// repository with those of its keys that are at hand.
    ///
    /// # Errors
    /// Those of [`Archive::open`]; for a snapshot in a repository [`ErrorKind::Corrupt`] when its header or the root of its
    /// tree is lost; [`ErrorKind::Denied`] when it is sealed and no key is at hand; [`ErrorKind::Refused`] for more than
    /// `max_entries` entries.
    pub async fn source(&self, scope: &Scope, max_entries: u64, salvage: bool) -> Result<Arc<dyn Source>> {
        self.source_of(scope, max_entries, salvage, Selection::All).await
    }

    /// [`Found::source`] for one who wants `selection` and nothing else: other entries may be missing in it.
    pub async fn source_of(
        &self,
        scope: &Scope,
        max_entries: u64,
        salvage: bool,
        selection: Selection,
    ) -> Result<Arc<dyn Source>> {
        let (copy, blocks, scope) = (self.clone(), self.blocks(scope), scope.clone());
        blocking(move || {
            if copy.in_repository() {
                let repository = copy.repository(&scope)?;
                let (header, _) = repository.header(&copy.object.key)?;
                let asked = Asked { max_entries, selection: &selection, salvage };
                let snapshot = Snapshot::open_as(&scope, &repository, header, &asked, |_| ())?;
                return Ok(Arc::new(snapshot) as Arc<dyn Source>);
            }
            let blocks = copy.open(blocks)?;
            Ok(match salvage {
                false => Arc::new(Archive::open(blocks)?) as Arc<dyn Source>,
                true => Arc::new(Archive::open_without_index(blocks)?),
            })
        })
        .await
    }

    /// The repository that it lies in. Belongs on a thread that may wait.
    pub(super) fn repository(&self, scope: &Scope) -> Result<Repository> {
        let keys: Arc<dyn Keyring> = Arc::new(self.keys.clone());
        Repository::open(&Objects::new(scope, Arc::clone(&self.component)), &keys)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("target {:?} has no repository any more", self.target))
        })
    }

    /// Whether there is a key at hand that opens it, should it need one.
    pub fn can_be_opened(&self) -> bool {
        !self.is_encrypted() || self.keys.as_ref().is_some_and(|keys| keys.has_identity())
    }

    /// The archive's bytes, decrypted where they are encrypted, from `blocks` as [`Found::blocks`] made them.
    /// Belongs on a thread that may wait.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without a key, [`ErrorKind::InvalidInput`] with another one; both name what is needed.
    pub fn open(&self, blocks: TargetBlocks) -> Result<Arc<dyn Blocks>> {
        open_blocks(&self.object.key, blocks, &self.keys, self.listed.as_ref().and_then(|it| it.encrypted_to.as_ref()))
    }
}

/// The archive's bytes from the stored ones.
fn open_blocks(
    key: &str,
    blocks: TargetBlocks,
    keys: &Keys,
    encrypted_to: Option<&Fingerprint>,
) -> Result<Arc<dyn Blocks>> {
    if !key.ends_with(SEALED_SUFFIX) {
        return Ok(Arc::new(blocks));
    }
    let keys = keys.as_ref().ok_or_else(|| no_key(key))?;
    Ok(Arc::new(keys.open(Arc::new(blocks), encrypted_to).map_err(|error| error.while_doing(format!("{key:?}")))?))
}

/// What is said of an encrypted archive where no key of it is at hand.
pub(super) fn no_key(key: &str) -> Error {
    if cfg!(not(feature = "encryption")) {
        return Error::new(ErrorKind::Unsupported, format!("{key:?} is encrypted, and this build has no encryption"))
            .with_hint("use a build with the feature `encryption`: the packages of PyPI and npm have it");
    }
    Error::new(ErrorKind::Denied, format!("{key:?} is encrypted, and this host has no key of it")).with_hint(
        "pass identity_file (--identity-file FILE), or restore the host's key: `uplifted-ops backup keys adopt \
         --identity-file FILE`",
    )
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
///
/// `keys` reads what encrypted archives show of themselves.
pub async fn list(scope: &Scope, targets: &[NamedTarget], keys: &Keys, service: Option<&str>) -> Result<Listing> {
    let mut listing = Listing::default();
    for (name, target) in targets {
        match read_target(scope, name, target, keys).await {
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
pub async fn find(
    scope: &Scope,
    targets: &[NamedTarget],
    keys: &Keys,
    service: Option<&str>,
    wanted: &str,
) -> Result<Vec<Found>> {
    let (mut all, failed) = find_all(scope, targets, keys).await?;
    let id = match choose(&all, service, wanted) {
        Ok(id) => id,
        Err(error) => return Err(failed.filter(|_| error.kind() == ErrorKind::NotFound).unwrap_or(error)),
    };
    all.retain(|found| found.snapshot_id == id);
    Ok(all)
}

/// Finds every copy of every snapshot, whatever the service, in the order of `targets`; and what the first target said
/// that could not be asked, or whose snapshots nobody here can read.
///
/// # Errors
/// Only a cancel.
pub(super) async fn find_all(
    scope: &Scope,
    targets: &[NamedTarget],
    keys: &Keys,
) -> Result<(Vec<Found>, Option<Error>)> {
    let mut all = Vec::new();
    let mut failed = None;
    for (name, target) in targets {
        match read_target(scope, name, target, keys).await {
            Ok(rows) => {
                let denied = rows.iter().filter_map(|row| row.listed.as_ref().err());
                let denied = denied.filter(|error| matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported));
                // `latest` cannot be told from what nobody here can read.
                failed = failed.or_else(|| denied.map(|error| Error::from(error.to_body())).next());
                all.extend(rows.into_iter().filter_map(|row| row.found(name, target, keys)));
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Ok((all, failed))
}

/// Shows one snapshot with its manifest. `wanted` as for [`find`].
pub async fn show(
    scope: &Scope,
    targets: &[NamedTarget],
    keys: &Keys,
    service: Option<&str>,
    wanted: &str,
) -> Result<Shown> {
    let copies = find(scope, targets, keys, service, wanted).await?;
    let names: Vec<String> = copies.iter().map(|copy| copy.target.clone()).collect();
    let mut first_error = None;
    // A damaged copy is no reason to show nothing while another one is whole.
    for copy in copies {
        match copy.source(scope, Limits::default().max_entries, false).await {
            Ok(source) => {
                let manifest = source.manifest().clone();
                let snapshot = copy.listed.unwrap_or_else(|| {
                    listed(&copy.target, &copy.object, Summary::from(&manifest), manifest.encrypted_to.clone())
                });
                return Ok(Shown { snapshot, targets: names, manifest });
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| Error::internal("a snapshot was found without a copy")))
}

/// One object that looks like an archive.
struct Row {
    object: Object,
    listed: Result<Listed>,
}

impl Row {
    /// Ready to be read, when at least its name says which snapshot it is.
    fn found(self, target: &str, component: &Arc<dyn BackupTarget>, keys: &Keys) -> Option<Found> {
        let listed = self.listed.ok();
        let snapshot_id = match &listed {
            Some(listed) => listed.snapshot_id.clone(),
            None => match names::snapshot_of(&self.object.key) {
                Some(id) => id.to_string(),
                None => id_in_key(&self.object.key)?.to_owned(),
            },
        };
        let component = Arc::clone(component);
        let keys = keys.clone();
        Some(Found { snapshot_id, target: target.to_owned(), component, object: self.object, listed, keys })
    }
}

async fn read_target(scope: &Scope, name: &str, target: &Arc<dyn BackupTarget>, keys: &Keys) -> Result<Vec<Row>> {
    let top = list_top(scope, &**target).await?;
    let has_repository = top.folders.iter().any(|folder| names::SNAPSHOTS.strip_suffix('/') == Some(folder));
    let sources = sources_in(scope, target, &top.objects);
    let objects = Objects::new(scope, Arc::clone(target));
    let (scope, name, keys) = (scope.clone(), name.to_owned(), keys.clone());
    blocking(move || {
        let mut rows = Vec::with_capacity(sources.len());
        for source in sources {
            scope.cancel.check()?;
            let object = source.object.clone();
            let listed = match source.summary(&keys) {
                Ok((summary, encrypted_to)) => Ok(listed(&name, &object, summary, encrypted_to)),
                // Deleted since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => Err(error),
            };
            rows.push(Row { object, listed });
        }
        if has_repository {
            rows.extend(read_repository(&objects, &name, &keys)?);
        }
        Ok(rows)
    })
    .await
}

/// A row for each snapshot of the repository in a target; one that says why when it cannot be opened.
fn read_repository(objects: &Objects, target: &str, keys: &Keys) -> Result<Vec<Row>> {
    let keyring: Arc<dyn Keyring> = Arc::new(keys.clone());
    let opened = Repository::open(objects, &keyring);
    let why = match opened {
        Ok(Some(repository)) => {
            let row = |stored: super::repository::open::StoredHeader| {
                let object = Object { key: stored.key, size_bytes: stored.len, modified_at: stored.modified_at };
                let listed = match &stored.header {
                    Ok((header, _)) => listed_in_repository(target, &object, header),
                    Err(error) => Err(Error::from(error.to_body())),
                };
                Row { object, listed }
            };
            return Ok(repository.headers()?.into_iter().map(row).collect());
        }
        Ok(None) => {
            Error::new(ErrorKind::Corrupt, "the record of the repository is missing, and so is its copy in RECOVER.md")
                .with_hint("`sh recover.sh` restores without it")
        }
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => error,
    };
    let headers = objects.list(names::SNAPSHOTS)?;
    let headers = headers.into_iter().filter(|object| names::snapshot_of(&object.key).is_some());
    Ok(headers.map(|object| Row { object, listed: Err(Error::from(why.to_body())) }).collect())
}

fn listed_in_repository(target: &str, object: &Object, header: &Header) -> Result<Listed> {
    let of_packs = || header.packs.iter().find_map(|pack| pack.fingerprint.as_deref());
    let fingerprint = header.encrypted_to.as_deref().or_else(of_packs);
    Ok(Listed {
        snapshot_id: header.snapshot.to_string(),
        target: target.to_owned(),
        key: object.key.clone(),
        time: header.time,
        stored_at: object.modified_at,
        layout: Layout::Repository.name().to_owned(),
        outcome: header.outcome,
        label: header.label.clone(),
        tags: header.tags.clone(),
        service: header.service.clone(),
        service_version: header.service_version.clone(),
        host: header.host.clone(),
        size_bytes: header.counts.bytes,
        stored_bytes: header.counts.stored,
        files: header.counts.files,
        skipped: header.counts.skipped,
        stores: header.counts.stores,
        encrypted_to: fingerprint.map(str::parse).transpose()?,
    })
}

/// The archives whose keys begin with `prefix`, in the order of their keys.
async fn sources(scope: &Scope, target: &Arc<dyn BackupTarget>, prefix: &str) -> Result<Vec<StoredArchive>> {
    Ok(sources_in(scope, target, &list_all(scope, &**target, prefix).await?))
}

/// The archives among `objects`.
fn sources_in(scope: &Scope, target: &Arc<dyn BackupTarget>, objects: &[Object]) -> Vec<StoredArchive> {
    let of_object = |object: &Object| TargetBlocks::new(scope, Arc::clone(target), object.clone());
    let is_archive = |key: &str| !key.contains('/') && (key.ends_with(SUFFIX) || key.ends_with(SEALED_SUFFIX));
    let sources = objects.iter().filter(|object| is_archive(&object.key)).map(|object| {
        let summary = objects.iter().find(|beside| {
            beside.key.strip_suffix(SUMMARY_SUFFIX) == Some(&object.key) && beside.size_bytes <= MAX_SUMMARY
        });
        StoredArchive { archive: of_object(object), summary: summary.map(&of_object), object: object.clone() }
    });
    sources.collect()
}

/// An archive, and what lies beside it.
struct StoredArchive {
    object: Object,
    archive: TargetBlocks,
    summary: Option<TargetBlocks>,
}

impl StoredArchive {
    /// What it shows of itself, and what it is encrypted to.
    fn summary(self, keys: &Keys) -> Result<(Summary, Option<Fingerprint>)> {
        let key = &self.object.key;
        if !key.ends_with(SEALED_SUFFIX) {
            return Ok((Archive::summary(&self.archive)?, None));
        }
        let ring = keys.as_ref().ok_or_else(|| no_key(key))?;
        let beside = match self.summary {
            Some(blocks) => blocks.read(0..MAX_SUMMARY).and_then(|bytes| SealedSummary::read(&bytes, ring, key)),
            None => Err(Error::new(ErrorKind::Corrupt, format!("the summary of {key:?} is missing"))
                .with_hint("look into the archive itself: pass identity_file")),
        };
        match beside {
            Ok(sealed) => Ok((sealed.summary, Some(sealed.encrypted_to))),
            // It is only a convenience: whoever can open the archive finds the same in it.
            Err(error) if error.kind() == ErrorKind::Corrupt && ring.has_identity() => {
                let manifest = Archive::open(open_blocks(key, self.archive, keys, None)?)?.manifest().clone();
                Ok((Summary::from(&manifest), manifest.encrypted_to))
            }
            Err(error) => Err(error),
        }
    }
}

fn listed(target: &str, object: &Object, summary: Summary, encrypted_to: Option<Fingerprint>) -> Listed {
    Listed {
        snapshot_id: summary.snapshot_id,
        target: target.to_owned(),
        key: object.key.clone(),
        time: summary.time,
        stored_at: object.modified_at,
        layout: Layout::Archive.name().to_owned(),
        outcome: summary.outcome,
        label: summary.label,
        tags: summary.tags,
        service: summary.service,
        service_version: summary.service_version,
        host: summary.host,
        size_bytes: summary.size_bytes,
        stored_bytes: object.size_bytes,
        files: summary.files,
        skipped: summary.skipped,
        stores: summary.stores,
        encrypted_to,
    }
}

/// How many bytes of the newest backup of `service` in `target` one byte of its content takes.
pub(super) async fn last_ratio(
    scope: &Scope,
    target: &Arc<dyn BackupTarget>,
    keys: &Keys,
    service: &str,
) -> Result<Option<f64>> {
    let prefix = format!("{}_", key_name(service));
    // Keys of one service sort by time.
    let Some(newest) = sources(scope, target, &prefix).await?.pop() else { return Ok(None) };
    let (stored, keys) = (newest.object.size_bytes as f64, keys.clone());
    let summary = blocking(move || Ok(newest.summary(&keys).ok())).await?;
    Ok(summary.filter(|(summary, _)| summary.size_bytes > 0).map(|(summary, _)| stored / summary.size_bytes as f64))
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("part of the work on a backup did not end: {error}")))?
}

mod archive_names;
mod choose;
#[cfg(test)]
mod tests;
