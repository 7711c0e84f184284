use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::testing::random::Rng;

const DAY: u64 = 86_400;

/// An object that exists, and when each of its slices was last read.
struct Stored {
    key: String,
    size: u64,
    read: HashMap<u64, Timestamp>,
}

/// A history of runs, new and deleted objects and losses, by the numbers of `random`. Says how long a slice waited at
/// most, in seconds. A run is at most `gap` seconds after the one before; `loses` of 10 runs do not know of it.
fn longest_wait(random: &mut Rng, days: f64, gap: u64, loses: u64) -> i64 {
    let clock = ManualClock::new("2025-01-01T00:00:00Z".parse().unwrap());
    let cycle = Cycle::of(days).unwrap();
    let (mut stored, mut reached, mut longest, mut made) = (Vec::<Stored>::new(), None, 0, 0);
    for _ in 0..200 {
        for _ in 0..random.u64(..3) {
            // Read back when it is made.
            let size = random.u64(..5 * SLICE_BYTES);
            let key = format!("app_{made}.tar.zst");
            let read = slices(0, &key, size).map(|slice| (slice.range.start, clock.now())).collect();
            stored.push(Stored { key, size, read });
            made += 1;
            clock.advance(Duration::from_secs(random.u64(..gap / 4 + 1)));
        }
        if stored.len() > 30 {
            stored.remove(random.usize(..30));
        }
        let now = clock.now();
        let known = reached.filter(|_| random.u64(..10) >= loses);
        let from = cycle.start(known, now);
        let all = stored.iter().enumerate().flat_map(|(number, object)| slices(number, &object.key, object.size));
        for Due { slice, at } in cycle.due(all, from, now) {
            assert!(at > from && at <= now);
            stored[slice.object].read.insert(slice.range.start, now);
        }
        reached = Some(now);
        clock.advance(Duration::from_secs(1 + random.u64(..gap / 2)));
        for object in &stored {
            longest =
                object.read.values().map(|read| clock.now().duration_since(*read).as_secs()).fold(longest, i64::max);
        }
    }
    longest
}

#[test]
fn every_byte_is_read_within_the_promise_whatever_is_lost() {
    for seed in 0..40 {
        let mut random = Rng::with_seed(seed);
        let days = [0.5, 7.0, 30.0][random.usize(..3)];
        let promise = (days * DAY as f64) as u64;
        let loses = random.u64(..11);
        let longest = longest_wait(&mut random, days, promise / 4, loses);
        assert!(longest <= promise as i64, "seed {seed}: {longest} s of {promise}, {loses} of 10 runs know nothing");
        // The test can see a slice that waits: without reading, it would be far beyond.
        assert!(longest > promise as i64 / 2, "seed {seed}: {longest} s of {promise}");
    }
}

#[test]
fn a_run_that_is_late_catches_up() {
    for seed in 100..120 {
        // Nothing is lost, but runs are up to half a promise apart: that, and a cycle, is the longest wait.
        let mut random = Rng::with_seed(seed);
        let promise = 30 * DAY;
        let longest = longest_wait(&mut random, 30.0, promise / 2, 0);
        assert!(longest <= (promise * 3 / 4 + promise / 2) as i64, "seed {seed}: {longest}");
    }
}

#[test]
fn the_load_is_even_and_a_cycle_reads_everything_once() {
    let cycle = Cycle::of(30.0).unwrap();
    let start: Timestamp = "2025-06-01T00:00:00Z".parse().unwrap();
    let all = || (0..40).flat_map(|n| slices(n, &format!("app_{n}.tar.zst"), 25 * SLICE_BYTES).collect::<Vec<_>>());
    let (mut at, mut seen, mut most) = (start, Vec::new(), 0);
    while at.duration_since(start).as_secs() < (30 * DAY * 3 / 4) as i64 {
        let next = at + Duration::from_secs(DAY / 2);
        let due = cycle.due(all(), at, next);
        most = most.max(due.len());
        seen.extend(due.into_iter().map(|due| (due.slice.object, due.slice.range.start)));
        at = next;
    }
    seen.sort_unstable();
    let expected: Vec<_> = all().map(|slice| (slice.object, slice.range.start)).collect();
    assert_eq!(seen, expected);
    // 1,000 slices in 45 runs are 22 in each, give or take.
    assert!(most < 45, "{most} slices in one run");
}

#[test]
fn clocks_that_are_wrong_lead_nowhere_bad() {
    let cycle = Cycle::of(30.0).unwrap();
    let now: Timestamp = "2025-06-01T00:00:00Z".parse().unwrap();
    let ago = |days: u64| now - Duration::from_secs(days * DAY);
    // One in the future is as good as none; one of years ago reads everything, once.
    let unknown = cycle.start(None, now);
    assert_eq!(now.duration_since(unknown).as_secs(), (30 * DAY / 4) as i64);
    assert_eq!(cycle.start(Some(now + Duration::from_secs(1)), now), unknown);
    let all = || slices(0, "app.tar.zst", 100 * SLICE_BYTES + 1);
    let due = cycle.due(all(), cycle.start(Some(ago(4000)), now), now);
    assert_eq!(due.len(), 101);
    assert_eq!(all().last().unwrap().range, 100 * SLICE_BYTES..100 * SLICE_BYTES + 1);
    assert_eq!(slices(0, "empty", 0).count(), 1);
    for days in [0.0, -1.0, 0.01, f64::NAN, f64::INFINITY, 1e9] {
        assert!(Cycle::of(days).is_err(), "{days}");
    }
}
