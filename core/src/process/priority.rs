//! How much a process takes from the others, and the session it lives in: the two system calls without a
//! safe wrapper.

use std::process::Command;

/// The nice value of heavy work. A tenth of the CPU where the service wants all of it: enough to finish, and
/// to keep a read of a rollback-journal database short; all of it where the service is idle.
const NICE: i32 = 10;

/// Lowers the CPU priority (nice 10) and the I/O priority (best effort, the lowest) of this process.
///
/// Both belong to the calling thread and are inherited by the threads that it starts (setpriority(2), NOTES;
/// ioprio_set(2), NOTES): call it first thing in `main`. A sandbox may forbid either; the work is as right without.
pub fn lower() {
    let _ = rustix::process::setpriority_process(None, NICE);
    lower_io();
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "ioprio_set has no wrapper in libc or rustix")]
fn lower_io() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_BEST_EFFORT: libc::c_int = 2;
    const IOPRIO_CLASS_SHIFT: libc::c_int = 13;
    const LOWEST: libc::c_int = 7;
    let priority = (IOPRIO_CLASS_BEST_EFFORT << IOPRIO_CLASS_SHIFT) | LOWEST;
    // SAFETY: the call takes three integers and touches no memory of ours; 0 is the calling thread.
    unsafe {
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority);
    }
}

#[cfg(not(target_os = "linux"))]
fn lower_io() {}

/// Makes the program start in a session of its own, without a controlling terminal.
#[allow(unsafe_code, reason = "CommandExt has no safe setsid yet")]
pub(super) fn in_own_session(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. setsid(2) is one, and the closure
    // neither allocates nor takes a lock. A fresh child never leads a group, so it does not fail.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(std::io::Error::from));
    }
}
