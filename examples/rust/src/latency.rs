//! A histogram of durations in constant memory.

use std::time::Duration;

use serde::Serialize;

/// Buckets for each power of two: a value is off by at most 1/32 of itself.
const STEPS: u64 = 32;
const BUCKETS: usize = 64 * STEPS as usize;

/// Counts of durations, by nanoseconds in steps of about 3 %.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

/// The figures of a histogram that people ask for, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Half of the durations were at most this.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// All.
    pub max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The smallest duration, to within a step, that `share` (0 to 1) of all durations do not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(upper(bucket).min(self.max));
            }
        }
        Duration::from_nanos(self.max)
    }

    /// The figures that people ask for.
    pub fn summary(&self) -> Summary {
        let at = |share| self.quantile(share).as_secs_f64();
        Summary { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: Duration::from_nanos(self.max).as_secs_f64() }
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let power = u64::from(nanos.ilog2()) - 5;
    ((power + 1) * STEPS + (nanos >> power) - STEPS) as usize
}

/// The greatest value that falls into a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    let step = bucket % STEPS + STEPS;
    (((u128::from(step) + 1) << power) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_ends_close_above_it() {
        let mut values: Vec<u64> = (0..64).flat_map(|p| [1_u64 << p, (1_u64 << p) - 1, (1_u64 << p) | 0x55]).collect();
        values.push(u64::MAX);
        for value in values {
            let end = upper(bucket(value));
            assert!(end >= value, "{value} > {end}");
            assert!((end - value) as f64 <= value as f64 / 32.0, "{value} is far from {end}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        let near = |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 0.04, "{found} is not {wanted}");
        let summary = histogram.summary();
        near(summary.p50, 0.5);
        near(summary.p99, 0.99);
        assert_eq!(summary.max, 1.0);
    }
}
