use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::error::ErrorKind;
use crate::ops::{Ops, RunMode};

const FULL: &str = "[service]\nname = \"uplifted\"\n[[target]]\nname = \"local\"\nkind = \"fs\"\npath = \"backups\"\n\
    [backup]\nschedule = \"0 2 * * *\"\n[metrics]\nlisten = \"127.0.0.1:9464\"\n";

struct Scene {
    root: tempfile::TempDir,
    ops: Ops,
}

impl Scene {
    fn new(settings: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("ops.toml"), settings).unwrap();
        let builder = Ops::builder().root(root.path()).environment([]).worker_command(["/bin/false"]);
        let store = [("name", "main"), ("kind", "sqlite"), ("path", "data.db")];
        let store: serde_json::Map<_, _> =
            store.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let builder = if cfg!(feature = "sqlite") && settings == FULL {
            builder.setting("store", Value::Array(vec![Value::Object(store)]))
        } else {
            builder
        };
        Self { ops: builder.mode(RunMode::CommandLine).build().unwrap(), root }
    }

    async fn call(&self, name: &str, request: Value) -> crate::Result<Value> {
        self.ops.call(self.ops.scope(), name, request).await.map(|answer| answer.response)
    }

    async fn text(&self, name: &str, request: Value, file: usize) -> String {
        self.call(name, request).await.unwrap()["files"][file]["content"].as_str().unwrap().to_owned()
    }
}

/// What promtool says, or `None` where it is not installed: `make setup` installs it, and CI has it.
fn promtool(folder: &Path, arguments: &[&str]) -> Option<(bool, String)> {
    let done = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    Some((done.status.success(), said))
}

#[tokio::test]
async fn promtool_accepts_the_rules_and_every_case_of_them() {
    let scene = Scene::new(FULL);
    let folder = scene.root.path();
    let answer = scene.call("generate.alerts", json!({ "write": folder })).await.unwrap();
    assert_eq!(answer["files"][0]["outcome"], "created");
    assert_eq!(answer["files"][0]["content"], Value::Null);
    let Some((ok, said)) = promtool(folder, &["check", "rules", "uplifted-alerts.yml"]) else {
        eprintln!("promtool is not installed: this shows nothing");
        return;
    };
    assert!(ok, "{said}");
    let (ok, said) = promtool(folder, &["test", "rules", "uplifted-alerts_test.yml"]).unwrap();
    assert!(ok && said.contains("SUCCESS"), "{said}");
    // A case can fail: with a rule that is wrong the first does.
    for (file, from, to) in [
        ("uplifted-alerts.yml", "up{job=\"uplifted\"} == 0 or ", ""),
        ("uplifted-alerts_test.yml", "  - name: \"UpliftedDown: a target that fails once", "# "),
    ] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        assert!(text.contains(from), "{text}");
        let text = if to.is_empty() { text.replace(from, to) } else { text.split(from).next().unwrap().to_owned() };
        std::fs::write(folder.join(file), text).unwrap();
    }
    let (ok, said) = promtool(folder, &["test", "rules", "uplifted-alerts_test.yml"]).unwrap();
    assert!(!ok && said.contains("UpliftedDown"), "{said}");
}

#[tokio::test]
async fn names_that_are_hard_to_write_are_written() {
    let name = "my \\ \"shop\": #1 {é}\n- x";
    let settings = format!("[service]\nname = {}\n", Value::from(name));
    let scene = Scene::new(&settings);
    let folder = scene.root.path();
    scene.call("generate.alerts", json!({ "write": folder })).await.unwrap();
    scene.call("generate.prometheus", json!({ "write": folder, "target": "[::1]:9464" })).await.unwrap();
    for arguments in [&["check", "config", "prometheus.yml"][..], &["check", "rules", "uplifted-alerts.yml"]] {
        if let Some((ok, said)) = promtool(folder, arguments) {
            assert!(ok, "{arguments:?}: {said}");
        }
    }
    let dashboard: Value = serde_json::from_str(&scene.text("generate.grafana", json!({}), 0).await).unwrap();
    assert_eq!(dashboard["templating"]["list"][1]["current"]["value"], name);
}

