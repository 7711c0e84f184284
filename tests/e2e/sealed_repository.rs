//! Encrypted repositories by the command line: what each key opens, keys that are lost, foreign or old, and no secret in
//! anything that is written or said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use uplifted_ops_tests::keys::{OperatorKey, encrypt_with, encrypted, wrapped};
use uplifted_ops_tests::scene::Scene;
use uplifted_ops_tests::tree::Tree;

use super::PROGRAM;
use super::encryption::files;

fn repository() -> (Scene, OperatorKey) {
    let (scene, operator) = encrypted(PROGRAM);
    let path = scene.root().join("ops.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("[backup]\n", "[backup]\nlayout = \"repository\"\n")).unwrap();
    (scene, operator)
}

/// What is in the target, but for leases.
fn stored(scene: &Scene) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = Vec::new();
    files(&scene.target(), &mut found);
    found.retain(|path| !path.starts_with(scene.target().join("locks")));
    found.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// The wrapped keys as age unwraps them.
fn unwrap(scene: &Scene, operator: &OperatorKey) -> Vec<String> {
    let open = |name: String| {
        let mut age = Command::new("age");
        let output = age.arg("-d").arg("-i").arg(&operator.file).arg(scene.target().join("keys").join(name)).output();
        output.ok().filter(|output| output.status.success()).map(|output| String::from_utf8(output.stdout).unwrap())
    };
    wrapped(scene).into_iter().filter_map(open).collect()
}

#[test]
fn a_check_proves_each_key_that_the_newest_snapshot_needs() {
    let (scene, operator) = repository();
    let with = json!({"identity_file": operator.file});
    let empty = scene.call("backup.keys_check", &with).done();
    assert_eq!((&empty["ok"], &empty["targets"][0]["snapshot_id"]), (&json!(true), &Value::Null));
    let old = scene.call("backup.create", &json!({})).done();
    scene.call("backup.keys_rotate", &with).done();
    scene.write("config/more.yaml", "one: 1\n");
    let new = scene.call("backup.create", &json!({})).done();
    assert_ne!(old["encrypted_to"], new["encrypted_to"]);
    let checked = scene.call("backup.keys_check", &with).done();
    assert_eq!(checked["targets"][0]["snapshot_id"], new["snapshot_id"]);
    assert_eq!(checked["targets"][0]["encrypted_to"], new["encrypted_to"]);
    assert_eq!(checked["opens"], json!([old["encrypted_to"], new["encrypted_to"]]));

    // The former key is gone, and the newest snapshot has packs that need it.
    let lost = scene.target().join(format!("keys/{}-1.age", old["encrypted_to"].as_str().unwrap()));
    let bytes = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    let answer = scene.call("backup.keys_check", &with);
    assert_eq!((answer.status, &answer.json["ok"]), (Some(1), &json!(false)), "{}", answer.json);
    let said = answer.json["targets"][0]["error"]["message"].as_str().unwrap();
    assert!(said.contains(old["encrypted_to"].as_str().unwrap()), "{said}");
    let into = scene.beside("into");
    let answer =
        scene.call("restore.apply", &json!({"snapshot_id": "latest", "into": into, "identity_file": operator.file}));
    assert!(answer.json["error"]["message"].as_str().unwrap().contains(old["encrypted_to"].as_str().unwrap()));
    assert!(!into.exists());
    // The host makes backups all the same, and what comes back opens everything again.
    scene.call("backup.create", &json!({})).done();
    fs::write(&lost, bytes).unwrap();
    scene.call("backup.keys_check", &with).done();
    for made in [&old, &new] {
        let request = json!({"snapshot_id": made["snapshot_id"], "identity_file": operator.file});
        assert_eq!(scene.call("backup.verify", &request).done()["level"], "proven");
    }

    // Damage is no matter of keys.
    for (path, bytes) in stored(&scene).into_iter().filter(|(path, _)| path.starts_with(scene.target().join("packs"))) {
        fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
    }
    let answer = scene.call("backup.keys_check", &with);
    assert_eq!((answer.status, &answer.json["ok"]), (Some(1), &json!(false)), "{}", answer.json);
    assert_eq!(answer.json["targets"][0]["error"]["kind"], "corrupt");
}

