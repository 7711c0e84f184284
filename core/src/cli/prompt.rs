//! Asking on the terminal and reading a request from stdin, both given up when the caller cancels.

use std::io::{self, BufRead, Read};

use super::terminal::Terminal;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};

/// A request on stdin is no larger than this.
const MAX_REQUEST: u64 = 16 << 20;

/// Asks a question that is answered with `y` or `yes`; everything else, the end of the input included, is no.
pub(super) async fn confirm(terminal: &mut Terminal, question: &str, cancel: &Cancel) -> Result<bool> {
    // Without a line feed: the answer is typed behind it.
    let _ = terminal.stderr.write_all(format!("{question} [y/N] ").as_bytes());
    let _ = terminal.stderr.flush();
    let line = blocking(terminal, cancel, |stdin| {
        let mut line = String::new();
        // An answer is short; a flood is none.
        stdin.take(1024).read_line(&mut line).map(|_| line)
    })
    .await?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// All of stdin as text.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] past 16 MiB, or when it is not UTF-8.
pub(super) async fn read_all(terminal: &mut Terminal, cancel: &Cancel) -> Result<String> {
    let bytes = blocking(terminal, cancel, |stdin| {
        let mut bytes = Vec::new();
        stdin.take(MAX_REQUEST + 1).read_to_end(&mut bytes).map(|_| bytes)
    })
    .await?;
    if bytes.len() as u64 > MAX_REQUEST {
        return Err(Error::invalid("the request on stdin is larger than 16.0 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("the request on stdin is not UTF-8"))
}

/// Runs `read` on a thread of its own, since a read of a terminal cannot be interrupted. After a cancel the
/// thread is left behind with stdin: nobody reads it again.
async fn blocking<T: Send + 'static>(
    terminal: &mut Terminal,
    cancel: &Cancel,
    read: impl FnOnce(&mut (dyn BufRead + Send)) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let mut stdin = std::mem::replace(&mut terminal.stdin, Box::new(io::empty()));
    let reading = tokio::task::spawn_blocking(move || {
        let done = read(stdin.as_mut());
        (stdin, done)
    });
    tokio::select! {
        // In this order: after a cancel no answer counts, not even one that was typed already.
        biased;
        () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
        joined = reading => {
            let (stdin, done) = joined.map_err(|error| Error::internal(format!("reading stdin failed: {error}")))?;
            terminal.stdin = stdin;
            done.map_err(|error| Error::io("read stdin", error))
        }
    }
}
