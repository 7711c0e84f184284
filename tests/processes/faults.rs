//! Files that are not as they should be, and disks that say no.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uplifted_ops::testing::disk::Disk;
use uplifted_ops::testing::random::seeded;

use crate::process::Process;

fn named(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_str().unwrap().ends_with(suffix));
    found.sort();
    found
}

/// Lets a file be written to, which only the superuser could.
fn unlock(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A folder in which one that lived has left something, and one lives; and what the page of a third one is to say at least.
fn inhabited() -> (tempfile::TempDir, Process) {
    let folder = tempfile::tempdir().unwrap();
    let mut gone = Process::in_folder(folder.path());
    for line in ["add gone 5", "observe 0.5", "set max 4", "series 300", "remove gone", "add gone 6"] {
        gone.tell(line);
    }
    gone.kill();
    let mut living = Process::in_folder(folder.path());
    living.tell("add lives 7");
    (folder, living)
}

#[test]
fn strange_files_are_named_and_passed_over() {
    let (folder, mut living) = inhabited();
    let name = |n: u32| folder.path().join(format!("{n:032x}.cells"));
    fs::write(name(1), b"").unwrap();
    fs::write(name(2), vec![7; 100_000]).unwrap();
    fs::create_dir(name(3)).unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    fs::write(folder.path().join("not-a-number.cells"), "mine").unwrap();
    let other_version = name(4);
    fs::copy(&named(folder.path(), ".cells")[4], &other_version).unwrap();
    unlock(&other_version);
    File::options().write(true).open(&other_version).unwrap().write_all_at(&9_u64.to_ne_bytes(), 16).unwrap();
    let page = living.page();
    assert_eq!((page.counted("lives"), page.counted("gone")), (7.0, 6.0));
    let skipped = |reason: &str| page.get(&format!("uplifted_ops_metrics_skipped_files{{reason=\"{reason}\"}}"));
    assert_eq!((skipped("truncated"), skipped("foreign"), skipped("version")), (Some(1.0), Some(2.0), Some(1.0)));
    // They are still passed over when it is time to fold, and what others own stays.
    living.tell("churn 12 1");
    let page = living.page();
    assert_eq!((page.counted("churn"), page.counted("gone")), (12.0, 6.0));
    assert_eq!(living.page().counted("churn"), 12.0);
    assert!(other_version.exists() && name(3).exists() && folder.path().join("not-a-number.cells").exists());
    assert_eq!(named(folder.path(), ".damaged").len(), 2);
}

#[test]
fn what_the_dead_left_may_be_torn_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = Process::in_folder(folder.path());
    one.tell("churn 9 10");
    assert_eq!(one.page().counted("churn"), 90.0);
    let kept = folder.path().join("kept-2");
    let good = fs::read(&kept).unwrap();
    let mut random = seeded("what the dead left");
    let put = |bytes: &[u8]| {
        // As whoever writes it does.
        fs::write(folder.path().join("beside"), bytes).unwrap();
        fs::rename(folder.path().join("beside"), &kept).unwrap();
    };
    let shown = || {
        let mut other = Process::start(&[]);
        other.tell(&format!("show {}", folder.path().display()));
        let page = other.page();
        let skipped = page.0.iter().any(|line| line.starts_with("uplifted_ops_metrics_skipped_files{"));
        (page.counted("churn"), skipped)
    };
    for round in 0..30 {
        let mut wrong = good.clone();
        let at = random.usize(..wrong.len());
        wrong[at] ^= 1 << random.u8(..8);
        if round % 3 == 0 {
            wrong.truncate(at);
        }
        put(&wrong);
        assert_eq!(shown(), (0.0, true), "round {round}: byte {at}");
    }
    put(&good);
    assert_eq!(shown(), (90.0, false));
    put(b"something else entirely");
    // Folding puts it aside, and goes on.
    one.tell("churn 9 1");
    one.page();
    assert_eq!(one.page().counted("churn"), 9.0);
    assert_eq!(named(folder.path(), ".damaged").len(), 1);
}

