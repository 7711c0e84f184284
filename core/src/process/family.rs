//! Killing a process together with what it started.

use std::collections::{HashMap, HashSet};

use rustix::process::{Signal, getpid, kill_process, kill_process_group};

use super::stat::{Stat, raw};

/// Kills `root` and what it started, however deep, as far as it stayed in the session of `root`: a program
/// that was started to outlive it ([`super::start_detached`]) has a session of its own and is spared.
///
/// A worker leads a session, and its programs lead groups in it; so a group is not enough. The caller must
/// not have waited for `root` yet, or be sure that it led a session: only then does the number still mean it.
pub(crate) fn kill_family(root: u32) {
    let Some(pid) = raw(root) else { return };
    // Stopped first, so that it starts nothing while we look.
    let _ = kill_process(pid, Signal::STOP);
    kill_members(root);
    let _ = kill_process(pid, Signal::KILL);
    // What a member forked between our look and its end shows up now.
    kill_members(root);
    // Without `/proc` this is all we have; with it, it finds nothing.
    let _ = kill_process_group(pid, Signal::KILL);
}

/// Kills this process and what it started.
pub(super) fn kill_own_family() -> ! {
    let me = getpid();
    kill_members(std::process::id());
    let _ = kill_process_group(me, Signal::KILL);
    let _ = kill_process(me, Signal::KILL);
    // SIGKILL to oneself does not return.
    std::process::abort()
}

/// Kills every member but `root` itself, until none is seen.
fn kill_members(root: u32) {
    // Each round sees what the members of the one before forked; more rounds than this are a fork bomb.
    for _ in 0..64 {
        let members = members(root, &Stat::all());
        if members.is_empty() {
            return;
        }
        for member in members.into_iter().filter_map(raw) {
            let _ = kill_process(member, Signal::KILL);
        }
    }
}

fn members(root: u32, all: &HashMap<u32, Stat>) -> Vec<u32> {
    // A leader's number is that of its session even after its end.
    let session = all.get(&root).map_or(root, |stat| stat.session);
    let whole_session = session == root;
    all.values()
        .filter(|stat| stat.pid != root && !stat.ended && stat.session == session)
        .filter(|stat| whole_session || descends(stat, root, all))
        .map(|stat| stat.pid)
        .collect()
}

fn descends(stat: &Stat, root: u32, all: &HashMap<u32, Stat>) -> bool {
    let mut seen = HashSet::new();
    let mut parent = stat.parent;
    while seen.insert(parent) {
        if parent == root {
            return true;
        }
        match all.get(&parent) {
            Some(next) => parent = next.parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u32, u32, u32)]) -> HashMap<u32, Stat> {
        rows.iter()
            .map(|&(pid, parent, session)| (pid, Stat { pid, parent, session, start_time: 1, ended: false }))
            .collect()
    }

    #[test]
    fn the_family_is_the_session_of_a_leader_and_the_descendants_of_another() {
        // 10 leads; 12 lost its parent; 13 was detached; 20 is a stranger.
        let led = table(&[(10, 1, 10), (11, 10, 10), (12, 1, 10), (13, 10, 13), (20, 1, 20)]);
        let mut found = members(10, &led);
        found.sort_unstable();
        assert_eq!(found, [11, 12]);
        // 10 does not lead: its siblings in the session of the host are none of ours.
        let not_led = table(&[(5, 1, 5), (6, 5, 5), (10, 5, 5), (11, 10, 5), (12, 11, 5), (13, 11, 13)]);
        let mut found = members(10, &not_led);
        found.sort_unstable();
        assert_eq!(found, [11, 12]);
        // 10 has ended and was waited for; its session lives on.
        assert_eq!(members(10, &table(&[(12, 1, 10), (20, 1, 20)])), [12]);
    }
}
