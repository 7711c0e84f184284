//! Frames, greetings, calls in both directions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::frame::{self, Frame, MAX_HEAD};
use super::super::outbox::Outbox;
use super::super::peer::{CallError, Closed, Peer, Service};
use super::super::protocol::{Hello, Message, PROTOCOL_VERSION, greet, greeting};
use super::{event, no_hang, wires};
use crate::backup::target::MAX_BLOCK;
use crate::cancel::{Progress, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::remote::{ComponentCall, Payload, UploadAct, WirePath};
use crate::testing::random;

fn frame(head: &Value, body: Vec<u8>) -> Vec<u8> {
    let head = serde_json::to_vec(head).unwrap();
    let mut bytes = (head.len() as u32).to_le_bytes().to_vec();
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(head);
    bytes.extend(body);
    bytes
}

/// Does as the method's name says.
#[derive(Default)]
struct Puppet {
    running: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait::async_trait]
impl Service for Puppet {
    async fn serve(&self, peer: &Peer, called: &str, request: Payload, scope: Scope) -> Result<Payload> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let answer = match called {
            "echo" => Ok(request),
            "back" => {
                // Calls the caller back with what it was given, while the caller waits.
                let mut call = peer.begin("echo", request, MAX_BLOCK, Progress::default()).await.expect("open");
                call.reply().await.expect("open")
            }
            "fail" => {
                let cause = std::io::Error::other("the cause");
                Err(Error::new(ErrorKind::Busy, "no").with_hint("wait").with_context("a", "b").with_source(cause))
            }
            "panic" => panic!("on purpose"),
            "wait" => {
                scope.progress.report(event("waiting", 1));
                scope.cancel.cancelled().await;
                scope.cancel.check().map(|()| Payload::default())
            }
            "flood" => {
                for done in 0..100_000 {
                    scope.progress.report(event(&format!("stage {}", done / 1000), done));
                }
                Ok(Payload::default())
            }
            "huge" => Ok(Payload { value: Value::String("x".repeat(MAX_HEAD)), body: Vec::new() }),
            "huge-error" => Err(Error::new(ErrorKind::Busy, "é".repeat(MAX_HEAD))),
            other => Err(Error::invalid(format!("{other}?"))),
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

fn pair() -> (Peer, Peer) {
    let (left, right) = wires(64 * 1024);
    let service = || Arc::new(Puppet::default()) as Arc<dyn Service>;
    (Peer::start(left.0, left.1, service(), false), Peer::start(right.0, right.1, service(), false))
}

async fn call(peer: &Peer, method: &str, payload: Payload) -> Result<Payload> {
    let mut open = match peer.begin(method, payload, MAX_BLOCK, Progress::default()).await {
        Ok(open) => open,
        Err(CallError::Refused(error)) => return Err(error),
        Err(CallError::Lost) => return Err(Error::new(ErrorKind::Unavailable, "lost")),
    };
    no_hang(open.reply()).await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "lost")))
}

fn block(byte: u8) -> Payload {
    Payload { value: json!({ "byte": byte }), body: vec![byte; MAX_BLOCK] }
}

