use std::ffi::OsString;
use std::os::unix::fs::symlink;

use super::*;

fn plan(root: &Path, includes: &[&str], excludes: &[&str]) -> Result<WalkPlan> {
    let includes: Vec<PathBuf> = includes.iter().map(PathBuf::from).collect();
    let excludes: Vec<String> = excludes.iter().map(|glob| (*glob).to_owned()).collect();
    WalkPlan::new(root, &includes, &excludes, &[PathBuf::from(".state")])
}

fn walk_all(root: &Path, includes: &[&str], excludes: &[&str]) -> Walked {
    walk(&Scope::default(), &plan(root, includes, excludes).unwrap()).unwrap()
}

fn all(walked: &Walked) -> Vec<Found> {
    walked.found.iter().collect::<Result<_>>().unwrap()
}

fn paths(walked: &Walked) -> Vec<String> {
    all(walked).iter().map(|found| found.path.as_path().to_str().unwrap_or("?").to_owned()).collect()
}

/// Makes files (and folders, where a name ends in `/`) with their parents.
fn tree(names: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in names {
        let path = root.path().join(name);
        if name.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
    }
    root
}

#[test]
fn the_order_is_that_of_the_bytes_and_folders_come_first() {
    let root = tree(&["b/2", "b/10", "a-b", "a/x", "a/x-y", "a/Z", ".env", "empty/", ".state/journal"]);
    let walked = walk_all(root.path(), &["."], &[]);
    let expected = [".env", "a", "a/Z", "a/x", "a/x-y", "a-b", "b", "b/10", "b/2", "empty"];
    assert_eq!(paths(&walked), expected);
    assert_eq!(walked.includes, [Included { path: RelPath::new("."), present: true }]);
    assert!(walked.skipped.is_empty());
}

#[test]
fn includes_overlap_repeat_and_are_missing() {
    let root = tree(&["a/b/c/f", "a/b/g", "a/other", "a-b/x", "z"]);
    let walked = walk_all(root.path(), &["a/b/c", "a-b", "a/b", "./a/b/", "none", "z/"], &[]);
    assert_eq!(paths(&walked), ["a", "a/b", "a/b/c", "a/b/c/f", "a/b/g", "a-b", "a-b/x", "z"]);
    let present: Vec<_> = walked.includes.iter().map(|i| (i.path.to_string(), i.present)).collect();
    let expected = [("a/b", true), ("a/b/c", true), ("a-b", true), ("none", false), ("z", true)];
    assert_eq!(present, expected.map(|(path, present)| (path.to_owned(), present)));
}

#[test]
fn globs_leave_out_by_path_and_prune_folders() {
    let root = tree(&[
        "__pycache__/a.pyc",
        "p/q/__pycache__/b.pyc",
        "p/q/code.py",
        "data/cache/x",
        "data/cache.db",
        "logs/a.log",
        "logs/keep/b.log",
        "x.tmp",
        "p/y.tmp",
        "build",
    ]);
    let globs = ["**/__pycache__", "./data/cache", "logs/*.log", "**/*.{tmp,bak}", "build/"];
    let walked = walk_all(root.path(), &["."], &globs);
    let expected =
        ["build", "data", "data/cache.db", "logs", "logs/keep", "logs/keep/b.log", "p", "p/q", "p/q/code.py"];
    assert_eq!(paths(&walked), expected);
    let plan = plan(root.path(), &["."], &globs).unwrap();
    assert!(plan.is_excluded(Path::new("p/__pycache__/deep/er")) && !plan.is_excluded(Path::new("p/q")));
    assert!(plan.is_excluded(Path::new("build/x")) && !plan.is_excluded(Path::new("build")));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let root = tree(&["data/x", ".state/y", "file"]);
    for (includes, excludes) in [
        (vec!["../etc"], vec![]),
        (vec!["/etc"], vec![]),
        (vec!["a/../../b"], vec![]),
        (vec![], vec![]),
        (vec![""], vec![]),
        (vec![".state"], vec![]),
        (vec!["."], vec!["!keep"]),
        (vec!["."], vec!["[open"]),
        (vec!["."], vec!["{a,b"]),
        (vec!["."], vec!["/abs"]),
        (vec!["."], vec!["a/../b"]),
        (vec!["."], vec![""]),
        (vec!["."], vec!["./"]),
    ] {
        let error = plan(root.path(), &includes, &excludes).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput, "{includes:?} {excludes:?}");
        assert!(error.hint().is_some(), "{error}");
    }
    assert!(plan(&root.path().join("file"), &["."], &[]).is_err());
    assert!(plan(&root.path().join("missing"), &["."], &[]).is_err());
    let absolute = root.path().join("data");
    assert!(plan(root.path(), &[absolute.to_str().unwrap()], &[]).is_ok());
}

#[test]
fn symlinks_are_stored_and_never_followed() {
    let outside = tree(&["secret"]);
    let root = tree(&["real/f", "app/releases/1/code"]);
    symlink(outside.path(), root.path().join("real/out")).unwrap();
    symlink("../real", root.path().join("real/loop")).unwrap();
    symlink("nowhere", root.path().join("dangling")).unwrap();
    symlink(outside.path(), root.path().join("disk")).unwrap();
    symlink("releases/1", root.path().join("app/current")).unwrap();
    let walked = walk_all(root.path(), &["real", "dangling"], &[]);
    assert_eq!(paths(&walked), ["dangling", "real", "real/f", "real/loop", "real/out"]);
    assert!(all(&walked).iter().filter(|found| found.kind == FoundKind::Symlink).count() == 3);
    // Naming a link would store nothing of what the person means; what lies behind one cannot be stored.
    for bad in ["disk", "disk/secret", "app/current", "app/current/code"] {
        assert!(plan(root.path(), &[bad], &[]).unwrap_err().message().contains("symlink"), "{bad}");
    }
    assert!(plan(root.path(), &["app/current", "app/releases"], &[]).is_ok());
}

