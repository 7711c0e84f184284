//! The three streams: who is at the other end, and writes that survive a reader who left.

use std::io::{self, BufRead, IsTerminal, Write};

use super::render::View;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Stdin, stdout and stderr, or what a test puts in their place.
pub(super) struct Terminal {
    pub(super) stdin: Box<dyn BufRead + Send>,
    pub(super) stdout: Box<dyn Write + Send>,
    pub(super) stderr: Box<dyn Write + Send>,
    pub(super) traits: Traits,
}

/// What is known about the other end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traits {
    /// Somebody can be asked: stdin and stderr are a terminal.
    pub(super) interactive: bool,
    /// Stdout is a terminal.
    pub(super) stdout: bool,
    /// Stderr is a terminal.
    pub(super) stderr: bool,
    /// Colours are wanted where there is a terminal: `NO_COLOR` is not set (no-color.org), and the terminal
    /// is not dumb.
    pub(super) colour: bool,
    /// The terminal cannot move its cursor: `TERM=dumb`.
    pub(super) dumb: bool,
}

impl Terminal {
    /// The streams of this process.
    pub(super) fn of_this_process() -> Self {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let traits = Traits {
            interactive: stdin.is_terminal() && stderr.is_terminal(),
            stdout: stdout.is_terminal(),
            stderr: stderr.is_terminal(),
            colour: wanted && !dumb,
            dumb,
        };
        Self { stdin: Box::new(io::BufReader::new(stdin)), stdout: Box::new(stdout), stderr: Box::new(stderr), traits }
    }

    /// How text on stdout looks at `now`.
    pub(super) fn stdout_view(&self, now: Timestamp) -> View {
        View { colour: self.traits.stdout && self.traits.colour, now }
    }

    /// How text on stderr looks at `now`.
    pub(super) fn stderr_view(&self, now: Timestamp) -> View {
        View { colour: self.traits.stderr && self.traits.colour, now }
    }

    /// Writes `text` and the line feed that it lacks. A reader who closed the pipe has seen enough: no error.
    ///
    /// # Errors
    /// Everything else that keeps the text from being written, such as a full disk.
    pub(super) fn print(&mut self, text: &str) -> Result<()> {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let written = self
            .stdout
            .write_all(text.as_bytes())
            .and_then(|()| self.stdout.write_all(end.as_bytes()))
            .and_then(|()| self.stdout.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("write to stdout", error)),
            _ => Ok(()),
        }
    }

    /// Writes `text` to stderr. When that fails there is nobody left to tell.
    pub(super) fn say(&mut self, text: &str) {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let _ = self.stderr.write_all(format!("{text}{end}").as_bytes());
        let _ = self.stderr.flush();
    }
}
