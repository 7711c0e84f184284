//! What stands for the keys in a build without the feature `encryption`: nothing of it exists, so that whoever
//! has an `Option` of it has none.

use std::ops::Range;
use std::sync::Arc;

use super::{Fingerprint, IdKey, Sealed, Sink};
use crate::backup::blocks::Blocks;
use crate::backup::create::NamedTarget;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// What is said where a key would be needed.
pub(crate) fn unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "this build has no encryption")
        .with_hint("use a build with the feature `encryption`: the packages of PyPI and npm have it")
}

/// No key ring.
#[derive(Debug)]
pub enum KeyRing {}

/// Nothing that encrypts.
#[derive(Debug)]
pub enum Sealer {}

/// Nothing that opens.
#[derive(Debug)]
pub enum Opener {}

/// Nothing that opens a stream.
#[derive(Debug)]
pub enum Unsealer {}

#[allow(missing_docs, reason = "as the ones that exist")]
impl KeyRing {
    pub fn repository(&self) -> &str {
        match *self {}
    }
    pub fn id_key(&self) -> &IdKey {
        match *self {}
    }
    pub fn fingerprint(&self) -> Fingerprint {
        match *self {}
    }
    pub fn opens(&self, _: &Fingerprint) -> bool {
        match *self {}
    }
    pub fn has_identity(&self) -> bool {
        match *self {}
    }
    pub fn sealer(&self, _: Sink) -> Result<Sealer> {
        match *self {}
    }
    pub fn open(&self, _: Arc<dyn Blocks>, _: Option<&Fingerprint>) -> Result<Opener> {
        match *self {}
    }
    pub fn unsealer(&self, _: u64) -> Unsealer {
        match *self {}
    }
    pub async fn provide(&self, _: &Scope, _: &Fingerprint, _: &NamedTarget, _: &[NamedTarget]) -> Result<()> {
        match *self {}
    }
}

#[allow(missing_docs, reason = "as the one that exists")]
impl Sealer {
    pub fn write(&mut self, _: &[u8]) -> Result<()> {
        match *self {}
    }
    pub fn finish(self) -> Result<Sealed> {
        match self {}
    }
}

#[allow(missing_docs, reason = "as the one that exists")]
impl Unsealer {
    pub fn push(&mut self, _: &[u8], _: impl FnMut(&[u8])) -> Result<()> {
        match *self {}
    }
    pub fn finish(self) -> Result<()> {
        match self {}
    }
}

impl Blocks for Opener {
    fn len(&self) -> u64 {
        match *self {}
    }
    fn read(&self, _: Range<u64>) -> Result<Vec<u8>> {
        match *self {}
    }
}
