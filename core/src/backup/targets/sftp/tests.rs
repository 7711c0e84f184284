//! Against OpenSSH's own server, spoken to by pipes; `tests/e2e/sftp.rs` goes through a real `sshd`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::testing::{assert_all, target};

const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// A target of a server that is started as `server`, in a folder of `base`.
fn on(base: &Path, server: &[&str]) -> SftpTarget {
    let context = BuildContext {
        name: "nas".to_owned(),
        root: base.to_owned(),
        state: base.join("state"),
        service: String::new(),
    };
    let url = format!("sftp://nas{}/kept/deep", base.display());
    let settings = json!({ "url": url, "command": server, "retry_seconds": 5, "timeout_seconds": 20 });
    SftpTarget::new(&context, settings.as_object().unwrap()).unwrap()
}

/// The server's command line, `None` with a word about it where it is not installed.
fn server<'a>(arguments: &[&'a str]) -> Option<Vec<&'a str>> {
    if Path::new(SERVER).exists() {
        return Some([&[SERVER], arguments].concat());
    }
    eprintln!("skipped: {SERVER} is missing");
    None
}

async fn the_suite_passes(server: &[&str]) {
    let base = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    let fresh = || {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Arc::new(on(&base.path().join(format!("t{number}")), server)) as Arc<dyn BackupTarget>
    };
    let suite = tokio::time::timeout(Duration::from_secs(120), target::run(fresh));
    assert_all(&suite.await.expect("it hangs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_opensshs_server() {
    let Some(server) = server(&[]) else { return };
    the_suite_passes(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_where_links_sync_limits_and_space_are_refused() {
    // A server of another make: nothing is asked for that version 3 of the protocol has not, but for posix-rename.
    let Some(server) = server(&["-P", "hardlink,fsync,statvfs,limits"]) else { return };
    the_suite_passes(&server).await;
}

fn scope() -> Scope {
    Scope::default()
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_are_private_and_nothing_is_left_behind() {
    let Some(server) = server(&[]) else { return };
    let base = tempfile::tempdir().unwrap();
    let target = on(base.path(), &server);
    assert!(target.list(&scope(), "", None).await.unwrap().is_empty());
    assert!(target.free_bytes(&scope()).await.unwrap().unwrap() > 0);
    assert!(!base.path().join("kept").exists(), "asking made the folder");
    assert!(target.probe(&scope()).await.unwrap().put_if_absent);
    assert!(target.put(&scope(), "a/b", b"1", true).await.unwrap());
    assert!(!target.put(&scope(), "a/b", b"2", true).await.unwrap());
    let folder = base.path().join("kept/deep");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&folder), mode(&folder.join("a")), mode(&folder.join("a/b"))), (0o700, 0o700, 0o600));
    let mut upload = target.upload(&scope(), "a/c", None).await.unwrap();
    upload.write(b"half").await.unwrap();
    assert_eq!(names(&folder.join("a")).len(), 2, "it is not hidden, or the loser of a put stayed");
    drop(upload);
    let cleared = async {
        while names(&folder.join("a")) != ["b"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cleared).await.unwrap();
    assert_eq!(names(&folder), ["a"]);
}

#[tokio::test]
async fn what_is_no_file_is_no_object_and_what_the_dead_left_goes_after_a_day() {
    let Some(server) = server(&[]) else { return };
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("kept/deep");
    std::fs::create_dir_all(folder.join("folder")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for (name, hours) in [(".partial-old", 25), (".partial-new", 1), (".other-old", 25)] {
        let file = std::fs::File::create(folder.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
    let target = on(base.path(), &server);
    for key in ["folder", "link"] {
        assert_eq!(target.get(&scope(), key, 0..9).await.unwrap_err().kind(), ErrorKind::NotFound, "{key}");
        assert!(target.stat(&scope(), key).await.unwrap().is_none(), "{key}");
        target.delete(&scope(), key).await.unwrap();
    }
    assert!(target.stat(&scope(), "fifo").await.unwrap().is_none());
    assert!(target.list(&scope(), "", None).await.unwrap().is_empty());
    target.put(&scope(), "a", b"1", false).await.unwrap();
    assert_eq!(names(&folder), [".other-old", ".partial-new", "a", "fifo", "folder", "link"]);
}

#[tokio::test]
async fn a_file_in_the_place_of_the_folder_is_an_error() {
    let Some(server) = server(&[]) else { return };
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("kept"), "x").unwrap();
    let target = on(base.path(), &server);
    for error in [
        target.put(&scope(), "a", b"1", true).await.unwrap_err(),
        target.upload(&scope(), "a", None).await.unwrap_err(),
    ] {
        assert!(error.hint().is_some() && !error.retryable(), "{error}");
    }
    assert_eq!(std::fs::read(base.path().join("kept")).unwrap(), b"x");
}

/// A server that is cut off after it has sent so many bytes, the first few times; then it works.
fn cutting(base: &Path, bytes: u64, times: u32) -> Vec<String> {
    let script = format!(
        "n=$(cat {base}/n 2>/dev/null || echo 0); echo $((n+1)) >{base}/n; \
         if [ $n -lt {times} ]; then {SERVER} | (dd bs=1 count={bytes} status=none; kill -9 0); else exec {SERVER}; fi",
        base = base.display()
    );
    vec!["sh".to_owned(), "-c".to_owned(), script]
}

fn impatient() -> RetryPolicy {
    RetryPolicy { first_wait: Duration::from_millis(1), ..RetryPolicy::default() }
}

/// Stores, replaces and reads, and leaves `k/large` and `k/small`.
async fn work(target: &SftpTarget, block: &[u8]) -> Result<()> {
    assert!(target.put(&scope(), "k/small", b"small", true).await?, "it takes its own object for another's");
    let mut upload = target.upload(&scope(), "k/large", Some(3 * block.len() as u64)).await?;
    for _ in 0..3 {
        upload.write(block).await?;
    }
    let size = block.len() as u64;
    assert_eq!(upload.read_back(size..2 * size).await?, block);
    upload.finish().await?;
    target.put(&scope(), "k/small", b"other", false).await?;
    assert_eq!(target.get(&scope(), "k/large", 2 * size..4 * size).await?, block);
    assert_eq!(target.get(&scope(), "k/small", 0..9).await?, b"other");
    Ok(())
}

async fn works(target: &SftpTarget, folder: &Path, block: &[u8], when: &str) {
    let done = tokio::time::timeout(Duration::from_secs(60), work(target, block)).await;
    done.expect("it hangs").unwrap_or_else(|error| panic!("{when}: {error}"));
    // What was begun by a try before the last may still be on its way out.
    let cleared = async {
        while names(folder) != ["large", "small"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cleared)
        .await
        .unwrap_or_else(|_| panic!("{when}: {:?}", names(folder)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_in_any_reply_costs_nothing() {
    if server(&[]).is_none() {
        return;
    }
    let whole = tempfile::tempdir().unwrap();
    let kept = format!("{SERVER} | tee {}/said", whole.path().display());
    let target = on(whole.path(), &["sh", "-c", &kept]);
    works(&target, &whole.path().join("kept/deep/k"), b"block", "uncut").await;
    let said = whole.path().join("said").metadata().unwrap().len();
    // The shortest reply, a status without words, takes 21 bytes: each is cut.
    for bytes in (1..said).step_by(19) {
        let base = tempfile::tempdir().unwrap();
        let server = cutting(base.path(), bytes, 1);
        let server: Vec<&str> = server.iter().map(String::as_str).collect();
        let target = on(base.path(), &server).with_policy(impatient());
        works(&target, &base.path().join("kept/deep/k"), b"block", &format!("cut after {bytes} bytes")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_among_large_blocks_costs_nothing() {
    if server(&[]).is_none() {
        return;
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let block: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(1 << 20).collect();
    for _ in 0..10 {
        let base = tempfile::tempdir().unwrap();
        // Some 900 bytes before the block that is read back, and the most of them in it.
        let bytes = random.u64(500..100_000);
        let server = cutting(base.path(), bytes, 2);
        let server: Vec<&str> = server.iter().map(String::as_str).collect();
        let target = on(base.path(), &server).with_policy(impatient());
        works(&target, &base.path().join("kept/deep/k"), &block, &format!("cut after {bytes} bytes")).await;
    }
}

#[tokio::test]
async fn who_opens_no_session_is_told_why() {
    let base = tempfile::tempdir().unwrap();
    for (words, kind, hint) in [
        ("backup@nas: Permission denied (publickey).", ErrorKind::Denied, "authorized_keys"),
        ("Host key verification failed.", ErrorKind::Refused, "ssh-keyscan"),
        ("subsystem request failed on channel 0\nConnection closed", ErrorKind::Unsupported, "Subsystem sftp"),
        ("command-line: line 0: Bad configuration option: x", ErrorKind::InvalidInput, "ssh_options"),
    ] {
        let script = format!("echo '{words}' >&2; exit 255");
        let error = on(base.path(), &["sh", "-c", &script]).list(&scope(), "", None).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint().unwrap().contains(hint) && error.message().contains("sftp://nas"), "{error}");
    }
    let error = on(base.path(), &["/nowhere/ssh"]).stat(&scope(), "k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    for garbage in ["echo hello, I am a login script", "head -c 100000 /dev/zero", "exit 0"] {
        let target =
            on(base.path(), &["sh", "-c", garbage]).with_policy(RetryPolicy { retries: 0, ..RetryPolicy::default() });
        let error =
            tokio::time::timeout(Duration::from_secs(30), target.stat(&scope(), "k")).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{garbage}: {error}");
    }
}

#[tokio::test]
async fn silence_and_a_cancel_end_a_call() {
    let base = tempfile::tempdir().unwrap();
    let target = on(base.path(), &["sleep", "1000"]);
    let scope = Scope::default();
    let (asked, ()) = tokio::join!(target.stat(&scope, "k"), async { scope.cancel.cancel() });
    assert_eq!(asked.unwrap_err().kind(), ErrorKind::Cancelled);
    let mut settings = serde_json::Map::new();
    settings.insert("url".into(), json!("sftp://nas/x"));
    settings.insert("command".into(), json!(["sleep", "1000"]));
    settings.insert("timeout_seconds".into(), json!(0.05));
    settings.insert("retry_seconds".into(), json!(0));
    let context = BuildContext { name: "nas".into(), root: "/".into(), state: "/".into(), service: String::new() };
    let target = SftpTarget::new(&context, &settings).unwrap();
    let asked = tokio::time::timeout(Duration::from_secs(60), target.stat(&Scope::default(), "k")).await.unwrap();
    assert_eq!(asked.unwrap_err().kind(), ErrorKind::Timeout);
}
