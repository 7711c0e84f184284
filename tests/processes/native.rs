//! Native histograms of several processes are one.

use uplifted_ops::metrics::NativeDistribution;

use crate::process::Process;

fn natives(process: &mut Process) -> Option<NativeDistribution> {
    serde_json::from_str(&process.tell("natives")).unwrap()
}

fn shown(process: &mut Process) -> NativeDistribution {
    natives(process).unwrap()
}

#[test]
fn native_buckets_of_two_processes_are_summed() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = Process::start(&[]);
    one.tell("define 1 0 160");
    one.tell("native 3 2");
    // Before and after the folder is known.
    assert_eq!(one.tell(&format!("share {}", folder.path().display())), "done");
    one.tell("native 100 1");
    one.tell("native -3 4");
    let mut two = Process::in_folder(folder.path());
    // Who has none himself shows those of others.
    assert_eq!(shown(&mut two), shown(&mut one));
    two.tell("define 0 0.5 160");
    two.tell("native 0.25 5");
    two.tell("native 3 1");
    let (a, b) = (shown(&mut one), shown(&mut two));
    assert_eq!(a, b);
    // The coarser of both schemas, the wider of both zero buckets.
    assert_eq!((a.schema, a.zero_threshold, a.zero_count), (0, 0.5, 5));
    assert_eq!((a.positive, a.negative), (vec![(2, 3), (7, 1)], vec![(2, 4)]));
    assert!((a.sum - (3.0 * 3.0 + 100.0 - 12.0 + 1.25)).abs() < 1e-9 && !a.was_reset);
    // Killed, it stays; folded, it stays.
    one.kill();
    assert_eq!(shown(&mut two).count(), 13);
    two.tell("churn 20 1");
    assert_eq!(two.page().counted("churn"), 20.0);
    assert!(folder.path().join("kept-2").exists());
    let mut three = Process::in_folder(folder.path());
    assert_eq!((shown(&mut two).count(), shown(&mut three)), (13, shown(&mut two)));
    two.kill();
    assert_eq!((shown(&mut three).count(), shown(&mut three).zero_count), (13, 5));
}

#[test]
fn a_forked_child_begins_at_no_native_buckets() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Process::start(&[]);
    parent.tell("define 3 0 160");
    parent.tell("native 1 10");
    parent.tell("native fork 2 1");
    assert_eq!(shown(&mut parent).count(), 10);
    parent.tell(&format!("share {}", folder.path().display()));
    // In a bucket that the parent has, and in one of its own.
    parent.tell("native fork 3 1");
    parent.tell("native fork 2 1000");
    let all = shown(&mut parent);
    assert_eq!((all.count(), all.positive.len(), all.sum), (15, 2, 2_013.0));
    let mut other = Process::in_folder(folder.path());
    assert_eq!(shown(&mut other), all);
    parent.kill();
    assert_eq!(shown(&mut other), all);
}

#[test]
fn what_was_counted_in_native_buckets_outlives_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = Process::in_folder(folder.path());
    let mut random = uplifted_ops::testing::random::seeded("native kill");
    let mut said = 0;
    for round in 0..12 {
        let mut one = Process::in_folder(folder.path());
        // Few buckets, so that they become coarser all the time.
        one.tell("define 8 0 10");
        for _ in 0..random.u32(1..60) {
            let value = 2_f64.powf(random.f64() * 40.0 - 20.0);
            one.tell(&format!("native {value} 3"));
            said += 3;
        }
        one.say("native 5 100000");
        std::thread::sleep(std::time::Duration::from_micros(random.u64(..3_000)));
        one.kill();
        let held = shown(&mut watcher);
        assert!(held.count() >= said && held.positive.len() <= 10, "round {round}: {said} {held:?}");
        said = held.count();
    }
    assert_eq!(shown(&mut watcher).count(), said);
    assert_eq!(shown(&mut Process::in_folder(folder.path())).count(), said);
}

#[test]
fn a_reset_in_one_process_is_a_reset_of_the_sum() {
    let folder = tempfile::tempdir().unwrap();
    let [mut one, mut two] = [(); 2].map(|()| Process::in_folder(folder.path()));
    one.tell("define 3 0 8");
    two.tell("define 3 0 160");
    two.tell("native 1 100");
    (0..12).for_each(|n| drop(one.tell(&format!("native 1e{n} 1"))));
    assert_eq!((shown(&mut two).count(), shown(&mut two).was_reset), (112, false));
    // Its clock is the system's: a second must pass.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    (0..40).for_each(|n| drop(one.tell(&format!("native 1e{} 1", n * 3 - 60))));
    let held = shown(&mut two);
    assert!(held.was_reset && held.count() >= 101 && held.count() < 152, "{held:?}");
    assert_eq!(held, shown(&mut one));
    // That it was is known of those too that are gone.
    one.kill();
    two.tell("churn 20 1");
    assert_eq!((two.page().counted("churn"), shown(&mut two)), (20.0, held));
}

#[test]
fn a_series_without_native_buckets_somewhere_shows_none() {
    let folder = tempfile::tempdir().unwrap();
    let [mut one, mut two] = [(); 2].map(|()| Process::in_folder(folder.path()));
    one.tell("define 3 0 160");
    one.tell("native 1 1");
    assert!(natives(&mut two).is_some());
    two.tell("define classic");
    assert_eq!((natives(&mut two), natives(&mut one)), (None, None));
}
