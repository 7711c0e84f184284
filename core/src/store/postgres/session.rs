//! One connection to a server, and questions to it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Connection, NoTls, SimpleQueryMessage, config};

use super::place::{Host, Place, SslMode, Wanted};
use super::trouble;
use super::trust::Connector;
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};

/// What servers see as our name, in `pg_stat_activity` and in their log.
pub(super) const APPLICATION: &str = "uplifted-ops";
/// The oldest server that is understood. PostgreSQL's own support of 12 has ended.
const OLDEST: u32 = 13;
/// What a server may be late by beyond the time that it measures itself.
const SLACK: Duration = Duration::from_secs(2);

/// An open connection. It ends when this is dropped.
pub(crate) struct Session {
    client: Client,
    carrier: Carrier,
    host: Host,
    version: u32,
    statement_timeout: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("host", &self.host).field("version", &self.version).finish_non_exhaustive()
    }
}

/// The task that carries a connection. It ends with this, whatever it waits for: the server sees the connection end, and what
/// it still does is bounded by its own `statement_timeout`.
struct Carrier(JoinHandle<()>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Connects to the first server of `place` that lets us in and is what is wanted.
    ///
    /// # Errors
    /// Why none did, with the repair, see `trouble`.
    pub(super) async fn open(scope: &Scope, place: &Place, statement_timeout: Duration) -> Result<Self> {
        scope.cancel.check()?;
        tokio::select! {
            biased;
            () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
            opened = Self::first(place, statement_timeout) => opened,
        }
    }

    async fn first(place: &Place, statement_timeout: Duration) -> Result<Self> {
        let mut failed: Option<Error> = None;
        for host in &place.hosts {
            let late = || trouble::too_late(host, place.connect_timeout.as_secs_f64());
            let opened = tokio::time::timeout(place.connect_timeout, Self::to(place, host, statement_timeout)).await;
            let error = match opened.unwrap_or_else(|_| Err(late())) {
                Ok(session) => match session.fits(place.wanted).await {
                    Ok(()) => return Ok(session),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !trouble::is_worth_another(&error) {
                return Err(error);
            }
            failed = Some(match failed {
                None => error,
                Some(first) => first.with_context(host.to_string(), error.message()),
            });
        }
        Err(failed.unwrap_or_else(|| Error::internal("PostgreSQL has no host")))
    }

    async fn to(place: &Place, host: &Host, statement_timeout: Duration) -> Result<Self> {
        let (password, passfile) = place.password(host);
        let mut config = Config::new();
        config.user(&place.user).dbname(&place.database).application_name(APPLICATION);
        if let Some(password) = &password {
            config.password(password.reveal());
        }
        if let Some(options) = &place.options {
            config.options(options);
        }
        let opened = match host {
            Host::Socket { folder, port } => {
                let stream = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await;
                let stream = stream.map_err(|error| trouble::of_the_way(host, error))?;
                config.ssl_mode(config::SslMode::Disable);
                config.connect_raw(stream, NoTls).await.map(|(client, connection)| carried(client, connection))
            }
            Host::Tcp { name, address, port } => {
                let tls = Connector::new(&place.tls, name)?;
                config.ssl_mode(match place.tls.mode {
                    SslMode::Disable => config::SslMode::Disable,
                    SslMode::Prefer => config::SslMode::Prefer,
                    SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => config::SslMode::Require,
                });
                let addresses = addresses(host, name, *address, *port).await?;
                let opened = match tls {
                    None => over_tcp(&config, &addresses, NoTls, host).await?,
                    Some(tls) => over_tcp(&config, &addresses, tls, host).await?,
                };
                match opened {
                    Err(error) if place.tls.mode == SslMode::Prefer && trouble::is_of_tls(&error) => {
                        config.ssl_mode(config::SslMode::Disable);
                        over_tcp(&config, &addresses, NoTls, host).await?
                    }
                    opened => opened,
                }
            }
        };
        let (client, carrier, version) = opened.map_err(|error| trouble::of_the_login(place, host, error, passfile))?;
        let session = Self { client, carrier: Carrier(carrier), host: host.clone(), version, statement_timeout };
        if version < OLDEST {
            return Err(Error::new(ErrorKind::Unsupported, format!("the server at {host} is PostgreSQL {version}"))
                .with_hint(format!("upgrade it: {OLDEST} is the oldest that is supported here")));
        }
        Ok(session)
    }

    /// Says good-bye, and returns when the connection has ended: nobody is in the way of what others do with the database.
    pub(super) async fn close(self) {
        let Self { client, mut carrier, .. } = self;
        drop(client);
        let _ = tokio::time::timeout(SLACK, &mut carrier.0).await;
    }

    /// Whether the server is what `target_session_attrs` asks for.
    async fn fits(&self, wanted: Wanted) -> Result<()> {
        if wanted == Wanted::Any {
            return Ok(());
        }
        let asked = "SELECT pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') = 'on' AS read_only";
        #[derive(serde::Deserialize)]
        struct Role {
            standby: bool,
            read_only: bool,
        }
        let role: Role = self.ask_one("ask a server for its role", asked).await?;
        let read_only = role.standby || role.read_only;
        let (fits, word) = match wanted {
            Wanted::Any => (true, ""),
            Wanted::ReadWrite => (!read_only, "writable"),
            Wanted::ReadOnly => (read_only, "read-only"),
            Wanted::Primary => (!role.standby, "the primary"),
            Wanted::Standby => (role.standby, "a standby"),
        };
        if fits {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, format!("PostgreSQL at {} is not {word}", self.host))
            .with_hint("name the other servers as well, host=a,b, or change target_session_attrs"))
    }

    /// The server's major version: 15.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// The rows of a SELECT, each as an object of its columns. It can change nothing, and ends by its own deadline, also behind
    /// a pooler that gives each transaction another server: nothing is prepared, and nothing is set but for this question.
    ///
    /// # Errors
    /// What the server says, see `trouble`. `doing` completes "could not …".
    pub(super) async fn ask<T: DeserializeOwned>(&self, doing: &str, select: &str) -> Result<Vec<T>> {
        let before = format!(
            "SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = {};",
            self.statement_timeout.as_millis().max(1)
        );
        let asked = tokio::time::timeout(self.statement_timeout + SLACK, self.rows(doing, &before, select));
        asked.await.map_err(|_| {
            Error::new(ErrorKind::Timeout, format!("could not {doing}: PostgreSQL at {} does not answer", self.host))
                .with_hint("look whether the server hangs and whether the network is there")
        })?
    }

    /// The rows of a SELECT in the transaction that is open, however long it takes.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub(super) async fn ask_within<T: DeserializeOwned>(&self, doing: &str, select: &str) -> Result<Vec<T>> {
        self.rows(doing, "", select).await
    }

    /// The one row of a SELECT in the transaction that is open.
    ///
    /// # Errors
    /// As [`Session::ask_one`].
    pub(super) async fn one_within<T: DeserializeOwned>(&self, doing: &str, select: &str) -> Result<T> {
        only(doing, self.ask_within(doing, select).await?)
    }

    /// Runs statements that return nothing, however long they take.
    ///
    /// # Errors
    /// What the server says.
    pub(super) async fn run(&self, doing: &str, statements: &str) -> Result<()> {
        self.client.batch_execute(statements).await.map_err(|error| trouble::of_a_question(doing, error))
    }

    /// Where the server is.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    async fn rows<T: DeserializeOwned>(&self, doing: &str, before: &str, select: &str) -> Result<Vec<T>> {
        let sql = format!("{before} SELECT coalesce(json_agg(row_to_json(it)), '[]')::text FROM ({select}) it");
        let answer = self.client.simple_query(&sql).await.map_err(|error| trouble::of_a_question(doing, error))?;
        let text = answer.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        serde_json::from_str(text.unwrap_or("[]")).map_err(|error| {
            Error::internal(format!("could not {doing}: PostgreSQL's answer was not expected: {error}"))
        })
    }

    /// The one row of a SELECT.
    ///
    /// # Errors
    /// As [`Session::ask`]; also when there is no row.
    pub(super) async fn ask_one<T: DeserializeOwned>(&self, doing: &str, select: &str) -> Result<T> {
        only(doing, self.ask(doing, select).await?)
    }
}

