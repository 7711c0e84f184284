//! A snapshot as an `ExportMetricsServiceRequest`, in JSON.
//!
//! Fields are in lowerCamelCase, 64-bit integers are text, and numbers that JSON lacks are the words `NaN`, `Infinity` and
//! `-Infinity` (the JSON mapping of protobuf 3).

use std::collections::BTreeMap;

use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use crate::metrics::{Distribution, Family, MetricKind, MetricsSnapshot, Series, Value};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`
const CUMULATIVE: u8 = 2;

/// What is the same for every number of an export.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion<'a> {
    /// What describes the service.
    pub(super) resource: &'a BTreeMap<String, String>,
    /// When counting began, and now, in nanoseconds since the epoch.
    pub(super) since: u64,
    pub(super) now: u64,
}

/// The body of a request.
///
/// # Errors
/// None that is known: everything here is text and numbers.
pub(super) fn request(occasion: Occasion<'_>, snapshot: &MetricsSnapshot) -> serde_json::Result<Vec<u8>> {
    let resource = occasion.resource.iter().map(|(key, value)| Attribute::of(key, value)).collect();
    let scope = InstrumentationScope { name: "uplifted-ops", version: env!("CARGO_PKG_VERSION") };
    let scope_metrics = [ScopeMetrics { scope, metrics: Metrics { occasion, snapshot } }];
    serde_json::to_vec(&Request {
        resource_metrics: [ResourceMetrics { resource: Resource { attributes: resource }, scope_metrics }],
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_metrics: [ResourceMetrics<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMetrics<'a> {
    resource: Resource<'a>,
    scope_metrics: [ScopeMetrics<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
struct ScopeMetrics<'a> {
    scope: InstrumentationScope,
    metrics: Metrics<'a>,
}

#[derive(Serialize)]
struct InstrumentationScope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    value: Text<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Text<'a> {
    string_value: &'a str,
}

impl<'a> Attribute<'a> {
    fn of(key: &'a str, value: &'a str) -> Self {
        Self { key, value: Text { string_value: value } }
    }

    fn all(series: &'a Series) -> Vec<Self> {
        series.labels.iter().map(|(key, value)| Self::of(key, value)).collect()
    }
}

/// The families, written one after the other: a page of them is never held twice.
struct Metrics<'a> {
    occasion: Occasion<'a>,
    snapshot: &'a MetricsSnapshot,
}

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for family in self.snapshot.families.iter().filter(|family| !family.series.is_empty()) {
            list.serialize_element(&Metric::of(&self.occasion, family))?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct Metric<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
    #[serde(flatten)]
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Data<'a> {
    #[serde(rename_all = "camelCase")]
    Sum { data_points: Vec<Number<'a>>, aggregation_temporality: u8, is_monotonic: bool },
    #[serde(rename_all = "camelCase")]
    Gauge { data_points: Vec<Number<'a>> },
    #[serde(rename_all = "camelCase")]
    Histogram { data_points: Vec<Buckets<'a>>, aggregation_temporality: u8 },
}

impl<'a> Metric<'a> {
    fn of(occasion: &Occasion<'_>, family: &'a Family) -> Self {
        let numbers = || family.series.iter().filter_map(|series| Number::of(occasion, series)).collect();
        let data = match family.kind {
            MetricKind::Counter => {
                Data::Sum { data_points: numbers(), aggregation_temporality: CUMULATIVE, is_monotonic: true }
            }
            MetricKind::Gauge => Data::Gauge { data_points: numbers() },
            MetricKind::Histogram => Data::Histogram {
                data_points: family.series.iter().filter_map(|series| Buckets::of(occasion, series)).collect(),
                aggregation_temporality: CUMULATIVE,
            },
        };
        Self { name: &family.name, description: &family.help, unit: unit(family.unit.as_deref()), data }
    }
}

/// A unit as OpenTelemetry writes it (UCUM), for those that Prometheus has words for.
fn unit(name: Option<&str>) -> &str {
    match name {
        None => "",
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some("ratio") => "1",
        Some("meters") => "m",
        Some("celsius") => "Cel",
        Some("volts") => "V",
        Some("amperes") => "A",
        Some("joules") => "J",
        Some("grams") => "g",
        Some(other) => other,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Number<'a> {
    attributes: Vec<Attribute<'a>>,
    #[serde(serialize_with = "whole")]
    start_time_unix_nano: u64,
    #[serde(serialize_with = "whole")]
    time_unix_nano: u64,
    #[serde(serialize_with = "real")]
    as_double: f64,
}

impl<'a> Number<'a> {
    fn of(occasion: &Occasion<'_>, series: &'a Series) -> Option<Self> {
        let Value::Number(value) = &series.value else { return None };
        let attributes = Attribute::all(series);
        let (start_time_unix_nano, time_unix_nano) = (occasion.since, occasion.now);
        Some(Self { attributes, start_time_unix_nano, time_unix_nano, as_double: *value })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Buckets<'a> {
    attributes: Vec<Attribute<'a>>,
    #[serde(serialize_with = "whole")]
    start_time_unix_nano: u64,
    #[serde(serialize_with = "whole")]
    time_unix_nano: u64,
    #[serde(serialize_with = "whole")]
    count: u64,
    /// Left out with bounds below zero, where it may fall: the specification wants a sum that only grows.
    #[serde(serialize_with = "sum", skip_serializing_if = "Option::is_none")]
    sum: Option<f64>,
    bucket_counts: Vec<String>,
    explicit_bounds: &'a [f64],
}

impl<'a> Buckets<'a> {
    fn of(occasion: &Occasion<'_>, series: &'a Series) -> Option<Self> {
        let Value::Distribution(distribution) = &series.value else { return None };
        let Distribution { bounds, counts, sum, .. } = distribution;
        Some(Self {
            attributes: Attribute::all(series),
            start_time_unix_nano: occasion.since,
            time_unix_nano: occasion.now,
            count: distribution.count(),
            sum: bounds.first().is_none_or(|bound| *bound >= 0.0).then_some(*sum),
            bucket_counts: counts.iter().map(u64::to_string).collect(),
            explicit_bounds: bounds,
        })
    }
}

fn whole<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

fn real<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match *number {
        number if number.is_finite() => serializer.serialize_f64(number),
        number if number.is_nan() => serializer.serialize_str("NaN"),
        number if number > 0.0 => serializer.serialize_str("Infinity"),
        _ => serializer.serialize_str("-Infinity"),
    }
}

fn sum<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    real(&number.unwrap_or_default(), serializer)
}

/// What a collector answers (`ExportMetricsServiceResponse`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Response {
    pub(super) partial_success: PartialSuccess,
}

/// What it did not take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PartialSuccess {
    /// A 64-bit integer: text, or a number where the collector is lenient.
    pub(super) rejected_data_points: serde_json::Value,
    pub(super) error_message: String,
}

impl PartialSuccess {
    /// How many numbers were refused.
    pub(super) fn rejected(&self) -> u64 {
        match &self.rejected_data_points {
            serde_json::Value::String(text) => text.parse().unwrap_or(0),
            number => number.as_u64().unwrap_or(0),
        }
    }
}
