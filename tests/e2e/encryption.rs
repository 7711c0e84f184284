//! Encrypted backups by the command line: set up, made, listed, verified, restored; keys lost, wrong, rotated, wrapped
//! anew; and no secret in anything that was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use uplifted_ops_tests::keys::{OperatorKey, encrypt_with, encrypted, wrapped};
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

use super::PROGRAM;

fn sealed_archives(scene: &Scene) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(scene.target()).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(".tar.zst.age"));
    found.sort();
    found
}

/// Every file below `folder`.
pub(super) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true => files(&path, found),
            false if path.is_file() => found.push(path),
            false => {}
        }
    }
}

#[test]
fn a_full_cycle_leaves_no_secret_anywhere() {
    let (scene, operator) = encrypted(PROGRAM);
    let mut said = Vec::new();
    let mut run = |args: &[&str]| {
        let output = scene.run(args, &[]);
        said.extend_from_slice(&output.stdout);
        said.extend_from_slice(&output.stderr);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let identity = operator.file.to_str().unwrap();
    let into = scene.beside("restored");
    let into = into.to_str().unwrap();
    for (args, status) in [
        (&["backup", "keys", "list"][..], 0),
        (&["backup", "create", "--label", "first"], 0),
        (&["backup", "list"], 0),
        (&["backup", "verify", "latest"], 0),
        (&["backup", "verify", "latest", "--identity-file", identity], 0),
        (&["backup", "show", "latest"], 2),
        (&["backup", "show", "latest", "--identity-file", identity], 0),
        (&["restore", "plan", "latest"], 2),
        (&["restore", "apply", "latest", "--into", into, "--identity-file", identity], 0),
        (&["backup", "keys", "check", "--identity-file", identity], 0),
        (&["backup", "keys", "rotate"], 0),
        (&["backup", "create"], 0),
        (&["backup", "keys", "check", "--identity-file", identity], 0),
        (&["backup", "keys", "rewrap", "--identity-file", identity, "--yes"], 0),
        (&["backup", "verify", "latest", "--identity-file", identity, "--json"], 0),
        (&["--set", "health.without=[\"disk\"]", "health"], 0),
        (&["config", "show"], 0),
        (&["journal"], 0),
        // A secret where a public key belongs.
        (
            &[
                "--set",
                "backup.encryption.recipients=[\"AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33\"]",
                "backup",
                "keys",
                "rotate",
            ],
            2,
        ),
        (
            &[
                "--set",
                "backup.encryption.recipients=[\"AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33\"]",
                "config",
                "show",
            ],
            0,
        ),
    ] {
        let (code, out) = run(args);
        assert_eq!(code, Some(status), "{args:?}: {out}");
    }
    let original = Tree::of(&scene.root(), &[]);
    let restored = Tree::of(Path::new(into), &[]);
    for (path, entry) in &restored.0 {
        if original.0.get(path) != Some(entry) {
            assert!(path.starts_with("data"), "{path:?} came back changed");
        }
    }

    // What the keys are, by plain tools.
    let mut secrets =
        vec![operator.secret.clone(), "1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33".to_owned()];
    let mut id_keys = Vec::new();
    for name in wrapped(&scene) {
        let mut age = Command::new("age");
        age.arg("-d").arg("-i").arg(&operator.file).arg(scene.target().join("keys").join(name));
        let output = age.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        secrets.extend(text.lines().filter(|line| line.starts_with("AGE-SECRET-KEY-")).map(str::to_owned));
        id_keys.extend(text.lines().filter_map(|line| line.strip_prefix("# id key: ")).map(str::to_owned));
    }
    assert_eq!((secrets.len(), id_keys.len()), (4, 2));
    assert_eq!(id_keys[0], id_keys[1], "a rotation keeps the ids");

    let mut written = Vec::new();
    for folder in [scene.root(), scene.target()] {
        files(&folder, &mut written);
    }
    let host_keys = |path: &Path| path.to_string_lossy().contains("/.uplifted-ops/keys/");
    assert!(
        written.iter().any(|path| host_keys(path))
            && written.iter().any(|path| path.to_string_lossy().contains("journal"))
    );
    let mut all: Vec<(String, Vec<u8>)> = vec![("what was printed".to_owned(), said)];
    all.extend(written.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())));
    for (name, bytes) in &all {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        for secret in &secrets {
            assert!(!text.contains(&secret.to_lowercase()), "{name} has the secret key");
        }
        let allowed = host_keys(Path::new(name));
        assert!(allowed || !text.contains(&id_keys[0]), "{name} has the id key");
        assert!(
            !text.contains("api_key=hunter2") || name.ends_with("/.env"),
            "{name} has the service's secret in clear"
        );
        let of_operator = !name.starts_with("what was printed") && text.contains("operator.txt");
        assert!(!of_operator, "{name} says where the operator's identity lies");
    }
}

