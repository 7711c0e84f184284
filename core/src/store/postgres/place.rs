//! Where a server is and who asks it: the settings, the service file, the environment and the password file, put together as
//! libpq does, at the moment of the call.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::conninfo::{KEYWORDS, Parameters};
use super::files::{self, Kept};
use crate::config::reference;
use crate::error::{Error, ErrorKind, Result};
use crate::value::Secret;

/// Folders in which servers put their socket: Debian's and Red Hat's, and that of PostgreSQL itself.
const SOCKET_FOLDERS: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];
/// What connecting may take unless somebody says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What `place` looks at beside the url. Tests bring their own.
pub(super) struct Surroundings<'a> {
    /// The value of a variable.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The user's folder.
    pub(super) home: Option<PathBuf>,
    /// The user that asks, where nothing names one.
    pub(super) user: String,
    /// Where relative paths begin.
    pub(super) root: &'a Path,
}

/// How much TLS is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    /// None.
    Disable,
    /// If the server has it, whoever it is. The default, and `allow`.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// With a server whose certificate an authority signed.
    VerifyCa,
    /// With the server that the certificate names.
    VerifyFull,
}

/// How TLS is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) mode: SslMode,
    /// The authorities. Those of the system when nothing is named.
    pub(super) authorities: Option<PathBuf>,
    /// Our certificate and its key.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Tcp { name: String, address: Option<IpAddr>, port: u16 },
    Socket { folder: PathBuf, port: u16 },
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, port, .. } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp { name, port, .. } => write!(f, "{name}:{port}"),
            Self::Socket { folder, port } => write!(f, "{}/.s.PGSQL.{port}", folder.display()),
        }
    }
}

impl Host {
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Tcp { port, .. } | Self::Socket { port, .. } => *port,
        }
    }

    /// What `host` is for a program of PostgreSQL.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Tcp { name, .. } => name.clone(),
            Self::Socket { folder, .. } => folder.display().to_string(),
        }
    }
}

/// Which of several servers will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
}

/// Where a database is, and who asks.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The servers, in the order in which they are tried.
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) database: String,
    /// The password of the settings; else that of `passfile` counts.
    password: Option<Secret>,
    passfile: Option<PathBuf>,
    pub(super) tls: Tls,
    pub(super) connect_timeout: Duration,
    pub(super) options: Option<String>,
    pub(super) wanted: Wanted,
}

impl Place {
    /// Looks everything up.
    ///
    /// # Errors
    /// For a string that is none, a service that does not exist, and what we would not keep: a keyword that asks for more
    /// safety than we have.
    pub(super) fn find(url: &str, password: Option<&str>, around: &Surroundings<'_>) -> Result<Self> {
        let mut parameters = Parameters::parse(url)?;
        if let Some(password) = password {
            parameters.set("password", password)?;
        }
        let home = |name: &str| around.home.as_ref().map(|home| home.join(name));
        let set = |name: &str| (around.variable)(name).filter(|value| !value.is_empty());
        let name = parameters.get("service").map(str::to_owned).or_else(|| set("PGSERVICE"));
        if let Some(name) = name {
            let own =
                parameters.get("servicefile").map(str::to_owned).or_else(|| set("PGSERVICEFILE")).map(PathBuf::from);
            let folder = set("PGSYSCONFDIR").map_or_else(|| PathBuf::from("/etc/postgresql-common"), PathBuf::from);
            let paths = [own.or_else(|| home(".pg_service.conf")), Some(folder.join("pg_service.conf"))];
            files::service(&mut parameters, &name, &paths.into_iter().flatten().collect::<Vec<_>>())?;
        }
        for (keyword, variable) in KEYWORDS {
            if let Some(value) = variable.and_then(set) {
                parameters.default_to(keyword, &value)?;
            }
        }
        let get = |keyword: &str| parameters.get(keyword);
        refuse_what_we_do_not_keep(&parameters)?;
        let user = get("user").map_or_else(|| around.user.clone(), str::to_owned);
        let path = |keyword: &str| get(keyword).map(|path| around.root.join(path));
        Ok(Self {
            hosts: hosts(&parameters)?,
            database: get("dbname").unwrap_or(&user).to_owned(),
            user,
            password: get("password").map(Secret::new),
            passfile: path("passfile").or_else(|| home(".pgpass")),
            tls: tls(&parameters, around)?,
            connect_timeout: match get("connect_timeout").map(str::parse::<u32>) {
                None | Some(Ok(0)) => CONNECT_TIMEOUT,
                Some(Ok(seconds)) => Duration::from_secs(seconds.into()),
                Some(Err(_)) => return Err(odd("connect_timeout", "set it to whole seconds")),
            },
            options: get("options").map(str::to_owned),
            wanted: match get("target_session_attrs") {
                None | Some("any" | "prefer-standby") => Wanted::Any,
                Some("read-write") => Wanted::ReadWrite,
                Some("read-only") => Wanted::ReadOnly,
                Some("primary") => Wanted::Primary,
                Some("standby") => Wanted::Standby,
                Some(_) => {
                    return Err(odd(
                        "target_session_attrs",
                        "set it to any, read-write, read-only, primary or standby",
                    ));
                }
            },
        })
    }

