//! A copy of the whole cluster (`backup = "physical"`): its files and its log, from `pg_basebackup`; followed by its log, and
//! brought to any moment of it by a server of its own.
//!
//! A copy is three files: `<name>.base.tar` with the cluster, `<name>.wal.tar` with the log that makes it consistent, so that it
//! can be restored without any other log, and `<name>.manifest.json`, PostgreSQL's own list of files with their checksums. `tar`
//! and any PostgreSQL of its version recover it: unpack the first, unpack the second into its `pg_wal`, start the server.

mod database;
mod follow;
mod forward;
mod place;
mod private;
mod wal;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) use self::database::{check_cluster, dump_of};
pub(super) use self::follow::begin;
pub(super) use self::forward::{cluster_in, roll_forward};
use self::wal::Lsn;
use super::PostgresStore;
use super::programs::{self, Programs};
use super::session::Session;
use crate::cancel::{ProgressEvent, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::process::last_words;
use crate::store::{CheckDepth, IntegrityReport, StoreSnapshot};
use crate::value::random_hex;

const DOING: &str = "copy the cluster";

/// What is asked before a copy, and before following.
#[derive(Debug, Clone, Deserialize)]
struct Facts {
    system: String,
    server_version: String,
    user: String,
    replicates: bool,
    monitors: bool,
    standby: bool,
    segment: u64,
    wal_level: String,
    tablespaces: u64,
    timeline: Option<String>,
}

impl Facts {
    async fn ask(session: &Session) -> Result<Self> {
        let facts: Self = session
            .ask_one(
                DOING,
                "SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system, current_setting('server_version') AS server_version,
                   rolname AS user, rolreplication OR rolsuper AS replicates,
                   pg_has_role('pg_read_all_stats', 'USAGE') AS monitors, pg_is_in_recovery() AS standby,
                   (SELECT setting::int8 FROM pg_settings WHERE name = 'wal_segment_size') AS segment,
                   current_setting('wal_level') AS wal_level,
                   (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')) AS tablespaces,
                   CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline
                 FROM pg_roles WHERE rolname = current_user",
            )
            .await?;
        if !facts.replicates {
            let user = super::trouble::quoted(&facts.user);
            return Err(Error::new(ErrorKind::Denied, format!("user {user} may not copy the cluster"))
                .with_hint(format!("ALTER ROLE {user} REPLICATION, and a line for it in pg_hba.conf: host replication USER ADDRESS/32 scram-sha-256")));
        }
        if facts.wal_level == "minimal" {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the server's log is not enough to copy it: wal_level is minimal",
            )
            .with_hint("set wal_level = replica in postgresql.conf, and restart the server"));
        }
        Ok(facts)
    }

    fn timeline(&self) -> u32 {
        self.timeline.as_deref().and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0)
    }
}

/// PostgreSQL's own list of a copy.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(rename = "WAL-Ranges")]
    ranges: Vec<Range>,
}

#[derive(Debug, Deserialize)]
struct Range {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

/// The log that a copy needs to be consistent.
#[derive(Debug, Clone, Copy)]
struct Span {
    timeline: u32,
    start: Lsn,
    end: Lsn,
}

fn span(manifest: &Path) -> Result<Span> {
    let bytes = std::fs::read(manifest).map_err(|error| Error::io(format!("read {manifest:?}"), error))?;
    let odd = || {
        Error::new(ErrorKind::Corrupt, format!("{manifest:?} is no manifest of PostgreSQL with one range of its log"))
            .with_hint("use another snapshot")
    };
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| odd().with_source(error))?;
    let [range] = &manifest.ranges[..] else { return Err(odd()) };
    Ok(Span { timeline: range.timeline, start: range.start.parse()?, end: range.end.parse()? })
}

/// The names of a copy's files: the cluster, its log, the manifest.
pub(super) fn names(store: &PostgresStore) -> [String; 3] {
    let stem = store.file_stem();
    [format!("{stem}.base.tar"), format!("{stem}.wal.tar"), format!("{stem}.manifest.json")]
}

