//! A service whose state folder lies on a disk that takes no writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::metrics::global;

/// A folder seen again somewhere else, where nobody can write to it. Taken away with this.
struct ReadOnly(PathBuf);

impl ReadOnly {
    /// `None` where this user may not mount.
    fn mount(folder: &Path, at: &Path) -> Option<Self> {
        let mount = |arguments: &[&str], paths: &[&Path]| {
            Command::new("mount").args(arguments).args(paths).output().is_ok_and(|done| done.status.success())
        };
        let bound = mount(&["--bind"], &[folder, at]).then(|| Self(at.to_owned()))?;
        mount(&["-o", "remount,ro,bind"], &[at]).then_some(bound)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_counts_on_and_says_what_it_cannot_write() {
    let root = service("[[job]]\nname = \"tick\"\noperation = \"status\"\nschedule = \"0 2 * * *\"\n");
    let state = root.path().join("state");
    std::fs::create_dir_all(root.path().join("disk")).unwrap();
    std::fs::create_dir_all(&state).unwrap();
    let Some(_disk) = ReadOnly::mount(&root.path().join("disk"), &state) else {
        eprintln!("skipped: only the superuser may mount a disk that takes no writes");
        return;
    };
    assert!(std::fs::write(state.join("x"), "").is_err(), "it can be written to");
    let ops = builder(&root, RunMode::Embedded).setting("state.path", "state").build().unwrap();
    let counter = global().counter("read_only_disk_total", "").unwrap();
    counter.inc_by(3);
    let page = call(&ops, "metrics.render", json!({})).await.unwrap()["body"].as_str().unwrap().to_owned();
    assert!(page.contains("\nread_only_disk_total 3\n"), "{page}");
    let health = call(&ops, "health.check", json!({})).await.unwrap();
    assert!(health["status"].is_string(), "{health}");
    // What was done is told as done, with what is wrong and what repairs it.
    let error = call(&ops, "schedule.run", json!({ "job": "tick" })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("mounted read-only")), "{error:?}");
    counter.inc();
    let page = call(&ops, "metrics.render", json!({})).await.unwrap()["body"].as_str().unwrap().to_owned();
    assert!(page.contains("\nread_only_disk_total 4\n"), "{page}");
}