#[tokio::test]
async fn a_frame_survives_the_pipe_and_its_limits_hold() {
    let mut bytes = Vec::new();
    Frame::new(&json!({"a": 1}), vec![7; 3]).unwrap().write(&mut bytes).await.unwrap();
    assert_eq!(bytes, frame(&json!({"a": 1}), vec![7; 3]));
    let (head, body) = frame::read(&mut bytes.as_slice(), MAX_HEAD).await.unwrap().unwrap();
    assert_eq!((head.as_slice(), body), (br#"{"a":1}"#.as_slice(), vec![7; 3]));

    assert!(Frame::new(&json!(null), vec![0; MAX_BLOCK]).is_ok());
    let error = Frame::new(&json!(null), vec![0; MAX_BLOCK + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(Frame::new(&"x".repeat(MAX_HEAD), Vec::new()).is_err());
}

#[tokio::test]
async fn what_is_not_a_frame_is_refused_before_it_is_read() {
    let mut whole = frame(&json!({"a": 1}), vec![7; 3]);
    for cut in 1..whole.len() {
        let error = frame::read(&mut &whole[..cut], MAX_HEAD).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}");
    }
    assert!(frame::read(&mut [].as_slice(), MAX_HEAD).await.unwrap().is_none());
    for text in ["Listening on port 80\n", "\0\0\0\0\0\0\0\0", "{\"hello\":{}}"] {
        let error = frame::read(&mut text.as_bytes(), MAX_HEAD).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{text:?}");
    }
    whole[4..8].copy_from_slice(&(MAX_BLOCK as u32 + 1).to_le_bytes());
    assert_eq!(frame::read(&mut whole.as_slice(), MAX_HEAD).await.unwrap_err().kind(), ErrorKind::Corrupt);
    whole[..4].copy_from_slice(&(MAX_HEAD as u32 + 1).to_le_bytes());
    assert_eq!(frame::read(&mut whole.as_slice(), MAX_HEAD).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn greetings_name_both_versions() {
    let mut bytes = Vec::new();
    let theirs = Hello { protocol: 99, version: "9.8.7".into(), ..Hello::ours() };
    greet(&mut bytes, &theirs).await.unwrap();
    let read = greeting(&mut bytes.as_slice()).await.unwrap().unwrap();
    assert_eq!(read, theirs);
    Hello::ours().accept("worker").unwrap();
    let error = read.accept("worker").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let ours = env!("CARGO_PKG_VERSION");
    assert_eq!(
        error.message(),
        format!(
            "the worker is uplifted-ops 9.8.7 with worker protocol 99, this is {ours} with protocol {PROTOCOL_VERSION}"
        )
    );
    assert!(error.hint().unwrap().contains("worker.command"));
    // A greeting of the future, with more in it, is still understood as far as it goes.
    let future =
        frame(&json!({"hello": {"product": "x", "protocol": 2, "version": "3", "pid": 1, "new": []}, "n": 1}), vec![]);
    assert_eq!(greeting(&mut future.as_slice()).await.unwrap().unwrap().protocol, 2);
    // A head that is fine between peers is not one of a greeting.
    let long = frame(&json!({"hello": "x".repeat(70_000)}), vec![]);
    assert_eq!(greeting(&mut long.as_slice()).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn calls_go_both_ways_with_blocks() {
    let (left, right) = pair();
    for peer in [&left, &right] {
        assert_eq!(call(peer, "echo", block(1)).await.unwrap(), block(1));
        assert_eq!(call(peer, "back", block(2)).await.unwrap(), block(2));
    }
    let error = call(&left, "fail", Payload::default()).await.unwrap_err().to_body();
    assert_eq!((error.kind, error.message.as_str(), error.hint.as_deref()), (ErrorKind::Busy, "no", Some("wait")));
    assert_eq!(error.context["a"], "b");
    assert_eq!(error.causes, ["the cause"]);
}

#[tokio::test]
async fn blocks_in_both_directions_at_once_do_not_deadlock() {
    let (left, right) = pair();
    let all: Vec<_> = (0..24)
        .map(|n| {
            let peer = if n % 2 == 0 { left.clone() } else { right.clone() };
            let method = if n % 6 == 0 { "back" } else { "echo" };
            tokio::spawn(async move { call(&peer, method, block(n)).await.unwrap() == block(n) })
        })
        .collect();
    for one in all {
        assert!(no_hang(one).await.unwrap());
    }
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_the_writer_back() {
    let outbox = Arc::new(Outbox::new());
    let frame = || Frame::new(&json!(null), vec![0; 1024]).unwrap();
    outbox.send(frame()).await.unwrap();
    outbox.send(frame()).await.unwrap();
    let third = tokio::spawn({
        let (outbox, frame) = (Arc::clone(&outbox), frame());
        async move { outbox.send(frame).await }
    });
    for stage in 0..10_000 {
        outbox.report(1, event(&stage.to_string(), 0));
    }
    tokio::task::yield_now().await;
    assert!(!third.is_finished());
    let (_, room) = outbox.next().await.unwrap();
    tokio::task::yield_now().await;
    // Being written is not yet written.
    assert!(!third.is_finished());
    drop(room);
    no_hang(third).await.unwrap().unwrap();
    outbox.close();
    let mut rest = 0;
    while outbox.next().await.is_some() {
        rest += 1;
    }
    // One waiting frame, the third, and the latest stages.
    assert_eq!(rest, 2 + 64);
    assert!(outbox.send(frame()).await.is_err());
}

#[tokio::test]
async fn a_peer_that_never_reads_costs_two_calls_of_memory() {
    let (left, right) = wires(1024);
    let peer = Peer::start(left.0, left.1, Arc::new(Puppet::default()), false);
    let calls: Vec<_> = (0..8)
        .map(|n| {
            let peer = peer.clone();
            tokio::spawn(async move { call(&peer, "echo", block(n)).await })
        })
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(calls.iter().all(|call| !call.is_finished()));
    drop(right);
    for call in calls {
        assert_eq!(no_hang(call).await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn progress_arrives_merged_in_order_and_before_the_answer() {
    let (left, _right) = pair();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let progress = Progress::new({
        let seen = Arc::clone(&seen);
        move |event| seen.lock().unwrap().push(event.done_bytes)
    });
    let mut open = left.begin("flood", Payload::default(), 0, progress).await.unwrap();
    no_hang(open.reply()).await.unwrap().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.last(), Some(&99_999));
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn a_progress_sink_that_panics_harms_nobody() {
    let (left, _right) = pair();
    let progress = Progress::new(|_| panic!("on purpose"));
    let mut open = left.begin("flood", Payload::default(), 0, progress).await.unwrap();
    no_hang(open.reply()).await.unwrap().unwrap();
    call(&left, "echo", block(1)).await.unwrap();
}

#[tokio::test]
async fn a_cancel_and_a_dropped_call_reach_the_work() {
    let (left, right) = pair();
    let started = Arc::new(tokio::sync::Notify::new());
    for drop_it in [false, true] {
        let progress = Progress::new({
            let started = Arc::clone(&started);
            move |_| started.notify_one()
        });
        let mut open = left.begin("wait", Payload::default(), 0, progress).await.unwrap();
        no_hang(started.notified()).await;
        if drop_it {
            drop(open);
        } else {
            open.cancel();
            assert_eq!(no_hang(open.reply()).await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        }
        no_hang(right.idle()).await;
    }
}

#[tokio::test]
async fn a_panic_is_an_error_and_ends_only_those_that_shall_end() {
    for end_after_panic in [false, true] {
        let (left, right) = wires(1024);
        let host = Peer::start(left.0, left.1, Arc::new(Puppet::default()), false);
        let _worker = Peer::start(right.0, right.1, Arc::new(Puppet::default()), end_after_panic);
        let error = call(&host, "panic", Payload::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, "panicked: on purpose"));
        assert_eq!(host.is_open(), !end_after_panic);
        if end_after_panic {
            assert_eq!(no_hang(host.closed()).await, Closed::Ended);
        } else {
            call(&host, "echo", Payload::default()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_too_large_to_send_is_an_error_for_that_call_alone() {
    let (left, _right) = pair();
    let long = Payload { value: Value::String("x".repeat(MAX_HEAD)), body: Vec::new() };
    assert_eq!(call(&left, "echo", long).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(call(&left, "huge", Payload::default()).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let error = call(&left, "huge-error", Payload::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().len() < 100_000);
    call(&left, "echo", block(1)).await.unwrap();
}

#[tokio::test]
async fn garbage_oversize_half_frames_and_the_end_close_the_connection() {
    let hello = frame(&json!({"hello": 1}), vec![]);
    let oversized = [2_u32.to_le_bytes(), (MAX_BLOCK as u32 + 1).to_le_bytes()].concat();
    let half = &frame(&json!({"type": "cancel", "id": 1}), vec![])[..12];
    let twice = frame(&json!({"type": "call", "id": 1, "method": "wait", "params": null}), vec![]).repeat(2);
    let cases: [(&[u8], bool); 7] = [
        (b"Segmentation fault", true),
        (&hello, true),
        (&oversized, true),
        (half, true),
        (&twice, true),
        (&frame(&json!([]), vec![]), true),
        (b"", false),
    ];
    for (bytes, broken) in cases {
        let (left, mut right) = wires(1024);
        let peer = Peer::start(left.0, left.1, Arc::new(Puppet::default()), false);
        let mut open = peer.begin("echo", Payload::default(), 0, Progress::default()).await.unwrap();
        right.1.write_all(bytes).await.unwrap();
        right.1.shutdown().await.unwrap();
        assert!(no_hang(open.reply()).await.is_err());
        assert_eq!(matches!(no_hang(peer.closed()).await, Closed::Broken(_)), broken, "{bytes:?}");
        assert!(!peer.is_open());
        assert!(matches!(peer.begin("echo", Payload::default(), 0, Progress::default()).await, Err(CallError::Lost)));
        // What was being served is told, and nothing is left.
        no_hang(peer.idle()).await;
    }
}

#[tokio::test]
async fn random_bytes_never_panic_nor_hang() {
    let mut random = random::seeded("random_bytes_never_panic_nor_hang");
    let valid = [
        frame(&json!({"type": "call", "id": 1, "method": "echo", "params": {"a": [1, 2]}}), vec![1; 9]),
        frame(&json!({"type": "reply", "id": 1, "ok": 1}), vec![]),
        frame(&json!({"type": "progress", "id": 1, "event": event("x", 1)}), vec![]),
    ]
    .concat();
    for _ in 0..300 {
        let mut bytes = valid.clone();
        for _ in 0..=random.u8(..4) {
            bytes[random.usize(..valid.len())] = random.u8(..);
        }
        let (left, mut right) = wires(1 << 20);
        let peer = Peer::start(left.0, left.1, Arc::new(Puppet::default()), false);
        right.1.write_all(&bytes).await.unwrap();
        right.1.shutdown().await.unwrap();
        no_hang(peer.closed()).await;
        let mut rest = Vec::new();
        no_hang(right.0.read_to_end(&mut rest)).await.unwrap();
    }
}

#[test]
fn a_path_that_is_not_text_crosses_as_bytes() {
    use std::os::unix::ffi::OsStringExt;
    for bytes in [b"/opt/uplifted".to_vec(), b"/opt/\xff\xfe".to_vec(), Vec::new()] {
        let path = WirePath(std::ffi::OsString::from_vec(bytes).into());
        let text = serde_json::to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<WirePath>(&text).unwrap(), path);
    }
}

#[test]
fn messages_keep_their_shape() {
    let reply = Message::Reply { id: 7, ok: json!(1), error: None, ending: false };
    assert_eq!(serde_json::to_value(&reply).unwrap(), json!({"type": "reply", "id": 7, "ok": 1}));
    let call = ComponentCall::Upload { name: "t".into(), handle: 3, act: UploadAct::ReadBack { start: 0, end: 9 } };
    assert_eq!(
        serde_json::to_value(&call).unwrap(),
        json!({"contract": "upload", "name": "t", "handle": 3, "act": {"read_back": {"start": 0, "end": 9}}})
    );
    assert_eq!(call.to_string(), "target \"t\".upload.read_back");
}
