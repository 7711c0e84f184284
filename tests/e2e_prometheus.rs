//! Our pages in front of the real programs: `promtool check metrics`, and a Prometheus that scrapes both formats and
//! is asked what it understood.
//!
//! Debian's package `prometheus` holds both programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests set up their own scenes"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use uplifted_ops::metrics::{
    BuildInfo, Collected, Collector, Definition, Format, Guide, ProcessCollector, Registry, Value, global, negotiate,
    own, render,
};
use uplifted_ops::testing::random::{self, Rng};

/// Whatever does not happen within this never will. A guard, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry with everything that we expose, and label values and numbers that are hard to get right.
fn everything(seed: u64) -> Registry {
    let registry = Registry::new();
    registry.collect_from(Arc::new(ProcessCollector::new()));
    registry.collect_from(Arc::new(BuildInfo));
    registry.collect_from(Arc::new(Broken));

    let guide = Guide::register(&registry).unwrap();
    guide.requests.with(&["GET", "/status", "200"]).unwrap().inc_by(40);
    guide.requests.with(&["GET", "/status", "500"]).unwrap().inc_by(2);
    for took in [0.004, 0.005, 0.2, 99.0] {
        guide.request_duration.with(&["GET", "/status"]).unwrap().observe(took);
    }
    guide.active_plugins.set(10.0);
    guide.tool_calls.with(&["scan"]).unwrap().inc();
    guide.tool_errors.with(&["scan"]).unwrap().add(0.5).unwrap();
    guide.db_connections.with(&["idle"]).unwrap().set(3.0);

    let ours = own::Own::register(&registry).unwrap();
    ours.check("disk", "warn", 0.25).unwrap();
    ours.operation("backup.create", "ok", 12.0).unwrap();

    let numbers = Definition::new("hard_number", "Help with \\ \" and\na second line").labels(&["case"]);
    let numbers = registry.gauges(numbers).unwrap();
    for (case, number) in HARD_NUMBERS {
        numbers.with(&[case]).unwrap().set(number);
    }
    let labels = registry.counters(Definition::new("hard_label_total", "é \u{1F600}").labels(&["n", "value"])).unwrap();
    for (n, value) in hard_labels(seed).iter().enumerate() {
        labels.with(&[&n.to_string(), value]).unwrap().inc_by(n as u64);
    }
    let below = registry.histogram("below_zero", "Buckets below zero", &[-1.5, 0.0, 1e16]).unwrap();
    below.observe(-2.0);
    below.observe(f64::NAN);
    let flood = registry.counters(Definition::new("flood_total", "More values than room").labels(&["x"]).max_series(2));
    let flood = flood.unwrap();
    for x in 0..5 {
        flood.with(&[&x.to_string()]).unwrap().inc();
    }
    registry
}

/// A collector that panics: the page must still be whole.
struct Broken;

impl Collector for Broken {
    fn name(&self) -> &str {
        "broken \"on\" purpose"
    }

    fn collect(&self, _: &mut Collected) -> uplifted_ops::Result<()> {
        panic!("on purpose")
    }
}

const HARD_NUMBERS: [(&str, f64); 10] = [
    ("zero", 0.0),
    ("third", 1.0 / 3.0),
    ("huge", 1.797e308),
    ("tiny", f64::MIN_POSITIVE),
    ("negative", -12.5),
    ("exact", 9_007_199_254_740_991.0),
    ("large", 1e21),
    ("inf", f64::INFINITY),
    ("-inf", f64::NEG_INFINITY),
    ("nan", f64::NAN),
];

/// Label values that a parser may trip over, and some at random.
fn hard_labels(seed: u64) -> Vec<String> {
    let fixed = [
        "plain",
        "a\"b",
        "a\\b",
        "a\nb",
        "\\n",
        "\\",
        "\\\\\"",
        "{x=\"1\"}",
        "# EOF\n",
        "a,b=c",
        " lead",
        "trail ",
        "\t\r",
        "é",
        "\u{1F600}",
        "\u{202E}",
        "\u{FEFF}",
        "\u{7f}",
        "\u{1}",
        "a\0b",
        "NaN",
        "\u{10FFFF}",
        "'",
        "`",
    ];
    let mut labels: Vec<String> = fixed.iter().map(|text| (*text).to_owned()).collect();
    let alphabet: Vec<char> = "ab \"\\\n{}=,#é\u{1F600}\t\r\0\u{1}".chars().collect();
    let mut random = Rng::with_seed(seed);
    for _ in 0..100 {
        let len = random.u8(1..=24);
        labels.push((0..len).map(|_| *random.choice(&alphabet).unwrap()).collect());
    }
    labels
}

