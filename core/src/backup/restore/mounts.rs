//! Which filesystem a path lies on, as the kernel's table of mounts says.
//!
//! The device number is not enough: a rename between two mounts of one filesystem fails (`EXDEV`), and a
//! bind mount has the device of what it shows.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use crate::error::Error;
use crate::error::Result;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// Major and minor number of its superblock's device.
    pub(super) device: (u32, u32),
}

/// The mounts that this process sees. Paths given to it are absolute, with symlinks resolved.
#[derive(Debug, Clone, Default)]
pub(super) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Reads the table. Empty where the system has none to read.
    pub(super) fn read() -> Result<Self> {
        #[cfg(target_os = "linux")]
        {
            const TABLE: &str = "/proc/self/mountinfo";
            let text = std::fs::read(TABLE).map_err(|e| Error::io(format!("read {TABLE:?}"), e))?;
            Ok(Self(text.split(|byte| *byte == b'\n').filter_map(parse).collect()))
        }
        #[cfg(not(target_os = "linux"))]
        Ok(Self::default())
    }

    /// A table of these mount points, over a root.
    #[cfg(test)]
    pub(super) fn at(points: &[&Path]) -> Self {
        let mut mounts = vec![Mount { point: PathBuf::from("/"), device: (0, 1) }];
        mounts.extend(points.iter().zip(2..).map(|(point, n)| Mount { point: point.to_path_buf(), device: (0, n) }));
        Self(mounts)
    }

    /// The mount that holds `path`. Of several at one point the last one counts: it covers the others.
    pub(super) fn holding(&self, path: &Path) -> Option<&Mount> {
        self.0.iter().filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.as_os_str().len())
    }

    /// Whether something is mounted at `path`.
    pub(super) fn is_mount(&self, path: &Path) -> bool {
        self.0.iter().any(|mount| mount.point == path)
    }

    /// Whether something is mounted below `path`.
    pub(super) fn any_below(&self, path: &Path) -> bool {
        self.0.iter().any(|mount| mount.point != path && mount.point.starts_with(path))
    }

    /// Whether a rename can lead from one of the two to the other.
    pub(super) fn same(&self, one: &Path, other: &Path) -> bool {
        match (self.holding(one), self.holding(other)) {
            (Some(one), Some(other)) => one.point == other.point,
            _ => true,
        }
    }
}

/// Reads a line of `mountinfo` (proc_pid_mountinfo(5)): id, parent, major:minor, root, mount point, ….
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let point = unescape(fields.nth(1)?);
    Some(Mount { point: PathBuf::from(point), device: (major.parse().ok()?, minor.parse().ok()?) })
}

/// Undoes the kernel's `\040`: three octal digits for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = match (byte, tail.get(..3)) {
            (b'\\', Some(digits)) => std::str::from_utf8(digits).ok().and_then(|d| u8::from_str_radix(d, 8).ok()),
            _ => None,
        };
        plain.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402/a\134b rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!(mount, Mount { point: PathBuf::from(r"/mnt 2/a\b"), device: (98, 0) });
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn the_longest_mount_holds_a_path() {
        let mounts = Mounts::at(&[Path::new("/srv/app/data"), Path::new("/srv")]);
        assert_eq!(mounts.holding(Path::new("/srv/app/data/x")).unwrap().point, Path::new("/srv/app/data"));
        assert_eq!(mounts.holding(Path::new("/srv/app/database")).unwrap().point, Path::new("/srv"));
        assert!(mounts.same(Path::new("/srv/app/a"), Path::new("/srv/b")));
        assert!(!mounts.same(Path::new("/srv/app/data/a"), Path::new("/srv/b")));
        assert!(mounts.any_below(Path::new("/srv/app")) && !mounts.any_below(Path::new("/srv/app/data")));
        assert!(mounts.is_mount(Path::new("/srv/app/data")) && !mounts.is_mount(Path::new("/srv/app")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_system_has_a_root_mount() {
        let mounts = Mounts::read().unwrap();
        assert!(mounts.holding(Path::new("/")).is_some());
        assert!(mounts.is_mount(Path::new("/proc")));
    }
}
