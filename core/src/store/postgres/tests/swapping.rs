//! A restored database in the place of the live one: whoever is connected, whatever is in the way, whenever it is interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::backing::Scene;
use super::*;
use crate::store::swap::{SwapAct, SwapReport, SwapRequest};
use crate::testing::postgres::versions;

fn request(act: SwapAct, drain: bool) -> SwapRequest {
    SwapRequest { act, drain, patience: Duration::from_secs(20), dry_run: false }
}

fn apply(database: &str) -> SwapRequest {
    request(SwapAct::Apply { database: database.into() }, true)
}

/// A shop with everything that a database has beside its contents, and a copy of it beside it, from a snapshot.
async fn scene(programs: Option<PathBuf>) -> Scene {
    let scene = Scene::new(programs);
    scene.server.sql(
        "shop",
        "CREATE ROLE seller LOGIN; CREATE ROLE reader LOGIN; CREATE TABLE writes (n int); GRANT ALL ON writes TO seller;
         ALTER DATABASE shop OWNER TO seller; REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
         GRANT CONNECT ON DATABASE shop TO reader WITH GRANT OPTION; ALTER DATABASE shop SET work_mem = '7MB';
         ALTER DATABASE shop SET search_path = \"$user\", public, \"odd, 'one'\"; ALTER ROLE reader IN DATABASE shop SET app.word = 'it''s \\ that';
         ALTER DATABASE shop CONNECTION LIMIT 90; COMMENT ON DATABASE shop IS 'the one that''s live'",
    );
    let copy = tempfile::tempdir().unwrap();
    let store = scene.store(scene.usual());
    store.snapshot_to(&Scope::default(), copy.path()).await.unwrap();
    let restored = store.restore_as(&Scope::default(), copy.path(), "fresh").await.unwrap();
    assert!(restored.ok, "{restored:?}");
    scene.server.sql("shop", "CREATE TABLE only_live AS SELECT 1");
    scene
}

