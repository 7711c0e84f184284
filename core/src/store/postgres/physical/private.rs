//! A server of our own for a cluster in a folder: nobody else reaches it, it archives nothing and sends nothing anywhere.
//!
//! Servers refuse to be root. Where we are, ours runs as the user `postgres` with one capability, to pass through folders that
//! are root's alone (capabilities(7)), so that the cluster may lie wherever we have room.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use super::super::PostgresStore;
use super::super::place::Place;
use super::super::programs::Programs;
use super::super::session::Session;
use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::process::{Program, ProgramOutput};

/// A socket's path has at most 107 bytes (unix(7)), of which this many are its folder.
const LONGEST_FOLDER: usize = 107 - ".s.PGSQL.5432".len() - 1;
/// The port that is in the name of the socket.
const PORT: u16 = 5432;
/// How often it is asked whether it is up: nothing tells.
const LOOK: Duration = Duration::from_millis(100);
/// Who runs a server where we are root: it refuses to.
const USER: &str = "postgres";
/// Our own access rules, in the cluster while the server runs.
const ACCESS: &str = "uplifted-ops.hba.conf";
const CONFIG: &str = "uplifted-ops.conf";

/// A running server. It is killed with its group when this is dropped.
#[derive(Debug)]
pub(super) struct PrivateServer {
    cluster: PathBuf,
    programs: Programs,
    /// The way to it, for its clients.
    place: Place,
    /// What the way leads through.
    _folder: Option<OwnedFd>,
    running: tokio::task::JoinHandle<Result<ProgramOutput>>,
    _end: CancelOnDrop,
}

/// What runs a program as the one who owns the cluster.
fn as_owner(program: OsString) -> Vec<OsString> {
    if !rustix::process::geteuid().is_root() {
        return vec![program];
    }
    let user = |option: &str| format!("--{option}={USER}").into();
    let mut argv = vec!["setpriv".into(), user("reuid"), user("regid"), "--clear-groups".into()];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(capability) = passing(&status) {
        argv.extend(["inh", "ambient"].map(|set| format!("--{set}-caps=+{capability}").into()));
    }
    argv.extend(["--".into(), program]);
    argv
}

/// The capability to pass through folders of others, by what `/proc/self/status` says that we have: the smaller one first.
fn passing(status: &str) -> Option<&'static str> {
    let had = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    let had = u64::from_str_radix(had.trim(), 16).ok()?;
    [(2, "dac_read_search"), (1, "dac_override")].into_iter().find(|(bit, _)| had >> bit & 1 == 1).map(|(_, name)| name)
}

/// What clients call the folder of the socket, and what has to stay open for it: a long path is short through a descriptor.
fn way_to(cluster: &Path) -> Result<(PathBuf, Option<OwnedFd>)> {
    if cluster.as_os_str().len() <= LONGEST_FOLDER {
        return Ok((cluster.to_owned(), None));
    }
    let opened = rustix::fs::open(cluster, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::io(format!("open folder {cluster:?}"), error))?;
    // Not `self`: its programs go that way, too.
    let name = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd()));
    if !name.exists() {
        let message = format!("the path of {cluster:?} is too long for the socket of a server");
        return Err(Error::new(ErrorKind::Unsupported, message).with_hint(format!(
            "set backup.scratch to a folder whose path is shorter: {LONGEST_FOLDER} bytes are left for it"
        )));
    }
    Ok((name, Some(opened)))
}

/// The programs of exactly the version of the cluster.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with the package that has them.
pub(super) async fn programs_of(store: &PostgresStore, scope: &Scope, cluster: &Path) -> Result<(u32, Programs)> {
    let version = std::fs::read_to_string(cluster.join("PG_VERSION"))
        .map_err(|error| Error::io(format!("read the version of {cluster:?}"), error))?;
    let version: u32 = version.trim().parse().unwrap_or(0);
    let programs = Programs::find(scope, store.server.settings.programs.as_deref(), version).await?;
    if programs.version != version || !programs.has("postgres") || !programs.has("pg_ctl") {
        let message = format!("the copy is of PostgreSQL {version}, and only a server of that version can open it");
        return Err(Error::new(ErrorKind::Unsupported, message).with_hint(format!(
            "install postgresql-{version}, or name the folder with postgres and pg_ctl of {version} as programs"
        )));
    }
    Ok((version, programs))
}

