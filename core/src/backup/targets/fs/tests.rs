use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::testing::{assert_all, target};

fn scope() -> Scope {
    Scope::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes() {
    let base = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    let fresh = || {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Arc::new(FsTarget::new(base.path().join(format!("t{number}/deep")))) as Arc<dyn BackupTarget>
    };
    assert_all(&target::run(fresh).await);
}

#[tokio::test]
async fn nothing_is_created_before_the_first_write() {
    let base = tempfile::tempdir().unwrap();
    let target = FsTarget::new(base.path().join("missing"));
    assert!(target.list(&scope(), "", None).await.unwrap().is_empty());
    assert!(target.stat(&scope(), "k").await.unwrap().is_none());
    target.delete(&scope(), "k").await.unwrap();
    assert!(target.free_bytes(&scope()).await.unwrap().unwrap() > 0);
    assert!(!base.path().join("missing").exists());
}

#[tokio::test]
async fn a_file_in_the_place_of_the_folder_is_not_an_empty_target() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("file"), "x").unwrap();
    let error = FsTarget::new(base.path().join("file")).list(&scope(), "", None).await.unwrap_err();
    assert!(error.message().contains("file"), "{error}");
}

#[tokio::test]
async fn modes_are_private_and_the_folder_may_be_a_symlink() {
    let base = tempfile::tempdir().unwrap();
    let real = base.path().join("real");
    std::fs::create_dir(&real).unwrap();
    symlink(&real, base.path().join("link")).unwrap();
    let target = FsTarget::new(base.path().join("link/new"));
    let mut upload = target.upload(&scope(), "a/b.tar.zst", None).await.unwrap();
    upload.write(b"bytes").await.unwrap();
    let hidden = std::fs::read_dir(real.join("new/a")).unwrap().next().unwrap().unwrap();
    assert!(hidden.file_name().to_str().unwrap().starts_with('.'));
    assert_eq!(hidden.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    upload.finish().await.unwrap();
    let mode = |path: &str| real.join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("new"), mode("new/a"), mode("new/a/b.tar.zst")), (0o700, 0o700, 0o600));
}

#[tokio::test]
async fn litter_goes_wherever_it_lies_when_a_run_writes_its_first_object() {
    let base = tempfile::tempdir().unwrap();
    let litter = |name: &str| {
        let path = base.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"half").unwrap();
        path
    };
    let ours = [".recover.sh.0123456789ab.partial", "collect/.x.0123456789ab.partial", "packs/.y.0123456789ab.partial"];
    let ours = ours.map(litter);
    let theirs = litter(".Trash/.z.0123456789ab.partial");
    let target = FsTarget::new(base.path());
    target.list(&scope(), "", None).await.unwrap();
    assert!(ours.iter().all(|path| path.exists()), "reading removes nothing");
    target.put(&scope(), "packs/k", b"v", true).await.unwrap();
    assert!(ours.iter().all(|path| !path.exists()));
    assert!(theirs.exists(), "a hidden folder is not ours");
}

#[tokio::test]
async fn a_dead_writers_litter_goes_and_a_live_one_stays() {
    let base = tempfile::tempdir().unwrap();
    let target = FsTarget::new(base.path());
    let mut live = target.upload(&scope(), "live", None).await.unwrap();
    live.write(b"live").await.unwrap();
    std::fs::write(base.path().join(".dead.0123.partial"), b"half").unwrap();
    let next = target.upload(&scope(), "next", None).await.unwrap();
    assert!(!base.path().join(".dead.0123.partial").exists());
    live.finish().await.unwrap();
    next.abort().await.unwrap();
    let names: Vec<_> = std::fs::read_dir(base.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["live"]);
}

#[tokio::test]
async fn what_is_no_object_is_neither_listed_nor_followed() {
    let base = tempfile::tempdir().unwrap();
    let outside = base.path().join("outside");
    let folder = base.path().join("target");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&outside, b"secret").unwrap();
    symlink(&outside, folder.join("link")).unwrap();
    symlink(base.path(), folder.join("loop")).unwrap();
    std::fs::write(folder.join("with space"), b"x").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let target = FsTarget::new(&folder);
    assert!(target.list(&scope(), "", None).await.unwrap().is_empty());
    for key in ["link", "fifo", "loop"] {
        assert!(target.stat(&scope(), key).await.unwrap().is_none(), "{key}");
        let error = target.get(&scope(), key, 0..1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{key}");
        target.delete(&scope(), key).await.unwrap();
        assert!(folder.join(key).symlink_metadata().is_ok(), "{key} was removed");
    }
    assert_eq!(std::fs::read(&outside).unwrap(), b"secret");
}

#[tokio::test]
async fn what_nfs_and_fuse_keep_of_deleted_files_is_not_listed() {
    let base = tempfile::tempdir().unwrap();
    let target = FsTarget::new(base.path());
    target.put(&scope(), "a/k", b"x", false).await.unwrap();
    for name in [".nfs000000000123abcd00000001", ".fuse_hidden0000000100000001", ".turn.0123456789abcdef.partial"] {
        std::fs::write(base.path().join("a").join(name), b"old").unwrap();
    }
    let listed = target.list(&scope(), "", None).await.unwrap();
    assert_eq!(listed.into_iter().map(|object| object.key).collect::<Vec<_>>(), ["a/k"]);
}

#[test]
fn a_stale_handle_is_looked_up_again_and_not_for_ever() {
    use std::cell::Cell;
    let stale = || Error::io("read \"k\"", io::Error::from_raw_os_error(libc::ESTALE));
    let calls = Cell::new(0);
    let read = |good_from: usize| {
        calls.set(0);
        steady(|| {
            calls.set(calls.get() + 1);
            if calls.get() >= good_from { Ok(calls.get()) } else { Err(stale()) }
        })
    };
    assert_eq!(read(3).unwrap(), 3);
    assert_eq!(read(4).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(calls.get(), 3);
    let once = steady(|| {
        calls.set(calls.get() + 1);
        Err::<(), _>(missing("k"))
    });
    assert_eq!((once.unwrap_err().kind(), calls.get()), (ErrorKind::NotFound, 4));
}

#[tokio::test]
async fn too_little_room_is_said_before_the_first_byte() {
    let base = tempfile::tempdir().unwrap();
    let target = FsTarget::new(base.path());
    let error = target.upload(&scope(), "k", Some(u64::MAX / 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.hint().is_some());
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
}

#[test]
fn its_settings_are_checked() {
    let context = BuildContext {
        name: "local".into(),
        root: "/srv/app".into(),
        state: "/srv/app/.state".into(),
        service: "shop".into(),
    };
    let settings = |json: serde_json::Value| json.as_object().unwrap().clone();
    let target = (KIND.build)(&context, &settings(serde_json::json!({ "path": "backups" }))).unwrap();
    assert_eq!(target.capability().location, "/srv/app/backups");
    let base = tempfile::tempdir().unwrap();
    let [home, link] = ["home", "link"].map(|name| base.path().canonicalize().unwrap().join(name));
    std::fs::create_dir_all(home.join("app")).unwrap();
    std::os::unix::fs::symlink(home.join("app"), &link).unwrap();
    let beside = FsTarget::new(link.join("../backups")).capability().location;
    assert_eq!(beside, home.join("backups").to_str().unwrap(), "as the filesystem has it");
    assert_eq!(FsTarget::new("/nowhere/app/../backups").capability().location, "/nowhere/app/../backups");
    for bad in [serde_json::json!({}), serde_json::json!({ "path": "" }), serde_json::json!({ "path": "x", "pth": 1 })]
    {
        let error = (KIND.build)(&context, &settings(bad.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
    }
}
