//! The service of the benches, from a seed: a database with text, embeddings and indexes; plugins with code
//! and binaries; a log.

use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use uplifted_example::Failure;

use crate::random::{Random, Words};

/// Where and how large.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The service's folder
    #[arg(long, default_value = "target/bench/uplifted", value_name = "FOLDER")]
    pub(crate) service: PathBuf,
    /// The size, as a share of the full 1.7 GB
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    pub(crate) scale: f64,
    /// The seed
    #[arg(long, default_value_t = 42, value_name = "N")]
    pub(crate) seed: u64,
}

const DATABASE_BYTES: f64 = 1.2e9;
const PLUGIN_FILES: f64 = 20_000.0;
const PLUGIN_BYTES: f64 = 234e6;
const LOG_BYTES: f64 = 300e6;

/// Makes the service unless the same one is there already. What it consists of.
pub(crate) fn run(options: &Options) -> Result<Value, Failure> {
    if !(options.scale > 0.0 && options.scale <= 10.0) {
        return Err("--scale is a share above 0, at most 10".into());
    }
    let root = &options.service;
    let note = root.with_extension("generated.json");
    let wanted = json!({ "seed": options.seed, "scale": options.scale, "generator": 1 });
    let found: Option<Value> = fs::read(&note).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(found) = found.filter(|found| found["options"] == wanted) {
        return Ok(found);
    }
    if root.exists() {
        if !note.exists() {
            return Err(format!("{} exists and was not made by this generator: name another", root.display()).into());
        }
        fs::remove_file(&note)?;
        fs::remove_dir_all(root)?;
    }
    for folder in ["data", "config", "plugins", "logs"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let mut random = Random::new(options.seed);
    let words = Words::new(&mut random);
    let database = database(&root.join("data/uplifted.db"), options.scale, &mut random, &words)?;
    let (files, plugins) = plugins(&root.join("plugins"), options.scale, &mut random, &words)?;
    let log = log(&root.join("logs/uplifted.log"), options.scale, &mut random)?;
    fs::write(root.join("config/config.yaml"), "server:\n  host: 127.0.0.1\n  port: 7541\n")?;
    fs::write(root.join(".env"), "UPLIFTED__DATABASE__PATH=data/uplifted.db\nUPLIFTED__SECURITY__JWT_SECRET=bench\n")?;
    fs::set_permissions(root.join(".env"), Permissions::from_mode(0o600))?;
    let facts = json!({
        "options": wanted, "database_bytes": database, "plugin_files": files, "plugin_bytes": plugins, "log_bytes": log,
    });
    // Last, so that an interrupted run is made again.
    fs::write(&note, facts.to_string())?;
    Ok(facts)
}

/// Conversations with an index, and embeddings that nothing compresses.
fn database(path: &Path, scale: f64, random: &mut Random, words: &Words) -> Result<u64, Failure> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;
         CREATE TABLE message (
             id INTEGER PRIMARY KEY, session TEXT NOT NULL, role TEXT NOT NULL, content TEXT NOT NULL,
             embedding BLOB, created_at INTEGER NOT NULL);
         CREATE INDEX message_by_session ON message (session, created_at);",
    )?;
    let goal = (DATABASE_BYTES * scale) as u64;
    let mut id = 0_u64;
    let mut content = String::new();
    loop {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare("INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for _ in 0..2000 {
                id += 1;
                let session = format!("{:016x}", random.below(1 + id / 20).wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let role = ["user", "assistant", "tool"][random.below(3) as usize];
                content.clear();
                let length = 200 + random.below(1800) as usize;
                words.write(random, length, &mut content);
                let embedding = (random.below(8) == 0).then(|| random.bytes(512));
                let at = 1_700_000_000 + i64::try_from(id)?;
                insert.execute(params![i64::try_from(id)?, session, role, content, embedding, at])?;
            }
        }
        transaction.commit()?;
        if fs::metadata(path)?.len() >= goal {
            break;
        }
    }
    // The service works in WAL mode; the file says so.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    drop(connection);
    Ok(fs::metadata(path)?.len())
}

