//! Checking a snapshot of a repository: what its records say in a moment, or every byte.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::content::ContentReader;
use super::extract::Plan;
use super::fetch::{Packs, Reader, is_damage};
use super::header::{Header, NeededPack};
use super::id::{PackId, PageId};
use super::index::{self, BlobAt, Lines};
use super::names;
use super::open::{Repository, StoredHeader, broken_links};
use super::pack::{PackedBlob, blobs_in};
use super::prepare::MAX_INDEX;
use super::roll::TreeRoll;
use super::snapshot::{Asked, Snapshot};
use super::tree::{Content, TreeEntry};
use crate::backup::blocks::read_exact;
use crate::backup::frames::Unpacker;
use crate::backup::manifest::{Digest, Node, RelPath};
use crate::backup::nodes::{
    ContentHasher, Limits, MAX_PROBLEMS, Order, Problem, ProblemKind, Roll, Scattered, Selection, Stretch, Wanted,
    parts_of,
};
use crate::backup::pool::Pool;
use crate::backup::target::MAX_BLOCK;
use crate::cancel::{Cancel, ProgressEvent, Scope};
use crate::error::{Error, ErrorKind, Result};

mod units;

use units::Units;

/// How many pieces of a file may wait for those between them.
const MAX_WAITING: usize = 1 << 16;
/// How many bytes of holes are hashed in a file, at a gigabyte a second: there is nothing in them to be wrong.
const MAX_HOLES: u64 = 64 << 30;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// The header, the chain, the indexes, the tree, and that every pack is there with the right length.
    Quick,
    /// Every stored byte against the digests of the packs as well.
    Data,
    /// Every frame, every blob, every file's content and the units of the databases as well.
    Full,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Verified {
    /// What is wrong. Paths are named when their content is hit.
    pub(crate) problems: Vec<Problem>,
    /// The snapshot; `None` when it is too damaged, or sealed.
    pub(crate) snapshot: Option<Snapshot>,
    /// Whether nobody could look into the packs, since the identity is not at hand.
    pub(crate) sealed: bool,
    /// Bytes of the packs.
    pub(crate) stored_bytes: u64,
    /// The packs of which every byte was read.
    pub(crate) read: Vec<PackId>,
    /// What is wrong with packs.
    pub(crate) damaged: BTreeMap<PackId, String>,
}

