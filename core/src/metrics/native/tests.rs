use std::collections::BTreeMap;

use super::label::{index, upper};
use super::*;
use crate::clock::{ManualClock, SystemClock, Timestamp};
use crate::metrics::NativeDistribution;
use crate::testing::random;

fn native(buckets: NativeBuckets) -> Native {
    Native::new(buckets, Arc::new(SystemClock))
}

impl Native {
    fn get(&self) -> NativeDistribution {
        self.read(&Reader::new()).distribution
    }
}

/// What a process has that observes these numbers.
fn sum_of(schema: i32, zero_threshold: f64, values: &[f64]) -> NativeSum {
    let mut sum = NativeSum::new(schema, zero_threshold, false, 160);
    let (zero, far): (Vec<f64>, Vec<f64>) = values.iter().partition(|value| value.abs() <= zero_threshold);
    sum.distribution.zero_count = zero.len() as u64;
    sum.distribution.sum = values.iter().sum();
    sum.fill(far.into_iter().map(|value| (Label::of(value, schema), 1)));
    sum
}

#[test]
fn a_bound_belongs_below_and_zero_is_where_the_buckets_are_thinnest() {
    for schema in SCHEMAS {
        assert_eq!(index(1.0, schema), 0, "{schema}");
        assert_eq!(index(1.0 + f64::EPSILON, schema), 1, "{schema}");
        assert_eq!(index(1.0 - f64::EPSILON / 2.0, schema), 0, "{schema}");
    }
    for (value, schema, expected) in [
        (2.0, 0, 1),
        (2.1, 0, 2),
        (0.5, 0, -1),
        (4.0, 1, 4),
        (3.0, 1, 4),
        (2.5, 1, 3),
        (65_536.0, -4, 1),
        (65_537.0, -4, 2),
        (1e300, -4, 63),
        (f64::MAX, 0, 1024),
        (f64::MIN_POSITIVE, 0, -1022),
        (5e-324, 0, -1074),
    ] {
        assert_eq!(index(value, schema), expected, "{value} {schema}");
    }
}

#[test]
fn every_number_lies_in_its_bucket() {
    let mut random = random::seeded("native");
    for _ in 0..20_000 {
        let value = 2_f64.powf(random.f64() * 600.0 - 300.0);
        for schema in SCHEMAS {
            let at = index(value, schema);
            let slack = 1e-9;
            let (low, high) = (upper(at - 1, schema), upper(at, schema));
            assert!(
                value > low * (1.0 - slack) && value <= high * (1.0 + slack),
                "{value} {schema} {at}: {low} {high}"
            );
        }
    }
}

#[test]
fn bounds_are_those_of_the_buckets() {
    assert_eq!([upper(0, 3), upper(8, 3), upper(-8, 3), upper(1, -4), upper(1, 0)], [1.0, 2.0, 0.5, 65_536.0, 2.0]);
    assert_eq!((upper(1 << 18, 8), upper(-274_944, 8)), (f64::MAX, 5e-324));
    let mut random = random::seeded("bounds");
    for _ in 0..20_000 {
        let value = 2_f64.powf(random.f64() * 2_000.0 - 1_000.0);
        for schema in SCHEMAS {
            let at = index(value, schema);
            assert!(value <= upper(at, schema) && value > upper(at - 1, schema), "{value} {schema} {at}");
            assert_eq!(index(upper(at, schema), schema), at, "{value} {schema}");
        }
    }
}

#[test]
fn labels_are_numbers() {
    for schema in SCHEMAS {
        for value in [f64::MAX, -f64::MAX, 5e-324, -5e-324, 1.0, -1.0] {
            let label = Label::of(value, schema);
            assert_eq!(Label::unpack(label.pack()), Some(label));
            assert!(label.pack() < 1 << 26, "{label:?}");
            assert_eq!(label.at(*SCHEMAS.start()), Label::of(value, *SCHEMAS.start()));
        }
    }
    assert_eq!((Label::unpack(u32::MAX), Label::unpack(13 << 22), Label::unpack(0)), (None, None, None));
}

#[test]
fn processes_of_different_schemas_are_as_one_of_the_coarsest() {
    let mut random = random::seeded("coarser");
    for _ in 0..50 {
        let mut values =
            || -> Vec<f64> { (0..200).map(|_| (random.f64() - 0.5) * 2_f64.powf(random.f64() * 6.0 - 3.0)).collect() };
        let (a, b) = (values(), values());
        let (fine, coarse) = (random.i32(SCHEMAS), random.i32(SCHEMAS));
        let mut together = sum_of(fine, 0.001, &a);
        together.add(&sum_of(coarse, 0.001, &b));
        let mut expected = sum_of(fine.min(coarse), 0.001, &[a, b].concat());
        assert!(together.distribution.schema <= fine.min(coarse));
        // Where there were too many buckets of the coarsest, both are coarser still.
        for schema in (together.distribution.schema.min(expected.distribution.schema)..=fine.min(coarse)).rev() {
            together.fill([(Label { schema, negative: false, index: 1 << 10 }, 0)].into_iter());
            expected.fill([(Label { schema, negative: false, index: 1 << 10 }, 0)].into_iter());
        }
        assert!((together.distribution.sum - expected.distribution.sum).abs() < 1e-9);
        expected.distribution.sum = together.distribution.sum;
        assert_eq!(together, expected);
    }
}

