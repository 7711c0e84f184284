//! Objects of another language, played by Rust: they see JSON and blocks of bytes, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use uplifted_ops::clock::{Clock, SystemClock};
use uplifted_ops::embed::{Plugin, PluginCall, PluginFacts, PluginReply, Raised, Spelling, methods};
use uplifted_ops::{Error, ErrorKind, ProgressEvent, Result, Scope};

type Answer = Pin<Box<dyn Future<Output = Result<PluginReply>> + Send>>;

/// An object whose methods are one function.
#[derive(Clone)]
pub struct Object {
    pub facts: PluginFacts,
    act: Arc<dyn Fn(Scope, PluginCall) -> Answer + Send + Sync>,
}

impl Object {
    /// `names` are its methods, separated by spaces, in wire names.
    pub fn new<F: Future<Output = Result<PluginReply>> + Send + 'static>(
        class: &str,
        names: &str,
        act: impl Fn(Scope, PluginCall) -> F + Send + Sync + 'static,
    ) -> Self {
        let facts = PluginFacts::collect(class, Spelling::Snake, |name| names.split(' ').any(|has| has == name));
        Self { facts, act: Arc::new(move |scope, call| Box::pin(act(scope, call))) }
    }

    /// One whose methods answer at once.
    pub fn quick(
        class: &str,
        names: &str,
        act: impl Fn(PluginCall) -> Result<PluginReply> + Send + Sync + 'static,
    ) -> Self {
        Self::new(class, names, move |_, call| std::future::ready(act(call)))
    }

    pub fn capability(mut self, capability: Value) -> Self {
        self.facts.capability = Some(capability);
        self
    }

    /// As if its language wrote `snapshotTo`. Arguments and answers are those of such a language.
    pub fn camel(mut self) -> Self {
        self.facts.spelling = Spelling::Camel;
        self
    }

    pub fn shared(self) -> Arc<dyn Plugin> {
        Arc::new(self)
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").field("class", &self.facts.class).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Plugin for Object {
    fn facts(&self) -> PluginFacts {
        self.facts.clone()
    }

    async fn call(&self, scope: &Scope, call: PluginCall) -> Result<PluginReply> {
        (self.act)(scope.clone(), call).await
    }
}

/// Every method of the contracts, for objects that need not be choosy.
pub fn all_methods() -> String {
    methods().map(|method| method.name).collect::<Vec<_>>().join(" ")
}

/// An exception of the product's own kinds.
pub fn ours(kind: ErrorKind, message: &str) -> Error {
    Raised { kind: Some(kind), ..Raised::new("OpsError", message) }.into()
}

fn text<'a>(call: &'a PluginCall, name: &str) -> &'a str {
    call.arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(call: &PluginCall, name: &str) -> usize {
    usize::try_from(call.arguments[name].as_u64().unwrap()).unwrap_or(usize::MAX)
}

type Objects = Arc<Mutex<BTreeMap<String, (Vec<u8>, String)>>>;

/// A target that keeps its objects in memory.
#[derive(Clone, Default)]
pub struct Memory {
    pub objects: Objects,
    /// How many uploads were aborted.
    pub aborted: Arc<Mutex<usize>>,
}

impl Memory {
    pub const METHODS: &str = "put upload get list stat delete free_bytes";

    /// The object. Its language writes `ifAbsent` when `camel`.
    pub fn object(&self, camel: bool) -> Object {
        let memory = self.clone();
        let object = Object::quick("Memory", Self::METHODS, move |call| memory.act(call, camel));
        let (absent, read) =
            if camel { ("putIfAbsent", "readBeforeFinish") } else { ("put_if_absent", "read_before_finish") };
        let object = object.capability(json!({"kind": "memory", "location": "here", absent: true, read: true}));
        if camel { object.camel() } else { object }
    }

    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub fn act(&self, call: PluginCall, camel: bool) -> Result<PluginReply> {
        let key = text(&call, "key").to_owned();
        let mut objects = self.objects.lock().unwrap();
        let described = |key: &str, (bytes, at): &(Vec<u8>, String)| {
            let (size, time) = if camel { ("sizeBytes", "modifiedAt") } else { ("size_bytes", "modified_at") };
            json!({"key": key, size: bytes.len(), time: at})
        };
        Ok(match call.method.name {
            "put" => {
                let absent = if camel { "ifAbsent" } else { "if_absent" };
                if call.arguments[absent] == true && objects.contains_key(&key) {
                    return Ok(PluginReply::json(false));
                }
                objects.insert(key, (call.bytes.unwrap(), now()));
                PluginReply::json(true)
            }
            "get" => match objects.get(&key) {
                None => PluginReply::default(),
                Some((bytes, _)) => PluginReply::bytes(slice(bytes, &call)),
            },
            "list" => {
                let (prefix, after) = (text(&call, "prefix"), call.arguments["after"].as_str());
                let wanted = objects
                    .iter()
                    .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
                PluginReply::json(wanted.take(1000).map(|(key, held)| described(key, held)).collect::<Vec<_>>())
            }
            "stat" => PluginReply::json(objects.get(&key).map(|held| described(&key, held)).unwrap_or_default()),
            "delete" => PluginReply::json(objects.remove(&key).is_some()),
            "free_bytes" => PluginReply::json(1_u64 << 40),
            "upload" => PluginReply::object(self.upload(key, camel)),
            other => panic!("memory has no {other}"),
        })
    }

