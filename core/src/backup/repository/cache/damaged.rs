//! Packs that are damaged although they look as they did, so that the next run stores anew what lies in them.
//!
//! A run knows a pack by its name and its length, and does not read it. One that a disk has damaged in place would go on
//! being used: every later snapshot would lack the same bytes. Whoever has read packs notes here what he found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Take;
use crate::backup::repository::id::{IdKey, PackId};
use crate::error::Result;
use crate::fs;

const MAGIC: &[u8; 8] = b"uopsdp01";

/// The packs of a repository in one target that nobody should use.
#[derive(Debug)]
pub(crate) struct DamagedPacks {
    file: PathBuf,
    key: IdKey,
    packs: BTreeSet<PackId>,
}

impl DamagedPacks {
    /// What the file says; nothing when it is not there or not whole.
    pub(crate) fn load(file: &Path, key: &IdKey) -> Self {
        let mut packs = BTreeSet::new();
        let body = super::read_small(file, MAGIC, key).unwrap_or_default();
        let mut take = Take(&body);
        while let Some(id) = take.array() {
            packs.insert(PackId(id));
        }
        Self { file: file.to_owned(), key: key.clone(), packs }
    }

    /// Whether a pack was found damaged.
    pub(crate) fn has(&self, pack: &PackId) -> bool {
        self.packs.contains(pack)
    }

    /// Notes that the packs `read` were read, and that the `damaged` are: one that is whole again is used again.
    pub(crate) fn note(mut self, read: &[PackId], damaged: &[PackId]) -> Result<()> {
        let before = self.packs.clone();
        self.packs.retain(|pack| !read.contains(pack));
        self.packs.extend(damaged);
        if self.packs == before {
            return Ok(());
        }
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder, fs::PRIVATE_DIR)?;
        }
        let body: Vec<u8> = self.packs.iter().flat_map(|pack| pack.0).collect();
        super::write_small(&self.file, MAGIC, &body, &self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_kept_until_it_is_found_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("cache/damaged"), IdKey::new([7; 32]));
        let [a, b, c] = [1, 2, 3].map(|number| PackId([number; 16]));
        let load = || DamagedPacks::load(&file, &key);
        load().note(&[a, b], &[]).unwrap();
        assert!(!file.exists(), "nothing to say");
        load().note(&[a, b], &[a]).unwrap();
        load().note(&[c], &[c]).unwrap();
        assert_eq!([a, b, c].map(|pack| load().has(&pack)), [true, false, true]);
        load().note(&[a, b], &[b]).unwrap();
        assert_eq!([a, b, c].map(|pack| load().has(&pack)), [false, true, true]);
        assert!(!DamagedPacks::load(&file, &IdKey::new([8; 32])).has(&b));
    }
}
