//! Snapshots with nothing in them, for tests of what lists and deletes.

use std::sync::{Arc, Mutex};

use super::archive::{ArchiveWriter, WriteOptions};
use super::list::archive_key;
use super::manifest::Manifest;
use super::target::BackupTarget;
use crate::cancel::Scope;

/// Puts a snapshot with this manifest and returns its key.
pub(crate) async fn put(target: &dyn BackupTarget, manifest: Manifest) -> String {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&bytes);
    let push = Box::new(move |part: &[u8]| {
        sink.lock().unwrap().extend_from_slice(part);
        Ok(())
    });
    let options = WriteOptions { threads: 1, ..WriteOptions::default() };
    let key = archive_key(&manifest.service, manifest.time, &manifest.snapshot_id, false);
    ArchiveWriter::new(&Scope::default(), options, push).unwrap().finish(manifest).unwrap();
    let bytes = bytes.lock().unwrap().clone();
    target.put(&Scope::default(), &key, &bytes, false).await.unwrap();
    key
}
