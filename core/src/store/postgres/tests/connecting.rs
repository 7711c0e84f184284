//! How a server is found and let in to, and what is said when it is not.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use super::super::place::{Host, Place, SslMode, Surroundings, Wanted};
use super::*;

fn place(url: &str, variables: &[(&str, &str)], home: &Path) -> Result<Place> {
    let variable = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
    let around =
        Surroundings { variable: &variable, home: Some(home.to_owned()), user: "me".into(), root: Path::new("/srv") };
    Place::find(url, None, &around)
}

fn keep(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_server_is_looked_up_as_libpq_does() {
    let home = tempfile::tempdir().unwrap();
    let find = |url: &str, variables: &[(&str, &str)]| place(url, variables, home.path()).unwrap();
    keep(&home.path().join(".pg_service.conf"), "[mine]\nhost=from-service\nport=7\nuser=serviced\n", 0o644);
    keep(&home.path().join(".pgpass"), "h:5432:d:u:hunter2\nlocalhost:5432:me:me:local\n", 0o600);

    let all = find(
        "",
        &[("PGHOST", "a,b"), ("PGPORT", "1,2"), ("PGDATABASE", "d"), ("PGUSER", "u"), ("PGSSLMODE", "verify-full")],
    );
    let tcp = |name: &str, port| Host::Tcp { name: name.to_owned(), address: None, port };
    assert_eq!((all.hosts, &*all.user, &*all.database), (vec![tcp("a", 1), tcp("b", 2)], "u", "d"));
    assert_eq!((all.tls.mode, all.tls.authorities), (SslMode::VerifyFull, None));

    // The url goes before the service, and the service before the environment.
    let serviced = find("postgres:///?service=mine&port=8", &[("PGHOST", "no"), ("PGDATABASE", "d")]);
    assert_eq!((serviced.hosts, &*serviced.user, &*serviced.database), (vec![tcp("from-service", 8)], "serviced", "d"));
    assert_eq!(find("", &[("PGSERVICE", "mine")]).hosts, [tcp("from-service", 7)]);

    // Nobody names anything: the socket, and the user's own database.
    let bare = find("", &[]);
    assert!(matches!(&bare.hosts[..], [Host::Socket { port: 5432, .. }]), "{bare:?}");
    assert_eq!((&*bare.user, &*bare.database, bare.wanted), ("me", "me", Wanted::Any));
    let socket = Host::Socket { folder: "/run/postgresql".into(), port: 5432 };
    assert_eq!(bare.password(&socket).0.unwrap().reveal(), "local");

    let passworded = find("postgres://u@h/d", &[]);
    assert_eq!(passworded.password(&passworded.hosts[0]).0.unwrap().reveal(), "hunter2");
    let own = find("postgres://u:own@h/d", &[("PGPASSWORD", "no")]);
    assert_eq!(own.password(&own.hosts[0]).0.unwrap().reveal(), "own");
    assert!(!format!("{own:?}").contains("own\""), "{own:?}");
    let named = find("postgres://u@h/d?passfile=etc/pgpass&sslrootcert=ca.pem&sslmode=require", &[]);
    assert!(named.password(&named.hosts[0]).0.is_none());
    // As in libpq: with authorities at hand, they are asked.
    assert_eq!((named.tls.mode, named.tls.authorities), (SslMode::VerifyCa, Some("/srv/ca.pem".into())));

    for url in [
        "postgres://h/?channel_binding=require",
        "postgres://h/?require_auth=scram-sha-256",
        "postgres://h/?sslmode=maybe",
        "postgres://h:70000/",
        "postgres://h/?hostaddr=h",
        "postgres://a,b:1,c:2/?port=1,2",
        "postgres://h/?connect_timeout=soon",
        "service=none",
    ] {
        assert!(place(url, &[], home.path()).unwrap_err().hint().is_some(), "{url}");
    }
}

#[tokio::test]
async fn every_way_in_leads_in() {
    let server = PostgresServer::start();
    server.sql("postgres", "CREATE DATABASE \"my db's\"");
    for url in [
        server.url("my%20db%27s"),
        server.url("postgres").replace("postgres://", "postgresql+asyncpg://"),
        server.uri("'my db\\'s'"),
        format!("postgres://postgres@localhost:{},127.0.0.1:{}/postgres", super::free_port(), server.port()),
        format!("{}?target_session_attrs=read-write", server.url("postgres")),
        format!("{}?sslmode=disable&options=-c%20work_mem%3D1MB", server.url("postgres")),
    ] {
        let session = super::server(&url).connect(&Scope::default()).await.unwrap_or_else(|e| panic!("{url}: {e:?}"));
        #[derive(serde::Deserialize)]
        struct Seen {
            name: String,
        }
        let name = "SELECT application_name AS name FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        let seen: Seen = session.ask_one("ask", name).await.unwrap();
        assert_eq!((seen.name.as_str(), session.version() >= 13), ("uplifted-ops", true));
    }
    // Through the variables of the service's own `.env`.
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join(".env"), format!("DATABASE_URL={}\n", server.url("postgres"))).unwrap();
    server_at("env:DATABASE_URL", root.path()).connect(&Scope::default()).await.unwrap();
}

