//! Who may ask for what.

use super::*;

/// Routes that are for everybody, and one of each kind that is not.
const PUBLIC: [&str; 4] = ["/status", "/livez", "/readyz", "/startupz"];
const PRIVATE: [&str; 6] =
    ["/health", "/api/v1/system/status", "/metrics", "/api/v1", "/api/v1/test/read", "/api/v1/config/show"];

async fn statuses(scene: &Scene, paths: &[&str], request: impl Fn(&str) -> Request) -> Vec<u16> {
    let mut statuses = Vec::new();
    for path in paths {
        statuses.push(scene.send(request(path)).await.status);
    }
    statuses.dedup();
    statuses
}

#[tokio::test]
async fn three_places_answer_anybody_and_the_rest_does_not() {
    for access in [Access::default(), guarded(), Access { trust_loopback: false, ..guarded() }] {
        let scene = Scene::new(access.clone());
        assert_eq!(statuses(&scene, &PUBLIC, |path| remote("GET", path)).await, [200]);
        // Not even a wrong token takes away what is for everybody.
        assert_eq!(statuses(&scene, &PUBLIC, |path| bearer(remote("GET", path), "wrong")).await, [200]);
        let expected = if access.token.is_some() { 401 } else { 403 };
        assert_eq!(statuses(&scene, &PRIVATE, |path| remote("GET", path)).await, [expected]);
    }
    let scene = Scene::guarded();
    assert_eq!(statuses(&scene, &PRIVATE, |path| local("GET", path)).await, [200]);
    let response = scene.send(remote("GET", "/health")).await;
    assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"uplifted-ops\""));
    let response = Scene::new(Access::default()).send(remote("GET", "/health")).await;
    assert_eq!(response.header("www-authenticate"), None, "there is no token that would help");
    assert!(hint(&response).starts_with("set http.token"), "{}", hint(&response));
}

#[tokio::test]
async fn a_token_opens_what_it_is_for_from_anywhere() {
    let scene = Scene::guarded();
    for token in [TOKEN, WRITE_TOKEN] {
        assert_eq!(statuses(&scene, &PRIVATE, |path| bearer(remote("GET", path), token)).await, [200]);
        let proxied = |path: &str| bearer(local("GET", path), token).header("X-Forwarded-For", "203.0.113.7");
        assert_eq!(statuses(&scene, &PRIVATE, proxied).await, [200]);
    }
    let spelled = |value: &str| remote("GET", "/health").header("AUTHORIZATION", value);
    for (value, status) in [
        (format!("bearer {TOKEN}"), 200),
        (format!("BEARER   {TOKEN} "), 200),
        (TOKEN.to_owned(), 401),
        (format!("Bearer{TOKEN}"), 401),
        (format!("Basic {TOKEN}"), 401),
        (format!("Bearer \"{TOKEN}\""), 401),
        ("Bearer".to_owned(), 401),
        ("Bearer ".to_owned(), 401),
        (String::new(), 401),
        ("Bearer ***".to_owned(), 401),
    ] {
        assert_eq!(scene.send(spelled(&value)).await.status, status, "{value:?}");
    }
}

/// The comparison is of hashes of one length, so no prefix and no length is nearer than another.
#[tokio::test]
async fn a_wrong_token_is_refused_from_anywhere_whatever_is_wrong_with_it() {
    let scene = Scene::guarded();
    let upper = TOKEN.to_uppercase();
    for wrong in ["r", &TOKEN[..TOKEN.len() - 1], &format!("{TOKEN}x"), &format!("x{}", &TOKEN[1..]), &upper, "\0", "é"]
    {
        for request in [local("GET", "/health"), remote("GET", "/health")] {
            let response = scene.send(bearer(request, wrong)).await;
            assert_eq!((response.status, message(&response).as_str()), (401, "the token is wrong"), "{wrong:?}");
            assert!(!String::from_utf8_lossy(&response.body).contains(TOKEN));
        }
    }
    // Two are one too many: whoever stands before us may have looked at the other.
    let two = bearer(bearer(remote("GET", "/health"), TOKEN), "wrong");
    assert_eq!(scene.send(two).await.status, 401);
    // Without a token of ours, the token is the host's own affair.
    let open = Scene::new(Access::default());
    assert_eq!(open.send(bearer(local("GET", "/health"), "of-the-host")).await.status, 200);
    assert_eq!(open.send(bearer(remote("GET", "/health"), "of-the-host")).await.status, 403);
}

