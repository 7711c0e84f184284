//! Making a snapshot's files: each frame that is needed is read once, by several threads, and its blobs go where they belong.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::fetch::{Packs, Reader, is_damage};
use super::index::{BlobAt, Lookup};
use super::roll::{Stored, TreeRoll};
use super::snapshot::{Snapshot, read_map};
use crate::backup::frames::Unpacker;
use crate::backup::manifest::{Node, RelPath};
use crate::backup::nodes::{
    ExtractOptions, Extracted, Filler, Lost, OpenFiles, Problem, ProblemKind, Roll, Selection, Wanted, make, stored_len,
};
use crate::backup::pool::Pool;
use crate::cancel::{Cancel, ProgressEvent, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Dir;

impl Snapshot {
    /// Makes the selected entries in `into`, an empty folder.
    ///
    /// All entries are checked first, whatever is selected: one unsafe entry refuses all, with nothing written. Every
    /// blob is proven by its id before its bytes are used, and looked for in every pack that has it. Nothing is synced.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for unsafe names and passed limits, [`ErrorKind::NotFound`] for a selected path
    /// that is not there, [`ErrorKind::Corrupt`] at the first damage unless [`ExtractOptions::salvage`] is set.
    /// After an error `into` holds complete files only, but not all: remove it.
    pub(crate) fn extract(
        &self,
        scope: &Scope,
        selection: &Selection,
        into: &Dir,
        options: &ExtractOptions,
    ) -> Result<Extracted> {
        let (violations, order) = self.examine(Some(&options.limits));
        if let Some(problem) = violations.into_iter().next() {
            return Err(problem.into_error());
        }
        if self.incomplete && !options.salvage {
            let lost = self.problems.iter().find(|problem| problem.kind == ProblemKind::DamagedTree);
            return Err(lost.cloned().map_or_else(|| Error::internal("entries are lost"), Problem::into_error));
        }
        let wanted = Arc::new(Wanted::new(self.roll.as_ref(), order, selection)?);
        let mut plan = Plan::new(scope, self, &wanted, options.salvage)?;
        let files = Arc::new(OpenFiles::default());
        let before = std::mem::take(&mut plan.lost);
        let plan = Arc::new(plan);
        let mut made = make(scope, self.roll.as_ref(), &wanted, into, options, &files, || {
            let mut lost = fill(scope, self, &plan, &wanted, &files, into, options)?;
            lost.append(before);
            Ok(lost)
        })?;
        if options.salvage && matches!(selection, Selection::All) {
            let tree = self.problems.iter().filter(|problem| problem.kind == ProblemKind::DamagedTree);
            made.lost.extend(tree.cloned());
        }
        Ok(made)
    }
}

/// A place where a blob, or a part of it, belongs. Small, since there is one for each small file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// The blob, by its number in the lookup.
    blob: u32,
    /// The entry that the blob is all of. With [`PART`] a number in [`Plan::spans`] instead.
    place: u32,
}

/// The blob, or a part of it, is a part of a file. A roll has room for fewer entries than this.
const PART: u32 = 1 << 31;

impl Piece {
    /// Whether the blob is all of its file.
    pub(super) fn is_whole(self) -> bool {
        self.place & PART == 0
    }

    /// The number of its span.
    fn span(self) -> Option<u32> {
        (!self.is_whole()).then_some(self.place & !PART)
    }
}

/// A part of a blob that is a part of a file.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Where it belongs in what is stored of the file.
    at: u64,
    /// Where it begins in the blob.
    from: u32,
    /// Its length.
    len: u32,
}

/// What goes where.
pub(super) struct Plan {
    /// By frame, then by blob.
    pieces: Vec<Piece>,
    /// Those of a file lie together.
    spans: Vec<Span>,
    /// The files that have spans: the number of the first, and the entry.
    in_spans: Vec<(u32, u32)>,
    /// The frames, each with its pieces.
    frames: Vec<(u32, Range<usize>)>,
    /// Files of which a part is lost, as is known before anything is read.
    pub(super) lost: Lost,
    /// The unit of each database.
    units: HashMap<u32, u32>,
}

