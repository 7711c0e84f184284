//! What a case is given: a folder of a service, made from a description.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use uplifted_ops::ops::Ops;

/// The scene of one case.
pub struct Scene {
    /// Holds everything; removed with this.
    _folder: TempDir,
    root: PathBuf,
    given: Vec<Value>,
    /// What `<name>` stands for.
    pub names: BTreeMap<String, String>,
}

/// The first of a case's needs that this machine does not meet.
pub fn lacking(case: &Value) -> Option<String> {
    let needs = case["needs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let root = rustix::process::geteuid().is_root();
    let met = |need: &&str| match *need {
        "sqlite" => true,
        "root" => root,
        "unprivileged" => !root,
        other => panic!("nobody knows the need {other:?}"),
    };
    needs.filter(|need| !met(need)).map(str::to_owned).next()
}

impl Scene {
    /// Makes the scene of `given`.
    pub fn new(given: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let beside = folder.path().canonicalize().unwrap();
        let root = beside.join("uplifted");
        fs::create_dir(&root).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let names = [("root".to_owned(), text(&root)), ("beside".to_owned(), text(&beside))].into();
        let mut scene = Self { _folder: folder, root, given: Vec::new(), names };
        if let Some(like) = given["like"].as_str() {
            let services: Value =
                serde_json::from_slice(&fs::read(super::folder().join("services.json")).unwrap()).unwrap();
            let service = services.get(like).unwrap_or_else(|| panic!("there is no service {like:?}"));
            scene.add(service);
        }
        scene.add(given);
        scene
    }

    /// Changes the scene as `given` says.
    pub fn add(&mut self, given: &Value) {
        let given = self.filled(given);
        for (name, content) in given["files"].as_object().into_iter().flatten() {
            self.file(&self.path(name), content);
        }
        for (name, content) in given["named_in_hex"].as_object().into_iter().flatten() {
            self.file(&self.root.join(OsString::from_vec(unhex(name))), content);
        }
        for (name, sql) in given["databases"].as_object().into_iter().flatten() {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            rusqlite::Connection::open(path).unwrap().execute_batch(sql.as_str().unwrap()).unwrap();
        }
        for (name, patch) in given["patches"].as_object().into_iter().flatten() {
            let file = fs::OpenOptions::new().write(true).open(self.path(name)).unwrap();
            file.write_all_at(&unhex(patch["hex"].as_str().unwrap()), patch["at"].as_u64().unwrap()).unwrap();
        }
        self.given.push(given);
    }

    fn file(&self, path: &Path, content: &Value) {
        if content.is_null() {
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap()
            } else {
                fs::remove_file(path).unwrap()
            }
            return;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(target) = content["link"].as_str() {
            return symlink(target, path).unwrap();
        }
        if content["folder"] == true {
            return fs::create_dir(path).unwrap();
        }
        fs::write(path, bytes(content)).unwrap();
        if let Some(mode) = content["mode"].as_str() {
            fs::set_permissions(path, fs::Permissions::from_mode(u32::from_str_radix(mode, 8).unwrap())).unwrap();
        }
    }

    /// An `Ops` on the scene.
    pub fn ops(&self) -> uplifted_ops::Result<Ops> {
        let environment = self.given.iter().filter_map(|given| given["environment"].as_object()).flatten();
        let mut builder = Ops::builder()
            .root(&self.root)
            .environment(environment.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())))
            .greeting_deadline(Duration::from_secs(60))
            .worker_command([env!("CARGO_BIN_EXE_under-test")]);
        for settings in self.given.iter().filter_map(|given| given.get("settings")) {
            builder = builder.overrides(settings);
        }
        builder.build()
    }

    /// `name` in the root, or where it is when it is absolute.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// `value` with what the scene knows put in place of `<name>`, in keys and in texts, and integers in place of
    /// `{"<integer>": "…"}`.
    pub fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(fields) => fields.iter().map(|(name, value)| (self.text(name), self.filled(value))).collect(),
            plain => plain.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
    }
}

/// The bytes of a file: text, `{"text": …}` or `{"hex": …}`.
pub fn bytes(content: &Value) -> Vec<u8> {
    match (content.as_str().or(content["text"].as_str()), content["hex"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(hex)) => unhex(hex),
        (None, None) => panic!("no content in {content}"),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
