//! Objects that raise, hang, panic, answer too late or call back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use uplifted_ops::embed::{self, Contract, PluginReply, Raised};
use uplifted_ops::ops::Ops;
use uplifted_ops::{Cancel, Error, ErrorKind, Scope};
use uplifted_ops_tests::plugins::{Memory, Object, answering, ours, stuck};

use super::{HANG, builder, no_hang};

/// Short, for what must be seen to pass.
const SOON: Duration = Duration::from_millis(100);

#[tokio::test]
async fn what_is_raised_becomes_an_error_with_its_place() {
    let check = |error: fn() -> Error| {
        embed::check("c", Object::quick("Foo", "check", move |_| Err(error())).shared(), HANG).unwrap()
    };
    let scope = Scope::default();
    let error = check(|| Raised { trace: Some("at line 7".into()), ..Raised::new("ValueError", "bad") }.into());
    let error = error.check(&scope).await.unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, false));
    assert_eq!(error.message(), "check \"c\".check: ValueError: bad");
    assert!(error.hint().unwrap().contains("OpsError"));
    assert_eq!(error.context(), [("plugin".to_owned(), "Foo.check".to_owned())]);
    assert_eq!(error.to_body().causes, ["at line 7"]);
    let error = check(|| ours(ErrorKind::Busy, "not now")).check(&scope).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retryable(), error.message()),
        (ErrorKind::Busy, true, "check \"c\".check: not now")
    );
    assert_eq!(error.hint(), Some("look at Foo.check, which says so"));
    let error = check(|| Raised { errno: Some(-28), ..Raised::new("Error", "ENOSPC: no space") }.into());
    assert_eq!(error.check(&scope).await.unwrap_err().kind(), ErrorKind::NoSpace);
    let error = check(|| Raised { errno: Some(i32::MIN), ..Raised::new("Odd", "") }.into());
    assert_eq!(error.check(&scope).await.unwrap_err().message(), "check \"c\".check: Odd");
}

#[tokio::test]
async fn a_panic_is_an_error() {
    let panics = Object::quick("Foo", "check", |_| panic!("on purpose"));
    let error = embed::check("c", panics.shared(), HANG).unwrap().check(&Scope::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, "check \"c\".check: panicked: on purpose"));
}

/// Counts the futures that were dropped before they ended.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn hanging(dropped: &Arc<AtomicUsize>) -> Object {
    let dropped = Arc::clone(dropped);
    Object::new("Foo", "check", move |_, _| {
        let guard = Dropped(Arc::clone(&dropped));
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    })
}

