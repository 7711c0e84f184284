//! The page ids of a database as the last run stored it, and where its units lie: the base of the next page map.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::Take;
use crate::backup::repository::id::{BlobId, IdKey, PageId};
use crate::backup::repository::pages::{PageMap, Run};
use crate::error::Result;
use crate::fs::{self, AtomicFile};

const MAGIC: &[u8; 8] = b"uopspg01";
/// The length of the numbers at the end: that of the tail, and the mac.
const END: u64 = 8 + 32;
const BUFFER: usize = 256 << 10;

/// The database as it was stored.
#[derive(Debug)]
pub(crate) struct Base {
    /// The page map that says so.
    pub(crate) map: BlobId,
    /// How many maps are below it.
    pub(crate) depth: u32,
    /// Where every unit lies, whatever map brought it.
    pub(crate) flat: PageMap,
    /// The blobs of all the maps, from this one down to the last.
    pub(crate) maps: Vec<BlobId>,
    ids: BufReader<File>,
    left: u64,
}

impl Base {
    /// Opens the file; `None` when it is not there or not whole.
    pub(crate) fn open(file: &Path, key: &IdKey) -> Option<Self> {
        let file = File::open(file).ok()?;
        let len = file.metadata().ok()?.len();
        let mut input = BufReader::with_capacity(BUFFER, file);
        // Everything is looked at before anything is believed.
        let body = len.checked_sub(END - 8)?;
        let mut mac = key.mac();
        mac.update_reader((&mut input).take(body)).ok()?;
        let mut end = [0; 32];
        input.read_exact(&mut end).ok()?;
        if mac.finalize() != blake3::Hash::from_bytes(end) {
            return None;
        }
        input.seek(SeekFrom::Start(body.checked_sub(8)?)).ok()?;
        let mut tail_len = [0; 8];
        input.read_exact(&mut tail_len).ok()?;
        let tail_len = u64::from_le_bytes(tail_len);
        let tail_start = body.checked_sub(8)?.checked_sub(tail_len)?;
        input.seek(SeekFrom::Start(tail_start)).ok()?;
        let mut tail = Vec::new();
        (&mut input).take(tail_len).read_to_end(&mut tail).ok()?;
        let (map, depth, flat, maps) = decode(&tail)?;
        input.seek(SeekFrom::Start(0)).ok()?;
        let mut magic = [0; 8];
        input.read_exact(&mut magic).ok()?;
        let left = flat.units();
        let whole = &magic == MAGIC && tail_start == 8 + 16 * left;
        whole.then_some(Self { map, depth, flat, maps, ids: input, left })
    }

    /// The id of the next unit; the first one at first.
    pub(crate) fn next_id(&mut self) -> Option<PageId> {
        self.left = self.left.checked_sub(1)?;
        let mut id = [0; 16];
        // It was read a moment ago. If it fails now, the unit counts as changed.
        self.ids.read_exact(&mut id).ok()?;
        Some(PageId(id))
    }

    /// Every blob that the database needs.
    pub(crate) fn needs(&self) -> Vec<BlobId> {
        self.flat.data.iter().map(|(id, _)| *id).chain(self.maps.iter().copied()).collect()
    }
}

/// Writes the file while a database is stored.
#[derive(Debug)]
pub(crate) struct BaseWriter {
    out: AtomicFile,
    mac: blake3::Hasher,
    pending: Vec<u8>,
}

impl BaseWriter {
    pub(crate) fn create(file: &Path, key: &IdKey) -> Result<Self> {
        let out = AtomicFile::create(file, fs::PRIVATE_FILE)?;
        Ok(Self { out, mac: key.mac(), pending: MAGIC.to_vec() })
    }

