use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::metrics::global;
use crate::metrics::snapshot::Value;
use crate::testing::sink::MemorySink;

const MINUTE: Duration = Duration::from_secs(60);

/// A sink that never answers.
#[derive(Debug, Default)]
struct Hanging {
    begun: watch::Sender<usize>,
    told: Arc<Notify>,
}

#[async_trait]
impl MetricsSink for Hanging {
    async fn export(&self, scope: &Scope, _: &MetricsSnapshot) -> Result<()> {
        self.begun.send_modify(|begun| *begun += 1);
        let (cancel, told) = (scope.cancel.clone(), Arc::clone(&self.told));
        tokio::spawn(async move {
            cancel.cancelled().await;
            told.notify_one();
        });
        std::future::pending().await
    }
}

struct Scene {
    clock: Arc<ManualClock>,
    stop: Cancel,
    running: tokio::task::JoinHandle<()>,
}

impl Scene {
    fn start(outlets: Vec<Outlet>, source: Arc<Source>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let stop = Cancel::new();
        let exporter = Exporter { outlets, source, clock: Arc::clone(&clock) as Arc<dyn Clock>, stop: stop.clone() };
        Self { clock, stop, running: tokio::spawn(exporter.run()) }
    }

    /// Lets time pass once `sleepers` wait for it.
    async fn pass(&self, sleepers: usize, time: Duration) {
        self.clock.sleepers(sleepers).await;
        self.clock.advance(time);
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn outlet(name: &str, sink: Arc<dyn MetricsSink>) -> Outlet {
    Outlet { name: name.to_owned(), sink, period: MINUTE, deadline: None }
}

fn nothing() -> Arc<Source> {
    Arc::new(|| Box::pin(async { Ok(MetricsSnapshot::default()) }))
}

/// How often exports to a sink ended in this way, in this process.
fn counted(sink: &str, outcome: &str) -> f64 {
    let snapshot = global().snapshot();
    let Some(family) = snapshot.family("uplifted_ops_exports") else { return 0.0 };
    let of_it = |labels: &[(String, String)]| labels[0].1 == sink && labels[1].1 == outcome;
    match family.series.iter().find(|series| of_it(&series.labels)).map(|series| &series.value) {
        Some(Value::Number(number)) => *number,
        _ => 0.0,
    }
}

#[tokio::test]
async fn each_period_has_an_export_and_the_end_has_one_more() {
    let sink = Arc::new(MemorySink::default());
    let scene = Scene::start(vec![outlet("exporter periods", sink.clone())], nothing());
    for round in 0..3 {
        scene.clock.sleepers(1).await;
        assert_eq!(sink.snapshots().len(), round);
        scene.clock.advance(MINUTE);
    }
    scene.clock.sleepers(1).await;
    assert_eq!(sink.snapshots().len(), 3);
    scene.end().await;
    assert_eq!(sink.snapshots().len(), 4);
    assert_eq!(counted("exporter periods", "done"), 4.0);
}

#[tokio::test]
async fn a_sink_that_hangs_holds_up_no_other_and_is_told_that_nobody_waits() {
    let (hanging, sink) = (Arc::new(Hanging::default()), Arc::new(MemorySink::default()));
    let outlets = vec![outlet("exporter hangs", hanging.clone()), outlet("exporter works", sink.clone())];
    let scene = Scene::start(outlets, nothing());
    // A minute to the first export, and half of one until it is given up.
    scene.pass(2, MINUTE).await;
    scene.pass(2, DEADLINE).await;
    hanging.told.notified().await;
    scene.pass(2, MINUTE - DEADLINE).await;
    scene.clock.sleepers(2).await;
    assert_eq!(sink.snapshots().len(), 2);
    assert_eq!(*hanging.begun.borrow(), 2, "one at a time");
    assert_eq!(counted("exporter hangs", "timeout"), 1.0);
    scene.stop.cancel();
    // The last one has two seconds.
    hanging.begun.subscribe().wait_for(|begun| *begun == 3).await.unwrap();
    scene.pass(1, LAST).await;
    scene.running.await.unwrap();
    assert_eq!(counted("exporter hangs", "timeout"), 2.0);
}

#[tokio::test]
async fn an_error_is_counted_and_the_next_period_tries_again() {
    let sink = Arc::new(MemorySink::default());
    sink.set_failing(true);
    let scene = Scene::start(vec![outlet("exporter fails", sink.clone())], nothing());
    scene.pass(1, MINUTE).await;
    scene.clock.sleepers(1).await;
    assert_eq!(counted("exporter fails", "unavailable"), 1.0);
    sink.set_failing(false);
    scene.pass(1, MINUTE).await;
    scene.clock.sleepers(1).await;
    assert_eq!(sink.snapshots().len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn without_numbers_there_is_no_export() {
    let sink = Arc::new(MemorySink::default());
    let source: Arc<Source> = Arc::new(|| Box::pin(async { Err(Error::new(ErrorKind::Corrupt, "the journal")) }));
    let scene = Scene::start(vec![outlet("exporter lacks", sink.clone())], source);
    scene.pass(1, MINUTE).await;
    scene.clock.sleepers(1).await;
    assert_eq!((sink.snapshots().len(), counted("exporter lacks", "corrupt")), (0, 1.0));
    scene.end().await;
}
