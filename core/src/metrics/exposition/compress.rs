//! gzip, for those who ask for it.

use std::io::Write;

use crate::error::{Error, Result};

/// Compresses with gzip, quickly rather than small: a page goes a short way.
///
/// # Errors
/// None that is known: memory takes every byte.
pub fn gzip(page: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(page.len() / 8), flate2::Compression::fast());
    let packed = encoder.write_all(page).and_then(|()| encoder.finish());
    packed.map_err(|error| Error::internal(format!("a page could not be compressed: {error}")))
}
