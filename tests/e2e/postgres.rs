//! A database of a PostgreSQL server, through the command line: backed up, verified, and restored beside itself.

use serde_json::json;
use uplifted_ops::testing::postgres::PostgresServer;
use uplifted_ops_tests::scene::Scene;

use super::PROGRAM;

#[test]
fn a_database_of_a_server_is_in_the_backup_and_comes_back_beside_itself() {
    let server = PostgresServer::start();
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", "CREATE TABLE orders (id serial PRIMARY KEY, t text); INSERT INTO orders (t) SELECT 'x' FROM generate_series(1, 500)");
    let scene = Scene::small(PROGRAM);
    scene.configure("\n[[store]]\nname = \"shop\"\nkind = \"postgres\"\nurl = \"env:SHOP_URL\"\n");
    let url = server.url("shop").replace("postgres@", "postgres:hunter2@");
    scene.write(".env", &format!("SHOP_URL={url}\n"));

    let checked = scene.call("config.check", &json!({})).json;
    assert!(!checked.to_string().contains("store.shop"), "{checked}");
    let stats = scene.call("store.stats", &json!({"store": "shop"})).done();
    assert_eq!((&stats["stores"][0]["ok"], &stats["stores"][0]["details"]["missing"]), (&json!(true), &json!([])));

    let created = scene.call("backup.create", &json!({})).done();
    assert_eq!((&created["outcome"], &created["skipped"]), (&json!("complete"), &json!([])), "{created}");
    let stores = created["stores"].as_array().unwrap();
    let shop = stores.iter().find(|store| store["name"] == "shop").unwrap();
    assert_eq!(shop["details"]["rows"], json!({"public.orders": 500}), "{shop}");
    let verdict = scene.call("backup.verify", &json!({"snapshot_id": "latest", "depth": "full"})).done();
    assert_eq!((&verdict["ok"], &verdict["problems"]), (&json!(true), &json!([])));

    server.sql("shop", "DELETE FROM orders");
    let request = json!({"snapshot_id": "latest", "database": "yesterday"});
    let restored = scene.call("restore.database", &request).done();
    assert_eq!((&restored["ok"], &restored["rows"], &restored["store"]), (&json!(true), &json!(500), &json!("shop")));
    assert_eq!(server.sql("yesterday", "SELECT count(*) || ' ' || nextval('orders_id_seq') FROM orders"), "500 501");
    assert_eq!(server.sql("shop", "SELECT count(*) FROM orders"), "0", "the live database is not touched");
    let again = scene.call("restore.database", &request);
    assert_eq!(again.error_kind(), "refused");
    // The whole snapshot in a folder has the archive, which PostgreSQL's own programs read.
    let into = scene.beside("restored");
    scene.call("restore.apply", &json!({"snapshot_id": "latest", "into": into})).done();
    assert!(into.join("shop.pgdump").metadata().unwrap().len() > 1000 && into.join("shop.globals.sql").is_file());

    server.sql("postgres", "DROP DATABASE shop WITH (FORCE)");
    let partial = scene.call("backup.create", &json!({})).json;
    assert_eq!(partial["outcome"], "partial", "{partial}");
    let told = format!("{checked}{stats}{created}{restored}{again:?}{partial}");
    assert!(told.contains("has no database \\\"shop\\\"") && !told.contains("hunter2"), "{told}");
}
