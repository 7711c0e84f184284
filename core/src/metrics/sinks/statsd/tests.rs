use std::collections::{BTreeSet, HashMap};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::error::ErrorKind;
use crate::metrics::{Counter, Definition, Registry};
use crate::testing::{assert_all, sink as suite};

/// Nothing waits longer: a guard, not a measurement.
const HANG: Duration = Duration::from_secs(10);

/// A server that adds up what it is sent, by name and tags.
struct Server {
    folder: tempfile::TempDir,
    listening: std::sync::Mutex<Option<UnixDatagram>>,
    sums: std::sync::Mutex<HashMap<String, f64>>,
    packets: std::sync::Mutex<Vec<String>>,
    sink: Arc<StatsdSink>,
}

impl Server {
    fn new(dialect: Dialect) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dsd.socket");
        let settings = StatsdSettings { dialect, ..StatsdSettings::new(format!("unix://{}", path.display())) };
        let sink = Arc::new(StatsdSink::new(&settings, Path::to_owned).unwrap());
        let server = Self {
            folder,
            listening: std::sync::Mutex::default(),
            sums: std::sync::Mutex::default(),
            packets: std::sync::Mutex::default(),
            sink,
        };
        server.listen();
        server
    }

    fn listen(&self) {
        let socket = UnixDatagram::bind(self.folder.path().join("dsd.socket")).unwrap();
        socket.set_nonblocking(true).unwrap();
        *self.listening.lock().unwrap() = Some(socket);
    }

    fn stop(&self) {
        *self.listening.lock().unwrap() = None;
        std::fs::remove_file(self.folder.path().join("dsd.socket")).unwrap();
    }

    /// Reads what has come, as the server of the dialect does.
    fn read(&self) {
        let listening = self.listening.lock().unwrap();
        let mut buffer = vec![0; 65_536];
        while let Some(Ok(length)) = listening.as_ref().map(|socket| socket.recv(&mut buffer)) {
            let packet = String::from_utf8(buffer[..length].to_vec()).unwrap();
            for line in packet.split('\n') {
                let mut parts = line.split('|');
                let (name, value) = parts.next().unwrap().rsplit_once(':').unwrap();
                let kind = parts.next().unwrap();
                let tags = parts.next().map(|tags| format!("|{tags}")).unwrap_or_default();
                assert!(parts.next().is_none() && ["c", "g"].contains(&kind), "{line}");
                let mut sums = self.sums.lock().unwrap();
                let sum = sums.entry(format!("{name}{tags}")).or_default();
                let changes = kind == "c" || value.starts_with('-') && self.sink.style.dialect == Dialect::Statsd;
                *sum = if changes { *sum } else { 0.0 } + value.parse::<f64>().unwrap();
            }
            self.packets.lock().unwrap().push(packet);
        }
    }

    fn sum(&self, line: &str) -> Option<f64> {
        self.read();
        self.sums.lock().unwrap().get(line).copied()
    }

    async fn export(&self, registry: &Registry) -> Result<()> {
        let (scope, snapshot) = (Scope::default(), registry.snapshot());
        let exported = self.sink.export(&scope, &snapshot);
        let done = tokio::time::timeout(HANG, exported).await.unwrap();
        self.read();
        done
    }
}

#[async_trait]
impl suite::Fixture for Server {
    fn sink(&self) -> Arc<dyn MetricsSink> {
        self.sink.clone()
    }

    async fn received(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let names: &[&str] = match name {
            "suite_requests" => &["path", "status"],
            "suite_took_seconds" => &["path"],
            _ => &[],
        };
        let labels: Vec<_> = names.iter().zip(labels).map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let suffix = if name.contains("took") { ".count" } else { "" };
        let (name, tags) = self.sink.style.head(name, suffix, &labels, None);
        self.sum(&format!("{name}{tags}"))
    }

    async fn exports(&self) -> Option<u64> {
        None
    }

