//! Reading the archive that `pg_dump` wrote: its table of contents, and all of its data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::programs::Programs;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::process::{ProgramOutput, Watcher, last_words};

/// What the names of archives end in.
pub(super) const SUFFIX: &str = "pgdump";

/// What `pg_restore --list` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TableOfContents {
    /// Major version of the server that was dumped.
    pub(super) server: u32,
    /// Major version of the `pg_dump` that wrote it.
    pub(super) writer: u32,
    /// The extensions.
    pub(super) extensions: Vec<String>,
    /// What has a name, each as its line says it: kind, schema, name, owner. Only of the kinds of [`KINDS`].
    pub(super) objects: BTreeSet<String>,
}

/// What the data of an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Data {
    /// Rows of each table by its quoted name, with its schema.
    pub(super) rows: BTreeMap<String, u64>,
    /// Where each sequence stands, by the same kind of name.
    pub(super) sequences: BTreeMap<String, i64>,
    /// Large objects.
    pub(super) large_objects: u64,
}

/// The kinds of entries that are held against a restored database.
const KINDS: [&str; 11] = [
    "TABLE ",
    "TABLE ATTACH ",
    "VIEW ",
    "MATERIALIZED VIEW ",
    "SEQUENCE ",
    "FOREIGN TABLE ",
    "INDEX ",
    "CONSTRAINT ",
    "FK CONSTRAINT ",
    "CHECK CONSTRAINT ",
    "TRIGGER ",
];

/// The archive in a folder: that with the name, or the only one there.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none.
pub(super) fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    let named = dir.join(name);
    if named.is_file() {
        return Ok(named);
    }
    let mut archives = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| Error::io(format!("read folder {dir:?}"), error))? {
        let path = entry.map_err(|error| Error::io(format!("read folder {dir:?}"), error))?.path();
        if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
            archives.push(path);
        }
    }
    <[PathBuf; 1]>::try_from(archives).map(|[only]| only).map_err(|_| {
        Error::new(ErrorKind::NotFound, format!("{dir:?} holds no archive {name:?}"))
            .with_hint("name the folder that the copy was restored to")
    })
}

/// Reads the table of contents. What is wrong with the archive is the inner error, in `pg_restore`'s words.
///
/// # Errors
/// What keeps `pg_restore` from being run.
pub(super) async fn list(
    scope: &Scope,
    programs: &Programs,
    file: &Path,
) -> Result<std::result::Result<TableOfContents, String>> {
    let lines = Arc::new(Mutex::new(Lines::default()));
    let program = programs.program("pg_restore", ["--list".into(), file.into()]);
    let output = program.watched(reader(&lines, Lines::list)).run(scope).await?;
    if let Some(why) = why(&output) {
        return Ok(Err(why));
    }
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Ok(std::mem::take(&mut lines.contents)))
}

/// What follows the name in the `CREATE DATABASE` of the archive: template, encoding, locale.
///
/// # Errors
/// What keeps `pg_restore` from being run, and what is wrong with the archive.
pub(super) async fn how_to_create(scope: &Scope, programs: &Programs, file: &Path) -> Result<String> {
    let lines = Arc::new(Mutex::new(Lines::default()));
    let arguments = ["--create", "--schema-only", "--no-tablespaces", "--file=-"].map(Into::into);
    let program = programs.program("pg_restore", arguments.into_iter().chain([file.into()]));
    let output = program.watched(reader(&lines, Lines::create)).run(scope).await?;
    if let Some(why) = why(&output) {
        return Err(Error::new(ErrorKind::Corrupt, format!("the archive {file:?} cannot be read: {why}"))
            .with_hint("use another snapshot"));
    }
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(lines.how.take().unwrap_or_else(|| " WITH TEMPLATE = template0".to_owned()))
}

/// Reads all of the data, to the end of the archive. What is wrong with it is the inner error.
///
/// # Errors
/// What keeps `pg_restore` from being run.
pub(super) async fn read(scope: &Scope, programs: &Programs, file: &Path) -> Result<std::result::Result<Data, String>> {
    let lines = Arc::new(Mutex::new(Lines::default()));
    let program = programs.program("pg_restore", ["--data-only".into(), "--file=-".into(), file.into()]);
    let output = program.watched(reader(&lines, Lines::data)).run(scope).await?;
    if let Some(why) = why(&output) {
        return Ok(Err(why));
    }
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    match lines.inside.take() {
        Some(table) => Ok(Err(format!("the rows of {table} have no end"))),
        None => Ok(Ok(std::mem::take(&mut lines.data))),
    }
}

fn why(output: &ProgramOutput) -> Option<String> {
    let said = last_words(&output.stderr);
    (!output.status.success())
        .then(|| if said.is_empty() { format!("pg_restore ended with {}", output.status) } else { said })
}

fn reader(lines: &Arc<Mutex<Lines>>, line: fn(&mut Lines)) -> Watcher {
    let lines = Arc::clone(lines);
    Arc::new(move |bytes| lines.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, line))
}

/// Takes output apart by lines, of which it keeps the beginning of one.
#[derive(Debug, Default)]
struct Lines {
    /// The beginning of the current line.
    line: Vec<u8>,
    /// The table whose rows are being read, and how many there were.
    inside: Option<String>,
    rows: u64,
    contents: TableOfContents,
    data: Data,
    /// What follows the database's name in the statement that creates it.
    how: Option<String>,
}

/// No line that means something is longer: names have at most 63 bytes each.
const LONGEST: usize = 4096;