#[test]
fn any_bytes_of_another_are_read_without_harm() {
    let (folder, mut living) = inhabited();
    let mut random = seeded("bytes of another");
    let path = named(folder.path(), ".cells").into_iter().find(|path| is_dead(path)).unwrap();
    let good = fs::read(&path).unwrap();
    unlock(&path);
    for round in 0..60 {
        let mut wrong = good.clone();
        // Where something is: the descriptions, the log, the first cells.
        for _ in 0..=random.u8(..8) {
            let used: usize = if round % 2 == 0 { 4_096 } else { wrong.len() };
            let at = random.usize(..used);
            wrong[at] = if round % 3 == 0 { 0xff } else { random.u8(..) };
        }
        if round % 5 == 0 {
            wrong.truncate(random.usize(..wrong.len()));
        }
        fs::write(&path, &wrong).unwrap();
        let page = living.page();
        assert_eq!(page.counted("lives"), 7.0, "round {round}");
        fs::write(&path, &good).unwrap();
        assert_eq!(living.page().counted("gone"), 6.0, "round {round}");
    }
}

fn is_dead(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok()
}

#[test]
fn a_file_that_is_cut_off_harms_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let [mut one, mut two] = [(); 2].map(|()| Process::in_folder(folder.path()));
    one.tell("add a 1");
    two.tell("add a 2");
    assert_eq!(two.page().counted("a"), 3.0);
    let held = File::open(folder.path()).unwrap();
    for path in named(folder.path(), ".cells") {
        // Not its own: that would be its end.
        unlock(&path);
        let file = File::options().write(true).open(&path).unwrap();
        let len = file.metadata().unwrap().len();
        if len > 0 && path != own(&mut two, folder.path()) {
            file.set_len(5_000).unwrap();
        }
    }
    drop(held);
    let page = two.page();
    assert_eq!(
        (page.counted("a"), page.get("uplifted_ops_metrics_skipped_files{reason=\"truncated\"}")),
        (2.0, Some(1.0))
    );
}

#[test]
fn who_is_cut_off_ends_and_the_next_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = Process::in_folder(folder.path());
    one.tell("add a 5");
    let path = own(&mut one, folder.path());
    // Nobody does it by mistake.
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o400);
    if !rustix::process::geteuid().is_root() {
        assert!(File::options().write(true).open(&path).is_err());
    }
    let mut two = Process::in_folder(folder.path());
    two.tell("add a 2");
    assert_eq!(two.page().counted("a"), 7.0);
    unlock(&path);
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    one.say("add a 1");
    assert_eq!(one.line(), None, "it lives");
    assert_eq!(two.page().counted("a"), 2.0);
    let mut three = Process::in_folder(folder.path());
    three.tell("add a 1");
    assert_eq!((two.page().counted("a"), three.page().counted("a")), (3.0, 3.0));
    // Put aside when it is time to fold.
    two.tell("churn 12 1");
    let page = two.page();
    assert_eq!((page.counted("a"), page.counted("churn"), two.page().counted("a")), (3.0, 12.0, 3.0));
    assert_eq!(named(folder.path(), ".damaged").len(), 1);
}

/// The file that this process has: which one it is shows when all others are gone.
fn own(process: &mut Process, folder: &Path) -> PathBuf {
    let pid = process.pid();
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut files = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
    // Opened twice: for the lock, and for the memory.
    let mut held: Vec<PathBuf> = files
        .by_ref()
        .filter(|path| path.starts_with(folder) && path.extension().is_some_and(|e| e == "cells"))
        .collect();
    held.sort();
    held.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).unwrap()
}

