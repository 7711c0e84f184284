//! What `/proc` says about a process. Shared by the `process_*` metrics and the `process` check.
//!
//! Source: proc(5). Where there is no `/proc`, asking is an error of kind
//! [`Unsupported`](crate::ErrorKind::Unsupported).

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// The kernel counts CPU time in these for user space: `USER_HZ`, 100 on every architecture of Linux that we
/// build for (`include/asm-generic/param.h`).
const TICKS_PER_SECOND: f64 = 100.0;

/// One process at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProcessSample {
    /// User and system time of all its threads.
    pub cpu_seconds: f64,
    /// Memory in use, `VmRSS`.
    pub resident_bytes: u64,
    /// Address space, `VmSize`.
    pub virtual_bytes: u64,
    /// Open file descriptors; `None` when another user's process does not show them.
    pub open_fds: Option<u64>,
    /// The soft limit of file descriptors; `None` when there is none.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// When it started, in ticks since boot: with the pid, the identity of the process.
    pub start_ticks: u64,
    /// The kernel's letter for its state: `Z` is a zombie, which no longer runs.
    pub state: char,
}

/// Where a process' files are, and which process.
#[derive(Debug, Clone)]
pub(crate) struct ProcessFiles {
    proc: PathBuf,
    process: String,
}

impl ProcessFiles {
    /// Those of this process.
    pub(crate) fn own() -> Self {
        // Not by number: after a fork, a remembered number would be the parent's.
        Self { proc: PathBuf::from("/proc"), process: "self".to_owned() }
    }

    /// Those below another `/proc`, of the process of this number or of `self`.
    pub(crate) fn below(proc: &Path, process: &str) -> Self {
        Self { proc: proc.to_owned(), process: process.to_owned() }
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there is no such process.
    pub(crate) fn sample(&self) -> Result<ProcessSample> {
        let stat = self.read("stat")?;
        let status = self.read("status")?;
        let limits = self.read("limits").unwrap_or_default();
        let garbled =
            |what: &str| Error::new(ErrorKind::Unsupported, format!("/proc/{}/{what} is not understood", self.process));
        let stat = Stat::parse(&stat).ok_or_else(|| garbled("stat"))?;
        Ok(ProcessSample {
            cpu_seconds: stat.cpu_ticks as f64 / TICKS_PER_SECOND,
            // A zombie or kernel thread has no memory, and no such lines.
            resident_bytes: kilobytes(&status, "VmRSS:").unwrap_or(0),
            virtual_bytes: kilobytes(&status, "VmSize:").unwrap_or(0),
            open_fds: self.count_fds(),
            max_fds: soft_limit(&limits, "Max open files"),
            threads: stat.threads,
            start_ticks: stat.start_ticks,
            state: stat.state,
        })
    }

    /// When the process started, in seconds since the epoch.
    pub(crate) fn start_time_seconds(&self, start_ticks: u64) -> Option<f64> {
        let stat = std::fs::read_to_string(self.proc.join("stat")).ok()?;
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(boot.trim().parse::<u64>().ok()? as f64 + start_ticks as f64 / TICKS_PER_SECOND)
    }

    /// The memory that the process may use: the lowest `memory.max` of its control group and the groups above
    /// (cgroup v2), or else the machine's memory.
    pub(crate) fn memory_limit(&self, cgroup_root: &Path) -> Option<u64> {
        let groups = self.read("cgroup").unwrap_or_default();
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| cgroup_root.join(path));
        let grouped = path.iter().flat_map(|path| path.ancestors()).take_while(|path| path.starts_with(cgroup_root));
        // A group without a limit says `max`, which is no number.
        let grouped = grouped
            .filter_map(|group| std::fs::read_to_string(group.join("memory.max")).ok()?.trim().parse::<u64>().ok())
            .min();
        let machine =
            std::fs::read_to_string(self.proc.join("meminfo")).ok().and_then(|text| kilobytes(&text, "MemTotal:"));
        grouped.into_iter().chain(machine).min()
    }

