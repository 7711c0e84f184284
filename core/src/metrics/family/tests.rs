use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::metrics::{Format, MetricsSnapshot, Registry, Value, render};

fn family(labels: &[&str]) -> CounterFamily {
    Registry::new().counters(Definition::new("c", "").labels(labels)).unwrap()
}

fn text(registry: &Registry) -> String {
    registry.render(Format::Text)
}

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn two_threads_that_miss_together_share_a_series() {
    let family = family(&["a"]);
    // Both have looked in vain, and now come one after the other.
    for _ in 0..2 {
        family.0.find_or_add(&["x"]).0.count(1);
    }
    assert_eq!(family.0.read(&[]).series.len(), 1);
    assert_eq!(family.with(&["x"]).unwrap().get(), 2.0);
}

#[test]
fn values_that_share_a_hash_are_told_apart() {
    let mut table = Table::default();
    for n in 0..500 {
        let text = format!("a=\"{n}\"");
        table.insert(7, &Arc::new(Series::new(MetricKind::Counter, &text, None)), |_| 7);
    }
    for n in 0..500 {
        let text = format!("a=\"{n}\"");
        let series = table.find(7, &text).unwrap();
        assert_eq!(*series.text, *text);
        if n % 2 == 0 {
            table.remove(7, &series);
        }
    }
    assert_eq!((table.len(), table.find(7, "a=\"0\"").is_none()), (250, true));
}

#[test]
fn more_values_than_a_thread_remembers_stay_apart() {
    let registry = Registry::new();
    let family = registry.counters(Definition::new("c", "").labels(&["a", "b"]).max_series(5_000)).unwrap();
    for round in 0..3 {
        for n in 0..2_000_u64 {
            let values = [n.to_string(), (n % 7).to_string()];
            let values = [values[0].as_str(), values[1].as_str()];
            if round % 2 == 0 { family.inc(&values) } else { family.with(&values).map(|series| series.inc_by(n)) }
                .unwrap();
        }
    }
    for n in 0..2_000_u64 {
        assert_eq!(family.with(&[&n.to_string(), &(n % 7).to_string()]).unwrap().get(), (2 + n) as f64);
    }
}

#[test]
fn a_bomb_keeps_the_labels_that_are_named() {
    let registry = Registry::new();
    let define = Definition::new("c", "").labels(&["method", "path"]).max_series(10).keep_on_overflow(&["method"]);
    let family = registry.counters(define).unwrap();
    for n in 0..10_000 {
        family.inc(&[if n % 4 == 0 { "POST" } else { "GET" }, &format!("/{n}")]).unwrap();
    }
    let page = text(&registry);
    assert!(page.contains("c_total{method=\"GET\",path=\"__overflow__\"} 7493\n"), "{page}");
    assert!(page.contains("c_total{method=\"POST\",path=\"__overflow__\"} 2497\n"), "{page}");
    assert!(page.contains("uplifted_ops_metrics_overflow_total{family=\"c\"} 9990\n"), "{page}");
    assert_eq!(page.lines().filter(|line| line.starts_with("c_total")).count(), 12);
    // Room that is made is used by those that had none, also where a thread looked them up before.
    assert!(family.remove(&["POST", "/0"]).unwrap());
    family.inc(&["GET", "/9999"]).unwrap();
    assert!(text(&registry).contains("c_total{method=\"GET\",path=\"/9999\"} 1\n"));
    assert!(!family.remove(&["GET", OVERFLOW_LABEL]).unwrap(), "an overflow series stays");
}

