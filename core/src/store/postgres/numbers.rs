//! What a server says about itself, in a few short questions that read no user data.
//!
//! A user in `pg_monitor` sees everything. What another one may not see is named in [`Numbers::missing`], never guessed: the
//! number is absent then.
//!
//! Source: chapters 27.2 "The Cumulative Statistics System" and 54 "System Views" of the PostgreSQL manual, 13 to 18.

use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::error::{ErrorKind, Result};

/// Transactions that are left when the server stops to give out new ones (`xidStopLimit` is three million before the end).
const WRAPAROUND: i64 = (1 << 31) - 1 - 3_000_000;

/// Numbers of a server and of the database that we are connected to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    /// `15.18`.
    pub(crate) server_version: String,
    /// Whether it follows another server.
    pub(crate) standby: bool,
    /// When it was started, in seconds since the epoch.
    pub(crate) started_seconds: f64,
    /// Bytes of the database, its indexes and what it keeps beside them.
    #[serde(skip_serializing)]
    pub(crate) size_bytes: u64,
    pub(crate) connections: Connections,
    pub(crate) wal: Wal,
    pub(crate) transactions: Transactions,
    pub(crate) activity: Activity,
    pub(crate) rows: Rows,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) slots: Vec<Slot>,
    /// The servers that follow this one.
    pub(crate) replicas: Vec<Replica>,
    /// How far behind this server is, where it is a standby.
    pub(crate) lag: Option<Lag>,
    /// What could not be seen, and what has to be granted.
    pub(crate) missing: Vec<Missing>,
}

/// Connections of clients to the whole server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Connections {
    pub(crate) used: u64,
    /// `max_connections`.
    pub(crate) max: u64,
    /// Those of `max` that only superusers and `pg_use_reserved_connections` get.
    pub(crate) reserved: u64,
    pub(crate) active: Option<u64>,
    pub(crate) idle: Option<u64>,
    pub(crate) idle_in_transaction: Option<u64>,
    /// Those that wait for a lock.
    pub(crate) waiting: Option<u64>,
}

/// The write-ahead log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wal {
    /// Where it is: `0/3000148`. On a standby what was replayed.
    pub(crate) lsn: Option<String>,
    /// The same as a number, which only grows.
    pub(crate) position_bytes: Option<u64>,
    /// Bytes of the files in `pg_wal`.
    #[serde(skip_serializing)]
    pub(crate) folder_bytes: Option<u64>,
    /// How large they get as a matter of course: `max_wal_size` and `wal_keep_size`.
    pub(crate) target_bytes: u64,
    /// Segments that could not be archived since the statistics were reset. Nothing where none are archived.
    pub(crate) archive_failures: Option<u64>,
    /// How long ago the last segment was archived, in seconds.
    pub(crate) archived_age_seconds: Option<f64>,
}

/// Numbers of transactions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transactions {
    /// How long the oldest one of a client is open, in seconds.
    pub(crate) oldest_seconds: Option<f64>,
    /// Those that were prepared (`PREPARE TRANSACTION`) and wait for a decision.
    pub(crate) prepared: u64,
    /// How long the oldest of them waits, in seconds.
    pub(crate) oldest_prepared_seconds: Option<f64>,
    /// Transactions since the oldest row version that is not frozen, the most of all databases.
    pub(crate) xid_age: i64,
    /// Those that are left until the server refuses to write.
    pub(crate) xid_left: i64,
    /// As `xid_age`, for multixacts.
    pub(crate) multixact_age: i64,
}

/// What this database did since its statistics were reset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Activity {
    pub(crate) commits: u64,
    pub(crate) rollbacks: u64,
    pub(crate) deadlocks: u64,
    pub(crate) conflicts: u64,
    pub(crate) temporary_bytes: u64,
    /// Pages with a wrong checksum. Nothing where the server keeps no checksums.
    pub(crate) checksum_failures: Option<u64>,
    pub(crate) blocks_hit: u64,
    pub(crate) blocks_read: u64,
    /// The share of pages that were found in shared buffers, 0 to 1.
    pub(crate) cache_hit_ratio: Option<f64>,
}

