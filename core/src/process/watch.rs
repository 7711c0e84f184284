//! Ending when another process ends.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

use super::family::kill_own_family;
use super::identity::ProcessIdentity;

/// Watches `host` from a thread; when it ends, however it ends, this process and what it started is killed.
///
/// By a pidfd, since the alternatives fail: a pipe stays open while a forked child of the host holds it, and
/// `PR_SET_PDEATHSIG` follows the thread that started us, not the process.
///
/// # Errors
/// [`ErrorKind::Refused`] when `host` has ended already.
pub fn end_with(host: &ProcessIdentity) -> Result<()> {
    let wait = waiter(host)?;
    // Looked at after the descriptor is open: what it stands for is then this very process.
    if !host.is_alive() {
        return Err(gone(host));
    }
    std::thread::Builder::new()
        .name("watch-host".into())
        .stack_size(128 * 1024)
        .spawn(move || {
            wait();
            kill_own_family();
        })
        .map_err(|e| Error::io("start the thread that watches the host", e))?;
    Ok(())
}

fn gone(host: &ProcessIdentity) -> Error {
    Error::new(ErrorKind::Refused, format!("the host, process {}, has ended", host.pid))
}

/// What returns when `host` ends.
fn waiter(host: &ProcessIdentity) -> Result<Box<dyn FnOnce() + Send>> {
    #[cfg(target_os = "linux")]
    {
        use rustix::event::{PollFd, PollFlags, poll};
        use rustix::io::Errno;
        use rustix::process::{PidfdFlags, pidfd_open};

        let pid = super::stat::raw(host.pid).ok_or_else(|| gone(host))?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => {
                return Ok(Box::new(move || {
                    let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
                    while matches!(poll(&mut watched, None), Err(Errno::INTR | Errno::AGAIN)) {}
                }));
            }
            Err(Errno::SRCH) => return Err(gone(host)),
            // A kernel before 5.3, or a sandbox that does not know the call.
            Err(_) => {}
        }
    }
    let host = host.clone();
    Ok(Box::new(move || {
        while host.is_alive() {
            std::thread::sleep(Duration::from_millis(250));
        }
    }))
}
