//! A snapshot of a repository, opened: its manifest, its entries, and where their content is.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::sync::Arc;

use super::fetch::{PackFault, Packs, Reader, is_damage};
use super::header::{Header, NeededPack};
use super::id::BlobId;
use super::limited::Limited;
use super::open::Repository;
use super::pages::PageMap;
use super::pieces::PieceSource;
use super::roll::{Stored, TreeRoll};
use super::tree::{BlockReader, Span, TreeEntry, read_root};
use crate::backup::manifest::{FORMAT, Manifest, Node, RelPath};
use crate::backup::nodes::{
    Chosen, Limits, Order, Problem, ProblemKind, Roll, Selection, check_limits, examine, totals,
};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// The longest manifest, in bytes.
const MAX_MANIFEST: u64 = 64 << 20;
/// The longest block: one entry can have four million blobs.
const MAX_BLOCK_TEXT: u64 = 256 << 20;
/// The longest page map.
const MAX_MAP: u64 = 1 << 30;
/// How many files a sentence names.
const NAMED: usize = 5;
/// The longest root: this much, and so many bytes for each entry. A line of it names a block of some 500 entries.
const MAX_ROOT: u64 = 64 << 20;
const ROOT_LINE: u64 = 64;

/// An open snapshot: its entries are in memory, its content is read when asked for.
pub(crate) struct Snapshot {
    pub(super) packs: Arc<Packs>,
    pub(super) header: Header,
    pub(super) manifest: Manifest,
    pub(super) roll: Arc<TreeRoll>,
    /// What is lost, or had to be worked around.
    pub(super) problems: Vec<Problem>,
    /// Whether the list of entries lacks some.
    pub(super) incomplete: bool,
    /// Whether only the entries that were asked for are in the list.
    partial: bool,
    /// Keys that it needs and that are not at hand, by their fingerprints.
    closed: Vec<String>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("snapshot_id", &self.manifest.snapshot_id)
            .field("entries", &self.roll.count())
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

/// What one wants of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// More entries are refused.
    pub(crate) max_entries: u64,
    /// What is not in it may be missing in the list of entries, and what is wrong with it remains unseen.
    pub(crate) selection: &'a Selection,
    /// Makes do with what the keys at hand open: the rest counts as lost, and says which key it needs.
    pub(crate) salvage: bool,
}

impl Asked<'static> {
    /// All of it, as it was stored.
    pub(crate) fn all(max_entries: u64) -> Self {
        Self { max_entries, selection: &Selection::All, salvage: false }
    }
}

impl Snapshot {
    /// Opens a snapshot by its header: reads the indexes of its packs, its manifest and its tree.
    ///
    /// Damage is worked around where that is possible, and kept in [`Snapshot::problems`]: a lost index is made again
    /// from its pack, a lost manifest is replaced by what the header says, the entries of a lost block are missing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when not even the root of the tree can be read, [`ErrorKind::Denied`] when packs are sealed
    /// and the identity is not at hand, [`ErrorKind::Refused`] for more than `max_entries` entries.
    pub(crate) fn open(scope: &Scope, repository: &Repository, header: Header, max_entries: u64) -> Result<Self> {
        Self::open_as(scope, repository, header, &Asked::all(max_entries), |_| ())
    }

    /// [`Snapshot::open`] for one who asks for less, or for more. `each` sees the entries as they come into the roll, with
    /// what the roll does not keep; when all are asked for it sees each once, in the order of the roll.
    ///
    /// # Errors
    /// As [`Snapshot::open`]; with [`Asked::salvage`] [`ErrorKind::Denied`] when no key is at hand, or the root of the tree
    /// needs another one.
    pub(crate) fn open_as(
        scope: &Scope,
        repository: &Repository,
        header: Header,
        asked: &Asked<'_>,
        each: impl FnMut(&TreeEntry),
    ) -> Result<Self> {
        let closed = closed_keys(repository, &header);
        if closed.is_empty() {
            return Self::read(scope, repository, header, asked, closed, each);
        }
        let denied = not_at_hand(repository, &header, &closed);
        let is_open = |pack: &NeededPack| pack.fingerprint.as_ref().is_none_or(|key| !closed.contains(key));
        if !asked.salvage || !header.packs.iter().any(is_open) {
            return Err(denied);
        }
        Self::read(scope, repository, header, asked, closed, each).map_err(|error| {
            // The root: without it nothing has a name.
            if is_damage(&error) { denied.with_context("because", error.message()) } else { error }
        })
    }

