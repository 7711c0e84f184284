//! The tree of a snapshot: a root that names blocks, and blocks that list entries.

use std::collections::HashSet;
use std::io::BufRead;

use super::id::{BlobId, IdKey};
use super::lines::{Fields, Kind, RecordReader, RecordWriter};
use super::pieces::PIECE;
use crate::backup::manifest::{Digest, Entry, Node, RelPath, Xattr};
use crate::backup::nodes::{MAX_PARTS, compare, entry_fault};
use crate::error::{Error, ErrorKind, Result};
use crate::value::hex;

const ROOT: Kind = Kind::new("root");
const TREE: Kind = Kind::new("tree");
/// The most entries of a block.
pub(crate) const MAX_ENTRIES: u32 = 4096;
/// A block ends after one in so many entries, on average.
const CUT: u16 = 512;
/// The most blobs on one line.
const PER_LINE: usize = 64;
/// The most blobs of one file: 4 TiB in chunks of the average size. What lists them is held in memory.
pub(crate) const MAX_BLOBS: usize = 4 << 20;
/// The most bytes that the attributes of an entry have together, as an archive's.
const MAX_XATTRS: usize = 16 << 20;

/// An entry of a snapshot, and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeEntry {
    /// The entry; its `offset` is 0. Of a file by page map the BLAKE3 is not known.
    pub(crate) entry: Entry,
    /// Where its content is.
    pub(crate) content: Content,
}

/// Where the content of an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// It has none of its own: no file, or another name of one.
    Nothing,
    /// The file's data, without its holes, is these blobs one after the other.
    Blobs(Vec<BlobId>),
    /// The file is put together by a page map.
    Pages {
        /// The page map.
        map: BlobId,
        /// The mac-keyed BLAKE3 of the file's page ids one after the other.
        digest: Digest,
    },
}

/// A block as the root names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) id: BlobId,
    pub(crate) entries: u64,
    /// Where its names lie. Snapshots of the first builds do not say.
    pub(crate) span: Option<Span>,
}

/// The least and the greatest of the names in a block, in the order of [`compare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) least: RelPath,
    pub(crate) greatest: RelPath,
}

impl Span {
    /// Whether a name lies in it.
    pub(crate) fn has(&self, path: &RelPath) -> bool {
        compare(self.least.as_bytes(), path.as_bytes()).is_le()
            && compare(path.as_bytes(), self.greatest.as_bytes()).is_le()
    }

    fn add(&mut self, path: &RelPath) {
        if compare(path.as_bytes(), self.greatest.as_bytes()).is_gt() {
            self.greatest = path.clone();
        } else if compare(path.as_bytes(), self.least.as_bytes()).is_lt() {
            self.least = path.clone();
        }
    }
}

/// A block that is written: its record, and what the root says of it.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) record: Vec<u8>,
    pub(crate) entries: u64,
    pub(crate) span: Span,
}

impl Written {
    /// The block, once its record is stored as `id`.
    pub(crate) fn stored_as(self, id: BlobId) -> Block {
        Block { id, entries: self.entries, span: Some(self.span) }
    }
}

/// Writes the root.
pub(crate) fn write_root(blocks: &[Block]) -> Vec<u8> {
    let mut record = RecordWriter::new(ROOT);
    for block in blocks {
        let line = record.line("block").number(block.id).number(block.entries);
        if let Some(Span { least, greatest }) = &block.span {
            line.bytes(least.as_bytes()).bytes(greatest.as_bytes());
        }
    }
    record.finish()
}

/// Reads the root.
pub(crate) fn read_root(input: impl BufRead) -> Result<Vec<Block>> {
    let mut reader = RecordReader::proven(input, ROOT)?;
    let (mut blocks, mut seen) = (Vec::new(), HashSet::new());
    while let Some(mut fields) = reader.next()? {
        if fields.word() != "block" {
            return Err(fields.unknown());
        }
        let mut block = Block { id: BlobId(fields.hex()?), entries: fields.number()?, span: None };
        if fields.more() {
            let (least, greatest) = (RelPath::from(&fields.bytes()?[..]), RelPath::from(&fields.bytes()?[..]));
            if compare(least.as_bytes(), greatest.as_bytes()).is_gt() {
                return Err(fields.wrong("a block ends before it begins"));
            }
            block.span = Some(Span { least, greatest });
        }
        fields.end()?;
        // The same entries again would be the same names again: nobody writes that, and it would multiply without end.
        if block.entries == 0 || !seen.insert(block.id) {
            return Err(fields.wrong("a block is empty, or there twice"));
        }
        blocks.push(block);
    }
    Ok(blocks)
}

