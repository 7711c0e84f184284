//! The PostgreSQL store: a database of a server, 13 to 18, here or elsewhere.
//!
//! ```toml
//! [[store]]
//! name = "main"
//! kind = "postgres"
//! url = "env:DATABASE_URL"         # a URL or keyword=value pairs; what it leaves out is looked up as psql does
//! # password = "env:DB_PASSWORD"   # goes before that of the url, PGPASSWORD and ~/.pgpass
//! # statement_timeout_seconds = 10 # how long the server may take for one question
//! # programs = "/usr/lib/postgresql/16/bin"   # the folder of pg_dump and pg_restore; found by itself where packages put it
//! # backup = "logical"             # or "physical": the files of the whole cluster, which can be followed
//! # role_passwords = false         # whether backups have the (hashed) passwords of roles; only superusers may read them
//! ```
//!
//! # How a server is found
//!
//! As libpq finds it, so that whatever works with `psql` works here: the url (`postgres://`, also `postgresql+asyncpg://`, or
//! `host=… dbname=…`), then the section of `pg_service.conf` that `service=` or `PGSERVICE` names, then the `PG*` variables of the
//! environment and of `.env`, then the defaults: the socket in `/run/postgresql`, and the user that we run as. The password
//! comes from the settings, from `PGPASSWORD`, or from `~/.pgpass` (`PGPASSFILE`), which is read only while nobody else can read
//! it. Several hosts are tried in turn. All of it is looked up anew for each connection, and nothing is kept.
//!
//! `sslmode` means what it means there: `prefer` unless it is said, `require` hides and trusts anybody, `verify-ca` and
//! `verify-full` want a certificate that `sslrootcert` or, without one, an authority of the system signed.
//!
//! # What a backup has of it
//!
//! `<name>.pgdump` in the root of the snapshot, an archive of `pg_dump` (see `dump`), which `pg_restore` reads; beside it
//! `<name>.globals.sql` with roles, tablespaces and settings, from `pg_dumpall --globals-only`. Roles are without their passwords
//! unless `role_passwords = true`. `pg_dump` of the server's version or a newer one is looked for in `programs`, below
//! `/usr/lib/postgresql`, and in `PATH`.
//!
//! With `backup = "physical"` it has the whole cluster instead (see `physical`): `<name>.base.tar`, `<name>.wal.tar` and
//! `<name>.manifest.json`, from `pg_basebackup`. Such a store can be followed: its log is received as it is written
//! (`pg_receivewal`, a slot of its own), and a copy is brought to any moment of it. That takes a user with `REPLICATION`,
//! and `pg_monitor`.
//!
//! # What it needs
//!
//! A user that may connect. `GRANT pg_monitor TO …` shows it every number; what it may not see is named in `missing`, with the
//! grant. It asks in transactions that can change nothing, under a `statement_timeout`, with nothing prepared, so that it works
//! through PgBouncer, too. In `pg_stat_activity` it is `uplifted-ops`.

mod archive;
mod check;
mod compare;
mod conninfo;
mod dump;
mod files;
pub(crate) mod numbers;
mod physical;
mod place;
mod programs;
mod restore;
mod session;
mod stats;
mod swap;
#[cfg(test)]
mod tests;
mod trouble;
mod trust;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::place::Place;
use self::programs::Programs;
pub(crate) use self::session::Session;
use super::follow::{FollowRequest, Follower, Increments, Reached, Until};
use super::swap::{SwapReport, SwapRequest};
use super::{
    CheckDepth, CopyFacts, Inspection, IntegrityReport, MaintenanceOutcome, MaintenanceTask, QueryAnswer,
    RestoredDatabase, Store, StoreCapability, StoreSnapshot, StoreStats, TableCount,
};
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::component::{BuildContext, Kind, Placement};
use crate::config::reference;
use crate::error::{Error, ErrorKind, Result};

/// The kind `postgres`.
pub const KIND: Kind<dyn Store> = Kind {
    name: "postgres",
    summary: "a database of a PostgreSQL server, 13 to 18",
    placement: Placement::Anywhere,
    build: |context, settings| Ok(Arc::new(PostgresStore::new(context, context.settings(settings)?)?)),
    detect: None,
};

/// Settings of a store of kind `postgres`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// Where the database is: `postgres://user@host:5432/database`, or pairs such as `host=/run/postgresql dbname=database`. What
    /// it leaves out is looked up as psql does, all of it when it is empty. May be `"env:NAME"`.
    #[serde(default)]
    pub url: String,
    /// The password. Write `"env:NAME"`.
    #[serde(default)]
    pub password: Option<String>,
    /// How long the server may take for one question, in seconds (above 0, at most 3600).
    #[serde(default = "ten")]
    pub statement_timeout_seconds: f64,
    /// The folder of `pg_dump`, `pg_dumpall` and `pg_restore`. Looked for where packages put them unless set.
    #[serde(default)]
    pub programs: Option<PathBuf>,
    /// What a backup has of it: the database, or the files of its whole cluster, which can be followed.
    #[serde(default)]
    pub backup: PostgresBackup,
    /// Whether a backup has the (hashed) passwords of the server's roles. Only a superuser may read them.
    #[serde(default)]
    pub role_passwords: bool,
}

