//! Giving the numbers of a service to its sinks.

use std::sync::Arc;
use std::time::Duration;

use crate::api::metrics::snapshot;
use crate::error::Error;
use crate::metrics::{Exporter, Outlet};

use super::context::RunMode;
use super::front::Core;

/// How often a sink gets the numbers: as often as Prometheus asks for them (`scrape_interval` of its first example).
const PERIOD: Duration = Duration::from_secs(15);

/// What exports the numbers; `None` where there is no sink, and on the command line, which is not the service.
pub(super) fn exporter(core: &Arc<Core>) -> Option<Exporter> {
    if core.context.mode != RunMode::Embedded || core.context.sinks.is_empty() {
        return None;
    }
    let outlet =
        |sink: &super::Named<_>| Outlet { name: sink.name.clone(), sink: Arc::clone(&sink.component), period: PERIOD };
    let (context, clock) = (Arc::clone(&core.context), Arc::clone(&core.clock));
    Some(Exporter {
        outlets: core.context.sinks.iter().map(outlet).collect(),
        source: Arc::new(move || {
            let (context, now) = (Arc::clone(&context), clock.now());
            Box::pin(async move {
                // The journal is read from the disk.
                let taken = tokio::task::spawn_blocking(move || snapshot(&context, now)).await;
                taken.map_err(|error| Error::internal(format!("a snapshot was not taken: {error}")))?
            })
        }),
        clock: Arc::clone(&core.clock),
        stop: core.closing.clone(),
    })
}