/// Copies the cluster into the empty folder `dir`.
///
/// # Errors
/// Why that was not possible. Nothing is left in `dir` then.
pub(super) async fn take(store: &PostgresStore, scope: &Scope, dir: &Path) -> Result<StoreSnapshot> {
    let unfinished = dir.join(".unfinished");
    let made = tokio::select! {
        biased;
        () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
        made = make(store, scope, dir, &unfinished) => made,
    };
    if made.is_err() {
        // The error that is told is the first one.
        let _ = fs::remove_dir_all(&unfinished);
        names(store).iter().for_each(|name| drop(fs::remove_file(&dir.join(name))));
    }
    made.map_err(|error| error.with_context("store", &store.name))
}

async fn make(store: &PostgresStore, scope: &Scope, dir: &Path, unfinished: &Path) -> Result<StoreSnapshot> {
    let place = store.server.place()?;
    let session = store.server.connect(scope).await?;
    let facts = Facts::ask(&session).await?;
    if facts.tablespaces > 0 {
        let message =
            format!("the cluster has {} tablespaces, and a physical copy is of one folder", facts.tablespaces);
        return Err(Error::new(ErrorKind::Unsupported, message).with_hint("set backup = \"logical\" for this store"));
    }
    let programs = Programs::find(scope, store.server.settings.programs.as_deref(), session.version()).await?;
    let taken_at = scope.clock.now();
    let arguments = [
        "--format=tar".into(),
        "--wal-method=stream".into(),
        "--checkpoint=fast".into(),
        "--manifest-checksums=SHA256".into(),
        "--no-password".into(),
        "--label=uplifted-ops".into(),
        "--pgdata".into(),
        unfinished.into(),
    ];
    let program =
        programs::led_to(programs.program("pg_basebackup", arguments), &place, session.host(), &place.database);
    let watch = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            scope.progress.report(ProgressEvent {
                stage: format!("copying the cluster of {}", store.name),
                done_bytes: unfinished.join("base.tar").metadata().map_or(0, |meta| meta.len()),
                total_bytes: None,
                done_files: 0,
                total_files: None,
                uninterruptible: false,
            });
        }
    };
    let output = tokio::select! {
        output = program.run(scope) => output?,
        () = watch => return Err(Error::internal("the watch of pg_basebackup ended")),
    };
    if !output.status.success() {
        return Err(failed("the cluster was not copied", &output.stderr));
    }
    session.close().await;
    let mut size_bytes = 0;
    let mut files = Vec::new();
    for (made, name) in ["base.tar", "pg_wal.tar", "backup_manifest"].into_iter().zip(names(store)) {
        let path = unfinished.join(made);
        let meta = path.metadata().map_err(|error| Error::io(format!("look at {path:?}"), error))?;
        size_bytes += meta.len();
        fs::rename(&path, &dir.join(&name))?;
        files.push(PathBuf::from(name));
    }
    fs::remove_dir_all(unfinished)?;
    fs::sync_dir(dir)?;
    let span = span(&dir.join(&names(store)[2]))?;
    let mut details = Map::new();
    let mut tell = |name: &str, value: Value| details.insert(name.to_owned(), value);
    tell("physical", true.into());
    tell("server_version", facts.server_version.into());
    tell("copied_by", format!("pg_basebackup {}", programs.version).into());
    tell("system_identifier", facts.system.into());
    tell("timeline", span.timeline.into());
    tell("start_lsn", span.start.to_string().into());
    tell("lsn", span.end.to_string().into());
    tell("segment_bytes", facts.segment.into());
    Ok(StoreSnapshot { files, size_bytes, taken_at, details })
}

