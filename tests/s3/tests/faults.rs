//! Every fault: the right outcome, nothing half visible, the error named, and no secret in any word.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use uplifted_ops::backup::BackupTarget;
use uplifted_ops::backup::targets::s3::S3Target;
use uplifted_ops::{Error, ErrorKind, Result};
use uplifted_s3_tests::proxy::xml;
use uplifted_s3_tests::server::{Conditions, KEY_ID, SECRET, settings};
use uplifted_s3_tests::{Proxy, Request, Server, Trick};

use crate::scene::{GUARD, keys, quick, scope, target, with};

/// A server, a proxy before it that plays tricks, a target that goes through the proxy, and one that does not.
struct Scene {
    _server: Server,
    proxy: Proxy,
    target: S3Target,
    direct: S3Target,
}

impl Scene {
    async fn new(decide: impl Fn(&Request) -> Trick + Send + Sync + 'static) -> Self {
        Self::with(|settings| settings, decide).await
    }

    async fn with(
        change: impl Fn(Map<String, Value>) -> Map<String, Value>,
        decide: impl Fn(&Request) -> Trick + Send + Sync + 'static,
    ) -> Self {
        let server = Server::start(Conditions::Kept).await;
        let proxy = Proxy::start(server.address, decide).await;
        let target = target(change(settings(&proxy.endpoint(), "p")));
        let direct = crate::scene::target(server.settings("p"));
        Self { _server: server, proxy, target, direct }
    }

    /// What is there, seen past the proxy.
    async fn there(&self) -> Vec<String> {
        keys(&self.direct).await
    }

    async fn bytes(&self, key: &str) -> Vec<u8> {
        self.direct.get(&scope(), key, 0..8 << 20).await.unwrap()
    }
}

/// The trick for the first `times` requests of that act on a key that ends in `key`.
fn first(times: usize, act: &'static str, key: &'static str, trick: Trick) -> impl Fn(&Request) -> Trick {
    let left = AtomicUsize::new(times);
    move |request| {
        let path = request.target.split('?').next().unwrap_or_default();
        let meant = request.act() == act && path.ends_with(key);
        let hit = meant && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if hit { trick.clone() } else { Trick::Pass }
    }
}

async fn guarded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(GUARD, work).await.expect("it hangs")
}

/// Checks that nothing of an error shows a secret, and that it says what to do.
fn decent(error: &Error) {
    let shown = format!("{error} {error:?} {}", serde_json::to_string(&error.to_body()).unwrap());
    for secret in [SECRET, KEY_ID, "TOKENTOKEN"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error:?}");
    assert!(error.context().iter().any(|(name, value)| name == "target" && value == "offsite"), "{error:?}");
}

