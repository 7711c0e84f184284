use std::process::Command;

use super::*;
use crate::backup::create::NamedTarget;
use crate::backup::list::find;
use crate::backup::manifest::SkipReason;
use crate::backup::restore::Source;
use crate::component::Registry;
use crate::config::BackupSettings;
use crate::store::Store;
use crate::testing::MemoryTarget;

#[cfg(feature = "sqlite")]
mod open;

struct Scene {
    base: tempfile::TempDir,
    targets: Vec<NamedTarget>,
    kinds: Registry<dyn Store>,
}

impl Scene {
    fn new() -> Self {
        let target: NamedTarget = ("local".into(), Arc::new(MemoryTarget::default()));
        Self { base: tempfile::tempdir().unwrap(), targets: vec![target], kinds: crate::backup::fake_store::kinds() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// Runs a line of the shell in the base folder.
    fn shell(&self, line: &str) {
        let output = Command::new("sh").arg("-ec").arg(line).current_dir(self.base.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn import(&self, file: &str) -> Result<ImportReport> {
        let scratch = self.path("scratch");
        let create = CreateJob {
            service: "app".into(),
            host: "here".into(),
            settings: BackupSettings {
                scratch: Some(scratch.clone()),
                scratch_in_memory: true,
                clear_secrets: Some(true),
                ..BackupSettings::default()
            },
            targets: self.targets.clone(),
            ..CreateJob::new(self.path("nothing"), self.path("state"), self.kinds.clone())
        };
        let limits = Limits::default();
        let job = ImportJob { path: self.path(file), create, scratch, scratch_in_memory: true, limits };
        let report = import(&Scope::default(), job).await;
        let left = std::fs::read_dir(self.path("scratch")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "something is left in scratch");
        report
    }

    async fn source(&self, id: &str) -> Arc<dyn Source> {
        let copies = find(&Scope::default(), &self.targets, &None, None, id).await.unwrap();
        copies[0].source(&Scope::default(), 1000, false).await.unwrap()
    }

    async fn names(&self, id: &str) -> Vec<String> {
        let source = self.source(id).await;
        let mut names: Vec<String> = source.entries().iter().map(|entry| entry.path.to_string()).collect();
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_archives_become_snapshots_of_their_time() {
    let scene = Scene::new();
    let content = String::from_utf8(crate::backup::fake_store::content("main")).unwrap();
    scene.shell(&format!(
        "mkdir -p uplifted_20260105_020000/data uplifted_20260105_020000/config; cd uplifted_20260105_020000; \
         printf '%s' '{content}' > data/app.db; echo a > config/app.yaml; echo S=1 > .env; ln -s data link; \
         ln config/app.yaml config/again; find . -exec touch -h -d 2026-01-05T02:00:00Z {{}} +; cd ..; \
         tar -czf guide.tar.gz -C . uplifted_20260105_020000; tar -cf guide.tar -C uplifted_20260105_020000 .; \
         tar --format=pax -cf - -C uplifted_20260105_020000 . | zstd -q > guide.tar.zst"
    ));
    for file in ["guide.tar.gz", "guide.tar", "guide.tar.zst"] {
        let report = scene.import(file).await.unwrap();
        assert_eq!(report.created.outcome, Outcome::Complete, "{report:?}");
        assert_eq!(report.time, "2026-01-05T02:00:00Z".parse().unwrap());
        assert_eq!(report.created.stores.len(), 1, "the database is recognised");
        let id = &report.created.snapshot_id;
        assert_eq!(
            scene.names(id).await,
            [".env", "config", "config/again", "config/app.yaml", "data", "data/app.db", "link"]
        );
        let source = scene.source(id).await;
        assert_eq!(source.manifest().label.as_deref(), Some(format!("imported from {file}").as_str()));
        assert_eq!(source.manifest().time, report.time);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_ours_keeps_its_time_and_label() {
    let scene = Scene::new();
    scene.shell("mkdir old_2026; echo a > old_2026/a; tar -cf first.tar old_2026");
    let first = scene.import("first.tar").await.unwrap();
    let key = first.created.key.clone();
    let bytes = scene.targets[0].1.get(&Scope::default(), &key, 0..1 << 20).await.unwrap();
    std::fs::write(scene.path("ours.tar.zst"), bytes).unwrap();
    let again = scene.import("ours.tar.zst").await.unwrap();
    assert_eq!((again.time, again.created.files), (first.time, 1));
    assert_ne!(again.created.snapshot_id, first.created.snapshot_id);
    let source = scene.source(&again.created.snapshot_id).await;
    assert_eq!(source.manifest().label.as_deref(), Some("imported from first.tar"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_archive_hostile_or_damaged_is_refused_with_nothing_left() {
    let scene = Scene::new();
    scene.shell(
        "mkdir t; echo a > t/a; head -c 300000 /dev/urandom > t/b; tar -czf good.tar.gz t; \
         head -c 200000 good.tar.gz > short.tar.gz; echo text > text; : > empty; \
         tar -cPf up.tar --transform 's,^t/a,../a,' t/a; tar -cPf root.tar --transform 's,^t/a,/tmp/r2-a,' t/a; \
         ln -s /tmp t/out; tar -cf link.tar --transform 's,^t/a$,t/out/a,' t/out t/a",
    );
    for (file, kind) in [
        ("missing", ErrorKind::NotFound),
        ("text", ErrorKind::InvalidInput),
        ("empty", ErrorKind::InvalidInput),
        ("short.tar.gz", ErrorKind::Corrupt),
        ("up.tar", ErrorKind::InvalidInput),
        ("root.tar", ErrorKind::InvalidInput),
        ("link.tar", ErrorKind::Refused),
    ] {
        let error = scene.import(file).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{file}: {error}");
    }
    assert!(!Path::new("/tmp/r2-a").exists());
}

/// What the guide's `cp` makes of a database in use: the main file and its log, side by side.
#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_log_is_played_into_the_copy_and_a_damaged_database_is_named() {
    let mut scene = Scene::new();
    scene.kinds = Registry::new("store");
    scene.kinds.register(crate::store::sqlite::KIND);
    let folder = scene.path("uplifted_20260105/data");
    std::fs::create_dir_all(&folder).unwrap();
    let live = scene.path("live.db");
    let connection = rusqlite::Connection::open(&live).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
             INSERT INTO t SELECT zeroblob(300) FROM n;",
        )
        .unwrap();
    for suffix in ["", "-wal"] {
        std::fs::copy(format!("{}{suffix}", live.display()), folder.join(format!("app.db{suffix}"))).unwrap();
    }
    scene.shell("tar -czf guide.tar.gz uplifted_20260105");
    let report = scene.import("guide.tar.gz").await.unwrap();
    assert_eq!(report.created.outcome, Outcome::Complete, "{report:?}");
    assert_eq!(scene.names(&report.created.snapshot_id).await, ["data", "data/app.db"]);
    let source = scene.source(&report.created.snapshot_id).await;
    let out = scene.path("out");
    std::fs::create_dir(&out).unwrap();
    let into = Dir::open(&out).unwrap();
    tokio::task::spawn_blocking(move || {
        source.extract(&Scope::default(), &Selection::All, &into, &ExtractOptions::default()).unwrap()
    })
    .await
    .unwrap();
    let restored = rusqlite::Connection::open(out.join("data/app.db")).unwrap();
    let rows: i64 = restored.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 500, "what was in the log alone is there");

    // The same, with the main file taken in the middle of a checkpoint.
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut torn = std::fs::read(&live).unwrap();
    let half = torn.len() / 2;
    torn[half..half + 8192].fill(0xa5);
    std::fs::write(folder.join("app.db"), torn).unwrap();
    std::fs::remove_file(folder.join("app.db-wal")).unwrap();
    scene.shell("tar -czf torn.tar.gz uplifted_20260105");
    let report = scene.import("torn.tar.gz").await.unwrap();
    assert_eq!(report.created.outcome, Outcome::Partial);
    let named = report.created.skipped.iter().any(|skipped| {
        skipped.path.as_path() == Path::new("data/app.db")
            && matches!(skipped.reason, SkipReason::Corrupt | SkipReason::Database)
    });
    assert!(named, "{:?}", report.created.skipped);
}
