//! The texts that Prometheus reads: the text format 0.0.4 and OpenMetrics 1.0.
//!
//! Sources: "Exposition formats" in the Prometheus documentation, and the OpenMetrics 1.0 specification.
//! Output is stable: the same snapshot gives the same bytes.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// Writes a snapshot as text.
pub fn render(snapshot: &MetricsSnapshot, format: Format) -> String {
    let mut page = Page { out: String::with_capacity(4096), format };
    for family in &snapshot.families {
        page.family(family);
    }
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    page.out
}

struct Page {
    out: String,
    format: Format,
}

impl Page {
    fn family(&mut self, family: &Family) {
        if family.series.is_empty() {
            return;
        }
        let kind = match family.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        // Text names the counter as its sample is named; OpenMetrics names the family.
        let suffix = if family.kind == MetricKind::Counter && self.format == Format::Text { "_total" } else { "" };
        let name = &family.name;
        if !family.help.is_empty() {
            self.put(&["# HELP ", name, suffix, " "]);
            escape(&mut self.out, &family.help, self.format == Format::OpenMetrics);
            self.out.push('\n');
        }
        self.put(&["# TYPE ", name, suffix, " ", kind, "\n"]);
        if let (Format::OpenMetrics, Some(unit)) = (self.format, &family.unit) {
            self.put(&["# UNIT ", name, " ", unit, "\n"]);
        }
        for series in &family.series {
            match &series.value {
                Value::Number(value) => {
                    let suffix = if family.kind == MetricKind::Counter { "_total" } else { "" };
                    self.sample(name, suffix, series, None, *value);
                }
                Value::Distribution(distribution) => self.histogram(name, series, distribution),
            }
        }
    }

    fn histogram(&mut self, name: &str, series: &Series, distribution: &Distribution) {
        let mut cumulative = 0_u64;
        let bounds = distribution.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(&distribution.counts) {
            cumulative = cumulative.wrapping_add(*count);
            self.sample(name, "_bucket", series, Some(bound), cumulative as f64);
        }
        // OpenMetrics: with buckets below zero the sum may go down, and then neither it nor the count may be there.
        if self.format == Format::OpenMetrics && distribution.bounds.first().is_some_and(|bound| *bound < 0.0) {
            return;
        }
        self.sample(name, "_sum", series, None, distribution.sum);
        self.sample(name, "_count", series, None, cumulative as f64);
    }

    fn sample(&mut self, name: &str, suffix: &str, series: &Series, bound: Option<f64>, value: f64) {
        self.put(&[name, suffix]);
        let mut separator = '{';
        for (label, value) in &series.labels {
            self.out.push(separator);
            separator = ',';
            self.put(&[label, "=\""]);
            escape(&mut self.out, value, true);
            self.out.push('"');
        }
        if let Some(bound) = bound {
            self.out.push(separator);
            separator = ',';
            // Debug keeps the `.0`: OpenMetrics wants `1.0`, and one spelling for both formats keeps the series one.
            let _ = match bound {
                f64::INFINITY => write!(self.out, "le=\"+Inf\""),
                bound => write!(self.out, "le=\"{bound:?}\""),
            };
        }
        self.out.push_str(if separator == '{' { " " } else { "} " });
        number(&mut self.out, value);
        self.out.push('\n');
    }

    fn put(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.push_str(part);
        }
    }
}

/// Escapes a backslash and a line feed, and a quote where that is part of the syntax. A NUL, which the parser
/// of Prometheus takes for the end of the page, becomes U+FFFD.
fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
}

/// The shortest text that reads back as the same number.
fn number(out: &mut String, value: f64) {
    // Writing to a String cannot fail.
    let _ = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else if value.fract() == 0.0 && value.abs() < 1e15 {
        write!(out, "{value}")
    } else {
        write!(out, "{value:?}")
    };
}
