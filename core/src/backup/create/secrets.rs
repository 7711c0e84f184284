//! A backup without a key holds secrets only where the settings say so.

use super::super::discover::Contents;
use super::super::seal::secrets::is_secret_file;
use super::super::walk::FoundKind;
use super::CreateJob;
use crate::error::{Error, ErrorKind, Result};

/// How many files the error names.
const TOLD: usize = 5;

/// Refuses to store secrets in clear, unless `backup.clear_secrets` says that this is wanted.
pub(super) fn refuse_in_clear(job: &CreateJob, contents: &Contents) -> Result<()> {
    if job.keys.is_some() || job.settings.clear_secrets == Some(true) {
        return Ok(());
    }
    let mut found: Vec<String> = Vec::new();
    for entry in contents.ordinary.iter() {
        let entry = entry?;
        if entry.kind == FoundKind::File && is_secret_file(entry.path.as_path()) {
            found.push(entry.path.to_string());
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let mut names = found.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    if found.len() > TOLD {
        names.push_str(&format!(" and {} more", found.len() - TOLD));
    }
    Err(Error::new(
        ErrorKind::Refused,
        format!("there is no key to encrypt with, and these files hold secrets: {names}"),
    )
    .with_hint(
        "make a key with `uplifted-ops backup keys init`, or leave them out with backup.exclude, or set \
         clear_secrets = true under [backup] to store them in clear",
    ))
}
