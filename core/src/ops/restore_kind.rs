//! The kind of check `last_verified_restore`, which reads what the operations wrote into the journal.

use std::sync::Arc;

use crate::component::{Kind, Placement};
use crate::health::HealthCheck;
use crate::health::checks::last_verified_restore::RestoreCheck;
use crate::journal::Journal;

use super::history;

/// The kind, for the registry.
pub(super) const KIND: Kind<dyn HealthCheck> = Kind {
    name: "last_verified_restore",
    summary: "The newest backup that a drill has restored is young enough",
    placement: Placement::Host,
    build: |context, settings| {
        let (settings, state) = (context.settings(settings)?, context.state.clone());
        let source = move || Ok(history::backups(&Journal::open(&state)?)?.last_restorable);
        Ok(Arc::new(RestoreCheck::new(Arc::new(source), settings)?))
    },
    detect: None,
};