#[tokio::test]
async fn only_this_machine_reads_without_a_token() {
    let scene = Scene::new(Access::default());
    let from = |peer: Option<&str>| {
        let mut request = local("GET", "/health");
        request.peer = peer.and_then(super::super::parse_peer);
        request
    };
    for (peer, status) in [
        (Some("127.0.0.1"), 200),
        (Some("127.9.9.9"), 200),
        (Some("::1"), 200),
        (Some("::ffff:127.0.0.1"), 200),
        (Some("10.0.0.1"), 403),
        (Some("::ffff:10.0.0.1"), 403),
        (Some("fe80::1%eth0"), 403),
        (Some("0.0.0.0"), 403),
        (Some("::"), 403),
        (Some("localhost"), 403),
        (Some(""), 403),
        // A Unix socket, with who knows whom behind it.
        (None, 403),
    ] {
        assert_eq!(scene.send(from(peer)).await.status, status, "{peer:?}");
    }
    // What a socket that takes both families says of an IPv4 peer.
    for (peer, status) in [([127, 0, 0, 1], 200), ([10, 0, 0, 1], 403)] {
        let mapped = Ipv4Addr::from(peer).to_ipv6_mapped();
        assert_eq!(scene.send(local("GET", "/health").peer(mapped)).await.status, status, "{mapped}");
    }
    let closed = Scene::new(Access { trust_loopback: false, ..Access::default() });
    assert_eq!(closed.get("/health").await.status, 403);
}

#[tokio::test]
async fn behind_a_proxy_nobody_is_on_this_machine() {
    let scene = Scene::new(Access::default());
    for name in [
        "Forwarded",
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-FORWARDED-PROTO",
        "X-Forwarded",
        "X_Forwarded_For",
        "X-Real-IP",
        "Via",
        "True-Client-IP",
        "CF-Connecting-IP",
        " X-Forwarded-For ",
    ] {
        // Even one that names this machine, or nothing: the sender of the header is not to be believed.
        for value in ["203.0.113.7", "127.0.0.1", ""] {
            let response = scene.send(local("GET", "/health").header(name, value)).await;
            assert_eq!(
                (response.status, message(&response).as_str()),
                (403, "a token is needed through a proxy"),
                "{name}"
            );
        }
    }
    assert_eq!(scene.send(local("GET", "/health").header("X-Request-Id", "1")).await.status, 200);
}

