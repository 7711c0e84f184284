//! One request and one answer of HTTP/1.1 over a Unix socket (RFC 9112), as much of it as our own server speaks.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::fs::SocketName;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// `false` where the header `uplifted-ops-healthy` says so.
    pub(super) healthy: bool,
    pub(super) body: Vec<u8>,
    /// The process that listens there.
    pub(super) pid: Option<u32>,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Broken {
    /// There is no socket.
    Absent,
    /// There is one, and nobody listens on it.
    Unheard,
    /// Somebody listens, and does not answer in time.
    Silent(Option<u32>),
    /// Something else: what the system says, or an answer that is none.
    Cut(String),
}

/// Asks once, and waits for `patience`, or for as long as it takes.
pub(super) async fn exchange(
    socket: &Path,
    method: &str,
    path: &str,
    body: &str,
    patience: Option<Duration>,
) -> Result<Reply, Broken> {
    let name = SocketName::of(socket).map_err(|error| match socket.parent().is_some_and(Path::exists) {
        true => Broken::Cut(error.to_string()),
        false => Broken::Absent,
    })?;
    let stream = UnixStream::connect(name.as_path()).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Broken::Absent,
        io::ErrorKind::ConnectionRefused => Broken::Unheard,
        // So many wait already that it must have stopped accepting.
        io::ErrorKind::WouldBlock => Broken::Silent(None),
        _ => Broken::Cut(error.to_string()),
    })?;
    let pid = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let talk = talk(stream, request.as_bytes());
    let said = match patience {
        Some(patience) => tokio::time::timeout(patience, talk).await.map_err(|_| Broken::Silent(pid))?,
        None => talk.await,
    };
    let bytes = said.map_err(|error| Broken::Cut(error.to_string()))?;
    parse(bytes, pid).ok_or_else(|| Broken::Cut("the answer was cut off, or is none of HTTP".to_owned()))
}

/// Sends, and reads until the other end hangs up.
async fn talk(mut stream: UnixStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The answer in `bytes`, if it is whole. Our server gives every answer its length.
fn parse(mut bytes: Vec<u8>, pid: Option<u32>) -> Option<Reply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let (mut healthy, mut length) = (true, None);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "uplifted-ops-healthy" => healthy = value.trim() != "false",
            "content-length" => length = Some(value.trim().parse::<usize>().ok()?),
            _ => {}
        }
    }
    let body = bytes.split_off(end);
    (length? == body.len()).then_some(Reply { status, healthy, body, pid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_is_one() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nUplifted-Ops-Healthy: false\r\n\r\n{}";
        let reply = parse(whole.into(), Some(7)).unwrap();
        assert_eq!((reply.status, reply.healthy, reply.body.as_slice(), reply.pid), (200, false, &b"{}"[..], Some(7)));
        for length in 0..whole.len() {
            assert!(parse(whole[..length].into(), None).is_none(), "{length}");
        }
        for wrong in ["HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
            assert!(parse(wrong.into(), None).is_none(), "{wrong}");
        }
    }
}
