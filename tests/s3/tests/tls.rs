//! A server behind TLS with a certificate of nobody's that the world trusts, as people have one at home.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use uplifted_ops::backup::BackupTarget;
use uplifted_ops::backup::targets::s3::S3Target;
use uplifted_ops::error::{Error, ErrorKind};
use uplifted_ops::testing::random::noise;
use uplifted_s3_tests::server::{Conditions, settings};
use uplifted_s3_tests::tls::Shown;
use uplifted_s3_tests::{Authority, Server, TlsProxy};

use crate::scene::{GUARD, context, keys, quick, scope, target, with};

const HERE: [&str; 2] = ["127.0.0.1", "localhost"];
const NOW: (i32, i32) = (2020, 4000);

/// A server behind TLS, and a folder for certificates.
struct Scene {
    server: Server,
    proxy: TlsProxy,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new(shown: &Shown) -> Self {
        let server = Server::start(Conditions::Kept).await;
        let proxy = TlsProxy::start(server.address, shown).await;
        Self { server, proxy, folder: tempfile::tempdir().unwrap() }
    }

    /// Settings for the server by one of its names, without leave to speak plain HTTP.
    fn settings(&self, name: &str) -> Map<String, Value> {
        let mut settings = settings(&format!("https://{name}:{}", self.proxy.address.port()), "p");
        settings.remove("allow_http");
        settings
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A target that trusts what is in `pem`.
    fn trusting(&self, name: &str, pem: &str) -> S3Target {
        let path = self.file("ca.pem", pem);
        target(with(self.settings(name), "ca_file", path.to_str().unwrap()))
    }
}

/// Puts, uploads in parts, reads and lists.
async fn works(target: S3Target) {
    let target: Arc<dyn BackupTarget> = Arc::new(target);
    let scope = scope();
    let large = noise(11 << 20, 1);
    assert!(target.put(&scope, "k", b"small", true).await.unwrap());
    assert!(!target.put(&scope, "k", b"other", true).await.unwrap());
    let mut upload = target.upload(&scope, "large", Some(large.len() as u64)).await.unwrap();
    for block in large.chunks(4 << 20) {
        upload.write(block).await.unwrap();
    }
    upload.finish().await.unwrap();
    assert_eq!(target.get(&scope, "k", 0..99).await.unwrap(), b"small");
    assert!(target.get(&scope, "large", 7 << 20..11 << 20).await.unwrap() == large[7 << 20..]);
    assert_eq!(keys(&*target).await, ["k", "large"]);
    target.delete(&scope, "k").await.unwrap();
    target.delete(&scope, "large").await.unwrap();
}

async fn refused(target: S3Target) -> Error {
    let started = std::time::Instant::now();
    let asked = async {
        let error = target.put(&scope(), "k", b"x", false).await.unwrap_err();
        assert_eq!(target.list(&scope(), "", None).await.unwrap_err().message().split(": ").last(), last(&error));
        error
    };
    let error = tokio::time::timeout(GUARD, asked).await.expect("it hangs");
    assert!(started.elapsed() < GUARD);
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, false), "{error}");
    error
}

fn last(error: &Error) -> Option<&str> {
    error.message().split(": ").last()
}

