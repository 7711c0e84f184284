//! The service with `uplifted-ops` inside: what embedding takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use uplifted_example::{Failure, say, writer};
use uplifted_ops::ops::{Answer, Ops, RunMode};
use uplifted_ops::{Cancel, Scope};

/// How the service runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    writer: writer::Options,
    /// The service's folder
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    root: PathBuf,
    /// Where `/status` is answered
    #[arg(long, default_value = "127.0.0.1:7541", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Seconds between health checks
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    check_every: f64,
    /// Seconds between backups; none when not given
    #[arg(long, value_name = "SECONDS")]
    backup_every: Option<f64>,
}

/// Serves until `stop` is raised, then prints the writer's report.
pub(crate) fn run(options: &Options, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    // Before the database is opened: a restore that was asked for while the service ran, or that was killed
    // half-way, is finished or undone here, and it trades the database's file for another. A connection that
    // was open already would go on writing to the old file, which nobody will ever read again.
    let ops = Ops::builder().root(&options.root).mode(RunMode::Embedded).build()?;

    answer_status(options.listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let cancel = Cancel::new();
    runtime.spawn(every(options.check_every, ops.clone(), cancel.clone(), "health.check", json!({})));
    if let Some(seconds) = options.backup_every {
        runtime.spawn(every(seconds, ops.clone(), cancel.clone(), "backup.create", json!({ "label": "example" })));
    }

    // The service's own work. It does not notice the operations: they run in a process of their own.
    let report = writer::run(&options.writer, stop);
    stop.store(true, Ordering::SeqCst);
    cancel.cancel();
    runtime.shutdown_timeout(Duration::from_secs(10));
    Ok(say!("{}", json!(report?))?)
}

/// Calls an operation again and again. What is not well goes to the log; it never ends the service.
async fn every(seconds: f64, ops: Ops, cancel: Cancel, name: &'static str, request: Value) {
    let pause = Duration::from_secs_f64(seconds.max(0.1));
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let scope = Scope { cancel: cancel.clone(), ..Scope::default() };
        match ops.call(scope, name, request.clone()).await {
            Ok(Answer { healthy: true, .. }) => {}
            Ok(Answer { response, .. }) => eprintln!("{name} is not well: {response}"),
            Err(error) => eprintln!("{name} could not be done: {error}; {}", error.hint().unwrap_or_default()),
        }
    }
}

/// Answers `GET /status`, one caller after the other, on a thread of its own.
fn answer_status(address: SocketAddr) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    eprintln!("listening on http://{}/status", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut caller in listener.incoming().flatten() {
            let mut head = [0; 1024];
            // A caller who says nothing must not keep the others waiting.
            let read = caller.set_read_timeout(Some(Duration::from_secs(1))).and_then(|()| caller.read(&mut head));
            let found = read.is_ok_and(|length| head[..length].starts_with(b"GET /status "));
            let (status, body) =
                if found { ("200 OK", r#"{"status":"Server is running"}"#) } else { ("404 Not Found", "") };
            let length = body.len();
            let _ = write!(
                caller,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    Ok(())
}
