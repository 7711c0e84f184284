//! The texts that Prometheus reads: the text format 0.0.4 and OpenMetrics 1.0.
//!
//! Sources: "Exposition formats" in the Prometheus documentation, and the OpenMetrics 1.0 specification.
//! Output is stable: the same snapshot gives the same bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::family::label;
use super::family::series::les;
use super::number;
use super::snapshot::{Distribution, Family, MetricKind, MetricsSnapshot, Series, Value};

/// A format of exposition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "MetricsFormat")]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The format that suits an `Accept` header best. Text, which everybody reads, unless the header ranks
/// OpenMetrics at least as high.
pub fn negotiate(accept: Option<&str>) -> Format {
    let (mut text, mut open) = (0.0_f64, 0.0_f64);
    for range in accept.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for parameter in parts {
            match parameter.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))) {
                Some((name, value)) if name.eq_ignore_ascii_case("q") => {
                    quality = value.parse::<f64>().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
                }
                Some((name, value)) if name.eq_ignore_ascii_case("version") => version = Some(value),
                _ => {}
            }
        }
        match media.as_str() {
            // Version 0.0.1 was a draft of another syntax.
            "application/openmetrics-text" if version.is_none_or(|version| version.starts_with("1.")) => {
                open = open.max(quality);
            }
            "text/plain" | "text/*" | "*/*" if version.is_none_or(|version| version == "0.0.4") => {
                text = text.max(quality);
            }
            _ => {}
        }
    }
    if open > 0.0 && open >= text { Format::OpenMetrics } else { Format::Text }
}

/// Writes a snapshot as text. [`Registry::render`](super::Registry::render) writes the same without a snapshot, which
/// is quicker.
pub fn render(snapshot: &MetricsSnapshot, format: Format) -> String {
    let mut out = String::with_capacity(4096);
    let mut page = Page::new(&mut out, format);
    for family in &snapshot.families {
        page.family(family);
    }
    page.finish();
    out
}

/// A page that is being written.
pub(super) struct Page<'a> {
    out: &'a mut String,
    format: Format,
}

/// What each line of a family begins with, by the kind of line.
pub(super) struct Heads {
    number: String,
    /// The same with the brace before the labels.
    open: String,
    bucket: String,
    sum: String,
    count: String,
}

impl<'a> Page<'a> {
    /// Goes on behind what is in `out`.
    pub(super) fn new(out: &'a mut String, format: Format) -> Self {
        Self { out, format }
    }

    /// Writes the end.
    pub(super) fn finish(self) {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
    }

    /// Writes a family, unless it has no series.
    pub(super) fn family(&mut self, family: &Family) {
        if family.series.is_empty() {
            return;
        }
        let heads = self.head(&family.name, family.kind, &family.help, family.unit.as_deref());
        for Series { labels, value } in &family.series {
            let text = label::text(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            match value {
                Value::Number(value) => self.number(&heads, &text, *value),
                Value::Distribution(Distribution { bounds, counts, sum }) => {
                    let les: Vec<String> = les(bounds).collect();
                    self.histogram(&heads, &text, bounds, les.iter().zip(counts.iter().copied()), *sum);
                }
            }
        }
    }

    /// Writes what stands above the series of a family.
    pub(super) fn head(&mut self, name: &str, kind: MetricKind, help: &str, unit: Option<&str>) -> Heads {
        let (word, sample) = match kind {
            MetricKind::Counter => ("counter", "_total"),
            MetricKind::Gauge => ("gauge", ""),
            MetricKind::Histogram => ("histogram", ""),
        };
        // Text names the counter as its sample is named; OpenMetrics names the family.
        let suffix = if self.format == Format::Text { sample } else { "" };
        if !help.is_empty() {
            self.put(&["# HELP ", name, suffix, " "]);
            label::escape(self.out, help, self.format == Format::OpenMetrics);
            self.out.push('\n');
        }
        self.put(&["# TYPE ", name, suffix, " ", word, "\n"]);
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.put(&["# UNIT ", name, " ", unit, "\n"]);
        }
        let head = |suffix: &str| format!("{name}{suffix}");
        Heads {
            number: head(sample),
            open: head(&format!("{sample}{{")),
            bucket: head("_bucket{"),
            sum: head("_sum"),
            count: head("_count"),
        }
    }

    /// Writes the line of a counter or gauge; `labels` is a text that [`label::text`] made.
    #[inline]
    pub(super) fn number(&mut self, heads: &Heads, labels: &str, value: f64) {
        if labels.is_empty() {
            self.put(&[&heads.number, " "]);
        } else {
            self.put(&[&heads.open, labels, "} "]);
        }
        number::push(self.out, value);
        self.out.push('\n');
    }

    /// Writes the lines of a histogram; `buckets` are not cumulative.
    pub(super) fn histogram<'b>(
        &mut self,
        heads: &Heads,
        labels: &str,
        bounds: &[f64],
        buckets: impl Iterator<Item = (&'b String, u64)>,
        sum: f64,
    ) {
        let mut cumulative = 0_u64;
        for (le, count) in buckets {
            cumulative = cumulative.wrapping_add(count);
            let comma = if labels.is_empty() { "" } else { "," };
            self.put(&[&heads.bucket, labels, comma, le, "} "]);
            number::push_whole(self.out, cumulative);
            self.out.push('\n');
        }
        // OpenMetrics: with buckets below zero the sum may go down, and then neither it nor the count may be there.
        if self.format == Format::OpenMetrics && bounds.first().is_some_and(|bound| *bound < 0.0) {
            return;
        }
        self.name(&heads.sum, labels);
        number::push(self.out, sum);
        self.out.push('\n');
        self.name(&heads.count, labels);
        number::push_whole(self.out, cumulative);
        self.out.push('\n');
    }

    fn name(&mut self, head: &str, labels: &str) {
        if labels.is_empty() {
            self.put(&[head, " "]);
        } else {
            self.put(&[head, "{", labels, "} "]);
        }
    }

    #[inline]
    fn put(&mut self, parts: &[&str]) {
        self.out.reserve(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            self.out.push_str(part);
        }
    }
}
