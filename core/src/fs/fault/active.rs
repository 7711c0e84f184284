//! What the environment makes of the points, in a build that has them.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Op;

enum Action {
    Kill,
    Fail { errno: i32, for_ever: bool },
    Short,
    Hold,
}

/// Which point is meant.
enum Where {
    Number(u64),
    /// The first before this call of a path that has this in it.
    First(String, String),
}

enum Plan {
    Act { role: String, action: Action, at: Where },
    Trace { role: String, file: std::fs::File },
}

static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
static PASSED: AtomicU64 = AtomicU64::new(0);
/// Whether the point has been passed.
static REACHED: AtomicBool = AtomicBool::new(false);
static ROLE: Mutex<&'static str> = Mutex::new("host");

pub(super) fn set_role(role: &'static str) {
    *ROLE.lock().unwrap_or_else(PoisonError::into_inner) = role;
}

fn parse() -> Option<Plan> {
    let text = std::env::var("UPLIFTED_OPS_FAULT").ok()?;
    let (role, rest) = text.split_once(':')?;
    let (action, argument) = rest.split_once('@')?;
    let role = role.to_owned();
    if action == "trace" {
        let file = std::fs::File::options().append(true).create(true).open(argument).ok()?;
        return Some(Plan::Trace { role, file });
    }
    let at = match argument.split_once(':') {
        Some((call, path)) => Where::First(call.to_owned(), path.to_owned()),
        None => Where::Number(argument.parse().ok()?),
    };
    let action = match action {
        "kill" => Action::Kill,
        "short" => Action::Short,
        "hold" => Action::Hold,
        "enospc" | "enospc+" => Action::Fail { errno: libc::ENOSPC, for_ever: action.ends_with('+') },
        "eio" | "eio+" => Action::Fail { errno: libc::EIO, for_ever: action.ends_with('+') },
        _ => return None,
    };
    Some(Plan::Act { role, action, at })
}

/// Whether a write at this point is to be cut short.
pub(super) fn pass(op: Op, path: &Path) -> io::Result<bool> {
    let Some(plan) = PLAN.get_or_init(parse) else { return Ok(false) };
    let here = *ROLE.lock().unwrap_or_else(PoisonError::into_inner);
    let (Plan::Act { role, .. } | Plan::Trace { role, .. }) = plan;
    if role != here {
        return Ok(false);
    }
    let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    let line = format!("{number} {op:?} {}\n", path.display());
    match plan {
        Plan::Trace { file, .. } => {
            let mut file = file;
            file.write_all(line.as_bytes())?;
            Ok(false)
        }
        Plan::Act { action, at, .. } => {
            let is_it = match at {
                Where::Number(at) => number == *at,
                Where::First(call, part) => format!("{op:?}") == *call && path.to_string_lossy().contains(part),
            };
            let now = is_it && !REACHED.swap(true, Ordering::SeqCst);
            match action {
                Action::Kill if now => {
                    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                    loop {
                        std::thread::park();
                    }
                }
                Action::Fail { errno, for_ever } if now || (*for_ever && REACHED.load(Ordering::SeqCst)) => {
                    Err(io::Error::from_raw_os_error(*errno))
                }
                Action::Short => Ok(now && op == Op::Write),
                Action::Hold if now => hold(&line).map(|()| false),
                _ => Ok(false),
            }
        }
    }
}

/// Tells the test where this thread stands, and waits until it may go on.
fn hold(line: &str) -> io::Result<()> {
    let Some(socket) = std::env::var_os("UPLIFTED_OPS_HOLD") else { return Ok(()) };
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(line.as_bytes())?;
    // The end of the stream is the sign.
    stream.read_to_end(&mut Vec::new()).map(drop)
}
