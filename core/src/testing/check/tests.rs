//! The suite on every built-in check, and on checks that break one clause each.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::clock::Timestamp;
use crate::config::{CheckSettings, HealthSettings};
use crate::health::checks::{backup_age, disk, http, log_errors, process, tcp};
use crate::health::{CheckStatus, Runner, RunnerEntry};
use crate::testing::assert_all;

mod kinds;

/// A listener whose backlog takes connections, and who never answers one.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_keeps_the_contract() {
    let (_listener, address) = silent();
    let make = |address: String| {
        move || -> Arc<dyn HealthCheck> { Arc::new(tcp::TcpCheck::new(tcp::TcpSettings::new(&address)).unwrap()) }
    };
    assert_all(&run(Scene::new(make(address))).await);
    assert_all(&run(Scene::new(make("localhost:1".to_owned()))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_keeps_the_contract() {
    let (_listener, address) = silent();
    let make = |url: String| {
        move || -> Arc<dyn HealthCheck> { Arc::new(http::HttpCheck::new(http::HttpSettings::new(&url)).unwrap()) }
    };
    let refused = format!("http://{}/", silent().1);
    let scene = Scene::new(make(refused)).stuck(make(format!("http://{address}/")));
    assert_all(&run(scene).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let path = folder.path().to_owned();
    let watched = path.clone();
    let fresh = move || -> Arc<dyn HealthCheck> {
        Arc::new(disk::DiskCheck::new(vec![path.clone()], Vec::new(), disk::DiskSettings::default()).unwrap())
    };
    assert_all(&run(Scene::new(fresh).watching(watched)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_keeps_the_contract() {
    // The machine that runs the tests may be busy: a verdict on CPU would differ between two calls.
    let settings = process::ProcessSettings { cpu_warn_ratio: 1.0, ..process::ProcessSettings::default() };
    let fresh = move || -> Arc<dyn HealthCheck> { Arc::new(process::ProcessCheck::new(settings.clone()).unwrap()) };
    assert_all(&run(Scene::new(fresh)).await);
    let gone = process::ProcessSettings { pid: Some(u32::MAX), ..process::ProcessSettings::default() };
    let fresh = move || -> Arc<dyn HealthCheck> { Arc::new(process::ProcessCheck::new(gone.clone()).unwrap()) };
    assert_all(&run(Scene::new(fresh)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_errors_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("app.log");
    std::fs::write(&log, "2025-10-28 10:30:47,789 - a - ERROR - b\n").unwrap();
    let make = |path: std::path::PathBuf| {
        move || -> Arc<dyn HealthCheck> {
            let settings = log_errors::LogErrorsSettings::new(&path);
            Arc::new(log_errors::LogErrorsCheck::new(path.clone(), settings).unwrap())
        }
    };
    assert_all(&run(Scene::new(make(log)).watching(folder.path())).await);
    assert_all(&run(Scene::new(make(folder.path().join("missing")))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_age_keeps_the_contract() {
    let make = |times: backup_age::BackupTimes| {
        move || -> Arc<dyn HealthCheck> {
            let source: backup_age::BackupTimesSource = Arc::new(move || Ok(times));
            Arc::new(backup_age::BackupAgeCheck::new(source, &HealthSettings::default()).unwrap())
        }
    };
    assert_all(&run(Scene::new(make(backup_age::BackupTimes::default()))).await);
    let old = backup_age::BackupTimes { last_complete: Some(Timestamp::UNIX_EPOCH), ..Default::default() };
    let stuck = || -> Arc<dyn HealthCheck> {
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let never = std::sync::Mutex::new((_keep, never));
        let source: backup_age::BackupTimesSource = Arc::new(move || {
            let _ = never.lock().unwrap().1.recv();
            Ok(backup_age::BackupTimes::default())
        });
        Arc::new(backup_age::BackupAgeCheck::new(source, &HealthSettings::default()).unwrap())
    };
    assert_all(&run(Scene::new(make(old)).stuck(stuck)).await);
}

/// Breaks the clause that it is told to break.
#[derive(Debug)]
struct Broken {
    how: &'static str,
    calls: AtomicUsize,
    folder: PathBuf,
}

#[async_trait]
impl HealthCheck for Broken {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        if self.how != "deaf" {
            scope.cancel.check()?;
        }
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        let outcome = CheckOutcome::new(CheckStatus::Pass, "fine");
        match self.how {
            "writes" => std::fs::write(self.folder.join("new"), "x").unwrap(),
            "once" if calls > 0 => return Err(crate::Error::internal("used up")),
            "panics" => panic!("on purpose"),
            "stays busy" if calls > 0 => return Err(crate::Error::new(ErrorKind::Busy, "busy")),
            "full stop" => return Ok(CheckOutcome::new(CheckStatus::Pass, "fine.")),
            "two lines" => return Ok(CheckOutcome::new(CheckStatus::Pass, "fine\nfine")),
            "no unit" => return Ok(CheckOutcome { observed: Some(1.0), ..outcome }),
            "not a number" => return Ok(outcome.observing(f64::NAN, "bytes")),
            _ => {}
        }
        Ok(outcome)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broken_clause_is_found() {
    for (how, found) in [
        ("sound", &[][..]),
        ("writes", &["it_changes_nothing"]),
        ("once", &["it_may_be_called_again"]),
        ("stays busy", &["it_may_be_called_again", "it_may_be_called_by_several", "it_survives_a_dropped_call"]),
        ("deaf", &["it_gives_up_before_it_begins"]),
        ("full stop", &["its_answer_reads_well"]),
        ("two lines", &["its_answer_reads_well"]),
        ("no unit", &["its_answer_reads_well"]),
        ("not a number", &["its_answer_reads_well"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let fresh = move || -> Arc<dyn HealthCheck> {
            Arc::new(Broken { how, calls: AtomicUsize::new(0), folder: path.clone() })
        };
        let outcomes = run(Scene::new(fresh).watching(folder.path())).await;
        let failed: Vec<_> = outcomes.iter().filter(|o| o.failure.is_some()).map(|o| o.name).collect();
        assert_eq!(failed, found, "{how}: {outcomes:?}");
    }
    let fresh = || -> Arc<dyn HealthCheck> {
        Arc::new(Broken { how: "panics", calls: AtomicUsize::new(0), folder: PathBuf::new() })
    };
    assert!(run(Scene::new(fresh)).await.iter().filter(|outcome| outcome.failure.is_some()).count() >= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_hangs_no_run() {
    // The whole of it: the runner's deadline, the check's own thread, and a server that accepts and is silent.
    let (_listener, address) = silent();
    let check: Arc<dyn HealthCheck> =
        Arc::new(http::HttpCheck::new(http::HttpSettings::new(format!("http://{address}/"))).unwrap());
    let mut runner = Runner::new(&HealthSettings::default()).unwrap();
    let settings = CheckSettings { critical: false, deadline_seconds: Some(0.02), ..CheckSettings::named("api") };
    runner.add(RunnerEntry::new(&settings, &HealthSettings::default(), check).unwrap()).unwrap();
    let report = runner.run(&Scope::default(), None).await.unwrap();
    assert_eq!((report.status, report.checks[0].status), (CheckStatus::Warn, CheckStatus::Fail));
    assert_eq!(report.checks[0].message, "did not answer within 0.02 s");
}
