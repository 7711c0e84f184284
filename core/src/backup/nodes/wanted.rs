//! What of a snapshot is made, and under which name.

use std::path::{Component, Path, PathBuf};

use super::guard::{Order, compare, find, is_below};
use super::roll::Roll;
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

/// The names that are asked for, to tell early what need not be looked at.
pub(in crate::backup) struct Chosen(Vec<Vec<u8>>);

impl Chosen {
    /// `None` when everything has to be looked at.
    pub(in crate::backup) fn of(selection: &Selection) -> Option<Self> {
        let Selection::Paths(paths) = selection else { return None };
        // What is no path is for [`Wanted::new`] to refuse.
        let plain = |path: &PathBuf| plain_path(path).ok().map(|path| path.into_os_string().into_encoded_bytes());
        let names: Option<Vec<_>> = paths.iter().map(plain).collect();
        names.filter(|names| !names.iter().any(Vec::is_empty)).map(Self)
    }

    /// Whether a name is asked for, or of a folder above.
    pub(in crate::backup) fn takes(&self, path: &[u8]) -> bool {
        self.0.iter().any(|name| path == name || is_below(path, name) || is_below(name, path))
    }

    /// Whether it may take a name that is not before `least` and not after `greatest`, in the order of [`compare`].
    pub(in crate::backup) fn may_take_between(&self, least: &[u8], greatest: &[u8]) -> bool {
        let lies_between = |name: &[u8]| compare(least, name).is_le() && compare(name, greatest).is_le();
        self.0.iter().any(|name| {
            let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            // What is below a name comes directly after it.
            lies_between(name) || is_below(least, name) || slashes.map(|(slash, _)| &name[..slash]).any(lies_between)
        })
    }
}

/// No place: the entry is not wanted.
const NOWHERE: u32 = u32::MAX;

/// The wanted entries.
pub(in crate::backup) struct Wanted {
    order: Order,
    /// `None` when all are wanted.
    some: Option<Part>,
}

struct Part {
    /// For each entry, the number of the entry under whose name it is made: its own, but for a file that is
    /// wanted only by the name of a hard link to it.
    made_as: Vec<u32>,
    /// The wanted entries by name, folders before what is in them.
    by_name: Vec<u32>,
}

impl Wanted {
    /// What `selection` means. `order` is that of the guard.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a path that selects nothing, [`ErrorKind::InvalidInput`] for one that leads
    /// outside.
    pub(in crate::backup) fn new(roll: &dyn Roll, order: Order, selection: &Selection) -> Result<Self> {
        let chosen = match selection {
            Selection::All => None,
            Selection::Paths(paths) => choose(roll, &order, paths)?,
        };
        let Some(chosen) = chosen else { return Ok(Self { order, some: None }) };
        let by_name: Vec<u32> = order.iter().copied().filter(|number| chosen[*number as usize]).collect();
        let mut made_as = vec![NOWHERE; roll.len() as usize];
        for &number in &by_name {
            made_as[number as usize] = number;
        }
        // A hard link without its file becomes the file; further links to it become links to the first.
        for &number in &by_name {
            if let Node::HardLink { target } = &roll.entry(number).node
                && let Some(file) = find(roll, &order, target.as_bytes())
                && made_as[file as usize] == NOWHERE
            {
                made_as[file as usize] = number;
            }
        }
        Ok(Self { order, some: Some(Part { made_as, by_name }) })
    }

    /// The wanted entries by name, folders before what is in them.
    pub(in crate::backup) fn by_name(&self) -> &[u32] {
        self.some.as_ref().map_or(&self.order, |some| &some.by_name)
    }

    /// The wanted entries in the order of the snapshot.
    pub(in crate::backup) fn by_number(&self) -> Vec<u32> {
        let mut numbers = self.by_name().to_vec();
        numbers.sort_unstable();
        numbers
    }

    /// Whether everything is wanted.
    pub(in crate::backup) fn is_all(&self) -> bool {
        self.some.is_none()
    }

    /// The entry under whose name the content of entry `number` is made, if it is wanted.
    pub(in crate::backup) fn made_as(&self, number: u32) -> Option<u32> {
        let Some(some) = &self.some else { return Some(number) };
        some.made_as.get(number as usize).copied().filter(|made| *made != NOWHERE)
    }

    /// The number of the file entry that hard links call `target`.
    pub(in crate::backup) fn file_called(&self, roll: &dyn Roll, target: &RelPath) -> Result<u32> {
        // The guard has found it before.
        find(roll, &self.order, target.as_bytes())
            .ok_or_else(|| Error::internal(format!("the hard link's target {target:?} has vanished from the index")))
    }

    /// The entries whose content is made, in the order of the snapshot.
    pub(in crate::backup) fn contents<'a>(&'a self, roll: &'a dyn Roll) -> impl Iterator<Item = u32> + 'a {
        (0..roll.len()).filter(|number| self.made_as(*number).is_some())
    }
}

/// Marks the entries at and below `paths`, and the folders above them. `None` when a path selects everything.
fn choose(roll: &dyn Roll, order: &Order, paths: &[PathBuf]) -> Result<Option<Vec<bool>>> {
    let name = |at: usize| order.get(at).map(|number| roll.path(*number));
    let mut chosen = vec![false; roll.len() as usize];
    for path in paths {
        let wanted = plain_path(path)?;
        let wanted = std::os::unix::ffi::OsStrExt::as_bytes(wanted.as_os_str());
        if wanted.is_empty() {
            return Ok(None);
        }
        let first = order.partition_point(|number| compare(&roll.path(*number), wanted).is_lt());
        let mut at = first;
        while name(at).is_some_and(|name| *name == *wanted || is_below(&name, wanted)) {
            chosen[order[at] as usize] = true;
            at += 1;
        }
        if at == first {
            return Err(Error::new(ErrorKind::NotFound, format!("the snapshot has no {path:?}"))
                .with_hint("name a path as the snapshot has it, relative to the service's root"));
        }
        for (slash, _) in wanted.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            if let Some(folder) = find(roll, order, &wanted[..slash]) {
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