#[tokio::test]
async fn a_prometheus_is_told_where_the_service_is_and_what_is_missing() {
    let warnings = |answer: &Value| answer["warnings"].as_array().unwrap().len();
    let has = |answer: &Value, text: &str| {
        answer["warnings"].as_array().unwrap().iter().any(|warning| warning.as_str().unwrap().contains(text))
    };
    let scene = Scene::new(FULL);
    let answer = scene.call("generate.prometheus", json!({ "alertmanager": "127.0.0.1:9093" })).await.unwrap();
    let text = answer["files"][0]["content"].as_str().unwrap();
    assert_eq!(warnings(&answer), 0, "{answer}");
    for part in [
        "rule_files:\n  - uplifted-alerts.yml\n",
        "- targets: [\"127.0.0.1:9093\"]",
        "job_name: \"uplifted\"",
        "- targets: [\"127.0.0.1:9464\"]",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let own_port = scene.call("generate.prometheus", json!({ "target": "localhost:9090" })).await.unwrap();
    assert!(has(&own_port, "9090 is Prometheus' own") && has(&own_port, "no Alertmanager"), "{own_port}");
    let far = scene.call("generate.prometheus", json!({ "target": "shop.internal:9464" })).await.unwrap();
    assert!(has(&far, "set http.token"), "{far}");
    for wrong in ["", "9464", "a:b", "a:0", "a b:1", "http://a:1", "[x]:1", "a:99999", "{{x}}:1", "a'b:1"] {
        let error = scene.call("generate.prometheus", json!({ "target": wrong })).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong:?}");
        assert!(error.hint().is_some());
    }
    let unset = Scene::new("[http]\ntoken = \"a-token-of-many-letters\"\n");
    let answer = unset.call("generate.prometheus", json!({})).await.unwrap();
    assert!(has(&answer, "metrics.listen is not set") && has(&answer, "uplifted-token"), "{answer}");
    let text = answer["files"][0]["content"].as_str().unwrap();
    assert!(text.contains("credentials_file: uplifted-token") && !text.contains("a-token-of"), "{text}");
    let anywhere = Scene::new("[metrics]\nlisten = \"0.0.0.0:9464\"\n");
    let answer = anywhere.call("generate.prometheus", json!({})).await.unwrap();
    assert!(has(&answer, "listens on all addresses"), "{answer}");
}

#[tokio::test]
async fn what_a_person_changed_is_never_overwritten_unasked() {
    let scene = Scene::new(FULL);
    let folder = tempfile::tempdir().unwrap();
    let ask = |force: bool| scene.call("generate.grafana", json!({ "write": folder.path(), "force": force }));
    let file = folder.path().join("uplifted-dashboard.json");
    assert_eq!(ask(false).await.unwrap()["files"][0]["outcome"], "created");
    assert_eq!(ask(false).await.unwrap()["files"][0]["outcome"], "unchanged");
    // An older version of ours, that nobody touched, is replaced.
    let other = Scene::new("[service]\nname = \"uplifted\"\n");
    other.call("generate.grafana", json!({ "write": folder.path() })).await.unwrap();
    let answer = ask(false).await.unwrap();
    assert_eq!((&answer["files"][0]["outcome"], &answer["files"][0]["kept"]), (&json!("replaced"), &Value::Null));

    let ours = std::fs::read_to_string(&file).unwrap();
    let theirs = ours.replace("\"refresh\": \"30s\"", "\"refresh\": \"5s\"");
    assert_ne!(ours, theirs);
    std::fs::write(&file, &theirs).unwrap();
    let error = ask(false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.hint().unwrap().contains("force"), "{error:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs);
    let answer = ask(true).await.unwrap();
    assert_eq!(answer["files"][0]["outcome"], "replaced");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), ours);
    assert_eq!(std::fs::read_to_string(file.with_extension("json.old")).unwrap(), theirs);
    // Two files are one decision: what is refused for one is done for none.
    let mut alerts = std::fs::File::create(folder.path().join("uplifted-alerts_test.yml")).unwrap();
    alerts.write_all(b"mine").unwrap();
    let error = scene.call("generate.alerts", json!({ "write": folder.path() })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(!folder.path().join("uplifted-alerts.yml").exists());
    for (request, kind) in [
        (json!({ "write": "relative" }), ErrorKind::InvalidInput),
        (json!({ "write": folder.path().join("missing") }), ErrorKind::NotFound),
        (json!({ "write": "/", "unknown": 1 }), ErrorKind::InvalidInput),
    ] {
        assert_eq!(scene.call("generate.alerts", request).await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn panels_have_places_of_their_own_and_queries_of_the_data_source() {
    let scene = Scene::new(FULL);
    let dashboard: Value = serde_json::from_str(&scene.text("generate.grafana", json!({}), 0).await).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = std::collections::BTreeSet::new();
    let mut ids = std::collections::BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(x < 24 && taken.insert((x, y)), "{panel}");
            }
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            assert!(!target["expr"].as_str().unwrap().contains("SCOPE"));
        }
    }
    let rows: Vec<&str> =
        panels.iter().filter(|panel| panel["type"] == "row").map(|panel| panel["title"].as_str().unwrap()).collect();
    assert_eq!(rows[..6], ["Health", "Traffic", "Errors", "Latency", "Resources", "Backups"]);
    assert!(dashboard["uid"].as_str().unwrap().len() <= 40);
}
