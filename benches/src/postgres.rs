//! A database of PostgreSQL beside the programs that come with it: dump, restore, and what the next day's dump adds.
//!
//! The server is one of our own, on this machine, which syncs nothing, for all alike. Its rows are text that compresses to about
//! three quarters (base64 of hashes), so that a size says something.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde_json::{Value, json};
use uplifted_example::Failure;
use uplifted_ops::testing::postgres::{PostgresOptions, PostgresServer};

use crate::machine;
use crate::program::{Measure, measure};

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rows, half of them in a table that changes and half in one that does not, about 200 bytes each
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    rows: u64,
    /// How often each is run; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u32,
    /// Also dump and restore so many empty tables, once; 0 leaves it out
    #[arg(long, default_value_t = 0, value_name = "N")]
    tables: u32,
    /// Where the harness writes; emptied first
    #[arg(long, default_value = "target/bench/postgres", value_name = "FOLDER")]
    work: PathBuf,
    /// The command line to time; the one beside this program when not given
    #[arg(long, value_name = "FILE")]
    uplifted_ops: Option<PathBuf>,
}

/// The database that is measured.
const DATABASE: &str = "bench";

struct Bench {
    server: PostgresServer,
    ours: PathBuf,
    work: PathBuf,
}

/// What a contender took in each round.
#[derive(Default)]
struct Taken(Vec<Measure>);

impl Taken {
    /// The median time, in seconds.
    fn seconds(&self) -> f64 {
        let mut all: Vec<f64> = self.0.iter().map(|it| it.seconds).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// What was stored in the last round, in bytes.
    fn stored(&self) -> u64 {
        self.0.last().and_then(|it| it.stored_bytes).unwrap_or(0)
    }
}

/// Runs everything. A Markdown report.
pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    if options.rounds == 0 || options.rows < 1000 {
        return Err("--rounds is at least 1, --rows at least 1000".into());
    }
    let ours = match &options.uplifted_ops {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("uplifted-ops"),
    };
    if options.work.exists() {
        fs::remove_dir_all(&options.work)?;
    }
    fs::create_dir_all(&options.work)?;
    // Room for the locks of many tables, and for what a server of a service has.
    let settings = ["max_locks_per_transaction = 2000", "shared_buffers = 256MB", "max_wal_size = 2GB"];
    let server = PostgresServer::with(PostgresOptions {
        settings: settings.map(str::to_owned).to_vec(),
        ..PostgresOptions::default()
    });
    let bench = Bench { server, ours: ours.canonicalize()?, work: options.work.canonicalize()? };
    bench.generate(options.rows)?;
    let mut out = format!(
        "{}\n\nPostgreSQL: {}; {} rows, {} MB on the server; medians of {}\n\n",
        machine::facts(&bench.work, &bench.ours).join("; "),
        bench.server.sql(DATABASE, "SHOW server_version"),
        options.rows,
        bench.server.sql(DATABASE, "SELECT pg_database_size(current_database()) / 1000000"),
        options.rounds
    );
    let (mut dump, mut fc) = (Taken::default(), Taken::default());
    let (mut back, mut plain, mut analyzed) = (Taken::default(), Taken::default(), Taken::default());
    for round in 0..options.rounds {
        // Another one first in each round.
        for turn in 0..2 {
            match (turn + round) % 2 {
                0 => dump.0.push(bench.dump(round)?),
                _ => fc.0.push(bench.pg_dump(round)?),
            }
        }
        for turn in 0..3 {
            match (turn + round) % 3 {
                0 => back.0.push(bench.restore(round)?),
                1 => plain.0.push(bench.pg_restore(round, false)?),
                _ => analyzed.0.push(bench.pg_restore(round, true)?),
            }
        }
    }
    let mb = |bytes: u64| bytes as f64 / 1e6;
    writeln!(out, "| what | seconds | stored, MB |\n| --- | ---: | ---: |")?;
    for (name, taken) in [("dump: uplifted-ops, with counts, read-back, fsync", &dump), ("dump: `pg_dump -Fc`", &fc)] {
        writeln!(out, "| {name} | {:.2} | {:.1} |", taken.seconds(), mb(taken.stored()))?;
    }
    for (name, taken) in [
        ("restore: uplifted-ops, checked, with amcheck and statistics", &back),
        ("restore: `pg_restore -j2`", &plain),
        ("restore: `pg_restore -j2`, `vacuumdb -Z`", &analyzed),
    ] {
        writeln!(out, "| {name} | {:.2} | |", taken.seconds())?;
    }
    let (last, whole) = (options.rounds - 1, dump.stored());
    for (name, change) in [("none", ""), ("as a service does: the newest", RECENT), ("strewn: each hundredth", STREWN)]
    {
        bench.server.sql(DATABASE, &change.replace("{n}", &(options.rows / 200).to_string()));
        let day = bench.dump(last)?;
        let share = 100.0 * day.stored_bytes.unwrap_or(0) as f64 / whole as f64;
        let stored = mb(day.stored_bytes.unwrap_or(0));
        writeln!(
            out,
            "| the next dump, 1 % of the changing table: {name} | {:.2} | {stored:.1} ({share:.1} %) |",
            day.seconds
        )?;
    }
    if options.tables > 0 {
        let [dumped, dumped_by_peer, restored, restored_by_peer] = bench.many_tables(options.tables)?;
        writeln!(
            out,
            "| {} tables: dump, `pg_dump -Fc` | {dumped:.1}, {dumped_by_peer:.1} | |\n| restore, `pg_restore -j2` | {restored:.1}, {restored_by_peer:.1} | |",
            options.tables
        )?;
    }
    writeln!(
        out,
        "\n- dump at most 1.10 x `pg_dump -Fc`: {:.2} x\n- stored at most that of `-Fc`: {:.2} x\n- restore at most `pg_restore -j2`: {:.2} x; \
         with statistics, as ours has: {:.2} x",
        dump.seconds() / fc.seconds(),
        dump.stored() as f64 / fc.stored() as f64,
        back.seconds() / plain.seconds(),
        back.seconds() / analyzed.seconds()
    )?;
    Ok(out)
}

