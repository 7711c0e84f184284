//! Naming a process so that a reused process id is not mistaken for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stat::{Stat, raw};

/// Names one process for ever: the process id alone is reused, the start time is not.
///
/// On systems without `/proc` the boot and the start time are empty, and the process id has to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The kernel's random id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The process id.
    pub pid: u32,
    /// Clock ticks between the machine's start and the process's. Leases of version 0.1.0 called it otherwise.
    #[serde(alias = "start_ticks")]
    pub start_time: u64,
    /// The namespace that the process id belongs to. Containers of one machine share the boot id, so process
    /// 7 of one would be looked for in the other.
    #[serde(default)]
    pub pid_namespace: String,
}

/// Whether a process still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs.
    Alive,
    /// It ran on this machine, in this boot, and has ended.
    Dead,
    /// It belongs to another machine, another boot of this one or another container: it cannot be seen from
    /// here, and only a lease can tell.
    Unknown,
}

impl ProcessIdentity {
    /// This process.
    pub fn current() -> Self {
        let pid = std::process::id();
        Self::of(pid).unwrap_or_else(|| Self::named(pid, 0))
    }

    /// The running process `pid`; `None` when there is none.
    pub fn of(pid: u32) -> Option<Self> {
        if cfg!(target_os = "linux") {
            Stat::of(pid).filter(|stat| !stat.ended).map(|stat| Self::named(pid, stat.start_time))
        } else {
            exists(pid).then(|| Self::named(pid, 0))
        }
    }

    /// Whether the process runs, has ended, or cannot be seen from here.
    pub fn liveness(&self) -> Liveness {
        let here = Self::named(self.pid, self.start_time);
        if here != *self {
            return Liveness::Unknown;
        }
        let running = Self::of(self.pid).is_some_and(|now| now == *self);
        if running { Liveness::Alive } else { Liveness::Dead }
    }

    /// Whether the process is known to run. What `false` means for a lock: see [`Liveness`], and take it over
    /// at once only when that says [`Liveness::Dead`].
    pub fn is_alive(&self) -> bool {
        self.liveness() == Liveness::Alive
    }

    /// How long the process has been running, `None` where the system does not tell.
    pub fn age(&self) -> Option<Duration> {
        #[cfg(target_os = "linux")]
        {
            // USER_HZ, the unit of `/proc`, is 100 on every architecture that we build for.
            let start = Duration::from_millis(self.start_time.checked_mul(10)?);
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).ok()?);
            (self.start_time > 0).then(|| now.saturating_sub(start))
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    fn named(pid: u32, start_time: u64) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self {
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            pid,
            start_time,
            pid_namespace: std::fs::read_link("/proc/self/ns/pid")
                .map(|link| link.to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }
}

fn exists(pid: u32) -> bool {
    // EPERM means that it is there and belongs to somebody else.
    raw(pid).is_some_and(|pid| matches!(rustix::process::test_kill_process(pid), Ok(()) | Err(rustix::io::Errno::PERM)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_knows_its_age() {
        let me = ProcessIdentity::current();
        assert_eq!(me.pid, std::process::id());
        assert!(me.is_alive());
        assert!(me.age().unwrap() < Duration::from_secs(24 * 3600));
        let text = serde_json::to_string(&me).unwrap();
        assert_eq!(serde_json::from_str::<ProcessIdentity>(&text).unwrap(), me);
    }

    #[test]
    fn a_reused_process_id_is_dead_and_another_machine_unknown() {
        let me = ProcessIdentity::current();
        assert_eq!(ProcessIdentity { start_time: me.start_time + 1, ..me.clone() }.liveness(), Liveness::Dead);
        assert_eq!(ProcessIdentity { boot_id: "elsewhere".into(), ..me.clone() }.liveness(), Liveness::Unknown);
        assert_eq!(ProcessIdentity { pid_namespace: "pid:[1]".into(), ..me }.liveness(), Liveness::Unknown);
    }

    #[test]
    fn a_process_that_nobody_has_waited_for_yet_is_dead() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let identity = ProcessIdentity::of(child.id()).unwrap();
        assert!(identity.is_alive());
        // `waitid` with NOWAIT returns once it has ended, and leaves it a zombie.
        drop(child.stdin.take());
        let pid = raw(child.id()).unwrap();
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).unwrap();
        assert_eq!(identity.liveness(), Liveness::Dead);
        child.wait().unwrap();
        assert_eq!(identity.liveness(), Liveness::Dead);
    }
}
