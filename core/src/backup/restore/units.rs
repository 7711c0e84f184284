//! Which names a restore in place trades: the units.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, plain, topmost};
use super::holders::with_suffix;
use super::mounts::Mounts;
use super::record::AREA_PREFIX;
use super::survey::{SIDE_SUFFIXES, Spared, Surveyor, names_in};
use crate::backup::manifest::{Manifest, RelPath};
use crate::error::{Error, Result};

/// What becomes of one name in the service's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RestoreUnit")]
pub struct Unit {
    /// The name, relative to the root.
    pub path: RelPath,
    /// What becomes of it.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// Regular files that come in.
    pub files: u64,
    /// Bytes of their content.
    pub size_bytes: u64,
    /// Bytes of what goes out.
    pub live_bytes: u64,
    /// What is carried over from the live folder into the new one, since the backup left it out.
    pub carry: Vec<RelPath>,
    /// The mount, relative to the root, in which it is staged. Unset for the state folder.
    pub mount: Option<RelPath>,
}

/// What becomes of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RestoreAction")]
pub enum Action {
    /// It is missing and comes in.
    Create,
    /// What comes in takes its place; what was there goes to the undo area.
    Replace,
    /// It goes to the undo area: the snapshot asked for it when it did not exist.
    Remove,
    /// It is left alone.
    Keep,
}

/// Where a restore in place looks.
pub(super) struct Ground<'a> {
    pub(super) root: &'a Path,
    pub(super) state: &'a Path,
    /// Absolute paths that never move: the state folder, and whatever the caller protects.
    pub(super) fixed: Vec<PathBuf>,
    pub(super) manifest: &'a Manifest,
    pub(super) catalog: &'a Catalog<'a>,
    pub(super) mounts: &'a Mounts,
    pub(super) spared: &'a Spared,
    /// Databases that are known, relative to the root.
    pub(super) known: &'a BTreeSet<PathBuf>,
}

/// The units, and what was noticed on the way.
#[derive(Default)]
pub(super) struct Units {
    pub(super) units: Vec<Unit>,
    /// Live databases that go out, are carried, or are moved away; relative to the root.
    pub(super) databases: BTreeSet<PathBuf>,
    /// Reasons why it cannot be done.
    pub(super) blockers: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Ground<'_> {
    /// The units of `paths`, or of what the snapshot was asked for when there are none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when the snapshot has nothing there.
    pub(super) fn units(&self, paths: &BTreeSet<PathBuf>) -> Result<Units> {
        let mut found = Units::default();
        let asked = if paths.is_empty() {
            topmost(self.manifest.includes.iter().map(|included| plain(included.path.as_path())))
        } else {
            paths.clone()
        };
        let mut tops = BTreeSet::new();
        for path in &asked {
            if let Some(top) = self.lift(path, &mut found)? {
                tops.insert(top);
            }
        }
        for path in topmost(tops) {
            self.expand(&path, &mut found)?;
        }
        self.side_files(&mut found)?;
        for unit in &mut found.units {
            // A folder that comes in only because something below it was asked for brings only that.
            let path = unit.path.as_path();
            let below: Vec<_> = asked.iter().filter(|asked| asked.starts_with(path) && *asked != path).collect();
            if unit.action == Action::Create && !below.is_empty() {
                let sizes = below.iter().map(|asked| self.catalog.size(asked));
                (unit.files, unit.size_bytes) =
                    sizes.fold((0, 0_u64), |sum, size| (sum.0 + size.0, sum.1.saturating_add(size.1)));
            }
            if unit.action == Action::Keep && paths.contains(path) {
                found.blockers.push(format!("{} is never restored in place: {}", unit.path, unit.reason));
            }
        }
        Ok(found)
    }

