//! `restore.database`: a database of a snapshot, or of a moment, put beside the live one on its server.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::moment::{Moment, Origin};
use super::snapshots;
use crate::backup::bisect;
use crate::backup::manifest::{RelPath, StoreRecord};
use crate::backup::nodes::Selection;
use crate::backup::restore::ReachedStore;
use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::continuous::timeline::Wanted;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{Context, Effect, Lane, Operation, Place};
use crate::store::RestoredDatabase;

/// Which database to restore, and what to call it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreDatabaseRequest {
    /// The snapshot: its identifier, the beginning of it, or `latest`. May be left out with `at` and with `place`.
    #[serde(default)]
    pub snapshot_id: String,
    /// The moment to go back to: the last commit that is not after it. The store has to be followed (`continuous.start`), and a
    /// server of the same version of PostgreSQL has to be installed on this machine. The snapshot is then the newest one from
    /// which it gets there.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// A place in the log of the server to go back to: an LSN (`0/3000060`: everything that was logged before it), or the name of
    /// a restore point (`pg_create_restore_point`: everything up to it). It is looked for behind the newest snapshot that is older
    /// than `at`, or than the newest moment there is. Needs what `at` needs.
    #[serde(default)]
    pub place: Option<String>,
    /// The store whose database it is. The only one of a server when missing.
    #[serde(default)]
    pub store: Option<String>,
    /// The name of the new database. There must be none of that name: none is ever replaced.
    pub database: String,
    /// Read it from this target only.
    #[serde(default)]
    pub target: Option<String>,
    /// The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
    /// where the request runs, and never recorded.
    #[serde(default)]
    pub identity_file: Option<RelPath>,
}

/// What was restored.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RestoreDatabaseResponse {
    /// The snapshot that it comes from.
    pub snapshot_id: String,
    /// The store.
    pub store: String,
    /// The new database, and whether it is as the snapshot has it.
    #[serde(flatten)]
    pub restored: RestoredDatabase,
    /// The last commit in it, where it was brought to a moment. Nothing where none came after the snapshot.
    #[serde(default)]
    pub reached: Option<ReachedStore>,
}

/// `restore.database`
#[derive(Debug)]
pub struct RestoreDatabase;

impl Operation for RestoreDatabase {
    const NAME: &'static str = "restore.database";
    const SUMMARY: &'static str =
        "Restore a database of a server into a new one beside it, and hold it against the snapshot";
    const EFFECT: Effect = Effect::Change;
    const PLACE: Place = Place::Worker(Lane::Heavy);
    type Request = RestoreDatabaseRequest;
    type Response = RestoreDatabaseResponse;

    async fn run(
        context: Arc<Context>,
        scope: Scope,
        request: RestoreDatabaseRequest,
    ) -> Result<RestoreDatabaseResponse> {
        let to_a_moment = request.at.is_some() || request.place.is_some();
        let stores: Vec<String> = store_of(&context, request.store.as_deref(), to_a_moment).into_iter().collect();
        let origin = Origin {
            at: request.at,
            place: request.place.as_deref(),
            snapshot_id: &request.snapshot_id,
            target: request.target.as_deref(),
            identity_file: request.identity_file.as_ref(),
        };
        let moment = Moment::of(&context, &scope, origin, Wanted::Named(&stores)).await?;
        let source = snapshots::open(
            &context,
            &scope,
            moment.snapshot_id().unwrap_or(&request.snapshot_id),
            request.target.as_deref(),
            request.identity_file.as_ref(),
            false,
            Selection::All,
        )
        .await?;
        let record = the_record(&context, &source.manifest().stores, request.store.as_deref())?.clone();
        let store = Arc::clone(&context.store(&record.name)?.component);
        let files = std::iter::once(record.path.as_path().to_owned()).chain(store.capability().copy_files);
        let selection = Selection::Paths(files.collect::<BTreeSet<_>>().into_iter().collect());
        let snapshot_id = source.manifest().snapshot_id.clone();
        let (base, in_memory) = (context.scratch(), context.settings().backup.scratch_in_memory);
        let (threads, limits) = (context.settings().backup.threads, snapshots::limits(&context));
        scope.progress.stage(format!("extracting database {}", record.name));
        let scratch = bisect::extract(&scope, source, selection, base, in_memory, threads, limits).await?;
        let restored = match moment.roll(&scope, &record, &*store, scratch.path()).await {
            Ok(()) => store.restore_as(&scope, scratch.path(), &request.database).await,
            Err(error) => Err(error),
        };
        // Its removal may take as long as its making.
        let _ = tokio::task::spawn_blocking(move || drop(scratch)).await;
        let reached = moment.reached().pop();
        Ok(RestoreDatabaseResponse { snapshot_id, store: record.name, restored: restored?, reached })
    }

    fn healthy(response: &RestoreDatabaseResponse) -> bool {
        response.restored.ok
    }
}

/// The store that goes to a moment: the one of the request, or the only one that is no file.
fn store_of(context: &Context, store: Option<&str>, to_a_moment: bool) -> Option<String> {
    if let Some(store) = store {
        return Some(store.to_owned());
    }
    let mut of_server = context.stores.iter().filter(|it| it.component.capability().file.is_none());
    let only = of_server.next().filter(|_| to_a_moment)?;
    of_server.next().is_none().then(|| only.name.clone())
}

/// The record of the store, or of the only one that is no file.
fn the_record<'a>(context: &Context, records: &'a [StoreRecord], store: Option<&str>) -> Result<&'a StoreRecord> {
    let of_server = |record: &&StoreRecord| {
        context.stores.iter().any(|it| it.name == record.name && it.component.capability().file.is_none())
    };
    let found: Vec<&StoreRecord> = match store {
        Some(name) => records.iter().filter(|record| record.name == name).collect(),
        None => records.iter().filter(of_server).collect(),
    };
    match found[..] {
        [only] => Ok(only),
        [] => {
            let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
            let what = store.map_or_else(|| "of a server".to_owned(), |name| format!("of store {name:?}"));
            Err(Error::new(ErrorKind::NotFound, format!("the snapshot has no database {what}"))
                .with_hint(format!("it has: {}", names.join(", "))))
        }
        ref several => {
            let names: Vec<&str> = several.iter().map(|record| record.name.as_str()).collect();
            Err(Error::invalid(format!("the snapshot has {} databases of servers", names.len()))
                .with_hint(format!("name one as `store`: {}", names.join(", "))))
        }
    }
}
