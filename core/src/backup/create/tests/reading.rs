//! Files that do not stand still. Every change is made at a moment of the reading, none by a clock.

use std::io::Write;

use rustix::io::Errno;

use super::super::files::Moment;
use super::*;

const MIB: usize = 1 << 20;

/// Backs up with a change at certain moments of certain files.
async fn with_hook(
    scene: &Scene,
    hook: impl Fn(Moment, &str, &Path) -> rustix::io::Result<()> + Send + Sync + 'static,
) -> CreateReport {
    let root = scene.root();
    let hook: Hook = Arc::new(move |moment, path| hook(moment, path.to_str().unwrap(), &root.join(path)));
    create_with(&Scope::default(), scene.job(), Some(hook)).await.unwrap()
}

fn append(path: &Path, bytes: &[u8]) {
    std::fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn truncate(path: &Path, len: u64) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// A change of content that every clock of a filesystem sees.
fn rewrite(path: &Path, byte: u8) {
    let len = path.metadata().unwrap().len() as usize;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    (&file).write_all(&vec![byte; len]).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(byte))).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_or_replaced_when_its_turn_comes_is_named() {
    let scene = Scene::new(&[
        ("gone", b"x"),
        ("link", b"x"),
        ("folder", b"x"),
        ("fifo", b"x"),
        ("sock", b"x"),
        ("steady", b"steady"),
        ("denied", b"x"),
        ("sick", &[1; 3 * MIB]),
        ("sick-small", b"x"),
    ]);
    let report = with_hook(&scene, |moment, name, path| {
        match (moment, name) {
            (Moment::Open, "denied") => return Err(Errno::ACCESS),
            (Moment::Block(at), "sick") if at > MIB as u64 => return Err(Errno::IO),
            (Moment::Block(_), "sick-small") => return Err(Errno::IO),
            (Moment::Open, "steady" | "sick" | "sick-small") => {}
            (Moment::Open, _) => std::fs::remove_file(path).unwrap(),
            _ => {}
        }
        match (moment, name) {
            (Moment::Open, "link") => symlink("/etc/passwd", path).unwrap(),
            (Moment::Open, "folder") => std::fs::create_dir(path).unwrap(),
            (Moment::Open, "fifo") => {
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
            }
            (Moment::Open, "sock") => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            _ => {}
        }
        Ok(())
    })
    .await;
    assert_eq!(report.outcome, Outcome::Partial);
    let expected = [
        ("denied", SkipReason::Unreadable),
        ("fifo", SkipReason::Changed),
        ("folder", SkipReason::Changed),
        ("gone", SkipReason::Vanished),
        ("link", SkipReason::Changed),
        ("sick", SkipReason::Unreadable),
        ("sick-small", SkipReason::Unreadable),
        ("sock", SkipReason::Changed),
    ];
    assert_eq!(skips(&report), expected.map(|(path, reason)| (path.to_owned(), reason)));
    let archive = scene.archive().await;
    assert_eq!(names(&archive), ["sick", "steady"]);
    let into = extract(archive).await;
    // What was read of the sick file is there, and nothing that was not.
    assert_eq!(std::fs::read(into.path().join("sick")).unwrap(), vec![1; MIB]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_that_changes_is_stored_as_far_as_it_goes_and_named() {
    let big = vec![1_u8; 3 * MIB];
    let scene =
        Scene::new(&[("grows", &big), ("shrinks", &big), ("empties", &big), ("changes", &big), ("steady", &big)]);
    let report = with_hook(&scene, |moment, name, path| {
        if let Moment::Block(at) = moment
            && at == MIB as u64
        {
            match name {
                "grows" => append(path, b"more"),
                "shrinks" => truncate(path, 2 * MIB as u64 + 5),
                "empties" => truncate(path, 0),
                "changes" => rewrite(path, 2),
                _ => {}
            }
        }
        Ok(())
    })
    .await;
    let expected = [
        ("changes", SkipReason::Changed),
        ("empties", SkipReason::Shrank),
        ("grows", SkipReason::Grew),
        ("shrinks", SkipReason::Shrank),
    ];
    assert_eq!(skips(&report), expected.map(|(path, reason)| (path.to_owned(), reason)));
    let into = extract(scene.archive().await).await;
    let len = |name: &str| into.path().join(name).metadata().unwrap().len() as usize;
    assert_eq!((len("grows"), len("shrinks"), len("empties")), (3 * MIB, 2 * MIB + 5, MIB));
    assert_eq!(std::fs::read(into.path().join("grows")).unwrap(), big);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_is_read_again_until_it_stands_still() {
    let scene = Scene::new(&[
        ("once", b"first"),
        ("always-grows", b"0"),
        ("always-changes", b"0"),
        ("outgrows", b"0"),
        ("shrinks", b"12345"),
    ]);
    let times = Mutex::new(std::collections::HashMap::<String, u8>::new());
    let report = with_hook(&scene, move |moment, name, path| {
        if let Moment::Block(_) = moment {
            let mut times = times.lock().unwrap();
            let count = times.entry(name.to_owned()).or_default();
            *count += 1;
            match name {
                "once" if *count == 1 => append(path, b" and second"),
                "always-grows" => append(path, b"1"),
                "always-changes" => rewrite(path, b'0' + *count),
                "outgrows" if *count == 1 => append(path, &vec![b'1'; 2 * MIB]),
                "shrinks" if *count == 1 => truncate(path, 2),
                _ => {}
            }
        }
        Ok(())
    })
    .await;
    let expected = [("always-changes", SkipReason::Changed), ("always-grows", SkipReason::Grew)];
    assert_eq!(skips(&report), expected.map(|(path, reason)| (path.to_owned(), reason)));
    let into = extract(scene.archive().await).await;
    let read = |name: &str| std::fs::read(into.path().join(name)).unwrap();
    assert_eq!(read("once"), b"first and second");
    assert_eq!(read("always-grows"), b"0111");
    assert_eq!(read("outgrows").len(), 2 * MIB + 1);
    assert_eq!(read("shrinks"), b"12");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_name_that_vanishes_does_not_take_the_second_with_it() {
    let scene = Scene::new(&[("a", b"content")]);
    std::fs::hard_link(scene.root().join("a"), scene.root().join("b")).unwrap();
    std::fs::hard_link(scene.root().join("a"), scene.root().join("c")).unwrap();
    let report = with_hook(&scene, |moment, name, path| {
        if let (Moment::Open, "a") = (moment, name) {
            std::fs::remove_file(path).unwrap();
        }
        Ok(())
    })
    .await;
    assert_eq!(skips(&report), [("a".to_owned(), SkipReason::Vanished)]);
    let archive = scene.archive().await;
    assert!(matches!(entry(&archive, "b").node, Node::File { size: 7, .. }));
    assert!(matches!(entry(&archive, "c").node, Node::HardLink { .. }));
    extract(archive).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_name_that_leads_to_another_file_does_not_speak_for_the_second() {
    let scene = Scene::new(&[("a", b"as it was")]);
    std::fs::hard_link(scene.root().join("a"), scene.root().join("b")).unwrap();
    with_hook(&scene, |moment, name, path| {
        if let (Moment::Open, "a") = (moment, name) {
            std::fs::write(path.with_extension("new"), b"as it is").unwrap();
            std::fs::rename(path.with_extension("new"), path).unwrap();
        }
        Ok(())
    })
    .await;
    let into = extract(scene.archive().await).await;
    let read = |name: &str| std::fs::read(into.path().join(name)).unwrap();
    assert_eq!((read("a"), read("b")), (b"as it is".to_vec(), b"as it was".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sparse_file_that_changes_is_named_too() {
    let scene = Scene::new(&[]);
    for name in ["holes-shrink", "holes-grow", "all-hole"] {
        let file = std::fs::File::create(scene.root().join(name)).unwrap();
        file.set_len(64 * MIB as u64).unwrap();
        if name != "all-hole" {
            std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 8 * MIB as u64).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[2; 4096], 32 * MIB as u64).unwrap();
        }
    }
    let report = with_hook(&scene, |moment, name, path| {
        if let Moment::Block(at) = moment
            && at < 16 * MIB as u64
        {
            match name {
                "holes-shrink" => truncate(path, 20 * MIB as u64),
                "holes-grow" => append(path, b"more"),
                _ => {}
            }
        }
        Ok(())
    })
    .await;
    let expected = [("holes-grow", SkipReason::Grew), ("holes-shrink", SkipReason::Shrank)];
    assert_eq!(skips(&report), expected.map(|(path, reason)| (path.to_owned(), reason)));
    let into = extract(scene.archive().await).await;
    let meta = into.path().join("all-hole").metadata().unwrap();
    assert_eq!(meta.len(), 64 * MIB as u64);
    assert!(meta.blocks() * 512 < MIB as u64);
    let bytes = std::fs::read(into.path().join("holes-shrink")).unwrap();
    assert!(bytes.len() <= 32 * MIB && bytes[8 * MIB] == 1, "{}", bytes.len());
}
