//! What a family is called, and which names are refused.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::{Error, Result};

use super::exposition::Escaping;
use super::family::max_series;
use super::instrument::DEFAULT_BOUNDS;
use super::mode::GaugeMode;
use super::native::NativeBuckets;
use super::snapshot::{Family, MetricKind, Value};

/// What a family is: its name, its meaning, its labels. Checked when it is registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) unit: Option<String>,
    pub(super) labels: Vec<String>,
    pub(super) bounds: Vec<f64>,
    /// The process's when it says nothing.
    pub(super) max_series: Option<usize>,
    pub(super) kept: Vec<String>,
    pub(super) expire_after: Option<Duration>,
    pub(super) mode: GaugeMode,
    pub(super) native: Option<NativeBuckets>,
    /// Whether names may be of any characters.
    pub(super) any_names: bool,
    /// Whether they are such that everybody reads them.
    pub(super) is_plain: bool,
}

impl Definition {
    /// A family without labels or unit. The `_total` of a counter may be written or left out.
    pub fn new(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            help: help.into(),
            unit: None,
            labels: Vec::new(),
            bounds: DEFAULT_BOUNDS.to_vec(),
            max_series: None,
            kept: Vec::new(),
            expire_after: None,
            mode: GaugeMode::default(),
            native: None,
            any_names: false,
            is_plain: true,
        }
    }

    /// Sets the unit (`seconds`, `bytes`, `ratio`), in which the name must end.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// Sets the names of the labels, in the order in which `with` takes their values.
    #[must_use]
    pub fn labels(mut self, labels: &[&str]) -> Self {
        self.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self
    }

    /// Sets the upper bounds of a histogram's buckets: ascending, finite, without duplicates. `+Inf` is implied
    /// and may be written last.
    #[must_use]
    pub fn bounds(mut self, bounds: &[f64]) -> Self {
        self.bounds = bounds.to_vec();
        self
    }

    /// Sets how many sets of label values the family keeps apart before the rest goes into one overflow
    /// series. That of [`set_max_series`](super::set_max_series), 2,000 by itself, unless set.
    #[must_use]
    pub fn max_series(mut self, max: usize) -> Self {
        self.max_series = Some(max);
        self
    }

    /// Sets which labels keep their values when the family is full: the others become `__overflow__`. Name labels
    /// of few values (method, status), so that sums over those stay right when another is flooded; past 100 such sets
    /// nothing is kept.
    #[must_use]
    pub fn keep_on_overflow(mut self, labels: &[&str]) -> Self {
        self.kept = labels.iter().map(|label| (*label).to_owned()).collect();
        self
    }

    /// Takes a series out once it has not changed for so long, by the pages and snapshots that are made, unless
    /// somebody has a handle of it. One that is counted again begins at zero.
    ///
    /// Where processes share what they count, it is the sum that must not have changed, and it leaves the pages of all at
    /// once, with what processes left in it that are gone.
    #[must_use]
    pub fn expire_after(mut self, idle: Duration) -> Self {
        self.expire_after = Some(idle);
        self
    }

    /// Sets what gauges show where several processes of the service have them. Others have no use for it.
    #[must_use]
    pub fn mode(mut self, mode: GaugeMode) -> Self {
        self.mode = mode;
        self
    }

    /// Gives a histogram native buckets beside the others: `bounds(&[])` leaves only those. Pages in protobuf show them.
    #[must_use]
    pub fn native(mut self, native: NativeBuckets) -> Self {
        self.native = Some(native);
        self
    }

    /// Allows any text as names of the family and its labels, such as `http.server.duration`. Prometheus reads them since
    /// version 3; older ones are given `_` for what they do not read. Two names that are one then are refused.
    #[must_use]
    pub fn any_names(mut self) -> Self {
        self.any_names = true;
        self
    }

    /// How many sets of label values it keeps apart.
    pub(super) fn cap(&self) -> usize {
        self.max_series.unwrap_or_else(max_series)
    }

    /// Checks that there is one value for each label.
    #[inline]
    pub(super) fn check_values(&self, values: &[&str]) -> Result<()> {
        if values.len() == self.labels.len() { Ok(()) } else { self.wrong_values(values) }
    }

    #[cold]
    fn wrong_values(&self, values: &[&str]) -> Result<()> {
        let Self { name, labels, .. } = self;
        Err(Error::invalid(format!("metric {name:?} takes {} label values, not {}", labels.len(), values.len()))
            .with_hint(format!("give one value for each of: {}", labels.join(", "))))
    }

    /// Checks everything, and brings the name into its plain form.
    pub(super) fn checked(mut self, kind: MetricKind) -> Result<Self> {
        if kind == MetricKind::Counter
            && let Some(base) = self.name.strip_suffix("_total")
        {
            self.name.truncate(base.len());
        }
        self.is_plain =
            !self.any_names || (is_plain(&self.name) && self.labels.iter().all(|label| is_plain_label(label)));
        if self.any_names {
            self.name = without_nul(self.name)?;
            for label in &mut self.labels {
                *label = without_nul(std::mem::take(label))?;
            }
        }
        // Names are checked as those see them who do not read them all.
        let seen = |name: &str| if self.any_names { plain(name).into_owned() } else { name.to_owned() };
        check_name(&seen(&self.name), kind)?;
        check_unit(&self.name, self.unit.as_deref())?;
        let labels: Vec<String> = self.labels.iter().map(|label| seen(label).replace(':', "_")).collect();
        for (at, (label, seen)) in self.labels.iter().zip(&labels).enumerate() {
            check_label(&self.name, if self.any_names { seen } else { label })?;
            if labels[..at].contains(seen) {
                return Err(Error::invalid(format!("metric {:?} has the label {label:?} twice", self.name)).with_hint(
                    "give each label a name of its own, also where `_` stands for what is no letter or digit",
                ));
            }
        }
        self.check_overflow()?;
        if kind == MetricKind::Histogram {
            if self.bounds.last() == Some(&f64::INFINITY) {
                self.bounds.pop();
            }
            check_bounds(&self.name, &self.bounds)?;
            if let Some(native) = &self.native {
                native.check(&self.name)?;
            }
        }
        Ok(self)
    }
}

