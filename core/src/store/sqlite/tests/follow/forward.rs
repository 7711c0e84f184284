//! Every state that was handed over can be gone back to.

use super::*;
use crate::testing::random;

#[tokio::test]
async fn whatever_a_writer_does_each_point_is_a_state_that_was_there() {
    for page_size in [4096, 512, 65536] {
        let mut random = random::seeded("a writer of everything");
        let scene = Scene::new();
        std::fs::create_dir(scene.folder.path().join("data")).unwrap();
        let child = Child::open(&scene.db());
        child.run(&format!("PRAGMA page_size={page_size}; PRAGMA auto_vacuum=2; PRAGMA journal_mode=WAL"));
        child.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text); CREATE INDEX i ON t (text)");
        child.insert(200);
        let mut follower = scene.follow(None).await;
        let mut shelf = Shelf::default();
        shelf.drain(&mut *follower).await;
        let mut bases = vec![copy(&scene, "base-0")];
        let mut states = Vec::new();
        for round in 0..40 {
            let rows = random.u32(1..300);
            let limit = random.u32(1..200);
            match random.u32(0..14) {
                0 => drop(child.ask("VACUUM")),
                1 => drop(child.ask(&format!("PRAGMA incremental_vacuum({limit})"))),
                2 => child.run("PRAGMA wal_checkpoint(PASSIVE)").clear(),
                3 => drop(child.ask("PRAGMA wal_checkpoint(FULL)")),
                4 => drop(child.ask("PRAGMA wal_checkpoint(RESTART)")),
                5 => drop(child.ask("PRAGMA wal_checkpoint(TRUNCATE)")),
                6 => child.run(&format!("DELETE FROM t WHERE id % {} = 0", random.u32(2..5))).clear(),
                7 => child.run("BEGIN; DELETE FROM t; ROLLBACK").clear(),
                8 => {
                    child.run("BEGIN; UPDATE t SET text = 'x'; SAVEPOINT s");
                    child.insert(rows);
                    child.run("ROLLBACK TO s; RELEASE s; COMMIT");
                }
                // Spills into the log before it is committed, pages of it twice.
                9 => {
                    child.run("PRAGMA cache_size=3; PRAGMA cache_spill=1; BEGIN");
                    child.insert(rows * 10);
                    child.run("UPDATE t SET text = hex(randomblob(20)) WHERE id % 3 = 0");
                    child.run(if random.bool() { "COMMIT" } else { "ROLLBACK" });
                    child.run("PRAGMA cache_size=-2000");
                }
                10 => child.run(&format!("INSERT INTO t (text) VALUES (hex(randomblob({})))", rows * 500)).clear(),
                // Grows and frees again in one transaction: pages that are never written.
                11 => {
                    child.run("BEGIN; CREATE TABLE u (x)");
                    child.run(&format!("INSERT INTO u VALUES (zeroblob({})); DROP TABLE u; COMMIT", rows * 500));
                }
                _ => child.insert(rows),
            }
            shelf.drain(&mut *follower).await;
            let point = shelf.points().pop().unwrap();
            states.push((point, child.run(STATE)));
            if round % 10 == 5 {
                bases.push(copy(&scene, &format!("base-{round}")));
            }
        }
        assert_eq!(shelf.breaks().len(), 1, "{:?}", shelf.breaks());
        for (number, base) in bases.iter().enumerate() {
            for (point, state) in states.iter().filter(|(point, _)| point.time > base.1) {
                let until =
                    if random.bool() { Until::Position(point.position.clone()) } else { Until::Time(point.time) };
                match scene.roll(base, &shelf, until).await {
                    Ok(file) => {
                        assert_eq!(state_of(&file), *state, "base {number}, {point:?}");
                        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
                    }
                    // The copy was taken when that was the last state.
                    Err(error) => panic!("base {number} {}, {point:?}: {error}", base.1),
                }
            }
        }
        let last = scene.roll(&bases[0], &shelf, Until::End).await.unwrap();
        assert_eq!(state_of(&last), child.run(STATE));
        let mode: String =
            Connection::open(&last).unwrap().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal", "it is an ordinary database in the mode that it had");
    }
}
