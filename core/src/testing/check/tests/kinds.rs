//! The suite on the checks of the machine, of files and of other servers.

use std::path::Path;

use super::*;
use crate::health::checks::{
    clock, command, cpu, dns, fds, file, folder, leak, load, memory, port_owner, redis, systemd,
};

/// A machine of these files: absolute paths and their text.
fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// The suite over a check of the files below `root`, and over one of a machine that has none.
async fn certify<T: HealthCheck + 'static>(root: &Path, make: impl Fn(&Path) -> T + Copy + Send + Sync + 'static) {
    for root in [root.to_owned(), root.join("nowhere")] {
        let watched = root.ancestors().find(|folder| folder.exists()).unwrap().to_owned();
        let fresh = move || -> Arc<dyn HealthCheck> { Arc::new(make(&root)) };
        assert_all(&run(Scene::new(fresh).watching(watched)).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_of_the_machine_keep_the_contract() {
    let folder = machine(&[
        ("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 50 kB\n"),
        ("/proc/loadavg", "9.00 9.00 9.00 1/2 3\n"),
        ("/proc/stat", "cpu 1 1 1 1\ncpu0 1 1 1 1\n"),
        ("/proc/self/stat", "7 (x) S 1 7 7 0 -1 0 1 2 3 4 150 50 7 8 20 0 6 0 1234 5 6 7\n"),
        ("/proc/self/status", "VmRSS: 1 kB\n"),
        ("/proc/self/fd/0", ""),
    ]);
    certify(folder.path(), |root| memory::MemoryCheck::new(Default::default()).unwrap().below(root)).await;
    certify(folder.path(), |root| cpu::CpuCheck::new(Default::default()).unwrap().below(root)).await;
    certify(folder.path(), |root| load::LoadCheck::new(Default::default()).unwrap().below(root)).await;
    certify(folder.path(), |root| fds::FdsCheck::new(Default::default()).unwrap().below(root)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_and_folder_keep_the_contract() {
    let folder = machine(&[("/data/file", "text"), ("/data/nowhere/.keep", "")]);
    let path = folder.path().join("data");
    certify(&path.join("file"), |path| {
        let bounds = file::FileSettings { growing_within_seconds: Some(3600.0), ..file::FileSettings::new(path) };
        file::FileCheck::new(bounds).unwrap()
    })
    .await;
    certify(&path, |path| folder::FolderCheck::new(folder::FolderSettings::new(path)).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_keeps_the_contract() {
    let make = |argv: &'static [&'static str]| {
        move || -> Arc<dyn HealthCheck> {
            Arc::new(command::CommandCheck::new(command::CommandSettings::new(argv.iter().copied())).unwrap())
        }
    };
    assert_all(&run(Scene::new(make(&["true"])).stuck(make(&["sleep", "1000"]))).await);
    assert_all(&run(Scene::new(make(&["sh", "-c", "echo 'Down.'; exit 2"]))).await);
    assert_all(&run(Scene::new(make(&["/no/such/program"]))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_keeps_the_contract() {
    let fresh =
        || -> Arc<dyn HealthCheck> { Arc::new(dns::DnsCheck::new(dns::DnsSettings::new("localhost")).unwrap()) };
    assert_all(&run(Scene::new(fresh)).await);
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_and_tls_keep_the_contract() {
    use crate::health::checks::{certificate, tls};

    let folder = machine(&[("/chain.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")]);
    certify(&folder.path().join("chain.pem"), |path| {
        certificate::CertificateCheck::new(certificate::CertificateSettings::new(path)).unwrap()
    })
    .await;
    let make = |address: String| {
        move || -> Arc<dyn HealthCheck> { Arc::new(tls::TlsCheck::new(tls::TlsSettings::new(&address)).unwrap()) }
    };
    // A statement of its own, at whose end the listener goes.
    let refused = silent().1;
    let (_listener, address) = silent();
    assert_all(&run(Scene::new(make(refused)).stuck(make(address))).await);
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_contract() {
    use crate::component::BuildContext;
    use crate::health::checks::postgres;

    let (_listener, address) = silent();
    let make = |address: String| {
        move || -> Arc<dyn HealthCheck> {
            let root = std::path::PathBuf::from("/nonexistent");
            let context = BuildContext { name: "db".into(), state: root.clone(), root, service: String::new() };
            let settings = postgres::PostgresCheckSettings::new(format!("postgres://u@{address}/d?connect_timeout=60"));
            Arc::new(postgres::PostgresCheck::new(&context, settings).unwrap())
        }
    };
    assert_all(&run(Scene::new(make("127.0.0.1:1".to_owned())).stuck(make(address))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_the_contract() {
    let (_listener, address) = silent();
    let make = |address: String| {
        move || -> Arc<dyn HealthCheck> {
            Arc::new(redis::RedisCheck::new(redis::RedisSettings::new(format!("redis://{address}"))).unwrap())
        }
    };
    assert_all(&run(Scene::new(make("127.0.0.1:1".to_owned())).stuck(make(address))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_of_the_clock_the_port_the_unit_and_the_memory_keep_the_contract() {
    let kept = clock::Kept { synchronised: true, offset_seconds: 0.0 };
    let fresh = move || -> Arc<dyn HealthCheck> {
        Arc::new(clock::ClockCheck::new(Default::default()).unwrap().told_by(move || Some(kept)))
    };
    assert_all(&run(Scene::new(fresh)).await);
    let folder = machine(&[("/proc/net/tcp", "head\n")]);
    certify(folder.path(), |root| {
        port_owner::PortOwnerCheck::new(port_owner::PortOwnerSettings::new(9464)).unwrap().below(root)
    })
    .await;
    let fresh = || -> Arc<dyn HealthCheck> {
        let settings = systemd::SystemdSettings { unit: "x.service".to_owned(), user: false, max_restarts: None };
        Arc::new(systemd::SystemdCheck::new(settings).unwrap().asking("/nowhere/systemctl"))
    };
    assert_all(&run(Scene::new(fresh)).await);
    let gone = leak::LeakSettings { pid: Some(u32::MAX), ..Default::default() };
    let fresh = move || -> Arc<dyn HealthCheck> { Arc::new(leak::LeakCheck::new(gone.clone()).unwrap()) };
    assert_all(&run(Scene::new(fresh)).await);
}
