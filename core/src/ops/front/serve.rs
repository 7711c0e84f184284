//! What the listener needs of an [`Ops`], which it does not keep alive.

use std::sync::{Arc, Weak};

use crate::error::Result;

use super::{Counted, Ops, Shared, closed};

impl Ops {
    /// Begins to serve on the address that the listener holds.
    pub(in crate::ops) fn listen(&self, listener: crate::http::listener::Listener) -> Result<()> {
        listener.serve(self, self.0.core.closing.clone())
    }

    /// The same, for those who must not keep it alive.
    pub(crate) fn downgrade(&self) -> WeakOps {
        WeakOps(Arc::downgrade(&self.0))
    }

    /// Something that runs as long as this is kept: closing waits for it.
    pub(crate) fn counted(&self) -> impl Send + use<> {
        Counted::new(&self.0.core.running)
    }

    /// What `work` gives, which runs on our own threads, and ends when the future is dropped.
    pub(crate) async fn elsewhere<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        self.in_background(|dropped| async move {
            tokio::select! {
                biased;
                () = dropped.cancelled() => Err(closed()),
                done = work => Ok(done),
            }
        })
        .await?
    }
}

/// An [`Ops`] that is not kept alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakOps(Weak<Shared>);

impl WeakOps {
    /// The `Ops`, while somebody has it.
    pub(crate) fn upgrade(&self) -> Option<Ops> {
        self.0.upgrade().map(Ops)
    }
}
