use std::os::unix::fs::symlink;

use super::*;
use crate::backup::fake_store::{FakeStore, content, kinds};
use crate::backup::walk::walk;

struct Scene(tempfile::TempDir);

impl Scene {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        for (path, bytes) in files {
            let path = scene.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        scene
    }

    fn look(&self, configured: &[(&str, &str)]) -> Contents {
        let scope = Scope::default();
        let root = self.0.path();
        let plan = WalkPlan::new(root, &[PathBuf::from(".")], &[], &[]).unwrap();
        let walked = walk(&scope, &plan).unwrap();
        let configured: Vec<NamedStore> = configured
            .iter()
            .map(|(name, path)| ((*name).to_owned(), Arc::new(FakeStore { path: root.join(path) }) as Arc<dyn Store>))
            .collect();
        let around = Surroundings { root, state: root, configured: &configured, kinds: &kinds() };
        discover(&scope, &plan, walked, &around, &mut |_| false).unwrap()
    }
}

fn names(contents: &Contents) -> Vec<(&str, bool, u64)> {
    contents.databases.iter().map(|d| (d.name.as_str(), d.configured, d.live_bytes)).collect()
}

fn ordinary(contents: &Contents) -> Vec<String> {
    contents.ordinary.iter().map(|found| found.unwrap().path.to_string()).collect()
}

#[test]
fn databases_are_recognised_by_content_not_by_name() {
    let db = content("x");
    let len = db.len() as u64;
    let scene = Scene::new(&[
        ("photo.jpg", &db),
        ("a.db", b"just text that is long enough to be looked at".repeat(4).as_slice()),
        ("tiny.db", b"FAKEDB"),
        ("p/photo.jpg-wal", b"not its log"),
        ("photo.jpg-wal", b"log"),
        ("photo.jpg-shm", b"shm"),
    ]);
    let contents = scene.look(&[]);
    assert_eq!(names(&contents), [("photo.jpg", false, len + 6)]);
    assert_eq!(ordinary(&contents), ["a.db", "p", "p/photo.jpg-wal", "tiny.db"]);
    assert_eq!(contents.database_bytes(), len + 6);
    assert!(contents.skipped.is_empty());
}

#[test]
fn a_configured_database_is_never_read_here_nor_its_log() {
    // What is configured may look like anything: encrypted, empty, too short.
    let scene = Scene::new(&[
        ("data/enc.db", &[0x42; 4096]),
        ("data/enc.db-wal", &content("a log that looks like a database")),
        ("data/empty.db", b""),
    ]);
    std::fs::create_dir(scene.0.path().join("data/enc.db-shm")).unwrap();
    let contents = scene.look(&[("enc", "data/enc.db"), ("empty", "data/empty.db")]);
    let found: Vec<_> = names(&contents).iter().map(|(name, configured, _)| (*name, *configured)).collect();
    assert_eq!(found, [("empty", true), ("enc", true)]);
    // A folder of that name is no file of the database.
    assert_eq!(ordinary(&contents), ["data", "data/enc.db-shm"]);
}

#[test]
fn the_access_time_of_a_peeked_file_stays() {
    use std::os::unix::fs::MetadataExt;
    let scene = Scene::new(&[("f", &content("x"))]);
    let path = scene.0.path().join("f");
    let past = rustix::fs::Timespec { tv_sec: 1000, tv_nsec: 5 };
    let times = rustix::fs::Timestamps { last_access: past, last_modification: past };
    rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    scene.look(&[]);
    assert_eq!(path.metadata().unwrap().atime(), 1000);
}

#[test]
fn a_name_that_is_no_text_is_copied_as_a_file_and_named() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new(&[]);
    std::fs::write(scene.0.path().join(std::ffi::OsStr::from_bytes(b"d\xff.db")), content("x")).unwrap();
    let contents = scene.look(&[]);
    assert!(contents.databases.is_empty());
    assert_eq!(contents.ordinary.len(), 1);
    assert_eq!(contents.skipped[0].reason, SkipReason::Database);
}

#[test]
fn a_store_that_has_no_file_here_is_named() {
    let scene = Scene::new(&[("folder/x", b"x"), ("real.db", &content("x"))]);
    symlink("real.db", scene.0.path().join("link.db")).unwrap();
    let contents = scene.look(&[("missing", "no.db"), ("folder", "folder"), ("linked", "link.db")]);
    let named: Vec<_> = contents.skipped.iter().map(|s| (s.path.to_string(), s.reason)).collect();
    let expected = ["no.db", "folder"].map(|path| (path.to_owned(), SkipReason::Database));
    assert_eq!(named, expected);
    assert_eq!(contents.databases[0].name, "linked");
    assert_eq!(contents.databases[0].found.path.to_string(), "real.db");
}
