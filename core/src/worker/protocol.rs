//! The messages, and the greeting that comes before them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cancel::ProgressEvent;
use crate::config::Settings;
use crate::error::{Error, ErrorBody, ErrorKind, Result};
use crate::ops::RunMode;
use crate::remote::WirePath;

use super::components::Placed;
use super::frame::{self, Frame};

/// The version of the protocol. Both sides must speak the same one.
pub const PROTOCOL_VERSION: u32 = 1;

/// A greeting is short. Text that is taken for one announces a head of more than a gigabyte.
const MAX_GREETING: usize = 64 * 1024;

/// The first frame in each direction. Its shape never changes, so that any two versions can name each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// `uplifted-ops`.
    pub(super) product: String,
    /// [`PROTOCOL_VERSION`].
    pub(super) protocol: u32,
    /// The product's version.
    pub(super) version: String,
    /// The process that speaks: a wrapper may stand between it and whoever started it.
    pub(super) pid: u32,
    /// Why the worker will not work for this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<ErrorBody>,
}

impl Hello {
    pub(super) fn ours() -> Self {
        Self {
            product: "uplifted-ops".into(),
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            refused: None,
        }
    }

    /// Refuses another version by name. `them` is `worker` or `host`.
    pub(super) fn accept(&self, them: &str) -> Result<()> {
        if let Some(refused) = &self.refused {
            return Err(Error::from(refused.clone()));
        }
        if self.protocol == PROTOCOL_VERSION {
            return Ok(());
        }
        let ours = Self::ours();
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the {them} is uplifted-ops {} with worker protocol {}, this is {} with protocol {}",
                self.version, self.protocol, ours.version, ours.protocol
            ),
        )
        .with_hint(
            "the worker's program is of another version: set worker.command to one of this version, or reinstall",
        ))
    }
}

/// Writes a greeting.
pub(super) async fn greet(writer: &mut (impl AsyncWrite + Unpin), hello: &Hello) -> Result<()> {
    let frame = Frame::new(&serde_json::json!({ "hello": hello }), Vec::new())?;
    frame.write(writer).await.map_err(|e| Error::io("greet the other process", e))
}

/// Reads the other side's greeting; `None` when it ended without one.
pub(super) async fn greeting(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Hello>> {
    #[derive(Deserialize)]
    struct Greeting {
        hello: Hello,
    }
    let Some((head, _)) = frame::read(reader, MAX_GREETING).await? else { return Ok(None) };
    let greeting: Greeting = serde_json::from_slice(&head)
        .map_err(|error| Error::new(ErrorKind::Corrupt, format!("the other process did not greet: {error}")))?;
    Ok(Some(greeting.hello))
}

/// What follows the greetings. Each side numbers its own calls; `reply` and `progress` name a call of the
/// receiver, `cancel` one of the sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Message {
    /// Asks the other side to do something. The body belongs to `params`.
    Call { id: u64, method: String, params: Value },
    /// The answer: `error`, or else `ok`. The body belongs to `ok`.
    Reply {
        id: u64,
        #[serde(default)]
        ok: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorBody>,
        /// The sender ends after this: it can no longer trust itself.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ending: bool,
    },
    /// The caller no longer wants an answer, but still gets one.
    Cancel { id: u64 },
    /// How far a call is.
    Progress { id: u64, event: ProgressEvent },
}

impl Message {
    pub(super) fn parse(head: &[u8]) -> Result<Self> {
        serde_json::from_slice(head)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("the other process sent a wrong message: {error}")))
    }
}

/// The names of the calls.
pub(crate) mod method {
    /// Host to worker, once, before all others: [`super::Configuration`].
    pub(crate) const CONFIGURE: &str = "configure";
    /// Host to worker: an operation, [`super::RunRequest`].
    pub(crate) const RUN: &str = "run";
    /// Host to worker: follows a store until it is cancelled, [`super::FollowCall`].
    pub(crate) const FOLLOW: &str = "follow";
    /// Both ways: a method of a component that lives in the called process.
    pub(crate) const COMPONENT: &str = "component";
}

/// What a worker must know to work. It travels over the pipe, since it holds secrets: arguments and the
/// environment of a process can be read by others.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) root: WirePath,
    pub(crate) state: WirePath,
    pub(crate) mode: RunMode,
    /// The components that live in the host.
    pub(crate) placed: Vec<Placed>,
    /// How long the host may be silent before a call into it fails.
    pub(crate) callback_deadline_seconds: f64,
}

/// Says nothing of the settings and the environment.
impl std::fmt::Debug for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configuration").field("root", &self.root).field("placed", &self.placed).finish_non_exhaustive()
    }
}

/// An operation to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunRequest {
    pub(crate) name: String,
    pub(crate) request: Value,
}

/// A store to follow, until the call is cancelled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FollowCall {
    pub(crate) store: String,
}
