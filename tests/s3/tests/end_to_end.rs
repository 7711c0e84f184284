//! The whole of it through the command line: a service whose backups go to a bucket.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;
use uplifted_s3_tests::server::{BUCKET, Conditions, KEY_ID, SECRET};
use uplifted_s3_tests::{Proxy, Server, Trick};

use crate::scene::GUARD;

struct Service {
    folder: tempfile::TempDir,
}

impl Service {
    /// A small service, with a local target and one at `endpoint` whose keys are in `.env`.
    fn new(endpoint: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = Self { folder };
        let root = service.root();
        for folder in ["data", "config"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("config/app.yaml"), "port: 7541\n").unwrap();
        let noise: Vec<u8> = (0..3_000_000_u32).map(|number| (number ^ number >> 7) as u8).collect();
        std::fs::write(root.join("data/blob"), noise).unwrap();
        std::fs::write(root.join(".env"), format!("BACKUP_KEY_ID={KEY_ID}\nBACKUP_KEY={SECRET}\n")).unwrap();
        let local = folder_beside(&root, "local");
        let toml = format!(
            "[service]\nname = \"uplifted\"\n[backup]\ninclude = [\"data\", \"config\"]\nexclude = [\"ops.toml\", \".env\"]\n\
             [[target]]\nname = \"local\"\nkind = \"fs\"\npath = {local:?}\n\
             [[target]]\nname = \"offsite\"\nkind = \"s3\"\nurl = \"s3://{BUCKET}/uplifted\"\nendpoint = \"{endpoint}\"\n\
             region = \"us-east-1\"\nallow_http = true\nprefix = \"eu\"\nretry_seconds = 5\ntimeout_seconds = 5\n\
             access_key_id = \"env:BACKUP_KEY_ID\"\nsecret_access_key = \"env:BACKUP_KEY\"\n"
        );
        std::fs::write(root.join("ops.toml"), toml).unwrap();
        service
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let run = Command::new(env!("CARGO_BIN_EXE_uplifted-ops-s3"))
            .arg("--root")
            .arg(self.root())
            .args(arguments)
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_PROFILE")
            .env("NO_PROXY", "127.0.0.1")
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(GUARD, run).await.expect("it hangs").unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(SECRET) && !said.contains(KEY_ID), "{said}");
        output
    }

    async fn call(&self, operation: &str, request: Value) -> (i32, Value) {
        let output = self.run(&["call", operation, &request.to_string()]).await;
        let answer = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{operation}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), answer)
    }

    async fn done(&self, operation: &str, request: Value) -> Value {
        let (status, answer) = self.call(operation, request).await;
        assert_eq!(status, 0, "{operation}: {answer}");
        answer
    }
}

fn folder_beside(root: &Path, name: &str) -> PathBuf {
    root.parent().unwrap().join(name)
}

/// Everything below `folder`, with its content.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_list_verify_copy_restore_and_delete() {
    for conditions in [Conditions::Kept, Conditions::Ignored] {
        let server = Server::start(conditions).await;
        let service = Service::new(&server.endpoint());
        let made = service.done("backup.create", json!({ "target": "offsite" })).await;
        assert_eq!(made["outcome"], "complete", "{made}");
        let id = made["snapshot_id"].as_str().unwrap().to_owned();
        let key = made["key"].as_str().unwrap();
        assert!(server.bucket.join("uplifted/eu").join(key).is_file());
        assert!(made["targets"][0]["location"].as_str().unwrap().ends_with("/backups/uplifted/eu"));

        let listed = service.done("backup.list", json!({})).await;
        assert_eq!(listed["snapshots"][0]["snapshot_id"], id.as_str());
        assert_eq!(listed["snapshots"][0]["target"], "offsite");
        assert_eq!(service.done("backup.verify", json!({ "snapshot_id": id })).await["ok"], true);

        let into = folder_beside(&service.root(), "restored");
        service.done("restore.apply", json!({ "snapshot_id": "latest", "target": "offsite", "into": into })).await;
        for folder in ["data", "config"] {
            assert_eq!(tree(&into.join(folder)), tree(&service.root().join(folder)));
        }

        let copied = service.done("backup.copy", json!({ "snapshot_id": id, "to": "local" })).await;
        assert_eq!((&copied["from"], &copied["copied"]), (&json!("offsite"), &json!(true)));
        let printed = service.run(&["backup", "copy", "latest", "--from", "local", "--to", "offsite"]).await;
        assert!(String::from_utf8_lossy(&printed.stdout).contains("offsite has snapshot"), "{printed:?}");

        // A second backup finds the lease of the first given back.
        service.done("backup.create", json!({ "target": "offsite" })).await;
        service.done("backup.verify", json!({ "snapshot_id": "latest" })).await;
        service.done("backup.delete", json!({ "snapshot_id": id, "target": "offsite" })).await;
        assert!(!server.bucket.join("uplifted/eu").join(key).exists());
        let left = service.done("backup.list", json!({ "target": "offsite" })).await;
        assert_eq!(left["snapshots"].as_array().unwrap().len(), 1);
        assert_ne!(left["snapshots"][0]["snapshot_id"], id.as_str());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_rides_out_a_bad_network_and_another_writer_is_busy() {
    let server = Server::start(Conditions::Kept).await;
    // Every fifth request is lost, before or after it was done.
    let proxy = Proxy::start(server.address, |request| match request.number % 10 {
        3 => Trick::CutBefore,
        8 => Trick::CutAfter,
        _ => Trick::Pass,
    })
    .await;
    let service = Service::new(&proxy.endpoint());
    let made = service.done("backup.create", json!({ "target": "offsite" })).await;
    assert_eq!(made["outcome"], "complete", "{made}");
    assert_eq!(
        service.done("backup.verify", json!({ "snapshot_id": "latest", "target": "offsite" })).await["ok"],
        true
    );

    // Somebody on another machine holds the lease.
    let locks = server.bucket.join("uplifted/eu/locks");
    let lease = std::fs::read_dir(&locks).unwrap().next().unwrap().unwrap().path();
    let mut record: Value = serde_json::from_slice(&std::fs::read(&lease).unwrap()).unwrap();
    record["released"] = json!(false);
    record["boot_id"] = json!("another");
    record["token"] = json!("another");
    std::fs::write(&lease, record.to_string()).unwrap();
    let (status, answer) = service.call("backup.create", json!({ "target": "offsite" })).await;
    assert_eq!((status, &answer["error"]["kind"]), (2, &json!("busy")), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_one_targets_error() {
    let server = Server::start(Conditions::Kept).await;
    let proxy = Proxy::start(server.address, |request| match request.method.as_str() {
        "PUT" => Trick::error(400, "ExpiredToken", &format!("the token {SECRET} has expired")),
        _ => Trick::Pass,
    })
    .await;
    let service = Service::new(&proxy.endpoint());
    let (status, answer) = service.call("backup.create", json!({})).await;
    assert_eq!(status, 1, "{answer}");
    assert_eq!(answer["targets"][0]["error"], Value::Null);
    let error = &answer["targets"][1]["error"];
    assert_eq!(error["kind"], "denied", "{error}");
    assert!(error["message"].as_str().unwrap().contains("expired"), "{error}");

    let shown = service.run(&["config", "show"]).await;
    assert!(String::from_utf8_lossy(&shown.stdout).contains("env:BACKUP_KEY"));
}
