//! What this process has used, as the kernel counts it for all of its threads (getrusage(2)).

/// Counts since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Times that a thread stopped running to wait for something.
    pub voluntary_switches: u64,
    /// Times that a thread was made to stop running.
    pub involuntary_switches: u64,
    /// Page faults that read nothing.
    pub minor_faults: u64,
    /// Page faults that read from a disk.
    pub major_faults: u64,
}

impl Usage {
    /// That of this process; `None` where the system does not tell.
    #[allow(unsafe_code, reason = "getrusage has no wrapper in rustix")]
    pub fn of_this_process() -> Option<Self> {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to a `rusage` of our own, all zeros are a valid one, and getrusage writes nothing beyond it.
        let usage = unsafe {
            if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
                return None;
            }
            usage.assume_init()
        };
        let count = |number: libc::c_long| u64::try_from(number).unwrap_or(0);
        Some(Self {
            voluntary_switches: count(usage.ru_nvcsw),
            involuntary_switches: count(usage.ru_nivcsw),
            minor_faults: count(usage.ru_minflt),
            major_faults: count(usage.ru_majflt),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn counts_of_this_process_only_grow() {
        let before = Usage::of_this_process().unwrap();
        assert!(before.minor_faults > 0, "{before:?}");
        std::thread::sleep(std::time::Duration::from_millis(1));
        let after = Usage::of_this_process().unwrap();
        assert!(after.voluntary_switches > before.voluntary_switches, "{before:?} {after:?}");
    }
}