    fn upload(&self, key: String, camel: bool) -> Arc<dyn Plugin> {
        let (memory, written) = (self.clone(), Mutex::new(Vec::new()));
        let upload = Object::quick("MemoryUpload", "write read_back finish abort", move |call| {
            let mut written = written.lock().unwrap();
            Ok(match call.method.name {
                "write" => {
                    written.extend(call.bytes.unwrap());
                    PluginReply::default()
                }
                "read_back" => PluginReply::bytes(slice(&written, &call)),
                "finish" => {
                    let mut objects = memory.objects.lock().unwrap();
                    if objects.contains_key(&key) {
                        let exists = Raised { errno: Some(-17), ..Raised::new("Error", "EEXIST") };
                        return Err(exists.into());
                    }
                    objects.insert(key.clone(), (std::mem::take(&mut written), now()));
                    PluginReply::json(12)
                }
                "abort" => {
                    *memory.aborted.lock().unwrap() += 1;
                    PluginReply::default()
                }
                other => panic!("an upload has no {other}"),
            })
        });
        if camel { upload.camel().shared() } else { upload.shared() }
    }
}

fn now() -> String {
    SystemClock.now().to_string()
}

fn slice(bytes: &[u8], call: &PluginCall) -> Vec<u8> {
    let (start, end) = (number(call, "start").min(bytes.len()), number(call, "end").min(bytes.len()));
    bytes[start..end].to_vec()
}

/// A database that is a file with one line for each row.
pub fn lines(folder: &Path) -> Object {
    let file = folder.join("rows.txt");
    let capability = json!({"kind": "lines", "file": file});
    Object::new("Lines", "stats verify snapshot_to check_copy restore_from", move |scope, call| {
        let file = file.clone();
        async move { lines_act(&file, &scope, &call) }
    })
    .capability(capability)
}

fn rows_of(file: &Path) -> Result<Option<u64>> {
    let bytes = std::fs::read(file).map_err(|error| {
        let raised = Raised::new("OSError", error.to_string());
        Error::from(Raised { errno: error.raw_os_error(), ..raised })
    })?;
    let ours = bytes.starts_with(b"rows\n");
    let sound = bytes.split_inclusive(|byte| *byte == b'\n').skip(1).all(|line| line == b"row\n");
    Ok(ours.then(|| if sound { bytes.len() as u64 / 4 - 1 } else { u64::MAX }))
}

fn report(file: &Path) -> Result<PluginReply> {
    let sound = matches!(rows_of(file)?, Some(rows) if rows != u64::MAX);
    Ok(PluginReply::json(if sound { json!({"ok": true}) } else { json!({"ok": false, "problems": ["torn"]}) }))
}

