//! Frames: the length of the head, the length of the body, both little-endian `u32`, then the head (JSON)
//! and the body (bytes).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::backup::target::MAX_BLOCK;
use crate::error::{Error, ErrorKind, Result};

/// The longest head: 16 MiB. A longer answer is refused by whoever makes it.
pub(super) const MAX_HEAD: usize = 16 * 1024 * 1024;

const PREFIX: usize = 8;

/// A frame ready to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The prefix and the head.
    start: Vec<u8>,
    body: Vec<u8>,
}

impl Frame {
    /// Puts a head and a body together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when either is larger than the protocol allows.
    pub(super) fn new(head: &impl serde::Serialize, body: Vec<u8>) -> Result<Self> {
        let mut start = vec![0; PREFIX];
        serde_json::to_writer(&mut start, head)
            .map_err(|error| Error::internal(format!("a message to the other process is not JSON: {error}")))?;
        let head_len = start.len() - PREFIX;
        if head_len > MAX_HEAD {
            return Err(too_large("message", head_len, MAX_HEAD));
        }
        if body.len() > MAX_BLOCK {
            return Err(too_large("block", body.len(), MAX_BLOCK));
        }
        // Both fit: the limits are far below u32::MAX.
        start[..4].copy_from_slice(&(head_len as u32).to_le_bytes());
        start[4..PREFIX].copy_from_slice(&(body.len() as u32).to_le_bytes());
        Ok(Self { start, body })
    }

    /// Writes it out.
    pub(super) async fn write(&self, writer: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        writer.write_all(&self.start).await?;
        writer.write_all(&self.body).await?;
        writer.flush().await
    }
}

fn too_large(what: &str, len: usize, limit: usize) -> Error {
    Error::invalid(format!("a {what} of {len} bytes does not fit between the processes: {limit} is the limit"))
        .with_hint("ask for less at once")
}

/// Reads one frame; `None` when the other side ended between two of them.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for what is not a frame, or is cut short.
pub(super) async fn read(reader: &mut (impl AsyncRead + Unpin), max_head: usize) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut prefix = [0_u8; PREFIX];
    let mut have = 0;
    while have < PREFIX {
        match reader.read(&mut prefix[have..]).await {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(cut_short()),
            Ok(count) => have += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read from the other process", error)),
        }
    }
    let [a, b, c, d, e, f, g, h] = prefix;
    let head_len = u32::from_le_bytes([a, b, c, d]) as usize;
    let body_len = u32::from_le_bytes([e, f, g, h]) as usize;
    if head_len < 2 || head_len > max_head || body_len > MAX_BLOCK {
        let shown = String::from_utf8_lossy(&prefix).into_owned();
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the other process sent what is not a frame: it begins with {shown:?}"),
        ));
    }
    let head = read_exactly(reader, head_len).await?;
    let body = read_exactly(reader, body_len).await?;
    Ok(Some((head, body)))
}

async fn read_exactly(reader: &mut (impl AsyncRead + Unpin), len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    let count = reader
        .take(len as u64)
        .read_to_end(&mut bytes)
        .await
        .map_err(|e| Error::io("read from the other process", e))?;
    if count == len { Ok(bytes) } else { Err(cut_short()) }
}

fn cut_short() -> Error {
    Error::new(ErrorKind::Corrupt, "the other process ended in the middle of a frame")
}