impl PrivateServer {
    /// Starts the server, and waits until it lets us in.
    ///
    /// # Errors
    /// Why it did not, in the words of its log.
    pub(super) async fn start(
        scope: &Scope,
        programs: &Programs,
        cluster: &Path,
        place: &Place,
        settings: &[(&str, String)],
    ) -> Result<(Self, Session)> {
        fs::write_atomic(&cluster.join(ACCESS), fs::PRIVATE_FILE, b"local all all trust\n")?;
        fs::write_atomic(&cluster.join(CONFIG), fs::PRIVATE_FILE, b"# for a private server: see its arguments\n")?;
        if rustix::process::geteuid().is_root() {
            let chown =
                ["chown".into(), "-R".into(), "--no-dereference".into(), format!("{USER}:").into(), cluster.into()];
            Program::new(chown.to_vec()).run(scope).await?.success()?;
        }
        let mut argv = as_owner(programs.path("postgres").into_os_string());
        argv.extend(["-D".into(), cluster.into()]);
        let path = |name: &str| cluster.join(name).display().to_string();
        let own = [
            ("config_file", path(CONFIG)),
            ("hba_file", path(ACCESS)),
            ("listen_addresses", String::new()),
            ("port", PORT.to_string()),
            // In its own folder, where it is at home.
            ("unix_socket_directories", ".".to_owned()),
            // Whatever ALTER SYSTEM left in the cluster: it must reach nobody, and keep nothing of what it is not.
            ("archive_mode", "off".to_owned()),
            ("archive_cleanup_command", String::new()),
            ("recovery_end_command", String::new()),
            ("primary_conninfo", String::new()),
            ("primary_slot_name", String::new()),
            ("shared_preload_libraries", String::new()),
            ("logging_collector", "off".to_owned()),
            ("log_destination", "stderr".to_owned()),
            ("lc_messages", "C".to_owned()),
            ("ssl", "off".to_owned()),
            ("autovacuum", "off".to_owned()),
            ("max_prepared_transactions", "1000".to_owned()),
            ("shared_buffers", "64MB".to_owned()),
        ];
        for (name, value) in own.iter().chain(settings) {
            argv.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        let cancel = Cancel::new();
        let end = CancelOnDrop::new(&cancel);
        let inner = Scope { cancel, ..scope.clone() };
        let program = Program::new(argv).cwd("/").env("LC_ALL", "C");
        let mut running = tokio::spawn(async move { program.run(&inner).await });
        let (way, folder) = way_to(cluster)?;
        let place = place.at_socket(&way, PORT);
        loop {
            let ended = tokio::select! {
                () = scope.cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
                ended = &mut running => Some(ended),
                () = tokio::time::sleep(LOOK) => None,
            };
            if let Some(ended) = ended {
                let output =
                    ended.map_err(|error| Error::internal(format!("a server ended without an answer: {error}")))??;
                return Err(gave_up(&output));
            }
            if let Some(session) = enter(scope, &place).await? {
                let (cluster, programs) = (cluster.to_owned(), programs.clone());
                return Ok((Self { cluster, programs, place, _folder: folder, running, _end: end }, session));
            }
        }
    }

    /// The way to a database of it, for its first superuser, who may see everything.
    ///
    /// # Errors
    /// When nobody says who that is.
    pub(super) async fn superuser(&self, session: &Session, database: &str) -> Result<Place> {
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        // BOOTSTRAP_SUPERUSERID: whoever made the cluster.
        let first = "SELECT rolname AS name FROM pg_roles WHERE oid = 10";
        let Name { name } = session.ask_one("ask who made the cluster", first).await?;
        Ok(self.place.as_user(&name).in_database(database))
    }

    /// Stops the server cleanly, and takes what is ours out of its folder. Returns what it said.
    ///
    /// # Errors
    /// When it did not stop cleanly: then the cluster is worth nothing.
    pub(super) async fn stop(self, scope: &Scope) -> Result<String> {
        let mut argv = as_owner(self.programs.path("pg_ctl").into_os_string());
        argv.extend(["stop".into(), "-w".into(), "-m".into(), "fast".into(), "-t".into(), "3600".into(), "-D".into()]);
        argv.push(self.cluster.clone().into());
        Program::new(argv).cwd("/").run(scope).await?.success()?;
        let ended = self
            .running
            .await
            .map_err(|error| Error::internal(format!("a server ended without an answer: {error}")))?;
        let output = ended?;
        if !output.status.success() {
            return Err(gave_up(&output));
        }
        for name in [ACCESS, CONFIG] {
            fs::remove_file(&self.cluster.join(name))?;
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Connects, unless it is not up yet or still replays. User and database of the settings may be younger than the copy, which has
/// those that every cluster has.
async fn enter(scope: &Scope, place: &Place) -> Result<Option<Session>> {
    let usual = |user: &str, database: &str| place.as_user(user).in_database(database);
    let user = place.user.as_str();
    let ways = [place.clone(), usual(user, "postgres"), usual(user, "template1"), usual(USER, "postgres")];
    let mut failed = None;
    for way in &ways {
        match Session::open(scope, way, Duration::from_secs(10)).await {
            Ok(session) => return Ok(Some(session)),
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => return Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                failed = failed.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    Err(failed.unwrap_or_else(|| Error::internal("no way to the copy was tried")))
}

/// Why a server did not come up, or ended.
fn gave_up(output: &ProgramOutput) -> Error {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = ["PANIC:", "FATAL:", "ERROR:"].iter().find_map(|word| text.lines().find(|line| line.contains(word)));
    let said: String = line.or_else(|| text.lines().last()).unwrap_or("nothing").chars().take(300).collect();
    let hint = if said.contains("ermission denied") {
        format!(
            "as root, servers run as the user {USER:?}, who must get into the folder: set backup.scratch to such a one, or \
             leave us the capability dac_read_search"
        )
    } else {
        "use an earlier moment, or another snapshot".to_owned()
    };
    Error::new(ErrorKind::Corrupt, format!("the copy does not come up: {said}")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_capability_that_passes_is_lent() {
        let status = |set: &str| format!("Name:\tx\nCapInh:\t0000000000000006\nCapPrm:\t{set}\nCapEff:\t0\n");
        assert_eq!(passing(&status("000001fffeffffff")), Some("dac_read_search"));
        assert_eq!(passing(&status("00000000a80425fb")), Some("dac_override"), "what Docker leaves");
        assert_eq!(passing(&status("0000000000000000")), None);
        assert_eq!(passing(""), None);
    }
}
