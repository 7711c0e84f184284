//! Reads a configuration file without ever being the one who opens something else.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// The largest configuration file that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// The content of `path`, or `None` when there is no such file.
///
/// The kind and the size are looked at before it is opened: a FIFO would block, and a large file is no
/// configuration but possibly a database, which the host must not even open.
///
/// # Errors
/// [`ErrorKind::Refused`] when it is not a regular file of at most [`MAX_BYTES`].
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(format!("look at {path:?}"), error)),
    };
    if !meta.is_file() {
        return Err(Error::new(ErrorKind::Refused, format!("{path:?} is not a regular file"))
            .with_hint("put a regular file in its place"));
    }
    let mut bytes = Vec::new();
    if meta.len() <= MAX_BYTES {
        let file = std::fs::File::open(path).map_err(|error| Error::io(format!("open {path:?}"), error))?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| Error::io(format!("read {path:?}"), error))?;
    }
    if meta.len().max(bytes.len() as u64) > MAX_BYTES {
        return Err(Error::new(ErrorKind::Refused, format!("{path:?} is larger than 1 MiB"))
            .with_hint("name a configuration file, not data"));
    }
    Ok(Some(bytes))
}
