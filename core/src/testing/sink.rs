//! The suite of [`MetricsSink`], and a sink that keeps what it is given.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::CaseOutcome;
use super::case::{case, run_all};
use crate::cancel::{Cancel, Scope};
use crate::error::{ErrorKind, Result};
use crate::metrics::{Definition, MetricsSink, MetricsSnapshot, Registry};

/// A sink that does not give up within this did not give up. A guard, not a measurement.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sink under test, and how to see what reached the place behind it.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The sink.
    fn sink(&self) -> Arc<dyn MetricsSink>;

    /// What the place behind the sink holds of the series called `name` with these label values: the last value of a
    /// counter or gauge, the count of a histogram. `None` when it never came.
    async fn received(&self, name: &str, labels: &[&str]) -> Option<f64>;

    /// How many exports reached the place behind the sink, `None` where that cannot be told.
    async fn exports(&self) -> Option<u64>;

    /// Makes the place behind the sink fail (`true`) or work again (`false`). Returns whether it can be made to.
    async fn set_failing(&self, failing: bool) -> bool;
}

/// One clause of the contract.
pub type Case = super::Case<Arc<dyn Fixture>>;

/// Runs every case, each on a fixture of its own: `fresh` makes one. Must be called within a Tokio runtime.
pub async fn run(fresh: impl Fn() -> Arc<dyn Fixture>) -> Vec<CaseOutcome> {
    run_with(async || Ok(fresh())).await
}

/// As [`run`], where making a fixture takes time and can fail.
pub async fn run_with(fresh: impl AsyncFn() -> Result<Arc<dyn Fixture>>) -> Vec<CaseOutcome> {
    run_all(cases(), fresh).await
}

/// The cases, in the order of the contract's clauses.
pub fn cases() -> Vec<Case> {
    vec![
        case!(it_takes_every_kind, "it is given each snapshot once, with every kind of series"),
        case!(
            it_takes_hard_values,
            "labels are any text, and a gauge is any number; one that the place lacks is left out"
        ),
        case!(it_takes_an_empty_snapshot, "a snapshot may be empty"),
        case!(each_snapshot_arrives_once, "it is given each snapshot once"),
        case!(an_error_loses_nothing, "an error loses nothing, since the next snapshot holds the same counters"),
        case!(it_gives_up_when_cancelled, "it gives up when scope.cancel is raised"),
    ]
}

/// A registry whose numbers the cases know.
struct Numbers {
    registry: Registry,
    requests: crate::metrics::CounterFamily,
    plugins: crate::metrics::Gauge,
    took: crate::metrics::HistogramFamily,
}

impl Numbers {
    fn new() -> Result<Self> {
        let registry = Registry::new();
        Ok(Self {
            requests: registry
                .counters(Definition::new("suite_requests_total", "Requests").labels(&["path", "status"]))?,
            plugins: registry.gauge("suite_plugins", "Plugins")?,
            took: registry
                .histograms(Definition::new("suite_took_seconds", "Time").unit("seconds").labels(&["path"]))?,
            registry,
        })
    }
}

/// Numbers, or the failure of a case: they have nothing to do with the sink.
fn numbers() -> Result<Numbers, String> {
    Numbers::new().map_err(|error| format!("the suite itself failed: {error}"))
}

async fn it_takes_every_kind(fixture: Arc<dyn Fixture>) -> Result<(), String> {
    let numbers = numbers()?;
    counted(&numbers, &["/a", "200"], 3)?;
    numbers.plugins.set(12.5);
    let took = numbers.took.with(&["/a"]).map_err(|error| error.to_string())?;
    took.observe(0.01);
    took.observe(99.0);
    export(&*fixture, &numbers.registry.snapshot()).await?;
    expect(&*fixture, "suite_requests", &["/a", "200"], 3.0).await?;
    expect(&*fixture, "suite_plugins", &[], 12.5).await?;
    expect(&*fixture, "suite_took_seconds", &["/a"], 2.0).await
}

async fn it_takes_hard_values(fixture: Arc<dyn Fixture>) -> Result<(), String> {
    let numbers = numbers()?;
    let paths = ["", " ", "a\"b", "a\\b", "a\nb", "a,b=c{d}", "é\u{1F600}\u{202E}", "\u{7f}\t\r"];
    for (at, path) in paths.iter().enumerate() {
        counted(&numbers, &[path, "200"], at as u64 + 1)?;
    }
    numbers.plugins.set(f64::INFINITY);
    export(&*fixture, &numbers.registry.snapshot()).await?;
    for (at, path) in paths.iter().enumerate() {
        expect(&*fixture, "suite_requests", &[path, "200"], at as f64 + 1.0).await?;
    }
    // A place that has no such number is given none.
    if fixture.received("suite_plugins", &[]).await.is_some() {
        expect(&*fixture, "suite_plugins", &[], f64::INFINITY).await?;
    }
    numbers.plugins.set(f64::NAN);
    export(&*fixture, &numbers.registry.snapshot()).await
}