    /// The same, but for the database.
    pub(super) fn in_database(&self, name: &str) -> Self {
        Self { database: name.to_owned(), ..self.clone() }
    }

    /// The same, but for the user.
    pub(super) fn as_user(&self, name: &str) -> Self {
        Self { user: name.to_owned(), ..self.clone() }
    }

    /// The same, but for a server of ours behind a socket.
    pub(super) fn at_socket(&self, folder: &Path, port: u16) -> Self {
        Self {
            hosts: vec![Host::Socket { folder: folder.to_owned(), port }],
            wanted: Wanted::Any,
            options: None,
            passfile: None,
            password: None,
            ..self.clone()
        }
    }

    /// The password for a server; and why there is none, for the error of one that wants it.
    pub(super) fn password(&self, host: &Host) -> (Option<Secret>, Option<String>) {
        if let Some(password) = &self.password {
            return (Some(password.clone()), None);
        }
        let Some(passfile) = &self.passfile else { return (None, None) };
        let name = match host {
            Host::Tcp { name, .. } => name.clone(),
            // What is at its usual place is written as localhost.
            Host::Socket { folder, .. } if SOCKET_FOLDERS.iter().any(|usual| folder == Path::new(usual)) => {
                "localhost".to_owned()
            }
            Host::Socket { folder, .. } => folder.display().to_string(),
        };
        match files::password(passfile, [&name, &host.port().to_string(), &self.database, &self.user]) {
            Kept::Password(password) => (Some(password), None),
            Kept::NoFile => (None, None),
            Kept::Ignored(why) => (None, Some(why)),
            Kept::NoLine(path) => (None, Some(format!("{path:?} has no line for it"))),
        }
    }
}

fn odd(keyword: &str, hint: &str) -> Error {
    Error::invalid(format!("{keyword} of PostgreSQL is not a value that exists")).with_hint(hint)
}

/// What asks for a guarantee that this client cannot give is refused, not forgotten.
fn refuse_what_we_do_not_keep(parameters: &Parameters) -> Result<()> {
    for (keyword, harmless) in
        [("channel_binding", &["disable", "prefer"][..]), ("require_auth", &[]), ("requirepeer", &[]), ("sslcrl", &[])]
    {
        if parameters.get(keyword).is_some_and(|value| !harmless.contains(&value)) {
            let message = format!("{keyword} of PostgreSQL asks for what this client does not check");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint(format!("take {keyword} out, and set sslmode=verify-full")));
        }
    }
    Ok(())
}

