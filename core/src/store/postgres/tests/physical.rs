//! A cluster that is copied, followed, and brought to moments of its log.

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::clock::Timestamp;
use crate::store::StoreSnapshot;
use crate::store::follow::{Continuity, FollowRequest, Follower, Increment, Increments, Point, Resume, Until};
use crate::testing::postgres::versions;

/// A server, a store of it, and where its copies and its log are kept.
struct Scene {
    server: PostgresServer,
    store: Arc<PostgresStore>,
    /// Open to the user that servers run as.
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(programs: &Path, settings: &[&str]) -> Self {
        let settings = settings.iter().map(ToString::to_string).collect();
        let options = PostgresOptions {
            programs: Some(programs.to_owned()),
            settings,
            access: vec!["host all,replication copier 127.0.0.1/32 scram-sha-256".into()],
            ..PostgresOptions::default()
        };
        let server = PostgresServer::with(options);
        server.sql(
            "postgres",
            "SET password_encryption = 'scram-sha-256'; CREATE ROLE copier LOGIN REPLICATION PASSWORD 'hunter2'; GRANT pg_monitor TO copier; CREATE TABLE t (n int)",
        );
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(mode).tempdir_in("/tmp").unwrap();
        let context = BuildContext {
            name: "main".into(),
            root: folder.path().to_owned(),
            state: folder.path().join("state"),
            service: "Shop-1".into(),
        };
        let settings = PostgresSettings {
            password: Some("hunter2".into()),
            programs: Some(programs.to_owned()),
            backup: PostgresBackup::Physical,
            ..PostgresSettings::new(server.url("postgres").replace("postgres@", "copier@"))
        };
        Self { server, store: Arc::new(PostgresStore::new(&context, settings).unwrap()), folder }
    }

    async fn copy(&self, name: &str) -> (PathBuf, StoreSnapshot) {
        let dir = self.folder.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(&dir, mode).unwrap();
        let snapshot = self.store.snapshot_to(&Scope::default(), &dir).await.unwrap();
        (dir, snapshot)
    }

    async fn follow(&self, resume: Option<Resume>, limit: u64) -> Box<dyn Follower> {
        let cache = self.folder.path().join("cache");
        std::fs::create_dir_all(&cache).unwrap();
        let request = FollowRequest { resume, cache, log_limit_bytes: limit };
        self.store.follow(&Scope::default(), request).await.unwrap()
    }

    /// What a cluster that was brought to a moment has, by a server of its own.
    async fn rows_of(&self, dir: &Path) -> String {
        let server = self.server.on_a_copy(&dir.join("main.cluster"));
        server.sql("postgres", "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM t")
    }
}

