//! The running service, asked on `ops.sock` in its state folder, so that the command line speaks of it and not of itself.

mod wire;

#[cfg(feature = "http")]
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use self::wire::{Broken, Reply};
use crate::cancel::Scope;
use crate::error::{Error, ErrorBody, ErrorKind, Result};
use crate::http::SOCKET;
use crate::ops::{Answer, Ops};

/// Operations that speak of the running service.
const OF_THE_SERVICE: [&str; 6] =
    ["health.check", "health.history", "health.state", "metrics.history", "metrics.render", "status"];

/// The service answers `/livez` on a thread that does nothing else: one that takes longer hangs, or was stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked whether it still lives, while it works on an answer.
const PULSE: Duration = Duration::from_secs(2);
/// How long the process that takes over from a dead one may take: the four looks of a second, and a bit.
const TAKE_OVER: Duration = Duration::from_millis(1200);

/// The way to the running service.
#[derive(Debug)]
pub(super) struct Running {
    socket: PathBuf,
    /// The process that answers there.
    pub(super) pid: Option<u32>,
    /// What is wrong with it, for the person who asks.
    pub(super) complaint: Option<String>,
}

/// Who is to answer.
#[derive(Debug)]
pub(super) enum Found {
    /// The running service.
    Service(Running),
    /// This process: there is no socket.
    Nobody,
    /// This process, and why.
    Gone(String),
}

/// Whether `operation` speaks of the running service.
pub(super) fn is_of_the_service(operation: &str) -> bool {
    OF_THE_SERVICE.contains(&operation)
}

impl Running {
    /// Looks for the service of `ops`.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when it is there and does not answer.
    pub(super) async fn find(ops: &Ops) -> Result<Found> {
        let socket = ops.context().state.join(SOCKET);
        let mut waited = Duration::ZERO;
        loop {
            return Ok(match live(&socket).await {
                Ok(reply) => Found::Service(Self { pid: reply.pid, complaint: complaint(&reply), socket }),
                Err(Broken::Absent) => Found::Nobody,
                // Of several processes another one takes over.
                Err(Broken::Unheard | Broken::Cut(_)) if waited < TAKE_OVER => {
                    let step = Duration::from_millis(100);
                    tokio::time::sleep(step).await;
                    waited += step;
                    continue;
                }
                Err(Broken::Unheard) => {
                    Found::Gone(format!("the service is gone: nobody listens on {} any more", socket.display()))
                }
                Err(Broken::Cut(why)) => {
                    Found::Gone(format!("the service cannot be asked on {}: {why}", socket.display()))
                }
                Err(Broken::Silent(pid)) => return Err(silent(&socket, pid)),
            });
        }
    }

    /// Asks. Takes as long as the operation does, while the service lives.
    ///
    /// # Errors
    /// What the service says; [`ErrorKind::Timeout`] when it begins to hang, [`ErrorKind::Unavailable`] when it ends.
    pub(super) async fn ask(&self, operation: &str, request: &Value, scope: &Scope) -> Result<Answer> {
        let path = format!("/api/v1/{}", operation.replace('.', "/"));
        let body = request.to_string();
        let asked = wire::exchange(&self.socket, "POST", &path, &body, None);
        tokio::pin!(asked);
        loop {
            tokio::select! {
                biased;
                reply = &mut asked => return match reply {
                    Ok(reply) => self.answer(reply),
                    Err(Broken::Silent(pid)) => Err(silent(&self.socket, pid)),
                    Err(_) => Err(Error::new(ErrorKind::Unavailable, "the service ended while it was asked")
                        .with_hint("ask again; with --local this process answers")),
                },
                () = scope.cancel.cancelled() => scope.cancel.check()?,
                () = tokio::time::sleep(PULSE) => if let Err(Broken::Silent(pid)) = live(&self.socket).await {
                    return Err(silent(&self.socket, pid.or(self.pid)));
                },
            }
        }
    }

    fn answer(&self, reply: Reply) -> Result<Answer> {
        let said: Value = serde_json::from_slice(&reply.body).unwrap_or_else(|_| json!({}));
        if reply.status == 200 && said.is_object() {
            return Ok(Answer { response: said, healthy: reply.healthy });
        }
        Err(match serde_json::from_value::<ErrorBody>(said["error"].clone()) {
            Ok(body) => Error::from(body),
            Err(_) => {
                let message =
                    format!("{} answers {}, which this service does not", self.socket.display(), reply.status);
                Error::new(ErrorKind::Unavailable, message).with_hint("look who listens there: `ss -xlp`")
            }
        })
    }
}

/// Asks whether it lives.
async fn live(socket: &Path) -> std::result::Result<Reply, Broken> {
    wire::exchange(socket, "GET", "/livez", "", Some(PATIENCE)).await
}

/// What a service that answers says against itself.
fn complaint(reply: &Reply) -> Option<String> {
    let said: Value = serde_json::from_slice(&reply.body).ok()?;
    let wedged = said.get("wedged")?;
    let seconds = wedged["age_seconds"].as_f64().unwrap_or_default();
    Some(format!(
        "the service hangs: {} of process {} has been silent for {seconds:.0} s",
        wedged["pulse"].as_str().unwrap_or("its heartbeat"),
        wedged["pid"],
    ))
}

fn silent(socket: &Path, pid: Option<u32>) -> Error {
    let who = pid.map_or_else(|| "the service".to_owned(), |pid| format!("the service (process {pid})"));
    let seconds = PATIENCE.as_secs();
    Error::new(ErrorKind::Timeout, format!("{who} has {} and has not answered for {seconds} s", socket.display()))
        .with_hint("look whether it is stopped or the machine overloaded; with --local this process answers")
}