fn hosts(parameters: &Parameters) -> Result<Vec<Host>> {
    let list = |keyword: &str| -> Vec<String> {
        parameters
            .get(keyword)
            .map(|text| text.split(',').map(|item| item.trim().to_owned()).collect())
            .unwrap_or_default()
    };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = names.len().max(addresses.len()).max(1);
    if !(names.is_empty() || addresses.is_empty() || names.len() == addresses.len()) {
        return Err(odd("hostaddr", "name as many addresses as hosts"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(odd("port", "name one port, or as many as hosts"));
    }
    let mut hosts = Vec::new();
    for number in 0..count {
        let port = ports.get(number).or(ports.first()).map_or("", String::as_str);
        let port = match port {
            "" => 5432,
            port => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| odd("port", "set it to 1 to 65535"))?,
        };
        let address = addresses.get(number).filter(|address| !address.is_empty());
        let address = address.map(|text| text.parse::<IpAddr>()).transpose();
        let address = address.map_err(|_| odd("hostaddr", "write an address such as 127.0.0.1, or use host"))?;
        let name = names.get(number).map_or("", String::as_str);
        hosts.push(match (name, address) {
            ("", Some(address)) => Host::Tcp { name: address.to_string(), address: Some(address), port },
            ("", None) => Host::Socket { folder: usual_folder(port), port },
            (folder, None) if folder.starts_with('/') => Host::Socket { folder: PathBuf::from(folder), port },
            (name, address) => Host::Tcp { name: name.to_owned(), address, port },
        });
    }
    Ok(hosts)
}

/// The usual folder that has a socket for that port; the first that is there at all when none has.
fn usual_folder(port: u16) -> PathBuf {
    let folders = SOCKET_FOLDERS.map(PathBuf::from);
    let with_socket = folders.iter().find(|folder| folder.join(format!(".s.PGSQL.{port}")).exists());
    with_socket.or_else(|| folders.iter().find(|folder| folder.is_dir())).unwrap_or(&folders[0]).clone()
}

fn tls(parameters: &Parameters, around: &Surroundings<'_>) -> Result<Tls> {
    let mode = match parameters.get("sslmode") {
        Some("disable") => SslMode::Disable,
        None | Some("allow" | "prefer") => SslMode::Prefer,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(_) => {
            return Err(odd("sslmode", "set it to disable, prefer, require, verify-ca or verify-full"));
        }
    };
    let usual = |name: &str| {
        let path = around.home.as_ref()?.join(".postgresql").join(name);
        path.is_file().then_some(path)
    };
    let named = |keyword: &str| parameters.get(keyword).map(|path| around.root.join(path));
    let authorities = match parameters.get("sslrootcert") {
        Some("system") => None,
        _ => named("sslrootcert").or_else(|| usual("root.crt")),
    };
    let own =
        named("sslcert").or_else(|| usual("postgresql.crt")).zip(named("sslkey").or_else(|| usual("postgresql.key")));
    // With authorities at hand, `require` looks at the certificate, as it does in libpq.
    let mode = if mode == SslMode::Require && authorities.is_some() { SslMode::VerifyCa } else { mode };
    // libpq: with `system`, anything less than the name proves nothing.
    let mode = match parameters.get("sslrootcert") {
        Some("system") if mode > SslMode::Disable => SslMode::VerifyFull,
        _ => mode,
    };
    Ok(Tls { mode, authorities, own })
}

/// [`Place::find`] in the surroundings of this process: its environment and the `.env` of `root`.
pub(super) fn find(url: &str, password: Option<&str>, root: &Path) -> Result<Place> {
    let url = reference::resolve(url, root)?;
    let password = password.map(|text| reference::resolve(text, root)).transpose()?;
    let variable = |name: &str| {
        let found = reference::resolve(&format!("env:{name}"), root).ok();
        found.map(|value| value.reveal().to_owned())
    };
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let around = Surroundings { variable: &variable, home, user: own_name(), root };
    Place::find(url.reveal(), password.as_ref().map(Secret::reveal), &around)
}

/// The name of the user that this process runs as.
fn own_name() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.or_else(|| std::env::var("USER").ok()).unwrap_or(uid)
}
