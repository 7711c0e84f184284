//! What a worker does when its host calls.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::cancel::{Progress, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{Context, find_operation, worker_context};
use crate::remote::{Link, Payload};

use super::entry::Setup;
use super::link::HostLink;
use super::peer::{Peer, Service};
use super::protocol::{Configuration, FollowCall, RunRequest, method};
use super::serve::ComponentServer;

/// The worker's side of the connection.
pub(super) struct Server {
    setup: Setup,
    ready: OnceLock<Ready>,
    /// One operation at a time.
    turn: Semaphore,
    /// The operation says that it must not be interrupted.
    firm: watch::Sender<bool>,
}

struct Ready {
    context: Arc<Context>,
    components: Arc<ComponentServer>,
}

impl Server {
    pub(super) fn new(setup: Setup) -> Self {
        Self { setup, ready: OnceLock::new(), turn: Semaphore::new(1), firm: watch::Sender::new(false) }
    }

    /// Returns when nothing runs any more, or when a cancelled operation has had its time to stop, in which steps
    /// that must not be interrupted do not count.
    pub(super) async fn quiet(&self, peer: &Peer) {
        let seconds = self.ready.get().map_or(0.0, |ready| ready.context.settings.worker.cancel_grace_seconds);
        let patience = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let mut firm = self.firm.subscribe();
        let patience_over = async {
            loop {
                let _ = firm.wait_for(|firm| !firm).await;
                tokio::select! {
                    () = tokio::time::sleep(patience) => return,
                    _ = firm.wait_for(|firm| *firm) => {}
                }
            }
        };
        tokio::select! {
            () = peer.idle() => {}
            () = patience_over => {}
        }
    }

    fn configure(&self, peer: &Peer, request: Payload) -> Result<Payload> {
        let configuration: Configuration = request.parse()?;
        let deadline = Duration::try_from_secs_f64(configuration.callback_deadline_seconds)
            .map_err(|error| Error::invalid(format!("the deadline of calls into the host: {error}")))?;
        let link: Arc<dyn Link> = Arc::new(HostLink { peer: peer.clone(), deadline });
        let (context, components) = worker_context(configuration, self.setup.kinds.clone(), &link)?;
        let components = Arc::new(ComponentServer::new(components, None));
        self.ready
            .set(Ready { context: Arc::new(context), components })
            .map_err(|_| Error::internal("the worker was configured twice"))?;
        Ok(Payload::default())
    }

    async fn run(&self, ready: &Ready, request: Payload, scope: Scope) -> Result<Payload> {
        let RunRequest { name, request } = request.parse()?;
        let entry = find_operation(&name, self.setup.operations)?;
        let answer = entry.run(Arc::clone(&ready.context), self.watched(scope), request).await;
        self.firm.send_replace(false);
        Payload::of(&answer?)
    }

    async fn follow(&self, ready: &Ready, request: Payload, scope: Scope) -> Result<Payload> {
        let FollowCall { store } = request.parse()?;
        let ended = crate::api::continuous::follow_store(&ready.context, &self.watched(scope), &store).await;
        self.firm.send_replace(false);
        Payload::of(&ended?)
    }

    /// The scope of work that may say that it must not be interrupted.
    fn watched(&self, scope: Scope) -> Scope {
        let (firm, outer) = (self.firm.clone(), scope.progress.clone());
        let progress = Progress::new(move |event| {
            firm.send_if_modified(|firm| std::mem::replace(firm, event.uninterruptible) != *firm);
            outer.report(event);
        });
        Scope { progress, ..scope }
    }
}

#[async_trait::async_trait]
impl Service for Server {
    async fn serve(&self, peer: &Peer, called: &str, request: Payload, scope: Scope) -> Result<Payload> {
        if called == method::CONFIGURE {
            return self.configure(peer, request);
        }
        let ready = self.ready.get().ok_or_else(|| Error::internal("the worker was not configured"))?;
        let _turn = self
            .turn
            .try_acquire()
            .map_err(|_| Error::new(ErrorKind::Busy, "the worker runs another operation already"))?;
        match called {
            method::RUN => self.run(ready, request, scope).await,
            method::FOLLOW => self.follow(ready, request, scope).await,
            method::COMPONENT => ready.components.serve(request, scope).await,
            other => Err(Error::new(ErrorKind::Unsupported, format!("a worker does not know the call {other:?}"))),
        }
    }
}