    /// Reads what the `closed` keys are not needed for.
    fn read(
        scope: &Scope,
        repository: &Repository,
        header: Header,
        asked: &Asked<'_>,
        closed: Vec<String>,
        mut each: impl FnMut(&TreeEntry),
    ) -> Result<Self> {
        let mut problems = Vec::new();
        let limits = Limits { max_entries: asked.max_entries, ..Limits::default() };
        check_limits(&limits, header.counts.entries, 0, 0, &mut problems);
        if let Some(problem) = problems.pop() {
            return Err(problem.into_error());
        }
        let packs = Packs::open_without(scope, repository, &header.packs, closed.clone())?;
        problems.extend(packs.damage.iter().map(|damage| {
            let kind = match damage.kind {
                PackFault::Index => ProblemKind::DamagedIndex,
                PackFault::Content => ProblemKind::DamagedPack,
            };
            Problem::of_snapshot(kind, format!("pack {}: {}", damage.pack, damage.message))
        }));
        let mut reader = Reader::new(&packs)?;
        let manifest = match read_manifest(&header, &mut reader) {
            Ok(manifest) => manifest,
            Err(error) if is_damage(&error) => {
                let message = format!("the manifest: {}; the header stands in for it", error.message());
                problems.push(Problem::of_snapshot(ProblemKind::DamagedIndex, message));
                stand_in(&header)
            }
            Err(error) => return Err(error),
        };
        let mut chosen = Chosen::of(asked.selection);
        let (roll, lost) = loop {
            let mut roll = TreeRoll::default();
            // A further name of a file that is not asked for itself: its content may lie anywhere.
            let mut leads_elsewhere = false;
            let lost = walk_tree(scope, &header, &mut reader, chosen.as_ref(), |entry| {
                if let (Some(chosen), Node::HardLink { target }) = (&chosen, &entry.entry.node) {
                    leads_elsewhere |= !chosen.takes(target.as_bytes());
                }
                roll.push(&entry, |id| packs.lookup().number_of(id))?;
                each(&entry);
                Ok(())
            })?;
            if !leads_elsewhere {
                break (roll, lost);
            }
            chosen = None;
        };
        let incomplete = !lost.is_empty();
        problems.extend(lost);
        let (packs, roll, partial) = (Arc::new(packs), Arc::new(roll), chosen.is_some());
        Ok(Self { packs, header, manifest, roll, problems, incomplete, partial, closed })
    }

    /// What the snapshot says about itself.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its header.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Its entries.
    pub(crate) fn roll(&self) -> &TreeRoll {
        &self.roll
    }

    /// What is lost, or had to be worked around.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What of it cannot be restored, in words: entries that are lost, and files whose key is not at hand.
    pub(crate) fn faults(&self) -> Vec<String> {
        let lost = self.problems.iter().filter(|problem| problem.kind == ProblemKind::DamagedTree);
        let mut faults: Vec<String> = lost.map(|problem| problem.message.clone()).collect();
        for (key, files) in self.closed_files() {
            let named: Vec<String> = files.iter().take(NAMED).map(ToString::to_string).collect();
            let more = match files.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            faults.push(format!(
                "the key {key} is not at hand, which {} of the files {}: {}{more}",
                files.len(),
                if files.len() == 1 { "needs" } else { "need" },
                named.join(", ")
            ));
        }
        faults
    }

    /// The files that need a key which is not at hand, by its fingerprint.
    fn closed_files(&self) -> BTreeMap<String, Vec<RelPath>> {
        let mut files: BTreeMap<String, Vec<RelPath>> = BTreeMap::new();
        if self.closed.is_empty() {
            return files;
        }
        let lookup = self.packs.lookup();
        let Ok(mut reader) = Reader::new(&self.packs) else { return files };
        for number in 0..self.roll.count() {
            let missing = match self.roll.stored(number) {
                Stored::Nothing => None,
                Stored::Blobs(blobs) => {
                    blobs.iter().flatten().find_map(|blob| self.packs.key_missing_for(&lookup.at(*blob).id()))
                }
                Stored::Pages(map, _) => self.packs.key_missing_for(&map).or_else(|| {
                    let Node::File { size, .. } = self.roll.entry(number).node else { return None };
                    match read_map(&mut reader, &map, size) {
                        Ok(map) => map.data.iter().find_map(|(id, _)| self.packs.key_missing_for(id)),
                        // A map below it, most probably; the restore says it exactly.
                        Err(_) => self.closed.first().map(String::as_str),
                    }
                }),
            };
            if let Some(key) = missing {
                files.entry(key.to_owned()).or_default().push(RelPath::from(&*self.roll.path(number)));
            }
        }
        files
    }

