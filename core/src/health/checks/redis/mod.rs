//! `redis`: does Redis answer, keep what it is given, follow its primary, and have memory left.
//!
//! ```toml
//! [[check]]
//! name = "redis"
//! kind = "redis"
//! url = "redis://127.0.0.1:6379"     # rediss:// with TLS (feature `tls`), unix:///run/redis.sock; user:password@ before the host
//! password = "env:REDIS_PASSWORD"    # wins over that of the url; so does user
//! ca_file = "config/ca.pem"          # trusted beside the authorities of the system
//! timeout_seconds = 3                # the default, for each step
//! warn_memory_ratio = 0.85           # of maxmemory, where nothing is evicted; the defaults
//! fail_memory_ratio = 0.97
//! max_save_age_seconds = 3600        # warn when changes are older than this and not saved; off unless set
//! max_lag_seconds = 30               # warn when a replica has heard nothing for longer; the default
//! replicas = 1                       # warn when fewer follow; off unless set
//! ```
//!
//! One connection each time: `AUTH`, `PING`, `INFO`. It fails while the data set is loaded, when the last save failed (Redis then
//! refuses to write, `stop-writes-on-bgsave-error`) or the append-only file cannot be written, and when a replica has lost its
//! primary. Memory counts where `maxmemory-policy` is `noeviction`: past it every write is an error, while a cache is full as a
//! matter of course. The number is the time that `PING` took.
//!
//! Source: the commands `AUTH`, `PING`, `INFO` and the page "Redis persistence" of <https://redis.io/docs>.

mod address;
mod wire;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::address::{Address, Place};
use self::wire::{Reply, Wire};
use super::{ratio, seconds};
use crate::cancel::Scope;
use crate::clock::Clock;
use crate::component::{BuildContext, Kind, Placement};
use crate::config::reference;
use crate::error::{Error, ErrorKind, Result};
use crate::health::{Blocking, CheckOutcome, CheckStatus, HealthCheck};
use crate::value::{ByteSize, Secret};

/// The kind, for the registry.
pub const KIND: Kind<dyn HealthCheck> = Kind {
    name: "redis",
    summary: "Redis answers, saves, follows its primary, and has memory left",
    placement: Placement::Anywhere,
    build: |context, settings| Ok(Arc::new(RedisCheck::of(context, settings)?)),
    detect: None,
};

/// Settings of [`RedisCheck`].
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://127.0.0.1:6379`, `rediss://…` with TLS, `unix:///run/redis.sock`. May be `"env:NAME"`.
    pub url: String,
    /// The user of the access control list.
    #[serde(default)]
    pub user: Option<String>,
    /// The password. Write `"env:NAME"`.
    #[serde(default)]
    pub password: Option<String>,
    /// A file of certificates that are trusted beside the authorities of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long connecting may take, and each answer, in seconds.
    #[serde(default = "three")]
    pub timeout_seconds: f64,
    /// Warn past this share of `maxmemory`, where nothing is evicted.
    #[serde(default = "warn_memory")]
    pub warn_memory_ratio: f64,
    /// Fail past this share.
    #[serde(default = "fail_memory")]
    pub fail_memory_ratio: f64,
    /// Warn when changes are older than this and not saved, in seconds.
    #[serde(default)]
    pub max_save_age_seconds: Option<f64>,
    /// Warn when a replica has heard nothing of its primary for longer, in seconds.
    #[serde(default = "half_a_minute")]
    pub max_lag_seconds: f64,
    /// Warn when a primary has fewer replicas.
    #[serde(default)]
    pub replicas: Option<u64>,
}

fn three() -> f64 {
    3.0
}

fn warn_memory() -> f64 {
    0.85
}

fn fail_memory() -> f64 {
    0.97
}

fn half_a_minute() -> f64 {
    30.0
}

impl RedisSettings {
    /// Settings for a server, all else by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: None,
            ca_file: None,
            timeout_seconds: three(),
            warn_memory_ratio: warn_memory(),
            fail_memory_ratio: fail_memory(),
            max_save_age_seconds: None,
            max_lag_seconds: half_a_minute(),
            replicas: None,
        }
    }
}

impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSettings").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

/// Asks Redis how it is.
#[derive(Debug)]
pub struct RedisCheck {
    address: Address,
    settings: RedisSettings,
    timeout: Duration,
    asking: Blocking,
}

impl RedisCheck {
    /// A check as a `[[check]]` describes it, with its references followed.
    pub(crate) fn of(context: &BuildContext, settings: &Map<String, Value>) -> Result<Self> {
        let mut settings: RedisSettings = context.settings(settings)?;
        settings.ca_file = settings.ca_file.map(|path| context.resolve(&path));
        let look_up = |text: &String| reference::resolve(text, &context.root).map(|secret| secret.reveal().to_owned());
        settings.url = look_up(&settings.url)?;
        settings.password = settings.password.as_ref().map(look_up).transpose()?;
        Self::new(settings)
    }

