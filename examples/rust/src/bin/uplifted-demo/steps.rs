//! The main job, step by step, each said in plain words.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use uplifted_example::{Failure, ledger, say};
use uplifted_ops::backup::manifest::{Included, RelPath};

use crate::compare::{Comparison, Listing, compare, list};
use crate::load::Load;
use crate::scene;
use crate::tool::{Answer, Tool};

/// What belongs to `uplifted-ops` and not to the service.
const OURS: &[&str] = &[".uplifted-ops"];

/// The main job on a service that the demo makes. Returns its folder.
pub(crate) fn with_our_service(program: &Path, work: &Path, rate: f64) -> Result<PathBuf, Failure> {
    let root = work.join("uplifted");
    say!("A small service is made in {}", root.display())?;
    fs::create_dir(&root)?;
    scene::make_service(&root)?;
    let database = root.join("data/uplifted.db");
    let load = Load::start(&database, rate, &work.join("acknowledged"))?;
    say!("A writer starts: {rate} transfers a second into data/uplifted.db, in WAL mode")?;

    let settings = root.join("ops.toml");
    let tool = Tool::new(program, &root, &settings);
    step(&mut 0, "uplifted-ops init")?;
    let seconds = tool.init()?;
    fs::write(&settings, scene::retarget(&fs::read_to_string(&settings)?, &work.join("backups"))?)?;
    say!("   it wrote ops.toml in {}; the demo points its target to a folder of its own", time(seconds))?;
    load.work_for(Duration::from_secs(2));

    let job = Job { tool, root, work: work.into() };
    let committed = || load.committed();
    let done = job.run(1, Some(&committed))?;
    let report = load.stop()?;
    if done.proven < done.committed_before {
        return Err(format!(
            "the restored ledger ends at {}, but {} was committed",
            done.proven, done.committed_before
        )
        .into());
    }

    say!("\nReport")?;
    done.summary()?;
    let latency = |name: &str| time(report["commit_seconds"][name].as_f64().unwrap_or(0.0));
    say!(
        "  the writer       {} transfers, {:.0} a second; a commit took {} (p50), {} (p99), {} at worst",
        report["transactions"],
        report["per_second"].as_f64().unwrap_or(0.0),
        latency("p50"),
        latency("p99"),
        latency("max")
    )?;
    say!(
        "  nothing lost     {} transfers were committed before the backup began, {} are in it",
        done.committed_before,
        done.proven
    )?;
    Ok(job.root)
}

/// The main job on a folder of somebody else's, which is only read.
pub(crate) fn with_your_folder(program: &Path, work: &Path, root: &Path) -> Result<(), Failure> {
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    if work.starts_with(&root) {
        return Err(
            format!("{} lies inside {}: name a folder outside with --work", work.display(), root.display()).into()
        );
    }
    say!("{} is only read; all that is written goes to {}", root.display(), work.display())?;
    let settings = work.join("ops.toml");
    fs::write(&settings, scene::settings_beside(&root, work)?)?;
    let job = Job { tool: Tool::new(program, &root, &settings), root, work: work.into() };
    let done = job.run(0, None)?;
    say!("\nReport")?;
    done.summary()
}

/// A service and the way to its operations.
struct Job {
    tool: Tool,
    root: PathBuf,
    work: PathBuf,
}

/// What came of it.
struct Done {
    backup: Answer,
    verify_seconds: f64,
    restore_seconds: f64,
    compared: Comparison,
    committed_before: u64,
    proven: u64,
}

