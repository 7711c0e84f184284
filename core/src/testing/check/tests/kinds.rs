//! The suite on the checks of the machine, of files and of other servers.

use std::path::Path;

use super::*;
use crate::health::checks::{command, cpu, dns, fds, file, folder, load, memory};

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
