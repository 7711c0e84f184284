//! Reading the past: which series, which time.

use std::collections::HashMap;
use std::time::Duration;

use super::series::{Held, STALE};
use super::{Moment, key};
use crate::clock::Timestamp;
use crate::metrics::snapshot::MetricKind;

/// A value at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// In milliseconds since the epoch, by what the wall clock said when this was asked.
    pub time_ms: i64,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// Whether this is the mark that the series ended here, and no value.
    pub fn is_stale(&self) -> bool {
        self.value.to_bits() == STALE
    }
}

/// A time, without its beginning and with its end: `(from, to]`, as Prometheus has it since version 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Milliseconds since the epoch.
    pub from_ms: i64,
    /// Milliseconds since the epoch.
    pub to_ms: i64,
}

impl Range {
    /// The time from one moment to another.
    pub fn of(from: Timestamp, to: Timestamp) -> Self {
        Self { from_ms: from.as_millisecond(), to_ms: to.as_millisecond() }
    }

    /// The last so much time before `now`.
    pub fn before(now: Moment, length: Duration) -> Self {
        let to_ms = now.wall.as_millisecond();
        let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        Self { from_ms: to_ms.saturating_sub(length), to_ms }
    }

    /// How long it is.
    pub fn seconds(&self) -> f64 {
        self.to_ms.saturating_sub(self.from_ms) as f64 / 1000.0
    }

    /// The samples within it, of some in their order.
    pub fn of_samples<'a>(&self, samples: &'a [Sample]) -> &'a [Sample] {
        let from = samples.partition_point(|sample| sample.time_ms <= self.from_ms);
        let to = samples.partition_point(|sample| sample.time_ms <= self.to_ms);
        samples.get(from..to).unwrap_or_default()
    }
}

/// Which series: by name and labels, each of which may have `*` in it for any text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The name as on the page; any when empty.
    pub name: String,
    /// Labels and what they must be. One that a series lacks is empty, as in PromQL.
    pub labels: Vec<(String, String)>,
}

impl Selector {
    /// All series of that name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), labels: Vec::new() }
    }

    /// Only those whose label is so.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Whether it is one of them.
    pub fn matches(&self, name: &str, labels: &[(String, String)]) -> bool {
        let label = |wanted: &str| labels.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value);
        (self.name.is_empty() || fits(&self.name, name))
            && self.labels.iter().all(|(name, pattern)| fits(pattern, label(name)))
    }
}

/// Whether a text fits a pattern in which `*` is any text. No other letter means anything but itself.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A series of the past.
#[derive(Debug, Clone, PartialEq)]
pub struct HistorySeries {
    /// The name of its samples on the page.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Whether it only grows. The buckets, the count and the sum of a histogram are counters.
    pub kind: MetricKind,
    /// Its samples in the range, oldest first.
    pub samples: Vec<Sample>,
}

pub(super) fn select(
    series: &HashMap<Box<[u8]>, Held>,
    wanted: impl Fn(&str, &[(String, String)]) -> bool,
    range: Range,
    now: Moment,
) -> Vec<HistorySeries> {
    // What the wall clock says now about a moment of the other one.
    let offset = now.wall.as_millisecond().saturating_sub(now.ticks().saturating_mul(10));
    let tick = |time_ms: i64| time_ms.saturating_sub(offset).div_euclid(10);
    let (from, to) = (tick(range.from_ms), tick(range.to_ms));
    let mut found: Vec<HistorySeries> = Vec::new();
    for (bytes, held) in series {
        let Some((name, labels)) = key::parse(bytes).filter(|(name, labels)| wanted(name, labels)) else { continue };
        let mut samples = Vec::new();
        for chunk in held.chunks(from, to) {
            samples.extend(chunk.points().map(|(time, value)| Sample {
                time_ms: time.saturating_mul(10).saturating_add(offset),
                value: f64::from_bits(value),
            }));
        }
        let samples = range.of_samples(&samples).to_vec();
        if !samples.is_empty() {
            found.push(HistorySeries { name, labels, kind: held.kind, samples });
        }
    }
    found.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
    found
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_is_any_text_and_nothing_else_means_anything() {
        for (pattern, text, fit) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("ab*ba", "aba", false),
            ("a.c", "abc", false),
            ("[a]", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(fits(pattern, text), fit, "{pattern:?} {text:?}");
        }
    }
}