impl Job {
    /// Everything from the first health check to the metrics, after `steps` steps. `ledger` says how far the
    /// demo's own writer is, when there is one.
    fn run(&self, mut steps: u32, ledger: Option<&dyn Fn() -> u64>) -> Result<Done, Failure> {
        step(&mut steps, "uplifted-ops call health.check")?;
        self.health()?;

        step(&mut steps, "uplifted-ops call backup.create, while the service writes")?;
        let mut before = list(&self.root, OURS)?;
        let committed_before = ledger.map_or(0, |committed| committed());
        let backup = self.tool.call("backup.create", &json!({ "label": "demo" }))?;
        let mut after = list(&self.root, OURS)?;
        let id = backup.response["snapshot_id"].as_str().unwrap_or_default().to_owned();
        say!("   {}", described(&backup))?;
        self.judge_backup(&backup, ledger.is_some())?;
        for name in self.leave_out(&id, [&mut before, &mut after])? {
            say!("   {} is left out on purpose: ops.toml says so", name.display())?;
        }

        step(&mut steps, "uplifted-ops call backup.verify, every byte and every database")?;
        let verify = self.tool.call("backup.verify", &json!({ "snapshot_id": id, "depth": "full" }))?;
        if !verify.healthy || verify.response["ok"] != true {
            return Err(format!("the backup does not verify: {}", verify.response["problems"]).into());
        }
        say!("   nothing is wrong with it, checked in {}", time(verify.seconds))?;

        step(&mut steps, "uplifted-ops call restore.apply, into another folder")?;
        let copy = self.work.join("restored");
        let restore = self.tool.call("restore.apply", &json!({ "snapshot_id": id, "into": copy }))?;
        say!("   {} files in {}", restore.response["restored_files"], time(restore.seconds))?;

        step(&mut steps, "The proof")?;
        let skipped = skipped_paths(&backup.response);
        let (compared, proven) = self.prove(&[&before, &after], &skipped, &copy, ledger.is_some())?;

        step(&mut steps, "uplifted-ops call health.check, again")?;
        let healthy = self.health()?;
        if ledger.is_some() && !healthy {
            return Err("the service is not healthy after its backup".into());
        }

        step(&mut steps, "uplifted-ops call metrics.render")?;
        let metrics = self.tool.call("metrics.render", &json!({}))?;
        let body = metrics.response["body"].as_str().unwrap_or_default();
        if !body.contains("uplifted_ops_build_info") || !body.contains("process_") {
            return Err("the metrics lack uplifted_ops_build_info or process_*".into());
        }
        for line in body.lines().take(8) {
            say!("   {line}")?;
        }
        say!("   … {} lines", body.lines().count())?;
        let (verify_seconds, restore_seconds) = (verify.seconds, restore.seconds);
        Ok(Done { backup, verify_seconds, restore_seconds, compared, committed_before, proven })
    }

    /// Takes out of the lists what the backup was never asked for; returns the names at the top of it.
    fn leave_out(&self, id: &str, lists: [&mut Listing; 2]) -> Result<BTreeSet<PathBuf>, Failure> {
        let shown = self.tool.call("backup.show", &json!({ "snapshot_id": id }))?;
        let includes: Vec<Included> = serde_json::from_value(shown.response["manifest"]["includes"].clone())?;
        let asked = |name: &Path| {
            includes.iter().any(|one| one.path.as_path() == Path::new(".") || name.starts_with(one.path.as_path()))
        };
        let mut left_out = BTreeSet::new();
        for list in lists {
            left_out.extend(list.keys().filter(|name| !asked(name) && name.components().count() == 1).cloned());
            list.retain(|name, _| asked(name));
        }
        Ok(left_out)
    }

    fn health(&self) -> Result<bool, Failure> {
        let health = self.tool.call("health.check", &json!({}))?;
        let checks = health.response["checks"].as_array().cloned().unwrap_or_default();
        say!(
            "   {}, {} in {}",
            text(&health.response, "status"),
            counted(checks.len(), "check"),
            time(health.seconds)
        )?;
        for check in checks.iter().filter(|check| check["status"] != "pass") {
            say!("   {} {}: {}", text(check, "status"), text(check, "name"), text(check, "message"))?;
        }
        Ok(health.healthy)
    }

    /// A partial backup is a failure of the demo's own scene; in a folder that others use it names what moved.
    fn judge_backup(&self, backup: &Answer, ours: bool) -> Result<(), Failure> {
        let skipped = backup.response["skipped"].as_array().cloned().unwrap_or_default();
        for item in skipped.iter().take(10) {
            say!("   not in it: {} ({}) {}", item["path"], text(item, "reason"), text(item, "message"))?;
        }
        match text(&backup.response, "outcome") {
            "complete" => Ok(()),
            "partial" if !ours => Ok(()),
            outcome => Err(format!("the backup is {outcome:?}").into()),
        }
    }

