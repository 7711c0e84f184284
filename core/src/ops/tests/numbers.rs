//! What a page tells beside what is counted, and what the process remembers of it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::Map;
use tokio::sync::Notify;

use super::*;
use crate::cancel::Scope;
use crate::store::*;

/// A database that answers when it is let.
#[derive(Debug, Default)]
struct Slow {
    asked: AtomicUsize,
    go: Notify,
}

#[async_trait]
impl Store for Slow {
    fn capability(&self) -> StoreCapability {
        StoreCapability {
            kind: "slow".to_owned(),
            file: None,
            side_files: Vec::new(),
            copy_files: Vec::new(),
            maintenance: Vec::new(),
        }
    }
    async fn stats(&self, _: &Scope) -> Result<StoreStats> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.go.notified().await;
        let details = Map::from_iter([("page_count".to_owned(), 7.into()), ("freelist_count".to_owned(), 3.into())]);
        Ok(StoreStats { size_bytes: 28_672, log_bytes: Some(4096), details })
    }
    async fn verify(&self, _: &Scope, _: CheckDepth) -> Result<IntegrityReport> {
        unreachable!()
    }
    async fn snapshot_to(&self, _: &Scope, _: &Path) -> Result<StoreSnapshot> {
        unreachable!()
    }
    async fn check_copy(&self, _: &Scope, _: &Path, _: CheckDepth) -> Result<IntegrityReport> {
        unreachable!()
    }
    async fn restore_from(&self, _: &Scope, _: &Path) -> Result<()> {
        unreachable!()
    }
    async fn maintain(&self, _: &Scope, _: &[MaintenanceTask]) -> Result<Vec<MaintenanceOutcome>> {
        unreachable!()
    }
}

