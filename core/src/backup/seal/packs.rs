//! The keys of a run as a repository uses them.

use std::sync::{Arc, Mutex, PoisonError};

use super::ring::KeyRing;
use super::stream::Sealer;
use crate::backup::blocks::Blocks;
use crate::backup::repository::id::{IdKey, RepositoryId};
use crate::backup::repository::keyring::Keyring;
use crate::backup::repository::sealing::{SealStream, Sealing};
use crate::error::{Error, ErrorKind, Result};

impl Keyring for KeyRing {
    fn id_key(&self, repository: RepositoryId) -> Result<IdKey> {
        if repository.to_string() != self.repository() {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("the keys at hand are of repository {}, not of {repository}", self.repository()),
            )
            .with_hint("pass identity_file: an identity that opens a key of that repository"));
        }
        Ok(IdKey::new(*Self::id_key(self).reveal()))
    }

    fn opens(&self, fingerprint: &str) -> bool {
        fingerprint.parse().is_ok_and(|fingerprint| Self::opens(self, &fingerprint))
    }

    fn open(&self, fingerprint: &str, sealed: Arc<dyn Blocks>) -> Result<Arc<dyn Blocks>> {
        let sealed_to = fingerprint.parse().ok();
        Ok(Arc::new(Self::open(self, sealed, sealed_to.as_ref())?))
    }
}

impl Sealing for KeyRing {
    fn fingerprint(&self) -> Option<String> {
        Some(Self::fingerprint(self).into())
    }

    fn begin(&self) -> Result<Box<dyn SealStream>> {
        let gathered = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&gathered);
        let push = move |bytes: &[u8]| {
            sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(())
        };
        Ok(Box::new(SealedPack { sealer: Some(self.sealer(Box::new(push))?), gathered }))
    }
}

/// A pack that is being encrypted.
struct SealedPack {
    /// Until its end.
    sealer: Option<Sealer>,
    /// What was encrypted, and not handed on yet.
    gathered: Arc<Mutex<Vec<u8>>>,
}

impl SealedPack {
    fn hand_on(&self, out: &mut Vec<u8>) {
        out.append(&mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl SealStream for SealedPack {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let sealer = self.sealer.as_mut().ok_or_else(|| Error::internal("a pack was written to after its end"))?;
        sealer.write(bytes)?;
        self.hand_on(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let sealer = self.sealer.take().ok_or_else(|| Error::internal("a pack was ended twice"))?;
        sealer.finish()?;
        self.hand_on(out);
        Ok(())
    }
}
