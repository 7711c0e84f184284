//! A table of requests and their answers.

use super::*;

#[tokio::test]
async fn every_place_answers_with_its_shape() {
    let scene = Scene::guarded();
    let status = body(&scene.get("/status").await);
    assert_eq!((&status["status"], &status["service"]), (&json!("Server is running"), &json!("shop")));
    assert!(status["uptime_seconds"].as_f64().is_some_and(|uptime| uptime >= 0.0));
    assert_eq!(status.as_object().unwrap().len(), 3, "nothing more is for everybody: {status}");
    assert_eq!(body(&scene.get("/livez").await), json!({ "status": "pass" }));
    assert_eq!(body(&scene.get("/readyz").await), json!({ "status": "pass" }));

    let health = body(&scene.get("/health").await);
    assert_eq!((&health["status"], &health["checks"][0]["name"]), (&json!("pass"), &json!("scripted")));
    assert_eq!(health["age_seconds"], 0.0);

    let index = body(&scene.get("/api/v1").await);
    assert_eq!((&index["service"], &index["version"]), (&json!("shop"), &json!(env!("CARGO_PKG_VERSION"))));
    let names: Vec<&str> =
        index["operations"].as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
    let all: Vec<&str> = scene.ops.operations().map(|entry| entry.name).collect();
    assert_eq!(names, all);
    let list = index["operations"].as_array().unwrap().iter().find(|o| o["name"] == "backup.list").unwrap();
    assert_eq!(list["path"], "/api/v1/backup/list");
    assert_eq!(
        (&list["effect"], &list["enabled"], &list["methods"]),
        (&json!("read"), &json!(true), &json!(["GET", "POST"]))
    );
    let fields: Vec<&str> = list["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(fields, ["identity_file", "target"]);
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let scene = Scene::guarded();
    for (accept, content_type, end) in [
        (None, "text/plain; version=0.0.4; charset=utf-8", ""),
        (Some("text/html"), "text/plain; version=0.0.4; charset=utf-8", ""),
        (
            Some("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# EOF\n",
        ),
    ] {
        let request = local("GET", "/metrics");
        let response = scene.send(accept.map_or(request.clone(), |accept| request.header("accept", accept))).await;
        assert_eq!((response.status, response.header("content-type")), (200, Some(content_type)));
        assert_eq!(response.header("vary"), Some("accept, accept-encoding"));
        let page = String::from_utf8(response.body).unwrap();
        assert!(page.contains("uplifted_ops_build_info") && page.ends_with(end), "{page}");
    }
}

#[tokio::test]
async fn metrics_are_compressed_for_those_who_ask_and_come_in_protobuf() {
    let scene = Scene::guarded();
    let plain = scene.get("/metrics").await;
    assert_eq!((plain.status, plain.header("content-encoding")), (200, None));
    let packed = scene.send(local("GET", "/metrics").header("accept-encoding", "br;q=1.0, gzip;q=0.8, *;q=0.1")).await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("content-length"), Some(packed.body.len().to_string().as_str()));
    let mut page = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut page).unwrap();
    assert!(page.contains("# TYPE uplifted_ops_build_info gauge") && page.len() > 2 * packed.body.len(), "{page}");

    let accept =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,*/*;q=0.1";
    let message = scene.send(local("GET", "/metrics").header("accept", accept)).await;
    assert!(message.header("content-type").unwrap().starts_with("application/vnd.google.protobuf; proto="));
    assert!(message.body.windows(23).any(|bytes| bytes == b"uplifted_ops_build_info"));
    let refused = scene.send(local("GET", "/metrics").header("accept-encoding", "gzip;q=0")).await;
    assert_eq!(refused.header("content-encoding"), None);
}

#[tokio::test]
async fn operations_take_a_query_or_a_body() {
    let scene = Scene::guarded();
    let expected = json!({ "text": "a b", "count": 3, "well": null, "words": ["x", "y"], "kind": null });
    let response = scene.get("/api/v1/test/read?text=a%20b&count=3&words=x&words=y").await;
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    assert_eq!(response.header("uplifted-ops-healthy"), Some("true"));
    assert_eq!(body(&response), expected);
    let posted = scene.send(post("/api/v1/test/read", r#"{"text":"a b","count":3,"words":["x","y"]}"#)).await;
    assert_eq!(body(&posted), expected);
    // A bad answer is an answer.
    let bad = scene.get("/api/v1/test/read?well=false").await;
    assert_eq!((bad.status, bad.header("uplifted-ops-healthy")), (200, Some("false")));
    // No body is no fields.
    assert_eq!(scene.send(local("POST", "/api/v1/test/read")).await.status, 200);
}

#[tokio::test]
async fn requests_and_their_answers() {
    let scene = Scene::guarded();
    let json_of = |text: &str| post("/api/v1/test/read", text);
    let no_type = local("POST", "/api/v1/test/read").body("{}");
    for (request, status, said) in [
        (local("GET", "/"), 404, "there is nothing at \"/\"; /api/v1 lists the operations"),
        (local("GET", ""), 404, "there is nothing at \"\""),
        (local("GET", "/statsu"), 404, "there is nothing at \"/statsu\"; did you mean /status?"),
        (local("GET", "/readyz/"), 404, "there is nothing at \"/readyz/\"; did you mean /readyz?"),
        (
            local("GET", "/api/v1/backup/lsit"),
            404,
            "there is nothing at \"/api/v1/backup/lsit\"; did you mean /api/v1/backup/list?",
        ),
        (
            local("GET", "/api/v1/backup.list"),
            404,
            "there is nothing at \"/api/v1/backup.list\"; did you mean /api/v1/backup/list?",
        ),
        (local("GET", "/api/v2/backup/list"), 404, "there is nothing at"),
        (local("POST", "/status"), 405, "only GET, HEAD, OPTIONS is answered here"),
        (local("DELETE", "/api/v1/test/read"), 405, "only GET, HEAD, OPTIONS, POST is answered here"),
        (local("get", "/status"), 405, "only GET, HEAD, OPTIONS is answered here"),
        (bearer(local("GET", "/api/v1/test/write"), WRITE_TOKEN), 405, "only OPTIONS, POST is answered here"),
        (local("GET", "/api/v1/test/read?count=x"), 400, "count takes a whole number; correct count in the query"),
        (local("GET", "/api/v1/test/read?txet=x"), 400, "there is no field \"txet\"; did you mean text?"),
        (local("GET", "/api/v1/test/read?text=a&text=b"), 400, "text is there twice; give text once"),
        (local("GET", "/api/v1/status?x=1"), 400, "there is no field \"x\"; it takes no fields"),
        (local("GET", "/api/v1/test/fail?kind=nonsense"), 400, "the request is wrong at kind: unknown variant"),
        (local("GET", "/api/v1/backup/verify"), 400, "snapshot_id is missing; add snapshot_id=… to the query"),
        (
            local("GET", "/health?group=reddy"),
            404,
            "no check belongs to the group \"reddy\"; name one of: all, live, ready, startup",
        ),
        (local("GET", "/health?gruop=x"), 400, "there is no field \"gruop\"; did you mean group?"),
        (json_of("[]"), 400, "the body is no JSON object; send the fields as"),
        (json_of("{"), 400, "the body is not JSON: EOF"),
        (json_of("{\"count\": \"3\"}"), 400, "the request is wrong at count: invalid type: string \"3\", expected u64"),
        (json_of("{\"nothing\": 1}"), 400, "the request is wrong at nothing: unknown field"),
        (json_of(""), 200, ""),
        (no_type.clone(), 415, "the body is not said to be JSON; send Content-Type: application/json"),
        (no_type.clone().header("content-type", "text/plain"), 415, "the body is not said to be JSON"),
        (no_type.clone().header("content-type", "Application/JSON; charset=utf-8"), 200, ""),
        (post("/api/v1/test/read?count=1", "{}"), 400, "a POST has its fields in the body"),
        (local("GET", "/api/v1/test/panic"), 500, "panicked: told to"),
        (local("GET", "/api/v1/test/fail?kind=busy&text=x"), 409, "x; none"),
        (local("GET", "/api/v1/test/fail?kind=timeout&text=x"), 504, "x; none"),
    ] {
        let shown = format!("{request:?}");
        let response = scene.send(request).await;
        assert_eq!(response.status, status, "{shown}: {}", String::from_utf8_lossy(&response.body));
        if !said.is_empty() {
            let found = format!("{}; {}", message(&response), hint(&response));
            assert!(found.starts_with(said), "{shown}: {found}");
        }
    }
}

#[tokio::test]
async fn an_error_has_the_shape_that_the_command_line_prints() {
    let scene = Scene::guarded();
    let response = scene.get("/api/v1/test/fail?kind=busy&text=somebody+else+is+at+it").await;
    assert_eq!(response.header("retry-after"), Some("1"));
    let expected = json!({ "error": {
        "kind": "busy", "message": "somebody else is at it", "hint": "none", "retryable": true,
        "operation": "test.fail", "context": { "where": "here" },
    }});
    assert_eq!(body(&response), expected);
    // What is wrong with the request names the operation, too.
    let response = scene.get("/api/v1/test/read?count=x").await;
    assert_eq!(body(&response)["error"]["operation"], "test.read");
}

#[tokio::test]
async fn head_is_get_without_its_body_and_options_say_what_is_allowed() {
    let scene = Scene::guarded();
    for path in ["/status", "/livez", "/readyz", "/health", "/api/v1", "/api/v1/test/read", "/nowhere"] {
        let get = scene.get(path).await;
        let head = scene.send(local("HEAD", path)).await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty() && !get.body.is_empty());
        if path != "/status" {
            assert_eq!(head.headers, get.headers, "{path}");
        }
    }
    for (path, allow) in [
        ("/status", "GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/api/v1/backup/list", "GET, HEAD, OPTIONS, POST"),
        ("/api/v1/backup/create", "OPTIONS, POST"),
    ] {
        // A browser that asks before it sends (a preflight) brings no token, and gets no leave to go on.
        let response = scene.send(remote("OPTIONS", path).header("Origin", "https://evil.example")).await;
        assert_eq!((response.status, response.header("allow")), (204, Some(allow)), "{path}");
        let refused = scene.send(bearer(local("PUT", path), WRITE_TOKEN)).await;
        assert_eq!((refused.status, refused.header("allow")), (405, Some(allow)), "{path}");
    }
    assert_eq!(scene.send(local("OPTIONS", "/nowhere")).await.status, 404);
}

#[tokio::test]
async fn a_mount_is_taken_off_where_it_stands() {
    let scene = Scene::guarded();
    for (path, mount, status) in [
        ("/ops/status", "/ops", 200),
        ("/ops/status", "/ops/", 200),
        ("/status", "/ops", 200),
        ("/a/b/status", "/a/b", 200),
        ("/opsstatus", "/ops", 404),
        ("/ops", "/ops", 404),
        ("/ops/ops/status", "/ops", 404),
        ("/ops/status", "", 404),
        ("/status", "/", 200),
    ] {
        let response = scene.send(local("GET", path).mounted_at(mount)).await;
        assert_eq!(response.status, status, "{path} at {mount:?}");
    }
    let index = body(&scene.send(local("GET", "/ops/api/v1").mounted_at("/ops/")).await);
    assert_eq!(index["endpoints"][0], "/ops/status");
    assert_eq!(index["operations"][0]["path"], "/ops/api/v1/test/erase");
}

/// Whatever reads in the host's process answers; the rest is asked by the test of the example, with a worker.
#[tokio::test]
async fn every_reading_operation_has_a_route() {
    let scene = Scene::guarded();
    let mut asked = 0;
    for entry in crate::ops::operations().filter(|entry| entry.effect == Effect::Read) {
        let path = format!("/api/v1/{}", entry.name.replace('.', "/"));
        let options = scene.send(local("OPTIONS", &path)).await;
        assert_eq!(options.header("allow"), Some("GET, HEAD, OPTIONS, POST"), "{path}");
        if matches!(entry.place, Place::Inline | Place::Host) {
            let response = scene.get(&path).await;
            assert_eq!(response.status, 200, "{path}: {}", String::from_utf8_lossy(&response.body));
            asked += 1;
        }
    }
    assert!(asked >= 5);
}

#[tokio::test]
async fn a_future_that_is_dropped_cancels_the_operation() {
    let scene = Scene::guarded();
    let asked = tokio::spawn(scene.responder.respond(scene.ops.scope(), local("GET", "/api/v1/test/wait")));
    let (waiting, cancelled) = (WAITING.notified(), CANCELLED.notified());
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    asked.abort();
    tokio::time::timeout(PATIENCE, cancelled).await.unwrap();
}

#[test]
fn without_async_it_answers_on_any_thread() {
    let scene = Scene::guarded();
    let ask = |target: &str| scene.responder.respond_blocking(scene.ops.scope(), local("GET", target));
    assert_eq!((ask("/readyz").status, ask("/api/v1/status").status, ask("/nowhere").status), (200, 200, 404));
    // Inside a runtime, too, where `block_on` of a runtime would panic.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(async { ask("/health").status }), 200);
}
