//! How much memory a program and everything it starts takes at most.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use uplifted_example::Failure;

/// Watches a process and its descendants until asked for the result.
///
/// The result is the sum of each process's own peak (`VmHWM`, proc(5)). They need not have been at their
/// peaks at once, so it is never too small but for what a process takes in its last milliseconds.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<(u32, u64), u64>>,
}

impl Watch {
    /// Watches `pid`.
    pub(crate) fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut peaks = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                sample(pid, &mut peaks);
                std::thread::sleep(Duration::from_millis(20));
            }
            peaks
        });
        Self { stop, thread }
    }

    /// The peak in bytes.
    pub(crate) fn finish(self) -> Result<u64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let peaks = self.thread.join().map_err(|_| "the watch over memory failed")?;
        Ok(peaks.values().sum())
    }
}

/// Notes the peak of `root` and of all its descendants, by pid and start time.
fn sample(root: u32, peaks: &mut BTreeMap<(u32, u64), u64>) {
    let mut parents = BTreeMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some((parent, started)) = stat(pid) {
            parents.insert(pid, (parent, started));
        }
    }
    for (&pid, &(_, started)) in &parents {
        let mut at = pid;
        // A chain of parents is short; the bound guards against a reused pid that closes a ring.
        for _ in 0..64 {
            if at == root {
                if let Some(peak) = high_water(pid) {
                    let known = peaks.entry((pid, started)).or_default();
                    *known = peak.max(*known);
                }
                break;
            }
            match parents.get(&at) {
                Some(&(parent, _)) if parent > 1 => at = parent,
                _ => break,
            }
        }
    }
}

/// The parent and the start time. The name before them may hold blanks and parentheses.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    Some((parent, fields.nth(17)?.parse().ok()?))
}

fn high_water(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_of_a_child_counts() {
        // dd takes its block size as memory; sh waits for it.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "dd if=/dev/zero of=/dev/null bs=64M count=8 2>/dev/null; sleep 0.3; true"])
            .spawn()
            .unwrap();
        let watch = Watch::start(child.id());
        child.wait().unwrap();
        let peak = watch.finish().unwrap();
        assert!(peak > 64 << 20, "{peak}");
        assert!(peak < 128 << 20, "{peak}");
    }
}