fn fails<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, word: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(word), "{error} does not say {word:?}");
    decent(&error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passing_faults_are_ridden_out() {
    let slow = Trick::error(503, "SlowDown", "Please reduce your request rate.");
    let internal = Trick::error(500, "InternalError", "We encountered an internal error.");
    for trick in [slow, internal, Trick::CutBefore, Trick::CutAfter, Trick::DoneBut(502, "<html>".to_owned())] {
        for act in ["PUT", "GET", "HEAD", "GET list", "DELETE"] {
            let key = if act == "GET list" { "" } else { "/k" };
            let scene = Scene::new(first(2, act, key, trick.clone())).await;
            let all = async {
                assert!(scene.target.put(&scope(), "k", b"bytes", false).await?);
                assert_eq!(scene.target.get(&scope(), "k", 0..5).await?, b"bytes");
                assert_eq!(scene.target.stat(&scope(), "k").await?.unwrap().size_bytes, 5);
                assert_eq!(keys(&scene.target).await, ["k"]);
                scene.target.delete(&scope(), "k").await?;
                Ok::<(), Error>(())
            };
            guarded(all).await.unwrap_or_else(|error| panic!("{act}, {trick:?}: {error:?}"));
            assert!(scene.there().await.is_empty());
            let times = scene.proxy.acts().iter().filter(|seen| *seen == act).count();
            assert!(times >= 3, "{act} was tried {times} times");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lasts_is_named() {
    let token = "TOKENTOKENTOKEN";
    let leak =
        format!("The provided token {token} of {SECRET} has expired</Message><Token-0>{token}</Token-0><Message>");
    for (status, code, kind, word) in [
        (503, "SlowDown", ErrorKind::Busy, "slow down"),
        (500, "InternalError", ErrorKind::Unavailable, "InternalError"),
        (400, "ExpiredToken", ErrorKind::Denied, "expired"),
        (403, "InvalidAccessKeyId", ErrorKind::Denied, "does not know"),
        (403, "SignatureDoesNotMatch", ErrorKind::Denied, "signature"),
        (403, "RequestTimeTooSkewed", ErrorKind::Denied, "clocks"),
        (403, "AccessDenied", ErrorKind::Denied, "AccessDenied"),
        (404, "NoSuchBucket", ErrorKind::InvalidInput, "no bucket"),
        (301, "PermanentRedirect", ErrorKind::InvalidInput, "region"),
        (507, "InsufficientStorage", ErrorKind::NoSpace, "InsufficientStorage"),
        (400, "BadDigest", ErrorKind::Unavailable, "arrived"),
        (418, "", ErrorKind::Unavailable, "418"),
    ] {
        let answer = Trick::Answer(status, xml(code, &leak));
        let change = move |settings| with(settings, "session_token", token);
        let scene = Scene::with(change, first(usize::MAX, "PUT", "/k", answer)).await;
        fails(guarded(scene.target.put(&scope(), "k", b"bytes", false)).await, kind, word);
        assert!(scene.there().await.is_empty(), "{code}");
        let passing = matches!(status, 500..=503) || code == "BadDigest";
        assert_eq!(scene.proxy.acts().len(), if passing { 5 } else { 1 }, "{code}");
    }
    // The server's own word on the region is the repair.
    let elsewhere =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-3</Region></Error>";
    let scene = Scene::new(first(9, "PUT", "/k", Trick::Answer(400, elsewhere.to_owned()))).await;
    let error = scene.target.put(&scope(), "k", b"bytes", false).await.unwrap_err();
    assert_eq!(error.hint(), Some("set region = \"eu-west-3\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_after_a_lost_reply_is_success_when_the_object_is_ours() {
    for trick in [Trick::CutAfter, Trick::DoneBut(503, xml("SlowDown", "")), Trick::DoneBut(500, String::new())] {
        let scene = Scene::new(first(1, "PUT", "/k", trick.clone())).await;
        assert!(guarded(scene.target.put(&scope(), "k", b"ours", true)).await.unwrap(), "{trick:?}");
        assert_eq!(scene.bytes("k").await, b"ours");

        // Lost before it was done, while somebody else did it.
        let scene = Scene::new(first(1, "PUT", "/k", Trick::CutBefore)).await;
        scene.direct.put(&scope(), "k", b"hers", true).await.unwrap();
        assert!(!guarded(scene.target.put(&scope(), "k", b"ours", true)).await.unwrap());
        assert_eq!(scene.bytes("k").await, b"hers");
    }
    // Nothing lost: the same bytes of somebody else are somebody else's.
    let scene = Scene::new(|_| Trick::Pass).await;
    scene.direct.put(&scope(), "k", b"same", true).await.unwrap();
    assert!(!scene.target.put(&scope(), "k", b"same", true).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amazons_conflict_means_try_again_and_not_that_it_exists() {
    let conflict = Trick::error(409, "ConditionalRequestConflict", "Please retry");
    let scene = Scene::new(first(2, "PUT", "/k", conflict)).await;
    assert!(guarded(scene.target.put(&scope(), "k", b"ours", true)).await.unwrap());
    assert_eq!(scene.bytes("k").await, b"ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_question_whether_puts_are_conditional_has_every_answer() {
    let ask = async |decide: Box<dyn Fn(&Request) -> Trick + Send + Sync>| {
        let scene = Scene::new(decide).await;
        let probed = guarded(scene.target.probe(&scope())).await;
        assert_eq!(scene.target.capability().put_if_absent, probed.as_ref().is_ok_and(|found| found.put_if_absent));
        probed.map(|found| found.put_if_absent)
    };
    let of_probe = |request: &Request| request.act() == "PUT" && request.target.contains("create-if-absent");
    // It works; the reply to the first is lost; it works only at the second look because the object was there.
    assert!(ask(Box::new(|_| Trick::Pass)).await.unwrap());
    assert!(ask(Box::new(first(1, "PUT", "absent", Trick::CutAfter))).await.unwrap());
    // It is ignored, unknown, or refused whatever is there.
    let dropped = move |request: &Request| match of_probe(request) {
        true => Trick::Answer(200, String::new()),
        false => Trick::Pass,
    };
    let ignored = ask(Box::new(dropped)).await;
    // An answer without an ETag is none of S3's: an error, and no guess.
    fails(ignored, ErrorKind::Unavailable, "not one of S3's");
    for (status, code) in [(501, "NotImplemented"), (400, "InvalidArgument"), (412, "PreconditionFailed")] {
        let trick = move |request: &Request| {
            if of_probe(request) { Trick::error(status, code, "no") } else { Trick::Pass }
        };
        assert!(!ask(Box::new(trick)).await.unwrap(), "{code}");
    }
    // No permission is no answer.
    let denied = move |request: &Request| {
        if of_probe(request) { Trick::error(403, "AccessDenied", "no") } else { Trick::Pass }
    };
    fails(ask(Box::new(denied)).await, ErrorKind::Denied, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_break_off_are_read_again() {
    let scene = Scene::new(first(3, "GET", "/k", Trick::CutBody(1000))).await;
    let bytes: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    scene.direct.put(&scope(), "k", &bytes, false).await.unwrap();
    assert_eq!(guarded(scene.target.get(&scope(), "k", 10..90_000)).await.unwrap(), bytes[10..90_000]);

    let scene = Scene::new(first(usize::MAX, "GET", "/k", Trick::CutBody(1000))).await;
    scene.direct.put(&scope(), "k", &bytes, false).await.unwrap();
    fails(guarded(scene.target.get(&scope(), "k", 0..90_000)).await, ErrorKind::Unavailable, "read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_and_a_slow_answer_may_take_its_time() {
    let impatient = |settings| with(settings, "timeout_seconds", 0.3);
    for trick in [Trick::Silence, Trick::DoneThenSilence] {
        let scene = Scene::with(impatient, first(1, "PUT", "/k", trick)).await;
        assert!(guarded(scene.target.put(&scope(), "k", b"ours", true)).await.unwrap());
        assert_eq!(scene.bytes("k").await, b"ours");
    }
    let scene = Scene::with(impatient, first(usize::MAX, "PUT", "/k", Trick::Silence)).await;
    fails(guarded(scene.target.put(&scope(), "k", b"x", false)).await, ErrorKind::Timeout, "did not go on");

    // A body that comes slowly, and never stops coming, is no fault.
    let drip = Trick::Drip(1000, Duration::from_millis(20));
    let scene = Scene::with(impatient, first(1, "GET", "/k", drip)).await;
    scene.direct.put(&scope(), "k", &[7; 30_000], false).await.unwrap();
    assert_eq!(guarded(scene.target.get(&scope(), "k", 0..30_000)).await.unwrap(), [7; 30_000]);
    assert_eq!(scene.proxy.acts().iter().filter(|act| *act == "GET").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_is_heard_in_the_middle_of_a_request() {
    let scene = Scene::new(first(usize::MAX, "GET", "/k", Trick::Silence)).await;
    let caller = scope();
    let cancel = caller.cancel.clone();
    let (asked, wait) = (scene.target.get(&caller, "k", 0..1), async {
        while scene.proxy.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    });
    let (got, ()) = guarded(async { tokio::join!(asked, wait) }).await;
    assert_eq!(got.unwrap_err().kind(), ErrorKind::Cancelled);
}

/// Writes 12 MiB in parts of 5 MiB.
async fn large(target: &S3Target, key: &str) -> Result<Vec<u8>> {
    let mut upload = target.upload(&scope(), key, None).await?;
    let mut all = Vec::new();
    for number in 0..12_u8 {
        let block = vec![number; 1 << 20];
        if let Err(error) = upload.write(&block).await {
            upload.abort().await.unwrap();
            return Err(error);
        }
        all.extend(block);
    }
    upload.finish().await?;
    Ok(all)
}

async fn large_scene(decide: impl Fn(&Request) -> Trick + Send + Sync + 'static) -> Scene {
    Scene::with(|settings| with(settings, "part_size", 5 << 20), decide).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_survive_what_passes() {
    for (act, trick) in [
        ("POST begin", Trick::error(503, "SlowDown", "")),
        ("POST begin", Trick::CutAfter),
        ("PUT part", Trick::error(503, "SlowDown", "")),
        ("PUT part", Trick::CutBefore),
        ("PUT part", Trick::CutAfter),
        ("PUT part", Trick::error(400, "BadDigest", "The SHA256 did not match")),
        ("POST complete", Trick::error(500, "InternalError", "")),
        ("POST complete", Trick::CutBefore),
        // Done, and nobody heard: the second try finds neither the upload nor a free key.
        ("POST complete", Trick::CutAfter),
        ("POST complete", Trick::DoneBut(200, xml("InternalError", "We encountered an internal error."))),
        // A wrong tag of a part is the server's to notice; the object is what was sent all the same.
        ("PUT part", Trick::Header("etag", "\"00000000000000000000000000000000\"".to_owned())),
    ] {
        let scene = large_scene(first(2, act, "/big", trick.clone())).await;
        let all = guarded(large(&scene.target, "big")).await;
        let all = all.unwrap_or_else(|error| panic!("{act}, {trick:?}: {error:?}"));
        assert_eq!(scene.there().await, ["big"]);
        assert_eq!(scene.bytes("big").await, all[..8 << 20]);
        assert_eq!(scene.direct.stat(&scope(), "big").await.unwrap().unwrap().size_bytes, all.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_fail_leave_nothing_and_say_why() {
    for (act, trick, kind, word) in [
        ("POST begin", Trick::error(403, "AccessDenied", "no"), ErrorKind::Denied, "begin"),
        ("PUT part", Trick::error(400, "ExpiredToken", "no"), ErrorKind::Denied, "expired"),
        ("PUT part", Trick::error(503, "SlowDown", "no"), ErrorKind::Busy, "part"),
        ("POST complete", Trick::error(400, "InvalidPart", "no"), ErrorKind::Unavailable, "parts"),
        ("POST complete", Trick::error(412, "PreconditionFailed", "no"), ErrorKind::Refused, "exists"),
        ("POST complete", Trick::CutBefore, ErrorKind::Unavailable, "complete"),
    ] {
        let scene = large_scene(first(usize::MAX, act, "/big", trick)).await;
        let error = guarded(large(&scene.target, "big")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{act}: {error}");
        assert!(error.message().contains(word), "{act}: {error}");
        assert!(scene.there().await.is_empty());
        let acts = scene.proxy.acts();
        if act != "POST begin" {
            assert!(acts.contains(&"DELETE parts".to_owned()), "{act}: the parts were left: {acts:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_upload_clears_its_parts_away() {
    let scene = large_scene(|_| Trick::Pass).await;
    let mut upload = scene.target.upload(&scope(), "big", None).await.unwrap();
    for _ in 0..7 {
        upload.write(&[0; 1 << 20]).await.unwrap();
    }
    drop(upload);
    let cleared = async {
        while !scene.proxy.acts().contains(&"DELETE parts".to_owned()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    guarded(cleared).await;
    assert!(scene.there().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_object_under_the_key_of_an_upload_is_left_alone() {
    // Somebody writes it after we looked: the completion itself is conditional.
    let server = Server::start(Conditions::Kept).await;
    let direct = Arc::new(target(server.settings("p")));
    let hers = Arc::clone(&direct);
    let proxy = Proxy::start(server.address, move |request| {
        if request.act() == "POST complete" {
            assert_eq!(request.header("if-none-match"), Some("*"));
            let hers = Arc::clone(&hers);
            let put = async move { hers.put(&scope(), "big", b"hers", true).await };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(put)).unwrap();
        }
        Trick::Pass
    })
    .await;
    let ours = target(with(settings(&proxy.endpoint(), "p"), "part_size", 5 << 20));
    let error = guarded(large(&ours, "big")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(direct.get(&scope(), "big", 0..99).await.unwrap(), b"hers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_object_lock_keeps_is_said() {
    for (status, code, message) in [
        (403, "AccessDenied", "Access Denied because object protected by object lock."),
        (400, "InvalidRequest", "Object is WORM protected and cannot be overwritten"),
        (403, "ObjectLocked", "no"),
    ] {
        let scene = Scene::new(first(9, "DELETE", "/k", Trick::error(status, code, message))).await;
        scene.direct.put(&scope(), "k", b"x", false).await.unwrap();
        fails(guarded(scene.target.delete(&scope(), "k")).await, ErrorKind::Refused, "object lock");
        assert_eq!(scene.there().await, ["k"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_bucket_is_no_missing_object() {
    let server = Server::start(Conditions::Kept).await;
    let elsewhere = target(with(server.settings("p"), "url", "s3://nowhere/p"));
    fails(elsewhere.stat(&scope(), "k").await, ErrorKind::InvalidInput, "no bucket");
    fails(elsewhere.list(&scope(), "", None).await, ErrorKind::InvalidInput, "no bucket");
    fails(elsewhere.get(&scope(), "k", 0..0).await, ErrorKind::InvalidInput, "no bucket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys_and_dead_servers_are_named() {
    let server = Server::start(Conditions::Kept).await;
    let wrong = target(with(server.settings("p"), "secret_access_key", "wrongwrong"));
    fails(wrong.put(&scope(), "k", b"x", false).await, ErrorKind::Denied, "signature");
    let unknown = target(with(server.settings("p"), "access_key_id", "AKIANOBODY"));
    let error = unknown.put(&scope(), "k", b"x", false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");

    // Something that speaks another protocol, and nothing at all.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let nobody = target(settings(&format!("http://{address}"), "p")).with_policy(quick(1));
    fails(guarded(nobody.stat(&scope(), "k")).await, ErrorKind::Unavailable, "refused");
    let web = Proxy::start(server.address, |_| Trick::Answer(200, "<html>hello</html>".to_owned())).await;
    let site = target(settings(&web.endpoint(), "p"));
    fails(guarded(site.list(&scope(), "", None)).await, ErrorKind::Unavailable, "not one of S3's");
    fails(guarded(site.stat(&scope(), "k")).await, ErrorKind::Unavailable, "not one of S3's");
    fails(guarded(site.get(&scope(), "k", 0..9)).await, ErrorKind::Unavailable, "not one of S3's");
    fails(guarded(site.put(&scope(), "k", b"x", true)).await, ErrorKind::Unavailable, "not one of S3's");
}
