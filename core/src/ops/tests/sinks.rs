//! Sinks that a host's code registers.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::testing::sink::MemorySink;

#[tokio::test]
async fn a_sink_gets_the_numbers_each_quarter_of_a_minute_and_at_the_end() {
    let root = service("");
    let (clock, sink) = (clock("2026-03-10T02:00:00Z"), Arc::new(MemorySink::default()));
    let built = builder(&root, RunMode::Embedded).clock(Arc::clone(&clock) as _).sink("memory", Arc::clone(&sink) as _);
    let ops = built.build().unwrap();
    for exported in 0..3 {
        let exports = async {
            while sink.snapshots().len() < exported {
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
