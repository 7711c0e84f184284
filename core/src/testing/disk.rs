//! A disk of its own for a test: it can be filled, made read-only, and taken away.
//!
//! It is a tmpfs, which root may mount. Where that is refused, a test that needs one says so and ends.

#![allow(clippy::disallowed_methods, clippy::expect_used, reason = "it sets up scenes for tests")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk, unmounted when dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of `bytes` in a folder, which is made, and into which everybody may look. `None`, said aloud, where that is not
    /// allowed.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn mount(folder: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("the folder of a disk");
        let options = format!("size={bytes},mode=755");
        mounted(&["-t", "tmpfs", "-o", &options, "tmpfs"], &[folder]).then(|| Self(folder.to_owned()))
    }

    /// The folder once more at another place, where nobody can write to it. `None` where that is not allowed.
    pub fn read_only(folder: &Path, at: &Path) -> Option<Self> {
        let bound = mounted(&["--bind"], &[folder, at]).then(|| Self(at.to_owned()))?;
        mounted(&["-o", "remount,ro,bind"], &[at]).then_some(bound)
    }

    /// Gives it other options, such as `ro`.
    ///
    /// # Panics
    /// When that is refused.
    pub fn remount(&self, options: &str) {
        assert!(mounted(&["-o", &format!("remount,{options}")], &[&self.0]), "{options} is refused");
    }

    /// Fills it to the last byte, with the file that is returned.
    ///
    /// # Panics
    /// When the file cannot be made.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("the file that fills a disk");
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }

    /// Takes it away as somebody does who pulls the plug.
    pub fn pull(self) {
        drop(self);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

fn mounted(arguments: &[&str], paths: &[&Path]) -> bool {
    let done = Command::new("mount").args(arguments).args(paths).output();
    let is_done = done.as_ref().is_ok_and(|done| done.status.success());
    if !is_done {
        eprintln!("skipped: nothing can be mounted here: {done:?}");
    }
    is_done
}
