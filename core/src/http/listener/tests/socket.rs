//! The socket of the command line.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::http::{ListenerState, ListenerView};
use crate::ops::{Ops, OpsBuilder};

use super::PATIENCE;

fn builder(root: &Path) -> OpsBuilder {
    Ops::builder().root(root).environment([])
}

fn socket(ops: &Ops) -> PathBuf {
    ops.context().state.join("ops.sock")
}

fn state(ops: &Ops, wanted: ListenerState) -> ListenerView {
    let until = Instant::now() + PATIENCE;
    loop {
        let view = ops.context().socket().unwrap();
        if view.state == wanted {
            return view;
        }
        assert!(Instant::now() < until, "it stays {view:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Asks for a path: the status, and the body.
fn get(path: &Path, target: &str) -> std::io::Result<(u16, Value)> {
    let name = crate::fs::SocketName::of(path).unwrap();
    let mut stream = UnixStream::connect(name.as_path())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Behind a socket nobody pretends: what a stranger on the network may not say is nobody's business here.
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: close\r\n\r\n"
    )?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}

fn close(ops: &Ops) {
    crate::http::blocking::block_on(ops.close(PATIENCE)).unwrap();
}

#[test]
fn it_is_there_without_an_address_and_goes_with_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let ops = builder(folder.path()).setting("http.trust_loopback", false).build().unwrap();
    let path = socket(&ops);
    assert_eq!(state(&ops, ListenerState::Serving).address, path.display().to_string());
    let (status, found) = get(&path, "/api/v1/status").unwrap();
    assert_eq!((status, &found["mode"], &found["listener"]), (200, &json!("embedded"), &Value::Null), "{found}");
    assert_eq!(get(&path, "/livez").unwrap().0, 200);
    assert_eq!(get(&path, "/metrics").unwrap().0, 200);
    close(&ops);
    assert!(!path.exists());
    let without = builder(folder.path()).setting("http.socket", false).build().unwrap();
    assert!(!path.exists() && without.context().socket().is_none());
}

#[test]
fn the_next_process_takes_it_over() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = [(); 2].map(|()| builder(folder.path()).build().unwrap());
    let path = socket(&first);
    let until = Instant::now() + PATIENCE;
    // Who has it is looked up a moment later.
    while state(&second, ListenerState::Standby).pid != Some(std::process::id()) {
        assert!(Instant::now() < until, "{:?}", second.context().socket());
    }
    close(&first);
    state(&second, ListenerState::Serving);
    assert_eq!(get(&path, "/livez").unwrap().0, 200);
    assert_eq!(first.context().socket().unwrap().state, ListenerState::Stopped);
}

#[test]
fn one_whose_name_is_gone_gets_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let ops = builder(folder.path()).build().unwrap();
    let path = socket(&ops);
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let until = Instant::now() + PATIENCE;
    while get(&path, "/livez").is_err() {
        assert!(Instant::now() < until, "it stays without a name");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_deep_root_is_no_obstacle_and_one_without_room_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(150));
    std::fs::create_dir(&deep).unwrap();
    let ops = builder(&deep).build().unwrap();
    assert_eq!(get(&socket(&ops), "/livez").unwrap().0, 200);
    // What is no socket stays, and the service starts.
    let other = folder.path().join("other");
    std::fs::create_dir_all(other.join(".uplifted-ops/ops.sock")).unwrap();
    let ops = builder(&other).build().unwrap();
    let view = state(&ops, ListenerState::Refused);
    assert!(view.message.contains("is no socket"), "{view:?}");
}

#[test]
fn nobody_else_is_answered() {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ops = Arc::new(builder(folder.path()).build().unwrap());
    let path = socket(&ops);
    // As if somebody had opened all doors.
    for (path, mode) in [(folder.path(), 0o777), (path.parent().unwrap(), 0o777), (&path, 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let asked = std::thread::spawn(move || {
        become_nobody();
        ["/livez", "/api/v1/status", "/metrics"].map(|target| get(&path, target).unwrap())
    });
    for (status, said) in asked.join().unwrap() {
        assert_eq!((status, &said["error"]["kind"]), (403, &json!("denied")), "{said}");
        assert!(said["error"]["message"].as_str().unwrap().contains("the user 0"), "{said}");
    }
}

/// Gives this thread, and no other, to the user `nobody`: the system call is the thread's, the library's function is not.
#[allow(unsafe_code, reason = "a test that is somebody else")]
fn become_nobody() {
    // SAFETY: a system call with numbers.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, -1_i64, 65_534_i64, -1_i64) };
    assert_eq!(done, 0);
}