#[test]
fn every_kind_and_any_name_is_met() {
    use std::os::unix::ffi::OsStringExt;
    let root = tree(&["plain"]);
    let odd = OsString::from_vec(b"\xff\n\xfe".to_vec());
    std::fs::write(root.path().join(&odd), b"x").unwrap();
    std::fs::write(root.path().join("n".repeat(255)), b"x").unwrap();
    std::fs::hard_link(root.path().join("plain"), root.path().join("second")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("sock")).unwrap();
    sys::mknodat(sys::CWD, root.path().join("fifo"), FileType::Fifo, 0o600.into(), 0).unwrap();
    let walked = walk_all(root.path(), &["."], &[]);
    assert_eq!(walked.found.len(), 5);
    assert_eq!(all(&walked).last().unwrap().path.as_bytes(), b"\xff\n\xfe");
    let by_name = |name: &str| all(&walked).into_iter().find(|found| found.path.as_path() == Path::new(name)).unwrap();
    assert_eq!(by_name("fifo").kind, FoundKind::Fifo);
    assert_eq!(by_name("plain").identity, by_name("second").identity);
    assert_eq!(by_name("second").links, 2);
    let skipped: Vec<_> = walked.skipped.iter().map(|s| (s.path.to_string(), s.reason)).collect();
    assert_eq!(skipped, [("sock".to_owned(), SkipReason::Socket)]);
}

#[test]
fn a_very_deep_tree_is_walked_and_what_no_call_can_name_is_named() {
    let root = tree(&[]);
    let mut folder = open_root(root.path()).unwrap();
    let name = "d".repeat(200);
    for _ in 0..30 {
        sys::mkdirat(&folder, name.as_str(), Mode::from_raw_mode(0o700)).unwrap();
        folder = sys::openat(&folder, name.as_str(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    }
    let walked = walk_all(root.path(), &["."], &[]);
    // PATH_MAX is 4096: the folder below that cannot be opened by its path.
    assert_eq!(walked.found.len(), 21);
    assert_eq!(walked.skipped.len(), 1);
    assert_eq!(walked.skipped[0].reason, SkipReason::Unreadable);
}

#[test]
fn a_tree_deeper_than_folders_are_held_open_is_walked_in_order() {
    let root = tempfile::tempdir().unwrap();
    let mut folder = root.path().to_owned();
    let mut expected = Vec::new();
    for depth in 0..3 * HELD_OPEN {
        std::fs::write(folder.join("a"), b"").unwrap();
        folder.push("d");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.with_file_name("z"), b"").unwrap();
        expected.push(depth);
    }
    let walked = walk_all(root.path(), &["."], &[]);
    let paths = paths(&walked);
    assert_eq!(paths.len(), 3 * expected.len());
    assert!(paths.starts_with(&["a".into(), "d".into(), "d/a".into()]) && paths.ends_with(&["z".into()]), "{paths:?}");
    assert!(walked.skipped.is_empty());
}

#[test]
fn a_folder_that_vanishes_or_turns_into_a_link_is_named() {
    let outside = tree(&["secret"]);
    let root = tree(&["a/1", "b/1", "c/1"]);
    let top = root.path().to_owned();
    let plan = plan(root.path(), &["a", "b", "c"], &[]).unwrap();
    // The walker's own steps, with the change between the look at a folder and its listing.
    let scope = Scope::default();
    let mut walker = Walker {
        scope: &scope,
        plan: &plan,
        root: open_root(&top).unwrap(),
        out: Walked::default(),
        way: HashSet::new(),
        scout: Scout::start(),
    };
    std::fs::remove_dir_all(top.join("a")).unwrap();
    assert!(walker.open(RelPath::new("a")).is_none());
    std::fs::remove_dir_all(top.join("b")).unwrap();
    symlink(outside.path(), top.join("b")).unwrap();
    assert!(walker.open(RelPath::new("b")).is_none());
    std::fs::remove_dir_all(top.join("c")).unwrap();
    std::fs::write(top.join("c"), b"file").unwrap();
    assert!(walker.open(RelPath::new("c")).is_none());
    let reasons: Vec<_> = walker.out.skipped.iter().map(|skipped| skipped.reason).collect();
    assert_eq!(reasons, [SkipReason::Vanished, SkipReason::Changed, SkipReason::Changed]);
}

#[test]
fn a_cancelled_walk_ends() {
    let root = tree(&["a", "b"]);
    let scope = Scope::default();
    scope.cancel.cancel();
    let error = walk(&scope, &plan(root.path(), &["."], &[]).unwrap()).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Cancelled);
}

#[test]
fn what_changed_just_now_is_not_settled() {
    let begin = crate::clock::Timestamp::from_second(1000).unwrap();
    let look = |mtime, ctime| Look { size: 0, mtime: (mtime, 0), ctime: (ctime, 0), identity: (0, 0) };
    assert!(look(997, 997).is_settled(begin));
    assert!(!look(998, 1).is_settled(begin) && !look(1, 998).is_settled(begin) && !look(2000, 1).is_settled(begin));
}