/// The program, or one clear line that says what to install.
fn program(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(found, "`{name}` is not installed: install the package `prometheus` (apt-get install prometheus)");
    Command::new(name)
}

#[test]
fn promtool_accepts_the_page_without_a_complaint() {
    let mut with_backups = everything(random::seeded("promtool").u64(..)).snapshot();
    with_backups.merge(own::from_journal([]));
    for snapshot in [with_backups, global().snapshot()] {
        let page = render(&snapshot, Format::Text);
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
        assert!(output.status.success() && told.trim().is_empty(), "{told}\n{page}");
    }
}

#[test]
fn a_real_prometheus_reads_both_formats_alike() {
    let seed = random::seeded("prometheus").u64(..);
    let registry = everything(seed);
    let page = Page::serve(registry.clone());
    let prometheus = Prometheus::start(page.address);
    for job in ["negotiated", "text"] {
        prometheus.wait_for(&format!("up{{job=\"{job}\"}}"), |found| found.values().copied().eq([1.0]));
    }
    let accepted = page.accepted.lock().unwrap().clone();
    assert!(accepted.contains(&Format::OpenMetrics), "Prometheus did not ask for OpenMetrics: {accepted:?}");

    for job in ["negotiated", "text"] {
        let labels = prometheus.query(&format!("hard_label_total{{job=\"{job}\"}}"));
        let told: BTreeSet<(String, String)> =
            labels.keys().map(|labels| (labels["n"].clone(), labels["value"].clone())).collect();
        // NUL ends a page for Prometheus: we write U+FFFD instead.
        let given = hard_labels(seed).into_iter().map(|value| value.replace('\0', "\u{FFFD}"));
        let given: BTreeSet<_> = given.enumerate().map(|(n, value)| (n.to_string(), value)).collect();
        assert_eq!(told, given, "{job}");
        assert!(labels.iter().all(|(labels, value)| labels["n"].parse::<f64>().unwrap() == *value));

        let numbers = prometheus.query(&format!("hard_number{{job=\"{job}\"}}"));
        assert_eq!(numbers.len(), HARD_NUMBERS.len());
        for (labels, value) in numbers {
            let (_, given) = HARD_NUMBERS.into_iter().find(|(case, _)| *case == labels["case"]).unwrap();
            assert!(given == value || given.is_nan() && value.is_nan(), "{job}: {labels:?} {value}");
        }
        let one = |query: &str| {
            let found = prometheus.query(&query.replace("JOB", &format!("job=\"{job}\"")));
            assert_eq!(found.len(), 1, "{job}: {query}: {found:?}");
            found.into_values().next().unwrap()
        };
        assert_eq!(one("uplifted_requests_duration_seconds_count{JOB}"), 4.0);
        assert_eq!(one("uplifted_requests_duration_seconds_bucket{JOB,le=\"0.005\"}"), 2.0);
        assert_eq!(one("uplifted_requests_duration_seconds_bucket{JOB,le=\"1.0\"}"), 3.0);
        assert_eq!(one("below_zero_bucket{JOB,le=\"+Inf\"}"), 1.0);
        assert_eq!(one("uplifted_active_plugins{JOB}"), 10.0);
        assert_eq!(one("uplifted_tool_errors_total{JOB}"), 0.5);
        assert_eq!(one("uplifted_ops_check_status{JOB,status=\"warn\"}"), 1.0);
        assert_eq!(one("uplifted_ops_build_info{JOB}"), 1.0);
        assert_eq!(one("flood_total{JOB,x=\"__overflow__\"}"), 3.0);
        assert!(one("uplifted_ops_collector_failures_total{JOB,collector=~\"broken.*\"}") >= 1.0);
        assert!(one("process_resident_memory_bytes{JOB}") > 1e6);
        assert!(one("time() - process_start_time_seconds{JOB}") >= 0.0);
        // The labels are those that the guide's alert on errors asks for.
        let share = "sum(uplifted_requests_total{JOB,status=~\"5..\"}) / sum(uplifted_requests_total{JOB})";
        assert_eq!(one(share), 2.0 / 42.0);
    }
    both_are_whole(&prometheus, &registry);
}

