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

/// A cluster with a shop in it, and a service whose settings name it.
fn shop(programs: &Path) -> (PostgresServer, Scene) {
    let server = PostgresServer::with(PostgresOptions {
        programs: Some(programs.to_owned()),
        access: vec!["host all,replication keeper 127.0.0.1/32 scram-sha-256".into()],
        ..PostgresOptions::default()
    });
    let keeper = "SET password_encryption = 'scram-sha-256'; CREATE ROLE keeper LOGIN REPLICATION CREATEDB PASSWORD 'hunter2'; \
                  GRANT pg_monitor TO keeper";
    server.sql("postgres", keeper);
    server.sql("postgres", "CREATE DATABASE shop OWNER keeper");
    let tables = "CREATE TABLE orders (id serial PRIMARY KEY, t text NOT NULL); ALTER TABLE orders OWNER TO keeper; \
                  INSERT INTO orders (t) SELECT md5(g::text) FROM generate_series(1, 500) g";
    server.sql("shop", tables);
    let scene = Scene::small(PROGRAM);
    let target = scene.target();
    scene.write(
        "ops.toml",
        &format!(
            "[service]\nname = \"uplifted\"\n\n\
             [[store]]\nname = \"shop\"\nkind = \"postgres\"\nurl = \"env:SHOP_URL\"\nbackup = \"physical\"\nprograms = {programs:?}\n\n\
             [backup]\ninclude = [\"config\"]\nlayout = \"repository\"\n\n[continuous]\nstores = [\"shop\"]\n\n\
             [[target]]\nname = \"local\"\nkind = \"fs\"\npath = {target:?}\n"
        ),
    );
    let url = server.url("shop").replace("postgres@", "keeper:hunter2@");
    scene.write(".env", &format!("SHOP_URL={url}\n"));
    (server, scene)
}

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
fn stored_beyond(server: &PostgresServer, scene: &Scene, moment: &str) -> Value {
    wait(
        || {
            // The way a service does: something is committed now and then.
            server.sql("shop", "INSERT INTO orders (t) VALUES ('later')");
            points(scene)
        },
        |timeline| {
            let coverage = timeline["coverage"].as_array().cloned().unwrap_or_default();
            coverage.last().is_some_and(|span| span["until"].as_str().unwrap_or_default() > moment)
        },
    )
}

#[test]
fn a_database_goes_back_to_the_second_before_a_delete_while_its_server_runs() {
    for programs in versions() {
        let (server, scene) = shop(&programs);
        let service = Service::of(&scene.root());
        // The backup that it begins with is made by the service itself.
        stored_beyond(&server, &scene, &now(&server));
        server.sql("shop", "INSERT INTO orders (t) VALUES ('the last good one')");
        let rows = server.sql("shop", "SELECT count(*) || ' ' || md5(string_agg(id || t, ' ' ORDER BY id)) FROM orders");
        let last = server.sql("shop", "SELECT max(id) FROM orders").parse::<u64>().unwrap();
        // A moment is one that was seen: five times a second.
        std::thread::sleep(Duration::from_millis(1200));
        let good = now(&server);
        server.sql("shop", "DELETE FROM orders WHERE id > 3");
        let bad = now(&server);
        assert!(good < bad);
        stored_beyond(&server, &scene, &bad);

        let standing = wait(
            || scene.call("continuous.status", &json!({"store": "shop"})).json,
            |it| it["stores"][0]["following"] == true && it["ok"] == true,
        );
        let plan = scene.call("restore.plan", &json!({"at": good, "into": scene.beside("look")})).done();
        assert_eq!(plan["at"]["stores"][0]["store"], "shop", "{plan}");

        let out = scene.run(&["restore", "database", "shop_before", "--at", &good, "--json"], &[]);
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        let restored: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
        assert_eq!((out.status.code(), &restored["ok"]), (Some(0), &json!(true)), "{restored:#} {told}");
        assert!(restored["reached"]["time"].as_str().unwrap() <= good.as_str(), "{restored}");
        let query = "SELECT count(*) || ' ' || md5(string_agg(id || t, ' ' ORDER BY id)) FROM orders";
        assert_eq!(server.sql("shop_before", query), rows);
        assert_ne!(server.sql("shop", query), rows, "the live database is not touched yet");

        let swapped = scene.run(&["restore", "swap", "shop_before", "--drain", "--yes", "--json"], &[]);
        assert_eq!(swapped.status.code(), Some(0), "{swapped:?}");
        assert_eq!(server.sql("shop", query), rows);
        assert_eq!(server.sql("shop", "INSERT INTO orders (t) VALUES ('new') RETURNING id > 3"), "t");
        assert!(server.sql("shop", "SELECT max(id) FROM orders").parse::<u64>().unwrap() > last);

        // The cluster itself, in a folder: a server starts on it, and has the same.
        let into = scene.beside("cluster");
        let applied = scene.call("restore.apply", &json!({"at": good, "into": into})).done();
        assert_eq!(applied["reached"][0]["store"], "shop", "{applied}");
        let copy = server.on_a_copy(&into.join("shop.cluster"));
        assert_eq!(copy.sql("shop", query), rows);

        let early = scene.call("restore.database", &json!({"at": "2020-01-01T00:00:00Z", "database": "never"}));
        assert_eq!(early.error_kind(), "not_found");
        let all = format!("{standing}{plan}{restored}{told}{swapped:?}{applied}{early:?}");
        assert!(!all.contains("hunter2"), "{all}");
        // What the server kept for us goes on, or goes: nothing fills its disk.
        service.close();
        let slots = server.sql("postgres", "SELECT count(*) FROM pg_replication_slots WHERE NOT active");
        assert_eq!(slots, "1", "the slot is kept for the service's next start");
    }
}