/// Everything that is to be carried over.
fn surroundings(server: &PostgresServer, name: &str) -> String {
    server.sql(
        "postgres",
        &format!(
            "SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(d.oid, 'pg_database'), datallowconn,
               (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(datacl) a),
               (SELECT string_agg(setrole::regrole || ' ' || setconfig::text, ' ' ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid)
             FROM pg_database d WHERE datname = '{name}'"
        ),
    )
}

fn databases(server: &PostgresServer) -> String {
    server.sql(
        "postgres",
        "SELECT string_agg(datname || CASE WHEN datallowconn THEN '' ELSE '!' END, ' ' ORDER BY datname) FROM pg_database
         WHERE datname NOT LIKE 'template%' AND datname <> 'postgres'",
    )
}

fn is_old(server: &PostgresServer, name: &str) -> bool {
    server.sql(name, "SELECT count(*) FROM pg_class WHERE relname = 'only_live'") == "1"
}

/// A service with a pool that connects again whenever it is thrown out, and counts what it was told is committed.
struct Pool {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    thrown_out: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Pool {
    fn start(server: &PostgresServer) -> Self {
        let url = format!("postgres://seller@127.0.0.1:{}/shop?application_name=the-service", server.port());
        let (stop, committed, thrown_out) = (Arc::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let tasks = (0..4).map(|_| {
            let (url, stop): (String, Arc<AtomicBool>) = (url.clone(), Arc::clone(&stop));
            let (committed, thrown_out) = (Arc::clone(&committed), Arc::clone(&thrown_out));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    };
                    let carrier = tokio::spawn(async move { drop(connection.await) });
                    while !stop.load(Ordering::SeqCst)
                        && client.batch_execute("INSERT INTO writes VALUES (1)").await.is_ok()
                    {
                        committed.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    thrown_out.fetch_add(1, Ordering::SeqCst);
                    drop(client);
                    let _ = carrier.await;
                }
            })
        });
        let tasks = tasks.collect();
        Self { stop, committed, thrown_out, tasks }
    }

    /// Waits until that many more were committed.
    async fn works(&self, more: u64) {
        let goal = self.committed.load(Ordering::SeqCst) + more;
        let waited = async {
            while self.committed.load(Ordering::SeqCst) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waited).await.expect("the service works");
    }

    async fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.committed.load(Ordering::SeqCst), self.thrown_out.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_service_gets_the_restored_database_and_back_and_loses_no_commit() {
    for programs in versions() {
        let scene = scene(Some(programs)).await;
        let (server, store, scope) = (&scene.server, scene.store(scene.usual()), Scope::default());
        let before = surroundings(server, "shop");
        let pool = Pool::start(server);
        pool.works(20).await;

        let still = request(SwapAct::Apply { database: "fresh".into() }, false);
        let busy = store.swap(&scope, &still).await.unwrap_err();
        assert!(
            busy.kind() == ErrorKind::Refused && busy.message().contains("the-service of seller from 127.0.0.1"),
            "{busy:?}"
        );
        let plan = store.swap(&scope, &SwapRequest { dry_run: true, ..apply("fresh") }).await.unwrap();
        assert!(
            !plan.done && plan.obstacles.is_empty() && plan.sessions[0].application_name == "the-service",
            "{plan:?}"
        );
        assert!(plan.carried.contains(&"owner: seller".to_owned()) && !format!("{plan:?}").contains("7MB"), "{plan:?}");
        assert_eq!(databases(server), "fresh shop");

        let done = store.swap(&scope, &apply("fresh")).await.unwrap();
        assert!(done.done && done.sessions.iter().any(|it| it.application_name == "the-service"), "{done:?}");
        let aside = done.goes_out.clone().unwrap();
        assert_eq!(databases(server), format!("shop {aside}!"));
        assert_eq!(surroundings(server, "shop"), before);
        pool.works(20).await;
        let again = store.swap(&scope, &apply("fresh")).await.unwrap();
        assert!(again.done && again.notes[0].contains("it was done before"), "{again:?}");
        let back = store.swap(&scope, &request(SwapAct::Undo, true)).await.unwrap();
        assert!(back.done, "{back:?}");
        assert!(is_old(server, "shop") && !is_old(server, "fresh"));
        assert_eq!((databases(server), surroundings(server, "shop")), ("fresh shop".to_owned(), before.clone()));
        pool.works(20).await;
        store.swap(&scope, &apply("fresh")).await.unwrap();
        pool.works(20).await;
        let (committed, thrown_out) = pool.stop().await;
        assert!(thrown_out >= 12, "each of four was thrown out each time: {thrown_out}");

        // What the service was told is committed is in the one database or in the other.
        let aside = databases(server).split_once(' ').unwrap().1.trim_end_matches('!').to_owned();
        server.sql("postgres", &format!("ALTER DATABASE {aside} ALLOW_CONNECTIONS true"));
        let count = |name: &str| server.sql(name, "SELECT count(*) FROM public.writes").parse::<u64>().unwrap();
        let (old, new) = (count(&aside), count("shop"));
        // The last of each of them may have been committed without its being told.
        assert!((committed..=committed + thrown_out).contains(&(old + new)), "{old} + {new}, {committed}");
        let gone = store.swap(&scope, &request(SwapAct::Discard, false)).await.unwrap();
        assert_eq!((gone.dropped, databases(server)), (Some(aside), "shop".to_owned()));
        let none = store.swap(&scope, &request(SwapAct::Undo, false)).await.unwrap_err();
        assert!(none.kind() == ErrorKind::NotFound && none.hint().is_some(), "{none:?}");
    }
}

/// Begins a swap, and leaves it when the live database is closed and a session does not end: what a crash leaves.
async fn crash_while_draining(scene: &Scene, store: &PostgresStore, asked: &SwapRequest) {
    let (stuck, scope) = (Stuck::in_database(&scene.server, "shop"), Scope::default());
    let closed = async {
        while !databases(&scene.server).contains("shop!") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        done = store.swap(&scope, asked) => panic!("{done:?}"),
        () = closed => {}
    }
    drop(stuck);
}

/// A session that does not end when it is told to.
struct Stuck {
    pid: rustix::process::Pid,
    _held: crate::testing::postgres::HeldConnection,
}

impl Stuck {
    fn in_database(server: &PostgresServer, name: &str) -> Self {
        let held = server.hold(name, "SET application_name = 'stuck'");
        let pid = server.sql("postgres", "SELECT pid FROM pg_stat_activity WHERE application_name = 'stuck'");
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        Self { pid, _held: held }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::CONT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_step_it_is_interrupted_at_the_same_request_ends_it_and_an_undo_takes_it_back() {
    for programs in versions() {
        let scene = scene(Some(programs)).await;
        let (server, store, scope) = (&scene.server, scene.store(scene.usual()), Scope::default());
        let (undo, open) =
            (request(SwapAct::Undo, true), |name: &str| format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
        // Closed, nothing renamed: another database is refused, and nothing can be dropped.
        crash_while_draining(&scene, &store, &apply("fresh")).await;
        assert!(databases(server).contains("shop!"));
        let other = store.swap(&scope, &apply("postgres")).await.unwrap_err();
        assert!(other.kind() == ErrorKind::Refused && other.message().contains("did not end"), "{other:?}");
        let early = store.swap(&scope, &request(SwapAct::Discard, true)).await.unwrap_err();
        assert_eq!(early.kind(), ErrorKind::Refused, "{early:?}");
        let taken_back = store.swap(&scope, &undo).await.unwrap();
        assert!(taken_back.done && taken_back.notes[0].contains("no name was changed"), "{taken_back:?}");
        assert_eq!(databases(server), "fresh shop");
        // The same, and on.
        crash_while_draining(&scene, &store, &apply("fresh")).await;
        let done = store.swap(&scope, &apply("fresh")).await.unwrap();
        let aside = done.goes_out.unwrap();
        assert_eq!(databases(server), format!("shop {aside}!"));
        // Written down, and nothing closed yet.
        let back = store.swap(&scope, &undo).await.unwrap();
        assert!(back.done && is_old(server, "shop"));
        crash_while_draining(&scene, &store, &apply("fresh")).await;
        server.sql("postgres", &open("shop"));
        store.swap(&scope, &apply("fresh")).await.unwrap();
        // The undo: closed, nothing renamed.
        crash_while_draining(&scene, &store, &undo).await;
        let begun = store.swap(&scope, &apply("fresh")).await.unwrap_err();
        assert!(
            begun.message().contains("being undone") && begun.hint() == Some("ask for the undo again"),
            "{begun:?}"
        );
        assert!(store.swap(&scope, &undo).await.unwrap().done);
        assert_eq!((databases(server), is_old(server, "shop")), ("fresh shop".to_owned(), true));
        // The undo: renamed, and not yet forgotten.
        let aside = store.swap(&scope, &apply("fresh")).await.unwrap().goes_out.unwrap();
        crash_while_draining(&scene, &store, &undo).await;
        server.sql(
            "postgres",
            &format!(
                "ALTER DATABASE shop RENAME TO fresh; ALTER DATABASE {aside} RENAME TO shop; {}; {}",
                open("shop"),
                open("fresh")
            ),
        );
        let done = store.swap(&scope, &apply("fresh")).await.unwrap();
        assert!(done.done && !is_old(server, "shop"), "{done:?}");
        // Dropped, and not yet forgotten.
        server.sql("postgres", &format!("DROP DATABASE {}", done.goes_out.unwrap()));
        let gone = store.swap(&scope, &undo).await.unwrap_err();
        assert!(gone.kind() == ErrorKind::NotFound && gone.message().contains("is gone"), "{gone:?}");
        let discarded = store.swap(&scope, &request(SwapAct::Discard, true)).await.unwrap();
        assert!(discarded.done && discarded.dropped.is_none(), "{discarded:?}");
        assert_eq!(databases(server), "shop");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_does_not_end_leaves_everything_as_it_was() {
    let scene = scene(None).await;
    let (server, store) = (&scene.server, scene.store(scene.usual()));
    let stuck = Stuck::in_database(server, "shop");
    let asked = SwapRequest { patience: Duration::from_millis(300), ..apply("fresh") };
    let late = store.swap(&Scope::default(), &asked).await.unwrap_err();
    assert!(late.kind() == ErrorKind::Busy && late.message().contains("1 x stuck of postgres from socket"), "{late:?}");
    assert_eq!((databases(server).as_str(), is_old(server, "shop")), ("fresh shop", true));
    // And one who changes his mind.
    let scope = Scope::default();
    let cancel = async {
        while !databases(server).contains("shop!") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        scope.cancel.cancel();
    };
    let asked = apply("fresh");
    let (done, ()) = tokio::join!(store.swap(&scope, &asked), cancel);
    assert_eq!((done.unwrap_err().kind(), databases(server).as_str()), (ErrorKind::Cancelled, "fresh shop"));
    drop(stuck);
    assert!(store.swap(&Scope::default(), &asked).await.unwrap().done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_way_is_named_before_anything_is_closed() {
    let scene = scene(None).await;
    let (server, store) = (&scene.server, scene.store(scene.usual()));
    let plan = async |store: &PostgresStore, name: &str| -> SwapReport {
        store.swap(&Scope::default(), &SwapRequest { dry_run: true, ..apply(name) }).await.unwrap()
    };
    server.sql("postgres", "CREATE DATABASE stranger TEMPLATE fresh");
    assert!(
        plan(&store, "stranger").await.obstacles[0].contains("nobody has held"),
        "{:?}",
        plan(&store, "stranger").await
    );
    let missing = store.swap(&Scope::default(), &apply("nowhere")).await.unwrap_err();
    let itself = store.swap(&Scope::default(), &apply("shop")).await.unwrap_err();
    assert_eq!((missing.kind(), itself.kind()), (ErrorKind::NotFound, ErrorKind::InvalidInput));

    // The server's own ties. It lets two of them be renamed away from those who use them.
    server.sql("shop", "SELECT pg_create_logical_replication_slot('feed', 'pgoutput')");
    server.sql("shop", "CREATE SUBSCRIPTION mirror CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false, slot_name = 'x')");
    server.sql("shop", "ALTER SUBSCRIPTION mirror ENABLE");
    let error = store.swap(&Scope::default(), &apply("fresh")).await.unwrap_err();
    let told = format!("{error:?} {:?} {:?}", error.hint(), error.context());
    assert!(error.kind() == ErrorKind::Refused, "{told}");
    for word in [
        "replication slot \\\"feed\\\"",
        "pg_drop_replication_slot('feed')",
        "ALTER SUBSCRIPTION \\\"mirror\\\" DISABLE",
    ] {
        assert!(
            told.replace("\\\\", "\\").contains(&word.replace("\\\\", "\\")) || told.contains(&word.replace('\\', "")),
            "{word}: {told}"
        );
    }
    assert_eq!(databases(server), "fresh shop stranger");
    server.sql("shop", "ALTER SUBSCRIPTION mirror DISABLE");
    server.sql("shop", "SELECT pg_drop_replication_slot('feed')");

    // Rights, each with its grant; with all of them a user without any other may swap.
    server.sql("postgres", "CREATE ROLE small LOGIN; CREATE ROLE other LOGIN; GRANT CONNECT ON DATABASE shop TO other");
    let small =
        scene.store(PostgresSettings { url: scene.usual().url.replace("postgres@", "small@"), ..scene.usual() });
    let other = server.hold_as("shop", "other");
    let lacking = plan(&small, "fresh").await.obstacles;
    let grants: Vec<&str> = lacking.iter().map(|it| it.rsplit_once(": ").unwrap().1).collect();
    assert_eq!(
        grants,
        [
            "ALTER ROLE \"small\" CREATEDB",
            "GRANT \"seller\" TO \"small\"",
            "GRANT \"postgres\" TO \"small\"",
            "GRANT pg_signal_backend TO \"small\"",
            "ALTER ROLE \"small\" CREATEROLE",
        ]
    );
    let denied = small.swap(&Scope::default(), &apply("fresh")).await.unwrap_err();
    assert_eq!((denied.kind(), denied.hint()), (ErrorKind::Denied, Some("ALTER ROLE \"small\" CREATEDB")));
    server.sql("postgres", "ALTER DATABASE fresh OWNER TO small");
    for grant in grants.iter().filter(|grant| !grant.contains("\"postgres\"")) {
        server.sql("postgres", grant);
    }
    // What only the attempt shows is tried, and taken back.
    let tried = plan(&small, "fresh").await.obstacles;
    assert!(tried.len() == 1 && tried[0].contains("permission denied to set parameter \"app.word\""), "{tried:?}");
    assert_eq!(databases(server), "fresh shop stranger");
    server.sql("postgres", "GRANT SET ON PARAMETER app.word TO small");
    assert_eq!(plan(&small, "fresh").await.obstacles, Vec::<String>::new());
    let done = small.swap(&Scope::default(), &apply("fresh")).await.unwrap();
    assert!(done.done && done.sessions.iter().any(|it| it.user == "other"), "{done:?}");
    drop(other);
    assert!(small.swap(&Scope::default(), &request(SwapAct::Undo, true)).await.unwrap().done);
    assert!(is_old(server, "shop"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_transaction_is_named_and_a_database_that_is_gone_is_replaced() {
    let scene = scene(None).await;
    let (server, store, scope) = (&scene.server, scene.store(scene.usual()), Scope::default());
    // The server of a scene takes no prepared transactions, so that one of its own is asked.
    let options =
        PostgresOptions { settings: vec!["max_prepared_transactions = 3".into()], ..PostgresOptions::default() };
    let preparing = PostgresServer::with(options);
    preparing.sql("postgres", "CREATE DATABASE shop; ");
    preparing.sql("postgres", "CREATE DATABASE fresh");
    preparing.sql("shop", "BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'it''s open'");
    let theirs = scene.store(PostgresSettings { url: preparing.url("shop"), ..scene.usual() });
    let plan = theirs.swap(&scope, &SwapRequest { dry_run: true, ..apply("fresh") }).await.unwrap();
    assert!(plan.obstacles.iter().any(|it| it.contains("ROLLBACK PREPARED 'it''s open'")), "{plan:?}");

    server.sql("postgres", "DROP DATABASE shop WITH (FORCE)");
    let done = store.swap(&scope, &apply("fresh")).await.unwrap();
    assert!(done.done && done.goes_out.is_none() && done.notes[0].contains("nothing is put aside"), "{done:?}");
    assert_eq!(databases(server), "shop");
    // The record is of one server and no other.
    let file = scene.root.path().join("state/databases/main.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    let (from, to) = ("\"system\": \"", "\"system\": \"1");
    std::fs::write(&file, kept.replace(from, to)).unwrap();
    let foreign = store.swap(&scope, &apply("fresh")).await.unwrap_err();
    assert!(foreign.kind() == ErrorKind::Refused && foreign.message().contains("another server"), "{foreign:?}");
    std::fs::write(&file, kept).unwrap();
    assert!(store.swap(&scope, &request(SwapAct::Undo, true)).await.unwrap().done);
    assert_eq!(databases(server), "fresh");
}
