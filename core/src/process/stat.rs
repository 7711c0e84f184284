//! `/proc/<pid>/stat`: the parent, session and start time of a process (proc_pid_stat(5)).

use std::collections::HashMap;

use rustix::process::Pid;

/// What we read of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) session: u32,
    /// Clock ticks between the machine's start and the process's.
    pub(super) start_time: u64,
    /// Ended, and not yet waited for by its parent.
    pub(super) ended: bool,
}

impl Stat {
    /// The process `pid`, `None` when there is none or `/proc` is not there.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Every process that we may see. Empty where `/proc` is not there.
    pub(super) fn all() -> HashMap<u32, Self> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter_map(|pid| Some((pid, Self::of(pid)?)))
            .collect()
    }

    /// The second field is the program's name, in parentheses and otherwise arbitrary: it may hold spaces,
    /// parentheses and line breaks. So fields are counted from the last `)`.
    fn parse(line: &[u8]) -> Option<Self> {
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let open = line.iter().position(|byte| *byte == b'(')?;
        let pid = std::str::from_utf8(&line[..open]).ok()?.trim().parse().ok()?;
        let rest = std::str::from_utf8(&line[close + 1..]).ok()?;
        // The first of these is field 3 of the manual.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid,
            ended: matches!(*fields.first()?, "Z" | "X" | "x"),
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Whether `ancestor` is the parent of the process `pid`, or the parent of its parent, and so on.
pub fn is_ancestor(ancestor: u32, pid: u32) -> bool {
    let mut current = pid;
    // Deeper chains of wrappers than this are a loop of somebody's making.
    for _ in 0..32 {
        current = match parent_of(current) {
            Some(parent) if parent == ancestor => return true,
            Some(parent) if parent > 1 => parent,
            _ => return false,
        };
    }
    false
}

fn parent_of(pid: u32) -> Option<u32> {
    if pid == std::process::id() {
        return Some(std::os::unix::process::parent_id());
    }
    Stat::of(pid).map(|stat| stat.parent)
}

/// A process id as the system calls take it.
pub(super) fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_program_name_does_not_shift_the_fields() {
        let tail = "S 10 20 30 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        for name in ["sh", "a b", "x) Z 1 1 1", "((", "))", "line\nbreak)", ""] {
            let stat = Stat::parse(format!("7 ({name}) {tail}").as_bytes()).unwrap();
            assert_eq!(stat, Stat { pid: 7, parent: 10, session: 30, start_time: 4242, ended: false }, "{name:?}");
        }
        for broken in ["", "7", "7 (sh", "7 (sh)", "7 (sh) S 1", "x (sh) S 10 20 30"] {
            assert_eq!(Stat::parse(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn our_parent_is_an_ancestor_and_we_are_not() {
        let me = std::process::id();
        let parent = std::os::unix::process::parent_id();
        assert!(is_ancestor(parent, me));
        assert!(!is_ancestor(me, me));
        assert!(!is_ancestor(me, parent));
    }
}
