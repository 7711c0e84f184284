//! The command line under `strace`, which kills one of its processes at a system call, or makes the call fail.
//!
//! This reaches what no fault point of `fs` stands before: what SQLite writes, and what a library writes. A
//! call is named by how many of its name the thread has made (strace(1), `when=`). Another run may give the work
//! to other threads, so a name may be hit elsewhere the next time, or not at all: the trace of the run tells.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::scene::{Answered, Scene};

/// The calls that change what is on a disk.
const CHANGES: [&str; 22] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "fallocate",
    "ftruncate",
    "fsync",
    "fdatasync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "openat",
    "copy_file_range",
];

/// Which process is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one that was called, without its worker.
    Host,
    /// Its worker.
    Worker,
}

/// A system call of a trace.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// How many of that name the thread has made, this one included.
    pub nth: usize,
    /// Its line, with the paths of its descriptors.
    pub line: String,
}

impl Call {
    /// Whether it is about a file below `folder`, and not about a pipe, `/proc` or a library.
    pub fn is_below(&self, folder: &Path) -> bool {
        self.line.contains(&folder.display().to_string())
    }

    /// Whether it opens a file that it does not create.
    pub fn only_opens(&self) -> bool {
        self.name == "openat" && !self.line.contains("O_CREAT")
    }
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to the process, before the call is made.
    Kill,
    /// The call is not made and fails with this error.
    Error(&'static str),
    /// So do all later ones of its name.
    Errors(&'static str),
}

impl Fault {
    fn expression(self, name: &str, nth: usize) -> String {
        match self {
            Self::Kill => format!("inject={name}:signal=SIGKILL:when={nth}"),
            Self::Error(error) => format!("inject={name}:error={error}:when={nth}"),
            Self::Errors(error) => format!("inject={name}:error={error}:when={nth}+"),
        }
    }
}

/// Why nothing can be traced here, `None` when it can.
pub fn unavailable() -> Option<String> {
    match Command::new("strace").args(["-f", "-b", "execve", "-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Runs an operation and returns the calls that the role made: all that change something on a disk, or only
/// those of the name that a fault is injected into.
pub fn call(
    scene: &Scene,
    role: Role,
    fault: Option<(Fault, &str, usize)>,
    name: &str,
    request: &Value,
) -> (Answered, Vec<Call>) {
    let file = scene.beside("system-calls");
    let calls = fault.map_or_else(|| CHANGES.join(","), |(_, call, _)| call.to_owned());
    let mut strace = ["strace", "-f", "-y", "-s", "0", "-e", "signal=none", "-e"].map(str::to_owned).to_vec();
    strace.extend([format!("trace={calls}"), "-o".to_owned(), file.display().to_string()]);
    if let Some((fault, call, nth)) = fault {
        strace.extend(["-e".to_owned(), fault.expression(call, nth)]);
    }
    let request = request.to_string();
    let answer = match role {
        Role::Host => {
            // The worker is let go of when it begins.
            strace.extend(["-b".to_owned(), "execve".to_owned()]);
            scene.run_in(&strace, &["call", name, &request], &[])
        }
        Role::Worker => {
            strace.push(scene.program().display().to_string());
            let command = format!("worker.command={}", json!(strace));
            scene.run_in(&[], &["--set", &command, "call", name, &request], &[])
        }
    };
    (Answered::of(&answer), calls_in(&std::fs::read_to_string(&file).unwrap_or_default()))
}

/// Reads a trace: `26007 fsync(15</srv/journal>) = 0`.
fn calls_in(trace: &str) -> Vec<Call> {
    let mut counts = std::collections::HashMap::<(&str, &str), usize>::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        // `<... fsync resumed>) = 0` and `+++ exited with 0 +++` are no calls.
        if !CHANGES.contains(&name) {
            continue;
        }
        let nth = counts.entry((thread, name)).or_default();
        *nth += 1;
        calls.push(Call { name: name.to_owned(), nth: *nth, line: line.to_owned() });
    }
    calls
}
