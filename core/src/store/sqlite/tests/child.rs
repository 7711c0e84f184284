//! Another process with a connection of its own, driven line by line.
//!
//! The test binary starts itself with one test selected, [`serve`]; each request and reply is a line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use rusqlite::Connection;
use rusqlite::fallible_iterator::FallibleIterator;

const ENV: &str = "UPLIFTED_OPS_SQLITE_CHILD";
const REPLY: &str = "@@";

/// The other process. Killed with SIGKILL when dropped.
pub(super) struct Child {
    process: Mutex<std::process::Child>,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Child {
    /// Starts it, with the database open.
    pub(super) fn open(db: &Path) -> Self {
        let mut process = again("serve", ENV, &db.to_string_lossy()).stdout(Stdio::piped()).spawn().unwrap();
        let pipes = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let child = Self { process: Mutex::new(process), pipes: Mutex::new(pipes) };
        child.run("SELECT count(*) FROM sqlite_schema");
        child
    }

    /// The same with the engine of another program, Python's: older than ours, as a host's may be. It has no
    /// guard of its own against lost locks, which ours has since 3.52. Ours where there is no Python.
    pub(super) fn of_another_engine(db: &Path) -> Self {
        let script = "import sys, sqlite3\nopen = lambda: sqlite3.connect(sys.argv[1], 0.02, isolation_level=None)\n\
            db = open()\n\
            for line in sys.stdin:\n\
            \x20 try:\n\
            \x20   if line == '.close\\n':\n\
            \x20     db = db.close()\n\
            \x20     row = None\n\
            \x20   else:\n\
            \x20     db = db or open()\n\
            \x20     for sql in line.split(';'): row = ([None] + db.execute(sql).fetchall())[-1]\n\
            \x20   print('@@ok', row[0] if row else '', flush=True)\n\
            \x20 except sqlite3.Error as error: print('@@err', error, flush=True)";
        let mut command = Command::new("python3");
        command.args(["-I", "-c", script]).arg(db).stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut process) = command.spawn() else {
            eprintln!("python3 is missing: the host has our own engine in this test");
            return Self::open(db);
        };
        let pipes = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let child = Self { process: Mutex::new(process), pipes: Mutex::new(pipes) };
        child.run("SELECT count(*) FROM sqlite_schema");
        child
    }

    /// Runs statements to their end and returns the first value of the last row, or the engine's error.
    pub(super) fn ask(&self, sql: &str) -> Result<String, String> {
        let mut pipes = self.pipes.lock().unwrap();
        writeln!(pipes.0, "{}", sql.replace('\n', " ")).unwrap();
        loop {
            let mut line = String::new();
            assert!(pipes.1.read_line(&mut line).unwrap() > 0, "the child has ended");
            if let Some((_, reply)) = line.trim_end_matches('\n').split_once(REPLY) {
                return match reply.split_once(' ') {
                    Some(("ok", value)) => Ok(value.to_owned()),
                    Some(("err", text)) => Err(text.to_owned()),
                    _ => panic!("{reply}"),
                };
            }
        }
    }

    pub(super) fn run(&self, sql: &str) -> String {
        self.ask(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(super) fn insert(&self, rows: u32) {
        self.run(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t (text) SELECT hex(randomblob(16)) FROM n"
        ));
    }

    /// Closes the connection, as the last user of a database does.
    pub(super) fn close(&self) {
        self.run(".close");
    }

    pub(super) fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// This test binary once more, running only `test` of this module, with `variable` set.
pub(super) fn again(test: &str, variable: &str, value: &str) -> Command {
    again_in(module_path!(), test, variable, value)
}

/// The same with a test of another module.
pub(super) fn again_in(module: &str, test: &str, variable: &str, value: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let module = module.split_once("::").unwrap().1;
    command
        .args([&format!("{module}::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(variable, value)
        .stdin(Stdio::piped());
    command
}

/// The child process; without the variable, nothing.
#[test]
fn serve() {
    let Ok(path) = std::env::var(ENV) else { return };
    let open = || Connection::open(&path).unwrap();
    let mut db = Some(open());
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let reply = match line.as_str() {
            ".close" => db.take().map(|db| db.close().map_err(|(_, e)| e)).transpose().map(|_| String::new()),
            sql => run(db.get_or_insert_with(open), sql),
        };
        match reply {
            Ok(value) => println!("{REPLY}ok {value}"),
            Err(error) => println!("{REPLY}err {error}"),
        }
    }
}

/// The child process of the load tests.
#[test]
fn load() {
    crate::testing::sqlite_load::run_if_asked().unwrap();
}

fn run(db: &Connection, sql: &str) -> rusqlite::Result<String> {
    db.busy_timeout(std::time::Duration::from_millis(20))?;
    let mut last = String::new();
    let mut batch = rusqlite::Batch::new(db, sql);
    while let Some(mut statement) = batch.next()? {
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            last = match row.get_ref(0)? {
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => format!("{other:?}"),
            };
        }
    }
    Ok(last)
}
