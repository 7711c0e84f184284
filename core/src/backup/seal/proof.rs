//! Proving that keys open what lies in a target, whatever its layout.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fingerprint, KeyRing};
use crate::backup::blocks::{Blocks, TargetBlocks};
use crate::backup::list::{Found, blocking};
use crate::backup::repository::header::NeededPack;
use crate::backup::repository::names;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// What is read of an object to prove that it can be opened, in bytes.
const FIRST_BYTES: u64 = 64 << 10;

/// Opens an encrypted archive; of a snapshot in a repository one pack for each key that its packs are encrypted to. Of each
/// its header is read, its first bytes and its end.
///
/// # Errors
/// [`ErrorKind::Denied`] and [`ErrorKind::InvalidInput`] with the key that is needed, [`ErrorKind::Corrupt`] for an object that is
/// damaged or missing, and those of the target.
pub(crate) async fn prove_opens(scope: &Scope, copy: &Found, keys: &Arc<KeyRing>) -> Result<()> {
    let mut objects = Vec::new();
    if copy.in_repository() {
        let (inner, opening) = (scope.clone(), copy.clone());
        let header = blocking(move || opening.repository(&inner)?.header(&opening.object.key)).await?.0;
        for (fingerprint, pack) in one_of_each(header.packs) {
            let key = names::pack(pack.id, true);
            let object = copy.component.stat(scope, &key).await?;
            let object = object.ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("snapshot {} needs {key:?}, which is missing", copy.snapshot_id))
                    .with_hint("`uplifted-ops backup verify` says what else is damaged, and what can be restored")
            })?;
            objects.push((TargetBlocks::new(scope, Arc::clone(&copy.component), object), Some(fingerprint)));
        }
    } else {
        objects.push((copy.blocks(scope), copy.listed.as_ref().and_then(|listed| listed.encrypted_to.clone())));
    }
    let keys = Arc::clone(keys);
    blocking(move || {
        for (blocks, sealed_to) in objects {
            let opener = keys.open(Arc::new(blocks), sealed_to.as_ref())?;
            opener.read(0..FIRST_BYTES)?;
            opener.prove_end()?;
        }
        Ok(())
    })
    .await
}

/// For each key the first pack that is encrypted to it.
fn one_of_each(packs: Vec<NeededPack>) -> BTreeMap<Fingerprint, NeededPack> {
    let mut of_each = BTreeMap::new();
    for pack in packs {
        if let Some(fingerprint) = pack.fingerprint.as_deref().and_then(|fingerprint| fingerprint.parse().ok()) {
            of_each.entry(fingerprint).or_insert(pack);
        }
    }
    of_each
}
