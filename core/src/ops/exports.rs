//! Giving the numbers of a service to its sinks.

use std::sync::Arc;
use std::time::Duration;

use crate::config::SinkSettings;
use crate::metrics::{Exporter, Outlet};

use super::context::RunMode;
use super::front::Core;
use super::told::{Scale, snapshot};

/// What exports the numbers; nothing where there is no sink, and on the command line, which is not the service.
///
/// A file shows the same whichever process writes it: the sum over all. Whoever is sent to by each process gets the numbers of
/// each, and sums.
pub(super) fn exporters(core: &Arc<Core>) -> impl Iterator<Item = Exporter> {
    [(true, Scale::Service), (false, Scale::Process)]
        .into_iter()
        .filter_map(|(in_files, scale)| exporter(core, in_files, scale))
}

fn exporter(core: &Arc<Core>, in_files: bool, scale: Scale) -> Option<Exporter> {
    if core.context.mode != RunMode::Embedded {
        return None;
    }
    let settings = &core.context.settings.sinks;
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    let outlet = |sink: &super::Named<_>| {
        let said = settings.iter().find(|said| said.name == sink.name);
        if said.is_some_and(|said| said.kind == "textfile") != in_files {
            return None;
        }
        let interval = said.and_then(|said| said.interval_seconds).unwrap_or(SinkSettings::INTERVAL_SECONDS);
        Some(Outlet {
            name: sink.name.clone(),
            sink: Arc::clone(&sink.component),
            period: seconds(interval).unwrap_or_default(),
            deadline: said.and_then(|said| said.deadline_seconds).and_then(seconds),
        })
    };
    let outlets: Vec<Outlet> = core.context.sinks.iter().filter_map(outlet).collect();
    if outlets.is_empty() {
        return None;
    }
    let (context, clock) = (Arc::clone(&core.context), Arc::clone(&core.clock));
    Some(Exporter {
        outlets,
        source: Arc::new(move || {
            let (context, clock) = (Arc::clone(&context), Arc::clone(&clock));
            Box::pin(async move { snapshot(&context, &clock, scale).await })
        }),
        clock: Arc::clone(&core.clock),
        stop: core.closing.clone(),
    })
}
