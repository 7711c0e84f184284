//! A server of our own for a cluster in a folder: nobody else reaches it, it archives nothing and sends nothing anywhere.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::place::Place;
use super::super::programs::Programs;
use super::super::session::Session;
use crate::cancel::{Cancel, CancelOnDrop, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::process::{Program, ProgramOutput};

/// A socket's path has at most 107 bytes, of which this many are its name.
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
    running: tokio::task::JoinHandle<Result<ProgramOutput>>,
    _end: CancelOnDrop,
}

/// What runs a program as the one who owns the cluster.
fn as_owner(program: OsString) -> Vec<OsString> {
    if !rustix::process::geteuid().is_root() {
        return vec![program];
    }
    let user = |option: &str| format!("--{option}={USER}").into();
    vec!["setpriv".into(), user("reuid"), user("regid"), "--clear-groups".into(), "--".into(), program]
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
        if cluster.as_os_str().len() > LONGEST_FOLDER {
            let message = format!("the path of {cluster:?} is too long for the socket of a server");
            return Err(Error::new(ErrorKind::Refused, message).with_hint(format!(
                "set backup.scratch to a folder whose path is shorter: {LONGEST_FOLDER} bytes are left for it"
            )));
        }
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
            ("unix_socket_directories", cluster.display().to_string()),
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
        let place = place.at_socket(cluster, PORT);
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
            match Session::open(scope, &place, Duration::from_secs(10)).await {
                Ok(session) => {
                    let server = Self { cluster: cluster.to_owned(), programs: programs.clone(), running, _end: end };
                    return Ok((server, session));
                }
                // It is not up, or still replays.
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {}
                Err(error) => return Err(error),
            }
        }
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

/// Why a server did not come up, or ended.
fn gave_up(output: &ProgramOutput) -> Error {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = ["PANIC:", "FATAL:", "ERROR:"].iter().find_map(|word| text.lines().find(|line| line.contains(word)));
    let said: String = line.or_else(|| text.lines().last()).unwrap_or("nothing").chars().take(300).collect();
    let hint = if said.contains("ermission denied") {
        format!(
            "as root, servers run as the user {USER:?}, who must get into the folder: set backup.scratch to such a one"
        )
    } else {
        "use an earlier moment, or another snapshot".to_owned()
    };
    Error::new(ErrorKind::Corrupt, format!("the copy does not come up: {said}")).with_hint(hint)
}
