//! How the listener stands, for whoever asks.

use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who answers on the address of `metrics.listen`, or on the socket of the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerView {
    /// The address: the one of the settings, or, while this process listens on it, the one that it got. The path of a socket.
    pub address: String,
    /// How it stands.
    pub state: ListenerState,
    /// The process that listens: this one, another of this service, or a stranger. Absent where it cannot be seen.
    pub pid: Option<u32>,
    /// What it means, and the repair when it is not well.
    pub message: String,
}

/// How the listener of a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListenerState {
    /// This process answers.
    Serving,
    /// Another process of this service does, and this one takes over within a second of its end.
    Standby,
    /// Somebody else has the address, or the system does not give it. It is tried again each second.
    Refused,
    /// It has stopped.
    Stopped,
}

/// The view, kept by the listener and read by others.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<Option<ListenerView>>);

impl Standing {
    /// `None` where there is no listener.
    pub(crate) fn get(&self) -> Option<ListenerView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(feature = "http")]
    pub(super) fn set(&self, view: ListenerView) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }
}