impl Plan {
    /// Where everything wanted goes. With `salvage` files of which a part is lost are in [`Plan::lost`]; without it the
    /// first is an error.
    pub(super) fn new(scope: &Scope, snapshot: &Snapshot, wanted: &Wanted, salvage: bool) -> Result<Self> {
        let (roll, lookup) = (snapshot.roll.as_ref(), snapshot.packs.lookup());
        let mut plan = Self {
            pieces: Vec::new(),
            spans: Vec::new(),
            in_spans: Vec::new(),
            frames: Vec::new(),
            lost: Lost::default(),
            units: HashMap::new(),
        };
        let mut reader = Reader::new(&snapshot.packs)?;
        for number in wanted.contents(roll) {
            scope.cancel.check()?;
            let (pieces, spans) = (plan.pieces.len(), plan.spans.len());
            let Err(error) = plan.add(snapshot, &mut reader, number) else { continue };
            let made = wanted.made_as(number).unwrap_or(number);
            let path = RelPath::from(&*roll.path(made));
            if !is_damage(&error) {
                return Err(error);
            }
            let problem = Problem::of_entry(&path, ProblemKind::DamagedFrame, error.message());
            if !salvage {
                return Err(problem.into_error());
            }
            plan.pieces.truncate(pieces);
            plan.spans.truncate(spans);
            plan.in_spans.pop_if(|(first, _)| *first as usize >= spans);
            plan.lost.problems.push(problem);
            plan.lost.files.push(number);
        }
        plan.pieces.sort_unstable_by_key(|piece| {
            let at = lookup.at(piece.blob);
            (at.frame, at.offset, piece.blob, piece.place)
        });
        let mut start = 0;
        while start < plan.pieces.len() {
            let frame = lookup.at(plan.pieces[start].blob).frame;
            let len = plan.pieces[start..].partition_point(|piece| lookup.at(piece.blob).frame <= frame);
            plan.frames.push((frame, start..start + len));
            start += len;
        }
        Ok(plan)
    }

    /// Adds what entry `number` consists of.
    fn add(&mut self, snapshot: &Snapshot, reader: &mut Reader<'_>, file: u32) -> Result<()> {
        let (roll, lookup) = (snapshot.roll.as_ref(), snapshot.packs.lookup());
        let lost = || Error::new(ErrorKind::Corrupt, "a part of it is in no pack that is left");
        match roll.stored(file) {
            Stored::Nothing => Ok(()),
            Stored::Blobs(blobs) => {
                let needed = stored_len(&roll.entry(file).node);
                let mut at = 0;
                for blob in &blobs {
                    let blob = blob.ok_or_else(lost)?;
                    let len = lookup.at(blob).len;
                    if u64::from(len) == needed && blobs.len() == 1 {
                        if len > 0 {
                            self.pieces.push(Piece { blob, place: file });
                        }
                    } else {
                        self.push(blob, file, Span { at, from: 0, len })?;
                    }
                    at += u64::from(len);
                }
                match at == needed {
                    true => Ok(()),
                    false => Err(Error::new(ErrorKind::Corrupt, "its parts are not as long as the file")),
                }
            }
            Stored::Pages(map, _) => {
                let Node::File { size, .. } = roll.entry(file).node else { return Err(lost()) };
                let map = read_map(reader, &map, size)?;
                self.units.insert(file, map.unit);
                for run in &map.runs {
                    let (id, _) = map.data[run.data as usize];
                    let blob = lookup.number_of(&id).ok_or_else(lost)?;
                    let start = map.range(run.first.into()).start;
                    let end = map.range(u64::from(run.first) + u64::from(run.units) - 1).end;
                    // At most a mebibyte: the codec holds runs within their data.
                    let (from, len) = (run.at * map.unit, (end - start) as u32);
                    if from.checked_add(len).is_none_or(|end| end > lookup.at(blob).len) {
                        return Err(Error::new(
                            ErrorKind::Corrupt,
                            format!("the blob {id} is shorter than its page map says"),
                        ));
                    }
                    self.push(blob, file, Span { at: start, from, len })?;
                }
                Ok(())
            }
        }
    }

