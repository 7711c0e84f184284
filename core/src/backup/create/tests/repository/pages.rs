//! SQLite databases by their units.

use super::*;

/// A database of `rows` rows whose content does not compress.
pub(super) fn database(path: &Path, page_size: u32, rows: usize, random: &mut Rng) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "page_size", page_size).unwrap();
    connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)").unwrap();
    insert(&mut connection, rows, random);
}

fn insert(connection: &mut Connection, rows: usize, random: &mut Rng) {
    let transaction = connection.transaction().unwrap();
    for _ in 0..rows {
        transaction.execute("INSERT INTO t (v) VALUES (?1)", [random::bytes(random, 400)]).unwrap();
    }
    transaction.commit().unwrap();
}

/// Changes `count` random rows in place.
pub(super) fn change(path: &Path, count: usize, random: &mut Rng) {
    let mut connection = Connection::open(path).unwrap();
    let rows: i64 = connection.query_row("SELECT max(id) FROM t", [], |row| row.get(0)).unwrap();
    let transaction = connection.transaction().unwrap();
    for _ in 0..count {
        let (id, value) = (random.u64(..rows as u64) as i64 + 1, random::bytes(random, 400));
        transaction.execute("UPDATE t SET v = ?2 WHERE id = ?1", (id, value)).unwrap();
    }
    transaction.commit().unwrap();
}

/// How many bytes of two files differ, by units.
fn changed_bytes(a: &[u8], b: &[u8], unit: usize) -> u64 {
    let differs = |(number, chunk): &(usize, &[u8])| a.chunks(unit).nth(*number) != Some(*chunk);
    b.chunks(unit).enumerate().filter(differs).map(|(_, chunk)| chunk.len() as u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_few_rows_stores_the_changed_pages_alone() {
    for page_size in [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536] {
        let mut random = random::seeded("a few rows");
        let scene = Scene::new(&[("note", b"x")]);
        let path = scene.root().join("data/app.db");
        database(&path, page_size, 12_000, &mut random);
        let (first, _) = scene.back_up(1).await;
        assert!(first.is_healthy() && first.stores.len() == 1, "{first:?}");
        let before = std::fs::read(&path).unwrap();
        change(&path, 20, &mut random);
        let after = std::fs::read(&path).unwrap();
        let changed = changed_bytes(&before, &after, page_size.max(4096) as usize);
        let (second, _) = scene.back_up(2).await;
        let most = changed + changed / 4 + 12_000;
        assert!(second.stored_bytes < most, "{page_size}: {} for {changed}", second.stored_bytes);
        assert!(changed < after.len() as u64 / 2 || page_size > 16_384, "{page_size}");
        let (_, into) = restore_memory(&scene).await;
        assert!(std::fs::read(into.path().join("data/app.db")).unwrap() == after, "{page_size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_caches_cost_no_upload_of_a_database() {
    let mut random = random::seeded("lost caches");
    let scene = Scene::new(&[("note", b"x")]);
    let path = scene.root().join("data/app.db");
    database(&path, 4096, 12_000, &mut random);
    scene.back_up(1).await;
    for hours in 2..6 {
        change(&path, 20, &mut random);
        if hours % 2 == 0 {
            scene.lose_caches();
        } else {
            let file = std::fs::read_dir(scene.caches()).unwrap().map(|entry| entry.unwrap().path());
            let file = file.into_iter().find(|file| file.display().to_string().contains("pages-")).unwrap();
            let mut bytes = std::fs::read(&file).unwrap();
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1;
            std::fs::write(file, bytes).unwrap();
        }
        let (report, _) = scene.back_up(hours).await;
        // Twenty rows, in as many pages of data and a few of overhead.
        assert!(report.stored_bytes < 40 * 4096, "{hours}: {}", report.stored_bytes);
        let (_, into) = restore_memory(&scene).await;
        assert!(std::fs::read(into.path().join("data/app.db")).unwrap() == std::fs::read(&path).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_any_length_stays_short_and_small() {
    let mut random = random::seeded("a long chain");
    let scene = Scene::new(&[("note", b"x")]);
    let path = scene.root().join("app.db");
    database(&path, 4096, 3_000, &mut random);
    scene.back_up(1).await;
    for hours in 2..40 {
        change(&path, 3, &mut random);
        if hours == 30 {
            scene.lose_caches();
        }
        let (report, _) = scene.back_up(hours).await;
        assert!(report.stored_bytes < 60_000, "{hours}: {}", report.stored_bytes);
        if hours % 6 == 0 || (15..20).contains(&hours) {
            let (_, into) = restore_memory(&scene).await;
            assert!(std::fs::read(into.path().join("app.db")).unwrap() == std::fs::read(&path).unwrap(), "{hours}");
        }
    }
    // Nothing changes but the time of the file.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let (report, _) = scene.back_up(50).await;
    assert!(report.stored_bytes < 5_000, "{}", report.stored_bytes);
    let (_, into) = restore_memory(&scene).await;
    same(&scene.root(), into.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_may_shrink_grow_and_change_its_pages() {
    let mut random = random::seeded("shapes");
    let scene = Scene::new(&[("note", b"x")]);
    let path = scene.root().join("app.db");
    database(&path, 4096, 8_000, &mut random);
    let mut hours = 0;
    let mut check = async |what: &str| {
        hours += 1;
        let (report, _) = scene.back_up(hours).await;
        assert!(report.is_healthy(), "{what}: {report:?}");
        let (_, into) = restore_memory(&scene).await;
        assert!(std::fs::read(into.path().join("app.db")).unwrap() == std::fs::read(&path).unwrap(), "{what}");
        report.stored_bytes
    };
    let whole = check("first").await;
    let sql = |text: &str| Connection::open(&path).unwrap().execute_batch(text).unwrap();
    sql("DELETE FROM t WHERE id > 1000; VACUUM");
    assert!(check("shrunk").await < whole / 4);
    insert(&mut Connection::open(&path).unwrap(), 6_000, &mut random);
    assert!(check("grown").await < whole);
    sql("PRAGMA page_size = 1024; VACUUM");
    check("smaller pages").await;
    sql("PRAGMA page_size = 16384; VACUUM");
    check("larger pages").await;
    change(&path, 10, &mut random);
    assert!(check("changed").await < 40 * 16_384);
    sql("DELETE FROM t; VACUUM");
    check("empty").await;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"now it is a file").unwrap();
    check("a file").await;
    std::fs::remove_file(&path).unwrap();
    database(&path, 4096, 8_000, &mut random);
    check("another one").await;
}
