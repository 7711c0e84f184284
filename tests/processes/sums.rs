//! What several processes count is on the page of each.

use std::path::Path;

use crate::process::Process;

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn cells(folder: &Path) -> usize {
    files(folder).iter().filter(|name| name.ends_with(".cells")).count()
}

#[test]
fn two_processes_show_the_same_sum() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = Process::start(&[]);
    // Before and after the folder is known.
    for line in ["add a 5", "part a 0.25", "observe 0.05", "set live_sum 1", "threads 3 1000"] {
        one.tell(line);
    }
    assert_eq!(one.tell(&format!("share {}", folder.path().display())), "done");
    for line in ["add a 7", "add b 1", "observe 0.5", "observe 5", "threads 3 1000"] {
        one.tell(line);
    }
    let mut two = Process::in_folder(folder.path());
    for line in ["add a 100", "part c 0.5", "observe 0.5", "shift live_sum 2", "add \u{e9} 1"] {
        two.tell(line);
    }
    let (a, b) = (one.page(), two.page());
    for page in [&a, &b] {
        assert_eq!(page.counted("a"), 112.25);
        assert_eq!((page.counted("b"), page.counted("c"), page.counted("\u{e9}")), (1.0, 0.5, 1.0));
        assert_eq!(page.counted("thread"), 6_000.0);
        assert_eq!(page.get("shop_took_seconds_bucket{le=\"0.1\"}"), Some(1.0));
        assert_eq!(page.get("shop_took_seconds_bucket{le=\"1.0\"}"), Some(3.0));
        assert_eq!(page.get("shop_took_seconds_count"), Some(4.0));
        assert!((page.get("shop_took_seconds_sum").unwrap() - 6.05).abs() < 1e-9);
        assert_eq!(page.get("uplifted_ops_metrics_processes"), Some(2.0));
        assert_eq!(page.get("process_threads").is_some(), cfg!(target_os = "linux"));
    }
    // Each its own process_*, and gauges of before the folder up to 100 ms old; the rest the same.
    let rest = |page: &crate::process::Page| -> Vec<String> {
        page.0.iter().filter(|line| !line.contains("process_") && !line.contains("shop_live_sum ")).cloned().collect()
    };
    assert_eq!(rest(&a), rest(&b));
    // What is removed in one goes from the sum.
    assert_eq!(one.tell("remove a"), "true");
    assert_eq!((one.page().counted("a"), two.page().counted("a")), (100.0, 100.0));
    one.tell("add a 1");
    assert_eq!(two.page().counted("a"), 101.0);
}

#[test]
fn eight_processes_lose_nothing_when_they_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = Process::in_folder(folder.path());
    let mut last = 0.0;
    let mut all = 0.0;
    for _ in 0..2 {
        let mut eight: Vec<Process> = (0..8).map(|_| Process::in_folder(folder.path())).collect();
        for process in &mut eight {
            process.say("busy");
        }
        for process in &mut eight {
            // In the middle of it.
            for _ in 0..20 {
                process.line().unwrap();
            }
            let now = watcher.page().counted("busy");
            assert!(now >= last, "{last} was followed by {now}");
            last = now;
            process.kill();
            let said = process.rest().iter().filter_map(|line| line.parse::<f64>().ok()).fold(20_000.0, f64::max);
            all += said;
        }
        let now = watcher.page().counted("busy");
        assert!(now >= all, "{all} were said to be added, and {now} are there");
        // Four threads may each have been about to say a thousand more.
        all = now;
        last = now;
    }
    // Folded, and the same.
    assert!(cells(folder.path()) < 9, "{:?}", files(folder.path()));
    assert_eq!(watcher.page().counted("busy"), last);
    assert_eq!(Process::in_folder(folder.path()).page().counted("busy"), last);
}

#[test]
fn forked_children_count_in_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Process::start(&[]);
    // Where nobody shares, a child begins at zero as well, and what it counts is its own.
    parent.tell("add fork 10");
    parent.tell("fork 2 1000");
    assert_eq!(parent.page().counted("fork"), 10.0);
    parent.tell(&format!("share {}", folder.path().display()));
    parent.tell("fork 2 2000000");
    assert_eq!(parent.page().counted("fork"), 4_000_010.0);
    assert_eq!(cells(folder.path()), 3);
    // With threads that hold our locks at any moment.
    parent.tell("threads 4 1000");
    parent.tell("fork 4 1000");
    assert_eq!(parent.page().counted("fork"), 4_004_010.0);
    // The parent's file is locked by the parent alone.
    let mut other = Process::in_folder(folder.path());
    assert_eq!(other.page().get("uplifted_ops_metrics_processes"), Some(2.0));
    parent.kill();
    let page = other.page();
    assert_eq!((page.get("uplifted_ops_metrics_processes"), page.counted("fork")), (Some(1.0), 4_004_010.0));
}

#[test]
fn thousands_of_short_lives_leave_few_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Process::in_folder(folder.path());
    parent.tell("set max 3");
    let (mut most, mut children) = (0, 0);
    for _ in 0..20 {
        parent.tell("churn 100 3");
        children += 100;
        assert_eq!(parent.page().counted("churn"), f64::from(children) * 3.0);
        most = most.max(cells(folder.path()));
    }
    assert!(most <= 110, "{most} files");
    assert!(cells(folder.path()) <= 9, "{:?}", files(folder.path()));
    // Where nobody ever asks, who begins tidies up.
    parent.tell("churn 50 1");
    parent.kill();
    let mut next = Process::in_folder(folder.path());
    assert!(cells(folder.path()) <= 2, "{:?}", files(folder.path()));
    let page = next.page();
    assert_eq!((page.counted("churn"), page.get("shop_max")), (6_050.0, Some(3.0)));
}