async fn it_takes_an_empty_snapshot(fixture: Arc<dyn Fixture>) -> Result<(), String> {
    export(&*fixture, &MetricsSnapshot::default()).await?;
    // A family whose series have all been removed, or were never used.
    export(&*fixture, &numbers()?.registry.snapshot()).await
}

async fn each_snapshot_arrives_once(fixture: Arc<dyn Fixture>) -> Result<(), String> {
    let numbers = numbers()?;
    for round in 1..=3 {
        counted(&numbers, &["/a", "200"], 1)?;
        export(&*fixture, &numbers.registry.snapshot()).await?;
        expect(&*fixture, "suite_requests", &["/a", "200"], round as f64).await?;
        match fixture.exports().await {
            Some(exports) if exports != round => {
                return Err(format!("after {round} snapshots, {exports} exports had arrived"));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn an_error_loses_nothing(fixture: Arc<dyn Fixture>) -> Result<(), String> {
    let numbers = numbers()?;
    counted(&numbers, &["/a", "200"], 5)?;
    if !fixture.set_failing(true).await {
        return Ok(());
    }
    let asked = fixture.sink().export(&Scope::default(), &numbers.registry.snapshot()).await;
    if asked.is_ok() {
        return Err("the place behind it fails, and it says that all is well".to_owned());
    }
    fixture.set_failing(false).await;
    counted(&numbers, &["/a", "200"], 2)?;
    export(&*fixture, &numbers.registry.snapshot()).await?;
    expect(&*fixture, "suite_requests", &["/a", "200"], 7.0).await
}

async fn it_gives_up_when_cancelled(fixture: Arc<dyn Fixture>) -> Result<(), String> {
    let numbers = numbers()?;
    counted(&numbers, &["/a", "200"], 1)?;
    let scope = Scope { cancel: Cancel::new(), ..Scope::default() };
    scope.cancel.cancel();
    let sink = fixture.sink();
    let snapshot = numbers.registry.snapshot();
    match tokio::time::timeout(PATIENCE, sink.export(&scope, &snapshot)).await {
        Err(_) => Err("cancelled, it did not return".to_owned()),
        Ok(Err(error)) if error.kind() == ErrorKind::Cancelled => Ok(()),
        Ok(Err(error)) => Err(format!("cancelled, it failed as {}: {error}", error.kind())),
        Ok(Ok(())) => Err("cancelled before it began, it exported".to_owned()),
    }
}

fn counted(numbers: &Numbers, labels: &[&str], by: u64) -> Result<(), String> {
    numbers.requests.with(labels).map(|counter| counter.inc_by(by)).map_err(|error| error.to_string())
}

async fn export(fixture: &dyn Fixture, snapshot: &MetricsSnapshot) -> Result<(), String> {
    let exported = tokio::time::timeout(PATIENCE, fixture.sink().export(&Scope::default(), snapshot)).await;
    exported.map_err(|_| "export did not return".to_owned())?.map_err(|error| format!("export failed: {error}"))
}

async fn expect(fixture: &dyn Fixture, name: &str, labels: &[&str], value: f64) -> Result<(), String> {
    match fixture.received(name, labels).await {
        Some(received) if received == value => Ok(()),
        received => Err(format!("{name}{labels:?} should be {value} and is {received:?}")),
    }
}

/// A sink that keeps every snapshot, for tests.
#[derive(Debug, Default)]
pub struct MemorySink {
    snapshots: Mutex<Vec<MetricsSnapshot>>,
    failing: std::sync::atomic::AtomicBool,
}

impl MemorySink {
    /// The snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<MetricsSnapshot> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes every export fail (`true`) or work again (`false`).
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, std::sync::atomic::Ordering::SeqCst);
    }
}

#[async_trait]
impl MetricsSink for MemorySink {
    async fn export(&self, scope: &Scope, snapshot: &MetricsSnapshot) -> Result<()> {
        scope.cancel.check()?;
        if self.failing.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(crate::Error::new(ErrorKind::Unavailable, "the sink was told to fail"));
        }
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).push(snapshot.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
