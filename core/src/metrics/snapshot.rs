//! Every series at one moment, as plain data.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;

/// Every series at one moment: families by name, series by label values, so that two snapshots of the same
/// numbers are equal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsSnapshot {
    /// The families, sorted by name.
    pub families: Vec<Family>,
}

impl MetricsSnapshot {
    /// The family called `name`, if it is there. Counters are named without their `_total`.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name == name)
    }

    /// Adds families, keeping the order. One whose name is there already is dropped: two families of one name
    /// are a page that Prometheus refuses whole.
    pub fn merge(&mut self, families: impl IntoIterator<Item = Family>) {
        for family in families {
            if let Err(at) = self.families.binary_search_by(|held| held.name.cmp(&family.name)) {
                self.families.insert(at, family);
            }
        }
    }
}

/// One name, and its series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// The name. Of a counter, without `_total`, which belongs to its sample (OpenMetrics 1.0).
    pub name: String,
    /// What kind of numbers these are.
    pub kind: MetricKind,
    /// What the numbers mean, one line for people. May be empty.
    pub help: String,
    /// The unit, such as `seconds` or `bytes`; `name` then ends in it.
    pub unit: Option<String>,
    /// The series, sorted by label values.
    pub series: Vec<Series>,
    /// Whether this process counts it, from zero on. What a collector gives may have begun long before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counted_here: bool,
}

impl Family {
    /// A family without series.
    pub fn new(name: impl Into<String>, kind: MetricKind, help: impl Into<String>) -> Self {
        Self { name: name.into(), kind, help: help.into(), unit: None, series: Vec::new(), counted_here: false }
    }

    /// Sets the unit, in which the name must end.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// Adds a series of one number.
    #[must_use]
    pub fn number(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.series.push(Series { labels, value: Value::Number(value), exemplars: Vec::new() });
        self
    }
}

/// What kind of numbers a family holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricKind {
    /// A number that only grows, until the process restarts.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// How observations are distributed over buckets.
    Histogram,
}

/// A family at one set of label values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Names and values, in the order the family declares.
    pub labels: Vec<(String, String)>,
    /// The number, or numbers.
    pub value: Value,
    /// Observations that are kept as examples, at most one of each bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exemplars: Vec<Exemplar>,
}

/// An observation that is kept as an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exemplar {
    /// The bucket that it lies in, from 0. A counter has one.
    pub bucket: usize,
    /// What leads to it, such as `trace_id`: names and values, at most 128 characters together.
    pub labels: Vec<(String, String)>,
    /// What was observed, or added to a counter.
    #[serde(with = "float")]
    pub value: f64,
    /// When.
    pub time: Timestamp,
}

/// What a series holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Value {
    /// Of a counter or gauge.
    Number(#[serde(with = "float")] f64),
    /// Of a histogram.
    Distribution(Distribution),
}

/// The buckets of a histogram. The count is derived from them, so the two never disagree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Upper bounds, inclusive and ascending, without the `+Inf` at the end.
    pub bounds: Vec<f64>,
    /// Observations in each bucket alone, not cumulative: one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all observations.
    #[serde(with = "float")]
    pub sum: f64,
    /// The native buckets, where the family has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<NativeDistribution>,
}

/// The buckets of a native histogram: bucket *i* of schema *s* takes what is above `b^(i-1)` and at most `b^i`, with
/// `b = 2^(2^-s)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NativeDistribution {
    /// The schema, -4 to 8.
    pub schema: i32,
    /// How far from zero an observation may be to count as zero.
    pub zero_threshold: f64,
    /// Those that are so near.
    pub zero_count: u64,
    /// Populated buckets by index, ascending, each alone.
    pub positive: Vec<(i32, u64)>,
    /// The same below zero, with the sign turned.
    pub negative: Vec<(i32, u64)>,
    /// The sum of these observations.
    #[serde(with = "float")]
    pub sum: f64,
    /// Whether it began anew since its series began, unlike the other buckets.
    pub was_reset: bool,
}

impl NativeDistribution {
    /// How many observations there were.
    pub fn count(&self) -> u64 {
        let all = self.positive.iter().chain(&self.negative);
        all.fold(self.zero_count, |sum, (_, count)| sum.wrapping_add(*count))
    }
}

impl Distribution {
    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }
}

/// JSON has no NaN and no infinity: they travel as the words that the exposition formats use.
mod float {
    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else if value.is_nan() {
            serializer.serialize_str("NaN")
        } else {
            serializer.serialize_str(if *value > 0.0 { "+Inf" } else { "-Inf" })
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(f64),
            Word(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(value) => Ok(value),
            Either::Word(word) => match word.as_str() {
                "NaN" => Ok(f64::NAN),
                "+Inf" => Ok(f64::INFINITY),
                "-Inf" => Ok(f64::NEG_INFINITY),
                _ => Err(serde::de::Error::custom(format!("{word:?} is not a number"))),
            },
        }
    }
}
