//! The index of a pack: which frames it has, and which blobs and page maps lie in them.

use std::io::{BufReader, Write};

use super::header::NeededPack;
use super::id::{BlobId, IdKey, PackId, PageId, RepositoryId};
use super::limited::Limited;
use super::lines::{Fields, Kind, RecordReader, RecordWriter};
use super::pack::{MAX_BLOB, MAX_FRAME, PackedBlob, ScannedFrame};
use super::pages::{PageMap, write_data, write_run};
use crate::backup::manifest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::value::hex;

const KIND: Kind = Kind::new("index");
/// Ids hardly compress, numbers do.
const LEVEL: i32 = 3;
/// The most page ids on a line.
pub(crate) const IDS_PER_LINE: usize = 256;
/// An index may always have this much text, in bytes …
const TEXT_FLOOR: u64 = 32 << 20;
/// … and this many times its stored length: honest ones stay below 10.
const TEXT_RATIO: u64 = 256;
/// The fewest bytes that a frame or a blob takes in an index, on average: the ids are random, and do not compress …
const PLACE: u64 = 8;
/// … and how many there may be in any.
const MIN_PLACES: u64 = 1024;
/// How much text waits to be compressed, in bytes.
const FLUSH: usize = 64 << 10;

/// What the first line of an index says of its pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexedPack {
    /// The pack as headers name it.
    pub(crate) pack: NeededPack,
    /// Its length before encryption.
    pub(crate) plain_bytes: u64,
}

/// What an index says about a page map whose blob lies in its pack: all of it, so that a host that lost its caches, and
/// that cannot decrypt, knows where every unit lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexedMap {
    /// The blob that stands for the map.
    pub(crate) id: BlobId,
    /// The blob id of the file's path.
    pub(crate) path: BlobId,
    /// The pieces of the map's text, when it is in pieces.
    pub(crate) pieces: Vec<BlobId>,
    /// The map.
    pub(crate) map: PageMap,
}

/// A line of an index, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IndexLine {
    /// The next frame.
    Frame {
        /// Where it begins in the pack, before encryption.
        offset: u64,
        /// Its compressed length.
        packed: u32,
        /// The length of its content.
        plain: u32,
    },
    /// A blob in the frame before it.
    Blob(PackedBlob),
    /// A page map whose blob is in the pack. Its ids follow.
    Map(Box<IndexedMap>),
    /// The ids of the next units that the runs of the map before it name.
    Ids(Vec<PageId>),
}

/// Which lines of an index are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Frames and blobs; the others are authenticated and not taken apart.
    Blobs,
    /// Page maps as well.
    All,
}

/// Gathers the index of a pack that is being written. Holds 24 bytes for each blob.
pub(crate) struct IndexWriter {
    repository: RepositoryId,
    /// Compressed length, content length, and how many blobs.
    frames: Vec<(u32, u32, u32)>,
    blobs: Vec<PackedBlob>,
    maps: Vec<(IndexedMap, PageIds)>,
}

/// The ids of units, one after the other.
pub(crate) type PageIds = Box<dyn Iterator<Item = Result<PageId>> + Send>;

impl std::fmt::Debug for IndexWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexWriter").field("blobs", &self.blobs.len()).finish_non_exhaustive()
    }
}

impl IndexWriter {
    /// The index of a new pack.
    pub(crate) fn new(repository: RepositoryId) -> Self {
        Self { repository, frames: Vec::new(), blobs: Vec::new(), maps: Vec::new() }
    }

    /// The next frame of the pack; the last one, without blobs, as well.
    pub(crate) fn frame(&mut self, packed: u32, plain: u32, blobs: &[PackedBlob]) {
        self.frames.push((packed, plain, blobs.len() as u32));
        if self.blobs.capacity() - self.blobs.len() < blobs.len() {
            // Of a million small files there are many: no room for as many again.
            self.blobs.reserve_exact(blobs.len() + self.blobs.len() / 8);
        }
        self.blobs.extend_from_slice(blobs);
    }

    /// A page map whose blob is in the pack, with the page ids of the units that its runs name, one after the other. They
    /// are pulled when the index is finished: a database of 10 GB has 40 MB of them.
    pub(crate) fn map(&mut self, map: IndexedMap, ids: PageIds) {
        self.maps.push((map, ids));
    }

