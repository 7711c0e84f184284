//! The section `[http]`: where its values come from, and where they never go.

use super::*;

const SECRET: &str = "hunter2-hunter2-hunter2";

fn build(root: &std::path::Path, environment: &[(&str, &str)]) -> Ops {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Ops::builder().root(root).environment(environment).build().unwrap()
}

async fn ask(ops: &Ops, request: Request) -> Response {
    let responder = Responder::new(ops).unwrap();
    tokio::time::timeout(PATIENCE, responder.respond(ops.scope(), request)).await.unwrap()
}

#[tokio::test]
async fn a_token_comes_from_a_variable_or_from_dotenv() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[http]\ntoken = \"env:READ_TOKEN\"\nwrite_token = \"env:WRITE_TOKEN\"\nhosts = [\"ops.internal\"]\n";
    std::fs::write(folder.path().join("ops.toml"), toml).unwrap();
    std::fs::write(folder.path().join(".env"), "WRITE_TOKEN=from-dotenv-0123456789\n").unwrap();
    let ops = build(folder.path(), &[("READ_TOKEN", SECRET)]);
    assert_eq!(ask(&ops, bearer(remote("GET", "/metrics"), SECRET)).await.status, 200);
    assert_eq!(ask(&ops, bearer(remote("GET", "/metrics"), "from-dotenv-0123456789")).await.status, 200);
    assert_eq!(ask(&ops, bearer(remote("GET", "/metrics"), "env:READ_TOKEN")).await.status, 401);
    let named = Request::new("GET", "/metrics").header("host", "ops.internal").peer(Ipv4Addr::LOCALHOST);
    assert_eq!(ask(&ops, named).await.status, 200);

    let unset = build(folder.path(), &[]);
    let error = Responder::new(&unset).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.message(),
        "the setting http.token: the variable READ_TOKEN is not set, and a setting refers to it"
    );
}

#[tokio::test]
async fn tokens_print_nowhere_and_their_source_does() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ops.toml"), "[http]\nwrite_token = \"env:WRITE_TOKEN\"\n").unwrap();
    let variables = [("UPLIFTED__HTTP__TOKEN", SECRET), ("WRITE_TOKEN", "hunter3-hunter3-hunter3")];
    let ops = build(folder.path(), &variables);
    let responder = Responder::new(&ops).unwrap();
    let access = Access::from_settings(ops.context()).unwrap();
    let printed = format!("{responder:?} {access:?} {:?} {:?}", ops.context().settings, ops.context().config);
    assert!(!printed.contains("hunter"), "{printed}");

    let shown = body(&ask(&ops, local("GET", "/api/v1/config/show")).await);
    assert!(!shown.to_string().contains("hunter"), "{shown}");
    let setting = |key: &str| {
        let found = shown["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap();
        (found["value"].clone(), found["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("http.token"), (json!("***"), "environment (UPLIFTED__HTTP__TOKEN)".to_owned()));
    assert_eq!(setting("http.write_token"), (json!("env:WRITE_TOKEN"), "ops.toml:2".to_owned()));
    assert_eq!(setting("http.hosts"), (json!([]), "default".to_owned()));
    assert_eq!(setting("http.trust_loopback"), (json!(true), "default".to_owned()));

    let request = bearer(remote("GET", "/health?token=hunter2"), SECRET);
    assert!(!format!("{request:?}").contains("hunter"), "{request:?}");
}

#[tokio::test]
async fn a_bad_setting_stops_the_start_and_not_a_request() {
    let folder = tempfile::tempdir().unwrap();
    for (toml, message) in [
        ("token = \"\"", "http.token is empty"),
        ("token = \"two words\"", "http.token has characters that no header can hold"),
        ("write_token = \"env:EMPTY\"", "http.write_token is empty"),
        ("token = \"a\"\nwrite_token = \"a\"", "http.token and http.write_token are the same"),
        ("hosts = [\"http://x\"]", "http.hosts names \"http://x\", which is no host"),
    ] {
        std::fs::write(folder.path().join("ops.toml"), format!("[http]\n{toml}\n")).unwrap();
        let ops = build(folder.path(), &[("EMPTY", "")]);
        let error = Responder::new(&ops).unwrap_err();
        assert!(error.message().starts_with(message), "{toml}: {error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn config_check_says_it_before_the_start_does() {
    let folder = tempfile::tempdir().unwrap();
    for (toml, expected) in [
        ("token = \"env:GOOD\"\nwrite_token = \"env:SHORT\"", Some("warning http.write_token: the token has fewer")),
        ("token = \"env:NOWHERE\"", Some("error http.token: the variable NOWHERE is not set")),
        ("token = \"env:GOOD\"\nwrite_token = \"env:GOOD\"", Some("error http.write_token: http.token and")),
        ("write_token = \"env:EMPTY\"", Some("error http.write_token: http.write_token is empty")),
        ("hosts = [\"a b\"]", Some("error http.hosts: http.hosts names \"a b\"")),
        ("token = \"env:GOOD\"\nhosts = [\"ops.internal\"]", None),
        ("max_connections = 0", Some("error http.max_connections: with 0 nobody would be served")),
        ("header_seconds = 0", Some("error http.header_seconds: it is no time")),
        ("idle_seconds = 1e9", Some("error http.idle_seconds: it is no time")),
    ] {
        std::fs::write(folder.path().join("ops.toml"), format!("[http]\n{toml}\n")).unwrap();
        let ops = build(folder.path(), &[("GOOD", SECRET), ("SHORT", "hunter2"), ("EMPTY", "")]);
        let answer = ops.call(ops.scope(), "config.check", Value::Null).await.unwrap();
        let findings = answer.response["findings"].as_array().unwrap().clone();
        let of_http = findings.iter().find(|finding| finding["key"].as_str().unwrap().starts_with("http"));
        let said = of_http.map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap().to_owned();
            assert!(text("source").starts_with("ops.toml:"), "{finding}");
            format!("{} {}: {}", text("severity"), text("key"), text("message"))
        });
        match (expected, &said) {
            (Some(expected), Some(said)) => assert!(said.starts_with(expected), "{toml}: {said}"),
            (expected, said) => assert_eq!(expected, said.as_deref(), "{toml}"),
        }
    }
}