/// Row versions of this database, as the statistics estimate them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rows {
    pub(crate) live: u64,
    pub(crate) dead: u64,
    /// Tables of which more than a fifth is dead, the worst five: vacuum does not keep up, or something holds it back.
    pub(crate) bloated: Vec<String>,
}

/// Checkpoints since the statistics were reset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoints {
    /// Those that `checkpoint_timeout` made.
    pub(crate) timed: u64,
    /// Those that came early: `max_wal_size` is too small for the load, or somebody asked.
    pub(crate) requested: u64,
    /// How long ago the last one was, in seconds.
    pub(crate) age_seconds: Option<f64>,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) name: String,
    /// `physical` or `logical`.
    pub(crate) kind: String,
    /// Whether somebody reads from it.
    pub(crate) active: bool,
    /// Bytes of WAL that the server keeps for it.
    pub(crate) retained_bytes: Option<u64>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub(crate) wal_status: Option<String>,
}

/// A server that follows this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Replica {
    pub(crate) name: String,
    /// `streaming`, `catchup`, `backup`, ….
    pub(crate) state: String,
    /// `async`, `sync`, `quorum`, `potential`.
    pub(crate) sync: String,
    pub(crate) lag_bytes: Option<u64>,
    pub(crate) lag_seconds: Option<f64>,
}

/// How far a standby is behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lag {
    /// Bytes that it has received and not replayed.
    pub(crate) bytes: Option<u64>,
    /// The age of the last transaction that it has replayed, in seconds; 0 when it has replayed all that it has received.
    pub(crate) seconds: Option<f64>,
    /// Whether it receives anything.
    pub(crate) streaming: Option<bool>,
}

/// A number that could not be seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) what: String,
    /// The SQL that would let us.
    pub(crate) grant: String,
}

/// What everybody may ask.
#[derive(Debug, Deserialize)]
struct Basics {
    server_version: String,
    me: String,
    standby: bool,
    started_seconds: f64,
    size_bytes: u64,
    sees_activity: bool,
    max: u64,
    reserved: u64,
    used: u64,
    lsn: Option<String>,
    position_bytes: Option<u64>,
    target_bytes: u64,
    archive_failures: Option<u64>,
    archived_age_seconds: Option<f64>,
    prepared: u64,
    oldest_prepared_seconds: Option<f64>,
    xid_age: i64,
    multixact_age: i64,
    #[serde(flatten)]
    activity: Activity,
    live: u64,
    dead: u64,
    checkpoint_age_seconds: Option<f64>,
    lag_bytes: Option<u64>,
    lag_seconds: Option<f64>,
}

/// The position in the log, of both kinds of servers.
const LSN: &str = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END";
/// Those that `max_connections` counts. Whoever may not see a row's `backend_type` sees whose it is.
const CLIENTS: &str = "FROM pg_stat_activity WHERE backend_type = 'client backend' \
                       OR (backend_type IS NULL AND datid IS NOT NULL AND usesysid IS NOT NULL)";

