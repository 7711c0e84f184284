//! Text 0.0.4 and 1.0.0, and OpenMetrics 1.0.

use std::borrow::Cow;

use super::{Buckets, Escaping, Format, Head, Labels, Writer};
use crate::metrics::family::label;
use crate::metrics::names::{is_plain, is_plain_label};
use crate::metrics::number;
use crate::metrics::snapshot::{Exemplar, MetricKind};

/// A page that is being written.
pub(in crate::metrics) struct Page<'a> {
    out: &'a mut String,
    format: Format,
    escaping: Escaping,
}

/// What each line of a family begins with, by the kind of line.
pub(in crate::metrics) struct Lines {
    number: Beginning,
    bucket: Beginning,
    sum: Beginning,
    count: Beginning,
    /// Whether labels have to be written anew, since not all their names are read by everybody.
    anew: bool,
}

/// The beginning of a line.
struct Beginning {
    /// Of a series without labels: `name `.
    bare: String,
    /// Of one with labels: `name{`.
    open: String,
}

impl<'a> Page<'a> {
    /// Goes on behind what is in `out`.
    pub(super) fn new(out: &'a mut String, format: Format, escaping: Escaping) -> Self {
        Self { out, format, escaping }
    }

    /// What begins the lines of `name` with `suffix`; a name that is not plain stands among the labels, in quotes.
    fn beginning(&self, name: &str, suffix: &str) -> Beginning {
        let whole = format!("{name}{suffix}");
        let name = self.escaping.name(&whole);
        if is_plain(&name) {
            return Beginning { bare: format!("{name} "), open: format!("{name}{{") };
        }
        let name = quoted(&name);
        Beginning { bare: format!("{{{name}}} "), open: format!("{{{name},") }
    }

    #[inline]
    fn put(&mut self, parts: &[&str]) {
        self.out.reserve(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            self.out.push_str(part);
        }
    }

    /// The labels as this page shows them.
    fn labels<'b>(&self, lines: &Lines, labels: Labels<'b>) -> Cow<'b, str> {
        if !lines.anew {
            return Cow::Borrowed(labels.text);
        }
        let mut text = String::with_capacity(labels.text.len() + 16);
        for (name, value) in labels.names.iter().zip(label::values(labels.text, labels.names)) {
            let name = self.escaping.label(name);
            let name = if is_plain_label(&name) { name } else { quoted(&name).into() };
            label::push(&mut text, 0, &name, &value);
        }
        Cow::Owned(text)
    }

    fn begin_line(&mut self, beginning: &Beginning, labels: &str) {
        if labels.is_empty() {
            self.out.push_str(&beginning.bare);
        } else {
            self.put(&[&beginning.open, labels, "} "]);
        }
    }

    /// Ends a line, behind what OpenMetrics shows of an observation: ` # {trace_id="x"} 0.7 1700000000.25`.
    #[inline]
    fn end_line(&mut self, exemplar: Option<&Exemplar>) {
        if let Some(exemplar) = exemplar.filter(|_| self.format == Format::OpenMetrics) {
            let labels = exemplar.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            self.put(&[" # {", &label::text(labels), "} "]);
            number::push(self.out, exemplar.value);
            self.out.push(' ');
            number::push(self.out, exemplar.time.as_millisecond() as f64 / 1000.0);
        }
        self.out.push('\n');
    }
}

impl Writer for Page<'_> {
    type Family = Lines;

    fn begin(&mut self, head: Head<'_>) -> Lines {
        let Head { name, kind, help, unit, is_plain: plain } = head;
        let (word, sample) = match kind {
            MetricKind::Counter => ("counter", "_total"),
            MetricKind::Gauge => ("gauge", ""),
            MetricKind::Histogram => ("histogram", ""),
        };
        // Text names the counter as its sample is named; OpenMetrics names the family.
        let whole = format!("{name}{}", if self.format == Format::Text { sample } else { "" });
        let shown = self.escaping.name(&whole);
        let shown = if is_plain(&shown) { shown } else { quoted(&shown).into() };
        if !help.is_empty() {
            self.put(&["# HELP ", &shown, " "]);
            label::escape(self.out, help, self.format == Format::OpenMetrics);
            self.out.push('\n');
        }
        self.put(&["# TYPE ", &shown, " ", word, "\n"]);
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.put(&["# UNIT ", &shown, " ", unit, "\n"]);
        }
        Lines {
            number: self.beginning(name, sample),
            bucket: self.beginning(name, "_bucket"),
            sum: self.beginning(name, "_sum"),
            count: self.beginning(name, "_count"),
            anew: !(plain && self.escaping.keeps_plain()),
        }
    }

    #[inline]
    fn number(&mut self, lines: &Lines, labels: Labels<'_>, value: f64, exemplar: Option<&Exemplar>) {
        match lines.anew {
            false => self.begin_line(&lines.number, labels.text),
            true => {
                let labels = self.labels(lines, labels);
                self.begin_line(&lines.number, &labels);
            }
        }
        number::push(self.out, value);
        self.end_line(exemplar);
    }

    fn histogram<C>(&mut self, lines: &Lines, labels: Labels<'_>, buckets: Buckets<'_, C>)
    where
        C: Iterator<Item = u64>,
    {
        let labels = self.labels(lines, labels);
        let Buckets { bounds, les, counts, sum, exemplars, .. } = buckets;
        let mut cumulative = 0_u64;
        for (bucket, (le, count)) in les.iter().zip(counts).enumerate() {
            cumulative = cumulative.wrapping_add(count);
            let comma = if labels.is_empty() { "" } else { "," };
            self.put(&[&lines.bucket.open, &labels, comma, le, "} "]);
            number::push_whole(self.out, cumulative);
            self.end_line(exemplars.get(bucket).and_then(Option::as_ref));
        }
        // OpenMetrics: with buckets below zero the sum may go down, and then neither it nor the count may be there.
        if self.format == Format::OpenMetrics && bounds.first().is_some_and(|bound| *bound < 0.0) {
            return;
        }
        self.begin_line(&lines.sum, &labels);
        number::push(self.out, sum);
        self.out.push('\n');
        self.begin_line(&lines.count, &labels);
        number::push_whole(self.out, cumulative);
        self.out.push('\n');
    }

    fn end(&mut self, _: Lines) {}
}

/// A name in quotes.
fn quoted(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    out.push('"');
    label::escape(&mut out, name, true);
    out.push('"');
    out
}
