//! Liveness, readiness, and floods of both.

use super::*;

#[tokio::test]
async fn liveness_asks_nobody_and_readiness_asks_the_checks() {
    let scene = Scene::guarded();
    for (status, code, word) in
        [(CheckStatus::Pass, 200, "pass"), (CheckStatus::Warn, 200, "warn"), (CheckStatus::Fail, 503, "fail")]
    {
        scene.check.say(status);
        scene.clock.advance(super::super::PROBE_AGE);
        for _ in 0..3 {
            let ready = scene.send(remote("GET", "/readyz")).await;
            assert_eq!((ready.status, body(&ready)), (code, json!({ "status": word })));
        }
        assert_eq!(scene.get("/health").await.status, code);
        let (live, status) = (scene.get("/livez").await, scene.get("/status").await);
        assert_eq!((live.status, status.status), (200, 200), "a dependency that is down restarts nothing");
    }
    // One run for each place and second: `/readyz` asks the critical checks, `/health` all.
    assert_eq!(scene.check.calls(), 6);
}

#[tokio::test]
async fn details_are_for_readers_alone() {
    let scene = Scene::guarded();
    scene.check.say(CheckStatus::Fail);
    let ready = scene.send(remote("GET", "/readyz")).await;
    assert_eq!(body(&ready), json!({ "status": "fail" }));
    let health = body(&scene.get("/health").await);
    assert_eq!(health["checks"][0]["message"], "password=*** as told");
}

#[tokio::test]
async fn a_flood_of_probes_runs_the_checks_once() {
    let scene = Scene::guarded();
    let gate = scene.check.close();
    let flood: Vec<_> =
        (0..200).map(|_| tokio::spawn(scene.responder.respond(scene.ops.scope(), remote("GET", "/readyz")))).collect();
    tokio::time::timeout(PATIENCE, scene.check.called.notified()).await.unwrap();
    gate.add_permits(1000);
    for asked in flood {
        assert_eq!(tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap().status, 200);
    }
    assert_eq!(scene.check.calls(), 1);
    // And again once the result is too old.
    scene.clock.advance(super::super::PROBE_AGE);
    assert_eq!(scene.get("/readyz").await.status, 200);
    assert_eq!(scene.check.calls(), 2);
}

