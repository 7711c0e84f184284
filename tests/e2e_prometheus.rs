//! Our pages in front of the real programs: `promtool check metrics`, and a Prometheus that scrapes each format and
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
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use uplifted_ops::metrics::{
    BuildInfo, Collected, Collector, Definition, Encoding, Exposition, Format, Guide, NativeBuckets, ProcessCollector,
    Registry, Value, accepts_gzip, global, gzip, own, render,
};
use uplifted_ops::testing::random::{self, Rng};
use uplifted_ops_tests::prometheus::{Prometheus, complaints};

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

#[test]
fn promtool_accepts_the_page_without_a_complaint() {
    let mut with_backups = everything(random::seeded("promtool").u64(..)).snapshot();
    with_backups.merge(own::from_journal([]));
    for snapshot in [with_backups, global().snapshot()] {
        let page = render(&snapshot, Format::Text);
        let told = complaints(&page);
        assert!(told.is_empty(), "{told}\n{page}");
    }
}

const HARDEST: [f64; 6] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 9_007_199_254_740_993.0, -0.0, 5e-324];

/// A registry of random names, help and label values, each family with a counter, a gauge and a histogram.
fn fuzzed(seed: u64) -> (Registry, Vec<String>) {
    let registry = Registry::new();
    let mut random = Rng::with_seed(seed);
    let alphabet: Vec<char> = "ab_:.9 \"\\\n{}=,#é\u{1F600}\t\r\0\u{1}\u{7f}\u{202E}'`".chars().collect();
    let huge = "\"\\\n{x=é".repeat(100_000);
    let mut values = Vec::new();
    for n in 0..60 {
        let mut word =
            |max: usize| -> String { (0..random.usize(1..=max)).map(|_| *random.choice(&alphabet).unwrap()).collect() };
        let (name, label, help) = (format!("{}{n}x", word(12)), format!("l{}", word(8)), word(60));
        let (value, trace) = (if n == 7 { huge.clone() } else { word(80) }, word(40));
        let define = |kind| Definition::new(format!("{kind}.{name}"), help.clone()).labels(&[&label]).any_names();
        let number = *random.choice(&HARDEST).unwrap();
        registry.counters(define("c")).unwrap().with(&[&value]).unwrap().inc_by(9_007_199_254_740_993);
        registry.gauges(define("g")).unwrap().with(&[&value]).unwrap().set(number);
        let define = define("h").bounds(&[-1.0, 1e-300, 1e300]).native(NativeBuckets::default());
        let took = registry.histograms(define).unwrap().with(&[&value]).unwrap();
        took.observe_with_exemplar(random.f64() - 0.5, &[("trace_id", &trace)]).unwrap();
        took.observe(f64::MAX);
        values.push(value.replace('\0', "\u{FFFD}"));
    }
    (registry, values)
}

#[test]
fn promtool_accepts_whatever_is_written() {
    // `check metrics` may find fault with a name. It must be able to read it.
    for _ in 0..5 {
        let (registry, _) = fuzzed(random::seeded("fuzzed page").u64(..));
        let page = registry.render(Format::Text);
        let told = complaints(&page);
        assert!(!told.contains("error while linting") && !told.contains("text format parsing"), "{told}\n{page}");
    }
}

#[test]
fn a_real_prometheus_reads_whatever_is_written_in_each_format() {
    let (registry, values) = fuzzed(random::seeded("fuzzed scrape").u64(..));
    let page = Page::serve(registry);
    let prometheus = native_prometheus(page.address);
    for job in ["negotiated", "open", "text"] {
        prometheus.wait_for(&format!("up{{job=\"{job}\"}}"), |found| found.values().copied().eq([1.0]));
        // One of each kind for each value; the huge one is cut when it is counted.
        for kind in ["c", "g"] {
            let found = prometheus.query(&format!("{{job=\"{job}\",__name__=~\"{kind}_.*\"}}"));
            assert_eq!(found.len(), values.len(), "{job} {kind}");
            for value in values.iter().filter(|value| value.len() < 1_000) {
                let has = |labels: &BTreeMap<String, String>| labels.values().any(|held| held == value);
                assert!(found.keys().any(has), "{job} {kind} {value:?}");
            }
        }
        let counted = prometheus.query(&format!("{{job=\"{job}\",__name__=~\"c_.*\"}}"));
        assert!(counted.values().all(|value| *value == 9_007_199_254_740_992.0), "{job}");
    }
}