/// Why a program failed, in its words, which hold no password: it has it from a variable.
fn failed(what: &str, stderr: &[u8]) -> Error {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).find(|line| line.contains("error:") || line.contains("FATAL"));
    let said: String = line.map_or_else(|| last_words(stderr), |line| line.chars().take(300).collect());
    let (kind, hint) = if said.contains("pg_hba.conf") {
        (ErrorKind::Denied, "add a line to its pg_hba.conf: host replication USER ADDRESS/32 scram-sha-256")
    } else if said.contains("max_wal_senders") {
        (ErrorKind::Busy, "raise max_wal_senders: a copy takes two of them, following one")
    } else if said.contains("No space left") {
        (ErrorKind::NoSpace, "free space, or set backup.scratch to a folder on another disk")
    } else {
        (ErrorKind::Unavailable, "look at the server's log")
    };
    Error::new(kind, format!("{what}: {said}")).with_hint(hint)
}

/// Unpacks a copy into `cluster`, which is made.
async fn unpack(store: &PostgresStore, dir: &Path, cluster: &Path) -> Result<()> {
    let [base, log, manifest] = names(store).map(|name| dir.join(name));
    let cluster = cluster.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&cluster, fs::PRIVATE_DIR)?;
        for (file, into) in [(&base, cluster.clone()), (&log, cluster.join("pg_wal"))] {
            let open = std::fs::File::open(file).map_err(|error| Error::io(format!("open {file:?}"), error))?;
            let mut archive = tar::Archive::new(std::io::BufReader::with_capacity(1 << 20, open));
            archive.set_preserve_permissions(true);
            archive.unpack(&into).map_err(|error| {
                Error::new(ErrorKind::Corrupt, format!("{file:?} cannot be unpacked: {error}"))
                    .with_hint("use another snapshot; look whether there is room")
            })?;
        }
        let bytes = std::fs::read(&manifest).map_err(|error| Error::io(format!("read {manifest:?}"), error))?;
        fs::write_atomic(&cluster.join("backup_manifest"), fs::PRIVATE_FILE, &bytes)
    });
    unpacked.await.map_err(|error| Error::internal(format!("the unpacking ended without an answer: {error}")))?
}

/// Checks a copy by `pg_verifybackup`: every file by its checksum, and with *full* that its log can be read from start to end.
///
/// # Errors
/// What keeps it from being checked.
pub(super) async fn check_copy(
    store: &PostgresStore,
    scope: &Scope,
    dir: &Path,
    depth: CheckDepth,
) -> Result<IntegrityReport> {
    let programs = Programs::newest(scope, store.server.settings.programs.as_deref()).await?;
    if !programs.has("pg_verifybackup") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the copy was not checked: pg_verifybackup is missing beside pg_dump",
        )
        .with_hint(format!("install postgresql-client-{} or later", programs.version)));
    }
    let report = |problem: String| IntegrityReport { ok: false, problems: vec![problem] };
    if let Err(error) = span(&dir.join(&names(store)[2])) {
        return Ok(report(error.message().to_owned()));
    }
    let scratch = dir.join(format!(".check-{}", random_hex(8)?));
    let checked = async {
        match unpack(store, dir, &scratch).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(report(error.message().to_owned())),
            unpacked => unpacked?,
        }
        let version = std::fs::read_to_string(scratch.join("PG_VERSION")).unwrap_or_default();
        // Only a program of its version reads the log.
        let mut arguments = vec!["--exit-on-error".into()];
        if depth == CheckDepth::Quick || version.trim() != programs.version.to_string() || !programs.has("pg_waldump") {
            arguments.push("--no-parse-wal".into());
        }
        arguments.push(scratch.clone().into_os_string());
        let output = programs.program("pg_verifybackup", arguments).run(scope).await?;
        if output.status.success() {
            return Ok(IntegrityReport { ok: true, problems: Vec::new() });
        }
        if !matches!(output.status, crate::process::Exit::Status(1)) {
            let message = format!("the copy was not checked: pg_verifybackup ended with {}", output.status);
            return Err(Error::new(ErrorKind::Unavailable, message).with_hint("run it by hand, or name other programs"));
        }
        // Its words name our folder, which is nobody's concern.
        let said = last_words(&output.stderr).replace(&format!("{}/", scratch.display()), "");
        Ok(report(said))
    };
    let checked = tokio::select! {
        biased;
        () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
        checked = checked => checked,
    };
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    checked
}
