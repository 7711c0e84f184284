//! Verifying an encrypted archive without opening it.

use std::sync::Arc;

use crate::backup::blocks::{Blocks, TargetBlocks, read_object};
use crate::backup::list::{blocking, no_key};
use crate::backup::meter::Meter;
use crate::backup::seal::{Keys, MAX_SUMMARY, SUMMARY_SUFFIX, SealedSummary};
use crate::backup::target::{BackupTarget, MAX_BLOCK, Object};
use crate::cancel::Scope;
use crate::error::{ErrorKind, Result};

/// Compares an encrypted archive with what its summary says: the number of its bytes, and with `whole` every one.
/// What is wrong comes as the kind of a problem and its message.
///
/// # Errors
/// [`ErrorKind::Denied`] without the key that proves the summary; what the target says.
pub(in crate::backup) async fn problem(
    scope: &Scope,
    target: &Arc<dyn BackupTarget>,
    object: &Object,
    keys: &Keys,
    whole: bool,
) -> Result<Option<(&'static str, String)>> {
    let key = object.key.clone();
    let keys = keys.as_ref().ok_or_else(|| no_key(&key))?;
    let read = read_object(scope, &**target, &format!("{key}{SUMMARY_SUFFIX}"), MAX_SUMMARY).await;
    let summary = match read.and_then(|bytes| SealedSummary::read(&bytes, keys, &key)) {
        Ok(summary) => summary,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("the summary of {key:?} is missing: pass identity_file to look inside");
            return Ok(Some(("damaged_summary", message)));
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            return Ok(Some(("damaged_summary", error.message().to_owned())));
        }
        Err(error) => return Err(error),
    };
    let (has, had) = (object.size_bytes, summary.stored_bytes);
    if has != had {
        return Ok(Some(("damaged_archive", format!("it has {has} bytes, and had {had}"))));
    }
    if !whole {
        return Ok(None);
    }
    let (blocks, inner) = (TargetBlocks::new(scope, Arc::clone(target), object.clone()), scope.clone());
    let digest = blocking(move || {
        let mut meter = Meter::start(&inner, format!("reading {key}"), Some(blocks.len()), None);
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < blocks.len() {
            let block = blocks.read(at..blocks.len().min(at + MAX_BLOCK as u64))?;
            hasher.update(&block);
            meter.bytes(block.len() as u64);
            at += block.len() as u64;
        }
        Ok(*hasher.finalize().as_bytes())
    });
    match digest.await {
        Ok(digest) if digest == summary.blake3.0 => Ok(None),
        Ok(_) => Ok(Some(("damaged_archive", "its bytes are not those that were stored".to_owned()))),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Some(("damaged_archive", error.message().to_owned()))),
        Err(error) => Err(error),
    }
}