/// Checks the snapshot whose header is at `key`.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no such header; what the target says; a cancel. Damage is in the result.
pub(crate) fn verify(
    scope: &Scope,
    repository: &Repository,
    key: &str,
    depth: Depth,
    threads: usize,
    max_entries: u64,
) -> Result<Verified> {
    let headers = repository.headers()?;
    let mut verified = Verified {
        problems: Vec::new(),
        snapshot: None,
        sealed: false,
        stored_bytes: 0,
        read: Vec::new(),
        damaged: BTreeMap::new(),
    };
    let problems = &mut verified.problems;
    if let Some(damage) = &repository.damage {
        problems.push(Problem::of_snapshot(ProblemKind::DamagedIndex, damage));
    }
    let header = match headers.iter().find(|stored| stored.key == key).map(|stored| &stored.header) {
        Some(Ok((header, _))) => header.clone(),
        Some(Err(error)) if is_damage(error) => {
            problems.push(Problem::of_snapshot(ProblemKind::DamagedIndex, format!("the header: {}", error.message())));
            return Ok(verified);
        }
        Some(Err(error)) => return Err(Error::from(error.to_body())),
        None => return Err(Error::new(ErrorKind::NotFound, format!("there is no header {key:?}"))),
    };
    let (collected, _) = repository.collected()?;
    for (snapshot, message) in broken_links(&headers, &collected) {
        if snapshot == header.snapshot {
            problems.push(Problem::of_snapshot(ProblemKind::BrokenChain, message));
        }
    }
    verified.stored_bytes = stored_bytes(&header.packs);
    let damaged = &mut verified.damaged;
    *damaged = sizes(repository, &header)?;
    if depth != Depth::Quick {
        verified.read = header.packs.iter().map(|pack| pack.id).collect();
    }
    verified.sealed = header
        .packs
        .iter()
        .any(|pack| pack.fingerprint.as_deref().is_some_and(|fingerprint| !repository.keys.opens(fingerprint)));
    if depth == Depth::Data || (depth == Depth::Full && verified.sealed) {
        digests(scope, repository, &header.packs, threads, damaged)?;
    }
    if verified.sealed {
        name_packs(&headers, damaged, problems);
        problems.extend(indexes(scope, repository, &header.packs)?);
        return Ok(verified);
    }
    let mut expected = Vec::new();
    let opened = Snapshot::open_as(scope, repository, header.clone(), &Asked::all(max_entries), |entry| {
        if depth == Depth::Full {
            expected.push(checksum(entry));
        }
    });
    let snapshot = match opened {
        Ok(snapshot) => snapshot,
        Err(error) if is_damage(&error) || error.kind() == ErrorKind::Refused => {
            if depth == Depth::Full {
                digests(scope, repository, &header.packs, threads, damaged)?;
            }
            name_packs(&headers, damaged, problems);
            problems.push(Problem::of_snapshot(ProblemKind::DamagedTree, error.message()));
            return Ok(verified);
        }
        Err(error) => return Err(error),
    };
    for problem in &snapshot.problems {
        // What a scan found wrong with a pack is said once.
        let known = |pack: &PackId| problem.message.contains(&pack.to_string());
        if problem.kind != ProblemKind::DamagedPack || !damaged.keys().any(known) {
            problems.push(problem.clone());
        }
    }
    // What no restore would take is not looked into either: what it claims to be may not fit into memory.
    let (violations, order) = snapshot.examine(Some(&Limits { max_entries, ..Limits::default() }));
    let sound = violations.is_empty();
    problems.extend(violations);
    let looked_at: Option<BTreeSet<PackId>> = match depth {
        Depth::Full => None,
        _ => Some(damaged.keys().copied().collect()),
    };
    if sound {
        let found = look_inside(scope, &snapshot, order, expected, looked_at.as_ref(), threads, damaged)?;
        name_packs(&headers, damaged, problems);
        problems.extend(found);
    } else {
        name_packs(&headers, damaged, problems);
    }
    problems.truncate(MAX_PROBLEMS);
    verified.snapshot = Some(snapshot);
    Ok(verified)
}

/// The bytes of some packs, which a header may say anything about.
fn stored_bytes<'p>(packs: impl IntoIterator<Item = &'p NeededPack>) -> u64 {
    packs.into_iter().fold(0, |sum, pack| sum.saturating_add(pack.stored_bytes))
}

/// What is wrong with packs, each with the snapshots that need it.
fn name_packs(headers: &[StoredHeader], damaged: &BTreeMap<PackId, String>, problems: &mut Vec<Problem>) {
    for (pack, message) in damaged {
        let whole = headers.iter().filter_map(|stored| stored.header.as_ref().ok());
        let needing: Vec<String> = whole
            .filter(|(header, _)| header.packs.iter().any(|needed| needed.id == *pack))
            .map(|(header, _)| header.snapshot.to_string())
            .collect();
        let message = format!("pack {pack}: {message}; needed by {}", needing.join(", "));
        problems.push(Problem::of_snapshot(ProblemKind::DamagedPack, message));
    }
}

/// What is wrong with the indexes of packs that nobody here can open. Whoever can finds out as he uses them.
fn indexes(scope: &Scope, repository: &Repository, packs: &[NeededPack]) -> Result<Vec<Problem>> {
    let keys: Vec<String> = packs.iter().map(|pack| names::index(pack.id)).collect();
    let mut problems = Vec::new();
    repository.objects.read_each(&keys, MAX_INDEX, |number, bytes| {
        scope.cancel.check()?;
        let pack = &packs[number];
        let read = bytes
            .and_then(|bytes| index::read(&bytes, repository.id, pack.id, &repository.key, Lines::Blobs, |_| Ok(())));
        let wrong = match read {
            Ok(read) if read.pack == *pack => return Ok(()),
            Ok(_) => "it is of other bytes than the header names".to_owned(),
            Err(error) if is_damage(&error) => error.message().to_owned(),
            Err(error) => return Err(error),
        };
        let message = format!("the index of pack {}: {wrong}", pack.id);
        problems.push(Problem::of_snapshot(ProblemKind::DamagedIndex, message));
        Ok(())
    })?;
    Ok(problems)
}

