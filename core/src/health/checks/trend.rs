//! The trend of a number that is looked at now and then: how fast it grows since its last drop, and how sure that is.
//!
//! The pace is the median of the slopes between all pairs of samples (Theil–Sen), which single peaks do not move; how sure it is
//! that there is one at all is the test of Mann and Kendall on the same samples.
//!
//! Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau" (1968); H. B. Mann, "Nonparametric tests
//! against trend" (1945).

/// The most samples: their pairs are gone through at each look.
pub(super) const MOST: usize = 240;
/// The fewest samples of which a trend can be told.
const FEWEST: usize = 12;

/// What was seen since the last drop.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Seconds of the monotonic clock, and bytes.
    kept: Vec<(f64, f64)>,
    /// Samples come no closer than this.
    spacing: f64,
    /// What they are of: another process, another size of a disk begin anew.
    of: u64,
}

impl Samples {
    /// Takes a sample, of what `of` names. Less than `least` says of the one before is a drop.
    pub(super) fn take(&mut self, now: f64, bytes: f64, of: u64, least: impl FnOnce(f64) -> f64) {
        let fell = self.kept.last().is_some_and(|(_, last)| bytes < least(*last));
        if self.of != of || fell {
            *self = Self { of, ..Self::default() };
        }
        if self.kept.last().is_some_and(|(last, _)| now - last < self.spacing) {
            return;
        }
        self.kept.push((now, bytes));
        if self.kept.len() > MOST {
            let mut number = 0;
            self.kept.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.spacing = (self.span() / self.kept.len() as f64).max(self.spacing);
        }
    }

    /// How long it was watched since the last drop, in seconds.
    pub(super) fn span(&self) -> f64 {
        match (self.kept.first(), self.kept.last()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0.0,
        }
    }

    /// The trend since the last drop; `None` for too few samples.
    pub(super) fn trend(&self) -> Option<Trend> {
        trend(&self.kept)
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> &[(f64, f64)] {
        &self.kept
    }
}

/// A trend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    /// In bytes a second.
    pub(super) slope: f64,
    /// How sure it is that it is not level, 0 to 1.
    pub(super) confidence: f64,
}

/// The trend of samples that are in order; `None` for too few of them.
fn trend(samples: &[(f64, f64)]) -> Option<Trend> {
    if samples.len() < FEWEST {
        return None;
    }
    let mut slopes = Vec::with_capacity(samples.len() * samples.len() / 2);
    let mut score = 0.0;
    for (at, (time, bytes)) in samples.iter().enumerate() {
        for (later, more) in &samples[at + 1..] {
            if later > time {
                slopes.push((more - bytes) / (later - time));
            }
            score += (more - bytes).partial_cmp(&0.0).map_or(0.0, |order| f64::from(order as i8));
        }
    }
    let middle = slopes.len() / 2;
    let slope = *slopes.select_nth_unstable_by(middle, f64::total_cmp).1;
    let n = samples.len() as f64;
    // Equal values come in groups, each of which takes from the variance.
    let mut values: Vec<f64> = samples.iter().map(|(_, bytes)| *bytes).collect();
    values.sort_unstable_by(f64::total_cmp);
    let tied = values.chunk_by(|a, b| a == b).map(|group| group.len() as f64).map(|t| t * (t - 1.0) * (2.0 * t + 5.0));
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - tied.sum::<f64>()) / 18.0;
    // With the correction for continuity.
    let z = if variance > 0.0 { (score.abs() - 1.0).max(0.0) / variance.sqrt() } else { 0.0 };
    Some(Trend { slope, confidence: erf(z / std::f64::consts::SQRT_2) })
}

/// The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26), for what is not negative.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    1.0 - poly * (-x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_and_another_process_begin_anew() {
        let mut samples = Samples::default();
        for turn in 0..50 {
            samples.take(f64::from(turn), 1000.0 + f64::from(turn), 7, |last| last * 0.9);
        }
        assert_eq!(samples.kept.len(), 50);
        samples.take(60.0, 990.0, 7, |last| last * 0.9);
        assert_eq!(samples.kept.len(), 51, "a small fall is none");
        samples.take(61.0, 800.0, 7, |last| last * 0.9);
        assert_eq!(samples.kept, [(61.0, 800.0)]);
        samples.take(62.0, 900.0, 8, |last| last * 0.9);
        assert_eq!(samples.kept, [(62.0, 900.0)]);
    }
}