#[test]
fn a_bomb_of_kept_labels_is_bounded_too() {
    let registry = Registry::new();
    let define = Definition::new("c", "").labels(&["a", "b"]).max_series(5).keep_on_overflow(&["a"]);
    let family = registry.counters(define).unwrap();
    for n in 0..1_000 {
        family.inc(&[&n.to_string(), "x"]).unwrap();
        family.inc(&[&n.to_string(), OVERFLOW_LABEL]).unwrap();
    }
    let series = registry.snapshot().family("c").unwrap().series.clone();
    assert_eq!(series.len(), 5 + MAX_OVERFLOW + 1);
    let counted = |value: &Value| if let Value::Number(number) = value { *number } else { 0.0 };
    assert_eq!(series.iter().map(|series| counted(&series.value)).sum::<f64>(), 2_000.0);
    let page = text(&registry);
    assert!(page.contains("c_total{a=\"__overflow__\",b=\"__overflow__\"}"), "{page}");
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_repair() {
    let registry = Registry::new();
    let define = || Definition::new("c", "").labels(&["a", "b"]);
    let refused = |definition| registry.counters(definition).unwrap_err();
    assert_eq!(refused(define().keep_on_overflow(&["x"])).hint(), Some("name some of: a, b"));
    let all = refused(define().keep_on_overflow(&["b", "a"]));
    assert_eq!(all.hint(), Some("leave out the labels that may take many values"));
    assert!(refused(define().expire_after(Duration::ZERO)).hint().is_some());
}

#[test]
fn what_is_idle_goes_unless_somebody_holds_it() {
    let clock = Arc::new(Hand::default());
    let registry = Registry::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let define = || Definition::new("c", "").labels(&["a"]).expire_after(Duration::from_secs(60));
    let family = registry.counters(define()).unwrap();
    let took = registry.histograms(Definition { name: "h".into(), ..define() }).unwrap();
    let held = family.with(&["held"]).unwrap();
    for value in ["idle", "busy"] {
        family.inc(&[value]).unwrap();
        took.observe(&[value], 0.5).unwrap();
    }
    let pass = |seconds| {
        clock.0.fetch_add(seconds, Ordering::Relaxed);
        text(&registry)
    };
    pass(0);
    family.inc(&["busy"]).unwrap();
    took.observe(&["busy"], 0.5).unwrap();
    assert!(pass(59).contains("c_total{a=\"idle\"} 1\n"));
    let page = pass(1);
    assert!(!page.contains("idle") && page.contains("c_total{a=\"busy\"} 2\n"), "{page}");
    assert!(page.contains("h_count{a=\"busy\"} 2\n") && page.contains("c_total{a=\"held\"} 0\n"), "{page}");
    // Whoever comes again begins anew, on this thread that knew it and on another.
    family.inc(&["idle"]).unwrap();
    std::thread::scope(|scope| scope.spawn(|| family.inc(&["idle"]).unwrap()).join().unwrap());
    held.inc();
    let page = pass(1_000);
    assert!(page.contains("c_total{a=\"idle\"} 2\n") && page.contains("c_total{a=\"held\"} 1\n"), "{page}");
    // `busy` changed after the first look, and has been idle since.
    assert!(!page.contains("busy"), "{page}");
    drop(held);
    let page = pass(60);
    assert!(!page.contains("c_total{"), "{page}");
}

#[test]
fn removal_while_others_count_gives_nobody_a_foreign_series() {
    let registry = Registry::new();
    let family = registry.counters(Definition::new("c", "").labels(&["n"])).unwrap();
    let other = registry.counter("other", "").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let remover = scope.spawn(|| {
            let mut removed = 0_u64;
            while !done.load(Ordering::Relaxed) {
                for n in 0..50 {
                    removed += u64::from(family.remove(&[&n.to_string()]).unwrap());
                }
                family.clear();
                text(&registry);
            }
            removed
        });
        let writers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let held = family.with(&["held"]).unwrap();
                    for n in 0..30_000 {
                        family.inc(&[&(n % 50).to_string()]).unwrap();
                        held.inc();
                        other.inc();
                    }
                    held
                })
            })
            .collect();
        let held: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(remover.join().unwrap() > 0);
        // Unseen, but nobody else got their cells: all threads may share a series, or none.
        let mut all: Vec<f64> = held.iter().map(|held| held.get()).collect();
        all.sort_by(f64::total_cmp);
        assert!(all.iter().all(|count| *count >= 30_000.0 && *count <= 90_000.0), "{all:?}");
        assert_eq!(other.get(), 90_000.0);
    });
    family.clear();
    family.inc(&["1"]).unwrap();
    assert!(text(&registry).contains("c_total{n=\"1\"} 1\n"));
}

#[test]
fn cells_of_what_is_gone_begin_at_zero() {
    let registry = Registry::new();
    let counters = registry.counters(Definition::new("c", "").labels(&["n"])).unwrap();
    let histograms = registry.histograms(Definition::new("h", "").labels(&["n"])).unwrap();
    for round in 0..20 {
        for n in 0..20 {
            let n = (round * 20 + n).to_string();
            assert_eq!(counters.with(&[&n]).unwrap().get(), 0.0);
            counters.with(&[&n]).unwrap().add(1.5).unwrap();
            assert_eq!(histograms.with(&[&n]).unwrap().get().count(), 0);
            histograms.observe(&[&n], 3.0).unwrap();
        }
        counters.clear();
        histograms.clear();
    }
    // Nobody looked meanwhile, and still nothing has piled up.
    assert!(counters.0.write().take_changes().0.len() < 100);
}

