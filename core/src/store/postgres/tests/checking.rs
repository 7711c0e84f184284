//! Damage of a live database is found, and what was not looked at is named.

use super::*;
use crate::testing::postgres::versions;

fn store(server: &PostgresServer, user: &str) -> PostgresStore {
    let context = BuildContext {
        name: "main".into(),
        root: server.folder().to_owned(),
        state: server.folder().join("state"),
        service: String::new(),
    };
    let url = server.url("postgres").replace("postgres@", &format!("{user}@"));
    let settings = PostgresSettings { programs: Some(server.programs().to_owned()), ..PostgresSettings::new(url) };
    PostgresStore::new(&context, settings).unwrap()
}

#[tokio::test]
async fn an_index_that_does_not_have_its_rows_is_found_by_a_full_check() {
    for programs in versions() {
        let server = PostgresServer::with(PostgresOptions { programs: Some(programs), ..PostgresOptions::default() });
        server.sql(
            "postgres",
            "CREATE ROLE small LOGIN; CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
        );
        server.sql("postgres", "CREATE TABLE t AS SELECT g FROM generate_series(1, 5000) g");
        server.sql("postgres", "CREATE INDEX by_f ON t (f(g))");
        let (scope, store, small) = (Scope::default(), store(&server, "postgres"), store(&server, "small"));
        let without = store.verify(&scope, CheckDepth::Full).await.unwrap_err();
        assert!(
            without.kind() == ErrorKind::Unsupported && without.hint().unwrap().contains("CREATE EXTENSION amcheck"),
            "{without:?}"
        );
        if !server.has_extension("amcheck") {
            println!("{}: has no amcheck", server.programs().display());
            continue;
        }
        server.sql("postgres", "CREATE SCHEMA extra; CREATE EXTENSION amcheck SCHEMA extra");
        for depth in [CheckDepth::Quick, CheckDepth::Full] {
            assert_eq!(store.verify(&scope, depth).await.unwrap(), IntegrityReport { ok: true, problems: vec![] });
        }
        let denied = small.verify(&scope, CheckDepth::Quick).await.unwrap_err();
        assert!(
            denied.kind() == ErrorKind::Denied && denied.hint().unwrap().contains("IN SCHEMA \"extra\" TO \"small\""),
            "{denied:?}"
        );
        // An index by another order than the one that is asked for now.
        server.sql("postgres", "CREATE OR REPLACE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT -$1'");
        let found = store.verify(&scope, CheckDepth::Full).await.unwrap();
        assert!(!found.ok && found.problems.len() == 1, "{found:?}");
        assert!(
            found.problems[0].contains("by_f") && found.problems[0].contains("lacks matching index tuple"),
            "{found:?}"
        );
        server.sql("postgres", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_f'::regclass");
        let found = store.verify(&scope, CheckDepth::Quick).await.unwrap();
        assert!(found.problems.iter().any(|it| it.contains("the index by_f is not valid")), "{found:?}");
        if server.sql("postgres", "SHOW server_version_num").as_str() >= "150000" {
            server.sql(
                "postgres",
                "UPDATE pg_database SET datcollversion = 'older', datcollate = 'C.UTF-8' WHERE datname = 'postgres'",
            );
            let known = server.sql("postgres", "SELECT pg_database_collation_actual_version(oid) IS NOT NULL FROM pg_database WHERE datname = 'postgres'");
            let found = store.verify(&scope, CheckDepth::Quick).await.unwrap();
            let told = found.problems.iter().any(|it| it.contains("ALTER DATABASE postgres REFRESH COLLATION VERSION"));
            assert_eq!(told, known == "t", "{found:?}");
        }
    }
}
