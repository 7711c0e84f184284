//! A process that counts, on a string.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Nothing here takes longer.
const GUARD: Duration = Duration::from_secs(120);

/// The program `counting`, which does what it is told.
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    /// One that shares in the folder.
    pub fn in_folder(folder: &Path) -> Self {
        let mut process = Self::start(&[]);
        assert_eq!(process.tell(&format!("share {}", folder.display())), "done");
        process
    }

    /// One that does nothing yet, with more environment.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_counting"))
            .env_remove("UPLIFTED_OPS_FAULT")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, lines: lines(stdout) }
    }

    /// Tells it something, and returns its answer.
    pub fn tell(&mut self, line: &str) -> String {
        self.say(line);
        self.line().unwrap_or_else(|| panic!("it ended at {line:?}"))
    }

    /// Tells it something.
    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// The next line, `None` at its end.
    pub fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(GUARD) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("a process hangs: {error}"),
        }
    }

    /// All the lines up to its end.
    pub fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Its page.
    pub fn page(&mut self) -> Page {
        self.say("page");
        let lines = std::iter::from_fn(|| self.line());
        Page(lines.take_while(|line| line != "# EOF").collect())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

/// A page of metrics.
#[derive(Debug)]
pub struct Page(pub Vec<String>);

impl Page {
    /// The value of a series; `None` where there is none.
    pub fn get(&self, series: &str) -> Option<f64> {
        let line = self.0.iter().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    /// What is counted by that label.
    pub fn counted(&self, by: &str) -> f64 {
        self.get(&format!("shop_requests_total{{by=\"{by}\"}}")).unwrap_or(0.0)
    }
}
