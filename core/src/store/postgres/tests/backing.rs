//! A database in a backup: what is in it, and what is never taken for one.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::super::archive;
use super::*;
use crate::backup::checkers::Checkers;
use crate::backup::create::{CreateJob, CreateReport, create};
use crate::backup::manifest::{Outcome, SkipReason};
use crate::backup::verify::{VerifyDepth, VerifyJob, verify};
use crate::config::BackupSettings;
use crate::testing::MemoryTarget;
use crate::testing::postgres::versions;

/// A shop with what makes dumps hard.
const SHOP: &str = r#"
CREATE SCHEMA "Lä den";
CREATE TABLE "Lä den"."or ders "" ' (x) FROM stdin;" (id serial PRIMARY KEY, t text, twice int GENERATED ALWAYS AS (length(t) * 2) STORED);
INSERT INTO "Lä den"."or ders "" ' (x) FROM stdin;" (t) SELECT E'COPY a FROM stdin;\n\\.\n' || g FROM generate_series(1, 1000) g;
CREATE TABLE parted (g int, v text) PARTITION BY RANGE (g);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT g, g::text FROM generate_series(1, 250) g;
CREATE TABLE none ();
CREATE TABLE empty (a int CHECK (a > 0));
CREATE UNLOGGED TABLE forgetful AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM parted;
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$SELECT 'x
COPY parted FROM stdin;
'$$;
SELECT lo_from_bytea(0, 'large');
CREATE TABLE large AS SELECT g AS id, string_agg(md5((g * 7 + part)::text), '') AS v FROM generate_series(1, 60000) g, generate_series(1, 7) part GROUP BY g ORDER BY g;
"#;

/// A service's folder, its shop, and where its backups go.
pub(super) struct Scene {
    pub(super) root: tempfile::TempDir,
    pub(super) server: PostgresServer,
    target: MemoryTarget,
}