    /// A check as the settings describe it. Connects to nothing yet.
    ///
    /// # Errors
    /// When the url is none, a number is out of range, or the url wants TLS and this build has none.
    pub fn new(settings: RedisSettings) -> Result<Self> {
        let mut address = Address::parse(&settings.url)?;
        if matches!(address.place, Place::Tcp { tls: true, .. }) && !cfg!(feature = "tls") {
            return Err(Error::new(ErrorKind::Unsupported, "this build has no TLS for rediss://")
                .with_hint("use a build with the feature `tls`"));
        }
        address.user = settings.user.clone().or(address.user);
        address.password = settings.password.clone().map(Secret::new).or(address.password);
        ratio("warn_memory_ratio", settings.warn_memory_ratio)?;
        ratio("fail_memory_ratio", settings.fail_memory_ratio)?;
        let timeout = seconds("timeout_seconds", settings.timeout_seconds)?;
        Ok(Self { address, settings, timeout, asking: Blocking::default() })
    }
}

/// What a server said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// How long `PING` took.
    pub(crate) ping: Duration,
    /// The fields of `INFO`.
    pub(crate) info: BTreeMap<String, String>,
}

#[async_trait]
impl HealthCheck for RedisCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        let (answered, shown) = (self.question(scope).await?, self.address.shown());
        let answer = match answered {
            Ok(answer) => answer,
            Err(why) => return Ok(CheckOutcome::new(CheckStatus::Fail, format!("{shown} {why}"))),
        };
        let (status, told) = self.judge(&answer.info, scope.clock.now().as_second());
        let ping = answer.ping.as_secs_f64();
        let message = match status {
            CheckStatus::Pass => format!("{shown} answers in {:.1} ms", ping * 1000.0),
            _ => format!("{shown} {}", told.join("; ")),
        };
        Ok(CheckOutcome::new(status, message).observing(ping, "seconds"))
    }
}

impl RedisCheck {
    /// What the server says, or why it says nothing.
    ///
    /// # Errors
    /// When the last question still hangs.
    pub(crate) async fn question(&self, scope: &Scope) -> Result<std::result::Result<Answer, String>> {
        let (address, settings, timeout) = (self.address.clone(), self.settings.clone(), self.timeout);
        let clock = Arc::clone(&scope.clock);
        let call = move || Ok(ask(&address, &settings, timeout, clock.as_ref()));
        // Each step has its bound; a resolver that is silent, and a server that trickles, have this.
        match tokio::time::timeout(self.timeout * 5, self.asking.run(scope, call)).await {
            Ok(answered) => answered,
            Err(_) => Ok(Err(format!("did not answer within {} s", self.timeout.as_secs_f64()))),
        }
    }

    /// What is not well in `INFO`, and how bad that is.
    fn judge(&self, info: &BTreeMap<String, String>, now: i64) -> (CheckStatus, Vec<String>) {
        use CheckStatus::{Fail, Warn};
        let text = |name: &str| info.get(name).map_or("", String::as_str);
        let number = |name: &str| text(name).parse::<f64>().ok();
        let mut found: Vec<(CheckStatus, String)> = Vec::new();
        if text("loading") == "1" {
            found.push((Fail, "loads its data set: wait until it is there".to_owned()));
        }
        if text("rdb_last_bgsave_status") == "err" {
            found.push((
                Fail,
                "could not save the last time, and refuses to write: look at its log and its disk".to_owned(),
            ));
        }
        if text("aof_enabled") == "1" && text("aof_last_write_status") == "err" {
            found.push((Fail, "cannot write its append-only file: look at its disk".to_owned()));
        }
        if text("aof_enabled") == "1" && text("aof_last_bgrewrite_status") == "err" {
            found.push((Warn, "could not rewrite its append-only file: look at its log".to_owned()));
        }
        let unsaved = number("rdb_changes_since_last_save").filter(|changes| *changes > 0.0);
        if let (Some(most), Some(changes), Some(saved)) =
            (self.settings.max_save_age_seconds, unsaved, number("rdb_last_save_time"))
        {
            let age = now as f64 - saved;
            if age > most {
                found.push((
                    Warn,
                    format!(
                        "has {changes} changes that are not saved, the last save was {age:.0} s ago: look at `save`"
                    ),
                ));
            }
        }
        if text("role") == "slave" {
            let primary = format!("{}:{}", text("master_host"), text("master_port"));
            let silent =
                number("master_last_io_seconds_ago").filter(|seconds| *seconds > self.settings.max_lag_seconds);
            match (text("master_link_status"), silent) {
                ("up", None) => {}
                ("up", Some(seconds)) => {
                    found.push((Warn, format!("has heard nothing of its primary {primary} for {seconds} s")))
                }
                _ => {
                    let since = number("master_link_down_since_seconds").filter(|seconds| *seconds >= 0.0);
                    let since = since.map_or_else(String::new, |seconds| format!(" for {seconds} s"));
                    found.push((
                        Fail,
                        format!("has lost its primary {primary}{since}: look whether that lives and lets it in"),
                    ));
                }
            }
        } else if let (Some(wanted), Some(there)) = (self.settings.replicas, number("connected_slaves"))
            && there < wanted as f64
        {
            found.push((Warn, format!("has {there} replicas of {wanted}")));
        }
        let (used, most) = (number("used_memory").unwrap_or(0.0), number("maxmemory").unwrap_or(0.0));
        if most > 0.0 && text("maxmemory_policy") == "noeviction" {
            let share = used / most;
            let status = super::level(share, self.settings.warn_memory_ratio, self.settings.fail_memory_ratio);
            if status != CheckStatus::Pass {
                let (used, most) = (ByteSize(used as u64), ByteSize(most as u64));
                found.push((
                    status,
                    format!(
                        "uses {used} of {most} ({:.0} %), past which every write is refused: raise maxmemory",
                        share * 100.0
                    ),
                ));
            }
        }
        let status = found.iter().map(|(status, _)| *status).max().unwrap_or(CheckStatus::Pass);
        (status, found.into_iter().map(|(_, told)| told).collect())
    }
}

