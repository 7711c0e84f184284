//! The heartbeats of all processes of a service, for the one that answers for them.
//!
//! Each process that listens, or stands by, keeps a file in the state folder: the monotonic time of the beat that is due for
//! longest. Its thread writes it, which nothing of the host holds up; a lock that ends with the process tells whether it
//! lives. All processes of a machine share the monotonic clock (clock_gettime(2)).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::fs::{self, ProcessLock};
use crate::health::{LastBeat, Pulses, Wedged};
use crate::process::ProcessIdentity;

use super::super::standing::{ListenerState, Standing};

/// How often the own beat is written.
const PERIOD: Duration = Duration::from_millis(250);
/// After so many of these periods the others are looked at.
const LOOK: u32 = 4;
/// The length of a record: a line of text, padded, so that a write covers what was there.
const RECORD: usize = 128;

/// What a process keeps.
#[derive(Debug)]
pub(super) struct Beats {
    folder: PathBuf,
    own: PathBuf,
    pulses: Arc<Pulses>,
    /// Made with the first beat.
    file: Option<ProcessLock>,
}

impl Beats {
    pub(super) fn new(state: &Path, pulses: Arc<Pulses>) -> Self {
        let folder = state.join("beats");
        let ProcessIdentity { pid, start_time, .. } = ProcessIdentity::current();
        Self { own: folder.join(format!("{pid}-{start_time}")), folder, pulses, file: None }
    }

    /// Goes on for ever.
    pub(super) async fn keep(mut self, standings: Vec<Arc<Standing>>) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for turn in 0_u32.. {
            ticks.tick().await;
            self.pulses.look();
            self.write();
            if turn.is_multiple_of(LOOK) {
                let serves =
                    |standing: &Arc<Standing>| standing.get().is_some_and(|view| view.state == ListenerState::Serving);
                let answers = standings.iter().any(serves);
                let worst = if answers { self.worst_of_others() } else { None };
                self.pulses.set_others(worst);
            }
        }
    }

    /// Writes the own beat. A state folder that cannot be written to leaves each process to its own liveness.
    fn write(&mut self) {
        let Some(last) = self.pulses.last() else { return };
        if self.file.as_ref().is_none_or(|file| !file.is_held()) {
            self.file = fs::create_dir_all(&self.folder, fs::PRIVATE_DIR)
                .and_then(|()| ProcessLock::try_acquire(&self.own))
                .unwrap_or_default();
        }
        if let Some(file) = &self.file {
            let _ = file.write(&record(std::process::id(), &last));
        }
    }

    /// Who of the others has been silent for longest. The files of the dead are removed.
    pub(super) fn worst_of_others(&self) -> Option<Wedged> {
        let entries = std::fs::read_dir(&self.folder).ok()?;
        let others = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| *path != self.own);
        let wedged = others.filter_map(|path| {
            if ProcessLock::is_abandoned(&path).ok()? {
                let _ = fs::remove_file(&path);
                return None;
            }
            // Read after the lock was looked at, so that it is the beat of a process that lives.
            let (pid, last) = parse(&std::fs::read(&path).ok()?)?;
            self.pulses.judge(pid, last)
        });
        wedged.max_by(|a, b| a.age_seconds.total_cmp(&b.age_seconds))
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        if self.file.as_ref().is_some_and(ProcessLock::is_held) {
            let _ = fs::remove_file(&self.own);
        }
    }
}

fn record(pid: u32, last: &LastBeat) -> Vec<u8> {
    let mut name = last.pulse.clone();
    // Two numbers of at most 10 and 20 digits go before it.
    while name.len() > 80 {
        name.pop();
    }
    let mut line = format!("{pid} {} {name}", last.at.as_nanos()).into_bytes();
    line.resize(RECORD - 1, b' ');
    line.push(b'\n');
    line
}

fn parse(bytes: &[u8]) -> Option<(u32, LastBeat)> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() == RECORD)?;
    let mut words = text.trim_end().splitn(3, ' ');
    let pid = words.next()?.parse().ok()?;
    let at = Duration::from_nanos(words.next()?.parse().ok()?);
    Some((pid, LastBeat { pulse: words.next()?.to_owned(), at }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    #[test]
    fn a_record_comes_back_and_a_torn_one_is_none() {
        let last = LastBeat { pulse: "é".repeat(100), at: Duration::from_nanos(u64::MAX) };
        let bytes = record(u32::MAX, &last);
        let (pid, read) = parse(&bytes).unwrap();
        assert_eq!((pid, read.at, read.pulse), (u32::MAX, last.at, "é".repeat(40)));
        for torn in [&bytes[..50], b"", &b"x".repeat(RECORD)] {
            assert_eq!(parse(torn), None);
        }
    }

    #[test]
    fn the_dead_are_not_judged_and_their_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        clock.advance(Duration::from_secs(100));
        let pulses = Arc::new(Pulses::new(10.0, clock).unwrap());
        let mut beats = Beats::new(folder.path(), Arc::clone(&pulses));
        let pulse = pulses.begin("event loop");
        pulse.beat();
        beats.write();
        assert!(beats.own.exists());
        // This process holds the lock of a second file, as another would; a third is nobody's.
        let silent = LastBeat { pulse: "interpreter".to_owned(), at: Duration::from_secs(60) };
        let (alive, dead) = (beats.folder.join("7-1"), beats.folder.join("8-1"));
        let lock = ProcessLock::try_acquire(&alive).unwrap().unwrap();
        lock.write(&record(7, &silent)).unwrap();
        std::fs::write(&dead, record(8, &LastBeat { at: Duration::from_secs(1), ..silent })).unwrap();
        let wedged = beats.worst_of_others().unwrap();
        assert_eq!(wedged, Wedged { pid: 7, pulse: "interpreter".to_owned(), age_seconds: 40.0 });
        assert!(!dead.exists() && alive.exists());
        let own = beats.own.clone();
        drop(beats);
        assert!(!own.exists());
    }
}