/// The packs that are missing or have another length.
fn sizes(repository: &Repository, header: &Header) -> Result<BTreeMap<PackId, String>> {
    let there: HashMap<String, u64> =
        repository.objects.list(names::PACKS)?.into_iter().map(|object| (object.key, object.size_bytes)).collect();
    let mut damaged = BTreeMap::new();
    for pack in &header.packs {
        match there.get(&names::pack(pack.id, pack.fingerprint.is_some())) {
            None => drop(damaged.insert(pack.id, "it is missing".to_owned())),
            Some(size) if *size != pack.stored_bytes => {
                damaged.insert(pack.id, format!("it has {size} bytes, not {}", pack.stored_bytes));
            }
            Some(_) => {}
        }
    }
    Ok(damaged)
}

/// Compares the stored bytes of packs with their digests.
fn digests(
    scope: &Scope,
    repository: &Repository,
    packs: &[NeededPack],
    threads: usize,
    damaged: &mut BTreeMap<PackId, String>,
) -> Result<()> {
    let mut workers = Vec::new();
    for _ in 0..threads.max(1) {
        let (repository, cancel) = (repository.clone(), scope.cancel.clone());
        workers.push(move |pack: NeededPack| {
            let blocks = repository.stored_pack(&pack);
            let mut hasher = blake3::Hasher::new();
            let mut at = 0;
            while at < blocks.len() {
                cancel.check()?;
                let bytes = read_exact(blocks.as_ref(), at..blocks.len().min(at + (MAX_BLOCK / 4) as u64))?;
                hasher.update(&bytes);
                at += bytes.len() as u64;
            }
            Ok(Digest(*hasher.finalize().as_bytes()) == pack.digest)
        });
    }
    let mut pool: Pool<NeededPack, Result<bool>> = Pool::new(workers)?;
    let mut progress = Progress::new(scope, stored_bytes(packs));
    let whole: Vec<&NeededPack> = packs.iter().filter(|pack| !damaged.contains_key(&pack.id)).collect();
    for pack in &whole {
        pool.submit((*pack).clone())?;
    }
    for pack in whole {
        match pool.next()? {
            Ok(true) => {}
            Ok(false) => drop(damaged.insert(pack.id, "its content is not what it was".to_owned())),
            Err(error) if is_damage(&error) => drop(damaged.insert(pack.id, error.message().to_owned())),
            Err(error) => return Err(error),
        }
        progress.add(pack.stored_bytes);
    }
    Ok(())
}

