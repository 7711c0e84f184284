//! A real Prometheus and a real Alertmanager for a test: Debian's packages `prometheus`, which holds promtool as well, and
//! `prometheus-alertmanager`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// Whatever does not happen within this never will. A guard, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, or one clear line that says what to install.
fn program(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(
        found,
        "`{name}` is not installed: `make setup` installs it (apt-get install prometheus prometheus-alertmanager)"
    );
    Command::new(name)
}

/// What `promtool check metrics` says of a page: nothing, when nothing is wrong with it.
pub fn complaints(page: &str) -> String {
    let mut promtool = program("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => told.trim().to_owned(),
        false => format!("{} {}", output.status, told.trim()),
    }
}

/// A server of our own, on a private port, that ends with the test.
#[derive(Debug)]
struct Server {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts `name` with these files in its folder, and the arguments that it takes for its folder and address.
    fn start(name: &str, files: &[(&str, String)], arguments: &dyn Fn(&Path, &str) -> Vec<String>) -> Self {
        let mut log = String::new();
        // Another program may take the free port before the server does: then it ends, and the next port is tried.
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            for (name, content) in files {
                std::fs::write(folder.path().join(name), content).unwrap();
            }
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let file = std::fs::File::create(folder.path().join("log")).unwrap();
            let child = program(name)
                .args(arguments(folder.path(), &address))
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(file.try_clone().unwrap())
                .stderr(file)
                .spawn()
                .unwrap();
            let mut server = Self { child, address, folder };
            if server.is_ready() {
                return server;
            }
            log = std::fs::read_to_string(server.folder.path().join("log")).unwrap_or_default();
        }
        panic!("{name} does not start:\n{log}");
    }

    /// Waits until it answers; false when it has ended instead.
    fn is_ready(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if get(&self.address, "/-/ready").is_some_and(|answer| answer.starts_with("HTTP/1.0 200")) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it did not become ready");
    }

    /// The JSON at a path.
    fn json(&self, path: &str) -> Json {
        let answer = get(&self.address, path).expect("it answers");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An Alertmanager.
#[derive(Debug)]
pub struct Alertmanager(Server);

impl Alertmanager {
    /// One that keeps what it is told, and tells nobody.
    pub fn start() -> Self {
        let config = "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n".to_owned();
        let files = [("alertmanager.yml", config)];
        Self(Server::start("prometheus-alertmanager", &files, &|folder, address| {
            vec![
                format!("--config.file={}", folder.join("alertmanager.yml").display()),
                format!("--storage.path={}", folder.join("data").display()),
                format!("--web.listen-address={address}"),
                "--cluster.listen-address=".to_owned(),
            ]
        }))
    }

    /// Where it is, as `host:port`.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Waits for an alert of that name, and returns it.
    pub fn wait_for(&self, name: &str) -> Json {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let alerts = self.0.json("/api/v2/alerts");
            if let Some(alert) = alerts.as_array().unwrap().iter().find(|alert| alert["labels"]["alertname"] == name) {
                return alert.clone();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the alert {name} does not arrive");
    }
}

/// A Prometheus.
#[derive(Debug)]
pub struct Prometheus(Server);

impl Prometheus {
    /// With these files in its folder, `prometheus.yml` among them.
    pub fn start(files: &[(&str, String)]) -> Self {
        Self::start_with(files, &[])
    }

    /// The same, with more arguments.
    pub fn start_with(files: &[(&str, String)], more: &[&str]) -> Self {
        Self(Server::start("prometheus", files, &|folder, address| {
            let own = [
                format!("--config.file={}", folder.join("prometheus.yml").display()),
                format!("--storage.tsdb.path={}", folder.join("data").display()),
                format!("--web.listen-address={address}"),
            ];
            own.into_iter().chain(more.iter().map(|argument| (*argument).to_owned())).collect()
        }))
    }

    /// What its API answers.
    pub fn api(&self, path: &str) -> Json {
        let body = self.0.json(&format!("/api/v1/{path}"));
        assert_eq!(body["status"], "success", "{path}: {body}");
        body["data"].clone()
    }

    /// The series that a query finds, by their labels.
    pub fn query(&self, query: &str) -> BTreeMap<BTreeMap<String, String>, f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let data = self.api(&format!("query?query={escaped}"));
        let series = data["result"].as_array().unwrap().iter().map(|series| {
            let labels: BTreeMap<String, String> = serde_json::from_value(series["metric"].clone()).unwrap();
            (labels, series["value"][1].as_str().unwrap().parse::<f64>().unwrap())
        });
        series.collect()
    }

    pub fn wait_for(&self, query: &str, as_wanted: impl Fn(&BTreeMap<BTreeMap<String, String>, f64>) -> bool) {
        let start = Instant::now();
        loop {
            let found = self.query(query);
            if as_wanted(&found) {
                return;
            }
            if start.elapsed() > PATIENCE {
                let targets = get(&self.0.address, "/api/v1/targets?state=active").unwrap_or_default();
                panic!("{query} stays {found:?}\n{targets}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The answer to a GET, head and body; `None` when nobody answers.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    // While nobody listens on a port, the kernel may connect it with itself.
    if stream.local_addr().ok() == stream.peer_addr().ok() {
        return None;
    }
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // HTTP/1.0: the end of the body is the end of the connection, and no part of it is chunked.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
