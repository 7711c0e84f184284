//! The example service, started for real on the loopback and asked over HTTP.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may unwrap, and sets up its own scene")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uplifted_example::ledger;

/// What guards against a service that hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const TOKEN: &str = "read-0123456789abcdef";
const WRITE_TOKEN: &str = "write-0123456789abcdef";

/// A running service. Dropped, its stdin closes, and it stops.
struct Service {
    child: Child,
    address: SocketAddr,
    tools: SocketAddr,
    /// Kept open: a service that writes to a closed pipe would notice.
    _stderr: BufReader<ChildStderr>,
}

impl Service {
    fn start(root: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_uplifted-example"))
            .args(["serve", "--listen", "127.0.0.1:0", "--tools", "127.0.0.1:0", "--until-stdin-closes"])
            .args(["--rate", "200", "--accounts", "50", "--root"])
            .arg(root)
            .arg("--database")
            .arg(root.join("data/ledger.db"))
            .env("OPS_TOKEN", TOKEN)
            .env("OPS_WRITE_TOKEN", WRITE_TOKEN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let mut listening = |path: &str| loop {
            let before = said.len();
            assert!(stderr.read_line(&mut said).unwrap() > 0, "the service ended before it listened: {said}");
            let address = said[before..].trim_end().strip_prefix("listening on http://");
            if let Some(address) = address.and_then(|rest| rest.strip_suffix(path)) {
                break address.parse().unwrap();
            }
        };
        let (tools, address) = (listening("/tools"), listening("/status"));
        let service = Self { child, address, tools, _stderr: stderr };
        // Until each check has answered once, it is not ready.
        let until = Instant::now() + Duration::from_secs(60);
        while service.get("/health").1.to_string().contains("\"unknown\"") {
            assert!(Instant::now() < until, "a check does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        service
    }

    /// Stops it, and reads what its writer did.
    fn stop(mut self) -> Value {
        drop(self.child.stdin.take());
        let mut report = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        assert!(self.child.wait().unwrap().success(), "{report}");
        serde_json::from_str(&report).unwrap()
    }

    fn get(&self, target: &str) -> (u16, Value) {
        let (status, _, body) = ask(self.address, "GET", target, &[], "");
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    fn post(&self, target: &str, request: &Value, token: &str) -> (u16, Value) {
        let authorization = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", &authorization)];
        let (status, _, body) = ask(self.address, "POST", target, &headers, &request.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own: the status, the head, the body.
fn ask(to: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let mut connection = TcpStream::connect(to).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        request.push_str(&format!("host: {to}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    connection.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// A service folder with two plugins, and a target beside it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("service");
    for (name, manifest) in [
        ("search", json!({ "name": "search", "tools": ["find", "rank"] })),
        ("mail", json!({ "name": "mail", "active": false, "tools": ["send"] })),
    ] {
        fs::create_dir_all(root.join("plugins").join(name)).unwrap();
        fs::write(root.join("plugins").join(name).join("plugin.json"), manifest.to_string()).unwrap();
    }
    fs::create_dir(root.join("data")).unwrap();
    let settings = format!(
        "[service]\nname = \"ledger\"\n\n\
         [[store]]\nname = \"main\"\nkind = \"sqlite\"\npath = \"data/ledger.db\"\n\n\
         [backup]\ninclude = [\"data\", \"plugins\"]\n\n\
         [[target]]\nname = \"local\"\nkind = \"fs\"\npath = {:?}\n\n\
         [http]\ntoken = \"env:OPS_TOKEN\"\nwrite_token = \"env:OPS_WRITE_TOKEN\"\n",
        folder.path().join("backups")
    );
    fs::write(root.join("ops.toml"), settings).unwrap();
    folder
}

#[test]
fn the_service_answers_with_the_guides_shapes_and_ours() {
    let folder = folder();
    let service = Service::start(&folder.path().join("service"));

    let (status, body) = service.get("/status");
    assert_eq!((status, &body["status"], &body["service"]), (200, &json!("Server is running"), &json!("ledger")));
    let expected = json!({
        "plugin_count": 2, "active_plugin_count": 1, "total_tools": 3, "active_tools": 2, "mcp_available": true,
    });
    assert_eq!(service.get("/api/v1/system/status"), (200, expected));
    let (status, _, tools) = ask(service.tools, "GET", "/tools", &[], "");
    assert_eq!((status, tools.as_str()), (200, r#"{"tools":["find","rank"]}"#));
    assert_eq!(ask(service.tools, "GET", "/health", &[], "").0, 200);

    assert_eq!(service.get("/livez"), (200, json!({ "status": "pass" })));
    let (status, health) = service.get("/health");
    let checks = health["checks"].as_array().unwrap();
    let plugins = checks.iter().find(|check| check["name"] == "plugins").unwrap();
    assert_eq!((status, &plugins["status"]), (200, &json!("warn")), "{health}");
    assert_eq!((&plugins["message"], &plugins["observed"]), (&json!("switched off: mail"), &json!(1.0)));
    assert_eq!(service.get("/readyz").0, 200);
    let (_, head, page) = ask(service.address, "GET", "/metrics", &[], "");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(page.contains("process_cpu_seconds_total"), "{page}");

    // The same through the server as in the responder's own tests: who may not, may not.
    let hosts = [("host", "evil.example")];
    assert_eq!(ask(service.address, "GET", "/metrics", &hosts, "").0, 403);
    let proxied = [("x-forwarded-for", "203.0.113.7")];
    assert_eq!(ask(service.address, "GET", "/metrics", &proxied, "").0, 401);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(ask(service.address, "GET", "/metrics", &[proxied[0], ("authorization", &bearer)], "").0, 200);
    assert_eq!(service.get("/api/v1/store/stts").0, 404);
    let (status, head, body) = ask(service.address, "HEAD", "/readyz", &[], "");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("cache-control: no-store"), "{head}");

    let report = service.stop();
    assert!(report["transactions"].as_u64().is_some_and(|count| count > 0), "{report}");
}

#[test]
fn every_operation_that_reads_is_reached_over_http() {
    let folder = folder();
    let service = Service::start(&folder.path().join("service"));
    let (status, created) = service.post("/api/v1/backup/create", &json!({ "label": "first" }), WRITE_TOKEN);
    assert_eq!((status, &created["outcome"]), (200, &json!("complete")), "{created}");
    let id = created["snapshot_id"].as_str().unwrap();

    // A request for every operation, which the tests of the other languages ask as well.
    let requests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/requests.json");
    let requests = fs::read_to_string(requests).unwrap().replace("<snapshot>", id);
    let requests = &serde_json::from_str::<Value>(&requests).unwrap()["requests"];
    let (_, index) = service.get("/api/v1");
    let mut asked = 0;
    for operation in index["operations"].as_array().unwrap() {
        let (name, path) = (operation["name"].as_str().unwrap(), operation["path"].as_str().unwrap());
        if operation["effect"] != "read" {
            assert_eq!(service.post(path, &json!({}), TOKEN).0, 403, "{name}");
            continue;
        }
        // This host is built without encryption.
        if name.starts_with("backup.keys_") {
            continue;
        }
        let request = &requests[name];
        let said = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fields = request.as_object().unwrap_or_else(|| panic!("requests.json has nothing for {name}")).iter();
        let query: Vec<String> = fields.map(|(name, value)| format!("{name}={}", said(value))).collect();
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
        let (status, by_query) = service.get(&target);
        assert_eq!(status, 200, "{name}: {by_query}");
        let (status, by_body) = service.post(path, request, TOKEN);
        assert_eq!(status, 200, "{name}: {by_body}");
        asked += 1;
    }
    assert!(asked >= 11, "{index}");
    let (_, verdict) = service.get(&format!("/api/v1/backup/verify?snapshot_id={id}&depth=quick"));
    assert_eq!(verdict["ok"], true, "{verdict}");
    let (status, none) = service.get("/api/v1/backup/show?snapshot_id=nonsense");
    assert_eq!((status, &none["error"]["kind"]), (404, &json!("not_found")));
    let (_, stats) = service.get("/api/v1/store/stats?store=main");
    assert_eq!((&stats["stores"][0]["name"], &stats["stores"][0]["ok"]), (&json!("main"), &json!(true)));
    service.stop();
}

/// A restore that is asked for while the service runs waits for the next start, and is done before the service
/// opens its database: the ledger goes on from the backup.
#[test]
fn a_restore_is_finished_before_the_database_is_opened() {
    let folder = folder();
    let root = folder.path().join("service");
    let service = Service::start(&root);
    let (status, created) = service.post("/api/v1/backup/create", &json!({}), WRITE_TOKEN);
    assert_eq!(status, 200, "{created}");
    let note = root.join("plugins/after-the-backup");
    fs::write(&note, "x").unwrap();
    let (status, applied) = service.post("/api/v1/restore/apply", &json!({ "snapshot_id": "latest" }), WRITE_TOKEN);
    assert_eq!((status, &applied["restart_required"]), (200, &json!(true)), "{applied}");
    assert!(note.exists(), "nothing is replaced under a running service");
    service.stop();

    let service = Service::start(&root);
    assert!(!note.exists(), "the restore is done when the service listens");
    assert_eq!(service.get("/readyz").0, 200);
    let report = service.stop();
    let proof = ledger::verify(&root.join("data/ledger.db")).unwrap();
    assert!(proof.ok, "{proof:?}");
    // Every transfer of the second run is in the database that was opened: it was not traded afterwards.
    assert_eq!(report["last_transfer"].as_u64(), Some(proof.transfers));
    assert!(proof.transfers > 0);
}