#[test]
fn the_widest_zero_bucket_takes_what_lies_in_it_and_cuts_no_bucket() {
    // Of schema 0 a bucket ends at each power of two.
    let values = [0.0, 0.1, 0.3, 0.7, -0.3, -1.5, 3.0, 100.0];
    let mut sum = sum_of(0, 0.0, &values);
    sum.add(&sum_of(0, 0.25, &[0.2, 5.0]));
    let all = sum.distribution;
    assert_eq!((all.zero_threshold, all.zero_count), (0.25, 3));
    assert_eq!(all.positive, [(-1, 1), (0, 1), (2, 1), (3, 1), (7, 1)]);
    assert_eq!(all.negative, [(-1, 1), (1, 1)]);
    // In the middle of a bucket: to its end, on both sides, and of both processes.
    let mut sum = sum_of(0, 0.0, &values);
    sum.add(&sum_of(0, 0.4, &[0.45, 5.0]));
    let all = sum.distribution;
    assert_eq!((all.zero_threshold, all.zero_count), (0.5, 5));
    assert_eq!(all.positive, [(0, 1), (2, 1), (3, 1), (7, 1)]);
    assert_eq!(all.negative, [(1, 1)]);
    // What holds nothing does not matter.
    let mut sum = sum_of(0, 0.0, &[8.0]);
    sum.add(&sum_of(-1, 0.4, &[]));
    assert_eq!((sum.distribution.zero_threshold, sum.distribution.schema), (0.4, -1));
    assert_eq!((sum.distribution.count(), sum.distribution.positive), (1, vec![(2, 1)]));
}

#[test]
fn a_bound_on_buckets_makes_them_coarser_and_loses_nothing() {
    let native = native(NativeBuckets::default().schema(8).max_buckets(20));
    let mut random = random::seeded("bound");
    for n in 1..=5_000_u64 {
        native.observe(2_f64.powf(random.f64() * 64.0 - 32.0) * if random.bool() { 1.0 } else { -1.0 });
        if n % 500 == 0 {
            let read = native.get();
            assert_eq!(read.count(), n);
            assert!(read.positive.len() + read.negative.len() <= 20, "{read:?}");
        }
    }
    native.observe(0.0);
    native.observe(-1e-300);
    let read = native.get();
    assert!(read.zero_count == 2 && read.schema < 0 && !read.was_reset, "{read:?}");
    assert!(read.positive.is_sorted_by(|a, b| a.0 < b.0), "{read:?}");
}

#[test]
fn it_begins_anew_at_its_finest_when_that_is_wanted_and_time() {
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let hour = Duration::from_secs(3_600);
    let native = Native::new(NativeBuckets::default().max_buckets(8).reset_after(hour), Arc::clone(&clock) as _);
    let flood = || (0..20).for_each(|n| assert!(native.observe(2_f64.powi(n))));
    flood();
    let read = native.get();
    assert!(read.schema < 0 && read.count() == 20 && !read.was_reset, "{read:?}");
    clock.advance(hour);
    native.observe(2_f64.powi(60));
    let wide = native.get();
    // One more that fits does not reset it; too many do.
    assert_eq!(wide.count(), 21);
    (21..60).for_each(|n| assert!(native.observe(2_f64.powi(n * 16))));
    let read = native.get();
    assert!(read.was_reset && read.count() < 60 && read.sum < 2_f64.powi(16 * 60), "{read:?}");
}

#[test]
fn threads_lose_nothing() {
    let native = native(NativeBuckets::default());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let native = &native;
            let observe = move |n| assert!(native.observe(f64::from(n * 8 + thread) / 100.0));
            scope.spawn(move || (0..5_000).for_each(observe));
        }
        for _ in 0..50 {
            let read = native.get();
            assert!(read.count() <= 40_000 && read.positive.len() <= 160);
        }
    });
    let read = native.get();
    assert_eq!((read.count(), read.zero_count), (40_000, 1));
    let mut expected: BTreeMap<i32, u64> = BTreeMap::new();
    (1..40_000).for_each(|n| *expected.entry(index(f64::from(n) / 100.0, 3)).or_default() += 1);
    assert_eq!(read.positive, expected.into_iter().collect::<Vec<_>>());
    assert_eq!(read.sum.round(), (0..40_000).map(|n| f64::from(n) / 100.0).sum::<f64>().round());
}

#[test]
fn factors_have_schemas_and_mistakes_repairs() {
    for (factor, schema) in [(1.1, 3), (2.0, 0), (1.5, 1), (1.003, 8), (65_536.0, -4), (1e9, -4), (1.19, 2)] {
        let buckets = NativeBuckets::default().factor(factor);
        assert_eq!(buckets.schema, schema, "{factor}");
        buckets.check("x").unwrap();
    }
    let good = NativeBuckets::default;
    for wrong in [
        good().factor(1.0),
        good().factor(0.5),
        good().factor(f64::NAN),
        good().factor(1.000_1),
        good().schema(9),
        good().max_buckets(3),
        good().zero_threshold(-1.0),
        good().zero_threshold(f64::NAN),
    ] {
        assert!(wrong.check("x").unwrap_err().hint().is_some(), "{wrong:?}");
    }
}