/// Gathers entries into blocks, whose ends depend on the paths alone, so that a change touches its own block.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    key: IdKey,
    record: RecordWriter,
    entries: u32,
    /// Of the names so far; nothing as long as there is none.
    span: Option<Span>,
}

impl BlockWriter {
    pub(crate) fn new(key: &IdKey) -> Self {
        Self { key: key.clone(), record: RecordWriter::new(TREE), entries: 0, span: None }
    }

    /// Adds an entry. The block, when it ends with it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an entry that the format cannot hold; the block is as it was.
    pub(crate) fn push(&mut self, entry: &TreeEntry) -> Result<Option<Written>> {
        if let Some(fault) = fault_of(entry) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{:?} cannot be stored: {fault}", entry.entry.path),
            ));
        }
        write_entry(&mut self.record, entry);
        self.entries += 1;
        let path = &entry.entry.path;
        match &mut self.span {
            Some(span) => span.add(path),
            None => self.span = Some(Span { least: path.clone(), greatest: path.clone() }),
        }
        let ends =
            ends_block(&self.key, &entry.entry.path) || self.entries == MAX_ENTRIES || self.record.len() >= PIECE;
        Ok(ends.then(|| self.cut()).flatten())
    }

    /// Ends the block, when there is anything in it.
    pub(crate) fn cut(&mut self) -> Option<Written> {
        let span = self.span.take()?;
        let record = std::mem::replace(&mut self.record, RecordWriter::new(TREE)).finish();
        Some(Written { record, entries: std::mem::take(&mut self.entries).into(), span })
    }
}

fn ends_block(key: &IdKey, path: &RelPath) -> bool {
    let [low, high, ..] = key.blob_id(path.as_bytes()).0;
    u16::from_le_bytes([low, high]).is_multiple_of(CUT)
}

fn write_entry(record: &mut RecordWriter, TreeEntry { entry, content }: &TreeEntry) {
    let word = match (&entry.node, content) {
        (Node::File { .. }, Content::Pages { .. }) => "p",
        (Node::File { .. }, _) => "f",
        (Node::Dir, _) => "d",
        (Node::Symlink { .. }, _) => "l",
        (Node::HardLink { .. }, _) => "h",
        (Node::Fifo, _) => "i",
    };
    let line = record
        .line(word)
        .number(format_args!("{:o}", entry.mode))
        .number(entry.uid)
        .number(entry.gid)
        .text(&seconds(entry.mtime, entry.mtime_nanos))
        .bytes(entry.path.as_bytes());
    match (&entry.node, content) {
        (Node::File { size, blake3, data, .. }, _) => {
            match content {
                Content::Pages { map, digest } => drop(line.number(size).text(&hex(&digest.0)).number(map)),
                Content::Nothing => drop(digest_field(line.number(size), blake3.as_ref())),
                Content::Blobs(blobs) => {
                    let mut lines = blobs.chunks(PER_LINE);
                    let first = lines.next().unwrap_or_default();
                    let line = digest_field(line.number(size), blake3.as_ref());
                    drop(first.iter().fold(line, |line, blob| line.number(blob)));
                    for more in lines {
                        drop(more.iter().fold(record.line("+"), |line, blob| line.number(blob)));
                    }
                }
            }
            for (offset, len) in data.iter().flatten() {
                record.line("=").number(offset).number(len);
            }
        }
        (Node::Symlink { target } | Node::HardLink { target }, _) => drop(line.bytes(target.as_bytes())),
        (Node::Dir | Node::Fifo, _) => drop(line),
    }
    for xattr in &entry.xattrs {
        let value = if xattr.value.is_empty() { "%" } else { &xattr.value };
        record.line("x").bytes(xattr.name.as_bytes()).number(value);
    }
}