    /// How many blobs it has so far.
    pub(crate) fn blobs(&self) -> usize {
        self.blobs.len()
    }

    /// Writes the object's bytes to `out`, which is returned.
    pub(crate) fn finish<W: Write>(self, pack: &IndexedPack, key: &IdKey, out: W) -> Result<W> {
        let packed = |error: std::io::Error| {
            error.downcast::<Error>().unwrap_or_else(|error| {
                Error::new(ErrorKind::Unavailable, format!("could not compress the index of a pack: {error}"))
            })
        };
        let mut out = zstd::stream::write::Encoder::new(out, LEVEL).map_err(packed)?;
        out.include_checksum(true).map_err(packed)?;
        let mut mac = key.mac();
        let mut put = |bytes: &[u8]| {
            mac.update(bytes);
            out.write_all(bytes).map_err(packed)
        };
        let mut record = RecordWriter::new(KIND);
        record.line("repository").number(self.repository);
        let NeededPack { id, stored_bytes, digest, .. } = &pack.pack;
        record
            .line("pack")
            .number(id)
            .number(stored_bytes)
            .text(&hex(&digest.0))
            .number(pack.plain_bytes)
            .text(pack.pack.key_field());
        let mut blobs = self.blobs.iter();
        for (packed, plain, count) in &self.frames {
            record.line("frame").number(packed).number(plain);
            for PackedBlob { id, offset, len } in blobs.by_ref().take(*count as usize) {
                record.line("blob").number(id).number(offset).number(len);
                if record.len() > FLUSH {
                    put(&record.take())?;
                }
            }
        }
        put(&record.take())?;
        for (map, ids) in self.maps {
            write_map(&mut record, &map, &mut put)?;
            let (mut digits, mut on_line) = (String::new(), 0);
            for id in ids {
                digits.push_str(&hex(&id?.0));
                on_line += 1;
                if on_line == IDS_PER_LINE {
                    record.line("ids").text(&digits);
                    put(&record.take())?;
                    digits.clear();
                    on_line = 0;
                }
            }
            if on_line > 0 {
                record.line("ids").text(&digits);
            }
            put(&record.take())?;
        }
        let mac = *mac.finalize().as_bytes();
        record.line("mac").text(&hex(&mac));
        out.write_all(&record.take()).map_err(packed)?;
        out.finish().map_err(packed)
    }
}

/// Writes the lines of a page map but its ids.
fn write_map(record: &mut RecordWriter, indexed: &IndexedMap, put: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let IndexedMap { id, path, pieces, map } = indexed;
    let line = record.line("map").number(id).number(path);
    let line = match map.base {
        Some(base) => line.number(base),
        None => line.text("-"),
    };
    drop(line.number(map.unit).number(map.length).number(map.depth));
    for piece in pieces {
        record.line("piece").number(piece);
    }
    for (id, units) in &map.data {
        write_data(record.line("data"), id, *units);
    }
    for run in &map.runs {
        write_run(record.line("run"), run);
        if record.len() > FLUSH {
            put(&record.take())?;
        }
    }
    put(&record.take())
}

/// Reads an index of `repository`, and gives each line to `each`. What `each` was told may be believed when this
/// returns, and not before.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it is damaged, not genuine, of another repository or of another pack than `id`;
/// [`ErrorKind::Unsupported`] when it is too new; [`ErrorKind::Refused`] when it expands beyond reason; what `each` says.
pub(crate) fn read(
    packed: &[u8],
    repository: RepositoryId,
    id: PackId,
    key: &IdKey,
    lines: Lines,
    mut each: impl FnMut(IndexLine) -> Result<()>,
) -> Result<IndexedPack> {
    let most = TEXT_FLOOR.max(TEXT_RATIO.saturating_mul(packed.len() as u64));
    let text = zstd::stream::read::Decoder::with_buffer(packed)
        .map_err(|error| Error::new(ErrorKind::Unavailable, format!("could not decompress an index: {error}")))?
        .single_frame();
    let text = BufReader::with_capacity(FLUSH, Limited::new(text, most));
    let mut reader = RecordReader::with_mac(text, KIND, key)?;
    let mut draft =
        Draft { repository, id, of_repository: false, pack: None, at: 0, plain: None, map: None, maps: false };
    let (mut places, most_places) = (0, MIN_PLACES + packed.len() as u64 / PLACE);
    while let Some(mut fields) = reader.next()? {
        if matches!(fields.word(), "frame" | "blob") {
            places += 1;
            if places > most_places {
                return Err(Error::new(ErrorKind::Refused, "an index of a pack expands beyond reason")
                    .with_hint("only an attack does this: do not trust the repository"));
            }
        }
        if lines == Lines::Blobs && matches!(fields.word(), "map" | "piece" | "data" | "run" | "ids") {
            draft.maps = true;
            continue;
        }
        draft.take(&mut fields, &mut each)?;
        fields.end()?;
    }
    draft.end_map(&mut each)?;
    let Some(pack) = draft.pack else { return Err(corrupt("it does not say which pack it is of")) };
    if draft.at != pack.plain_bytes {
        return Err(corrupt("its frames are not as long as its pack"));
    }
    Ok(pack)
}

