//! Which top-level entries of a service's folder are its data, and which are not.

use std::path::Path;

use super::{InitFound, LeftOut};
use crate::error::{Error, Result};

/// A top-level entry.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_dir: bool,
}

/// What a backup takes and what it leaves out.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) included: Vec<Entry>,
    pub(super) left_out: Vec<LeftOut>,
    /// Whether it is the guide's: `data` beside `config`, `.env` or `plugins`.
    pub(super) is_the_guides: bool,
}

/// Looks at the top level of `root`.
pub(super) fn survey(root: &Path, found: &mut InitFound) -> Result<Layout> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(root).map_err(|error| Error::io(format!("read folder {root:?}"), error))? {
        let entry = entry.map_err(|error| Error::io(format!("read folder {root:?}"), error))?;
        match entry.file_name().into_string() {
            // Not `metadata`: a symlink to a folder is stored as a symlink.
            Ok(name) => entries.push(Entry { name, is_dir: entry.file_type().is_ok_and(|kind| kind.is_dir()) }),
            Err(name) => found.notes.push(format!("{name:?} has a name that is not Unicode and is not in the lists")),
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let is_dir = |name: &str| entries.iter().any(|entry| entry.name == name && entry.is_dir);
    let is_the_guides = is_dir("data") && (is_dir("config") || has(".env") || is_dir("plugins"));

    let mut layout = Layout { is_the_guides, ..Layout::default() };
    for entry in entries {
        // The file that is about to be written, and the state folder: both are settled.
        if matches!(entry.name.as_str(), super::FILE_NAME | ".uplifted-ops") {
            continue;
        }
        let why = reason_to_leave_out(root, &entry).or_else(|| {
            (is_the_guides && !is_data_or_configuration(&entry)).then_some("neither data nor configuration")
        });
        match why {
            Some(why) => layout.left_out.push(LeftOut { name: entry.name, why: why.to_owned() }),
            None => layout.included.push(entry),
        }
    }
    layout.included.push(Entry { name: super::FILE_NAME.to_owned(), is_dir: false });
    // The guide's own order first, then by name.
    let rank = |name: &str| ["data", "config", ".env", "plugins"].iter().position(|known| *known == name).unwrap_or(9);
    layout.included.sort_by_key(|entry| rank(&entry.name));
    found.included = layout.included.iter().map(|entry| entry.name.clone()).collect();
    found.left_out.clone_from(&layout.left_out);
    Ok(layout)
}

fn reason_to_leave_out(root: &Path, entry: &Entry) -> Option<&'static str> {
    let name = entry.name.to_ascii_lowercase();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if entry.is_dir {
        return match name.as_str() {
            "logs" | "log" => Some("log files"),
            "cache" | ".cache" | "caches" | "__pycache__" | ".mypy_cache" | ".pytest_cache" | ".ruff_cache" => {
                Some("cache, made again when needed")
            }
            ".npm" | ".yarn" | ".pnpm-store" => Some("cache, made again when needed"),
            "tmp" | "temp" | ".tmp" | "run" => Some("temporary files"),
            "venv" | ".venv" | "virtualenv" | ".tox" | ".nox" => Some("installed packages"),
            "node_modules" | "site-packages" | "bower_components" => Some("installed packages"),
            _ if root.join(&entry.name).join("pyvenv.cfg").is_file() => Some("installed packages"),
            ".git" | ".hg" | ".svn" | ".bzr" => Some("version control"),
            "target" if root.join("Cargo.toml").is_file() => Some("build output"),
            "backup" | "backups" => Some("backups"),
            "lost+found" => Some("of the filesystem"),
            _ => None,
        };
    }
    if ends(&[".log"]) || name.contains(".log.") {
        return Some("log files");
    }
    if ends(&[".pid", ".sock", ".socket", ".lock.pid"]) {
        return Some("of the running process");
    }
    if ends(&["-wal", "-shm", "-journal"]) {
        return Some("side files of a database, taken with it");
    }
    if name == super::KEPT_NAME || name.starts_with(&format!("{}-", super::KEPT_NAME)) {
        return Some("what init replaced");
    }
    if ends(&[".swp", ".swo", "~"]) || name == ".ds_store" {
        return Some("of an editor");
    }
    ends(&[".partial", ".tmp", ".temp"]).then_some("temporary files")
}

fn is_data_or_configuration(entry: &Entry) -> bool {
    const FOLDERS: [&str; 18] = [
        "data",
        "config",
        "conf",
        "plugins",
        "uploads",
        "upload",
        "media",
        "static",
        "content",
        "contents",
        "files",
        "storage",
        "secrets",
        "keys",
        "certs",
        "ssl",
        "themes",
        "templates",
    ];
    const ENDINGS: [&str; 16] = [
        ".toml",
        ".yaml",
        ".yml",
        ".json",
        ".cfg",
        ".ini",
        ".conf",
        ".env",
        ".properties",
        ".db",
        ".sqlite",
        ".sqlite3",
        ".db3",
        ".pem",
        ".key",
        ".crt",
    ];
    let name = entry.name.to_ascii_lowercase();
    if entry.is_dir {
        return FOLDERS.contains(&name.as_str());
    }
    name.starts_with(".env") || ENDINGS.iter().any(|ending| name.ends_with(ending))
}
