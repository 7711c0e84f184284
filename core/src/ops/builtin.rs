//! The kinds of this build. Only this file knows drivers: a new one gets one line here.

use crate::component::Registry;
use crate::config::BuildFacts;
use crate::health::checks;
use crate::metrics::sinks;

use super::context::Kinds;
use super::table::find_operation;

/// The kinds that this build has, by its features.
pub fn builtin_kinds() -> Kinds {
    let mut kinds = Kinds {
        stores: Registry::new("store"),
        targets: Registry::new("target"),
        checks: Registry::new("check"),
        sinks: Registry::new("sink"),
    };
    #[cfg(feature = "postgres")]
    kinds.stores.register(crate::store::postgres::KIND);
    #[cfg(feature = "sqlite")]
    kinds.stores.register(crate::store::sqlite::KIND);
    kinds.targets.register(crate::backup::targets::fs::KIND);
    #[cfg(feature = "s3")]
    kinds.targets.register(crate::backup::targets::s3::KIND);
    #[cfg(feature = "sftp")]
    kinds.targets.register(crate::backup::targets::sftp::KIND);
    #[cfg(feature = "tls")]
    kinds.checks.register(checks::certificate::KIND);
    kinds.checks.register(checks::clock::KIND);
    kinds.checks.register(checks::command::KIND);
    kinds.checks.register(checks::cpu::KIND);
    kinds.checks.register(checks::disk::KIND);
    kinds.checks.register(checks::dns::KIND);
    kinds.checks.register(checks::fds::KIND);
    kinds.checks.register(checks::file::KIND);
    kinds.checks.register(checks::folder::KIND);
    kinds.checks.register(checks::http::KIND);
    kinds.checks.register(checks::job_age::KIND);
    kinds.checks.register(super::restore_kind::KIND);
    kinds.checks.register(checks::leak::KIND);
    kinds.checks.register(checks::load::KIND);
    kinds.checks.register(checks::log_errors::KIND);
    kinds.checks.register(checks::memory::KIND);
    kinds.checks.register(checks::port_owner::KIND);
    #[cfg(feature = "postgres")]
    kinds.checks.register(checks::postgres::KIND);
    kinds.checks.register(checks::process::KIND);
    kinds.checks.register(checks::redis::KIND);
    kinds.checks.register(checks::systemd::KIND);
    kinds.checks.register(checks::tcp::KIND);
    #[cfg(feature = "tls")]
    kinds.checks.register(checks::tls::KIND);
    kinds.sinks.register(sinks::otlp::KIND);
    kinds.sinks.register(sinks::statsd::KIND);
    kinds.sinks.register(sinks::textfile::KIND);
    kinds
}

impl Kinds {
    /// What this build has, in words, for `config.check` and `init`.
    pub fn facts(&self) -> BuildFacts {
        let names = |names: &mut dyn Iterator<Item = &'static str>| names.map(str::to_owned).collect();
        BuildFacts {
            stores: names(&mut self.stores.kinds().map(|kind| kind.name)),
            targets: names(&mut self.targets.kinds().map(|kind| kind.name)),
            checks: names(&mut self.checks.kinds().map(|kind| kind.name)),
            sinks: names(&mut self.sinks.kinds().map(|kind| kind.name)),
            acts_on: self.acts_on(),
        }
    }

    /// The settings that a small build, or an early version, only reads.
    fn acts_on(&self) -> Vec<String> {
        let always = ["backup.layout", "backup.retention", "backup.schedule", "backup.verify_schedule"];
        let with_operation = [("backup.drill_schedule", "backup.drill")];
        let there = with_operation.iter().filter(|(_, operation)| find_operation(operation, &[]).is_ok());
        let with_feature = cfg!(feature = "encryption").then_some("backup.encryption");
        let listens = cfg!(feature = "http").then_some("metrics.listen");
        always
            .into_iter()
            .chain(with_feature)
            .chain(listens)
            .chain(there.map(|(key, _)| *key))
            .map(str::to_owned)
            .collect()
    }
}
