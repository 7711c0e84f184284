//! The restore, against a snapshot held in memory.

mod archive;
mod crash;
mod guards;
mod mounts;
mod scene;

use std::path::{Path, PathBuf};

use super::*;
use crate::cancel::Scope;
use crate::error::ErrorKind;
use scene::{Scene, Snapshot};

/// A service and a snapshot of it that differ in every way: something to replace, create, remove and keep.
fn service() -> (Scene, Snapshot) {
    let scene = Scene::new(&[
        ("data/app.db", "live"),
        ("data/app.db-wal", "live log"),
        ("data/upload", "made since"),
        ("data/cache/a", "cached"),
        ("data/deep/cache/b", "cached"),
        ("config/app.toml", "live"),
        (".env", "live"),
        ("plugins/p.py", "live"),
        ("junk/x", "made since"),
        ("logs/app.log", "live"),
    ]);
    let snapshot = Snapshot::of(&["."])
        .excluding(&["**/cache", "logs"])
        .file("data/app.db", "snapshot")
        .file("config/app.toml", "snapshot")
        .file("config/deleted.toml", "snapshot")
        .file(".env", "snapshot")
        .file("gone/y", "snapshot")
        .file("plugins/p.py", "snapshot")
        .store("data/app.db");
    (scene, snapshot)
}

/// What the service's folder holds after that restore.
const RESTORED: &[(&str, &str)] = &[
    (".env", "snapshot"),
    ("config/app.toml", "snapshot"),
    ("config/deleted.toml", "snapshot"),
    ("data/app.db", "snapshot"),
    ("data/cache/a", "cached"),
    ("data/deep/cache/b", "cached"),
    ("gone/y", "snapshot"),
    ("logs/app.log", "live"),
    ("plugins/p.py", "snapshot"),
];

#[test]
fn in_place_replaces_creates_removes_keeps_and_carries() {
    let (scene, snapshot) = service();
    let job = scene.job(&snapshot);
    let plan = plan(&Scope::default(), &job).unwrap();
    let actions: Vec<(String, Action)> = plan.units.iter().map(|u| (u.path.to_string(), u.action)).collect();
    let expected = [
        (".env", Action::Replace),
        ("config", Action::Replace),
        ("data", Action::Replace),
        ("gone", Action::Create),
        ("junk", Action::Remove),
        ("logs", Action::Keep),
        ("plugins", Action::Replace),
    ];
    assert_eq!(actions, expected.map(|(path, action)| (path.to_owned(), action)));
    let data = plan.units.iter().find(|unit| unit.path.as_path() == Path::new("data")).unwrap();
    assert_eq!(data.carry, ["data/cache", "data/deep/cache"].map(crate::backup::manifest::RelPath::new));
    assert_eq!(plan.databases, [crate::backup::manifest::RelPath::new("data/app.db")]);
    assert!(plan.blockers.is_empty() && plan.holders.is_empty(), "{plan:?}");
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(serde_json::from_value::<RestorePlan>(json).unwrap(), plan);

    let report = apply(&Scope::default(), &job, &plan).unwrap();
    assert_eq!(scene.files(), scene::listing(RESTORED));
    assert_eq!(report.restored_files, 6);
    assert!(!report.restart_required);
    assert!(report.undo_id.is_some());
}

#[test]
fn a_plan_writes_nothing() {
    let (scene, snapshot) = service();
    let before = scene.files();
    plan(&Scope::default(), &scene.job(&snapshot)).unwrap();
    assert_eq!(scene.files(), before);
    assert!(!scene.state().exists());
}

#[test]
fn an_undo_brings_back_all_and_can_be_undone_itself() {
    let (scene, snapshot) = service();
    let before = scene.files();
    let job = scene.job(&snapshot);
    let first = scene.restore(&job).unwrap().undo_id.unwrap();
    // What was carried over lives on, and so does what the service adds to it.
    std::fs::write(scene.root().join("data/cache/c"), "since").unwrap();
    let listed = list_undo(&job.site).unwrap();
    assert_eq!((listed.len(), &listed[0].undo_id), (1, &first));
    assert_eq!(listed[0].files, 7, "{listed:?}");

    let undone = undo(&Scope::default(), &job.site, &first).unwrap();
    let mut expected = before;
    expected.insert(PathBuf::from("data/cache/c"), "since".to_owned());
    assert_eq!(scene.files(), expected);
    assert_eq!(undo(&Scope::default(), &job.site, &first).unwrap_err().kind(), ErrorKind::NotFound);

    let second = undone.undo_id.unwrap();
    assert_ne!(first, second);
    assert_eq!(list_undo(&job.site).unwrap()[0].undoes.as_deref(), Some(first.as_str()));
    undo(&Scope::default(), &job.site, &second).unwrap();
    let mut expected = scene::listing(RESTORED);
    expected.insert(PathBuf::from("data/cache/c"), "since".to_owned());
    assert_eq!(scene.files(), expected);
}

