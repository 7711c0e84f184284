use std::io::Write;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::metrics::{Definition, Registry};
use crate::testing::{assert_all, sink as suite};

/// What reached the collector: the head of the request, and its body.
type Requests = Arc<Mutex<Vec<(String, Value)>>>;

/// A collector that keeps what it is sent, and answers what it is told to.
struct Collector {
    url: String,
    requests: Requests,
    failing: Arc<AtomicBool>,
}

impl Collector {
    fn new(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, failing) = (Requests::default(), Arc::new(AtomicBool::new(false)));
        let (kept, refusing) = (Arc::clone(&requests), Arc::clone(&failing));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap() <= 2 {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                }
                let mut packed = vec![0; length];
                reader.read_exact(&mut packed).unwrap();
                let answer = match refusing.load(Ordering::SeqCst) {
                    true => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    false => {
                        let body = flate2::read::GzDecoder::new(&packed[..]);
                        kept.lock().unwrap().push((head, serde_json::from_reader(body).unwrap()));
                        answer
                    }
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { url, requests, failing }
    }

    fn sink(&self) -> OtlpSink {
        OtlpSink::new(settings(&self.url)).unwrap()
    }
}

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

fn settings(endpoint: &str) -> OtlpSettings {
    OtlpSettings {
        endpoint: endpoint.to_owned(),
        headers: BTreeMap::from([("Authorization".to_owned(), Secret::new("Bearer hunter2"))]),
        resource: BTreeMap::from([("service.name".to_owned(), "shop".to_owned())]),
        timeout_seconds: ten(),
    }
}

struct Behind {
    collector: Collector,
    sink: Arc<OtlpSink>,
}

#[async_trait]
impl suite::Fixture for Behind {
    fn sink(&self) -> Arc<dyn MetricsSink> {
        self.sink.clone()
    }

    async fn received(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let requests = self.collector.requests.lock().unwrap();
        let metrics = requests.last()?.1["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].clone();
        let metric = metrics.as_array()?.iter().find(|metric| metric["name"] == name)?.clone();
        let points = ["sum", "gauge", "histogram"].iter().find_map(|kind| metric[*kind]["dataPoints"].as_array())?;
        let point = points.iter().find(|point| {
            let attributes = point["attributes"].as_array().unwrap();
            attributes
                .iter()
                .map(|attribute| attribute["value"]["stringValue"].as_str().unwrap())
                .eq(labels.iter().copied())
        })?;
        match (&point["asDouble"], &point["count"]) {
            (Value::String(word), _) => word.replace("Infinity", "inf").parse().ok(),
            (Value::Null, count) => count.as_str()?.parse().ok(),
            (number, _) => number.as_f64(),
        }
    }

    async fn exports(&self) -> Option<u64> {
        Some(self.collector.requests.lock().unwrap().len() as u64)
    }

    async fn set_failing(&self, failing: bool) -> bool {
        self.collector.failing.store(failing, Ordering::SeqCst);
        true
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let fresh = || {
        let collector = Collector::new(FINE);
        let sink = Arc::new(collector.sink());
        Arc::new(Behind { collector, sink }) as Arc<dyn suite::Fixture>
    };
    assert_all(&suite::run(fresh).await);
}

#[tokio::test]
async fn a_request_is_what_the_specification_says() {
    let collector = Collector::new(FINE);
    let registry = Registry::new();
    let took = Definition::new("took_seconds", "Time").unit("seconds").labels(&["path"]).bounds(&[0.1, 1.0]);
    let took = registry.histograms(took).unwrap().with(&["/a"]).unwrap();
    [0.1, 0.5, 7.0].into_iter().for_each(|seconds| took.observe(seconds));
    registry.counters(Definition::new("visits_total", "Visits")).unwrap().with(&[]).unwrap().inc_by(3);
    let sink = collector.sink();
    sink.export(&Scope::default(), &registry.snapshot()).await.unwrap();
    let (head, body) = collector.requests.lock().unwrap().remove(0);
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    for line in ["content-type: application/json", "content-encoding: gzip", "authorization: bearer hunter2"] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let time = sink.since.get().unwrap().to_string();
    let times = json!({ "startTimeUnixNano": time, "timeUnixNano": time });
    let with_times = |mut point: Value| {
        point.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        point
    };
    let expected = json!({ "resourceMetrics": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] },
        "scopeMetrics": [{
            "scope": { "name": "uplifted-ops", "version": env!("CARGO_PKG_VERSION") },
            "metrics": [
                {
                    "name": "took_seconds",
                    "description": "Time",
                    "unit": "s",
                    "histogram": {
                        "aggregationTemporality": 2,
                        "dataPoints": [with_times(json!({
                            "attributes": [{ "key": "path", "value": { "stringValue": "/a" } }],
                            "count": "3",
                            "sum": 7.6,
                            "bucketCounts": ["1", "1", "1"],
                            "explicitBounds": [0.1, 1.0],
                        }))],
                    },
                },
                {
                    "name": "visits",
                    "description": "Visits",
                    "sum": {
                        "aggregationTemporality": 2,
                        "isMonotonic": true,
                        "dataPoints": [with_times(json!({ "attributes": [], "asDouble": 3.0 }))],
                    },
                },
            ],
        }],
    }]});
    assert_eq!(body, expected, "{body:#}");
    // The beginning stays, so that a collector sees one series.
    sink.export(&Scope::default(), &registry.snapshot()).await.unwrap();
    let again = collector.requests.lock().unwrap().remove(0).1;
    let points = &again["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][1]["sum"]["dataPoints"];
    assert_eq!(points[0]["startTimeUnixNano"], *time);
}

