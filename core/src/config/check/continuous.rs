//! Mistakes in the settings of following.

use super::Checker;
use crate::value::ByteSize;

impl Checker<'_> {
    pub(super) fn continuous(&mut self) {
        let settings = self.config.settings.continuous.clone();
        let stores = self.config.settings.stores.iter().map(|store| store.name.clone()).collect::<Vec<_>>();
        let targets = self.config.settings.targets.iter().map(|target| target.name.clone()).collect::<Vec<_>>();
        self.known("continuous.stores", "store", &settings.stores, &stores);
        self.known("continuous.targets", "target", &settings.targets, &targets);
        for (key, value) in [
            ("continuous.ship_seconds", settings.ship_seconds),
            ("continuous.keep_days", settings.keep_days),
            ("continuous.compact_after_hours", settings.compact_after_hours),
        ] {
            if value <= 0.0 {
                self.error(key, format!("{value} is no length of time"), "write a number above 0");
            }
        }
        for (key, value) in [
            ("continuous.log_limit_bytes", settings.log_limit_bytes),
            ("continuous.spool_limit_bytes", settings.spool_limit_bytes),
        ] {
            if value == ByteSize(0) {
                self.error(key, "no room at all is left", "write a size like \"256MiB\"");
            }
        }
    }

    /// Each of `named` has to be the name of one of `known`, entries of `[[list]]`.
    fn known(&mut self, key: &str, list: &str, named: &[String], known: &[String]) {
        for name in named.iter().filter(|name| !known.contains(name)) {
            let hint = if known.is_empty() {
                format!("add a [[{list}]] of that name")
            } else {
                format!("there is {}", known.join(", "))
            };
            self.error(key, format!("no [[{list}]] is called {name:?}"), &hint);
        }
    }
}
