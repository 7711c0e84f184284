//! Liveness, readiness, and floods of both.

use super::*;

#[tokio::test]
async fn liveness_asks_nobody_and_readiness_tells_what_is_known() {
    let scene = Scene::guarded();
    for (status, code, word) in
        [(CheckStatus::Pass, 200, "pass"), (CheckStatus::Warn, 200, "warn"), (CheckStatus::Fail, 503, "fail")]
    {
        scene.check.say(status);
        scene.period().await;
        for _ in 0..3 {
            let ready = scene.send(remote("GET", "/readyz")).await;
            assert_eq!((ready.status, body(&ready)), (code, json!({ "status": word })));
        }
        assert_eq!(scene.get("/health").await.status, code);
        let (live, status) = (scene.get("/livez").await, scene.get("/status").await);
        assert_eq!((live.status, status.status), (200, 200), "a dependency that is down restarts nothing");
    }
    assert_eq!(scene.check.calls(), 4);
}

#[tokio::test]
async fn details_are_for_readers_alone() {
    let scene = Scene::guarded();
    scene.check.say(CheckStatus::Fail);
    scene.period().await;
    for path in ["/readyz", "/startupz", "/livez"] {
        let told = body(&scene.send(remote("GET", path)).await);
        assert_eq!(told.as_object().unwrap().keys().collect::<Vec<_>>(), ["status"], "{path}");
    }
    for path in ["/health", "/api/v1/system/status", "/api/v1/health/state"] {
        assert_eq!(scene.send(remote("GET", path)).await.status, 401, "{path}");
    }
    let health = body(&scene.get("/health").await);
    assert_eq!(health["checks"][0]["message"], "password=*** as told");
}

#[tokio::test]
async fn a_flood_of_probes_while_a_check_hangs_asks_nobody_and_waits_for_nobody() {
    let scene = Scene::guarded();
    let gate = scene.check.close();
    scene.clock.advance(Duration::from_secs(33));
    while scene.check.calls() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.check.calls(), 2);
    for number in 0..100_000 {
        let path = ["/readyz", "/livez", "/startupz"][number % 3];
        let response = scene.responder.respond(scene.ops.scope(), remote("GET", path)).await;
        assert_eq!(response.status, 200);
    }
    assert_eq!(scene.check.calls(), 2);
    // Past its deadline it is a failure.
    scene.clock.sleepers(1).await;
    scene.clock.advance(Duration::from_secs(10));
    scene.answered();
    assert_eq!(body(&scene.get("/readyz").await), json!({ "status": "fail" }));
    gate.add_permits(1000);
}

#[tokio::test]
async fn before_the_first_answer_nothing_is_known_and_the_process_is_alive() {
    let scene = Scene::unasked(guarded(), |builder| {
        let hangs = Arc::new(Scripted::default());
        hangs.close();
        builder.check("hangs", hangs)
    });
    for (path, code, word) in [("/readyz", 503, "unknown"), ("/startupz", 503, "unknown"), ("/livez", 200, "pass")] {
        let told = scene.send(remote("GET", path)).await;
        assert_eq!((told.status, body(&told)), (code, json!({ "status": word })), "{path}");
    }
    // The other check answers soon, and this one never.
    let answered = async {
        loop {
            let health = body(&scene.get("/health").await);
            if health["checks"][0]["status"] != "unknown" {
                return health;
            }
            tokio::task::yield_now().await;
        }
    };
    let health = tokio::time::timeout(Duration::from_secs(60), answered).await.expect("a check does not answer");
    assert_eq!(
        (&health["phase"], &health["background"], &health["down"]),
        (&json!("starting"), &json!(true), &json!(["hangs"]))
    );
    assert_eq!(health["checks"][1]["message"], "never answered yet");
}

#[tokio::test]
async fn the_age_of_an_answer_is_told() {
    let scene = Scene::guarded();
    assert_eq!(body(&scene.get("/health").await)["age_seconds"], 0.0);
    scene.clock.advance(Duration::from_millis(750));
    let health = body(&scene.get("/health").await);
    assert_eq!((&health["age_seconds"], &health["checks"][0]["age_seconds"]), (&json!(0.75), &json!(0.75)));
    assert_eq!(scene.check.calls(), 1);
}

#[tokio::test]
async fn health_is_told_as_the_draft_has_it_to_whom_prefers_that() {
    let scene = Scene::guarded();
    scene.check.say(CheckStatus::Fail);
    scene.period().await;
    for (accept, draft) in [
        ("application/health+json", true),
        ("application/health+json, application/json;q=0.9", true),
        ("Application/Health+JSON;q=0.5", true),
        ("application/health+json;q=0.5, application/json", false),
        ("application/health+json;q=0", false),
        ("application/json", false),
        ("*/*", false),
    ] {
        let told = scene.send(local("GET", "/health").header("Accept", accept)).await;
        assert_eq!((told.status, told.header("vary")), (503, Some("accept")));
        let media = if draft { "application/health+json" } else { "application/json" };
        assert_eq!(told.header("content-type"), Some(media), "{accept}");
        let body = body(&told);
        assert_eq!(body["status"], "fail");
        if draft {
            let expected = json!([{
                "status": "fail", "output": "password=*** as told", "time": "1970-01-01T00:00:33Z",
            }]);
            assert_eq!((&body["checks"]["scripted"], &body["serviceId"]), (&expected, &json!("shop")));
            assert_eq!(body["output"], "down: scripted");
        }
    }
}

