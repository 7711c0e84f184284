//! Cells that cannot lie in the file, and their copies there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Kind;
use super::foreign::Foreign;
use super::map::{CELLS, Chunk};
use super::pages::{Pages, Place};

/// Chunks outside the file, by number, each with its copy once it holds something.
pub(super) struct Mirrors {
    own: BTreeMap<u32, Vec<Mirror>>,
    /// Copies of what environments have, by number and environment.
    foreign: BTreeMap<(u32, u64), Copied>,
    /// Copies that nobody needs any more, all zero.
    spare: Vec<Copied>,
}

type Copied = (&'static Chunk, Place);

struct Mirror {
    kind: Kind,
    source: &'static Chunk,
    copy: Option<&'static Chunk>,
}

impl Mirrors {
    pub(super) const fn new() -> Self {
        Self { own: BTreeMap::new(), foreign: BTreeMap::new(), spare: Vec::new() }
    }

    /// Copies the chunk in which the cell `first` lies from now on.
    pub(super) fn add(&mut self, kind: Kind, first: u32, source: &'static Chunk) {
        self.own.entry(first / CELLS as u32).or_default().push(Mirror { kind, source, copy: None });
    }

    /// Copies all that has changed.
    pub(super) fn copy(&mut self, kinds: &[Kind], foreign: &[Foreign], pages: &mut Pages) {
        for (number, mirrors) in &mut self.own {
            for Mirror { kind, source, copy } in mirrors {
                if copy.is_none() && !is_zero(source.cells()) {
                    *copy = Some(pages.take(kind.page(), *number).0);
                }
                if let Some(copy) = copy {
                    update(copy, source.cells(), |bits| bits);
                }
            }
        }
        for environment in foreign {
            for (number, cells) in environment.chunks() {
                let Some(kind) = kinds.get(number as usize) else { continue };
                let key = (number, environment.id());
                if !self.foreign.contains_key(&key) && !is_zero(cells) {
                    let copy = match self.spare.pop() {
                        Some((chunk, place)) => {
                            pages.describe(place, kind.page(), number);
                            (chunk, place)
                        }
                        None => pages.take(kind.page(), number),
                    };
                    self.foreign.insert(key, copy);
                }
                let Some((copy, _)) = self.foreign.get(&key) else { continue };
                match kind {
                    // An interpreter has floats alone.
                    Kind::Whole => update(copy, cells, |bits| f64::from_bits(bits) as u64),
                    Kind::Float | Kind::Gauge => update(copy, cells, |bits| bits),
                }
            }
        }
    }

    /// Empties the copies of a cell.
    pub(super) fn clear(&self, id: u32) {
        let number = id / CELLS as u32;
        let own = self.own.get(&number).into_iter().flatten().filter_map(|mirror| mirror.copy);
        let foreign = self.foreign.range((number, 0)..=(number, u64::MAX)).map(|(_, (copy, _))| *copy);
        own.chain(foreign).for_each(|copy| copy.cell(id).store(0, Ordering::Relaxed));
    }

    /// Empties the copies of what an environment had.
    pub(super) fn forget(&mut self, environment: u64) {
        let spare = &mut self.spare;
        self.foreign.retain(|(_, of), copy| {
            if *of == environment {
                copy.0.cells().iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
                spare.push(*copy);
            }
            *of != environment
        });
    }

    /// Whether there may be something to copy.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }
}

fn is_zero(cells: &[AtomicU64]) -> bool {
    cells.iter().all(|cell| cell.load(Ordering::Relaxed) == 0)
}

fn update(copy: &Chunk, cells: &[AtomicU64], convert: impl Fn(u64) -> u64) {
    for (to, from) in copy.cells().iter().zip(cells) {
        let value = convert(from.load(Ordering::Relaxed));
        // Pages that stay as they are need not go to the disk.
        if to.load(Ordering::Relaxed) != value {
            to.store(value, Ordering::Relaxed);
        }
    }
}
