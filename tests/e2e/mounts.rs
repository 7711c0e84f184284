//! The `fs` target on a filesystem of another machine: SSHFS over a pipe to `sftp-server`, mounted for real.
//!
//! With hard links, as OpenSSH offers them, and without, as other servers do; then neither `link` nor `renameat2` is
//! there, and writers take turns.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use uplifted_ops::backup::BackupTarget;
use uplifted_ops::backup::targets::fs::FsTarget;
use uplifted_ops::testing::{assert_all, target};

const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// A mounted folder; unmounted when dropped.
struct Mount {
    folder: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Mount {
    /// `Err` says why there is no SSHFS here.
    fn new(options: &str) -> Result<Self, String> {
        for program in [SERVER, "/usr/bin/sshfs", "/dev/fuse"] {
            if !Path::new(program).exists() {
                return Err(format!("{program} is missing"));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["kept", "seen"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let end = |stream: &std::os::unix::net::UnixStream| {
            Stdio::from(std::os::fd::OwnedFd::from(stream.try_clone().unwrap()))
        };
        let server = Command::new(SERVER).stdin(end(&theirs)).stdout(end(&theirs)).spawn().unwrap();
        let source = format!("pipe:{}", folder.path().join("kept").display());
        let sshfs = Command::new("/usr/bin/sshfs")
            .args(["-f", "-o", &format!("passive{options}"), &source])
            .arg(folder.path().join("seen"))
            .stdin(end(&ours))
            .stdout(end(&ours))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        drop((ours, theirs));
        let mut mount = Self { folder, processes: vec![sshfs, server] };
        let (device, until) = (device(mount.folder.path()), std::time::Instant::now() + Duration::from_secs(20));
        while device == self::device(&mount.seen()) {
            if mount.processes[0].try_wait().unwrap().is_some() || std::time::Instant::now() > until {
                return Err("sshfs does not mount: FUSE is not allowed here".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(mount)
    }

    fn seen(&self) -> std::path::PathBuf {
        self.folder.path().join("seen")
    }
}

fn device(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::dev(&path.metadata().unwrap())
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.seen()).status();
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_sshfs_with_links() {
    the_suite_passes("", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_sshfs_without_links() {
    the_suite_passes(",disable_hardlink", false).await;
}

async fn the_suite_passes(options: &str, links: bool) {
    let mount = match Mount::new(options) {
        Ok(mount) => mount,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let linked = std::fs::write(mount.seen().join("a"), "x")
        .and_then(|()| std::fs::hard_link(mount.seen().join("a"), mount.seen().join("b")));
    assert_eq!(linked.is_ok(), links, "{linked:?}");
    let next = AtomicU32::new(0);
    let fresh = || {
        let number = next.fetch_add(1, Ordering::SeqCst);
        Arc::new(FsTarget::new(mount.seen().join(format!("t{number}/deep")))) as Arc<dyn BackupTarget>
    };
    let suite = tokio::time::timeout(Duration::from_secs(120), target::run(fresh));
    assert_all(&suite.await.expect("it hangs"));
    let left = std::fs::read_dir(mount.folder.path().join("kept/t6/deep")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with('.')), "litter: {names:?}");
}