#[tokio::test]
async fn a_name_that_was_made_to_lead_here_opens_nothing() {
    let access = Access { hosts: vec!["ops.internal".into(), "Shop.Internal:7541".into()], ..Access::default() };
    let scene = Scene::new(access);
    let with = |host: &str| Request::from_target("GET", "/metrics").header("host", host).peer(Ipv4Addr::LOCALHOST);
    for (host, status) in [
        ("localhost", 200),
        ("localhost:7541", 200),
        ("LocalHost.:1", 200),
        ("127.0.0.1:7541", 200),
        ("127.0.0.2", 200),
        ("[::1]", 200),
        ("[::1]:7541", 200),
        ("[::ffff:127.0.0.1]", 200),
        ("ops.internal", 200),
        ("OPS.internal:99", 200),
        ("shop.internal:7541", 200),
        ("shop.internal:7542", 403),
        ("shop.internal", 403),
        ("evil.example", 403),
        ("evil.example:7541", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example.ops.internal", 403),
        ("0.0.0.0", 403),
        ("[::]", 403),
        ("10.0.0.1", 403),
        ("2130706433", 403),
        ("localhost@evil.example", 403),
        ("localhost, evil.example", 403),
        ("localhost:7541:x", 403),
        ("", 403),
    ] {
        let response = scene.send(with(host)).await;
        assert_eq!(response.status, status, "{host:?}");
        if status == 403 {
            assert_eq!(message(&response), "the Host header is no name of this machine");
        }
    }
    let none = Request::from_target("GET", "/metrics").peer(Ipv4Addr::LOCALHOST);
    assert_eq!(scene.send(none).await.status, 403);
    assert_eq!(scene.send(with("localhost").header("Host", "evil.example")).await.status, 403);
    // The probes of an orchestrator use the address of the pod.
    let probe =
        Request::from_target("GET", "/readyz").header("host", "10.0.0.1:7541").peer(IpAddr::from([10, 0, 0, 2]));
    assert_eq!(scene.send(probe).await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_site_gets_nothing_done() {
    let scene = Scene::new(Access { hosts: vec!["ops.internal".into()], ..Access::default() });
    for (name, value, status) in [
        ("Origin", "http://localhost:7541", 200),
        ("Origin", "http://[::1]:7541", 200),
        ("Origin", "https://ops.internal", 200),
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "", 403),
        ("Sec-Fetch-Site", "same-origin", 200),
        ("Sec-Fetch-Site", "none", 200),
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Sec-Fetch-Site", "same-site", 403),
    ] {
        let response = scene.send(local("GET", "/api/v1/test/read").header(name, value)).await;
        assert_eq!(response.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn nothing_is_written_without_the_token_for_it() {
    let before = WRITTEN.load(Ordering::SeqCst);
    let writing: Vec<&str> = crate::ops::operations().filter(|e| e.effect != Effect::Read).map(|e| e.name).collect();
    assert!(writing.len() >= 5);
    for name in writing.iter().copied().chain(["test.write", "test.erase"]) {
        let path = format!("/api/v1/{}", name.replace('.', "/"));
        let request = post(&path, "{}");
        let off = Scene::new(Access { write_token: None, ..guarded() });
        for request in [request.clone(), bearer(request.clone(), TOKEN)] {
            let response = off.send(request).await;
            assert_eq!(response.status, 403, "{name}");
            assert_eq!(message(&response), format!("{name} changes something, and writing over HTTP is off"));
            assert_eq!(body(&response)["error"]["operation"], name);
        }
        let on = Scene::guarded();
        for request in [request.clone(), bearer(request.clone(), TOKEN)] {
            let response = on.send(request).await;
            assert_eq!(response.status, 403, "{name}");
            assert!(message(&response).ends_with("and that takes the write token"));
        }
        assert_eq!(on.send(bearer(request, "wrong")).await.status, 401, "{name}");
        let index = body(&off.get("/api/v1").await);
        let shown = index["operations"].as_array().unwrap().iter().find(|o| o["name"] == name).unwrap();
        assert_eq!((&shown["enabled"], &shown["methods"]), (&json!(false), &json!(["POST"])));
    }
    assert_eq!(WRITTEN.load(Ordering::SeqCst), before);

    let scene = Scene::guarded();
    for path in ["/api/v1/test/write", "/api/v1/test/erase"] {
        let remote = remote("POST", path).header("content-type", "application/json").body(r#"{"count":7}"#);
        let response = scene.send(bearer(remote, WRITE_TOKEN)).await;
        assert_eq!((response.status, &body(&response)["count"]), (200, &json!(7)));
    }
    assert_eq!(WRITTEN.load(Ordering::SeqCst), before + 2);
    let index = body(&scene.get("/api/v1").await);
    assert!(index["operations"].as_array().unwrap().iter().all(|operation| operation["enabled"] == true));
}
