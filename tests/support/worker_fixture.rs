//! Whatever a test of the worker needs: a worker, a host, or an impostor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "part of tests")]

use std::io::{Read, Write};

use serde_json::{Value, json};
use uplifted_ops::ops::Ops;
use uplifted_ops::worker::{MARKER, PROTOCOL_VERSION, run_if_worker_with};
use uplifted_ops::{Progress, Scope};
use uplifted_ops_tests::puppet;

fn main() {
    if std::env::var_os("FORGETFUL").is_none() {
        run_if_worker_with(puppet::setup());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fake", how, ..] => fake(how),
        ["host"] => host(),
        ["fork"] => fork(),
        ["serve", root, ..] => serve(root, arguments.get(2)),
        ["jobs", root, jobs, ..] => jobs_of(root, jobs, &arguments[3..]),
        [MARKER, ..] => service(),
        _ => panic!("unknown part {arguments:?}"),
    }
}

fn ops() -> Ops {
    let root = std::env::temp_dir();
    let settings = uplifted_ops::config::Settings::default();
    Ops::builder().root(root).settings(settings).setup(puppet::setup()).build().unwrap()
}

/// A host whose worker is busy with something that ignores every cancel. Ends by being killed.
fn host() {
    let scope = Scope {
        progress: Progress::new(|event| {
            println!("{}", event.stage);
            std::io::stdout().flush().unwrap();
        }),
        ..Scope::default()
    };
    let _ = ops().blocking().call(scope, "test.heavy", json!({"act": "ignore"}));
}

/// A service that does what each line says: `fork` makes a child that stays and tells its number, `close` is the end.
#[allow(unsafe_code, reason = "fork has no safe form")]
fn serve(root: &str, listen: Option<&String>) {
    let mut builder = Ops::builder().root(root).setup(puppet::setup());
    if let Some(listen) = listen {
        builder = builder.setting("metrics.listen", listen.as_str());
    }
    let ops = builder.build().unwrap();
    match ops.context().listener() {
        Some(view) => println!("{}", view.address),
        None => println!("ready"),
    }
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "fork" => {
                // SAFETY: the child does nothing but wait.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    // Whatever becomes of the test, it does not stay.
                    std::thread::sleep(std::time::Duration::from_secs(90));
                    // SAFETY: ends without a look at anything that the parent's threads held.
                    unsafe { libc::_exit(0) };
                }
                println!("{child}");
            }
            _ => break,
        }
    }
    ops.blocking().close(std::time::Duration::from_secs(30)).unwrap();
}

/// A service with jobs. Ends by being killed; with `fork`, after a child that lives on has said its number.
#[allow(unsafe_code, reason = "fork has no safe form")]
fn jobs_of(root: &str, jobs: &str, more: &[String]) {
    let settings = json!({
        "schedule": { "timezone": "UTC", "catch_up_delay_seconds": 0.0 },
        "job": serde_json::from_str::<Value>(jobs).unwrap(),
    });
    let settings = serde_json::from_value(settings).unwrap();
    let ops = Ops::builder().root(root).settings(settings).setup(puppet::setup()).build().unwrap();
    match more.first().map(String::as_str) {
        None => {}
        Some("fork") => {
            // With the lead, so that the child has a copy of whatever holds it.
            while std::fs::metadata(std::path::Path::new(root).join(".uplifted-ops/schedule/leader.json")).is_err() {
                std::thread::yield_now();
            }
            // SAFETY: the child does nothing but wait.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // Whatever becomes of the test, it does not stay.
                std::thread::sleep(std::time::Duration::from_secs(90));
                // SAFETY: ends without a look at anything that the parent's threads held.
                unsafe { libc::_exit(0) };
            }
            println!("{child}");
            std::io::stdout().flush().unwrap();
        }
        Some("close") => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            ops.blocking().close(std::time::Duration::from_secs(30)).unwrap();
            return;
        }
        Some(other) => panic!("{other}?"),
    }
    loop {
        std::thread::park();
    }
}

/// A service that does not know that it may be a worker.
fn service() {
    println!("Listening on port 80, and on many more, in words that fill a frame's prefix");
    let error = Ops::builder().build().unwrap_err();
    eprintln!("{error} ({})", error.hint().unwrap());
    std::process::exit(1);
}

/// A host that forks, as a server with several processes does.
#[allow(unsafe_code, reason = "fork has no safe form")]
fn fork() {
    let ops = ops();
    let echo = || ops.blocking().call(Scope::default(), "test.prompt", json!({"act": "echo", "value": 1}));
    echo().unwrap();
    // SAFETY: the child only calls what must work in a forked child of a program with threads: that is the test.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let error = echo().unwrap_err();
        assert!(error.message().contains("fork"), "{error}");
        assert!(error.hint().unwrap().contains("after the fork"));
        // Neither hangs nor ends the parent's worker.
        ops.blocking().close(std::time::Duration::from_secs(5)).unwrap();
        drop(ops);
        std::process::exit(0);
    }
    let pid = rustix::process::Pid::from_raw(child);
    let (_, status) = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0), "{status:?}");
    assert_eq!(echo().unwrap().response["value"], 1);
    assert_eq!(ops.context().process.workers(), 1);
    ops.blocking().close(std::time::Duration::from_secs(5)).unwrap();
    assert_eq!(ops.context().process.workers(), 0);
    println!("well");
}

/// Speaks like a worker, up to a point.
fn fake(how: &str) {
    let mut out = std::io::stdout();
    let greet = |protocol: u32| {
        let hello =
            json!({"product": "uplifted-ops", "protocol": protocol, "version": "9.8.7", "pid": std::process::id()});
        write_frame(&json!({ "hello": hello }), b"");
    };
    match how {
        "version" => greet(PROTOCOL_VERSION + 98),
        "silent" => {}
        "prints" => {
            out.write_all(b"Welcome to my service!\n").unwrap();
            out.flush().unwrap();
        }
        "exits" => {
            eprintln!("no module named uplifted_ops");
            std::process::exit(3);
        }
        _ => {
            read_frame();
            greet(PROTOCOL_VERSION);
            let configure = read_frame();
            write_frame(&json!({"type": "reply", "id": configure["id"]}), b"");
            read_frame();
            match how {
                "garbage" => out.write_all(b"Segmentation fault (not really)").unwrap(),
                "oversized" => {
                    out.write_all(&2_u32.to_le_bytes()).unwrap();
                    out.write_all(&(9_u32 << 20).to_le_bytes()).unwrap();
                }
                "half" => {
                    out.write_all(&[40, 0, 0, 0, 0, 0, 0, 0, b'{']).unwrap();
                    out.flush().unwrap();
                    std::process::exit(0);
                }
                "end" => std::process::exit(0),
                other => panic!("fake {other}?"),
            }
            out.flush().unwrap();
        }
    }
    // Stays, whatever is said to it, until it is killed.
    loop {
        std::thread::park();
    }
}

fn read_frame() -> Value {
    let mut input = std::io::stdin();
    let mut prefix = [0; 8];
    input.read_exact(&mut prefix).unwrap();
    let length = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().unwrap()) as usize;
    let mut frame = vec![0; length(0) + length(4)];
    input.read_exact(&mut frame).unwrap();
    serde_json::from_slice(&frame[..length(0)]).unwrap()
}

fn write_frame(head: &Value, body: &[u8]) {
    let head = head.to_string();
    let mut frame = (head.len() as u32).to_le_bytes().to_vec();
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend(head.as_bytes());
    frame.extend(body);
    let mut out = std::io::stdout();
    out.write_all(&frame).unwrap();
    out.flush().unwrap();
}
