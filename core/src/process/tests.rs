use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::*;
use crate::cancel::Scope;
use crate::error::ErrorKind;

/// Longer than anything here takes: only a hang meets it.
const HANG: Duration = Duration::from_secs(60);

fn argv(words: &[&str]) -> Vec<std::ffi::OsString> {
    words.iter().map(Into::into).collect()
}

fn shell(script: &str) -> Program {
    Program::new(argv(&["sh", "-c", script])).deadline(HANG)
}

/// A FIFO-like pipe that a program and all it starts hold: its end says that all of them are gone.
fn life_line() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, writer.into())
}

/// Gives `fd` to programs that are started; returns its number. Portable shells redirect to single digits
/// only, hence `/dev/fd`.
fn inherit(fd: &OwnedFd) -> String {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
    use std::os::fd::AsRawFd;
    fd.as_raw_fd().to_string()
}

#[tokio::test]
async fn output_status_and_environment_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let output = shell("echo out; echo err >&2; pwd; echo $COLOUR; exit 3")
        .cwd(folder.path())
        .env("COLOUR", "blue")
        .run(&Scope::default())
        .await
        .unwrap();
    assert_eq!(output.status, Exit::Status(3));
    let cwd = folder.path().canonicalize().unwrap();
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), format!("out\n{}\nblue\n", cwd.display()));
    assert_eq!(output.stderr, b"err\n");
    let error = output.success().unwrap_err();
    assert_eq!(error.to_string(), "\"sh\" ended with exit status 3: err");
}

#[tokio::test]
async fn only_the_tail_of_the_output_is_kept() {
    let output = shell("seq 1 100000; printf last").output_limit(10).run(&Scope::default()).await.unwrap();
    assert_eq!(output.stdout, b"00000\nlast");
    assert_eq!(output.stdout_dropped + 10, (1..=100_000_u32).map(|n| n.to_string().len() as u64 + 1).sum::<u64>() + 4);
    let nothing = shell("echo x").output_limit(0).run(&Scope::default()).await.unwrap();
    assert_eq!((nothing.stdout.len(), nothing.stdout_dropped), (0, 2));
}

#[tokio::test]
async fn what_cannot_be_started_is_named_with_the_repair() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "not a program").unwrap();
    let missing = folder.path().join("missing");
    let cases = [
        (Program::new(Vec::new()), ErrorKind::InvalidInput, "there is no program to start"),
        (Program::new(argv(&[""])), ErrorKind::InvalidInput, "there is no program to start"),
        (Program::new(argv(&["no-such-program-here"])), ErrorKind::NotFound, "there is no such program"),
        (Program::new(vec![plain.clone().into()]), ErrorKind::Denied, "not executable"),
        (Program::new(argv(&["true"])).cwd(&missing), ErrorKind::NotFound, "is not a folder to start"),
        (Program::new(argv(&["tr\0ue"])), ErrorKind::InvalidInput, "could not start"),
    ];
    for (program, kind, message) in cases {
        let error = program.run(&Scope::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(message), "{error}");
    }
    for argv in [Vec::new(), argv(&["no-such-program-here"])] {
        assert!(start_detached(argv, folder.path()).unwrap_err().hint().is_some());
    }
}

#[tokio::test]
async fn the_deadline_kills_the_whole_group() {
    let (mut reader, writer) = life_line();
    let fd = inherit(&writer);
    let error = shell(&format!("sleep 1000 >/dev/fd/{fd} & echo waiting >&2; wait"))
        .deadline(Duration::from_millis(300))
        .run(&Scope::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.message(), "\"sh\" did not end within 0.3 s and was killed");
    assert_eq!(error.context(), [("stderr".to_owned(), "waiting".to_owned())]);
    drop(writer);
    // Returns only when the grandchild is gone as well.
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn a_cancel_and_a_dropped_future_kill_the_whole_group() {
    for drop_it in [false, true] {
        let (reader, writer) = life_line();
        let fd = inherit(&writer);
        let scope = Scope::default();
        let program = shell(&format!("sleep 1000 >/dev/fd/{fd} & echo started >/dev/fd/{fd}; wait"));
        let task = tokio::spawn({
            let scope = scope.clone();
            async move { program.run(&scope).await }
        });
        let mut reader = BufReader::new(reader);
        let mut reader = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, "started\n");
            reader
        })
        .await
        .unwrap();
        if drop_it {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        } else {
            scope.cancel.cancel();
            assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        }
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}

#[tokio::test]
async fn what_a_program_leaves_behind_neither_delays_it_nor_dies() {
    let (reader, writer) = life_line();
    let fd = inherit(&writer);
    // The child it leaves holds stdout open and waits for its own stdin, a FIFO that we open later.
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let output = shell(&format!("(read line < {}; echo survived >/dev/fd/{fd}) & echo done", gate.display()))
        .run(&Scope::default())
        .await
        .unwrap();
    assert_eq!(output.stdout, b"done\n");
    std::fs::write(&gate, "go\n").unwrap();
    drop(writer);
    let mut said = String::new();
    BufReader::new(reader).read_to_string(&mut said).unwrap();
    assert_eq!(said, "survived\n");
}

#[tokio::test]
async fn a_detached_program_has_a_session_of_its_own_and_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let identity = start_detached(argv(&["sh", "-c", "read line < gate"]), folder.path()).unwrap();
    assert!(identity.is_alive());
    let session = stat::Stat::of(identity.pid).unwrap().session;
    assert_eq!(session, identity.pid);
    let pidfd = rustix::process::pidfd_open(stat::raw(identity.pid).unwrap(), rustix::process::PidfdFlags::empty());
    let pidfd = pidfd.unwrap();
    std::fs::write(&gate, "go\n").unwrap();
    let mut watched = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut watched, None).unwrap();
    // The zombie goes as soon as the thread has waited.
    while stat::Stat::of(identity.pid).is_some_and(|stat| stat.start_time == identity.start_time) {
        std::thread::yield_now();
    }
}

#[test]
fn an_exit_reads_as_part_of_a_sentence() {
    assert_eq!(Exit::Status(3).to_string(), "exit status 3");
    assert_eq!(Exit::Signal(9).to_string(), "signal 9 (SIGKILL)");
    assert_eq!(Exit::Signal(60).to_string(), "signal 60");
}

#[test]
fn the_end_of_a_host_that_is_gone_is_an_error_at_once() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let identity = ProcessIdentity { pid: child.id(), start_time: 1, ..ProcessIdentity::current() };
    child.wait().unwrap();
    assert_eq!(end_with(&identity).unwrap_err().kind(), ErrorKind::Refused);
}
