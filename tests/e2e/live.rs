//! Backups of a live database: whatever the service does meanwhile, what is restored is whole, and holds
//! everything that was committed before the backup began.
//!
//! `UPLIFTED_OPS_STRESS_RUNS` sets the number of backups (100; `make bench` makes 1,000).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use uplifted_example::ledger;
use uplifted_ops::Scope;
use uplifted_ops::ops::Ops;
use uplifted_ops_tests::scene::Scene;

use super::PROGRAM;

/// How a service treats its database.
const LOADS: [&[&str]; 6] = [
    &["--rate", "20"],
    &["--rate", "500", "--checkpoint-every", "25"],
    &["--rate", "5000", "--page-size", "1024", "--checkpoint-every", "100"],
    &["--rate", "500", "--page-size", "65536", "--vacuum-every", "100"],
    &["--rate", "1000", "--page-size", "512"],
    &["--rate", "200", "--journal-mode", "delete"],
];

/// How many backups are made of one database.
const EACH: usize = 17;

/// The writing process; killed when dropped.
struct Writer {
    process: Child,
    acknowledged: PathBuf,
}

impl Writer {
    fn start(database: &Path, acknowledged: PathBuf, load: &[&str]) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_load"))
            .arg("--database")
            .arg(database)
            .arg("--acknowledge")
            .arg(&acknowledged)
            .args(load)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut writer = Self { process, acknowledged };
        while writer.committed() < 5 {
            assert!(writer.process.try_wait().unwrap().is_none(), "the writer ended at once");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        writer
    }

    /// The last transfer that the service knows to be committed.
    fn committed(&self) -> u64 {
        let bytes = std::fs::read(&self.acknowledged).unwrap_or_default();
        bytes.try_into().map_or(0, u64::from_le_bytes)
    }

    fn stop(mut self) {
        drop(self.process.stdin.take());
        let mut report = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        assert!(self.process.wait().unwrap().success(), "{report}");
        eprintln!("{}", report.trim());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn backups_of_a_live_database_restore_whole() {
    let runs: usize = std::env::var("UPLIFTED_OPS_STRESS_RUNS").map_or(100, |text| text.parse().unwrap());
    // A fresh database for every few backups: what is tested is how they are made, not how large they grow.
    for number in 0..runs.div_ceil(EACH) {
        let load = LOADS[number % LOADS.len()];
        let scene = Scene::small(PROGRAM);
        let database = scene.root().join("data/uplifted.db");
        std::fs::remove_file(&database).unwrap();
        let writer = Writer::start(&database, scene.beside("acknowledged"), load);
        let ops = Ops::builder()
            .root(scene.root())
            .environment(Vec::<(String, String)>::new())
            .worker_command([PROGRAM])
            .build()
            .unwrap();
        for run in (number * EACH)..runs.min((number + 1) * EACH) {
            let before = writer.committed();
            let call = |name: &str, request| ops.blocking().call(Scope::default(), name, request).unwrap().response;
            let created = call("backup.create", json!({}));
            assert_eq!(created["outcome"], "complete", "run {run} of {load:?}: {created}");
            let into = scene.beside("restored");
            call("restore.apply", json!({"snapshot_id": created["snapshot_id"], "into": into}));
            let proof = ledger::verify(&into.join("data/uplifted.db")).unwrap();
            assert!(proof.ok, "run {run} of {load:?}: {:?}", proof.problems);
            assert!(proof.transfers >= before, "run {run} of {load:?}: {} < {before}", proof.transfers);
            std::fs::remove_dir_all(&into).unwrap();
            for archive in scene.archives() {
                std::fs::remove_file(archive).unwrap();
            }
        }
        writer.stop();
    }
}
