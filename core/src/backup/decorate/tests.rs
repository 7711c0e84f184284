use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::backup::targets;
use crate::cancel::Scope;
use crate::clock::{Clock, Timestamp};
use crate::error::ErrorKind;
use crate::testing::{Call, FaultyTarget, MemoryTarget, assert_all, target};

/// Tokio's time, which a paused runtime moves on by itself.
#[derive(Debug)]
struct RuntimeClock(tokio::time::Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn scope() -> Scope {
    Scope { clock: Arc::new(RuntimeClock(tokio::time::Instant::now())), ..Scope::default() }
}

fn quick(retries: u32) -> RetryPolicy {
    let wait = Duration::from_millis(1);
    RetryPolicy { retries, first_wait: wait, longest_wait: wait, deadline: Duration::from_secs(60) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_decorator_passes_the_suite_and_all_of_them_together() {
    let memory = || Arc::new(MemoryTarget::default()) as Arc<dyn BackupTarget>;
    assert_all(&target::run(|| Arc::new(Retry::new(memory(), quick(2)))).await);
    assert_all(&target::run(|| Arc::new(Throttle::new(memory(), Some(1 << 40), Some(1 << 40)))).await);
    assert_all(&target::run(|| Arc::new(Prefix::new(memory(), "a/b").unwrap())).await);
    // Two of five calls fail, in a pattern that no sequence of calls follows for long.
    let calls = AtomicU32::new(0);
    let all = || {
        let shared = MemoryTarget::default();
        let faulty = FaultyTarget::new(Arc::new(shared), move |call, _, number| {
            let begun = matches!(call, Call::Write | Call::ReadBack | Call::Finish | Call::Abort);
            (!begun && number.wrapping_mul(2_654_435_761) >> 7 & 7 < 3).then_some(ErrorKind::Unavailable)
        });
        calls.fetch_add(1, Ordering::SeqCst);
        let retried = Arc::new(Retry::new(Arc::new(faulty), quick(20)));
        let throttled = Arc::new(Throttle::new(retried, Some(1 << 40), None));
        Arc::new(Prefix::new(throttled, "deep/er").unwrap()) as Arc<dyn BackupTarget>
    };
    assert_all(&target::run(all).await);
    assert!(calls.load(Ordering::SeqCst) > 10);
}

#[tokio::test]
async fn a_prefix_knows_nothing_of_its_neighbours() {
    let memory = MemoryTarget::default();
    let target = Prefix::new(Arc::new(memory.clone()), "mine/").unwrap();
    for key in ["mine", "mine-too/k", "mine.k", "other/k"] {
        memory.put(&scope(), key, b"x", false).await.unwrap();
    }
    target.put(&scope(), "k", b"x", true).await.unwrap();
    let listed: Vec<String> =
        target.list(&scope(), "", None).await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(listed, ["k"]);
    assert!(memory.keys().contains(&"mine/k".to_owned()));
    assert_eq!(target.capability().location, "memory/mine");
    assert_eq!(target.probe(&scope()).await.unwrap(), target.capability());
    assert_eq!(target.stat(&scope(), "k").await.unwrap().unwrap().key, "k");
    for wrong in ["", "/", "../up", "a//b", ".x"] {
        let error = Prefix::new(Arc::new(memory.clone()), wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
    }
}

/// Fails the first `puts` after it did what was asked.
#[derive(Debug)]
struct LostReplies(MemoryTarget, Mutex<u32>);

#[async_trait::async_trait]
impl BackupTarget for LostReplies {
    fn capability(&self) -> super::super::TargetCapability {
        self.0.capability()
    }
    async fn put(&self, scope: &Scope, key: &str, bytes: &[u8], if_absent: bool) -> Result<bool> {
        let put = self.0.put(scope, key, bytes, if_absent).await?;
        let mut left = self.1.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err(Error::new(ErrorKind::Timeout, "the reply was lost"));
        }
        Ok(put)
    }
    async fn upload(&self, s: &Scope, k: &str, e: Option<u64>) -> Result<Box<dyn super::super::Upload>> {
        self.0.upload(s, k, e).await
    }
    async fn get(&self, s: &Scope, k: &str, r: std::ops::Range<u64>) -> Result<Vec<u8>> {
        self.0.get(s, k, r).await
    }
    async fn list(&self, s: &Scope, p: &str, a: Option<&str>) -> Result<Vec<super::super::Object>> {
        self.0.list(s, p, a).await
    }
    async fn stat(&self, s: &Scope, k: &str) -> Result<Option<super::super::Object>> {
        self.0.stat(s, k).await
    }
    async fn delete(&self, s: &Scope, k: &str) -> Result<()> {
        self.0.delete(s, k).await
    }
    async fn free_bytes(&self, s: &Scope) -> Result<Option<u64>> {
        self.0.free_bytes(s).await
    }
}

#[tokio::test]
async fn a_lost_reply_is_told_from_somebody_elses_object() {
    let memory = MemoryTarget::default();
    let target = |lost| Retry::new(Arc::new(LostReplies(memory.clone(), Mutex::new(lost))), quick(3));
    assert!(target(2).put(&scope(), "k", b"ours", true).await.unwrap());
    assert!(!target(0).put(&scope(), "k", b"ours", true).await.unwrap(), "nothing was lost: it was there before");
    assert!(!target(1).put(&scope(), "k", b"hers", true).await.unwrap());
    assert!(!target(1).put(&scope(), "k", b"longer than ours", true).await.unwrap());
    assert_eq!(memory.get(&scope(), "k", 0..9).await.unwrap(), b"ours");
}

#[tokio::test(start_paused = true)]
async fn tries_end_with_the_count_the_deadline_a_cancel_and_an_error_for_good() {
    let failing = |kind| Arc::new(FaultyTarget::new(Arc::new(MemoryTarget::default()), move |_, _, _| Some(kind)));
    let tries = async |kind, policy: RetryPolicy, scope: Scope| {
        let inner = failing(kind);
        let error = Retry::new(Arc::clone(&inner) as _, policy).stat(&scope, "k").await.unwrap_err();
        (inner.calls().len(), error)
    };
    let (count, error) = tries(ErrorKind::Unavailable, quick(4), scope()).await;
    assert_eq!(count, 5);
    assert!(error.context().contains(&("tries".to_owned(), "5".to_owned())));
    for (kind, expected) in [(ErrorKind::Denied, 1), (ErrorKind::NotFound, 1), (ErrorKind::Timeout, 5)] {
        assert_eq!(tries(kind, quick(4), scope()).await.0, expected, "{kind}");
    }

    let policy = RetryPolicy { retries: u32::MAX, deadline: Duration::from_secs(100), ..RetryPolicy::default() };
    let scope_of_deadline = scope();
    let (count, _) = tries(ErrorKind::Busy, policy, scope_of_deadline.clone()).await;
    let took = scope_of_deadline.clock.monotonic();
    assert!(took <= policy.deadline && took > Duration::from_secs(40), "{took:?}");
    // Doubling from 0.25 s to 20 s: about a dozen, not hundreds.
    assert!((6..30).contains(&count), "{count}");

    let scope = scope();
    let cancel = scope.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
    let (_, error) = tries(ErrorKind::Busy, policy, scope).await;
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn bytes_take_the_time_that_the_limit_says_and_small_ones_do_not_queue() {
    let target = Throttle::new(Arc::new(MemoryTarget::default()), Some(1 << 20), Some(2 << 20));
    let scope = scope();
    let block = vec![0; 1 << 20];
    let mut upload = target.upload(&scope, "k", None).await.unwrap();
    for _ in 0..11 {
        upload.write(&block).await.unwrap();
    }
    // The first second's bytes are free; the other ten take ten seconds.
    let up = scope.clock.monotonic().as_secs_f64();
    assert!((9.9..10.2).contains(&up), "{up}");
    upload.write(&block).await.unwrap();
    let before = scope.clock.monotonic();
    target.put(&scope, "lease", b"small", false).await.unwrap();
    assert_eq!(scope.clock.monotonic(), before);
    upload.finish().await.unwrap();

    let started = scope.clock.monotonic();
    for at in 0..12 {
        target.get(&scope, "k", at << 20..(at + 1) << 20).await.unwrap();
    }
    let down = (scope.clock.monotonic() - started).as_secs_f64();
    assert!((4.9..5.2).contains(&down), "{down}");

    scope.cancel.cancel();
    let error = target.put(&scope, "big", &vec![0; 8 << 20], false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn the_settings_of_any_target_ask_for_them() {
    let base = tempfile::tempdir().unwrap();
    let context = BuildContext {
        name: "local".into(),
        root: base.path().into(),
        state: base.path().join(".state"),
        service: "shop".into(),
    };
    let make = |settings: Value| build(&targets::fs::KIND, &context, settings.as_object().unwrap());
    let plain = make(json!({ "path": "b" })).unwrap();
    let all = json!({ "path": "b", "prefix": "a", "limit_upload": "1GB", "limit_download": 1_000_000, "retries": 2 });
    let decorated = make(all).unwrap();
    decorated.put(&scope(), "k", b"x", true).await.unwrap();
    assert_eq!(plain.list(&scope(), "", None).await.unwrap()[0].key, "a/k");
    assert_eq!(decorated.capability().folder, plain.capability().folder);
    for (wrong, said) in [
        (json!({ "path": "b", "limit_upload": 0 }), "limit_upload"),
        (json!({ "path": "b", "limit_download": "fast" }), "limit_download"),
        (json!({ "path": "b", "prefix": "/a" }), "prefix"),
        (json!({ "path": "b", "retries": -1 }), "retries"),
        (json!({ "path": "b", "prefx": "a" }), "prefx"),
    ] {
        let error = make(wrong.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
        assert!(error.message().contains(said) && error.message().contains("local"), "{error}");
    }
}