#[test]
fn a_real_prometheus_reads_native_histograms_and_gzip() {
    let registry = Registry::new();
    let native = NativeBuckets::default().factor(1.1).zero_threshold(1e-6);
    let define =
        Definition::new("took_seconds", "Time").unit("seconds").labels(&["path"]).bounds(&[0.5]).native(native);
    let took = registry.histograms(define).unwrap();
    for n in 1..=1_000 {
        took.observe(&["/a"], f64::from(n) / 100.0).unwrap();
        took.observe(&["/below"], f64::from(-n)).unwrap();
    }
    took.observe(&["/a"], 0.0).unwrap();
    let plain = registry.histogram("plain_seconds", "Time", &[0.5, 1.0]).unwrap();
    plain.observe(0.7);
    let many = registry.counters(Definition::new("many_total", "").labels(&["n"]).max_series(5_000)).unwrap();
    (0..3_000).for_each(|n| many.inc(&[&n.to_string()]).unwrap());
    let page = Page::serve(registry);
    let prometheus = native_prometheus(page.address);
    for job in ["negotiated", "text"] {
        prometheus.wait_for(&format!("up{{job=\"{job}\"}}"), |found| found.values().copied().eq([1.0]));
    }
    let accepted = page.accepted.lock().unwrap().clone();
    assert!(accepted.contains(&(Encoding::Protobuf, true)), "Prometheus asked for no protobuf in gzip: {accepted:?}");
    let one = |query: &str| {
        let found = prometheus.query(query);
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        found.into_values().next().unwrap()
    };
    let of_a = "took_seconds{job=\"negotiated\",path=\"/a\"}";
    assert_eq!(one(&format!("histogram_count({of_a})")), 1_001.0);
    assert!((one(&format!("histogram_sum({of_a})")) - 5_005.0).abs() < 1e-6);
    for (quantile, exact) in [(0.5, 5.0), (0.9, 9.0), (0.99, 9.9)] {
        let told = one(&format!("histogram_quantile({quantile}, {of_a})"));
        assert!((told / exact - 1.0).abs() < 0.05, "{quantile}: {told}");
    }
    let below = one("histogram_quantile(0.1, took_seconds{job=\"negotiated\",path=\"/below\"})");
    assert!((below / -900.0 - 1.0).abs() < 0.05, "{below}");
    // Between the two halves: of 1,001 the first is zero, and 500 are at most 5.
    let half = one(&format!("histogram_fraction(0, 5, {of_a})"));
    assert!((half - 0.5).abs() < 0.01, "{half}");
    // Others are what they were, and so is the text.
    assert_eq!(one("plain_seconds_bucket{job=\"negotiated\",le=\"1.0\"}"), 1.0);
    assert_eq!(one("took_seconds_count{job=\"text\",path=\"/a\"}"), 1_001.0);
    assert_eq!(prometheus.query("many_total{job=\"negotiated\"}").len(), 3_000);
}

#[test]
fn a_real_prometheus_reads_both_formats_alike() {
    let seed = random::seeded("prometheus").u64(..);
    let registry = everything(seed);
    let page = Page::serve(registry.clone());
    let prometheus = Prometheus::start(&[("prometheus.yml", scrape(page.address))]);
    for job in ["negotiated", "text"] {
        prometheus.wait_for(&format!("up{{job=\"{job}\"}}"), |found| found.values().copied().eq([1.0]));
    }
    let accepted = page.accepted.lock().unwrap().clone();
    assert!(accepted.contains(&(Encoding::OpenMetrics, true)), "Prometheus did not ask for OpenMetrics: {accepted:?}");

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

/// A configuration that scrapes the page three times.
fn scrape(page: SocketAddr) -> String {
    format!(
        "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\nscrape_configs:\n\
         - job_name: negotiated\n  static_configs:\n  - targets: ['{page}']\n\
         - job_name: open\n  metrics_path: /open\n  static_configs:\n  - targets: ['{page}']\n\
         - job_name: text\n  metrics_path: /text\n  static_configs:\n  - targets: ['{page}']\n"
    )
}

/// A Prometheus with native histograms, which scrapes the page: then it asks for protobuf.
fn native_prometheus(page: SocketAddr) -> Prometheus {
    Prometheus::start_with(&[("prometheus.yml", scrape(page))], &["--enable-feature=native-histograms"])
}

/// Serves a registry on a loopback port: `/metrics` in the format that the request asks for, `/open` as OpenMetrics, `/text`
/// as text.
struct Page {
    address: SocketAddr,
    /// What was asked for: the format, and whether compressed.
    accepted: Arc<Mutex<Vec<(Encoding, bool)>>>,
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

    fn answer(
        mut stream: TcpStream,
        registry: &Registry,
        accepted: &Mutex<Vec<(Encoding, bool)>>,
    ) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        let headers: Vec<(String, String)> = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect();
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut exposition = Exposition::from(Format::Text);
        let mut packed = false;
        if first.starts_with("GET /open") {
            exposition = Exposition::from(Format::OpenMetrics);
        } else if first.starts_with("GET /metrics") {
            exposition = Exposition::negotiate(header("accept"));
            packed = header("accept-encoding").is_some_and(accepts_gzip);
            accepted.lock().unwrap().push((exposition.encoding, packed));
        }
        let mut body = Vec::new();
        registry.expose_into(&mut body, exposition, []);
        let mut encoding = "";
        if packed {
            body = gzip(&body).unwrap();
            encoding = "Content-Encoding: gzip\r\n";
        }
        let (kind, length) = (exposition.content_type(), body.len());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{encoding}Content-Length: {length}\r\n");
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        stream.write_all(&body)
    }
}
