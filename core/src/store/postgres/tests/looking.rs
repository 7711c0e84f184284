//! What a server says about itself.

use serde_json::Value;

use super::*;
use crate::testing::postgres::versions;

fn store(url: &str) -> PostgresStore {
    let root = PathBuf::from("/nonexistent");
    let context = BuildContext { name: "main".into(), state: root.clone(), root, service: String::new() };
    let settings = PostgresSettings::new(url);
    PostgresStore::new(&context, settings).unwrap()
}

#[tokio::test]
async fn every_version_says_all_of_it() {
    for programs in versions() {
        let server =
            PostgresServer::with(PostgresOptions { programs: Some(programs.clone()), ..PostgresOptions::default() });
        server.sql("postgres", "CREATE TABLE t AS SELECT g FROM generate_series(1, 30000) g");
        server.sql("postgres", "CHECKPOINT");
        server.sql("postgres", "SELECT pg_create_physical_replication_slot('nightly', true)");
        let held = server.hold("postgres", "BEGIN; SELECT 1");
        let store = store(&server.url("postgres"));
        let stats = store.stats(&Scope::default()).await.unwrap();
        assert!(stats.size_bytes > 5 << 20 && stats.log_bytes.is_some_and(|log| log > 1 << 20), "{stats:?}");
        let details = Value::Object(stats.details.clone());
        for (at, is_well) in [
            ("/server_version", &(|it: &Value| it.as_str().is_some_and(|it| it >= "13")) as &dyn Fn(&Value) -> bool),
            ("/standby", &|it: &Value| *it == false),
            ("/started_seconds", &|it: &Value| it.as_f64().is_some_and(|it| it > 1.7e9)),
            ("/connections/used", &|it: &Value| *it == 2),
            ("/connections/max", &|it: &Value| *it == 100),
            ("/connections/idle_in_transaction", &|it: &Value| *it == 1),
            ("/connections/active", &|it: &Value| *it == 1),
            ("/wal/lsn", &|it: &Value| it.as_str().is_some_and(|it| it.contains('/'))),
            ("/wal/position_bytes", &|it: &Value| it.as_u64().is_some_and(|it| it > 1 << 20)),
            ("/log_target_bytes", &|it: &Value| *it == 64 << 20),
            ("/transactions/oldest_seconds", &|it: &Value| it.as_f64().is_some_and(|it| it > 0.0)),
            ("/transactions/xid_left", &|it: &Value| it.as_i64().is_some_and(|it| it > 2_000_000_000)),
            ("/activity/commits", &Value::is_u64),
            ("/activity/deadlocks", &|it: &Value| *it == 0),
            ("/rows/bloated", &Value::is_array),
            ("/checkpoints/requested", &Value::is_u64),
            ("/checkpoints/age_seconds", &|it: &Value| it.as_f64().is_some_and(|it| it >= 0.0)),
            ("/slots/0/name", &|it: &Value| *it == "nightly"),
            ("/slots/0/active", &|it: &Value| *it == false),
            ("/slots/0/retained_bytes", &Value::is_u64),
            ("/replicas", &|it: &Value| *it == Value::Array(Vec::new())),
            ("/lag", &Value::is_null),
            ("/missing", &|it: &Value| *it == Value::Array(Vec::new())),
        ] {
            assert!(details.pointer(at).is_some_and(is_well), "{programs:?}: {at} of {details:#}");
        }
        drop(held);
    }
}

#[tokio::test]
async fn what_a_user_may_not_see_is_named_and_not_guessed() {
    let server = PostgresServer::start();
    server.sql("postgres", "CREATE ROLE \"Small one\" LOGIN");
    let small = store(&server.uri("postgres").replace("user=postgres", "user='Small one'"));
    let _held = server.hold("postgres", "BEGIN; SELECT 1");
    let stats = small.stats(&Scope::default()).await.unwrap();
    assert_eq!(stats.log_bytes, None);
    let details = Value::Object(stats.details);
    assert_eq!(details["connections"]["used"], 2, "{details:#}");
    for at in ["/connections/active", "/connections/idle", "/transactions/oldest_seconds"] {
        assert_eq!(details.pointer(at), Some(&Value::Null), "{at}");
    }
    let missing = details["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 3, "{missing:?}");
    for missing in missing {
        server.sql("postgres", missing["grant"].as_str().unwrap());
    }
    let stats = small.stats(&Scope::default()).await.unwrap();
    assert!(stats.log_bytes.is_some() && stats.details["missing"] == Value::Array(Vec::new()), "{stats:?}");
}

#[tokio::test]
async fn dead_rows_and_a_database_that_is_gone_are_told() {
    let server = PostgresServer::start();
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", "CREATE TABLE \"Or ders\" AS SELECT g FROM generate_series(1, 30000) g");
    server.sql("shop", "DELETE FROM \"Or ders\" WHERE g % 2 = 0");
    let shop = store(&server.url("shop"));
    let mut details = Value::Null;
    for _ in 0..500 {
        // Statistics come a moment after the transaction.
        details = Value::Object(shop.stats(&Scope::default()).await.unwrap().details);
        if details["rows"]["dead"] == 15_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(details["rows"]["bloated"], serde_json::json!(["public.\"Or ders\""]), "{details:#}");
    server.sql("postgres", "DROP DATABASE shop WITH (FORCE)");
    let stats = shop.stats(&Scope::default()).await.unwrap_err();
    let upkeep = shop.maintain(&Scope::default(), &[MaintenanceTask::Optimize]).await.unwrap_err();
    for error in [stats, upkeep] {
        let named = error.context().contains(&("store".into(), "main".into()));
        assert_eq!((error.kind(), named), (ErrorKind::NotFound, true), "{error}");
    }
    assert!(shop.capability().file.is_none());
}
