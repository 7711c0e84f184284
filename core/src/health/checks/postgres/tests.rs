//! The check against real servers, each of its own, and against what they rarely say.

use std::path::Path;

use super::*;
use crate::store::postgres::numbers::{Lag, Replica};
use crate::testing::postgres::{PostgresOptions, PostgresServer};
use CheckStatus::{Fail, Pass, Warn};

fn check(settings: PostgresCheckSettings) -> PostgresCheck {
    let root = Path::new("/nonexistent").to_owned();
    let context = BuildContext { name: "database".into(), state: root.clone(), root, service: String::new() };
    PostgresCheck::new(&context, settings).unwrap()
}

async fn told(settings: PostgresCheckSettings) -> CheckOutcome {
    check(settings).check(&Scope::default()).await.unwrap()
}

#[tokio::test]
async fn a_server_that_is_well_one_that_is_full_and_one_that_is_gone() {
    let options = PostgresOptions {
        settings: vec!["max_connections = 13".into(), "superuser_reserved_connections = 3".into()],
        ..PostgresOptions::default()
    };
    let mut server = PostgresServer::with(options);
    let settings = PostgresCheckSettings::new(server.url("postgres"));
    let well = told(settings.clone()).await;
    assert_eq!(well.status, Pass, "{well:?}");
    assert!(well.message.contains("answers, a primary; 1 of 10 connections"), "{well:?}");
    assert_eq!(well.unit.as_deref(), Some("ratio"));

    let held: Vec<_> = (0..8).map(|_| server.hold("postgres", "BEGIN; SELECT 1")).collect();
    // The connection of the question before is ours until the server has seen that it ended.
    let mut busy = told(settings.clone()).await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while busy.observed != Some(0.9) && std::time::Instant::now() < until {
        busy = told(settings.clone()).await;
    }
    assert_eq!((busy.status, busy.observed), (Warn, Some(0.9)), "{busy:?}");
    assert_eq!(busy.message, "9 of 10 connections are in use, 8 of them idle in a transaction");
    let open = PostgresCheckSettings { max_transaction_seconds: Some(0.0), ..settings.clone() };
    assert!(told(open).await.message.contains("a transaction is open for"));
    let more: Vec<_> = (0..2).map(|_| server.hold("postgres", "SELECT 1")).collect();
    assert_eq!(told(settings.clone()).await.status, Fail);
    drop((held, more));

    server.sql("postgres", "SELECT pg_create_physical_replication_slot('nightly', true)");
    let slot = told(settings.clone()).await;
    assert!(slot.status == Warn && slot.message.starts_with("nobody reads from slot \"nightly\""), "{slot:?}");
    let idle = PostgresCheckSettings { idle_slots: vec!["nightly".into()], ..settings.clone() };
    assert_eq!(told(idle.clone()).await.status, Pass);
    server.sql("postgres", "CREATE TABLE t AS SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g");
    let keeps = PostgresCheckSettings {
        warn_slot_bytes: ByteSize(1 << 20),
        fail_slot_bytes: Some(ByteSize(4 << 20)),
        ..idle.clone()
    };
    let kept = told(keeps).await;
    assert!(kept.status == Fail && kept.message.contains("of log are kept for slot \"nightly\""), "{kept:?}");
    let old = PostgresCheckSettings { warn_xid_age: 1, fail_xid_age: 2, ..idle };
    assert!(told(old).await.message.contains("transactions are left until it refuses to write"));

    server.stop();
    let gone = told(settings).await;
    assert!(gone.status == Fail && gone.message.contains("connection refused; start the server"), "{gone:?}");
}

