//! Families, and the registries that hold them.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use uplifted_ops::metrics::{
    self, Collected, Collector, Definition, Distribution, GaugeMode, MetricKind, Value, global,
};
use uplifted_ops::{Error, Result};

use super::{json, texts};
use crate::errors::OrRaise;

/// What a family is, from the arguments of its constructor.
fn definition(
    name: &str,
    help: &str,
    labels: &[String],
    unit: Option<String>,
    max_series: Option<usize>,
) -> Definition {
    let mut definition = Definition::new(name, help).labels(&texts(labels));
    if let Some(unit) = unit {
        definition = definition.unit(unit);
    }
    if let Some(max) = max_series {
        definition = definition.max_series(max);
    }
    definition
}

/// What a gauge shows where several processes have it.
fn mode_named(name: Option<&str>) -> Result<GaugeMode> {
    let Some(name) = name else { return Ok(GaugeMode::default()) };
    GaugeMode::named(name).ok_or_else(|| {
        Error::invalid(format!("{name:?} is no mode of a gauge"))
            .with_hint("take sum, max, min or mostrecent, with or without live before it")
    })
}

/// A family as a class: its constructor is written by hand, what families have in common is here.
macro_rules! family {
    ($(#[$doc:meta])* $class:ident, $inner:ty, |$py:ident, $($argument:ident : $type:ty),*| $make:expr, ($($signature:tt)*), { $($more:item)* }) => {
        $(#[$doc])*
        #[pyclass(frozen, module = "uplifted_ops._native")]
        pub(crate) struct $class(pub(super) $inner);

        #[pymethods]
        impl $class {
            /// Makes the family, which is in no registry yet.
            #[new]
            #[pyo3(signature = ($($signature)*))]
            fn new($py: Python<'_>, $($argument: $type),*) -> PyResult<Self> {
                $make.or_raise($py).map(Self)
            }

            /// Takes a series out; says whether it was there.
            fn remove(&self, py: Python<'_>, values: Vec<String>) -> PyResult<bool> {
                self.0.remove(&texts(&values)).or_raise(py)
            }

            /// Takes every series out.
            fn clear(&self) {
                self.0.clear();
            }

            $($more)*
        }
    };
}

family!(
    /// Counters of one name.
    CounterFamily,
    metrics::CounterFamily,
    |py, name: &str, help: &str, labels: Vec<String>, unit: Option<String>, max_series: Option<usize>|
    metrics::CounterFamily::detached(definition(name, help, &labels, unit, max_series)),
    (name, help, labels, unit=None, max_series=None),
    {}
);

family!(
    /// Gauges of one name.
    GaugeFamily,
    metrics::GaugeFamily,
    |py, name: &str, help: &str, labels: Vec<String>, unit: Option<String>, max_series: Option<usize>, mode: Option<&str>|
    mode_named(mode).and_then(|mode| {
        metrics::GaugeFamily::detached(definition(name, help, &labels, unit, max_series).mode(mode))
    }),
    (name, help, labels, unit=None, max_series=None, mode=None),
    {}
);

family!(
    /// Histograms of one name.
    HistogramFamily,
    metrics::HistogramFamily,
    |py, name: &str, help: &str, labels: Vec<String>, bounds: Vec<f64>, unit: Option<String>, max_series: Option<usize>|
    metrics::HistogramFamily::detached(definition(name, help, &labels, unit, max_series).bounds(&bounds)),
    (name, help, labels, bounds, unit=None, max_series=None),
    {}
);

family!(
    /// Facts of one name, as labels of series that stand at 1.
    InfoFamily,
    metrics::InfoFamily,
    |py, name: &str, help: &str, labels: Vec<String>|
    metrics::InfoFamily::detached(definition(name, help, &labels, None, None)),
    (name, help, labels),
    {
        /// Replaces the facts of a series.
        fn set(&self, py: Python<'_>, values: Vec<String>, facts: Vec<(String, String)>) -> PyResult<()> {
            self.0.set(&texts(&values), &facts).or_raise(py)
        }
    }
);

/// A family of any kind.
#[derive(FromPyObject)]
pub(super) enum AnyFamily<'py> {
    Counter(PyRef<'py, CounterFamily>),
    Gauge(PyRef<'py, GaugeFamily>),
    Histogram(PyRef<'py, HistogramFamily>),
    Info(PyRef<'py, InfoFamily>),
}

/// Families that are read together.
#[pyclass(frozen, module = "uplifted_ops._native")]
pub(crate) struct Registry(metrics::Registry);

#[pymethods]
impl Registry {
    /// An empty one, or the one of the process.
    #[new]
    fn new(of_the_process: bool) -> Self {
        Self(if of_the_process { global().clone() } else { metrics::Registry::new() })
    }

    /// Adds a family.
    fn adopt(&self, py: Python<'_>, family: AnyFamily<'_>) -> PyResult<()> {
        match &family {
            AnyFamily::Counter(family) => self.0.adopt(&family.0),
            AnyFamily::Gauge(family) => self.0.adopt(&family.0),
            AnyFamily::Histogram(family) => self.0.adopt(&family.0),
            AnyFamily::Info(family) => self.0.adopt(&family.0),
        }
        .or_raise(py)
    }

    /// Lets go of a family; says whether it was there.
    fn remove(&self, family: AnyFamily<'_>) -> bool {
        self.0.remove(match &family {
            AnyFamily::Counter(family) => family.0.name(),
            AnyFamily::Gauge(family) => family.0.name(),
            AnyFamily::Histogram(family) => family.0.name(),
            AnyFamily::Info(family) => family.0.name(),
        })
    }

    /// Asks `collect` for families whenever the registry is read.
    fn collect_from(&self, collect: Py<PyAny>) {
        self.0.collect_from(Arc::new(PyCollector(collect)));
    }

    /// Every series as text in UTF-8, with its content type; with an `Accept` header, in the format that suits it best.
    #[pyo3(signature = (accept=None))]
    fn render<'py>(&self, py: Python<'py>, accept: Option<&str>) -> (Bound<'py, PyBytes>, &'static str) {
        let format = metrics::negotiate(accept);
        // Collectors of Python take the interpreter's lock themselves.
        let page = py.detach(|| self.0.render(format));
        (PyBytes::new(py, page.as_bytes()), format.content_type())
    }

    /// Every series as JSON.
    fn read(&self, py: Python<'_>) -> PyResult<String> {
        let snapshot = py.detach(|| self.0.snapshot());
        json(&snapshot).or_raise(py)
    }
}

/// A function of Python that gives families.
struct PyCollector(Py<PyAny>);

/// A series as Python gives it: labels, and a number or counts of each bucket alone with the sum.
type GivenSeries = (Vec<(String, String)>, Given);

#[derive(FromPyObject)]
enum Given {
    Number(f64),
    Distribution((Vec<f64>, Vec<u64>, f64)),
}

/// A family as Python gives it: name, kind, help, unit, series.
type GivenFamily = (String, String, String, Option<String>, Vec<GivenSeries>);

impl Collector for PyCollector {
    fn name(&self) -> &str {
        "python"
    }

    fn collect(&self, out: &mut Collected) -> Result<()> {
        // Not there any more where the interpreter ends.
        let Some(given) = Python::try_attach(|py| self.ask(py)) else { return Ok(()) };
        let families = given.map_err(|error| Error::invalid(format!("a collector of Python raised: {error}")))?;
        families.into_iter().try_for_each(|family| out.push(family))
    }
}

impl PyCollector {
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<metrics::Family>> {
        let families: Vec<GivenFamily> = self.0.call0(py)?.extract(py)?;
        families.into_iter().map(family).collect()
    }
}

fn family((name, kind, help, unit, series): GivenFamily) -> PyResult<metrics::Family> {
    let kind = match kind.as_str() {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        other => return Err(PyTypeError::new_err(format!("{other:?} is no kind of metric"))),
    };
    let mut family = metrics::Family::new(name, kind, help);
    family.unit = unit;
    family.series = series
        .into_iter()
        .map(|(labels, value)| metrics::Series {
            labels,
            exemplars: Vec::new(),
            value: match value {
                Given::Number(number) => Value::Number(number),
                Given::Distribution((bounds, counts, sum)) => {
                    Value::Distribution(Distribution { bounds, counts, sum, native: None })
                }
            },
        })
        .collect();
    Ok(family)
}
