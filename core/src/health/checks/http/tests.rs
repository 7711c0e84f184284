use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use super::*;

/// Answers every connection with what `answer` makes of the request's path, on a loopback port. Connections are
/// served one by one; `answer` may keep one open.
fn server(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            if reader.read_line(&mut first).is_err() {
                continue;
            }
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            answer(first.split(' ').nth(1).unwrap_or_default(), &mut stream);
        }
    });
    url
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Serves one fixed answer.
fn fixed(answer: String) -> String {
    server(move |_, stream| drop(stream.write_all(answer.as_bytes())))
}

async fn ask(settings: HttpSettings) -> CheckOutcome {
    HttpCheck::new(settings).unwrap().check(&Scope::default()).await.unwrap()
}

#[tokio::test]
async fn the_status_decides() {
    use CheckStatus::{Fail, Pass};
    let any = |rules: &[StatusRule]| StatusRule::Any(rules.to_vec());
    let class = |text: &str| StatusRule::Class(text.to_owned());
    for (status, rule, verdict) in [
        ("200 OK", StatusRule::default(), Pass),
        ("204 No Content", StatusRule::default(), Pass),
        // Guide row 1: curl without -f is content with a 500.
        ("500 Internal Server Error", StatusRule::default(), Fail),
        ("404 Not Found", StatusRule::default(), Fail),
        ("204 No Content", StatusRule::Code(200), Fail),
        ("404 Not Found", any(&[class("2xx"), StatusRule::Code(404)]), Pass),
        ("503 Service Unavailable", class("503"), Pass),
        // A redirect to a login page is not an answer.
        ("302 Found", StatusRule::default(), Fail),
        ("302 Found", class("3XX"), Pass),
    ] {
        let url = fixed(response(status, "Location: /login\r\n", ""));
        let outcome = ask(HttpSettings { status: rule.clone(), ..HttpSettings::new(url) }).await;
        assert_eq!(outcome.status, verdict, "{status} {rule:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_body_is_looked_at() {
    let body = r#"{"plugin_count": 12, "active_plugin_count": 10, "mcp_available": true, "a/b": [1, {"c": "x"}]}"#;
    let url = fixed(response("200 OK", "", body));
    let json = |text: &str| serde_json::from_str::<BTreeMap<String, Value>>(text).unwrap();
    for (rules, wrong) in [
        (r#"{"/mcp_available": true, "/plugin_count": 12.0, "/a~1b/1/c": "x"}"#, None),
        (r#"{"/active_plugin_count": {"min": 10}}"#, None),
        (r#"{"/active_plugin_count": {"min": 11, "max": 12}}"#, Some("/active_plugin_count is 10 and should be")),
        (r#"{"/mcp_available": "true"}"#, Some("should be \"true\"")),
        (r#"{"/total_tools": 45}"#, Some("/total_tools is missing")),
        (r#"{"/mcp_available": {"min": 0}}"#, Some("is true")),
    ] {
        let outcome = ask(HttpSettings { json: json(rules), ..HttpSettings::new(&url) }).await;
        assert_eq!(outcome.status == CheckStatus::Pass, wrong.is_none(), "{rules}: {outcome:?}");
        assert!(outcome.message.contains(wrong.unwrap_or("answers 200")), "{rules}: {outcome:?}");
    }
    for (text, verdict) in [("mcp_available", CheckStatus::Pass), ("mcp_missing", CheckStatus::Fail)] {
        let settings = HttpSettings { contains: Some(text.to_owned()), ..HttpSettings::new(&url) };
        assert_eq!(ask(settings).await.status, verdict);
    }
    let html = fixed(response("200 OK", "", "<html>"));
    let outcome = ask(HttpSettings { json: json(r#"{"/x": 1}"#), ..HttpSettings::new(html) }).await;
    assert!(outcome.message.contains("not JSON"), "{outcome:?}");
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    let url = server(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let block = [b'x'; 65536];
        // Ends when the other side hangs up.
        while stream.write_all(&block).is_ok() {}
    });
    let outcome = ask(HttpSettings { contains: Some("needle".to_owned()), ..HttpSettings::new(&url) }).await;
    assert!(outcome.message.ends_with("is not in the first MiB of the body"), "{outcome:?}");
    let json = [("/x".to_owned(), Value::Null)].into();
    let outcome = ask(HttpSettings { json, ..HttpSettings::new(&url) }).await;
    assert!(outcome.message.ends_with("larger than 1 MiB"), "{outcome:?}");
    assert_eq!(ask(HttpSettings::new(&url)).await.status, CheckStatus::Pass);
}

#[tokio::test]
async fn silence_and_dribbling_end_with_the_timeout() {
    let (keep, _kept) = mpsc::channel();
    let silent = server(move |_, stream| keep.send(stream.try_clone().unwrap()).unwrap());
    let (keep, _kept_too) = mpsc::channel();
    let half = server(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
        keep.send(stream.try_clone().unwrap()).unwrap();
    });
    for url in [silent, half] {
        let settings =
            HttpSettings { contains: Some("x".to_owned()), timeout_seconds: 0.05, ..HttpSettings::new(&url) };
        let outcome = ask(settings).await;
        assert!(outcome.message.ends_with("did not answer within 0.05 s"), "{outcome:?}");
        assert_eq!(outcome.status, CheckStatus::Fail);
    }
}

#[tokio::test]
async fn what_is_not_http_fails() {
    for garbage in ["", "\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200", "HTTP/9.9 abc def\r\n\r\n", "\0\0\0\0"] {
        let url = fixed(garbage.to_owned());
        assert_eq!(ask(HttpSettings::new(url)).await.status, CheckStatus::Fail, "{garbage:?}");
    }
    let endless = server(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-Header: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").is_ok() {}
    });
    assert_eq!(ask(HttpSettings::new(endless)).await.status, CheckStatus::Fail);
    let broken = fixed("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_owned());
    let outcome = ask(HttpSettings { contains: Some("half".to_owned()), ..HttpSettings::new(broken) }).await;
    assert!(outcome.message.contains("breaks off"), "{outcome:?}");
}

#[tokio::test]
async fn nobody_there_fails() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let outcome = ask(HttpSettings::new(format!("http://127.0.0.1:{port}/"))).await;
    assert_eq!(outcome.message, format!("http://127.0.0.1:{port}/ does not answer: connection refused"));
    let outcome = ask(HttpSettings::new("http://no-such-host.invalid/")).await;
    assert_eq!(outcome.status, CheckStatus::Fail);
}

#[tokio::test]
async fn redirects_are_followed_only_within_the_service() {
    let elsewhere = fixed(response("200 OK", "", ""));
    let target = elsewhere.clone();
    let url = server(move |path, stream| {
        let location = match path {
            "/once" => "/fine".to_owned(),
            "/next" => "/fine?next=http://elsewhere/".to_owned(),
            "/a/relative" => "fine".to_owned(),
            "/away" => target.clone(),
            "/tls" => "https://127.0.0.1/".to_owned(),
            "/file" => "file:///etc/passwd".to_owned(),
            "/loop" => "/loop".to_owned(),
            _ => String::new(),
        };
        let status = if location.is_empty() { "200 OK" } else { "302 Found" };
        let _ = stream.write_all(response(status, &format!("Location: {location}\r\n"), path).as_bytes());
    });
    for (path, wrong) in [
        ("/once", None),
        ("/a/relative", None),
        ("/away", Some("not followed")),
        ("/tls", Some("not followed")),
        ("/file", Some("not an address")),
        ("/next", None),
        ("/loop", Some("redirects more than 3 times")),
    ] {
        let settings = HttpSettings { redirects: 3, ..HttpSettings::new(format!("{url}{path}")) };
        let outcome = ask(settings).await;
        assert_eq!(outcome.status == CheckStatus::Pass, wrong.is_none(), "{path}: {outcome:?}");
        assert!(outcome.message.contains(wrong.unwrap_or("answers 200")), "{path}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_warns() {
    let url = fixed(response("200 OK", "", ""));
    let outcome = ask(HttpSettings { warn_seconds: Some(1e-9), ..HttpSettings::new(url) }).await;
    assert_eq!(outcome.status, CheckStatus::Warn);
    assert!(outcome.observed.unwrap() > 0.0);
}

#[tokio::test]
async fn headers_are_sent_and_never_shown() {
    let (tell, told) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x?token=hunter2", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map_while(Result::ok)
            .take_while(|l| !l.is_empty())
            .collect();
        tell.send(lines).unwrap();
        let _ = stream.write_all(response("500 No", "", "").as_bytes());
    });
    let headers = [("Authorization".to_owned(), Secret::new("Bearer hunter2"))].into();
    let check = HttpCheck::new(HttpSettings { headers, ..HttpSettings::new(url) }).unwrap();
    let outcome = check.check(&Scope::default()).await.unwrap();
    let sent = told.recv().unwrap();
    assert!(sent[0].starts_with("GET /x?token=hunter2 "), "{sent:?}");
    assert!(sent.iter().any(|line| line.eq_ignore_ascii_case("authorization: Bearer hunter2")), "{sent:?}");
    assert!(!outcome.message.contains("hunter2"), "{}", outcome.message);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for url in ["", "x", "127.0.0.1:80", "ftp://x/", "http://", "http:///x", "http://u:p@x/", "http://a b/"] {
        let error = HttpCheck::new(HttpSettings::new(url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
    }
    let secured = HttpCheck::new(HttpSettings::new("https://x/?token=hunter2"));
    assert_eq!(secured.is_ok(), cfg!(feature = "tls"));
    if let Err(error) = secured {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("http address") && !error.message().contains("hunter2"));
    }
    let base = || HttpSettings::new("http://x/");
    for rule in ["2yy", "", "x", "600", "0xx", "²xx"] {
        assert!(
            HttpCheck::new(HttpSettings { status: StatusRule::Class(rule.to_owned()), ..base() }).is_err(),
            "{rule}"
        );
    }
    assert!(HttpCheck::new(HttpSettings { status: StatusRule::Any(vec![]), ..base() }).is_err());
    assert!(HttpCheck::new(HttpSettings { redirects: 11, ..base() }).is_err());
    assert!(HttpCheck::new(HttpSettings { json: [("x".to_owned(), Value::Null)].into(), ..base() }).is_err());
    let headers = [("X".to_owned(), Secret::new("hunter2\n"))].into();
    let error = HttpCheck::new(HttpSettings { headers, ..base() }).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn the_settings_read_as_the_documentation_writes_them() {
    let context = crate::component::BuildContext {
        name: "api".into(),
        root: "/x".into(),
        state: "/x/s".into(),
        service: "shop".into(),
    };
    let settings = serde_json::json!({
        "url": "http://127.0.0.1:7541/status", "status": ["2xx", 304], "json": { "/a": { "min": 10 } },
        "headers": { "Authorization": "x" }, "timeout_seconds": 5, "warn_seconds": 1,
    });
    (KIND.build)(&context, settings.as_object().unwrap()).unwrap();
    let error = (KIND.build)(&context, serde_json::json!({"url": "http://x/", "stauts": 200}).as_object().unwrap());
    assert!(error.unwrap_err().message().contains("stauts"));
}