/// Reads every frame of some packs, or of all, and proves what is in them. `expected` has each entry's [`checksum`]; nothing of
/// the files is compared when it is empty.
fn look_inside(
    scope: &Scope,
    snapshot: &Snapshot,
    order: Order,
    expected: Vec<u32>,
    only: Option<&BTreeSet<PackId>>,
    threads: usize,
    damaged: &mut BTreeMap<PackId, String>,
) -> Result<Vec<Problem>> {
    let lookup = snapshot.packs.lookup();
    let packs: Vec<u32> = (0..lookup.packs().len() as u32)
        .filter(|number| only.is_none_or(|only| only.contains(&lookup.pack(*number).id)))
        .collect();
    if packs.is_empty() && damaged.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = Wanted::new(snapshot.roll.as_ref(), order, &Selection::All)?;
    let plan = Arc::new(Plan::new(scope, snapshot, &wanted, true)?);
    // The order of the names has done its work.
    drop(wanted);
    let mut problems = plan.lost.problems.clone();
    if packs.is_empty() {
        return Ok(problems);
    }
    let expected = Arc::new(expected);
    let mut workers = Vec::new();
    for _ in 0..threads.max(1) {
        let mut worker = Worker {
            packs: Arc::clone(&snapshot.packs),
            roll: Arc::clone(&snapshot.roll),
            plan: Arc::clone(&plan),
            expected: Arc::clone(&expected),
            cancel: scope.cancel.clone(),
            unpacker: Unpacker::new()?,
            page_ids: only.is_none(),
        };
        workers.push(move |number: u32| worker.run(number));
    }
    let mut pool: Pool<u32, Result<Inside>> = Pool::new(workers)?;
    let mut progress = Progress::new(scope, stored_bytes(packs.iter().map(|number| lookup.pack(*number))));
    let (mut units, mut reader) = (Units::default(), Reader::new(&snapshot.packs)?);
    let mut contents = Contents::default();
    let mut hit: BTreeSet<u32> = plan.lost.files.iter().copied().collect();
    // Files whose blobs were not looked at where they are whole.
    let mut elsewhere = BTreeSet::new();
    let mut next = packs.iter();
    for number in &packs {
        while pool.in_flight() < threads.max(1) as u64 + 1 {
            let Some(next) = next.next() else { break };
            pool.submit(*next)?;
        }
        let inside = pool.next()??;
        let pack = lookup.pack(*number);
        if let Some(message) = inside.pack {
            damaged.entry(pack.id).or_insert(message);
        }
        for (blob, message) in inside.lost {
            damaged.entry(pack.id).or_insert_with(|| message.clone());
            // Another pack may have the same: then nothing is lost yet.
            if reader.blob_except(&blob.id(), Some(blob.frame)).is_ok() {
                elsewhere.extend(plan.files_with(lookup, &blob));
                continue;
            }
            for file in plan.files_with(lookup, &blob) {
                if hit.insert(file) && problems.len() < MAX_PROBLEMS {
                    let path = RelPath::from(&*snapshot.roll.path(file));
                    problems.push(Problem::of_entry(&path, ProblemKind::DamagedFrame, &message));
                }
            }
        }
        for file in inside.mismatches {
            problems.push(mismatch(snapshot, file));
        }
        for (file, stretch) in inside.stretches {
            contents.add(snapshot, file, stretch);
        }
        units.add(snapshot, inside.units);
        progress.add(pack.stored_bytes);
    }
    if only.is_none() {
        hit.extend(elsewhere);
        units.compare(snapshot, &hit, &mut problems);
        contents.compare(snapshot, &expected, &hit, &mut problems);
        sparse_files(scope, snapshot, &expected, &hit, &mut problems)?;
    }
    Ok(problems)
}

/// Of a file that is not by page map the first four bytes of its checksum, in an eighth of the memory. Its blobs are proven by
/// their ids; what is left to find are the wrong blobs, or the wrong order. A mistake makes any checksum, and one in four
/// billion begins like the right one; whoever means harm makes the right one.
fn checksum(entry: &TreeEntry) -> u32 {
    match (&entry.entry.node, &entry.content) {
        (Node::File { blake3: Some(digest), .. }, Content::Blobs(_)) => first_bytes(digest),
        _ => 0,
    }
}

fn first_bytes(digest: &Digest) -> u32 {
    let [a, b, c, d, ..] = digest.0;
    u32::from_le_bytes([a, b, c, d])
}

/// What is inside a pack.
#[derive(Default)]
struct Inside {
    /// What is wrong with the pack as a whole.
    pack: Option<String>,
    /// Blobs that are not what their ids say.
    lost: Vec<(BlobAt, String)>,
    /// Files that are one blob, and not what their checksums say.
    mismatches: Vec<u32>,
    /// Pieces of files that are several blobs.
    stretches: Vec<(u32, Stretch)>,
    /// Page ids: the database's entry, the number of the first unit, the ids.
    units: Vec<(u32, u64, Vec<PageId>)>,
}

/// A thread that takes packs.
struct Worker {
    packs: Arc<Packs>,
    roll: Arc<TreeRoll>,
    plan: Arc<Plan>,
    expected: Arc<Vec<u32>>,
    cancel: Cancel,
    unpacker: Unpacker,
    /// Whether the units of databases are hashed.
    page_ids: bool,
}