#[test]
fn an_undo_area_goes_only_by_a_plan_that_names_it() {
    let (scene, snapshot) = service();
    let job = scene.job(&snapshot);
    let id = scene.restore(&job).unwrap().undo_id.unwrap();
    assert_eq!(plan_discard(&job.site, &[]).unwrap_err().kind(), ErrorKind::InvalidInput);
    for unknown in ["abc", "../x", ""] {
        assert_eq!(plan_discard(&job.site, &[unknown.to_owned()]).unwrap_err().kind(), ErrorKind::NotFound);
    }
    let plan = plan_discard(&job.site, &[id]).unwrap();
    assert!(plan.freed_bytes > 0);
    discard(&Scope::default(), &job.site, &plan).unwrap();
    discard(&Scope::default(), &job.site, &plan).unwrap();
    assert!(list_undo(&job.site).unwrap().is_empty());
    assert_eq!(scene.files(), scene::listing(RESTORED));
    assert!(scene.leftovers().is_empty(), "{:?}", scene.leftovers());
}

#[test]
fn single_paths_touch_nothing_else() {
    let (scene, snapshot) = service();
    let mut job = scene.job(&snapshot);
    job.paths = vec![PathBuf::from("data/app.db"), PathBuf::from("./gone/y/"), PathBuf::from("config/app.toml")];
    let mut expected = scene.files();
    scene.restore(&job).unwrap();
    for path in ["data/app.db", "gone/y", "config/app.toml"] {
        expected.insert(PathBuf::from(path), "snapshot".to_owned());
    }
    // A stale log would be played into the restored database.
    expected.remove(Path::new("data/app.db-wal"));
    assert_eq!(scene.files(), expected);
}

#[test]
fn what_was_asked_for_when_it_did_not_exist_goes() {
    let scene = Scene::new(&[("data/a", "live"), (".env", "live")]);
    let snapshot = Snapshot::of(&["data", ".env"]).file("data/a", "snapshot");
    scene.restore(&scene.job(&snapshot)).unwrap();
    assert_eq!(scene.files(), scene::listing(&[("data/a", "snapshot")]));

    let scene = Scene::new(&[("data/a", "live"), (".env", "live")]);
    let mut job = scene.job(&snapshot);
    job.paths = vec![PathBuf::from(".env")];
    scene.restore(&job).unwrap();
    assert_eq!(scene.files(), scene::listing(&[("data/a", "live")]));
}

#[test]
fn what_the_backup_could_not_read_stays() {
    let scene = Scene::new(&[("data/a", "live"), ("data/secret/k", "live"), ("lone", "live")]);
    let snapshot =
        Snapshot::of(&["."]).file("data/a", "snapshot").skipping("data/secret").skipping("lone").skipping("nowhere");
    let report = scene.restore(&scene.job(&snapshot)).unwrap();
    let expected = [("data/a", "snapshot"), ("data/secret/k", "live"), ("lone", "live")];
    assert_eq!(scene.files(), scene::listing(&expected));
    assert!(report.warnings.iter().any(|warning| warning.contains("partial")), "{:?}", report.warnings);
}

#[test]
fn names_of_any_bytes_are_restored_and_undone() {
    use std::os::unix::ffi::OsStrExt;
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"data/\xff\xfe\n x"));
    let scene = Scene::new(&[("data/a", "live")]);
    std::fs::write(scene.root().join(odd), "live").unwrap();
    let snapshot = Snapshot::of(&["."]).file(odd, "snapshot");
    let mut job = scene.job(&snapshot);
    job.paths = vec![odd.to_owned()];
    let id = scene.restore(&job).unwrap().undo_id.unwrap();
    assert_eq!(scene.files()[odd], "snapshot");
    undo(&Scope::default(), &job.site, &id).unwrap();
    assert_eq!(scene.files()[odd], "live");
}