async fn page(ops: &Ops) -> String {
    call(ops, "metrics.render", json!({})).await.unwrap()["body"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_page_never_waits_for_a_database_and_asks_it_once_a_minute() {
    let root = service("[service]\nname = \"shop\"\nversion = \"1.2\"\n");
    let (clock, store) = (clock("2026-03-10T02:00:00Z"), Arc::new(Slow::default()));
    let built = builder(&root, RunMode::Embedded).clock(Arc::clone(&clock) as _).store("main", Arc::clone(&store) as _);
    let ops = built.build().unwrap();
    let first = page(&ops).await;
    assert!(!first.contains("uplifted_ops_store_"), "{first}");
    assert!(first.contains("uplifted_build_info{service=\"shop\",version=\"1.2\",ops_version="), "{first}");
    assert!(first.contains("\nuplifted_up 1\n") && first.contains("uplifted_ops_process_cpu_limit_cores "));
    for _ in 0..5 {
        page(&ops).await;
    }
    // Whoever is asked is not asked again.
    store.go.notify_one();
    let answered = async {
        loop {
            let page = page(&ops).await;
            if page.contains("uplifted_ops_store_up{store=\"main\",kind=\"slow\"} 1\n") {
                return page;
            }
            tokio::task::yield_now().await;
        }
    };
    let page_after = tokio::time::timeout(HANG, answered).await.unwrap();
    for line in ["size_bytes{store=\"main\",kind=\"slow\"} 28672\n", "free_pages{store=\"main\",kind=\"slow\"} 3\n"] {
        assert!(page_after.contains(&format!("uplifted_ops_store_{line}")), "{page_after}");
    }
    assert_eq!(store.asked.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_secs(61));
    page(&ops).await;
    let asked = async {
        while store.asked.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, asked).await.unwrap();
    // It hangs now: after its time it is down, and its last numbers stay.
    clock.sleepers(1).await;
    clock.advance(Duration::from_secs(11));
    let down = async {
        while !page(&ops).await.contains("uplifted_ops_store_up{store=\"main\",kind=\"slow\"} 0\n") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, down).await.unwrap();
    assert!(page(&ops).await.contains("uplifted_ops_store_pages{store=\"main\",kind=\"slow\"} 7\n"));
}

#[tokio::test]
async fn what_is_not_collected_is_not_told() {
    let root = service("[metrics]\ncollect = [\"jobs\"]\n");
    let ops = builder(&root, RunMode::Embedded).store("main", Arc::new(Slow::default())).build().unwrap();
    let page = page(&ops).await;
    for name in ["uplifted_ops_process_", "uplifted_ops_network_", "uplifted_ops_backup_last", "uplifted_ops_store_"] {
        assert!(!page.contains(name), "{name}: {page}");
    }
    assert!(page.contains("process_cpu_seconds_total"));
    let root = service("[metrics]\ncollect = [\"weather\"]\n");
    let error = builder(&root, RunMode::Embedded).build().unwrap_err();
    assert!(error.to_string().contains("there is no collector \"weather\""), "{error}");
}

#[tokio::test]
async fn a_service_remembers_its_numbers() {
    let root = service("");
    let clock = clock("2026-03-10T02:00:00Z");
    let built = builder(&root, RunMode::Embedded).clock(Arc::clone(&clock) as _);
    let ops = built.setting("metrics.history_seconds", 3600).build().unwrap();
    let ask = |request| call(&ops, "metrics.history", request);
    let kept = |rounds: u64| {
        let ops = ops.clone();
        async move {
            loop {
                let answer = call(&ops, "metrics.history", json!({ "metric": "uplifted_up" })).await.unwrap();
                let samples = answer["series"][0]["samples"].as_array().map_or(0, Vec::len) as u64;
                if samples >= rounds {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    for round in 1..=8 {
        tokio::time::timeout(HANG, clock.sleepers(1)).await.unwrap();
        clock.advance(Duration::from_secs(15));
        tokio::time::timeout(HANG, kept(round)).await.unwrap();
    }
    let answer = kept(8).await;
    assert_eq!(answer["series"][0]["samples"][0], json!({ "time": "2026-03-10T02:00:15Z", "value": 1.0 }));
    assert_eq!((&answer["until"], &answer["series"][0]["last"]), (&json!("2026-03-10T02:02:00Z"), &json!(1.0)));
    assert!(answer["kept"]["series"].as_u64().unwrap() > 50, "{}", answer["kept"]);

    let stepped = ask(json!({ "metric": "process_*", "function": "max", "window_seconds": 60, "step_seconds": 30,
        "range_seconds": 60 }));
    let stepped = stepped.await.unwrap();
    let resident = stepped["series"].as_array().unwrap().iter().find(|s| s["name"] == "process_resident_memory_bytes");
    let resident = resident.unwrap();
    assert_eq!(resident["samples"].as_array().unwrap().len(), 2, "{resident}");
    assert!(resident["samples"][1]["value"].as_f64().unwrap() > 1e6);
    let outcome = ask(json!({ "labels": ["outcome=comp*"] })).await.unwrap();
    assert_eq!(outcome["series"][0]["name"], "uplifted_ops_backups_total");
    assert_eq!(ask(json!({ "limit": 1 })).await.unwrap()["series"].as_array().unwrap().len(), 1);

    for (wrong, why) in [
        (json!({ "range_seconds": 0 }), "range_seconds is 0"),
        (json!({ "step_seconds": -1 }), "step_seconds is -1"),
        (json!({ "window_seconds": 1e300 }), "window_seconds"),
        (json!({ "function": "sum" }), "function"),
        (json!({ "labels": ["outcome"] }), "labels has \"outcome\""),
        (json!({ "range_seconds": 604_800, "step_seconds": 0.1 }), "are more than"),
    ] {
        let error = ask(wrong).await.unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains(why), "{error}");
    }
    let beside = builder(&root, RunMode::CommandLine).build().unwrap();
    let error = call(&beside, "metrics.history", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_day_without_a_scraper_loses_nothing_and_takes_no_more_memory() {
    // No other task sleeps for so long: who does is the recorder, which has written down what was to be.
    const STEP: Duration = Duration::from_secs(59);
    let root = service("[metrics]\nhistory_seconds = 3540\nstep_seconds = 59\ncollect = []\n");
    let clock = clock("2026-03-10T02:00:00Z");
    let built = Ops::builder().root(root.path()).environment([]).mode(RunMode::Embedded).worker_command(["/bin/false"]);
    let ops = built.clock(Arc::clone(&clock) as _).build().unwrap();
    let counted = crate::metrics::global().counter("unscraped_day_total", "Rounds of a day").unwrap();
    for round in 1..=1_500 {
        counted.inc();
        tokio::time::timeout(HANG, clock.sleeper_for(STEP)).await.unwrap();
        clock.advance(STEP);
        let kept = tokio::time::timeout(HANG, sampled_now(&ops)).await.unwrap();
        let [series, samples, bytes, span] =
            ["series", "samples", "size_bytes", "span_seconds"].map(|name| kept[name].as_f64().unwrap());
        // As many samples as the window has, 61, and the chunk that they begin in, which is one longer. How many series there are is
        // up to other tests as well.
        assert!(span <= STEP.as_secs_f64() * (61.0 + 62.0), "round {round}: {kept}");
        assert!(samples <= series * (61.0 + 62.0), "round {round}: {kept}");
        assert!(bytes <= series * 600.0 + samples * 8.0, "round {round}: {kept}");
    }
    assert!(page(&ops).await.contains("\nunscraped_day_total 1500\n"));
}

/// How much of the past is kept, once the present is in it.
async fn sampled_now(ops: &Ops) -> Value {
    loop {
        let answer =
            call(ops, "metrics.history", json!({ "metric": "uplifted_up", "range_seconds": 1 })).await.unwrap();
        if answer["series"][0]["samples"].as_array().is_some_and(|samples| !samples.is_empty()) {
            return answer["kept"].clone();
        }
        tokio::task::yield_now().await;
    }
}
