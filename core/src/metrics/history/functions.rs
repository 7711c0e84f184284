//! What can be said of the samples of one series: the functions of PromQL, with its results.
//!
//! Each takes the samples of a range, oldest first; marks of staleness among them are left out, as PromQL does. None
//! means that there are too few samples to say anything.
//!
//! Source: Prometheus' `promql/functions.go` (`extrapolatedRate`, `linearRegression`).

use super::select::{Range, Sample};

/// By how much a counter grew in the range, through restarts, which begin at zero again. What was before the first sample and
/// after the last is extrapolated, so it need not be a whole number.
pub fn increase(samples: &[Sample], range: Range) -> Option<f64> {
    extrapolated(samples, range, true)
}

/// By how much a counter grew a second.
pub fn rate(samples: &[Sample], range: Range) -> Option<f64> {
    Some(increase(samples, range)? / range.seconds())
}

/// By how much a gauge changed in the range, extrapolated in the same way.
pub fn delta(samples: &[Sample], range: Range) -> Option<f64> {
    extrapolated(samples, range, false)
}

/// The least value; NaN only where there is nothing else.
pub fn min(samples: &[Sample], range: Range) -> Option<f64> {
    values(samples, range).reduce(|a, b| if b < a || a.is_nan() { b } else { a })
}

/// The greatest value; NaN only where there is nothing else.
pub fn max(samples: &[Sample], range: Range) -> Option<f64> {
    values(samples, range).reduce(|a, b| if b > a || a.is_nan() { b } else { a })
}

/// The mean of the values.
pub fn avg(samples: &[Sample], range: Range) -> Option<f64> {
    // Bit by bit, so that the sum of large numbers does not overflow.
    let mut count = 0.0;
    let mut mean = 0.0;
    for value in values(samples, range) {
        count += 1.0;
        mean = match (mean, value) {
            (mean, value) if f64::is_infinite(mean) && (mean == value || value.is_finite()) => mean,
            (mean, value) if f64::is_finite(mean) && value.is_infinite() => value,
            (mean, value) => mean + (value / count - mean / count),
        };
    }
    (count > 0.0).then_some(mean)
}

/// The value at the end of the range: the newest, unless the series ended after it.
pub fn last(samples: &[Sample], range: Range) -> Option<f64> {
    let last = range.of_samples(samples).last()?;
    (!last.is_stale()).then_some(last.value)
}

/// By how much a gauge grows a second, as the line of least squares has it; the sign of a leak.
pub fn slope(samples: &[Sample], range: Range) -> Option<f64> {
    line(samples, range, range.to_ms).map(|(slope, _)| slope)
}

/// Where that line is `ahead_seconds` after the end of the range.
pub fn predict(samples: &[Sample], range: Range, ahead_seconds: f64) -> Option<f64> {
    let (slope, at_end) = line(samples, range, range.to_ms)?;
    Some(at_end + slope * ahead_seconds)
}

fn within(samples: &[Sample], range: Range) -> impl Iterator<Item = &Sample> + Clone {
    range.of_samples(samples).iter().filter(|sample| !sample.is_stale())
}

fn values(samples: &[Sample], range: Range) -> impl Iterator<Item = f64> {
    within(samples, range).map(|sample| sample.value)
}

fn extrapolated(samples: &[Sample], range: Range, counter: bool) -> Option<f64> {
    let samples = within(samples, range);
    let first = *samples.clone().next()?;
    let last = *samples.clone().last()?;
    let count = samples.clone().count();
    if count < 2 {
        return None;
    }
    let mut change = last.value - first.value;
    if counter {
        let pairs = samples.clone().zip(samples.skip(1));
        change +=
            pairs.filter(|(before, after)| after.value < before.value).map(|(before, _)| before.value).sum::<f64>();
    }
    let seconds = |from: i64, to: i64| to.saturating_sub(from) as f64 / 1000.0;
    let sampled = seconds(first.time_ms, last.time_ms);
    let between = sampled / (count - 1) as f64;
    // Past this the series began, or ended, within the range.
    let near = between * 1.1;
    let mut before = seconds(range.from_ms, first.time_ms);
    if before >= near {
        before = between / 2.0;
    }
    if counter && change > 0.0 && first.value >= 0.0 {
        // A counter was never below zero.
        before = before.min(sampled * (first.value / change));
    }
    let mut after = seconds(last.time_ms, range.to_ms);
    if after >= near {
        after = between / 2.0;
    }
    Some(change * ((sampled + before + after) / sampled))
}

