//! The parsers of what a target or a file holds, for the fuzz targets of this repository and for nothing else: it may
//! change with any version.
//!
//! A record that ends with its mac is taken without it, and signed here: so whatever is changed in it reaches the parser
//! behind the mac, as it does when somebody has the key.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use crate::backup::blocks::Blocks;
use crate::backup::import;
use crate::backup::nodes::Limits;
use crate::backup::repository::collect::CollectRecord;
use crate::backup::repository::header::Header;
use crate::backup::repository::id::{BlobId, IdKey, PackId, RepositoryId};
use crate::backup::repository::identity::Identity;
use crate::backup::repository::index::{self, IndexLine, IndexWriter, Lines, Lookup};
use crate::backup::repository::lines::{Kind, RecordReader};
use crate::backup::repository::pack::{self, END_FRAME, FrameBuilder};
use crate::backup::repository::pages::PageMap;
use crate::backup::repository::pieces::{PieceSource, PieceWriter};
use crate::backup::repository::tree::{BlockReader, BlockWriter, Written, read_root, write_root};
use crate::backup::repository::{names, recover};
use crate::backup::scratch::Scratch;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::value::hex;

/// The id key that records are signed with.
pub const KEY: [u8; 32] = [7; 32];
/// The repository that records are of.
pub const REPOSITORY: [u8; 16] = [1; 16];
/// What separates records in the input of [`page_maps`] and [`pieces`].
pub const BETWEEN: &[u8] = b"----\n";

/// What a parser made of its input, written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// The format has one form for it: these must be the bytes that were read.
    Only(Vec<u8>),
    /// What it says can be written in several ways: these bytes must read as the same, and be written as the same.
    Same(Vec<u8>),
    /// It is not written again.
    Read,
}

/// Bytes as a snapshot is read from.
#[derive(Debug, Clone)]
pub struct Memory(pub Vec<u8>);

impl Blocks for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let (start, end) = (range.start.min(self.len()) as usize, range.end.min(self.len()) as usize);
        Ok(self.0[start.min(end)..end].to_vec())
    }
}

fn key() -> IdKey {
    IdKey::new(KEY)
}

/// A record with its mac; without one that cannot have any, since its last line is cut off.
fn signed(body: &[u8], key: &IdKey) -> Vec<u8> {
    let mut record = body.to_vec();
    record.extend_from_slice(format!("mac {}\n", hex(&key.mac_of(body).0)).as_bytes());
    record
}

/// A record without the line of its mac.
fn unsigned(mut record: Vec<u8>) -> Vec<u8> {
    record.truncate(record.len().saturating_sub("mac \n".len() + 64));
    record
}

/// The record `repository`. It brings its key.
///
/// # Errors
/// As it says.
pub fn identity(body: &[u8]) -> Result<Form> {
    let own = body.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"id_key "));
    let own = own.and_then(crate::backup::repository::id::unhex_lower).map_or_else(key, IdKey::new);
    let identity = Identity::read(&signed(body, &own))?;
    Ok(Form::Same(unsigned(identity.write(&own))))
}

/// A snapshot's header.
///
/// # Errors
/// As it says.
pub fn header(body: &[u8]) -> Result<Form> {
    let (header, _) = Header::read(&signed(body, &key()), RepositoryId(REPOSITORY), &key())?;
    Ok(Form::Same(unsigned(header.write(&key()).0)))
}

/// A collect record.
///
/// # Errors
/// As it says.
pub fn collect(body: &[u8]) -> Result<Form> {
    let record = CollectRecord::read(&signed(body, &key()), RepositoryId(REPOSITORY), &key())?;
    Ok(Form::Same(unsigned(record.write(&key()))))
}

/// The text of an index.
///
/// # Errors
/// As it says.
pub fn index(body: &[u8]) -> Result<Form> {
    let packed = zstd::bulk::compress(&signed(body, &key()), 1).map_err(|error| Error::internal(error.to_string()))?;
    let again = index_object(&packed, body)?;
    Lookup::default().add(&packed, RepositoryId(REPOSITORY), &again.1, &key())?;
    let text = zstd::stream::decode_all(&again.0[..]).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Form::Same(unsigned(text)))
}

/// An index as it lies in the target.
///
/// # Errors
/// As it says.
pub fn index_stored(packed: &[u8]) -> Result<Form> {
    index_object(packed, b"").map(|_| Form::Read)
}

