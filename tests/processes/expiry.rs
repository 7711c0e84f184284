//! Series that nobody changes any more leave the pages and the files of all processes at once. By a clock that is moved.

use std::path::Path;

use crate::process::Process;

fn at(seconds: u32, folder: &Path) -> Process {
    let mut process = Process::start(&[("COUNTING_CLOCK", &seconds.to_string())]);
    assert_eq!(process.tell(&format!("share {}", folder.display())), "done");
    process
}

fn seen(process: &mut Process, who: &str) -> Option<f64> {
    process.page().get(&format!("shop_seen_total{{who=\"{who}\"}}"))
}

/// Lets so many seconds pass for all, and each look.
fn pass(processes: &mut [&mut Process], seconds: u32) {
    for process in processes {
        process.tell(&format!("clock {seconds}"));
        process.page();
    }
}

fn kept(folder: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join("kept-2")).unwrap_or_default()).into_owned()
}

#[test]
fn a_sum_that_somebody_changes_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let [mut one, mut two] = [(); 2].map(|()| at(0, folder.path()));
    one.tell("seen a 5");
    two.tell("seen a 7");
    two.tell("seen b 1");
    one.tell("add stays 1");
    pass(&mut [&mut one, &mut two], 300);
    assert_eq!((seen(&mut one, "a"), seen(&mut two, "b")), (Some(12.0), Some(1.0)));
    // One alone counts on: what the other has stays in the sum.
    for n in 1..=4 {
        two.tell("seen a 1");
        pass(&mut [&mut one, &mut two], 400);
        let expected = Some(12.0 + f64::from(n));
        assert_eq!((seen(&mut one, "a"), seen(&mut two, "a")), (expected, expected));
    }
    assert_eq!((seen(&mut one, "b"), seen(&mut two, "b"), one.page().counted("stays")), (None, None, 1.0));
    // Nobody does: it leaves all pages, and begins at zero.
    pass(&mut [&mut one, &mut two], 700);
    assert_eq!((seen(&mut one, "a"), seen(&mut two, "a")), (None, None));
    one.tell("seen a 1");
    assert_eq!((seen(&mut one, "a"), seen(&mut two, "a")), (Some(1.0), Some(1.0)));
}

#[test]
fn what_the_dead_counted_expires_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let [mut one, mut two] = [(); 2].map(|()| at(0, folder.path()));
    two.tell("seen a 7");
    two.tell("add stays 2");
    two.kill();
    pass(&mut [&mut one], 599);
    assert_eq!(seen(&mut one, "a"), Some(7.0));
    one.tell("seen a 1");
    pass(&mut [&mut one], 599);
    assert_eq!(seen(&mut one, "a"), Some(8.0));
    // Not folded yet, and gone nevertheless.
    pass(&mut [&mut one], 700);
    assert_eq!(seen(&mut one, "a"), None);
    one.tell("seen a 1");
    assert_eq!((seen(&mut one, "a"), one.page().counted("stays")), (Some(1.0), 2.0));
    assert!(!kept(folder.path()).contains("who=\"a\""));
}

#[test]
fn what_is_kept_grows_no_further_and_restarts_make_nothing_younger() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = at(0, folder.path());
    let mut largest = 0;
    for round in 0..12 {
        let mut other = at(round * 300, folder.path());
        (0..50).for_each(|n| drop(other.tell(&format!("seen {round}-{n} 1"))));
        other.kill();
        one.tell("churn 9 1");
        pass(&mut [&mut one], 300);
        largest = largest.max(kept(folder.path()).len());
        assert_eq!(seen(&mut one, &format!("{round}-7")), Some(1.0));
        if round >= 3 {
            assert_eq!(seen(&mut one, &format!("{}-7", round - 3)), None);
        }
    }
    // Three rounds of fifty, and not twelve.
    assert!(largest < 200 * 100, "{largest} bytes");
    assert!(kept(folder.path()).contains("who=\"11-7\""));
    one.kill();
    // Since when it stands is written down.
    let mut early = at(12 * 300 + 100, folder.path());
    assert_eq!(seen(&mut early, "11-7"), Some(1.0));
    early.kill();
    let mut late = at(12 * 300 + 600, folder.path());
    assert_eq!((seen(&mut late, "11-7"), late.page().counted("churn")), (None, 108.0));
    assert!(!kept(folder.path()).contains("who=\"11-7\""));
}
