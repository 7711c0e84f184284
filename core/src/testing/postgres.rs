//! Real PostgreSQL servers for tests: each in a folder of its own, on loopback and a socket, gone at the end of its test.
//!
//! A cluster is made once (`initdb`), kept below `target/`, and copied for each server, which takes a tenth of a second. Nothing
//! is synced. Servers refuse to run as root, so that they are started as the user `postgres`, or `nobody`, then.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, reason = "it sets up scenes for tests")]

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What guards against a server that hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// The password of every user of a server of ours that has one.
pub const PASSWORD: &str = "hunter2";

/// A server.
#[derive(Debug)]
pub struct PostgresServer {
    /// Kept from its end by its standard input: it ends, and the server with it, when this process does, however it does.
    watch: Child,
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
}

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// The programs. Those of the machine unless set.
    pub programs: Option<PathBuf>,
    /// Lines of `postgresql.conf`.
    pub settings: Vec<String>,
    /// Lines of `pg_hba.conf`, before the one that lets everybody in.
    pub access: Vec<String>,
    /// A certificate and its key, in PEM, for TLS.
    pub certificate: Option<(String, String)>,
    /// A folder to have its data in, such as that of a small disk, but for its log: without room for that a server ends.
    pub disk: Option<PathBuf>,
}

/// The folders of programs that there are: those of this machine, and what `make setup` put below `target/`.
pub fn versions() -> Vec<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/postgres/servers");
    let below = |folder: &Path, tail: &str| -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().join(tail)))
            .filter(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file())
            .collect();
        found.sort();
        found
    };
    let mut found = below(Path::new("/usr/lib/postgresql"), "bin");
    found.extend(below(&target, "bin"));
    found
}

impl PostgresServer {
    /// A server that lets everybody in.
    pub fn start() -> Self {
        Self::with(PostgresOptions::default())
    }

    /// A server with these settings.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start; then with its log.
    pub fn with(options: PostgresOptions) -> Self {
        let programs = options.programs.clone().or_else(|| versions().into_iter().next());
        let programs = programs.expect("PostgreSQL is missing: apt-get install postgresql (make setup does)");
        let folder = scratch();
        let data = folder.join("data");
        let template = template(&programs);
        let place = options.disk.as_ref().map_or(data.clone(), |disk| disk.join("data"));
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&place));
        if options.disk.is_some() {
            let log = folder.join("wal");
            run(Command::new("mv").arg(place.join("pg_wal")).arg(&log));
            run(Command::new("ln").arg("-s").arg(&log).arg(place.join("pg_wal")));
            run(Command::new("ln").arg("-s").arg(&place).arg(&data));
        }
        Self::start_in(folder, programs, &options)
    }

    /// A server that follows this one, through a slot of that name.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn standby(&self, slot: &str) -> Self {
        let folder = scratch();
        let data = folder.join("data");
        let mut command = as_user(&self.programs.join("pg_basebackup"));
        command
            .args(["-R", "-X", "stream", "-c", "fast", "-C", "-S", slot, "-d", &self.uri("postgres"), "-D"])
            .arg(&data);
        run(&mut command);
        Self::start_in(folder, self.programs.clone(), &PostgresOptions::default())
    }

    /// A server on a copy of a cluster, which stays as it is.
    ///
    /// # Panics
    /// When it does not start.
    pub fn on_a_copy(&self, cluster: &Path) -> Self {
        let folder = scratch();
        let data = folder.join("data");
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(cluster).arg(&data));
        Self::start_in(folder, self.programs.clone(), &PostgresOptions::default())
    }

    fn start_in(folder: PathBuf, programs: PathBuf, options: &PostgresOptions) -> Self {
        let data = folder.join("data");
        let port = free_port();
        let mut settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nfsync = off\nfull_page_writes = off\n\
             synchronous_commit = off\nshared_buffers = 16MB\nmax_wal_size = 64MB\nlogging_collector = off\n\
             autovacuum = off\nwal_level = logical\n",
            folder.display()
        );
        if let Some((certificate, key)) = &options.certificate {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                write(&data.join(name), text);
            }
            settings.push_str("ssl = on\n");
        }
        options.settings.iter().for_each(|line| settings.extend([line, "\n"]));
        let kept = std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap_or_default();
        write(&data.join("postgresql.conf"), &settings);
        write(&data.join("postgresql.auto.conf"), &kept);
        let mut access = options.access.join("\n");
        access.push_str("\nlocal all,replication all trust\nhost all,replication all 127.0.0.1/32 trust\n");
        write(&data.join("pg_hba.conf"), &access);
        let watch = watch(&programs, &folder);
        let server = Self { watch, folder, programs, port };
        server.wait();
        server
    }

    fn wait(&self) {
        let began = Instant::now();
        loop {
            let mut ready = as_user(&self.programs.join("psql"));
            ready.args(["-Xqc", "SELECT 1", "-d", &self.uri("postgres")]).stdout(Stdio::null()).stderr(Stdio::null());
            if ready.status().expect("psql starts").success() {
                return;
            }
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let refuses = log.contains("starting up") || log.contains("not yet accepting");
            let ended = log.contains("FATAL") && !refuses;
            assert!(!ended && began.elapsed() < PATIENCE, "PostgreSQL does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its socket, in which tests may keep files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of its programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The url of a database over TCP, for its superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The pairs for a database over the socket, for its superuser.
    pub fn uri(&self, database: &str) -> String {
        format!("host={} port={} user=postgres dbname={database}", self.folder.display(), self.port)
    }

    /// Runs statements as the superuser, and gives what they print, without decoration.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut command = as_user(&self.programs.join("psql"));
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", &self.uri(database), "-c", statements]);
        let output = run(&mut command);
        String::from_utf8(output).unwrap().trim_end().to_owned()
    }

    /// A connection that stays open with a transaction that has done that much, until it is dropped.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn hold(&self, database: &str, statements: &str) -> HeldConnection {
        self.held(&self.uri(database), statements)
    }

    fn held(&self, uri: &str, statements: &str) -> HeldConnection {
        use std::io::{BufRead, Write};
        let mut command = as_user(&self.programs.join("psql"));
        command.args(["-XqAt", "-d", uri]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut psql = command.spawn().expect("psql starts");
        let input = psql.stdin.as_mut().unwrap();
        writeln!(input, "{statements};\n\\echo held").unwrap();
        let output = psql.stdout.take().unwrap();
        let mut lines = std::io::BufReader::new(output).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "held")), "psql ended");
        HeldConnection(psql)
    }

    /// A connection of another user, without a transaction.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn hold_as(&self, database: &str, user: &str) -> HeldConnection {
        self.held(&self.uri(database).replace("user=postgres", &format!("user={user}")), "SELECT 1")
    }

    /// Whether that extension can be had.
    pub fn has_extension(&self, name: &str) -> bool {
        let asked = format!("SELECT count(*) FROM pg_available_extensions WHERE name = '{name}'");
        self.sql("postgres", &asked) == "1"
    }

    /// Ends the server as if the machine had lost its power, and starts it again where it was.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.stop();
        self.watch = watch(&self.programs, &self.folder);
        self.wait();
    }

    /// Ends the server as if the machine had lost its power.
    pub fn stop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An open connection.