fn index_object(packed: &[u8], text: &[u8]) -> Result<(Vec<u8>, crate::backup::repository::header::NeededPack)> {
    let named = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"pack "));
    let named = named.and_then(|line| PackId::parse(line.get(..32)?)).unwrap_or(PackId([0; 16]));
    let mut writer = IndexWriter::new(RepositoryId(REPOSITORY));
    let (mut frame, mut blobs, mut maps) = (None, Vec::new(), Vec::new());
    let read = index::read(packed, RepositoryId(REPOSITORY), named, &key(), Lines::All, |line| {
        match line {
            IndexLine::Frame { packed, plain, .. } => {
                if let Some((packed, plain)) = frame.replace((packed, plain)) {
                    writer.frame(packed, plain, &std::mem::take(&mut blobs));
                }
            }
            IndexLine::Blob(blob) => blobs.push(blob),
            IndexLine::Map(map) => maps.push((*map, Vec::new())),
            IndexLine::Ids(ids) => {
                let Some((_, all)) = maps.last_mut() else { return Err(Error::internal("ids without a map")) };
                all.extend(ids);
            }
        }
        Ok(())
    })?;
    if let Some((packed, plain)) = frame {
        writer.frame(packed, plain, &blobs);
    }
    for (map, ids) in maps {
        writer.map(map, Box::new(ids.into_iter().map(Ok)));
    }
    Ok((writer.finish(&read, &key(), Vec::new())?, read.pack))
}

/// A block of a tree.
///
/// # Errors
/// As it says.
pub fn tree(bytes: &[u8]) -> Result<Form> {
    let mut reader = BlockReader::new(bytes)?;
    let mut writer = BlockWriter::new(&key());
    let mut again = Vec::new();
    let mut append = |written: Option<Written>| {
        // Each block has its first line, and this is all one.
        let Some(Written { record: block, .. }) = written else { return };
        let first = block.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        again.extend_from_slice(&block[if again.is_empty() { 0 } else { first }..]);
    };
    while let Some(entry) = reader.next()? {
        append(writer.push(&entry)?);
    }
    append(writer.cut());
    if again.is_empty() {
        again.extend_from_slice(b"uplifted-ops tree 1\n");
    }
    Ok(Form::Only(again))
}

/// The root of a tree.
///
/// # Errors
/// As it says.
pub fn root(bytes: &[u8]) -> Result<Form> {
    Ok(Form::Only(write_root(&read_root(bytes)?)))
}

/// Page maps, the first of which is laid over all that it names: the last byte of an id is the number of the map.
///
/// # Errors
/// As it says.
pub fn page_maps(bytes: &[u8]) -> Result<Form> {
    let maps = split(bytes);
    let pick = |id: &BlobId| maps.get(usize::from(id.0[15])).copied().unwrap_or_default();
    let map = PageMap::read(maps[0])?;
    let again = write_map(&map)?;
    let flat = map.flatten(|id| PageMap::read(pick(id)))?.without_base();
    let whole = write_map(&flat)?;
    if write_map(&PageMap::read(&whole[..])?)? != whole {
        return Err(Error::internal("a flat map does not read as what it is"));
    }
    let mut all = vec![again];
    all.extend(maps[1..].iter().map(|map| map.to_vec()));
    Ok(Form::Only(all.join(BETWEEN)))
}

fn write_map(map: &PageMap) -> Result<Vec<u8>> {
    let mut stored: Vec<Vec<u8>> = Vec::new();
    let mut writer = PieceWriter::new(|bytes: &[u8]| {
        stored.push(bytes.to_vec());
        Ok(BlobId([0; 16]))
    });
    map.write(&mut writer)?;
    writer.finish()?;
    if stored.len() > 1 {
        // The list of the pieces.
        stored.pop();
    }
    Ok(stored.concat())
}