    fn push(&mut self, blob: u32, file: u32, span: Span) -> Result<()> {
        if span.len == 0 {
            return Ok(());
        }
        let number = u32::try_from(self.spans.len()).ok().filter(|number| *number < PART);
        let number = number.ok_or_else(|| Error::new(ErrorKind::Refused, "the snapshot has too many parts"))?;
        if self.in_spans.last().is_none_or(|(_, last)| *last != file) {
            self.in_spans.push((number, file));
        }
        self.spans.push(span);
        self.pieces.push(Piece { blob, place: number | PART });
        Ok(())
    }

    /// The pieces that a place of a blob is.
    pub(super) fn pieces_of(&self, lookup: &Lookup, blob: &BlobAt) -> &[Piece] {
        let key = |piece: &Piece| {
            let at = lookup.at(piece.blob);
            (at.frame, at.offset)
        };
        let wanted = (blob.frame, blob.offset);
        let start = self.pieces.partition_point(|piece| key(piece) < wanted);
        let len = self.pieces[start..].partition_point(|piece| key(piece) == wanted);
        &self.pieces[start..start + len]
    }

    /// The files that a place of a blob belongs to.
    pub(super) fn files_with(&self, lookup: &Lookup, blob: &BlobAt) -> Vec<u32> {
        self.pieces_of(lookup, blob).iter().map(|piece| self.file_of(*piece)).collect()
    }

    /// The entry that a piece belongs to.
    pub(super) fn file_of(&self, piece: Piece) -> u32 {
        match piece.span() {
            None => piece.place,
            Some(span) => {
                let behind = self.in_spans.partition_point(|(first, _)| *first <= span);
                self.in_spans[behind - 1].1
            }
        }
    }

    /// The unit of a database.
    pub(super) fn unit_of(&self, file: u32) -> Option<u32> {
        self.units.get(&file).copied()
    }

    /// The part of a blob's bytes that a piece is, and where it belongs.
    pub(super) fn part<'a>(&self, piece: Piece, bytes: &'a [u8]) -> (u64, &'a [u8]) {
        match piece.span() {
            None => (0, bytes),
            Some(span) => {
                let Span { at, from, len } = self.spans[span as usize];
                (at, &bytes[from as usize..from as usize + len as usize])
            }
        }
    }
}

/// Reads the frames and makes the files, on several threads.
fn fill(
    scope: &Scope,
    snapshot: &Snapshot,
    plan: &Arc<Plan>,
    wanted: &Arc<Wanted>,
    files: &Arc<OpenFiles>,
    into: &Dir,
    options: &ExtractOptions,
) -> Result<Lost> {
    let threads = options.threads.max(1).min(plan.frames.len().max(1));
    let mut workers = Vec::new();
    for _ in 0..threads {
        let mut worker = Worker {
            packs: Arc::clone(&snapshot.packs),
            roll: Arc::clone(&snapshot.roll),
            plan: Arc::clone(plan),
            filler: Filler::new(&snapshot.roll, wanted, files, into, options.owners)?,
            cancel: scope.cancel.clone(),
            salvage: options.salvage,
            unpacker: Unpacker::new()?,
        };
        let mut plain = Vec::new();
        workers.push(move |job: (u32, Range<usize>)| worker.run(job.0, job.1, &mut plain));
    }
    let mut pool = Pool::new(workers)?;
    let lookup = snapshot.packs.lookup();
    let total = plan.frames.iter().map(|(frame, _)| u64::from(lookup.frame(*frame).plain)).sum();
    let (mut next, mut done_bytes, mut lost) = (plan.frames.iter(), 0, Lost::default());
    for (frame, _) in &plan.frames {
        // The threads hold one frame each, so this many only keep them busy.
        while pool.in_flight() < 2 * threads as u64 {
            let Some(job) = next.next() else { break };
            pool.submit(job.clone())?;
        }
        lost.append(pool.next()??);
        done_bytes += u64::from(lookup.frame(*frame).plain);
        scope.progress.report(ProgressEvent {
            stage: "restoring files".to_owned(),
            done_bytes,
            total_bytes: Some(total),
            done_files: 0,
            total_files: None,
            uninterruptible: false,
        });
    }
    Ok(lost)
}