#[test]
fn a_number_that_is_used_again_means_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut gone = Process::in_folder(folder.path());
    gone.tell("add a 4");
    gone.tell("set live_sum 9");
    gone.kill();
    // The file says the number of a process that lives: this one.
    let path = named(folder.path(), ".cells").remove(0);
    let before = fs::read(&path).unwrap();
    assert!(before[48..56] != u64::from(std::process::id()).to_ne_bytes());
    let mut one = Process::in_folder(folder.path());
    let page = one.page();
    assert_eq!((page.counted("a"), page.get("shop_live_sum")), (4.0, Some(0.0)));
    assert_eq!(page.get("uplifted_ops_metrics_processes"), Some(1.0));
    // Whoever holds the lock is alive, whatever it is.
    let file = File::open(&path).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut two = Process::in_folder(folder.path());
    let page = two.page();
    assert_eq!(page.get("uplifted_ops_metrics_processes"), Some(3.0));
    one.tell("churn 20 1");
    assert_eq!((one.page().counted("a"), path.exists()), (4.0, true));
}

#[test]
fn where_nothing_can_be_written_counting_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // A folder that cannot be made, whoever asks.
    let blocked = folder.path().join("file");
    File::create(&blocked).unwrap().write_all(b"no folder").unwrap();
    let mut one = Process::start(&[]);
    let answer = one.tell(&format!("share {}", blocked.join("metrics").display()));
    assert!(answer.starts_with("error: "), "{answer}");
    one.tell("add a 3");
    one.tell("fork 2 5");
    let page = one.page();
    assert_eq!(page.counted("a"), 3.0);
    assert!(page.0.iter().any(|line| line.starts_with("uplifted_ops_metrics_unshared{reason=")), "{page:?}");
    // Read-only: the superuser may write there nevertheless.
    let metrics = folder.path().join("metrics");
    let mut other = Process::in_folder(&metrics);
    other.tell("add a 4");
    fs::set_permissions(&metrics, fs::Permissions::from_mode(0o500)).unwrap();
    let mut two = Process::start(&[]);
    let answer = two.tell(&format!("share {}", metrics.display()));
    two.tell("add a 5");
    assert_eq!(two.page().counted("a"), 9.0, "{answer}");
    fs::set_permissions(&metrics, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_full_disk_stops_the_sharing_and_not_the_counting() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = Process::in_folder(folder.path());
    // The first region finds room, the further ones do not.
    let mut one = Process::start(&[("UPLIFTED_OPS_FAULT", "host:enospc+@4")]);
    let answer = one.tell(&format!("share {}", folder.path().display()));
    one.tell("add a 5");
    one.tell("series 5000");
    one.tell("add a 5");
    let page = one.page();
    assert_eq!(page.counted("a"), 10.0, "{answer}");
    assert_eq!(page.get("shop_many_total{n=\"4999\"}"), Some(1.0));
    assert_eq!(page.get("uplifted_ops_metrics_unshared{reason=\"no_space\"}"), Some(1.0), "{answer}");
    // What was in the file before is there still, and counts on.
    watcher.tell("add a 1");
    let page = watcher.page();
    assert_eq!(page.counted("a"), 11.0);
    assert_eq!(page.get("shop_many_total{n=\"1\"}"), Some(1.0));
    assert!(!page.0.iter().any(|line| line.starts_with("uplifted_ops_metrics_skipped_files{")), "{page:?}");
    // What is taken out cannot be told any more, and no other series takes its place.
    one.tell("remove a");
    one.tell("add b 7");
    assert_eq!((one.page().counted("a"), one.page().counted("b")), (1.0, 7.0));
    assert_eq!(watcher.page().counted("b"), 0.0);
}

