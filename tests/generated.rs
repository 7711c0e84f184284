//! What `generate.*` writes, in front of a real Prometheus that scrapes a service with everything in it: the configuration
//! is loaded as it is, every rule is evaluated, every query of the dashboard finds something, and an alert reaches a real
//! Alertmanager.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests set up their own scenes"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use uplifted_ops::metrics::guide;
use uplifted_ops::ops::{Blocking, Ops};
use uplifted_ops_tests::prometheus::{Alertmanager, Prometheus, complaints};

/// Nothing is left out that this machine has; a machine without a network has the loopback.
const SETTINGS: &str = r#"
[service]
name = "uplifted"
version = "1.2.3"
[[store]]
name = "main"
kind = "sqlite"
path = "data/uplifted.db"
[[target]]
name = "local"
kind = "fs"
path = "../backups"
[backup]
clear_secrets = true
[[job]]
name = "tick"
operation = "status"
schedule = "0 2 * * *"
[metrics]
network_exclude = []
filesystem_exclude_types = ["proc", "sysfs", "devpts"]
store_seconds = 1
"#;

/// A Redis of our own on a loopback port.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--maxmemory", "64mb", "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: apt-get install redis-server");
        Self { process, port }
    }

    /// Looks for a key that is there, and for one that is not.
    fn ask(port: u16) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"SET here 1\r\nGET here\r\nGET nowhere\r\nQUIT\r\n")?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Service {
    redis: Redis,
    _folder: TempDir,
    ops: Blocking,
    stop: Arc<AtomicBool>,
}

impl Service {
    /// A service that was backed up, verified, drilled, checked, and ran its job.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("uplifted");
        std::fs::create_dir_all(root.join("data")).unwrap();
        let redis = Redis::start(folder.path());
        let url = format!("redis://127.0.0.1:{}", redis.port);
        let check = format!("[[check]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"{url}\"\n");
        std::fs::write(root.join("ops.toml"), format!("{SETTINGS}{check}")).unwrap();
        let database = rusqlite::Connection::open(root.join("data/uplifted.db")).unwrap();
        database.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1);").unwrap();
        drop(database);
        let builder = Ops::builder().root(&root).environment([]);
        let ops = builder.worker_command([env!("CARGO_BIN_EXE_under-test")]).build().unwrap().blocking();
        let service = Self { redis, _folder: folder, ops, stop: Arc::default() };
        let snapshot = service.call("backup.create", json!({}))["snapshot_id"].clone();
        service.call("backup.verify", json!({ "snapshot_id": snapshot, "depth": "full" }));
        service.call("backup.drill", json!({}));
        service.call("health.check", json!({}));
        service.call("schedule.run", json!({ "job": "tick" }));
        service
    }

    fn call(&self, name: &str, request: Value) -> Value {
        self.ops.call(uplifted_ops::Scope::default(), name, request).unwrap_or_else(|e| panic!("{name}: {e}")).response
    }

    /// Answers `/metrics`, whatever else it is asked.
    fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ops = self.ops.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                let Ok(page) = ops.call(uplifted_ops::Scope::default(), "metrics.render", json!({})) else { return };
                let (kind, body) = (&page.response["content_type"], page.response["body"].as_str().unwrap());
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n", kind.as_str().unwrap());
                let length = body.len();
                let _ = stream
                    .write_all(format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}").as_bytes());
            }
        });
        address
    }

    /// Requests, some of which fail, until the end of the test.
    fn load(&self) {
        let (guide, stop) = (guide().unwrap(), Arc::clone(&self.stop));
        let redis = self.redis.port;
        guide.active_plugins.set(10.0);
        guide.db_connections.with(&["idle"]).unwrap().set(3.0);
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                for status in ["200", "200", "200", "404", "500"] {
                    guide.requests.with(&["GET", "/api", status]).unwrap().inc();
                    guide.request_duration.with(&["GET", "/api"]).unwrap().observe(0.03);
                }
                guide.tool_calls.with(&["scan"]).unwrap().inc_by(3);
                guide.tool_errors.with(&["scan"]).unwrap().inc();
                // It ends before we do.
                let _ = Redis::ask(redis);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// The queries of the dashboard, as Grafana sends them for this service and all its instances.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let of_panel = |panel: &Value| -> Vec<(String, String)> {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let title = panel["title"].as_str().unwrap().to_owned();
        targets.iter().map(|target| (title.clone(), target["expr"].as_str().unwrap().to_owned())).collect()
    };
    let filled = |query: String| {
        query
            .replace("$job", "uplifted")
            .replace("$instance", ".*")
            .replace("$__rate_interval", "10s")
            .replace("[1h]", "[10s]")
    };
    panels.flat_map(of_panel).map(|(title, query)| (title, filled(query))).collect()
}

