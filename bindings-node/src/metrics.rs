//! Instruments of the process's registry.
//!
//! The registry belongs to the process, and an event loop is one thread of it: several (`worker_threads`) may load
//! the same service. Whoever defines a family again, exactly as it is, gets the one that is there; that the same
//! thread does so twice is noticed in `lib/metrics.ts`.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use napi_derive::napi;
use uplifted_ops::metrics::{
    Counter, CounterFamily, Definition, Format, Gauge, GaugeFamily, Histogram, HistogramFamily, global,
};
use uplifted_ops::{Error, Result};

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
}

#[derive(Clone)]
enum AnyFamily {
    Counter(CounterFamily),
    Gauge(GaugeFamily),
    Histogram(HistogramFamily),
}

/// A family of series.
#[napi]
pub struct NativeFamily(AnyFamily);

#[napi]
impl NativeFamily {
    /// Registers the family, or finds the very same one.
    #[napi(constructor)]
    pub fn new(definition: FamilyDefinition) -> napi::Result<Self> {
        find_or_register(definition).map(Self).map_err(|error| thrown(&error))
    }

    /// The series of these label values, in the order of the names.
    #[napi]
    pub fn with(&self, values: Vec<String>) -> napi::Result<NativeSeries> {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let series = match &self.0 {
            AnyFamily::Counter(family) => family.with(&values).map(AnySeries::Counter),
            AnyFamily::Gauge(family) => family.with(&values).map(AnySeries::Gauge),
            AnyFamily::Histogram(family) => family.with(&values).map(AnySeries::Histogram),
        };
        series.map(NativeSeries).map_err(|error| thrown(&error))
    }

    /// Takes a series out; says whether it was there.
    #[napi]
    pub fn remove(&self, values: Vec<String>) -> napi::Result<bool> {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let removed = match &self.0 {
            AnyFamily::Counter(family) => family.remove(&values),
            AnyFamily::Gauge(family) => family.remove(&values),
            AnyFamily::Histogram(family) => family.remove(&values),
        };
        removed.map_err(|error| thrown(&error))
    }

    /// Takes every series out.
    #[napi]
    pub fn clear(&self) {
        match &self.0 {
            AnyFamily::Counter(family) => family.clear(),
            AnyFamily::Gauge(family) => family.clear(),
            AnyFamily::Histogram(family) => family.clear(),
        }
    }
}

enum AnySeries {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// One series.
#[napi]
pub struct NativeSeries(AnySeries);

#[napi]
impl NativeSeries {
    /// Adds to a counter or a gauge, observes in a histogram.
    #[napi]
    pub fn add(&self, value: f64) -> napi::Result<()> {
        match &self.0 {
            AnySeries::Counter(counter) => counter.add(value).map_err(|error| thrown(&error)),
            AnySeries::Gauge(gauge) => {
                gauge.add(value);
                Ok(())
            }
            AnySeries::Histogram(histogram) => {
                histogram.observe(value);
                Ok(())
            }
        }
    }

    /// Sets a gauge.
    #[napi]
    pub fn set(&self, value: f64) -> napi::Result<()> {
        let AnySeries::Gauge(gauge) = &self.0 else {
            return Err(thrown(&Error::invalid("only a gauge can be set")));
        };
        gauge.set(value);
        Ok(())
    }

    /// What a counter or a gauge stands at, how many observations a histogram has.
    #[napi]
    pub fn get(&self) -> f64 {
        match &self.0 {
            AnySeries::Counter(counter) => counter.get(),
            AnySeries::Gauge(gauge) => gauge.get(),
            AnySeries::Histogram(histogram) => histogram.get().count() as f64,
        }
    }
}

/// The page that Prometheus reads.
#[napi(object)]
pub struct Page {
    /// Its `content-type`.
    pub content_type: String,
    /// The text.
    pub body: String,
}

/// Every series of the process as text.
#[napi]
pub fn render_metrics(open_metrics: bool) -> Page {
    let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
    Page { content_type: format.content_type().into(), body: global().render(format) }
}

type Families = HashMap<String, (String, Definition, AnyFamily)>;
static FAMILIES: LazyLock<Mutex<Families>> = LazyLock::new(Mutex::default);

fn find_or_register(wanted: FamilyDefinition) -> Result<AnyFamily> {
    let FamilyDefinition { kind, name, help, unit, labels, bounds, max_series } = wanted;
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
    let mut families = FAMILIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((its_kind, its_definition, family)) = families.get(&name)
        && *its_kind == kind
        && *its_definition == definition
    {
        return Ok(family.clone());
    }
    let family = match kind.as_str() {
        "counter" => AnyFamily::Counter(global().counters(definition.clone())?),
        "gauge" => AnyFamily::Gauge(global().gauges(definition.clone())?),
        "histogram" => AnyFamily::Histogram(global().histograms(definition.clone())?),
        other => return Err(Error::internal(format!("{other:?} is no kind of metric"))),
    };
    families.insert(name, (kind, definition, family.clone()));
    Ok(family)
}
