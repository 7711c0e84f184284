//! The service with `uplifted-ops` inside: what embedding takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uplifted_example::adapter;
use uplifted_example::plugins::{Plugins, SystemStatus};
use uplifted_example::{Failure, say, writer};
use uplifted_ops::http::Responder;
use uplifted_ops::metrics;
use uplifted_ops::ops::{Answer, Ops, RunMode};
use uplifted_ops::{Cancel, Scope};

/// How the service runs.
#[derive(Debug, Args)]
#[group(id = "serve")]
pub(crate) struct Options {
    #[command(flatten)]
    writer: writer::Options,
    /// The service's folder
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    root: PathBuf,
    /// Where the service answers
    #[arg(long, default_value = "127.0.0.1:7541", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the tools of the plugins are offered, such as 127.0.0.1:8086; nowhere when not given
    #[arg(long, value_name = "ADDRESS")]
    tools: Option<SocketAddr>,
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
    let plugins = Plugins::of(&options.root);
    let builder = Ops::builder().root(&options.root).mode(RunMode::Embedded);
    let ops = builder.check("plugins", Arc::new(plugins.clone())).build()?;
    let responder = Responder::new(&ops)?;
    drop(writer::open(&options.writer)?);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let cancel = Cancel::new();
    let tools = match options.tools {
        Some(address) => Some(Arc::new(runtime.block_on(serve(address, "tools", tools(plugins.clone()), &cancel))?)),
        None => None,
    };
    let own = Router::new().route(SYSTEM_STATUS, get(system_status)).with_state(System { plugins, tools });
    let all = adapter::mount(own, responder.clone()).layer(from_fn(count));
    runtime.block_on(serve(options.listen, "status", all, &cancel))?;
    runtime.spawn(every(options.check_every, ops.clone(), cancel.clone(), "health.check", json!({})));
    if let Some(seconds) = options.backup_every {
        runtime.spawn(every(seconds, ops.clone(), cancel.clone(), "backup.create", json!({ "label": "example" })));
    }

    // The service's own work. It does not notice the operations: they run in a process of their own.
    let report = writer::run(&options.writer, stop);
    stop.store(true, Ordering::SeqCst);
    // Nobody sends more work here, and what was asked already is answered.
    responder.drain();
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

/// Answers on `address` until `cancel` is raised.
async fn serve(address: SocketAddr, path: &str, router: Router, cancel: &Cancel) -> Result<JoinHandle<()>, Failure> {
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    eprintln!("listening on http://{}/{path}", listener.local_addr()?);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let cancel = cancel.clone();
    Ok(tokio::spawn(async move {
        let until_cancelled = async move { cancel.cancelled().await };
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(until_cancelled).await {
            eprintln!("serving ended: {error}");
        }
    }))
}

/// Counts what is answered, in the guide's metrics.
async fn count(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().to_string();
    // The route, and never any path: a series for each path that somebody tries is without end.
    let path = if request.uri().path() == SYSTEM_STATUS { SYSTEM_STATUS } else { "operations" };
    let response = next.run(request).await;
    let counted = metrics::guide().and_then(|guide| {
        guide.requests.with(&[&method, path, response.status().as_str()])?.inc();
        guide.request_duration.with(&[&method, path])?.observe_duration(began.elapsed());
        Ok(())
    });
    if let Err(error) = counted {
        eprintln!("a request is not counted: {error}");
    }
    response
}

/// The service's own endpoint.
const SYSTEM_STATUS: &str = "/api/v1/system/status";

/// What the service's own endpoint tells about.
#[derive(Clone)]
struct System {
    plugins: Plugins,
    /// The tool server, while there is one.
    tools: Option<Arc<JoinHandle<()>>>,
}

/// What the guide expects at `/api/v1/system/status`.
async fn system_status(State(system): State<System>) -> Result<Json<SystemStatus>, (StatusCode, String)> {
    let mcp_available = system.tools.is_some_and(|serving| !serving.is_finished());
    let status = system.plugins.status(mcp_available).map_err(internal)?;
    metrics::guide().map_err(|error| internal(error.into()))?.active_plugins.set(status.active_plugin_count as f64);
    Ok(Json(status))
}

/// The tool server: its own health, and the tools of the plugins that are switched on.
fn tools(plugins: Plugins) -> Router {
    let list = async |State(plugins): State<Plugins>| {
        let plugins = plugins.read().map_err(internal)?;
        let active = plugins.into_iter().filter(|plugin| plugin.active);
        let tools: Vec<String> = active.flat_map(|plugin| plugin.tools).collect();
        Ok::<_, (StatusCode, String)>(Json(json!({ "tools": tools })))
    };
    let health = async || Json(json!({ "status": "ok" }));
    Router::new().route("/health", get(health)).route("/tools", get(list)).with_state(plugins)
}

fn internal(failure: Failure) -> (StatusCode, String) {
    eprintln!("could not answer: {failure}");
    (StatusCode::INTERNAL_SERVER_ERROR, "see the log".to_owned())
}