#[test]
fn plain_tools_recover_everything_from_the_target_and_the_operators_key() {
    let (scene, operator) = encrypted(PROGRAM);
    scene.call("backup.create", &json!({})).done();
    let into = scene.beside("by-hand");
    fs::create_dir(&into).unwrap();
    let script = "age -d -i \"$1\" \"$2\"/keys/*.age > \"$4/../key\" && age -d -i \"$4/../key\" \"$3\" | tar --zstd -xpf - -C \"$4\"";
    let output = Command::new("sh")
        .args(["-ec", script, "sh"])
        .arg(&operator.file)
        .arg(scene.target())
        .arg(&sealed_archives(&scene)[0])
        .arg(&into)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let ours = scene.beside("by-us");
    scene.call("restore.apply", &json!({"snapshot_id": "latest", "into": ours, "identity_file": operator.file})).done();
    let (by_hand, by_us) = (Tree::of(&into, &[]), Tree::of(&ours, &[]));
    assert!(by_hand.0.len() > 5);
    assert_eq!(by_hand, by_us, "{:#?}", by_hand.difference(&by_us));
}

#[test]
fn levels_and_the_number_that_alerts_are_named() {
    let (scene, operator) = encrypted(PROGRAM);
    scene.call("backup.create", &json!({})).done();
    let message = || {
        let health = scene.call("health.check", &json!({})).json;
        let checks = health["checks"].as_array().unwrap().clone();
        let find = |name: &str| checks.iter().find(|check| check["name"] == name).cloned().unwrap();
        assert_eq!(find("backup_secrets")["status"], "pass");
        find("backup_age")["message"].as_str().unwrap().to_owned()
    };
    assert!(message().contains("no backup was ever verified in full"), "{}", message());
    let sealed = scene.call("backup.verify", &json!({"snapshot_id": "latest"})).done();
    assert_eq!((&sealed["ok"], &sealed["level"]), (&json!(true), &json!("sealed")));
    assert!(message().contains("(sealed"), "{}", message());
    let listed = scene.call("backup.list", &json!({})).done();
    assert_eq!(listed["snapshots"][0]["verified_level"], "sealed");
    let proven = scene.call("backup.verify", &json!({"snapshot_id": "latest", "identity_file": operator.file})).done();
    assert_eq!((&proven["ok"], &proven["level"]), (&json!(true), &json!("proven")));
    assert!(!message().contains("(sealed"), "{}", message());
    let listed = scene.call("backup.list", &json!({})).done();
    assert_eq!(listed["snapshots"][0]["verified_level"], "proven");
}

#[test]
fn a_lost_host_and_a_wrong_key_are_named_with_their_repair() {
    let (scene, operator) = encrypted(PROGRAM);
    let made = scene.call("backup.create", &json!({})).done();
    let stranger = OperatorKey::make(&scene, "stranger.txt");
    let call = |name: &str, request: Value| scene.call(name, &request);

    let wrong = call("backup.keys_check", json!({"identity_file": stranger.file}));
    assert_eq!(wrong.error_kind(), "invalid_input");
    let message = wrong.json["error"]["message"].as_str().unwrap();
    let wanted = made["encrypted_to"].as_str().unwrap();
    assert!(message.contains(&stranger.public) && message.contains(wanted), "{message}");
    let none = call("backup.keys_check", json!({}));
    assert_eq!(none.error_kind(), "denied");
    let public = scene.beside("public.txt");
    fs::write(&public, &operator.public).unwrap();
    let public = call("restore.plan", json!({"snapshot_id": "latest", "identity_file": public}));
    assert!(public.json["error"]["message"].as_str().unwrap().contains("holds a public key"), "{}", public.json);
    assert_eq!(call("backup.keys_init", json!({})).error_kind(), "refused");

    // The host loses its state: nothing is ever stored in clear because of that.
    fs::remove_dir_all(scene.root().join(".uplifted-ops/keys")).unwrap();
    for settings in ["{ }", &format!("{{ recipients = [{:?}] }}", operator.public)] {
        encrypt_with(&scene, settings);
        let lost = call("backup.create", json!({}));
        assert_eq!(lost.error_kind(), "not_found", "{}", lost.json);
        assert!(lost.json["error"]["hint"].as_str().unwrap().contains("backup keys adopt"), "{}", lost.json);
        assert_eq!(sealed_archives(&scene).len() + scene.archives().len(), 1);
    }
    let listed = call("backup.list", json!({}));
    assert_eq!(listed.status, Some(1));
    assert_eq!(listed.json["unreadable"][0]["error"]["kind"], "denied", "{}", listed.json);
    // Whoever has the identity needs nothing of the host.
    let into = scene.beside("anywhere");
    call("restore.apply", json!({"snapshot_id": "latest", "into": into, "identity_file": operator.file})).done();
    assert_eq!(call("backup.keys_init", json!({})).error_kind(), "refused");
    assert_eq!(call("backup.keys_adopt", json!({"identity_file": stranger.file})).error_kind(), "invalid_input");
    let adopted = call("backup.keys_adopt", json!({"identity_file": operator.file})).done();
    assert_eq!(adopted["fingerprint"], wanted);
    let again = call("backup.create", json!({})).done();
    assert_eq!(again["encrypted_to"], wanted);
    assert_eq!(call("backup.list", json!({})).done()["snapshots"].as_array().unwrap().len(), 2);
}