fn says(error: &Error, message: &str, hint: &str) {
    assert!(error.message().contains(message), "{error}");
    assert!(error.hint().is_some_and(|said| said.contains(hint)), "{error}: {:?}", error.hint());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_in_ca_file_is_trusted_by_every_name_of_the_certificate() {
    let authority = Authority::new();
    let scene = Scene::new(&authority.signs(&HERE, NOW)).await;
    for name in HERE {
        works(scene.trusting(name, &authority.pem())).await;
    }
    // Among others, and by a path from the service's root.
    let both = Authority::new().pem() + &authority.pem();
    works(scene.trusting("localhost", &both)).await;
    let root = scene.folder.path();
    let mut context = context();
    context.root = root.to_owned();
    let relative = with(scene.settings("localhost"), "ca_file", "ca.pem");
    works(S3Target::new(&context, &relative).unwrap().with_policy(quick(1))).await;
    assert!(scene.server.bucket.is_dir());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_signs_itself_is_trusted_when_it_is_named() {
    for is_ca in [true, false] {
        let shown = Shown::self_signed(&HERE, NOW, is_ca);
        let scene = Scene::new(&shown).await;
        works(scene.trusting("localhost", &shown.pem)).await;
        // Another one of the same name is not.
        let twin = Shown::self_signed(&HERE, NOW, is_ca);
        says(&refused(scene.trusting("localhost", &twin.pem)).await, "this machine", "ca_file");
        // Nor is it for other names than its own, or when its time is over.
        let elsewhere = Shown::self_signed(&["minio.example"], NOW, is_ca);
        let there = Scene::new(&elsewhere).await;
        let error = refused(there.trusting("localhost", &elsewhere.pem)).await;
        says(&error, "not for localhost, but for minio.example", "`endpoint`");
        let old = Shown::self_signed(&HERE, (2019, 2020), is_ca);
        let error = refused(Scene::new(&old).await.trusting("localhost", &old.pem)).await;
        says(&error, "has expired (2020-01-01", "renew");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_nobody_trusts_is_told_with_the_repair() {
    let authority = Authority::new();
    let scene = Scene::new(&authority.signs(&HERE, NOW)).await;
    says(&refused(target(scene.settings("localhost"))).await, "signed by nobody that this machine trusts", "ca_file");
    let stranger = Authority::new().pem();
    says(&refused(scene.trusting("localhost", &stranger)).await, "this machine", "ca_file");

    let elsewhere = Scene::new(&authority.signs(&["minio.example", "10.0.0.7"], NOW)).await;
    let error = refused(elsewhere.trusting("127.0.0.1", &authority.pem())).await;
    says(&error, "not for 127.0.0.1, but for minio.example, 10.0.0.7", "`endpoint`");
    let old = Scene::new(&authority.signs(&HERE, (2019, 2020))).await;
    says(&refused(old.trusting("localhost", &authority.pem())).await, "has expired (2020-01-01", "renew");
    let early = Scene::new(&authority.signs(&HERE, (3999, 4000))).await;
    says(&refused(early.trusting("localhost", &authority.pem())).await, "not valid yet (3999-01-01", "clock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_protocol_is_told_with_the_right_one() {
    let authority = Authority::new();
    let scene = Scene::new(&authority.signs(&HERE, NOW)).await;
    // Plain HTTP to a port for TLS.
    let plain = target(settings(&format!("http://{}", scene.proxy.address), "p")).with_policy(quick(0));
    let error = tokio::time::timeout(GUARD, plain.list(&scope(), "", None)).await.expect("it hangs").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.hint().is_some_and(|hint| hint.contains("https://")), "{error}: {:?}", error.hint());
    // TLS to a port for plain HTTP.
    let mut settings = settings(&format!("https://{}", scene.server.address), "p");
    settings.insert("ca_file".into(), scene.file("ca.pem", authority.pem()).to_str().unwrap().into());
    says(&refused(target(settings)).await, "does not speak TLS", "allow_http");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_without_certificates_is_named() {
    let shown = Shown::self_signed(&HERE, NOW, true);
    let scene = Scene::new(&shown).await;
    let missing = PathBuf::from("/nonexistent/ca.pem");
    for (path, kind, said) in [
        (missing, ErrorKind::NotFound, "/nonexistent/ca.pem"),
        (scene.file("der.pem", &shown.certificate), ErrorKind::InvalidInput, "BEGIN CERTIFICATE"),
        (scene.file("empty.pem", ""), ErrorKind::InvalidInput, "BEGIN CERTIFICATE"),
        (scene.file("cut.pem", &shown.pem[..200]), ErrorKind::InvalidInput, "cut.pem"),
        (
            scene.file("noise.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            ErrorKind::InvalidInput,
            "noise.pem",
        ),
    ] {
        let target = target(with(scene.settings("localhost"), "ca_file", path.to_str().unwrap()));
        let error = target.put(&scope(), "k", b"x", false).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(said) && error.hint().is_some(), "{error}");
    }
}

/// By the command line, whose worker is another process: by the settings, and by the environment alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_to_a_server_at_home() {
    let authority = Authority::new();
    let scene = Scene::new(&authority.signs(&HERE, NOW)).await;
    let ca = scene.file("home.pem", authority.pem());
    let root = scene.folder.path().join("service");
    std::fs::create_dir_all(root.join("data")).unwrap();
    std::fs::write(root.join("data/blob"), noise(100_000, 2)).unwrap();
    let mut settings = scene.settings("localhost");
    settings.insert("retry_seconds".into(), 0.into());
    let lines: String = settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    for (more, variable, status) in
        [("", None, 2), (&*format!("ca_file = {ca:?}\n"), None, 0), ("", Some(ca.as_path()), 0)]
    {
        let toml = format!(
            "[backup]\ninclude = [\"data\"]\nclear_secrets = true\n[[target]]\nname = \"home\"\nkind = \"s3\"\n{lines}{more}"
        );
        std::fs::write(root.join("ops.toml"), toml).unwrap();
        let output = create(&root, variable).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{more}{variable:?}: {said}");
        assert!(status == 0 || said.contains("ca_file"), "{said}");
    }
}

async fn create(root: &Path, authorities: Option<&Path>) -> std::process::Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_uplifted-ops-s3"));
    command.arg("--root").arg(root).args(["call", "backup.create", "{}"]).env("NO_PROXY", "localhost");
    match authorities {
        Some(path) => command.env("SSL_CERT_FILE", path),
        None => command.env_remove("SSL_CERT_FILE"),
    };
    tokio::time::timeout(GUARD, command.kill_on_drop(true).output()).await.expect("it hangs").unwrap()
}