#[tokio::test]
async fn a_hang_meets_the_deadline_and_its_call_is_dropped() {
    let dropped = Arc::default();
    let check = embed::check("c", hanging(&dropped).shared(), SOON).unwrap();
    let error = no_hang(check.check(&Scope::default())).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "check \"c\".check did not answer within 0.1 s"));
    assert_eq!(error.hint(), Some("look at Foo.check: it hangs, or blocks its event loop or the interpreter's lock"));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    // Cancelled, one that does not look at the flag is dropped a moment later; and so it is with its caller.
    let check = embed::check("c", hanging(&dropped).shared(), HANG).unwrap();
    let scope = Scope { cancel: Cancel::new(), ..Scope::default() };
    let (call, cancel) = (check.check(&scope), async { scope.cancel.cancel() });
    let (result, ()) = no_hang(async { tokio::join!(call, cancel) }).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    let _ = tokio::time::timeout(Duration::ZERO, check.check(&Scope::default())).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn one_that_looks_at_the_flag_ends_by_itself() {
    let cleaned = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&cleaned);
    let object = Object::new("Foo", "check", move |scope, _| {
        let count = Arc::clone(&count);
        async move {
            scope.cancel.cancelled().await;
            tokio::task::yield_now().await;
            count.fetch_add(1, Ordering::SeqCst);
            Err(Raised::new("CancelledError", "").into())
        }
    });
    let check = embed::check("c", object.shared(), HANG).unwrap();
    let scope = Scope { cancel: Cancel::new(), ..Scope::default() };
    let (result, ()) = no_hang(async { tokio::join!(check.check(&scope), async { scope.cancel.cancel() }) }).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Cancelled, "cancelled by the caller"));
    assert_eq!(cleaned.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_after_the_end_is_nobodys() {
    // The object goes on by itself, as a thread of another language does.
    let (go, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let answers = Arc::new(Mutex::new(Vec::new()));
    let object = {
        let (go, gone, answers) = (Arc::clone(&go), Arc::clone(&gone), Arc::clone(&answers));
        Object::new("Foo", "check", move |_, _| {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let (go, gone, answers) = (Arc::clone(&go), Arc::clone(&gone), Arc::clone(&answers));
            tokio::spawn(async move {
                go.notified().await;
                let late = PluginReply::json(json!({"status": "pass", "message": "late"}));
                answers.lock().unwrap().push(sender.send(late).is_err());
                gone.notify_one();
            });
            async { receiver.await.map_err(|_| Error::internal("gone")) }
        })
    };
    let check = embed::check("c", object.shared(), SOON).unwrap();
    let error = no_hang(check.check(&Scope::default())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    go.notify_one();
    no_hang(gone.notified()).await;
    assert_eq!(*answers.lock().unwrap(), [true], "somebody took the late answer");
}

#[tokio::test]
async fn an_object_may_call_back_into_ops() {
    let ops = Arc::new(OnceLock::<Ops>::new());
    let inner = Arc::clone(&ops);
    let curious = Object::new("Curious", "check", move |_, _| {
        let ops = inner.get().unwrap().clone();
        async move {
            // Both in the host and in a worker, from within a call of either.
            let status = ops.call(Scope::default(), "status", json!({})).await?;
            let echo = ops.call(Scope::default(), "test.prompt", json!({"act": "echo", "value": 1})).await?;
            assert_eq!(echo.response["value"], 1);
            let message = format!("runs in {}", status.response["pid"]);
            Ok(PluginReply::json(json!({"status": "pass", "message": message})))
        }
    });
    let (_folder, builder) = builder();
    ops.set(builder.plugin(Contract::Check, "curious", curious.shared()).unwrap().build().unwrap()).unwrap();
    let ops = ops.get().unwrap();
    for name in ["test.host", "test.prompt", "test.heavy"] {
        let asked = ops.call(Scope::default(), name, json!({"act": "check", "check": "curious"}));
        assert_eq!(no_hang(asked).await.unwrap().response["value"]["status"], "pass", "{name}");
    }
    no_hang(ops.close(HANG)).await.unwrap();
}

#[tokio::test]
async fn a_worker_hears_the_same_errors_as_the_host() {
    let (_folder, builder) = builder();
    let raises = Object::quick("Raises", "check", |_| Err(Raised::new("ValueError", "bad").into()));
    let panics = Object::quick("Panics", "check", |_| panic!("on purpose"));
    let ops = builder
        .callback_deadline(SOON)
        .plugin(Contract::Check, "raises", raises.shared())
        .and_then(|builder| builder.plugin(Contract::Check, "panics", panics.shared()))
        .and_then(|builder| builder.plugin(Contract::Check, "hangs", stuck("Hangs", "check").shared()))
        .and_then(|builder| builder.plugin(Contract::Check, "lies", answering(json!("fine")).shared()))
        .unwrap()
        .build()
        .unwrap();
    for (check, kind, message) in [
        ("raises", ErrorKind::Unavailable, "check \"raises\".check: ValueError: bad"),
        ("panics", ErrorKind::Internal, "check \"panics\".check: panicked: on purpose"),
        ("hangs", ErrorKind::Timeout, "check \"hangs\".check did not answer within 0.1 s"),
        (
            "lies",
            ErrorKind::Corrupt,
            "check \"lies\".check answered \"fine\", not {status: pass, warn or fail, message, observed, unit}",
        ),
    ] {
        for place in ["test.host", "test.prompt"] {
            let asked = ops.call(Scope::default(), place, json!({"act": "check", "check": check}));
            let error = no_hang(asked).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{place}: {error}");
            assert!(error.message().starts_with(message), "{place}: {error}");
        }
    }
}

#[tokio::test]
async fn an_upload_that_a_worker_leaves_open_is_aborted() {
    let (_folder, builder) = builder();
    let memory = Memory::default();
    let ops = builder.plugin(Contract::Target, "host", memory.object(true).shared()).unwrap().build().unwrap();
    let left = ops.call(Scope::default(), "test.prompt", json!({"act": "leave_open", "target": "host"}));
    no_hang(left).await.unwrap();
    assert_eq!((*memory.aborted.lock().unwrap(), memory.keys().len()), (1, 0));
    // Blocks of the full size cross both boundaries.
    let blocks = ops.call(Scope::default(), "test.heavy", json!({"act": "blocks", "target": "host", "blocks": 3}));
    // What the operation wrote is 0, 1, 2 in blocks of 8 MiB, which it reads back and compares.
    assert_eq!(no_hang(blocks).await.unwrap().response["value"]["size_bytes"], 3 * (8 << 20));
}
