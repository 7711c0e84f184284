//! A scene whose backups are encrypted, and the keys of its operators, made by `age-keygen`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::scene::Scene;

/// An operator's key.
#[derive(Debug, Clone)]
pub struct OperatorKey {
    /// The file with the secret half.
    pub file: PathBuf,
    /// The public half.
    pub public: String,
    /// The secret half.
    pub secret: String,
}

impl OperatorKey {
    /// A new one in the file `name` beside the service. Needs the Debian package `age`.
    pub fn make(scene: &Scene, name: &str) -> Self {
        let file = scene.beside(name);
        let made = Command::new("age-keygen").arg("-o").arg(&file).output();
        let made = made.expect("age-keygen is missing: run `make setup`, or install the Debian package age");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let text = fs::read_to_string(&file).unwrap();
        let line = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
        let public = line("# public key: ").expect("age-keygen prints the public key");
        let secret = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap_or_default().to_owned();
        Self { file, public, secret }
    }
}

/// Makes the settings name `encryption`, a TOML table, in place of `clear_secrets`.
pub fn encrypt_with(scene: &Scene, encryption: &str) {
    let path = scene.root().join("ops.toml");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.starts_with("clear_secrets") || line.starts_with("encryption") {
            true => format!("encryption = {encryption}"),
            false => line.to_owned(),
        })
        .collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
}

/// A small service with a key wrapped to one operator.
pub fn encrypted(program: &str) -> (Scene, OperatorKey) {
    let scene = Scene::small(program);
    let operator = OperatorKey::make(&scene, "operator.txt");
    encrypt_with(&scene, &format!("{{ recipients = [{:?}] }}", operator.public));
    scene.call("backup.keys_init", &json!({"identity_file": operator.file})).done();
    (scene, operator)
}

/// The wrapped keys in the target, by name.
pub fn wrapped(scene: &Scene) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(scene.target().join("keys"))
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}
