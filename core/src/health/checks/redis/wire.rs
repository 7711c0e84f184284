//! As much of the protocol of Redis as a question needs: a command out, a reply in.
//!
//! Source: the RESP2 specification (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use std::io::{self, BufRead, BufReader, Read, Write};

/// The longest text of a reply: `INFO` has a few KiB.
const MAX_BULK: usize = 1 << 20;
/// The longest line.
const MAX_LINE: u64 = 64 * 1024;

/// What a server answers to the commands that we send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Text, or a number as text. `None` is nothing.
    Text(Option<String>),
    /// `NOAUTH Authentication required.`
    Refused(String),
}

/// A connection.
pub(super) struct Wire<S: Read + Write>(BufReader<S>);

impl<S: Read + Write> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    /// Sends a command, and reads the reply.
    ///
    /// # Errors
    /// Of the connection; `InvalidData` for what is no reply of Redis.
    pub(super) fn ask(&mut self, command: &[&str]) -> io::Result<Reply> {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        let stream = self.0.get_mut();
        stream.write_all(&bytes)?;
        stream.flush()?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(no_redis)?;
        match kind {
            "+" | ":" => Ok(Reply::Text(Some(rest.to_owned()))),
            "-" => Ok(Reply::Refused(rest.to_owned())),
            "$" if rest == "-1" => Ok(Reply::Text(None)),
            "$" => {
                let length: usize = rest.parse().ok().filter(|length| *length <= MAX_BULK).ok_or_else(no_redis)?;
                let mut bytes = vec![0; length + 2];
                self.0.read_exact(&mut bytes)?;
                if bytes.split_off(length) != b"\r\n" {
                    return Err(no_redis());
                }
                Ok(Reply::Text(Some(String::from_utf8_lossy(&bytes).into_owned())))
            }
            _ => Err(no_redis()),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.0.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = bytes.strip_suffix(b"\r\n").ok_or_else(no_redis)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

fn no_redis() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answers is no Redis")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads from one, writes to the other.
    struct Both<'a>(&'a [u8], Vec<u8>);

    impl Read for Both<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            // Byte by byte, as a network may bring it.
            let most = buf.len().min(1);
            self.0.read(&mut buf[..most])
        }
    }

    impl Write for Both<'_> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1.write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn replies_are_read_and_what_is_none_is_refused() {
        let text = |text: &str| Ok(Reply::Text(Some(text.to_owned())));
        for (bytes, expected) in [
            ("+PONG\r\n", text("PONG")),
            (":7\r\n", text("7")),
            ("$4\r\na\r\nb\r\n", text("a\r\nb")),
            ("$0\r\n\r\n", text("")),
            ("$-1\r\n", Ok(Reply::Text(None))),
            ("-NOAUTH x\r\n", Ok(Reply::Refused("NOAUTH x".to_owned()))),
            ("", Err(io::ErrorKind::UnexpectedEof)),
            ("$5\r\nab", Err(io::ErrorKind::UnexpectedEof)),
            ("$99999999999\r\n", Err(io::ErrorKind::InvalidData)),
            ("$2\r\nabcd", Err(io::ErrorKind::InvalidData)),
            ("HTTP/1.1 400 Bad Request\r\n", Err(io::ErrorKind::InvalidData)),
            ("\r\n", Err(io::ErrorKind::InvalidData)),
            ("é", Err(io::ErrorKind::InvalidData)),
        ] {
            let mut wire = Wire::new(Both(bytes.as_bytes(), Vec::new()));
            assert_eq!(wire.ask(&["PING", ""]).map_err(|error| error.kind()), expected, "{bytes:?}");
            assert_eq!(wire.0.get_ref().1, b"*2\r\n$4\r\nPING\r\n$0\r\n\r\n");
        }
        let endless = "+".repeat(200_000);
        assert!(Wire::new(Both(endless.as_bytes(), Vec::new())).ask(&["PING"]).is_err());
    }
}