    /// Adds the id of the next unit.
    pub(crate) fn push(&mut self, id: PageId) -> Result<()> {
        self.pending.extend_from_slice(&id.0);
        if self.pending.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.mac.update(&self.pending);
        self.out.out()?.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Reads the ids back from the first on, before the file is shown.
    pub(crate) fn ids(&mut self) -> Result<impl FnMut() -> Result<Option<PageId>> + use<>> {
        self.flush()?;
        let out = self.out.out()?;
        let path = out.path().to_owned();
        let reading = move |error| crate::Error::io(format!("read back {path:?}"), error);
        let file = out.file().try_clone().map_err(&reading)?;
        let mut at = 8;
        let mut buffer = Vec::new();
        let mut from = 0;
        Ok(move || {
            if from == buffer.len() {
                buffer.resize(BUFFER, 0);
                let mut have = 0;
                while have < BUFFER {
                    match std::os::unix::fs::FileExt::read_at(&file, &mut buffer[have..], at + have as u64) {
                        Ok(0) => break,
                        Ok(read) => have += read,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(reading(error)),
                    }
                }
                buffer.truncate(have - have % 16);
                at += buffer.len() as u64;
                from = 0;
            }
            let id = buffer.get(from..from + 16).and_then(|id| id.try_into().ok()).map(PageId);
            from += 16;
            from = from.min(buffer.len());
            Ok(id)
        })
    }

    /// Ends the file. It is shown by [`AtomicFile::publish`] when the run has succeeded.
    pub(crate) fn finish(mut self, map: BlobId, depth: u32, flat: &PageMap, maps: &[BlobId]) -> Result<AtomicFile> {
        let start = self.pending.len();
        encode(map, depth, flat, maps, &mut self.pending);
        let tail = (self.pending.len() - start) as u64;
        self.pending.extend_from_slice(&tail.to_le_bytes());
        self.flush()?;
        let mac = *self.mac.finalize().as_bytes();
        self.out.out()?.write_all(&mac)?;
        Ok(self.out)
    }
}

fn encode(map: BlobId, depth: u32, flat: &PageMap, maps: &[BlobId], out: &mut Vec<u8>) {
    out.extend_from_slice(&map.0);
    out.extend_from_slice(&depth.to_le_bytes());
    out.extend_from_slice(&flat.unit.to_le_bytes());
    out.extend_from_slice(&flat.length.to_le_bytes());
    out.extend_from_slice(&(maps.len() as u32).to_le_bytes());
    maps.iter().for_each(|id| out.extend_from_slice(&id.0));
    out.extend_from_slice(&(flat.data.len() as u32).to_le_bytes());
    for (id, units) in &flat.data {
        out.extend_from_slice(&id.0);
        out.extend_from_slice(&units.to_le_bytes());
    }
    out.extend_from_slice(&(flat.runs.len() as u32).to_le_bytes());
    for Run { first, units, data, at } in &flat.runs {
        for number in [first, units, data, at] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

fn decode(tail: &[u8]) -> Option<(BlobId, u32, PageMap, Vec<BlobId>)> {
    let mut take = Take(tail);
    let (map, depth) = (BlobId(take.array()?), take.u32()?);
    let (unit, length) = (take.u32()?, take.u64()?);
    let maps = (0..take.u32()?).map(|_| take.array().map(BlobId)).collect::<Option<_>>()?;
    let mut flat = PageMap::new(unit, length, None);
    flat.data = (0..take.u32()?).map(|_| Some((BlobId(take.array()?), take.u32()?))).collect::<Option<_>>()?;
    let run =
        |take: &mut Take<'_>| Some(Run { first: take.u32()?, units: take.u32()?, data: take.u32()?, at: take.u32()? });
    flat.runs = (0..take.u32()?).map(|_| run(&mut take)).collect::<Option<_>>()?;
    take.0.is_empty().then_some((map, depth, flat, maps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_comes_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("pages"), IdKey::new([1; 32]));
        assert!(Base::open(&file, &key).is_none());
        let mut flat = PageMap::new(4096, 5 * 4096 + 1, None);
        flat.push_data(BlobId([1; 16]), 6);
        (0..6).for_each(|unit| flat.push_unit(unit, 0, unit));
        let ids: Vec<PageId> = (0..6).map(|unit| PageId([unit; 16])).collect();
        let mut writer = BaseWriter::create(&file, &key).unwrap();
        ids.iter().for_each(|id| writer.push(*id).unwrap());
        let mut back = writer.ids().unwrap();
        assert_eq!(std::iter::from_fn(|| back().unwrap()).collect::<Vec<_>>(), ids);
        writer.finish(BlobId([2; 16]), 3, &flat, &[BlobId([2; 16])]).unwrap().publish().unwrap();
        let mut base = Base::open(&file, &key).unwrap();
        assert_eq!((base.map, base.depth, &base.flat), (BlobId([2; 16]), 3, &flat));
        assert_eq!(base.needs(), [BlobId([1; 16]), BlobId([2; 16])]);
        assert_eq!(std::iter::from_fn(|| base.next_id()).collect::<Vec<_>>(), ids);
        assert!(Base::open(&file, &IdKey::new([2; 32])).is_none());
        let bytes = std::fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&file, &changed).unwrap();
            assert!(Base::open(&file, &key).is_none(), "byte {at}");
            std::fs::write(&file, &bytes[..at]).unwrap();
            assert!(Base::open(&file, &key).is_none(), "cut at {at}");
        }
    }
}
