//! Finds the databases of a service.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::InitFound;
use super::layout::Layout;
use crate::config::HostFacts;

/// How deep below the root is looked.
const MAX_DEPTH: usize = 6;
/// How many entries are looked at.
const MAX_ENTRIES: usize = 50_000;
/// How many databases are written down. The backup takes the others as well, by finding them itself.
const MAX_DATABASES: usize = 20;

/// A database for a `[[store]]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Database {
    pub(super) name: String,
    /// As it is written: relative to the root where it is inside.
    pub(super) path: String,
}

/// The SQLite databases in what a backup takes, and the one that the service's settings name.
pub(super) fn databases(root: &Path, layout: &Layout, host: &HostFacts, found: &mut InitFound) -> Vec<Database> {
    let mut paths: Vec<String> = Vec::new();
    let told = told_by_the_host(root, host, found);
    paths.extend(told.clone());
    let mut walk = Walk { root, left: MAX_ENTRIES, found: Vec::new(), notes: Vec::new() };
    for entry in &layout.included {
        walk.visit(&root.join(&entry.name), 1);
    }
    walk.found.sort_by_key(|path| (path.components().count(), path.clone()));
    if walk.left == 0 {
        walk.notes.push(format!("only the first {MAX_ENTRIES} files were looked at for databases"));
    }
    for path in walk.found {
        match path.to_str() {
            Some(path) if !paths.iter().any(|known| known == path) => paths.push(path.to_owned()),
            Some(_) => {}
            None => walk.notes.push(format!("the database {path:?} has a name that is not Unicode")),
        }
    }
    if paths.len() > MAX_DATABASES {
        walk.notes.push(format!(
            "{} more databases are not listed; a backup finds and takes them all the same",
            paths.len() - MAX_DATABASES
        ));
        paths.truncate(MAX_DATABASES);
    }
    found.notes.append(&mut walk.notes);
    found.databases.clone_from(&paths);
    named(paths, told.as_deref())
}

/// `UPLIFTED__DATABASE__PATH`, or the path in a `sqlite:` URL, as it is to be written.
fn told_by_the_host(root: &Path, host: &HostFacts, found: &mut InitFound) -> Option<String> {
    let (path, variable) = match (&host.database_path, &host.database_url) {
        (Some(fact), _) => (fact.value.clone(), &fact.variable),
        (None, Some(fact)) => (sqlite_path(fact.value.reveal())?, &fact.variable),
        (None, None) => return None,
    };
    found.variables.push(variable.clone());
    let full = root.join(&path);
    let mut relative = PathBuf::new();
    for part in full.strip_prefix(root).unwrap_or(&full).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if relative.pop() => {}
            part => relative.push(part),
        }
    }
    if full.is_file() && !is_sqlite(&full, &mut found.notes) {
        found.notes.push(format!("{variable} names a file that is no SQLite database"));
        return None;
    }
    relative.into_os_string().into_string().ok()
}

/// The path of `sqlite:///relative`, `sqlite:////absolute`, with or without a driver (`sqlite+aiosqlite`).
fn sqlite_path(url: &str) -> Option<PathBuf> {
    let (scheme, rest) = url.split_once(':')?;
    if scheme.split('+').next() != Some("sqlite") && scheme != "sqlite3" && scheme != "file" {
        return None;
    }
    let path = rest.strip_prefix("///").or_else(|| rest.strip_prefix("//")).unwrap_or(rest);
    let path = path.split('?').next().unwrap_or(path);
    (!path.is_empty() && path != ":memory:").then(|| PathBuf::from(path))
}

struct Walk<'a> {
    root: &'a Path,
    left: usize,
    found: Vec<PathBuf>,
    notes: Vec<String>,
}

impl Walk<'_> {
    fn visit(&mut self, path: &Path, depth: usize) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let Ok(meta) = path.symlink_metadata() else { return };
        if meta.is_file() && meta.len() >= 100 {
            if is_sqlite(path, &mut self.notes) {
                self.found.push(path.strip_prefix(self.root).unwrap_or(path).to_owned());
            }
        } else if meta.is_dir() && depth < MAX_DEPTH && !is_skipped(path) {
            let entries = match std::fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) => {
                    self.notes.push(format!("{path:?} could not be looked into: {}", error.kind()));
                    return;
                }
            };
            // Sorted, so that the same folder gives the same file; bounded, so that a huge one costs no memory.
            let mut inside: Vec<PathBuf> =
                entries.take(self.left).filter_map(|entry| Some(entry.ok()?.path())).collect();
            inside.sort();
            for path in inside {
                self.visit(&path, depth + 1);
            }
        }
    }
}

fn is_skipped(path: &Path) -> bool {
    const SKIPPED: [&str; 8] =
        ["node_modules", "venv", ".venv", ".git", "__pycache__", "target", ".uplifted-ops", "site-packages"];
    path.file_name().is_some_and(|name| SKIPPED.iter().any(|skipped| name == *skipped))
}

/// Whether the file begins as a SQLite database does (the file format's first 16 bytes).
fn is_sqlite(path: &Path, notes: &mut Vec<String>) -> bool {
    let mut head = [0_u8; 16];
    match std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)) {
        Ok(()) => head == *b"SQLite format 3\0",
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => false,
        Err(error) => {
            notes.push(format!("{path:?} could not be looked at: {}", error.kind()));
            false
        }
    }
}

/// Gives each a name: `main` for the service's own or the only one, the file's for the others.
fn named(paths: Vec<String>, told: Option<&str>) -> Vec<Database> {
    let only = paths.len() == 1;
    let mut taken: Vec<String> = Vec::new();
    let mut databases = Vec::new();
    for path in paths {
        let wanted = if only || told == Some(path.as_str()) {
            "main".to_owned()
        } else {
            let stem =
                Path::new(&path).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            let plain: String =
                stem.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).collect();
            if plain.trim_matches('-').is_empty() { "database".to_owned() } else { plain }
        };
        let mut name = wanted.clone();
        let mut number = 2;
        while taken.contains(&name) {
            name = format!("{wanted}-{number}");
            number += 1;
        }
        taken.push(name.clone());
        databases.push(Database { name, path });
    }
    databases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_urls() {
        for (url, path) in [
            ("sqlite:///data/x.db", Some("data/x.db")),
            ("sqlite:////var/x.db", Some("/var/x.db")),
            ("sqlite+aiosqlite:///./data/x.db?mode=rw", Some("./data/x.db")),
            ("sqlite://x.db", Some("x.db")),
            ("sqlite:x.db", Some("x.db")),
            ("sqlite://:memory:", None),
            ("sqlite://", None),
            ("postgres://u:p@h/x", None),
            ("nothing", None),
        ] {
            assert_eq!(sqlite_path(url), path.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn names_are_unique() {
        let paths = ["data/a.db", "data/b/a.db", "data/main.db", "x.db"].map(str::to_owned).to_vec();
        let names: Vec<String> = named(paths, Some("x.db")).into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["a", "a-2", "main", "main-2"]);
    }
}
