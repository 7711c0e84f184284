//! One database out of a copy of the whole cluster: a server of our own opens the copy, and `pg_dump` takes the database out of it,
//! so that it can be put beside the live one, whose server does not stop.

use std::path::Path;

use super::super::check;
use super::super::dump;
use super::super::session::Session;
use super::super::{PostgresStore, Programs};
use super::forward::cluster_in;
use super::private::{PrivateServer, programs_of};
use super::{names, unpack};
use crate::cancel::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::store::{CheckDepth, IntegrityReport};
use crate::value::random_hex;

/// A dump in a folder of its own, which goes with it.
#[derive(Debug)]
pub(in crate::store::postgres) struct Dumped(std::path::PathBuf);

impl Dumped {
    /// The folder.
    pub(in crate::store::postgres) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dumped {
    fn drop(&mut self) {
        // The folder around it goes in a moment, too.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Dumps the store's database out of the copy in `dir`: one that was brought to a moment, or one as it was made, which its own
/// log makes consistent.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where no server of the copy's version is on this machine; [`ErrorKind::NotFound`] where the
/// cluster did not have that database at that moment; [`ErrorKind::Corrupt`] for a copy that does not come up.
pub(in crate::store::postgres) async fn dump_of(store: &PostgresStore, scope: &Scope, dir: &Path) -> Result<Dumped> {
    let dumped = Dumped(dir.join(format!(".dump-{}", random_hex(8)?)));
    fs::create_dir_all(dumped.path(), fs::PRIVATE_DIR)?;
    let made = async {
        let rolled = cluster_in(store, dir);
        if rolled.is_dir() {
            return take_out(store, scope, &rolled, dumped.path()).await;
        }
        let cluster = dumped.path().join("cluster");
        whole(store, dir)?;
        scope.progress.stage("unpacking the cluster");
        unpack(store, dir, &cluster).await?;
        take_out(store, scope, &cluster, dumped.path()).await?;
        // What is restored next takes room as well.
        fs::remove_dir_all(&cluster)
    };
    tokio::select! {
        biased;
        () = scope.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller")),
        made = made => made,
    }?;
    Ok(dumped)
}

/// Refuses a copy that lacks a part.
fn whole(store: &PostgresStore, dir: &Path) -> Result<()> {
    match names(store).into_iter().find(|name| !dir.join(name).is_file()) {
        None => Ok(()),
        Some(name) => Err(Error::new(ErrorKind::Corrupt, format!("the copy of the cluster lacks {name}"))
            .with_hint("set backup = \"physical\" for the store, as it was when the snapshot was made")),
    }
}

async fn take_out(store: &PostgresStore, scope: &Scope, cluster: &Path, into: &Path) -> Result<()> {
    let wanted = store.server.place()?;
    let (server, session) = opened(store, scope, cluster).await?;
    let place = server.superuser(&session, &wanted.database).await?;
    session.close().await;
    let session =
        Session::open(scope, &place, store.server.statement_timeout).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => error.with_hint("name a moment at which the cluster had that database"),
            _ => error,
        })?;
    dump::of(store, scope, into, &place, session).await?;
    server.stop(scope).await.map(drop)
}

/// A server on the copy, once it is consistent.
async fn opened(store: &PostgresStore, scope: &Scope, cluster: &Path) -> Result<(PrivateServer, Session)> {
    let (_, programs) = programs_of(store, scope, cluster).await?;
    scope.progress.stage("starting a private server on the copy");
    // A copy of a standby would wait for its primary.
    fs::remove_file(&cluster.join("standby.signal"))?;
    let settings = [("restore_command", "false".to_owned()), ("default_transaction_read_only", "on".to_owned())];
    PrivateServer::start(scope, &programs, cluster, &store.server.place()?, &settings).await
}

/// Checks a cluster that was brought to a moment: that it was stopped cleanly there; with *full* every table and index of the
/// store's database by `pg_amcheck`, on a server of our own.
///
/// # Errors
/// What keeps it from being checked.
pub(in crate::store::postgres) async fn check_cluster(
    store: &PostgresStore,
    scope: &Scope,
    cluster: &Path,
    depth: CheckDepth,
) -> Result<IntegrityReport> {
    let (_, programs) = programs_of(store, scope, cluster).await?;
    let mut problems = Vec::new();
    let state = state(scope, &programs, cluster).await?;
    if state != "shut down" {
        problems.push(format!("the cluster was not stopped cleanly: it is {state:?}"));
    } else if depth == CheckDepth::Full {
        let (server, session) = opened(store, scope, cluster).await?;
        let place = server.superuser(&session, &store.server.place()?.database).await?;
        session.close().await;
        let session = Session::open(scope, &place, store.server.statement_timeout).await?;
        session.run("look at the copy", "SET default_transaction_read_only = off").await?;
        let found = check::restored(scope, &programs, &place, &session).await?;
        session.close().await;
        server.stop(scope).await?;
        // Where amcheck cannot be had, what the server replayed is what there is to go by.
        problems.extend(found.unwrap_or_default());
    }
    Ok(IntegrityReport { ok: problems.is_empty(), problems })
}

/// What the control file says of the cluster.
async fn state(scope: &Scope, programs: &Programs, cluster: &Path) -> Result<String> {
    let output = programs.program("pg_controldata", [cluster.into()]).env("LC_ALL", "C").run(scope).await?.success()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Database cluster state:"));
    Ok(line.unwrap_or_default().trim().to_owned())
}