#[tokio::test]
async fn nothing_that_is_asked_can_change_anything_or_last() {
    let server = PostgresServer::start();
    let session = super::server(server.url("postgres")).connect(&Scope::default()).await.unwrap();
    let ask = async |sql: &str| session.ask::<serde_json::Value>("ask", sql).await;
    server.sql("postgres", "CREATE FUNCTION change() RETURNS int LANGUAGE sql AS 'CREATE TABLE t(); SELECT 1'");
    let error = ask("SELECT change()").await.unwrap_err();
    assert!(error.message().contains("read-only transaction"), "{error:?}");
    assert_eq!(ask("SELECT 1 AS one").await.unwrap(), [serde_json::json!({"one": 1})]);

    let mut settings =
        PostgresSettings { statement_timeout_seconds: 0.2, ..PostgresSettings::new(server.url("postgres")) };
    let slow = Server::new(settings.clone(), Path::new("/")).unwrap().connect(&Scope::default()).await.unwrap();
    let error = slow.ask::<serde_json::Value>("wait", "SELECT pg_sleep(60)").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Timeout, "could not wait: canceling statement due to statement timeout")
    );
    settings.statement_timeout_seconds = 0.0;
    assert!(Server::new(settings, Path::new("/")).is_err());
}

#[tokio::test]
async fn whoever_is_not_let_in_hears_why() {
    let server = PostgresServer::with(PostgresOptions {
        settings: vec!["max_connections = 5".into(), "superuser_reserved_connections = 1".into()],
        access: vec![
            "host all secret 127.0.0.1/32 scram-sha-256".into(),
            "host all nobodys 127.0.0.1/32 reject".into(),
            "host lonely other 127.0.0.1/32 trust".into(),
            "host all other 127.0.0.1/32 reject".into(),
        ],
        ..PostgresOptions::default()
    });
    server
        .sql("postgres", "CREATE ROLE secret LOGIN PASSWORD 'hunter2'; CREATE ROLE nobodys LOGIN; CREATE ROLE nologin");
    let at = |user: &str, database: &str| format!("postgres://{user}@127.0.0.1:{}/{database}", server.port());

    super::server(at("secret:hunter2", "postgres")).connect(&Scope::default()).await.unwrap();
    let wrong = refused(at("secret:not-hunter2", "postgres")).await;
    assert!(wrong.message().ends_with("refuses the password of user \"secret\""), "{wrong}");
    let none = refused(format!("{}?passfile=/nonexistent/no", at("secret", "postgres"))).await;
    assert!(
        none.message().contains("asks user \"secret\" for a password") && none.hint().unwrap().contains("PGPASSWORD"),
        "{none:?}"
    );
    let file = server.folder().join("pgpass");
    keep(&file, &format!("127.0.0.1:{}:*:secret:hunter2\n", server.port()), 0o644);
    let open = refused(format!("{}?passfile={}", at("secret", "postgres"), file.display())).await;
    assert!(open.hint().unwrap().contains("chmod 0600"), "{open:?}");
    keep(&file, &format!("127.0.0.1:{}:*:secret:hunter2\n", server.port()), 0o600);
    let url = format!("{}?passfile={}", at("secret", "postgres"), file.display());
    super::server(url).connect(&Scope::default()).await.unwrap();

    let gone = refused(at("postgres", "gone")).await;
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert!(gone.message().ends_with("has no database \"gone\""), "{gone}");
    let unknown = refused(at("whoever", "postgres")).await;
    assert!(unknown.message().contains("does not let user \"whoever\" in"), "{unknown}");
    let nologin = refused(at("nologin", "postgres")).await;
    assert!(nologin.message().contains("not permitted to log in"), "{nologin}");
    let rejected = refused(at("nobodys", "postgres")).await;
    assert!(rejected.hint().unwrap().contains("pg_hba.conf"), "{rejected:?}");
    let tls = refused(format!("{}?sslmode=require", at("postgres", "postgres"))).await;
    assert!(tls.message().ends_with("has no TLS, and sslmode asks for it"), "{tls}");

    let held: Vec<_> = (0..5).map(|_| server.hold("postgres", "SELECT 1")).collect();
    let full = refused(at("postgres", "postgres")).await;
    assert_eq!((full.kind(), full.retryable()), (ErrorKind::Busy, true), "{full:?}");
    drop(held);
}