    fn count_fds(&self) -> Option<u64> {
        let entries = std::fs::read_dir(self.proc.join(&self.process).join("fd")).ok()?;
        let count = entries.count() as u64;
        // The folder itself is open while it is listed.
        Some(if self.process == "self" { count.saturating_sub(1) } else { count })
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.proc.join(&self.process).join(file);
        if !cfg!(target_os = "linux") {
            return Err(Error::new(ErrorKind::Unsupported, "this system has no /proc to read about processes"));
        }
        // The name of a program may be any bytes.
        std::fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| {
            match error.raw_os_error() {
                // The process went away between open and read.
                Some(libc::ESRCH) => Error::new(ErrorKind::NotFound, format!("there is no process {}", self.process)),
                _ => Error::io(format!("read {path:?}"), error),
            }
        })
    }
}

/// The fields of `/proc/<pid>/stat` that we use.
#[derive(Debug, PartialEq)]
struct Stat {
    state: char,
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name, which may hold spaces and parentheses: what follows the last
        // closing one is regular. Field numbers below are those of proc(5), where the state is 3.
        let rest = &text[text.rfind(')')? + 1..];
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
        Some(Self {
            state: fields.first()?.chars().next()?,
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks: field(22)?,
        })
    }
}

/// The value of a line such as `VmRSS:     1234 kB`, in bytes.
pub(crate) fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The soft limit in a line such as `Max open files            1024                 524288               files`.
fn soft_limit(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "42 (a) R 9 (b c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 6 0 1234 5 6 7\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat, Stat { state: 'S', cpu_ticks: 200, threads: 6, start_ticks: 1234 });
    }

    #[test]
    fn cut_and_foreign_text_is_refused() {
        for text in ["", "42", "42 (x)", "42 (x) S 1 2", "42 (x) S a b c d e f g h i j k l m n o p q r s t u v"] {
            assert_eq!(Stat::parse(text), None, "{text:?}");
        }
        assert_eq!(kilobytes("VmRSS:\t 12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(kilobytes("VmRSS:\t 99999999999999999999 kB\n", "VmRSS:"), None);
        assert_eq!(
            soft_limit("Max open files            unlimited            unlimited            files", "Max open files"),
            None
        );
    }

    #[test]
    fn the_limit_is_the_lowest_of_the_group_and_those_above() {
        let folder = tempfile::tempdir().unwrap();
        let (proc, groups) = (folder.path().join("proc"), folder.path().join("cgroup"));
        std::fs::create_dir_all(proc.join("7")).unwrap();
        std::fs::create_dir_all(groups.join("a/b")).unwrap();
        std::fs::write(proc.join("7/cgroup"), "4:memory:/x\n0::/a/b\n").unwrap();
        std::fs::write(proc.join("meminfo"), "MemTotal:  2048 kB\nMemFree: 1 kB\n").unwrap();
        let files = ProcessFiles::below(&proc, "7");
        assert_eq!(files.memory_limit(&groups), Some(2 << 20));
        std::fs::write(groups.join("a/b/memory.max"), "max\n").unwrap();
        std::fs::write(groups.join("a/memory.max"), "1048576\n").unwrap();
        assert_eq!(files.memory_limit(&groups), Some(1 << 20));
    }

    #[test]
    fn this_process_can_be_read() {
        let sample = ProcessFiles::own().sample().unwrap();
        assert!(sample.resident_bytes > 0 && sample.virtual_bytes >= sample.resident_bytes);
        assert!(sample.threads >= 1 && sample.open_fds.unwrap() >= 3);
        let started = ProcessFiles::own().start_time_seconds(sample.start_ticks).unwrap();
        assert!(started > 1e9, "{started}");
        assert_eq!(
            ProcessFiles::below(Path::new("/proc"), &u32::MAX.to_string()).sample().unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}