fn digest_field<'a>(line: super::lines::LineWriter<'a>, digest: Option<&Digest>) -> super::lines::LineWriter<'a> {
    line.text(&hex(&digest.map_or([0; 32], |digest| digest.0)))
}

/// What makes an entry one that no block can hold.
fn fault_of(TreeEntry { entry, content }: &TreeEntry) -> Option<String> {
    match (&entry.node, content) {
        (Node::File { valid_size: Some(_), .. }, _) => return Some("it has a length that only archives have".into()),
        (Node::File { data: Some(_), .. }, Content::Pages { .. }) => return Some("a page map has no holes".into()),
        (Node::File { blake3: None, .. }, Content::Blobs(_)) => return Some("its checksum is none".into()),
        (Node::File { .. }, Content::Nothing) => return Some("nobody says where its content is".into()),
        (Node::File { size: 1.., data: None, .. }, Content::Blobs(blobs)) if blobs.is_empty() => {
            return Some("it has a length and no content".into());
        }
        (Node::File { .. }, Content::Blobs(blobs)) if blobs.len() > MAX_BLOBS => return Some("it is too long".into()),
        (Node::File { .. }, _) | (_, Content::Nothing) => {}
        _ => return Some("it is no file, and has content".into()),
    }
    if entry.xattrs.iter().map(|xattr| xattr.value.len() / 2).sum::<usize>() > MAX_XATTRS {
        return Some("its attributes are too long".into());
    }
    entry_fault(entry)
}

/// Reads the entries of a block, one after the other.
#[derive(Debug)]
pub(crate) struct BlockReader<R> {
    record: RecordReader<R>,
    /// The entry whose further lines may follow.
    pending: Option<TreeEntry>,
    /// The length of its attributes so far.
    xattr_bytes: usize,
    ended: bool,
}

impl<R: BufRead> BlockReader<R> {
    pub(crate) fn new(input: R) -> Result<Self> {
        Ok(Self { record: RecordReader::proven(input, TREE)?, pending: None, xattr_bytes: 0, ended: false })
    }

    /// The next entry. Its names stay below the root, and its numbers are such as a file can have; whether
    /// names are there twice or lead through a link is for the reader of the whole tree to see.
    pub(crate) fn next(&mut self) -> Result<Option<TreeEntry>> {
        while !self.ended {
            let Some(mut fields) = self.record.next()? else {
                self.ended = true;
                break;
            };
            match fields.word() {
                "+" | "=" | "x" => {
                    let Some(entry) = &mut self.pending else {
                        return Err(fields.wrong("it begins in the middle of an entry"));
                    };
                    go_on(&mut fields, entry, &mut self.xattr_bytes)?;
                    fields.end()?;
                }
                _ => {
                    let next = begin(&mut fields)?;
                    fields.end()?;
                    self.xattr_bytes = 0;
                    if let Some(entry) = self.pending.replace(next) {
                        return checked(entry).map(Some);
                    }
                }
            }
        }
        self.pending.take().map(checked).transpose()
    }
}

fn checked(mut entry: TreeEntry) -> Result<TreeEntry> {
    if let (Node::File { size: 1.., data, .. }, Content::Blobs(blobs)) = (&mut entry.entry.node, &entry.content)
        && blobs.is_empty()
    {
        // A file that is nothing but a hole has no part to name.
        data.get_or_insert_default();
    }
    match fault_of(&entry) {
        None => Ok(entry),
        Some(fault) => {
            Err(Error::new(ErrorKind::Corrupt, format!("the tree has an entry {:?}: {fault}", entry.entry.path)))
        }
    }
}

/// Reads the first line of an entry.
fn begin(fields: &mut Fields<'_>) -> Result<TreeEntry> {
    let word = fields.word();
    if !matches!(word, "d" | "f" | "p" | "l" | "h" | "i") {
        return Err(fields.unknown());
    }
    let mode = octal(fields)?;
    let (uid, gid) = (fields.number()?, fields.number()?);
    let (mtime, mtime_nanos) = read_seconds(fields)?;
    let path = RelPath::from(&fields.bytes()?[..]);
    let mut content = Content::Nothing;
    let node = match word {
        "d" => Node::Dir,
        "i" => Node::Fifo,
        "l" => Node::Symlink { target: RelPath::from(&fields.bytes()?[..]) },
        "h" => Node::HardLink { target: RelPath::from(&fields.bytes()?[..]) },
        _ => {
            let (size, digest) = (fields.number()?, Digest(fields.hex()?));
            let mut blake3 = None;
            if word == "p" {
                content = Content::Pages { map: BlobId(fields.hex()?), digest };
            } else {
                let mut blobs = Vec::new();
                read_blobs(fields, &mut blobs)?;
                content = Content::Blobs(blobs);
                blake3 = Some(digest);
            }
            Node::File { size, blake3, data: None, valid_size: None }
        }
    };
    let entry = Entry { path, node, mode, uid, gid, mtime, mtime_nanos, xattrs: Vec::new(), offset: 0 };
    Ok(TreeEntry { entry, content })
}