/// An index on its way in.
struct Draft {
    repository: RepositoryId,
    id: PackId,
    of_repository: bool,
    pack: Option<IndexedPack>,
    /// Where the next frame begins.
    at: u64,
    /// The content of the frame before.
    plain: Option<u32>,
    /// The map before, until its first ids, and how many ids may still come.
    map: Option<(Option<Box<IndexedMap>>, u64)>,
    /// Whether the page maps have begun.
    maps: bool,
}

impl Draft {
    /// Hands the map before out, when that is still to do.
    fn end_map(&mut self, each: &mut impl FnMut(IndexLine) -> Result<()>) -> Result<()> {
        match self.map.as_mut().and_then(|(map, left)| map.take().inspect(|map| *left = map.map.named())) {
            Some(map) => each(IndexLine::Map(map)),
            None => Ok(()),
        }
    }

    fn take(&mut self, fields: &mut Fields<'_>, each: &mut impl FnMut(IndexLine) -> Result<()>) -> Result<()> {
        match fields.word() {
            "repository" if !self.of_repository => {
                if RepositoryId(fields.hex()?) != self.repository {
                    return Err(fields.wrong("it belongs to another repository"));
                }
                self.of_repository = true;
                Ok(())
            }
            "pack" if self.of_repository && self.pack.is_none() => {
                let mut pack = NeededPack::read(fields)?;
                let plain_bytes = fields.number()?;
                pack.fingerprint = NeededPack::read_key(fields)?;
                if pack.id != self.id {
                    return Err(fields.wrong("it is the index of another pack"));
                }
                self.pack = Some(IndexedPack { pack, plain_bytes });
                Ok(())
            }
            "frame" if self.pack.is_some() && !self.maps => {
                let (packed, plain) = (fields.number::<u32>()?, fields.number::<u32>()?);
                let offset = self.at;
                let longest = zstd::zstd_safe::compress_bound(MAX_FRAME) + 64;
                if packed == 0 || packed as usize > longest || plain == 0 || plain as usize > MAX_FRAME {
                    return Err(fields.wrong("a frame has a length that none has"));
                }
                self.at = offset.checked_add(packed.into()).ok_or_else(|| fields.wrong("the pack is too long"))?;
                self.plain = Some(plain);
                each(IndexLine::Frame { offset, packed, plain })
            }
            "blob" if !self.maps => {
                let Some(plain) = self.plain else { return Err(fields.wrong("a blob comes before its frame")) };
                let blob = PackedBlob { id: BlobId(fields.hex()?), offset: fields.number()?, len: fields.number()? };
                let end = blob.offset.checked_add(blob.len);
                if blob.len as usize > MAX_BLOB || end.is_none_or(|end| end > plain) {
                    return Err(fields.wrong("a blob does not lie in its frame"));
                }
                each(IndexLine::Blob(blob))
            }
            "map" if self.pack.is_some() => {
                self.end_map(each)?;
                self.maps = true;
                let (id, path) = (BlobId(fields.hex()?), BlobId(fields.hex()?));
                let base = fields.hex_or_none()?.map(BlobId);
                let (unit, length, depth) = (fields.number()?, fields.number()?, fields.number()?);
                let map = PageMap::headed(fields, unit, length, base, depth)?;
                self.map = Some((Some(Box::new(IndexedMap { id, path, pieces: Vec::new(), map })), 0));
                Ok(())
            }
            "piece" | "data" | "run" => {
                let Some((Some(indexed), _)) = &mut self.map else {
                    return Err(fields.wrong("a part of a page map comes before the map, or behind its ids"));
                };
                let (has_data, has_runs) = (!indexed.map.data.is_empty(), !indexed.map.runs.is_empty());
                match fields.word() {
                    "piece" if !has_data => indexed.pieces.push(BlobId(fields.hex()?)),
                    "data" if !has_runs => indexed.map.take_data(fields)?,
                    "run" => indexed.map.take_run(fields)?,
                    _ => return Err(fields.wrong("a line is out of order")),
                }
                Ok(())
            }
            "ids" => {
                self.end_map(each)?;
                let Some((_, left)) = &mut self.map else {
                    return Err(fields.wrong("page ids come before their map"));
                };
                let digits = fields.digits()?.as_bytes();
                let ids: Option<Vec<PageId>> = digits.chunks(32).map(PageId::parse).collect();
                let ids = ids.filter(|ids| !ids.is_empty() && ids.len() <= IDS_PER_LINE);
                let ids = ids.ok_or_else(|| fields.wrong("page ids are not such"))?;
                *left = left.checked_sub(ids.len() as u64).ok_or_else(|| fields.wrong("the map has fewer units"))?;
                each(IndexLine::Ids(ids))
            }
            "repository" | "pack" | "frame" | "blob" => Err(fields.wrong("a line is there twice, or out of order")),
            _ => Err(fields.unknown()),
        }
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the index record is damaged: {what}"))
}

/// A frame by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameAt {
    /// Which pack, by its number in [`Lookup::pack`].
    pub(crate) pack: u32,
    /// Where it begins in the pack, before encryption.
    pub(crate) offset: u32,
    /// Its compressed length.
    pub(crate) packed: u32,
    /// The length of its content.
    pub(crate) plain: u32,
}

