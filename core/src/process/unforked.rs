//! Descriptors that a forked child closes at once.
//!
//! A descriptor that is closed on exec (`O_CLOEXEC`) stays open in a child that never execs, as Python's `os.fork`,
//! `multiprocessing` and gunicorn make them. A socket that listens goes on listening there after the parent's death, with
//! nobody who accepts: who connects hangs, and nobody else can have the address.
//!
//! Source: pthread_atfork(3), signal-safety(7): close(2) may be called in a forked child.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bit for each descriptor below 65,536. Those above stay open in a child.
static OURS: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// While it lives, a child that is forked closes the descriptor. To be dropped before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct Unforked {
    fd: RawFd,
    pid: u32,
}

impl Unforked {
    /// Marks the descriptor.
    pub(crate) fn new(of: &impl AsRawFd) -> Self {
        static HANDLER: OnceLock<bool> = OnceLock::new();
        HANDLER.get_or_init(register);
        let fd = of.as_raw_fd();
        if let Some((word, bit)) = place(fd) {
            word.fetch_or(bit, Ordering::SeqCst);
        }
        Self { fd, pid: std::process::id() }
    }
}

impl Drop for Unforked {
    fn drop(&mut self) {
        // In a child the number may be somebody else's by now.
        if self.pid == std::process::id()
            && let Some((word, bit)) = place(self.fd)
        {
            word.fetch_and(!bit, Ordering::SeqCst);
        }
    }
}

fn place(fd: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok()?;
    Some((OURS.get(fd / 64)?, 1 << (fd % 64)))
}

#[allow(unsafe_code, reason = "pthread_atfork has no safe wrapper")]
fn register() -> bool {
    // SAFETY: the handler is a function of this program, which is never unloaded while it runs: it only touches atomics and
    // calls close(2), both allowed between fork and exec.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) == 0 }
}

#[allow(unsafe_code, reason = "the descriptors are closed behind the back of their owners, who do not run here")]
extern "C" fn in_child() {
    for (number, word) in OURS.iter().enumerate() {
        let mut bits = word.swap(0, Ordering::SeqCst);
        while bits != 0 {
            let fd = number * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            // SAFETY: the threads that own these descriptors do not exist in this process, so nobody uses or closes them.
            unsafe { libc::close(fd as RawFd) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "the test forks")]
    fn a_forked_child_has_them_not() {
        let kept = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mark = Unforked::new(&kept);
        let (first, second) = (kept.as_raw_fd(), other.as_raw_fd());
        // SAFETY: the child calls nothing but fcntl and _exit.
        let status = unsafe {
            let pid = libc::fork();
            if pid == 0 {
                let gone = libc::fcntl(first, libc::F_GETFD) == -1;
                let there = libc::fcntl(second, libc::F_GETFD) != -1;
                libc::_exit(if gone && there { 7 } else { 1 });
            }
            let mut status = 0;
            libc::waitpid(pid, &raw mut status, 0);
            status
        };
        assert_eq!(libc::WEXITSTATUS(status), 7);
        drop(mark);
        let (word, bit) = place(first).unwrap();
        assert_eq!(word.load(Ordering::SeqCst) & bit, 0);
        assert!(place(-1).is_none() && place(70_000).is_none());
    }
}
