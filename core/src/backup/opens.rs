//! Whether the keys at hand open an encrypted snapshot, proven without reading all of it.

use std::collections::BTreeSet;

use super::blocks::{Blocks, TargetBlocks};
use super::list::{Found, blocking};
use super::nodes::Limits;
use super::repository::open::Repository;
use super::repository::snapshot::Snapshot;
use crate::cancel::Scope;
use crate::error::Result;

/// What is read of each stream, in bytes.
const FIRST_BYTES: u64 = 64 << 10;

impl Found {
    /// Proves that the keys at hand open it. Of an archive: its header, its first bytes, its end. Of a snapshot in a
    /// repository: its manifest and its tree, and for each key that its packs are encrypted to the same of one pack.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) without a key, [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) with another one: both
    /// name what is needed; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for what is damaged; what the target says.
    pub async fn prove_opens(&self, scope: &Scope) -> Result<()> {
        let (copy, scope, blocks) = (self.clone(), scope.clone(), self.blocks(scope));
        blocking(move || match copy.in_repository() {
            true => in_repository(&scope, &copy.repository(&scope)?, &copy.object.key),
            false => archive(&copy, blocks),
        })
        .await
    }
}

fn archive(copy: &Found, blocks: TargetBlocks) -> Result<()> {
    whole(&*copy.open(blocks)?)
}

fn in_repository(scope: &Scope, repository: &Repository, key: &str) -> Result<()> {
    let (header, _) = repository.header(key)?;
    let mut proven = BTreeSet::new();
    for pack in header.packs.iter().filter(|pack| proven.insert(pack.fingerprint.clone())) {
        whole(&*repository.pack(pack)?)?;
    }
    Snapshot::open(scope, repository, header, Limits::default().max_entries).map(drop)
}

/// The first bytes, and the last: a stream that was cut does not have it.
fn whole(blocks: &dyn Blocks) -> Result<()> {
    blocks.read(0..FIRST_BYTES)?;
    blocks.read(blocks.len().saturating_sub(1)..blocks.len()).map(drop)
}
