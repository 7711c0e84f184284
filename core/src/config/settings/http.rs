//! The settings of what is asked over HTTP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may ask over HTTP, in the handlers that the service mounts and on the address of `metrics.listen`; and how much of a
/// client that address puts up with.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Who sends `Authorization: Bearer` with this reads from anywhere. Write `"env:NAME"` and keep the token in
    /// `.env` or the environment.
    pub token: Option<String>,
    /// Who sends this one may also change and destroy. Off when unset.
    pub write_token: Option<String>,
    /// Names of this machine beside `localhost` that a caller on it may use, with or without a port.
    pub hosts: Vec<String>,
    /// Whether callers on this machine read without a token. Turn it off behind a proxy on the same machine that
    /// adds no `X-Forwarded-For`: whoever comes through it would count as a caller on this machine.
    pub trust_loopback: bool,
    /// Whether the service does not start when somebody else has the address of `metrics.listen`. Otherwise it starts, warns,
    /// and tries again each second.
    pub listen_required: bool,
    /// Whether the running service answers the command line on `ops.sock` in the state folder: its own user and root, who read.
    /// Without it `status`, `health` and `metrics` on the command line are those of a fresh process.
    pub socket: bool,
    /// How many connections the listener serves at once. One more takes the place of the one that has been quiet for longest.
    pub max_connections: usize,
    /// How long a client may take for the head of a request, and for its body, in seconds.
    pub header_seconds: f64,
    /// How long a connection is kept between two requests, in seconds.
    pub idle_seconds: f64,
    /// How long a client may take an answer without taking a byte of it, in seconds. Of a long answer it has to take 64 KiB a
    /// second beside that, over all.
    pub send_seconds: f64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            token: None,
            write_token: None,
            hosts: Vec::new(),
            trust_loopback: true,
            listen_required: false,
            socket: true,
            max_connections: 256,
            header_seconds: 10.0,
            idle_seconds: 75.0,
            send_seconds: 10.0,
        }
    }
}