impl PostgresSettings {
    /// Settings for a database, all else by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password: None,
            statement_timeout_seconds: ten(),
            programs: None,
            backup: PostgresBackup::Logical,
            role_passwords: false,
        }
    }
}

/// What a backup has of a PostgreSQL store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PostgresBackup {
    /// The one database, by `pg_dump`: small, of any version, restored beside the live one.
    #[default]
    Logical,
    /// The files of the whole cluster, by `pg_basebackup`: quick to restore, to any moment of the log, by the same version alone.
    Physical,
}

fn ten() -> f64 {
    10.0
}

impl std::fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSettings").field("url", &crate::config::redact::text(&self.url)).finish_non_exhaustive()
    }
}

/// Where a server is, and how it is asked: what the store and the check have in common. Holds no connection.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    settings: PostgresSettings,
    root: PathBuf,
    statement_timeout: Duration,
}

impl Server {
    /// A server as the settings describe it. Looks nothing up yet; relative paths, and `.env`, are in `root`.
    ///
    /// # Errors
    /// When a number is out of its range, or a url that stands in the settings is none.
    pub(crate) fn new(mut settings: PostgresSettings, root: &Path) -> Result<Self> {
        settings.programs = settings.programs.map(|folder| root.join(folder));
        let seconds = settings.statement_timeout_seconds;
        if !(seconds > 0.0 && seconds <= 3600.0) {
            return Err(Error::invalid(format!("statement_timeout_seconds is {seconds}"))
                .with_hint("set statement_timeout_seconds to more than 0 and at most 3600"));
        }
        if reference::name_in(&settings.url).is_none() {
            conninfo::Parameters::parse(&settings.url)?;
        }
        Ok(Self { settings, root: root.to_owned(), statement_timeout: Duration::from_secs_f64(seconds) })
    }

    /// Looks up where the server is.
    ///
    /// # Errors
    /// As the module says it is looked up.
    fn place(&self) -> Result<Place> {
        place::find(&self.settings.url, self.settings.password.as_deref(), &self.root)
    }

    /// Connects.
    ///
    /// # Errors
    /// Why that is not possible, with the repair, and without any password.
    pub(crate) async fn connect(&self, scope: &Scope) -> Result<Session> {
        Session::open(scope, &self.place()?, self.statement_timeout).await
    }

    /// What the server says about itself.
    ///
    /// # Errors
    /// As [`Server::connect`]; also what the server says.
    pub(crate) async fn numbers(&self, scope: &Scope) -> Result<numbers::Numbers> {
        let asked = async { numbers::read(&self.connect(scope).await?).await };
        tokio::select! {
            biased;
            () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
            numbers = asked => numbers,
        }
    }
}

/// A database of a PostgreSQL server. Holds no connection: each call opens its own.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    name: String,
    service: String,
    server: Server,
    /// The folder in which it is remembered what was restored and swapped.
    state: PathBuf,
}

impl PostgresStore {
    /// Makes the store; connects to nothing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when a setting is out of its range, or the url is none.
    pub fn new(context: &BuildContext, settings: PostgresSettings) -> Result<Self> {
        let server = Server::new(settings, &context.root);
        let server = server.map_err(|error| error.while_doing(format!("settings of {:?}", context.name)))?;
        Ok(Self { name: context.name.clone(), service: context.service.clone(), server, state: context.state.clone() })
    }

    fn is_physical(&self) -> bool {
        self.server.settings.backup == PostgresBackup::Physical
    }

    /// What the archive is called in a snapshot.
    fn archive_name(&self) -> String {
        format!("{}.{}", self.file_stem(), archive::SUFFIX)
    }

    /// What the file of roles and settings is called.
    fn globals_name(&self) -> String {
        format!("{}.globals.sql", self.file_stem())
    }