/// Nothing was lost on the way, and the two formats are the same series.
fn both_are_whole(prometheus: &Prometheus, registry: &Registry) {
    let names = |job: &str| -> BTreeSet<BTreeMap<String, String>> {
        // OpenMetrics forbids sum and count where they may go down.
        let query = format!("{{job=\"{job}\",__name__!~\"up|scrape_.*|below_zero_(sum|count)\"}}");
        let without_origin = |mut labels: BTreeMap<String, String>| {
            labels.retain(|name, _| name != "job" && name != "instance");
            labels
        };
        prometheus.query(&query).into_keys().map(without_origin).collect()
    };
    let (negotiated, text) = (names("negotiated"), names("text"));
    assert_eq!(negotiated, text);
    let snapshot = registry.snapshot();
    let held = snapshot.families.iter().flat_map(|family| &family.series).map(|series| match &series.value {
        Value::Distribution(distribution) => distribution.counts.len() + 2,
        _ => 1,
    });
    assert_eq!(text.len() + 2, held.sum::<usize>());
}

/// Serves a registry on a loopback port: `/metrics` in the format that the request asks for, `/text` as text.
struct Page {
    address: SocketAddr,
    accepted: Arc<Mutex<Vec<Format>>>,
}

impl Page {
    fn serve(registry: Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&accepted);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = Self::answer(stream.unwrap(), &registry, &told);
            }
        });
        Self { address, accepted }
    }

    fn answer(mut stream: TcpStream, registry: &Registry, accepted: &Mutex<Vec<Format>>) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        let headers = lines.take_while(|line| !line.is_empty());
        let accept = headers.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("accept").then(|| value.trim().to_owned())
        });
        let accept: Vec<String> = accept.collect();
        let mut format = Format::Text;
        if first.starts_with("GET /metrics") {
            format = negotiate(accept.first().map(String::as_str));
            accepted.lock().unwrap().push(format);
        }
        let body = render(&registry.snapshot(), format);
        let kind = format.content_type();
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
        stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())
    }
}

/// A Prometheus of our own, on a private port, that ends with the test.
struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(page: SocketAddr) -> Self {
        let config = format!(
            "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\nscrape_configs:\n\
             - job_name: negotiated\n  static_configs:\n  - targets: ['{page}']\n\
             - job_name: text\n  metrics_path: /text\n  static_configs:\n  - targets: ['{page}']\n"
        );
        let mut log = String::new();
        // Another program may take the free port before Prometheus does: then it ends, and the next port is tried.
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("prometheus.yml"), &config).unwrap();
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let child = Self::spawn(folder.path(), &address);
            let mut prometheus = Self { child, address, _folder: folder };
            if prometheus.is_ready() {
                return prometheus;
            }
            log = std::fs::read_to_string(prometheus._folder.path().join("log")).unwrap_or_default();
        }
        panic!("Prometheus does not start:\n{log}");
    }

    fn spawn(folder: &Path, address: &str) -> Child {
        let log = std::fs::File::create(folder.join("log")).unwrap();
        program("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
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
        panic!("Prometheus did not become ready");
    }

    /// The series that a query finds, by their labels.
    fn query(&self, query: &str) -> BTreeMap<BTreeMap<String, String>, f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = get(&self.address, &format!("/api/v1/query?query={escaped}")).expect("Prometheus answers");
        let body: Json = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["status"], "success", "{query}: {body}");
        let series = body["data"]["result"].as_array().unwrap().iter().map(|series| {
            let labels: BTreeMap<String, String> = serde_json::from_value(series["metric"].clone()).unwrap();
            (labels, series["value"][1].as_str().unwrap().parse::<f64>().unwrap())
        });
        series.collect()
    }

    fn wait_for(&self, query: &str, as_wanted: impl Fn(&BTreeMap<BTreeMap<String, String>, f64>) -> bool) {
        let start = Instant::now();
        loop {
            let found = self.query(query);
            if as_wanted(&found) {
                return;
            }
            if start.elapsed() > PATIENCE {
                let targets = get(&self.address, "/api/v1/targets?state=active").unwrap_or_default();
                panic!("{query} stays {found:?}\n{targets}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer to a GET, head and body; `None` when nobody answers.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // HTTP/1.0: the end of the body is the end of the connection, and no part of it is chunked.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
