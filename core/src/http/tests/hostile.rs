//! Requests that nobody means well with. Whatever comes is answered, soundly, and opens nothing.

use super::super::{MAX_BODY, MAX_QUERY};
use super::*;
use crate::testing::random;

#[tokio::test]
async fn odd_paths_lead_nowhere() {
    let scene = Scene::guarded();
    let long = format!("/{}", "a".repeat(1 << 20));
    for path in [
        "//status",
        "/status/..",
        "/./status",
        "/api/v1/../../status",
        "/api/v1/test/../test/read",
        "/api/v1//test/read",
        "/api/v1/test/read/",
        "/api/v1/test/read;x=1",
        "/api/v1/TEST/READ",
        "/status%00",
        "/status%0d%0aSet-Cookie:%20x=1",
        "/%2573tatus",
        "/%zz",
        "/%",
        "/%ff%fe",
        "/%c0%afstatus",
        "/status\0",
        "/ﬆatus",
        "http://localhost/status",
        "*",
        "status",
        "/api/v1/",
        "/api/v1/constructor",
        "/api/v1/__proto__",
        &long,
    ] {
        let response = scene.get(path).await;
        assert_eq!(response.status, 404, "{}", &path[..path.len().min(60)]);
        assert!(response.body.len() < 2000, "what was sent comes back whole");
    }
    // One decoding, as every server does it.
    assert_eq!(scene.get("/%73tatus").await.status, 200);
    assert_eq!(scene.get("/api%2Fv1/status").await.status, 200);
}

#[tokio::test]
async fn odd_methods_and_headers_are_answered() {
    let scene = Scene::guarded();
    for method in ["", " ", "GET ", "TRACE", "CONNECT", "G\0T", "GET\r\nX: y", "ПОСТ", "OPTIONS, POST", "HEAD, OPTIONS"]
    {
        let response = scene.send(local(method, "/api/v1/test/read")).await;
        assert_eq!(response.status, 405, "{method:?}");
    }
    for (name, value) in [
        ("", ""),
        ("\r\nX-Forwarded-For", "x"),
        ("Accept", "text/plain\r\nSet-Cookie: a=b"),
        ("Accept", "application/openmetrics-text;q=\u{ff}"),
        ("Host\0", "evil.example"),
        ("Content-Length", "-1"),
        ("Transfer-Encoding", "chunked, chunked"),
        ("Authorization\t", "x"),
    ] {
        let response = scene.send(local("GET", "/metrics").header(name, value)).await;
        assert!(matches!(response.status, 200 | 401), "{name:?}: {}", response.status);
        assert!(!response.headers.iter().any(|(_, value)| value.contains("Set-Cookie")));
    }
    let mut many = local("GET", "/health");
    many.headers.extend((0..100_000).map(|n| (format!("x-{n}"), "y".repeat(10))));
    assert_eq!(scene.send(many).await.status, 200);
    let bytes = Request::new("GET", "/health").header(b"Host", b"localhost\xff").peer(Ipv4Addr::LOCALHOST);
    assert_eq!(scene.send(bytes).await.status, 403);
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_is_read() {
    let scene = Scene::guarded();
    let query = |length: usize| local("GET", &format!("/api/v1/test/read?text={}", "a".repeat(length - 5)));
    assert_eq!(scene.send(query(MAX_QUERY)).await.status, 200);
    assert_eq!(scene.send(query(MAX_QUERY + 1)).await.status, 414);
    let body_of = |length: usize| {
        let frame = r#"{"text":""}"#.len();
        post("/api/v1/test/read", &format!(r#"{{"text":"{}"}}"#, "a".repeat(length - frame)))
    };
    assert_eq!(scene.send(body_of(MAX_BODY)).await.status, 200);
    assert_eq!(scene.send(body_of(MAX_BODY + 1)).await.status, 413);
    // Who may not ask learns nothing about limits.
    let mut stranger = body_of(MAX_BODY + 1);
    stranger.peer = None;
    assert_eq!(scene.send(stranger).await.status, 401);
}

#[tokio::test]
async fn odd_bodies_and_queries_are_wrong_requests() {
    let scene = Scene::guarded();
    let deep = "[".repeat(100_000);
    for text in [
        "null",
        "1",
        "\"x\"",
        "[1]",
        "{\"text\":",
        "{\"text\":\"\\ud800\"}",
        "{\"count\":-1}",
        "{\"count\":1e999}",
        "{\"count\":18446744073709551616}",
        "{\"words\":{\"length\":1}}",
        "{\"__proto__\":{}}",
        "{\"text\":NaN}",
        "\u{feff}{}",
        "text=x",
        &deep,
    ] {
        let response = scene.send(post("/api/v1/test/read", text)).await;
        assert_eq!(response.status, 400, "{}", &text[..text.len().min(40)]);
    }
    let not_utf8 =
        local("POST", "/api/v1/test/read").header("content-type", "application/json").body(*b"{\"text\":\"\xff\"}");
    assert_eq!(scene.send(not_utf8).await.status, 400);
    for query in
        ["count=1&count=1", "text[]=x", "words[0]=x", "text=%", "%=x", "=x", "text=%00%ff", "?text=x", "count=+1+"]
    {
        let response = scene.get(&format!("/api/v1/test/read?{query}")).await;
        assert_eq!(response.status, 400, "{query}");
    }
    // A NUL is text as any other; operations know what is a name.
    assert_eq!(body(&scene.get("/api/v1/test/read?text=%00").await)["text"], "\0");
}

#[tokio::test]
async fn a_panic_is_one_answer_and_no_more() {
    let scene = Scene::guarded();
    for _ in 0..3 {
        let response = scene.get("/api/v1/test/panic").await;
        assert_eq!((response.status, &body(&response)["error"]["kind"]), (500, &json!("internal")));
    }
    assert_eq!(scene.get("/api/v1/test/read").await.status, 200);
}

/// Seeded noise in every field of a request: answered soundly, and never a success without a reason.
#[tokio::test]
async fn noise_is_answered() {
    const ALPHABET: &[&str] = &[
        "/",
        "api",
        "v1",
        "status",
        "health",
        "test",
        "read",
        "write",
        "?",
        "&",
        "=",
        "%",
        "%2f",
        "%00",
        ".",
        "..",
        "\0",
        "\r\n",
        "é",
        "localhost",
        "[::1]",
        ":",
        "Bearer ",
        TOKEN,
        "{",
        "}",
        "\"text\"",
        ",",
        "GET",
        "POST",
        "OPTIONS",
        "x-forwarded-for",
        "host",
        "authorization",
        "content-type",
        "application/json",
        "127.0.0.1",
    ];
    let scene = Scene::guarded();
    let mut random = random::seeded("noise_is_answered");
    for _ in 0..3000 {
        let mut text = |most: usize| {
            (0..random.usize(..most)).map(|_| random.choice(ALPHABET).copied().unwrap()).collect::<String>()
        };
        let mut request = Request::from_target(text(2), &text(8)).body(text(6));
        for _ in 0..3 {
            request = request.header(text(2), text(3));
        }
        let response = scene.send(request.clone()).await;
        let private = !matches!(request.path.as_str(), "/status" | "/livez" | "/readyz" | "/startupz")
            && request.method != "OPTIONS";
        let token = request.headers.iter().any(|(name, value)| name == "authorization" && value.contains(TOKEN));
        assert!(response.status >= 400 || !private || token, "{request:?}: {}", response.status);
    }
}