/// Increments until there is a moment after everything that was committed before the call.
async fn catch_up(scene: &Scene, follower: &mut Box<dyn Follower>, into: &mut Vec<Increment>) -> Point {
    let (_, asked_at) = (scene.server.sql("postgres", "CHECKPOINT"), std::time::SystemTime::now());
    let asked_at = Timestamp::try_from(asked_at).unwrap();
    let all = async {
        loop {
            if let Some(increment) = follower.next(&Scope::default(), Duration::from_secs(1)).await.unwrap() {
                let done = increment.until >= asked_at;
                let point = increment.points.last().cloned();
                into.push(increment);
                if let Some(point) = point.filter(|_| done) {
                    return point;
                }
            } else {
                // Nothing is written while nothing is asked: a moment needs a record.
                scene.server.sql("postgres", "SELECT pg_switch_wal()");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap_or_else(|_| panic!("{:?}", follower.standing()))
}

/// Where increments begin and end, for messages.
fn ends(log: &[Increment]) -> Vec<(&str, &str, Timestamp)> {
    log.iter().map(|it| (it.from.as_str(), it.to.as_str(), it.until)).collect()
}

struct Kept(VecDeque<Increment>);

impl Kept {
    fn of(increments: &[Increment]) -> Self {
        Self(increments.iter().cloned().collect())
    }
}

#[async_trait]
impl Increments for Kept {
    async fn next(&mut self, _: &Scope) -> Result<Option<Increment>> {
        Ok(self.0.pop_front())
    }
}

fn insert(scene: &Scene, n: u32) {
    scene.server.sql("postgres", &format!("INSERT INTO t VALUES ({n})"));
}

/// Whether the program dies before it looks at anything.
fn crashes(programs: &Path) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [ ],\n\"WAL-Ranges\": [ ],\n\"Manifest-Checksum\": \"00\"}\n";
    std::fs::write(folder.path().join("backup_manifest"), manifest).unwrap();
    let status = std::process::Command::new(programs.join("pg_verifybackup")).arg(folder.path()).status().unwrap();
    status.code().is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_each_version_is_whole_and_damage_is_found() {
    for programs in versions() {
        let scene = Scene::new(&programs, &[]);
        let (dir, snapshot) = scene.copy("copy").await;
        assert_eq!(snapshot.files, scene.store.capability().copy_files);
        let details = &snapshot.details;
        assert!(details["timeline"] == 1 && details["start_lsn"].as_str().unwrap().contains('/'), "{details:?}");
        assert!(details["system_identifier"].as_str().unwrap().len() > 15 && details["segment_bytes"] == 1 << 20);
        for depth in [CheckDepth::Quick, CheckDepth::Full] {
            if crashes(&programs) {
                // That of the package of 18 does, whatever it is given: then nothing is said of the copy.
                let error = scene.store.check_copy(&Scope::default(), &dir, depth).await.unwrap_err();
                assert!(error.message().contains("was not checked: pg_verifybackup ended with signal"), "{error:?}");
                continue;
            }
            let report = scene.store.check_copy(&Scope::default(), &dir, depth).await.unwrap();
            assert_eq!(report, IntegrityReport { ok: true, problems: vec![] });
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 3, "the check leaves nothing");
        if crashes(&programs) {
            continue;
        }
        let base = dir.join("main.base.tar");
        let mut bytes = std::fs::read(&base).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&base, &bytes).unwrap();
        let report = scene.store.check_copy(&Scope::default(), &dir, CheckDepth::Quick).await.unwrap();
        assert!(!report.ok && report.problems.len() == 1, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_brought_to_each_moment_and_what_is_missing_is_found_before() {
    for programs in versions() {
        let mut scene = Scene::new(&programs, &[]);
        let mut follower = scene.follow(None, 1 << 30).await;
        let mut log = Vec::new();
        insert(&scene, 1);
        catch_up(&scene, &mut follower, &mut log).await;
        assert!(
            matches!(&log[0].continuity, Continuity::Begins { reason } if reason == "following begins"),
            "{:?}",
            log[0].continuity
        );
        let (first, snapshot) = scene.copy("first").await;
        insert(&scene, 2);
        let second = catch_up(&scene, &mut follower, &mut log).await;
        insert(&scene, 3);
        let third = catch_up(&scene, &mut follower, &mut log).await;
        follower.stored(&Scope::default(), &third.position).await.unwrap();

        // The receiver is killed, and goes on where it was.
        let pids = scene.server.sql("postgres", "SELECT string_agg(client_port::text, ' ') FROM pg_stat_replication WHERE application_name ~ '^uplifted-ops-wal'");
        assert!(!pids.is_empty());
        kill_receivers(&scene.folder.path().join("cache"));
        insert(&scene, 4);
        catch_up(&scene, &mut follower, &mut log).await;
        // The server is restarted in the middle of a load that is longer than a segment.
        scene
            .server
            .sql("postgres", "CREATE TABLE load AS SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 9000) g");
        scene.server.restart();
        insert(&scene, 5);
        let fifth = catch_up(&scene, &mut follower, &mut log).await;
        for pair in log.windows(2) {
            assert!(
                pair[0].to == pair[1].from && pair[1].continuity == Continuity::Continues,
                "{:?}",
                pair[1].continuity
            );
        }
        assert!(log.iter().map(|it| it.payload.len()).sum::<usize>() > 5 << 20);
        // It is dropped, and goes on elsewhere from what is stored.
        drop(follower);
        insert(&scene, 6);
        let resume = Resume { position: fifth.position.clone(), checksum: None, until: fifth.time };
        let mut follower = scene.follow(Some(resume), 1 << 30).await;
        let before = log.len();
        let sixth = catch_up(&scene, &mut follower, &mut log).await;
        assert_eq!((&log[before].from, &log[before].continuity), (&fifth.position, &Continuity::Continues));

        let copies = |number: usize| {
            let dir = scene.folder.path().join(format!("at-{number}"));
            std::fs::create_dir(&dir).unwrap();
            let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
            std::fs::set_permissions(&dir, mode).unwrap();
            for name in &snapshot.files {
                std::fs::copy(first.join(name), dir.join(name)).unwrap();
            }
            dir
        };
        let goals = [
            (Until::Position(second.position.clone()), "1 2", &second),
            (Until::Time(third.time), "1 2 3", &third),
            (Until::Position(fifth.position.clone()), "1 2 3 4 5", &fifth),
            (Until::End, "1 2 3 4 5 6", &sixth),
        ];
        for (number, (until, rows, point)) in goals.iter().enumerate() {
            let dir = copies(number);
            let reached = scene
                .store
                .roll_forward(&Scope::default(), &dir, snapshot.taken_at, &mut Kept::of(&log), until)
                .await
                .unwrap();
            assert_eq!((&reached.point, scene.rows_of(&dir).await.as_str()), (*point, *rows), "{until:?}");
            assert!(!dir.join("main.base.tar").exists());
        }

        // Found before a server is started.
        let refused = async |number: usize, log: &[Increment], until: &Until| {
            let dir = copies(number);
            let error = scene
                .store
                .roll_forward(&Scope::default(), &dir, snapshot.taken_at, &mut Kept::of(log), until)
                .await
                .expect_err(&format!("scene {number}, {until:?}, taken at {}: {:?}", snapshot.taken_at, ends(log)));
            assert!(error.hint().is_some() && dir.join("main.base.tar").is_file(), "{error:?}");
            error
        };
        let relevant: Vec<Increment> = log.iter().filter(|it| it.until >= snapshot.taken_at).cloned().collect();
        let mut gap = relevant.clone();
        gap.remove(1);
        let error = refused(10, &gap, &Until::End).await;
        assert!(error.kind() == ErrorKind::Corrupt && error.message().contains("is missing"), "{error:?}");
        let error = refused(11, &relevant[2..], &Until::End).await;
        assert!(error.message().contains("where the copy ends"), "{error:?}");
        let promoted: Vec<Increment> = relevant
            .iter()
            .cloned()
            .map(|mut it| {
                [&mut it.from, &mut it.to].into_iter().for_each(|at| *at = at.replacen(":1:", ":2:", 1));
                it
            })
            .collect();
        let error = refused(12, &promoted, &Until::End).await;
        assert!(error.message().contains("timeline 2, the copy of timeline 1"), "{error:?}");
        let early = Until::Time(log[0].until);
        assert_eq!(refused(13, &log, &early).await.kind(), ErrorKind::NotFound);
        // A byte of it is another: the server's own checksums see that it does not come to its end.
        let mut wrong = relevant.clone();
        // Amid records: behind the last one a segment is zeros that nobody reads.
        let records = |it: &Increment| it.payload.iter().filter(|byte| **byte != 0).count();
        let at = (0..wrong.len()).max_by_key(|at| records(&wrong[*at])).unwrap();
        let last = wrong[at].payload.iter().rposition(|byte| *byte != 0).unwrap();
        let middle = last / 2;
        wrong[at].payload[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
        let dir = copies(14);
        let error = scene
            .store
            .roll_forward(&Scope::default(), &dir, snapshot.taken_at, &mut Kept::of(&wrong), &Until::End)
            .await
            .unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt, "{error:?}");
        let told = format!("{error:?} {:?}", follower.standing());
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_brought_to_an_lsn_and_to_a_restore_point_between_moments() {
    for programs in versions() {
        let scene = Scene::new(&programs, &[]);
        let mut follower = scene.follow(None, 1 << 30).await;
        let mut log = Vec::new();
        insert(&scene, 1);
        catch_up(&scene, &mut follower, &mut log).await;
        let ask = |sql: &str| scene.server.sql("postgres", sql);
        let lsn = || ask("SELECT pg_current_wal_insert_lsn()");
        let early = lsn();
        let (first, snapshot) = scene.copy("first").await;
        // At once, so that most lie between two looks; more than a page of the log, and than one of its segments.
        insert(&scene, 2);
        let two = lsn();
        let within = ask(&format!("SELECT '{two}'::pg_lsn + 1"));
        ask("SELECT pg_create_restore_point('before upgrade, or so')");
        insert(&scene, 3);
        let three = lsn();
        ask("CREATE TABLE load AS SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 9000) g");
        ask("SELECT pg_create_restore_point('behind the load')");
        insert(&scene, 4);
        // The first of a name counts.
        ask("SELECT pg_create_restore_point('behind the load')");
        insert(&scene, 5);
        catch_up(&scene, &mut follower, &mut log).await;
        let last = log.last().unwrap().to.rsplit(':').next().unwrap().to_owned();

        let roll = async |number: usize, place: &str| {
            let dir = scene.folder.path().join(format!("at-{number}"));
            std::fs::create_dir(&dir).unwrap();
            let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
            std::fs::set_permissions(&dir, mode).unwrap();
            for name in &snapshot.files {
                std::fs::copy(first.join(name), dir.join(name)).unwrap();
            }
            let (until, mut kept) = (Until::Place(place.to_owned()), Kept::of(&log));
            let rolled = scene.store.roll_forward(&Scope::default(), &dir, snapshot.taken_at, &mut kept, &until).await;
            (dir, rolled)
        };
        // With the follower its slot stays, which holds the log back until somebody goes on; when nobody will it goes.
        let slots = || ask("SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ '^uplifted_ops'");
        assert_eq!(slots(), "1");
        follower.give_up(&Scope::default()).await.unwrap();
        assert_eq!(slots(), "0");
        for (number, (place, rows)) in [
            (&*two, "1 2"),
            // In the middle of a record, of which nothing is taken.
            (&*within, "1 2"),
            ("before upgrade, or so", "1 2"),
            (&*three, "1 2 3"),
            ("behind the load", "1 2 3"),
            (&*last, "1 2 3 4 5"),
        ]
        .into_iter()
        .enumerate()
        {
            let (dir, rolled) = roll(number, place).await;
            let reached = rolled.unwrap_or_else(|error| panic!("{place}: {error:?}"));
            assert_eq!(scene.rows_of(&dir).await, rows, "{place}: {reached:?}");
            let position = reached.point.position.rsplit(':').next().unwrap().to_owned();
            if place == two || place == last {
                assert_eq!(position, place);
            }
            assert!(reached.point.time >= snapshot.taken_at && reached.proven.is_none(), "{reached:?}");
        }
        for (number, (place, says, hint)) in [
            (&*early, "which is behind", "older snapshot"),
            ("FF/0", "and not FF/0", "later moment"),
            ("no such", "no restore point \"no such\"", "before upgrade, or so, behind the load, behind the load;"),
        ]
        .into_iter()
        .enumerate()
        {
            let error = roll(20 + number, place).await.1.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
            assert!(error.message().contains(says) && error.hint().unwrap().contains(hint), "{error:?}");
        }
    }
}

/// Kills the receivers that write below the folder, as the kernel does when memory is short. None has the password in its
/// arguments.
fn kill_receivers(folder: &Path) {
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        if arguments.contains("pg_receivewal") && arguments.contains(folder.to_str().unwrap()) {
            assert!(!arguments.contains("hunter2"), "{arguments}");
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
                .unwrap();
            killed += 1;
        }
    }
    assert_eq!(killed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_that_is_gone_is_named_and_never_skipped() {
    for programs in versions() {
        let mut scene = Scene::new(&programs, &["max_wal_size = 4MB", "min_wal_size = 2MB"]);
        let (scope, mut log) = (Scope::default(), Vec::new());
        let mut follower = scene.follow(None, 1 << 30).await;
        insert(&scene, 1);
        let first = catch_up(&scene, &mut follower, &mut log).await;
        follower.stored(&scope, &first.position).await.unwrap();
        let slot = "SELECT slot_name FROM pg_replication_slots";
        assert_eq!(scene.server.sql("postgres", slot), "uplifted_ops_shop_1_main");
        // Dropped while it is received: nothing is lost, and there is a slot again.
        scene.server.sql("postgres", "SELECT pg_drop_replication_slot('uplifted_ops_shop_1_main')");
        insert(&scene, 2);
        let before = log.len();
        let second = catch_up(&scene, &mut follower, &mut log).await;
        assert!(log[before..].iter().all(|it| it.continuity == Continuity::Continues));
        assert_eq!(scene.server.sql("postgres", slot), "uplifted_ops_shop_1_main");
        // Dropped while nobody receives, and the log recycled.
        drop(follower);
        scene.server.sql("postgres", "SELECT pg_drop_replication_slot('uplifted_ops_shop_1_main')");
        let recycle = |server: &PostgresServer| {
            for _ in 0..8 {
                server.sql("postgres", "INSERT INTO t VALUES (0)");
                server.sql("postgres", "SELECT pg_switch_wal()");
                server.sql("postgres", "CHECKPOINT");
            }
        };
        recycle(&scene.server);
        let resume = Resume { position: second.position.clone(), checksum: None, until: second.time };
        let mut follower = scene.follow(Some(resume), 1 << 30).await;
        let before = log.len();
        let third = catch_up(&scene, &mut follower, &mut log).await;
        assert!(
            matches!(&log[before].continuity, Continuity::Begins { reason } if reason.contains("has recycled its log")),
            "{:?}",
            log[before].continuity
        );
        // More than is allowed is not held: the server's disk comes first.
        drop(follower);
        let resume = Resume { position: third.position.clone(), checksum: None, until: third.time };
        scene
            .server
            .sql("postgres", "CREATE TABLE load AS SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 9000) g");
        let mut follower = scene.follow(Some(resume.clone()), 1 << 20).await;
        let before = log.len();
        catch_up(&scene, &mut follower, &mut log).await;
        assert!(
            matches!(&log[before].continuity, Continuity::Begins { reason } if reason.contains("was let go of")),
            "{:?}",
            log[before].continuity
        );
        drop(follower);
        // Another server, and another timeline.
        for (position, word) in [
            (resume.position.replacen(|c: char| c.is_ascii_digit(), "x", 1), "this is server"),
            (resume.position.replacen(":1:", ":7:", 1), "from timeline 7"),
        ] {
            let mut follower =
                scene.follow(Some(Resume { position, checksum: None, until: Timestamp::UNIX_EPOCH }), 1 << 30).await;
            let before = log.len();
            catch_up(&scene, &mut follower, &mut log).await;
            assert!(
                matches!(&log[before].continuity, Continuity::Begins { reason } if reason.contains(word)),
                "{:?}",
                log[before].continuity
            );
        }
        // A user who may not.
        scene.server.sql("postgres", "ALTER ROLE copier NOREPLICATION");
        let cache = scene.folder.path().join("cache");
        let request = FollowRequest { resume: None, cache, log_limit_bytes: 1 << 30 };
        let denied = scene.store.follow(&scope, request).await.unwrap_err();
        assert!(denied.kind() == ErrorKind::Denied && denied.hint().unwrap().contains("REPLICATION"), "{denied:?}");
        assert!(!format!("{denied:?}").contains("hunter2"));
        scene.server.stop();
    }
}
