//! A service's folder, and a snapshot held in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backup::archive::*;
use crate::backup::blocks::Blocks;
use crate::backup::manifest::*;
use crate::backup::nodes::*;
use crate::backup::restore::*;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::fs::{Dir, NodeTimes};
use crate::store::IntegrityReport;

/// The time of everything in a snapshot.
pub(super) const MTIME: i64 = 1_600_000_000;

/// Regular files and what is in them.
pub(super) type Files = BTreeMap<PathBuf, String>;

pub(super) fn listing(files: &[(&str, &str)]) -> Files {
    files.iter().map(|(path, content)| (PathBuf::from(path), content.to_string())).collect()
}

/// All files below `folder`, those of ours left out.
pub(super) fn files_below(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        for entry in std::fs::read_dir(folder.join(&path)).unwrap() {
            let entry = entry.unwrap();
            let path = path.join(entry.file_name());
            if entry.file_name().to_string_lossy().starts_with(".uplifted-ops") {
                continue;
            }
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() {
                files.insert(path, std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    files
}

/// A service's folder in a folder of its own.
pub(super) struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        Self::below(&std::env::temp_dir(), files)
    }

    /// In memory where there is such a place: the crash tests sync thousands of times.
    pub(super) fn quick(files: &[(&str, &str)]) -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory, files) } else { Self::new(files) }
    }

    fn below(place: &Path, files: &[(&str, &str)]) -> Self {
        let scene = Self { folder: tempfile::tempdir_in(place).unwrap() };
        std::fs::create_dir(scene.root()).unwrap();
        for (path, content) in files {
            scene.write(path, content);
        }
        scene
    }

    pub(super) fn write(&self, path: &str, content: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// The folder around the service's.
    pub(super) fn outside(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(super) fn root(&self) -> PathBuf {
        self.outside().join("root")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.root().join(".uplifted-ops")
    }

    pub(super) fn files(&self) -> Files {
        files_below(&self.root())
    }

    pub(super) fn site<'a>(&self) -> Site<'a> {
        Site {
            root: self.root(),
            state: self.state(),
            service: Service { patience: Duration::ZERO, ..Service::default() },
            ..Site::default()
        }
    }

    pub(super) fn job<'a>(&self, source: &'a dyn Source) -> RestoreJob<'a> {
        RestoreJob {
            site: self.site(),
            source,
            into: None,
            paths: Vec::new(),
            threads: 1,
            limits: Limits::default(),
            salvage: false,
            check: &|_, _| Ok(IntegrityReport { ok: true, problems: Vec::new() }),
        }
    }

    pub(super) fn restore(&self, job: &RestoreJob<'_>) -> Result<RestoreReport> {
        let scope = Scope::default();
        apply(&scope, job, &plan(&scope, job)?)
    }

    /// Everything of ours that is neither a lock file nor an undo area.
    pub(super) fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut waiting = vec![self.outside()];
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                let pending = folder == self.state().join("restore");
                if name.starts_with(AREA_PREFIX) || name.ends_with(".partial") || pending {
                    found.push(entry.path());
                } else if entry.file_type().unwrap().is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        found
    }
}

/// An archive in memory.
struct Memory(Vec<u8>);

impl Blocks for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        Ok(self.0[range.start as usize..range.end as usize].to_vec())
    }
}

/// A snapshot held in memory.
pub(super) struct Snapshot {
    manifest: Manifest,
    entries: Vec<Entry>,
    content: BTreeMap<PathBuf, String>,
}

impl Snapshot {
    pub(super) fn of(includes: &[&str]) -> Self {
        let present = |path: &&str| Included { path: RelPath::new(path), present: **path == *"." };
        let manifest =
            Manifest { includes: includes.iter().map(present).collect(), ..Manifest::of_nothing("0123456789ab") };
        Self { manifest, entries: Vec::new(), content: BTreeMap::new() }
    }

    pub(super) fn excluding(mut self, globs: &[&str]) -> Self {
        self.manifest.excludes = globs.iter().map(|glob| glob.to_string()).collect();
        self
    }

    pub(super) fn skipping(mut self, path: &str) -> Self {
        self.manifest.outcome = crate::backup::manifest::Outcome::Partial;
        self.manifest.skipped.push(Skipped {
            path: RelPath::new(path),
            reason: SkipReason::Unreadable,
            message: "no".to_owned(),
        });
        self
    }

    pub(super) fn store(mut self, path: &str) -> Self {
        self.manifest.stores.push(StoreRecord {
            name: "main".to_owned(),
            kind: "sqlite".to_owned(),
            path: RelPath::new(path),
            taken_at: Timestamp::UNIX_EPOCH,
            check: IntegrityReport { ok: true, problems: Vec::new() },
            details: serde_json::Map::new(),
        });
        self
    }

