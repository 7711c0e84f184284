//! Fault points: where the crash tests kill this process, or make a call fail.
//!
//! Every mutating call of [`crate::fs`] passes one. Without the `faults` feature they compile to nothing.
//! With it, the environment decides: `UPLIFTED_OPS_FAULT=<role>:<action>@<n>` acts at the n-th point (from 1)
//! of a process that plays that role, and `<role>:trace@<file>` writes a line for each point instead, so
//! that a test learns how many there are.
//!
//! | action | at point n |
//! | --- | --- |
//! | `kill` | SIGKILL to this process, before the call |
//! | `enospc`, `eio` | the call fails with that error |
//! | `short` | a write takes half of the bytes; other calls are left alone |
//! | `enospc+`, `eio+` | the same at point n and at every later one |

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
mod active {
    use std::io::{self, Write};
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, OnceLock};

    use super::Op;

    enum Action {
        Kill,
        Fail { errno: i32, for_ever: bool },
        Short,
    }

    enum Plan {
        Act { role: String, action: Action, at: u64 },
        Trace { role: String, file: std::fs::File },
    }

    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static ROLE: Mutex<&'static str> = Mutex::new("host");

    pub(super) fn set_role(role: &'static str) {
        *ROLE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = role;
    }

    fn parse() -> Option<Plan> {
        let text = std::env::var("UPLIFTED_OPS_FAULT").ok()?;
        let (role, rest) = text.split_once(':')?;
        let (action, argument) = rest.split_once('@')?;
        let role = role.to_owned();
        if action == "trace" {
            let file = std::fs::File::options().append(true).create(true).open(argument).ok()?;
            return Some(Plan::Trace { role, file });
        }
        let at = argument.parse().ok()?;
        let action = match action {
            "kill" => Action::Kill,
            "short" => Action::Short,
            "enospc" | "enospc+" => Action::Fail { errno: libc::ENOSPC, for_ever: action.ends_with('+') },
            "eio" | "eio+" => Action::Fail { errno: libc::EIO, for_ever: action.ends_with('+') },
            _ => return None,
        };
        Some(Plan::Act { role, action, at })
    }

    /// Whether a write at this point is to be cut short.
    pub(super) fn pass(op: Op, path: &Path) -> io::Result<bool> {
        let Some(plan) = PLAN.get_or_init(parse) else { return Ok(false) };
        let here = *ROLE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (Plan::Act { role, .. } | Plan::Trace { role, .. }) = plan;
        if role != here {
            return Ok(false);
        }
        let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
        match plan {
            Plan::Trace { file, .. } => {
                let mut file = file;
                file.write_all(format!("{number} {op:?} {}\n", path.display()).as_bytes())?;
                Ok(false)
            }
            Plan::Act { action, at, .. } => match action {
                Action::Kill if number == *at => {
                    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                    loop {
                        std::thread::park();
                    }
                }
                Action::Fail { errno, for_ever } if number == *at || (*for_ever && number > *at) => {
                    Err(io::Error::from_raw_os_error(*errno))
                }
                Action::Short => Ok(number == *at && op == Op::Write),
                _ => Ok(false),
            },
        }
    }
}
