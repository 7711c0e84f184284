//! The content of one file after the other, as a stream.

use std::collections::BTreeMap;
use std::io::Read;

use super::fetch::Reader;
use super::id::BlobId;
use super::index::Lookup;
use super::pages::PageMap;
use super::roll::Stored;
use super::snapshot::{Snapshot, read_map};
use crate::backup::manifest::Node;
use crate::backup::nodes::Roll;
use crate::error::{Error, ErrorKind, Result};

/// How much of a database is put together at once, in bytes. Each frame that lies in it is read once for it.
const WINDOW: u64 = 16 << 20;

/// Where the bytes of a file go, in order.
pub(crate) type Sink<'s> = dyn FnMut(&[u8]) -> Result<()> + 's;

/// Reads what is stored of files, from the first byte to the last; holes are not in it.
pub(crate) struct ContentReader<'a> {
    snapshot: &'a Snapshot,
    reader: Reader<'a>,
    window: Vec<u8>,
}

impl<'a> ContentReader<'a> {
    /// A reader of `snapshot`.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Result<Self> {
        Ok(Self { snapshot, reader: Reader::new(&snapshot.packs)?, window: Vec::new() })
    }

    /// Gives the stored content of entry `number` to `sink`. Every blob is proven before.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when a part is lost, what `sink` says, those of reading.
    pub(crate) fn read(&mut self, number: u32, sink: &mut Sink<'_>) -> Result<()> {
        let lookup = self.snapshot.packs.lookup();
        match self.snapshot.roll.stored(number) {
            Stored::Nothing => Ok(()),
            Stored::Blobs(blobs) => {
                for blob in blobs {
                    let blob = blob.ok_or_else(|| Error::new(ErrorKind::Corrupt, "a part of it is in no pack"))?;
                    sink(&self.reader.blob(&lookup.at(blob).id())?)?;
                }
                Ok(())
            }
            Stored::Pages(map, _) => {
                let Node::File { size, .. } = self.snapshot.roll.entry(number).node else { return Ok(()) };
                let map = read_map(&mut self.reader, &map, size)?;
                self.pages(&map, lookup, sink)
            }
        }
    }

    /// Puts a database together, a window at a time.
    fn pages(&mut self, map: &PageMap, lookup: &Lookup, sink: &mut Sink<'_>) -> Result<()> {
        let mut start = 0;
        while start < map.length {
            self.fill_window(map, lookup, start)?;
            sink(&self.window)?;
            start += self.window.len() as u64;
        }
        Ok(())
    }

    /// Puts the part of a database together that begins at `start`.
    fn fill_window(&mut self, map: &PageMap, lookup: &Lookup, start: u64) -> Result<()> {
        let end = map.length.min(start + WINDOW);
        self.window.resize((end - start) as usize, 0);
        // By frame and blob: what the reader keeps is used up before it goes on.
        type ByBlob = BTreeMap<(u32, u32), Vec<(usize, usize, usize)>>;
        let mut parts = ByBlob::new();
        let first =
            map.runs.partition_point(|run| map.range(u64::from(run.first) + u64::from(run.units) - 1).end <= start);
        for run in &map.runs[first..] {
            let run_start = map.range(run.first.into()).start;
            if run_start >= end {
                break;
            }
            let run_end = map.range(u64::from(run.first) + u64::from(run.units) - 1).end;
            let (from, to) = (run_start.max(start), run_end.min(end));
            let (id, _) = map.data[run.data as usize];
            let blob = lookup
                .number_of(&id)
                .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("the blob {id} is in no pack")))?;
            let in_blob = u64::from(run.at) * u64::from(map.unit) + (from - run_start);
            let part = ((from - start) as usize, in_blob as usize, (to - from) as usize);
            parts.entry((lookup.at(blob).frame, blob)).or_default().push(part);
        }
        for ((_, blob), parts) in parts {
            let id = lookup.at(blob).id();
            let bytes = self.reader.blob(&id)?;
            for (to, from, len) in parts {
                let part = bytes.get(from..from + len).ok_or_else(|| {
                    Error::new(ErrorKind::Corrupt, format!("the blob {id} is shorter than its page map says"))
                })?;
                self.window[to..to + len].copy_from_slice(part);
            }
        }
        Ok(())
    }

    /// The content of a database of `size` bytes that the page map `map` puts together.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when a part of the map is lost, those of reading.
    pub(crate) fn database(&mut self, map: &BlobId, size: u64) -> Result<DatabaseReader<'_, 'a>> {
        let map = read_map(&mut self.reader, map, size)?;
        self.window.clear();
        Ok(DatabaseReader { content: self, map, start: 0, at: 0 })
    }
}

/// Reads a database from its first byte to its last. Every blob is proven before.
pub(crate) struct DatabaseReader<'r, 'a> {
    content: &'r mut ContentReader<'a>,
    map: PageMap,
    /// Where the window that comes next begins.
    start: u64,
    /// How much of the present one is read.
    at: usize,
}

impl DatabaseReader<'_, '_> {
    /// Bytes of a unit.
    pub(crate) fn unit(&self) -> u32 {
        self.map.unit
    }
}

impl Read for DatabaseReader<'_, '_> {
    /// # Errors
    /// [`Error`]s of ours, inside.
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.content.window.len() {
            if self.start == self.map.length {
                return Ok(0);
            }
            let snapshot = self.content.snapshot;
            self.content.fill_window(&self.map, snapshot.packs.lookup(), self.start).map_err(std::io::Error::other)?;
            self.start += self.content.window.len() as u64;
            self.at = 0;
        }
        let read = Read::read(&mut &self.content.window[self.at..], buffer)?;
        self.at += read;
        Ok(read)
    }
}
