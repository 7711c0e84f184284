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
fn without_links_nothing_is_replaced_either() {
    use foreign::Call;
    for lacking in [vec![Call::Link], vec![Call::Link, Call::RenameNew]] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let writers: Vec<_> = (0..16_u8)
            .map(|number| {
                let (path, lacking) = (path.clone(), lacking.clone());
                std::thread::spawn(move || {
                    foreign::test::LACKING.set(lacking);
                    let mut file = AtomicFile::create(&path, 0o600).unwrap();
                    file.out().unwrap().write_all(&[number; 1000]).unwrap();
                    file.publish_new().unwrap().then_some(number)
                })
            })
            .collect();
        let won: Vec<u8> = writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect();
        assert_eq!(won.len(), 1, "{lacking:?}");
        assert_eq!(std::fs::read(&path).unwrap(), [won[0]; 1000]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{lacking:?}");
    }
}

#[test]
fn a_turn_that_a_dead_writer_left_is_named_and_swept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let publish = || {
        foreign::test::LACKING.set(vec![foreign::Call::Link, foreign::Call::RenameNew]);
        let mut file = AtomicFile::create(&path, 0o600).unwrap();
        file.out().unwrap().write_all(b"x").unwrap();
        // The process dies between taking its turn and the rename: create, write, sync, link, renameat2, turn, rename.
        let crash = fault::crash::after(4);
        let published = file.publish_new();
        drop(crash);
        published
    };
    publish().unwrap_err();
    assert!(!path.exists());
    let turn = std::fs::read_dir(folder.path()).unwrap().find_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with(".turn.").then_some(name)
    });
    let turn = turn.expect("it died before it had its turn, or after");
    let mut file = AtomicFile::create(&path, 0o600).unwrap();
    file.out().unwrap().write_all(b"y").unwrap();
    let error = file.publish_new().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.hint().unwrap().contains(&turn), "{error:?}");
    sweep_partials(folder.path()).unwrap();
    let mut file = AtomicFile::create(&path, 0o600).unwrap();
    file.out().unwrap().write_all(b"z").unwrap();
    assert!(file.publish_new().unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"z");
}

#[test]
fn an_error_of_a_link_or_a_rename_that_happened_is_none() {
    // What an NFS client says when the server's first answer was lost: the link is there, "it exists".
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let hidden = |folder: &Path| {
        let mut names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        names.find(|path| path.to_str().unwrap().ends_with(".partial")).unwrap()
    };
    let mut file = AtomicFile::create(&path, 0o600).unwrap();
    file.out().unwrap().write_all(b"x").unwrap();
    std::fs::hard_link(hidden(folder.path()), &path).unwrap();
    assert!(file.publish_new().unwrap());
    // And the rename is there, "there is no such file".
    let mut file = AtomicFile::create(&path, 0o600).unwrap();
    file.out().unwrap().write_all(b"y").unwrap();
    std::fs::rename(hidden(folder.path()), &path).unwrap();
    file.publish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"y");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_sweep_of_one_file_spares_what_others_left() {
    let folder = tempfile::tempdir().unwrap();
    let names = [".out.tar.0123456789ab.partial", ".out.0123456789ab.partial", ".other.0123456789ab.partial", ".out"];
    for name in names {
        std::fs::write(folder.path().join(name), b"half").unwrap();
    }
    assert_eq!(sweep_partials_of(&folder.path().join("out.tar")).unwrap(), 1);
    assert_eq!(names.map(|name| folder.path().join(name).exists()), [false, true, true, true]);
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

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_folder() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can give files away");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("of root"), b"before").unwrap();
    std::os::unix::fs::chown(folder.path(), Some(4711), Some(4712)).unwrap();

    write_atomic(&at("file"), PRIVATE_FILE, b"new").unwrap();
    OutFile::append_to(&at("log"), PRIVATE_FILE).unwrap().append(b"line").unwrap();
    create_dir_all(&at("folder/in it"), PRIVATE_DIR).unwrap();
    let _lock = FileLock::try_acquire(&at("lock")).unwrap().unwrap();
    let _record_lock = ProcessLock::try_acquire(&at("record lock")).unwrap().unwrap();
    for name in ["file", "log", "folder", "folder/in it", "lock", "record lock"] {
        let meta = at(name).metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (4711, 4712), "{name}");
    }
    // What was there may be a second name of a file of somebody else.
    OutFile::append_to(&at("of root"), PRIVATE_FILE).unwrap().append(b"line").unwrap();
    assert_eq!(at("of root").metadata().unwrap().uid(), 0);
    drop(FileLock::try_acquire(&at("of root")).unwrap().unwrap());
    assert_eq!(at("of root").metadata().unwrap().uid(), 0);
}