/// A thread that takes frames.
struct Worker {
    packs: Arc<Packs>,
    roll: Arc<TreeRoll>,
    plan: Arc<Plan>,
    filler: Filler<TreeRoll>,
    cancel: Cancel,
    salvage: bool,
    unpacker: Unpacker,
}

impl Worker {
    /// Puts what is needed of a frame into its files.
    fn run(&mut self, frame: u32, pieces: Range<usize>, plain: &mut Vec<u8>) -> Result<Lost> {
        self.cancel.check()?;
        let mut lost = Lost::default();
        let (plan, packs) = (Arc::clone(&self.plan), Arc::clone(&self.packs));
        let loaded = packs.load(frame, &mut self.unpacker, plain);
        if let Err(error) = &loaded
            && !(can_be_elsewhere(error))
        {
            return loaded.map(|()| lost);
        }
        let loaded = loaded.map_err(Arc::new);
        let mut elsewhere = None;
        for same in plan.pieces[pieces].chunk_by(|a, b| a.blob == b.blob) {
            let at = packs.lookup().at(same[0].blob);
            let found = match &loaded {
                Ok(()) => packs.proven(&at, plain),
                Err(error) => Err(Error::new(error.kind(), error.message())),
            };
            let kept;
            let bytes = match found {
                Ok(bytes) => bytes,
                // A damaged frame: another pack may have the blob.
                Err(error) => {
                    let reader = match &mut elsewhere {
                        Some(reader) => reader,
                        None => elsewhere.insert(Reader::new(&packs)?),
                    };
                    match other_place(&packs, reader, &at) {
                        Ok(bytes) => {
                            kept = bytes;
                            &kept
                        }
                        Err(_) if self.salvage => {
                            self.give_up(same, &error, &mut lost)?;
                            continue;
                        }
                        Err(_) => return Err(self.damage(same, error)),
                    }
                }
            };
            for piece in same {
                let (at, part) = plan.part(*piece, bytes);
                self.filler.place(plan.file_of(*piece), at, part, &mut lost)?;
            }
        }
        Ok(lost)
    }

    fn give_up(&mut self, pieces: &[Piece], error: &Error, lost: &mut Lost) -> Result<()> {
        for piece in pieces {
            let file = self.plan.file_of(*piece);
            let path = RelPath::from(&*self.roll.path(file));
            let problem = Problem::of_entry(&path, ProblemKind::DamagedFrame, error.message());
            self.filler.give_up(file, problem, lost)?;
        }
        Ok(())
    }

    /// The error for a lost blob: it names a file that is lost with it.
    fn damage(&self, pieces: &[Piece], error: Error) -> Error {
        let path = RelPath::from(&*self.roll.path(self.plan.file_of(pieces[0])));
        match error.kind() {
            ErrorKind::Corrupt => Problem::of_entry(&path, ProblemKind::DamagedFrame, error.message()).into_error(),
            _ => error.while_doing(format!("{path:?}")),
        }
    }
}

/// Whether what could not be read here may be readable in another pack. A disk that cannot read a block is damage too.
fn can_be_elsewhere(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable)
}

/// A blob from another frame than `at` names.
fn other_place(packs: &Packs, reader: &mut Reader<'_>, at: &BlobAt) -> Result<Vec<u8>> {
    let bytes = reader.blob_except(&at.id(), Some(at.frame))?;
    // The plan counts on the length.
    match bytes.len() == at.len as usize && packs.lookup().find(&at.id()).len() > 1 {
        true => Ok(bytes),
        false => Err(Error::new(ErrorKind::Corrupt, format!("the blob {} has two lengths", at.id()))),
    }
}