/// A record in pieces: the first part is what stands for it, the last byte of a piece's id is the number of its part.
///
/// # Errors
/// As it says.
pub fn pieces(bytes: &[u8]) -> Result<Form> {
    let parts = split(bytes);
    let mut first = true;
    let source = PieceSource::open(&BlobId([0; 16]), |id| {
        let number = if std::mem::take(&mut first) { 0 } else { usize::from(id.0[15]) };
        let part = parts.get(number).ok_or_else(|| Error::new(ErrorKind::Corrupt, "there is no such part"))?;
        Ok(part.to_vec())
    })?;
    let mut reader = RecordReader::proven(std::io::BufReader::new(source), Kind::new("tree"))?;
    while let Some(mut fields) = reader.next()? {
        while fields.more() {
            fields.bytes()?;
        }
    }
    Ok(Form::Read)
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

/// The content of a frame of a pack.
///
/// # Errors
/// As it says.
pub fn frame(plain: &[u8]) -> Result<Form> {
    let blobs = pack::blobs_in(plain)?;
    if blobs.is_empty() {
        return Ok(Form::Only(if plain.is_empty() { Vec::new() } else { END_FRAME.to_vec() }));
    }
    let mut builder = FrameBuilder::default();
    for blob in blobs {
        builder.push(blob.id, &plain[blob.range()])?;
    }
    Ok(Form::Only(builder.take().plain))
}

/// A pack without its index.
///
/// # Errors
/// As it says.
pub fn pack(bytes: &[u8]) -> Result<Form> {
    blobs_of_pack(bytes, KEY).map(|_| Form::Read)
}

/// The blobs in a pack of the repository with this id key.
///
/// # Errors
/// Those of reading; damage is left out.
pub fn blobs_of_pack(bytes: &[u8], id_key: [u8; 32]) -> Result<Vec<Vec<u8>>> {
    let blocks = Memory(bytes.to_vec());
    let scan = pack::scan(&blocks, &IdKey::new(id_key), || Ok(()))?;
    let (mut blobs, mut plain) = (Vec::new(), Vec::new());
    let mut unpacker = crate::backup::frames::Unpacker::new()?;
    for frame in scan.frames {
        let packed = &bytes[frame.offset as usize..][..frame.packed as usize];
        if unpacker.unpack(packed, frame.plain as usize, &mut plain).is_ok() {
            blobs.extend(frame.blobs.iter().map(|blob| plain[blob.range()].to_vec()));
        }
    }
    Ok(blobs)
}

/// `RECOVER.md`, which has a copy of the record `repository`.
///
/// # Errors
/// As it says.
pub fn recover_text(text: &[u8]) -> Result<Form> {
    let record = recover::record_in(text).ok_or_else(|| Error::new(ErrorKind::Corrupt, "it has no record"))?;
    Identity::read(record).map(|_| Form::Read)
}

/// The key of an object.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it is none of ours.
pub fn object_key(text: &[u8]) -> Result<Form> {
    let text = std::str::from_utf8(text).map_err(|_| Error::new(ErrorKind::Corrupt, "it is no text"))?;
    let same = |key: String| Ok(Form::Only(key.into_bytes()));
    if let Some((id, sealed)) = names::pack_of(text) {
        return same(names::pack(id, sealed));
    }
    if let Some(id) = names::index_of(text) {
        return same(names::index(id));
    }
    // The time is not taken from them.
    match names::snapshot_of(text).or_else(|| names::collect_of(text)) {
        Some(_) => Ok(Form::Read),
        None => Err(Error::new(ErrorKind::Corrupt, "it is no key of ours")),
    }
}

/// Unpacks the file at `path`, which may be one that `tar` made, below `scratch`.
///
/// # Errors
/// As it says.
pub fn unpack(path: &Path, scratch: &Path) -> Result<Form> {
    let scratch = Scratch::create(scratch, true)?;
    let limits = Limits { max_entries: 1000, max_bytes: 16 << 20, max_ratio: 100 };
    import::unpack(&Scope::default(), path, &scratch, &limits).map(|_| Form::Read)
}

/// The first bytes of a SQLite database.
///
/// # Errors
/// As it says.
#[cfg(feature = "sqlite")]
pub fn sqlite_header(bytes: &[u8]) -> Result<Form> {
    crate::store::sqlite::header_details(bytes).map(|_| Form::Read)
}

/// Times and fields as lines have them: what one line says, read in every way.
///
/// # Errors
/// As it says.
pub fn fields(line: &[u8]) -> Result<Form> {
    let record = [b"uplifted-ops tree 1\nword ", line, b"\n"].concat();
    let mut reader = RecordReader::proven(&record[..], Kind::new("tree"))?;
    let Some(fields) = reader.next()? else { return Ok(Form::Read) };
    let mut kinds: HashMap<&str, bool> = HashMap::new();
    kinds.insert("number", fields.clone().number::<u64>().is_ok());
    kinds.insert("time", fields.clone().time().map(|time: Timestamp| time.to_string()).is_ok());
    kinds.insert("hex", fields.clone().hex_or_none::<16>().is_ok());
    kinds.insert("digits", fields.clone().digits().is_ok());
    let bytes = fields.clone().bytes()?;
    let mut writer = crate::backup::repository::lines::RecordWriter::new(Kind::new("tree"));
    drop(writer.line("word").bytes(&bytes));
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\n')).unwrap_or(line.len());
    let again = writer.finish();
    let written = again.strip_prefix(b"uplifted-ops tree 1\nword ").and_then(|rest| rest.strip_suffix(b"\n"));
    match written == Some(&line[..end]) {
        true => Ok(Form::Read),
        false => Err(Error::internal("a field is not written as it was read")),
    }
}