    pub(super) fn dir(mut self, path: impl AsRef<Path>, mode: u32) -> Self {
        self.add(path.as_ref(), Node::Dir, mode);
        self
    }

    /// Adds a file, and the folders on the way that are not there yet.
    pub(super) fn file(mut self, path: impl AsRef<Path>, content: &str) -> Self {
        let path = path.as_ref();
        let parents: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        for parent in parents.into_iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
            if !self.entries.iter().any(|entry| entry.path.as_path() == parent) {
                self.add(&parent, Node::Dir, 0o755);
            }
        }
        let node = serde_json::from_value(serde_json::json!({
            "node": "file", "size": content.len(), "blake3": "",
        }));
        self.add(path, node.unwrap(), 0o640);
        self.content.insert(path.to_owned(), content.to_owned());
        self
    }

    /// A file that claims a size.
    pub(super) fn sized(mut self, path: &str, size: u64) -> Self {
        self = self.file(path, "");
        if let Some(Entry { node: Node::File { size: claimed, .. }, .. }) = self.entries.last_mut() {
            *claimed = size;
        }
        self
    }

    /// The same snapshot as an archive.
    pub(super) fn pack(&self) -> Archive {
        let out = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let out = Arc::clone(&out);
            Box::new(move |bytes: &[u8]| {
                out.lock().unwrap().extend_from_slice(bytes);
                Ok(())
            })
        };
        let options = WriteOptions { level: 1, threads: 1, frame_bytes: 4096 };
        let mut writer = ArchiveWriter::new(&Scope::default(), options, sink).unwrap();
        for Entry { path, mode, uid, gid, mtime, mtime_nanos, .. } in &self.entries {
            let (mode, uid, gid, mtime, mtime_nanos) = (*mode, *uid, *gid, *mtime, *mtime_nanos);
            let path = path.clone();
            let head = NodeHead { path: path.clone(), mode, uid, gid, mtime, mtime_nanos, xattrs: Vec::new() };
            match self.content.get(path.as_path()) {
                None => writer.add(head, Special::Dir).unwrap(),
                Some(content) => {
                    writer.begin_file(head, content.len() as u64, None).unwrap();
                    writer.write(content.as_bytes()).unwrap();
                    writer.end_file(None).unwrap();
                }
            }
        }
        writer.finish(self.manifest.clone()).unwrap();
        let bytes = std::mem::take(&mut *out.lock().unwrap());
        Archive::open(Arc::new(Memory(bytes))).unwrap()
    }

    fn add(&mut self, path: &Path, node: Node, mode: u32) {
        for included in &mut self.manifest.includes {
            included.present |= path.starts_with(included.path.as_path());
        }
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let path = RelPath::new(path);
        self.entries.push(Entry {
            path,
            node,
            mode,
            uid,
            gid,
            mtime: MTIME,
            mtime_nanos: 5,
            xattrs: Vec::new(),
            offset: 0,
        });
    }
}

impl Source for Snapshot {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn entries(&self) -> &dyn Roll {
        &self.entries
    }

    fn extract(&self, scope: &Scope, selection: &Selection, into: &Dir, _: &ExtractOptions) -> Result<Extracted> {
        let mut done = Extracted { files: 0, entries: 0, bytes: 0, lost: Vec::new() };
        let selected = |path: &Path| match selection {
            Selection::All => true,
            Selection::Paths(paths) => paths.iter().any(|one| path.starts_with(one) || one.starts_with(path)),
        };
        let chosen: Vec<&Entry> = self.entries.iter().filter(|entry| selected(entry.path.as_path())).collect();
        for entry in &chosen {
            scope.cancel.check()?;
            let path = entry.path.as_path();
            into.make_dir_all(path.parent().unwrap())?;
            done.entries += 1;
            match self.content.get(path) {
                None => into.make_dir_all(path)?,
                Some(content) => {
                    into.create_file(path, 0o600)?.write_all(content.as_bytes())?;
                    done.files += 1;
                    done.bytes += content.len() as u64;
                }
            }
        }
        for entry in chosen.iter().rev() {
            let path = entry.path.as_path();
            into.set_mode(path, entry.mode)?;
            into.set_times(path, NodeTimes { mtime_seconds: entry.mtime, mtime_nanos: entry.mtime_nanos })?;
        }
        Ok(done)
    }
}

/// Everything of ours is private.
pub(super) fn assert_private(folder: &Path) {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let mode = folder.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700, "{folder:?}");
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
            let kind = entry.file_type().unwrap();
            // Below `tree` lie the service's own files, with their own modes, in a folder that is private.
            if kind.is_dir() && entry.file_name() != "tree" {
                waiting.push(entry.path());
            } else if kind.is_file() {
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o7777, 0o600, "{:?}", entry.path());
            }
        }
    }
}