/// A blob by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlobAt {
    id: [u8; 16],
    /// Which frame, by its number in [`Lookup::frame`].
    pub(crate) frame: u32,
    /// Where its bytes begin in the frame's content.
    pub(crate) offset: u32,
    /// How many there are.
    pub(crate) len: u32,
}

impl BlobAt {
    /// Which blob it is.
    pub(crate) fn id(&self) -> BlobId {
        BlobId(self.id)
    }

    /// Where its bytes lie in the frame's content.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..self.offset as usize + self.len as usize
    }
}

/// The indexes of several packs, merged: where any blob is. 28 bytes for each blob.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    packs: Vec<NeededPack>,
    frames: Vec<FrameAt>,
    blobs: Vec<BlobAt>,
    sorted: bool,
}

impl Lookup {
    /// Adds the pack that the object `packed` is the index of. After an error the lookup is as it was.
    ///
    /// # Errors
    /// Those of [`read`]; [`ErrorKind::Corrupt`] when it is not the index of exactly `pack`.
    pub(crate) fn add(
        &mut self,
        packed: &[u8],
        repository: RepositoryId,
        pack: &NeededPack,
        key: &IdKey,
    ) -> Result<IndexedPack> {
        let (frames, blobs) = (self.frames.len(), self.blobs.len());
        let number = self.packs.len() as u32;
        self.sorted = false;
        let added = read(packed, repository, pack.id, key, Lines::Blobs, |line| {
            match line {
                IndexLine::Frame { offset, packed, plain } => {
                    let offset = u32::try_from(offset).map_err(|_| corrupt("its pack is longer than any"))?;
                    self.frames.push(FrameAt { pack: number, offset, packed, plain });
                }
                IndexLine::Blob(PackedBlob { id, offset, len }) => {
                    let frame = self.frames.len() as u32 - 1;
                    self.blobs.push(BlobAt { id: id.0, frame, offset, len });
                }
                IndexLine::Map(_) | IndexLine::Ids(_) => {}
            }
            Ok(())
        })
        .and_then(|indexed| {
            if indexed.pack == *pack { Ok(indexed) } else { Err(corrupt("it describes another pack than the header")) }
        });
        match &added {
            Ok(_) => self.packs.push(pack.clone()),
            Err(_) => {
                self.frames.truncate(frames);
                self.blobs.truncate(blobs);
            }
        }
        added
    }