impl Scene {
    pub(super) fn new(programs: Option<PathBuf>) -> Self {
        let server = PostgresServer::with(PostgresOptions { programs, ..PostgresOptions::default() });
        server.sql("postgres", "CREATE DATABASE shop");
        server.sql("shop", SHOP);
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("data")).unwrap();
        std::fs::write(root.path().join("data/file"), "beside it").unwrap();
        Self { root, server, target: MemoryTarget::default() }
    }

    pub(super) fn store(&self, settings: PostgresSettings) -> Arc<PostgresStore> {
        let root = self.root.path().to_owned();
        let context = BuildContext { name: "main".into(), state: root.join("state"), root, service: String::new() };
        Arc::new(PostgresStore::new(&context, settings).unwrap())
    }

    pub(super) fn usual(&self) -> PostgresSettings {
        PostgresSettings {
            programs: Some(self.server.programs().to_owned()),
            ..PostgresSettings::new(self.server.url("shop"))
        }
    }

    async fn back_up(&self, settings: PostgresSettings, layout: &str) -> CreateReport {
        let kinds = crate::ops::builtin_kinds().stores;
        let job = CreateJob {
            settings: BackupSettings {
                scratch_in_memory: true,
                clear_secrets: Some(true),
                layout: Some(layout.into()),
                ..BackupSettings::default()
            },
            stores: vec![("main".into(), self.store(settings))],
            targets: vec![("memory".into(), Arc::new(self.target.clone()))],
            ..CreateJob::new(self.root.path().to_owned(), self.root.path().join(".uplifted-ops"), kinds)
        };
        create(&Scope::default(), job).await.unwrap()
    }

    async fn problems(&self, report: &CreateReport) -> Vec<String> {
        let job = VerifyJob {
            targets: vec![("memory".into(), Arc::new(self.target.clone()))],
            service: None,
            snapshot: report.snapshot_id.clone(),
            depth: VerifyDepth::Full,
            scratch: self.root.path().join("scratch"),
            scratch_in_memory: true,
            checkers: Checkers { kinds: crate::ops::builtin_kinds().stores, live: vec![self.store(self.usual())] },
            threads: 2,
            keys: Default::default(),
            state: self.root.path().join(".uplifted-ops"),
        };
        let verified = verify(&Scope::default(), job).await.unwrap();
        assert_eq!(verified.databases, ["main"]);
        verified.problems.into_iter().map(|problem| problem.message).collect()
    }

    /// A folder of programs in which `pg_dump` is this script. `$REAL` is the folder of the real ones.
    pub(super) fn programs(&self, script: &str) -> PathBuf {
        let folder = self.root.path().join("programs");
        std::fs::create_dir_all(&folder).unwrap();
        let real = self.server.programs();
        for name in ["pg_restore", "pg_dumpall"] {
            let _ = std::os::unix::fs::symlink(real.join(name), folder.join(name));
        }
        let text = format!(
            "#!/bin/sh\nREAL='{}'\n[ \"$1\" = --version ] && exec \"$REAL/pg_dump\" \"$@\"\nfor last; do :; done\n{script}\n",
            real.display()
        );
        std::fs::write(folder.join("pg_dump"), text).unwrap();
        std::fs::set_permissions(folder.join("pg_dump"), std::fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_each_version_is_in_the_backup_with_all_its_rows() {
    for programs in versions() {
        let scene = Scene::new(Some(programs));
        for layout in ["archive", "repository"] {
            let report = scene.back_up(scene.usual(), layout).await;
            assert_eq!((report.outcome, &report.skipped[..]), (Outcome::Complete, &[][..]), "{layout}");
            let [record] = &report.stores[..] else { panic!("{report:?}") };
            assert_eq!(
                (record.kind.as_str(), record.path.to_string().as_str(), record.check.ok),
                ("postgres", "main.pgdump", true)
            );
            for (table, rows) in [
                ("\"Lä den\".\"or ders \"\" ' (x) FROM stdin;\"", 1000),
                ("public.parted_1", 99),
                ("public.parted_2", 151),
                ("public.\"none\"", 0),
                ("public.empty", 0),
                ("public.forgetful", 1),
                ("public.large", 60_000),
            ] {
                assert_eq!(record.rows_of(table), Some(rows), "{table}: {:?}", record.details);
            }
            assert!(record.details["lsn"].as_str().unwrap().contains('/') && record.details["large_objects"] == 1);
            assert_eq!(scene.problems(&report).await, Vec::<String>::new(), "{layout}");
        }
        // What has not changed costs nothing the next day: what is stored are the chunks at the small tables and the contents.
        scene.server.sql("shop", "UPDATE parted SET v = 'other' WHERE g = 7");
        let next = scene.back_up(scene.usual(), "repository").await;
        assert!(next.size_bytes > 13_000_000 && next.stored_bytes < next.size_bytes / 2, "{next:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pg_dump_did_not_end_well_is_no_backup() {
    let scene = Scene::new(None);
    // (what pg_dump does instead, what is said)
    for (script, reason, words) in [
        ("echo half > \"$last\"; kill -9 $$", SkipReason::Database, "was not copied: the database was not dumped"),
        ("echo 'pg_dump: error: query failed: hunter' >&2; exit 1", SkipReason::Database, "query failed"),
        // Ours is the connection that holds the snapshot: without it, nobody knows what was dumped.
        (
            "\"$REAL/pg_dump\" \"$@\"; PGDATABASE=postgres \"$REAL/psql\" -Xqc \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'uplifted-ops' AND pid <> pg_backend_pid()\" >/dev/null; exit 0",
            SkipReason::Database,
            "the connection to PostgreSQL broke",
        ),
        // It ends well, and its last bytes are lost.
        ("\"$REAL/pg_dump\" \"$@\" && truncate -s -2000 \"$last\"", SkipReason::Corrupt, "the copy has nothing of"),
        // It ends well, and has dumped less than there was.
        ("\"$REAL/pg_dump\" \"$@\" --exclude-table=parted_1", SkipReason::Corrupt, "public.parted_1"),
    ] {
        let settings = PostgresSettings { programs: Some(scene.programs(script)), ..scene.usual() };
        let report = scene.back_up(settings, "archive").await;
        assert_eq!(report.outcome, Outcome::Partial, "{script}");
        let [skipped] = &report.skipped[..] else { panic!("{script}: {report:?}") };
        assert!(skipped.reason == reason && skipped.message.contains(words), "{script}: {skipped:?}");
        assert!(report.stores.iter().all(|record| !record.check.ok), "{script}: {report:?}");
    }
    // No program, none that is new enough, and a right that lacks.
    let none = PostgresSettings { programs: Some("/nonexistent".into()), ..scene.usual() };
    let report = scene.back_up(none, "archive").await;
    assert!(report.skipped[0].message.contains("postgresql-client-"), "{report:?}");
    scene.server.sql("shop", "CREATE ROLE small LOGIN");
    let small = PostgresSettings { url: scene.usual().url.replace("postgres@", "small@"), ..scene.usual() };
    let report = scene.back_up(small, "archive").await;
    assert!(report.skipped[0].message.contains("permission denied"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_in_no_argument_and_roles_are_without_theirs() {
    let scene = Scene::new(None);
    scene.server.sql("shop", "CREATE ROLE seller LOGIN SUPERUSER PASSWORD 'hunter2'");
    let seen = scene.root.path().join("seen");
    let script =
        format!("echo \"$@\" > '{0}'; echo $PGPASSWORD >> '{0}'; exec \"$REAL/pg_dump\" \"$@\"", seen.display());
    let settings = PostgresSettings {
        url: scene.usual().url.replace("postgres@", "seller:hunter2@"),
        programs: Some(scene.programs(&script)),
        ..scene.usual()
    };
    let into = tempfile::tempdir().unwrap();
    let snapshot = scene.store(settings.clone()).snapshot_to(&Scope::default(), into.path()).await.unwrap();
    let seen = std::fs::read_to_string(seen).unwrap();
    let (arguments, password) = seen.split_once('\n').unwrap();
    assert!(!arguments.contains("hunter2") && password == "hunter2\n", "{seen}");
    assert_eq!(snapshot.files, [PathBuf::from("main.pgdump"), PathBuf::from("main.globals.sql")]);
    let globals = || std::fs::read_to_string(into.path().join("main.globals.sql")).unwrap();
    assert!(globals().contains("CREATE ROLE seller") && !globals().contains("PASSWORD"), "{}", globals());
    assert_eq!(snapshot.details["without"], "passwords of roles: role_passwords is not set");
    let told = format!("{:?}{:?}", scene.store(settings.clone()), snapshot);
    assert!(!told.contains("hunter2"), "{told}");

    for name in snapshot.files {
        std::fs::remove_file(into.path().join(name)).unwrap();
    }
    let wanted = PostgresSettings { role_passwords: true, ..settings };
    scene.store(wanted).snapshot_to(&Scope::default(), into.path()).await.unwrap();
    assert!(globals().contains("PASSWORD 'SCRAM-SHA-256$"), "{}", globals());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_dump_leaves_nothing_and_nobody() {
    let scene = Scene::new(None);
    let settings =
        PostgresSettings { programs: Some(scene.programs("echo half > \"$last\"; exec sleep 600")), ..scene.usual() };
    let (store, into, scope) = (scene.store(settings), tempfile::tempdir().unwrap(), Scope::default());
    let cancel = scope.cancel.clone();
    let file = into.path().join("main.pgdump");
    let taken = store.snapshot_to(&scope, into.path());
    let watch = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    };
    let both = async { tokio::join!(taken, watch).0 };
    let error = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 0);
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'uplifted-ops'";
    for _ in 0..500 {
        if scene.server.sql("postgres", left) == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the snapshot's transaction is still open");
}

#[tokio::test]
async fn an_archive_is_checked_for_what_it_is() {
    let scene = Scene::new(None);
    let (store, into) = (scene.store(scene.usual()), tempfile::tempdir().unwrap());
    store.snapshot_to(&Scope::default(), into.path()).await.unwrap();
    let check = async |depth| store.check_copy(&Scope::default(), into.path(), depth).await.unwrap();
    assert!(check(CheckDepth::Quick).await.ok && check(CheckDepth::Full).await.ok);
    let file = archive::find(into.path(), "main.pgdump").unwrap();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 3000]).unwrap();
    let cut = check(CheckDepth::Full).await;
    assert!(!cut.ok && !cut.problems.is_empty(), "{cut:?}");
    std::fs::write(&file, "no archive at all").unwrap();
    assert!(!check(CheckDepth::Quick).await.ok);
    std::fs::remove_file(&file).unwrap();
    let error = store.check_copy(&Scope::default(), into.path(), CheckDepth::Quick).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
