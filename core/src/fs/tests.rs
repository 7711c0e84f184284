use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

#[test]
fn an_atomic_file_appears_whole_with_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let mut file = AtomicFile::create(&path, 0o640).unwrap();
    file.out().unwrap().write_all(b"bytes").unwrap();
    assert!(!path.exists());
    file.publish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"bytes");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_abandoned_atomic_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(AtomicFile::create(&folder.path().join("a"), 0o600).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn publish_new_never_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for (bytes, created) in [(b"one", true), (b"two", false)] {
        let mut file = AtomicFile::create(&path, 0o600).unwrap();
        file.out().unwrap().write_all(bytes).unwrap();
        assert_eq!(file.publish_new().unwrap(), created);
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"one");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_sweep_spares_a_live_writer() {
    let folder = tempfile::tempdir().unwrap();
    let live = AtomicFile::create(&folder.path().join("live"), 0o600).unwrap();
    std::fs::write(folder.path().join(".dead.0123.partial"), b"").unwrap();
    assert_eq!(sweep_partials(folder.path()).unwrap(), 1);
    live.publish().unwrap();
    assert!(folder.path().join("live").exists());
}

#[test]
fn a_lock_is_exclusive_and_ends_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let held = FileLock::try_acquire(&path).unwrap();
    assert!(held.is_some());
    assert!(FileLock::try_acquire(&path).unwrap().is_none());
    drop(held);
    assert!(FileLock::try_acquire(&path).unwrap().is_some());
}

#[test]
fn nothing_leads_outside_a_dir() {
    let outside = tempfile::tempdir().unwrap();
    let inside = tempfile::tempdir().unwrap();
    symlink(outside.path(), inside.path().join("link")).unwrap();
    let dir = Dir::open(inside.path()).unwrap();
    for name in ["../x", "/tmp/uplifted-escape", "link/x", "a/../../x"] {
        assert!(dir.create_file(Path::new(name), 0o600).is_err(), "{name}");
        assert!(dir.symlink(OsStr::new("t"), Path::new(name)).is_err(), "{name}");
        assert!(dir.make_dir_all(Path::new(name)).is_err(), "{name}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn space_of_a_missing_path_is_that_of_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let space = space(&folder.path().join("a/b/c")).unwrap();
    assert!(space.total_bytes >= space.free_bytes && space.total_bytes > 0);
}

#[test]
fn a_dir_makes_and_removes_single_names() {
    let folder = tempfile::tempdir().unwrap();
    let dir = Dir::open(folder.path()).unwrap().try_clone().unwrap();
    dir.make_dir(Path::new("d")).unwrap();
    assert_eq!(folder.path().join("d").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(dir.make_dir(Path::new("d")).unwrap_err().kind(), ErrorKind::Refused);
    let out = dir.create_file(Path::new("d/f"), 0o600).unwrap();
    out.set_times(NodeTimes { mtime_seconds: -2, mtime_nanos: 5 }).unwrap();
    let meta = folder.path().join("d/f").metadata().unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-2, 5));
    for _ in 0..2 {
        dir.remove_file(Path::new("d/f")).unwrap();
    }
    assert!(dir.remove_file(Path::new("d")).is_err());
    assert!(folder.path().join("d").exists());
}