#[derive(Debug)]
pub struct HeldConnection(Child);

impl Drop for HeldConnection {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the server of a folder, which ends with us.
fn watch(programs: &Path, folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut watch = as_user(Path::new("sh"));
    watch
        .args(["-c", "\"$1\" -D \"$2\" & server=$!; read end; kill -QUIT $server; wait $server", "sh"])
        .arg(programs.join("postgres"))
        .arg(folder.join("data"))
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .current_dir("/");
    watch.spawn().expect("sh starts")
}

/// Whom servers run as: us, unless we are root.
fn user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"].into_iter().find_map(|wanted| {
        let fields: Vec<&str> =
            known.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == wanted)?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    })
}

fn as_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = user() {
        command.uid(uid).gid(gid);
    }
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C.UTF-8");
    command.env("HOME", "/nonexistent").stdin(Stdio::null()).current_dir("/");
    command
}

/// A short path, because that of a socket has at most 107 bytes.
fn scratch() -> PathBuf {
    let folder = tempfile_in_tmp();
    give(&folder);
    folder
}

fn tempfile_in_tmp() -> PathBuf {
    loop {
        let name = crate::value::random_hex(8).expect("random numbers");
        let folder = PathBuf::from("/tmp").join(format!("uplifted-pg-{name}"));
        if std::fs::create_dir(&folder).is_ok() {
            return folder;
        }
    }
}

fn give(path: &Path) {
    if let Some((uid, gid)) = user() {
        chown(path, Some(uid), Some(gid)).expect("root gives away what is its own");
    }
}

fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::remove_file(path);
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    give(path);
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The cluster of this version that the others are copied from.
fn template(programs: &Path) -> PathBuf {
    let version = run(Command::new(programs.join("postgres")).arg("--version"));
    let version: String =
        String::from_utf8_lossy(&version).chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let owner = user().map_or_else(String::new, |(uid, _)| uid.to_string());
    let name = format!("cluster-{}-{owner}", version.trim_end_matches('-'));
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/postgres-clusters");
    let kept = home.join(name);
    if !kept.is_dir() {
        let made = scratch();
        let mut initdb = as_user(&programs.join("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--wal-segsize=1",
        ]);
        run(initdb.arg("-D").arg(made.join("data")));
        std::fs::create_dir_all(&home).unwrap();
        // Beside its place first: another test may do the same, and a test may be killed.
        let beside = kept.with_extension(crate::value::random_hex(8).unwrap());
        run(Command::new("cp").arg("-a").arg(made.join("data")).arg(&beside));
        if std::fs::rename(&beside, &kept).is_err() {
            let _ = std::fs::remove_dir_all(&beside);
        }
        let _ = std::fs::remove_dir_all(&made);
    }
    kept
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