/// The slope a second of the line of least squares, and its value at `at_ms`.
fn line(samples: &[Sample], range: Range, at_ms: i64) -> Option<(f64, f64)> {
    let samples = within(samples, range);
    let count = samples.clone().count();
    if count < 2 {
        return None;
    }
    let first = samples.clone().next()?.value;
    if samples.clone().all(|sample| sample.value == first) {
        return if first.is_finite() { Some((0.0, first)) } else { Some((f64::NAN, f64::NAN)) };
    }
    let count = count as f64;
    let x = |sample: &Sample| sample.time_ms.saturating_sub(at_ms) as f64 / 1000.0;
    // Around the means, where no large numbers cancel each other.
    let mean_x = samples.clone().map(x).sum::<f64>() / count;
    let mean_y = samples.clone().map(|sample| sample.value / count).sum::<f64>();
    let (mut covariance, mut variance) = (0.0, 0.0);
    for sample in samples {
        covariance += (x(sample) - mean_x) * (sample.value - mean_y);
        variance += (x(sample) - mean_x).powi(2);
    }
    if variance == 0.0 {
        return None;
    }
    let slope = covariance / variance;
    Some((slope, mean_y - slope * mean_x))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: &[(i64, f64)]) -> Vec<Sample> {
        of.iter().map(|(seconds, value)| Sample { time_ms: seconds * 1000, value: *value }).collect()
    }

    const MINUTE: Range = Range { from_ms: 0, to_ms: 60_000 };

    #[test]
    fn a_counter_grows_through_restarts_and_never_shrinks() {
        // As PromQL says: between the samples 30, and to the edges as fast as between them.
        let steady = samples(&[(15, 10.0), (30, 20.0), (45, 30.0), (60, 40.0)]);
        assert_eq!(increase(&steady, MINUTE), Some(40.0));
        assert_eq!(rate(&steady, MINUTE), Some(40.0 / 60.0));
        let restarted = samples(&[(15, 100.0), (30, 110.0), (45, 5.0), (60, 10.0)]);
        assert!((increase(&restarted, MINUTE).unwrap() - 20.0 * 60.0 / 45.0).abs() < 1e-9);
        assert!(delta(&restarted, MINUTE).unwrap() < 0.0);
        // A counter that began within the range is not extrapolated below zero.
        let began = samples(&[(30, 0.0), (45, 10.0), (60, 20.0)]);
        assert_eq!(increase(&began, MINUTE), Some(20.0));
        // One that ended long before the end of the range goes on for half an interval.
        let ended = samples(&[(5, 1000.0), (10, 1010.0)]);
        assert_eq!(increase(&ended, MINUTE), Some(10.0 * (5.0 + 5.0 + 2.5) / 5.0));
        assert_eq!(increase(&samples(&[(60, 1.0)]), MINUTE), None);
        assert_eq!(increase(&[], MINUTE), None);
        assert_eq!(increase(&samples(&[(0, 1.0), (60, 2.0)]), MINUTE), None, "the beginning is not of the range");
    }

    #[test]
    fn a_line_is_laid_through_a_gauge() {
        let full = samples(&[(15, 90.0), (30, 80.0), (45, 70.0), (60, 60.0)]);
        assert!((slope(&full, MINUTE).unwrap() + 10.0 / 15.0).abs() < 1e-12);
        assert!(predict(&full, MINUTE, 90.0).unwrap().abs() < 1e-9, "in a minute and a half it is empty");
        assert_eq!(slope(&samples(&[(15, 7.0), (60, 7.0)]), MINUTE), Some(0.0));
        assert_eq!(slope(&samples(&[(15, 7.0)]), MINUTE), None);
        let epoch = 1_800_000_000;
        let late = samples(&[(epoch, 1e15), (epoch + 10, 1e15 + 8.0), (epoch + 20, 1e15 + 16.0)]);
        let range = Range { from_ms: (epoch - 1) * 1000, to_ms: (epoch + 20) * 1000 };
        assert!((slope(&late, range).unwrap() - 0.8).abs() < 1e-6);
    }

    #[test]
    fn hostile_numbers_say_what_they_can() {
        let odd = samples(&[(10, f64::NAN), (20, 3.0), (30, f64::INFINITY), (40, -1.0)]);
        assert_eq!((min(&odd, MINUTE), max(&odd, MINUTE)), (Some(-1.0), Some(f64::INFINITY)));
        assert!(avg(&odd, MINUTE).unwrap().is_nan());
        assert_eq!(avg(&samples(&[(10, f64::MAX), (20, f64::MAX)]), MINUTE), Some(f64::MAX));
        assert_eq!(avg(&samples(&[(10, 1.0), (20, f64::INFINITY), (30, 2.0)]), MINUTE), Some(f64::INFINITY));
        assert!(min(&samples(&[(10, f64::NAN)]), MINUTE).unwrap().is_nan());
        let ended =
            [samples(&[(10, 5.0)])[0], Sample { time_ms: 20_000, value: f64::from_bits(super::super::series::STALE) }];
        assert_eq!((last(&ended, MINUTE), max(&ended, MINUTE)), (None, Some(5.0)));
        assert_eq!(last(&ended, Range { from_ms: 0, to_ms: 15_000 }), Some(5.0));
    }
}