fn basics() -> String {
    format!(
        "SELECT current_setting('server_version') AS server_version, current_user AS me, pg_is_in_recovery() AS standby,
          extract(epoch FROM pg_postmaster_start_time())::float8 AS started_seconds,
          pg_database_size(current_database()) AS size_bytes,
          pg_has_role('pg_read_all_stats', 'USAGE') AS sees_activity,
          current_setting('max_connections')::int AS max,
          current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
          (SELECT count(*) {CLIENTS}) AS used,
          ({LSN})::text AS lsn, pg_wal_lsn_diff({LSN}, '0/0') AS position_bytes,
          pg_size_bytes(current_setting('max_wal_size')) + pg_size_bytes(current_setting('wal_keep_size')) AS target_bytes,
          CASE WHEN current_setting('archive_mode') <> 'off' THEN (SELECT failed_count FROM pg_stat_archiver) END
            AS archive_failures,
          (SELECT extract(epoch FROM now() - last_archived_time)::float8 FROM pg_stat_archiver) AS archived_age_seconds,
          (SELECT count(*) FROM pg_prepared_xacts) AS prepared,
          (SELECT extract(epoch FROM now() - min(prepared))::float8 FROM pg_prepared_xacts) AS oldest_prepared_seconds,
          (SELECT max(age(datfrozenxid)) FROM pg_database) AS xid_age,
          (SELECT max(mxid_age(datminmxid)) FROM pg_database) AS multixact_age,
          own.xact_commit AS commits, own.xact_rollback AS rollbacks, own.deadlocks, own.conflicts,
          own.temp_bytes AS temporary_bytes, own.checksum_failures, own.blks_hit AS blocks_hit, own.blks_read AS blocks_read,
          own.blks_hit::float8 / nullif(own.blks_hit + own.blks_read, 0) AS cache_hit_ratio,
          (SELECT coalesce(sum(greatest(n_live_tup, 0)), 0)::int8 FROM pg_stat_user_tables) AS live,
          (SELECT coalesce(sum(greatest(n_dead_tup, 0)), 0)::int8 FROM pg_stat_user_tables) AS dead,
          (SELECT extract(epoch FROM now() - checkpoint_time)::float8 FROM pg_control_checkpoint()) AS checkpoint_age_seconds,
          CASE WHEN pg_is_in_recovery() THEN greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)
            END AS lag_bytes,
          CASE WHEN NOT pg_is_in_recovery() THEN NULL
               WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN 0
               ELSE greatest(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0)::float8
            END AS lag_seconds
        FROM pg_stat_database own WHERE own.datname = current_database()"
    )
}

#[derive(Debug, Deserialize)]
struct States {
    active: u64,
    idle: u64,
    idle_in_transaction: u64,
    waiting: u64,
    oldest_seconds: Option<f64>,
}

fn states() -> String {
    format!(
        "SELECT count(*) FILTER (WHERE state = 'active') AS active, count(*) FILTER (WHERE state = 'idle') AS idle,
          count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
          count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting,
          extract(epoch FROM clock_timestamp() - min(xact_start) FILTER (WHERE pid <> pg_backend_pid()))::float8
            AS oldest_seconds {CLIENTS}"
    )
}

#[derive(Debug, Deserialize)]
struct Number<T> {
    number: T,
}

