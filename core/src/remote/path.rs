//! Paths outside this process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A path as it leaves the process: text, or its bytes where it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WirePath(pub(crate) PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathForm {
    Text(String),
    Bytes(Vec<u8>),
}

impl Serialize for WirePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use std::os::unix::ffi::OsStrExt;
        match self.0.to_str() {
            Some(text) => PathForm::Text(text.to_owned()),
            None => PathForm::Bytes(self.0.as_os_str().as_bytes().to_vec()),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WirePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use std::os::unix::ffi::OsStringExt;
        Ok(Self(match PathForm::deserialize(deserializer)? {
            PathForm::Text(text) => PathBuf::from(text),
            PathForm::Bytes(bytes) => std::ffi::OsString::from_vec(bytes).into(),
        }))
    }
}