#[test]
fn wrapping_anew_rewrites_the_keys_and_nothing_else() {
    let (scene, operator) = repository();
    scene.call("backup.create", &json!({})).done();
    let before = stored(&scene);
    let next = OperatorKey::make(&scene, "next.txt");
    encrypt_with(&scene, &format!("{{ recipients = [{:?}] }}", next.public));
    scene.call("backup.keys_rewrap", &json!({"identity_file": operator.file, "proof_file": next.file})).done();
    let after = stored(&scene);
    let keys = scene.target().join("keys");
    let others = |all: &BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, Vec<u8>> {
        all.iter()
            .filter(|(path, _)| !path.starts_with(&keys))
            .map(|(path, bytes)| (path.clone(), bytes.clone()))
            .collect()
    };
    assert!(others(&before).len() > 5 && others(&before) == others(&after));
    assert_eq!((before.len(), after.len()), (others(&before).len() + 1, others(&after).len() + 1));
    let verify = |file: &Path| scene.call("backup.verify", &json!({"snapshot_id": "latest", "identity_file": file}));
    assert_eq!(verify(&next.file).done()["level"], "proven");
    assert_eq!(verify(&operator.file).error_kind(), "invalid_input");

    // An older version that somebody puts back opens to the former operator again, which `note` says; nobody loses anything.
    for (path, bytes) in before.iter().filter(|(path, _)| path.starts_with(&keys)) {
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(verify(&next.file).done()["level"], "proven");
    assert_eq!(verify(&operator.file).done()["level"], "proven");
    scene.call("backup.create", &json!({})).done();
}

#[test]
fn keys_that_are_gone_or_of_another_repository_are_named_and_nothing_is_lost() {
    let (scene, operator) = repository();
    let (other, stranger) = repository();
    scene.call("backup.create", &json!({})).done();
    other.call("backup.create", &json!({})).done();
    let (ours, theirs) = (stored(&scene), stored(&other));
    let by_hand = scene.beside("unwrapped");
    fs::write(&by_hand, &unwrap(&scene, &operator)[0]).unwrap();
    let keys = scene.target().join("keys");

    // Gone: what is there can be listed and verified, and nothing is added that nobody could open.
    fs::remove_dir_all(&keys).unwrap();
    let refused = scene.call("backup.create", &json!({}));
    assert_eq!(refused.error_kind(), "refused", "{}", refused.json);
    assert!(refused.json["error"]["hint"].as_str().unwrap().contains("another copy"), "{}", refused.json);
    let kept = stored(&scene);
    assert!(kept.iter().all(|(path, bytes)| ours.get(path) == Some(bytes)), "{:?}", kept.keys());
    assert_eq!(scene.call("backup.verify", &json!({"snapshot_id": "latest"})).done()["level"], "sealed");
    let with = |file: &Path| json!({"snapshot_id": "latest", "identity_file": file});
    let lost = scene.call("restore.plan", &with(&operator.file));
    assert_eq!(lost.error_kind(), "not_found");
    assert!(lost.json["error"]["hint"].as_str().unwrap().contains("keys/"), "{}", lost.json);
    assert_eq!(scene.call("backup.verify", &with(&by_hand)).done()["level"], "proven");

    // Those of another repository in their place.
    fs::create_dir(&keys).unwrap();
    for (path, bytes) in theirs.iter().filter(|(path, _)| path.starts_with(other.target().join("keys"))) {
        fs::write(keys.join(path.file_name().unwrap()), bytes).unwrap();
    }
    assert_eq!(scene.call("backup.create", &json!({})).error_kind(), "refused");
    for (file, said) in [(&operator.file, "does not open the key"), (&stranger.file, "only keys of other repositories")]
    {
        for (name, request) in [
            ("restore.plan", with(file)),
            ("backup.verify", with(file)),
            ("backup.keys_check", json!({"identity_file": file})),
        ] {
            let answer = scene.call(name, &request);
            assert_eq!(answer.error_kind(), "invalid_input", "{name}: {}", answer.json);
            assert!(answer.json["error"]["message"].as_str().unwrap().contains(said), "{name}: {}", answer.json);
        }
    }
    // Without the host's part as well.
    let state = scene.root().join(".uplifted-ops/keys");
    fs::rename(&state, scene.beside("aside")).unwrap();
    let answer = scene.call("restore.plan", &with(&stranger.file));
    assert_eq!(answer.error_kind(), "denied", "{}", answer.json);
    fs::rename(scene.beside("aside"), &state).unwrap();

    // Everything back: as before.
    fs::remove_dir_all(&keys).unwrap();
    fs::create_dir(&keys).unwrap();
    for (path, bytes) in ours.iter().filter(|(path, _)| path.starts_with(&keys)) {
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(scene.call("backup.verify", &with(&operator.file)).done()["level"], "proven");
    scene.call("backup.create", &json!({})).done();
}

#[test]
fn the_script_and_age_restore_what_we_restore() {
    let (scene, operator) = repository();
    scene.call("backup.create", &json!({})).done();
    scene.sql("INSERT INTO t(v) VALUES ('two')");
    scene.call("backup.create", &json!({})).done();
    let (by_hand, by_us) = (scene.beside("by hand"), scene.beside("by us"));
    let output = Command::new("sh")
        .arg(scene.target().join("recover.sh"))
        .args(["restore", "latest"])
        .arg(&by_hand)
        .arg("--identity")
        .arg(&operator.file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    scene
        .call("restore.apply", &json!({"snapshot_id": "latest", "into": by_us, "identity_file": operator.file}))
        .done();
    let (by_hand, by_us) = (Tree::of(&by_hand, &[]), Tree::of(&by_us, &[]));
    assert!(by_hand.0.len() > 5);
    assert_eq!(by_hand, by_us, "{:#?}", by_hand.difference(&by_us));
}

fn base64(bytes: &[u8]) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let word =
        |three: &[u8]| three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
    // The last digits depend on the padding.
    let digits = bytes.chunks_exact(3).flat_map(|three| [18, 12, 6, 0].map(|shift| word(three) >> shift & 63));
    digits.map(|digit| char::from(letters[digit as usize])).collect()
}

#[test]
fn no_secret_is_in_anything_that_is_written_or_said() {
    let (scene, operator) = repository();
    let stranger = OperatorKey::make(&scene, "stranger.txt");
    let passphrase = "correct horse battery staple";
    let (right, wrong) = ([("BACKUP_PASSPHRASE", passphrase)], [("BACKUP_PASSPHRASE", "incorrect pony")]);
    let mut said: Vec<u8> = Vec::new();
    let mut secrets =
        vec![operator.secret.clone(), stranger.secret.clone(), passphrase.to_owned(), "incorrect pony".to_owned()];
    let mut id_key = String::new();
    let mut learn = |secrets: &mut Vec<String>| {
        for text in unwrap(&scene, &operator) {
            secrets.extend(text.lines().filter(|line| line.starts_with("AGE-SECRET-KEY-")).map(str::to_owned));
            id_key = text.lines().find_map(|line| line.strip_prefix("# id key: ")).unwrap().to_owned();
        }
    };
    let mut call = |name: &str, request: Value, environment: &[(&str, &str)], status: i32| {
        let output = scene.run(&["call", name, &request.to_string()], environment);
        said.extend_from_slice(&output.stdout);
        said.extend_from_slice(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{name} {request}: {}", String::from_utf8_lossy(&output.stdout));
    };
    let latest = |file: &Path| json!({"snapshot_id": "latest", "identity_file": file});
    let (own, foreign) = (operator.file.as_path(), stranger.file.as_path());
    learn(&mut secrets);
    call("backup.create", json!({"label": "first"}), &[], 0);
    for name in ["backup.verify", "backup.show", "restore.plan"] {
        call(name, latest(own), &[], 0);
        call(name, latest(foreign), &[], 2);
    }
    call("backup.show", json!({"snapshot_id": "latest"}), &[], 2);
    call(
        "backup.export",
        json!({"snapshot_id": "latest", "output": scene.beside("out.tar.zst"), "identity_file": foreign}),
        &[],
        2,
    );
    call("backup.keys_check", json!({"identity_file": own}), &[], 0);
    call("backup.keys_check", json!({"identity_file": foreign}), &[], 2);
    call("backup.keys_adopt", json!({"identity_file": foreign}), &[], 2);
    call("backup.keys_init", json!({}), &[], 2);
    call("backup.keys_rotate", json!({"identity_file": own}), &[], 0);
    learn(&mut secrets);
    call("backup.create", json!({}), &[], 0);
    encrypt_with(&scene, "{ passphrase = \"env:BACKUP_PASSPHRASE\" }");
    call("backup.keys_rewrap", json!({"identity_file": own, "dry_run": true}), &right, 0);
    call("backup.keys_rewrap", json!({"identity_file": foreign}), &right, 2);
    call("backup.keys_rewrap", json!({"identity_file": own}), &right, 0);
    call("backup.keys_check", json!({}), &right, 0);
    call("backup.keys_check", json!({}), &wrong, 2);
    call("backup.keys_adopt", json!({}), &right, 0);
    call("backup.keys_rewrap", json!({"passphrase": passphrase}), &right, 2);
    call("backup.keys_list", json!({}), &right, 0);
    call("backup.verify", json!({"snapshot_id": "latest"}), &right, 0);
    call("backup.list", json!({}), &right, 0);
    call("config.show", json!({}), &right, 0);
    fs::write(scene.beside("garbage"), format!("{}x", &operator.secret[..40])).unwrap();
    call("backup.verify", latest(&scene.beside("garbage")), &[], 2);
    secrets.push(operator.secret[..40].to_owned());
    // The host's part is damaged, and lost.
    let state = scene.root().join(".uplifted-ops/keys");
    let host = fs::read_dir(&state).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read_to_string(&host).unwrap();
    fs::write(&host, whole.replace("\"id_key\": \"", "\"id_key\": \"zz")).unwrap();
    call("backup.create", json!({}), &[], 2);
    fs::write(&host, whole).unwrap();

    secrets.sort_unstable();
    secrets.dedup();
    assert!(secrets.len() >= 7 && id_key.len() == 64, "{}", secrets.len());
    let raw: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&id_key[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mut all: Vec<(PathBuf, Vec<u8>)> = vec![("what was printed".into(), said)];
    let mut written = Vec::new();
    [scene.root(), scene.target()].iter().for_each(|folder| files(folder, &mut written));
    all.extend(written.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())));
    assert!(all.iter().any(|(path, _)| path.to_string_lossy().contains("journal")) && all.len() > 20);
    let has = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window.eq_ignore_ascii_case(what));
    for (path, bytes) in &all {
        for secret in &secrets {
            assert!(!has(bytes, secret.as_bytes()), "{path:?} has a secret key or a passphrase");
        }
        if !path.starts_with(&state) {
            let id_keys = [id_key.as_bytes(), raw.as_slice(), base64(&raw).as_bytes()].map(|form| has(bytes, form));
            assert_eq!(id_keys, [false; 3], "{path:?} has the id key: hexadecimal, raw, base64");
        }
        assert!(!has(bytes, b"api_key=hunter2") || path.ends_with(".env"), "{path:?} has the service's secret");
    }
}
