//! Drills of real archives of a small service with a SQLite database.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::backup::checkers::Checkers;
use crate::backup::create::{CreateJob, CreateReport, create};
use crate::backup::manifest::{Entry, Node};
use crate::backup::nodes::{ExtractOptions, Extracted, Roll, Selection};
use crate::cancel::Progress;
use crate::config::{BackupSettings, DrillSettings};
use crate::fs::Dir;
use crate::testing::MemoryTarget;

/// A service with a database of 100 users, backed up in two targets.
struct Scene {
    base: tempfile::TempDir,
    one: MemoryTarget,
    two: MemoryTarget,
}

impl Scene {
    fn new() -> Self {
        let scene =
            Self { base: tempfile::tempdir().unwrap(), one: MemoryTarget::default(), two: MemoryTarget::default() };
        std::fs::create_dir_all(scene.root().join("data")).unwrap();
        std::fs::create_dir_all(scene.root().join("config")).unwrap();
        std::fs::write(scene.root().join("config/app.toml"), "port = 1\n").unwrap();
        scene.sql(
            "PRAGMA journal_mode = WAL; CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT);
             CREATE INDEX users_name ON users(name); CREATE TABLE empty(x);
             INSERT INTO users(name) WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 100)
             SELECT 'user ' || i FROM n;",
        );
        scene
    }

    fn root(&self) -> PathBuf {
        self.base.path().canonicalize().unwrap().join("service")
    }

    fn scratch(&self) -> PathBuf {
        self.base.path().join("scratch")
    }

    fn sql(&self, sql: &str) {
        Connection::open(self.root().join("data/main.db")).unwrap().execute_batch(sql).unwrap();
    }

    fn targets(&self) -> Vec<NamedTarget> {
        vec![("one".into(), Arc::new(self.one.clone())), ("two".into(), Arc::new(self.two.clone()))]
    }

    async fn backup(&self) -> CreateReport {
        let job = CreateJob {
            service: "app".into(),
            host: "here".into(),
            settings: BackupSettings { scratch_in_memory: true, ..BackupSettings::default() },
            targets: self.targets(),
            ..CreateJob::new(self.root(), self.base.path().join("state"), crate::ops::builtin_kinds().stores)
        };
        create(&Scope::default(), job).await.unwrap()
    }

    fn job(&self, settings: DrillSettings) -> DrillJob {
        DrillJob {
            keys: None,
            targets: self.targets(),
            service: Some("app".into()),
            snapshot: "latest".into(),
            into: None,
            checks: DrillCheck::ALL.into(),
            tester: Tester {
                checkers: Checkers { kinds: crate::ops::builtin_kinds().stores, live: Vec::new() },
                settings,
                root: self.root(),
                environment: vec![(
                    "UPLIFTED__DATABASE__PATH".into(),
                    self.root().join("data/main.db").to_str().unwrap().to_owned(),
                )],
            },
            scratch: self.scratch(),
            scratch_in_memory: true,
            limits: Limits::default(),
            threads: 2,
            drilled: Vec::new(),
            onward: None,
            earlier: EarlierRows::new(),
        }
    }

    /// A drill that ends, and leaves nothing.
    async fn drill(&self, settings: DrillSettings) -> DrillReport {
        self.drill_job(self.job(settings)).await.unwrap()
    }

    async fn drill_job(&self, job: DrillJob) -> Result<DrillReport> {
        let scope = Scope::default();
        let drilled = tokio::time::timeout(Duration::from_secs(60), drill(&scope, job));
        let drilled = drilled.await.expect("the drill hangs");
        assert!(is_empty(&self.scratch()), "scratch keeps something");
        drilled
    }
}

fn is_empty(folder: &Path) -> bool {
    !folder.exists() || std::fs::read_dir(folder).unwrap().count() == 0
}

fn steps(report: &DrillReport) -> Vec<(DrillPhase, bool)> {
    report.steps.iter().map(|step| (step.step, step.ok)).collect()
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script, "sh"].map(str::to_owned).into()
}

