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
    let is_secret = |path: &&super::super::manifest::RelPath| is_secret_file(path.as_path());
    let files = contents.ordinary.iter().filter(|found| found.kind == FoundKind::File).map(|found| &found.path);
    let found: Vec<String> = files.filter(is_secret).map(|path| path.as_path().display().to_string()).collect();
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
