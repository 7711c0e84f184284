//! Fault points: where the crash tests kill this process, or make a call fail.
//!
//! Every mutating call of [`crate::fs`] passes one. Without the `faults` feature they compile to nothing.
//! With it, the environment decides: `UPLIFTED_OPS_FAULT=<role>:<action>@<where>` acts at one point of a process
//! that plays that role, and `<role>:trace@<file>` writes a line for each point instead, so that a test learns
//! how many there are.
//!
//! `<where>` is a number, from 1, or `<call>:<part of a path>` for the first point that stands before that call of
//! such a path: `Rename:/snapshots/`.
//!
//! | action | at the point |
//! | --- | --- |
//! | `kill` | SIGKILL to this process, before the call |
//! | `enospc`, `eio` | the call fails with that error |
//! | `short` | a write takes half of the bytes; other calls are left alone |
//! | `enospc+`, `eio+` | the same there and at every later one |
//! | `hold` | the thread says so on the socket `UPLIFTED_OPS_HOLD`, a path, and waits until the other end closes |

use std::io;
use std::path::Path;

/// What kind of call a point stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A file is created.
    Create,
    /// Bytes are written.
    Write,
    /// A length is set.
    Truncate,
    /// `fsync` or `syncfs`.
    Sync,
    /// A rename, exchange or link.
    Rename,
    /// A file or folder is removed.
    Remove,
    /// A folder is created.
    MakeDir,
    /// A symlink, FIFO or hard link is made, or an owner, time or attribute set.
    Meta,
}

/// Says which role this process plays: `host` until told otherwise, `worker` in a worker.
pub fn set_role(role: &'static str) {
    #[cfg(feature = "faults")]
    active::set_role(role);
    #[cfg(not(feature = "faults"))]
    let _ = role;
}

/// Passes a point. The error is the injected one.
#[inline]
pub fn point(op: Op, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    crash::pass()?;
    #[cfg(feature = "faults")]
    return active::pass(op, path).map(|_| ());
    #[cfg(not(feature = "faults"))]
    {
        let _ = (op, path);
        Ok(())
    }
}

/// Passes a point before a write of `len` bytes; returns how many of them may be written.
#[inline]
pub(super) fn write_point(path: &Path, len: usize) -> io::Result<usize> {
    #[cfg(test)]
    crash::pass()?;
    #[cfg(feature = "faults")]
    return active::pass(Op::Write, path).map(|short| if short { len.div_ceil(2) } else { len });
    #[cfg(not(feature = "faults"))]
    {
        let _ = path;
        Ok(len)
    }
}

/// A death in the middle of the work, acted inside a unit test: from the n-th point on, every call of this
/// thread fails, those that would tidy up included. Dropping the guard is the next start of the process.
#[cfg(test)]
pub(crate) mod crash {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        static ONCE: Cell<bool> = const { Cell::new(false) };
    }

    /// Ends the crash when dropped.
    #[derive(Debug)]
    pub(crate) struct Guard;

    /// Lets `points` calls of this thread pass and fails all that follow.
    pub(crate) fn after(points: u64) -> Guard {
        LEFT.set(Some(points + 1));
        Guard
    }

    /// The same, but only one call fails: a disk that hiccups, in a process that lives on.
    pub(crate) fn once_after(points: u64) -> Guard {
        ONCE.set(true);
        after(points)
    }

    impl Guard {
        /// Whether a call was refused, so that the work did not run to its end.
        pub(crate) fn happened(&self) -> bool {
            LEFT.get() == Some(0)
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            LEFT.set(None);
            ONCE.set(false);
        }
    }

    /// Counts one call down. The last that is let through leaves one, so that zero means that a call failed.
    pub(super) fn pass() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) if ONCE.get() => Ok(()),
            Some(0 | 1) => {
                LEFT.set(Some(0));
                Err(io::Error::other("the process died here"))
            }
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}

#[cfg(feature = "faults")]
mod active;
