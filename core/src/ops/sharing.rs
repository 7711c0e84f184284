//! Where the processes of a service share what they count.

use std::sync::Once;

use crate::metrics;

use super::context::{Context, RunMode};

/// Shares what this process counts, as the settings say; on the command line, which is not the service, only shows what the
/// service counts.
///
/// Where it cannot be shared counting goes on, and so does the service: that is said once, and on each page.
pub(super) fn share(context: &Context) {
    let settings = &context.settings.metrics;
    if !settings.shared {
        return;
    }
    let folder =
        settings.folder.as_ref().map_or_else(|| context.state.join("metrics"), |folder| context.root.join(folder));
    match context.mode {
        RunMode::CommandLine => metrics::show(&folder),
        RunMode::Embedded => {
            static SAID: Once = Once::new();
            if let Err(error) = metrics::share(&folder) {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                SAID.call_once(|| eprintln!("uplifted-ops: metrics are not shared between processes: {error}{hint}"));
            }
        }
    }
}