/// Asks for all of it.
///
/// # Errors
/// What the server says, but for what the user may not see.
pub(crate) async fn read(session: &Session) -> Result<Numbers> {
    const DOING: &str = "ask PostgreSQL how it is";
    let basics: Basics = session.ask_one(DOING, &basics()).await?;
    let mut missing = Missings { user: super::trouble::quoted(&basics.me), found: Vec::new() };
    let states: Option<States> = match basics.sees_activity {
        true => Some(session.ask_one(DOING, &states()).await?),
        false => missing.add("states of connections and the oldest transaction", "GRANT pg_monitor TO"),
    };
    let folder = session
        .ask_one::<Number<u64>>(DOING, "SELECT coalesce(sum(size), 0)::int8 AS number FROM pg_ls_waldir()")
        .await;
    let folder = match folder {
        Ok(folder) => Some(folder.number),
        Err(error) if error.kind() == ErrorKind::Denied => {
            missing.add("size of the write-ahead log", "GRANT pg_monitor TO")
        }
        Err(error) => return Err(error),
    };
    let checkpoints = match session.version() {
        17.. => "SELECT num_timed AS timed, num_requested AS requested FROM pg_stat_checkpointer",
        _ => "SELECT checkpoints_timed AS timed, checkpoints_req AS requested FROM pg_stat_bgwriter",
    };
    #[derive(Deserialize)]
    struct Counts {
        timed: u64,
        requested: u64,
    }
    let counts: Counts = session.ask_one(DOING, checkpoints).await?;
    let slots = format!(
        "SELECT slot_name AS name, slot_type AS kind, active, wal_status,
          greatest(pg_wal_lsn_diff({LSN}, restart_lsn), 0) AS retained_bytes FROM pg_replication_slots ORDER BY slot_name"
    );
    let bloated = "SELECT quote_ident(schemaname) || '.' || quote_ident(relname) AS number FROM pg_stat_user_tables
         WHERE n_dead_tup > 10000 AND n_dead_tup > 0.25 * n_live_tup ORDER BY n_dead_tup DESC LIMIT 5";
    let bloated: Vec<Number<String>> = session.ask(DOING, bloated).await?;
    let (replicas, streaming) = followers(session, &basics, &mut missing).await?;
    Ok(Numbers {
        server_version: basics.server_version,
        standby: basics.standby,
        started_seconds: basics.started_seconds,
        size_bytes: basics.size_bytes,
        connections: Connections {
            used: basics.used,
            max: basics.max,
            reserved: basics.reserved,
            active: states.as_ref().map(|states| states.active),
            idle: states.as_ref().map(|states| states.idle),
            idle_in_transaction: states.as_ref().map(|states| states.idle_in_transaction),
            waiting: states.as_ref().map(|states| states.waiting),
        },
        wal: Wal {
            lsn: basics.lsn,
            position_bytes: basics.position_bytes,
            folder_bytes: folder,
            target_bytes: basics.target_bytes,
            archive_failures: basics.archive_failures,
            archived_age_seconds: basics.archived_age_seconds,
        },
        transactions: Transactions {
            oldest_seconds: states.as_ref().map(|states| states.oldest_seconds.unwrap_or(0.0)),
            prepared: basics.prepared,
            oldest_prepared_seconds: basics.oldest_prepared_seconds,
            xid_age: basics.xid_age,
            xid_left: WRAPAROUND - basics.xid_age,
            multixact_age: basics.multixact_age,
        },
        activity: basics.activity,
        rows: Rows {
            live: basics.live,
            dead: basics.dead,
            bloated: bloated.into_iter().map(|table| table.number).collect(),
        },
        checkpoints: Checkpoints {
            timed: counts.timed,
            requested: counts.requested,
            age_seconds: basics.checkpoint_age_seconds,
        },
        slots: session.ask(DOING, &slots).await?,
        replicas,
        lag: basics.standby.then_some(Lag { bytes: basics.lag_bytes, seconds: basics.lag_seconds, streaming }),
        missing: missing.found,
    })
}

/// Who follows this server, and whether it follows another.
async fn followers(session: &Session, basics: &Basics, missing: &mut Missings) -> Result<(Vec<Replica>, Option<bool>)> {
    const DOING: &str = "ask PostgreSQL for its replicas";
    if !basics.sees_activity {
        missing.add::<()>("replicas and what they lag behind", "GRANT pg_monitor TO");
        return Ok((Vec::new(), None));
    }
    let replicas = format!(
        "SELECT coalesce(nullif(application_name, ''), pid::text) AS name, coalesce(state, '') AS state,
          coalesce(sync_state, '') AS sync, greatest(pg_wal_lsn_diff({LSN}, replay_lsn), 0) AS lag_bytes,
          extract(epoch FROM replay_lag)::float8 AS lag_seconds
         FROM pg_stat_replication WHERE state <> 'backup' ORDER BY 1"
    );
    let replicas = session.ask(DOING, &replicas).await?;
    if !basics.standby {
        return Ok((replicas, None));
    }
    let receives = "SELECT count(*) > 0 AS number FROM pg_stat_wal_receiver WHERE status = 'streaming'";
    Ok((replicas, Some(session.ask_one::<Number<bool>>(DOING, receives).await?.number)))
}

/// Collects what could not be seen.
struct Missings {
    user: String,
    found: Vec<Missing>,
}

impl Missings {
    fn add<T>(&mut self, what: &str, grant: &str) -> Option<T> {
        self.found.push(Missing { what: what.to_owned(), grant: format!("{grant} {}", self.user) });
        None
    }
}
