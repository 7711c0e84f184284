//! Restores from what the guide's own script made, over a database in use.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use super::*;
use crate::backup::checkers::Checkers;
use crate::backup::restore::{Action, RestoreJob, RestorePlan, RestoreReport, Service, Site, apply, plan, undo};
use crate::backup::targets::fs::FsTarget;
use crate::store::CheckDepth;

/// The guide's `scripts/backup.sh`, with the folders of the test for its own.
const SCRIPT: &str = r#"#!/bin/bash
BACKUP_DIR="@BASE@/backup"
DATE=$1
BACKUP_PATH="$BACKUP_DIR/uplifted_$DATE"
mkdir -p "$BACKUP_PATH"
cp -r @BASE@/uplifted/data "$BACKUP_PATH/"
cp -r @BASE@/uplifted/config "$BACKUP_PATH/"
cp @BASE@/uplifted/.env "$BACKUP_PATH/"
cp -r @BASE@/uplifted/plugins "$BACKUP_PATH/"
tar -czf "$BACKUP_PATH.tar.gz" -C "$BACKUP_DIR" "uplifted_$DATE"
rm -rf "$BACKUP_PATH"
"#;

/// A `cp` that has taken half of the database when the service rewrites it.
const SLOW_CP: &str = r#"#!/bin/sh
/bin/cp "$@"
case "$2" in */data)
    touch @BASE@/half
    while ! test -e @BASE@/go; do sleep 0.01; done
    pages=$(($(stat -c %s "$3/data/app.db") / 8192))
    dd if="$2/app.db" of="$3/data/app.db" bs=4096 skip=$pages seek=$pages conv=notrunc status=none
esac
"#;