    /// Why it must not be extracted as a whole: an unsafe entry, a passed limit, entries that are lost.
    pub(crate) fn refusal(&self, limits: &Limits) -> Option<Problem> {
        let lost = || self.problems.iter().find(|problem| problem.kind == ProblemKind::DamagedTree).cloned();
        self.examine(Some(limits)).0.into_iter().next().or_else(|| lost().filter(|_| self.incomplete))
    }

    /// Every violation of the rules for what may be extracted, and the order of the names, which means something only
    /// without one.
    pub(super) fn examine(&self, limits: Option<&Limits>) -> (Vec<Problem>, Order) {
        let roll = self.roll.as_ref();
        let (mut problems, order) = examine(roll, false);
        if !problems.is_empty() {
            return (problems, order);
        }
        let counted = totals(roll);
        let said = &self.header.counts;
        if !self.incomplete
            && !self.partial
            && counted.map(|sum| (sum.files, sum.entries, sum.bytes)) != Some((said.files, said.entries, said.bytes))
        {
            let message = "the header's counts are not those of the entries";
            problems.push(Problem::of_snapshot(ProblemKind::Inconsistent, message));
        }
        if let Some(limits) = limits {
            let stored = self.header.packs.iter().fold(0, |sum: u64, pack| sum.saturating_add(pack.stored_bytes));
            let bytes = counted.map_or(u64::MAX, |sum| sum.stored);
            check_limits(limits, roll.len().into(), bytes, stored, &mut problems);
        }
        (problems, order)
    }
}

/// The keys that a snapshot needs and that are not at hand, by their fingerprints.
fn closed_keys(repository: &Repository, header: &Header) -> Vec<String> {
    let mut closed: Vec<String> = header.packs.iter().filter_map(|pack| pack.fingerprint.clone()).collect();
    closed.sort_unstable();
    closed.dedup();
    closed.retain(|fingerprint| !repository.keys.opens(fingerprint));
    closed
}

fn not_at_hand(repository: &Repository, header: &Header, closed: &[String]) -> Error {
    let (keys, are) = if closed.len() > 1 { ("keys", "are") } else { ("key", "is") };
    let mut some = header.packs.iter().filter_map(|pack| pack.fingerprint.as_deref());
    let pass = "pass identity_file (--identity-file FILE): the operator's file with AGE-SECRET-KEY-1…";
    let (in_part, hint) = match some.any(|fingerprint| repository.keys.opens(fingerprint)) {
        true => (" in part", format!("{pass}; salvage (--salvage) restores what the keys at hand open")),
        false => ("", pass.to_owned()),
    };
    let (snapshot, closed) = (header.snapshot, closed.join(", "));
    Error::new(
        ErrorKind::Denied,
        format!("snapshot {snapshot} is encrypted{in_part} to the {keys} {closed}, which {are} not at hand"),
    )
    .with_hint(hint)
}