#[test]
fn a_rotated_key_opens_the_new_and_the_old() {
    let (scene, operator) = encrypted(PROGRAM);
    let old = scene.call("backup.create", &json!({})).done();
    let rotated = scene.call("backup.keys_rotate", &json!({"identity_file": operator.file})).done();
    assert_eq!(rotated["proven"], true);
    let new = scene.call("backup.create", &json!({})).done();
    assert_eq!(new["encrypted_to"], rotated["fingerprint"]);
    assert_ne!(new["encrypted_to"], old["encrypted_to"]);
    let listed = scene.call("backup.keys_list", &json!({})).done();
    let status: Vec<(&Value, &Value)> =
        listed["keys"].as_array().unwrap().iter().map(|key| (&key["fingerprint"], &key["status"])).collect();
    assert_eq!(status.len(), 2);
    assert!(status.contains(&(&new["encrypted_to"], &json!("current"))), "{listed}");
    assert!(status.contains(&(&old["encrypted_to"], &json!("former"))), "{listed}");
    for made in [&old, &new] {
        let request = json!({"snapshot_id": made["snapshot_id"], "identity_file": operator.file});
        assert_eq!(scene.call("backup.verify", &request).done()["level"], "proven");
    }
    // The old key is lost, and says so; what is encrypted to the new one opens.
    let lost = format!("{}-1.age", old["encrypted_to"].as_str().unwrap());
    fs::remove_file(scene.target().join("keys").join(&lost)).unwrap();
    let request = json!({"snapshot_id": old["snapshot_id"], "identity_file": operator.file});
    let answer = scene.call("backup.verify", &request);
    assert_eq!(answer.error_kind(), "invalid_input");
    let message = answer.json["error"]["message"].as_str().unwrap();
    assert!(message.contains(old["encrypted_to"].as_str().unwrap()), "{message}");
    assert!(message.contains(new["encrypted_to"].as_str().unwrap()), "{message}");
    scene.call("backup.keys_check", &json!({"identity_file": operator.file})).done();
}

#[test]
fn wrapping_anew_changes_who_opens_and_demands_a_proof() {
    let (scene, operator) = encrypted(PROGRAM);
    let made = scene.call("backup.create", &json!({})).done();
    let before = wrapped(&scene);
    let next = OperatorKey::make(&scene, "next.txt");
    encrypt_with(&scene, &format!("{{ recipients = [{:?}] }}", next.public));
    let request = json!({"identity_file": operator.file});
    let unproven = scene.call("backup.keys_rewrap", &request);
    assert_eq!(unproven.error_kind(), "refused");
    assert!(unproven.json["error"]["hint"].as_str().unwrap().contains("--proof-file"), "{}", unproven.json);
    // The wrong proof.
    let wrong = json!({"identity_file": operator.file, "proof_file": operator.file});
    assert_eq!(scene.call("backup.keys_rewrap", &wrong).error_kind(), "invalid_input");
    let plan = json!({"identity_file": operator.file, "proof_file": next.file, "dry_run": true});
    let planned = scene.call("backup.keys_rewrap", &plan).done();
    assert_eq!(planned["rewraps"][0]["replaces"], json!([format!("keys/{}", before[0])]));
    assert_eq!((&planned["rewrapped"], wrapped(&scene)), (&json!(false), before.clone()));
    let done =
        scene.call("backup.keys_rewrap", &json!({"identity_file": operator.file, "proof_file": next.file})).done();
    assert!(done["note"].as_str().unwrap().contains("still can"), "{done}");
    assert_eq!(wrapped(&scene), [before[0].replace("-1.age", "-2.age")]);
    assert_eq!(scene.call("backup.keys_check", &request).error_kind(), "invalid_input");
    scene.call("backup.keys_check", &json!({"identity_file": next.file})).done();

    // To a passphrase, and back.
    encrypt_with(&scene, "{ passphrase = \"env:BACKUP_PASSPHRASE\" }");
    let set = [("BACKUP_PASSPHRASE", "correct horse battery staple")];
    scene.call_with("backup.keys_rewrap", &json!({"identity_file": next.file}), &set).done();
    let again = scene.call_with("backup.create", &json!({}), &[]).done();
    assert_eq!(again["encrypted_to"], made["encrypted_to"]);
    assert_eq!(scene.call("backup.verify", &json!({"snapshot_id": "latest"})).done()["level"], "sealed");
    let proven = scene.call_with("backup.verify", &json!({"snapshot_id": "latest"}), &set).done();
    assert_eq!(proven["level"], "proven");
    let wrong = [("BACKUP_PASSPHRASE", "incorrect horse battery staple")];
    let wrong = scene.call_with("backup.keys_check", &json!({}), &wrong);
    assert_eq!(wrong.error_kind(), "invalid_input");
    assert!(!wrong.json.to_string().contains("horse"), "{}", wrong.json);
}