impl Definition {
    fn check_overflow(&self) -> Result<()> {
        let Self { name, labels, kept, expire_after, .. } = self;
        if let Some(label) = kept.iter().find(|label| !labels.contains(label)) {
            return Err(Error::invalid(format!("metric {name:?} keeps the label {label:?}, which it does not have"))
                .with_hint(format!("name some of: {}", labels.join(", "))));
        }
        if !labels.is_empty() && labels.iter().all(|label| kept.contains(label)) {
            return Err(Error::invalid(format!("metric {name:?} keeps all its labels when it is full"))
                .with_hint("leave out the labels that may take many values"));
        }
        if *expire_after == Some(Duration::ZERO) {
            return Err(Error::invalid(format!("the series of metric {name:?} expire at once"))
                .with_hint("give a time longer than a few scrapes, such as an hour"));
        }
        Ok(())
    }
}

/// Whether a character may be at this place of a name that everybody reads.
pub(super) fn is_plain_at(c: char, at: usize) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (at > 0 && c.is_ascii_digit())
}

/// Whether everybody reads this name.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().enumerate().all(|(at, c)| is_plain_at(c, at))
}

/// Whether everybody reads this name of a label.
pub(super) fn is_plain_label(name: &str) -> bool {
    is_plain(name) && !name.contains(':')
}

/// The name as those are given it who do not read every one.
pub(super) fn plain(name: &str) -> Cow<'_, str> {
    Escaping::Underscores.name(name)
}

/// A name of any characters: a NUL, which ends a page for Prometheus, becomes U+FFFD.
fn without_nul(name: String) -> Result<String> {
    if name.is_empty() || name.len() > 200 {
        return Err(Error::invalid(format!("a name has {} bytes", name.len())).with_hint("use 1 to 200"));
    }
    Ok(if name.contains('\0') { name.replace('\0', "\u{fffd}") } else { name })
}

/// The names that samples of a family have on a page. No two families may share one.
pub(super) fn sample_names(name: &str, kind: MetricKind) -> impl Iterator<Item = String> + use<'_> {
    let suffixes: &[&str] = match kind {
        MetricKind::Counter => &["", "_total", "_created"],
        MetricKind::Gauge => &[""],
        MetricKind::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
    };
    suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
}