/// Reads a further line of an entry. Their order is fixed: blobs, parts, attributes.
fn go_on(fields: &mut Fields<'_>, entry: &mut TreeEntry, xattr_bytes: &mut usize) -> Result<()> {
    let TreeEntry { entry, content } = entry;
    match (fields.word(), &mut entry.node, content) {
        ("+", Node::File { data: None, .. }, Content::Blobs(blobs))
            if entry.xattrs.is_empty() && !blobs.is_empty() && blobs.len().is_multiple_of(PER_LINE) =>
        {
            if !fields.more() {
                return Err(fields.wrong("it adds nothing"));
            }
            read_blobs(fields, blobs)
        }
        ("=", Node::File { data, .. }, Content::Blobs(_)) if entry.xattrs.is_empty() => {
            let parts = data.get_or_insert_default();
            if parts.len() == MAX_PARTS {
                return Err(fields.wrong("a file has too many parts"));
            }
            parts.push((fields.number()?, fields.number()?));
            Ok(())
        }
        ("x", ..) => {
            let name = RelPath::from(&fields.bytes()?[..]);
            let value = fields.digits()?.to_owned();
            *xattr_bytes += value.len() / 2;
            if *xattr_bytes > MAX_XATTRS || entry.xattrs.len() >= MAX_XATTRS >> 8 {
                return Err(fields.wrong("the attributes of an entry are too many"));
            }
            entry.xattrs.push(Xattr { name, value });
            Ok(())
        }
        _ => Err(fields.wrong("the line does not belong to the entry before it")),
    }
}

fn read_blobs(fields: &mut Fields<'_>, blobs: &mut Vec<BlobId>) -> Result<()> {
    let mut on_line = 0;
    while fields.more() {
        on_line += 1;
        if on_line > PER_LINE || blobs.len() == MAX_BLOBS {
            return Err(fields.wrong("it has too many blobs"));
        }
        blobs.push(BlobId(fields.hex()?));
    }
    Ok(())
}

fn octal(fields: &mut Fields<'_>) -> Result<u32> {
    let text = fields.plain()?;
    match u32::from_str_radix(text, 8) {
        Ok(value) if format!("{value:o}") == text => Ok(value),
        _ => Err(fields.wrong("a mode is not octal")),
    }
}

/// A time in seconds with nine decimals, such as `1700000000.000000005`, or `-4.750000000` for a quarter of a
/// second after five seconds before the epoch.
fn seconds(whole: i64, nanos: u32) -> String {
    if whole < 0 && nanos > 0 {
        format!("-{}.{:09}", -(whole + 1), 1_000_000_000 - nanos)
    } else {
        format!("{whole}.{nanos:09}")
    }
}

fn read_seconds(fields: &mut Fields<'_>) -> Result<(i64, u32)> {
    let text = fields.plain()?;
    let parsed = || -> Option<(i64, u32)> {
        let (whole, decimals) = text.split_once('.')?;
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if decimals.len() != 9 || !digits(decimals) {
            return None;
        }
        let (whole, nanos): (i64, u32) = (whole.parse().ok()?, decimals.parse().ok()?);
        let time = match text.starts_with('-') && nanos > 0 {
            true => (whole.checked_sub(1)?, 1_000_000_000 - nanos),
            false => (whole, nanos),
        };
        // One time has one form.
        (seconds(time.0, time.1) == text).then_some(time)
    };
    parsed().ok_or_else(|| fields.wrong("a time is not seconds with nine decimals"))
}

#[cfg(test)]
pub(super) mod tests;