#[test]
fn gauges_follow_their_mode() {
    let folder = tempfile::tempdir().unwrap();
    let [mut one, mut two, mut three] = [(); 3].map(|()| Process::in_folder(folder.path()));
    for (process, value) in [(&mut one, 5), (&mut two, 1), (&mut three, 3)] {
        for mode in ["live_sum", "live_max", "live_min", "sum", "max", "min", "recent"] {
            process.tell(&format!("set {mode} {value}"));
        }
    }
    let show = |process: &mut Process| {
        let page = process.page();
        ["live_sum", "live_max", "live_min", "sum", "max", "min", "recent"]
            .map(|mode| page.get(&format!("shop_{mode}")).unwrap())
    };
    // Copied at most 100 ms later where they were there before the folder.
    let settled = |process: &mut Process, expected: [f64; 7]| {
        let mut shown = show(process);
        for _ in 0..100 {
            if shown == expected {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            shown = show(process);
        }
        assert_eq!(shown, expected);
    };
    settled(&mut one, [9.0, 5.0, 1.0, 9.0, 5.0, 1.0, 3.0]);
    settled(&mut three, [9.0, 5.0, 1.0, 9.0, 5.0, 1.0, 3.0]);
    one.tell("set recent 8");
    settled(&mut two, [9.0, 5.0, 1.0, 9.0, 5.0, 1.0, 8.0]);
    one.kill();
    settled(&mut two, [4.0, 3.0, 1.0, 9.0, 5.0, 1.0, 8.0]);
    two.tell("churn 10 1");
    settled(&mut two, [4.0, 3.0, 1.0, 9.0, 5.0, 0.0, 8.0]);
    settled(&mut three, [4.0, 3.0, 1.0, 9.0, 5.0, 0.0, 8.0]);
}

/// Tells until the page says so: what is copied is there within 100 ms.
fn comes_to(process: &mut Process, by: &str, expected: f64) {
    for _ in 0..100 {
        if process.page().counted(by) >= expected {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(process.page().counted(by), expected);
}

#[test]
fn memory_of_an_interpreter_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (Process::start(&[]), Process::in_folder(folder.path()));
    // Lent before and after the folder is known.
    one.tell("lend js 7");
    one.tell(&format!("share {}", folder.path().display()));
    comes_to(&mut two, "js", 7.0);
    one.tell("lend js 5");
    one.tell("add js 1");
    comes_to(&mut two, "js", 13.0);
    // Moved, and neither lost nor doubled; the pages are used again.
    one.tell("take back");
    assert_eq!((one.page().counted("js"), two.page().counted("js")), (13.0, 13.0));
    one.tell("lend js 2");
    comes_to(&mut two, "js", 15.0);
    one.kill();
    assert_eq!(two.page().counted("js"), 15.0);
}

#[test]
fn two_folders_know_nothing_of_each_other() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut one, mut two) = (Process::in_folder(here.path()), Process::in_folder(there.path()));
    one.tell("add a 1");
    two.tell("add a 2");
    assert_eq!((one.page().counted("a"), two.page().counted("a")), (1.0, 2.0));
    let refused = one.tell(&format!("share {}", there.path().display()));
    assert!(refused.starts_with("error: ") && refused.contains("are shared in"), "{refused}");
    assert_eq!(one.page().counted("a"), 1.0);
    // Who only shows counts nowhere.
    let mut beside = Process::start(&[]);
    beside.tell(&format!("show {}", there.path().display()));
    beside.tell("add a 1000");
    assert_eq!((beside.page().counted("a"), two.page().counted("a")), (1_002.0, 2.0));
}

#[test]
fn what_the_facade_counts_is_summed_by_all_its_labels() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (Process::start(&[]), Process::in_folder(folder.path()));
    one.tell("facade");
    one.tell("facade add mail_sent_bytes to=a 3");
    assert_eq!(one.tell(&format!("share {}", folder.path().display())), "done");
    one.tell("facade add mail_sent_bytes - 1");
    let lines = |process: &mut Process| {
        let mut page = process.page().0;
        page.retain(|line| line.contains("mail_sent_bytes"));
        page.sort();
        page
    };
    // Who has none himself shows those of others.
    assert_eq!(lines(&mut two), lines(&mut one));
    two.tell("facade");
    two.tell("facade add mail_sent_bytes to=a 4");
    two.tell("facade add mail_sent_bytes by=b,to=a 5");
    // Said late, and in one process alone.
    one.tell("facade tell mail_sent_bytes bytes Sent");
    let mut three = Process::in_folder(folder.path());
    let series =
        ["mail_sent_bytes_total 1", "mail_sent_bytes_total{by=\"b\",to=\"a\"} 5", "mail_sent_bytes_total{to=\"a\"} 7"];
    let told = ["# HELP mail_sent_bytes Sent", "# TYPE mail_sent_bytes counter", "# UNIT mail_sent_bytes bytes"];
    let all: Vec<&str> = told.into_iter().chain(series).collect();
    assert_eq!(lines(&mut one), all);
    assert_eq!(lines(&mut three), all);
    assert_eq!(lines(&mut two)[1..], series);
    // Children begin at zero, also with labels of their own, and what the dead counted stays.
    one.tell("facade fork mail_sent_bytes to=a 10");
    one.tell("facade fork mail_sent_bytes to=c 1");
    two.kill();
    one.kill();
    three.tell("churn 20 1");
    assert_eq!(three.page().counted("churn"), 20.0);
    let page = three.page();
    let sent = |labels: &str| page.get(&format!("mail_sent_bytes_total{labels}"));
    assert_eq!(
        (sent("{to=\"a\"}"), sent("{to=\"c\"}"), sent("{by=\"b\",to=\"a\"}")),
        (Some(17.0), Some(1.0), Some(5.0))
    );
}