fn complaints(report: &DrillReport) -> String {
    report.problems.iter().map(|problem| format!("{:?}: {}\n", problem.step, problem.message)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_snapshot_is_restored_counted_and_removed() {
    let scene = Scene::new();
    let made = scene.backup().await;
    let before = scene.one.keys();
    let report = scene.drill(DrillSettings::default()).await;
    assert!(report.ok, "{report:#?}");
    use DrillPhase::{Find, Integrity, Open, Restore, Rows};
    assert_eq!(steps(&report), [Find, Open, Restore, Integrity, Rows].map(|step| (step, true)));
    assert_eq!((report.snapshot_id.as_str(), report.target.as_str()), (made.snapshot_id.as_str(), "one"));
    assert!(report.snapshot_time.is_some() && report.into.is_none());
    assert_eq!((report.restored_files, report.size_bytes), (made.files, made.size_bytes));
    assert!(report.recovery_seconds > 0.0 && report.recovery_seconds <= report.duration_seconds);
    let [database] = &report.databases[..] else { panic!("{report:#?}") };
    assert!(database.sound);
    let table = |name: &str, rows| DrilledTable { table: name.into(), rows, rows_at_backup: Some(rows) };
    assert_eq!(database.tables, [table("empty", 0), table("users", 100)]);
    assert_eq!(scene.one.keys(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_a_quick_check_misses_is_found() {
    let scene = Scene::new();
    // The index is taken out of the schema while rows come in, and put back: its tree lacks them.
    scene.sql(
        "PRAGMA writable_schema = ON;
         CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'users_name';
         DELETE FROM sqlite_schema WHERE name = 'users_name';",
    );
    scene.sql("UPDATE users SET name = 'nobody finds me by name' WHERE id = 7;");
    scene.sql("PRAGMA writable_schema = ON; INSERT INTO sqlite_schema SELECT * FROM kept; DROP TABLE kept;");
    let made = scene.backup().await;
    assert_eq!(made.outcome, Outcome::Complete, "the quick check of the backup sees it: {made:#?}");
    let report = scene.drill(DrillSettings::default()).await;
    assert!(!report.ok);
    assert!(complaints(&report).contains("Integrity: row 7 missing from index users_name"), "{report:#?}");
    assert!(!report.databases[0].sound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_lost_since_the_backup_are_named_and_since_the_last_drill_told() {
    let scene = Scene::new();
    scene.backup().await;
    let job = scene.job(DrillSettings::default());
    let copy = find_copy(&Scope::default(), &job).await.unwrap().value;
    let mut manifest = open_source(&Scope::default(), &copy).await.unwrap().manifest().clone();
    let count = async |manifest: &Manifest, earlier: &EarlierRows| {
        rows::count(&Scope::default(), &job.tester, manifest, &scene.root(), earlier).await.unwrap()
    };
    let earlier = EarlierRows::from([
        (("data/main.db".to_owned(), "users".to_owned()), 201),
        (("data/main.db".to_owned(), "empty".to_owned()), 0),
        (("another".to_owned(), "users".to_owned()), 9000),
    ]);
    let counted = count(&manifest, &earlier).await;
    assert!(counted.problems.is_empty());
    assert_eq!(counted.value.warnings.len(), 1, "{:?}", counted.value.warnings);
    assert!(counted.value.warnings[0].contains("has 100 rows, it had 201"));

    manifest.stores[0].details["rows"] = serde_json::json!({"users": 101, "empty": 0, "gone": 7});
    let messages: Vec<String> =
        count(&manifest, &EarlierRows::new()).await.problems.into_iter().map(|problem| problem.message).collect();
    assert_eq!(
        messages,
        [
            "table \"gone\" is not there, it had 7 rows when the backup was made",
            "table \"users\" has 100 rows, it had 101 when the backup was made"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_must_hold() {
    let scene = Scene::new();
    scene.backup().await;
    let asking = |queries: &[&str]| DrillSettings {
        queries: [("data/main.db".to_owned(), queries.iter().map(|sql| (*sql).to_owned()).collect())].into(),
        ..DrillSettings::default()
    };
    let good = ["SELECT count(*) = 100 FROM users", "SELECT name FROM users WHERE id = 7", "SELECT 0.5"];
    let report = scene.drill(asking(&good)).await;
    assert!(report.ok && report.steps.last().unwrap().step == DrillPhase::Queries, "{report:#?}");

    let bad = ["SELECT 1 FROM users WHERE id > 100", "SELECT 0", "SELECT NULL", "SELECT 1 FROM orders"];
    let report = scene.drill(asking(&bad)).await;
    assert_eq!(report.problems.len(), 4, "{report:#?}");
    for (problem, why) in report.problems.iter().zip(["no row", "returned 0", "null", "no such table: orders"]) {
        assert!(problem.message.contains(why) && problem.message.contains("does not hold"), "{problem:?}");
    }

    // What is no question is a mistake in the settings, and no verdict about the backup.
    let live = scene.root().join("data/main.db");
    let attach = format!("ATTACH '{}' AS live", live.display());
    for wrong in ["SELEC 1", "DELETE FROM users", "DROP TABLE users", attach.as_str(), "SELECT 1; DELETE FROM users"] {
        let error = scene.drill_job(scene.job(asking(&[wrong]))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}: {error}");
    }

    let endless = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let report = scene.drill(DrillSettings { deadline_seconds: 0.3, ..asking(&[endless]) }).await;
    assert!(complaints(&report).contains("did not end within 0.3 s and was stopped"), "{report:#?}");

    let unknown = DrillSettings { queries: [("orders".to_owned(), vec!["SELECT 1".to_owned()])].into(), ..asking(&[]) };
    assert!(complaints(&scene.drill(unknown).await).contains("no database \"orders\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_of_the_service_work_on_the_copy() {
    let scene = Scene::new();
    scene.backup().await;
    let live = std::fs::read(scene.root().join("data/main.db")).unwrap();
    // What a migration would do: it finds the database by the variable that names the live one.
    let settings = DrillSettings {
        migrate: shell(
            "test \"$PWD\" = \"$1\" && test \"$UPLIFTED_OPS_DRILL\" = \"$1\" && echo changed > \"$1/config/app.toml\"",
        ),
        command: shell(
            "grep -q changed config/app.toml && cp \"$UPLIFTED__DATABASE__PATH\" copy.db && rm \"$UPLIFTED__DATABASE__PATH\"",
        ),
        ..DrillSettings::default()
    };
    let report = scene.drill(settings).await;
    assert!(report.ok, "{report:#?}");
    assert_eq!(std::fs::read(scene.root().join("data/main.db")).unwrap(), live, "the live database was touched");

    for (script, deadline_seconds, why) in [
        ("echo no good >&2; exit 3", 600.0, "no good"),
        ("sleep 600 & sleep 600", 0.4, "did not end within 0.4 s and was killed"),
    ] {
        let settings = DrillSettings { command: shell(script), deadline_seconds, ..DrillSettings::default() };
        let report = scene.drill(settings).await;
        assert_eq!(steps(&report).last(), Some(&(DrillPhase::Command, false)));
        assert!(complaints(&report).contains(why), "{report:#?}");
    }
    let missing = DrillSettings { command: vec!["no-such-program".into()], ..DrillSettings::default() };
    assert!(complaints(&scene.drill(missing).await).contains("no such program"));

    // What was not asked for is not done.
    let settings = DrillSettings { command: shell("exit 1"), ..DrillSettings::default() };
    let job = DrillJob { checks: BTreeSet::new(), ..scene.job(settings) };
    let report = scene.drill_job(job).await.unwrap();
    assert!(report.ok && report.steps.len() == 4, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_archive_is_an_answer() {
    let scene = Scene::new();
    // Of several frames, so that not all is lost with one.
    let mut noise = vec![0; 12 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    std::fs::write(scene.root().join("noise"), noise).unwrap();
    let made = scene.backup().await;
    scene.one.tamper(&made.key, |bytes| bytes[made.stored_bytes as usize / 2] ^= 0xff);
    let report = scene.drill(DrillSettings::default()).await;
    assert!(!report.ok && report.target == "one", "{report:#?}");
    assert!(report.problems.iter().any(|p| p.step == DrillPhase::Restore && p.path.is_some()), "{report:#?}");
    // What is undamaged is tested all the same.
    assert!(report.databases[0].sound, "{report:#?}");

    scene.one.tamper(&made.key, |bytes| bytes.truncate(bytes.len() / 2));
    let job = DrillJob { snapshot: made.snapshot_id.clone(), ..scene.job(DrillSettings::default()) };
    let report = scene.drill_job(job).await.unwrap();
    assert_eq!(steps(&report), [(DrillPhase::Find, true), (DrillPhase::Open, false)]);
    assert!(!report.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_take_turns() {
    let scene = Scene::new();
    scene.backup().await;
    let at = |second| Timestamp::from_second(second).unwrap();
    for (drilled, turn) in [
        (vec![], "one"),
        (vec![("one".to_owned(), at(5))], "two"),
        (vec![("one".to_owned(), at(5)), ("two".to_owned(), at(4))], "two"),
        (vec![("one".to_owned(), at(5)), ("two".to_owned(), at(6))], "one"),
    ] {
        let job = DrillJob { drilled, checks: BTreeSet::new(), ..scene.job(DrillSettings::default()) };
        assert_eq!(scene.drill_job(job).await.unwrap().target, turn);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_named_keeps_the_copy() {
    let scene = Scene::new();
    scene.backup().await;
    let into = scene.base.path().join("kept");
    let job = DrillJob { into: Some(into.clone()), ..scene.job(DrillSettings::default()) };
    let report = scene.drill_job(job.clone()).await.unwrap();
    assert_eq!(report.into.unwrap().as_path(), into.canonicalize().unwrap());
    assert_eq!(std::fs::read(into.join("config/app.toml")).unwrap(), b"port = 1\n");
    let error = scene.drill_job(job).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_leaves_nothing_and_so_does_a_drill_that_was_killed() {
    let scene = Scene::new();
    std::fs::set_permissions(scene.root().join("config"), std::fs::Permissions::from_mode(0o555)).unwrap();
    scene.backup().await;
    for stage in ["restoring", "checking the restored databases", "letting the service look at the restored copy"] {
        let mut scope = Scope::default();
        let cancel = scope.cancel.clone();
        scope.progress = Progress::new(move |event| {
            if event.stage == stage {
                cancel.cancel();
            }
        });
        let job = scene.job(DrillSettings { command: shell("sleep 600"), ..DrillSettings::default() });
        let drilled = tokio::time::timeout(Duration::from_secs(60), drill(&scope, job)).await.expect("it hangs");
        assert_eq!(drilled.unwrap_err().kind(), ErrorKind::Cancelled, "{stage}");
        assert!(is_empty(&scene.scratch()), "{stage}");
    }
    // What a killed one left, its restored tree with folders that nobody may write included.
    let litter = scene.scratch().join("run-0123456789ab");
    let job = DrillJob { into: Some(litter.join("restored")), ..scene.job(DrillSettings::default()) };
    drill(&Scope::default(), job).await.unwrap();
    std::fs::create_dir_all(litter.join("state/restore/half")).unwrap();
    std::fs::write(scene.scratch().join("run-0123456789ab.lock"), b"").unwrap();
    assert!(scene.drill(DrillSettings::default()).await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_drills_do_not_meet() {
    let scene = Scene::new();
    scene.backup().await;
    let job = || scene.job(DrillSettings { command: shell("sleep 0.2"), ..DrillSettings::default() });
    let scope = Scope::default();
    let (one, two) = tokio::join!(drill(&scope, job()), drill(&scope, job()));
    assert!(one.unwrap().ok && two.unwrap().ok);
    assert!(is_empty(&scene.scratch()));
}

/// A snapshot that is larger than any disk.
struct Huge(Manifest, Vec<Entry>);

impl Source for Huge {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn entries(&self) -> &dyn Roll {
        &self.1
    }

    fn extract(&self, _: &Scope, _: &Selection, _: &Dir, _: &ExtractOptions) -> Result<Extracted> {
        panic!("it began to restore what has no room");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_room_is_refused_with_numbers_before_it_begins() {
    let scene = Scene::new();
    let entry = Entry {
        path: RelPath::new("huge"),
        node: Node::File { size: 1 << 60, blake3: None, data: None, valid_size: None },
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nanos: 0,
        xattrs: Vec::new(),
        offset: 0,
    };
    let source = Arc::new(Huge(Manifest::of_nothing("0123456789ab"), vec![entry]));
    let (scope, job) = (Scope::default(), scene.job(DrillSettings::default()));
    let error = rehearse(&mut Run::start(&scope, &job), &job, source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.message().contains("needs 1048576.0 TiB") && error.message().contains("free"), "{error}");
    assert!(error.hint().unwrap().contains("backup.scratch"));
    assert!(is_empty(&scene.scratch()));
}