/// Half a hundredth of the rows is new, and of half a hundredth, the newest before them, the state has changed.
const RECENT: &str = "UPDATE messages SET state = 'read' WHERE id > (SELECT max(id) FROM messages) - {n} / 2;
    INSERT INTO messages (state, body) SELECT 'new', encode(sha256(('n' || g)::bytea), 'base64') || encode(sha256(('o' || g)::bytea), 'base64') \
      || encode(sha256(('p' || g)::bytea), 'base64') FROM generate_series(1, {n} / 2) g";
/// Each hundredth row has another state.
const STREWN: &str = "UPDATE messages SET state = 'strewn' WHERE id % 100 = 0";

impl Bench {
    fn generate(&self, rows: u64) -> Result<(), Failure> {
        self.server.sql("postgres", &format!("CREATE DATABASE {DATABASE}"));
        let table = |name: &str| {
            format!(
                "CREATE TABLE {name} (id bigserial PRIMARY KEY, written timestamptz NOT NULL DEFAULT now(), state text NOT NULL, body text NOT NULL);
                 INSERT INTO {name} (state, body) SELECT 'old', encode(sha256(('{name}' || g)::bytea), 'base64') || encode(sha256(('b{name}' || g)::bytea), 'base64') \
                   || encode(sha256(('c{name}' || g)::bytea), 'base64') FROM generate_series(1, {}) g;",
                rows / 2
            )
        };
        self.server.sql(DATABASE, &format!("{}{}", table("messages"), table("archive")));
        // A vacuum wants a statement of its own.
        for statement in ["CREATE INDEX ON messages (written)", "VACUUM ANALYZE", "CHECKPOINT"] {
            self.server.sql(DATABASE, statement);
        }
        Ok(())
    }

