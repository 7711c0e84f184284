//! Components of the host, called from the worker.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::components::Components;
use super::super::link::HostLink;
use super::super::peer::{Peer, Service};
use super::super::serve::ComponentServer;
use super::{HANG, event, no_hang, wires};
use crate::backup::{BackupTarget, Object, TargetCapability, Upload};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::health::{CheckOutcome, CheckStatus, HealthCheck};
use crate::ops::Named;
use crate::remote::{ComponentCall, Link, Payload, RemoteCheck, RemoteStore, RemoteTarget, TargetAct, UploadAct};
use crate::store::{
    CheckDepth, IntegrityReport, MaintenanceOutcome, MaintenanceTask, Store, StoreCapability, StoreSnapshot, StoreStats,
};
use crate::testing::{Call, FaultyTarget, MemoryTarget};

/// Never called.
struct Nothing;

#[async_trait::async_trait]
impl Service for Nothing {
    async fn serve(&self, _: &Peer, _: &str, _: Payload, _: Scope) -> Result<Payload> {
        Ok(Payload::default())
    }
}

/// A worker's end, whose calls a [`ComponentServer`] answers at the host's end.
fn linked(components: Components, deadline: Duration) -> (Arc<HostLink>, Arc<ComponentServer>) {
    struct Host(Arc<ComponentServer>);
    #[async_trait::async_trait]
    impl Service for Host {
        async fn serve(&self, _: &Peer, _: &str, request: Payload, scope: Scope) -> Result<Payload> {
            self.0.serve(request, scope).await
        }
    }
    let server = Arc::new(ComponentServer::new(components, Some(Duration::from_millis(50))));
    let (left, right) = wires(64 * 1024);
    let _host = Peer::start(left.0, left.1, Arc::new(Host(Arc::clone(&server))), false);
    let peer = Peer::start(right.0, right.1, Arc::new(Nothing), true);
    (Arc::new(HostLink { peer, deadline }), server)
}

fn target_only(component: Arc<dyn BackupTarget>) -> Components {
    Components { targets: vec![Named { name: "t".into(), component }], ..Components::default() }
}

