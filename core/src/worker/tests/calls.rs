//! Components of the host, called from the worker.

use std::sync::Arc;
use std::time::Duration;

use super::super::components::{ComponentCall, Components, TargetAct, UploadAct};
use super::super::peer::{Payload, Peer, Service};
use super::super::proxy::{HostLink, Link, RemoteTarget};
use super::super::serve::ComponentServer;
use super::{HANG, event, no_hang, wires};
use crate::backup::{BackupTarget, Object, TargetCapability, Upload};
use crate::cancel::Scope;
use crate::error::{ErrorKind, Result};
use crate::ops::Named;
use crate::testing::{Call, FaultyTarget, MemoryTarget};

/// Never called.
struct Nothing;

#[async_trait::async_trait]
impl Service for Nothing {
    async fn serve(&self, _: &Peer, _: &str, _: Payload, _: Scope) -> Result<Payload> {
        Ok(Payload::default())
    }
}

/// A worker's end, whose calls a [`ComponentServer`] with `target` answers at the host's end.
fn linked(target: Arc<dyn BackupTarget>, deadline: Duration) -> (Arc<HostLink>, Arc<ComponentServer>) {
    struct Host(Arc<ComponentServer>);
    #[async_trait::async_trait]
    impl Service for Host {
        async fn serve(&self, _: &Peer, _: &str, request: Payload, scope: Scope) -> Result<Payload> {
            self.0.serve(request, scope).await
        }
    }
    let components =
        Components { targets: vec![Named { name: "t".into(), component: target }], ..Components::default() };
    let server = Arc::new(ComponentServer::new(components, Some(Duration::from_millis(50))));
    let (left, right) = wires(64 * 1024);
    let _host = Peer::start(left.0, left.1, Arc::new(Host(Arc::clone(&server))), false);
    let peer = Peer::start(right.0, right.1, Arc::new(Nothing), true);
    (Arc::new(HostLink { peer, deadline }), server)
}

fn remote(target: Arc<dyn BackupTarget>, link: Arc<HostLink>) -> RemoteTarget {
    RemoteTarget { name: "t".into(), capability: target.capability(), link }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_behind_the_pipe_passes_the_suite_of_targets() {
    let outcomes = crate::testing::target::run(|| {
        let target: Arc<dyn BackupTarget> = Arc::new(MemoryTarget::default());
        let (link, _) = linked(Arc::clone(&target), HANG);
        Arc::new(remote(target, link))
    })
    .await;
    crate::testing::assert_all(&outcomes);
}

#[derive(Debug)]
struct Awkward {
    /// Whether `put` reports progress and ends, or hangs.
    slow: bool,
    /// Held by the test while `list` is to block its thread.
    gate: Arc<std::sync::Mutex<()>>,
}

#[async_trait::async_trait]
impl BackupTarget for Awkward {
    fn capability(&self) -> TargetCapability {
        MemoryTarget::default().capability()
    }
    async fn put(&self, scope: &Scope, _: &str, _: &[u8], _: bool) -> Result<bool> {
        if self.slow {
            // A sign of life now and then, until it is done.
            for done in 0..10 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                scope.progress.report(event("slow", done));
            }
            return Ok(true);
        }
        std::future::pending().await
    }
    async fn upload(&self, _: &Scope, _: &str, _: Option<u64>) -> Result<Box<dyn Upload>> {
        panic!("on purpose")
    }
    async fn get(&self, _: &Scope, _: &str, _: std::ops::Range<u64>) -> Result<Vec<u8>> {
        Ok(vec![0; 100])
    }
    async fn list(&self, _: &Scope, _: &str, _: Option<&str>) -> Result<Vec<Object>> {
        drop(self.gate.lock());
        Ok(Vec::new())
    }
    async fn stat(&self, _: &Scope, _: &str) -> Result<Option<Object>> {
        Ok(None)
    }
    async fn delete(&self, _: &Scope, _: &str) -> Result<()> {
        Ok(())
    }
    async fn free_bytes(&self, _: &Scope) -> Result<Option<u64>> {
        Ok(None)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_target_that_hangs_blocks_panics_or_lies_is_a_clear_error() {
    let gate = Arc::new(std::sync::Mutex::new(()));
    let closed = gate.lock().unwrap();
    let target: Arc<dyn BackupTarget> = Arc::new(Awkward { slow: false, gate: Arc::clone(&gate) });
    let (link, _) = linked(Arc::clone(&target), Duration::from_millis(200));
    let target = remote(target, link);
    let scope = Scope::default();

    let error = no_hang(target.put(&scope, "a", b"x", false)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.message(), "the host did not answer target \"t\".put within 0.2 s");
    // A thread that is blocked for good takes nobody else's.
    assert_eq!(no_hang(target.list(&scope, "", None)).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(no_hang(target.list(&scope, "", None)).await.unwrap_err().kind(), ErrorKind::Timeout);
    let error = no_hang(target.upload(&scope, "a", None)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, "panicked: on purpose"));
    let error = no_hang(target.get(&scope, "a", 0..10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.message(), "target \"t\" answered with 100 bytes where 10 were asked for");
    assert_eq!(target.get(&scope, "a", 0..u64::MAX).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(no_hang(target.stat(&scope, "a")).await.unwrap(), None);
    let cancelled = Scope::default();
    cancelled.cancel.cancel();
    assert_eq!(target.stat(&cancelled, "a").await.unwrap_err().kind(), ErrorKind::Cancelled);
    drop(closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_of_the_host_restarts_the_deadline() {
    let target: Arc<dyn BackupTarget> = Arc::new(Awkward { slow: true, gate: Arc::default() });
    // Each step takes a tenth of a second, all of them a whole one.
    let (link, _) = linked(Arc::clone(&target), Duration::from_millis(600));
    assert!(no_hang(remote(target, link).put(&Scope::default(), "a", b"x", false)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_dropped_or_left_open_are_closed_and_their_handles_refused() {
    let memory = Arc::new(MemoryTarget::default());
    let (link, server) = linked(Arc::clone(&memory) as _, HANG);
    let target = remote(Arc::clone(&memory) as _, Arc::clone(&link));
    let scope = Scope::default();
    let mut dropped = target.upload(&scope, "dropped", None).await.unwrap();
    dropped.write(b"x").await.unwrap();
    drop(dropped);
    let mut left_open = target.upload(&scope, "left-open", None).await.unwrap();
    left_open.write(b"x").await.unwrap();
    server.close_uploads().await;
    let error = left_open.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    for handle in [0, 1, 2, 99, u64::MAX] {
        let act = ComponentCall::Upload { name: "t".into(), handle, act: UploadAct::Write };
        assert_eq!(link.call(&scope, act, vec![1], 0).await.unwrap_err().kind(), ErrorKind::Refused);
    }
    assert_eq!(memory.list(&scope, "", None).await.unwrap(), []);
    let nobody = ComponentCall::Target { name: "nobody".into(), act: TargetAct::FreeBytes };
    assert_eq!(link.call(&scope, nobody, vec![], 0).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_host_arrives_with_its_chain_and_its_place() {
    let full = |call, _: &str, _| (call == Call::Put).then_some(ErrorKind::NoSpace);
    let faulty = Arc::new(FaultyTarget::new(Arc::new(MemoryTarget::default()), full));
    let (link, _) = linked(Arc::clone(&faulty) as _, HANG);
    let error = remote(faulty, link).put(&Scope::default(), "a", b"x", false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.context().contains(&("component".into(), "target \"t\".put".into())));
}
