//! What the server says of the databases that take part: numbers, sessions, and what is in the way.

use serde::Deserialize;

use super::super::session::Session;
use super::super::trouble::quoted;
use crate::error::Result;
use crate::store::swap::SwapSession;

/// A database of the server.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Database {
    pub(super) oid: i64,
    pub(super) name: String,
    pub(super) open: bool,
    pub(super) owner: String,
    /// Whether we may act as its owner.
    pub(super) ours: bool,
    pub(super) connections: i64,
    pub(super) tablespace: String,
    pub(super) encoding: String,
    pub(super) collate: String,
}

/// The server, as it is now.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) system: String,
    pub(super) user: String,
    pub(super) creates: bool,
    pub(super) databases: Vec<Database>,
}

impl Server {
    pub(super) async fn ask(session: &Session) -> Result<Self> {
        const DOING: &str = "look which databases there are";
        #[derive(Deserialize)]
        struct Own {
            system: String,
            user: String,
            creates: bool,
        }
        let own: Own = session
            .ask_one(
                DOING,
                "SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system, rolname AS user,
                   rolcreatedb OR rolsuper AS creates FROM pg_roles WHERE rolname = current_user",
            )
            .await?;
        let databases = session
            .ask(
                DOING,
                "SELECT d.oid::int8 AS oid, datname AS name, datallowconn AS open, pg_get_userbyid(datdba) AS owner,
                   pg_has_role(datdba, 'USAGE') AS ours, datconnlimit AS connections, spcname AS tablespace,
                   pg_encoding_to_char(encoding) AS encoding, datcollate AS collate
                 FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace",
            )
            .await?;
        Ok(Self { system: own.system, user: own.user, creates: own.creates, databases })
    }

    pub(super) fn named(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|it| it.name == name)
    }

    pub(super) fn numbered(&self, oid: i64) -> Option<&Database> {
        self.databases.iter().find(|it| it.oid == oid)
    }

    /// The rights that renaming takes and we lack.
    pub(super) fn lacking(&self, databases: &[&Database]) -> Vec<String> {
        let user = quoted(&self.user);
        let mut lacking = Vec::new();
        if !self.creates {
            lacking.push(format!("user {user} may not rename a database: ALTER ROLE {user} CREATEDB"));
        }
        for database in databases.iter().filter(|database| !database.ours) {
            let (name, owner) = (quoted(&database.name), quoted(&database.owner));
            lacking.push(format!("the database {name} belongs to {owner}: GRANT {owner} TO {user}"));
        }
        lacking
    }
}

/// A session that is in the way.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Connected {
    pub(super) pid: i64,
    database: String,
    application: Option<String>,
    user: Option<String>,
    address: Option<String>,
    kind: Option<String>,
    /// Whether we may end it.
    pub(super) ours: bool,
    is_superuser: bool,
}

impl Connected {
    /// What has to be granted to end it.
    pub(super) fn lacking(&self, user: &str) -> Option<String> {
        let whose = quoted(self.user.as_deref().unwrap_or("the server"));
        match (self.ours, self.is_superuser) {
            (true, _) => None,
            (false, true) => Some(format!("a session of {whose}, a superuser, is open: only a superuser may end it")),
            (false, false) => Some(format!(
                "user {} may not end the sessions of {whose}: GRANT pg_signal_backend TO {}",
                quoted(user),
                quoted(user)
            )),
        }
    }
}

fn list(oids: &[i64]) -> String {
    oids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Everybody who is connected to one of the databases but us. What vacuums by itself is not among them: the server ends that
/// for a rename.
pub(super) async fn connected(session: &Session, oids: &[i64]) -> Result<Vec<Connected>> {
    let select = format!(
        "SELECT pid::int8 AS pid, datname AS database, application_name AS application, usename AS user, backend_type AS kind,
           CASE WHEN client_addr IS NOT NULL THEN host(client_addr) WHEN client_port = -1 THEN 'socket' END AS address,
           (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
             OR (NOT coalesce((SELECT rolsuper FROM pg_roles WHERE oid = usesysid), true)
               AND (pg_has_role(usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))) AS ours,
           coalesce((SELECT rolsuper FROM pg_roles WHERE oid = usesysid), true) AS is_superuser
         FROM pg_stat_activity WHERE datid IN ({}) AND pid <> pg_backend_pid()
           AND backend_type IS DISTINCT FROM 'autovacuum worker'",
        list(oids)
    );
    session.ask("look who is connected", &select).await
}

/// The sessions by what they are, without their numbers.
pub(super) fn told(all: &[Connected]) -> Vec<SwapSession> {
    let mut told: Vec<SwapSession> = Vec::new();
    for one in all {
        let application = match one.application.as_deref() {
            None | Some("") if one.user.is_none() => one.kind.clone().unwrap_or_default(),
            application => application.unwrap_or_default().to_owned(),
        };
        let session = SwapSession {
            database: one.database.clone(),
            application_name: application,
            user: one.user.clone().unwrap_or_default(),
            address: one.address.clone().unwrap_or_default(),
            sessions: 0,
        };
        let at = told.iter().position(|other| SwapSession { sessions: 0, ..other.clone() } == session);
        let at = at.unwrap_or_else(|| {
            told.push(session);
            told.len() - 1
        });
        told[at].sessions += 1;
    }
    told.sort_by(|a, b| (&a.database, &a.application_name, &a.user).cmp(&(&b.database, &b.application_name, &b.user)));
    told
}

/// What no renaming may happen under, though nobody is connected: it would block it, or be left at the wrong database.
pub(super) async fn bound(session: &Session, databases: &[&Database]) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Bound {
        kind: String,
        name: String,
        database: String,
    }
    let names: Vec<String> = databases.iter().map(|it| format!("'{}'", it.name.replace('\'', "''"))).collect();
    let oids: Vec<i64> = databases.iter().map(|it| it.oid).collect();
    let (names, oids) = (names.join(", "), list(&oids));
    let select = format!(
        "SELECT 'prepared' AS kind, gid AS name, database::text FROM pg_prepared_xacts WHERE database IN ({names})
         UNION ALL SELECT 'slot', slot_name::text, database::text FROM pg_replication_slots
           WHERE slot_type = 'logical' AND NOT temporary AND datoid IN ({oids})
         UNION ALL SELECT 'subscription', subname::text, (SELECT datname::text FROM pg_database WHERE oid = subdbid)
           FROM pg_subscription WHERE subenabled AND subdbid IN ({oids})
         ORDER BY 1, 2"
    );
    let bound: Vec<Bound> = session.ask("look what is bound to the databases", &select).await?;
    let told = bound.into_iter().map(|Bound { kind, name, database }| {
        let (at, item) = (quoted(&database), quoted(&name));
        let text = name.replace('\'', "''");
        match kind.as_str() {
            "prepared" => format!(
                "the prepared transaction {item} in {at} lets nothing be renamed: COMMIT PREPARED '{text}' or ROLLBACK PREPARED '{text}' there"
            ),
            "slot" => format!(
                "the logical replication slot {item} would stay with what is now {at}: stop who reads it, then SELECT pg_drop_replication_slot('{text}')"
            ),
            _ => format!(
                "the subscription {item} would go on writing into what is now {at}: ALTER SUBSCRIPTION {item} DISABLE there"
            ),
        }
    });
    let mut told: Vec<String> = told.collect();
    told.extend(
        databases.iter().filter(|it| it.connections == -2).map(|it| {
            format!("dropping the database {} was interrupted, and it can only be dropped", quoted(&it.name))
        }),
    );
    Ok(told)
}
