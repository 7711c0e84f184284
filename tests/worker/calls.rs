//! What calls are like: many of them, with blocks, back into the host; and the front door around them.

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use uplifted_ops::backup::{BackupTarget, Object, TargetCapability, Upload};
use uplifted_ops::component::{Kind, Placement};
use uplifted_ops::journal::{Journal, Query, RecordOutcome};
use uplifted_ops::ops::status::{Status, StatusRequest};
use uplifted_ops::store::{
    CheckDepth, IntegrityReport, MaintenanceOutcome, MaintenanceTask, Store, StoreCapability, StoreSnapshot, StoreStats,
};
use uplifted_ops::testing::MemoryTarget;
use uplifted_ops::{Error, ErrorKind};
use uplifted_ops_tests::puppet::peak_rss_kib;

use super::*;

fn descriptors(pid: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[tokio::test]
async fn a_thousand_calls_use_one_worker_and_no_descriptors() {
    let (_folder, builder) = builder();
    let ops = builder.build().unwrap();
    let began = Instant::now();
    let first = facts(&ops, "test.prompt").await;
    let cold = began.elapsed();
    let worker = first["pid"].to_string();
    let before = (descriptors("self"), descriptors(&worker));
    let began = Instant::now();
    for n in 0..1000 {
        assert_eq!(call(&ops, "test.prompt", json!({"act": "echo", "value": n})).await.unwrap(), n);
    }
    println!("cold start {cold:?}, warm call {:?}", began.elapsed() / 1000);
    assert_eq!(facts(&ops, "test.prompt").await["pid"], first["pid"]);
    let after = (descriptors("self"), descriptors(&worker));
    // Other tests of this process open and close theirs meanwhile.
    assert!(after.0.abs_diff(before.0) < 200, "{before:?} {after:?}");
    assert_eq!(after.1, before.1);
}

#[tokio::test]
async fn blocks_flow_to_a_target_in_the_host_within_bounded_memory() {
    let (_folder, builder) = builder();
    let memory = Arc::new(Sink::default());
    let ops = builder.target("host", Arc::clone(&memory) as _).build().unwrap();
    let answer = call(&ops, "test.heavy", json!({"act": "blocks", "target": "host", "blocks": 40})).await.unwrap();
    assert_eq!(answer["size_bytes"], 40 * (8 << 20));
    let (worker, host) = (answer["rss"].as_u64().unwrap(), peak_rss_kib());
    println!("peak of the worker {worker} KiB, of the host {host} KiB");
    assert!(worker < 64 << 10, "the worker took {worker} KiB");
}

/// Takes every byte and keeps none: what is read back is what `blocks` wrote.
#[derive(Debug, Default)]
struct Sink(Arc<std::sync::atomic::AtomicU64>);

#[async_trait::async_trait]
impl BackupTarget for Sink {
    fn capability(&self) -> TargetCapability {
        MemoryTarget::default().capability()
    }
    async fn put(&self, _: &Scope, _: &str, _: &[u8], _: bool) -> Result<bool> {
        Ok(true)
    }
    async fn upload(&self, _: &Scope, _: &str, _: Option<u64>) -> Result<Box<dyn Upload>> {
        Ok(Box::new(Self(Arc::clone(&self.0))))
    }
    async fn get(&self, _: &Scope, _: &str, _: std::ops::Range<u64>) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
    async fn list(&self, scope: &Scope, _: &str, _: Option<&str>) -> Result<Vec<Object>> {
        let size_bytes = self.0.load(std::sync::atomic::Ordering::SeqCst);
        Ok(vec![Object { key: "big".into(), size_bytes, modified_at: scope.clock.now() }])
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

#[async_trait::async_trait]
impl Upload for Sink {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
    async fn read_back(&mut self, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
        let block = (range.start >> 23) as u8;
        Ok(vec![block; (range.end - range.start) as usize])
    }
    async fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
    async fn abort(self: Box<Self>) -> Result<()> {
        self.0.store(ABORTED, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
}

const ABORTED: u64 = u64::MAX;

#[tokio::test]
async fn an_upload_that_an_operation_left_open_is_aborted() {
    let (_folder, builder) = builder();
    let memory = MemoryTarget::default();
    let sink = Sink::default();
    let written = Arc::clone(&sink.0);
    let builder = builder.target("host", Arc::new(memory.clone())).target("sink", Arc::new(sink));
    let ops = builder.build().unwrap();
    call(&ops, "test.prompt", json!({"act": "leave_open", "target": "sink"})).await.unwrap();
    assert_eq!(written.load(std::sync::atomic::Ordering::SeqCst), ABORTED);
    assert_eq!(call(&ops, "test.prompt", json!({"act": "put", "target": "host"})).await.unwrap(), json!(true));
    assert_eq!(memory.keys(), ["a"]);
    let error = call(&ops, "test.prompt", json!({"act": "put", "target": "hsot"})).await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::NotFound, Some("did you mean \"host\"?")));
}

#[derive(Debug)]
struct Hanging;

#[async_trait::async_trait]
impl uplifted_ops::health::HealthCheck for Hanging {
    async fn check(&self, _: &Scope) -> Result<uplifted_ops::health::CheckOutcome> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_component_of_the_host_that_hangs_fails_the_call_and_not_the_worker() {
    let (_folder, builder) = builder();
    let ops =
        builder.check("hanging", Arc::new(Hanging)).callback_deadline(Duration::from_millis(300)).build().unwrap();
    let before = facts(&ops, "test.prompt").await;
    let error = call(&ops, "test.prompt", json!({"act": "check", "check": "hanging"})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.message(), "the host did not answer check \"hanging\" within 0.3 s");
    let passed = call(&ops, "test.prompt", json!({"act": "check", "check": "alive"})).await.unwrap();
    assert_eq!(passed["status"], "pass");
    assert_eq!(facts(&ops, "test.prompt").await["pid"], before["pid"]);
}

/// A database that says in which process it lives.
#[derive(Debug)]
struct Located;

#[async_trait::async_trait]
impl Store for Located {
    fn capability(&self) -> StoreCapability {
        StoreCapability {
            kind: "located".into(),
            file: None,
            side_files: Vec::new(),
            copy_files: Vec::new(),
            maintenance: Vec::new(),
        }
    }
    async fn stats(&self, _: &Scope) -> Result<StoreStats> {
        Ok(StoreStats { size_bytes: std::process::id().into(), log_bytes: Some(0), details: serde_json::Map::new() })
    }
    async fn verify(&self, _: &Scope, _: CheckDepth) -> Result<IntegrityReport> {
        Err(Error::new(ErrorKind::Corrupt, "torn"))
    }
    async fn snapshot_to(&self, _: &Scope, _: &Path) -> Result<StoreSnapshot> {
        Err(Error::new(ErrorKind::Unsupported, "no"))
    }
    async fn check_copy(&self, _: &Scope, _: &Path, _: CheckDepth) -> Result<IntegrityReport> {
        Ok(IntegrityReport { ok: true, problems: Vec::new() })
    }
    async fn restore_from(&self, _: &Scope, _: &Path) -> Result<()> {
        Ok(())
    }
    async fn maintain(&self, _: &Scope, _: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_live_store_of_the_host_is_called_from_the_worker_and_answers_in_the_host() {
    let (_folder, builder) = builder();
    let ops = builder.store("live", Arc::new(Located)).build().unwrap();
    let answer = call(&ops, "test.prompt", json!({"act": "store", "store": "live"})).await.unwrap();
    assert_eq!(answer["capability"]["kind"], "located");
    assert_eq!(answer["stats"]["size_bytes"], std::process::id());
}

#[tokio::test]
async fn a_kind_that_the_worker_lacks_is_named_with_the_repair() {
    let kind = |placement| Kind::<dyn Store> {
        name: "located",
        summary: "says where it is",
        placement,
        build: |_, _| Ok(Arc::new(Located)),
        detect: None,
    };
    let store = json!([{"name": "main", "kind": "located"}]);
    // What may live anywhere lives in the host, since the worker's program may not have it.
    let (_folder, builder) = builder();
    let ops = builder.kind_store(kind(Placement::Anywhere)).setting("store", store.clone()).build().unwrap();
    let answer = call(&ops, "test.prompt", json!({"act": "store", "store": "main"})).await.unwrap();
    assert_eq!(answer["stats"]["size_bytes"], std::process::id());

    let (_folder, builder) = self::builder();
    let ops = builder.kind_store(kind(Placement::Worker)).setting("store", store).build().unwrap();
    let error = call(&ops, "test.prompt", json!({"act": "facts"})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("store \"main\": this build has no store of kind \"located\""), "{error}");
    assert!(error.hint().unwrap().contains("run_if_worker_with"));

    let (_folder, builder) = self::builder();
    let twice = json!([{"name": "a", "kind": "x"}, {"name": "a", "kind": "y"}]);
    assert_eq!(builder.setting("store", twice).build().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn what_changes_something_is_recorded_whatever_became_of_it() {
    let (folder, builder) = builder();
    let ops = builder.build().unwrap();
    call(&ops, "test.heavy", json!({"act": "echo", "value": "well"})).await.unwrap();
    call(&ops, "test.heavy", json!({"act": "echo", "value": "unwell"})).await.unwrap();
    call(&ops, "test.heavy", json!({"act": "panic", "message": "x"})).await.unwrap_err();
    call(&ops, "test.prompt", json!({"act": "echo", "value": 1})).await.unwrap();
    let journal = Journal::open(&folder.path().join(".uplifted-ops")).unwrap();
    let records = journal.read(&Query::default()).unwrap().records;
    let mut seen: Vec<_> =
        records.iter().map(|r| (r.time, r.outcome, r.request["value"].clone(), r.error.is_some())).collect();
    seen.sort_by_key(|(time, ..)| *time);
    let seen: Vec<_> = seen.into_iter().map(|(_, outcome, value, failed)| (outcome, value, failed)).collect();
    assert_eq!(
        seen,
        [
            (RecordOutcome::Done, json!("well"), false),
            (RecordOutcome::Unhealthy, json!("unwell"), false),
            (RecordOutcome::Failed, json!(null), true),
        ]
    );
    assert!(records.iter().all(|record| record.pid == std::process::id() && record.operation == "test.heavy"));
}

#[tokio::test]
async fn a_record_that_cannot_be_kept_is_an_error_that_says_what_was_done() {
    let (folder, builder) = builder();
    let ops = builder.build().unwrap();
    facts(&ops, "test.heavy").await;
    std::fs::remove_dir_all(folder.path().join(".uplifted-ops/journal")).unwrap();
    std::fs::write(folder.path().join(".uplifted-ops/journal"), "not a folder").unwrap();
    let error = call(&ops, "test.heavy", json!({"act": "echo", "value": 1})).await.unwrap_err();
    assert!(error.message().starts_with("test.heavy was done, but could not be recorded"), "{error}");
    assert!(!error.retryable());
    let error = call(&ops, "test.heavy", json!({"act": "fail"})).await.unwrap_err();
    assert_eq!(error.message(), "no luck");
    assert!(error.context().iter().any(|(name, _)| name == "journal"));
}

#[tokio::test]
async fn the_front_door_knows_its_operations() {
    let (folder, builder) = builder();
    let ops = builder.setting("service.version", "1.2").build().unwrap();
    for (name, hint) in [("statsu", "did you mean \"status\"?"), ("test.hevy", "did you mean \"test.heavy\"?")] {
        let error = no_hang(ops.call(Scope::default(), name, json!({}))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint().unwrap().starts_with(hint), "{error:?}");
    }
    let status = no_hang(ops.run::<Status>(Scope::default(), StatusRequest {})).await.unwrap();
    assert_eq!((status.pid, status.root.as_path()), (std::process::id(), folder.path()));
    assert_eq!(status.service.version.as_deref(), Some("1.2"));
    assert_eq!((status.workers, status.features.contains(&"testing".to_owned())), (0, true));
    assert!(status.uptime_seconds < 24.0 * 3600.0);
    let error = no_hang(ops.call(Scope::default(), "test.prompt", json!({"act": "fly"}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // The same without `async`.
    let status = ops.blocking().run::<Status>(Scope::default(), StatusRequest {}).unwrap();
    assert_eq!(status.mode, uplifted_ops::ops::RunMode::Embedded);
}

#[test]
fn the_table_is_sorted_and_without_twins() {
    let names: Vec<&str> = uplifted_ops::ops::operations().map(|entry| entry.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    fn shareable<T: Send + Sync + Clone + 'static>() {}
    shareable::<Ops>();
}
