//! PostgreSQL's own programs: where they are, and how they are run against a server that we are connected to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::place::{Host, Place, SslMode};
use super::session::APPLICATION;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::process::Program;

/// Where packages put the programs of each version beside those in `PATH`: Debian's, PGDG's for Red Hat, Homebrew's.
const HOMES: [&str; 3] = ["/usr/lib/postgresql", "/usr/pgsql-", "/opt/homebrew/opt/postgresql@"];
/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// The programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    folder: PathBuf,
    /// Their major version.
    pub(super) version: u32,
}

impl Programs {
    /// Those that suit a server or an archive of a version best: of the same version, else the next one above.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] with the package that has them, when there are none, or older ones only.
    pub(super) async fn find(scope: &Scope, named: Option<&Path>, version: u32) -> Result<Self> {
        let all = Self::all(scope, named).await?;
        let fitting = all.iter().filter(|programs| programs.version >= version).min_by_key(|programs| programs.version);
        fitting.cloned().ok_or_else(|| {
            let newest = all.iter().map(|programs| programs.version).max();
            let there =
                newest.map_or_else(String::new, |newest| format!(", and those of {newest} do not understand it"));
            lacking(format!("pg_dump and pg_restore of PostgreSQL {version} are missing{there}"), version, named)
        })
    }

    /// The newest, which read what all older ones have written.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when there are none.
    pub(super) async fn newest(scope: &Scope, named: Option<&Path>) -> Result<Self> {
        let newest = Self::all(scope, named).await?.into_iter().max_by_key(|programs| programs.version);
        newest.ok_or_else(|| lacking("pg_dump and pg_restore are missing".to_owned(), 0, named))
    }

    async fn all(scope: &Scope, named: Option<&Path>) -> Result<Vec<Self>> {
        let folders = match named {
            Some(folder) => vec![folder.to_owned()],
            None => folders(),
        };
        let mut found: Vec<Self> = Vec::new();
        for folder in
            folders.into_iter().filter(|folder| folder.join("pg_dump").is_file() && folder.join("pg_restore").is_file())
        {
            let asked = Program::new(vec![folder.join("pg_dump").into(), "--version".into()])
                .deadline(PATIENCE)
                .run(scope)
                .await;
            let said = match asked {
                Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                _ => continue,
            };
            // `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
            let version = said.split(") ").nth(1).map_or(0, super::session::major);
            if version > 0 && found.iter().all(|other| other.version != version) {
                found.push(Self { folder, version });
            }
        }
        Ok(found)
    }

    /// Whether there is one of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.folder.join(name).is_file()
    }

    /// Where one of them is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// One of them, with arguments.
    pub(super) fn program(&self, name: &str, arguments: impl IntoIterator<Item = OsString>) -> Program {
        let argv = std::iter::once(self.folder.join(name).into_os_string()).chain(arguments).collect();
        // Messages that we read and show are in one language, and no setting of the service leads elsewhere.
        let program = Program::new(argv).env("LC_MESSAGES", "C").cwd("/");
        STRAY.iter().fold(program, |program, name| program.without(name))
    }
}

/// Variables that would lead a program elsewhere.
const STRAY: [&str; 12] = [
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGHOSTADDR",
    "PGPASSFILE",
    "PGPASSWORD",
    "PGOPTIONS",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGTARGETSESSIONATTRS",
    "PGREQUIREAUTH",
    "PGCHANNELBINDING",
];

/// Leads a program to the server that we are connected to, by variables: what is in an argument is seen by all users.
pub(super) fn led_to(program: Program, place: &Place, host: &Host, database: &str) -> Program {
    let mut program = program
        .env("PGHOST", host.word())
        .env("PGPORT", host.port().to_string())
        .env("PGUSER", &place.user)
        .env("PGDATABASE", database)
        .env("PGAPPNAME", APPLICATION)
        .env("PGCONNECT_TIMEOUT", place.connect_timeout.as_secs().max(1).to_string())
        .env(
            "PGSSLMODE",
            match place.tls.mode {
                SslMode::Disable => "disable",
                SslMode::Prefer => "prefer",
                SslMode::Require => "require",
                SslMode::VerifyCa => "verify-ca",
                SslMode::VerifyFull => "verify-full",
            },
        );
    if let Host::Tcp { address: Some(address), .. } = host {
        program = program.env("PGHOSTADDR", address.to_string());
    }
    if let Some(password) = place.password(host).0 {
        program = program.env("PGPASSWORD", password.reveal());
    }
    if let Some(options) = &place.options {
        program = program.env("PGOPTIONS", options);
    }
    match &place.tls.authorities {
        Some(path) => program = program.env("PGSSLROOTCERT", path),
        // libpq of 16 and later; one that is older says so.
        None if place.tls.mode >= SslMode::VerifyCa => {
            program = program.env("PGSSLROOTCERT", "system").env("PGSSLMODE", "verify-full")
        }
        None => {}
    }
    if let Some((certificate, key)) = &place.tls.own {
        program = program.env("PGSSLCERT", certificate).env("PGSSLKEY", key);
    }
    program
}

fn folders() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for home in HOMES {
        let (folder, start) = match home.strip_suffix(['-', '@']) {
            None => (Path::new(home), ""),
            Some(_) => {
                (Path::new(home).parent().unwrap_or(Path::new("/")), home.rsplit('/').next().unwrap_or_default())
            }
        };
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
                .map(|entry| entry.path().join("bin")),
        );
    }
    found.sort();
    // Debian's in PATH are wrappers around those above.
    found.extend(std::env::var_os("PATH").iter().flat_map(|path| std::env::split_paths(path).collect::<Vec<_>>()));
    found
}

fn lacking(message: String, version: u32, named: Option<&Path>) -> Error {
    let package = if version == 0 { "postgresql-client".to_owned() } else { format!("postgresql-client-{version}") };
    let hint = match named {
        Some(folder) => format!("correct programs, which is {folder:?}, or install {package} and leave it out"),
        None => format!("install them (Debian: apt-get install {package}), or name their folder as programs"),
    };
    Error::new(ErrorKind::Unsupported, message).with_hint(hint)
}
