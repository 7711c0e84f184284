//! The past beside a plain list of all that was recorded.

use std::collections::BTreeMap;

use super::*;
use crate::metrics::Distribution;
use crate::metrics::snapshot::Series;
use crate::testing::random::{self, Rng};

fn moment(monotonic_ms: u64, wall_ms: i64) -> Moment {
    Moment { monotonic: Duration::from_millis(monotonic_ms), wall: Timestamp::from_millisecond(wall_ms).unwrap() }
}

/// At the same distance on both clocks.
fn at(seconds: u64) -> Moment {
    moment(seconds * 1000, seconds as i64 * 1000)
}

fn gauges(values: &[(&str, f64)]) -> MetricsSnapshot {
    let mut family = Family::new("g", MetricKind::Gauge, "");
    for (name, value) in values {
        family = family.number(&[("n", name)], *value);
    }
    MetricsSnapshot { families: vec![family] }
}

fn all(history: &History, now: Moment) -> Vec<HistorySeries> {
    history.select(&Selector::default(), Range { from_ms: i64::MIN / 4, to_ms: i64::MAX / 4 }, now)
}

/// Bits, so that NaN and -0 count.
fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
    samples.iter().map(|sample| (sample.time_ms, sample.value.to_bits())).collect()
}

const NAN: u64 = 0x7ff8_0000_0000_0001;

fn hostile(random: &mut Rng, before: f64) -> f64 {
    match random.u8(0..10) {
        0 => f64::from_bits(random.u64(..)),
        1 => f64::NAN,
        2 => f64::INFINITY,
        3 => -0.0,
        4 => 5e-324,
        5 | 6 => before,
        _ => before + f64::from(random.u8(..)),
    }
}

#[test]
fn it_holds_what_a_plain_list_holds() {
    let mut random = random::seeded("history");
    for _ in 0..12 {
        let window = random.u64(60..4000);
        let limits = Limits { window: Duration::from_secs(window), ..Limits::default() };
        let history = History::new(limits);
        let mut model: BTreeMap<String, Vec<(i64, u64)>> = BTreeMap::new();
        let mut there: BTreeMap<String, f64> = BTreeMap::new();
        let mut now = 1_000_000_u64;
        for _ in 0..random.u32(100..600) {
            now += 10 * random.u64(1..3000);
            // Series come and go.
            for n in 0..6 {
                let name = format!("s{n}");
                if random.u8(0..20) == 0 && there.remove(&name).is_none() {
                    there.insert(name.clone(), 0.0);
                }
                if let Some(value) = there.get_mut(&name) {
                    *value = hostile(&mut random, *value);
                }
            }
            let values: Vec<(&str, f64)> = there.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            history.record(moment(now, now as i64), &gauges(&values));
            for (name, samples) in &mut model {
                if !there.contains_key(name) && samples.last().is_some_and(|(_, value)| *value != series::STALE) {
                    samples.push((now as i64, series::STALE));
                }
            }
            for (name, value) in &there {
                let bits = if value.is_nan() { NAN } else { value.to_bits() };
                model.entry(name.clone()).or_default().push((now as i64, bits));
            }
        }
        let cut = now as i64 - window as i64 * 1000;
        let held = all(&history, moment(now, now as i64));
        let mut samples = 0;
        for (name, expected) in &model {
            let found = held.iter().find(|series| series.labels == [("n".to_owned(), name.clone())]);
            let found = found.map(|series| bits(&series.samples)).unwrap_or_default();
            samples += found.len();
            // Whole chunks are given up: what is kept is an end of the list, and holds all of the window.
            assert!(expected.ends_with(&found), "{name}");
            let wanted = expected.iter().filter(|(time, _)| *time >= cut).count();
            assert!(found.len() >= wanted, "{name}: {} of {wanted}", found.len());
            assert!(found.len() <= wanted + usize::from(chunk::CHUNK_SAMPLES), "{name}: {} of {wanted}", found.len());
            // However seldom it was there: a chunk is no longer than the window, and a round.
            let oldest = cut - window as i64 * 1000 - 30_000;
            assert!(found.first().is_none_or(|(time, _)| *time >= oldest), "{name}: {found:?}");
        }
        let stats = history.stats();
        assert_eq!(stats.samples, samples);
        let held_bytes: usize = history.lock().series.values().map(Held::size).sum();
        assert_eq!(stats.bytes, held_bytes);
    }
}

#[test]
fn a_wall_clock_that_jumps_moves_no_sample() {
    let history = History::new(Limits::default());
    let wall = |round: i64| match round {
        0..=9 => 1_000_000 + round * 15_000,
        // An hour back, and then a day ahead.
        10..=19 => 1_000_000 - 3_600_000 + round * 15_000,
        _ => 1_000_000 + 86_400_000 + round * 15_000,
    };
    for round in 0..30 {
        history.record(moment(round as u64 * 15_000, wall(round)), &gauges(&[("a", round as f64)]));
    }
    let now = moment(29 * 15_000, wall(29));
    let range = Range::before(now, Duration::from_secs(300));
    let found = history.select(&Selector::named("g"), range, now);
    let ages: Vec<i64> = found[0].samples.iter().map(|sample| (range.to_ms - sample.time_ms) / 1000).collect();
    assert_eq!(ages, (0..20).rev().map(|n| n * 15).collect::<Vec<i64>>());
    assert!((functions::slope(&found[0].samples, range).unwrap() - 1.0 / 15.0).abs() < 1e-9);
    // The other clock does not jump; what claims so is left out.
    history.record(moment(1000, wall(29)), &gauges(&[("a", 99.0)]));
    assert_eq!(history.select(&Selector::named("g"), range, now)[0].samples.len(), 20);
}

