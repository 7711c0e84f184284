//! Starting programs and measuring them.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use uplifted_example::Failure;

use crate::memory::Watch;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    /// Wall time.
    pub(crate) seconds: f64,
    /// The peak memory of the program and its children.
    pub(crate) peak_bytes: u64,
    /// By how much the place where backups go grew, when that was asked.
    pub(crate) stored_bytes: Option<u64>,
}

/// Runs a program to its end.
///
/// # Errors
/// It does not exit 0; its stderr is in the message.
pub(crate) fn measure(command: &mut Command) -> Result<Measure, Failure> {
    let name = format!("{command:?}");
    let began = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let watch = Watch::start(child.id());
    let output = child.wait_with_output()?;
    let seconds = began.elapsed().as_secs_f64();
    let peak_bytes = watch.finish()?;
    if !output.status.success() {
        return Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(Measure { seconds, peak_bytes, stored_bytes: None })
}

/// Runs `first | second > file`.
///
/// # Errors
/// Either does not exit 0.
pub(crate) fn measure_pipe(first: &mut Command, second: &mut Command, file: &Path) -> Result<Measure, Failure> {
    let began = Instant::now();
    let mut left = first.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pipe = left.stdout.take().ok_or("the pipe is missing")?;
    let mut right = second.stdin(pipe).stdout(File::create(file)?).spawn()?;
    let watches = [Watch::start(left.id()), Watch::start(right.id())];
    let wait = |child: &mut Child| -> Result<(), Failure> {
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a side of the pipe failed: {status}").into()) }
    };
    wait(&mut right)?;
    wait(&mut left)?;
    let seconds = began.elapsed().as_secs_f64();
    let mut peak_bytes = 0;
    for watch in watches {
        peak_bytes += watch.finish()?;
    }
    Ok(Measure { seconds, peak_bytes, stored_bytes: None })
}

/// The first line that a program prints about its version; `None` when it is not installed.
pub(crate) fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
}

impl std::ops::Add for Measure {
    type Output = Self;

    /// One after the other.
    fn add(self, next: Self) -> Self {
        Self {
            seconds: self.seconds + next.seconds,
            peak_bytes: self.peak_bytes.max(next.peak_bytes),
            stored_bytes: next.stored_bytes.or(self.stored_bytes),
        }
    }
}