impl Lines {
    fn take(&mut self, bytes: &[u8], line: fn(&mut Self)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (body, ended) = match part.strip_suffix(b"\n") {
                Some(body) => (body, true),
                None => (part, false),
            };
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend_from_slice(&body[..body.len().min(room)]);
            if ended {
                line(self);
                self.line.clear();
            }
        }
    }

    /// A line of `pg_restore --list`.
    fn list(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        if let Some(comment) = line.strip_prefix(';') {
            let comment = comment.trim();
            if let Some(version) = comment.strip_prefix("Dumped from database version:") {
                self.contents.server = super::session::major(version.trim());
            } else if let Some(version) = comment.strip_prefix("Dumped by pg_dump version:") {
                self.contents.writer = super::session::major(version.trim());
            }
            return;
        }
        // `2; 3079 16385 EXTENSION - vector `
        let entry = line.split_once("; ").map(|(_, entry)| entry);
        let Some(entry) = entry.and_then(|entry| entry.splitn(3, ' ').nth(2)) else { return };
        self.contents.extensions.extend(entry.strip_prefix("EXTENSION - ").map(|name| name.trim().to_owned()));
        // Those of indexes are told by the index, and data is counted.
        let other = ["INDEX ATTACH ", "TABLE DATA ", "SEQUENCE SET ", "SEQUENCE OWNED BY ", "MATERIALIZED VIEW DATA "];
        if KINDS.iter().any(|kind| entry.starts_with(kind)) && !other.iter().any(|kind| entry.starts_with(kind)) {
            self.contents.objects.insert(entry.to_owned());
        }
    }

    /// A line of the schema. The first that creates a database comes before everything that people write.
    fn create(&mut self) {
        if self.how.is_none()
            && let Some(rest) = self.line.strip_prefix(b"CREATE DATABASE ")
        {
            let rest = String::from_utf8_lossy(rest);
            self.how = Some(rest[name_len(&rest)..].trim_end_matches(';').to_owned());
        }
    }

    /// A line of the data: a row, or a statement.
    fn data(&mut self) {
        if let Some(table) = &self.inside {
            if self.line == b"\\." {
                *self.data.rows.entry(table.clone()).or_default() += self.rows;
                self.inside = None;
            } else {
                self.rows += 1;
            }
            return;
        }
        let Ok(line) = std::str::from_utf8(&self.line) else { return };
        if let Some(rest) = line.strip_prefix("COPY ") {
            // `COPY public."or ders" (a, b) FROM stdin;`, without columns where there are none.
            if rest.ends_with(" FROM stdin;") {
                self.inside = Some(rest[..name_len(rest)].to_owned());
                self.rows = 0;
            }
        } else if line.starts_with("SELECT pg_catalog.lo_open('") {
            self.data.large_objects += 1;
        } else if let Some(rest) = line.strip_prefix("SELECT pg_catalog.setval('") {
            // `SELECT pg_catalog.setval('public.orders_id_seq', 5, true);`
            let Some((name, rest)) = rest.rsplit_once("', ") else { return };
            let value = rest.split(',').next().and_then(|value| value.trim().parse().ok());
            if let Some(value) = value {
                self.data.sequences.insert(name.replace("''", "'"), value);
            }
        }
    }
}

/// The length of a name, quoted where it has to be, with its schema.
fn name_len(text: &str) -> usize {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, line: fn(&mut Lines), step: usize) -> Lines {
        let mut lines = Lines::default();
        text.as_bytes().chunks(step).for_each(|chunk| lines.take(chunk, line));
        lines
    }

    #[test]
    fn rows_are_counted_however_the_bytes_come_and_whatever_they_are() {
        let long = "x".repeat(3 * LONGEST);
        let text = format!(
            "-- Data\n\nCOPY public.\"or \"\"d (a) FROM\" (id, t) FROM stdin;\n1\tCOPY public.b FROM stdin;\n2\t{long}\n\\.\n\n\
             SELECT pg_catalog.setval('public.\"it''s\"', 7, true);\nCOPY public.none  FROM stdin;\n\\.\nCOPY a.b (c) FROM stdin;\n\\\\.\n\\.\n"
        );
        for step in [1, 7, 1 << 20] {
            let lines = told(&text, Lines::data, step);
            let rows: Vec<_> = lines.data.rows.iter().map(|(table, rows)| (table.as_str(), *rows)).collect();
            assert_eq!(rows, [("a.b", 1), ("public.\"or \"\"d (a) FROM\"", 2), ("public.none", 0)], "{step}");
            assert_eq!(lines.data.sequences, BTreeMap::from([("public.\"it's\"".to_owned(), 7)]));
            assert_eq!(lines.inside, None);
        }
        assert!(told("COPY a (b) FROM stdin;\n1\n", Lines::data, 3).inside.is_some());
    }

    #[test]
    fn the_table_of_contents_names_versions_and_extensions() {
        let text = ";\n; Archive created at 2026-11-23\n;     Dumped from database version: 15.18 (Debian 15.18-0)\n\
                    ;     Dumped by pg_dump version: 16.1\n;\n2; 3079 16385 EXTENSION - vector \n3381; 0 0 COMMENT - EXTENSION vector \n\
                    215; 1259 16390 TABLE public t postgres\n";
        let contents = told(text, Lines::list, 5).contents;
        let objects = BTreeSet::from(["TABLE public t postgres".to_owned()]);
        assert_eq!(
            contents,
            TableOfContents { server: 15, writer: 16, extensions: vec!["vector".to_owned()], objects }
        );
    }
}