#[test]
fn every_rule_is_evaluated_and_every_query_of_the_dashboard_finds_something() {
    let service = Service::new();
    service.load();
    let target = service.serve().to_string();
    let content = |answer: &Value, file: usize| answer["files"][file]["content"].as_str().unwrap().to_owned();
    let alertmanager = Alertmanager::start();
    let request = json!({ "target": target, "alertmanager": alertmanager.address() });
    let config = service.call("generate.prometheus", request);
    assert_eq!(config["warnings"], json!([]));
    let config = content(&config, 0).replace("15s", "500ms");
    let alerts = service.call("generate.alerts", json!({}));
    let name = alerts["files"][0]["name"].as_str().unwrap();
    let prometheus = Prometheus::start(&[("prometheus.yml", config), (name, content(&alerts, 0))]);
    prometheus.wait_for("up{job=\"uplifted\"}", |found| found.values().copied().eq([1.0]));

    let dashboard = service.call("generate.grafana", json!({}));
    let dashboard: Value = serde_json::from_str(&content(&dashboard, 0)).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() > 40, "{}", queries.len());
    assert!(queries.iter().filter(|(_, query)| query.contains("uplifted_ops_redis_")).count() > 4);
    for (title, query) in &queries {
        assert!(!query.contains('$'), "{title}: {query}");
        // What is a rate of two scrapes needs two.
        prometheus.wait_for(query, |found| found.values().any(|value| value.is_finite()));
    }

    // It fires once every rule of its group was evaluated before it.
    prometheus.wait_for("ALERTS{alertname=\"Watchdog\",alertstate=\"firing\"}", |found| found.len() == 1);
    let groups = prometheus.api("rules?type=alert");
    let rules = groups["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() > 25, "{}", rules.len());
    for name in ["RedisNotAnswering", "RedisMemoryFull", "RedisReplicaCutOff"] {
        assert!(rules.iter().any(|rule| rule["name"] == name), "{name}");
    }
    for rule in rules {
        assert_eq!((&rule["health"], &rule["lastError"]), (&json!("ok"), &Value::Null), "{rule}");
        // A service that is well, but for its failed requests, alerts nobody. What must hold for a while is pending.
        let quiet = ["HighErrorRate", "ErrorBudgetBurning", "HighToolErrorRatio", "Watchdog"];
        let firing = rule["state"] == "firing" && !quiet.contains(&rule["name"].as_str().unwrap());
        assert!(!firing, "{rule}");
        let text = rule["alerts"].to_string();
        assert!(!text.contains("error expanding"), "{text}");
    }
    let page = service.call("metrics.render", json!({}))["body"].as_str().unwrap().to_owned();
    assert_eq!(complaints(&page), "", "{page}");
    // And somebody hears of it.
    let alert = alertmanager.wait_for("Watchdog");
    assert_eq!(alert["labels"]["severity"], "none", "{alert}");
    assert_eq!(alert["annotations"]["summary"], "alerts arrive", "{alert}");
}