fn lines_act(file: &Path, scope: &Scope, call: &PluginCall) -> Result<PluginReply> {
    let dir = || PathBuf::from(text(call, "dir"));
    let live = |file: &Path| match file.is_dir() {
        false if rows_of(file)?.is_some() => Ok(()),
        _ => Err(ours(ErrorKind::Unsupported, "that is no database of lines")),
    };
    match call.method.name {
        "stats" => {
            live(file)?;
            Ok(PluginReply::json(json!({"size_bytes": file.metadata().unwrap().len()})))
        }
        "verify" => {
            live(file)?;
            report(file)
        }
        "snapshot_to" => {
            live(file)?;
            scope.progress.report(ProgressEvent {
                stage: "copying lines".into(),
                done_bytes: 0,
                total_bytes: None,
                done_files: 0,
                total_files: None,
                uninterruptible: false,
            });
            scope.cancel.check()?;
            std::fs::copy(file, dir().join("rows.txt")).unwrap();
            Ok(PluginReply::json(json!({"files": ["rows.txt"]})))
        }
        "check_copy" => report(&dir().join("rows.txt")),
        "restore_from" => {
            if file.with_extension("held").exists() {
                return Err(ours(ErrorKind::Refused, "somebody has it open"));
            }
            let copy = dir().join("rows.txt");
            if !matches!(rows_of(&copy)?, Some(rows) if rows != u64::MAX) {
                return Err(ours(ErrorKind::Corrupt, "the copy is torn"));
            }
            std::fs::copy(copy, file).unwrap();
            Ok(PluginReply::default())
        }
        other => panic!("lines has no {other}"),
    }
}

/// Commits rows to the database of [`lines`] in `folder`.
pub fn commit(folder: &Path, rows: usize) {
    let file = folder.join("rows.txt");
    let mut bytes = std::fs::read(&file).unwrap_or_else(|_| b"rows\n".to_vec());
    bytes.extend(b"row\n".repeat(rows));
    std::fs::write(file, bytes).unwrap();
}

/// The scene of the suite of stores, around [`lines`].
pub fn lines_scene() -> Object {
    Object::quick("Scene", "open commit rows hold_open", |call| {
        let folder = PathBuf::from(text(&call, "folder"));
        Ok(match call.method.name {
            "open" => PluginReply::object(lines(&folder).shared()),
            "commit" => {
                commit(&folder, number(&call, "rows"));
                PluginReply::default()
            }
            "rows" => PluginReply::json(rows_of(&folder.join("rows.txt"))?.unwrap()),
            "hold_open" => {
                let held = folder.join("rows.held");
                std::fs::write(&held, b"").unwrap();
                PluginReply::object(
                    Object::quick("Held", "release", move |_| {
                        std::fs::remove_file(&held).unwrap();
                        Ok(PluginReply::default())
                    })
                    .shared(),
                )
            }
            other => panic!("no {other}"),
        })
    })
}

/// A check that answers so.
pub fn answering(outcome: Value) -> Object {
    Object::quick("Asked", "check", move |_| Ok(PluginReply::json(outcome.clone())))
}

/// An object that never answers.
pub fn stuck(class: &str, names: &str) -> Object {
    Object::new(class, names, |_, _| std::future::pending())
}

/// A sink in memory with what the suite needs around it.
pub fn sink_scene() -> Object {
    let around = || {
        let (got, failing) = (Arc::new(Mutex::new(Vec::<Value>::new())), Arc::new(Mutex::new(false)));
        Object::quick("Around", "sink received exports set_failing", move |call| {
            let (got, failing) = (Arc::clone(&got), Arc::clone(&failing));
            Ok(match call.method.name {
                "sink" => PluginReply::object(
                    Object::quick("Exporter", "export", move |mut call| {
                        if *failing.lock().unwrap() {
                            return Err(Raised::new("ConnectionError", "no route").into());
                        }
                        got.lock().unwrap().push(call.arguments.remove("snapshot").unwrap());
                        Ok(PluginReply::default())
                    })
                    .shared(),
                ),
                "exports" => PluginReply::json(got.lock().unwrap().len()),
                "set_failing" => {
                    *failing.lock().unwrap() = call.arguments["failing"] == true;
                    PluginReply::default()
                }
                "received" => {
                    let got = got.lock().unwrap();
                    let families = got.last().unwrap()["families"].as_array().unwrap();
                    let family = families.iter().find(|family| family["name"] == call.arguments["name"]);
                    let labels = call.arguments["labels"].as_array().unwrap();
                    let series = family.and_then(|family| {
                        let of_labels = |series: &&Value| {
                            let have = series["labels"].as_array().unwrap().iter().map(|pair| &pair[1]);
                            have.eq(labels)
                        };
                        family["series"].as_array().unwrap().iter().find(of_labels)
                    });
                    let value = series.map(|series| match &series["value"]["distribution"] {
                        Value::Null => series["value"]["number"].clone(),
                        spread => {
                            json!(spread["counts"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>())
                        }
                    });
                    PluginReply::json(value.unwrap_or_default())
                }
                other => panic!("no {other}"),
            })
        })
    };
    Object::quick("Scene", "fresh", move |_| Ok(PluginReply::object(around().shared())))
}
