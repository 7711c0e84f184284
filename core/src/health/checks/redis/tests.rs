//! The check against real servers (Debian's package redis-server), each in a folder and on a port of its own.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;
use CheckStatus::{Fail, Pass, Warn};

/// What guards against a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"])
            .arg(folder.path())
            .arg("--unixsocket")
            .arg(folder.path().join("redis.sock"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: apt-get install redis-server");
        let server = Self { process, port, folder };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Gives a command whose answer nobody needs.
    pub(crate) fn order(&self, command: &[&str]) {
        self.tell(command);
    }

    fn tell(&self, command: &[&str]) -> Reply {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire::new(stream).ask(command).unwrap()
    }
}

async fn told(settings: RedisSettings) -> CheckOutcome {
    RedisCheck::new(settings).unwrap().check(&Scope::default()).await.unwrap()
}

/// Asks until the verdict is this.
async fn until(settings: RedisSettings, status: CheckStatus) -> CheckOutcome {
    let began = Instant::now();
    loop {
        let outcome = told(settings.clone()).await;
        if outcome.status == status {
            return outcome;
        }
        assert!(began.elapsed() < PATIENCE, "it stays {outcome:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_that_is_well_and_one_that_is_gone() {
    let mut server = Server::start(&[]);
    let outcome = told(RedisSettings::new(server.url())).await;
    assert_eq!((outcome.status, outcome.unit.as_deref()), (Pass, Some("seconds")), "{outcome:?}");
    assert!(outcome.message.contains("answers in"), "{outcome:?}");
    let socket = server.folder.path().join("redis.sock");
    let outcome = told(RedisSettings::new(format!("unix://{}", socket.display()))).await;
    assert_eq!(outcome.status, Pass, "{outcome:?}");
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let outcome = told(RedisSettings::new(server.url())).await;
    assert_eq!(outcome.status, Fail);
    assert!(outcome.message.ends_with("connection refused"), "{outcome:?}");
}

#[tokio::test]
async fn a_password_is_sent_and_never_told() {
    let server = Server::start(&["--requirepass", "hunter2"]);
    let outcome = told(RedisSettings::new(server.url())).await;
    assert!(outcome.status == Fail && outcome.message.contains("wants a password"), "{outcome:?}");
    for (user, password, status) in [
        (None, "hunter2", Pass),
        (Some("default"), "hunter2", Pass),
        (Some("nobody"), "hunter2", Fail),
        (None, "hunter3", Fail),
    ] {
        let (user, password) = (user.map(str::to_owned), Some(password.to_owned()));
        let outcome = told(RedisSettings { user, password, ..RedisSettings::new(server.url()) }).await;
        assert_eq!(outcome.status, status, "{outcome:?}");
        assert!(!outcome.message.contains("hunter"), "{outcome:?}");
    }
    let in_url = format!("redis://:hunter2@127.0.0.1:{}", server.port);
    assert_eq!(told(RedisSettings::new(in_url)).await.status, Pass);
}

#[tokio::test]
async fn memory_counts_where_nothing_is_evicted() {
    let server = Server::start(&[]);
    let used: f64 = {
        let Reply::Text(Some(info)) = server.tell(&["INFO", "memory"]) else { panic!("no INFO") };
        info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
    };
    for (policy, of, status) in [("noeviction", 10.0, Pass), ("noeviction", 1.02, Fail), ("allkeys-lru", 1.02, Pass)] {
        server.tell(&["CONFIG", "SET", "maxmemory-policy", policy]);
        server.tell(&["CONFIG", "SET", "maxmemory", &format!("{:.0}", used * of)]);
        let settings =
            RedisSettings { warn_memory_ratio: 0.5, fail_memory_ratio: 0.6, ..RedisSettings::new(server.url()) };
        let outcome = told(settings).await;
        assert_eq!(outcome.status, status, "{policy} {of} {outcome:?}");
    }
}

#[tokio::test]
async fn a_save_that_fails_and_one_that_is_late_are_seen() {
    let server = Server::start(&[]);
    server.tell(&["SET", "a", "1"]);
    let late = RedisSettings { max_save_age_seconds: Some(0.001), ..RedisSettings::new(server.url()) };
    let outcome = until(late, Warn).await;
    assert!(outcome.message.contains("1 changes that are not saved"), "{outcome:?}");
    // A folder where the file is to be: to rename over it fails, also for root.
    std::fs::create_dir_all(server.folder.path().join("dump.rdb/x")).unwrap();
    server.tell(&["BGSAVE"]);
    let outcome = until(RedisSettings::new(server.url()), Fail).await;
    assert!(outcome.message.contains("could not save the last time"), "{outcome:?}");
}

#[tokio::test]
async fn a_replica_that_lost_its_primary_fails_and_the_primary_misses_it() {
    let mut primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    until(RedisSettings::new(replica.url()), Pass).await;
    let two = RedisSettings { replicas: Some(2), ..RedisSettings::new(primary.url()) };
    let outcome = told(two.clone()).await;
    assert!(outcome.status == Warn && outcome.message.ends_with("has 1 replicas of 2"), "{outcome:?}");
    assert_eq!(told(RedisSettings { replicas: Some(1), ..two }).await.status, Pass);
    primary.process.kill().unwrap();
    primary.process.wait().unwrap();
    let outcome = until(RedisSettings::new(replica.url()), Fail).await;
    assert!(outcome.message.contains(&format!("has lost its primary 127.0.0.1:{}", primary.port)), "{outcome:?}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_is_spoken_to_whom_is_trusted() {
    let (ca, pem, key) = super::super::certificate::tests::issued((2099, 1, 1));
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ca, cert, key) = (put("ca.pem", &ca), put("cert.pem", &pem), put("key.pem", &key.serialize_pem()));
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &text(&cert),
        "--tls-key-file",
        &text(&key),
        "--tls-ca-cert-file",
        &text(&ca),
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://localhost:{port}");
    let outcome = told(RedisSettings { ca_file: Some(ca.clone()), ..RedisSettings::new(&url) }).await;
    assert_eq!(outcome.status, Pass, "{outcome:?}");
    assert_eq!(told(RedisSettings::new(&url)).await.status, Fail, "nobody whom the system trusts signed it");
    let plain = told(RedisSettings::new(format!("redis://localhost:{port}"))).await;
    assert!(plain.status == Fail && plain.message.contains("rediss://"), "{plain:?}");
    drop(server);
}

#[tokio::test]
async fn what_is_no_redis_fails_by_name() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let silent = RedisSettings { timeout_seconds: 0.05, ..RedisSettings::new(&url) };
    let outcome = told(silent).await;
    assert!(outcome.status == Fail && outcome.message.contains("did not answer within 0.05 s"), "{outcome:?}");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let outcome = until(RedisSettings::new(&url), Fail).await;
    assert!(outcome.message.contains("cannot be asked") || outcome.message.contains("no Redis"), "{outcome:?}");
    assert!(RedisCheck::new(RedisSettings { timeout_seconds: 0.0, ..RedisSettings::new(&url) }).is_err());
    assert!(RedisCheck::new(RedisSettings { warn_memory_ratio: 2.0, ..RedisSettings::new(&url) }).is_err());
}