fn only<T>(doing: &str, rows: Vec<T>) -> Result<T> {
    let row = rows.into_iter().next();
    row.ok_or_else(|| Error::internal(format!("could not {doing}: PostgreSQL's answer has no row")))
}

/// Carries a connection on a task of its own.
fn carried<S, T>(client: Client, connection: Connection<S, T>) -> (Client, JoinHandle<()>, u32)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let version = connection.parameter("server_version").map_or(0, major);
    // How it ends is seen by whoever asks: its question fails.
    let carrier = tokio::spawn(async move { drop(connection.await) });
    (client, carrier, version)
}

/// The major version in `15.18 (Debian 15.18-0+deb12u1)` and `18beta1`.
pub(super) fn major(text: &str) -> u32 {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

async fn addresses(host: &Host, name: &str, address: Option<std::net::IpAddr>, port: u16) -> Result<Vec<SocketAddr>> {
    if let Some(address) = address {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((name, port)).await.map_err(|error| trouble::of_the_way(host, error))?;
    Ok(found.collect())
}

type Opened = std::result::Result<(Client, JoinHandle<()>, u32), tokio_postgres::Error>;

/// Connects to the first address that accepts.
async fn over_tcp<T>(config: &Config, addresses: &[SocketAddr], tls: T, host: &Host) -> Result<Opened>
where
    T: tokio_postgres::tls::TlsConnect<TcpStream>,
    T::Stream: Unpin + Send + 'static,
{
    let mut failed = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                let opened = config.connect_raw(stream, tls).await;
                return Ok(opened.map(|(client, connection)| carried(client, connection)));
            }
            Err(error) => failed = error,
        }
    }
    Err(trouble::of_the_way(host, failed))
}