/// Gives each entry of the tree, or those that are `chosen`, to `each`, in order, and returns what is lost.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when the root is lost, what `each` says, and those of reading.
pub(super) fn walk_tree(
    scope: &Scope,
    header: &Header,
    reader: &mut Reader<'_>,
    chosen: Option<&Chosen>,
    mut each: impl FnMut(TreeEntry) -> Result<()>,
) -> Result<Vec<Problem>> {
    let most = MAX_ROOT.saturating_add(header.counts.entries.saturating_mul(ROOT_LINE));
    let blocks = PieceSource::open(&header.root, |id| reader.blob(id))
        .and_then(|root| read_root(BufReader::new(Limited::new(root, most))))
        .map_err(|error| error.while_doing("reading the root of the snapshot's tree"))?;
    let said = blocks.iter().fold(0, |sum: u64, block| sum.saturating_add(block.entries));
    if said != header.counts.entries {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "the root of the snapshot's tree does not list what the header counts",
        )
        .with_hint("use another snapshot"));
    }
    let mut lost = Vec::new();
    for block in blocks {
        scope.cancel.check()?;
        if let (Some(chosen), Some(Span { least, greatest })) = (chosen, &block.span)
            && !chosen.may_take_between(least.as_bytes(), greatest.as_bytes())
        {
            continue;
        }
        let mut count = 0;
        let mut read = || -> Result<()> {
            let source = PieceSource::open(&block.id, |id| reader.blob(id))?;
            let mut entries = BlockReader::new(BufReader::new(Limited::new(source, MAX_BLOCK_TEXT)))?;
            while let Some(entry) = entries.next()? {
                count += 1;
                if count > block.entries {
                    return Err(Error::new(ErrorKind::Corrupt, "it has more entries than the root says"));
                }
                if block.span.as_ref().is_some_and(|span| !span.has(&entry.entry.path)) {
                    return Err(Error::new(ErrorKind::Corrupt, "it has an entry that is not where the root says"));
                }
                if chosen.is_none_or(|chosen| chosen.takes(entry.entry.path.as_bytes())) {
                    each(entry)?;
                }
            }
            Ok(())
        };
        let message = match read() {
            Ok(()) if count == block.entries => continue,
            Ok(()) => format!("it has {count} entries, not {}", block.entries),
            Err(error) if is_damage(&error) => error.message().to_owned(),
            Err(error) => return Err(error),
        };
        let message = format!(
            "{} entries are lost with the block {}: {message}",
            block.entries - count.min(block.entries),
            block.id
        );
        lost.push(Problem::of_snapshot(ProblemKind::DamagedTree, message));
    }
    Ok(lost)
}

/// A page map with all that is below it, complete; it must be of a file of `size` bytes.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when a part of it is lost or it makes no sense.
pub(super) fn read_map(reader: &mut Reader<'_>, id: &BlobId, size: u64) -> Result<PageMap> {
    let mut read = |id: &BlobId| {
        let source = PieceSource::open(id, |id| reader.blob(id))?;
        PageMap::read(BufReader::new(Limited::new(source, MAX_MAP)))
    };
    let map = read(id)?;
    if map.length != size {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the page map is of a file of {} bytes, not {size}", map.length),
        ));
    }
    map.flatten(read)
}

/// What a snapshot says about itself, without the list of its entries.
///
/// # Errors
/// [`ErrorKind::Denied`] when it is sealed and no key is at hand; [`ErrorKind::Corrupt`].
pub(crate) fn manifest_of(scope: &Scope, repository: &Repository, header: &Header) -> Result<Manifest> {
    let closed = closed_keys(repository, header);
    if !closed.is_empty() {
        return Err(not_at_hand(repository, header, &closed));
    }
    let packs = Arc::new(Packs::open_without(scope, repository, &header.packs, closed)?);
    read_manifest(header, &mut Reader::new(&packs)?)
}

fn read_manifest(header: &Header, reader: &mut Reader<'_>) -> Result<Manifest> {
    let damaged = |why: &str| Error::new(ErrorKind::Corrupt, format!("it is damaged: {why}"));
    let source = PieceSource::open(&header.manifest, |id| reader.blob(id))?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut Limited::new(source, MAX_MANIFEST), &mut bytes)
        .map_err(|error| error.downcast::<Error>().unwrap_or_else(|error| damaged(&error.to_string())))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
    if manifest.format > FORMAT {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the manifest has version {}; this program reads versions up to {FORMAT}", manifest.format),
        )
        .with_hint("upgrade uplifted-ops"));
    }
    if manifest.snapshot_id != header.snapshot.to_string() {
        return Err(damaged("it belongs to another snapshot"));
    }
    Ok(manifest)
}

/// A manifest that claims what the header says, and no more.
fn stand_in(header: &Header) -> Manifest {
    Manifest {
        format: FORMAT,
        snapshot_id: header.snapshot.to_string(),
        service: header.service.clone(),
        service_version: header.service_version.clone(),
        host: header.host.clone(),
        made_by: String::new(),
        label: header.label.clone(),
        tags: header.tags.clone(),
        time: header.time,
        outcome: header.outcome,
        includes: Vec::new(),
        excludes: Vec::new(),
        stores: Vec::new(),
        group: None,
        skipped: Vec::new(),
        files: header.counts.files,
        entries: header.counts.entries,
        size_bytes: header.counts.bytes,
        encrypted_to: None,
    }
}
