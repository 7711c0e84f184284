//! The README's way back to a second, typed as it stands there: a service whose database is followed, a mistake, and the second
//! before it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use uplifted_ops::clock::Timestamp;
use uplifted_ops_tests::scene::Scene;

use super::PROGRAM;

/// What guards against a test that hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// The service, which ends with the test.
struct Service(Child);

impl Service {
    fn start(scene: &Scene) -> Self {
        let mut command = Command::new(scene.program());
        command.arg("--root").arg(scene.root()).args(["schedule", "serve"]);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(std::time::Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Seconds since the epoch.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The commands of the README's section, without their comments.
fn commands() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let section = readme.split("### To any second").nth(1).unwrap().split("\n## ").next().unwrap();
    let shell = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let lines = shell.lines().map(|line| line.split(" #").next().unwrap().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

fn rows(database: &rusqlite::Connection) -> i64 {
    database.query_row("SELECT count(*) FROM t", (), |row| row.get(0)).unwrap()
}

#[test]
fn the_second_before_a_mistake_comes_back_by_the_commands_of_the_readme() {
    let scene = Scene::small(PROGRAM);
    scene.configure("\n[continuous]\nstores = [\"main\"]\n");
    let service = Service::start(&scene);
    wait_for("the first backup of a store that is followed", || {
        let status = scene.call("continuous.status", &json!({})).json;
        (status["ok"] == true).then_some(())
    });

    let live = scene.database();
    for number in 0..50 {
        live.execute("INSERT INTO t(v) VALUES (?1)", [format!("order {number}")]).unwrap();
    }
    // The last second before the mistake: it begins after the last row, and is over when the mistake is made.
    let second = now().ceil() + 1.0;
    while now() < second + 1.0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    live.execute("DELETE FROM t", ()).unwrap();
    let mistake = now();
    let at: Timestamp = Timestamp::from_second(second as i64).unwrap();
    wait_for("storing the mistake", || {
        let points = scene.call("restore.points", &json!({})).json;
        let until = points["stores"][0]["coverage"].as_array()?.last()?["until"].as_str()?.parse::<Timestamp>();
        (until.unwrap().as_millisecond() as f64 / 1000.0 > mistake).then_some(())
    });

    let typed = commands();
    assert_eq!(typed.len(), 4, "{typed:?}");
    let of_day = at.to_string()[11..19].to_owned();
    let look = scene.beside("look");
    let run = |command: &str| {
        let told = command
            .replace("2026-11-22T14:32:10Z", &at.to_string())
            // At midnight "today" is another day by the time the command runs.
            .replace("14:32:10", if now() as i64 / 86_400 == at.as_second() / 86_400 { &of_day } else { "" })
            .replace("/tmp/look", look.to_str().unwrap());
        let words: Vec<&str> = told.split_whitespace().collect();
        assert_eq!(words[0], "uplifted-ops");
        let output = scene.run(&words[1..], &[("TZ", "UTC")]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{told}: {shown}{}", String::from_utf8_lossy(&output.stderr));
        shown
    };
    assert!(run(&typed[0]).contains("main"));
    assert!(run(&typed[1]).contains("main"));
    run(&typed[2]);
    let copy = rusqlite::Connection::open(look.join("data/uplifted.db")).unwrap();
    assert_eq!((rows(&copy), rows(&live)), (51, 0), "the copy has the rows, the live database is not touched");

    // In place only while nobody has the database open.
    drop(live);
    service.stop();
    run(&typed[3]);
    assert_eq!(rows(&scene.database()), 51);
    let sound: String = scene.database().query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

#[test]
fn what_was_followed_is_told_and_drilled_by_the_command_line() {
    let scene = Scene::small(PROGRAM);
    scene.configure("\n[continuous]\nstores = [\"main\"]\n");
    let service = Service::start(&scene);
    wait_for("the first backup of a store that is followed", || {
        (scene.call("continuous.status", &json!({})).json["ok"] == true).then_some(())
    });
    scene.sql("INSERT INTO t(v) VALUES ('two')");
    let committed = now();
    wait_for("storing the row", || {
        let status = scene.call("continuous.status", &json!({})).json;
        let lag = status["stores"][0]["lag_seconds"].as_f64()?;
        (now() - lag > committed + 0.5).then_some(())
    });
    service.stop();
    let drilled = scene.call("backup.drill", &json!({})).done();
    assert_eq!(drilled["ok"], true, "{drilled}");
    assert_ne!(drilled["moment"], Value::Null, "{drilled}");
    let points = scene.call("restore.points", &json!({})).done();
    let end = points["stores"][0]["coverage"].as_array().unwrap().last().unwrap()["until"].clone();
    let drilled = scene.call("backup.drill", &json!({"at": end})).done();
    assert_eq!(drilled["moment"]["at"], end, "{drilled}");
    assert_eq!(drilled["moment"]["stores"][0]["proven"], true, "{drilled}");
    let refused = scene.call("backup.drill", &json!({"at": "2001-01-01T00:00:00Z"}));
    assert_eq!(refused.error_kind(), "not_found");
}
