//! Pages: every series as Prometheus reads it.
//!
//! | part | what it has |
//! | --- | --- |
//! | `negotiate` | what a scraper's headers ask for |
//! | `escaping` | names that old scrapers cannot read, as names that they can |
//! | `text` | text 0.0.4 and 1.0.0, and OpenMetrics 1.0 |
//! | `protobuf` | delimited messages, the one format that has native histograms |
//! | `compress` | gzip |
//!
//! Sources: "Exposition formats", "Scrape protocol content negotiation" and "UTF-8 metric and label name escaping schemes" in
//! the Prometheus documentation; the OpenMetrics 1.0 specification; `io/prometheus/client/metrics.proto`.
//! Output is stable: the same snapshot gives the same bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::family::label;
use super::family::series::les;
use super::names;
use super::snapshot::{Distribution, Exemplar, Family, MetricKind, MetricsSnapshot, NativeDistribution, Series, Value};

pub(super) mod compress;
mod escaping;
mod negotiate;
pub(super) mod protobuf;
#[cfg(test)]
mod tests;
pub(super) mod text;

pub use compress::gzip;
pub use escaping::Escaping;
pub use negotiate::{accepts_gzip, negotiate};

/// A text format.
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

/// What a page is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Prometheus text, version 0.0.4.
    #[default]
    Text,
    /// Prometheus text, version 1.0.0: the same, with names of any characters where the scheme allows them.
    Text1,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
    /// Delimited messages of protobuf.
    Protobuf,
}

/// How a page is written: its encoding, and how names are that not every scraper reads. [`Exposition::negotiate`] finds the
/// one that a scraper wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exposition {
    /// What it is written in.
    pub encoding: Encoding,
    /// The scheme that was asked for. [`Escaping::Underscores`] when none was.
    pub escaping: Option<Escaping>,
}

impl Exposition {
    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> String {
        let media = match self.encoding {
            Encoding::Text => Format::Text.content_type(),
            Encoding::Text1 => "text/plain; version=1.0.0; charset=utf-8",
            Encoding::OpenMetrics => Format::OpenMetrics.content_type(),
            Encoding::Protobuf => protobuf::CONTENT_TYPE,
        };
        match self.escaping {
            Some(escaping) => format!("{media}; escaping={}", escaping.as_str()),
            None => media.to_owned(),
        }
    }

    /// Writes a snapshot. [`Registry::expose_into`](super::Registry::expose_into) writes the same without one, which is
    /// quicker.
    pub fn write(self, snapshot: &MetricsSnapshot) -> Vec<u8> {
        let mut out = Vec::new();
        self.page(&mut out, |page| snapshot.families.iter().for_each(|family| page.family(family)));
        out
    }

    /// Appends to `out` what `fill` writes.
    pub(super) fn page(self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Page<'_>)) {
        let escaping = self.escaping.unwrap_or_default();
        let format = match self.encoding {
            Encoding::Protobuf => return fill(&mut Page::Protobuf(protobuf::Page::new(out, escaping))),
            Encoding::OpenMetrics => Format::OpenMetrics,
            Encoding::Text | Encoding::Text1 => Format::Text,
        };
        // A page that begins something is written where it will stand; behind something else it is copied.
        let before = if out.is_empty() { Vec::new() } else { std::mem::take(out) };
        let mut text = String::from_utf8(std::mem::take(out)).unwrap_or_default();
        format.page(&mut text, escaping, fill);
        *out = match before.is_empty() {
            true => text.into_bytes(),
            false => [before, text.into_bytes()].concat(),
        };
    }
}

impl From<Format> for Exposition {
    fn from(format: Format) -> Self {
        let encoding = match format {
            Format::Text => Encoding::Text,
            Format::OpenMetrics => Encoding::OpenMetrics,
        };
        Self { encoding, escaping: None }
    }
}

