//! The README's way back to a second for PostgreSQL, through the command line: a service that is followed, a statement that
//! should not have been, and the rows are back while its server runs on.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uplifted_ops::testing::postgres::{PostgresOptions, PostgresServer, versions};
use uplifted_ops_tests::scene::Scene;

use super::PROGRAM;

/// What guards against a hang.
const PATIENCE: Duration = Duration::from_secs(90);

/// The running service, which follows its stores. Ends when this is dropped.
struct Service(Child);

impl Service {
    fn of(root: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_worker-fixture"))
            .arg("serve")
            .arg(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.trim().is_empty(), "the service ended");
        Self(child)
    }

    /// Its clean end.
    fn close(mut self) {
        writeln!(self.0.stdin.as_mut().unwrap(), "close").unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the README says of it.
fn readme() -> &'static str {
    include_str!("../../README.md").split("#### A database of PostgreSQL").nth(1).unwrap()
}

/// The commands of the README's block with that number, without the program, at another moment.
fn commands(block: usize, moment: &str) -> Vec<Vec<String>> {
    let block = readme().split("```sh\n").nth(block + 1).unwrap().split("```").next().unwrap();
    let words = |line: &str| -> Vec<String> {
        let line = line.split('#').next().unwrap();
        line.split_whitespace().map(|word| if word == "14:32:10" { moment } else { word }.to_owned()).collect()
    };
    block.lines().map(words).collect()
}

/// A cluster with a database in it that the service's user owns.
fn server(programs: &Path, database: &str) -> PostgresServer {
    let server = PostgresServer::with(PostgresOptions {
        programs: Some(programs.to_owned()),
        access: vec!["host all,replication keeper 127.0.0.1/32 scram-sha-256".into()],
        ..PostgresOptions::default()
    });
    let keeper = "SET password_encryption = 'scram-sha-256'; CREATE ROLE keeper LOGIN REPLICATION CREATEDB PASSWORD 'hunter2'; \
                  GRANT pg_monitor TO keeper";
    server.sql("postgres", keeper);
    server.sql("postgres", &format!("CREATE DATABASE \"{}\" OWNER keeper", database.replace('"', "\"\"")));
    let tables = "CREATE TABLE orders (id serial PRIMARY KEY, t text NOT NULL); ALTER TABLE orders OWNER TO keeper; \
                  INSERT INTO orders (t) SELECT md5(g::text) FROM generate_series(1, 500) g";
    server.sql(database, tables);
    server
}

/// A service whose settings name the database, as the README has them.
fn scene(programs: &Path, url: &str) -> Scene {
    let scene = Scene::small(PROGRAM);
    let (target, store) = (scene.target(), readme().split("```toml\n").nth(1).unwrap().split("```").next().unwrap());
    scene.write(
        "ops.toml",
        &format!(
            "[service]\nname = \"uplifted\"\n\n{store}programs = {programs:?}\n\n\
             [backup]\ninclude = [\"config\"]\n\n[continuous]\nstores = [\"shop\"]\n\n\
             [[target]]\nname = \"local\"\nkind = \"fs\"\npath = {target:?}\n"
        ),
    );
    scene.write(".env", &format!("SHOP_URL={url}\n"));
    scene
}

fn shop(programs: &Path) -> (PostgresServer, Scene) {
    let server = server(programs, "shop");
    let scene = scene(programs, &server.url("shop").replace("postgres@", "keeper:hunter2@"));
    (server, scene)
}

/// All rows, in a few words.
const ROWS: &str = "SELECT count(*) || ' ' || md5(string_agg(id || t, ' ' ORDER BY id)) FROM orders";

/// Asks until the answer is what is wanted, or panics with the last one.
fn wait(mut ask: impl FnMut() -> Value, is_it: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let answer = ask();
        if is_it(&answer) {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{answer:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn points(scene: &Scene) -> Value {
    scene.call("restore.points", &json!({"store": "shop"})).json["stores"][0].clone()
}

/// The time of the server, which is ours, with all its digits.
fn now(server: &PostgresServer) -> String {
    server.sql("postgres", "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
}

/// Until what is stored reaches beyond `moment`.
fn stored_beyond(server: &PostgresServer, database: &str, scene: &Scene, moment: &str) -> Value {
    wait(
        || {
            // The way a service does: something is committed now and then.
            server.sql(database, "INSERT INTO orders (t) VALUES ('later')");
            points(scene)
        },
        |timeline| {
            let coverage = timeline["coverage"].as_array().cloned().unwrap_or_default();
            coverage.last().is_some_and(|span| span["until"].as_str().unwrap_or_default() > moment)
        },
    )
}

/// A moment that can be gone back to, later than everything that was committed before the call. On a busy machine nobody may have
/// looked for longer than a second: then another one is taken.
fn covered_moment(server: &PostgresServer, database: &str, scene: &Scene) -> String {
    for _ in 0..10 {
        // A moment is one that was seen: five times a second.
        std::thread::sleep(Duration::from_millis(1200));
        let moment = now(server);
        let timeline = wait(
            || {
                // A transaction, and no row.
                server.sql(database, "SELECT txid_current()");
                points(scene)
            },
            |timeline| {
                let last = timeline["coverage"].as_array().and_then(|spans| spans.last());
                last.is_some_and(|span| span["until"].as_str().unwrap_or_default() > moment.as_str())
            },
        );
        let text = |span: &Value, name: &str| span[name].as_str().unwrap_or_default().to_owned();
        let spans = timeline["coverage"].as_array().unwrap();
        if spans.iter().any(|span| text(span, "from") < moment && moment < text(span, "until")) {
            return moment;
        }
    }
    panic!("nobody followed for ten seconds");
}

#[test]
fn a_database_goes_back_to_the_second_before_a_delete_while_its_server_runs() {
    for programs in versions() {
        let (server, scene) = shop(&programs);
        let service = Service::of(&scene.root());
        // The backup that it begins with is made by the service itself.
        stored_beyond(&server, "shop", &scene, &now(&server));
        server.sql("shop", "INSERT INTO orders (t) VALUES ('the last good one')");
        let rows = server.sql("shop", ROWS);
        let last = server.sql("shop", "SELECT max(id) FROM orders").parse::<u64>().unwrap();
        let good = covered_moment(&server, "shop", &scene);
        server.sql("shop", "SELECT pg_create_restore_point('before-delete')");
        server.sql("shop", "DELETE FROM orders WHERE id > 3");
        let bad = now(&server);
        assert!(good < bad);
        stored_beyond(&server, "shop", &scene, &bad);

        let standing = wait(
            || scene.call("continuous.status", &json!({"store": "shop"})).json,
            |it| it["stores"][0]["following"] == true && it["ok"] == true,
        );
        let plan = scene.call("restore.plan", &json!({"at": good, "into": scene.beside("look")})).done();
        assert_eq!(plan["at"]["stores"][0]["store"], "shop", "{plan}");

        // What proves backups proves this one. That of the package of 18 ends with a signal, whatever it verifies.
        if programs.starts_with("/usr/lib/postgresql") {
            let verified = scene.call("backup.verify", &json!({"snapshot_id": "latest"})).done();
            assert_eq!((&verified["ok"], &verified["databases"]), (&json!(true), &json!(["shop"])), "{verified:#}");
            let drilled = scene.call("backup.drill", &json!({"at": good})).done();
            assert_eq!(drilled["ok"], true, "{drilled:#}");
            assert_eq!(drilled["moment"]["stores"][0]["store"], "shop", "{drilled:#}");
        }

        let mut told = String::new();
        let mut run = |words: &[String]| {
            assert_eq!(words[0], "uplifted-ops");
            let words: Vec<&str> = words[1..].iter().map(String::as_str).chain(["--json"]).collect();
            let out = scene.run(&words, &[]);
            told.push_str(&String::from_utf8_lossy(&out.stderr));
            assert_eq!(out.status.code(), Some(0), "{words:?} {out:?}");
            serde_json::from_slice::<Value>(&out.stdout).unwrap()
        };
        let walk = commands(0, &good);
        let [points, restore, swap] = &walk[..] else { panic!("{walk:?}") };
        assert_eq!(run(points)["stores"][0]["store"], "shop");
        let restored = run(restore);
        assert_eq!((&restored["ok"], &restored["database"]), (&json!(true), &json!("shop_before")), "{restored:#}");
        assert!(restored["reached"]["time"].as_str().unwrap() <= good.as_str(), "{restored}");
        assert_eq!(server.sql("shop_before", ROWS), rows);
        assert_ne!(server.sql("shop", ROWS), rows, "the live database is not touched yet");
        let swapped = run(swap);
        assert_eq!(server.sql("shop", ROWS), rows);
        assert_eq!(server.sql("shop", "INSERT INTO orders (t) VALUES ('new') RETURNING id > 3"), "t");
        assert!(server.sql("shop", "SELECT max(id) FROM orders").parse::<u64>().unwrap() > last);

        // By a name that was given to it, which is exact.
        let named = run(&commands(1, &good)[0]);
        assert_eq!((&named["ok"], &named["database"]), (&json!(true), &json!("shop_before")), "{named:#}");
        assert_eq!(server.sql("shop_before", ROWS), rows);

        // The cluster itself, in a folder: a server starts on it, and has the same.
        let into = scene.beside(&"a-folder-whose-path-is-too-long-for-a-socket".repeat(3));
        let apply: Vec<String> =
            commands(2, &good)[0].iter().map(|word| word.replace("/srv/back", into.to_str().unwrap())).collect();
        let applied = run(&apply);
        assert_eq!(applied["reached"][0]["store"], "shop", "{applied}");
        let copy = server.on_a_copy(&into.join("shop.cluster"));
        assert_eq!(copy.sql("shop", ROWS), rows);
        let in_place = scene.call("restore.plan", &json!({"at": good}));
        assert!(
            in_place.error_kind() == "not_found" && in_place.json.to_string().contains("restore.swap"),
            "{in_place:?}"
        );

        let early = scene.call("restore.database", &json!({"at": "2020-01-01T00:00:00Z", "database": "never"}));
        assert_eq!(early.error_kind(), "not_found");
        let all = format!("{standing}{plan}{restored}{told}{swapped}{applied}{early:?}");
        assert!(!all.contains("hunter2"), "{all}");
        // What the server kept for us goes on, or goes: nothing fills its disk.
        service.close();
        let slots = server.sql("postgres", "SELECT count(*) FROM pg_replication_slots WHERE NOT active");
        assert_eq!(slots, "1", "the slot is kept for the service's next start");
    }
}

/// The processes that have this in their arguments.
fn processes_with(word: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if arguments.contains(word) {
            found.push((pid, arguments));
        }
    }
    found
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn what_was_not_received_is_never_claimed_and_a_restore_that_is_killed_leaves_nothing_that_counts() {
    let programs = versions().into_iter().next().unwrap();
    let (server, scene) = shop(&programs);
    let root = scene.root().to_str().unwrap().to_owned();
    let service = Service::of(&scene.root());
    stored_beyond(&server, "shop", &scene, &now(&server));
    let standing = || scene.call("continuous.status", &json!({"store": "shop"})).json["stores"][0]["standing"].clone();

    // The receiver hangs, as it does when the network is cut without a word.
    let receivers: Vec<_> = processes_with(&root).into_iter().filter(|(_, it)| it.contains("pg_receivewal")).collect();
    let [(receiver, arguments)] = &receivers[..] else { panic!("{receivers:?}") };
    assert!(!arguments.contains("hunter2"), "{arguments}");
    signal(*receiver, rustix::process::Signal::STOP);
    server.sql("shop", "INSERT INTO orders (t) VALUES ('unseen')");
    let unseen = now(&server);
    let hangs =
        wait(standing, |it| it["waits_for"].as_str().is_some_and(|why| why.contains("has not been received yet")));
    assert!(hangs["seen_until"].as_str().unwrap() < unseen.as_str(), "it was not seen: {hangs:#}");
    signal(*receiver, rustix::process::Signal::CONT);
    wait(standing, |it| it["waits_for"].is_null() && it["seen_until"].as_str().unwrap() > unseen.as_str());
    std::thread::sleep(Duration::from_millis(1200));
    let moment = now(&server);
    let timeline = stored_beyond(&server, "shop", &scene, &moment);
    // While it hung nobody saw what was committed: a gap by name, and nothing in it is guessed.
    let gaps = timeline["gaps"].as_array().unwrap();
    let hung = |gap: &Value| {
        gap["from"].as_str().unwrap() < unseen.as_str() && gap["until"].as_str().unwrap() > unseen.as_str()
    };
    assert!(gaps.iter().any(hung), "{timeline:#}");
    let guessed = scene.call("restore.database", &json!({"at": unseen, "database": "guessed"}));
    assert_eq!(guessed.error_kind(), "not_found");
    service.close();

    // The whole way once, to know how long it is.
    let request = |name: &str| json!({"at": moment, "database": name}).to_string();
    let began = Instant::now();
    let whole = scene.call("restore.database", &json!({"at": moment, "database": "whole"})).done();
    let long = began.elapsed();
    assert_eq!(whole["ok"], true, "{whole:#}");
    let rows = server.sql("whole", ROWS);
    assert_eq!(server.sql("whole", "SELECT count(*) FROM orders WHERE t = 'unseen'"), "1");
    let live = server.sql("shop", ROWS);
    let seed = std::process::id();
    println!("seed {seed}");
    let steps = 8;
    for step in 0..steps {
        let name = format!("killed_{step}");
        let mut child = Command::new(scene.program())
            .args(["--root", &root, "call", "restore.database", &request(&name)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // One in each eighth of the way, somewhere in it.
        let part = f64::from(step) + f64::from(seed.wrapping_mul(2_654_435_761).rotate_left(step) % 1000) / 1000.0;
        std::thread::sleep(long.mul_f64(part / f64::from(steps)));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let began = Instant::now();
        while !processes_with(&root).is_empty() {
            assert!(began.elapsed() < PATIENCE, "left running: {:?}", processes_with(&root));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(server.sql("shop", ROWS), live);
        let there = server.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'"));
        println!("killed after {part:.2} of {steps}: {there} databases, ended {ended:?}");
        if there == "1" && ended.is_none() {
            // What was not restored to its end never takes the name of the live one.
            let swap = scene.call("restore.swap", &json!({"database": name}));
            assert_eq!(swap.error_kind(), "refused", "{swap:?}");
            assert!(swap.json.to_string().contains("nobody has held"), "{swap:?}");
        }
    }
    let after = scene.call("restore.database", &json!({"at": moment, "database": "after"})).done();
    assert_eq!((after["ok"].clone(), server.sql("after", ROWS)), (json!(true), rows));
    let scratch = scene.root().join(".uplifted-ops/scratch");
    let left: Vec<_> = std::fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_database_with_a_hostile_name_goes_back_to_before_its_server_was_replaced_by_its_standby() {
    const NAME: &str = "Sh\"op;--$(x)";
    for programs in versions() {
        let mut server = server(&programs, NAME);
        let standby = server.standby("standby");
        let url = format!(
            "postgres://keeper:hunter2@127.0.0.1:{},127.0.0.1:{}/Sh%22op;--$(x)?target_session_attrs=primary",
            server.port(),
            standby.port()
        );
        let scene = scene(&programs, &url);
        let service = Service::of(&scene.root());
        stored_beyond(&server, NAME, &scene, &now(&server));
        server.sql(NAME, "INSERT INTO orders (t) VALUES ('before')");
        let rows = server.sql(NAME, ROWS);
        let good = covered_moment(&server, NAME, &scene);
        stored_beyond(&server, NAME, &scene, &good);

        let held = server.sql(NAME, ROWS);
        wait(|| standby.sql(NAME, ROWS).into(), |there| *there == held.as_str());
        server.stop();
        standby.sql("postgres", "SELECT pg_promote()");
        wait(|| standby.sql("postgres", "SELECT pg_is_in_recovery()").into(), |it| it == "f");
        standby.sql(NAME, "DELETE FROM orders");
        let timeline = stored_beyond(&standby, NAME, &scene, &now(&standby));
        let gaps = timeline["gaps"].to_string();
        assert!(gaps.contains("from timeline 1 to 2"), "{timeline:#}");
        let hostile = "be\"fore; DROP--$(x)";
        let restored = scene.call("restore.database", &json!({"at": good, "database": hostile})).done();
        assert_eq!(restored["ok"], true, "{restored:#}");
        assert_eq!(standby.sql("'be\"fore; DROP--$(x)'", ROWS), rows);
        let swapped = scene.call("restore.swap", &json!({"database": hostile, "drain": true})).done();
        assert_eq!((&swapped["done"], standby.sql(NAME, ROWS)), (&json!(true), rows));
        let told = format!("{timeline}{restored}{swapped}");
        assert!(!told.contains("hunter2"), "{told}");
        service.close();
    }
}