    fn prove(
        &self,
        listed: &[&Listing; 2],
        skipped: &[PathBuf],
        copy: &Path,
        ours: bool,
    ) -> Result<(Comparison, u64), Failure> {
        let restored = list(copy, OURS)?;
        let compared = compare(&self.root, listed, skipped, copy, &restored)?;
        say!(
            "   {} files ({}), {} folders and links are equal: content, mode, owner, time to the nanosecond",
            compared.files,
            size(compared.bytes),
            compared.others
        )?;
        if !compared.changed.is_empty() {
            let changed = counted(compared.changed.len(), "name");
            say!("   {changed} changed while the backup was made, and cannot be compared")?;
        }
        if !compared.different.is_empty() {
            let shown: Vec<_> = compared.different.iter().take(5).cloned().collect();
            return Err(format!("{} differences: {}", compared.different.len(), shown.join("; ")).into());
        }
        // Only now: SQLite makes files beside a database that it opens.
        let mut proven = 0;
        for name in &compared.databases {
            let path = copy.join(name);
            if ours {
                let proof = ledger::verify(&path)?;
                if !proof.ok {
                    return Err(format!("the restored ledger is wrong: {}", proof.problems.join("; ")).into());
                }
                proven = proof.transfers;
                say!("   {}: integrity_check ok, and every balance fits its entries", name.display())?;
            } else {
                let problems = ledger::integrity(&open(&path)?)
                    .map_err(|error| format!("the restored {} cannot be checked: {error}", name.display()))?;
                if !problems.is_empty() {
                    return Err(format!("the restored {}: {}", name.display(), problems.join("; ")).into());
                }
                say!("   {}: integrity_check ok", name.display())?;
            }
        }
        if ours && compared.databases.is_empty() {
            return Err("the service's database was not found".into());
        }
        Ok((compared, proven))
    }
}

fn open(path: &Path) -> Result<rusqlite::Connection, Failure> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    rusqlite::Connection::open_with_flags(path, flags)
        .map_err(|error| format!("the restored {} does not open: {error}", path.display()).into())
}

impl Done {
    fn summary(&self) -> Result<(), Failure> {
        say!("  backup           {}", described(&self.backup))?;
        say!("  full verify      {}", time(self.verify_seconds))?;
        say!("  restore          {}", time(self.restore_seconds))?;
        say!(
            "  equal            {} files ({}), {} folders and links, {} hard-linked names, {}",
            self.compared.files,
            size(self.compared.bytes),
            self.compared.others,
            self.compared.hard_links,
            counted(self.compared.databases.len(), "database")
        )?;
        Ok(())
    }
}

fn described(backup: &Answer) -> String {
    let response = &backup.response;
    let bytes = |name: &str| response[name].as_u64().unwrap_or(0);
    format!(
        "{} files, {}, stored as {} ({:.0} %), in {}, read back",
        response["files"],
        size(bytes("size_bytes")),
        size(bytes("stored_bytes")),
        bytes("stored_bytes") as f64 * 100.0 / bytes("size_bytes").max(1) as f64,
        time(backup.seconds)
    )
}

fn step(done: &mut u32, what: &str) -> Result<(), Failure> {
    *done += 1;
    Ok(say!("\n{done}. {what}")?)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What the backup says it does not hold. A name that is not UTF-8 comes as its bytes in hexadecimal.
fn skipped_paths(response: &Value) -> Vec<PathBuf> {
    let path = |item: &Value| serde_json::from_value::<RelPath>(item["path"].clone()).ok();
    let skipped = response["skipped"].as_array();
    skipped.into_iter().flatten().filter_map(path).map(|path| path.as_path().to_owned()).collect()
}

fn size(bytes: u64) -> String {
    uplifted_ops::value::ByteSize(bytes).to_string()
}

fn time(seconds: f64) -> String {
    if seconds < 0.1 { format!("{:.2} ms", seconds * 1000.0) } else { format!("{seconds:.2} s") }
}
