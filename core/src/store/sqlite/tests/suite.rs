//! The public suite of the contract, on this store.

use async_trait::async_trait;

use super::child::Child;
use super::*;
use crate::testing::assert_all;
use crate::testing::store::{Fixture, run};

struct OnSqlite {
    scene: Scene,
    folders: std::sync::atomic::AtomicU32,
}

impl OnSqlite {
    fn new(mode: &str) -> Self {
        let scene = Scene::new();
        scene.create(mode, 0);
        let data = scene.folder.path().join("data");
        std::fs::write(data.join("text.db"), b"hello").unwrap();
        std::fs::write(data.join("encrypted.db"), [0xd7; 4096]).unwrap();
        Self { scene, folders: 0.into() }
    }

    fn other(&self, path: &str) -> Arc<dyn Store> {
        Arc::new(self.scene.store_with(serde_json::json!({ "path": path }), Seams::default()))
    }
}

#[async_trait]
impl Fixture for OnSqlite {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.scene.store())
    }

    fn missing(&self) -> Arc<dyn Store> {
        self.other("data/missing.db")
    }

    fn foreign(&self) -> Vec<(String, Arc<dyn Store>)> {
        ["data/text.db", "data/encrypted.db", "data"].map(|path| (path.to_owned(), self.other(path))).into()
    }

    async fn commit(&self, rows: u64) -> Result<()> {
        insert(&self.scene.connect(), rows.try_into().unwrap());
        Ok(())
    }

    async fn rows(&self) -> Result<u64> {
        Ok(rows(&self.scene.db()).unsigned_abs())
    }

    async fn rows_in(&self, dir: &Path) -> Result<u64> {
        let copy = dir.join("app.db");
        let rows = rows(&copy).unsigned_abs();
        // A plain reader of a WAL copy leaves these.
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(live::beside(&copy, suffix));
        }
        Ok(rows)
    }

    async fn damage(&self, dir: &Path) -> Result<()> {
        let mut bytes = std::fs::read(dir.join("app.db")).unwrap();
        bytes[4096..4196].fill(0xff);
        std::fs::write(dir.join("app.db"), bytes).unwrap();
        Ok(())
    }

    async fn hold_open(&self) -> Result<Option<Box<dyn Send>>> {
        Ok(Some(Box::new(Child::open(&self.scene.db()))))
    }

    async fn footprint(&self) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let data = self.scene.folder.path().join("data");
        Ok(names(&data)
            .into_iter()
            .map(|name| (name.clone().into(), std::fs::read(data.join(name)).unwrap()))
            .collect())
    }

    fn empty_folder(&self) -> Result<PathBuf> {
        let number = self.folders.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(self.scene.out(&number.to_string()))
    }
}

#[tokio::test]
async fn the_contract_holds() {
    for mode in ["wal", "delete"] {
        assert_all(&run(async || Ok(Arc::new(OnSqlite::new(mode)) as Arc<dyn Fixture>)).await);
    }
}