    /// Adds a pack whose index is lost, by what a scan of it found.
    pub(crate) fn add_scanned(&mut self, pack: &NeededPack, scanned: &[ScannedFrame]) {
        let number = self.packs.len() as u32;
        self.packs.push(pack.clone());
        self.sorted = false;
        for frame in scanned {
            let Ok(offset) = u32::try_from(frame.offset) else { break };
            self.frames.push(FrameAt { pack: number, offset, packed: frame.packed, plain: frame.plain });
            let at = self.frames.len() as u32 - 1;
            self.blobs.extend(frame.blobs.iter().map(|PackedBlob { id, offset, len }| BlobAt {
                id: id.0,
                frame: at,
                offset: *offset,
                len: *len,
            }));
        }
    }

    /// Makes what was added findable.
    pub(crate) fn sort(&mut self) {
        if !std::mem::replace(&mut self.sorted, true) {
            self.blobs.sort_unstable();
        }
    }

    /// Every place of a blob, in the order of the packs. Nothing unless [`Lookup::sort`] was called after the last pack.
    pub(crate) fn find(&self, id: &BlobId) -> &[BlobAt] {
        debug_assert!(self.sorted);
        let start = self.place_of(id);
        let same = self.blobs[start..].iter().take_while(|blob| blob.id == id.0).count();
        &self.blobs[start..start + same]
    }

    /// Where a blob is in the sorted list, or would be. Compared as numbers: in a tree of many files this is most of the work.
    fn place_of(&self, id: &BlobId) -> usize {
        let wanted = u128::from_be_bytes(id.0);
        self.blobs.partition_point(|blob| u128::from_be_bytes(blob.id) < wanted)
    }

    /// The number of the first place of a blob, for [`Lookup::at`].
    pub(crate) fn number_of(&self, id: &BlobId) -> Option<u32> {
        let start = self.place_of(id);
        self.blobs.get(start).filter(|blob| blob.id == id.0).map(|_| start as u32)
    }

    /// A place of a blob by its number.
    pub(crate) fn at(&self, number: u32) -> BlobAt {
        self.blobs[number as usize]
    }

    /// A frame by its number.
    pub(crate) fn frame(&self, number: u32) -> FrameAt {
        self.frames[number as usize]
    }

    /// A pack by its number.
    pub(crate) fn pack(&self, number: u32) -> &NeededPack {
        &self.packs[number as usize]
    }

    /// All packs.
    pub(crate) fn packs(&self) -> &[NeededPack] {
        &self.packs
    }

    /// The numbers of the frames of a pack, in its order.
    pub(crate) fn frames_of(&self, pack: u32) -> std::ops::Range<u32> {
        let start = self.frames.partition_point(|frame| frame.pack < pack);
        let end = self.frames.partition_point(|frame| frame.pack <= pack);
        start as u32..end as u32
    }

    /// The numbers of the blobs of some frames in a row, in the order of their places.
    pub(crate) fn blobs_of_frames(&self, frames: std::ops::Range<u32>) -> Vec<u32> {
        let all = (0..).zip(&self.blobs);
        let mut numbers: Vec<u32> =
            all.filter(|(_, blob)| frames.contains(&blob.frame)).map(|(number, _)| number).collect();
        numbers.sort_unstable_by_key(|number| {
            let at = self.at(*number);
            (at.frame, at.offset)
        });
        numbers
    }

    /// All blobs, by their ids.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = (BlobId, BlobAt)> + '_ {
        self.blobs.iter().map(|blob| (BlobId(blob.id), *blob))
    }

    /// How many places of blobs there are.
    pub(crate) fn len(&self) -> usize {
        self.blobs.len()
    }
}

impl IndexedPack {
    /// What a pack in clear with these stored bytes is.
    pub(crate) fn in_clear(id: PackId, stored_bytes: u64, digest: Digest) -> Self {
        Self { pack: NeededPack { id, stored_bytes, digest, fingerprint: None }, plain_bytes: stored_bytes }
    }
}

#[cfg(test)]
mod tests;