impl Format {
    /// Appends to `out` what `fill` writes, and the end.
    pub(super) fn page(self, out: &mut String, escaping: Escaping, fill: impl FnOnce(&mut Page<'_>)) {
        fill(&mut Page::Text(text::Page::new(out, self, escaping)));
        if self == Self::OpenMetrics {
            out.push_str("# EOF\n");
        }
    }
}

/// Writes a snapshot as text. [`Registry::render`](super::Registry::render) writes the same without a snapshot, which
/// is quicker.
pub fn render(snapshot: &MetricsSnapshot, format: Format) -> String {
    let mut out = String::with_capacity(4096);
    let fill = |page: &mut Page<'_>| snapshot.families.iter().for_each(|family| page.family(family));
    format.page(&mut out, Escaping::default(), fill);
    out
}

/// A page that is being written.
pub(super) enum Page<'a> {
    Text(text::Page<'a>),
    Protobuf(protobuf::Page<'a>),
}

impl Page<'_> {
    /// Writes a family, unless it has no series.
    pub(super) fn family(&mut self, family: &Family) {
        match self {
            Self::Text(page) => page.family(family),
            Self::Protobuf(page) => page.family(family),
        }
    }
}

/// What stands above the series of a family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    pub(super) kind: MetricKind,
    pub(super) help: &'a str,
    pub(super) unit: Option<&'a str>,
    /// Whether every name, those of labels too, is one that old scrapers read.
    pub(super) is_plain: bool,
}

/// The labels of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels<'a> {
    pub(super) names: &'a [String],
    /// What [`label::text`] made of them.
    pub(super) text: &'a str,
}

/// A histogram, as far as pages show it.
pub(super) struct Buckets<'a, C> {
    pub(super) bounds: &'a [f64],
    /// What buckets are called: `le="0.5"`.
    pub(super) les: &'a [String],
    /// Observations in each bucket alone.
    pub(super) counts: C,
    pub(super) sum: f64,
    pub(super) native: Option<&'a NativeDistribution>,
    /// By bucket; those at the end may be missing.
    pub(super) exemplars: &'a [Option<Exemplar>],
}

/// A format, as those see it who have series to write.
pub(super) trait Writer {
    /// What is made once for a family.
    type Family;

    /// Begins a family.
    fn begin(&mut self, head: Head<'_>) -> Self::Family;

    /// Writes a counter or gauge.
    fn number(&mut self, family: &Self::Family, labels: Labels<'_>, value: f64, exemplar: Option<&Exemplar>);

    /// Writes a histogram.
    fn histogram<C>(&mut self, family: &Self::Family, labels: Labels<'_>, buckets: Buckets<'_, C>)
    where
        C: Iterator<Item = u64>;

    /// Ends a family.
    fn end(&mut self, family: Self::Family);

    /// Writes a family that is plain data, unless it has no series.
    fn family(&mut self, family: &Family) {
        if family.series.is_empty() {
            return;
        }
        let all = family.series.iter().flat_map(|series| &series.labels);
        let is_plain = names::is_plain(&family.name) && all.into_iter().all(|(name, _)| names::is_plain_label(name));
        let head =
            Head { name: &family.name, kind: family.kind, help: &family.help, unit: family.unit.as_deref(), is_plain };
        let begun = self.begin(head);
        for Series { labels, value, exemplars } in &family.series {
            let names: Vec<String> = labels.iter().map(|(name, _)| name.clone()).collect();
            let text = label::text(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let labels = Labels { names: &names, text: &text };
            let mut by_bucket: Vec<Option<Exemplar>> = Vec::new();
            for exemplar in exemplars {
                by_bucket.resize(by_bucket.len().max(exemplar.bucket + 1), None);
                by_bucket[exemplar.bucket] = Some(exemplar.clone());
            }
            match value {
                Value::Number(value) => {
                    self.number(&begun, labels, *value, by_bucket.first().and_then(Option::as_ref));
                }
                Value::Distribution(Distribution { bounds, counts, sum, native }) => {
                    let les: Vec<String> = les(bounds).collect();
                    let buckets = Buckets {
                        bounds,
                        les: &les,
                        counts: counts.iter().copied(),
                        sum: *sum,
                        native: native.as_ref(),
                        exemplars: &by_bucket,
                    };
                    self.histogram(&begun, labels, buckets);
                }
            }
        }
        self.end(begun);
    }
}
