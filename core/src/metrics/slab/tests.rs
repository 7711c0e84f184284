use std::sync::Barrier;
use std::sync::atomic::AtomicBool;

use super::*;

fn whole(id: u32) -> u64 {
    Reader::new().whole(id)
}

#[test]
fn spans_do_not_overlap_and_come_back_empty() {
    let spans: Vec<Span> = [1, 12, MAX_SPAN, 3, 1, MAX_SPAN - 1].map(|len| Span::take(Kind::Whole, len)).into();
    let mut ids: Vec<u32> = spans.iter().flat_map(Span::ids).collect();
    for id in &ids {
        assert_eq!(whole(*id), 0);
        add_whole(*id, u64::MAX);
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
    for span in &spans {
        assert_eq!(span.ids().start as usize / CELLS, (span.ids().end - 1) as usize / CELLS, "in one chunk");
    }
    drop(spans);
    for _ in 0..4 {
        let again = Span::take(Kind::Whole, 12);
        assert!(again.ids().all(|id| whole(id) == 0));
    }
}

#[test]
fn the_end_of_a_thread_moves_its_counts_and_keeps_their_kind() {
    let (count, sum) = (Span::take(Kind::Whole, 1), Span::take(Kind::Float, 1));
    let (count, sum) = (count.first(), sum.first());
    for _ in 0..10 {
        std::thread::spawn(move || {
            add_whole(count, 3);
            add_float(sum, 0.25);
        })
        .join()
        .unwrap();
    }
    // No thread is left that could hold them. Where others read the cells, they stay where they are.
    if !write().is_shared() {
        assert_eq!(shared(count).load(Ordering::Relaxed), 30);
        assert_eq!(f64::from_bits(shared(sum).load(Ordering::Relaxed)), 2.5);
    }
    assert_eq!((whole(count), Reader::new().float(sum)), (30, 2.5));
}

#[test]
fn more_threads_than_shards_lose_nothing() {
    let span = Span::take(Kind::Whole, 1);
    let id = span.first();
    let together = Barrier::new(MAX_SHARDS + 16);
    std::thread::scope(|scope| {
        for _ in 0..MAX_SHARDS + 16 {
            scope.spawn(|| {
                add_whole(id, 1);
                // Nobody ends before all have counted: some have no shard.
                together.wait();
                (0..1_000).for_each(|_| add_whole(id, 1));
            });
        }
    });
    assert_eq!(whole(id), (MAX_SHARDS as u64 + 16) * 1_001);
    assert!(Reader::new().0.shards.len() <= MAX_SHARDS);
}

#[test]
fn readers_see_no_count_twice_while_threads_end() {
    let span = Span::take(Kind::Whole, 1);
    let id = span.first();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Acquire) {
                let now = whole(id);
                assert!((last..=200).contains(&now), "{last} was followed by {now}");
                last = now;
            }
        });
        for _ in 0..200 {
            std::thread::scope(|inner| {
                inner.spawn(|| add_whole(id, 1));
            });
        }
        done.store(true, Ordering::Release);
        reader.join().unwrap();
    });
    assert_eq!(whole(id), 200);
}

#[test]
fn a_destructor_that_runs_last_still_counts() {
    struct Last(u32);
    impl Drop for Last {
        fn drop(&mut self) {
            add_whole(self.0, 1);
        }
    }
    thread_local!(static LAST: Cell<Option<Last>> = const { Cell::new(None) });
    let span = Span::take(Kind::Whole, 1);
    let id = span.first();
    std::thread::spawn(move || {
        // Registered first, so it runs after the lease is gone, on the platforms that run them in reverse.
        LAST.set(Some(Last(id)));
        add_whole(id, 1);
    })
    .join()
    .unwrap();
    assert_eq!(whole(id), 2);
}

#[test]
fn what_is_counted_serially_is_summed_with_the_rest() {
    let span = Span::take(Kind::Whole, 2);
    let ids: Vec<u32> = span.ids().collect();
    let near = serial::Near::default();
    for round in 1..=3 {
        near.add_whole(ids[0], 2);
        add_whole(ids[0], 1);
        // By turns on several threads, as under a lock.
        std::thread::scope(|scope| scope.spawn(|| near.add_whole(ids[0], 1)).join().unwrap());
        assert_eq!((whole(ids[0]), whole(ids[1])), (4 * round, 0));
        // Whoever is told to looks anew, and finds the same.
        serial::forget();
    }
    // Nobody waits for the lock: what cannot be had is counted the common way.
    let other = serial::Near::default();
    let reader = Reader::new();
    other.add_whole(ids[1], 5);
    drop(reader);
    other.add_whole(ids[1], 5);
    assert_eq!(whole(ids[1]), 10);
    drop(span);
    assert_eq!((whole(ids[0]), whole(ids[1])), (0, 0), "cells that are given back are empty");
}