impl Worker {
    fn run(&mut self, number: u32) -> Result<Inside> {
        let (packs, plan) = (Arc::clone(&self.packs), Arc::clone(&self.plan));
        let lookup = packs.lookup();
        let pack = lookup.pack(number);
        let mut inside = Inside::default();
        let frames = lookup.frames_of(number);
        let blobs = lookup.blobs_of_frames(frames.clone());
        let lose_all = |inside: &mut Inside, message: &str| {
            inside.lost.extend(blobs.iter().map(|blob| (lookup.at(*blob), message.to_owned())));
            inside.pack.get_or_insert_with(|| message.to_owned());
        };
        let blocks = match packs.repository().pack(pack) {
            Ok(blocks) => blocks,
            Err(error) if is_damage(&error) => {
                lose_all(&mut inside, error.message());
                return Ok(inside);
            }
            Err(error) => return Err(error),
        };
        // The digest comes by the way, when the frames are all of the pack and it is not encrypted.
        let (mut hasher, mut hashed) = (blake3::Hasher::new(), 0);
        let (mut plain, mut rest) = (Vec::new(), blobs.as_slice());
        for frame_number in frames {
            self.cancel.check()?;
            let frame = lookup.frame(frame_number);
            let count = rest.partition_point(|blob| lookup.at(*blob).frame <= frame_number);
            let (here, later) = rest.split_at(count);
            rest = later;
            let (start, end) = (u64::from(frame.offset), u64::from(frame.offset) + u64::from(frame.packed));
            let loaded = read_exact(blocks.as_ref(), start..end).and_then(|packed| {
                if start == hashed {
                    hasher.update(&packed);
                    hashed = end;
                }
                self.unpacker.unpack(&packed, frame.plain as usize, &mut plain)
            });
            match loaded {
                Ok(()) => self.frame(&plan, here, &plain, &mut inside)?,
                Err(error) if is_damage(&error) => {
                    let message = format!("bytes {start} to {end}: {}", error.message());
                    inside.pack.get_or_insert_with(|| message.clone());
                    let lost = |blob: &u32| (lookup.at(*blob), format!("pack {}: {message}", pack.id));
                    inside.lost.extend(here.iter().map(lost));
                }
                Err(error) => return Err(error),
            }
        }
        if pack.fingerprint.is_none()
            && hashed == pack.stored_bytes
            && Digest(*hasher.finalize().as_bytes()) != pack.digest
        {
            inside.pack.get_or_insert_with(|| "its content is not what it was".to_owned());
        }
        Ok(inside)
    }

    /// Proves the blobs of a frame, which are these numbers of the lookup, and what they make.
    fn frame(&mut self, plan: &Plan, blobs: &[u32], plain: &[u8], inside: &mut Inside) -> Result<()> {
        let lookup = self.packs.lookup();
        let blobs = || blobs.iter().map(|number| lookup.at(*number));
        match blobs_in(plain) {
            Ok(found) => {
                let same =
                    |(found, blob): (&PackedBlob, BlobAt)| found.id == blob.id() && found.range() == blob.range();
                if found.len() != blobs().len() || !found.iter().zip(blobs()).all(same) {
                    inside.pack.get_or_insert_with(|| "its index lists other blobs than it has".to_owned());
                }
            }
            Err(error) => drop(inside.pack.get_or_insert_with(|| error.message().to_owned())),
        }
        for blob in blobs() {
            let bytes = match self.packs.proven(&blob, plain) {
                Ok(bytes) => bytes,
                Err(error) => {
                    inside.lost.push((blob, error.message().to_owned()));
                    continue;
                }
            };
            for piece in plan.pieces_of(lookup, &blob) {
                let file = plan.file_of(*piece);
                if piece.is_whole() {
                    let expected = self.expected.get(file as usize).copied().unwrap_or(0);
                    let sparse = || parts_of(&self.roll.entry(file).node).is_some();
                    if expected != 0 && first_bytes(&Digest::of(bytes)) != expected && !sparse() {
                        inside.mismatches.push(file);
                    }
                    continue;
                }
                if !self.page_ids {
                    continue;
                }
                let (at, part) = plan.part(*piece, bytes);
                let Some(unit) = plan.unit_of(file) else {
                    if let Node::File { size, data: None, .. } = self.roll.entry(file).node {
                        inside.stretches.push((file, Stretch::new(at, part, size)));
                    }
                    continue;
                };
                let key = &self.packs.repository().key;
                let ids = part.chunks(unit as usize).map(|unit| key.page_id(unit)).collect();
                inside.units.push((file, at / u64::from(unit), ids));
            }
        }
        Ok(())
    }
}

