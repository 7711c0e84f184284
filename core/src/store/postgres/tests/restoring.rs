//! An archive in a new database: all of it, or nothing.

use std::os::unix::fs::PermissionsExt;

use super::backing::Scene;
use super::*;
use crate::testing::disk::Disk;
use crate::testing::postgres::{PostgresOptions, PostgresServer, versions};

/// Room for the files of an empty database of any version, and for little more.
const NEW_DATABASE: u64 = 10 << 20;

/// The copy of a scene's database, in a folder.
async fn copy_of(scene: &Scene) -> tempfile::TempDir {
    let into = tempfile::tempdir().unwrap();
    scene.store(scene.usual()).snapshot_to(&Scope::default(), into.path()).await.unwrap();
    into
}

#[tokio::test]
async fn a_new_database_has_all_that_the_old_one_had() {
    for programs in versions() {
        let scene = Scene::new(Some(programs));
        scene.server.sql(
            "shop",
            "CREATE ROLE seller; ALTER TABLE large OWNER TO seller; ALTER TABLE empty ADD CONSTRAINT late CHECK (a < 9) NOT VALID",
        );
        let copy = copy_of(&scene).await;
        // The live one is gone, as it is when this is needed.
        scene.server.sql("postgres", "DROP DATABASE shop WITH (FORCE)");
        let name = "the shop's=\"copy\"\\";
        let restored = scene.store(scene.usual()).restore_as(&Scope::default(), copy.path(), name).await.unwrap();
        assert!(restored.ok && restored.problems.is_empty(), "{restored:?}");
        assert_eq!((restored.tables, restored.rows, restored.sequences), (7, 61_251, 1), "{restored:?}");
        assert!(restored.objects >= 14 && restored.large_objects == 1, "{restored:?}");
        assert_eq!(restored.notes[0], "the constraint empty late is NOT VALID, as it is in the archive");
        let unchecked = "its pages and indexes were not looked at: the server has no extension amcheck";
        assert_eq!(restored.notes[1..], if scene.server.has_extension("amcheck") { vec![] } else { vec![unchecked] });
        // By a way that no name is in.
        let asked = "SELECT (SELECT count(*) FROM parted) || ' ' || (SELECT sum(twice) FROM \"Lä den\".\"or ders \"\" ' (x) FROM stdin;\")
             || ' ' || (SELECT count FROM seen) || ' ' || (SELECT encode(lo_get(oid), 'escape') FROM pg_largeobject_metadata)
             || ' ' || (SELECT tableowner FROM pg_tables WHERE tablename = 'large') || ' ' || length(f())";
        scene.server.sql("postgres", "ALTER DATABASE \"the shop's=\"\"copy\"\"\\\" RENAME TO plain");
        assert_eq!(scene.server.sql("plain", asked), "250 49786 250 large seller 26");
    }
}

#[tokio::test]
async fn what_is_missing_or_is_of_somebody_else_is_named() {
    for programs in versions() {
        let scene = Scene::new(Some(programs));
        scene.server.sql("shop", "CREATE ROLE \"the seller\"; ALTER TABLE large OWNER TO \"the seller\"; CREATE INDEX \"by v\" ON parted (v)");
        let copy = copy_of(&scene).await;
        // Something is lost on the way, though pg_restore does not say so.
        let folder = scene.programs("exec \"$REAL/pg_dump\" \"$@\"");
        let real = scene.server.programs();
        let script = format!(
            "#!/bin/sh\n'{0}/pg_restore' \"$@\" || exit\ncase \"$1\" in --dbname=*) \"{0}/psql\" -Xq \"${{1#--dbname=}}\" -c 'DROP INDEX \"by v\"; \
             ALTER TABLE large OWNER TO postgres; ALTER TABLE parted DETACH PARTITION parted_1; SELECT lo_unlink(oid) FROM pg_largeobject_metadata' >&2;; esac\n",
            real.display()
        );
        std::fs::remove_file(folder.join("pg_restore")).unwrap();
        std::fs::write(folder.join("pg_restore"), script).unwrap();
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(folder.join("pg_restore"), mode).unwrap();
        let store = scene.store(PostgresSettings { programs: Some(folder), ..scene.usual() });
        let restored = store.restore_as(&Scope::default(), copy.path(), "copy").await.unwrap();
        let told = restored.problems.join("\n");
        for line in [
            "what the archive calls \"INDEX public by v postgres\" is missing",
            "\"TABLE public large\" belongs to \"postgres\", in the archive to \"the seller\"",
            "what the archive calls \"TABLE ATTACH public parted_1 postgres\" is missing",
            "there are 0 large objects, the archive has 1",
        ] {
            assert!(told.contains(line), "{line}:\n{told}");
        }
        assert!(!restored.ok);
        // And nobody swaps it in.
        let act = crate::store::swap::SwapAct::Apply { database: "copy".into() };
        let asked =
            crate::store::swap::SwapRequest { act, drain: true, patience: Duration::from_secs(9), dry_run: false };
        let refused = store.swap(&Scope::default(), &asked).await.unwrap_err();
        assert!(refused.message().contains("is not as the snapshot has it"), "{refused:?}");
    }
}

