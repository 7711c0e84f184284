//! Reading the whole database once, as it is for a reader of now: the main file, and over it the log.
//!
//! Under a held read transaction (`snapshot` says why that is enough): pages that are in the log are read there, the others
//! stand still in the main file. Where the log started over meanwhile, which it can only do when the main file had
//! everything, it is done again.

use std::collections::HashMap;
use std::path::Path;

use super::super::blocking::Task;
use super::super::header::Header;
use super::super::reading::{Block, Reading};
use super::hashes::{self, Table, lock_page};
use super::mark::Extent;
use super::wal::{Head, Log, LogHeader, Place};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of the main file read at once.
const BLOCK: usize = 1 << 20;
/// How often it is tried. Under one transaction the log starts over at most twice.
const ATTEMPTS: usize = 5;

/// What there is to read.
pub(super) struct Whole<'a> {
    pub(super) main: &'a Reading,
    pub(super) log: &'a Log,
    pub(super) path: &'a Path,
}

/// A state that stands still while it is read.
struct Still {
    /// Where the log ends in this state.
    place: Place,
    header: Option<LogHeader>,
    page_size: u32,
    size: u32,
    /// The last frame of each page that the log has.
    overlay: HashMap<u32, u32>,
}

impl Whole<'_> {
    /// Calls `page` with each page, in order, and says where the log ends in the state that they make and how many pages it has.
    /// `begin` is called first, again where a part was in vain, with the size of the pages.
    pub(super) fn read(
        &self,
        task: &Task,
        observe: impl Fn() -> Result<Extent>,
        mut begin: impl FnMut(u32) -> Result<()>,
        mut page: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<(Place, u32)> {
        for _ in 0..ATTEMPTS {
            task.check()?;
            let head = self.log.head()?;
            let Some(still) = self.settle(task, head, observe()?)? else { continue };
            begin(still.page_size)?;
            let read = self.pages(task, &still, &mut page)?;
            if read && self.log.head()? == head {
                return Ok((still.place, still.size));
            }
        }
        Err(Error::new(ErrorKind::Busy, format!("the log of database {:?} did not come to rest", self.path))
            .with_hint("nothing needs to be done: it is tried again"))
    }

    /// Looks at the log; `None` when it changed meanwhile.
    fn settle(&self, task: &Task, head: Head, extent: Extent) -> Result<Option<Still>> {
        let Some(main) = Header::read(self.main.file(), self.path)? else {
            return Err(Error::new(ErrorKind::Unavailable, format!("database {:?} is empty", self.path))
                .with_hint("nothing needs to be done: it is followed from its first table on"));
        };
        let len = self.main.file().metadata().map_err(|e| Error::io(format!("look at {:?}", self.path), e))?.len();
        let pages = u32::try_from(len.div_ceil(u64::from(main.page_size))).unwrap_or(u32::MAX);
        let mut still = Still {
            place: Place::default(),
            header: None,
            page_size: main.page_size,
            size: if main.page_count == 0 { pages } else { main.page_count },
            overlay: HashMap::new(),
        };
        let header = match head {
            Head::Empty if extent.committed == 0 => return Ok(Some(still)),
            Head::Is(header) => header,
            Head::Empty | Head::Torn => return Ok(None),
        };
        still.header = Some(header);
        still.place = header.place();
        still.page_size = header.page_size;
        let mut walk = self.log.walk(&header, header.place());
        while let Some(frame) = walk.next(extent.committed)? {
            if frame.commit > 0 {
                still.size = frame.commit;
            }
            let page = frame.page;
            still.place = walk.place();
            still.overlay.insert(page, still.place.frame);
            if still.place.frame % 256 == 0 {
                task.check()?;
            }
        }
        if still.place.frame == extent.committed {
            return Ok(Some(still));
        }
        if self.log.head()? == head {
            return Err(super::damaged_log(self.path, still.place.frame + 1));
        }
        Ok(None)
    }

    /// Reads them; false when the log ended within a frame that was there.
    fn pages(&self, task: &Task, still: &Still, page: &mut impl FnMut(u32, &[u8]) -> Result<()>) -> Result<bool> {
        let size = still.page_size as usize;
        let (mut block, mut image) = (Block::new(BLOCK), vec![0; size]);
        let per_block = (BLOCK / size) as u32;
        let lock = lock_page(still.page_size);
        for first in (1..=still.size).step_by(per_block as usize) {
            task.check()?;
            let offset = u64::from(first - 1) * size as u64;
            let read = self
                .main
                .read(&mut block, BLOCK, offset)
                .map_err(|e| Error::io(format!("read database {:?}", self.path), e))?;
            // Pages that only the log has, and holes at the end.
            block.bytes()[read..].fill(0);
            for number in (first..=still.size).take(per_block as usize).filter(|number| *number != lock) {
                if let (Some(frame), Some(header)) = (still.overlay.get(&number), &still.header) {
                    if !self.log.page(header, *frame, &mut image)? {
                        return Ok(false);
                    }
                    page(number, &image)?;
                } else {
                    let at = (number - first) as usize * size;
                    page(number, &block.bytes()[at..at + size])?;
                }
            }
        }
        Ok(true)
    }
}

/// The hashes of all pages, and where the log ends in that state.
pub(super) fn table(whole: &Whole<'_>, task: &Task, observe: impl Fn() -> Result<Extent>) -> Result<(Table, Place)> {
    let table = std::cell::RefCell::new(Table::new(512));
    let (place, size) = whole.read(
        task,
        observe,
        |page_size| {
            *table.borrow_mut() = Table::new(page_size);
            Ok(())
        },
        |page, bytes| {
            table.borrow_mut().set(page, hashes::hash(page, bytes));
            Ok(())
        },
    )?;
    let mut table = table.into_inner();
    table.settle(size);
    Ok((table, place))
}
