//! Instruments over the registry of the process. Python's classes wrap these, see `metrics.py`.

use pyo3::prelude::*;
use uplifted_ops::metrics::{self, Definition, Format, global};

use crate::errors::OrRaise;

/// What a family is, from the arguments of its constructor.
fn definition(
    name: &str,
    help: &str,
    labels: &[String],
    unit: Option<String>,
    max_series: Option<usize>,
) -> Definition {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let mut definition = Definition::new(name, help).labels(&labels);
    if let Some(unit) = unit {
        definition = definition.unit(unit);
    }
    if let Some(max) = max_series {
        definition = definition.max_series(max);
    }
    definition
}

fn texts(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

/// A family as a class: its constructor is written by hand, what families have in common is here.
macro_rules! family {
    ($(#[$doc:meta])* $class:ident of $series:ident, $inner:ty, |$self_py:ident, $($argument:ident : $type:ty),*| $make:expr, ($($signature:tt)*)) => {
        $(#[$doc])*
        #[pyclass(frozen, module = "uplifted_ops._native")]
        pub(crate) struct $class($inner);

        #[pymethods]
        impl $class {
            /// Registers the family.
            #[new]
            #[pyo3(signature = ($($signature)*))]
            fn new($self_py: Python<'_>, $($argument: $type),*) -> PyResult<Self> {
                $make.or_raise($self_py).map(Self)
            }

            /// The series at these label values, in the order of the labels.
            #[pyo3(name = "with_")]
            fn with(&self, py: Python<'_>, values: Vec<String>) -> PyResult<$series> {
                self.0.with(&texts(&values)).or_raise(py).map($series)
            }

            /// Takes a series out; says whether it was there.
            fn remove(&self, py: Python<'_>, values: Vec<String>) -> PyResult<bool> {
                self.0.remove(&texts(&values)).or_raise(py)
            }

            /// Takes every series out.
            fn clear(&self) {
                self.0.clear();
            }
        }
    };
}

family!(
    /// Counters of one name.
    CounterFamily of Counter,
    metrics::CounterFamily,
    |py, name: &str, help: &str, labels: Vec<String>, unit: Option<String>, max_series: Option<usize>|
    global().counters(definition(name, help, &labels, unit, max_series)),
    (name, help, labels, unit=None, max_series=None)
);

family!(
    /// Gauges of one name.
    GaugeFamily of Gauge,
    metrics::GaugeFamily,
    |py, name: &str, help: &str, labels: Vec<String>, unit: Option<String>, max_series: Option<usize>|
    global().gauges(definition(name, help, &labels, unit, max_series)),
    (name, help, labels, unit=None, max_series=None)
);

family!(
    /// Histograms of one name.
    HistogramFamily of Histogram,
    metrics::HistogramFamily,
    |py, name: &str, help: &str, labels: Vec<String>, bounds: Vec<f64>, unit: Option<String>, max_series: Option<usize>|
    global().histograms(definition(name, help, &labels, unit, max_series).bounds(&bounds)),
    (name, help, labels, bounds, unit=None, max_series=None)
);

/// One counter.
#[pyclass(frozen, module = "uplifted_ops._native")]
pub(crate) struct Counter(metrics::Counter);

#[pymethods]
impl Counter {
    /// Adds a number that is not negative.
    fn add(&self, py: Python<'_>, by: f64) -> PyResult<()> {
        self.0.add(by).or_raise(py)
    }

    /// What has been counted.
    fn get(&self) -> f64 {
        self.0.get()
    }
}

/// One gauge.
#[pyclass(frozen, module = "uplifted_ops._native")]
pub(crate) struct Gauge(metrics::Gauge);

#[pymethods]
impl Gauge {
    /// Adds, or takes away.
    fn add(&self, by: f64) {
        self.0.add(by);
    }

    /// Sets it.
    fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// What it stands at.
    fn get(&self) -> f64 {
        self.0.get()
    }
}

/// One histogram.
#[pyclass(frozen, module = "uplifted_ops._native")]
pub(crate) struct Histogram(metrics::Histogram);

#[pymethods]
impl Histogram {
    /// Counts a value in its bucket.
    fn observe(&self, value: f64) {
        self.0.observe(value);
    }

    /// The number of observations, and their sum.
    fn get(&self) -> (u64, f64) {
        let distribution = self.0.get();
        (distribution.count(), distribution.sum)
    }
}

/// Facts of one name, as labels of series that stand at 1.
#[pyclass(frozen, module = "uplifted_ops._native")]
pub(crate) struct InfoFamily(metrics::InfoFamily);

#[pymethods]
impl InfoFamily {
    /// Registers the family.
    #[new]
    fn new(py: Python<'_>, name: &str, help: &str, labels: Vec<String>) -> PyResult<Self> {
        global().infos(definition(name, help, &labels, None, None)).or_raise(py).map(Self)
    }

    /// Replaces the facts of a series.
    fn set(&self, py: Python<'_>, values: Vec<String>, facts: Vec<(String, String)>) -> PyResult<()> {
        self.0.set(&texts(&values), &facts).or_raise(py)
    }

    /// Takes a series out; says whether it was there.
    fn remove(&self, py: Python<'_>, values: Vec<String>) -> PyResult<bool> {
        self.0.remove(&texts(&values)).or_raise(py)
    }

    /// Takes every series out.
    fn clear(&self) {
        self.0.clear();
    }
}

/// Every series of the process as text; with an `Accept` header, in the format that suits it best. Gives the text
/// and its content type.
#[pyfunction]
#[pyo3(signature = (accept=None))]
pub(crate) fn render_metrics(py: Python<'_>, accept: Option<&str>) -> (String, &'static str) {
    let format: Format = metrics::negotiate(accept);
    (py.detach(|| global().render(format)), format.content_type())
}