#[tokio::test]
async fn what_a_collector_answers_is_told() {
    use ErrorKind::{Denied, Refused, Unavailable};
    for (answer, kind, told) in [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Denied, "answers 401"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", Refused, "answers 404"),
        ("HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n", Unavailable, "answers 429"),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", Refused, "answers 302"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 74\r\n\r\n\
             {\"partialSuccess\": {\"rejectedDataPoints\": \"7\", \"errorMessage\": \"too old\"}}",
            Refused,
            "refused 7 numbers",
        ),
    ] {
        let collector = Collector::new(answer);
        let exported = collector.sink().export(&Scope::default(), &MetricsSnapshot::default()).await;
        let error = exported.expect_err(answer);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(told), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    // Nobody is there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sink = OtlpSink::new(settings(&format!("http://127.0.0.1:{port}"))).unwrap();
    let error = sink.export(&Scope::default(), &MetricsSnapshot::default()).await.unwrap_err();
    assert_eq!(error.kind(), Unavailable);
    assert!(!format!("{sink:?}").contains("hunter2"), "{sink:?}");
}

#[test]
fn an_address_that_is_none_is_refused_with_the_repair() {
    for endpoint in ["", "collector", "ftp://c/", "http://", "http://user:hunter2@c:4318"] {
        let error = OtlpSink::new(settings(endpoint)).unwrap_err();
        assert!(error.hint().is_some(), "{endpoint}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    for (endpoint, asked) in [
        ("http://c:4318", "http://c:4318/v1/metrics"),
        ("http://c:4318/", "http://c:4318/v1/metrics"),
        ("http://c/api/v1/otlp/v1/metrics", "http://c/api/v1/otlp/v1/metrics"),
    ] {
        assert_eq!(OtlpSink::new(settings(endpoint)).unwrap().post.uri.to_string(), asked);
    }
    for seconds in [0.0, -1.0, f64::NAN, 1e9] {
        let wrong = OtlpSettings { timeout_seconds: seconds, ..settings("http://c") };
        assert!(OtlpSink::new(wrong).is_err(), "{seconds}");
    }
}
