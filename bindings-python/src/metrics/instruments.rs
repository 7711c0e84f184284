//! What counts: the classes under `Counter`, `Gauge` and `Histogram` of Python. Their quick methods are in `fast`.

use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use uplifted_ops::metrics;

use super::children::Children;
use super::families::{CounterFamily, GaugeFamily, HistogramFamily};
use super::fast::Parent;
use super::texts;
use crate::errors::OrRaise;

fn pairs(labels: &[(String, String)]) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A class of instruments: what they have in common is here, the methods of each kind are given.
macro_rules! instrument {
    ($(#[$doc:meta])* $class:ident of $family:ident, $inner:ty, { $($method:item)* }) => {
        $(#[$doc])*
        #[pyclass(frozen, subclass, module = "uplifted_ops._native")]
        #[derive(Default)]
        pub(crate) struct $class {
            /// Of a family with labels none.
            series: OnceLock<$inner>,
            children: Children,
        }

        impl $class {
            #[inline]
            pub(super) fn series(&self) -> Option<&$inner> {
                self.series.get()
            }

            /// The series, or what Python says where there is none.
            fn chosen<'a>(this: &'a Bound<'_, Self>) -> PyResult<&'a $inner> {
                match this.get().series() {
                    Some(series) => Ok(series),
                    None => Err(this.call_method0("_choose").err().unwrap_or_else(|| {
                        pyo3::exceptions::PyRuntimeError::new_err("an instrument without a series")
                    })),
                }
            }
        }

        impl Parent for $class {
            fn children(&self) -> &Children {
                &self.children
            }
        }

        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (*_arguments, **_named))]
            fn new(_arguments: &Bound<'_, PyTuple>, _named: Option<&Bound<'_, PyDict>>) -> Self {
                Self::default()
            }

            /// Learns which series it is; says whether its labels are these values: they are not where the family is full.
            fn _bind(&self, py: Python<'_>, family: &$family, values: Vec<String>) -> PyResult<bool> {
                let (series, own) = family.0.find(&texts(&values)).or_raise(py)?;
                let _ = self.series.set(series.into());
                Ok(own)
            }

            /// The child that is kept under these values.
            fn _child(&self, py: Python<'_>, values: &Bound<'_, PyTuple>) -> PyResult<Option<Py<PyAny>>> {
                self.children.get(py, values)
            }

            /// Keeps a child under values that are all text.
            fn _keep(&self, py: Python<'_>, values: &Bound<'_, PyTuple>, child: &Bound<'_, PyAny>) -> PyResult<()> {
                self.children.keep(py, values, child)
            }

            /// Remembers a child by the objects it was asked for with.
            fn _note(&self, given: &Bound<'_, PyTuple>, child: &Bound<'_, PyAny>) {
                self.children.note(given, child);
            }

            /// Forgets a child, or all of them.
            #[pyo3(signature = (values=None))]
            fn _forget(&self, py: Python<'_>, values: Option<&Bound<'_, PyTuple>>) -> PyResult<()> {
                self.children.forget(py, values)
            }

            $($method)*
        }
    };
}

instrument!(
    /// What counters are made of.
    Counter of CounterFamily,
    metrics::SerialCounter,
    {
        /// Adds a number that is not negative.
        #[pyo3(signature = (amount=1.0))]
        fn _add(this: &Bound<'_, Self>, amount: f64) -> PyResult<()> {
            Self::chosen(this)?.add(amount).or_raise(this.py())
        }

        /// Adds, and keeps it as an example.
        fn _exemplify(this: &Bound<'_, Self>, amount: f64, labels: Vec<(String, String)>) -> PyResult<()> {
            Self::chosen(this)?.add_with_exemplar(amount, &pairs(&labels)).or_raise(this.py())
        }

        /// What has been counted.
        fn _get(this: &Bound<'_, Self>) -> PyResult<f64> {
            Ok(Self::chosen(this)?.get())
        }
    }
);

instrument!(
    /// What gauges are made of.
    Gauge of GaugeFamily,
    metrics::Gauge,
    {
        /// Adds.
        #[pyo3(signature = (amount=1.0))]
        fn _inc(this: &Bound<'_, Self>, amount: f64) -> PyResult<()> {
            Self::chosen(this).map(|gauge| gauge.add(amount))
        }

        /// Takes away.
        #[pyo3(signature = (amount=1.0))]
        fn _dec(this: &Bound<'_, Self>, amount: f64) -> PyResult<()> {
            Self::chosen(this).map(|gauge| gauge.add(-amount))
        }

        /// Sets.
        fn _set(this: &Bound<'_, Self>, value: f64) -> PyResult<()> {
            Self::chosen(this).map(|gauge| gauge.set(value))
        }

        /// What it stands at.
        fn _get(this: &Bound<'_, Self>) -> PyResult<f64> {
            Ok(Self::chosen(this)?.get())
        }
    }
);

instrument!(
    /// What histograms and summaries are made of.
    Histogram of HistogramFamily,
    metrics::Histogram,
    {
        /// Counts a value in its bucket.
        fn _add(this: &Bound<'_, Self>, amount: f64) -> PyResult<()> {
            Self::chosen(this).map(|histogram| histogram.observe(amount))
        }

        /// Counts, and keeps it as an example.
        fn _exemplify(this: &Bound<'_, Self>, amount: f64, labels: Vec<(String, String)>) -> PyResult<()> {
            Self::chosen(this)?.observe_with_exemplar(amount, &pairs(&labels)).or_raise(this.py())
        }

        /// How many observations lie in each bucket alone, and their sum.
        fn _get(this: &Bound<'_, Self>) -> PyResult<(Vec<u64>, f64)> {
            let distribution = Self::chosen(this)?.get();
            Ok((distribution.counts, distribution.sum))
        }
    }
);