#[tokio::test]
async fn what_is_no_server_is_named() {
    let closed = refused(format!("postgres://u:hunter2@127.0.0.1:{}/d", super::free_port())).await;
    assert!(closed.message().ends_with("cannot be reached: connection refused"), "{closed}");
    let socket = refused("host=/nonexistent/pg user=u").await;
    assert!(socket.hint().unwrap().contains("unix_socket_directories"), "{socket:?}");

    // One that speaks something else, one that hangs up, one that says nothing.
    for (says, expected) in [
        (Some(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]), "does not speak PostgreSQL's protocol"),
        (Some(&b""[..]), "hung up while it let us in"),
        (None, "did not let us in within 1 s"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = std::thread::spawn(move || {
            let mut kept = Vec::new();
            // `prefer` asks twice where TLS fails.
            for _ in 0..2 {
                listener.set_nonblocking(true).unwrap();
                let began = std::time::Instant::now();
                while began.elapsed() < Duration::from_secs(2) {
                    if let Ok((mut stream, _)) = listener.accept() {
                        if let Some(says) = says {
                            std::io::Read::read(&mut stream, &mut [0; 64]).unwrap_or(0);
                            let _ = stream.write_all(says);
                            // With what is left unread, the end would be a reset.
                            let _ = stream.shutdown(std::net::Shutdown::Write);
                            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
                            break;
                        }
                        kept.push(stream);
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        let error = refused(format!("postgres://u:hunter2@127.0.0.1:{port}/d?connect_timeout=1")).await;
        assert!(error.message().contains(expected), "{error:?}");
        answering.join().unwrap();
    }
    let scope = Scope::default();
    scope.cancel.cancel();
    let error = super::server("postgres://127.0.0.1:1/x").connect(&scope).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn tls_is_as_strict_as_sslmode() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &authority).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours.pem", "theirs.pem"].map(|name| folder.path().join(name));
    std::fs::write(&ours, authority.pem()).unwrap();
    let mut stranger = CertificateParams::new(Vec::new()).unwrap();
    stranger.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let stranger = CertifiedIssuer::self_signed(stranger, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(&theirs, stranger.pem()).unwrap();
    let server = PostgresServer::with(PostgresOptions {
        certificate: Some((certificate.pem(), key.serialize_pem())),
        access: vec![
            "hostnossl all plain 127.0.0.1/32 trust".into(),
            "hostssl all postgres 127.0.0.1/32 trust".into(),
            "host all plain 127.0.0.1/32 reject".into(),
        ],
        ..PostgresOptions::default()
    });
    server.sql("postgres", "CREATE ROLE plain LOGIN");
    let at = |user: &str, host: &str, tls: &str| {
        format!("postgres://{user}@{host}:{}/postgres?hostaddr=127.0.0.1&{tls}", server.port())
    };
    let ours = format!("sslrootcert={}", ours.display());
    for (url, encrypted) in [
        (at("postgres", "localhost", "sslmode=prefer"), true),
        (at("postgres", "localhost", "sslmode=disable"), false),
        // Let in without TLS alone: `prefer` tries that, too.
        (at("plain", "localhost", "sslmode=prefer"), false),
        (at("postgres", "127.0.0.1", "sslmode=require"), true),
        (at("postgres", "127.0.0.1", &format!("sslmode=verify-ca&{ours}")), true),
        (at("postgres", "localhost", &format!("sslmode=verify-full&{ours}")), true),
    ] {
        let session = super::server(&url).connect(&Scope::default()).await.unwrap_or_else(|e| panic!("{url}: {e:?}"));
        let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let seen: serde_json::Value = session.ask_one("ask", ssl).await.unwrap();
        assert_eq!(seen["ssl"], encrypted, "{url}");
    }
    for (url, expected) in [
        (at("postgres", "127.0.0.1", &format!("sslmode=verify-full&{ours}")), "certificate not valid for name"),
        (
            at("postgres", "localhost", &format!("sslmode=verify-full&sslrootcert={}", theirs.display())),
            "certificate is not accepted",
        ),
        (
            at("postgres", "localhost", &format!("sslmode=verify-ca&sslrootcert={}", theirs.display())),
            "certificate is not accepted",
        ),
        (at("plain", "localhost", "sslmode=require"), "pg_hba.conf"),
        (at("postgres", "localhost", "sslmode=verify-full&sslrootcert=/nonexistent/ca.pem"), "sslrootcert"),
    ] {
        let error = refused(&url).await;
        assert!(error.message().contains(expected), "{url}: {error:?}");
    }
}
