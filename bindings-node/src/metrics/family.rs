//! Families and series of the registries.

use napi_derive::napi;
use serde_json::to_string;
use uplifted_ops::metrics::{
    Counter, CounterFamily, Definition, GaugeFamily, GaugeMode, Histogram, HistogramFamily, HostGauge, Place,
};
use uplifted_ops::{Error, Result};

use super::cells::NativeCells;
use super::registry;
use crate::error::thrown;

/// What a family is, as JavaScript says it.
#[napi(object)]
pub struct FamilyDefinition {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// What the numbers mean.
    pub help: String,
    /// The unit, in which the name must end.
    pub unit: Option<String>,
    /// The names of the labels.
    pub labels: Vec<String>,
    /// The upper bounds of a histogram.
    pub bounds: Option<Vec<f64>>,
    /// How many series are kept apart.
    pub max_series: Option<u32>,
    /// What a gauge shows where several processes have it: `livesum`, `max`, `mostrecent` and so on.
    pub mode: Option<String>,
    /// Whether it belongs to the process's registry, and to every thread that defines it.
    pub shared: bool,
}

/// Which instruments a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone)]
pub(super) enum AnyFamily {
    Counter(CounterFamily),
    Gauge(GaugeFamily),
    Histogram(HistogramFamily),
}

impl AnyFamily {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Counter(family) => family.name(),
            Self::Gauge(family) => family.name(),
            Self::Histogram(family) => family.name(),
        }
    }
}

/// A family of series.
#[napi]
pub struct NativeFamily {
    pub(super) family: AnyFamily,
    /// The name under which it is shared, until it is released.
    shared: Option<String>,
}

#[napi]
impl NativeFamily {
    /// Makes the family. A shared one that is the very same as another thread's is that one.
    #[napi(constructor)]
    pub fn new(definition: FamilyDefinition) -> napi::Result<Self> {
        make(definition).map_err(|error| thrown(&error))
    }

    /// The series of these label values, in the order of the names.
    #[napi]
    pub fn with(&self, values: Vec<String>) -> napi::Result<NativeSeries> {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let series = match &self.family {
            AnyFamily::Counter(family) => family.with(&values).map(AnySeries::Counter),
            AnyFamily::Gauge(family) => family.with(&values).map(|gauge| AnySeries::Gauge(HostGauge::new(&gauge))),
            AnyFamily::Histogram(family) => family.with(&values).map(AnySeries::Histogram),
        };
        series.map(NativeSeries::of).map_err(|error| thrown(&error))
    }

    /// Takes a series out; says whether it was there.
    #[napi]
    pub fn remove(&self, values: Vec<String>) -> napi::Result<bool> {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let removed = match &self.family {
            AnyFamily::Counter(family) => family.remove(&values),
            AnyFamily::Gauge(family) => family.remove(&values),
            AnyFamily::Histogram(family) => family.remove(&values),
        };
        removed.map_err(|error| thrown(&error))
    }

    /// Takes every series out.
    #[napi]
    pub fn clear(&self) {
        match &self.family {
            AnyFamily::Counter(family) => family.clear(),
            AnyFamily::Gauge(family) => family.clear(),
            AnyFamily::Histogram(family) => family.clear(),
        }
    }

    /// Every series at this moment, as JSON.
    #[napi]
    pub fn read(&self) -> napi::Result<String> {
        let family = match &self.family {
            AnyFamily::Counter(family) => family.snapshot(),
            AnyFamily::Gauge(family) => family.snapshot(),
            AnyFamily::Histogram(family) => family.snapshot(),
        };
        to_string(&family).map_err(|error| thrown(&Error::internal(format!("a family is no JSON: {error}"))))
    }

    /// This thread no longer uses a shared family, which leaves the process's registry with the last one that does.
    #[napi]
    pub fn release(&mut self) {
        if let Some(name) = self.shared.take() {
            registry::release(&name);
        }
    }
}

