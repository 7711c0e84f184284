//! What is mounted: the lines of `/proc/self/mountinfo` (proc(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The numbers of its device, such as `8:1`: the same for every mount of one filesystem.
    pub(crate) device: String,
    /// Which folder of the filesystem is mounted.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
    /// The mount's own options.
    pub(crate) options: String,
    /// The kind of filesystem: `ext4`, `nfs4`, `fuse.sshfs`, ….
    pub(crate) kind: String,
    /// What is mounted: `/dev/sda1`, `server:/export`, ….
    pub(crate) source: String,
    /// The options of the filesystem.
    pub(crate) super_options: String,
}

impl Mount {
    /// The mount that holds `path`, which is absolute and without symlinks. Of several on one point the last hides
    /// the others.
    pub(crate) fn find(mounts: &str, path: &Path) -> Option<Self> {
        let holding = mounts.lines().filter_map(Self::parse).filter(|mount| path.starts_with(&mount.point));
        holding.max_by_key(|mount| mount.point.components().count())
    }

    /// A line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let (device, root, point, options) = (before.next()?, before.next()?, before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, source) = (after.next()?.to_owned(), after.next().unwrap_or_default());
        Some(Self {
            device: device.to_owned(),
            root: PathBuf::from(unescape(root)),
            point: PathBuf::from(unescape(point)),
            options: options.to_owned(),
            kind,
            source: unescape(source).to_string_lossy().into_owned(),
            super_options: after.next().unwrap_or_default().to_owned(),
        })
    }

    /// Whether nothing can be written through it.
    pub(crate) fn read_only(&self) -> bool {
        has(&self.options, "ro") || has(&self.super_options, "ro")
    }

    /// Whether the kernel has turned it read-only after an error. Whoever mounts or remounts read-only sets both
    /// options; the kernel, on an error, only the filesystem's.
    pub(crate) fn failed(&self) -> bool {
        has(&self.options, "rw") && has(&self.super_options, "ro")
    }
}

fn has(options: &str, wanted: &str) -> bool {
    options.split(',').any(|option| option == wanted)
}

/// Space, tab, line feed and backslash are written as three octal digits.
fn unescape(text: &str) -> OsString {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match value {
            Some(value) => {
                out.push(value);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - nfs4 server:/a\\134b ro,vers=4.2";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.device.as_str(), mount.kind.as_str()), ("98:0", "nfs4"));
        assert_eq!((mount.root, mount.point), (PathBuf::from("/mnt1"), PathBuf::from("/mnt 2")));
        assert_eq!(mount.source, "server:/a\\b");
        let line = Mount::parse(line).unwrap();
        assert!(line.read_only() && line.failed());
        for wrong in ["", " - ", "1 2 3", "1 2 3:4 / /x rw", "1 2 3:4 / - ext4"] {
            assert_eq!(Mount::parse(wrong), None, "{wrong:?}");
        }
    }
}
