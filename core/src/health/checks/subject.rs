//! Which process a check looks at: this one, that of a number, or that of a pidfile.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::metrics::procfs::{ProcessFiles, ProcessSample};

use super::kernel::Kernel;

/// A process that may or may not run.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    Own,
    Pid(u32),
    Pidfile(PathBuf),
}

impl Subject {
    pub(super) fn new(pid: Option<u32>, pidfile: Option<PathBuf>) -> Result<Self> {
        match (pid, pidfile) {
            (Some(_), Some(_)) => {
                Err(Error::invalid("a check names both a pid and a pidfile").with_hint("leave one out"))
            }
            (Some(pid), None) => Ok(Self::Pid(pid)),
            (None, Some(path)) => Ok(Self::Pidfile(path)),
            (None, None) => Ok(Self::Own),
        }
    }

    /// The process, or why there is none.
    pub(super) fn find(&self, kernel: &Kernel) -> Result<Result<(ProcessFiles, ProcessSample), String>> {
        let proc = kernel.path("/proc");
        let of = |pid: u32| ProcessFiles::below(&proc, &pid.to_string());
        let (files, written) = match self {
            // Not by number: after a fork, a remembered number would be the parent's.
            Self::Own => (ProcessFiles::below(&proc, "self"), None),
            Self::Pid(pid) => (of(*pid), None),
            Self::Pidfile(path) => match read_pidfile(path)? {
                Ok((pid, written)) => (of(pid), Some(written)),
                Err(message) => return Ok(Err(message)),
            },
        };
        let sample = match files.sample() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(format!("{self} does not run"))),
            other => other?,
        };
        if matches!(sample.state, 'Z' | 'X') {
            return Ok(Err(format!("{self} has ended, and its parent has not noticed")));
        }
        // A service writes its number after its start. If the process is younger, it is another one.
        let started = files.start_time_seconds(sample.start_ticks);
        if let (Some(written), Some(started)) = (written, started)
            && started > written + 60.0
        {
            return Ok(Err(format!("{self} does not run: another process has its number now")));
        }
        Ok(Ok((files, sample)))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("this process"),
            Self::Pid(pid) => write!(f, "process {pid}"),
            Self::Pidfile(path) => write!(f, "the process of {path:?}"),
        }
    }
}

/// The number in a pidfile and when it was written, in seconds since the epoch, or why there is none.
fn read_pidfile(path: &Path) -> Result<Result<(u32, f64), String>> {
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Err(format!("the service does not run: there is no {path:?}")));
        }
        Err(error) => return Err(Error::io(format!("look at {path:?}"), error)),
    };
    // Looked at before it is opened: nothing larger than a pidfile, such as a database named by mistake, may be
    // opened and closed in the host, because that would drop the host's locks on it.
    if !meta.is_file() || meta.len() > 64 {
        return Err(Error::invalid(format!("{path:?} is not a pidfile")).with_hint("correct `pidfile` of the check"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(format!("read {path:?}"), error))?;
    let written = meta.mtime() as f64 + meta.mtime_nsec() as f64 / 1e9;
    match text.trim().parse::<u32>() {
        Ok(pid) if pid > 0 => Ok(Ok((pid, written))),
        _ => Ok(Err(format!("{path:?} holds no process number: {:?}", text.trim()))),
    }
}