/// Connects and asks; or why that did not go well.
fn ask(
    address: &Address,
    settings: &RedisSettings,
    timeout: Duration,
    clock: &dyn Clock,
) -> std::result::Result<Answer, String> {
    let no_answer = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => "does not answer: connection refused".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("did not answer within {} s", timeout.as_secs_f64())
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "hung up: does it want TLS (rediss://), or has it too many clients?".to_owned()
        }
        _ => format!("cannot be asked: {error}"),
    };
    let (host, port, tls) = match &address.place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).map_err(no_answer)?;
            stream.set_read_timeout(Some(timeout)).map_err(no_answer)?;
            stream.set_write_timeout(Some(timeout)).map_err(no_answer)?;
            return converse(stream, address, clock, no_answer);
        }
        Place::Tcp { host, port, tls } => (host.as_str(), *port, *tls),
    };
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("cannot be resolved: {error}"))?;
    let mut stream = Err("has no address".to_owned());
    for address in addresses {
        stream = TcpStream::connect_timeout(&address, timeout).map_err(no_answer);
        if stream.is_ok() {
            break;
        }
    }
    let stream = stream?;
    stream.set_nodelay(true).map_err(no_answer)?;
    stream.set_read_timeout(Some(timeout)).map_err(no_answer)?;
    stream.set_write_timeout(Some(timeout)).map_err(no_answer)?;
    match tls {
        false => converse(stream, address, clock, no_answer),
        true => converse(secured(stream, host, settings)?, address, clock, no_answer),
    }
}

#[cfg(feature = "tls")]
fn secured(
    stream: TcpStream,
    host: &str,
    settings: &RedisSettings,
) -> std::result::Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>, String> {
    let config =
        crate::tls::client(true, settings.ca_file.as_deref()).map_err(|error| format!("cannot be asked: {error}"))?;
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())
        .map_err(|error| format!("cannot be asked: {error}"))?;
    let connection =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(|error| format!("cannot be asked: {error}"))?;
    Ok(rustls::StreamOwned::new(connection, stream))
}

/// Refused when the check was made.
#[cfg(not(feature = "tls"))]
fn secured(_: TcpStream, _: &str, _: &RedisSettings) -> std::result::Result<TcpStream, String> {
    Err("cannot be asked: this build has no TLS".to_owned())
}

fn converse(
    stream: impl Read + Write,
    address: &Address,
    clock: &dyn Clock,
    no_answer: impl Fn(io::Error) -> String,
) -> std::result::Result<Answer, String> {
    let mut wire = Wire::new(stream);
    let mut ask = |command: &[&str]| match wire.ask(command).map_err(&no_answer)? {
        Reply::Text(text) => Ok(text.unwrap_or_default()),
        Reply::Refused(why) => Err(refused(&why)),
    };
    if let Some(password) = &address.password {
        match &address.user {
            Some(user) => ask(&["AUTH", user, password.reveal()])?,
            None => ask(&["AUTH", password.reveal()])?,
        };
    }
    let began = clock.monotonic();
    let pong = match ask(&["PING"]) {
        // It says no more than that while it loads, and INFO says how far it is.
        Err(why) if why.contains("LOADING") => "PONG".to_owned(),
        other => other?,
    };
    let ping = clock.monotonic().saturating_sub(began);
    if pong != "PONG" {
        return Err("answers PING with something else: it is no Redis".to_owned());
    }
    let info = ask(&["INFO"])?;
    let pairs = info.lines().filter_map(|line| line.split_once(':'));
    Ok(Answer { ping, info: pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect() })
}

/// What a refusal means. What Redis says holds no password.
fn refused(why: &str) -> String {
    let word = why.split(' ').next().unwrap_or_default();
    match word {
        "NOAUTH" => "wants a password: set password = \"env:NAME\"".to_owned(),
        "WRONGPASS" => "does not take that user and password".to_owned(),
        "NOPERM" => "does not let that user ask PING and INFO: grant +ping +info".to_owned(),
        "ERR" if why.contains("AUTH") => format!("takes no password: {why}"),
        "DENIED" => "is in protected mode, and lets nobody in from another machine: set a password there".to_owned(),
        _ => format!("refuses: {why}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
