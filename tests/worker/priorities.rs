//! A running backup: it gives way to the service with every thread, and it stops when it is told to.

use std::ops::Range;

use serde_json::json;
use uplifted_ops::ErrorKind;
use uplifted_ops::backup::{BackupTarget, Object, TargetCapability, Upload};
use uplifted_ops::testing::MemoryTarget;

use super::*;

/// A target in memory whose uploads take the first block and never come back.
#[derive(Debug, Default)]
struct Gate {
    memory: MemoryTarget,
    reached: Arc<Notify>,
}

#[derive(Debug)]
struct Gated {
    upload: Box<dyn Upload>,
    reached: Arc<Notify>,
}

#[async_trait::async_trait]
impl BackupTarget for Gate {
    fn capability(&self) -> TargetCapability {
        self.memory.capability()
    }
    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        self.memory.put(scope, key, bytes, if_absent).await
    }
    async fn upload(&self, scope: &Scope, key: &str, size: Option<u64>) -> Result<Box<dyn Upload>> {
        let upload = self.memory.upload(scope, key, size).await?;
        Ok(Box::new(Gated { upload, reached: Arc::clone(&self.reached) }))
    }
    async fn get(&self, scope: &Scope, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.memory.get(scope, key, range).await
    }
    async fn list(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        self.memory.list(scope, prefix, after).await
    }
    async fn stat(&self, scope: &Scope, key: &str) -> Result<Option<Object>> {
        self.memory.stat(scope, key).await
    }
    async fn delete(&self, scope: &Scope, key: &str) -> Result<()> {
        self.memory.delete(scope, key).await
    }
    async fn free_bytes(&self, scope: &Scope) -> Result<Option<u64>> {
        self.memory.free_bytes(scope).await
    }
}

#[async_trait::async_trait]
impl Upload for Gated {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.upload.write(bytes).await?;
        self.reached.notify_one();
        std::future::pending().await
    }
    async fn read_back(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        self.upload.read_back(range).await
    }
    async fn finish(self: Box<Self>) -> Result<()> {
        self.upload.finish().await
    }
    async fn abort(self: Box<Self>) -> Result<()> {
        self.upload.abort().await
    }
}

/// The nice value and the I/O priority of each thread of a process.
fn priorities(pid: u32) -> Vec<(i64, libc::c_long)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end while we look.
    tasks.filter_map(|task| thread_priority(task.unwrap().file_name().to_str()?.parse().ok()?)).collect()
}

#[allow(unsafe_code, reason = "ioprio_get has no wrapper in libc or rustix")]
fn thread_priority(thread: i32) -> Option<(i64, libc::c_long)> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let stat = std::fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    // Field 19; the second, in parentheses, may hold anything.
    let nice = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().nth(16)?.parse().ok()?;
    // SAFETY: the call takes two integers and touches no memory of ours.
    let io = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, thread) };
    (io >= 0).then_some((nice, io))
}

/// A backup that is under way and does not go on.
async fn stopped_backup(ops: &Ops, gate: &Gate) -> (Scope, tokio::task::JoinHandle<Result<Value>>) {
    let scope = Scope::default();
    let running = tokio::spawn({
        let (ops, scope) = (ops.clone(), scope.clone());
        async move { ops.call(scope, "backup.create", json!({})).await.map(|answer| answer.response) }
    });
    no_hang(gate.reached.notified()).await;
    (scope, running)
}

fn service() -> (TempDir, Arc<Gate>, Ops) {
    let (folder, builder) = builder();
    std::fs::write(folder.path().join("config.yaml"), "port: 7541\n".repeat(100_000)).unwrap();
    let gate = Arc::new(Gate::default());
    let ops = builder.target("gate", Arc::clone(&gate) as _).build().unwrap();
    (folder, gate, ops)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_backup_gives_way_with_every_thread_and_a_check_does_not() {
    let (_folder, gate, ops) = service();
    // The warm worker of a lane is the one that the next operation gets.
    let heavy = pid_of(&facts(&ops, "test.heavy").await);
    let (scope, running) = stopped_backup(&ops, &gate).await;
    let prompt = pid_of(&facts(&ops, "test.prompt").await);

    let lowest = (2 << 13) | 7;
    let threads = priorities(heavy);
    assert!(threads.len() > 2, "{threads:?}");
    assert!(threads.iter().all(|priority| *priority == (10, lowest)), "nice 10, best effort 7: {threads:?}");
    // As this process, whatever it was started with.
    let mine = thread_priority(i32::try_from(std::process::id()).unwrap()).unwrap();
    let threads = priorities(prompt);
    assert!(threads.len() > 2 && threads.iter().all(|priority| *priority == mine), "{mine:?}: {threads:?}");

    scope.cancel.cancel();
    assert!(no_hang(running).await.unwrap().is_err());
    assert_eq!(pid_of(&facts(&ops, "test.heavy").await), heavy, "that was the backup's worker");
}

#[tokio::test]
async fn a_cancel_ends_a_running_backup_within_the_grace() {
    let (_folder, gate, ops) = service();
    let worker = pid_of(&facts(&ops, "test.heavy").await);
    let (scope, running) = stopped_backup(&ops, &gate).await;
    scope.cancel.cancel();
    let error = no_hang(running).await.unwrap().unwrap_err();
    // Past the grace the message would say that its worker was killed, and another one would answer.
    assert_eq!((error.kind(), error.message()), (ErrorKind::Cancelled, "cancelled by the caller"));
    assert_eq!(pid_of(&facts(&ops, "test.heavy").await), worker);
    // Nothing is left but the lease, which holds up nobody.
    let keys = gate.memory.keys();
    assert!(keys.iter().all(|key| key.starts_with("locks/")), "{keys:?}");
    let (scope, running) = stopped_backup(&ops, &gate).await;
    scope.cancel.cancel();
    assert_eq!(no_hang(running).await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
}