/// The contents of files that are several blobs, as they come.
#[derive(Default)]
struct Contents(HashMap<u32, Option<Scattered>>);

impl Contents {
    fn add(&mut self, snapshot: &Snapshot, file: u32, stretch: Stretch) {
        let content = self.0.entry(file).or_insert_with(|| match snapshot.roll.entry(file).node {
            Node::File { size, .. } => Some(Scattered::new(size)),
            _ => None,
        });
        // Nobody cuts a file into so many parts and scatters them: what is left of it would fill the memory.
        if content.as_mut().is_some_and(|content| {
            content.add(stretch);
            content.waiting() > MAX_WAITING
        }) {
            *content = None;
        }
    }

    /// Compares each with its digest, but those of which parts are lost anyway.
    fn compare(self, snapshot: &Snapshot, expected: &[u32], hit: &BTreeSet<u32>, problems: &mut Vec<Problem>) {
        let mut files: Vec<_> = self.0.into_iter().filter(|(file, _)| !hit.contains(file)).collect();
        files.sort_unstable_by_key(|(file, _)| *file);
        for (file, content) in files {
            let digest = content.and_then(Scattered::finish);
            if digest.as_ref().map(first_bytes) != expected.get(file as usize).copied() {
                problems.push(mismatch(snapshot, file));
            }
        }
    }
}

/// Reads the files with holes from their beginning to their end: there are few, and their pieces say nothing alone.
fn sparse_files(
    scope: &Scope,
    snapshot: &Snapshot,
    expected: &[u32],
    hit: &BTreeSet<u32>,
    problems: &mut Vec<Problem>,
) -> Result<()> {
    let mut reader = ContentReader::new(snapshot)?;
    for number in (0..snapshot.roll.len()).filter(|number| !hit.contains(number)) {
        let entry = snapshot.roll.entry(number);
        let Node::File { size, data: Some(parts), .. } = &entry.node else { continue };
        let stored: u64 = parts.iter().map(|(_, len)| len).sum();
        if size - stored > MAX_HOLES {
            continue;
        }
        let mut hasher = ContentHasher::default();
        match reader.read(number, &mut |bytes| hasher.update(Some(parts), *size, bytes, &scope.cancel)) {
            Ok(()) => {}
            Err(error) if is_damage(&error) => continue,
            Err(error) => return Err(error),
        }
        if expected.get(number as usize).copied() != Some(first_bytes(&hasher.finish(*size, &scope.cancel)?)) {
            problems.push(mismatch(snapshot, number));
        }
    }
    Ok(())
}

fn mismatch(snapshot: &Snapshot, file: u32) -> Problem {
    let path = RelPath::from(&*snapshot.roll.path(file));
    Problem::of_entry(&path, ProblemKind::ContentMismatch, "the content is not what its checksum says")
}

/// Counts stored bytes.
struct Progress<'a> {
    scope: &'a Scope,
    event: ProgressEvent,
}

impl<'a> Progress<'a> {
    fn new(scope: &'a Scope, total: u64) -> Self {
        let event = ProgressEvent {
            stage: "verifying".to_owned(),
            done_bytes: 0,
            total_bytes: Some(total),
            done_files: 0,
            total_files: None,
            uninterruptible: false,
        };
        Self { scope, event }
    }

    fn add(&mut self, bytes: u64) {
        self.event.done_bytes = self.event.done_bytes.saturating_add(bytes);
        self.scope.progress.report(self.event.clone());
    }
}