#[tokio::test]
async fn the_facts_of_the_system_are_what_its_checks_observed() {
    #[derive(Debug)]
    struct Counts(f64);

    #[async_trait]
    impl HealthCheck for Counts {
        async fn check(&self, _: &Scope) -> Result<CheckOutcome> {
            Ok(CheckOutcome::new(CheckStatus::Pass, "counted").observing(self.0, "plugins"))
        }
    }

    let scene = Scene::with(guarded(), |builder| {
        let of = |name: &str| json!({ "name": name, "kind": "test", "group": "system" });
        builder
            .check("plugin_count", Arc::new(Counts(12.0)))
            .check("load_ratio", Arc::new(Counts(0.5)))
            .check("mcp_available", Arc::new(Scripted::default()))
            .setting("check", json!([of("plugin_count"), of("load_ratio"), of("mcp_available")]))
    });
    let told = scene.get("/api/v1/system/status").await;
    let facts = json!({
        "service": "shop", "status": "pass", "phase": "ready",
        "plugin_count": 12, "load_ratio": 0.5, "mcp_available": true,
    });
    assert_eq!((told.status, body(&told)), (200, facts));
    // What has expired is no fact any more.
    scene.ops.close(PATIENCE).await.unwrap();
    assert_eq!(scene.get("/readyz").await.status, 503, "closed is not ready");
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
async fn readiness_is_of_the_critical_checks_or_its_own_group() {
    let other = Arc::new(Scripted::default());
    other.say(CheckStatus::Fail);
    let scene = Scene::with(guarded(), |builder| with_groups(builder, &other, None));
    assert_eq!(body(&scene.get("/readyz").await), json!({ "status": "pass" }));
    assert_eq!(body(&scene.get("/health").await)["status"], "warn");

    let (other, ready) = (Arc::new(Scripted::default()), Arc::new(Scripted::default()));
    let scene = Scene::with(guarded(), |builder| with_groups(builder, &other, Some(&ready)));
    scene.check.say(CheckStatus::Fail);
    scene.period().await;
    assert_eq!(scene.get("/readyz").await.status, 200, "only the group decides");
    ready.say(CheckStatus::Fail);
    scene.period().await;
    assert_eq!(scene.get("/readyz").await.status, 503);
    let group = body(&scene.get("/health?group=ready").await);
    assert_eq!(group["checks"].as_array().unwrap().len(), 1);
    assert_eq!(body(&scene.get("/health?group=all").await)["checks"].as_array().unwrap().len(), 3);
    assert_eq!(scene.get("/health?group=nowhere").await.status, 404);
}

#[tokio::test]
async fn what_is_about_to_stop_is_not_ready_and_still_alive() {
    let scene = Scene::guarded();
    assert_eq!(scene.get("/readyz").await.status, 200);
    let drained = tokio::spawn(scene.ops.drain(Duration::from_secs(5)));
    assert_eq!(scene.get("/readyz").await.status, 503);
    for path in ["/livez", "/startupz", "/status", "/health", "/api/v1/test/read"] {
        assert_eq!(scene.get(path).await.status, 200, "{path}");
    }
    assert_eq!(body(&scene.get("/health").await)["phase"], "draining");
    assert!(!drained.is_finished());
    // Others sleep by this clock as well: nobody says when the wait has begun.
    let delayed = async {
        while !drained.is_finished() {
            scene.clock.advance(Duration::from_secs(5));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, delayed).await.unwrap();
    drained.await.unwrap();
    // The same, said by whoever has the responder alone.
    let scene = Scene::guarded();
    scene.responder.clone().drain();
    assert_eq!(scene.get("/readyz").await.status, 503);
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
        let scene = Scene::unasked(Access::default(), |builder| builder.setting("check", checks));
        serve(listener, scene.responder.clone(), scene.ops.clone());
        scene.answered();
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

#[tokio::test]
async fn a_badge_shows_the_state_to_readers() {
    let scene = Scene::new(Access::default());
    let svg = |response: &Response| String::from_utf8(response.body.clone()).unwrap();
    for (path, words) in [("/badge/scripted.svg", "scripted: pass"), ("/badge.svg", "shop: pass")] {
        let shown = scene.get(path).await;
        assert_eq!((shown.status, shown.header("content-type")), (200, Some("image/svg+xml")), "{path}");
        assert!(svg(&shown).contains(words), "{path}: {}", svg(&shown));
        assert_eq!(scene.send(remote("GET", path)).await.status, 403);
    }
    assert_eq!(scene.get("/badge/nowhere.svg").await.status, 404);
    assert_eq!(scene.get("/badge/scripted").await.status, 404);
}