/// Code, manifests and some binaries, most of them small.
fn plugins(root: &Path, scale: f64, random: &mut Random, words: &Words) -> Result<(u64, u64), Failure> {
    let files = ((PLUGIN_FILES * scale) as u64).max(20);
    let goal = PLUGIN_BYTES * scale;
    // Squares of shares: the mean is a third of the greatest.
    let weights: Vec<f64> = (0..files).map(|_| random.share().powi(2)).collect();
    let unit = goal / weights.iter().sum::<f64>();
    let mut total = 0;
    for (nth, weight) in weights.iter().enumerate() {
        let folder = root.join(format!("plugin-{:03}", nth / 200)).join(["src", "assets", "tests", ""][nth % 4]);
        fs::create_dir_all(&folder)?;
        let length = (weight * unit) as usize;
        let (name, bytes, mode) = if nth % 10 == 9 {
            (format!("native_{nth}.so"), random.bytes(length / 2).repeat(2), 0o755)
        } else {
            let mut code = String::with_capacity(length + 16);
            while code.len() < length {
                code.push_str("def ");
                words.write(random, 12, &mut code);
                code.push_str("(self, request):\n    return ");
                words.write(random, 60, &mut code);
                code.push('\n');
            }
            code.truncate(length);
            (format!("module_{nth}.py"), code.into_bytes(), 0o644)
        };
        let file = File::create(folder.join(name))?;
        (&file).write_all(&bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.set_modified(
            SystemTime::UNIX_EPOCH + Duration::new(1_750_000_000 + nth as u64, random.below(1_000_000_000) as u32),
        )?;
        total += bytes.len() as u64;
    }
    Ok((files, total))
}

fn log(path: &Path, scale: f64, random: &mut Random) -> Result<u64, Failure> {
    const LEVELS: [&str; 8] = ["INFO", "INFO", "INFO", "INFO", "DEBUG", "DEBUG", "WARNING", "ERROR"];
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let goal = (LOG_BYTES * scale) as u64;
    let (mut written, mut nth) = (0, 0_u64);
    while written < goal {
        nth += 1;
        let (minute, second, micro) = (nth / 3000 % 60, nth / 50 % 60, random.below(1_000_000));
        let line = format!(
            "2026-01-01T{:02}:{minute:02}:{second:02}.{micro:06}Z {} uplifted.api request_id={:016x} path=/api/v1/tools/{} \
             status={} duration_ms={}.{:03} bytes={}\n",
            nth / 180_000 % 24,
            LEVELS[random.below(8) as usize],
            random.next(),
            random.below(45),
            [200, 200, 200, 200, 201, 404, 500][random.below(7) as usize],
            random.below(300),
            random.below(1000),
            random.below(20_000)
        );
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    out.flush()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_the_same_for_the_same_seed_and_is_not_made_twice() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, seed| {
            let options = Options { service: folder.path().join(name), scale: 0.001, seed };
            run(&options).unwrap()
        };
        let facts = make("a", 42);
        assert!(facts["database_bytes"].as_u64().unwrap() >= 1_200_000, "{facts}");
        assert_eq!(facts["plugin_files"], 20);
        let time = || fs::metadata(folder.path().join("a/logs/uplifted.log")).unwrap().modified().unwrap();
        let first = time();
        make("a", 42);
        assert_eq!(time(), first, "it was made again");
        make("b", 42);
        let read = |name: &str, file: &str| fs::read(folder.path().join(name).join(file)).unwrap();
        for file in ["data/uplifted.db", "logs/uplifted.log", "plugins/plugin-000/src/module_0.py"] {
            assert!(read("a", file) == read("b", file), "{file} differs");
        }
        make("a", 43);
        assert!(read("a", "data/uplifted.db") != read("b", "data/uplifted.db"));
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { service: folder.path().to_owned(), scale: 0.001, seed: 1 };
        assert!(run(&options).is_err());
        assert!(folder.path().exists());
    }
}
