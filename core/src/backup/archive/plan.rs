//! What of an archive an extraction makes, and where.

use std::path::{Component, Path, PathBuf};

use super::guard::{Order, compare, find, is_below};
use super::read::Contents;
use crate::backup::manifest::{Node, RelPath};
use crate::error::{Error, ErrorKind, Result};

/// What to extract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything.
    All,
    /// These paths and all below them, relative to the root. One that selects nothing is
    /// [`ErrorKind::NotFound`]. The folders above them are made too, with their archived modes and times.
    Paths(Vec<PathBuf>),
}

/// No place: the entry is not wanted.
const NOWHERE: u32 = u32::MAX;

/// The wanted entries.
pub(super) struct Plan {
    /// For each entry, the number of the entry under whose name it is made: its own, but for a file that is
    /// wanted only by the name of a hard link to it.
    made_as: Vec<u32>,
    order: Order,
    /// The wanted entries by name, folders before what is in them.
    pub(super) wanted: Vec<u32>,
    /// The frames to read.
    pub(super) frames: Vec<usize>,
}

impl Plan {
    pub(super) fn new(contents: &Contents, order: Order, selection: &Selection) -> Result<Self> {
        let entries = &contents.entries;
        let chosen = match selection {
            Selection::All => None,
            Selection::Paths(paths) => choose(contents, &order, paths)?,
        };
        let Some(chosen) = chosen else {
            return Ok(Self {
                made_as: (0..entries.len() as u32).collect(),
                wanted: order.clone(),
                frames: (0..contents.frames.len()).collect(),
                order,
            });
        };
        let wanted: Vec<u32> = order.iter().copied().filter(|number| chosen[*number as usize]).collect();
        let mut made_as = vec![NOWHERE; entries.len()];
        for &number in &wanted {
            made_as[number as usize] = number;
        }
        // A hard link without its file becomes the file; further links to it become links to the first.
        for &number in &wanted {
            if let Node::HardLink { target } = &entries[number as usize].node
                && let Some(file) = find(entries, &order, target.as_bytes())
                && made_as[file as usize] == NOWHERE
            {
                made_as[file as usize] = number;
            }
        }
        let mut frames = Vec::new();
        for (number, made) in made_as.iter().enumerate() {
            let place = contents.place(number as u32);
            if *made != NOWHERE && place.data < place.data_end {
                frames.extend(contents.frames_of(place.header..place.data_end));
            }
        }
        frames.dedup();
        Ok(Self { made_as, order, wanted, frames })
    }

    /// The entry under whose name the content of entry `number` is made, if it is wanted.
    pub(super) fn made_as(&self, number: u32) -> Option<u32> {
        self.made_as.get(number as usize).copied().filter(|made| *made != NOWHERE)
    }

    /// The number of the file entry that hard links call `target`.
    pub(super) fn file_called(&self, contents: &Contents, target: &RelPath) -> Result<u32> {
        // The guard has found it before.
        find(&contents.entries, &self.order, target.as_bytes())
            .ok_or_else(|| Error::internal(format!("the hard link's target {target:?} has vanished from the index")))
    }

    /// The files to make.
    pub(super) fn files<'a>(&'a self, contents: &'a Contents) -> impl Iterator<Item = u32> + 'a {
        let is_file = |number: &u32| matches!(contents.entries[*number as usize].node, Node::File { .. });
        (0..contents.entries.len() as u32).filter(|number| self.made_as(*number).is_some()).filter(is_file)
    }
}

/// Marks the entries at and below `paths`, and the folders above them. `None` when a path selects everything.
fn choose(contents: &Contents, order: &Order, paths: &[PathBuf]) -> Result<Option<Vec<bool>>> {
    let entries = &contents.entries;
    let name = |at: usize| order.get(at).map(|number| entries[*number as usize].path.as_bytes());
    let mut chosen = vec![false; entries.len()];
    for path in paths {
        let wanted = plain_path(path)?;
        let wanted = std::os::unix::ffi::OsStrExt::as_bytes(wanted.as_os_str());
        if wanted.is_empty() {
            return Ok(None);
        }
        let first = order.partition_point(|number| compare(entries[*number as usize].path.as_bytes(), wanted).is_lt());
        let mut at = first;
        while name(at).is_some_and(|name| name == wanted || is_below(name, wanted)) {
            chosen[order[at] as usize] = true;
            at += 1;
        }
        if at == first {
            return Err(Error::new(ErrorKind::NotFound, format!("the snapshot has no {path:?}"))
                .with_hint("name a path as the snapshot has it, relative to the service's root"));
        }
        for (slash, _) in wanted.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            if let Some(folder) = find(entries, order, &wanted[..slash]) {
                chosen[folder as usize] = true;
            }
        }
    }
    Ok(Some(chosen))
}

/// `path` without `.` and doubled slashes.
fn plain_path(path: &Path) -> Result<PathBuf> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(Error::invalid(format!("{path:?} is no path relative to the root"))
                .with_hint("name a path below the service's root, without ..")),
        })
        .collect()
}