#[tokio::test]
async fn whoever_goes_away_leaves_the_run_to_the_next() {
    let scene = Scene::guarded();
    let gate = scene.check.close();
    let ask = || tokio::spawn(scene.responder.respond(scene.ops.scope(), remote("GET", "/readyz")));
    let first = ask();
    tokio::time::timeout(PATIENCE, scene.check.called.notified()).await.unwrap();
    let second = ask();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.add_permits(1000);
    assert_eq!(tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn the_age_of_a_result_is_told() {
    let scene = Scene::guarded();
    assert_eq!(body(&scene.get("/health").await)["age_seconds"], 0.0);
    scene.clock.advance(Duration::from_millis(750));
    assert_eq!(body(&scene.get("/health").await)["age_seconds"], 0.75);
    scene.clock.advance(Duration::from_millis(250));
    assert_eq!(body(&scene.get("/health").await)["age_seconds"], 0.0);
    assert_eq!(scene.check.calls(), 2);
}

/// Two more checks: one that is not critical, and one of the group `ready`.
fn with_groups(builder: OpsBuilder, other: &Arc<Scripted>, ready: Option<&Arc<Scripted>>) -> OpsBuilder {
    let mut checks = vec![json!({ "name": "other", "kind": "test", "critical": false })];
    let builder = builder.check("other", other.clone());
    let builder = match ready {
        Some(ready) => {
            checks.push(json!({ "name": "mine", "kind": "test", "group": "ready" }));
            builder.check("mine", ready.clone())
        }
        None => builder,
    };
    builder.setting("check", checks)
}

#[tokio::test]
async fn readiness_asks_the_critical_checks_or_its_own_group() {
    let other = Arc::new(Scripted::default());
    other.say(CheckStatus::Fail);
    let scene = Scene::with(guarded(), |builder| with_groups(builder, &other, None));
    assert_eq!(body(&scene.get("/readyz").await), json!({ "status": "pass" }));
    assert_eq!((scene.check.calls(), other.calls()), (1, 0));
    let health = body(&scene.get("/health").await);
    assert_eq!((&health["status"], other.calls()), (&json!("warn"), 1));

    let (other, ready) = (Arc::new(Scripted::default()), Arc::new(Scripted::default()));
    let scene = Scene::with(guarded(), |builder| with_groups(builder, &other, Some(&ready)));
    scene.check.say(CheckStatus::Fail);
    assert_eq!(scene.get("/readyz").await.status, 200, "only the group decides");
    ready.say(CheckStatus::Fail);
    scene.clock.advance(super::super::PROBE_AGE);
    assert_eq!(scene.get("/readyz").await.status, 503);
    assert_eq!((scene.check.calls(), other.calls(), ready.calls()), (0, 0, 2));
    let group = body(&scene.get("/health?group=ready").await);
    assert_eq!(group["checks"].as_array().unwrap().len(), 1);
    assert_eq!(body(&scene.get("/health?group=all").await)["checks"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_is_about_to_stop_is_not_ready_and_still_alive() {
    let scene = Scene::guarded();
    assert_eq!(scene.get("/readyz").await.status, 200);
    scene.responder.clone().drain();
    assert_eq!(scene.get("/readyz").await.status, 503);
    assert_eq!(scene.check.calls(), 1);
    for path in ["/livez", "/status", "/health", "/api/v1/test/read"] {
        assert_eq!(scene.get(path).await.status, 200, "{path}");
    }
}

/// Serves the responder on a loopback port, one thread for each connection; gives the address.
fn serve(listener: std::net::TcpListener, responder: Responder, ops: Ops) {
    use std::io::{BufRead, BufReader, Write};
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, responder, scope) = (stream.unwrap(), responder.clone(), ops.scope());
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let first = lines.next().unwrap();
                let target = first.split(' ').nth(1).unwrap();
                let headers = lines.take_while(|line| !line.is_empty());
                let request = Request::from_target("GET", target).peer(Ipv4Addr::LOCALHOST);
                let request = headers.fold(request, |request, line| {
                    let (name, value) = line.split_once(':').unwrap();
                    request.header(name, value.trim())
                });
                let response = responder.respond_blocking(scope, request);
                let mut head = format!("HTTP/1.1 {} {}\r\nconnection: close\r\n", response.status, response.reason());
                for (name, value) in &response.headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
                stream.write_all(&response.body).unwrap();
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_asks_for_the_checks_does_not_wait_for_itself() {
    for path in ["/readyz", "/health", "/api/v1/health/check", "/status", "/livez"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        // Past the patience of this test: only an answer ends it.
        let myself =
            json!({ "name": "myself", "kind": "http", "url": url, "timeout_seconds": 600, "deadline_seconds": 600 });
        let checks = json!([{ "name": "scripted", "kind": "test" }, myself]);
        let scene = Scene::with(Access::default(), |builder| builder.setting("check", checks));
        serve(listener, scene.responder.clone(), scene.ops.clone());
        let health = body(&scene.get("/health").await);
        let found = &health["checks"][1];
        assert_eq!(found["name"], "myself", "{health}");
        if ["/status", "/livez"].contains(&path) {
            assert_eq!(found["status"], "pass", "{path}: {found}");
            assert_eq!(scene.send(remote("GET", "/readyz")).await.status, 200);
            continue;
        }
        assert_eq!(found["status"], "fail");
        let message = "runs the checks of this service, of which this is one: ask /status or /livez";
        assert_eq!(found["message"], format!("{url} {message}"));
        // What it does not ask is answered as ever.
        assert_eq!(health["checks"][0]["status"], "pass");
        assert_eq!(scene.send(remote("GET", "/readyz")).await.status, 503);
    }
}

#[tokio::test]
async fn only_a_check_of_this_service_is_refused() {
    let (scene, other) = (Scene::guarded(), Scene::guarded());
    let mark = |scene: &Scene| crate::health::own::mark(&scene.ops.context().state);
    let asked = |mark: &str| remote("GET", "/readyz").header("Uplifted-Ops-Check", mark);
    assert_eq!(scene.send(asked(&mark(&other))).await.status, 200);
    let refused = scene.send(asked(&mark(&scene))).await;
    assert_eq!((refused.status, body(&refused)["error"]["kind"].clone()), (508, json!("refused")));
    assert!(hint(&refused).starts_with("point that check at /status"));
    assert_eq!(scene.check.calls(), 1, "its checks do not run for it");
}
