//! The suite of stores.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::scene::Scene;
use crate::error::{Error, Result};
use crate::fs::{self, PRIVATE_DIR, PRIVATE_FILE};
use crate::remote::{Payload, WirePath};
use crate::store::Store;
use crate::testing::store::Fixture;
use crate::value::random_hex;

/// How far apart the damaged places of a copy are, so that whatever has pages has a damaged one.
const EACH: usize = 4096;
/// How long each of them is.
const DAMAGE: usize = 100;

pub(super) async fn fresh(scene: &Scene) -> Result<Arc<dyn Fixture>> {
    let folder = Folder::new()?;
    let live = folder.make("live")?;
    scene.blame(scene.act("commit", [arg(&live)?, ("rows", json!(0))]).await)?;
    let open = async |folder: &Path| {
        let plugin = scene.object_for("open", [arg(folder)?]).await?;
        scene.blame(crate::embed::store("store", plugin, scene.deadline()))
    };
    let store = open(&live).await?;
    let missing = open(&folder.make("missing")?).await?;
    let mut foreign = Vec::new();
    for what in ["text", "noise", "folder"] {
        let place = folder.make(what)?;
        let store = open(&place).await?;
        // Only a database that is a file in its folder can be put in the place of.
        match store.capability().file {
            Some(file) if file.starts_with(&place) && file != place => put_something_else(what, &file)?,
            _ => break,
        }
        foreign.push((what.to_owned(), store));
    }
    Ok(Arc::new(Around { scene: scene.clone(), live, store, missing, foreign, copies: AtomicU32::new(0), folder }))
}

fn put_something_else(what: &str, at: &Path) -> Result<()> {
    match what {
        "text" => fs::write_atomic(at, PRIVATE_FILE, b"hello"),
        "noise" => fs::write_atomic(at, PRIVATE_FILE, &[0xd7; 4096]),
        _ => fs::create_dir_all(at, PRIVATE_DIR),
    }
}

/// The argument `folder`.
fn arg(folder: &Path) -> Result<(&'static str, Value)> {
    Ok(("folder", Payload::of(&WirePath(folder.to_owned()))?.value))
}

/// A folder of the suite's own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("uplifted-ops-suite-{}", random_hex(12)?));
        fs::create_dir_all(&folder, PRIVATE_DIR)?;
        Ok(Self(folder))
    }

    fn make(&self, name: &str) -> Result<PathBuf> {
        let folder = self.0.join(name);
        fs::create_dir_all(&folder, PRIVATE_DIR)?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Around {
    scene: Scene,
    live: PathBuf,
    store: Arc<dyn Store>,
    missing: Arc<dyn Store>,
    foreign: Vec<(String, Arc<dyn Store>)>,
    copies: AtomicU32,
    folder: Folder,
}

#[async_trait]
impl Fixture for Around {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn missing(&self) -> Arc<dyn Store> {
        Arc::clone(&self.missing)
    }

    fn foreign(&self) -> Vec<(String, Arc<dyn Store>)> {
        self.foreign.clone()
    }

    async fn commit(&self, rows: u64) -> Result<()> {
        self.scene.act("commit", [arg(&self.live)?, ("rows", json!(rows))]).await
    }

    async fn rows(&self) -> Result<u64> {
        self.scene.value("rows", [arg(&self.live)?]).await
    }

    async fn rows_in(&self, dir: &Path) -> Result<u64> {
        let method = if self.scene.has("rows_in") { "rows_in" } else { "rows" };
        self.scene.value(method, [arg(dir)?]).await
    }

    async fn damage(&self, dir: &Path) -> Result<()> {
        if self.scene.has("damage") {
            return self.scene.act("damage", [arg(dir)?]).await;
        }
        let files = tree(dir)?.into_iter().filter_map(|(file, bytes)| Some((file, bytes?)));
        let largest = files.max_by_key(|(_, bytes)| bytes.len());
        let (file, mut bytes) = largest.ok_or_else(|| Error::invalid("the copy to damage has no files"))?;
        flip(&mut bytes);
        fs::write_atomic(&file, PRIVATE_FILE, &bytes)
    }

    async fn hold_open(&self) -> Result<Option<Box<dyn Send>>> {
        if !self.scene.has("hold_open") {
            return Ok(None);
        }
        let object = self.scene.object_for("hold_open", [arg(&self.live)?]).await?;
        Ok(Some(Box::new(Held(self.scene.inner(object, &["release"])?))))
    }

    async fn footprint(&self) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut all = Vec::new();
        for entry in ["live", "missing", "text", "noise", "folder"] {
            let folder = self.folder.0.join(entry);
            if folder.is_dir() {
                all.extend(tree(&folder)?.into_iter().map(|(path, bytes)| (path, bytes.unwrap_or_default())));
            }
        }
        Ok(all)
    }

    fn empty_folder(&self) -> Result<PathBuf> {
        let number = self.copies.fetch_add(1, Ordering::SeqCst);
        self.folder.make(&format!("copies/{number}"))
    }
}

/// A database that is open elsewhere, released when dropped.
struct Held(Scene);

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever drops it relies on the database being closed. The suite runs on threads that may wait.
        tokio::task::block_in_place(|| {
            let _ = Handle::current().block_on(self.0.act("release", []));
        });
    }
}

/// All that is below a folder, sorted; files with their bytes.
fn tree(folder: &Path) -> Result<Vec<(PathBuf, Option<Vec<u8>>)>> {
    let look = |error| Error::io(format!("look into {folder:?}"), error);
    let mut paths = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>())
        .map_err(look)?;
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.push((path.clone(), None));
            all.extend(tree(&path)?);
        } else {
            let bytes = std::fs::read(&path).map_err(look)?;
            all.push((path, Some(bytes)));
        }
    }
    Ok(all)
}

/// Flips bytes at the start of each page but the first; in the middle of what has one page only.
fn flip(bytes: &mut [u8]) {
    let places: Vec<usize> = match bytes.len() {
        length @ 0..=EACH => vec![length / 2],
        length => (1..=(length - 1) / EACH).map(|page| page * EACH).collect(),
    };
    for at in places {
        let until = (at + DAMAGE).min(bytes.len());
        bytes[at..until].iter_mut().for_each(|byte| *byte = !*byte);
    }
}