    /// The store's name, as far as it can be one of a file.
    fn file_stem(&self) -> String {
        let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
        self.name.chars().map(plain).collect()
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn capability(&self) -> StoreCapability {
        StoreCapability {
            kind: KIND.name.to_owned(),
            file: None,
            copy_files: match self.is_physical() {
                true => physical::names(self).map(PathBuf::from).to_vec(),
                false => vec![self.archive_name().into(), self.globals_name().into()],
            },
            side_files: Vec::new(),
            maintenance: Vec::new(),
        }
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        let numbers = self.server.numbers(scope).await.map_err(|error| error.with_context("store", &self.name))?;
        stats::of(&numbers)
    }

    async fn verify(&self, scope: &Scope, depth: CheckDepth) -> Result<IntegrityReport> {
        check::live(self, scope, depth).await.map_err(|error| error.with_context("store", &self.name))
    }

    async fn snapshot_to(&self, scope: &Scope, dir: &Path) -> Result<StoreSnapshot> {
        match self.is_physical() {
            true => physical::take(self, scope, dir).await,
            false => dump::take(self, scope, dir).await,
        }
    }

    async fn check_copy(&self, scope: &Scope, dir: &Path, depth: CheckDepth) -> Result<IntegrityReport> {
        let cluster = physical::cluster_in(self, dir);
        if cluster.is_dir() {
            return physical::check_cluster(self, scope, &cluster, depth).await;
        }
        // What the copy is decides, not what the settings say by now.
        if dir.join(&physical::names(self)[0]).is_file() {
            return physical::check_copy(self, scope, dir, depth).await;
        }
        let file = dump::archive_in(self, dir)?;
        let programs = Programs::newest(scope, self.server.settings.programs.as_deref()).await?;
        let listed = archive::list(scope, &programs, &file).await?;
        let wrong = match (listed, depth) {
            (Err(why), _) => Some(why),
            (Ok(_), CheckDepth::Quick) => None,
            (Ok(_), CheckDepth::Full) => archive::read(scope, &programs, &file).await?.err(),
        };
        Ok(IntegrityReport { ok: wrong.is_none(), problems: wrong.into_iter().collect() })
    }

    async fn inspect_copy(&self, scope: &Scope, dir: &Path, inspection: &Inspection) -> Result<CopyFacts> {
        let mut facts = CopyFacts::default();
        if inspection.rows
            && !dir.join(&physical::names(self)[0]).is_file()
            && !physical::cluster_in(self, dir).is_dir()
        {
            let file = dump::archive_in(self, dir)?;
            let programs = Programs::newest(scope, self.server.settings.programs.as_deref()).await?;
            let data = archive::read(scope, &programs, &file).await?.map_err(|why| {
                Error::new(ErrorKind::Corrupt, format!("the archive {file:?} cannot be read to its end: {why}"))
                    .with_hint("use another snapshot")
            })?;
            facts.rows = data.rows.into_iter().map(|(table, rows)| TableCount { table, rows }).collect();
        }
        let unasked = "an archive takes no queries: restore it, and ask the database";
        let answer = |_: &String| QueryAnswer { holds: false, message: unasked.to_owned() };
        facts.answers = inspection.queries.iter().map(answer).collect();
        Ok(facts)
    }

    async fn restore_from(&self, _: &Scope, _: &Path) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "a live PostgreSQL database is never replaced in place")
            .with_hint(
                "`uplifted-ops restore database` makes a new one beside it, and `restore swap` lets it take the name",
            )
            .with_context("store", &self.name))
    }

    async fn restore_as(&self, scope: &Scope, dir: &Path, name: &str) -> Result<RestoredDatabase> {
        let restored = async {
            if !dir.join(&physical::names(self)[0]).is_file() && !physical::cluster_in(self, dir).is_dir() {
                return restore::into_new(self, scope, dir, name).await;
            }
            // Before the long way is gone.
            restore::refuse_early(self, scope, name).await?;
            let dumped = physical::dump_of(self, scope, dir).await?;
            restore::into_new(self, scope, dumped.path(), name).await
        };
        restored.await.map_err(|error| error.with_context("store", &self.name))
    }

    async fn follow(&self, scope: &Scope, request: FollowRequest) -> Result<Box<dyn Follower>> {
        if !self.is_physical() {
            return Err(Error::new(ErrorKind::Unsupported, "a database whose backups are logical cannot be followed")
                .with_hint("set backup = \"physical\" for this store: its log belongs to copies of the whole cluster")
                .with_context("store", &self.name));
        }
        physical::begin(self, scope, request).await.map_err(|error| error.with_context("store", &self.name))
    }

    async fn roll_forward(
        &self,
        scope: &Scope,
        dir: &Path,
        taken_at: Timestamp,
        increments: &mut dyn Increments,
        until: &Until,
    ) -> Result<Reached> {
        let reached = physical::roll_forward(self, scope, dir, taken_at, increments, until).await;
        reached.map_err(|error| error.with_context("store", &self.name))
    }

    async fn swap(&self, scope: &Scope, request: &SwapRequest) -> Result<SwapReport> {
        swap::run(self, scope, request).await.map_err(|error| error.with_context("store", &self.name))
    }

    async fn maintain(&self, scope: &Scope, tasks: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
        // Of a database that is not there nobody says that it is taken care of.
        self.server.connect(scope).await.map_err(|error| error.with_context("store", &self.name))?.close().await;
        let skipped = |task: &MaintenanceTask| MaintenanceOutcome {
            task: *task,
            done: false,
            message: "autovacuum does that on a PostgreSQL server".to_owned(),
        };
        Ok(tasks.iter().map(skipped).collect())
    }
}
