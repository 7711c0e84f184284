//! Which blobs a repository has, and in which pack each lies: the indexes of all packs, merged.
//!
//! A million blobs take 20 MB: a sorted table of ids, and a small map of what came since it was sorted.

use std::collections::HashMap;
use std::path::Path;

use super::{Take, put_counted};
use crate::backup::manifest::Digest;
use crate::backup::repository::header::NeededPack;
use crate::backup::repository::id::{BlobId, IdKey, PackId};
use crate::error::Result;
use crate::fs;

const MAGIC: &[u8; 8] = b"uopskn01";
/// How many new blobs are kept apart before they are sorted in.
const RECENT: usize = 64 << 10;
/// The length of the mac at the end.
const MAC: usize = 32;

/// Which blobs a repository has.
#[derive(Debug, Default)]
pub(crate) struct Known {
    packs: Vec<KnownPack>,
    /// Sorted by id.
    sorted: Vec<(BlobId, u32)>,
    recent: HashMap<BlobId, u32>,
    /// Whether it differs from its file.
    changed: bool,
}

/// A pack that the repository has, or had.
#[derive(Debug, Clone)]
pub(crate) struct KnownPack {
    pub(crate) pack: NeededPack,
    /// It is there, whole, and nobody has condemned it.
    pub(crate) usable: bool,
    /// The snapshot that is being made needs it.
    pub(crate) needed: bool,
}

impl Known {
    /// What the file says; nothing when it is not there or not whole.
    pub(crate) fn load(file: &Path, key: &IdKey) -> Self {
        let read = std::fs::read(file).ok();
        read.and_then(|bytes| Self::decode(&bytes, key)).unwrap_or_default()
    }

