//! Sinks that a host's code registers.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::metrics::Value;
use crate::testing::sink::MemorySink;

#[tokio::test]
async fn a_sink_gets_the_numbers_each_quarter_of_a_minute_and_at_the_end() {
    let root = service("");
    let (clock, sink) = (clock("2026-03-10T02:00:00Z"), Arc::new(MemorySink::default()));
    let built =
        builder(&root, RunMode::Embedded).clock(Arc::clone(&clock) as _).sink("quarter", Arc::clone(&sink) as _);
    let ops = built.build().unwrap();
    for round in 0..3 {
        let exports = async {
            // Counted when it has ended: until then its deadline waits for the clock too.
            while exported("quarter") < round {
                tokio::task::yield_now().await;
            }
            clock.sleepers(1).await;
        };
        tokio::time::timeout(HANG, exports).await.unwrap();
        clock.advance(Duration::from_secs(15));
    }
    tokio::time::timeout(HANG, ops.close(HANG)).await.unwrap().unwrap();
    let snapshots = sink.snapshots();
    assert!(snapshots.len() >= 3, "{}", snapshots.len());
    let last = snapshots.last().unwrap();
    for family in ["uplifted_ops_build_info", "uplifted_ops_backup_last_success_timestamp_seconds"] {
        assert!(last.families.iter().any(|it| it.name.starts_with(family)), "{family}");
    }
}

#[tokio::test]
async fn the_command_line_exports_nothing() {
    let root = service("");
    let sink = Arc::new(MemorySink::default());
    let ops = builder(&root, RunMode::CommandLine).sink("memory", Arc::clone(&sink) as _).build().unwrap();
    tokio::time::timeout(HANG, ops.close(HANG)).await.unwrap().unwrap();
    assert_eq!(sink.snapshots().len(), 0);
}

/// How many exports to a sink went well, in this process.
fn exported(sink: &str) -> u64 {
    let snapshot = crate::metrics::global().snapshot();
    let all = snapshot.family("uplifted_ops_exports").map_or(&[][..], |family| &family.series);
    let of_sink = all.iter().filter(|series| series.labels[0].1 == sink && series.labels[1].1 == "done");
    of_sink.map(|series| if let Value::Number(count) = series.value { count as u64 } else { 0 }).sum()
}

#[tokio::test]
async fn a_sink_of_the_settings_works_as_often_as_they_say() {
    let root = service(
        "[[sink]]\nname = \"three_seconds\"\nkind = \"textfile\"\npath = \"shop.prom\"\ninterval_seconds = 3\n\
         [[sink]]\nname = \"replaced\"\nkind = \"no such kind\"\ninterval_seconds = 60\n",
    );
    let (clock, sink) = (clock("2026-03-10T02:00:00Z"), Arc::new(MemorySink::default()));
    let built = builder(&root, RunMode::Embedded).clock(Arc::clone(&clock) as _);
    let ops = built.sink("replaced", Arc::clone(&sink) as _).build().unwrap();
    let page = root.path().join("shop.prom");
    for round in 0..3 {
        tokio::time::timeout(HANG, clock.sleepers(2)).await.unwrap();
        assert_eq!((page.exists(), exported("three_seconds")), (false, round));
        clock.advance(Duration::from_secs(3));
        let done = async {
            while exported("three_seconds") == round {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANG, done).await.unwrap();
        std::fs::remove_file(&page).unwrap();
    }
    assert_eq!(sink.snapshots().len(), 0);
    tokio::time::timeout(HANG, ops.close(HANG)).await.unwrap().unwrap();
    assert!(page.exists() && sink.snapshots().len() == 1);
}

#[tokio::test]
async fn config_check_tries_each_sink_and_the_command_line_works_without() {
    let text = "[[sink]]\nname = \"node\"\nkind = \"textfile\"\npath = \"shop.txt\"\n\
                [[sink]]\nname = \"agent\"\nkind = \"statd\"\ndeadline_seconds = -1\n\
                [[sink]]\nname = \"far\"\nkind = \"otlp\"\nendpoint = \"http://127.0.0.1:1\"\nheaders = { X = \"env:NOT_SET_AT_ALL\" }\n";
    let root = service(text);
    assert!(builder(&root, RunMode::Embedded).build().is_err());
    builder(&root, RunMode::CommandLine).build().unwrap();
    let ops = builder(&root, RunMode::CommandLine).tolerant().build().unwrap();
    let found = ops.call(ops.scope(), "config.check", serde_json::json!({})).await.unwrap().response;
    let of_sinks =
        found["findings"].as_array().unwrap().iter().filter(|it| it["key"].as_str().unwrap().starts_with("sink"));
    let told: Vec<_> = of_sinks.map(|it| (it["severity"].as_str().unwrap(), it["key"].as_str().unwrap())).collect();
    let error = |key| ("error", key);
    let wanted = [error("sink.agent.kind"), error("sink.agent.deadline_seconds"), error("sink.node.path")];
    assert_eq!(told, [&wanted[..], &[("warning", "sink.far.headers")]].concat());
}