/// Checks a family that a collector made, so that one wrong name cannot spoil the page for all others.
pub(super) fn check_family(family: &Family) -> Result<()> {
    check_name(&family.name, family.kind)?;
    check_unit(&family.name, family.unit.as_deref())?;
    for series in &family.series {
        for (at, (label, _)) in series.labels.iter().enumerate() {
            check_label(&family.name, label)?;
            if series.labels[..at].iter().any(|(earlier, _)| earlier == label) {
                return Err(Error::invalid(format!("metric {:?} has the label {label:?} twice", family.name)));
            }
        }
        check_value(family, &series.value)?;
    }
    Ok(())
}

/// Metric names are `[a-zA-Z_:][a-zA-Z0-9_:]*` (Prometheus data model). The endings that a sample adds are
/// refused where they would turn one family into another's sample.
fn check_name(name: &str, kind: MetricKind) -> Result<()> {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    let ok = name.chars().next().is_some_and(start) && name.chars().all(|c| start(c) || c.is_ascii_digit());
    if !ok || name.len() > 200 {
        return Err(Error::invalid(format!("{name:?} is not a metric name"))
            .with_hint("use letters, digits and _, not starting with a digit, at most 200"));
    }
    // A gauge `x_total` is only bad style, and Node's own have such names: it takes the name from a counter `x`.
    let allowed = if kind == MetricKind::Gauge { "_total" } else { "" };
    let mut reserved = ["_total", "_bucket", "_created"].iter().filter(|suffix| **suffix != allowed);
    let reserved = reserved.find(|suffix| name.ends_with(**suffix));
    match reserved {
        Some(suffix) => Err(Error::invalid(format!("metric {name:?} of kind {kind:?} ends in {suffix}"))
            .with_hint("leave the ending out: it belongs to the samples of counters and histograms")),
        None => Ok(()),
    }
}

/// A unit is the last part of the name (OpenMetrics 1.0, "Unit").
fn check_unit(name: &str, unit: Option<&str>) -> Result<()> {
    match unit {
        Some(unit) if unit.is_empty() || !name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) => {
            Err(Error::invalid(format!("metric {name:?} does not end in its unit {unit:?}"))
                .with_hint(format!("call it {name}_{unit}, or leave the unit out")))
        }
        _ => Ok(()),
    }
}

/// Label names are `[a-zA-Z_][a-zA-Z0-9_]*`; `__…` belongs to Prometheus, `le` to the buckets of a histogram.
pub(super) fn check_label(name: &str, label: &str) -> Result<()> {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_';
    let ok = label.chars().next().is_some_and(start) && label.chars().all(|c| start(c) || c.is_ascii_digit());
    if !ok || label.len() > 200 {
        return Err(Error::invalid(format!("{label:?} is not a label name, in metric {name:?}"))
            .with_hint("use letters, digits and _, not starting with a digit, at most 200"));
    }
    if label.starts_with("__") || label == "le" {
        return Err(Error::invalid(format!("the label {label:?} of metric {name:?} is reserved"))
            .with_hint("choose another name: `le` and names starting with __ belong to Prometheus"));
    }
    Ok(())
}

fn check_value(family: &Family, value: &Value) -> Result<()> {
    let name = &family.name;
    match (family.kind, value) {
        (MetricKind::Counter, Value::Number(value)) if value.is_nan() || *value < 0.0 => {
            Err(Error::invalid(format!("counter {name:?} stands at {value}")).with_hint("a counter is at least 0"))
        }
        (MetricKind::Counter | MetricKind::Gauge, Value::Number(_)) => Ok(()),
        (MetricKind::Histogram, Value::Distribution(distribution)) => {
            if distribution.counts.len() != distribution.bounds.len() + 1 {
                return Err(Error::invalid(format!("histogram {name:?} has not one bucket more than bounds")));
            }
            check_bounds(name, &distribution.bounds)
        }
        (kind, _) => Err(Error::invalid(format!("metric {name:?} of kind {kind:?} holds a value of another kind"))),
    }
}

fn check_bounds(name: &str, bounds: &[f64]) -> Result<()> {
    let wrong = |what: String| {
        Err(Error::invalid(format!("the bounds of histogram {name:?} {what}"))
            .with_hint("list finite numbers in ascending order, each once; +Inf is implied"))
    };
    if bounds.len() > 500 {
        return wrong(format!("are {}, more than 500", bounds.len()));
    }
    if let Some(bound) = bounds.iter().find(|bound| !bound.is_finite()) {
        return wrong(format!("contain {bound}"));
    }
    match bounds.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => wrong(format!("are not ascending: {} is followed by {}", pair[0], pair[1])),
        None => Ok(()),
    }
}