    /// A repository and a service of its own for each round.
    fn root(&self, round: u32) -> Result<PathBuf, Failure> {
        let root = self.work.join(format!("service-{round}"));
        if !root.exists() {
            fs::create_dir_all(root.join("config"))?;
            let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
            let settings = format!(
                "[service]\nname = \"bench\"\n\n[backup]\ninclude = [\"config\"]\nlayout = \"repository\"\n\n\
                 [[store]]\nname = \"main\"\nkind = \"postgres\"\nurl = \"{}\"\n\n[[target]]\nname = \"local\"\nkind = \"fs\"\npath = {}\n",
                self.server.url(DATABASE),
                quoted(&self.repository(round))
            );
            fs::write(root.join("ops.toml"), settings)?;
        }
        Ok(root)
    }

    fn repository(&self, round: u32) -> PathBuf {
        self.work.join(format!("repository-{round}"))
    }

    fn call(&self, round: u32, name: &str, request: &Value) -> Result<Command, Failure> {
        let mut command = Command::new(&self.ours);
        command.arg("--root").arg(self.root(round)?).args(["--quiet", "call", name, &request.to_string()]);
        Ok(command)
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.server.programs().join(name))
    }

    fn dump(&self, round: u32) -> Result<Measure, Failure> {
        let before = size(&self.repository(round))?;
        let taken = measure(&mut self.call(round, "backup.create", &json!({}))?)?;
        Ok(Measure { stored_bytes: Some(size(&self.repository(round))? - before), ..taken })
    }

    fn file(&self, round: u32) -> PathBuf {
        self.work.join(format!("{round}.dump"))
    }

    fn pg_dump(&self, round: u32) -> Result<Measure, Failure> {
        let file = self.file(round);
        let taken = measure(self.program("pg_dump").arg("-Fc").arg("-f").arg(&file).arg(self.server.url(DATABASE)))?;
        Ok(Measure { stored_bytes: Some(file.metadata()?.len()), ..taken })
    }

    fn restore(&self, round: u32) -> Result<Measure, Failure> {
        let request = json!({"snapshot_id": "latest", "database": "ours"});
        let taken = measure(&mut self.call(round, "restore.database", &request)?);
        self.server.sql("postgres", "DROP DATABASE IF EXISTS ours WITH (FORCE)");
        taken
    }

    fn pg_restore(&self, round: u32, analyze: bool) -> Result<Measure, Failure> {
        let url = self.server.url("theirs");
        let made =
            measure(self.program("createdb").arg("--maintenance-db").arg(self.server.url("postgres")).arg("theirs"))?;
        let mut taken = made + measure(self.program("pg_restore").args(["-j2", "-d", &url]).arg(self.file(round)))?;
        if analyze {
            taken = taken + measure(self.program("vacuumdb").args(["-Z", "-q", "-d", &url]))?;
        }
        self.server.sql("postgres", "DROP DATABASE theirs WITH (FORCE)");
        Ok(taken)
    }

    /// A database of many tables: our dump, that of `pg_dump -Fc`, our restore, that of `pg_restore -j2`, in seconds.
    fn many_tables(&self, tables: u32) -> Result<[f64; 4], Failure> {
        // A transaction may not hold more locks than there is room for.
        for first in (0..tables).step_by(2000) {
            let last = (first + 2000).min(tables) - 1;
            let make = format!(
                "DO $$ BEGIN FOR i IN {first}..{last} LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, t text)', i); END LOOP; END $$"
            );
            self.server.sql(DATABASE, &make);
        }
        let round = u32::MAX;
        let peer = self.pg_dump(round)?;
        let dumped = self.dump(round)?;
        let restored = self.restore(round)?;
        let restored_by_peer = self.pg_restore(round, false)?;
        Ok([dumped, peer, restored, restored_by_peer].map(|taken| taken.seconds))
    }
}

/// The bytes of the files below a folder, which may be missing.
fn size(folder: &Path) -> Result<u64, Failure> {
    if !folder.exists() {
        return Ok(0);
    }
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { size(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}
