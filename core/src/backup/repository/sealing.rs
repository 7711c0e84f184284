//! What packs are encrypted with on their way out.

use std::fmt::Debug;

use crate::error::Result;

/// Encrypts packs, or leaves them in clear.
pub(crate) trait Sealing: Send + Sync + Debug {
    /// The fingerprint of the key that packs are encrypted to; `None` in clear.
    fn fingerprint(&self) -> Option<String>;

    /// Starts a pack.
    fn begin(&self) -> Result<Box<dyn SealStream>>;
}

/// A pack that is being encrypted.
pub(crate) trait SealStream: Send {
    /// Takes the next bytes, and appends what may be stored by now.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()>;

    /// Appends the rest.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()>;
}

/// Leaves packs in clear.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clear;

impl Sealing for Clear {
    fn fingerprint(&self) -> Option<String> {
        None
    }

    fn begin(&self) -> Result<Box<dyn SealStream>> {
        Ok(Box::new(Self))
    }
}

impl SealStream for Clear {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}
