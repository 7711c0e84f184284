//! Bisections over real archives of a SQLite database.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::backup::checkers::Checkers;
use crate::backup::create::{CreateJob, create};
use crate::backup::lease::LeaseTimes;
use crate::clock::{Clock, ManualClock};
use crate::config::{BackupSettings, DrillSettings};
use crate::store::CheckDepth;
use crate::testing::MemoryTarget;

struct Scene {
    base: tempfile::TempDir,
    target: MemoryTarget,
    /// Oldest first: identifier and key.
    made: Vec<(String, String)>,
}

impl Scene {
    /// So many backups, before each of which the database is changed by `change`.
    async fn new(count: usize, change: impl Fn(usize) -> String) -> Self {
        let clock = Arc::new(ManualClock::new("2025-10-01T02:00:00Z".parse().unwrap()));
        let mut scene = Self { base: tempfile::tempdir().unwrap(), target: MemoryTarget::default(), made: Vec::new() };
        let root = scene.base.path().join("service");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("large"), vec![1; 1 << 20]).unwrap();
        let connection = Connection::open(root.join("main.db")).unwrap();
        connection.execute_batch("CREATE TABLE t(v); CREATE TABLE backups(n); CREATE INDEX i ON t(v);").unwrap();
        drop(connection);
        for number in 0..count {
            Connection::open(root.join("main.db")).unwrap().execute_batch(&change(number)).unwrap();
            std::fs::write(root.join("number"), number.to_string()).unwrap();
            let job = CreateJob {
                keys: None,
                time: None,
                service: "app".into(),
                service_version: None,
                host: "here".into(),
                root: root.clone(),
                state: scene.base.path().join("state"),
                settings: BackupSettings { scratch_in_memory: true, threads: 1, ..BackupSettings::default() },
                label: None,
                stores: Vec::new(),
                kinds: crate::ops::builtin_kinds().stores,
                targets: scene.targets(),
                leave_out: Vec::new(),
                check: CheckDepth::Quick,
                lease: LeaseTimes::default(),
                pause: None,
            };
            let scope = Scope { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Scope::default() };
            let report = create(&scope, job).await.unwrap();
            scene.made.push((report.snapshot_id, report.key));
            clock.advance(Duration::from_secs(86_400));
        }
        scene
    }

    fn targets(&self) -> Vec<NamedTarget> {
        vec![("memory".into(), Arc::new(self.target.clone()))]
    }

    fn job(&self, question: Question) -> BisectJob {
        let command = ["sh", "-c", "test $(cat number) -lt 4", "sh"].map(str::to_owned).into();
        BisectJob {
            keys: None,
            targets: self.targets(),
            service: "app".into(),
            question,
            store: None,
            tester: Tester {
                checkers: Checkers { kinds: crate::ops::builtin_kinds().stores, live: Vec::new() },
                settings: DrillSettings { command, ..DrillSettings::default() },
                root: self.base.path().join("service"),
                environment: Vec::new(),
            },
            scratch: self.base.path().join("scratch"),
            scratch_in_memory: true,
            limits: Limits::default(),
            threads: 1,
        }
    }

    async fn bisect(&self, question: Question) -> Result<BisectReport> {
        let scope = Scope::default();
        let report = tokio::time::timeout(Duration::from_secs(120), bisect(&scope, self.job(question)));
        let report = report.await.expect("it hangs");
        assert_eq!(std::fs::read_dir(self.base.path().join("scratch")).unwrap().count(), 0, "scratch keeps something");
        report
    }

    fn id(&self, number: usize) -> &str {
        &self.made[number].0
    }
}

fn found(report: &BisectReport) -> (Option<&str>, Option<&str>) {
    let id = |of: &Option<BisectedSnapshot>| of.as_ref().map(|snapshot| snapshot.snapshot_id.clone().leak() as &str);
    (id(&report.good), id(&report.bad))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_one_of_thirty_is_found_with_few_restores_of_one_database() {
    // The row of every backup is lost from the 18th on.
    let scene = Scene::new(30, |number| match number {
        18.. => "DELETE FROM backups".to_owned(),
        _ => format!("INSERT INTO backups VALUES ({number})"),
    })
    .await;
    let count = Question::Query("SELECT count(*) FROM backups".to_owned());
    let report = scene.bisect(count.clone()).await.unwrap();
    assert_eq!(found(&report), (Some(scene.id(17)), Some(scene.id(18))), "{report:#?}");
    assert!(report.neighbours_agree && report.snapshots == 30);
    // The newest, five halvings, two neighbours.
    assert!(report.restores <= 8, "{} restores", report.restores);
    assert_eq!(report.restores, report.probes.len() as u64);
    assert_eq!(report.probes[0].snapshot.snapshot_id, scene.id(29));
    assert_eq!(report.probes[0].message.as_deref(), Some("it returned 0"));

    // Those in the middle cannot be read, one of them not even its index.
    for number in 14..=18 {
        scene.target.tamper(&scene.made[number].1, |bytes| bytes[40] ^= 0xff);
    }
    scene.target.tamper(&scene.made[16].1, |bytes| bytes.truncate(bytes.len() / 2));
    let report = scene.bisect(count).await.unwrap();
    assert_eq!(found(&report), (Some(scene.id(13)), Some(scene.id(19))), "{report:#?}");
    assert!(report.probes.iter().any(|probe| probe.verdict == BisectVerdict::Unreadable && probe.message.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integrity_and_programs_are_asked_as_well() {
    // From the fourth on a row is not in its index, which no quick check of a backup sees.
    let scene = Scene::new(7, |number| match number {
        3 => "INSERT INTO t VALUES ('a'); PRAGMA writable_schema = ON;
              CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'i'; DELETE FROM sqlite_schema WHERE name = 'i';
              PRAGMA writable_schema = RESET; UPDATE t SET v = 'b'; PRAGMA writable_schema = ON;
              INSERT INTO sqlite_schema SELECT * FROM kept; DROP TABLE kept;"
            .to_owned(),
        _ => "SELECT 1".to_owned(),
    })
    .await;
    let report = scene.bisect(Question::Integrity).await.unwrap();
    assert_eq!(found(&report), (Some(scene.id(2)), Some(scene.id(3))), "{report:#?}");
    let report = scene.bisect(Question::Command).await.unwrap();
    assert_eq!(found(&report), (Some(scene.id(3)), Some(scene.id(4))), "{report:#?}");
    // All is well: one restore, and that of a neighbour.
    let report = scene.bisect(Question::Query("SELECT count(*) = 0 FROM backups".into())).await.unwrap();
    assert_eq!((found(&report), report.restores), ((Some(scene.id(6)), None), 2));
    // It never held.
    let report = scene.bisect(Question::Query("SELECT 1 FROM orders".into())).await.unwrap();
    assert_eq!(found(&report), (None, Some(scene.id(0))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_said_at_once() {
    let scene = Scene::new(2, |_| "SELECT 1".to_owned()).await;
    let error = scene.bisect(Question::Query("SELEC 1".into())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let mut job = scene.job(Question::Integrity);
    job.store = Some("orders".into());
    let report = bisect(&Scope::default(), job).await.unwrap();
    assert_eq!((found(&report), report.restores), ((None, None), 0));
    let mut job = scene.job(Question::Integrity);
    job.service = "other".into();
    assert_eq!(bisect(&Scope::default(), job).await.unwrap_err().kind(), ErrorKind::NotFound);
}