    async fn set_failing(&self, failing: bool) -> bool {
        if failing {
            self.stop()
        } else {
            self.listen()
        }
        true
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let fresh = || Arc::new(Server::new(Dialect::Dogstatsd)) as Arc<dyn suite::Fixture>;
    assert_all(&suite::run(fresh).await);
}

#[tokio::test]
async fn lines_are_those_of_each_dialect() {
    for (dialect, expected) in [
        (
            Dialect::Dogstatsd,
            "below:-2.5|g\nhits:3|c|#method:GET,path:a_b_c:d\n\
             took_seconds.count:2|c\ntook_seconds.sum:7.5|c\n\
             took_seconds.bucket:1|c|#upper_bound:1\ntook_seconds.bucket:1|c|#upper_bound:+Inf",
        ),
        (
            Dialect::Statsd,
            "below:0|g\nbelow:-2.5|g\nhits.GET.a_b_c_d:3|c\n\
             took_seconds.count:2|c\ntook_seconds.sum:7.5|c\n\
             took_seconds.bucket.1:1|c\ntook_seconds.bucket._Inf:1|c",
        ),
    ] {
        let (server, registry) = (Server::new(dialect), Registry::new());
        let hits = registry.counters(Definition::new("hits_total", "").labels(&["method", "path"])).unwrap();
        hits.with(&["GET", "a,b|c:d"]).unwrap().inc_by(3);
        hits.with(&["GET", "never"]).unwrap();
        registry.gauge("below", "").unwrap().set(-2.5);
        registry.gauge("unknown", "").unwrap().set(f64::NAN);
        let took = registry.histogram("took_seconds", "", &[0.5, 1.0]).unwrap();
        took.observe(0.75);
        took.observe(6.75);
        server.export(&registry).await.unwrap();
        assert_eq!(*server.packets.lock().unwrap(), [expected]);
        // Nothing grew: only gauges are told again.
        server.export(&registry).await.unwrap();
        let again = server.packets.lock().unwrap()[1].clone();
        assert!(again.contains("below:-2.5|g") && !again.contains("|c"), "{again}");
        assert_eq!(server.sum("below"), Some(-2.5));
    }
}

#[tokio::test]
async fn what_was_counted_while_nobody_listened_is_sent_later_and_once() {
    let (server, registry) = (Server::new(Dialect::Dogstatsd), Registry::new());
    let counter: Counter = registry.counter("hits", "").unwrap();
    for round in 0..6 {
        counter.inc_by(2);
        let fails = round % 2 == 0;
        if fails {
            server.stop();
            assert_eq!(server.export(&registry).await.unwrap_err().kind(), ErrorKind::Unavailable);
            server.listen();
        } else {
            server.export(&registry).await.unwrap();
            assert_eq!(server.sum("hits"), Some(counter.get()));
        }
    }
}

#[tokio::test]
async fn packets_keep_their_bound_and_lose_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
    let settings = StatsdSettings {
        dialect: Dialect::Dogstatsd,
        max_packet_bytes: Some(512),
        prefix: "shop.".into(),
        tags: [("env".to_owned(), "test".to_owned())].into(),
        ..StatsdSettings::new(format!("unix://{}", path.display()))
    };
    let sink = StatsdSink::new(&settings, Path::to_owned).unwrap();
    let registry = Registry::new();
    let hits = registry.counters(Definition::new("hits_total", "").labels(&["n"])).unwrap();
    for n in 0..1_000 {
        hits.inc(&[&n.to_string()]).unwrap();
    }
    // More than a queue of datagrams: the export waits for whoever reads.
    let reading = async {
        let (mut seen, mut buffer) = (BTreeSet::new(), vec![0; 65_536]);
        while seen.len() < 1_000 {
            let length = socket.recv(&mut buffer).await.unwrap();
            assert!(length <= 512, "{length}");
            let packet = std::str::from_utf8(&buffer[..length]).unwrap();
            for line in packet.lines() {
                assert!(line.starts_with("shop.hits:1|c|#env:test,n:") && seen.insert(line.to_owned()), "{line}");
            }
        }
    };
    let (scope, snapshot) = (Scope::default(), registry.snapshot());
    let both = async { tokio::join!(sink.export(&scope, &snapshot), reading) };
    tokio::time::timeout(HANG, both).await.unwrap().0.unwrap();
}

#[tokio::test]
async fn udp_arrives_and_says_when_nobody_listens() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let sink = StatsdSink::new(&StatsdSettings::new(address), Path::to_owned).unwrap();
    let registry = Registry::new();
    let counter = registry.counter("hits", "").unwrap();
    counter.inc_by(5);
    sink.export(&Scope::default(), &registry.snapshot()).await.unwrap();
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"hits:5|c");

    let address = socket.local_addr().unwrap();
    drop(socket);
    counter.inc_by(1);
    let error = sink.export(&Scope::default(), &registry.snapshot()).await.unwrap_err();
    assert!(error.message().contains("cannot be reached"), "{error}");
    let socket = std::net::UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    counter.inc_by(1);
    sink.export(&Scope::default(), &registry.snapshot()).await.unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"hits:2|c");
}

#[tokio::test]
async fn a_counter_that_others_keep_begins_where_it_stood() {
    let server = Server::new(Dialect::Dogstatsd);
    let page = |runs: &[(&str, f64)]| {
        let family = Family::new("runs", MetricKind::Counter, "");
        let families = vec![runs.iter().fold(family, |family, (job, at)| family.number(&[("job", *job)], *at))];
        MetricsSnapshot { families }
    };
    let scope = Scope::default();
    server.sink.export(&scope, &page(&[("a", 1_000.0)])).await.unwrap();
    assert_eq!(server.sum("runs|#job:a"), None);
    // One that comes later began at zero; one that goes down began anew.
    server.sink.export(&scope, &page(&[("a", 1_002.0), ("b", 3.0)])).await.unwrap();
    assert_eq!((server.sum("runs|#job:a"), server.sum("runs|#job:b")), (Some(2.0), Some(3.0)));
    server.sink.export(&scope, &page(&[("a", 4.0)])).await.unwrap();
    server.sink.export(&scope, &page(&[("a", 4.0), ("b", 1.0)])).await.unwrap();
    assert_eq!((server.sum("runs|#job:a"), server.sum("runs|#job:b")), (Some(6.0), Some(4.0)));
}

#[test]
fn mistakes_in_the_settings_are_named() {
    let field = |settings: StatsdSettings| {
        let error = StatsdSink::new(&settings, Path::to_owned).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.context().iter().find(|(name, _)| name == "field").unwrap().1.clone()
    };
    let long = format!("unix:///{}", "x".repeat(200));
    for address in
        ["", "localhost", "tcp://127.0.0.1:8125", "127.0.0.1:0", ":8125", "127.0.0.1:99999", "unix://", &long]
    {
        assert_eq!(field(StatsdSettings::new(address)), "address", "{address}");
    }
    let good = || StatsdSettings::new("[::1]:8125");
    assert!(StatsdSink::new(&good(), Path::to_owned).is_ok());
    assert_eq!(field(StatsdSettings { max_packet_bytes: Some(100), ..good() }), "max_packet_bytes");
    assert_eq!(field(StatsdSettings { tags: [("a".into(), "b".into())].into(), ..good() }), "tags");
}