    /// The topmost missing folder on the way to `path`, or `path` itself: what can be put in place by one
    /// rename. `None` when there is nothing to do.
    fn lift(&self, path: &Path, found: &mut Units) -> Result<Option<PathBuf>> {
        let mut so_far = PathBuf::new();
        for name in path.parent().unwrap_or(Path::new("")).components() {
            so_far.push(name);
            match self.root.join(&so_far).symlink_metadata() {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    found.blockers.push(format!(
                        "{} is not a folder now, and {} is below it",
                        Show(&so_far),
                        Show(path)
                    ));
                    return Ok(None);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(self.catalog.has(path).then_some(so_far));
                }
                Err(error) => return Err(Error::io(format!("look at {so_far:?}"), error)),
            }
        }
        Ok(Some(path.to_owned()))
    }

    fn expand(&self, path: &Path, found: &mut Units) -> Result<()> {
        let live = self.root.join(path);
        let coming = self.catalog.has(path);
        let there = live.symlink_metadata().ok();
        let is_root = path.as_os_str().is_empty();
        if let Some(reason) = self.kept(path, &live, coming, there.as_ref().is_some_and(|meta| meta.is_dir())) {
            if there.is_some() {
                found.units.push(self.unit(path, Action::Keep, reason));
            }
            return Ok(());
        }
        let is_mount = !is_root && self.mounts.is_mount(&live);
        let split = is_root
            || is_mount
            || self.mounts.any_below(&live)
            || self.fixed.iter().any(|fixed| *fixed != live && fixed.starts_with(&live));
        if !split {
            let action = match (coming, there.is_some()) {
                (true, true) => (Action::Replace, "it is in the snapshot".to_owned()),
                (true, false) => (Action::Create, "it is in the snapshot and missing now".to_owned()),
                (false, true) => (Action::Remove, "it did not exist when the snapshot was made".to_owned()),
                (false, false) => return Ok(()),
            };
            return self.add(path, &live, action, found);
        }
        if is_mount && !coming {
            let reason = "a filesystem is mounted there that the snapshot does not know";
            found.units.push(self.unit(path, Action::Keep, reason.to_owned()));
            found.warnings.push(format!("{} is left alone: {reason}", Show(path)));
            return Ok(());
        }
        let is_folder = there.is_some_and(|meta| meta.is_dir());
        if !is_root && (!is_folder || (coming && !self.catalog.is_folder(path))) {
            found.blockers.push(format!("{} is a mount point and cannot be replaced by a rename", Show(path)));
            return Ok(());
        }
        // It cannot be renamed itself: its content is traded, name by name.
        let names = names_in(&live)?.into_iter().chain(self.catalog.children(path));
        for name in names.collect::<BTreeSet<_>>() {
            self.expand(&path.join(name), found)?;
        }
        Ok(())
    }

    /// Why `path` is left alone whatever the snapshot says of it.
    fn kept(&self, path: &Path, live: &Path, coming: bool, is_folder: bool) -> Option<String> {
        if self.fixed.iter().any(|fixed| live.starts_with(fixed)) {
            return Some("it belongs to the backups".to_owned());
        }
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(AREA_PREFIX));
        if ours {
            return Some("it is the undo area of a restore".to_owned());
        }
        if coming {
            return None;
        }
        let stays = |main: &Path| self.root.join(main).symlink_metadata().is_ok() && !self.catalog.has(main);
        self.spared.reason(path, is_folder).or_else(|| self.spared.reason_beside(path, stays))
    }

    fn add(&self, path: &Path, live: &Path, (action, reason): (Action, String), found: &mut Units) -> Result<()> {
        let incoming = |path: &Path| self.catalog.has(path);
        let surveyor = Surveyor { root: self.root, spared: self.spared, known: self.known, incoming: &incoming };
        let survey = surveyor.look(path)?;
        found.databases.extend(survey.databases);
        let mut unit = self.unit(path, action, reason);
        unit.live_bytes = survey.bytes;
        if action == Action::Replace && self.catalog.is_folder(path) {
            unit.carry = survey.carry.into_iter().map(RelPath::new).collect();
        } else if let Some(lost) = survey.carry.first() {
            found.warnings.push(format!("{} goes to the undo area, {} with it", Show(path), Show(lost)));
        }
        if live.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) && self.catalog.is_folder(path) {
            found.warnings.push(format!("the symlink {} gives way to a folder; what it points to stays", Show(path)));
        }
        if let Some(reason) = self.unmovable(path, live) {
            found.blockers.push(reason);
        }
        found.units.push(unit);
        Ok(())
    }

    /// A database comes in as a file of its own: what lies beside the live one belongs to that one. Left
    /// there, the engine would play it into the restored database.
    fn side_files(&self, found: &mut Units) -> Result<()> {
        let listed: BTreeSet<PathBuf> = found.units.iter().map(|unit| unit.path.as_path().to_owned()).collect();
        let databases: Vec<PathBuf> = listed
            .iter()
            .filter(|path| {
                !self.catalog.is_folder(path) && (found.databases.contains(*path) || self.known.contains(*path))
            })
            .cloned()
            .collect();
        for database in databases {
            for suffix in SIDE_SUFFIXES {
                let side = with_suffix(&database, suffix);
                let live = self.root.join(&side);
                if !listed.contains(&side) && live.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                    let reason = format!("it belongs to the {} that goes out", Show(&database));
                    self.add(&side, &live, (Action::Remove, reason), found)?;
                }
            }
        }
        Ok(())
    }

    fn unit(&self, path: &Path, action: Action, reason: String) -> Unit {
        let (files, size_bytes) = if action == Action::Keep { (0, 0) } else { self.catalog.size(path) };
        Unit {
            path: RelPath::new(path),
            action,
            reason,
            files,
            size_bytes,
            live_bytes: 0,
            carry: Vec::new(),
            mount: self.mount_of(path),
        }
    }

    /// The folder, relative to the root, in which a unit is staged when a rename from the state folder cannot
    /// reach it.
    fn mount_of(&self, path: &Path) -> Option<RelPath> {
        let folder = self.root.join(path.parent().unwrap_or(Path::new("")));
        if self.mounts.same(&folder, self.state) {
            return None;
        }
        let mount = self.mounts.holding(&folder).and_then(|mount| mount.point.strip_prefix(self.root).ok());
        Some(RelPath::new(mount.unwrap_or(Path::new(""))))
    }

    /// Why this user cannot move what is there. A folder's own `..` is written when it moves.
    fn unmovable(&self, path: &Path, live: &Path) -> Option<String> {
        let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        let is_folder = live.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        if live.parent().is_some_and(|parent| parent.is_dir() && !writable(parent)) {
            return Some(format!("this user may not rename anything in the folder of {}", Show(path)));
        }
        (is_folder && !writable(live)).then(|| format!("this user may not move the folder {}", Show(path)))
    }
}

/// A path as people read it.
pub(super) struct Show<'a>(pub(super) &'a Path);

impl std::fmt::Display for Show<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.as_os_str().is_empty() { f.write_str(".") } else { self.0.display().fmt(f) }
    }
}