fn remote(target: Arc<dyn BackupTarget>, link: Arc<HostLink>) -> RemoteTarget {
    RemoteTarget { name: "t".into(), capability: target.capability(), link }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_behind_the_pipe_passes_the_suite_of_targets() {
    let outcomes = crate::testing::target::run(|| {
        let target: Arc<dyn BackupTarget> = Arc::new(MemoryTarget::default());
        let (link, _) = linked(target_only(Arc::clone(&target) as _), HANG);
        Arc::new(remote(target, link))
    })
    .await;
    crate::testing::assert_all(&outcomes);
}

#[derive(Debug)]
struct Awkward {
    /// Whether `put` reports progress and ends, or hangs.
    slow: bool,
    /// `list` blocks its thread until the test drops the sender.
    gate: Mutex<Receiver<()>>,
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
        let _ = self.gate.lock().map(|gate| gate.recv());
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
    let (closed, gate) = channel();
    let target: Arc<dyn BackupTarget> = Arc::new(Awkward { slow: false, gate: Mutex::new(gate) });
    let (link, _) = linked(target_only(Arc::clone(&target) as _), Duration::from_millis(200));
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
    let target: Arc<dyn BackupTarget> = Arc::new(Awkward { slow: true, gate: Mutex::new(channel().1) });
    // Each step takes a tenth of a second, all of them a whole one.
    let (link, _) = linked(target_only(Arc::clone(&target) as _), Duration::from_millis(600));
    assert!(no_hang(remote(target, link).put(&Scope::default(), "a", b"x", false)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_dropped_or_left_open_are_closed_and_their_handles_refused() {
    let memory = Arc::new(MemoryTarget::default());
    let (link, server) = linked(target_only(Arc::clone(&memory) as _), HANG);
    let target = remote(Arc::clone(&memory) as _, Arc::clone(&link));
    let scope = Scope::default();
    let mut dropped = target.upload(&scope, "dropped", None).await.unwrap();
    dropped.write(b"x").await.unwrap();
    drop(dropped);
    let mut left_open = target.upload(&scope, "left-open", None).await.unwrap();
    left_open.write(b"x").await.unwrap();
    server.close_handles().await;
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
    let (link, _) = linked(target_only(Arc::clone(&faulty) as _), HANG);
    let error = remote(faulty, link).put(&Scope::default(), "a", b"x", false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.context().contains(&("component".into(), "target \"t\".put".into())));
}

/// Answers at once, or never.
#[derive(Debug)]
struct Asked(bool);

#[async_trait::async_trait]
impl HealthCheck for Asked {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        scope.cancel.check()?;
        if self.0 {
            return Ok(CheckOutcome::new(CheckStatus::Warn, "look").observing(1.5, "seconds"));
        }
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_behind_the_pipe_passes_the_suite_of_checks() {
    let behind = |answers| {
        let checks = vec![Named { name: "c".into(), component: Arc::new(Asked(answers)) as Arc<dyn HealthCheck> }];
        let (link, _) = linked(Components { checks, ..Components::default() }, HANG);
        Arc::new(RemoteCheck { name: "c".into(), link }) as Arc<dyn HealthCheck>
    };
    let outcome = no_hang(behind(true).check(&Scope::default())).await.unwrap();
    assert_eq!(outcome, CheckOutcome::new(CheckStatus::Warn, "look").observing(1.5, "seconds"));
    let scene = crate::testing::check::Scene::new(move || behind(true)).stuck(move || behind(false));
    crate::testing::assert_all(&crate::testing::check::run(scene).await);
}

/// A store that notes how it is called and answers with something of its own each time.
#[derive(Debug, Default)]
struct Noting(Mutex<Vec<String>>);

impl Noting {
    fn note(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }
}

#[async_trait::async_trait]
impl Store for Noting {
    fn capability(&self) -> StoreCapability {
        let file = Some(PathBuf::from("/srv/app.db"));
        StoreCapability {
            kind: "noting".into(),
            file,
            side_files: Vec::new(),
            copy_files: Vec::new(),
            maintenance: Vec::new(),
        }
    }
    async fn stats(&self, _: &Scope) -> Result<StoreStats> {
        self.note("stats".into());
        Ok(StoreStats { size_bytes: 1, log_bytes: Some(2), details: serde_json::Map::new() })
    }
    async fn verify(&self, _: &Scope, depth: CheckDepth) -> Result<IntegrityReport> {
        self.note(format!("verify {depth:?}"));
        Ok(IntegrityReport { ok: false, problems: vec!["torn".into()] })
    }
    async fn snapshot_to(&self, scope: &Scope, dir: &Path) -> Result<StoreSnapshot> {
        scope.progress.report(event("copying", 9));
        self.note(format!("snapshot_to {dir:?}"));
        let files = vec!["app.db".into()];
        Ok(StoreSnapshot {
            files,
            size_bytes: 3,
            taken_at: "2025-10-28T02:00:00.123456789Z".parse().unwrap(),
            details: serde_json::Map::new(),
        })
    }
    async fn check_copy(&self, _: &Scope, dir: &Path, depth: CheckDepth) -> Result<IntegrityReport> {
        self.note(format!("check_copy {dir:?} {depth:?}"));
        Ok(IntegrityReport { ok: true, problems: Vec::new() })
    }
    async fn restore_from(&self, _: &Scope, dir: &Path) -> Result<()> {
        self.note(format!("restore_from {dir:?}"));
        Err(Error::new(ErrorKind::Refused, "open by another"))
    }
    async fn maintain(&self, _: &Scope, tasks: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
        self.note(format!("maintain {tasks:?}"));
        Ok(tasks.iter().map(|task| MaintenanceOutcome { task: *task, done: true, message: "done".into() }).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_behind_the_pipe_is_the_store_itself() {
    use std::os::unix::ffi::OsStrExt;
    let own = Arc::new(Noting::default());
    let stores = vec![Named { name: "s".into(), component: Arc::clone(&own) as Arc<dyn Store> }];
    let (link, _) = linked(Components { stores, ..Components::default() }, HANG);
    let far = RemoteStore { name: "s".into(), capability: own.capability(), link };
    let scope = Scope::default();
    let dir = Path::new(std::ffi::OsStr::from_bytes(b"/scratch/\xff"));
    let mut noted = Vec::new();
    for store in [own.as_ref() as &dyn Store, &far] {
        let answers = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            store.capability(),
            store.stats(&scope).await,
            store.verify(&scope, CheckDepth::Quick).await,
            store.verify(&scope, CheckDepth::Full).await,
            store.snapshot_to(&scope, dir).await,
            store.check_copy(&scope, dir, CheckDepth::Full).await,
            store.restore_from(&scope, dir).await.map_err(|error| (error.kind(), error.message().to_owned())),
            store.maintain(&scope, &[MaintenanceTask::ReleaseFreePages, MaintenanceTask::Optimize]).await,
        );
        noted.push((answers, std::mem::take(&mut *own.0.lock().unwrap())));
    }
    assert_eq!(noted[0], noted[1]);
}
