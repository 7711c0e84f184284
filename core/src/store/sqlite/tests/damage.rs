//! Damage is a report; what only looks like damage is none.

use std::os::unix::fs::FileExt;

use super::*;
use crate::error::ErrorKind;

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

async fn check(store: &SqliteStore, out: &Path, depth: CheckDepth) -> IntegrityReport {
    store.check_copy(&Scope::default(), out, depth).await.unwrap()
}

#[tokio::test]
async fn every_kind_of_damage_to_a_copy() {
    let scene = Scene::new();
    scene.create("wal", 3000);
    let store = scene.store();
    let good = std::fs::read(snapshot(&store, &scene.out("good")).await).unwrap();
    let mut random = good.clone();
    random[..4096].iter_mut().for_each(|byte| *byte = byte.wrapping_add(131));
    let mut schema = good.clone();
    let at = schema.windows(12).position(|window| window == b"CREATE TABLE").unwrap();
    schema[at..at + 12].copy_from_slice(b"CRXATE TABLE");
    let mut page = good.clone();
    page[5 * 4096..5 * 4096 + 64].fill(0xff);
    for (what, bytes) in [
        ("cut in the middle", &good[..good.len() / 2]),
        ("cut in the header", &good[..50]),
        ("encrypted", &random),
        ("text", b"not at all"),
        ("schema", &schema),
        ("page", &page),
    ] {
        let out = scene.out(what);
        std::fs::write(out.join("app.db"), bytes).unwrap();
        for depth in [CheckDepth::Quick, CheckDepth::Full] {
            let report = check(&store, &out, depth).await;
            assert!(!report.ok && !report.problems.is_empty() && report.problems.len() <= 100, "{what} {depth:?}");
        }
        assert_eq!(std::fs::read(out.join("app.db")).unwrap(), bytes, "nothing is repaired: {what}");
        assert_eq!(names(&out), ["app.db"], "{what}");
    }
}

#[tokio::test]
async fn full_sees_an_index_that_disagrees_and_quick_does_not() {
    let scene = Scene::new();
    scene.create("delete", 200);
    let db = scene.connect();
    // The table's values change while the engine knows of no index: as many entries, other values.
    db.execute_batch(
        "CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'i';
         PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name = 'i'; PRAGMA writable_schema=RESET",
    )
    .unwrap();
    drop(db);
    let db = scene.connect();
    db.execute_batch(
        "UPDATE t SET text = 'other' || id;
         PRAGMA writable_schema=ON; INSERT INTO sqlite_schema SELECT * FROM kept; PRAGMA writable_schema=RESET",
    )
    .unwrap();
    drop(db);
    let store = scene.store();
    let out = scene.out("a");
    store.snapshot_to(&Scope::default(), &out).await.unwrap();
    assert!(check(&store, &out, CheckDepth::Quick).await.ok);
    let full = check(&store, &out, CheckDepth::Full).await;
    assert_eq!((full.ok, full.problems.len()), (false, 100), "limited to 100");
    let live = store.verify(&Scope::default(), CheckDepth::Full).await.unwrap();
    assert!(!live.ok);
    assert_eq!(names(&scene.folder.path().join(".uplifted-ops/scratch")), [""; 0], "scratch is removed");
}

#[tokio::test]
async fn a_live_database_with_a_damaged_schema_is_copied_and_reported() {
    for mode in ["wal", "delete"] {
        let scene = Scene::new();
        scene.create(mode, 100);
        let bytes = std::fs::read(scene.db()).unwrap();
        let at = bytes.windows(12).position(|window| window == b"CREATE TABLE").unwrap();
        overwrite(&scene.db(), at as u64, b"CRXATE");
        let report = scene.store().verify(&Scope::default(), CheckDepth::Quick).await.unwrap();
        assert!(!report.ok, "{mode}");
        assert_eq!(scene.data_names(), ["app.db"]);
        let error = scene.store().stats(&Scope::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn a_copy_with_an_unreplayed_log_is_not_whole() {
    let scene = Scene::new();
    scene.create("wal", 10);
    let store = scene.store();
    let out = scene.out("a");
    snapshot(&store, &out).await;
    std::fs::write(out.join("app.db-wal"), b"frames").unwrap();
    let report = check(&store, &out, CheckDepth::Quick).await;
    assert!(report.problems[0].contains("-wal"), "{report:?}");
}

/// A collation or function of the application is not known here: no reason to call the database damaged, and
/// none to look away from real damage.
#[tokio::test]
async fn what_only_the_application_knows_is_no_damage() {
    let scene = Scene::new();
    scene.create("delete", 300);
    let db = scene.connect();
    db.execute_batch(
        "CREATE TABLE names (name TEXT); CREATE INDEX by_name ON names (name);
         INSERT INTO names SELECT text FROM t;
         PRAGMA writable_schema=ON;
         UPDATE sqlite_schema SET sql = 'CREATE TABLE names (name TEXT COLLATE icu_de CHECK (is_name(name)))'
            WHERE name = 'names'",
    )
    .unwrap();
    drop(db);
    let store = scene.store();
    let out = scene.out("a");
    store.snapshot_to(&Scope::default(), &out).await.unwrap();
    for depth in [CheckDepth::Quick, CheckDepth::Full] {
        let report = check(&store, &out, depth).await;
        assert!(report.ok, "{depth:?} {report:?}");
    }
    // The root page of the first table.
    overwrite(&out.join("app.db"), 4096, &[0xff; 100]);
    assert!(!check(&store, &out, CheckDepth::Full).await.ok);
}

#[tokio::test]
async fn a_check_is_cancelled_while_it_runs() {
    let scene = Scene::new();
    let db = scene.connect();
    // An index whose keys take the engine about a millisecond each to compute, again at each check.
    db.execute_batch(
        "CREATE TABLE slow (x);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO slow SELECT i FROM n;
         CREATE INDEX i ON slow (length(hex(zeroblob(1000000 + x))))",
    )
    .unwrap();
    drop(db);
    let store = scene.store();
    let out = scene.out("a");
    store.snapshot_to(&Scope::default(), &out).await.unwrap();
    let scope = Scope::default();
    let check = store.check_copy(&scope, &out, CheckDepth::Full);
    let (result, ()) = tokio::join!(check, async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        scope.cancel.cancel();
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
}
