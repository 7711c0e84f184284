//! Who holds a file: what Linux tells in `/proc`, without opening the file.
//!
//! Best effort by nature: other users' processes, other PID namespaces and other machines stay unseen. It
//! explains a lock and adds to one; it never replaces one.

use std::fmt::Write;
use std::os::unix::fs::MetadataExt;

use super::gate::Identity;

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) pid: u32,
    /// Its command's name, empty when it has gone.
    pub(super) name: String,
}

/// The processes that hold a POSIX lock on one of the files (`/proc/locks`), each once, not ourselves.
pub(super) fn lockers(files: &[Identity]) -> Vec<Holder> {
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    named(table.lines().filter_map(parse_lock).filter(|(_, file)| files.contains(file)).map(|(pid, _)| pid).collect())
}

/// The processes that have one of the files open (`/proc/*/fd`), each once, not ourselves.
pub(super) fn openers(files: &[Identity]) -> Vec<Holder> {
    let mut pids = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let descriptors = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        // `metadata` follows the link to the open file itself: it is neither opened nor looked up by name.
        let open = |entry: std::fs::DirEntry| {
            std::fs::metadata(entry.path()).is_ok_and(|meta| files.contains(&(meta.dev(), meta.ino())))
        };
        if descriptors.into_iter().any(open) {
            pids.push(pid);
        }
    }
    named(pids)
}

/// `: process 12 (uvicorn) and process 13 (python3) hold it`, or nothing when nobody is known.
pub(super) fn sentence(holders: &[Holder]) -> String {
    let mut text = String::new();
    for (index, Holder { pid, name }) in holders.iter().take(5).enumerate() {
        let joint = if index == 0 { ": " } else { ", " };
        let _ = write!(text, "{joint}process {pid} ({name})");
    }
    match holders.len() {
        0 => {}
        1 => text.push_str(" holds it"),
        2..=5 => text.push_str(" hold it"),
        more => {
            let _ = write!(text, " and {} more hold it", more - 5);
        }
    }
    text
}

fn named(mut pids: Vec<u32>) -> Vec<Holder> {
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter()
        .filter(|pid| *pid != std::process::id())
        .map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Holder { pid, name: name.trim_end().to_owned() }
        })
        .collect()
}

/// Process and file of a line such as `1: POSIX  ADVISORY  WRITE 2519 fe:00:12583 1073741826 1073742335`.
fn parse_lock(line: &str) -> Option<(u32, Identity)> {
    let mut words = line.split_ascii_whitespace().filter(|word| *word != "->");
    let (_, class) = (words.next()?, words.next()?);
    if class != "POSIX" {
        return None;
    }
    let pid = words.nth(2)?.parse().ok().filter(|pid| *pid > 0)?;
    let mut file = words.next()?.split(':');
    let major = u32::from_str_radix(file.next()?, 16).ok()?;
    let minor = u32::from_str_radix(file.next()?, 16).ok()?;
    let inode = file.next()?.parse().ok()?;
    #[allow(clippy::useless_conversion, reason = "the type differs between systems")]
    Some((pid, (rustix::fs::makedev(major, minor).into(), inode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_locks() {
        let device = rustix::fs::makedev(0xfe, 1);
        assert_eq!(
            parse_lock("12: POSIX  ADVISORY  WRITE 2519 fe:01:12583 1073741826 1073742335"),
            Some((2519, (device, 12583)))
        );
        assert_eq!(parse_lock("12: -> POSIX  ADVISORY  READ 7 fe:01:3 0 EOF"), Some((7, (device, 3))));
        for other in ["3: FLOCK  ADVISORY  WRITE 9 fe:01:5 0 EOF", "4: OFDLCK ADVISORY READ -1 fe:01:5 0 0", "", "x"] {
            assert_eq!(parse_lock(other), None, "{other}");
        }
    }

    #[test]
    fn sentences_name_a_few() {
        let holder = |pid| Holder { pid, name: "app".into() };
        assert_eq!(sentence(&[]), "");
        assert_eq!(sentence(&[holder(1)]), ": process 1 (app) holds it");
        assert!(sentence(&(1..9).map(holder).collect::<Vec<_>>()).ends_with("process 5 (app) and 3 more hold it"));
    }
}
