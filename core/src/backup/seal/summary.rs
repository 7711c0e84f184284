//! What an encrypted archive shows without being opened: a small object beside it, authenticated with the id key.
//!
//! It is put before the archive becomes visible, and never needed for a restore. `FORMAT.md`, in the folder above,
//! describes its bytes.

use super::{Fingerprint, KeyRing};
use crate::backup::archive::Summary;
use crate::backup::manifest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::value::{hex, unhex};

/// How its key ends, behind the archive's.
pub const SUMMARY_SUFFIX: &str = ".summary";
/// The largest that is read, in bytes.
pub const MAX_SUMMARY: u64 = 64 << 10;

const FIRST_LINE: &str = "uplifted-ops archive-summary ";
const VERSION: u32 = 1;
const CONTEXT: &str = "uplifted-ops archive 1 summary";

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSummary {
    /// What a list shows.
    pub summary: Summary,
    /// The key that the archive is encrypted to.
    pub encrypted_to: Fingerprint,
    /// Bytes of the archive as it is stored.
    pub stored_bytes: u64,
    /// The BLAKE3 of the archive as it is stored.
    pub blake3: Digest,
}

impl SealedSummary {
    /// The object for the archive under `key`.
    ///
    /// # Errors
    /// None that can happen: the summary is JSON.
    pub fn write(&self, keys: &KeyRing, key: &str) -> Result<Vec<u8>> {
        let summary = serde_json::to_string(&self.summary)
            .map_err(|error| Error::internal(format!("the summary cannot be written: {error}")))?;
        let mut text = format!(
            "{FIRST_LINE}{VERSION}\nrepository {}\narchive {key}\nkey {}\nstored {} {}\nsummary {summary}\n",
            keys.repository(),
            self.encrypted_to,
            self.stored_bytes,
            hex(&self.blake3.0),
        );
        let mac = keys.id_key().subkey(CONTEXT).digest(text.as_bytes());
        text.push_str(&format!("mac {}\n", hex(&mac.0)));
        Ok(text.into_bytes())
    }

    /// Reads the object that lies beside the archive under `key`, and proves it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is damaged, made without the id key, or another archive's;
    /// [`ErrorKind::Denied`] when it is of a repository whose keys are not at hand; [`ErrorKind::Unsupported`] for a
    /// later version.
    pub fn read(bytes: &[u8], keys: &KeyRing, key: &str) -> Result<Self> {
        let damaged = |what: &str| {
            Error::new(ErrorKind::Corrupt, format!("the summary of {key:?} {what}"))
                .with_hint("look into the archive itself: pass identity_file")
        };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is no text"))?;
        let mut lines = text.split_inclusive('\n');
        let mut line = |word: &str| {
            let line = lines.next().and_then(|line| line.strip_suffix('\n')).and_then(|line| line.strip_prefix(word));
            line.ok_or_else(|| damaged("is damaged"))
        };
        let version: u32 = line(FIRST_LINE)?.parse().map_err(|_| damaged("is damaged"))?;
        if version > VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the summary of {key:?} has version {version}, and this build reads version {VERSION}"),
            )
            .with_hint("use a later uplifted-ops"));
        }
        let repository = line("repository ")?;
        if repository != keys.repository() {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("{key:?} is of repository {repository:?}, and the keys at hand are of {}", keys.repository()),
            )
            .with_hint("pass identity_file: an identity that opens a key of that repository"));
        }
        let (archive, fingerprint) = (line("archive ")?, line("key ")?);
        let (stored, digest) = line("stored ")?.split_once(' ').ok_or_else(|| damaged("is damaged"))?;
        let summary = line("summary ")?;
        let mac = digest_of(line("mac ")?).ok_or_else(|| damaged("is damaged"))?;
        let before = text.rfind("mac ").unwrap_or(0);
        if !keys.id_key().subkey(CONTEXT).is_mac_of(&bytes[..before], &mac) || lines.next().is_some() {
            return Err(damaged("was not made by this repository's host, or was changed"));
        }
        if archive != key {
            return Err(damaged(&format!("is that of {archive:?}")));
        }
        Ok(Self {
            summary: serde_json::from_str(summary).map_err(|_| damaged("is damaged"))?,
            encrypted_to: fingerprint.parse()?,
            stored_bytes: stored.parse().map_err(|_| damaged("is damaged"))?,
            blake3: digest_of(digest).ok_or_else(|| damaged("is damaged"))?,
        })
    }
}

fn digest_of(text: &str) -> Option<Digest> {
    unhex(text)?.try_into().ok().map(Digest)
}
