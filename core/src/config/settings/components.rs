//! The arrays of tables: which there are, and what their tables have in common.
//!
//! [`Settings::listed`] is the one place that names them: whoever looks at all of them (for names that are taken, for kinds
//! that this build lacks, for secrets in clear) asks it, and a new list is added here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Settings;

/// A component: its name, its kind, and the settings of that kind.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentSettings {
    /// The name that requests and reports use.
    pub name: String,
    /// The kind, such as `sqlite` or `fs`.
    pub kind: String,
    /// The kind's own settings.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// A place where numbers go.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SinkSettings {
    /// The name that metrics about exports use.
    pub name: String,
    /// The kind, such as `textfile`, `otlp` or `statsd`.
    pub kind: String,
    /// How often it gets the numbers, in seconds. 15 when unset.
    #[serde(default)]
    pub interval_seconds: Option<f64>,
    /// How long an export may take before it is given up, in seconds. The interval, and at most 30, when unset.
    #[serde(default)]
    pub deadline_seconds: Option<f64>,
    /// The kind's own settings.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl SinkSettings {
    /// How often a sink gets the numbers unless it says otherwise, in seconds: as often as Prometheus asks for them
    /// (`scrape_interval` of its first example).
    pub const INTERVAL_SECONDS: f64 = 15.0;

    /// What is wrong with an interval or a deadline of so many seconds, if anything.
    pub fn mistake(seconds: f64) -> Option<String> {
        // A millisecond is the least that is told apart.
        let fits = (0.001..=86_400.0).contains(&seconds);
        (!fits).then(|| format!("{seconds} seconds is no time to wait"))
    }
}

/// One table of an array of tables: a `[[store]]`, a `[[job]]`.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// The name of the array: `store`.
    pub list: &'static str,
    /// Its place in the array, from 0.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    /// What a component has beside its name. A job is none.
    pub component: Option<(&'a str, &'a Map<String, Value>)>,
}

/// A component of any of the lists.
#[derive(Debug, Clone, Copy)]
pub struct ListedComponent<'a> {
    /// The name of its list: `store`.
    pub list: &'static str,
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// The settings of its kind.
    pub settings: &'a Map<String, Value>,
}

impl Settings {
    /// Every table of every array of tables, list by list.
    pub fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        macro_rules! components {
            ($list:literal, $field:ident) => {
                self.$field.iter().enumerate().map(|(index, it)| Listed {
                    list: $list,
                    index,
                    name: &it.name,
                    component: Some((&it.kind, &it.settings)),
                })
            };
        }
        let jobs = self.jobs.iter().enumerate();
        let jobs = jobs.map(|(index, job)| Listed { list: "job", index, name: &job.name, component: None });
        components!("store", stores)
            .chain(components!("target", targets))
            .chain(components!("check", checks))
            .chain(components!("sink", sinks))
            .chain(jobs)
    }

    /// Every component: what has a kind.
    pub fn components(&self) -> impl Iterator<Item = ListedComponent<'_>> {
        self.listed().filter_map(|Listed { list, name, component, .. }| {
            component.map(|(kind, settings)| ListedComponent { list, name, kind, settings })
        })
    }
}