fn sqlite_scene() -> Scene {
    let mut scene = Scene::new();
    scene.kinds = Registry::new("store");
    scene.kinds.register(crate::store::sqlite::KIND);
    scene.shell(
        "mkdir -p uplifted/data uplifted/config uplifted/plugins/one uplifted/logs bin; echo 'port: 1' > uplifted/config/app.yaml; \
         echo 'KEY=1' > uplifted/.env; echo 'name: one' > uplifted/plugins/one/manifest.yaml; echo now > uplifted/logs/app.log",
    );
    let base = scene.base.path().display().to_string();
    for (name, text) in [("backup.sh", SCRIPT), ("bin/cp", SLOW_CP)] {
        std::fs::write(scene.path(name), text.replace("@BASE@", &base)).unwrap();
        std::fs::set_permissions(scene.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    scene
}

/// Fills the table with so many rows of so many bytes, all of them new.
fn fill(database: &Connection, rows: u32, bytes: u32) {
    database
        .execute_batch(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t SELECT i, randomblob({bytes}) FROM n; CREATE INDEX i ON t (x);"
        ))
        .unwrap();
}

impl Scene {
    fn database(&self) -> Connection {
        let database = Connection::open(self.path("uplifted/data/app.db")).unwrap();
        database.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        database
    }

    async fn open(&self, file: &str) -> Result<Arc<dyn Source>> {
        let create = CreateJob {
            service: "app".into(),
            ..CreateJob::new(self.path("x"), self.path("state"), self.kinds.clone())
        };
        let job = ImportJob {
            path: self.path(file),
            create,
            scratch: self.path("scratch"),
            scratch_in_memory: true,
            limits: Limits::default(),
        };
        let job = ImportJob {
            create: CreateJob {
                settings: BackupSettings { scratch_in_memory: true, ..BackupSettings::default() },
                ..job.create
            },
            ..job
        };
        open_file(&Scope::default(), job, |folder| Ok(Arc::new(FsTarget::new(folder)))).await
    }

    /// Plans a restore of a file, and carries it out.
    async fn restore(&self, file: &str, into: Option<PathBuf>, salvage: bool) -> (RestorePlan, Result<RestoreReport>) {
        let source = self.open(file).await.unwrap();
        let (root, state) = (self.path("uplifted"), self.path("uplifted/.uplifted-ops"));
        let checkers = Checkers { kinds: self.kinds.clone(), live: Vec::new() };
        let done = blocking(move || {
            let check = |record: &crate::backup::manifest::StoreRecord, file: &Path| {
                let store = checkers.store_for(record, file)?;
                let folder = file.parent().unwrap().to_owned();
                let scope = Scope::default();
                tokio::runtime::Handle::current().block_on(store.check_copy(&scope, &folder, CheckDepth::Quick))
            };
            let job = RestoreJob {
                site: Site { root, state, service: Service::default(), ..Site::default() },
                source: source.as_ref(),
                into,
                paths: Vec::new(),
                threads: 1,
                limits: Limits::default(),
                salvage,
                check: &check,
            };
            let planned = plan(&Scope::default(), &job)?;
            let applied = apply(&Scope::default(), &job, &planned);
            Ok((planned, applied))
        });
        let done = done.await.unwrap();
        let left = std::fs::read_dir(self.path("scratch")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "something is left in scratch");
        done
    }
}

fn rows(file: &Path) -> i64 {
    let database = Connection::open(file).unwrap();
    let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    database.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_archive_is_planned_restored_and_undone() {
    let scene = sqlite_scene();
    let database = scene.database();
    database.execute_batch("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;").unwrap();
    fill(&database, 500, 300);
    scene.shell("./backup.sh 20260101_020000");
    let file = "backup/uplifted_20260101_020000.tar.gz";
    let out = scene.path("out");
    let (planned, applied) = scene.restore(file, Some(out.clone()), false).await;
    let report = applied.unwrap();
    assert_eq!(planned.snapshot_id, scene.path(file).display().to_string());
    assert!(planned.warnings.iter().any(|warning| warning.contains("torn")), "{:?}", planned.warnings);
    assert!(report.warnings.iter().any(|warning| warning.contains("torn")));
    assert_eq!((planned.blockers, report.restored_files), (Vec::<String>::new(), 4));
    // The log was played into it, and is gone: nothing of it can be replayed over anything.
    assert!(!out.join("data/app.db-wal").exists() && !out.join("data/app.db-shm").exists());
    assert_eq!(rows(&out.join("data/app.db")), 500);
    assert_eq!(std::fs::read_to_string(out.join(".env")).unwrap(), "KEY=1\n");

    // In place: what the archive does not know is left alone, and all of it can be taken back.
    fill(&database, 900, 10);
    drop(database);
    std::fs::write(scene.path("uplifted/config/new.yaml"), "new").unwrap();
    let (planned, applied) = scene.restore(file, None, false).await;
    let undo_id = applied.unwrap().undo_id.unwrap();
    let replaced: Vec<(String, Action)> =
        planned.units.iter().map(|unit| (unit.path.to_string(), unit.action)).collect();
    assert!(replaced.iter().all(|(name, _)| name != "logs"), "{replaced:?}");
    assert_eq!(rows(&scene.path("uplifted/data/app.db")), 500);
    assert!(!scene.path("uplifted/config/new.yaml").exists());
    assert_eq!(std::fs::read_to_string(scene.path("uplifted/logs/app.log")).unwrap(), "now\n");
    let (root, state) = (scene.path("uplifted"), scene.path("uplifted/.uplifted-ops"));
    blocking(move || {
        let site = Site { root, state, service: Service::default(), ..Site::default() };
        undo(&Scope::default(), &site, &undo_id)
    })
    .await
    .unwrap();
    assert_eq!(rows(&scene.path("uplifted/data/app.db")), 900);
    assert!(scene.path("uplifted/config/new.yaml").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_database_is_named_with_the_repair_and_restored_only_when_salvaging() {
    let scene = sqlite_scene();
    let database = scene.database();
    fill(&database, 2000, 400);
    let base = scene.base.path().to_owned();
    let script = std::thread::spawn(move || {
        let path = format!("{}:{}", base.join("bin").display(), std::env::var("PATH").unwrap());
        let done =
            Command::new("bash").arg("backup.sh").arg("20260102_020000").env("PATH", path).current_dir(&base).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    });
    let begun = std::time::Instant::now();
    while !scene.path("half").exists() {
        assert!(begun.elapsed().as_secs() < 60, "the script hangs");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fill(&database, 3000, 350);
    drop(database);
    std::fs::write(scene.path("go"), "").unwrap();
    script.join().unwrap();

    let file = "backup/uplifted_20260102_020000.tar.gz";
    let (planned, applied) = scene.restore(file, None, false).await;
    let [blocker] = &planned.blockers[..] else { panic!("{planned:#?}") };
    assert!(blocker.contains("data/app.db is damaged") && blocker.contains(".recover"), "{blocker}");
    let error = applied.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("data/app.db"), "{error}");
    assert_eq!(rows(&scene.path("uplifted/data/app.db")), 3000, "nothing was touched");

    let out = scene.path("out");
    let (planned, applied) = scene.restore(file, Some(out.clone()), true).await;
    assert!(planned.blockers.is_empty());
    let report = applied.unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains(".recover")), "{report:#?}");
    assert!(out.join("data/app.db").exists(), "for whoever recovers it");
    assert_eq!(std::fs::read_to_string(out.join("config/app.yaml")).unwrap(), "port: 1\n");
}

/// Pages of two moments that are each well-formed: what a copy of a busy database comes to now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_another_moment_than_its_table_is_damage() {
    let scene = sqlite_scene();
    let file = scene.path("uplifted/data/app.db");
    let database = scene.database();
    database.execute_batch("CREATE TABLE t (x); CREATE INDEX i ON t (x); INSERT INTO t VALUES (1), (2);").unwrap();
    let before = std::fs::read(&file).unwrap();
    database.execute("UPDATE t SET x = 3 WHERE x = 2", []).unwrap();
    let page: u32 =
        database.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'i'", [], |row| row.get(0)).unwrap();
    drop(database);
    let mut torn = std::fs::read(&file).unwrap();
    let page = (page as usize - 1) * 4096..page as usize * 4096;
    torn[page.clone()].copy_from_slice(&before[page]);
    std::fs::write(&file, torn).unwrap();
    let quick: String = Connection::open(&file).unwrap().query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap();
    assert_eq!(quick, "ok", "this is no test of the full check");

    scene.shell("bash backup.sh 20260102_020000");
    let (planned, applied) =
        scene.restore("backup/uplifted_20260102_020000.tar.gz", Some(scene.path("out")), false).await;
    assert!(planned.blockers.iter().any(|blocker| blocker.contains("data/app.db is damaged")), "{planned:#?}");
    assert_eq!(applied.unwrap_err().kind(), ErrorKind::Refused);
}

/// Whatever moment the script meets: either the database passes every check, or it is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_copied_from_a_busy_service_is_sound_or_named() {
    let scene = sqlite_scene();
    let database = scene.database();
    database.execute_batch("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 50;").unwrap();
    fill(&database, 3000, 400);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut round = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                round += 1;
                database.execute("UPDATE t SET x = randomblob(400) WHERE id % 97 = ?1", [round % 97]).unwrap();
            }
        })
    };
    for night in 1..=4 {
        scene.shell(&format!("bash backup.sh 2026020{night}_020000"));
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    writer.join().unwrap();
    for night in 1..=4 {
        let (out, file) =
            (scene.path(&format!("out-{night}")), format!("backup/uplifted_2026020{night}_020000.tar.gz"));
        let (planned, applied) = scene.restore(&file, Some(out.clone()), false).await;
        match applied {
            Ok(_) => assert_eq!(rows(&out.join("data/app.db")), 3000, "night {night}"),
            Err(error) => {
                assert!(planned.blockers.iter().any(|blocker| blocker.contains("data/app.db")), "{error}");
                assert!(!out.exists());
            }
        }
    }
}
