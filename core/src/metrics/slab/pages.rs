//! Where chunks come from: regions of memory, or of the file of this process.

use std::sync::atomic::Ordering;

use crate::error::Result;

use super::file::CellFile;
use super::format::{MAGIC, MORE, MOST, PAGE, STEP, Use, WORD_ENTRIES, WORD_LOG, WORD_PAGES, entry};
use super::map::{Chunk, Region};

/// The pages of this process. None is ever given back.
pub(super) struct Pages {
    regions: Vec<Held>,
    file: Option<CellFile>,
    /// The first page of the file.
    header: Option<&'static Chunk>,
    /// Why the file cannot grow any more.
    pub(super) failed: Option<crate::error::Error>,
}

/// A region: what its pages are, by order. The first page is not counted.
struct Held {
    region: Region,
    entries: Vec<u64>,
    /// Whether it lies in the file.
    backed: bool,
}

/// Which page of which region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    region: usize,
    page: usize,
}

impl Held {
    fn new(region: Region, backed: bool) -> Self {
        Self { region, entries: Vec::new(), backed }
    }

    fn is_full(&self) -> bool {
        self.entries.len() + 1 == self.region.chunks().len()
    }

    fn first(&self) -> &'static Chunk {
        &self.region.chunks()[0]
    }

    /// Writes what its pages are into its first page, the magic word last.
    fn describe(&self, magic: u64) {
        let words = self.first().cells();
        for (word, entry) in words[WORD_ENTRIES..].iter().zip(&self.entries) {
            word.store(*entry, Ordering::Relaxed);
        }
        words[WORD_PAGES].store(self.region.chunks().len() as u64, Ordering::Relaxed);
        words[0].store(magic, Ordering::Release);
    }
}

impl Pages {
    pub(super) const fn new() -> Self {
        Self { regions: Vec::new(), file: None, header: None, failed: None }
    }

    /// A page that nobody has, all zero. In the file, where there is one that can grow.
    pub(super) fn take(&mut self, of: Use, number: u32) -> (&'static Chunk, Place) {
        let wants_file = self.file.is_some() && self.failed.is_none();
        if self.regions.last().is_none_or(|last| last.is_full() || last.backed != wants_file) {
            self.grow(wants_file);
        }
        let region = self.regions.len() - 1;
        let held = &mut self.regions[region];
        held.entries.push(0);
        let page = held.entries.len();
        let place = Place { region, page };
        let chunk = &held.region.chunks()[page];
        self.describe(place, of, number);
        (chunk, place)
    }

    /// Says what a page is for from now on.
    pub(super) fn describe(&mut self, Place { region, page }: Place, of: Use, number: u32) {
        let held = &mut self.regions[region];
        let entry = entry(of, number);
        held.entries[page - 1] = entry;
        held.first().cells()[WORD_ENTRIES + page - 1].store(entry, Ordering::Release);
    }

    fn grow(&mut self, wants_file: bool) {
        // A quarter more, so that a file of any size has few regions and little room that nobody uses.
        let total: usize = self.regions.iter().map(|held| held.region.chunks().len()).sum();
        let chunks = (total / 4 / STEP * STEP).clamp(STEP, MOST);
        if wants_file {
            match self.grow_file(chunks) {
                Ok(()) => return,
                Err(error) => self.failed = Some(error),
            }
        }
        self.regions.push(Held::new(Region::anonymous(chunks), false));
    }

    fn grow_file(&mut self, chunks: usize) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let offset = file.extend(chunks * PAGE)?;
        let held = Held::new(file.map(offset, chunks)?, true);
        if offset == 0 {
            file.head(held.first());
            self.header = Some(held.first());
        }
        held.describe(if offset == 0 { MAGIC } else { MORE });
        self.regions.push(held);
        Ok(())
    }

    /// Takes further pages from this file, which is empty, and gives it its first region.
    pub(super) fn use_file(&mut self, file: CellFile) -> Result<()> {
        self.file = Some(file);
        let grown = self.grow_file(STEP);
        if grown.is_err() {
            self.forsake();
        }
        grown
    }

    /// Moves all pages into this file, which is empty. They are zero, and nobody writes to them: a child after a fork.
    pub(super) fn move_into(&mut self, mut file: CellFile) -> Result<()> {
        let mut offset = 0;
        let all: usize = self.regions.iter().map(|held| held.region.chunks().len()).sum();
        file.extend(all * PAGE)?;
        for held in &mut self.regions {
            file.back(held.region, offset)?;
            if offset == 0 {
                file.head(held.first());
                self.header = Some(held.first());
            }
            held.describe(if offset == 0 { MAGIC } else { MORE });
            held.backed = true;
            offset += (held.region.chunks().len() * PAGE) as u64;
        }
        self.file = Some(file);
        self.failed = None;
        Ok(())
    }

    /// Makes all pages this process' own, and zero: in a child after a fork, whose parent has the file.
    pub(super) fn fork(&mut self) {
        for held in &mut self.regions {
            if held.region.wipe().is_err() {
                // It would count into the file of another process.
                std::process::abort();
            }
            held.backed = false;
        }
        // Closed, and not unlocked: the lock is the parent's.
        self.file = None;
        self.header = None;
        self.failed = None;
    }

    /// Whether a page lies in the file.
    pub(super) fn is_backed(&self, Place { region, .. }: Place) -> bool {
        self.regions[region].backed
    }

    /// Whether a chunk lies in the file.
    pub(super) fn is_in_file(&self, chunk: &Chunk) -> bool {
        let mut backed = self.regions.iter().filter(|held| held.backed);
        backed.any(|held| held.region.chunks().as_ptr_range().contains(&std::ptr::from_ref(chunk)))
    }

    pub(super) fn file(&self) -> Option<&CellFile> {
        self.file.as_ref()
    }

    pub(super) fn file_mut(&mut self) -> Option<&mut CellFile> {
        self.file.as_mut()
    }

    /// Lets go of the file, which nobody has seen. Its pages stay in use.
    pub(super) fn forsake(&mut self) {
        if let Some(file) = self.file.take() {
            file.discard();
        }
        self.header = None;
    }

    /// Publishes the end of the log.
    pub(super) fn publish(&self, end: u64) {
        if let Some(header) = self.header {
            header.cells()[WORD_LOG].store(end, Ordering::Release);
        }
    }
}
