//! A command that stands still at a fault point, while the test does something else.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::scene::{Answered, Scene};

/// Nothing here takes longer.
const GUARD: Duration = Duration::from_secs(120);

/// What a held command tells: where it stands, or that it has ended.
enum Told {
    Stands(String, UnixStream),
    Stopping,
    Ended(Answered),
}

/// A command that was started, and that stands at a point until it may go on.
pub struct Held {
    pid: u32,
    told: Receiver<Told>,
    /// The point that it stands at: its number, the call, the path.
    pub at: String,
    stream: Option<UnixStream>,
    ended: Option<Answered>,
}

impl Held {
    /// Starts an operation and returns when it stands at the point `at` (as in `UPLIFTED_OPS_FAULT`) of `role`.
    ///
    /// Panics when it ends without, or when nothing happens for two minutes.
    pub fn start(scene: &Scene, (name, request): (&str, &Value), (role, at): (&str, &str)) -> Self {
        match Self::try_start(scene, (name, request), (role, at), &[]) {
            Ok(held) => held,
            Err(ended) => panic!("{name} ended before {at}: {ended:?}"),
        }
    }

    /// The same with more environment; what it answered when it ended without passing the point.
    pub fn try_start(
        scene: &Scene,
        (name, request): (&str, &Value),
        (role, at): (&str, &str),
        environment: &[(&str, &str)],
    ) -> Result<Self, Answered> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("hold");
        let listener = UnixListener::bind(&socket).unwrap();
        // Everything that it starts holds the descriptor 9: the pipe ends when all have ended.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 9>&2", "sh"])
            .arg(scene.program())
            .arg("--root")
            .arg(scene.root())
            .args(["call", name, &request.to_string()])
            .env("UPLIFTED_OPS_FAULT", format!("{role}:hold@{at}"))
            .env("UPLIFTED_OPS_HOLD", &socket)
            .env("UPLIFTED_OPS_CLOCK_OFF", scene.clock_off_seconds.to_string())
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = child.id();
        let (tell, told) = channel();
        let stands = tell.clone();
        std::thread::spawn(move || {
            let _folder = folder;
            if let Ok((stream, _)) = listener.accept() {
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                // The test may have gone.
                let _ = stands.send(Told::Stands(line.trim().to_owned(), stream));
            }
        });
        std::thread::spawn(move || {
            let answered = ended(&mut child, &tell);
            // Whoever still waits for it to stand somewhere is told by a last line.
            drop(UnixStream::connect(&socket));
            let _ = tell.send(Told::Ended(answered));
        });
        loop {
            match told.recv_timeout(GUARD) {
                Ok(Told::Stands(at, stream)) if !at.is_empty() => {
                    return Ok(Self { pid, told, at, stream: Some(stream), ended: None });
                }
                Ok(Told::Stands(..) | Told::Stopping) => {}
                Ok(Told::Ended(answered)) => return Err(answered),
                Err(error) => {
                    kill(pid, Signal::KILL);
                    panic!("{name} neither stood at {at} nor ended: {error}");
                }
            }
        }
    }

    /// Lets it go on, and returns what it answers.
    pub fn go_on(mut self) -> Answered {
        self.stream = None;
        self.end()
    }

    /// Asks the command to stop, as Ctrl-C does. Returns when it says that it stops.
    pub fn interrupt(&mut self) {
        kill(self.pid, Signal::INT);
        self.wait(true);
    }

    /// Returns what it answers, without letting it go on.
    pub fn end(mut self) -> Answered {
        self.wait(false);
        self.ended.take().unwrap()
    }

    fn wait(&mut self, or_stopping: bool) {
        while self.ended.is_none() {
            match self.told.recv_timeout(GUARD) {
                Ok(Told::Ended(answered)) => self.ended = Some(answered),
                Ok(Told::Stopping) if or_stopping => return,
                Ok(Told::Stands(..) | Told::Stopping) => {}
                Err(error) => {
                    kill(self.pid, Signal::KILL);
                    let why = if error == RecvTimeoutError::Timeout { "hangs" } else { "is lost" };
                    panic!("a command that stood at {} {why}", self.at);
                }
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.stream.is_some() && std::thread::panicking() {
            kill(self.pid, Signal::KILL);
        }
    }
}

fn ended(child: &mut Child, tell: &Sender<Told>) -> Answered {
    let (stderr, tell) = (BufReader::new(child.stderr.take().unwrap()), tell.clone());
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        for line in stderr.split(b'\n').map_while(Result::ok) {
            if line.starts_with(b"stopping") {
                let _ = tell.send(Told::Stopping);
            }
            text.extend(line);
            text.push(b'\n');
        }
        text
    });
    let mut stdout = Vec::new();
    let _ = child.stdout.take().unwrap().read_to_end(&mut stdout);
    let status = child.wait().unwrap();
    Answered::of(&std::process::Output { status, stdout, stderr: errors.join().unwrap() })
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended already.
    let _ = kill_process(pid, signal);
}
