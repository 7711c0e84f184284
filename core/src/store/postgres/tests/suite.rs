//! The public suite of the contract, on this store.

use std::os::unix::fs::DirBuilderExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use super::*;
use crate::testing::assert_all;
use crate::testing::store::{Fixture, run};

/// A database of its own on a server that they share.
struct OnPostgres {
    server: Arc<PostgresServer>,
    database: String,
    root: tempfile::TempDir,
    folders: AtomicU32,
}

impl OnPostgres {
    fn new(server: &Arc<PostgresServer>, number: u32) -> Self {
        let database = format!("case_{number}");
        server.sql("postgres", &format!("CREATE DATABASE {database}"));
        server.sql(&database, "CREATE EXTENSION amcheck");
        server.sql(&database, "CREATE TABLE numbers (id serial PRIMARY KEY, text text NOT NULL)");
        let root = tempfile::tempdir().unwrap();
        Self { server: Arc::clone(server), database, root, folders: 0.into() }
    }

    fn store_of(&self, url: String) -> Arc<dyn Store> {
        let root = self.root.path().to_owned();
        let context = BuildContext { name: "main".into(), state: root.join("state"), root, service: String::new() };
        let settings =
            PostgresSettings { programs: Some(self.server.programs().to_owned()), ..PostgresSettings::new(url) };
        Arc::new(PostgresStore::new(&context, settings).unwrap())
    }

    fn databases(&self) -> String {
        self.server.sql("postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database")
    }

    /// The database that a name of the suite means: the server is shared.
    fn named(&self, name: &str) -> String {
        format!("{}_{name}", self.database)
    }

    fn count(&self, database: &str) -> u64 {
        self.server.sql(database, "SELECT count(*) FROM numbers").parse().unwrap()
    }
}

fn archive(dir: &Path) -> PathBuf {
    dir.join(format!("main.{}", archive::SUFFIX))
}

#[async_trait]
impl Fixture for OnPostgres {
    fn store(&self) -> Arc<dyn Store> {
        self.store_of(self.server.url(&self.database))
    }

    fn missing(&self) -> Arc<dyn Store> {
        self.store_of(self.server.url(&self.named("missing")))
    }

    fn foreign(&self) -> Vec<(String, Arc<dyn Store>)> {
        let unknown = self.server.url(&self.database).replace("postgres@", "nobody_of_that_name@");
        vec![("a user whom the server does not know".to_owned(), self.store_of(unknown))]
    }

    async fn commit(&self, rows: u64) -> Result<()> {
        let insert = format!("INSERT INTO numbers (text) SELECT md5(g::text) FROM generate_series(1, {rows}) g");
        self.server.sql(&self.database, &insert);
        Ok(())
    }

    async fn rows(&self) -> Result<u64> {
        Ok(self.count(&self.database))
    }

    async fn rows_in(&self, dir: &Path) -> Result<u64> {
        let copy = self.named("copy");
        self.server.sql("postgres", &format!("CREATE DATABASE {copy}"));
        let mut restore = Command::new(self.server.programs().join("pg_restore"));
        let status =
            restore.args(["--exit-on-error", "-d", &self.server.url(&copy)]).arg(archive(dir)).status().unwrap();
        assert!(status.success());
        let rows = self.count(&copy);
        self.server.sql("postgres", &format!("DROP DATABASE {copy}"));
        Ok(rows)
    }

    async fn damage(&self, dir: &Path) -> Result<()> {
        // Within the table of contents, which is what a quick check reads.
        let file = std::fs::OpenOptions::new().write(true).open(archive(dir)).unwrap();
        file.set_len(200).unwrap();
        Ok(())
    }

    async fn hold_open(&self) -> Result<Option<Box<dyn Send>>> {
        Ok(Some(Box::new(self.server.hold(&self.database, "BEGIN; SELECT count(*) FROM numbers"))))
    }

    async fn footprint(&self) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let rows = "SELECT md5(coalesce(string_agg(n::text, ',' ORDER BY id), '')) FROM numbers n";
        let rows = self.server.sql(&self.database, rows);
        Ok(vec![("databases".into(), self.databases().into()), ("rows".into(), rows.into())])
    }

    async fn rows_beside(&self, database: &str) -> Result<u64> {
        if !self.databases().split(' ').any(|name| name == database) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no database {database:?}")));
        }
        Ok(self.count(database))
    }

    fn empty_folder(&self) -> Result<PathBuf> {
        let folder = self.root.path().join(self.folders.fetch_add(1, Ordering::SeqCst).to_string());
        std::fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        Ok(folder)
    }
}

impl Drop for OnPostgres {
    fn drop(&mut self) {
        // The names that the suite gives to what it restores.
        for name in [&self.database, "beside", "another"] {
            self.server.sql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}

/// A quick check reads no data; a restore does, and its failure names what is at fault.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_whose_data_is_cut_off_is_corrupt_and_nothing_is_left_of_it() {
    let server = Arc::new(PostgresServer::start());
    let fixture = OnPostgres::new(&server, 0);
    fixture.commit(5000).await.unwrap();
    let (store, scope, copy) = (fixture.store(), Scope::default(), fixture.empty_folder().unwrap());
    store.snapshot_to(&scope, &copy).await.unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(archive(&copy)).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    assert!(!store.check_copy(&scope, &copy, CheckDepth::Full).await.unwrap().ok);
    let error = store.restore_as(&scope, &copy, "beside").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.hint().is_some());
    assert!(fixture.rows_beside("beside").await.is_err());
    assert_eq!(fixture.rows().await.unwrap(), 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds() {
    let server = Arc::new(PostgresServer::start());
    let numbers = AtomicU32::new(0);
    let fresh = async || {
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(OnPostgres::new(&server, number)) as Arc<dyn Fixture>)
    };
    assert_all(&run(fresh).await);
}