#[test]
fn what_is_gone_has_no_value_any_more_and_is_forgotten() {
    let history = History::new(Limits { window: Duration::from_secs(600), ..Limits::default() });
    history.record(at(0), &gauges(&[("a", 1.0), ("b", 2.0)]));
    history.record(at(15), &gauges(&[("b", 2.0)]));
    history.record(at(30), &gauges(&[("a", 3.0), ("b", 2.0)]));
    let now = at(30);
    let a = &history.select(&Selector::named("g").label("n", "a"), Range::before(now, Duration::from_secs(60)), now)[0];
    assert_eq!(a.samples.len(), 3);
    assert!(a.samples[1].is_stale());
    let last = |to: u64| functions::last(&a.samples, Range { from_ms: -1, to_ms: to as i64 * 1000 });
    assert_eq!((last(0), last(15), last(29), last(30)), (Some(1.0), None, None, Some(3.0)));
    for second in (45..1000).step_by(15) {
        history.record(at(second), &gauges(&[("b", 2.0)]));
    }
    assert_eq!(history.stats().series, 1);
    assert!(all(&history, at(990)).iter().all(|series| series.labels[0].1 == "b"));
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let limits = Limits { window: Duration::from_secs(86_400), bytes: 256 << 10, series: 300 };
    let history = History::new(limits);
    let mut random = random::seeded("bounded history");
    for round in 0..1500_u64 {
        // A flood of names that never come again beside series of noise that stay.
        let names: Vec<(String, f64)> = (0..40)
            .map(|n| (format!("stays {n}"), random.f64()))
            .chain((0..20).map(|n| (format!("{round} {n}"), 1.0)))
            .collect();
        let values: Vec<(&str, f64)> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        history.record(at(round * 15), &gauges(&values));
        let stats = history.stats();
        // One round of open chunks may come on top.
        assert!(stats.bytes <= limits.bytes + 64 * 1024 && stats.series <= limits.series, "{stats:?}");
    }
    let stats = history.stats();
    assert!(stats.refused > 0 && stats.samples > 1000, "{stats:?}");
    // What stays was not driven out by what came and went.
    let now = at(1499 * 15);
    let kept =
        history.select(&Selector::named("g").label("n", "stays*"), Range::before(now, Duration::from_secs(600)), now);
    assert_eq!(kept.len(), 40);
    assert!(kept.iter().all(|series| series.samples.len() == 40), "{}", kept[0].samples.len());
}

#[test]
fn histograms_are_kept_as_the_page_shows_them() {
    let history = History::new(Limits::default());
    let family = |counts: [u64; 3], sum| {
        let value =
            Value::Distribution(Distribution { bounds: vec![0.5, 1.0], counts: counts.to_vec(), sum, native: None });
        let series = vec![Series { labels: vec![("path".to_owned(), "/".to_owned())], value, exemplars: Vec::new() }];
        let requests = Family::new("requests", MetricKind::Counter, "").number(&[], sum);
        MetricsSnapshot {
            families: vec![Family { series, ..Family::new("took", MetricKind::Histogram, "") }, requests],
        }
    };
    history.record(at(0), &family([1, 2, 3], 4.0));
    history.record(at(15), &family([2, 4, 6], 8.0));
    let told: Vec<(String, f64)> = all(&history, at(15))
        .iter()
        .map(|series| {
            let le = series.labels.iter().find(|(name, _)| name == "le").map_or("", |(_, le)| le);
            (format!("{} {le}", series.name), series.samples[1].value)
        })
        .collect();
    let expected = [
        ("requests_total ", 8.0),
        ("took_bucket +Inf", 12.0),
        ("took_bucket 0.5", 2.0),
        ("took_bucket 1.0", 6.0),
        ("took_count ", 12.0),
        ("took_sum ", 8.0),
    ];
    assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value)));
}

/// What two hours take, printed: `cargo test … what_a_sample_takes -- --nocapture`.
#[test]
fn what_a_sample_takes() {
    let mut random = random::seeded("sizes");
    type Next = fn(&mut Rng, f64) -> f64;
    let kinds: [(&str, Next, f64); 5] = [
        ("a number that stays", |_, value| value, 1.2),
        (
            "a counter that grows by 1 now and then",
            |random, value| value + f64::from(u8::from(random.u8(0..4) == 0)),
            1.5,
        ),
        ("a counter of requests", |random, value| value + f64::from(random.u8(100..200)), 3.5),
        ("memory in pages", |random, value| value + 4096.0 * f64::from(random.i8(-20..20)), 4.5),
        ("noise", |random, _| random.f64(), 8.5),
    ];
    for (name, next, most) in kinds {
        let history = History::new(Limits::default());
        let mut values = vec![1e8; 50];
        let names: Vec<String> = (0..values.len()).map(|n| n.to_string()).collect();
        for round in 0..480_u64 {
            values.iter_mut().for_each(|value| *value = next(&mut random, *value));
            let now: Vec<(&str, f64)> = names.iter().map(String::as_str).zip(values.iter().copied()).collect();
            // A timer is late by a little.
            history.record(moment(round * 15_000 + random.u64(0..15), 0), &gauges(&now));
        }
        let stats = history.stats();
        let series: usize = history.lock().series.values().map(|held| held.size() - held.sample_bytes()).sum();
        let each = (stats.bytes - series) as f64 / stats.samples as f64;
        println!("{name}: {each:.2} bytes a sample, {} for each series", series / stats.series);
        assert!(each <= most, "{name}: {each:.2}");
    }
}
