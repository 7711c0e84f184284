//! Facts as labels: a version, a build, a mode.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

use super::family::private::Sealed;
use super::family::{Adoptable, AnyFamily};
use super::names::{Definition, check_label};
use super::shared::OtherFamily;
use super::slab::{Inside, inside};
use super::snapshot::{Family, MetricKind, Series, Value};

/// Facts about something, as labels of a series that always stands at 1: joined to other series by a query.
///
/// The name ends in `_info`; it is a gauge, which every reader knows. [`Registry::infos`](super::Registry::infos)
/// makes one. Cheap to clone.
#[derive(Clone)]
pub struct InfoFamily(Arc<Inner>);

/// The facts, by the values of the declared labels.
type FactsBySeries = BTreeMap<Vec<String>, Vec<(String, String)>>;

struct Inner {
    definition: Definition,
    series: Mutex<FactsBySeries>,
}

impl InfoFamily {
    /// A family that is in no registry: [`Registry::adopt`](super::Registry::adopt) takes it into one, or into several.
    ///
    /// # Errors
    /// When the definition is wrong, see [`Registry::infos`](super::Registry::infos).
    pub fn detached(mut definition: Definition) -> Result<Self> {
        if !definition.name.ends_with("_info") {
            definition.name.push_str("_info");
        }
        let definition = definition.checked(MetricKind::Gauge)?;
        Ok(Self(Arc::new(Inner { definition, series: Mutex::default() })))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.definition.name
    }

    /// Replaces the facts of the series at these values of the declared labels.
    ///
    /// # Errors
    /// When the number of values is not the number of labels, when a fact's name is no label name or is there
    /// twice, and when the family has as many series as it may have.
    pub fn set(&self, values: &[&str], facts: &[(String, String)]) -> Result<()> {
        let Definition { name, labels, .. } = &self.0.definition;
        let max_series = self.0.definition.cap();
        self.0.definition.check_values(values)?;
        for (at, (fact, _)) in facts.iter().enumerate() {
            check_label(name, fact)?;
            if labels.contains(fact) || facts[..at].iter().any(|(earlier, _)| earlier == fact) {
                return Err(Error::invalid(format!("metric {name:?} has the label {fact:?} twice"))
                    .with_hint("give each fact a name of its own"));
            }
        }
        let mut series = self.series();
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        if series.len() >= max_series && !series.contains_key(&values) {
            return Err(Error::invalid(format!("metric {name:?} has {max_series} series, and may have no more"))
                .with_hint("label by something that takes few values"));
        }
        series.insert(values, facts.to_vec());
        Ok(())
    }

    /// Takes a series out of the family; says whether it was there.
    ///
    /// # Errors
    /// When the number of values is not the number of labels.
    pub fn remove(&self, values: &[&str]) -> Result<bool> {
        self.0.definition.check_values(values)?;
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        Ok(self.series().remove(&values).is_some())
    }

    /// Takes every series out of the family.
    pub fn clear(&self) {
        self.series().clear();
    }

    fn series(&self) -> Inside<MutexGuard<'_, FactsBySeries>> {
        inside(|| self.0.series.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Adoptable for InfoFamily {}

impl Sealed for InfoFamily {
    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn any(&self) -> Arc<dyn AnyFamily> {
        Arc::new(self.clone())
    }
}

impl fmt::Debug for InfoFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InfoFamily").field("name", &self.0.definition.name).finish_non_exhaustive()
    }
}

impl AnyFamily for InfoFamily {
    fn definition(&self) -> &Definition {
        &self.0.definition
    }

    fn kind(&self) -> MetricKind {
        MetricKind::Gauge
    }

    fn read(&self, _others: &[OtherFamily<'_>]) -> Family {
        let Definition { name, help, labels, .. } = &self.0.definition;
        let mut family = Family::new(name.clone(), MetricKind::Gauge, help.clone());
        family.series = self
            .series()
            .iter()
            .map(|(values, facts)| {
                let declared = labels.iter().cloned().zip(values.iter().cloned());
                let labels = declared.chain(facts.iter().cloned()).collect();
                Series { labels, value: Value::Number(1.0), exemplars: Vec::new() }
            })
            .collect();
        family
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Definition, Format, Registry, render};

    fn facts(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn facts_are_labels_of_a_series_that_stands_at_1() {
        let registry = Registry::new();
        let build = registry.infos(Definition::new("shop_build", "Which build").labels(&["part"])).unwrap();
        build.set(&["web"], &facts(&[("version", "1.2"), ("mode", "debug")])).unwrap();
        build.set(&["web"], &facts(&[("version", "1.3")])).unwrap();
        let text = render(&registry.snapshot(), Format::Text);
        assert!(
            text.contains("# TYPE shop_build_info gauge\nshop_build_info{part=\"web\",version=\"1.3\"} 1\n"),
            "{text}"
        );
        assert!(build.remove(&["web"]).unwrap());
        assert!(!render(&registry.snapshot(), Format::Text).contains("shop_build_info{"));
    }

    #[test]
    fn a_wrong_fact_changes_nothing() {
        let registry = Registry::new();
        let build = registry.infos(Definition::new("shop_build_info", "").labels(&["part"])).unwrap();
        for wrong in [&[("part", "x")][..], &[("a", "1"), ("a", "2")], &[("not a name", "")], &[("__x", "")]] {
            build.set(&["web"], &facts(wrong)).unwrap_err();
        }
        build.set(&[], &[]).unwrap_err();
        assert!(registry.snapshot().family("shop_build_info").unwrap().series.is_empty());
        registry.gauge("shop_build_info", "").unwrap_err();
    }
}
