//! Registries that JavaScript makes beside the process's.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use napi_derive::napi;
use uplifted_ops::Result;
use uplifted_ops::metrics::{
    CounterFamily, Definition, Format, GaugeFamily, HistogramFamily, Registry, global, render,
};

use super::family::{AnyFamily, Kind, NativeFamily};
use crate::error::thrown;

/// A registry.
#[napi]
pub struct NativeRegistry(Registry);

#[napi]
impl NativeRegistry {
    /// An empty one, or the one of the process.
    #[napi(constructor)]
    pub fn new(of_the_process: bool) -> Self {
        Self(if of_the_process { global().clone() } else { Registry::new() })
    }

    /// Adds a family that is in another registry, or in none.
    #[napi]
    pub fn adopt(&self, family: &NativeFamily) -> napi::Result<()> {
        let adopted = match &family.family {
            AnyFamily::Counter(family) => self.0.adopt(family),
            AnyFamily::Gauge(family) => self.0.adopt(family),
            AnyFamily::Histogram(family) => self.0.adopt(family),
        };
        adopted.map_err(|error| thrown(&error))
    }

    /// Lets go of a family of a registry that is not the process's.
    #[napi]
    pub fn remove(&self, family: &NativeFamily) -> bool {
        self.0.remove(family.family.name())
    }

    /// Every series as text. `labels`, names and values by turns, are added to series that have none of these names.
    #[napi]
    pub fn render(&self, open_metrics: bool, labels: Vec<String>) -> String {
        let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
        if labels.is_empty() {
            return self.0.render(format);
        }
        let mut snapshot = self.0.snapshot();
        for series in snapshot.families.iter_mut().flat_map(|family| &mut family.series) {
            for pair in labels.chunks_exact(2) {
                if !series.labels.iter().any(|(name, _)| *name == pair[0]) {
                    series.labels.push((pair[0].clone(), pair[1].clone()));
                }
            }
        }
        render(&snapshot, format)
    }
}

/// What is defined in the process's registry, by name, and how many environments use it.
type Families = HashMap<String, Defined>;
static FAMILIES: LazyLock<Mutex<Families>> = LazyLock::new(Mutex::default);

struct Defined {
    kind: Kind,
    definition: Definition,
    family: AnyFamily,
    users: usize,
}

/// Finds the very same family in the process's registry, or registers it there.
pub(super) fn share(name: &str, kind: Kind, definition: Definition) -> Result<AnyFamily> {
    let mut families = lock();
    if let Some(defined) = families.get_mut(name)
        && defined.kind == kind
        && defined.definition == definition
    {
        defined.users += 1;
        return Ok(defined.family.clone());
    }
    let family = make(kind, definition.clone())?;
    match &family {
        AnyFamily::Counter(family) => global().adopt(family)?,
        AnyFamily::Gauge(family) => global().adopt(family)?,
        AnyFamily::Histogram(family) => global().adopt(family)?,
    }
    families.insert(name.to_owned(), Defined { kind, definition, family: family.clone(), users: 1 });
    Ok(family)
}

/// Makes a family that is in no registry.
pub(super) fn make(kind: Kind, definition: Definition) -> Result<AnyFamily> {
    Ok(match kind {
        Kind::Counter => AnyFamily::Counter(CounterFamily::detached(definition)?),
        Kind::Gauge => AnyFamily::Gauge(GaugeFamily::detached(definition)?),
        Kind::Histogram => AnyFamily::Histogram(HistogramFamily::detached(definition)?),
    })
}

/// One environment no longer uses a family of the process's registry. It goes with the last.
pub(super) fn release(name: &str) {
    let mut families = lock();
    let Some(defined) = families.get_mut(name) else { return };
    defined.users -= 1;
    if defined.users == 0 {
        global().remove(defined.family.name());
        families.remove(name);
    }
}

fn lock() -> MutexGuard<'static, Families> {
    FAMILIES.lock().unwrap_or_else(PoisonError::into_inner)
}
