//! What a number was measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::program::version;

/// The machine and the programs, as Markdown list items.
pub(crate) fn facts(work: &Path, ours: &Path) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().unwrap_or_default().trim_start_matches("MemTotal:").trim();
    let kernel = read("/proc/sys/kernel/osrelease");
    let mut facts = vec![
        format!("{cores} cores ({}), {memory} memory, Linux {kernel}", model.unwrap_or("unknown")),
        format!("filesystem: {}", filesystem(work).unwrap_or_else(|| "unknown".to_owned())),
    ];
    let programs = [
        (ours.display().to_string(), "--version"),
        ("tar".to_owned(), "--version"),
        ("zstd".to_owned(), "--version"),
        ("restic".to_owned(), "version"),
        ("sqlite3".to_owned(), "--version"),
    ];
    let versions: Vec<String> = programs.iter().filter_map(|(name, argument)| version(name, argument)).collect();
    facts.push(format!("programs: {}", versions.join("; ")));
    facts
}

fn filesystem(path: &Path) -> Option<String> {
    let output = Command::new("findmnt").args(["-no", "FSTYPE,OPTIONS", "-T"]).arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

/// Writes back and empties the page cache, so that every run reads from the disk. Whether it could: only root
/// may.
pub(crate) fn drop_caches() -> bool {
    let synced = Command::new("sync").status().is_ok_and(|status| status.success());
    synced && fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}