#[test]
fn the_page_and_the_snapshot_say_the_same() {
    let registry = Registry::new();
    let counters = registry.counters(Definition::new("c", "help").labels(&["a", "b"])).unwrap();
    for values in [["x", "y"], ["x\"", "y\\"], ["x", ""], ["é\n", "\0"], ["x\\\"", "{}"], ["x ", ","]] {
        counters.with(&values).unwrap().add(values[0].len() as f64 + 0.25).unwrap();
    }
    let took = registry.histograms(Definition::new("h_seconds", "").unit("seconds").labels(&["n"])).unwrap();
    for n in 0..200 {
        took.observe(&[&(n % 9).to_string()], f64::from(n) / 10.0).unwrap();
    }
    registry.histogram("below", "", &[-1.0, 1.0]).unwrap().observe(-3.0);
    registry.gauge("g", "").unwrap().set(f64::NAN);
    registry.gauges(Definition::new("empty", "").labels(&["x"])).unwrap();
    for format in [Format::Text, Format::OpenMetrics] {
        let (page, snapshot) = (registry.render(format), registry.snapshot());
        assert_eq!(page, render(&snapshot, format));
        let series = snapshot.family("c").unwrap().series.iter().map(|series| &series.labels);
        assert!(series.is_sorted_by(|a, b| a < b) && !page.contains('\0'));
        // What is given beside takes its place among the others, and no name twice.
        let more = [
            Family::new("a", MetricKind::Gauge, "").number(&[], 1.0),
            Family::new("g", MetricKind::Gauge, "").number(&[], 2.0),
        ];
        let mut merged = MetricsSnapshot::clone(&snapshot);
        merged.merge(more.clone());
        let mut out = "before ".to_owned();
        registry.render_into(&mut out, format, more);
        assert_eq!(out, format!("before {}", render(&merged, format)));
    }
}

#[test]
fn threads_lose_nothing_when_they_end() {
    let registry = Registry::new();
    let family = registry.counters(Definition::new("c", "").labels(&["n"])).unwrap();
    let took = registry.histogram("h", "", &[1.0, 2.0]).unwrap();
    for round in 1..=20_u32 {
        std::thread::scope(|scope| {
            for n in 0..4 {
                let (family, took) = (&family, &took);
                scope.spawn(move || {
                    for at in 0..1_000 {
                        family.inc(&[&(at % 5).to_string()]).unwrap();
                        family.with(&["fraction"]).unwrap().add(0.5).unwrap();
                        took.observe(f64::from(n % 3));
                    }
                });
            }
        });
        // On a bound is in its bucket: 0 and 1 lie in the first.
        assert_eq!(took.get().counts, [u64::from(round) * 3_000, u64::from(round) * 1_000, 0]);
        assert_eq!(took.get().sum, f64::from(round) * 3_000.0);
    }
    for n in 0..5 {
        assert_eq!(family.with(&[&n.to_string()]).unwrap().get(), 16_000.0);
    }
    assert_eq!(family.with(&["fraction"]).unwrap().get(), 40_000.0);
}

#[test]
fn the_cap_of_the_process_is_that_of_families_which_say_none() {
    let registry = Registry::new();
    let labels = |name| Definition::new(name, "").labels(&["n"]);
    let (own, process) =
        (registry.counters(labels("a").max_series(3)).unwrap(), registry.counters(labels("b")).unwrap());
    // More than any other test of this program counts in a family that says nothing.
    set_max_series(2_500);
    for n in 0..3_000 {
        own.inc(&[&n.to_string()]).unwrap();
        process.inc(&[&n.to_string()]).unwrap();
    }
    set_max_series(MAX_SERIES);
    let page = text(&registry);
    assert!(page.contains("a_total{n=\"__overflow__\"} 2997\n") && page.contains("b_total{n=\"__overflow__\"} 500\n"));
}

#[test]
fn an_observation_finds_its_bucket_among_few_and_many_bounds() {
    for count in [0, 1, 2, 3, 15, 16, 31, 32, 33, 100] {
        let bounds: Vec<f64> = (0..count).map(f64::from).collect();
        let took =
            HistogramFamily::detached(Definition::new("took", "Took").bounds(&bounds)).unwrap().with(&[]).unwrap();
        // Below, on and above each bound.
        let values: Vec<f64> = (-1..=2 * count).map(|half| f64::from(half) / 2.0).collect();
        values.iter().for_each(|value| took.observe(*value));
        let mut expected = vec![0; bounds.len() + 1];
        for value in &values {
            expected[bounds.iter().position(|bound| value <= bound).unwrap_or(bounds.len())] += 1;
        }
        let found = took.get();
        assert_eq!(found.counts, expected, "{count} bounds");
        assert_eq!(found.sum, values.iter().sum::<f64>(), "{count} bounds");
    }
}
