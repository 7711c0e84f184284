//! The command line beside a running service: real processes, which are stopped, killed, and fork.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests set up their own scenes")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What guards against a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service, killed when dropped.
struct Service {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Service {
    fn start(root: &Path) -> Self {
        let mut service = Self::spawn(Command::new(env!("CARGO_BIN_EXE_worker-fixture")).arg("serve").arg(root));
        assert_eq!(service.line(), "ready");
        service
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// How much of a processor it has used, in ticks of a hundredth of a second.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command line: its exit status, what it printed, what it said beside it.
fn command_line(root: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_under-test"))
        .arg("--root")
        .arg(root)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The process that answers.
fn answering(root: &Path) -> (u64, String) {
    let (exit, stdout, stderr) = command_line(root, &["call", "status"]);
    assert_eq!(exit, 0, "{stdout}{stderr}");
    let status: Value = serde_json::from_str(&stdout).unwrap();
    (status["pid"].as_u64().unwrap(), format!("{}{stderr}", status["mode"].as_str().unwrap()))
}

fn scene() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ops.toml"), "[service]\nname = \"shop\"\n").unwrap();
    let socket = folder.path().join(".uplifted-ops/ops.sock");
    (folder, socket)
}

#[test]
fn the_command_line_speaks_of_the_service() {
    let (folder, socket) = scene();
    let root = folder.path();
    let mut service = Service::start(root);
    let pid = u64::from(service.pid());
    assert_eq!(socket.symlink_metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(socket.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(answering(root), (pid, "embedded".to_owned()), "a program is told nothing beside the answer");
    let (exit, stdout, _) = command_line(root, &["--local", "call", "status"]);
    let local: Value = serde_json::from_str(&stdout).unwrap();
    assert!(exit == 0 && local["pid"] != pid && local["mode"] == "command_line", "{stdout}");
    // For a person it is said who answers, once, and not on stdout.
    for (arguments, shown) in [
        (&["health"][..], "process"),
        (&["health", "--history"], ""),
        (&["metrics"], "uplifted_up 1"),
        (&["metrics", "history", "process_resident_memory_bytes"], "kept"),
    ] {
        let (exit, stdout, stderr) = command_line(root, arguments);
        assert!(exit < 2 && stdout.contains(shown), "{arguments:?}: {stdout}{stderr}");
        assert!(stderr.contains(&format!("the running service answers, process {pid}")), "{arguments:?}: {stderr}");
        let (exit, _, stderr) = command_line(root, &[&["--quiet"], arguments].concat());
        assert!(exit < 2 && stderr.is_empty(), "{arguments:?}: {stderr}");
    }
    // Other settings than the service's are no question for it.
    let (_, stdout, _) = command_line(root, &["--set", "service.name=other", "call", "status"]);
    assert!(stdout.contains("\"name\":\"other\""), "{stdout}");
    let (exit, _, stderr) = command_line(root, &["--local", "metrics", "history"]);
    assert!(exit == 2 && stderr.contains("start the service"), "{stderr}");
    service.tell("close");
    assert!(service.child.wait().unwrap().success());
    assert!(!socket.exists());
    let (answered, said) = answering(root);
    assert!(answered != pid && said == "command_line", "{said}");
}

#[test]
fn one_that_was_stopped_meets_a_deadline() {
    let (folder, _) = scene();
    let service = Service::start(folder.path());
    service.signal(Signal::STOP);
    let began = Instant::now();
    let (exit, stdout, stderr) = command_line(folder.path(), &["health"]);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!((exit, stdout.as_str()), (2, ""), "it is not believed to be well");
    assert!(stderr.contains(&format!("(process {})", service.pid())), "{stderr}");
    assert!(stderr.contains("has not answered for 5 s") && stderr.contains("--local"), "{stderr}");
    let (exit, stdout, _) = command_line(folder.path(), &["--local", "call", "health.check"]);
    assert!(exit < 2 && stdout.contains("\"checks\""), "{stdout}");
    service.signal(Signal::CONT);
    assert_eq!(answering(folder.path()).0, u64::from(service.pid()));
}

#[test]
fn of_several_processes_the_next_answers_when_one_dies() {
    let (folder, _) = scene();
    let first = Service::start(folder.path());
    let second = Service::start(folder.path());
    assert_eq!(answering(folder.path()).0, u64::from(first.pid()));
    first.kill();
    // At once: the command line waits for the one that takes over.
    assert_eq!(answering(folder.path()), (u64::from(second.pid()), "embedded".to_owned()));
}

#[test]
fn a_child_of_the_dead_does_not_answer_for_it() {
    let (folder, socket) = scene();
    let mut service = Service::start(folder.path());
    service.tell("fork");
    let child = Pid::from_raw(service.line().parse().unwrap()).unwrap();
    service.kill();
    assert!(socket.exists(), "nobody could remove it");
    let (_, said) = answering(folder.path());
    assert!(said.starts_with("command_linethe service is gone: nobody listens on "), "{said}");
    // What comes next has it, while the child lives.
    let next = Service::start(folder.path());
    assert_eq!(answering(folder.path()).0, u64::from(next.pid()));
    kill_process(child, Signal::KILL).unwrap();
}

#[test]
fn one_without_a_descriptor_left_waits_and_does_not_spin() {
    let (folder, _) = scene();
    let script = "ulimit -n 48; exec \"$0\" serve \"$1\" 127.0.0.1:0";
    let mut service = Service::spawn(
        Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_worker-fixture")]).arg(folder.path()),
    );
    let address: SocketAddr = service.line().parse().unwrap();
    let live = || {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).map(|_| said)
    };
    assert!(live().unwrap().contains("pass"));
    // More than it has descriptors for, who say nothing.
    let mut crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect_timeout(&address, PATIENCE).unwrap()).collect();
    let (before, began) = (service.ticks(), Instant::now());
    // Who comes later takes the place of one that was quiet.
    assert!(live().unwrap().contains("pass"));
    while began.elapsed() < Duration::from_secs(2) {
        crowd.push(TcpStream::connect_timeout(&address, PATIENCE).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    let used = service.ticks() - before;
    assert!(used < 100, "{used} hundredths of a second in two seconds");
    drop(crowd);
    assert!(live().unwrap().contains("pass"));
    service.tell("close");
    assert!(service.child.wait().unwrap().success());
}