#[tokio::test]
async fn an_older_server_is_refused_and_a_newer_one_takes_it() {
    let all = versions();
    let (Some(old), Some(new)) = (all.first(), all.last().filter(|new| all.first() != Some(new))) else { return };
    let (old, new) = (Scene::new(Some(old.clone())), Scene::new(Some(new.clone())));
    let theirs = PostgresSettings { programs: None, ..new.usual() };
    let copy = copy_of(&old).await;
    let with_new = PostgresSettings { programs: Some(new.server.programs().to_owned()), ..theirs.clone() };
    let restored = new.store(with_new).restore_as(&Scope::default(), copy.path(), "from_old").await.unwrap();
    assert!(restored.ok && restored.server_version.as_str() > "15", "{restored:?}");
    let copy = copy_of(&new).await;
    let by_new = PostgresSettings { programs: Some(new.server.programs().to_owned()), ..old.usual() };
    let error = old.store(by_new).restore_as(&Scope::default(), copy.path(), "from_new").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.message().contains("which is older"), "{error:?}");
}

#[tokio::test]
async fn what_cannot_be_restored_leaves_no_database() {
    let scene = Scene::new(None);
    scene.server.sql("shop", "CREATE ROLE seller; ALTER TABLE large OWNER TO seller");
    let copy = copy_of(&scene).await;
    let databases =
        || scene.server.sql("postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database");
    let before = databases();
    let refused = async |settings: PostgresSettings, dir: &Path, name: &str| {
        let error = scene.store(settings).restore_as(&Scope::default(), dir, name).await.unwrap_err();
        assert!(error.hint().is_some(), "{error:?}");
        error
    };
    let taken = refused(scene.usual(), copy.path(), "shop").await;
    assert!(taken.kind() == ErrorKind::Refused && taken.message().contains("none is ever replaced"), "{taken:?}");
    assert_eq!(refused(scene.usual(), copy.path(), "").await.kind(), ErrorKind::InvalidInput);

    // The owner of a table is not there any more.
    scene.server.sql("shop", "REASSIGN OWNED BY seller TO postgres; DROP ROLE seller");
    let lacks = refused(scene.usual(), copy.path(), "copy").await;
    assert!(lacks.hint().unwrap().contains("psql -f main.globals.sql"), "{lacks:?}");
    assert_eq!(databases(), before);

    // A user who may make databases and nothing more gets all of it, as its own.
    scene.server.sql("shop", "CREATE ROLE small LOGIN");
    let small = PostgresSettings { url: scene.usual().url.replace("postgres@", "small@"), ..scene.usual() };
    let denied = refused(small.clone(), copy.path(), "copy").await;
    assert_eq!(denied.hint(), Some("ALTER ROLE \"small\" CREATEDB"));
    scene.server.sql("shop", "ALTER ROLE small CREATEDB");
    let own = scene.store(small).restore_as(&Scope::default(), copy.path(), "own").await.unwrap();
    assert!(own.ok && own.notes[0].contains("belongs to the user that restored it"), "{own:?}");
    scene.server.sql("postgres", "DROP DATABASE own");

    // Its end is missing: that is seen before the data is, or by pg_restore.
    let file = copy.path().join("main.pgdump");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 100_000]).unwrap();
    refused(scene.usual(), copy.path(), "copy").await;
    std::fs::write(&file, "nothing").unwrap();
    assert_eq!(refused(scene.usual(), copy.path(), "copy").await.kind(), ErrorKind::Corrupt);
    assert_eq!(databases(), before);

    // Cancelled in the middle.
    std::fs::write(&file, whole).unwrap();
    let folder = scene.programs("exec \"$REAL/pg_dump\" \"$@\"");
    let real = scene.server.programs().join("pg_restore");
    let script = format!("#!/bin/sh\ncase \"$1\" in --dbname=*) sleep 600;; esac\nexec '{}' \"$@\"\n", real.display());
    std::fs::remove_file(folder.join("pg_restore")).unwrap();
    std::fs::write(folder.join("pg_restore"), script).unwrap();
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(folder.join("pg_restore"), mode).unwrap();
    let scope = Scope::default();
    let (cancel, store) =
        (scope.cancel.clone(), scene.store(PostgresSettings { programs: Some(folder), ..scene.usual() }));
    let restoring = store.restore_as(&scope, copy.path(), "copy");
    let watch = async {
        while !databases().contains("copy") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let both = async { tokio::join!(restoring, watch).0 };
    let error = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), databases()), (ErrorKind::Cancelled, before), "{error:?}");
}

/// The disk of the server is full before anything is there, and in the middle.
#[tokio::test]
async fn a_server_whose_disk_is_full_keeps_nothing_of_it() {
    for programs in versions() {
        let scene = Scene::new(Some(programs.clone()));
        let copy = copy_of(&scene).await;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("disk");
        let Some(disk) = Disk::mount(&place, 96 << 20) else { return };
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let options = PostgresOptions { programs: Some(programs), disk: Some(place), ..PostgresOptions::default() };
        let server = PostgresServer::with(options);
        let store = scene.store(PostgresSettings { url: server.url("shop"), ..scene.usual() });
        let databases = || server.sql("postgres", "SELECT string_agg(datname, ' ' ORDER BY 1) FROM pg_database");
        let before = databases();
        let ballast = disk.fill();
        let file = std::fs::OpenOptions::new().write(true).open(ballast).unwrap();
        let filled = file.metadata().unwrap().len();
        // Nothing; enough for an empty database, but not for its rows; enough.
        for (room, what) in [(0, "create"), (NEW_DATABASE, "rows")] {
            file.set_len(filled - room).unwrap();
            let refused = store.restore_as(&Scope::default(), copy.path(), "copy").await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::NoSpace, "{what}: {refused:?}");
            assert_eq!(refused.hint(), Some("free space on the server's disk"), "{what}: {refused:?}");
            assert_eq!(databases(), before, "{what}");
        }
        file.set_len(0).unwrap();
        assert!(store.restore_as(&Scope::default(), copy.path(), "copy").await.unwrap().ok);
    }
}
