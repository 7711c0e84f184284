//! The kinds of this build. Only this file knows drivers: a new one gets one line here.

use crate::component::Registry;

use super::context::Kinds;

/// The kinds that this build has, by its features.
pub fn builtin_kinds() -> Kinds {
    let stores = Registry::new("store");
    let targets = Registry::new("target");
    let checks = Registry::new("check");
    let sinks = Registry::new("sink");
    Kinds { stores, targets, checks, sinks }
}
