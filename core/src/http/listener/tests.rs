//! The listener of a whole `Ops`, asked by clients that behave and by others.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{ListenerState, ListenerView};
use crate::ops::{Ops, OpsBuilder};

mod flood;
mod socket;

/// What guards against a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

struct Scene {
    ops: Ops,
    folder: Arc<tempfile::TempDir>,
}

fn builder(folder: &tempfile::TempDir, listen: &str) -> OpsBuilder {
    Ops::builder()
        .root(folder.path())
        .environment([])
        .setting("service.name", "shop")
        .setting("health.without", json!(["disk", "process", "backup_age", "log_errors"]))
        .setting("metrics.listen", listen)
}

impl Scene {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(more: impl FnOnce(OpsBuilder) -> OpsBuilder) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let ops = more(builder(&folder, "127.0.0.1:0")).build().unwrap();
        Self { ops, folder }
    }

    fn view(&self) -> ListenerView {
        self.ops.context().listener().unwrap()
    }

    fn address(&self) -> SocketAddr {
        self.view().address.parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    fn ask(&self, request: &str) -> (u16, String) {
        ask(&mut self.connect(), request)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    fn state(&self, wanted: ListenerState) -> ListenerView {
        let until = Instant::now() + PATIENCE;
        loop {
            let view = self.view();
            if view.state == wanted {
                return view;
            }
            assert!(Instant::now() < until, "it stays {view:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request and reads one answer: its status, and its head and body.
fn ask(stream: &mut TcpStream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).unwrap();
    read(stream, request.starts_with("HEAD"))
}

fn read(stream: &mut TcpStream, is_head: bool) -> (u16, String) {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read(&mut byte).unwrap(), 0, "no answer but {:?}", String::from_utf8_lossy(&bytes));
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let length = length.filter(|_| !is_head).map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (status, head + &String::from_utf8(body).unwrap())
}

/// Whether the other end hung up, which is waited for.
fn hung_up(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn gone(address: SocketAddr) {
    let until = Instant::now() + PATIENCE;
    while TcpListener::bind(address).is_err() {
        assert!(Instant::now() < until, "{address} is still held");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn everything_is_served_on_one_connection() {
    let scene = Scene::new();
    let mut stream = scene.connect();
    let mut ask = |request: &str| ask(&mut stream, &format!("{request}Host: 127.0.0.1\r\n\r\n"));
    let (status, live) = ask("GET /livez HTTP/1.1\r\n");
    assert_eq!(status, 200);
    assert!(live.ends_with("{\"status\":\"pass\"}") && live.contains("cache-control: no-store"), "{live}");
    let (status, head) = ask("HEAD /livez HTTP/1.1\r\n");
    assert!(status == 200 && head.contains("content-length: 17"), "{head}");
    let (status, page) = ask("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(status == 200 && page.ends_with("# EOF\n"), "{page}");
    let (status, text) = ask("GET /api/v1/status HTTP/1.1\r\n");
    let found: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((status, &found["listener"]["state"]), (200, &json!("serving")), "{text}");
    assert_eq!(ask("POST /api/v1/backup/create HTTP/1.1\r\nContent-Length: 0\r\n").0, 403);
    assert_eq!(ask("GET /nothing HTTP/1.1\r\n").0, 404);
    assert_eq!(ask("GET http://localhost/startupz?x=1 HTTP/1.1\r\n").0, 200);
    let json = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    stream
        .write_all(
            format!("POST /api/v1/status HTTP/1.1\r\n{json}Host: localhost\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n").as_bytes(),
        )
        .unwrap();
    assert_eq!(read(&mut stream, false).0, 200);
}

#[test]
fn a_check_of_its_own_is_told_so() {
    let scene = Scene::new();
    let mark = crate::health::own::mark(&scene.ops.context().state);
    let (status, _) =
        scene.ask(&format!("GET /readyz HTTP/1.1\r\nHost: localhost\r\nUplifted-Ops-Check: {mark}\r\n\r\n"));
    assert_eq!(status, 508);
}

#[test]
fn strangers_read_probes_and_nothing_else() {
    let scene = Scene::with(|builder| builder.setting("http.token", "read-0123456789abcdef"));
    let from_elsewhere = |path: &str, more: &str| {
        scene.ask(&format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 203.0.113.7\r\n{more}\r\n")).0
    };
    assert_eq!((from_elsewhere("/livez", ""), from_elsewhere("/metrics", "")), (200, 401));
    assert_eq!(from_elsewhere("/metrics", "Authorization: Bearer read-0123456789abcdef\r\n"), 200);
}

#[test]
fn what_is_no_request_is_refused_and_hurts_nobody() {
    let scene = Scene::new();
    let long = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(70_000));
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    for (request, expected) in [
        (long, 431),
        (format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), 431),
        ("\u{16}\u{3}\u{1} what TLS begins with\r\n\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), 400),
    ] {
        let mut stream = scene.connect();
        let _ = stream.write_all(request.as_bytes());
        assert_eq!(read(&mut stream, false).0, expected);
        assert!(hung_up(&mut stream));
    }
    let body = "x".repeat(2 * 1024 * 1024);
    let head = "POST /api/v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut stream = scene.connect();
    let _ = stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    assert_eq!(read(&mut stream, false).0, 413);
    assert_eq!(scene.get("/livez").0, 200);
}

#[test]
fn slow_clients_are_hung_up_on() {
    let scene = Scene::with(|builder| builder.setting("http.header_seconds", 0.3).setting("http.idle_seconds", 0.3));
    let (mut silent, mut half, mut idle) = (scene.connect(), scene.connect(), scene.connect());
    half.write_all(b"GET /livez HTTP/1.1\r\nHo").unwrap();
    assert_eq!(ask(&mut idle, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").0, 200);
    let mut body = scene.connect();
    body.write_all(b"POST /api/v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{").unwrap();
    // One byte now and then, which is progress and no request.
    let mut drip = scene.connect();
    let dripping = std::thread::spawn(move || {
        let until = Instant::now() + PATIENCE;
        while drip.write_all(b"G").is_ok() {
            assert!(Instant::now() < until, "a slow client is served for ever");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(hung_up(&mut silent) && hung_up(&mut half) && hung_up(&mut idle));
    assert_eq!(read(&mut body, false).0, 408);
    dripping.join().unwrap();
    assert_eq!(scene.get("/livez").0, 200);
}

#[test]
fn one_too_many_takes_the_place_of_the_quietest() {
    let scene = Scene::with(|builder| builder.setting("http.max_connections", 20));
    let mut crowd: Vec<TcpStream> = (0..20).map(|_| scene.connect()).collect();
    // All but the last have had an answer: they are the ones to go, in the order of their quiet.
    for stream in &mut crowd[..19] {
        assert_eq!(ask(stream, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").0, 200);
    }
    let more: Vec<TcpStream> = (0..300).map(|_| scene.connect()).collect();
    assert_eq!(scene.get("/livez").0, 200);
    assert!(crowd[..19].iter_mut().all(hung_up));
    drop(more);
}

#[test]
fn the_next_process_takes_over() {
    let first = Scene::new();
    let address = first.address();
    // With a port of its own from the start: the lock belongs to an address.
    let folder = Arc::clone(&first.folder);
    drop(first);
    gone(address);
    let open = || Scene { ops: builder(&folder, &address.to_string()).build().unwrap(), folder: Arc::clone(&folder) };
    let (first, second) = (open(), open());
    assert_eq!(first.view().state, ListenerState::Serving);
    let standby = second.state(ListenerState::Standby);
    assert_eq!(standby.pid, Some(std::process::id()), "{standby:?}");
    assert_eq!(first.get("/livez").0, 200);
    crate::http::blocking::block_on(first.ops.close(PATIENCE)).unwrap();
    assert_eq!(first.view().state, ListenerState::Stopped);
    second.state(ListenerState::Serving);
    assert_eq!(second.get("/livez").0, 200);
}

#[test]
fn a_stranger_is_named_and_waited_for_or_refused() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let refused = builder(&folder, &address.to_string()).setting("http.listen_required", true).build().unwrap_err();
    let owner = format!("process {} (", std::process::id());
    assert!(refused.message().contains(&owner), "{refused:?}");
    assert!(refused.hint().unwrap().contains("listen_required"));
    let ops = builder(&folder, &address.to_string()).build().unwrap();
    let scene = Scene { ops, folder };
    let view = scene.view();
    assert_eq!((view.state, view.pid), (ListenerState::Refused, Some(std::process::id())));
    assert!(view.message.contains(&owner), "{view:?}");
    let report = crate::http::blocking::block_on(scene.ops.call(scene.ops.scope(), "health.check", json!({}))).unwrap();
    let check =
        report.response["checks"].as_array().unwrap().iter().find(|check| check["name"] == "listener").unwrap().clone();
    assert_eq!(check["status"], "warn", "{check}");
    assert!(check["message"].as_str().unwrap().contains(&owner), "{check}");
    drop(stranger);
    scene.state(ListenerState::Serving);
    assert_eq!(scene.get("/livez").0, 200);
}

#[test]
fn the_last_clone_takes_the_listener_with_it() {
    let scene = Scene::new();
    let address = scene.address();
    let mut stream = scene.connect();
    assert_eq!(ask(&mut stream, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").0, 200);
    drop(scene);
    assert!(hung_up(&mut stream));
    gone(address);
}

#[test]
fn an_address_that_is_none_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (listen, message) in
        [("9464", "no address with a port"), ("127.0.0.1:x", "no address"), ("no-such.invalid:1", "")]
    {
        let error = builder(&folder, listen).build().unwrap_err();
        assert!(error.message().starts_with("metrics.listen is") && error.message().contains(message), "{error:?}");
    }
    let error = builder(&folder, "127.0.0.1:0").setting("http.header_seconds", 0).build().unwrap_err();
    assert!(error.message().contains("http.header_seconds is 0"), "{error:?}");
    // The documentation range: no machine has this address.
    let ops = builder(&folder, "192.0.2.1:9464").build().unwrap();
    let view = ops.context().listener().unwrap();
    assert_eq!((view.state, view.pid), (ListenerState::Refused, None), "{view:?}");
}

#[test]
fn a_host_that_beats_no_more_is_wedged() {
    let scene = Scene::with(|builder| builder.setting("health.heartbeat_seconds", 0.3));
    assert_eq!(scene.get("/livez").0, 200, "a host that never beat is not judged");
    let pulse = scene.ops.pulse("event loop");
    pulse.beat();
    assert_eq!(scene.get("/livez").0, 200);
    let until = Instant::now() + PATIENCE;
    let said = loop {
        let (status, said) = scene.get("/livez");
        if status == 503 {
            break said;
        }
        assert!(Instant::now() < until, "it is still alive");
    };
    let body: Value = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["status"], &body["wedged"]["pulse"]), (&json!("fail"), &json!("event loop")));
    assert_eq!(body["wedged"]["pid"], std::process::id());
    assert!(body["wedged"]["age_seconds"].as_f64().unwrap() > 0.3, "{body}");
    assert_eq!(scene.get("/readyz").0, 503);
    pulse.beat();
    assert_eq!(scene.get("/livez").0, 200);
}

#[test]
fn another_process_that_is_wedged_is_named() {
    let scene = Scene::with(|builder| builder.setting("health.heartbeat_seconds", 0.3));
    let folder = scene.ops.context().state.join("beats");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = crate::fs::ProcessLock::try_acquire(&folder.join("77-1")).unwrap().unwrap();
    let mut record = b"77 1000000000 interpreter".to_vec();
    record.resize(127, b' ');
    record.push(b'\n');
    lock.write(&record).unwrap();
    let until = Instant::now() + PATIENCE;
    let said = || scene.get("/livez").1;
    while !said().contains("\"pid\":77,\"pulse\":\"interpreter\"") {
        assert!(Instant::now() < until, "it is not seen");
    }
    drop(lock);
    while scene.get("/livez").0 != 200 {
        assert!(Instant::now() < until, "the dead are still judged");
    }
}