    fn decode(bytes: &[u8], key: &IdKey) -> Option<Self> {
        let (body, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC)?)?;
        if blake3::Hash::from(key.mac_of(body).0) != blake3::Hash::from_bytes(mac.try_into().ok()?) {
            return None;
        }
        let mut take = Take(body.strip_prefix(MAGIC)?);
        let mut known = Self::default();
        for _ in 0..take.u32()? {
            let (id, stored_bytes) = (PackId(take.array()?), take.u64()?);
            let (digest, fingerprint) = (Digest(take.array()?), std::str::from_utf8(take.counted()?).ok()?);
            let fingerprint = Some(fingerprint.to_owned()).filter(|text| !text.is_empty());
            let pack = NeededPack { id, stored_bytes, digest, fingerprint };
            known.packs.push(KnownPack { pack, usable: false, needed: false });
        }
        known.sorted.reserve_exact(take.0.len() / 20);
        while !take.0.is_empty() {
            let row = (BlobId(take.array()?), take.u32()?);
            let fits = (row.1 as usize) < known.packs.len() && known.sorted.last().is_none_or(|last| last.0 < row.0);
            if !fits {
                return None;
            }
            known.sorted.push(row);
        }
        Some(known)
    }

    /// Writes the file, unless it says the same already.
    pub(crate) fn save(&mut self, file: &Path, key: &IdKey) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        self.sort_in();
        let mut out = fs::AtomicFile::create(file, fs::PRIVATE_FILE)?;
        let mut mac = key.mac();
        let mut body = MAGIC.to_vec();
        body.extend_from_slice(&(self.packs.len() as u32).to_le_bytes());
        for KnownPack { pack, .. } in &self.packs {
            body.extend_from_slice(&pack.id.0);
            body.extend_from_slice(&pack.stored_bytes.to_le_bytes());
            body.extend_from_slice(&pack.digest.0);
            put_counted(&mut body, pack.fingerprint.as_deref().unwrap_or_default().as_bytes());
        }
        for rows in self.sorted.chunks(RECENT) {
            for (id, pack) in rows {
                body.extend_from_slice(&id.0);
                body.extend_from_slice(&pack.to_le_bytes());
            }
            mac.update(&body);
            out.out()?.write_all(&body)?;
            body.clear();
        }
        mac.update(&body);
        out.out()?.write_all(&body)?;
        out.out()?.write_all(mac.finalize().as_bytes())?;
        out.publish()?;
        self.changed = false;
        Ok(())
    }

    /// The packs, by number.
    pub(crate) fn packs(&self) -> &[KnownPack] {
        &self.packs
    }

    /// The packs, to say which are usable.
    pub(crate) fn packs_mut(&mut self) -> &mut [KnownPack] {
        &mut self.packs
    }

    /// Forgets the packs that `keep` refuses, and the blobs in them.
    pub(crate) fn retain_packs(&mut self, mut keep: impl FnMut(&NeededPack) -> bool) {
        self.sort_in();
        let mut numbers = Vec::with_capacity(self.packs.len());
        let mut kept = 0;
        self.packs.retain(|pack| {
            let stays = keep(&pack.pack);
            numbers.push(stays.then_some(kept));
            kept += u32::from(stays);
            stays
        });
        if kept as usize != numbers.len() {
            self.changed = true;
            self.sorted.retain_mut(|(_, pack)| match numbers[*pack as usize] {
                Some(number) => {
                    *pack = number;
                    true
                }
                None => false,
            });
        }
    }

    /// Adds a pack; its number.
    pub(crate) fn add_pack(&mut self, pack: NeededPack, usable: bool) -> u32 {
        self.changed = true;
        self.packs.push(KnownPack { pack, usable, needed: false });
        self.packs.len() as u32 - 1
    }

    /// Says that a blob lies in pack number `pack`. A blob that lies in a usable pack already stays there.
    pub(crate) fn insert(&mut self, id: BlobId, pack: u32) {
        if self.pack_of(&id).is_some() {
            return;
        }
        self.changed = true;
        self.recent.insert(id, pack);
        if self.recent.len() >= RECENT {
            self.sort_in();
        }
    }

    /// The number of the usable pack that has a blob.
    pub(crate) fn pack_of(&self, id: &BlobId) -> Option<u32> {
        let row = || self.sorted.binary_search_by(|row| row.0.cmp(id)).ok().map(|at| self.sorted[at].1);
        let usable = |pack: &u32| self.packs[*pack as usize].usable;
        self.recent.get(id).copied().filter(usable).or_else(|| row().filter(usable))
    }

    /// Whether the repository has all of these; if so the snapshot needs their packs.
    pub(crate) fn need_all(&mut self, ids: &[BlobId]) -> bool {
        if !self.has_all(ids) {
            return false;
        }
        for id in ids {
            self.need(id);
        }
        true
    }

    /// Whether the repository has all of these.
    pub(crate) fn has_all(&self, ids: &[BlobId]) -> bool {
        ids.iter().all(|id| self.pack_of(id).is_some())
    }

    /// Whether the repository has a blob; if so the snapshot needs its pack.
    pub(crate) fn need(&mut self, id: &BlobId) -> bool {
        match self.pack_of(id) {
            Some(pack) => {
                self.packs[pack as usize].needed = true;
                true
            }
            None => false,
        }
    }

    fn sort_in(&mut self) {
        if self.recent.is_empty() {
            return;
        }
        let mut new: Vec<(BlobId, u32)> = self.recent.drain().collect();
        new.sort_unstable();
        // From the end, so that it needs no second table. What is there twice, a blob of a pack that is not usable,
        // gives way to the new one.
        let before = self.sorted.len();
        self.sorted.retain(|row| new.binary_search_by(|other| other.0.cmp(&row.0)).is_err());
        debug_assert!(self.sorted.len() <= before);
        let (mut from, mut to) = (self.sorted.len(), self.sorted.len() + new.len());
        // A table that doubles would be half empty, and the largest thing in memory.
        if self.sorted.capacity() < to {
            self.sorted.reserve_exact(new.len() + from / 8);
        }
        self.sorted.resize(to, (BlobId([0; 16]), 0));
        while let Some(last) = new.last() {
            to -= 1;
            if from > 0 && self.sorted[from - 1].0 > last.0 {
                from -= 1;
                self.sorted[to] = self.sorted[from];
            } else {
                self.sorted[to] = *last;
                new.pop();
            }
        }
    }

    /// How many blobs it knows, of packs in whatever state.
    pub(crate) fn len(&self) -> usize {
        self.sorted.len() + self.recent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    fn pack(number: u8) -> NeededPack {
        let fingerprint = (number % 2 == 1).then(|| "ab".to_owned());
        NeededPack { id: PackId([number; 16]), stored_bytes: 7, digest: Digest([number; 32]), fingerprint }
    }

    fn blob(number: u64) -> BlobId {
        BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().unwrap())
    }

    #[test]
    fn it_is_a_map_that_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("known"), IdKey::new([1; 32]));
        let mut known = Known::load(&file, &key);
        assert_eq!(known.len(), 0);
        for number in 0..4 {
            known.add_pack(pack(number), true);
        }
        for number in 0..200_000 {
            known.insert(blob(number), (number % 4) as u32);
            known.insert(blob(number), 3);
        }
        assert_eq!(known.len(), 200_000);
        known.save(&file, &key).unwrap();
        let mut again = Known::load(&file, &key);
        assert_eq!(again.pack_of(&blob(5)), None, "nobody has looked whether the packs are there");
        again.packs_mut().iter_mut().for_each(|pack| pack.usable = true);
        assert_eq!((again.len(), again.packs()[1].pack.clone()), (200_000, pack(1)));
        for number in 0..200_000 {
            assert_eq!(again.pack_of(&blob(number)), Some((number % 4) as u32));
        }
        assert_eq!(again.pack_of(&blob(200_000)), None);
        // A pack goes, another is condemned: their blobs are unknown, and may come again.
        again.retain_packs(|pack| pack.id.0[0] != 0);
        assert_eq!((again.len(), again.pack_of(&blob(0)), again.pack_of(&blob(3))), (150_000, None, Some(2)));
        again.packs_mut()[0].usable = false;
        assert_eq!(again.pack_of(&blob(1)), None);
        let new = again.add_pack(pack(9), true);
        again.insert(blob(1), new);
        again.insert(blob(2), new);
        again.sort_in();
        assert_eq!((again.pack_of(&blob(1)), again.pack_of(&blob(2))), (Some(new), Some(1)));
        assert!(again.need_all(&[blob(1), blob(3)]) && !again.need_all(&[blob(2), blob(5)]));
        let needed: Vec<bool> = again.packs().iter().map(|pack| pack.needed).collect();
        assert_eq!(needed, [false, false, true, true]);
    }

    #[test]
    fn a_damaged_file_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("known"), IdKey::new([1; 32]));
        let mut known = Known::default();
        known.add_pack(pack(1), true);
        known.insert(blob(1), 0);
        known.save(&file, &key).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        assert!(Known::decode(&bytes, &key).is_some());
        assert!(Known::decode(&bytes, &IdKey::new([2; 32])).is_none());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Known::decode(&changed, &key).is_none() && Known::decode(&bytes[..at], &key).is_none());
        }
        let mut random = random::seeded("known");
        for len in 0..100 {
            // Authentic nonsense is still nonsense.
            let mut body = MAGIC.to_vec();
            body.extend(random::bytes(&mut random, len));
            body.extend_from_slice(&key.mac_of(&body).0);
            Known::decode(&body, &key);
        }
    }
}