fn make(wanted: FamilyDefinition) -> Result<NativeFamily> {
    let FamilyDefinition { kind, name, help, unit, labels, bounds, max_series, mode, shared } = wanted;
    let kind = match kind.as_str() {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        other => return Err(Error::internal(format!("{other:?} is no kind of metric"))),
    };
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let mut definition = Definition::new(&name, help).labels(&labels);
    if let Some(unit) = unit {
        definition = definition.unit(unit);
    }
    if let Some(bounds) = bounds {
        definition = definition.bounds(&bounds);
    }
    if let Some(max) = max_series {
        definition = definition.max_series(max as usize);
    }
    if let Some(name) = mode {
        let mode = GaugeMode::named(&name).ok_or_else(|| {
            Error::invalid(format!("{name:?} is no mode of a gauge"))
                .with_hint("take sum, max, min or mostrecent, with or without live before it")
        })?;
        definition = definition.mode(mode);
    }
    let family = if shared { registry::share(&name, kind, definition)? } else { registry::make(kind, definition)? };
    Ok(NativeFamily { family, shared: shared.then_some(name) })
}

enum AnySeries {
    Counter(Counter),
    Gauge(HostGauge),
    Histogram(Histogram),
}

/// One series. JavaScript counts at its place, and keeps this as long as it does: the cells are used again afterwards.
#[napi]
pub struct NativeSeries {
    series: AnySeries,
    place: Place,
}

impl NativeSeries {
    fn of(series: AnySeries) -> Self {
        let place = match &series {
            AnySeries::Counter(counter) => counter.place(),
            AnySeries::Gauge(gauge) => gauge.place(),
            AnySeries::Histogram(histogram) => histogram.place(),
        };
        Self { series, place }
    }

    fn gauge(&self) -> napi::Result<&HostGauge> {
        match &self.series {
            AnySeries::Gauge(gauge) => Ok(gauge),
            _ => Err(thrown(&Error::invalid("only a gauge can be set"))),
        }
    }
}

#[napi]
impl NativeSeries {
    /// Which series this is, among those there are at the same time.
    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.place.series
    }

    /// The first cell.
    #[napi(getter)]
    pub fn first(&self) -> u32 {
        self.place.first
    }

    /// The other cell: a histogram's sum, a gauge's flag.
    #[napi(getter)]
    pub fn second(&self) -> u32 {
        self.place.second
    }

    /// Whether it takes what is over the cap: its label values are not those that were asked for.
    #[napi(getter)]
    pub fn overflow(&self) -> bool {
        self.place.overflow
    }

    /// Takes a gauge home, if it is nowhere else; its chunk is attached.
    #[napi]
    pub fn settle(&self, cells: &NativeCells) -> napi::Result<bool> {
        let gauge = self.gauge()?;
        Ok(cells.with(|cells| gauge.settle(cells)).unwrap_or(false))
    }

    /// Gives a gauge back that is at home here.
    #[napi]
    pub fn leave(&self) -> napi::Result<()> {
        self.gauge().map(HostGauge::leave)
    }

    /// Adds to a gauge that is not at home here.
    #[napi]
    pub fn add(&self, by: f64) -> napi::Result<()> {
        self.gauge().map(|gauge| gauge.add(by))
    }

    /// Sets a gauge that is not at home here.
    #[napi]
    pub fn set(&self, value: f64) -> napi::Result<()> {
        self.gauge().map(|gauge| gauge.set(value))
    }

    /// Adds to a counter, or observes, and keeps it as an example with labels: names and values by turns.
    #[napi]
    pub fn exemplify(&self, value: f64, labels: Vec<String>) -> napi::Result<()> {
        let labels: Vec<(&str, &str)> = labels.chunks_exact(2).map(|pair| (&*pair[0], &*pair[1])).collect();
        let kept = match &self.series {
            AnySeries::Counter(counter) => counter.add_with_exemplar(value, &labels),
            AnySeries::Histogram(histogram) => histogram.observe_with_exemplar(value, &labels),
            AnySeries::Gauge(_) => Err(Error::invalid("a gauge has no exemplars")),
        };
        kept.map_err(|error| thrown(&error))
    }

    /// Counts an observation that was left out of a histogram.
    #[napi]
    pub fn refuse(&self) {
        if let AnySeries::Histogram(histogram) = &self.series {
            histogram.refuse();
        }
    }
}