#[tokio::test]
async fn a_standby_and_its_primary_are_looked_at_from_both_sides() {
    let primary = PostgresServer::start();
    let settings = PostgresCheckSettings { replicas: Some(1), ..PostgresCheckSettings::new(primary.url("postgres")) };
    let alone = told(settings.clone()).await;
    assert!(alone.status == Warn && alone.message == "0 of 1 replicas follow", "{alone:?}");
    let standby = primary.standby("follower");
    let until = async |settings: &PostgresCheckSettings, status, words: &str| {
        for _ in 0..500 {
            let outcome = told(settings.clone()).await;
            if outcome.status == status && outcome.message.contains(words) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("it never says {words:?}: {:?}", told(settings.clone()).await);
    };
    until(&settings, Pass, "a primary").await;
    let followers = PostgresCheckSettings::new(standby.url("postgres"));
    until(&followers, Pass, "a standby").await;

    // It receives, and replays no more.
    standby.sql("postgres", "SELECT pg_wal_replay_pause()");
    primary.sql("postgres", "CREATE TABLE t AS SELECT g FROM generate_series(1, 10000) g");
    let strict = |it: &PostgresCheckSettings| PostgresCheckSettings {
        warn_lag_bytes: ByteSize(1000),
        warn_lag_seconds: 0.0,
        ..it.clone()
    };
    until(&strict(&followers), Warn, "behind").await;
    until(&strict(&settings), Warn, "behind").await;

    // A user without rights is told what to ask for.
    primary.sql("postgres", "CREATE ROLE small LOGIN");
    let small = settings.url.replace("postgres@", "small@");
    let blind =
        told(PostgresCheckSettings { url: small.clone(), max_transaction_seconds: Some(60.0), ..settings.clone() })
            .await;
    assert!(blind.message.contains("GRANT pg_monitor TO \"small\"") && blind.status == Warn, "{blind:?}");
    assert_eq!(told(PostgresCheckSettings::new(small)).await.status, Pass);
    drop(primary);
    until(&followers, Warn, "it receives nothing from its primary").await;
}

#[tokio::test]
async fn what_servers_rarely_say_is_judged_as_well() {
    let server = PostgresServer::start();
    let settings =
        PostgresCheckSettings { fail_lag_seconds: Some(300.0), ..PostgresCheckSettings::new(server.url("postgres")) };
    let check = check(settings);
    let well = check.server.numbers(&Scope::default()).await.unwrap();
    let judged = |change: &dyn Fn(&mut Numbers)| {
        let mut numbers = well.clone();
        change(&mut numbers);
        worst(check.judge(&numbers)).unwrap()
    };
    let slot = |wal_status: &str| Slot {
        name: "s".into(),
        kind: "logical".into(),
        active: true,
        retained_bytes: Some(5),
        wal_status: Some(wal_status.into()),
    };
    assert_eq!(judged(&|n| n.slots.push(slot("lost"))).status, Fail);
    assert_eq!(judged(&|n| n.slots.push(slot("extended"))).status, Pass);
    let replica = |seconds: f64| Replica {
        name: "r".into(),
        state: "streaming".into(),
        sync: "async".into(),
        lag_bytes: Some(1),
        lag_seconds: Some(seconds),
    };
    for (seconds, status) in [(29.0, Pass), (31.0, Warn), (301.0, Fail)] {
        assert_eq!(judged(&|n| n.replicas.push(replica(seconds))).status, status, "{seconds}");
        let lag = Lag { bytes: None, seconds: Some(seconds), streaming: Some(true) };
        assert_eq!(judged(&|n| n.lag = Some(lag.clone())).status, status, "{seconds}");
    }
    assert_eq!(judged(&|n| n.transactions.xid_age = 1_900_000_000).status, Fail);
    assert_eq!(judged(&|n| n.transactions.xid_age = 1_100_000_000).status, Warn);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let root = Path::new("/").to_owned();
    let context = BuildContext { name: "database".into(), state: root.clone(), root, service: String::new() };
    let fine = || PostgresCheckSettings::new("postgres://h/d");
    for wrong in [
        PostgresCheckSettings { timeout_seconds: 0.0, ..fine() },
        PostgresCheckSettings { warn_connections_ratio: 2.0, ..fine() },
        PostgresCheckSettings { warn_connections_ratio: 0.99, ..fine() },
        PostgresCheckSettings { fail_lag_seconds: Some(1.0), ..fine() },
        PostgresCheckSettings { fail_slot_bytes: Some(ByteSize(1)), ..fine() },
        PostgresCheckSettings { warn_xid_age: 2, fail_xid_age: 1, ..fine() },
        PostgresCheckSettings { url: "mysql://u:hunter2@h".into(), ..fine() },
    ] {
        let error = PostgresCheck::new(&context, wrong).unwrap_err();
        assert!(error.hint().is_some() && !error.message().contains("hunter2"), "{error:?}");
    }
}
