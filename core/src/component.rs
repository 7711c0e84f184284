//! Components: the live objects behind the four contracts, and the registry of their kinds.
//!
//! A driver is one file that ends in a `pub const KIND: Kind<dyn …>`; the registry gets one line for it
//! (`ops/builtin.rs`). Settings stay data (`{ name, kind, … }`); a [`Kind`] turns them into an object.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// In which process a component lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the host: it holds live objects of the host, or opens no file that may be a database.
    Host,
    /// In the worker: it opens the service's files. The host sees a proxy.
    Worker,
    /// In whichever process asks: it is data and sockets only.
    Anywhere,
}

/// What a [`Kind`] may use beside its own settings.
#[derive(Debug, Clone)]
pub struct BuildContext {
    /// The component's name in the settings, such as `main`.
    pub name: String,
    /// The service's root folder, absolute; relative paths in settings start here.
    pub root: PathBuf,
    /// The state folder, absolute.
    pub state: PathBuf,
    /// What the service is called. Empty for stores that nobody configured.
    pub service: String,
}

impl BuildContext {
    /// Makes a path from the settings absolute.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    /// Reads a component's own settings into its type. Unknown and mistyped fields are errors that name
    /// the component, when `T` denies unknown fields.
    pub fn settings<T: DeserializeOwned>(&self, settings: &Map<String, Value>) -> Result<T> {
        serde_path_to_error::deserialize(Value::Object(settings.clone())).map_err(|error| {
            let path = error.path().to_string();
            let at = if path == "." { String::new() } else { format!(" ({path})") };
            let told = Error::invalid(format!("settings of {:?}{at}: {}", self.name, error.inner()));
            let told = if path == "." { told } else { told.with_context("field", &path) };
            told.with_hint("correct it in ops.toml; `uplifted-ops config show` prints where each value comes from")
        })
    }
}

/// How a file under the service's folders is recognised as data of a store nobody configured.
#[derive(Clone, Copy)]
pub struct Detect {
    /// Whether a file that begins with these bytes (at most 512, fewer at the end of a short file) is one.
    pub head: fn(&[u8]) -> bool,
    /// Suffixes of the files that belong to it and are never copied by themselves: `-wal`, `-shm`, ….
    pub side_suffixes: &'static [&'static str],
    /// Settings of a store for the file at this absolute path.
    pub settings: fn(&Path) -> Map<String, Value>,
}

/// One kind of component: `sqlite`, `fs`, `http`, ….
#[derive(Clone, Copy)]
pub struct Kind<T: ?Sized + 'static> {
    /// The word in `kind = "…"`.
    pub name: &'static str,
    /// One line for `--help` and the documentation.
    pub summary: &'static str,
    /// Where its objects live.
    pub placement: Placement,
    /// Makes the object. Opens nothing: a database that is missing is found when it is used.
    pub build: fn(&BuildContext, &Map<String, Value>) -> Result<Arc<T>>,
    /// For stores that live in a file: how to find them.
    pub detect: Option<Detect>,
}

impl<T: ?Sized> fmt::Debug for Kind<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind").field("name", &self.name).field("placement", &self.placement).finish_non_exhaustive()
    }
}

/// The kinds of one contract that this build has.
#[derive(Debug)]
pub struct Registry<T: ?Sized + 'static> {
    /// What is registered, in words for errors: `store`, `target`, `check`, `sink`.
    what: &'static str,
    kinds: BTreeMap<&'static str, Kind<T>>,
}

impl<T: ?Sized> Clone for Registry<T> {
    fn clone(&self) -> Self {
        Self {
            what: self.what,
            kinds: self
                .kinds
                .iter()
                .map(|(name, kind)| {
                    let Kind { name: n, summary, placement, build, detect } = kind;
                    (*name, Kind { name: n, summary, placement: *placement, build: *build, detect: *detect })
                })
                .collect(),
        }
    }
}

impl<T: ?Sized> Registry<T> {
    /// An empty registry of `what` (`store`, `target`, `check`, `sink`).
    pub fn new(what: &'static str) -> Self {
        Self { what, kinds: BTreeMap::new() }
    }

    /// Adds a kind. A second one of the same name replaces the first.
    pub fn register(&mut self, kind: Kind<T>) {
        self.kinds.insert(kind.name, kind);
    }

    /// The kinds by name.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind<T>> {
        self.kinds.values()
    }

    /// The kind called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with the names that exist.
    pub fn get(&self, name: &str) -> Result<&Kind<T>> {
        self.kinds.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.kinds.keys().copied().collect();
            Error::new(ErrorKind::Unsupported, format!("this build has no {} of kind {name:?}", self.what))
                .with_hint(format!("use one of: {}", known.join(", ")))
        })
    }
}