#[test]
fn modes_and_times_are_those_of_the_snapshot_also_of_folders_on_the_way() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let scene = Scene::new(&[("other", "live")]);
    let snapshot = Snapshot::of(&["."]).dir("a", 0o750).dir("a/b", 0o711).file("a/b/c", "snapshot");
    let mut job = scene.job(&snapshot);
    job.paths = vec![PathBuf::from("a/b/c")];
    scene.restore(&job).unwrap();
    for (path, mode) in [("a", 0o750), ("a/b", 0o711), ("a/b/c", 0o640)] {
        let meta = scene.root().join(path).metadata().unwrap();
        assert_eq!((meta.permissions().mode() & 0o7777, meta.mtime()), (mode, scene::MTIME), "{path}");
    }
}

#[test]
fn into_creates_the_folder_whole_and_leaves_nothing_else() {
    let (scene, snapshot) = service();
    let before = scene.files();
    let mut job = scene.job(&snapshot);
    let expected = scene::listing(&[
        (".env", "snapshot"),
        ("config/app.toml", "snapshot"),
        ("config/deleted.toml", "snapshot"),
        ("data/app.db", "snapshot"),
        ("gone/y", "snapshot"),
        ("plugins/p.py", "snapshot"),
    ]);
    let empty = scene.outside().join("empty");
    std::fs::create_dir(&empty).unwrap();
    std::os::unix::fs::symlink(scene.outside(), scene.outside().join("link")).unwrap();
    for into in ["out", "some/deep/out", "empty", "link/through"] {
        let into = scene.outside().join(into);
        job.into = Some(into.clone());
        let report = scene.restore(&job).unwrap();
        assert_eq!((report.restored_files, report.undo_id), (6, None));
        assert_eq!(scene::files_below(&into), expected, "{into:?}");
    }
    assert!(scene.outside().join("through").is_dir());
    let mut names: Vec<_> = std::fs::read_dir(scene.outside()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["empty", "link", "out", "root", "some", "through"]);
    assert_eq!(scene.files(), before);
    assert!(scene.leftovers().is_empty());
}

#[test]
fn into_takes_single_paths() {
    let (scene, snapshot) = service();
    let mut job = scene.job(&snapshot);
    job.into = Some(scene.outside().join("out"));
    job.paths = vec![PathBuf::from("data"), PathBuf::from("config/app.toml")];
    scene.restore(&job).unwrap();
    let expected = [("config/app.toml", "snapshot"), ("data/app.db", "snapshot")];
    assert_eq!(scene::files_below(&scene.outside().join("out")), scene::listing(&expected));
}

#[test]
fn inside_the_host_the_swap_waits_for_the_next_start() {
    let (scene, snapshot) = service();
    let before = scene.files();
    let mut job = scene.job(&snapshot);
    job.site.embedded = true;
    let report = scene.restore(&job).unwrap();
    assert!(report.restart_required);
    assert_eq!(scene.files(), before);

    // While somebody has the database open, it goes on waiting.
    let held = std::fs::File::open(scene.root().join("data/app.db")).unwrap();
    let waiting = recover(&Scope::default(), &job.site).unwrap();
    assert_eq!(waiting[0].outcome, Outcome::Pending, "{waiting:?}");
    assert!(waiting[0].message.contains(&std::process::id().to_string()), "{waiting:?}");
    assert_eq!(scene.files(), before);
    drop(held);

    // What the service left out of its backups in the meantime is carried over as well.
    scene.write("config/cache/late", "cached");
    let done = recover(&Scope::default(), &job.site).unwrap();
    assert_eq!(done[0].outcome, Outcome::Applied, "{done:?}");
    let mut expected = scene::listing(RESTORED);
    expected.insert(PathBuf::from("config/cache/late"), "cached".to_owned());
    assert_eq!(scene.files(), expected);
    assert!(recover(&Scope::default(), &job.site).unwrap().is_empty());

    // Its undo waits as well, and a later wish takes its place.
    let id = report.undo_id.unwrap();
    assert!(undo(&Scope::default(), &job.site, &id).unwrap().restart_required);
    assert_eq!(scene.files(), expected);
    job.site.embedded = false;
    let warned = scene.restore(&job).unwrap().warnings;
    assert!(warned.iter().any(|warning| warning.contains("given up")), "{warned:?}");
    undo(&Scope::default(), &job.site, &id).unwrap();
    assert_eq!(scene.files()[Path::new("junk/x")], "made since");
}