#[test]
fn a_disk_that_is_really_full_stops_the_sharing_and_not_the_counting() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = Disk::mount(folder.path(), 192 << 10) else {
        eprintln!("skipped: only the superuser may mount a small disk");
        return;
    };
    let mut one = Process::in_folder(folder.path());
    one.tell("add a 5");
    // The first region finds room, and so may a second: not all that these want.
    one.tell("series 5000");
    one.tell("add a 5");
    one.tell("threads 3 1000");
    let page = one.page();
    assert_eq!((page.counted("a"), page.counted("thread")), (10.0, 3_000.0));
    assert_eq!(page.get("shop_many_total{n=\"4999\"}"), Some(1.0));
    assert_eq!(page.get("uplifted_ops_metrics_unshared{reason=\"no_space\"}"), Some(1.0));
    // One that comes later cannot share at all, is told, and shows what there is.
    let mut two = Process::start(&[]);
    let answer = two.tell(&format!("share {}", folder.path().display()));
    two.tell("add a 1");
    let page = two.page();
    assert!(answer.starts_with("error: ") && page.counted("a") == 11.0, "{answer} {page:?}");
    assert_eq!(page.get("uplifted_ops_metrics_unshared{reason=\"no_space\"}"), Some(1.0));
    // Once there is room, who begins finds it.
    one.kill();
    assert_eq!(named(folder.path(), ".new"), Vec::<PathBuf>::new());
    named(folder.path(), ".cells").iter().for_each(|path| fs::remove_file(path).unwrap());
    // Who has read a file holds it until it looks again.
    assert_eq!(two.page().counted("a"), 1.0);
    let mut three = Process::in_folder(folder.path());
    three.tell("add a 2");
    assert_eq!(three.page().counted("a"), 2.0);
}

#[test]
fn a_disk_that_takes_no_writes_stops_the_sharing_and_not_the_counting() {
    let folder = tempfile::tempdir().unwrap();
    let (writable, read_only) = (folder.path().join("writable"), folder.path().join("read-only"));
    fs::create_dir(&writable).unwrap();
    fs::create_dir(&read_only).unwrap();
    let Some(_disk) = Disk::read_only(&writable, &read_only) else {
        eprintln!("skipped: only the superuser may mount a disk that takes no writes");
        return;
    };
    let mut one = Process::in_folder(&writable.join("metrics"));
    one.tell("add a 5");
    let mut two = Process::start(&[]);
    let answer = two.tell(&format!("share {}", read_only.join("metrics").display()));
    assert!(answer.starts_with("error: ") && answer.contains("ead-only"), "{answer}");
    two.tell("add a 4");
    two.tell("threads 3 1000");
    let page = two.page();
    assert_eq!((page.counted("a"), page.counted("thread")), (9.0, 3_000.0), "{page:?}");
    assert_eq!(page.get("uplifted_ops_metrics_unshared{reason=\"denied\"}"), Some(1.0), "{page:?}");
    // So many dead would be folded, if that could be written down. They are summed as they lie there.
    one.tell("churn 12 1");
    one.kill();
    for _ in 0..2 {
        let page = two.page();
        assert_eq!((page.counted("a"), page.counted("churn")), (9.0, 12.0), "{page:?}");
    }
    // Whoever can write finds all of it.
    let mut three = Process::in_folder(&writable.join("metrics"));
    let page = three.page();
    assert_eq!((page.counted("a"), page.counted("churn")), (5.0, 12.0), "{page:?}");
}

/// The folding of the dead, killed before each call that changes the disk.
#[test]
fn a_death_at_any_step_of_the_folding_loses_and_doubles_nothing() {
    let mut steps = 0;
    for step in 1..60 {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Process::in_folder(folder.path());
        // What was folded before must survive as well.
        for (label, children) in [("first", 9), ("second", 9)] {
            one.tell(&format!("add {label} {children}"));
            one.tell(&format!("churn {children} 10"));
            if label == "first" {
                assert_eq!(one.page().counted("churn"), 90.0);
            }
        }
        one.kill();
        let point = format!("host:kill@{step}");
        let mut folds = Process::start(&[("UPLIFTED_OPS_FAULT", &point)]);
        folds.say(&format!("share {}", folder.path().display()));
        let died = folds.line().is_none();
        steps += u32::from(died);
        let mut reader = Process::start(&[]);
        reader.tell(&format!("show {}", folder.path().display()));
        for _ in 0..3 {
            let page = reader.page();
            let counted = [page.counted("churn"), page.counted("first"), page.counted("second")];
            assert_eq!(counted, [180.0, 9.0, 9.0], "killed at step {step}");
        }
        if !died {
            break;
        }
    }
    assert!(steps > 10, "only {steps} steps");
}
